"""A sync in shards: mapped tasks side by side, and one that makes a single run of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_census.errors import Busy, CensusError, ConfigError
from airflow_provider_census.operators.sync import FINAL, CensusSyncOperator
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.limit import parse_limit
from airflow_provider_census.sync.shard import MOST, Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.sync.result import RunResult


class CensusClosingOperator(CensusSyncOperator):
    """
    Close a sync that ran in shards: delete what is gone (mirror), decide over the limits, return the one result.

    Made by :func:`sharded_sync`; it takes what the shards take.

    :param shards_task_id: the mapped tasks.
    :param shards: how many they are.
    """

    def __init__(self, *, shards_task_id: str, shards: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shards_task_id = shards_task_id
        self.shards = shards

    def execute(self, context: Context) -> dict[str, Any]:
        """Look at what the shards have done, do what is left, and return the result of the whole sync."""
        # Imported here: parsing a DAG needs none of it.
        from airflow_provider_census.sync.closing import result_of

        ti = context["ti"]
        states = self._states(ti)
        if states and set(states) == {"skipped"}:
            raise AirflowSkipException("all shards were skipped")
        results = [ti.xcom_pull(task_ids=self.shards_task_id, map_indexes=index) for index in range(self.shards)]
        results = [result for result in results if result]
        failed = self.shards - states.count("success")
        if failed:
            if results:
                self._show(ti, result_of(results), stopped=True)
            raise AirflowFailException(
                f"{failed} of {self.shards} shards did not succeed; their logs say why. What was sent is committed, "
                f"nothing was deleted, and the next run goes on from there"
            )
        if len(results) < self.shards:
            raise AirflowFailException("a shard has left no result in XCom, which it needs (do_xcom_push)")
        try:
            own, failure = self._delete(context) if self.behavior == Behavior.MIRROR else (None, None)
            limits = [parse_limit(name, getattr(self, name)) for name in ("max_invalid", "max_rejected")]
        except Busy:
            raise
        except CensusError as error:
            raise AirflowFailException(str(error)) from None
        result = result_of(results, own)
        failure = failure or (None if result.dry_run else result.tally.exceeded(*limits))
        self._show(ti, result, stopped=failure is not None)
        if failure is None:
            return result.to_json()
        if isinstance(failure, FINAL):
            raise AirflowFailException(str(failure)) from None
        raise failure

    def _show(self, ti: Any, result: RunResult, *, stopped: bool) -> None:
        self._log_result(result, stopped=stopped)
        # A task that fails returns nothing; people look here first.
        ti.xcom_push(key="return_value", value=result.to_json())

    def _delete(self, context: Context) -> tuple[RunResult, CensusError | None]:
        """Delete what is gone from the model; the guards decide over the whole sync."""
        from airflow_provider_census.sources.dbapi import DbApiSource
        from airflow_provider_census.state.xcom import refuse_second_run
        from airflow_provider_census.sync.run import run_sync
        from airflow_provider_census.sync.state import MemoryStore

        ti = context["ti"]
        refuse_second_run(ti, [self.shards_task_id, self.task_id])
        sync = self._resolve(self.sync_id or f"{ti.dag_id}.{self.shards_task_id}")
        assert self._client is not None
        try:
            closing = replace(sync, closes=self.shards, max_invalid=None, max_rejected=None)
            # Of a snapshot the state tells no more than that there was a run, and the shards have said so.
            return run_sync(closing, DbApiSource.of(self.source_conn_id), self._client, MemoryStore())
        finally:
            self._client.close()

    def _states(self, ti: Any) -> list[str]:
        runs = ti.get_task_states(dag_id=ti.dag_id, task_ids=[self.shards_task_id], run_ids=[ti.run_id])
        return [str(state) for state in runs.get(ti.run_id, {}).values()]


def sharded_sync(*, task_id: str, shards: int, at_once: int | None = None, **arguments: Any) -> TaskGroup:
    """
    Return a sync that several workers run side by side: by the hash of its sync key, each row is of one shard.

    The group has two tasks: ``task_id``, mapped, with one task instance per shard, and ``<task_id>_result``, which
    returns what :class:`~airflow_provider_census.operators.sync.CensusSyncOperator` returns, and fails by
    ``max_invalid`` and ``max_rejected`` of the whole sync. A mirror deletes there, when all shards have succeeded:
    ``max_deletes`` and ``allow_empty`` are decided once.

    :param shards: how many; another number is another sync to a ``Watermark``, see docs/shards.md.
    :param at_once: how many of them run at a time, all by default; they share ``rate_share``.
    :param arguments: those of the operator; also of every operator (``retries``, ``pool`` …), for both tasks.
    :raises ConfigError: the sync is described wrongly.
    """
    if not 2 <= shards <= MOST:
        raise ConfigError(f"shards={shards!r}: give 2 to {MOST}, or take a CensusSyncOperator")
    at_once = min(at_once or shards, shards)
    with TaskGroup(f"{task_id}_shards", prefix_group_id=False, ui_color=CensusSyncOperator.ui_color) as group:
        settings = {name: value for name, value in arguments.items() if name != "trigger_rule"}
        closing = CensusClosingOperator(
            task_id=f"{task_id}_result", shards_task_id=task_id, shards=shards, trigger_rule="all_done", **settings
        )
        settings = {name: value for name, value in arguments.items() if name != "outlets"}
        parts = CensusSyncOperator.partial(
            **settings
            | _inlets(task_id, shards, arguments)
            | {
                "task_id": task_id,
                "closed_by": closing.task_id,
                "rate_share": closing.rate_share / at_once,
                "max_active_tis_per_dag": at_once,
                "map_index_template": "shard {{ task.shard }}",
            }
        ).expand(shard=[str(Shard(index, shards)) for index in range(shards)])
        parts >> closing
    return group


def _inlets(task_id: str, shards: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the inlets of the shards: Airflow takes those that a mapped operator gives itself for none."""
    delta, sync_id = arguments.get("delta"), arguments.get("sync_id")
    if not isinstance(delta, Watermark) or delta.state != "asset":
        return {}
    if not sync_id:
        raise ConfigError(f"{task_id}: state='asset' needs a sync_id: the asset is named by it")
    from airflow_provider_census.state.asset import state_asset

    states = [state_asset(Shard(index, shards).state_of(sync_id)) for index in range(shards)]
    return {"inlets": [*arguments.get("inlets", ()), *states]}
