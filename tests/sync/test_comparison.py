from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_census.sync.comparison import is_empty, same, same_moment
from airflow_provider_census.sync.paths import leaves, without


@pytest.mark.parametrize("value", [None, "", [], {}, {"a": None}, {"a": {"b": ""}}])
def test_what_says_nothing_is_empty(value: Any) -> None:
    assert is_empty(value)
    assert same(value, None)
    assert same(None, value)


@pytest.mark.parametrize("value", [0, False, 0.0, " ", "0", [None], [""], {"a": 0}])
def test_what_says_something_is_not_empty(value: Any) -> None:
    assert not is_empty(value)
    assert same(value, value)
    assert not same(value, None)
    assert not same("", value)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [(1, 1.0), ([1, {"a": None}], [1.0, {}]), ({"a": 1, "b": None}, {"a": 1, "c": ""})],
)
def test_one_value_in_two_spellings_of_json_is_the_same(wanted: Any, held: Any) -> None:
    assert same(wanted, held)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (1, True),
        (0, False),
        (1, "1"),
        ("true", True),
        ("a", "A"),
        ("a", "a "),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 1, "b": 2}),
        (["a"], "a"),
        ({"a": 1}, [1]),
    ],
)
def test_what_may_differ_is_not_the_same(wanted: Any, held: Any) -> None:
    assert not same(wanted, held)


def test_one_moment_is_the_same_in_every_zone_and_precision() -> None:
    assert same_moment("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000Z")
    assert same_moment("2026-01-01T00:00:00+00:00", "2026-01-01 00:00:00")
    assert same_moment("2026-01-01", "2026-01-01T00:00:00Z")
    assert not same_moment("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
    assert not same_moment("soon", "soon")
    assert not same_moment(20260101, "20260101")


def test_paths_are_taken_out_with_the_objects_that_are_empty_then() -> None:
    fields = {"a": {"b": 1, "c": {"d": 2}}, "e": {}, "f": 3}
    assert without(fields, ["a.b"]) == {"a": {"c": {"d": 2}}, "e": {}, "f": 3}
    assert without(fields, ["a.b", "a.c.d", "e.x", "f", "g.h"]) == {"e": {}}
    assert fields == {"a": {"b": 1, "c": {"d": 2}}, "e": {}, "f": 3}, "it stays as it was"
    assert dict(leaves(fields)) == {"a.b": 1, "a.c.d": 2, "e": {}, "f": 3}
