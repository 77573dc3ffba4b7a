from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from airflow_provider_census.errors import Interrupted
from airflow_provider_census.sync.ahead import ahead

GO_ON = threading.Event()


class Source:
    """Gives numbers, and says what is done to it."""

    def __init__(self, count: int = 5, *, breaks_at: int | None = None, stuck_at: int | None = None) -> None:
        self.asked = [threading.Event() for _ in range(count + 1)]
        self.go_on = threading.Event()
        self.closed = threading.Event()
        self.threads: set[int] = set()
        self._count = count
        self._breaks_at = breaks_at
        self._stuck_at = stuck_at

    def numbers(self) -> Generator[int, None, None]:
        try:
            for n in range(self._count):
                self.threads.add(threading.get_ident())
                self.asked[n].set()
                if n == self._breaks_at:
                    raise ConnectionError("the source broke off")
                if n == self._stuck_at:
                    self.go_on.wait(30)
                yield n
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


def test_the_next_one_is_made_while_one_is_at_work() -> None:
    source = Source()
    with closing(ahead(source.numbers(), GO_ON)) as numbers:
        assert next(numbers) == 0
        assert source.asked[1].wait(5)


def test_it_is_one_ahead_and_no_more() -> None:
    source = Source()
    with closing(ahead(source.numbers(), GO_ON)) as numbers:
        assert next(numbers) == 0
        assert source.asked[1].wait(5)
        assert not source.asked[2].wait(0.1)
        assert list(numbers) == [1, 2, 3, 4]


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_source_begins_and_ends_in_one_thread_that_is_not_ours(taken: int) -> None:
    source = Source()
    with closing(ahead(source.numbers(), GO_ON)) as numbers:
        assert [next(numbers) for _ in range(taken)] == list(range(taken))
    assert source.closed.is_set() == bool(taken)  # what was not begun has nothing to close
    assert len(source.threads) == bool(taken)
    assert threading.get_ident() not in source.threads


def test_an_error_comes_behind_what_came_before_it() -> None:
    source = Source(breaks_at=3)
    numbers = ahead(source.numbers(), GO_ON)
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ConnectionError, match="broke off"):
        next(numbers)
    assert source.closed.is_set()


def test_who_leaves_does_not_wait_for_a_source_that_is_busy_and_it_is_closed_in_the_end() -> None:
    source = Source(stuck_at=1)
    began = time.monotonic()
    with closing(ahead(source.numbers(), GO_ON)) as numbers:
        assert next(numbers) == 0
        assert source.asked[1].wait(5)
    assert time.monotonic() - began < 5
    assert not source.closed.is_set()
    source.go_on.set()
    assert source.closed.wait(5)


def test_a_task_that_is_asked_to_stop_does_not_wait_for_the_source() -> None:
    source, stopped = Source(stuck_at=1), threading.Event()
    numbers = ahead(source.numbers(), stopped)
    assert next(numbers) == 0
    stopped.set()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        next(numbers)
    assert time.monotonic() - began < 5
    source.go_on.set()
    assert source.closed.wait(5)


class Stopped(BaseException):
    """What a signal raises in a task."""


@contextmanager
def stopped_in(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_task_that_is_to_stop_does_so_while_the_source_works_on_its_first_row() -> None:
    source = Source(stuck_at=0)
    began = time.monotonic()
    with pytest.raises(Stopped), stopped_in(0.2):
        next(ahead(source.numbers(), GO_ON))
    assert time.monotonic() - began < 5
    source.go_on.set()
    assert source.closed.wait(5)
