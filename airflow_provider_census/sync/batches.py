"""
Operations that travel together.

In: operations, one by one. Out: batches as large as the API takes, by number and by bytes, of operations of one lane.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.values import Operation

Token = TypeVar("Token")
Batch = list[tuple[Token, Operation]]

_MAX_OPEN_LANES = 32
_BRACKETS = 2


@dataclass(slots=True)
class _Lane(Generic[Token]):
    """A batch being filled."""

    most: int
    most_bytes: int | None
    items: Batch[Token] = field(default_factory=list)
    size: int = _BRACKETS


class Batcher(Generic[Token]):
    """Groups operations that may travel together, up to the limits of the API."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._lanes: dict[Hashable, _Lane[Token]] = {}

    def add(self, token: Token, operation: Operation) -> Sequence[Batch[Token]]:
        """Take an operation and return the batches that are full because of it."""
        full: tuple[Batch[Token], ...] = ()
        key = self._destination.lane(operation)
        lane = self._lanes.get(key) or self._open(key, operation)
        if lane.most_bytes is not None:
            bytes_more = len(self._destination.encoded(operation)) + 1
            if lane.items and lane.size + bytes_more > lane.most_bytes:
                full = (self._take(key),)
                lane = self._open(key, operation)
            lane.size += bytes_more
        lane.items.append((token, operation))
        if len(lane.items) >= lane.most:
            return (*full, self._take(key))
        if len(self._lanes) > _MAX_OPEN_LANES:
            return (*full, self._take(next(iter(self._lanes))))
        return full

    def rest(self) -> list[Batch[Token]]:
        """Return what is left."""
        return [self._take(key) for key in list(self._lanes)]

    def _open(self, key: Hashable, operation: Operation) -> _Lane[Token]:
        destination = self._destination
        lane = self._lanes[key] = _Lane(destination.max_batch(operation), destination.max_batch_bytes(operation))
        return lane

    def _take(self, key: Hashable) -> Batch[Token]:
        return self._lanes.pop(key).items


def batches(operations: Iterable[tuple[Token, Operation]], destination: Destination) -> Iterator[Batch[Token]]:
    """Yield ``operations`` in batches, each as soon as it is full."""
    batcher: Batcher[Token] = Batcher(destination)
    for token, operation in operations:
        yield from batcher.add(token, operation)
    yield from batcher.rest()
