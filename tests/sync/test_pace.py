"""What a long run tells of itself while it is under way, and what the person on call reads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from airflow_provider_census.errors import Unavailable
from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync import pace
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.standing import Standing, span
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.transport.rate import Rate
from tests.sync.support import Lite, Rig, Tiny, TinyApi, Users

EVERY_S = 0.2
Said = Callable[[], list[str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Said:
    """The lines about the run, which come more often than they do for users."""
    monkeypatch.setattr(pace, "_EVERY_S", EVERY_S)
    caplog.set_level(logging.INFO, pace.log.name)
    return lambda: [r.getMessage() for r in caplog.records if r.name == pace.log.name]


class Slow(Lite):
    """A source that takes its time before every hundredth row, and one for counting."""

    first_s = rest_s = 0.0
    count_fails = False
    counted = 0

    def stream(self, query: Query, batch_rows: int = 100) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        if "COUNT(*) FROM" in query.sql:
            self.counted += 1
            if self.count_fails:
                raise Unavailable("the database has no room for that")
            yield from super().stream(query, batch_rows)
            return
        time.sleep(self.first_s)
        for batch in super().stream(query, batch_rows):
            yield batch
            time.sleep(self.rest_s)


@pytest.fixture
def slow(rig: Rig) -> Slow:
    rig.source = Slow(rig.source.path)  # type: ignore[arg-type]
    return rig.source


@pytest.fixture
def told(rig: Rig) -> list[Standing]:
    """What an observer of the runs was told."""
    told: list[Standing] = []
    rig.observe = told.append
    return told


# --- the lines ---------------------------------------------------------------------------------------------------


def test_a_short_run_is_quiet(rig: Rig, users: Users, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    users.add(range(500))
    rig.run()
    assert [r for r in caplog.records if r.name == pace.log.name] == []


def test_a_long_run_says_at_a_steady_rate_how_far_it_is(rig: Rig, users: Users, said: Said) -> None:
    users.add(range(600))
    started = time.monotonic()
    rig.run(rates=[Rate("all", 50, 1.0)])  # 60 requests
    assert 0.6 * (time.monotonic() - started) / EVERY_S <= len(said()) <= (time.monotonic() - started) / EVERY_S
    for line in said():
        assert line.startswith("tiny record: ")
        assert " rows done in " in line
    assert "rows/s; about " in said()[-1]
    assert "0 owed, 0 rejected, 0 uncertain, 0 invalid, 0 retries" in said()[-1]


def test_what_is_in_use_of_the_limit_is_of_the_one_that_counts(rig: Rig, users: Users, told: list[Standing]) -> None:
    users.add(range(600))
    rig.run(rates=[Rate("all", 50, 1.0)])
    assert told[-1].requests == 60
    assert told[-1].limit_share == pytest.approx(1, abs=0.1)


def test_where_requests_in_flight_are_limited_the_share_is_of_those(
    rig: Rig, users: Users, tiny: TinyApi, told: list[Standing], said: Said
) -> None:
    class Limited(Tiny):
        concurrency = 2
        most_in_flight = 4

    rig.destination = Limited
    users.add(range(60))
    tiny.slow_s = 0.3
    rig.run()
    assert max(standing.limit_share for standing in told) == 1
    assert max(standing.in_flight for standing in told) == 2


def test_a_run_that_waits_because_the_destination_asked_for_it_says_so(rig: Rig, users: Users, said: Said) -> None:
    users.add(range(100))
    rig.sandbox.inject(Fault(api="tiny", after=2, status=429, headers={"Retry-After": "1.5"}, times=1))
    rig.run(rates=[Rate("all", 1_000, 1.0)])
    waiting = [line for line in said() if "asked for a pause" in line]
    assert len(waiting) >= 3
    reason = "the destination asked for a pause, 1 s of it are left (last failure: HTTP 429 too many requests)"
    assert f"none since the last line: {reason};" in waiting[1]


def test_a_run_that_waits_for_answers_says_for_how_many(rig: Rig, users: Users, tiny: TinyApi, said: Said) -> None:
    users.add(range(40))
    tiny.slow_s = 0.8
    rig.run()
    assert "none since the last line: the destination has yet to answer 4 requests;" in said()[1]


def test_a_run_whose_destination_fails_says_what_it_is_told(rig: Rig, users: Users, said: Said) -> None:
    users.add(range(10))
    rig.sandbox.inject(Fault(api="tiny", status=503, headers={"Retry-After": "0.7"}, times=1))
    rig.run()
    assert "1 requests wait for their turn or to be tried again (last failure: HTTP 503 service unav" in said()[1]


def test_a_run_that_waits_for_its_source_says_so(rig: Rig, users: Users, slow: Slow, said: Said) -> None:
    users.add(range(200))
    slow.first_s, slow.rest_s = 0.5, 0.5
    rig.run()
    assert "0 rows done in 0 s, none since the last line: the source has not given a row yet" in said()[0]
    assert "the source gives no more rows for the moment" in said()[-1]


def test_the_lines_end_with_the_run_whatever_ended_it(rig: Rig, users: Users, slow: Slow, said: Said) -> None:
    users.add(range(300))
    slow.rest_s, slow.breaks_after = 0.3, 150
    assert isinstance(rig.run().failure, Unavailable)
    lines = len(said())
    time.sleep(3 * EVERY_S)
    assert len(said()) == lines > 0


# --- how many are left -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delta", "asked"), [(Watermark("t"), 1), (FullRefresh(), 1), (Snapshot(), 0)])
def test_how_many_rows_are_left_is_counted_once_where_it_is_not_known(
    rig: Rig, users: Users, slow: Slow, told: list[Standing], said: Said, delta: Delta, asked: int
) -> None:
    users.add(range(300))
    slow.counted = 0
    rig.run(rates=[Rate("all", 15, 1.0)], delta=delta)
    assert slow.counted == asked
    assert told[0].left is None or not asked
    known = [standing for standing in told if standing.left is not None]
    assert len(known) >= 3
    for standing in known:
        assert standing.left == 300 - standing.done
    assert known[-2].seconds_left is not None
    assert known[-2].seconds_left < known[-2].seconds
    assert "; about " in said()[-1]


def test_rows_without_a_cursor_and_owed_ones_count_as_left(
    rig: Rig, users: Users, tiny: TinyApi, told: list[Standing], said: Said
) -> None:
    users.add([1, 2, 3])
    tiny.refused = {"1": "no"}
    rig.run()
    users.add(range(100, 350))
    users.sql("INSERT INTO users VALUES (999, 'n', NULL)")
    rig.run(rates=[Rate("all", 20, 1.0)])
    assert told[-1].done + (told[-1].left or 0) == 1 + 250 + 1 + 1  # the boundary is read again
    assert told[-1].left == 0


def test_deletions_of_a_mirror_count_as_left(rig: Rig, users: Users, told: list[Standing], said: Said) -> None:
    users.add(range(100))
    mirror: dict[str, Any] = {"delta": Snapshot(), "behavior": Behavior.MIRROR, "max_deletes": None}
    rig.run(**mirror)
    users.sql("DELETE FROM users WHERE id < 60")
    rig.run(**mirror, rates=[Rate("all", 10, 1.0)])
    assert [s.done + (s.left or 0) for s in told if not s.ended and s.requests][-1] == 60


@pytest.mark.parametrize("why", ["expensive", "slow"])
def test_rows_are_not_counted_where_that_costs_much(
    rig: Rig, users: Users, slow: Slow, said: Said, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.add(range(200))
    if why == "expensive":
        monkeypatch.setattr(pace, "_BILLED_BY_BYTES", {"sqlite"})
    else:
        monkeypatch.setattr(pace, "_CHEAP_S", 0.1)
        slow.first_s = 0.2
    rig.run(rates=[Rate("all", 30, 1.0)])
    assert slow.counted == 0
    assert "; how many are left is not known; " in said()[-1]


def test_rows_that_cannot_be_counted_do_not_end_the_run(rig: Rig, users: Users, slow: Slow, said: Said) -> None:
    users.add(range(200))
    slow.count_fails = True
    assert rig.run(rates=[Rate("all", 30, 1.0)]).counts == {"upserted": 200}
    assert said().count("How many rows are left cannot be told: the database has no room for that") == 1


# --- the numbers -------------------------------------------------------------------------------------------------


def test_an_observer_is_told_all_in_the_end(
    rig: Rig, users: Users, tiny: TinyApi, told: list[Standing], said: Said
) -> None:
    users.add(range(300))
    users.sql("INSERT INTO users VALUES (NULL, 'n', 5)")
    tiny.refused = {"7": "no", "8": "no"}
    ran = rig.run(rates=[Rate("all", 50, 1.0)])
    assert [s.ended for s in told] == [False] * (len(told) - 1) + [True]
    assert [s.done for s in told] == sorted(s.done for s in told)
    last = told[-1]
    assert {o.value: n for o, n in last.counts.items() if n} == ran.counts
    assert (last.done, last.owed) == (301, 3)
    assert (last.requests, last.retries) == (ran.json["requests"], ran.json["retries"])


def test_what_was_owed_before_and_has_arrived_is_not_owed_any_more(
    rig: Rig, users: Users, tiny: TinyApi, told: list[Standing]
) -> None:
    users.add(range(3))
    tiny.refused = {"0": "no", "1": "no"}
    rig.run()
    assert told[-1].owed == 2
    del tiny.refused["1"]
    rig.run()
    assert told[-1].owed == 1


def test_an_observer_is_told_of_a_run_that_could_not_begin_too(rig: Rig, users: Users, told: list[Standing]) -> None:
    rig.run(key="nowhere")
    assert [(s.done, s.ended) for s in told] == [(0, True)]


def test_an_observer_hears_nothing_of_a_dry_run(rig: Rig, users: Users, told: list[Standing]) -> None:
    users.add(range(3))
    rig.run(dry_run=True)
    assert told == []


# --- words -------------------------------------------------------------------------------------------------------


def test_a_line_is_one_that_can_be_read_at_night() -> None:
    standing = Standing(
        counts=dict.fromkeys(Outcome, 0) | {Outcome.UPSERTED: 12_395, Outcome.REJECTED: 4, Outcome.INVALID: 1},
        done=12_400,
        left=47_600,
        seconds=255,
        seconds_left=978,
        rate=48.64,
        limit_share=0.968,
        owed=5,
        requests=12_405,
        retries=3,
        in_flight=12,
        waits_for="",
        ended=False,
    )
    assert str(standing) == (
        "12,400 rows done in 4 min, 48.6 rows/s; about 47,600 left, 16 min; 97% of the limit in use, 12 requests in "
        "flight; 5 owed, 4 rejected, 0 uncertain, 1 invalid, 3 retries"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5_900, "98 min"), (6_100, "1.7 h")]
)
def test_a_time_is_told_as_people_do(seconds: float, words: str) -> None:
    assert span(seconds) == words
