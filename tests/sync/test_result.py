from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_census.errors import AccountingError, ConfigError
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.limit import parse_limit
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.result import MAX_SAMPLES, Tally
from airflow_provider_census.sync.values import RowResult


def add(to: Tally, key: Any, result: RowResult) -> None:
    to.add([(Change(key), result)])


def tally(**counts: int) -> Tally:
    made = Tally()
    for name, count in counts.items():
        for n in range(count):
            made.read += 1
            add(made, f"{name}{n}", RowResult(Outcome(name), f"reason {n}", 400))
    return made


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (0, 0),
        (5, 5),
        (0.1, 0.1),
        (1.0, 1.0),
        (None, None),
        ("5", 5),
        (" 0.1 ", 0.1),
        ("None", None),
        ("none", None),
        ("1.0", 1.0),
        ("0", 0),
    ],
)
def test_a_limit_is_rows_a_share_or_none(given: Any, parsed: Any) -> None:
    limit = parse_limit("max_invalid", given)
    assert (limit, type(limit)) == (parsed, type(parsed))


@pytest.mark.parametrize(
    "given", [-1, "-1", "-0.1", 1.5, "1.5", "many", "5%", "nan", float("nan"), True, [], "0.1.2", ""]
)
def test_what_is_no_limit_is_refused_by_name(given: Any) -> None:
    with pytest.raises(ConfigError, match="max_rejected="):
        parse_limit("max_rejected", given)


@pytest.mark.parametrize(
    ("limit", "bad", "good", "fails"),
    [
        (0, 0, 10, False),
        (0, 1, 10, True),
        (3, 3, 10, False),
        (3, 4, 10, True),
        (None, 10, 0, False),
        (0.1, 1, 9, False),
        (0.1, 2, 9, True),
        (0.29, 29, 71, False),
        (0.29, 30, 71, True),
        (0.07, 7, 93, False),
        (1.0, 10, 0, False),
        (0.0, 1, 1_000, True),
        (0.1, 0, 0, False),
    ],
)
def test_more_than_the_limit_fails(limit: Any, bad: int, good: int, fails: bool) -> None:
    assert (tally(rejected=bad, upserted=good).exceeded(None, limit) is not None) is fails
    assert (tally(invalid=bad, upserted=good).exceeded(limit, None) is not None) is fails


def test_settled_rows_are_no_part_of_the_share_and_uncertain_ones_count_as_rejected() -> None:
    assert tally(uncertain=2, sent=8, unchanged=1_000).exceeded(0, 0.1) is not None
    assert tally(uncertain=1, sent=9, unchanged=1_000).exceeded(0, 0.1) is None


def test_the_error_names_the_numbers_and_the_first_reason() -> None:
    error = tally(rejected=3, upserted=97).exceeded(0, 0.02)
    assert str(error).startswith(
        "3 of 100 rows tried ended rejected, max_rejected=0.02, a share of the rows tried, allows 2; the first: key "
        "'rejected0': reason 0. What arrived is committed; rejected rows are read again"
    )
    assert "tried in every run" in str(error)


def test_a_share_of_few_rows_that_allows_none_is_told_as_that() -> None:
    error = tally(invalid=1, upserted=2).exceeded(0.1, None)
    assert str(error).startswith(
        "1 of 3 rows tried ended invalid, max_invalid=0.1, a share of the rows tried, allows 0 (so few rows; an int "
        "counts them however few they are); the first: key 'invalid0'"
    )
    assert "however few" not in str(tally(invalid=1).exceeded(0, None))


def test_the_error_about_rows_that_are_not_sent_again_says_what_to_do() -> None:
    made = tally(uncertain=2, sent=8)
    made.held, made.remedy = 2, "one may look"
    error = str(made.exceeded(0, 0))
    assert "2 of them are uncertain: perhaps they are there, and no run sends them again" in error
    assert "look for them there; the next run goes on behind them" in error
    assert error.endswith(
        "max_rejected=2; to have such rows sent again, options={'on_uncertain': 'resend'}; one may look"
    )
    assert "tried in every run" not in error
    made.counts[Outcome.REJECTED] += 1
    assert "tried in every run" in str(made.exceeded(0, 0))


def test_samples_are_few() -> None:
    made = tally(invalid=50, rejected=50)
    assert [len(entries) for entries in made.samples.values()] == [MAX_SAMPLES, MAX_SAMPLES, 0]
    assert made.samples[Outcome.INVALID][0] == {"key": "invalid0", "reason": "reason 0"}
    assert made.samples[Outcome.REJECTED][0] == {"key": "rejected0", "reason": "reason 0", "status": 400}


def test_a_sample_shows_a_thing_once_however_often_it_happened() -> None:
    made = Tally()
    for _ in range(MAX_SAMPLES):
        add(made, "ann", RowResult(Outcome.INVALID, "stands in 20 rows"))
        add(made, None, RowResult(Outcome.REJECTED, "no such plan", 422))
    add(made, "ann", RowResult(Outcome.INVALID, "has no e-mail"))
    add(made, "bob", RowResult(Outcome.INVALID, "has no e-mail"))
    assert made.samples[Outcome.INVALID] == [
        {"key": "ann", "reason": "stands in 20 rows"},
        {"key": "ann", "reason": "has no e-mail"},
        {"key": "bob", "reason": "has no e-mail"},
    ]
    assert made.samples[Outcome.REJECTED] == [{"key": None, "reason": "no such plan", "status": 422}]
    assert made.counts == {Outcome.INVALID: MAX_SAMPLES + 2, Outcome.REJECTED: MAX_SAMPLES}


@pytest.mark.parametrize("read", [4, 6])
def test_counts_that_do_not_add_up_are_a_defect(read: int) -> None:
    made = tally(upserted=5)
    made.read = read
    with pytest.raises(AccountingError, match=f"{read} rows"):
        made.check()


def test_the_words_of_an_api_end_once() -> None:
    ended = Tally()
    add(ended, 1, RowResult(Outcome.REJECTED, "is not a valid email."))
    assert "a valid email. What arrived" in str(ended.exceeded(0, 0))
