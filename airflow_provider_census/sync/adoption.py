"""
What the destination holds now, looked up before rows are sent.

In: planned operations. Out: those that change something, without the fields that are written only where the destination
holds nothing for them. A row of which it holds all that would be written ends ``unchanged`` if it is to be adopted: it
is settled like one that was sent, but is not ours to delete.

Nothing was written when a look-up fails: such a row is owed, and looked up again by the next run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import AccountingError, ConfigError, Unanswered, Unavailable
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.comparison import due
from airflow_provider_census.sync.delta import Delta, Snapshot
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.planning import Planned, Settle
from airflow_provider_census.sync.sending import MAX_REASON, Health
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport.client import Client

_Decided = tuple[Change, Operation | RowResult]


def check_adoption(delta: Delta, destination: Destination) -> None:
    """
    Check that the destination can be asked for what ``delta`` wants to compare.

    :raises ConfigError: it cannot.
    """
    if isinstance(delta, Snapshot) and delta.baseline == "adopt" and not destination.fetches:
        raise ConfigError(
            f"baseline='adopt' needs to know what is there, and {destination.name} {destination.object.name} cannot be "
            f"looked up; take baseline='send' to send every row once, or 'skip' to take what is there as settled"
        )


def needs_look_up(change: Change, operation: Operation) -> bool:
    """Return whether what becomes of a row depends on what the destination holds."""
    return change.adopt or bool(operation.if_empty)


def look_up(
    stage: Iterable[Sequence[Planned]],
    destination: Destination,
    client: Client,
    pool: Executor,
    settle: Settle,
) -> Generator[Sequence[Planned], None, None]:
    """
    Let through what is to be sent; settle what is not. What is looked up keeps its order, and so does all else.

    :param pool: carries out the look-ups, several at once; sending may share it.
    """
    flight = _Flight(destination, client, pool, settle)
    try:
        for planned in stage:
            asked = [item for item in planned if needs_look_up(*item)]
            yield [item for item in planned if not needs_look_up(*item)] if asked else planned
            for change, operation in asked:
                flight.add(change, operation)
                yield from flight.landed(client.allowed)
        flight.start()
        yield from flight.landed(0)
    finally:
        flight.abandon()


class _Flight:
    """The look-ups under way."""

    def __init__(self, destination: Destination, client: Client, pool: Executor, settle: Settle) -> None:
        self._destination = destination
        self._client = client
        self._pool = pool
        self._settle = settle
        self._health = Health()
        self._batch: list[Planned] = []
        self._batches: deque[Future[list[_Decided]]] = deque()

    def add(self, change: Change, operation: Operation) -> None:
        """Look a record up, together with others."""
        self._batch.append((change, operation))
        if len(self._batch) >= self._destination.max_fetch():
            self.start()

    def start(self) -> None:
        """Look up what is waiting for others."""
        if self._batch:
            self._batches.append(
                self._pool.submit(_look_up, self._batch, self._destination, self._client, self._health)
            )
            self._batch = []

    def landed(self, left: int) -> Iterator[Sequence[Planned]]:
        """Yield what is to be sent of what has come back, waiting until ``left`` batches are under way at the most."""
        while self._batches and (len(self._batches) > left or self._batches[0].done()):
            planned: list[Planned] = []
            settled: list[tuple[Change, RowResult]] = []
            for change, decided in self._batches.popleft().result():
                if isinstance(decided, RowResult):
                    settled.append((change, decided))
                else:
                    change.adopt = False
                    planned.append((change, decided))
            self._settle(settled)
            yield planned

    def abandon(self) -> None:
        """Start none of those that wait for their turn."""
        for batch in self._batches:
            batch.cancel()


def _look_up(batch: Sequence[Planned], destination: Destination, client: Client, health: Health) -> list[_Decided]:
    found = _fetch([operation for _, operation in batch], destination, client, health)
    return [
        (change, answer if isinstance(answer, RowResult) else _decide(change, operation, answer, destination))
        for (change, operation), answer in zip(batch, found, strict=True)
    ]


def _fetch(
    operations: Sequence[Operation], destination: Destination, client: Client, health: Health
) -> Sequence[Held | str | RowResult]:
    try:
        found = client.run(destination.fetch(operations))
    except Refused as error:
        health.answered()
        if len(operations) == 1:
            return [rejected(client.endpoint.redact(error.reason)[:MAX_REASON], error.status)]
        middle = len(operations) // 2
        halves = operations[:middle], operations[middle:]
        return [answer for half in halves for answer in _fetch(half, destination, client, health)]
    except (Unanswered, Unavailable) as error:
        health.failed(error)
        reason = f"it could not be looked up: {error}"[:MAX_REASON]
        return [RowResult(Outcome.REJECTED, reason, error.status, passing=True)] * len(operations)
    health.answered()
    if len(found) != len(operations):
        raise AccountingError(f"{destination.name} gave {len(found)} answers about {len(operations)} records")
    return found


def _decide(
    change: Change, operation: Operation, answer: Held | str, destination: Destination
) -> Operation | RowResult:
    """Return what is left to do about a row, or how it ends without it."""
    if isinstance(answer, str):
        return rejected(answer[:MAX_REASON]) if operation.if_empty else operation
    operation.held = answer
    if answer.fields is None:
        return operation
    fields = due(operation.record.fields, operation.if_empty, answer.fields)
    trimmed = fields != operation.record.fields
    if trimmed:
        operation = operation.having(fields)
        if not fields:
            return RowResult(Outcome.UNCHANGED)
    if change.adopt and destination.matches(operation, answer.fields):
        return RowResult(Outcome.UNCHANGED)
    reason = destination.check(operation) if trimmed else None
    return operation if reason is None else RowResult(Outcome.INVALID, reason)
