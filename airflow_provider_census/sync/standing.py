"""
How a run stands, in numbers and in a line for the person on call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airflow_provider_census.sync.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How a run stands.

    :param counts: rows per outcome so far; ``done``, all of them.
    :param left: rows still to do, None where nobody has counted them.
    :param seconds: since the run began; ``seconds_left`` is None where that cannot be told.
    :param rate: rows per second since the last time.
    :param limit_share: the part in use of what the sync may use of the destination's limit.
    :param owed: rows that did not arrive, and that the next run tries again.
    :param requests: sent so far, ``retries`` included.
    :param waits_for: why no row has ended since the last time; empty if some have.
    :param ended: nothing comes behind it.
    """

    counts: Mapping[Outcome, int]
    done: int
    left: int | None
    seconds: float
    seconds_left: float | None
    rate: float
    limit_share: float
    owed: int
    requests: int
    retries: int
    in_flight: int
    waits_for: str
    ended: bool

    def __str__(self) -> str:
        rate = f"none since the last line: {self.waits_for}" if self.waits_for else f"{self.rate:,.1f} rows/s"
        return "; ".join(
            (
                f"{self.done:,} rows done in {span(self.seconds)}, {rate}",
                self._left(),
                f"{self.limit_share:.0%} of the limit in use, {self.in_flight} requests in flight",
                self._troubles(),
            )
        )

    def _left(self) -> str:
        if self.left is None:
            return "how many are left is not known"
        time = f", {span(self.seconds_left)}" if self.seconds_left is not None else ""
        return f"about {self.left:,} left{time}"

    def _troubles(self) -> str:
        counts = {
            "owed": self.owed,
            **{o.value: self.counts[o] for o in (Outcome.REJECTED, Outcome.UNCERTAIN, Outcome.INVALID)},
            "retries": self.retries,
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items())


Observer = Callable[[Standing], None]


def span(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
