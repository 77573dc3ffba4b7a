from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_census.transport.rate import Limiter, Rate, Throttle


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        # A hair more, as clocks do: sleeping the rest exactly may round to nothing.
        self.now += seconds + 1e-9


class Api:
    """
    Counts requests in windows, by the clock or from the first request on, and tells of them in whole seconds.

    :param unix: whether the time of the reset is told by the clock, or the seconds until then.
    :param ahead_s: how far the API's clock is ahead of ours.
    """

    def __init__(self, rate: Rate, *, by_clock: bool = False, unix: bool = True, ahead_s: float = 0) -> None:
        self.rate = rate
        self.by_clock = by_clock
        self.unix = unix
        self.ahead_s = ahead_s
        self.ends_at = -math.inf
        self.left = 0.0
        self.refused = 0

    def take(self, now: float) -> Callable[[float], Throttle]:
        """Count a request; return what its headers say to who reads them at a given time."""
        now += self.ahead_s
        if now >= self.ends_at:
            opened_at = now // self.rate.per_s * self.rate.per_s if self.by_clock else now
            self.ends_at, self.left = opened_at + self.rate.per_s, self.rate.count
        if self.left:
            self.left -= 1
        else:
            self.refused += 1
        left, ends_at = self.left, self.ends_at
        if self.unix:
            return lambda read_at: Throttle(remaining=left, reset_s=math.ceil(ends_at) - read_at)
        return lambda read_at: Throttle(remaining=left, reset_s=math.ceil(ends_at - now))


class Sender:
    """Sends at its turns, as many at once as come; what was answered is learned while it waits."""

    def __init__(self, api: Api, share: float, start_s: float, latency_s: float) -> None:
        self.limit, self._clock = limiter(api.rate, share=share)
        self._api = api
        self._latency_s = latency_s
        self._answers: list[tuple[float, Callable[[float], Throttle]]] = []
        self._clock.now += start_s
        self.limit.sleep = self._sleep

    def turn(self) -> float:
        """Wait for the next turn and return when it is."""
        self.limit.acquire()
        return self._clock.now

    def send(self) -> None:
        self._answers.append((self._clock.now + self._latency_s, self._api.take(self._clock.now)))

    def _sleep(self, seconds: float) -> None:
        until = self._clock.now + seconds
        while self._answers and self._answers[0][0] <= until:
            self._clock.now, read = self._answers.pop(0)
            self.limit.learn("", read(self._clock.now))
        self._clock.sleep(max(until - self._clock.now, 1e-9))


def limiter(*rates: Rate, share: float = 1.0) -> tuple[Limiter, Clock]:
    clock = Clock()
    return Limiter(rates, share=share, clock=clock, sleep=clock.sleep), clock


def grants(limit: Limiter, clock: Clock, count: int, cost: float = 1, pause_s: float = 0) -> list[float]:
    times = []
    for _ in range(count):
        clock.now += pause_s
        limit.acquire("a", cost)
        times.append(clock.now)
    return times


def busiest(times: list[float], per_s: float, cost: float = 1) -> float:
    """Return the most that falls into any window of ``per_s``, wherever it starts."""
    # The limit may be used up to the last moment of a window: floats must not decide to which one that belongs.
    return cost * max(sum(start <= t < start + per_s - 1e-6 for t in times) for start in times)


@settings(deadline=None, max_examples=80, database=None)
@given(
    count=st.integers(1, 400),
    per_s=st.sampled_from([0.5, 1.0, 3.0, 60.0]),
    share=st.sampled_from([1.0, 0.5, 0.91, 0.1]),
    cost=st.integers(1, 20),
    pause_s=st.sampled_from([0, 0.01, 0.7]),
)
def test_no_window_ever_holds_more_than_the_share_of_the_limit(
    count: int, per_s: float, share: float, cost: int, pause_s: float
) -> None:
    limit, clock = limiter(Rate("a", count, per_s), share=share)
    clock.now += 500  # a long time without a request saves up no more than the burst
    times = grants(limit, clock, min(2 * count, 120), cost, pause_s)
    # A single request may cost more than the share; then they come one by one.
    assert busiest(times, per_s, cost) <= max(count * share, cost) + 1e-6


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 10), (0.5, 20), (0.25, 40)])
def test_the_limit_is_used_up_to_its_share(share: float, seconds: float) -> None:
    limit, clock = limiter(Rate("a", 100, 1), share=share)
    times = grants(limit, clock, 1_000)
    assert seconds * 0.95 <= times[-1] - times[0] <= seconds * 1.06


def test_requests_that_cost_more_come_less_often() -> None:
    limit, clock = limiter(Rate("a", 100, 1))
    times = grants(limit, clock, 41, cost=10)
    assert times[-1] - times[0] == pytest.approx(40 / 10, rel=0.02)


def test_a_burst_after_a_rest_is_small() -> None:
    limit, clock = limiter(Rate("a", 1_000, 10))
    clock.now += 10_000
    times = grants(limit, clock, 100)
    assert sum(t == times[0] for t in times) in (10, 11)


def test_rates_are_counted_apart_and_the_first_is_the_default() -> None:
    limit, clock = limiter(Rate("a", 1, 10), Rate("b", 1, 10))
    for name in ("", "b"):
        limit.acquire(name)
    assert clock.slept == []
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(10, rel=0.02)
    limit.acquire("no such rate")
    assert len(clock.slept) == 1
    Limiter([]).acquire()


def test_a_pause_holds_everything_of_its_rate_back() -> None:
    limit, clock = limiter(Rate("a", 1_000, 1), Rate("b", 1_000, 1))
    limit.pause("a", 30)
    limit.acquire("b")
    assert clock.slept == []
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(30)
    limit.pause("a", 5)
    limit.pause("a", 1)
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(35)


def test_a_pause_is_never_longer_than_an_hour() -> None:
    limit, clock = limiter(Rate("a", 10, 1))
    limit.learn("a", Throttle(remaining=0, reset_s=1.7e9))
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(3_600)


def all_at_once(limit: Limiter, count: int) -> tuple[list[threading.Thread], list[float]]:
    """Start threads that each wait for their turn; return them, and the list of when the turns came."""
    times: list[float] = []

    def request() -> None:
        limit.acquire("a")
        times.append(time.monotonic())

    threads = [threading.Thread(target=request) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, times


def test_those_who_wait_while_a_pause_begins_do_not_all_go_when_it_ends() -> None:
    limit = Limiter([Rate("a", 20, 2.0)])
    threads, times = all_at_once(limit, 12)
    while not times:
        time.sleep(0.001)
    time.sleep(0.03)  # the first has gone, the others wait for their turn
    paused_at = time.monotonic()
    limit.pause("a", 0.4)
    for thread in threads:
        thread.join()
    times.sort()
    waited = [t for t in times if t > paused_at + 0.01]
    assert len(waited) >= 10
    assert waited[0] >= paused_at + 0.4
    # One in 0.1 s; a machine that is busy lets some wake late.
    assert waited[-1] - waited[0] > 0.06 * (len(waited) - 1), "they must be spread"


def test_what_the_api_put_off_has_used_nothing_of_the_limit() -> None:
    limit, clock = limiter(Rate("a", 1, 4.0))
    limit.acquire("a")
    limit.pause("a", 1, unused=1)
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(1)
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(5, rel=0.02)


def test_a_pause_after_an_answer_gives_nothing_back() -> None:
    limit, clock = limiter(Rate("a", 1, 4.0))
    limit.acquire("a")
    limit.learn("a", Throttle(remaining=0, reset_s=1))
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("shards", [2, 4, 16])
def test_those_who_share_a_limit_without_knowing_of_each_other_use_all_of_it_from_the_same_start(shards: int) -> None:
    rounds, opened, times = 20, float("-inf"), []
    limits = [limiter(Rate("a", 1, 1.0), share=1 / shards) for _ in range(shards)]
    turns = []
    for number, (limit, clock) in enumerate(limits):
        clock.now += number / 1_000
        limit.acquire("a")
        turns.append((clock.now, number, rounds))
    while turns:
        turn = min(turns)
        turns.remove(turn)
        now, number, left = turn
        limit, clock = limits[number]
        if now - opened >= 0.95:  # of a second: a network is no clock
            opened, left = now, left - 1
            times.append(now)
        else:
            limit.pause("a", 1, unused=1)
        if left:
            limit.acquire("a")
            turns.append((clock.now, number, left))
    assert len(times) == shards * rounds
    assert times[-1] - times[0] < 1.1 * len(times), "they met again and again"


def test_those_who_all_come_too_late_for_their_turn_do_not_all_go_at_once() -> None:
    """As when the machine stands still for a moment."""
    thaws_at = time.monotonic() + 0.6
    limit = Limiter([Rate("a", 20, 1.0)], sleep=lambda s: time.sleep(max(s, thaws_at - time.monotonic())))
    threads, times = all_at_once(limit, 12)
    for thread in threads:
        thread.join()
    waited = sorted(times)[1:]
    assert waited[0] >= thaws_at
    # One in 0.05 s; a machine that is busy lets some wake late.
    assert waited[-1] - waited[0] > 0.03 * (len(waited) - 1)


@settings(deadline=None, max_examples=60, database=None)
@given(
    rate=st.sampled_from([Rate("a", 60, 3), Rate("a", 1666, 10), Rate("a", 50, 60), Rate("a", 25, 1)]),
    shards=st.sampled_from([1, 2, 4]),
    by_clock=st.booleans(),
    unix=st.booleans(),
    ahead_s=st.floats(-0.9, 0.9),
    start_s=st.floats(0, 10),
    latency_s=st.sampled_from([0.001, 0.02]),
)
def test_nothing_is_refused_and_no_whole_second_is_waited_for_while_only_shards_use_the_limit(
    rate: Rate, shards: int, by_clock: bool, unix: bool, ahead_s: float, start_s: float, latency_s: float
) -> None:
    api = Api(rate, by_clock=by_clock, unix=unix, ahead_s=ahead_s)
    share = 1 / shards
    senders = [Sender(api, share, start_s + number * 0.013, latency_s) for number in range(shards)]
    each = int(3 * rate.count * share)
    turns = sorted((sender.turn(), number) for number, sender in enumerate(senders))
    left, times = dict.fromkeys(range(shards), each), []
    while turns:
        at, number = turns.pop(0)
        times.append(at)
        senders[number].send()
        left[number] -= 1
        if left[number]:
            turns.append((senders[number].turn(), number))
            turns.sort()
    assert api.refused == 0
    # Whole seconds do not tell one window of a second from the next.
    if rate.per_s > 2:
        assert times[-1] - times[0] <= 1.03 * (each - 1) * rate.per_s / (rate.count * share // 1) + 0.1


@pytest.mark.parametrize("by_clock", [True, False])
@pytest.mark.parametrize("unix", [True, False])
@pytest.mark.parametrize("ahead_s", [-0.9, 0, 0.9])
def test_a_window_used_up_by_others_is_waited_for_and_then_the_next_one_used(
    by_clock: bool, unix: bool, ahead_s: float
) -> None:
    api = Api(Rate("a", 100, 10), by_clock=by_clock, unix=unix, ahead_s=ahead_s)
    sender = Sender(api, 1.0, 3.7, 0.01)
    for _ in range(140):  # into the second window
        sender.turn()
        sender.send()
    api.left = 1
    ended_at = api.ends_at - ahead_s
    sender.turn()
    sender.send()

    assert ended_at <= sender.turn() < ended_at + 0.1
    sender.send()
    assert api.refused == 0


def test_a_window_that_is_longer_than_those_of_the_limit_is_believed_to_its_end() -> None:
    """A limit by the hour, say, besides the one by the second that is published."""
    limit, clock = limiter(Rate("a", 100, 3))
    ends_at = clock.now + 3_000
    for left_s in (3_000, 2_000, 1_000, 2.5):
        clock.now = ends_at - left_s
        limit.learn("a", Throttle(remaining=500, reset_s=left_s))
    limit.learn("a", Throttle(remaining=0, reset_s=2.5))
    limit.acquire("a")
    assert clock.now == pytest.approx(ends_at)


def test_the_end_of_a_window_too_short_to_be_told_from_the_next_is_taken_from_the_headers() -> None:
    limit, clock = limiter(Rate("a", 100, 1))
    limit.learn("a", Throttle(remaining=0, reset_s=0.25))
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(0.25)


def test_an_answer_that_was_long_on_its_way_does_not_hide_that_the_next_window_has_begun() -> None:
    limit, clock = limiter(Rate("a", 100, 3))
    opened_at = clock.now
    # The first one was given when the window opened. The next window opens with the third one, and lasts until 6.05.
    for after_s, reset_s in ((2.9, 3), (2.95, 1), (3.05, 3)):
        clock.now = opened_at + after_s
        limit.learn("a", Throttle(remaining=50, reset_s=reset_s))
    clock.now = opened_at + 4
    limit.learn("a", Throttle(remaining=0, reset_s=3))
    limit.acquire("a")
    assert clock.now == pytest.approx(opened_at + 6.05)


def test_headers_correct_the_limit() -> None:
    limit, clock = limiter(Rate("a", 10, 1))
    assert limit.per_second("a") == pytest.approx(10, rel=0.03)
    limit.learn("a", Throttle(count=200))
    assert limit.per_second("a") == pytest.approx(200, rel=0.03)
    limit.learn("a", Throttle(count=0))
    limit.learn("a", Throttle())
    limit.learn("no such rate", Throttle(count=5, remaining=0, reset_s=5))
    assert limit.per_second("a") == pytest.approx(200, rel=0.03)
    limit.learn("a", Throttle(remaining=5, reset_s=30))
    limit.acquire("a")
    assert clock.slept == []
    limit.learn("a", Throttle(remaining=0, reset_s=30))
    limit.acquire("a")
    assert sum(clock.slept) == pytest.approx(30)


def test_a_learned_limit_is_shared_too() -> None:
    limit, _ = limiter(Rate("a", 10, 1), share=0.5)
    limit.learn("a", Throttle(count=40))
    assert limit.per_second("a") == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -5.0])
def test_headers_that_are_no_numbers_change_nothing(garbage: float) -> None:
    limit, clock = limiter(Rate("a", 10, 1))
    limit.learn("a", Throttle(count=garbage))
    limit.learn("a", Throttle(remaining=0, reset_s=-5.0 if garbage > 0 else garbage))
    limit.acquire("a")
    assert clock.slept == []
    assert limit.per_second("a") == pytest.approx(10, rel=0.03)


def test_the_slowest_rate_decides_an_estimate() -> None:
    limit, _ = limiter(Rate("a", 10, 1), Rate("b", 1, 60))
    assert limit.seconds({"": 100}) == pytest.approx(10, rel=0.03)
    assert limit.seconds({"a": 100, "b": 2, "no such rate": 9}) == pytest.approx(120, rel=0.03)
    assert limit.seconds({}) == 0
    assert limit.per_second("no such rate") is None


def test_a_rate_that_is_adopted_paces_from_then_on_at_the_same_share() -> None:
    limit, clock = limiter(Rate("a", 10, 1.0), share=0.5)
    limit.adopt([Rate("a", 4, 1.0)])

    times = grants(limit, clock, 9)

    assert limit.per_second("a") == pytest.approx(2, rel=0.03)
    assert times[-1] - times[0] == pytest.approx(4, rel=0.02)


def test_adopting_what_is_known_forgets_neither_its_place_nor_what_was_learned() -> None:
    limit, clock = limiter(Rate("a", 10, 1.0))
    limit.learn("a", Throttle(count=2))
    limit.acquire("a")
    before = clock.now
    limit.adopt([Rate("a", 10, 1.0)])
    limit.acquire("a")

    assert clock.now - before == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_it_tells_how_much_of_its_share_is_in_use(share: float) -> None:
    limit, clock = limiter(Rate("a", 100, 1), Rate("b", 100, 1), share=share)
    began = clock.now
    grants(limit, clock, 1_000)
    assert limit.used_s()["a"] / (clock.now - began) == pytest.approx(1, abs=0.03)
    assert limit.used_s()["b"] == 0


def test_objects_use_up_a_limit_of_objects() -> None:
    limit, clock = limiter(Rate("a", 1_000, 1))
    began = clock.now
    grants(limit, clock, 100, cost=50, pause_s=0.1)
    assert limit.used_s()["a"] / (clock.now - began) == pytest.approx(0.5, abs=0.03)


def test_it_tells_how_long_the_api_lets_nothing_through() -> None:
    limit, clock = limiter(Rate("a", 1_000, 1), Rate("b", 1_000, 1))
    assert limit.paused_s() == 0
    limit.pause("a", 30)
    clock.now += 10
    assert limit.paused_s() == pytest.approx(20)
    clock.now += 25
    assert limit.paused_s() == 0
