"""
Records as ``/upload`` takes them, and what CleverTap would refuse in them, or worse, take in silence.

Sources: CleverTap developer docs, pages "Upload User Profiles" and "Upload Events"; user docs, page "Platform
considerations".
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_census.sync.conversion import key_text

WHO = {"identity": "identity", "object_id": "objectId", "fbid": "FBID", "gpid": "GPID"}
"""The identifiers of a user, and what a record calls them."""

DATA = {"profile": "profileData", "event": "evtData"}
"""Where a record keeps its properties."""

OPERATORS = ("$add", "$remove", "$set", "$incr", "$decr", "$delete")
"""What can be done to a profile property besides replacing it."""

_COUNTING = ("$incr", "$decr")
_OBJECTS = ("category-unsubscribe",)  # the one profile property whose value is an object
_NAME_BYTES = 120
_TEXT_BYTES = 512
_VALUES = 100  # of a multi-value property; CleverTap drops the oldest
_ITEMS = 256  # of a Charged event
_FORBIDDEN = {"event": "&$\"\\%><!|.:;'", "profile": "&$\"\\%><!|.:;'#"}
_LAST_SECOND = 100_000_000_000  # in the year 5138; what is later was meant as milliseconds


def folded(name: str) -> str:
    """Return an event's name as CleverTap compares it: without case and spaces."""
    return "".join(name.split()).lower()


_RESERVED = frozenset(
    map(
        folded,
        (
            *("Notification Sent", "Notification Viewed", "Notification Clicked", "Notification Delivered"),
            *("Notification Replied", "UTM Visited", "App Launched", "App Uninstalled", "App Version Changed"),
            *("Stayed", "Reply Sent", "Experiment Rendered", "Reachable By", "Identity Reset", "Identity Set"),
            *("Identity Error", "Web Page Viewed"),
        ),
    )
)


def epoch(day: dt.date) -> int:
    """Return the Unix time of a date (its first second) or a moment; what has no zone is UTC."""
    moment = day if isinstance(day, dt.datetime) else dt.datetime.combine(day, dt.time())
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())


def record(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without nulls, of which CleverTap says nothing, and with ids as text."""
    made: dict[str, Any] = {"type": kind}
    for name, value in fields.items():
        if value is None:
            continue
        if name in WHO or name in WHO.values():
            made[WHO.get(name, name)] = _id(value)
        elif name == DATA[kind] and isinstance(value, Mapping):
            made[name] = _properties(value)
        elif name == "ts" and isinstance(value, float):
            made[name] = math.floor(value)
        else:
            made[name] = value
    made.setdefault(DATA[kind], {})
    return made


def counts(fields: Mapping[str, Any]) -> bool:
    """Return whether a profile adds to a number, which it must not do twice."""
    properties = fields.get("profileData")
    values = properties.values() if isinstance(properties, Mapping) else ()
    return any(isinstance(value, Mapping) and any(value.get(op) is not None for op in _COUNTING) for value in values)


def problems(kind: str, made: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a :func:`record`."""
    yield from _ts_problems(made.get("ts"))
    if kind == "event":
        yield from _event_problems(made)
    properties = made[DATA[kind]]
    if not isinstance(properties, Mapping):
        yield f"{DATA[kind]} is not an object"
        return
    for name, value in properties.items():
        where = f"{DATA[kind]}.{name[:_NAME_BYTES]}"
        yield from (f"{where}: {problem}" for problem in name_problems(kind, name))
        if kind == "profile":
            yield from _profile_value_problems(where, name, value)
        elif name == "Items" and folded(str(made.get("evtName"))) == "charged":
            yield from _item_problems(value)
        else:
            yield from _scalar_problems(where, value)


def name_problems(kind: str, name: str) -> Iterator[str]:
    """Yield what is wrong with the name of a property."""
    if not 0 < len(name.encode()) <= _NAME_BYTES:
        yield f"a name must have 1 to {_NAME_BYTES} bytes"
    forbidden = sorted(set(name).intersection(_FORBIDDEN[kind]))
    if forbidden:
        yield f"a name may not contain {' '.join(forbidden)}"


def who_problems(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield why an event would not reach the one user it is about."""
    named = [name for name in dict.fromkeys((*WHO, *WHO.values())) if fields.get(name) is not None]
    if len(named) > 1:
        yield f"only one of {', '.join(named)} may have a value"
    for name in named:
        if not isinstance(_id(fields[name]), str):
            yield f"{name} is neither text nor a number"


def _id(value: Any) -> Any:
    """Return a number as the text of an id, which warehouses often keep as an integer."""
    return key_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _properties(data: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            value = _without_nulls(value) or None
        elif isinstance(value, list):
            value = [_without_nulls(item) if isinstance(item, Mapping) else item for item in value]
        if value is not None:
            kept[name] = value
    return kept


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if part is not None}


def _ts_problems(ts: Any) -> Iterator[str]:
    if ts is None:
        return
    if type(ts) is not int:
        yield "ts is neither a timestamp nor epoch seconds; cast it in the model"
    elif ts >= _LAST_SECOND:
        yield "ts is not in seconds: CleverTap would take milliseconds for a moment far in the future"
    elif ts <= 0:
        yield "ts is not after 1970-01-01"


def _event_problems(made: Mapping[str, Any]) -> Iterator[str]:
    name = made.get("evtName")
    if not isinstance(name, str) or not name.strip():
        yield "evtName is no text"
        return
    forbidden = sorted(set(name).intersection(_FORBIDDEN["event"]))
    if forbidden:
        yield f"evtName may not contain {' '.join(forbidden)}"
    if folded(name) in _RESERVED:
        yield "evtName is the name of one of CleverTap's own events"
    yield from _text_problems("evtName", name)


def _profile_value_problems(where: str, name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield from _list_problems(where, value)
    elif not isinstance(value, Mapping):
        yield from _scalar_problems(where, value)
        # A date in another form stays a string, on which no campaign can act.
        if name == "DOB" and not str(value).startswith("$D_"):
            yield f"{where} is no date; cast it to DATE in the model"
    elif name not in _OBJECTS:
        yield from _operation_problems(where, value)


def _operation_problems(where: str, value: Mapping[str, Any]) -> Iterator[str]:
    if len(value) != 1 or not value.keys() <= set(OPERATORS):
        yield f"{where}: an object must hold exactly one of {', '.join(OPERATORS)}"
        return
    ((operator, operand),) = value.items()
    if operator in _COUNTING:
        if isinstance(operand, bool) or not isinstance(operand, int | float) or operand <= 0:
            yield f"{where}.{operator} is not a positive number"
    elif operator in ("$add", "$remove") and not isinstance(operand, list):
        yield f"{where}.{operator} is not a list"
    elif isinstance(operand, list):
        yield from _list_problems(f"{where}.{operator}", operand)
    else:
        yield from _scalar_problems(f"{where}.{operator}", operand)


def _list_problems(where: str, values: list[Any]) -> Iterator[str]:
    if len(values) > _VALUES:
        yield f"{where} has more than {_VALUES} values, and CleverTap would drop the oldest"
    for value in values:
        if not isinstance(value, str):
            yield f"{where}: the values of a list must be text"
        else:
            yield from _text_problems(where, value)


def _item_problems(items: Any) -> Iterator[str]:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        yield "evtData.Items is not a list of objects"
        return
    if len(items) > _ITEMS:
        yield f"evtData.Items has more than {_ITEMS} items"
    for item in items:
        for name, value in item.items():
            yield from _scalar_problems(f"evtData.Items.{name[:_NAME_BYTES]}", value)


def _scalar_problems(where: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _text_problems(where, value)
    elif isinstance(value, Mapping | list):
        yield f"{where}: a list or an object cannot stand here; give each part a field of its own, or cast it to text"


def _text_problems(where: str, text: str) -> Iterator[str]:
    if len(text.encode()) > _TEXT_BYTES:
        yield f"{where} is longer than {_TEXT_BYTES} bytes"
