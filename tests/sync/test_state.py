from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_census.errors import StateError
from airflow_provider_census.sync.state import State, decode, encode, newest_first, readable

ZONES = st.timezones() | st.just(dt.UTC) | st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\x00", "\ud800", "\U0010ffff", '"}', ""])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    TEXT,
    st.binary(),
    st.uuids(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC) | ZONES.filter(lambda zone: isinstance(zone, dt.timezone))),
    st.decimals().filter(lambda number: not number.is_snan()),
)


def through_a_database(value: Any) -> Any:
    """Return what comes back from a column of JSON: no database takes NUL, none a lone surrogate."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    return json.loads(text.encode())


def same(a: Any, b: Any) -> bool:
    """Equal, of one type, and NaN like NaN."""
    if isinstance(a, (float, decimal.Decimal)) and a != a:
        return type(a) is type(b) and str(a) == str(b)
    return type(a) is type(b) and bool(a == b)


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(decode(through_a_database(encode(value))), value)


@given(
    st.builds(
        State,
        target=NAMES,
        sequence=st.integers(0, 2**50),
        mapping=st.frozensets(st.binary(min_size=8, max_size=8)),
        columns=st.lists(NAMES).map(tuple),
        snapshot=st.booleans(),
        column=st.just("t"),
        watermark=VALUES.filter(lambda v: v == v),
        settled=st.frozensets(st.binary(min_size=8, max_size=8)),
        owed=st.lists(st.integers() | TEXT | st.uuids()).map(tuple),
        owed_null_keys=st.booleans(),
    )
)
def test_a_state_comes_back_as_it_was(state: State) -> None:
    assert State.from_json(through_a_database(state.to_json())) == state


GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["int", "decimal", "uuid", "datetime", "text", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(GARBAGE)
def test_what_is_no_state_is_a_state_error(value: Any) -> None:
    with pytest.raises(StateError):
        State.from_json(value)


@given(st.sampled_from(sorted(State(target="t").to_json())), GARBAGE)
def test_a_broken_part_is_a_state_error_or_harmless(part: str, value: Any) -> None:
    broken = {**State(target="t", watermark=5).to_json(), part: value}
    try:
        State.from_json(broken)
    except StateError as error:
        assert "state" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "value",
    [
        {"decimal": "x"},
        {"uuid": 5},
        {"uuid": "x"},
        {"datetime": "x"},
        {"int": "x"},
        {"nope": "x"},
        {"int": "1", "text": "2"},
        {},
    ],
)
def test_a_watermark_that_cannot_be_read_is_a_state_error(value: Any) -> None:
    broken = {**State(target="t").to_json(), "watermark": {"column": "t", "value": value}}
    with pytest.raises(StateError, match="not readable"):
        State.from_json(broken)


def test_a_state_of_a_newer_version_is_not_touched() -> None:
    with pytest.raises(StateError, match=r"version 99 .* upgrade"):
        State.from_json({**State(target="t").to_json(), "version": 99})


@pytest.mark.parametrize("value", [[1], {"a": 1}, dt.time(1), dt.timedelta(1), object()])
def test_a_value_that_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(StateError, match="cast it in the model"):
        encode(value)


def test_the_newest_state_is_the_one_with_the_greatest_sequence() -> None:
    states = [State(target=f"t{n}", sequence=n).to_json() for n in (3, 10, 7)]
    assert [value["target"] for value in newest_first([None, *states, None])] == ["t10", "t7", "t3"]
    assert newest_first([]) == []


@pytest.mark.parametrize("value", [{"target": "t"}, {"sequence": "x"}, [1], "text"])
def test_a_state_that_cannot_be_told_from_the_newest_is_a_state_error(value: Any) -> None:
    with pytest.raises(StateError, match="no sequence"):
        newest_first([State(target="t").to_json(), value])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2024, 1, 2), "2024-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (2**70, str(2**70)),
        (7, 7),
        (None, None),
    ],
)
def test_values_are_readable(value: Any, text: Any) -> None:
    assert readable(value) == text
