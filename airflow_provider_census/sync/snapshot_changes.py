"""
The rows that differ from what the destination last accepted, and the records to delete under mirror.

A row is compared again in every run until it arrived in its present form, so what was refused is owed without a list:
it is simply not in the snapshot. Nothing here remembers keys in memory: the snapshot is a table.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from airflow_provider_census.errors import GuardTripped
from airflow_provider_census.sync.model import Query, Source
from airflow_provider_census.sync.progress import Change
from airflow_provider_census.sync.result import Limit
from airflow_provider_census.sync.snapshot import SnapshotSql
from airflow_provider_census.sync.snapshot_doubts import SnapshotDoubts
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.values import Behavior, Outcome, Record, RowResult

_FLUSH_ROWS = 500  # one INSERT; four values each stay below every database's limit of bound parameters
_ONLY_NEW = (Behavior.APPEND, Behavior.SEND, Behavior.CREATE_ONLY, Behavior.DELETE)
_SENT = (Outcome.CREATED, Outcome.UPDATED, Outcome.UPSERTED, Outcome.SENT)


class Database(Source, Protocol):
    """A source that can also be written to."""

    def write(self, queries: Iterable[Query]) -> None:
        """Run ``queries`` in one transaction."""


class SnapshotChanges:
    """
    The comparison of a model with its snapshot.

    :param skip: take what is there as settled and send nothing (a baseline).
    :param everything: send unchanged rows too (full refresh).
    :param keep: write what arrived; a dry run does not.
    """

    watermark = None

    def __init__(
        self,
        database: Database,
        sql: SnapshotSql,
        doubts: SnapshotDoubts,
        before: State,
        *,
        key_at: int,
        behavior: Behavior,
        skip: bool,
        everything: bool,
        keep: bool,
    ) -> None:
        self._database = database
        self._sql = sql
        self._doubts = doubts
        self._before = before
        self._key_at = key_at
        self._only_new = behavior in _ONLY_NEW
        self._everything = everything
        self._keep = keep
        self._skip = skip
        self._arrived: dict[str, tuple[str, str, str, int]] = {}
        self._gone: list[str] = []
        # Identifiers of rows that did not arrive in this run: what they stand for may be there under another key.
        self._not_arrived: set[str] = set()

    def read(self) -> Iterator[Change]:
        """Yield the rows to send, first read to the end: the table they are compared with changes meanwhile."""
        if self._settle_baseline():
            return
        query = self._sql.changed(only_new=self._only_new, everything=self._everything)
        with tempfile.TemporaryFile() as spool:
            batches = 0
            for batch in self._database.stream(query):
                pickle.dump(batch, spool)
                batches += 1
            spool.seek(0)
            for _ in range(batches):
                for row in pickle.load(spool):
                    *row, key, digest = row
                    yield Change(row, row[self._key_at], snapshot=(key, digest))

    def _settle_baseline(self) -> bool:
        """Take what is there as settled, if this is the first run and asked for; return whether it was."""
        if not self._skip or self._one(self._sql.known())[0]:
            return False
        if self._keep:
            self._database.write([self._sql.baseline()])
        return True

    def verdict(self, change: Change, record: Record | None) -> RowResult | None:
        """Every row of the comparison is sent; it did not arrive as it is."""
        change.record_id = record.id if record else None
        change.in_doubt_since = None if self._everything else self._doubts.since(change)
        return None

    def intend(self, changes: Sequence[Change], at: int) -> None:
        """Remember the rows as in doubt."""
        for change in changes:
            self._doubts.intend(change, at)

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Forget the doubt: the rows are still to be sent."""
        for change in changes:
            self._doubts.known(change)

    def settle(self, change: Change, result: RowResult, *, held: bool = False) -> None:
        """Remember a record that arrived; forget one that was deleted."""
        assert change.snapshot is not None
        key, digest = change.snapshot
        arrived = result.outcome.arrived or held
        # One that is invalid now was not sent now, and one that is uncertain stays in doubt.
        if arrived or result.outcome is Outcome.REJECTED:
            self._doubts.known(change)
        if change.removed:
            if arrived:
                self._gone.append(key)
        elif arrived and change.record_id is not None:
            self._arrived[key] = (key, change.record_id, digest, int(held or result.outcome in _SENT))
        elif change.record_id is not None:
            self._not_arrived.add(change.record_id)
        if len(self._arrived) >= _FLUSH_ROWS or len(self._gone) >= _FLUSH_ROWS:
            self._flush()

    def finish(self) -> None:
        """Nothing is left to do: every batch was written as it arrived."""

    def state(self) -> State:
        """Write what arrived; the state itself only tells that there was a run."""
        self._flush()
        return State(target=self._before.target, mapping=self._before.mapping)

    # --- mirror ----------------------------------------------------------------------------------------------------

    def removals(self, *, max_deletes: Limit, allow_empty: bool) -> list[Change]:
        """
        Return the records to delete: sent by this sync, not deleted since, and gone from the model.

        :raises GuardTripped: they are too many, or the model is empty; nothing is deleted.
        """
        self._flush()
        _, sent = self._one(self._sql.known())
        removed = int(self._one(self._sql.removed(count=True))[0])
        if not removed:
            return []
        if not allow_empty and not self._one(self._sql.any_row())[0]:
            raise GuardTripped(
                f"the model has no rows; a mirror of it would delete all {sent} records this sync has sent. Nothing "
                f"was deleted. If that is meant, run it once with allow_empty=True"
            )
        allowed = (
            None if max_deletes is None else max_deletes if isinstance(max_deletes, int) else max_deletes * int(sent)
        )
        if allowed is not None and removed > allowed:
            raise GuardTripped(
                f"{removed} of the {sent} records this sync has sent are gone from the model; "
                f"max_deletes={max_deletes} allows {int(allowed)}. Nothing was deleted. "
                f"If that is meant, run it once with max_deletes={removed}"
            )
        changes = [
            Change((), key, snapshot=(key, ""), record_id=record_id, removed=True)
            for batch in self._database.stream(self._sql.removed())
            for key, record_id in batch
            if record_id not in self._not_arrived
        ]
        for change in changes:
            change.in_doubt_since = self._doubts.since(change)
        return changes

    def _one(self, query: Query) -> tuple[Any, ...]:
        return next(row for batch in self._database.stream(query) for row in batch)

    def _flush(self) -> None:
        arrived, gone = self._sql.put(list(self._arrived.values())), self._sql.forget(self._gone)
        queries = [*arrived, *gone, *self._doubts.statements()]
        if queries and self._keep:
            self._database.write(queries)
        self._arrived.clear()
        self._gone.clear()
