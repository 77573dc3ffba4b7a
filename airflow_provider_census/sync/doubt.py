"""
Operations in doubt: sent, or nearly, and no answer tells what became of them.

Where the destination can be asked for them, looking settles the doubt; else the author has said what to do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterable, Sequence

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import AccountingError, CensusError
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.planning import Planned, Settle
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.client import Client

_LEFT = RowResult(Outcome.UNCERTAIN, "sent by a run that ended before the answer came")


def settle_doubts(
    stage: Iterable[Sequence[Planned]],
    destination: Destination,
    client: Client | None,
    settle: Settle,
) -> Generator[Sequence[Planned], None, None]:
    """
    Let through what is to be sent; settle what an earlier run may have sent, unless it is to be sent again.

    :param client: None if nobody is to be asked.
    """
    for planned in stage:
        doubts = [item for item in planned if item[0].once and item[0].in_doubt_since is not None]
        settled = []
        for (change, operation), there in zip(doubts, _look(doubts, destination, client), strict=True):
            if there:
                settled.append((change, RowResult(operation.behavior.done)))
            elif there is False or destination.on_uncertain == "resend":
                change.in_doubt_since = None
            else:
                settled.append((change, _LEFT))
        if settled:
            settle(settled)
            gone = {id(change) for change, _ in settled}
            planned = [item for item in planned if id(item[0]) not in gone]
        yield planned


def _look(doubts: Sequence[Planned], destination: Destination, client: Client | None) -> Sequence[bool | None]:
    """Return for each whether it was applied, None where that cannot be told."""
    asked = [at for at, (change, _) in enumerate(doubts) if change.in_doubt_since]
    answers: list[bool | None] = [None] * len(doubts)
    if client is None or not destination.finds or not asked:
        return answers
    since = min(doubts[at][0].in_doubt_since or 0 for at in asked)
    client.sleep(max(0.0, since + destination.applied_within_s - time.time()))
    found = client.run(destination.find([doubts[at][1] for at in asked], since))
    if len(found) != len(asked):
        raise AccountingError(f"{destination.name} gave {len(found)} answers about {len(asked)} operations in doubt")
    for at, there in zip(asked, found, strict=True):
        answers[at] = there
    return answers


def look_at_once(
    operations: Sequence[Operation], destination: Destination, client: Client, since: int, unknown: RowResult
) -> list[RowResult]:
    """
    Return how operations ended that have just got no answer: as they should have, or ``unknown``.

    What is not there yet may still be applied; that is left to the next run.
    """
    found: Sequence[bool | None] = ()
    if destination.finds:
        try:
            found = client.run(destination.find(operations, since))
        except CensusError:
            found = ()
    return [
        RowResult(operation.behavior.done) if there else unknown
        for operation, there in itertools.zip_longest(operations, found)
    ]
