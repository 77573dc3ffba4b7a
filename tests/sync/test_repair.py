from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync import Watermark
from airflow_provider_census.sync.repair import next_read, rebase, reset, restored
from airflow_provider_census.sync.state import State

UTC = dt.UTC


def state(watermark: Any = 10, **fields: Any) -> State:
    return State(**{"target": "braze/user", "column": "at", "sequence": 4, "watermark": watermark, **fields})


@pytest.mark.parametrize(
    ("stored", "text", "expected"),
    [
        (10, " 7 ", 7),
        (2**60, str(2**61), 2**61),
        (1.5, "0.25", 0.25),
        (Decimal("10.00"), "7.5", Decimal("7.5")),
        (dt.date(2026, 1, 31), "2026-02-01", dt.date(2026, 2, 1)),
        (dt.datetime(2026, 1, 31), "2026-02-01", dt.datetime(2026, 2, 1)),
        (dt.datetime(2026, 1, 31), "2026-02-01 10:00:00.5", dt.datetime(2026, 2, 1, 10, 0, 0, 500_000)),
        (dt.datetime(2026, 1, 31, tzinfo=UTC), "2026-02-01 10:00", dt.datetime(2026, 2, 1, 10, tzinfo=UTC)),
        (dt.datetime(2026, 1, 31, tzinfo=UTC), "2026-02-01T10:00+02:00", dt.datetime(2026, 2, 1, 8, tzinfo=UTC)),
        ("b ", "a ", "a "),
        (uuid.UUID(int=1), str(uuid.UUID(int=2)), uuid.UUID(int=2)),
        (b"\x01", "02ff", b"\x02\xff"),
        (None, "7", 7),
        (None, '"a"', "a"),
        (None, '{"datetime": "2026-02-01T10:00:00+00:00"}', dt.datetime(2026, 2, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_new_watermark_is_of_the_type_of_the_stored_one(stored: Any, text: str, expected: Any) -> None:
    moved = rebase(state(stored, settled=frozenset({b"12345678"}), owed=(1, 2)), text).watermark

    assert moved == expected
    assert type(moved) is type(expected)
    if isinstance(expected, dt.datetime):
        assert moved.tzinfo == expected.tzinfo


@pytest.mark.parametrize(
    ("stored", "text", "words"),
    [
        (10, "7.5", "no int"),
        (10, "", "no int"),
        (1.5, "nan", "no number"),
        (Decimal(1), "Infinity", "no number"),
        (Decimal(1), "one", "no Decimal"),
        (dt.date(2026, 1, 31), "31.1.2026", "no date"),
        (dt.datetime(2026, 1, 31), "2026-02-01T10:00+02:00", "has a zone"),
        (None, "2026-02-01", "give it as JSON"),
        (None, "null", "give it as JSON"),
        (None, "[1]", "give it as JSON"),
        (None, '{"moment": "now"}', "give it as JSON"),
    ],
)
def test_a_value_of_another_type_is_refused(stored: Any, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rebase(state(stored), text)


def test_a_rebase_keeps_what_is_owed_and_counts_as_the_newest() -> None:
    before = state(owed=(1, 2), owed_null_keys=True, settled=frozenset({b"12345678"}), mapping=frozenset({b"mmmmmmmm"}))

    after = rebase(before, "7")

    assert after == state(7, owed=(1, 2), owed_null_keys=True, mapping=frozenset({b"mmmmmmmm"}), sequence=5)


def test_a_reset_keeps_what_the_state_is_about_and_nothing_else() -> None:
    before = state(owed=(1, 2), settled=frozenset({b"12345678"}), mapping=frozenset({b"mmmmmmmm"}))

    assert reset(before) == state(None, mapping=frozenset({b"mmmmmmmm"}), sequence=5)


def test_an_export_comes_back_newer_than_what_is_there() -> None:
    exported = json.dumps(state(dt.datetime(2026, 1, 31, tzinfo=UTC), owed=("a",)).to_json())

    assert restored(exported, None).sequence == 4
    back = restored(exported, state(sequence=9))
    assert (back.sequence, back.owed, back.watermark) == (10, ("a",), dt.datetime(2026, 1, 31, tzinfo=UTC))
    with pytest.raises(ConfigError, match="a state of braze/user; this sync writes to slack/#x"):
        restored(exported, state(target="slack/#x"))


@pytest.mark.parametrize("text", ["", "nothing", "[]", "1", '{"version": 1}', '{"version": 99}'])
def test_what_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an exported state"):
        restored(text, None)


@pytest.mark.parametrize(
    ("delta", "stored", "lost", "words"),
    [
        (Watermark("at"), state(owed=(1, 2, 3)), False, "reads the rows with at >= 10 and the 3 owed ones"),
        (Watermark("AT", lag=3), state(), False, "reads the rows with at >= 7 (the watermark 10 less the lag)"),
        (Watermark("at", on_null="include"), state(), False, "reads the rows with at >= 10 or without at"),
        (Watermark("at"), state(None), False, "reads every row of the model and sends it"),
        (Watermark("at"), None, False, "is a first one and sends every row (baseline='send')"),
        (Watermark("at", baseline="skip"), None, False, "takes what is there as settled (baseline='skip')"),
        (Watermark("at", on_missing="fail"), None, True, "finds its state gone and fails (on_missing='fail')"),
        (Watermark("seen"), state(), False, "finds its state gone and sends every row (on_missing='full')"),
    ],
)
def test_the_next_run_is_told_in_words(delta: Watermark, stored: State | None, lost: bool, words: str) -> None:
    assert next_read(delta, stored, lost=lost).endswith(words)
