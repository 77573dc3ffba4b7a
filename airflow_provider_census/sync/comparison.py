"""Whether what a destination holds is what would be written there. Where that is not sure, it is not."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_census.sync.paths import get, without

_A_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]|$)")


def is_empty(value: Any) -> bool:
    """Return whether ``value`` says nothing: null, empty text, an empty list, an object of such values."""
    if isinstance(value, Mapping):
        return all(is_empty(part) for part in value.values())
    return value is None or value in ("", [])


def due(fields: Mapping[str, Any], if_empty: Iterable[str], held: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``fields`` without those of ``if_empty`` for which something is held."""
    return without(fields, [path for path in if_empty if not is_empty(get(held, path))])


def same(wanted: Any, held: Any) -> bool:
    """Return whether two JSON values are one: 1 is 1.0, neither true nor "1"; what is empty is the same as missing."""
    if is_empty(wanted) or is_empty(held):
        return is_empty(wanted) and is_empty(held)
    if isinstance(wanted, Mapping) and isinstance(held, Mapping):
        return all(same(wanted.get(name), held.get(name)) for name in wanted.keys() | held.keys())
    if isinstance(wanted, list) and isinstance(held, list):
        return len(wanted) == len(held) and all(map(same, wanted, held))
    return isinstance(wanted, bool) == isinstance(held, bool) and bool(wanted == held)


def same_moment(wanted: Any, held: Any) -> bool:
    """Return whether two texts are one time in ISO 8601; one without a zone is in UTC."""
    if not all(isinstance(text, str) and _A_DATE.match(text) for text in (wanted, held)):
        return False
    try:
        one, other = (dt.datetime.fromisoformat(text) for text in (wanted, held))
    except ValueError:
        return False
    return _in_utc(one) == _in_utc(other)


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
