"""
What is to be done with each row.

In: rows the delta found. Out: one operation each, or how the row ends without being sent. Two rows of one record are
never under way together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.changes import Changes
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.statement import batched
from airflow_provider_census.sync.values import Operation, Record, RowResult

Planned = tuple[Change, Operation]
Settle = Callable[[Sequence[tuple[Change, RowResult]]], None]

# So many are planned, and encoded, at a time: they may be large.
_AT_ONCE = 100


def few(rows: Iterable[Sequence[Change]]) -> Generator[Sequence[Change], None, None]:
    """Yield ``rows``, no more at a time than are to be planned at once."""
    for some in rows:
        yield from batched(some, _AT_ONCE)


class Planner:
    """
    The plan of one run.

    :param settle: takes rows that are not to be sent.
    """

    def __init__(self, destination: Destination, mapper: Mapper, changes: Changes, settle: Settle) -> None:
        self._destination = destination
        self._mapper = mapper
        self._changes = changes
        self._settle = settle
        self._under_way: dict[str, Change] = {}
        #: Whether some row must not be sent twice.
        self.careful = False

    def updates(self, rows: Iterable[Sequence[Change]]) -> Generator[list[Planned], None, None]:
        """Map and plan; a mirror updates or creates what is there."""
        check, verdict = self._destination.check, self._changes.verdict
        mirror = self._destination.behavior is Behavior.MIRROR
        behavior = Behavior.UPDATE_OR_CREATE if mirror else self._destination.behavior
        for some in rows:
            planned: list[Planned] = []
            settled: list[tuple[Change, RowResult]] = []
            for change in some:
                mapped = change.mapped
                record = mapped if isinstance(mapped, Record) else None
                result = verdict(change, record)
                if result is None and record is not None:
                    operation = Operation(behavior, record, self._mapper.if_empty)
                    reason = check(operation)
                    if reason is None and not self._claim(change, record):
                        # Those before it go first: where one request waits for another, the record is free by then.
                        yield self._considered(planned)
                        planned = []
                        reason = None if self._claim(change, record) else self._taken()
                    if reason is None:
                        planned.append((change, operation))
                        continue
                    result = RowResult(Outcome.INVALID, reason)
                if result is None:
                    assert isinstance(mapped, RowResult)
                    result = mapped
                settled.append((change, result))
            if settled:
                self._settle(settled)
            yield self._considered(planned)

    def deletions(self, removed: Iterable[Sequence[Change]]) -> Generator[list[Planned], None, None]:
        """Plan to delete what is gone from the model."""
        for some in removed:
            planned: list[Planned] = []
            for change in some:
                record = Record(change.key, change.record_id or "", self._mapper.constants)
                operation = Operation(Behavior.DELETE, record)
                reason = self._destination.check(operation)
                if reason is None:
                    planned.append((change, operation))
                else:
                    self._settle([(change, RowResult(Outcome.INVALID, reason))])
            yield self._considered(planned)

    def release(self, changes: Iterable[Change]) -> None:
        """Take note that rows have settled: others may have their records."""
        under_way = self._under_way
        for change in changes:
            if change.record_id is not None and under_way.get(change.record_id) is change:
                del under_way[change.record_id]

    def _claim(self, change: Change, record: Record) -> bool:
        """
        Take a record for a row, until it is released; return whether that was possible: another row may have it.

        Databases do not fold every letter and blank as destinations do, so their count of copies may miss some; which
        of two that are under way arrives last would be chance.
        """
        change.record_id = record.id
        return self._under_way.setdefault(record.id, change) is change

    def _taken(self) -> str:
        return (
            f"another row that is being sent has the same {self._destination.identifier.name}, written otherwise: "
            f"make the keys of the model unique for the destination"
        )

    def _considered(self, planned: list[Planned]) -> list[Planned]:
        """Take note of which operations must not be sent twice."""
        once = self._destination.once
        for change, operation in planned:
            change.once = once(operation)
            self.careful = self.careful or change.once
        return planned
