from __future__ import annotations

import heapq
import math

import pytest

from airflow_provider_census.transport.concurrency import Concurrency

_EPSILON_S = 1e-6


class Api:
    """
    An API and a sender that keeps as many requests in flight as allowed, in simulated time.

    :param latency_s: of a request that does not wait for others.
    :param at_once: requests it works on at a time; others wait for their turn.
    :param pace_s: time between two requests: what a limiter or a slow source lets through.
    """

    def __init__(self, *, latency_s: float, at_once: float = math.inf, pace_s: float = 0.0, most: int = 1_000) -> None:
        self.latency_s = latency_s
        self.at_once = at_once
        self.pace_s = pace_s
        self.now = 0.0
        self.concurrency = Concurrency(most, clock=lambda: self.now)
        self.history: list[int] = []
        self._under_way: list[tuple[float, float]] = []  # when it is answered, when it began
        self._next_at = 0.0

    def serve(self, requests: int, *, refused: bool = False) -> float:
        """Serve so many; return the seconds that took."""
        began_at = self.now
        for _ in range(requests):
            while len(self._under_way) >= self.concurrency.allowed:
                self._answer(refused)
            while self._under_way and self._under_way[0][0] <= self._next_at:
                self._answer(refused)
            self.now = max(self.now, self._next_at)
            self._next_at = self.now + self.pace_s
            self.now += _EPSILON_S
            waiting = max(1.0, (len(self._under_way) + 1) / self.at_once)
            heapq.heappush(self._under_way, (self.now + self.latency_s * waiting, self.now))
        while self._under_way:
            self._answer(refused)
        return self.now - began_at

    def _answer(self, refused: bool) -> None:
        at, began = heapq.heappop(self._under_way)
        self.now = max(self.now, at)
        (self.concurrency.refused if refused else self.concurrency.answered)(began)
        self.history.append(self.concurrency.allowed)


@pytest.mark.parametrize("most", [1, 3, 10])
def test_what_the_destination_allows_is_never_exceeded(most: int) -> None:
    api = Api(latency_s=0.1, most=most)
    api.serve(1_000)
    assert max(api.history) == most


def test_one_at_a_time_stays_one() -> None:
    api = Api(latency_s=0.1, most=1)
    api.serve(50)
    api.serve(5, refused=True)
    api.serve(50)
    assert set(api.history) == {1}


def test_it_grows_while_more_in_flight_bring_more() -> None:
    api = Api(latency_s=0.1, most=200)
    api.serve(5_000)
    assert api.concurrency.allowed == 200
    assert api.serve(2_000) == pytest.approx(2_000 / 200 * 0.1, rel=0.15)


def test_it_stops_where_answers_only_take_longer() -> None:
    api = Api(latency_s=0.05, at_once=20, most=500)
    api.serve(15_000)
    took = api.serve(5_000)
    assert max(api.history[-5_000:]) <= 60
    assert took == pytest.approx(5_000 / 20 * 0.05, rel=0.1)


def test_it_grows_no_further_than_the_pace_needs() -> None:
    api = Api(latency_s=0.1, pace_s=1 / 200, most=500)  # 200 a second, 0.1 s each: 20 in flight by Little's law
    took = api.serve(4_000)
    assert 20 <= api.concurrency.allowed <= 40
    assert took == pytest.approx(4_000 / 200, rel=0.02)


def test_it_shrinks_when_fewer_will_do() -> None:
    api = Api(latency_s=0.5, pace_s=1 / 200, most=500)
    api.serve(4_000)
    assert api.concurrency.allowed >= 100
    api.latency_s = 0.05
    api.serve(4_000)
    assert api.concurrency.allowed <= 20


def test_it_follows_an_api_that_becomes_slower_for_good() -> None:
    api = Api(latency_s=0.02, most=64)
    api.serve(5_000)
    api.latency_s = 0.1
    api.serve(20_000)
    assert api.concurrency.allowed >= 48


def test_a_burst_of_refusals_halves_it_once_and_it_comes_back() -> None:
    api = Api(latency_s=0.1, most=64)
    api.serve(5_000)
    assert api.concurrency.allowed == 64
    began = api.now
    api.now += _EPSILON_S
    for _ in range(40):  # all of them sent at once
        api.concurrency.refused(began)
    assert api.concurrency.allowed == 32
    assert api.serve(1_000) < 1.5 * 1_000 / 64 * 0.1
    assert api.concurrency.allowed == 64


def test_refusals_that_go_on_leave_one_in_flight_and_never_none() -> None:
    api = Api(latency_s=0.1, most=64)
    api.serve(200, refused=True)
    assert api.concurrency.allowed == 1
    api.serve(2_000)
    assert api.concurrency.allowed == 64
