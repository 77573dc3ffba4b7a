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
from airflow_provider_census.sync.values import Operation, Record, RowResult

Planned = tuple[Change, Operation]
Settle = Callable[[Sequence[tuple[Change, RowResult]]], None]


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

    def updates(self, rows: Iterable[Change]) -> Generator[Planned, None, None]:
        """Map and plan; a mirror updates or creates what is there."""
        destination = self._destination
        mirror = destination.behavior is Behavior.MIRROR
        behavior = Behavior.UPDATE_OR_CREATE if mirror else destination.behavior
        for change in rows:
            mapped = change.mapped
            record = mapped if isinstance(mapped, Record) else None
            result = self._changes.verdict(change, record)
            if result is None and record is not None:
                operation = Operation(behavior, record, self._mapper.if_empty)
                reason = destination.check(operation) or self._claim(change, record)
                if reason is None:
                    self._consider(change, operation)
                    yield change, operation
                    continue
                result = RowResult(Outcome.INVALID, reason)
            if result is None:
                assert isinstance(mapped, RowResult)
                result = mapped
            self._settle([(change, result)])

    def deletions(self, removed: Iterable[Change]) -> Generator[Planned, None, None]:
        """Plan to delete what is gone from the model."""
        for change in removed:
            record = Record(change.key, change.record_id or "", self._mapper.constants)
            operation = Operation(Behavior.DELETE, record)
            reason = self._destination.check(operation)
            if reason is None:
                self._consider(change, operation)
                yield change, operation
            else:
                self._settle([(change, RowResult(Outcome.INVALID, reason))])

    def release(self, change: Change) -> None:
        """Take note that a row has settled: another may have its record."""
        if change.record_id is not None and self._under_way.get(change.record_id) is change:
            del self._under_way[change.record_id]

    def _claim(self, change: Change, record: Record) -> str | None:
        """
        Take a record for a row, until it is released; return why not if another row has it.

        Databases do not fold every letter and blank as destinations do, so their count of copies may miss some; which
        of two that are under way arrives last would be chance.
        """
        change.record_id = record.id
        if self._under_way.setdefault(record.id, change) is change:
            return None
        return (
            f"another row that is being sent has the same {self._destination.identifier.name}, written otherwise: "
            f"make the keys of the model unique for the destination"
        )

    def _consider(self, change: Change, operation: Operation) -> None:
        change.once = self._destination.once(operation)
        self.careful = self.careful or change.once
