"""
The state of a sync in XCom, where everybody can look at it.

XCom was not made for this, so three of its ways are worked around here (Airflow 3.2 and 3.3):

- It orders by logical date, which is None for asset-triggered and some manual runs, and databases differ in where they
  sort None. So every value is read, and the greatest sequence number inside the values decides.
- A read "including prior dates" does not see runs with a later date than the own one: clearing an old run would read an
  old state. So the runs it leaves out are asked one by one.
- Airflow deletes the XComs of a task when a try starts. So, where Airflow has a task state store (3.3), the state is
  written there too, which survives retries and clears of its own run, and comes back into XCom with the next try.

What is too large for XCom is in a table, see :mod:`~airflow_provider_census.sync.spill`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_census.errors import Busy, StateError
from airflow_provider_census.state.runs import KEY, UNDER_WAY, StatesInRuns, TaskStates
from airflow_provider_census.sync.state import State, newest_first

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.sync.spill import Spill


def recover(context: Context) -> None:
    """
    Put back into XCom what earlier tries of this run have left there.

    To be called first: whatever becomes of this try, later runs read XCom alone.
    """
    checkpoints: Any = context.get("task_state_store")
    checkpoint = checkpoints and checkpoints.get(KEY)
    if checkpoint:
        context["ti"].xcom_push(key=KEY, value=checkpoint)


class XComStore:
    """
    The state of the running task's sync.

    :param sync_id: tells the syncs of one task apart (mapped tasks); state of other syncs is not seen.
    :param spill: keeps what is too large.
    :param together: the tasks that make up one run of the sync, if this is one of several.
    """

    def __init__(self, context: Context, sync_id: str, spill: Spill, together: Sequence[str] = ()) -> None:
        self._ti: Any = context["ti"]
        self._map_index = -1 if self._ti.map_index is None else self._ti.map_index
        # As Airflow labels the task where it lists states.
        self._label = self._ti.task_id if self._map_index < 0 else f"{self._ti.task_id}_{self._map_index}"
        self._sync_id = sync_id
        self._spill = spill
        self._together = together
        self._task_store: Any = context.get("task_state_store")
        self._runs = StatesInRuns(self._ti.dag_id, self._ti.task_id, sync_id)
        self._others: TaskStates = {}
        #: Where the states that are not kept in XCom are kept; known once loaded.
        self.pointers: set[str] = set()

    @property
    def survives_retries(self) -> bool:
        """Whether a retry of this run will see what this try has saved."""
        return self._task_store is not None

    def load(self) -> State | None:
        """
        Return the newest state any run has saved.

        :raises Busy: another run of the same sync is under way.
        :raises StateError: what is there cannot be told to be the state of this sync.
        """
        return self._spill.restore(self.find())

    def find(self, *, kept_elsewhere: bool = False) -> list[Any]:
        """
        Return what the runs have saved, the newest first.

        :param kept_elsewhere: whether the sync keeps its state elsewhere now.
        :raises Busy: another run of the same sync is under way.
        :raises StateError: what is there cannot be told to be the state of this sync.
        """
        task_states = self._ti.get_task_states(dag_id=self._ti.dag_id, task_ids=[self._ti.task_id])
        self._others = {run_id: tasks for run_id, tasks in task_states.items() if run_id != self._ti.run_id}
        self._refuse_second_writer()
        own = self._runs.read(self._ti.run_id, self._others)
        self.pointers = {str(value["kept_in"]) for value in own if "kept_in" in value}
        if self.pointers and not kept_elsewhere:
            raise StateError(
                f"the state of this sync is kept in {', '.join(sorted(self.pointers))}; say so in the delta's state, "
                f"or delete its XCom values {KEY!r} to start over"
            )
        return newest_first(value for value in own if "kept_in" not in value)

    def lost(self) -> bool:
        """Return whether the task has succeeded in an earlier run, and no run left a state."""
        return not self._runs.found and any(tasks.get(self._label) == "success" for tasks in self._others.values())

    def save(self, state: State) -> None:
        """Keep ``state``: in XCom for later runs, in the task state store for retries of this one."""
        own = {"run_id": self._ti.run_id, "sync_id": self._sync_id, "map_index": self._map_index}
        value = {**self._spill.pack(state), **own}
        if self._task_store is not None:
            from airflow.sdk.execution_time.context import NEVER_EXPIRE  # Airflow 3.3, as the store itself

            # First, as the next to read after a crash is the retry.
            self._task_store.set(KEY, value, retention=NEVER_EXPIRE)
        self._ti.xcom_push(key=KEY, value=value)
        self._spill.kept()

    def point(self, value: Mapping[str, Any], kept_in: str) -> None:
        """Leave word of a state that is kept elsewhere."""
        names = ("version", "sequence", "target", "mapping", "watermark", "shards")
        shown = {name: value[name] for name in names}
        own = {"run_id": self._ti.run_id, "sync_id": self._sync_id, "map_index": self._map_index}
        self._ti.xcom_push(key=KEY, value={**shown, **own, "kept_in": kept_in})

    def _refuse_second_writer(self) -> None:
        if self._together:
            refuse_second_run(self._ti, self._together)
        for run_id, tasks in self._others.items():
            if tasks.get(self._label) in UNDER_WAY:
                raise _busy(run_id)


def refuse_second_run(ti: Any, task_ids: Sequence[str]) -> None:
    """
    Look whether another run of a sync that is made up of several tasks is under way.

    :raises Busy: it is.
    """
    for run_id, tasks in ti.get_task_states(dag_id=ti.dag_id, task_ids=list(task_ids)).items():
        if run_id != ti.run_id and any(state in UNDER_WAY for state in tasks.values()):
            raise _busy(run_id)


def _busy(run_id: str) -> Busy:
    return Busy(
        f"run {run_id!r} of the same sync is under way; this one would send the same rows. It can be retried when that "
        f"run has ended"
    )
