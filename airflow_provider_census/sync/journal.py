"""
What is about to be sent, written down before it is.

An operation that cannot be repeated must not be sent again by a run that does not know whether an earlier one has sent
it. So nothing of the kind leaves before the journal has it, and the journal is saved: a worker may be killed any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.batches import Batch

Token = TypeVar("Token")
_Written = TypeVar("_Written", contravariant=True)

# How long a full batch waits for others that are saved together with it: a save may take as long as a request.
_GATHER_S = 0.05


class Journal(Protocol[_Written]):
    """Where it is written down what is about to be sent."""

    def intend(self, tokens: Sequence[_Written]) -> None:
        """Write down and save that these operations, which cannot be repeated, are about to be sent."""

    def withdraw(self, tokens: Sequence[_Written]) -> None:
        """Strike out operations that were not sent after all."""


def written_down(
    batches: Iterable[Batch[Token]],
    journal: Journal[Token] | None,
    destination: Destination,
    room: Callable[[], int],
) -> Iterator[list[Batch[Token]]]:
    """
    Yield ``batches`` when what must be in the journal is there, several at a time where one save will do.

    :param room: how many batches can be sent right now.
    """
    if journal is None:
        yield from ([batch] for batch in batches)
        return
    for group, once in _gathered(batches, destination, room):
        if once:
            journal.intend(once)
        yield group


def _gathered(
    batches: Iterable[Batch[Token]], destination: Destination, room: Callable[[], int]
) -> Iterator[tuple[list[Batch[Token]], list[Token]]]:
    """Yield groups of batches, each with those of its operations that must be in the journal."""
    group: list[Batch[Token]] = []
    once: list[Token] = []
    began = 0.0
    try:
        for batch in batches:
            began = began if group else time.monotonic()
            group.append(batch)
            to_save = [token for token, operation in batch if destination.once(operation)]
            once += to_save
            if not to_save or len(group) >= room() or time.monotonic() - began > _GATHER_S:
                yield group, once
                group, once = [], []
    except Exception:
        # The source broke off; these came before that.
        if group:
            yield group, once
        raise
    if group:
        yield group, once
