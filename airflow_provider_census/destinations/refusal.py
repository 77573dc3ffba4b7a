"""The words for what did not happen: a batch or a record that an API refused."""

from __future__ import annotations

from airflow_provider_census.errors import CensusError
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import RowResult

OVERTAKEN = "it was made or deleted since it was looked up; the next run looks again"
"""Why an operation is rejected that is :meth:`~.Operation.overtaken`."""


class Refused(CensusError):
    """
    The API refused a whole batch and changed nothing.

    Raised by :meth:`~.Destination.send`; the engine halves the batch until the record at fault is alone, which is then
    rejected with ``reason``.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def rejected(reason: str, status: int | None = None) -> RowResult:
    """Return a rejection."""
    return RowResult(Outcome.REJECTED, reason, status)
