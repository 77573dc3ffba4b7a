"""The operator for the person on call: look at the state of a sync, and change it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param, TaskGroup
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import Busy, CensusError, ConfigError
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.operators.templates import TemplatedOperator
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.shard import Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.state.kept import Keeper
    from airflow_provider_census.state.remote import RemoteStore
    from airflow_provider_census.state.snapshot import RemoteSnapshot
    from airflow_provider_census.sync.state import State

ACTIONS = ("show", "reset", "rebase", "export", "import")

STATE_PARAMS = {
    "action": Param(
        "show",
        enum=list(ACTIONS),
        description="show: what the next run will do · reset: the next run sends everything · rebase: move the "
        "watermark to the value · export: return the state · import: the value is the state",
    ),
    "value": Param(
        None,
        type=["null", "string"],
        description="rebase: the new watermark, e.g. 2026-01-31T00:00:00+00:00 · import: what an export returned",
    ),
    "sync_id": Param(None, type=["null", "string"], description="of one mapped task, as its log names it; else empty"),
}
"""``DAG(params=STATE_PARAMS)`` puts the arguments of :class:`CensusStateOperator` on the Trigger form."""

_SHOWN_KEYS = 20


class CensusStateOperator(TemplatedOperator):
    """
    Look at the state of a sync, or change it, and say what its next run will do.

    For a DAG of its own without a schedule; press Trigger. It refuses while the sync is running.

    :param sync: the task whose state it is: a ``CensusSyncOperator``, or what ``@task.census_sync`` or
        ``sharded_sync()`` returned, of this or another DAG of the same file.
    :param action: ``show``; ``reset``: the next run sends everything; ``rebase``: it starts from another watermark;
        ``export``: return the state as JSON; ``import``: take such JSON as the state. (templated)
    :param value: the watermark of a rebase, written as the present one is; the JSON of an import. (templated)
    :param sync_id: of one of several mapped tasks, as its log and its XCom name it; by default that of ``sync``, and
        with it of all its shards. (templated)
    """

    template_fields: Sequence[str] = ("action", "value", "sync_id")
    ui_color = "#fef3e2"

    def __init__(
        self,
        *,
        sync: CensusSyncOperator | MappedOperator | PlainXComArg | TaskGroup,
        action: str = "{{ params.get('action', 'show') }}",
        value: str | None = "{{ params.get('value') or '' }}",
        sync_id: str | None = "{{ params.get('sync_id') or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.action = action
        self.value = value
        self.sync_id = sync_id
        task: Any = sync.operator if isinstance(sync, PlainXComArg) else sync
        if isinstance(sync, TaskGroup):
            task = next((child for child in sync.children.values() if isinstance(child, MappedOperator)), sync)
        # Of mapped tasks Airflow knows the declaration alone.
        declared = task.partial_kwargs if isinstance(task, MappedOperator) else getattr(task, "__dict__", {})
        if "source_conn_id" not in declared:
            raise ConfigError(f"sync={sync!r} is not a task that runs a sync; give the task itself, not its id")
        self._target = (task.dag_id, task.task_id)
        self._declared_id: str = declared.get("sync_id") or f"{task.dag_id}.{task.task_id}"
        self._delta: Delta = declared.get("delta") or FullRefresh()
        self._source_conn_id: str = declared["source_conn_id"]
        if isinstance(self._delta, Watermark) and self._delta.state == "asset":
            # Airflow hands out the states of assets only to tasks that have them as inlets.
            self.inlets = [*self.inlets, *(inlet for inlet in task.inlets if isinstance(inlet, Asset))]

    def execute(self, context: Context) -> dict[str, Any]:
        """Do what is asked for, and return what the state is now and what the next run will do."""
        sync_id = self.sync_id or self._declared_id
        try:
            if self.action not in ACTIONS:
                raise ConfigError.unknown("action", self.action, ACTIONS)
            store, state = self._open(context, sync_id)
            self._refuse_unknown(sync_id, store, state)
            run_id = str(context["ti"].run_id)
            if isinstance(self._delta, Snapshot):
                report = self._on_snapshot(context, sync_id, state, run_id=run_id)
            elif state is not None and state.shards > 1 and not self.sync_id:
                report = self._on_shards(context, sync_id, state.shards, run_id=run_id)
            else:
                report = self._on_state(store, state, run_id=run_id)
        except Busy:
            raise
        except CensusError as error:
            raise AirflowFailException(str(error)) from None
        report = {"sync_id": sync_id, "action": self.action, "kept_in": store.place, **report}
        self.log.info("State of %s: %s", sync_id, json.dumps(report, indent=1, ensure_ascii=False))
        self.log.info("The next run of %s %s.", sync_id, report["next_run"])
        return report

    def _open(self, context: Context, sync_id: str) -> tuple[RemoteStore, State | None]:
        # Imported here: parsing a DAG needs none of it.
        from airflow_provider_census.state import open_spill
        from airflow_provider_census.state.remote import RemoteStore

        # Nothing is left out or forgotten here unless it is what was asked for.
        forget = self.action in ("reset", "rebase", "import")
        spill = open_spill(self._delta, sync_id, self._source_conn_id, adds=True, forget=forget)
        store = RemoteStore(context["ti"], *self._target, sync_id, self._keeper(context, sync_id), spill)
        return store, store.load()

    def _open_shards(self, context: Context, sync_id: str, shards: int) -> dict[str, tuple[RemoteStore, State]]:
        """Return the states of the shards; one that was killed before it could save has none."""
        ids = [Shard(index, shards).state_of(sync_id) for index in range(shards)]
        opened = {shard_id: self._open(context, shard_id) for shard_id in ids}
        return {shard_id: (store, state) for shard_id, (store, state) in opened.items() if state is not None}

    def _keeper(self, context: Context, sync_id: str) -> Keeper | None:
        from airflow_provider_census.state import keeper

        return keeper(self._delta, context, sync_id)

    def _refuse_unknown(self, sync_id: str, store: RemoteStore, state: State | None) -> None:
        if state is None and store.found and sync_id not in store.found:
            raise ConfigError.unknown("sync_id", sync_id, sorted(store.found), where="among the states of this task")

    def _on_state(self, store: RemoteStore, state: State | None, *, run_id: str) -> dict[str, Any]:
        from airflow_provider_census.sync.repair import next_read

        if self.action in ("reset", "rebase", "import"):
            state = self._save(store, self._changed(state), run_id)
        if isinstance(self._delta, Watermark):
            next_run = next_read(self._delta, state, lost=store.lost)
        else:
            next_run = "sends every row, as each does: a full refresh has no state"
        if self.action == "export" and state is not None:
            return {"state": state.to_json(), "next_run": next_run}
        return {"state": _summary(state) if state else None, "next_run": next_run}

    def _save(self, store: RemoteStore, state: State, run_id: str) -> State:
        from dataclasses import replace

        state = replace(state, run_id=run_id)
        store.save(state)
        if store.only_run:
            self.log.warning(
                "The state hangs on run %r alone: clear that run, and what it has saved itself comes back.",
                store.only_run,
            )
        return state

    def _on_shards(self, context: Context, sync_id: str, shards: int, *, run_id: str) -> dict[str, Any]:
        """Do it to the state of each shard."""
        if self.action == "import":
            raise ConfigError("the sync is in shards, each with a state of its own: import them one by one, by sync_id")
        reports = {
            shard_id: self._on_state(store, state, run_id=run_id)
            for shard_id, (store, state) in self._open_shards(context, sync_id, shards).items()
        }
        first = next(iter(reports.values()))
        return {
            "state": first["state"],
            "shards": reports,
            "next_run": f"goes on in {shards} shards, of which each has its part; the first {first['next_run']}",
        }

    def _changed(self, state: State | None) -> State:
        from airflow_provider_census.sync import repair

        if not isinstance(self._delta, Watermark):
            raise ConfigError(f"a full refresh has no state; there is nothing to {self.action}")
        if self.action == "import":
            return repair.restored(self.value or "", state)
        if state is None:
            raise ConfigError(f"there is no state to {self.action}: the next run of this sync is a first one")
        if self.action == "reset":
            return repair.reset(state)
        if not self.value:
            raise ConfigError("rebase needs the value of the new watermark")
        return repair.rebase(state, self.value)

    def _on_snapshot(self, context: Context, sync_id: str, state: State | None, *, run_id: str) -> dict[str, Any]:
        from airflow_provider_census.sync import repair

        if state is None:
            raise ConfigError("no run of this sync has left word of its snapshot; run it once")
        snapshot = self._snapshot(sync_id, state)
        if self.action in ("rebase", "import"):
            raise ConfigError(
                f"a snapshot is a table and has no watermark; to bring back a copy, put it into {snapshot.name} with "
                f"the database's own tools"
            )
        if self.action == "reset":
            # The state first: a table that is gone and was not given up is a fault.
            for each, its_state in self._open_shards(context, sync_id, state.shards).values():
                self._save(each, repair.reset(its_state), run_id)
            snapshot.drop()
            return {
                "state": None,
                "next_run": "sends every row of the model; records it has sent and that are gone from the model "
                "meanwhile are not known any more, and a mirror will not delete them",
            }
        records, sent = snapshot.known()
        next_run = f"compares the model with the {records} records of the snapshot and sends what differs"
        if state.snapshot and not records:
            next_run = "finds that its snapshot is lost; under append and send it fails, else it is a first run"
        return {
            "state": {"target": state.target, "snapshot": snapshot.name, "records": records, "sent": sent},
            "next_run": next_run,
        }

    def _snapshot(self, sync_id: str, state: State) -> RemoteSnapshot:
        from airflow_provider_census.state.snapshot import RemoteSnapshot

        assert isinstance(self._delta, Snapshot)
        return RemoteSnapshot(
            self._delta.conn_id or self._source_conn_id,
            schema=self._delta.schema,
            sync_id=sync_id,
            target=state.target,
            shards=state.shards,
        )


def _summary(state: State) -> dict[str, Any]:
    from airflow_provider_census.sync.state import readable

    return {
        "target": state.target,
        "sequence": state.sequence,
        "saved_by": state.run_id,
        "watermark": {"column": state.column, "value": readable(state.watermark)},
        "settled": len(state.settled),
        "owed": len(state.owed) + state.owed_null_keys,
        "in_doubt": len(state.in_doubt),
        "owed_sample": [readable(key) for key in state.owed[:_SHOWN_KEYS]],
    }
