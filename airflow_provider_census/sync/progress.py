"""
How far a run has come.

In: how each row ended. Out: at any moment the state that is true so far. Invariant: the watermark passes a row only
when the row arrived or is owed; a crash at any point loses nothing, and what arrived is not read as new again.
"""

from __future__ import annotations

import decimal
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import ThresholdExceeded
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.change import Change, Moment
from airflow_provider_census.sync.marks import any_version, digest, mark
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.values import Record

#: More rows than this are not owed by key: the run stops instead, and its state stays small.
MAX_OWED = 2_000

# With a lag, what arrived at so many cursor values may be remembered although it lies behind what is read again:
# looking at each by itself would take as long as all else that is remembered.
_FORGET_AT_ONCE = 1_000


class Progress:
    """
    The memory of a run that follows a cursor.

    Rows are opened in the order of their cursor and closed in any order. The watermark is the cursor of the last row
    before the first one still open.

    :param before: the state to go on from.
    :param behavior: what is done with the rows.
    :param lag: how far below the watermark the next run reads again; what arrived is remembered from there on.
    """

    def __init__(self, before: State, *, behavior: Behavior, lag: Any = None) -> None:
        self._before = before
        self._behavior = behavior
        self._lag = lag
        self._watermark = before.watermark
        self._open: deque[Change] = deque()
        # In the order the source sorts them: its collation need not be Python's.
        self._moments: deque[Moment] = deque()
        self._reached: Moment | None = None
        self._arrived_owed: set[bytes] = set()
        # Debts of earlier runs, until this run has met the row; and those of this run.
        self._old_debts = {str(key): key for key in before.owed}
        self._old_null_debt = before.owed_null_keys
        self._debts: dict[str, Any] = {}
        self._null_debt = False
        self._was_owed = frozenset(self._old_debts)
        # Rows being sent: those of earlier runs, until this run has met them; and since when, those of this run.
        self._old_doubts = set(before.in_doubt)
        self._doubts: dict[bytes, int] = {}
        self._unnamed = False
        self._overflow = False
        self._complete = False

    def was_owed(self, key: Any) -> bool:
        """Return whether the row with this key was owed when the run began: it is read by its key."""
        return self._before.owed_null_keys if key is None else str(key) in self._was_owed

    def was_settled(self, record: Record) -> bool:
        """Return whether an earlier run remembers that this record has arrived."""
        return bool(self._before.settled) and self._digest(record) in self._before.settled

    @property
    def owed(self) -> int:
        """Return how many rows are owed now; those without a key count as one."""
        return len(self._debts) + len(self._old_debts) + (self._null_debt or self._old_null_debt)

    def meet_doubt(self, change: Change) -> int | None:
        """Return since when an earlier run may have sent this row, None if none has; it is in doubt until settled."""
        if not self._old_doubts or change.record is None:
            return None
        sent = mark(change.record, self._behavior)
        for left in (sent, any_version(sent)):
            if left in self._old_doubts:
                self._old_doubts.discard(left)
                self._doubts[left] = self._before.in_doubt_since
                return self._before.in_doubt_since
        return None

    def intend(self, change: Change, at: int) -> None:
        """Take note that a row is about to be sent."""
        if change.record is not None:
            self._doubts[mark(change.record, self._behavior)] = at

    def known(self, change: Change) -> None:
        """Take note that what became of a row is known."""
        if self._doubts and change.record is not None:
            sent = mark(change.record, self._behavior)
            self._doubts.pop(sent, None)
            self._doubts.pop(any_version(sent), None)

    def open(self, changes: Iterable[Change]) -> None:
        """Take note of rows, in the order of the cursor; of one without a cursor there is nothing to take note of."""
        moments = self._moments
        last = moments[-1] if moments else None
        for change in changes:
            cursor = change.cursor
            if cursor is None:
                continue
            if last is None or last.cursor != cursor:
                last = Moment(cursor)
                moments.append(last)
            change.moment = last
            self._open.append(change)

    def arrived(self, change: Change) -> None:
        """Close a row for which nothing is left to do."""
        self.known(change)
        if change.key is not None and (self._old_debts or self._debts):
            self._old_debts.pop(str(change.key), None)
            self._debts.pop(str(change.key), None)
        if change.record is not None and change.cursor is not None:
            self._remember(change.record, change.moment)
        change.closed = True

    def owe(self, change: Change) -> None:
        """
        Close a row that did not arrive; it is read by its key from now on.

        A row too many to remember stays open: the watermark stays below it, and :meth:`check` says so.
        """
        # It may be one of those in doubt: invalid as it is, it cannot be told which.
        self._unnamed = self._unnamed or change.record is None
        if change.key is None:
            self._null_debt = True
        else:
            known = str(change.key) in self._debts or str(change.key) in self._old_debts
            if not known and len(self._debts) + len(self._old_debts) >= MAX_OWED:
                self._overflow = True
                return
            self._old_debts.pop(str(change.key), None)
            self._debts[str(change.key)] = change.key
        change.closed = True

    def check(self) -> None:
        """
        Check that reading on makes sense. Results of what is under way still have to be taken note of.

        :raises ThresholdExceeded: more rows did not arrive than can be remembered.
        """
        if self._overflow:
            raise ThresholdExceeded(
                f"more than {MAX_OWED:,} rows did not arrive; the run stops here. What arrived is committed, the "
                f"rest is read again by the next run"
            )

    def advance(self) -> None:
        """Move the watermark behind all rows closed so far that have none open before them."""
        while self._open and self._open[0].closed:
            closed = self._open.popleft()
            # With a lag, rows below the watermark are read again.
            if self._lag is None or not self._is_behind(closed.cursor):
                self._watermark, self._reached = closed.cursor, closed.moment
        if self._lag is None or len(self._moments) > len(self._open) + _FORGET_AT_ONCE:
            self._forget()

    def complete(self) -> None:
        """Every row was read: what earlier runs remembered and this one did not meet is gone from the model."""
        self._complete = True
        self._old_debts.clear()
        self._old_null_debt = False
        if not self._unnamed:
            self._old_doubts.clear()

    def reach(self, cursor: Any) -> None:
        """Move the watermark up to a value at or below which nothing is left open."""
        self.advance()
        if self._open:
            return
        # Text is sorted by the database's collation, which need not be Python's.
        if self._watermark is None or (not isinstance(cursor, str) and self._watermark < cursor):
            self._watermark = cursor
            if self._lag is None:
                self._moments.clear()  # all of them below
                self._reached = None

    def state(self) -> State:
        """Return the state that is true now."""
        self.advance()
        self._forget()
        kept = frozenset(self._arrived_owed).union(*(self._digests(moment.arrived) for moment in self._moments))
        since = [*self._doubts.values(), *([self._before.in_doubt_since] if self._old_doubts else [])]
        return replace(
            self._before,
            watermark=self._watermark,
            settled=kept if self._complete else kept | self._before.settled,
            owed=(*self._old_debts.values(), *self._debts.values()),
            owed_null_keys=self._null_debt or self._old_null_debt,
            in_doubt=frozenset(self._doubts) | self._old_doubts,
            in_doubt_since=min(since, default=0),
        )

    @property
    def watermark(self) -> Any:
        """Return the watermark as it stands."""
        return self._watermark

    def _remember(self, record: Record, moment: Moment | None) -> None:
        if moment is None:
            self._arrived_owed |= self._digests(record)
        elif moment.arrived is None and self._lag is None:
            moment.arrived = record
        else:
            # With a lag they are remembered for long, and digests are small.
            moment.arrived = self._digests(moment.arrived) | self._digests(record)

    def _digests(self, arrived: set[bytes] | Record | None) -> set[bytes]:
        if isinstance(arrived, Record):
            return {self._digest(arrived)}
        return arrived or set()

    def _digest(self, record: Record) -> bytes:
        return digest(record, by_key=self._behavior.adds)

    def _forget(self) -> None:
        """Forget what arrived below what the next run reads: it would be sent again only if it were read."""
        moments = self._moments
        if self._lag is None:
            while self._reached is not None and moments[0] is not self._reached:
                moments.popleft()
            return
        lowest = lowered(self._watermark, self._lag)
        while lowest is not None and moments and moments[0].cursor < lowest:
            moments.popleft()

    def _is_behind(self, cursor: Any) -> bool:
        return self._watermark is not None and bool(cursor < self._watermark)


def lowered(cursor: Any, lag: Any) -> Any:
    """
    Return the lowest value to read for a watermark.

    :raises TypeError: the lag is not of a kind that can be taken from the cursor.
    """
    if lag is None or cursor is None:
        return cursor
    if isinstance(cursor, decimal.Decimal) and isinstance(lag, float):
        lag = decimal.Decimal(str(lag))
    try:
        return cursor - lag
    except OverflowError:  # a date near the first one there is
        return cursor
