"""
One batch at the destination.

In: operations that travel together. Out: one result for each. Invariant: what keeps a batch from being accepted is
looked for by halving it, until the record at fault stands alone; all others arrive.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import (
    AccountingError,
    AuthError,
    ConfigError,
    Interrupted,
    Unanswered,
    Unavailable,
)
from airflow_provider_census.sync.doubt import look_at_once
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.client import Client

# Batches that fail one after the other, with none answered in between, before the destination counts as down.
_DOWN_AFTER = 5
# How often a part is sent of a batch for which the API has failed all attempts.
_ATTEMPTS_OF_A_PART = 2
# Parts of it that are sent, times the halvings that single out a record.
_MOST_PARTS = 4
MAX_REASON = 300
_MISSING = RowResult(Outcome.UNCERTAIN, "the answer does not account for this record")
# The errors of a request that say it was not applied.
_NOT_APPLIED = (AuthError, ConfigError, Interrupted, Unavailable)


class Health:
    """Tells one refused record from a destination that is down."""

    def __init__(self) -> None:
        self.answers = 0
        self._failures = 0

    def answered(self) -> None:
        """Take note of an answer, whatever it says."""
        self.answers += 1
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
class Sent:
    """What became of a batch: results by position; the error that left some without, and those not sent therefore."""

    results: dict[int, RowResult] = field(default_factory=dict)
    failure: Exception | None = None
    unsent: list[int] = field(default_factory=list)


def send(batch: Sequence[Operation], destination: Destination, client: Client, health: Health) -> Sent:
    """Send a batch; what keeps it from being accepted is narrowed down to the records at fault."""
    to = _Way(destination, client, health)
    sent = _send(batch, range(len(batch)), to)
    failed = _failed_parts(range(len(batch)), sent) if sent.failure is None and len(batch) > 1 else []
    if failed and not any(map(destination.once, batch)):
        _narrow_down(batch, failed, sent, to)
    return sent


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a batch goes; ``attempts``: how often a request is sent at the most, if not as often as usual."""

    destination: Destination
    client: Client
    health: Health
    attempts: int | None = None


def _send(batch: Sequence[Operation], whole: range, to: _Way) -> Sent:
    """Send a part of the batch; halve it until the record a refusal is about stands alone."""
    sent = Sent()
    parts = [whole]
    suspect = guilty = None
    while parts:
        part = parts.pop()
        refused = part is guilty and len(part) > 1
        if not refused:
            try:
                results = _send_part([batch[at] for at in part], to)
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


def _narrow_down(batch: Sequence[Operation], suspects: list[range], sent: Sent, to: _Way) -> None:
    """
    Send ``suspects``, on which the API failed, again in halves: a record that makes it fail is to be rejected alone.

    All parts of one size come before the next halves: where none of them is answered, it is the API and no record.
    """
    to = replace(to, attempts=_ATTEMPTS_OF_A_PART)
    answers = to.health.answers
    left = _MOST_PARTS * len(batch).bit_length()
    while suspects and left:
        parts = [half for part in suspects for half in _halves(part)][:left]
        left -= len(parts)
        for part in parts:
            again = _send(batch, part, to)
            sent.results |= again.results
            if again.failure is not None:
                sent.failure = again.failure
                return
        if to.health.answers == answers:
            return
        for part in parts:
            if len(part) == 1 and _failed(sent.results[part[0]]):
                # Others are answered: a later try will fare no better.
                sent.results[part[0]] = structs.replace(sent.results[part[0]], passing=False)
        suspects = [failed for part in parts if len(part) > 1 for failed in _failed_parts(part, sent)]


def _halves(part: range) -> list[range]:
    middle = len(part) // 2
    return [half for half in (part[:middle], part[middle:]) if half]


def _failed_parts(part: range, sent: Sent) -> list[range]:
    """Return from the first to the last record in ``part`` that the API failed on, nothing if there is none."""
    failed = [at for at in part if _failed(sent.results[at])]
    return [range(failed[0], failed[-1] + 1)] if failed else []


def _failed(result: RowResult) -> bool:
    """Return whether the API failed while it worked on it; 503 is what an API says that does not work at all."""
    return result.passing and result.status is not None and result.status >= 500 and result.status != 503


def _send_part(batch: Sequence[Operation], to: _Way) -> Sequence[RowResult]:
    """
    Return one result per operation.

    :raises Refused: the batch was refused, and holds more than one operation.
    :raises Unavailable: the destination is down.
    """
    redact = to.client.endpoint.redact
    began = int(time.time())
    try:
        results = to.client.run(to.destination.send(batch), attempts=to.attempts)
    except Refused as error:
        to.health.answered()
        if len(batch) > 1:
            raise
        return [RowResult(Outcome.REJECTED, redact(error.reason)[:MAX_REASON], error.status)]
    except Unanswered as error:
        uncertain = RowResult(Outcome.UNCERTAIN, redact(str(error))[:MAX_REASON], error.status)
        return look_at_once(batch, to.destination, to.client, began, uncertain)
    except Unavailable as error:
        if to.attempts is None:  # what is narrowed down has failed already
            to.health.failed(error)
        outcome = Outcome.UNCERTAIN if error.unheard else Outcome.REJECTED
        reason = redact(str(error))[:MAX_REASON]
        # What is uncertain and would stand there twice is not tried again.
        passing = [outcome is Outcome.REJECTED or not to.destination.once(operation) for operation in batch]
        return [RowResult(outcome, reason, error.status, passing=passes) for passes in passing]
    to.health.answered()
    if len(results) != len(batch):
        raise AccountingError(f"{to.destination.name} gave {len(results)} results for {len(batch)} operations")
    return [
        _MISSING
        if result is None
        else structs.replace(result, reason=redact(result.reason)[:MAX_REASON])
        if result.reason
        else result
        for result in results
    ]
