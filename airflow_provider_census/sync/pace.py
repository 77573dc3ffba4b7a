"""
Long work shows itself: a line in the log, and the numbers behind it, at a steady, low rate.

They come from a thread of their own, so also while everything waits. Short runs are quiet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import CensusError
from airflow_provider_census.sync.changes import Changes
from airflow_provider_census.sync.result import Tally
from airflow_provider_census.sync.standing import Observer, Standing, span
from airflow_provider_census.transport.client import Client

log = logging.getLogger(__name__)

_EVERY_S = 15.0
# Counting the rows of a model costs about what reading them does. Where the first one took longer than this, or what a
# query looks at is billed by the byte, that is too much for knowing the time left.
_CHEAP_S = 5.0
_BILLED_BY_BYTES = frozenset({"athena", "bigquery"})


class Pace:
    """
    Watches a run while it is entered.

    :param observe: is told how the run stands, with every line and at the end.
    """

    def __init__(
        self,
        client: Client,
        destination: Destination,
        dialect: str,
        tally: Tally,
        observe: Observer | None = None,
    ) -> None:
        self._client = client
        self._destination = destination
        self._what = f"{destination.name} {destination.object_name}"
        self._countable = dialect not in _BILLED_BY_BYTES
        self._tally = tally
        self._observe = observe
        self._step = "the model and the destination are being looked at"
        self._changes: Changes | None = None
        self._started = self._at = time.monotonic()
        self._asked = self._first_row = 0.0
        self._done = 0
        self._used_s = client.limiter.used_s()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="census-pace", daemon=True)
        self._counting: threading.Thread | None = None

    def __enter__(self) -> Pace:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._observe is not None:
            self._observe(self._standing())

    def asked(self, changes: Changes) -> None:
        """Take note that the source is asked for the rows."""
        self._changes, self._asked = changes, time.monotonic()
        self._step = "the source has not given a row yet"

    def row(self) -> None:
        """Take note that the source gave a row."""
        if not self._first_row:
            self._first_row = time.monotonic()
            self._step = "the source gives no more rows for the moment"

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            standing = self._standing()
            log.info("%s: %s", self._what, standing)
            if self._observe is not None:
                self._observe(standing)
            cheap = self._countable and 0 < self._first_row - self._asked < _CHEAP_S
            if cheap and self._counting is None:
                # Apart: it may take its time, and the lines go on. Nobody waits for it when the run has ended.
                self._counting = threading.Thread(target=self._count, name="census-count", daemon=True)
                self._counting.start()

    def _count(self) -> None:
        assert self._changes is not None
        try:
            self._changes.count()
        except CensusError as error:
            log.info("How many rows are left cannot be told: %s", error)

    def _standing(self) -> Standing:
        now, traffic = time.monotonic(), self._client.traffic
        counts, used_s = self._tally.counts.copy(), self._client.limiter.used_s()
        done, passed = counts.total(), max(now - self._at, 0.001)
        expected = self._changes.expected if self._changes else None
        left = None if expected is None else max(expected - done, 0)
        standing = Standing(
            counts=counts,
            done=done,
            left=left,
            seconds=now - self._started,
            seconds_left=None if left is None or not done else (now - self._asked) / done * left,
            rate=(done - self._done) / passed,
            limit_share=self._limit_share(used_s, passed),
            owed=self._changes.owed if self._changes else 0,
            requests=traffic.requests,
            retries=traffic.retries,
            in_flight=traffic.in_flight,
            waits_for=self._waits_for() if done == self._done else "",
            ended=self._ended.is_set(),
        )
        self._at, self._done, self._used_s = now, done, used_s
        return standing

    def _limit_share(self, used_s: Mapping[str, float], passed: float) -> float:
        """Return the part in use of the limit that is nearest; where requests in flight are limited, of those."""
        if self._destination.most_in_flight is not None:
            return self._client.traffic.in_flight / self._destination.in_flight(self._client.limiter.share)
        return min(1.0, max((s - self._used_s.get(name, 0.0) for name, s in used_s.items()), default=0.0) / passed)

    def _waits_for(self) -> str:
        """Return what keeps rows from ending, the nearest to the destination first."""
        traffic, paused_s = self._client.traffic, self._client.limiter.paused_s()
        trouble = f" (last failure: {traffic.trouble})" if traffic.trouble else ""
        if paused_s:
            return f"the destination asked for a pause, {span(paused_s)} of it are left{trouble}"
        if traffic.in_flight:
            return f"the destination has yet to answer {traffic.in_flight} requests{trouble}"
        if traffic.held_back:
            return f"{traffic.held_back} requests wait for their turn or to be tried again{trouble}"
        return self._step
