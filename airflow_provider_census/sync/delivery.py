"""
Operations on their way to the destination.

In: operations, lazily, each with a token of the caller. Out: every token with exactly one result, as soon as it is
known. Batches are as large as the API takes, several are in flight, and no more operations are pulled than that needs.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from airflow_provider_census.destinations.base import Destination, Refused
from airflow_provider_census.errors import (
    AccountingError,
    AuthError,
    ConfigError,
    Interrupted,
    Unanswered,
    Unavailable,
)
from airflow_provider_census.sync.batches import Batch, batches
from airflow_provider_census.sync.doubt import look_at_once
from airflow_provider_census.sync.journal import Journal, written_down
from airflow_provider_census.sync.values import Operation, Outcome, RowResult
from airflow_provider_census.transport.client import Client

Token = TypeVar("Token")

# Batches that fail one after the other, with none answered in between, before the destination counts as down.
_DOWN_AFTER = 5
MAX_REASON = 300
_MISSING = RowResult(Outcome.UNCERTAIN, "the answer does not account for this record")
# The errors of a request that say it was not applied.
_NOT_APPLIED = (AuthError, ConfigError, Interrupted, Unavailable)


def workers(destination: Destination, client: Client) -> ThreadPoolExecutor:
    """Return a pool with a worker for each request that may be in flight."""
    return ThreadPoolExecutor(destination.in_flight(client.limiter.share), thread_name_prefix="census-send")


def deliver(
    operations: Iterable[tuple[Token, Operation]],
    destination: Destination,
    client: Client,
    journal: Journal[Token] | None = None,
    pool: Executor | None = None,
) -> Generator[list[tuple[Token, RowResult]], None, None]:
    """
    Send ``operations`` and yield each token with its result, a batch at a time, as they become known.

    What cannot be repeated is written into ``journal`` before it is sent. ``pool``, where it is given, is shared: with
    what it has workers for, the destination is at its limit.

    An error that ends the run (bad credentials, the source breaking off, a destination that is down) is raised after
    the results of everything in flight were yielded: the caller knows all that is known.

    :raises AuthError, ConfigError, Interrupted: sending cannot go on.
    :raises Unavailable: the destination is down.
    """
    most = destination.in_flight(client.limiter.share)
    with nullcontext(pool) if pool else workers(destination, client) as senders:
        flight = _Flight(senders, destination, client, journal, most)
        try:
            for group in written_down(batches(operations, destination), journal, destination, flight.room):
                for batch in group:
                    flight.start(batch)
                yield from flight.make_room()
                if flight.failure is not None:
                    break
            yield from flight.land()
        except GeneratorExit:
            client.stop()
            flight.abandon()
            raise
        except BaseException as error:  # what is in flight still has to be accounted for
            if not isinstance(error, Exception):  # the task is being ended: no retries, no waiting for a turn
                client.stop()
            flight.failure = error
            yield from flight.land()
    if flight.failure is not None:
        raise flight.failure


class _Flight(Generic[Token]):
    """The batches under way, and the first error that one of them met."""

    def __init__(
        self,
        pool: Executor,
        destination: Destination,
        client: Client,
        journal: Journal[Token] | None,
        most: int,
    ) -> None:
        self._pool = pool
        self._destination = destination
        self._client = client
        self._journal = journal
        self._health = Health()
        # A batch has one request in flight at a time.
        self._concurrency = client.concurrency(most)
        self._batches: dict[Future[_Sent], Batch[Token]] = {}
        self._back: queue.SimpleQueue[Future[_Sent]] = queue.SimpleQueue()
        self.failure: BaseException | None = None

    def room(self) -> int:
        """Return how many batches can be sent now; the first one waits for no other."""
        return self._concurrency.allowed - len(self._batches) if self._batches else 1

    def start(self, batch: Batch[Token]) -> None:
        """Send a batch."""
        operations = [operation for _, operation in batch]
        future = self._pool.submit(_send, operations, self._destination, self._client, self._health)
        self._batches[future] = batch
        future.add_done_callback(self._back.put)

    def make_room(self) -> Iterator[list[tuple[Token, RowResult]]]:
        """Yield what has come back, and wait for more until another batch may be sent."""
        while not self._back.empty() or len(self._batches) >= self._concurrency.allowed:
            yield self._collect(self._back.get())

    def land(self) -> Iterator[list[tuple[Token, RowResult]]]:
        """Yield what is still under way, as it comes back."""
        for future in as_completed(list(self._batches)):
            yield self._collect(future)

    def abandon(self) -> None:
        """Wait for what is under way; nobody wants to know how it ended."""
        for future, batch in self._batches.items():
            self._withdraw(batch, future.result())

    def _collect(self, future: Future[_Sent]) -> list[tuple[Token, RowResult]]:
        batch, sent = self._batches.pop(future), future.result()
        self.failure = self.failure or sent.failure
        self._withdraw(batch, sent)
        return [(batch[at][0], result) for at, result in sent.results.items()]

    def _withdraw(self, batch: Batch[Token], sent: _Sent) -> None:
        if self._journal is not None and sent.unsent:
            self._journal.withdraw([batch[at][0] for at in sent.unsent])


class Health:
    """Tells one refused record from a destination that is down."""

    def __init__(self) -> None:
        self._failures = 0

    def answered(self) -> None:
        """Take note of an answer, whatever it says."""
        self._failures = 0

    def failed(self, error: Unanswered | Unavailable) -> None:
        """
        Take note of a request without an answer.

        :raises Unavailable: it is not the first one.
        """
        self._failures += 1
        if self._failures > _DOWN_AFTER:
            raise Unavailable(f"the destination is down: {error}", status=error.status)


@dataclass
class _Sent:
    """What became of a batch: results by position; the error that left some without, and those not sent therefore."""

    results: dict[int, RowResult] = field(default_factory=dict)
    failure: Exception | None = None
    unsent: list[int] = field(default_factory=list)


def _send(batch: Sequence[Operation], destination: Destination, client: Client, health: Health) -> _Sent:
    """Send a batch; halve it until the record a refusal is about stands alone."""
    sent = _Sent()
    parts = [range(len(batch))]
    suspect = guilty = None
    while parts:
        part = parts.pop()
        refused = part is guilty and len(part) > 1
        if not refused:
            try:
                results = _send_part([batch[at] for at in part], destination, client, health)
            except Refused:
                refused = True
            except Exception as error:  # whatever it is, it ends the run; the parts before it have arrived
                sent.failure = error
                sent.unsent += itertools.chain(*parts, part if isinstance(error, _NOT_APPLIED) else ())
                break
            else:
                sent.results.update(zip(part, results, strict=True))
        if refused:
            middle = len(part) // 2
            suspect = part[middle:]
            parts += [suspect, part[:middle]]
        elif parts and parts[-1] is suspect:
            guilty = suspect  # the half before it was taken: it need not be refused once more as a whole
    return sent


def _send_part(
    batch: Sequence[Operation], destination: Destination, client: Client, health: Health
) -> Sequence[RowResult]:
    """
    Return one result per operation.

    :raises Refused: the batch was refused, and holds more than one operation.
    """
    redact = client.endpoint.redact
    began = int(time.time())
    try:
        results = client.run(destination.send(batch))
    except Refused as error:
        health.answered()
        if len(batch) > 1:
            raise
        return [RowResult(Outcome.REJECTED, redact(error.reason)[:MAX_REASON], error.status)]
    except Unanswered as error:
        uncertain = RowResult(Outcome.UNCERTAIN, redact(str(error))[:MAX_REASON], error.status)
        return look_at_once(batch, destination, client, began, uncertain)
    except Unavailable as error:
        health.failed(error)
        outcome = Outcome.UNCERTAIN if error.unheard else Outcome.REJECTED
        reason = redact(str(error))[:MAX_REASON]
        # What is uncertain and would stand there twice is not tried again.
        passing = [outcome is Outcome.REJECTED or destination.repeatable(operation) for operation in batch]
        return [RowResult(outcome, reason, error.status, passing=passes) for passes in passing]
    health.answered()
    if len(results) != len(batch):
        raise AccountingError(f"{destination.name} gave {len(results)} results for {len(batch)} operations")
    return [
        _MISSING
        if result is None
        else replace(result, reason=redact(result.reason)[:MAX_REASON])
        if result.reason
        else result
        for result in results
    ]
