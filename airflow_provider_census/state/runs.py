"""What the runs of a sync's task have left in XCom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airflow.sdk.execution_time.xcom import XCom

from airflow_provider_census.errors import StateError

KEY = "census_state"

TaskStates = Mapping[str, Mapping[str, str | None]]
"""By run, then by label: the task's id, with ``_<map index>`` where it is mapped."""

# A task that is cleared while it runs goes on until it hears of it.
UNDER_WAY = ("running", "deferred", "restarting")
_NEVER_STARTED = ("skipped", "upstream_failed")


class StatesInRuns:
    """
    The states of one sync in the XComs of its task.

    :param sync_id: tells the syncs of one task apart (mapped tasks).
    """

    def __init__(self, dag_id: str, task_id: str, sync_id: str) -> None:
        self._dag_id = dag_id
        self._task_id = task_id
        self._sync_id = sync_id
        #: The syncs that were found in the last reading.
        self.found: set[str] = set()

    def read(self, run_id: str, others: TaskStates) -> list[dict[str, Any]]:
        """
        Return what the runs have left, in no order; for a state that is kept elsewhere, word of it (``kept_in``).

        :param run_id: one of the task's runs; those before it are read with it.
        :param others: the task's other runs.
        :raises StateError: what is there cannot be told to be the state of this sync.
        """
        values = self._values(run_id, include_prior_dates=True)
        seen = {value["run_id"] for value in values}
        for other, tasks in others.items():
            if other not in seen and not all(state in _NEVER_STARTED for state in tasks.values()):
                values += self._values(other)
        self.found = {str(value["sync_id"]) for value in values}
        own = [value for value in values if value["sync_id"] == self._sync_id]
        self._refuse_shared_identity(own)
        return own

    def write(self, value: Mapping[str, Any], *, run_id: str, map_index: int) -> None:
        """Put a state in the place of what a run has left."""
        own = {"run_id": run_id, "sync_id": self._sync_id, "map_index": map_index}
        XCom.set(
            KEY,
            {**value, **own},
            dag_id=self._dag_id,
            task_id=self._task_id,
            run_id=run_id,
            map_index=map_index,
        )

    def _values(self, run_id: str, *, include_prior_dates: bool = False) -> list[dict[str, Any]]:
        values = (
            XCom.get_all(
                key=KEY,
                dag_id=self._dag_id,
                task_id=self._task_id,
                run_id=run_id,
                include_prior_dates=include_prior_dates,
            )
            or []
        )
        for value in values:
            if not isinstance(value, dict) or not value.keys() >= {"run_id", "sync_id", "map_index"}:
                # A custom XCom backend gives the path of a file that is gone, for example.
                raise StateError(f"XCom {KEY!r} of an earlier run is not a state; delete that XCom to go on without it")
        return values

    def _refuse_shared_identity(self, values: list[dict[str, Any]]) -> None:
        writers: defaultdict[str, set[int]] = defaultdict(set)
        for value in values:
            writers[value["run_id"]].add(value["map_index"])
        for run_id, map_indexes in writers.items():
            if len(map_indexes) > 1:
                raise StateError(
                    f"sync_id {self._sync_id!r} was used by several mapped tasks of run {run_id!r} (map indexes "
                    f"{sorted(map_indexes)}), so their states cannot be told apart; give each of them a sync_id that "
                    f"no other has or had"
                )
