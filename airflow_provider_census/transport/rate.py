"""
When the next request may go.

One :class:`Limiter` stands for one connection in one process; all its threads pass through it. It paces at the
published rate instead of running into refusals, corrects the rate by what the API's headers say, and holds everything
back while the API asks for a pause.

Others may share the limit without knowing of each other, as the shards of a sync do. So what the API has put off is
sent when it says, not one interval of our share later: those who begin at one time would meet again and again, and one
of them always come first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

# The part of a window that may be used at once. The rest is spread evenly, so that no window of the API, wherever it
# starts, ever sees more than its limit.
_BURST = 0.02
# Where that is not one request, room for one that is on its way longer than those behind it.
_JITTER = 0.015
# The longest window among the published limits is an hour; what says more is no header to believe.
_MAX_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """
    A published limit: ``count`` requests (or objects, by ``Request.cost``) per ``per_s`` seconds.

    :param name: what ``Request.limit`` refers to.
    """

    name: str
    count: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Throttle:
    """
    What one answer's headers say about the rate that counted it; None where they say nothing.

    :param count: the limit of the current window.
    :param remaining: what is left of it.
    :param reset_s: seconds until the window starts anew.
    """

    count: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


class _Bucket:
    """A leaky bucket kept as one number: the time at which everything let through so far has drained."""

    def __init__(self, rate: Rate, share: float) -> None:
        self.per_s = rate.per_s
        self.share = share
        self.drained_at = float("-inf")
        self.blocked_until = float("-inf")
        self.round = 0
        self._used_until = float("-inf")  # drained_at, without those who still wait for their turn
        self.used_s = 0.0
        self.set_count(rate.count)

    def set_count(self, count: float) -> None:
        self.count = count
        self._allowed = max(count * self.share, 1e-9)
        self.interval_s = self.seconds(1)

    def seconds(self, cost: float) -> float:
        """Return how long ``cost`` takes to drain."""
        # A cost is used at once, so a window must hold a whole number of them.
        return self.per_s / (self._allowed // cost - self._burst(cost) or self._allowed / cost)

    def reserve(self, cost: float, now: float) -> float:
        """Take ``cost`` and return the time from which it may be used."""
        interval_s = self._interval(cost)
        start = max(self.drained_at, now - self._burst(cost) * interval_s, self.blocked_until)
        self.drained_at = start + interval_s
        return start

    def use(self, cost: float, start: float) -> None:
        """Count as used what was reserved."""
        self._used_until = max(self._used_until, start + self._interval(cost))
        self.used_s += self.seconds(cost)

    def block(self, until: float, unused: float) -> None:
        """Let nothing through, and let all who wait for their turn queue again, or they would all go when it ends."""
        self.blocked_until = max(self.blocked_until, until)
        if unused:
            self._used_until -= self._interval(unused)
        self.drained_at = self._used_until
        self.round += 1

    def _interval(self, cost: float) -> float:
        return self.seconds(cost) * (1 if self._burst(cost) else 1 + _JITTER)

    def _burst(self, cost: float) -> int:
        """Return how many of this cost may be used at once."""
        return int(self._allowed // cost * _BURST)


class Limiter:
    """
    Paces the requests of one connection.

    :param rates: the limits of the destination; the first one counts requests that name none.
    :param share: the part of each limit this task may use, 0 < share ≤ 1.
    """

    def __init__(
        self,
        rates: Iterable[Rate],
        *,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self.sleep = sleep
        self.share = share
        self._rates: dict[str, Rate] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.adopt(rates)
        self._default = next(iter(self._buckets), "")

    def adopt(self, rates: Iterable[Rate]) -> None:
        """Pace by ``rates`` from now on; one that is the same keeps its place and what was learned of it."""
        with self._lock:
            for rate in rates:
                if self._rates.get(rate.name) != rate:
                    self._rates[rate.name] = rate
                    self._buckets[rate.name] = _Bucket(rate, self.share)

    def acquire(self, name: str = "", cost: float = 1) -> None:
        """Wait until a request of ``cost`` may be sent. An unknown ``name`` is not limited."""
        bucket = self._buckets.get(name or self._default)
        while bucket is not None:
            with self._lock:
                at, round = bucket.reserve(cost, self._clock()), bucket.round
            while (wait := at - self._clock()) > 0:
                self.sleep(wait)
            with self._lock:
                if bucket.round == round:
                    bucket.use(cost, at)
                    return

    def pause(self, name: str, seconds: float, *, unused: float = 0) -> None:
        """
        Let nothing through for ``seconds``: the API said so.

        :param unused: the cost of the request that it has put off.
        """
        with self._lock:
            bucket = self._buckets.get(name or self._default)
            if bucket is not None:
                bucket.block(self._clock() + min(seconds, _MAX_PAUSE_S), unused)

    def learn(self, name: str, throttle: Throttle) -> None:
        """Take over what the headers of an answer say."""
        with self._lock:
            bucket = self._buckets.get(name or self._default)
            if bucket is None:
                return
            if throttle.count is not None and 0 < throttle.count < math.inf and throttle.count != bucket.count:
                bucket.set_count(throttle.count)
        if throttle.remaining is not None and throttle.remaining <= 0 and throttle.reset_s is not None:
            self.pause(name, throttle.reset_s)

    def seconds(self, costs: Mapping[str, float]) -> float:
        """Return how long these costs take at the current rates, the slowest rate deciding."""
        return max(
            (
                self._buckets[name or self._default].interval_s * cost
                for name, cost in costs.items()
                if (name or self._default) in self._buckets
            ),
            default=0.0,
        )

    def per_second(self, name: str = "") -> float | None:
        """Return the current pace of a rate in requests (or objects) per second, None where nothing limits."""
        bucket = self._buckets.get(name or self._default)
        return None if bucket is None else 1 / bucket.interval_s

    def used_s(self) -> dict[str, float]:
        """Return for each rate how many seconds of it were used so far: as many as pass where it is used up."""
        with self._lock:
            return {name: bucket.used_s for name, bucket in self._buckets.items()}

    def paused_s(self) -> float:
        """Return for how many seconds more the API lets nothing through; 0 if it does."""
        with self._lock:
            until = max((bucket.blocked_until for bucket in self._buckets.values()), default=-math.inf)
        return max(0.0, until - self._clock())
