"""Progress of long work in the log, at a steady, low rate."""

from __future__ import annotations

import logging
import time

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.result import Tally
from airflow_provider_census.sync.values import Outcome
from airflow_provider_census.transport.client import Client

log = logging.getLogger(__name__)

_EVERY_S = 15.0


class Pace:
    """Logs rows done, their rate, and the share of the destination's limit in use."""

    def __init__(self, client: Client, destination: Destination) -> None:
        self._client = client
        self._limit = client.limiter.per_second()
        self._what = f"{destination.name} {destination.object_name}"
        self._started = self._at = time.monotonic()
        self._rows = self._requests = 0

    def log(self, tally: Tally) -> None:
        """Log a line if the last one is old enough."""
        now = time.monotonic()
        passed = now - self._at
        if passed < _EVERY_S:
            return
        rows, requests = tally.counts.total(), self._client.traffic.requests
        share = f", {(requests - self._requests) / passed / self._limit:.0%} of the limit" if self._limit else ""
        log.info(
            "%s: %d rows done in %.0f s, %.1f rows/s%s; %d rejected, %d invalid, %d retries",
            self._what,
            rows,
            now - self._started,
            (rows - self._rows) / passed,
            share,
            tally.counts[Outcome.REJECTED] + tally.counts[Outcome.UNCERTAIN],
            tally.counts[Outcome.INVALID],
            self._client.traffic.retries,
        )
        self._at, self._rows, self._requests = now, rows, requests
