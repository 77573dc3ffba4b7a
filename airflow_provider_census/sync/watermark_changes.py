"""
The rows at or above a watermark, and the owed ones. :mod:`~airflow_provider_census.sync.progress` keeps count.
"""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.changes import Reader
from airflow_provider_census.sync.columns import resolve_column
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.progress import Progress, lowered
from airflow_provider_census.sync.state import State, encode
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.sync.values import Record, RowResult

_ONE_ORDER = frozenset((int, str, dt.date))  # types whose values all compare with each other
_ZONE = operator.attrgetter("tzinfo")
_PLAIN_ZONES = (None, dt.UTC)


class WatermarkChanges:
    """
    The rows at or above the watermark, then the owed ones by their keys.

    :param since: the watermark to start from; None reads all rows.
    :param skip: settle the rows at the highest cursor value without sending them (a baseline).
    :param reached: asked before the first row is read, returns a cursor value up to which it has all been read at the
        end, though the last row may stand below it: a shard has not every value.
    """

    def __init__(
        self,
        reader: Reader,
        delta: Watermark,
        before: State,
        *,
        behavior: Behavior,
        since: Any,
        skip: bool = False,
        reached: Query | None = None,
    ) -> None:
        self._reader = reader
        self._delta = delta
        self._column = resolve_column(delta.column, reader.columns)
        self._cursor_at = reader.columns.index(self._column)
        self._before = before
        self._since = since
        self._remembers = bool(before.settled or before.in_doubt)
        self._skip = skip
        self._reached = reached
        self._reached_value: Any = None
        self._progress = Progress(
            replace(before, column=self._column, watermark=since), behavior=behavior, lag=delta.lag
        )
        self._followed: set[type] = set()
        self._finished = False
        self.expected: int | None = None

    @property
    def owed(self) -> int:
        """Return how many rows are to be read by their keys from now on."""
        return self._progress.owed

    def count(self) -> None:
        """Let the source count the rows of the delta; those owed are known."""
        if not self._skip:
            rows: int = self._reader.one(self._reader.sql.count(**self._bounds(self._lowered(self._since))))
            self.expected = rows + (len(self._before.owed) if self._since is not None else 0)

    @property
    def watermark(self) -> tuple[str, Any, Any]:
        """Return the cursor column and its watermark before and now."""
        return self._column, self._before.watermark, self._progress.watermark

    def read(self) -> Iterator[Sequence[Change]]:
        """
        Yield the rows of the delta in the order of their cursor, then the owed ones.

        The owed ones are read last: a row that is also in the delta is left to them and sent with the newer values.
        """
        if self._reached is not None:
            self._reached_value = self._comparable(self._reader.one(self._reached))
        for changes in self._rows():
            # Raised here, on the side of the source, it leaves time to take note of what is under way.
            self._progress.check()
            yield changes

    def verdict(self, change: Change, record: Record | None) -> RowResult | None:
        """Return ``unchanged`` for a row that arrived before, ``invalid`` for one without a cursor."""
        if change.cursor is None and self._delta.on_null == "invalid":
            return RowResult(Outcome.INVALID, f"the cursor {self._column} is NULL")
        if record is None:
            return RowResult(Outcome.SKIPPED, "baseline") if self._skip else None
        change.record = record
        if self._skip:
            return RowResult(Outcome.SKIPPED, "baseline")
        if self._remembers:
            if not change.owed and self._progress.was_settled(record):
                return RowResult(Outcome.UNCHANGED)
            change.in_doubt_since = self._progress.meet_doubt(change)
        return None

    def intend(self, changes: Sequence[Change], at: int) -> None:
        """Remember the rows as in doubt."""
        for change in changes:
            if not self._always_read(change):
                self._progress.intend(change, at)

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Forget the doubt: the rows are still to be sent."""
        for change in changes:
            self._progress.known(change)

    def settle(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        """Remember the rows as arrived or as owed."""
        progress = self._progress
        for change, result in results:
            if self._always_read(change):
                continue
            if result.outcome.arrived or change.held:
                progress.arrived(change)
            else:
                # One that is invalid now was not sent now, and one that is uncertain stays in doubt.
                if result.outcome is Outcome.REJECTED:
                    progress.known(change)
                progress.owe(change)
        progress.advance()

    def finish(self) -> None:
        """Forget what the last run remembered and this one did not meet."""
        self._progress.check()
        self._finished = True
        self._progress.complete()
        if self._reached_value is not None:
            self._progress.reach(self._reached_value)

    def state(self) -> State | None:
        """Return what is settled and owed so far. Half a baseline is none: the next run would send what it left out."""
        return None if self._skip and not self._finished else self._progress.state()

    def _always_read(self, change: Change) -> bool:
        """Return whether every run reads the row, whatever became of it."""
        return change.cursor is None and not change.owed

    # --- reading ---------------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Sequence[Change]]:
        if self._skip:
            yield from self._baseline()
            return
        yield from self._delta_rows(self._lowered(self._since), leave_owed=self._since is not None)
        if self._since is not None:
            yield from self._owed_rows()

    def _delta_rows(self, since: Any, *, leave_owed: bool) -> Iterator[Sequence[Change]]:
        query = self._reader.sql.rows(self._reader.key, lower=self._reader.lower, **self._bounds(since))
        progress = self._progress
        for changes in self._changes(query):
            progress.open(changes)
            if leave_owed:
                for change in changes:
                    change.closed = progress.was_owed(change.key)
                changes = [change for change in changes if not change.closed]
            yield changes

    def _owed_rows(self) -> Iterator[Sequence[Change]]:
        owed, null_keys = self._before.owed, self._before.owed_null_keys
        for query in self._reader.sql.by_keys(self._reader.key, owed, null_keys=null_keys, lower=self._reader.lower):
            for changes in self._changes(query, owed=True):
                yield [change for change in changes if self._progress.was_owed(change.key)]

    def _bounds(self, since: Any) -> dict[str, Any]:
        return {"cursor": self._column, "since": since, "nulls": self._delta.on_null != "exclude"}

    def _baseline(self) -> Iterator[Sequence[Change]]:
        if self._reached is not None:
            highest = self._reached_value
        else:
            highest = self._reader.one(self._reader.sql.highest(self._column))
        if highest is not None:
            yield from self._delta_rows(self._lowered(highest), leave_owed=False)

    def _changes(self, query: Query, *, owed: bool = False) -> Iterator[Sequence[Change]]:
        for rows, records in self._reader.mapped(query):
            cursors = self._comparables([row[self._cursor_at] for row in rows])
            for kind in set(map(type, cursors)) - self._followed:
                # Both refuse cursors of a kind that cannot be followed: now, not when a row was sent already.
                one = next(cursor for cursor in cursors if type(cursor) is kind)
                encode(one)
                self._lowered(one)
                self._followed.add(kind)
            yield list(map(Change, map(self._reader.key_of, rows), records, cursors, itertools.repeat(owed)))

    def _comparables(self, cursors: list[Any]) -> list[Any]:
        """Return cursors of which each compares with each other, if their kinds do."""
        kinds = set(map(type, cursors))
        zones = list(map(_ZONE, cursors)) if kinds == {dt.datetime} else ()
        if kinds <= _ONE_ORDER or sum(map(zones.count, _PLAIN_ZONES)) == len(cursors):
            return cursors
        return list(map(self._comparable, cursors))

    @staticmethod
    def _comparable(value: Any) -> Any:
        if isinstance(value, dt.datetime):
            # In a zone with summer time a lag would be an hour off, and the two 2:30 of one night equal.
            return value if value.tzinfo in _PLAIN_ZONES else value.astimezone(dt.UTC)
        return None if isinstance(value, (float, decimal.Decimal)) and math.isnan(value) else value

    def _lowered(self, value: Any) -> Any:
        try:
            return lowered(value, self._delta.lag)
        except TypeError:
            raise ConfigError(
                f"lag {self._delta.lag!r} cannot be taken from the cursor {self._column}, a {type(value).__name__}; "
                f"give a timedelta for dates and times, a number for numbers"
            ) from None
