"""
Operations on their way to the destination.

In: operations, lazily, each with a token of the caller. Out: every token with exactly one result, as soon as it is
known. Batches are as large as the API takes, several are in flight, and no more operations are pulled than that needs.
"""

from __future__ import annotations

import queue
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from typing import Generic, TypeVar

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.batches import Batch, batches
from airflow_provider_census.sync.journal import Journal, written_down
from airflow_provider_census.sync.sending import Health, Sent, send
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.client import Client

Token = TypeVar("Token")


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
        self._batches: dict[Future[Sent], Batch[Token]] = {}
        self._back: queue.SimpleQueue[Future[Sent]] = queue.SimpleQueue()
        self.failure: BaseException | None = None

    def room(self) -> int:
        """Return how many batches can be sent now; the first one waits for no other."""
        return self._concurrency.allowed - len(self._batches) if self._batches else 1

    def start(self, batch: Batch[Token]) -> None:
        """Send a batch."""
        operations = [operation for _, operation in batch]
        future = self._pool.submit(send, operations, self._destination, self._client, self._health)
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

    def _collect(self, future: Future[Sent]) -> list[tuple[Token, RowResult]]:
        batch, sent = self._batches.pop(future), future.result()
        self.failure = self.failure or sent.failure
        self._withdraw(batch, sent)
        return [(batch[at][0], result) for at, result in sent.results.items()]

    def _withdraw(self, batch: Batch[Token], sent: Sent) -> None:
        if self._journal is not None and sent.unsent:
            self._journal.withdraw([batch[at][0] for at in sent.unsent])
