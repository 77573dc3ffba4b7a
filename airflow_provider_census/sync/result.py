"""
What a run did: counts that add up, samples of what went wrong, and whether that is more than the author allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census.errors import (
    AccountingError,
    ThresholdExceeded,
    Unavailable,
)
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.limit import Limit, rows_of
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.state import readable
from airflow_provider_census.sync.values import RowResult

MAX_SAMPLES = 20
_SAMPLED = (Outcome.INVALID, Outcome.REJECTED, Outcome.UNCERTAIN)


@dataclass
class Tally:
    """
    Counts outcomes as they come in.

    :param read: rows read from the model; ``removed``, records to delete because their rows are gone.
    :param passing: rows that did not arrive because the destination was not well.
    :param held: rows that may have arrived and are never sent again; ``remedy``, what would have told.
    """

    read: int = 0
    removed: int = 0
    passing: int = 0
    held: int = 0
    remedy: str = ""
    counts: Counter[Outcome] = field(default_factory=Counter)
    samples: dict[Outcome, list[dict[str, Any]]] = field(default_factory=lambda: {o: [] for o in _SAMPLED})

    def add(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        """Count rows."""
        outcomes = [result.outcome for _, result in results]
        self.counts.update(outcomes)
        if self.samples.keys().isdisjoint(outcomes):
            return
        for change, result in results:
            self.passing += result.passing
            self._sample(change.key, result)

    def _sample(self, key: Any, result: RowResult) -> None:
        sample = self.samples.get(result.outcome)
        if sample is not None and len(sample) < MAX_SAMPLES:
            entry = {"key": readable(key), "reason": result.reason}
            if result.outcome is not Outcome.INVALID:
                entry["status"] = result.status
            if entry not in sample:  # the copies of one key would leave no room for others
                sample.append(entry)

    @property
    def tried(self) -> int:
        """Rows that were not known to be settled already."""
        return self.counts.total() - self.counts[Outcome.UNCHANGED]

    def check(self) -> None:
        """
        Check that every row read has ended in an outcome.

        :raises AccountingError: one is missing, or one was counted twice.
        """
        if self.counts.total() != self.read + self.removed:
            raise AccountingError(
                f"{self.read + self.removed} rows were read or gone, {self.counts.total()} outcomes counted: a defect"
            )

    def stopped(self) -> None:
        """The run ended early: rows that were read and not tried do not count; the next run reads them again."""
        self.read, self.removed = self.counts.total(), 0

    def exceeded(self, max_invalid: Limit, max_rejected: Limit) -> ThresholdExceeded | Unavailable | None:
        """
        Return the error for too many rows that did not arrive, None if they are within the limits.

        It is one to try again where only the destination was to blame.
        """
        refused = self.counts[Outcome.REJECTED] + self.counts[Outcome.UNCERTAIN]
        for what, count, limit in (
            ("invalid", self.counts[Outcome.INVALID], max_invalid),
            ("rejected", refused, max_rejected),
        ):
            if limit is None or count == 0:
                continue
            allowed = rows_of(limit, self.tried)
            if count > allowed:
                outcomes = (Outcome.INVALID,) if what == "invalid" else (Outcome.REJECTED, Outcome.UNCERTAIN)
                first = next(entry for outcome in outcomes for entry in self.samples[outcome])
                reason = str(first["reason"]).rstrip(".")
                passing = what == "rejected" and count - self.passing <= allowed
                error = Unavailable if passing else ThresholdExceeded
                share = ", a share of the rows tried," if isinstance(limit, float) else ""
                few = " (so few rows; an int counts them however few they are)" if limit and not allowed else ""
                return error(
                    f"{count} of {self.tried} rows tried ended {what}, max_{what}={limit}{share} allows "
                    f"{allowed}{few}; the first: key {first['key']!r}: {reason}. What arrived is committed"
                    f"{self._owed(what, count)}"
                )
        return None

    def _owed(self, what: str, count: int) -> str:
        """Return what becomes of rows that did not arrive."""
        held = self.held if what == "rejected" else 0
        again = f"; {what} rows are read again and tried in every run until they arrive or leave the model"
        words = again if count > held else ""
        if held:
            words += (
                f". {held} of them are uncertain: perhaps they are there, and no run sends them again. Their keys are "
                f"in the log; look for them there; the next run goes on behind them. To let as many pass, "
                f"max_rejected={count}; to have such rows sent again, options={{'on_uncertain': 'resend'}}"
            )
            words += f"; {self.remedy}" if self.remedy else ""
        return words


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """
    The result of a run, kept in XCom as ``return_value``.

    :param watermark: column, value before and after the run; None without one.
    :param requests: HTTP requests sent, retries included.
    :param estimate: of a dry run: the requests and seconds the real run would take at the destination's limit.
    :param complete: it came to its end; a failure then says that too many rows did not arrive.
    """

    destination: str
    object: str
    behavior: str
    delta: str
    dry_run: bool
    tally: Tally
    watermark: tuple[str, Any, Any] | None
    requests: int
    retries: int
    seconds: float
    estimate: dict[str, float] | None = None
    complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value of the run."""
        column, before, after = self.watermark or ("", None, None)
        return {
            "destination": self.destination,
            "object": self.object,
            "behavior": self.behavior,
            "delta": self.delta,
            "dry_run": self.dry_run,
            "counts": {
                **{o.value: self.tally.counts[o] for o in Outcome},
                "read": self.tally.read,
            },
            "watermark": (
                {"column": column, "before": readable(before), "after": readable(after)} if self.watermark else None
            ),
            **{f"{outcome.value}_sample": entries for outcome, entries in self.tally.samples.items()},
            "requests": self.requests,
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            **({"estimate": self.estimate} if self.estimate else {}),
        }
