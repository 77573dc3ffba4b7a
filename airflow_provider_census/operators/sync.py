"""The operator that runs a sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import (
    AccountingError,
    AuthError,
    CensusError,
    ConfigError,
    GuardTripped,
    StateError,
    ThresholdExceeded,
    Unavailable,
)
from airflow_provider_census.operators.declaration import DeclarationError, check_declaration, parse_flag
from airflow_provider_census.operators.templates import TemplatedOperator
from airflow_provider_census.sync.behavior import parse_behavior
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import MappingDeclaration
from airflow_provider_census.sync.limit import parse_limit
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.shard import Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.state.kept import KeptStore
    from airflow_provider_census.state.shard import ShardStore
    from airflow_provider_census.state.xcom import XComStore
    from airflow_provider_census.sync.definition import Sync
    from airflow_provider_census.sync.result import RunResult
    from airflow_provider_census.transport.client import Client

# Trying again cannot change what these say.
FINAL = (AccountingError, AuthError, ConfigError, GuardTripped, StateError, ThresholdExceeded)


class CensusSyncOperator(TemplatedOperator):
    """
    Push the rows of a model into a destination, sending only what changed.

    :param source_conn_id: connection to the database; its hook must be a ``DbApiHook``.
    :param sql: the model, one SELECT or a ``.sql`` file. (templated)
    :param parameters: values bound to the model. (templated)
    :param destination_conn_id: connection to the destination; its type says which one.
    :param destination_object: what the rows become there. (templated)
    :param behavior: ``update_or_create``, ``update_only``, ``create_only``, ``delete``, ``mirror``, ``append`` or
        ``send``. (templated)
    :param sync_key: ``{destination identifier: model column}``, exactly one.
    :param mapping: ``{destination field: column name, Column, Constant or Template}``, or ``SyncAll``; dots nest.
    :param delta: how a run finds what changed: ``Watermark(column)``, ``Snapshot()`` or ``FullRefresh()``.
    :param max_invalid: rows that may end invalid: an int counts rows, a float is a share of the rows tried, None is no
        limit. What was accepted is committed before the task fails. (templated)
    :param max_rejected: the same for rows refused by the destination, uncertain ones included. (templated)
    :param max_deletes: records one run may delete under mirror: an int, or a share of those this sync has sent. More,
        and nothing is deleted and the task fails. (templated)
    :param allow_empty: let a mirror delete everything when the model has no rows. (templated)
    :param options: settings of the destination object.
    :param rate_share: the part of the destination's published limit (of rate, or of requests in flight) this task may
        use, 0 < share ≤ 1.
    :param dry_run: plan and log, send nothing, move no state. (templated)
    :param full_refresh: send every row in this run, and keep tracking. (templated)
    :param sync_id: identity of the sync's state; ``<dag_id>.<task_id>`` by default. Mapped tasks add their map index to
        it, unless each is given its own by ``expand()``: do so where the order of the tasks may change.
    :param shard: the part of the rows this task sends, as ``0/4``: the first of four by a hash of the sync key. See
        :func:`~airflow_provider_census.operators.shards.sharded_sync`, which sets it; so it does ``closed_by``, the
        task that closes the shards of one run.
    """

    template_fields: Sequence[str] = (
        "sql",
        "parameters",
        "destination_object",
        "behavior",
        "max_invalid",
        "max_rejected",
        "max_deletes",
        "allow_empty",
        "dry_run",
        "full_refresh",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        source_conn_id: str,
        sql: str,
        destination_conn_id: str,
        destination_object: str,
        sync_key: Mapping[str, str],
        mapping: MappingDeclaration,
        behavior: str = "update_or_create",
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        delta: Delta | None = None,
        max_invalid: int | float | str | None = 0,
        max_rejected: int | float | str | None = 0,
        max_deletes: int | float | str | None = 0.1,
        allow_empty: bool | str = False,
        options: Mapping[str, Any] | None = None,
        rate_share: float = 1.0,
        dry_run: bool | str = False,
        full_refresh: bool | str = False,
        sync_id: str | None = None,
        shard: str | None = None,
        closed_by: str | None = None,
        **kwargs: Any,
    ) -> None:
        # Two runs of one sync would send the same rows: let the scheduler hold the second one back.
        kwargs.setdefault("max_active_tis_per_dag", 1)
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id
        self.sql = sql
        self.parameters = parameters
        self.destination_conn_id = destination_conn_id
        self.destination_object = destination_object
        self.behavior = behavior
        self.sync_key = sync_key
        self.mapping = mapping
        self.delta = delta if delta is not None else FullRefresh()
        self.max_invalid = max_invalid
        self.max_rejected = max_rejected
        self.max_deletes = max_deletes
        self.allow_empty = allow_empty
        self.options = {} if options is None else options
        self.rate_share = rate_share
        # Airflow's own dry_run() only renders templates; the argument's name is what DAG authors look for.
        self.dry_run = dry_run  # type: ignore[assignment, method-assign]
        self.full_refresh = full_refresh
        self.sync_id = sync_id
        self.shard = shard
        self.closed_by = closed_by
        self._client: Client | None = None
        try:
            check_declaration(self)
        except ConfigError as error:
            raise DeclarationError(str(error)) from None
        if isinstance(self.delta, Watermark) and self.delta.state == "asset":
            if not sync_id:
                raise DeclarationError("state='asset' needs a sync_id: the asset is named by it")
            from airflow_provider_census.state.asset import state_asset

            self.inlets = [*self.inlets, state_asset(sync_id)]

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the sync once and return its result."""
        # Imported here: parsing a DAG needs none of it.
        from airflow_provider_census.operators.metrics import Metrics
        from airflow_provider_census.sources.dbapi import DbApiSource
        from airflow_provider_census.state import open_spill, open_store
        from airflow_provider_census.state.shard import ShardStore
        from airflow_provider_census.state.xcom import recover
        from airflow_provider_census.sync.run import run_sync

        ti = context["ti"]
        sync_id = self._identity(ti)
        shard = Shard.parse(self.shard) if self.shard else None
        together = [ti.task_id, self.closed_by] if self.closed_by else []
        recover(context)
        try:
            check_declaration(self)
            sync = replace(self._resolve(sync_id), shard=shard)
            adds = sync.destination.behavior.adds

            def open_state(state_id: str, *, forget: bool) -> XComStore | KeptStore:
                spill = open_spill(self.delta, state_id, self.source_conn_id, adds=adds, forget=forget)
                return open_store(self.delta, context, state_id, spill, together)

            own = open_state(shard.state_of(sync_id) if shard else sync_id, forget=sync.full_refresh)
            store = ShardStore(own, open_state(sync_id, forget=True), shard) if shard and shard.index else own
            source = DbApiSource.of(self.source_conn_id)
        except CensusError as error:
            raise AirflowFailException(str(error)) from None
        assert self._client is not None
        doubled_by_retry = self._doubled_by_retry(store) if adds else ""
        if doubled_by_retry and self.retries:
            self.log.warning("Should this try be killed, its retry doubles rows: %s", doubled_by_retry)
        self.log.info("::group::Sync %s%s: how it goes", sync_id, f", shard {shard}" if shard else "")
        try:
            result, failure = run_sync(sync, source, self._client, store, Metrics(ti, sync.destination))
        finally:
            self.log.info("::endgroup::")
            self._client.close()
        if shard and result.complete and not (isinstance(failure, Unavailable) and ti.try_number <= ti.max_tries):
            # How many rows may fail is decided over the whole sync; but a destination that was not well may be by now.
            failure = None
        self._log_result(result, stopped=failure is not None)
        if failure is None:
            return result.to_json()
        # A task that fails returns nothing; people look here first.
        ti.xcom_push(key="return_value", value=result.to_json())
        if isinstance(failure, FINAL):
            raise AirflowFailException(str(failure)) from None
        left = result.tally.counts[Outcome.SENT] + result.tally.counts[Outcome.UNCERTAIN]
        if left and doubled_by_retry:
            raise AirflowFailException(f"{failure}. Not retried: {doubled_by_retry}") from None
        raise failure

    def on_kill(self) -> None:
        """Stop sending; what was accepted so far is committed."""
        if self._client is not None:
            self._client.stop()

    def _doubled_by_retry(self, store: XComStore | KeptStore | ShardStore) -> str:
        """Return why a retry would send again what this try has sent, nothing if it would not."""
        if isinstance(self.delta, FullRefresh):
            return "a full refresh does not remember what it has sent, and would send it again"
        if isinstance(self.delta, Watermark) and not store.survives_retries:
            return (
                "before Airflow 3.3 a retry does not know what this try has sent, and would send it again; the next "
                "run continues behind it. With Watermark(state=<a connection id>) a retry knows"
            )
        return ""

    def _identity(self, ti: Any) -> str:
        """Return the identity of the state: one that all mapped tasks of a declaration share is not enough."""
        from airflow.sdk.definitions.mappedoperator import MappedOperator

        identity = self.sync_id or f"{ti.dag_id}.{ti.task_id}"
        if self.shard or ti.map_index is None or ti.map_index < 0:
            return identity
        declared = self.dag.get_task(self.task_id)
        expanded = isinstance(declared, MappedOperator) and "sync_id" not in declared.partial_kwargs
        return identity if self.sync_id and expanded else f"{identity}[{ti.map_index}]"

    def _resolve(self, sync_id: str) -> Sync:
        """Return the sync with all templates rendered and all names looked up."""
        from airflow_provider_census.hooks.base import destination_hook
        from airflow_provider_census.sources.dbapi import DbApiSource
        from airflow_provider_census.sync.definition import Sync
        from airflow_provider_census.sync.model import Model

        hook = destination_hook(self.destination_conn_id, rate_share=self.rate_share)
        ((identifier, key_column),) = self.sync_key.items()
        destination = hook.bind(
            self.destination_object, parse_behavior(self.behavior), identifier, self.options, sync_id=sync_id
        )
        self._client = hook.get_conn()
        snapshot_database = None
        if isinstance(self.delta, Snapshot) and self.delta.conn_id:
            snapshot_database = DbApiSource.of(self.delta.conn_id, "Snapshot(conn_id=…): connection")
        return Sync(
            model=Model(self.sql, self.parameters),
            destination=destination,
            key_column=key_column,
            mapping=self.mapping,
            delta=self.delta,
            max_invalid=parse_limit("max_invalid", self.max_invalid),
            max_rejected=parse_limit("max_rejected", self.max_rejected),
            max_deletes=parse_limit("max_deletes", self.max_deletes),
            allow_empty=parse_flag("allow_empty", self.allow_empty),
            snapshot_database=snapshot_database,
            dry_run=parse_flag("dry_run", cast("bool | str", self.dry_run)),
            full_refresh=parse_flag("full_refresh", self.full_refresh),
        )

    def _log_result(self, result: RunResult, *, stopped: bool) -> None:
        tally = result.tally
        nothing = "stopped before the first row had an outcome" if stopped else "nothing to do"
        counts = ", ".join(f"{tally.counts[o]} {o.value}" for o in Outcome if tally.counts[o]) or nothing
        self.log.info(
            "%s %s, %s%s: %d rows read: %s; %d requests, %d retries, %.1f s",
            result.destination,
            result.object,
            result.behavior,
            " (dry run)" if result.dry_run else "",
            tally.read,
            counts,
            result.requests,
            result.retries,
            result.seconds,
        )
        if result.watermark and result.watermark[1:] != (None, None):
            self.log.info("Watermark %s: %s → %s", *result.watermark)
        for outcome, entries in tally.samples.items():
            for entry in entries:
                self.log.warning("%s: key %r: %s", outcome.value, entry["key"], entry["reason"])
