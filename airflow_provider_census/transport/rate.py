"""
When the next request may go.

One :class:`Limiter` stands for one connection in one process; all its threads pass through it. It paces at the
published rate instead of running into refusals, corrects the rate by what the API's headers say, and holds everything
back while the API asks for a pause. When a window that is used up ends is known better from its first answer than from
the headers: what they round up would be lost in every window.

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

# What a window may hold is spread evenly over a little more than the window, so that none of the API's, wherever it
# starts, ever sees more than its limit. Half of this part of a window is for those who come late to their turn, which
# may catch up (and, after a rest, be several at once), half for those on their way longer than the ones behind them.
_ROOM = 0.02
# APIs tell when a window ends in whole seconds, and by their own clock: shorter windows cannot be told apart.
_INEXACT_S = 2.0
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
        self._seen_at = self._resets_at = float("-inf")  # of the API's window: its first answer, its end by the headers
        self.used_s = 0.0
        self.set_count(rate.count)

    def set_count(self, count: float) -> None:
        self.count = count
        self._allowed = max(count * self.share, 1e-9)
        self.interval_s = self.seconds(1)

    def seconds(self, cost: float) -> float:
        """Return how long ``cost`` takes to drain."""
        # A cost is used at once, so a window must hold a whole number of them.
        return self.per_s * (1 + _ROOM) / (self._allowed // cost or self._allowed / cost)

    def reserve(self, cost: float, now: float) -> float:
        """Take ``cost`` and return the time from which it may be used."""
        start = max(self.drained_at, now - self.per_s * _ROOM / 2, self.blocked_until)
        self.drained_at = start + self.seconds(cost)
        return start

    def use(self, cost: float, start: float, now: float) -> bool:
        """Count as used what was reserved; if that is too long ago, let all queue again and return False."""
        if now - start > self.per_s * _ROOM:
            self._queue_again()
            return False
        self._used_until = max(self._used_until, start + self.seconds(cost))
        self.used_s += self.seconds(cost)
        return True

    def block(self, until: float, unused: float = 0) -> None:
        """Let nothing through."""
        self.blocked_until = max(self.blocked_until, until)
        if unused:
            self._used_until -= self.seconds(unused)
        self._queue_again()

    def learn(self, throttle: Throttle, now: float) -> None:
        """Take over what the headers of an answer say that has come now."""
        count, remaining, reset_s = throttle.count, throttle.remaining, throttle.reset_s
        if count is not None and 0 < count < math.inf and count != self.count:
            self.set_count(count)
        if reset_s is None or not math.isfinite(reset_s):
            return
        resets_at = now + min(reset_s, _MAX_PAUSE_S)
        if resets_at > self._resets_at + self.per_s - _INEXACT_S:
            self._seen_at, self._resets_at = now, resets_at
        self._resets_at = min(self._resets_at, resets_at)
        if remaining is not None and remaining <= 0:
            # The window had begun when its first answer came, so it is over by then, unless the headers mean another.
            over_at = self._seen_at + self.per_s
            known = self.per_s > _INEXACT_S and abs(over_at - resets_at) < _INEXACT_S
            self.block(over_at if known else resets_at)

    def _queue_again(self) -> None:
        """Take back all turns that are not used: those whose time passes meanwhile would all go at once."""
        self.drained_at = self._used_until
        self.round += 1


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
                now = self._clock()
                at, round = bucket.reserve(cost, now), bucket.round
            while now < at:
                self.sleep(at - now)
                now = self._clock()
            with self._lock:
                if bucket.round == round and bucket.use(cost, at, now):
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
            if bucket is not None:
                bucket.learn(throttle, self._clock())

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
