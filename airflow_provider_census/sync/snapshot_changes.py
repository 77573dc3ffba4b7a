"""
The rows that differ from what the destination last accepted, and the records to delete under mirror.

A row is compared again in every run until it arrived in its present form, so what was refused is owed without a list:
it is simply not in the snapshot. Before a record is touched that the snapshot knows, it is marked as in doubt there: a
row that goes back to what it was is sent again, whatever became of what was sent in between. Nothing here remembers
keys in memory: the snapshot is a table.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync import guard
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.limit import Limit
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.snapshot import SnapshotSql
from airflow_provider_census.sync.snapshot_doubts import SnapshotDoubts
from airflow_provider_census.sync.snapshot_moves import Moves
from airflow_provider_census.sync.snapshot_table import GONE, IN_DOUBT
from airflow_provider_census.sync.snapshot_writes import SnapshotWrites
from airflow_provider_census.sync.spool import spooled
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.statement import Query, only_row
from airflow_provider_census.sync.tables import Database
from airflow_provider_census.sync.target import check_follows
from airflow_provider_census.sync.values import Record, RowResult

log = logging.getLogger(__name__)

_MAPPED_ROWS, _DOUBTED_ROWS = 500, 5_000  # in memory, with all their values
_ONLY_NEW = (Behavior.APPEND, Behavior.SEND, Behavior.CREATE_ONLY)
# What the snapshot says of a record: this sync put it there, it did not, there was none to update.
_OURS, _THEIRS, _NONE = 1, 0, -1
_SENT = (Outcome.CREATED, Outcome.UPDATED, Outcome.UPSERTED, Outcome.SENT)


class SnapshotChanges:
    """
    The comparison of a model with its snapshot.

    :param now: the state as far as it is known before the first row.
    :param known: whether the snapshot has rows; ``stale``: what they stand for may be another by now.
    :param skip: take what is there as settled and send nothing (a baseline).
    :param adopt: compare rows the snapshot does not have with what the destination holds (a baseline).
    :param everything: send unchanged rows too (full refresh).
    :param keep: write what arrived; a dry run does not.
    :param shard: the model is a shard; the snapshot is that of all of them.
    :param follows: the state of another delta, of whose rows none may be sent again.
    """

    watermark = None

    def __init__(
        self,
        database: Database,
        sql: SnapshotSql,
        doubts: SnapshotDoubts,
        now: State,
        *,
        mapper: Mapper,
        behavior: Behavior,
        known: bool,
        stale: bool,
        skip: bool,
        adopt: bool,
        everything: bool,
        keep: bool,
        shard: bool = False,
        follows: State | None = None,
    ) -> None:
        self._database = database
        self._sql = sql
        self._doubts = doubts
        self._now = now
        self._mapper = mapper
        self._behavior = behavior
        self._only_new = behavior in _ONLY_NEW
        self._asked = everything
        self._everything = everything or (stale and not behavior.adds)
        self._keep = keep
        self._known = known
        self._skip = skip and (shard or not known)
        self._adopt = self._adopting = adopt
        self._shard = shard
        self._follows = follows
        self._begun = self._unseen = False
        self._writes = SnapshotWrites(database, sql, doubts, keep=keep, has_rows=known)
        self._moves = Moves(database, sql, mapper, known=known)
        self.expected: int | None = None
        self.owed = 0

    def count(self) -> None:
        """They are known: all rows are read before the first one is sent."""

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self) -> Iterator[Sequence[Change]]:
        """Yield the rows to send."""
        if not self._begin():
            rows = self._compare(only_new=self._only_new, everything=self._everything, expected=True)
            yield from self._doubted(rows)

    def look_back(self) -> None:
        """Look at what others have read and sent, the shards of the sync: deletions depend on it."""
        self._begun = True
        if not self._known:
            return
        for change in itertools.chain.from_iterable(self._compare(only_new=True, everything=False)):
            self._moves.spare(change)

    def _compare(self, *, only_new: bool, everything: bool, expected: bool = False) -> Iterator[Sequence[Change]]:
        """Yield the rows the comparison finds; ``expected``: they are those of the run."""
        rows = self._spooled(self._sql.changed(only_new=only_new, everything=everything), expected=expected)
        while chunk := list(itertools.islice(rows, _MAPPED_ROWS)):
            models = [row[:-3] for row in chunk]
            yield [
                Change(self._mapper.key(row), mapped, snapshot=(about[-3], about[-2]), sent=about[-1])
                for row, mapped, about in zip(models, self._mapper.records(models), chunk, strict=True)
            ]

    def _begin(self) -> bool:
        """Bring the snapshot up to date with the declaration; return whether that was all there is to do."""
        if self._keep and self._everything and not self._behavior.adds:
            # All at once: cut short, the run after it has the rest to send.
            self._database.write([self._sql.doubt_met() if self._shard else self._sql.doubt_all()])
        elif self._keep and self._sql.former:
            self._rebase()
        if self._skip and self._known:  # others may have written it in this very run
            self._skip = not self._one(self._sql.met())[0]
            if not self._skip and self._follows is not None:
                check_follows(self._follows, "a snapshot", settles=False)
        if self._keep and self._skip:
            self._database.write([self._sql.baseline()])
            self._writes.uncounted = True
        self._begun = True
        return self._skip

    def _rebase(self) -> None:
        try:
            self._database.write([self._sql.rebase()])
        except ConfigError as error:
            log.warning("Fields were left out of the mapping. All rows are sent again, as %s", error)
            self._sql.former = None

    def _spooled(self, query: Query, *, expected: bool = False) -> Iterator[tuple[Any, ...]]:
        """
        Yield the rows of ``query``, first read to the end: the tables they come from change meanwhile.

        :param expected: whether they are the rows of the run.
        """

        def counted() -> Iterator[Sequence[tuple[Any, ...]]]:
            rows = 0
            for batch in self._database.stream(query):
                rows += len(batch)
                yield batch
            if expected:
                self.expected = rows

        for batch in spooled(counted()):
            yield from batch

    def _doubted(self, rows: Iterator[Sequence[Change]]) -> Iterator[Sequence[Change]]:
        """Yield ``rows`` when the snapshot does not call settled any more what they may alter."""
        if not self._known or not self._keep or self._behavior.adds:
            yield from rows
            return
        changes = itertools.chain.from_iterable(rows)
        while chunk := list(itertools.islice(changes, _DOUBTED_ROWS)):
            keys = [change.snapshot[0] for change in chunk if change.snapshot and change.sent is not None]
            moved = [id for change in chunk if (id := self._moves.of(change)) is not None]
            queries = [*self._sql.doubt(keys), *self._sql.doubt(moved, by="record_id")]
            if queries:
                self._database.write(queries)
            yield chunk

    # --- settling --------------------------------------------------------------------------------------------------

    def verdict(self, change: Change, record: Record | None) -> RowResult | None:
        """Every row of the comparison is sent; it did not arrive as it is."""
        change.record_id = record.id if record else None
        change.in_doubt_since = None if self._asked else self._doubts.since(change)
        change.adopt = self._adopt and change.sent is None
        return None

    def intend(self, changes: Sequence[Change], at: int) -> None:
        """Remember the rows as in doubt."""
        for change in changes:
            self._doubts.intend(change, at)

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Forget the doubt: the rows are still to be sent."""
        for change in changes:
            self._doubts.known(change)

    def settle(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        """Remember records that arrived; forget those that were deleted."""
        for change, result in results:
            self._settle(change, result)
            if self._writes.full:
                self._writes.flush()

    def _settle(self, change: Change, result: RowResult) -> None:
        assert change.snapshot is not None
        key, digest = change.snapshot
        arrived = result.outcome.arrived or change.held
        self._unseen = self._unseen or (change.adopt and result.passing)
        self.owed += not arrived
        # One that is invalid now was not sent now, and one that is uncertain stays in doubt.
        if arrived or result.outcome is Outcome.REJECTED:
            self._doubts.known(change)
        if change.removed:
            if arrived:
                self._writes.drop(key)
        elif change.record_id is not None and arrived:
            self._put(change, digest, sent=self._ours(change, result.outcome))
        elif change.record_id is not None and result.outcome is Outcome.UNCERTAIN and self._behavior.updates:
            # It was sent, and is ours to delete.
            self._put(change, IN_DOUBT, sent=_OURS)
        else:
            self._moves.spare(change)

    def _ours(self, change: Change, outcome: Outcome) -> int:
        """Return whether the record that a row has settled is one that this sync put there."""
        if self._behavior is Behavior.DELETE:
            return _THEIRS
        if self._behavior is Behavior.UPDATE_ONLY and outcome is Outcome.SKIPPED:
            return _NONE
        return _OURS if change.held or outcome in _SENT or change.sent == _OURS else _THEIRS

    def _put(self, change: Change, digest: str, *, sent: int) -> None:
        assert change.snapshot is not None
        assert change.record_id is not None
        key, _ = change.snapshot
        self._writes.put(key, change.record_id, digest, sent)
        if not self._keep:
            self._moves.spare(change)
        elif (sent != _THEIRS or digest == GONE) and (id := self._moves.of(change)) is not None:
            self._writes.move(id)

    def finish(self) -> None:
        """Look whether anything is left; what could not be looked up, the next run looks up."""
        self._adopting = self._unseen
        self._doubts.complete()
        self._writes.flush()
        if self._writes.uncounted and self._keep:
            self._writes.has_rows = bool(self._one(self._sql.known())[0])

    def state(self) -> State | None:
        """Write what arrived; the state itself only tells what was written. None as long as nothing could be."""
        if not self._begun:
            return None
        self._writes.flush()
        doubts = self._doubts.count
        return replace(self._now, snapshot=self._writes.has_rows, snapshot_doubts=doubts, adopting=self._adopting)

    # --- mirror ----------------------------------------------------------------------------------------------------

    def removals(self, *, max_deletes: Limit, allow_empty: bool) -> Iterator[Sequence[Change]]:
        """
        Yield the records to delete: sent by this sync, not deleted since, and gone from the model.

        :raises GuardTripped: they are too many, or the model is empty; nothing is deleted.
        """
        self._writes.flush()
        sent = int(self._one(self._sql.known())[1])
        removed = int(self._one(self._sql.removed(count=True))[0])
        if not removed:
            return
        if not allow_empty and not self._one(self._sql.any_row())[0]:
            raise guard.empty(sent)
        if self._moves.spared:
            removed = sum(map(len, self._removed()))
        guard.check(removed, sent, max_deletes)
        self.expected = (self.expected or 0) + removed
        for changes in self._doubted(self._removed()):
            for change in changes:
                change.in_doubt_since = self._doubts.since(change)
            yield changes

    def _removed(self) -> Iterator[Sequence[Change]]:
        rows = self._spooled(self._sql.removed())
        while chunk := list(itertools.islice(rows, _MAPPED_ROWS)):
            yield [
                Change(key, snapshot=(key, GONE), sent=_OURS, record_id=record_id, removed=True)
                for key, record_id in chunk
                if record_id not in self._moves.spared
            ]

    def _one(self, query: Query) -> tuple[Any, ...]:
        return only_row(self._database, query)
