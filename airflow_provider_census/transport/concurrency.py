"""
How many requests are to be in flight.

By Little's law a throughput needs as many at once as throughput × latency; more only wait for each other. So it begins
with a few. There are more while all that are allowed are in use and no answer takes longer for it: twice as many until
that was once too many, from then on a few more each time. There are as many as the law says when answers take twice the
time, and half when the API has no room. Whatever the destination allows at the most is never exceeded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_START = 8
# Answers that are slow for other reasons must not leave hardly any in flight; where they are quick, these will do.
_FEWEST, _QUICK = 4, 2
# Fewer answers tell little.
_WINDOW = 8
# Latency this many times the one without a crowd: half of it is waiting for others.
_CROWDED = 2.0
# In use above this share, more could be; below the other one, they are not needed.
_USED, _IDLE = 0.8, 0.4
_HEADROOM = 1.5


class Concurrency:
    """
    The number of requests in flight, learned from how they are answered. Safe to use from many threads.

    :param most: what the destination allows; 1 stays 1.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowed = min(_START, most)
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._uncrowded_s: float | None = None
        self._doubles = True
        self._cut_at = -math.inf
        self._open_window()
        self._opened_at = -math.inf  # with the first request: the first row may take its time

    def answered(self, began: float, opened: float = -math.inf) -> None:
        """
        Take note of a request that was answered now.

        :param began: when it was to be sent, by the clock.
        :param opened: when the connection stood that it went over. What that took tells nothing of how crowded it is.
        """
        with self._lock:
            # What was sent before the last cut tells nothing about what it brought.
            if began < self._cut_at:
                return
            now = self._clock()
            if self._opened_at == -math.inf:
                self._opened_at = began
            self._answers += 1
            self._in_use_s += now - began
            self._latency_s += now - max(began, opened)
            if self._answers >= max(_WINDOW, self.allowed):
                self._adapt(now)
                self._open_window()

    def refused(self, began: float) -> None:
        """Take note of a request for which the API had no room, or that it did not answer."""
        with self._lock:
            if began >= self._cut_at:
                self._cut(self.allowed // 2)
                self._open_window()

    def _open_window(self) -> None:
        self._opened_at = self._clock()
        self._answers = 0
        self._in_use_s = self._latency_s = 0.0

    def _adapt(self, now: float) -> None:
        latency = self._latency_s / self._answers
        in_use = self._in_use_s / max(now - self._opened_at, 1e-9)  # throughput × latency
        uncrowded = self._uncrowded_s = min(self._uncrowded_s or math.inf, latency)
        if latency > _CROWDED * uncrowded:
            self._cut(max(_FEWEST, math.ceil(self.allowed * uncrowded / latency)))
            # The API may be slower for good: the next window, without a crowd, tells.
            self._uncrowded_s = None
        elif in_use > _USED * self.allowed:
            more = self.allowed if self._doubles else math.ceil(math.sqrt(self.allowed))
            self.allowed = min(self._most, self.allowed + more)
        elif in_use < _IDLE * self.allowed:
            self.allowed = min(self.allowed, max(_QUICK, math.ceil(in_use * _HEADROOM)))

    def _cut(self, allowed: int) -> None:
        self.allowed = min(self.allowed, max(1, allowed))
        self._doubles = False
        self._cut_at = self._clock()
