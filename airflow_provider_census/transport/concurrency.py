"""
How many requests are to be in flight.

By Little's law a throughput needs as many at once as throughput × latency; more only wait for each other. So there are
more while all that are allowed are in use and no answer takes longer for it, as many as the law says when answers take
twice the time, and half when the API has no room. Whatever the destination allows at the most is never exceeded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_START = 16
# Answers that are slow for other reasons must not leave hardly any in flight.
_FEWEST = 4
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
        self._cut_at = -math.inf
        self._open_window()

    def answered(self, began: float) -> None:
        """Take note of a request that was sent at ``began``, by the clock, and answered now."""
        with self._lock:
            # What was sent before the last cut tells nothing about what it brought.
            if began < self._cut_at:
                return
            now = self._clock()
            self._answers += 1
            self._seconds += now - began
            if self._answers >= max(_START, self.allowed):
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
        self._seconds = 0.0

    def _adapt(self, now: float) -> None:
        latency = self._seconds / self._answers
        in_use = self._seconds / max(now - self._opened_at, 1e-9)  # throughput × latency
        uncrowded = self._uncrowded_s = min(self._uncrowded_s or math.inf, latency)
        if latency > _CROWDED * uncrowded:
            self._cut(max(_FEWEST, math.ceil(self.allowed * uncrowded / latency)))
            # The API may be slower for good: the next window, without a crowd, tells.
            self._uncrowded_s = None
        elif in_use > _USED * self.allowed:
            self.allowed = min(self._most, self.allowed + math.ceil(math.sqrt(self.allowed)))
        elif in_use < _IDLE * self.allowed:
            self.allowed = min(self.allowed, max(_START, math.ceil(in_use * _HEADROOM)))

    def _cut(self, allowed: int) -> None:
        self.allowed = min(self.allowed, max(1, allowed))
        self._cut_at = self._clock()
