"""
What the person on call does to the state of a sync: a state in, a state out, and what the next run makes of it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import ConfigError, StateError
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.progress import lowered
from airflow_provider_census.sync.state import State, decode, readable


def reset(state: State) -> State:
    """Return a state without memory: the next run reads every row."""
    return State(
        target=state.target,
        sequence=state.sequence + 1,
        mapping=state.mapping,
        column=state.column,
        run_id=state.run_id,
        shards=state.shards,
    )


def rebase(state: State, text: str) -> State:
    """
    Return ``state`` with another watermark; what is owed stays owed.

    :param text: the watermark, written as the stored one is; where none is stored, as JSON.
    :raises ConfigError: it is not a value of the cursor's type.
    """
    if not state.column:
        raise ConfigError("the state of this sync has no watermark to move")
    watermark = _typed(text) if state.watermark is None else _like(text, state.watermark)
    return replace(state, sequence=state.sequence + 1, watermark=watermark, settled=frozenset())


def restored(text: str, present: State | None) -> State:
    """
    Return the state in ``text``, newer than ``present``.

    :param text: JSON, as an export wrote it.
    :raises ConfigError: it is none, or one of another target.
    """
    try:
        state = State.from_json(json.loads(text))
    except (ValueError, StateError):
        raise ConfigError(
            "the value is not an exported state; give what an export returned in the field 'state', all of it, as JSON"
        ) from None
    if present is None:
        return state
    if state.target != present.target:
        raise ConfigError(f"the value is a state of {state.target}; this sync writes to {present.target}")
    if state.shards != present.shards:
        raise ConfigError(f"the value is of one of {state.shards} shard(s); this sync is in {present.shards}")
    return replace(state, sequence=max(state.sequence, present.sequence) + 1)


def next_read(delta: Watermark, state: State | None, *, lost: bool = False) -> str:
    """
    Return what the next run reads, as the end of a sentence.

    :param lost: whether there were runs although there is no state.
    """
    if state is not None and state.column.lower() != delta.column.lower():
        state, lost = None, True
    if state is None:
        return _first(delta, lost=lost)
    if state.watermark is None:
        return "reads every row of the model and sends it"
    since = lowered(state.watermark, delta.lag)
    words = [f"reads the rows with {state.column} >= {readable(since)}"]
    if delta.lag:
        words.append(f"(the watermark {readable(state.watermark)} less the lag)")
    if delta.on_null == "include":
        words.append(f"or without {state.column}")
    owed = len(state.owed) + state.owed_null_keys
    if owed:
        words.append(f"and the {owed} owed ones")
    if state.settled:
        words.append(f"but for {len(state.settled)} of that moment that have arrived")
    return " ".join(words)


def _first(delta: Watermark, *, lost: bool) -> str:
    if lost:
        then = {"full": "sends every row", "now": "takes what is there as settled", "fail": "fails"}[delta.on_missing]
        return f"finds its state gone and {then} (on_missing={delta.on_missing!r})"
    then = {"send": "sends every row", "skip": "takes what is there as settled"}[delta.baseline]
    return f"is a first one and {then} (baseline={delta.baseline!r})"


def _typed(text: str) -> Any:
    """Return a value of JSON, tagged as in a state where its type is none of JSON's."""
    try:
        value = decode(json.loads(text))
    except (ArithmeticError, KeyError, TypeError, ValueError):
        value = None
    if value is None or isinstance(value, (bool, list)):
        raise ConfigError(
            f"no watermark is stored, so the type of {text!r} is not known; give it as JSON: "
            f'5, "text", {{"datetime": "2026-01-31T00:00:00+00:00"}}, {{"date": "2026-01-31"}} or {{"decimal": "5.0"}}'
        )
    return value


def _like(text: str, stored: Any) -> Any:
    """Return ``text`` as a value of the type of ``stored``."""
    kind = type(stored)
    try:
        value = _PARSERS[kind](text)
    except (ArithmeticError, ValueError):
        raise ConfigError(f"{text!r} is no {kind.__name__}, as the watermark {readable(stored)!r} is") from None
    if isinstance(value, (float, decimal.Decimal)) and not math.isfinite(value):
        raise ConfigError(f"{text!r} is no number to start from")
    if isinstance(value, dt.datetime):
        return _in_zone(value, stored)
    return value


def _in_zone(value: dt.datetime, stored: dt.datetime) -> dt.datetime:
    if stored.tzinfo:
        return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if value.tzinfo:
        raise ConfigError(
            f"{readable(value)} has a zone and the watermark {readable(stored)} has none; write it as the database does"
        )
    return value


_PARSERS: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    decimal.Decimal: decimal.Decimal,
    dt.datetime: lambda text: dt.datetime.fromisoformat(text.strip()),
    dt.date: lambda text: dt.date.fromisoformat(text.strip()),
    uuid.UUID: uuid.UUID,
    bytes: bytes.fromhex,
}
