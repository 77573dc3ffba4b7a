"""The state of a sync, for another task than the one that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_census.errors import Busy, ConfigError, StateError
from airflow_provider_census.state.kept import Keeper
from airflow_provider_census.state.runs import UNDER_WAY, StatesInRuns, TaskStates
from airflow_provider_census.sync.spill import Spill
from airflow_provider_census.sync.state import State, newest_first


class RemoteStore:
    """
    The state of one sync, wherever it is kept.

    XCom belongs to task instances. So a new state takes the place of the old one in every run that has left one: it
    counts whichever of them is cleared next, since Airflow deletes the XComs of that one alone.

    :param ti: the task instance that looks.
    :param dag_id: of the sync, as ``task_id``.
    :param keeper: where it is kept if not in XCom.
    :param spill: keeps what is too large.
    """

    def __init__(self, ti: Any, dag_id: str, task_id: str, sync_id: str, keeper: Keeper | None, spill: Spill) -> None:
        self._ti = ti
        self._dag_id = dag_id
        self._task_id = task_id
        self._keeper = keeper
        self._spill = spill
        self._in_runs = StatesInRuns(dag_id, task_id, sync_id)
        self._values: list[dict[str, Any]] = []
        self._runs: TaskStates = {}
        self.place = keeper.name if keeper else "XCom"

    @property
    def found(self) -> set[str]:
        """The syncs of this task that have left a state in XCom."""
        return self._in_runs.found

    @property
    def lost(self) -> bool:
        """Whether the task has succeeded, and left no state."""
        return not self.found and any("success" in tasks.values() for tasks in self._runs.values())

    @property
    def only_run(self) -> str | None:
        """The run a state in XCom hangs on, if it is a single one."""
        runs = {value["run_id"] for value in self._values}
        return runs.pop() if len(runs) == 1 and self._keeper is None else None

    def load(self) -> State | None:
        """
        Return the state, None if there is none.

        :raises StateError: it is kept elsewhere, or cannot be read.
        """
        self._runs = self._task_states()
        if self._runs:
            self._values = self._in_runs.read(next(iter(self._runs)), self._runs)
        pointers = {str(value["kept_in"]) for value in self._values if "kept_in" in value}
        values = newest_first(value for value in self._values if "kept_in" not in value)
        if self._keeper is not None:
            kept = self._keeper.read()
            values = [kept] if kept is not None else [] if pointers else values
        elif pointers:
            raise StateError(f"the state of this sync is kept in {', '.join(sorted(pointers))}, not in XCom")
        return self._spill.restore(values)

    def save(self, state: State) -> None:
        """
        Put ``state`` in the place of what :meth:`load` has found.

        :raises Busy: a run of the sync is under way: it would save its own behind it.
        :raises ConfigError: there is no run it could hang on.
        """
        self.refuse_second_writer()
        value = self._spill.pack(state)
        if self._keeper is not None:
            self._keeper.write(value)
        else:
            for run_id, map_index in self._hooks():
                self._in_runs.write(value, run_id=run_id, map_index=map_index)
        self.refuse_second_writer()

    def _hooks(self) -> list[tuple[str, int]]:
        """Return the task instances the state is to hang on."""
        left = [(value["run_id"], value["map_index"]) for value in self._values]
        if left:
            return left
        for run_id, tasks in self._runs.items():
            if self._task_id in tasks:
                return [(run_id, -1)]
        raise ConfigError(
            f"{self._dag_id}.{self._task_id} has no run yet, and a state in XCom needs one to hang on; run it once "
            f"with dry_run=True"
        )

    def _task_states(self) -> Mapping[str, Mapping[str, str | None]]:
        states: Mapping[str, Mapping[str, str | None]] = self._ti.get_task_states(
            dag_id=self._dag_id, task_ids=[self._task_id]
        )
        return states

    def refuse_second_writer(self) -> None:
        """
        Look whether the sync is running.

        :raises Busy: it is.
        """
        for run_id, tasks in self._task_states().items():
            if any(state in UNDER_WAY for state in tasks.values()):
                raise Busy(f"run {run_id!r} of the sync is under way; try again when it has ended")
