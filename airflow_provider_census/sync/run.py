"""
One run of a sync: model → delta → mapping → behavior → delivery → result.

The order is: read, send, outcome of every record, commit. Whatever ends the run, what the destination accepted until
then is committed first.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import CensusError, StateFull
from airflow_provider_census.sync.adoption import check_adoption, look_up, needs_look_up
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.changes import Changes, Reader
from airflow_provider_census.sync.columns import check_columns, resolve_column
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delivery import deliver, workers
from airflow_provider_census.sync.delta import FullRefresh, Snapshot
from airflow_provider_census.sync.doubt import settle_doubts
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.model import ModelSql
from airflow_provider_census.sync.open_changes import open_changes
from airflow_provider_census.sync.open_snapshot import open_snapshot
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.pace import Pace
from airflow_provider_census.sync.planning import Planned, Planner, few
from airflow_provider_census.sync.rehearsal import Rehearsal
from airflow_provider_census.sync.result import RunResult, Tally
from airflow_provider_census.sync.snapshot_changes import SnapshotChanges
from airflow_provider_census.sync.standing import Observer
from airflow_provider_census.sync.state import StateStore
from airflow_provider_census.sync.statement import Source
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.client import Client

log = logging.getLogger(__name__)

_CHECKPOINT_S = 5.0
# Where a row must not be sent twice, what is not saved when the worker is killed is in doubt.
_CAREFUL_S = 0.5


def run_sync(
    sync: Sync, source: Source, client: Client, store: StateStore, observe: Observer | None = None
) -> tuple[RunResult, CensusError | None]:
    """
    Run ``sync`` once.

    :param observe: is told now and then how the run stands, and at the end; of a dry run it hears nothing.
    :return: what was done, and the error that ended the run early or fails it, if any. What was accepted is committed
        in both cases.
    """
    run = _Run(sync, source, client, store, observe)
    started = time.monotonic()
    failure: CensusError | None = None
    estimate: dict[str, float] | None = None
    complete = False
    try:
        with run.pace:
            run.prepare()
            if sync.dry_run:
                estimate = run.rehearse()
            else:
                run.execute()
        if not sync.dry_run:
            run.tally.remedy = "" if sync.destination.finds else sync.destination.finds_with
            failure = run.tally.exceeded(sync.max_invalid, sync.max_rejected)
        complete = True
    except CensusError as error:
        failure = error
        run.tally.stopped()
    return (
        RunResult(
            destination=sync.destination.name,
            object=sync.destination.object_name,
            behavior=sync.destination.behavior.value,
            delta=sync.delta.name,
            dry_run=sync.dry_run,
            tally=run.tally,
            watermark=run.watermark,
            requests=client.traffic.requests,
            retries=client.traffic.retries,
            seconds=time.monotonic() - started,
            estimate=estimate,
            complete=complete,
        ),
        failure,
    )


class _Run:
    def __init__(self, sync: Sync, source: Source, client: Client, store: StateStore, observe: Observer | None) -> None:
        self._sync = sync
        self._source = source
        self._client = client
        self._store = store
        self._changes: Changes | None = None
        self._sequence = 0
        self._saved_at = time.monotonic()
        self._full: StateFull | None = None
        self.tally = Tally()
        self.pace = Pace(
            client, sync.destination, source.dialect, self.tally, observe=None if sync.dry_run else observe
        )

    @property
    def watermark(self) -> tuple[str, Any, Any] | None:
        return self._changes.watermark if self._changes else None

    def prepare(self) -> None:
        """Check everything that can be checked before the first row: model, mapping, state, destination."""
        sync, destination = self._sync, self._sync.destination
        sql = whole = ModelSql(sync.model, dialect=self._source.dialect, paramstyle=self._source.paramstyle)
        columns = self._source.columns(sql.probe())
        check_columns(columns)
        key = resolve_column(sync.key_column, columns)
        check_adoption(sync.delta, destination)
        model = sync.model
        if sync.shard is not None:
            model = replace(model, part=(sync.shard, key))
            sql = ModelSql(model, dialect=self._source.dialect, paramstyle=self._source.paramstyle)
        mapper = Mapper(sync.mapping, key, columns, destination)
        target = destination.target(self._client.endpoint, mapper.constants)
        before = self._store.load()
        self._sequence = before.sequence if before else 0
        self._remapped = before is not None and before.mapping != mapper.fingerprints
        if isinstance(sync.delta, Snapshot):
            self._changes = open_snapshot(
                sync.delta,
                self._source,
                sync.snapshot_database,
                model,
                mapper,
                destination,
                columns=columns,
                target=target,
                before=before,
                full_refresh=sync.full_refresh,
                keep=not sync.dry_run,
                closes=sync.closes,
            )
        else:
            self._changes = open_changes(
                sync.delta,
                Reader(
                    self._source, sql, columns, mapper, lower=destination.identifier.lower, stopped=self._client.stopped
                ),
                destination.behavior,
                before=before,
                lost=before is None and self._store.lost(),
                target=target,
                mapping=mapper.fingerprints,
                full_refresh=sync.full_refresh,
                whole=whole if sync.shard else None,
                shards=sync.shard.of if sync.shard else 1,
            )
        self._planner = Planner(destination, mapper, self._changes, self._settle)
        self._client.run(destination.prepare(mapper.fields))

    def execute(self) -> None:
        """Send what changed. The state is committed however this ends."""
        assert self._changes is not None
        try:
            if self._remapped:
                # Should this run be killed, and the next be as the last one was: nothing is settled for that any more.
                self._save()
            self._deliver(self._updates())
            # Behind the updates: a record that is there under another key now must not be deleted.
            self._deliver(self._deletions())
            self._changes.finish()
        finally:
            self._save()
        self._check_room()
        self.tally.check()

    def rehearse(self) -> dict[str, float]:
        """Count what would be sent, send nothing; return the requests and seconds it would take."""
        rehearsal = Rehearsal(self._sync.destination, self._client)
        for stage in (self._updates(), self._deletions()):
            with (
                closing(stage),
                closing(settle_doubts(stage, self._sync.destination, None, self._settle)) as operations,
            ):
                for change, operation in itertools.chain.from_iterable(operations):
                    result = rehearsal.add(operation, looked_up=needs_look_up(change, operation))
                    self._settle([(change, result)])
        self.tally.check()
        return rehearsal.finish(self.tally)

    def _deliver(self, stage: Generator[list[Planned], None, None]) -> None:
        destination, client = self._sync.destination, self._client
        with (
            workers(destination, client) as pool,
            closing(stage),
            closing(settle_doubts(stage, destination, client, self._settle)) as certain,
            closing(look_up(certain, destination, client, pool, self._settle)) as operations,
            closing(deliver(itertools.chain.from_iterable(operations), destination, client, self, pool)) as batches,
        ):
            for batch in batches:
                self._settle(batch)
                self._checkpoint()

    def _updates(self) -> Generator[list[Planned], None, None]:
        if self._sync.closes:
            return
        assert self._changes is not None
        self.pace.asked(self._changes)
        with closing(self._rows(self._changes)) as rows:
            yield from self._planner.updates(rows)

    def _rows(self, changes: Changes) -> Generator[Sequence[Change], None, None]:
        for rows in few(changes.read()):
            # Raised here, on the side of the source, it leaves time to take note of what is under way.
            self._check_room()
            self.pace.row()
            self.tally.read += len(rows)
            yield rows

    def _deletions(self) -> Generator[list[Planned], None, None]:
        if self._sync.destination.behavior is not Behavior.MIRROR or self._sync.shard is not None:
            return
        assert isinstance(self._changes, SnapshotChanges)
        if self._sync.closes:
            self._changes.look_back()
        with closing(self._removed(self._changes)) as removed:
            yield from self._planner.deletions(removed)

    def _removed(self, changes: SnapshotChanges) -> Generator[Sequence[Change], None, None]:
        rows = changes.removals(max_deletes=self._sync.max_deletes, allow_empty=self._sync.allow_empty)
        for removed in few(rows):
            self.tally.removed += len(removed)
            yield removed

    # --- doubts ----------------------------------------------------------------------------------------------------

    def intend(self, tokens: Sequence[Change]) -> None:
        """Save that these rows are about to be sent; see :class:`~airflow_provider_census.sync.journal.Journal`."""
        assert self._changes is not None
        self._changes.intend(tokens, int(time.time()) if self._sync.destination.finds else 0)
        try:
            self._save()
            self._check_room()
        except BaseException:
            self.withdraw(tokens)
            raise

    def withdraw(self, tokens: Sequence[Change]) -> None:
        """Take back that they were sent; saved with what comes next."""
        assert self._changes is not None
        self._changes.withdraw(tokens)

    def _settle(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        assert self._changes is not None
        destination = self._sync.destination
        self.tally.add(results)
        self._planner.release(change for change, _ in results)
        uncertain = [change for change, result in results if result.outcome is Outcome.UNCERTAIN]
        for change in uncertain:
            # Where it can be looked for, the next run does that first.
            looked = change.in_doubt_since is not None or not destination.finds
            change.held = change.once and looked and destination.on_uncertain == "hold"
            self.tally.held += change.held and not isinstance(self._sync.delta, FullRefresh)
        self._changes.settle(results)
        if uncertain and not self._sync.dry_run:
            # All of them, and before that is saved: the result has but a sample, and is lost if this run is killed.
            log.warning("%d rows ended uncertain: %s", len(uncertain), ", ".join(repr(c.key) for c in uncertain))

    def _checkpoint(self) -> None:
        """Commit now and then."""
        if time.monotonic() - self._saved_at >= (_CAREFUL_S if self._planner.careful else _CHECKPOINT_S):
            self._save()

    def _check_room(self) -> None:
        if self._full is not None:
            raise self._full

    def _save(self) -> None:
        state = self._changes.state() if self._changes else None
        if state is not None:
            self._sequence += 1
            self._full = None
            try:
                self._store.save(replace(state, sequence=self._sequence))
            except StateFull as error:
                self._full = error
        self._saved_at = time.monotonic()
