"""
What Braze cannot take of users and what they did: each function yields the reasons why a record would be refused, or
worse, dropped in silence.

Limits: Braze API docs, pages "User attributes object", "Nested custom attributes", "Event object", "Purchase object"
and "Track users".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_census.destinations._braze_users import PRIMARY
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.conversion import key_text
from airflow_provider_census.sync.values import Operation
from airflow_provider_census.transport.message import Json, encoded_size, is_flat

_TEXT = 255  # characters of a name or a string
_EXTERNAL_ID_BYTES = 987
_PHONE = re.compile(r"\+[1-9]\d{1,14}")  # E.164
_CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217
_PROPERTIES_BYTES = {"event": 100_000, "purchase": 50_000}
_IDS = {"external_id", "braze_id", "phone", "product_id"}
_RESERVED = {
    "event": {"time", "event_name"},
    # The last four are not on Braze's page; a simulator of a third party refuses them (unverified).
    "purchase": {"time", "event_name", "product_id", "quantity", "price", "currency"},
}


def occurrence(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event or purchase without nulls, which are no property values and no ids, and with ids as text."""
    kept = {name: value for name, value in fields.items() if value is not None}
    for name in _IDS & kept.keys():
        kept[name] = _text(kept[name])
    alias = kept.pop("user_alias", None)
    if isinstance(alias, Mapping) and alias.get("alias_name") is not None:
        kept["user_alias"] = {name: _text(value) for name, value in alias.items()}
    if isinstance(kept.get("properties"), Mapping):
        kept["properties"] = {name: value for name, value in kept["properties"].items() if value is not None}
    return kept


def user_problem(identifier: str, operation: Operation, written: Json) -> str | None:
    """
    Return what is wrong with a user; the names of attributes are checked with the mapping.

    :param written: the user as it goes over the wire.
    """
    # No text is longer than all of it. Nearly every user is so short; a look at each attribute would be felt.
    if len(written) <= _TEXT and identifier != "phone" and is_flat(written):
        return None
    problem = _identifier_problem(identifier, operation.record.id)
    if problem or operation.behavior is Behavior.DELETE:
        return problem
    attributes = operation.record.fields.items()
    return next((problem for name, value in attributes for problem in _attribute_problems(name, value)), None)


def occurrence_problems(kind: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an :func:`occurrence`."""
    primary = [name for name in PRIMARY if name in fields]
    if len(primary) > 1:
        yield f"only one of {', '.join(primary)} may have a value"
    for name in ("external_id", "phone"):
        if name in fields:
            problem = _identifier_problem(name, str(fields[name]))
            if problem:
                yield problem
    for name in ("name", "product_id"):
        yield from _text_problems(name, name, fields.get(name))
    if kind == "purchase":
        yield from _price_problems(fields)
    properties = fields.get("properties")
    if isinstance(properties, Mapping):
        yield from _property_problems(kind, properties)
    elif properties is not None:
        yield "properties is not an object"


def _attribute_problems(name: str, value: Any) -> Iterator[str]:
    for path, key, part in walk(name, value):
        yield from _text_problems(path, key, part)
        if path == name:
            continue
        # Braze answers success and drops the whole attribute.
        if part is None:
            yield f"{path} is null: inside an attribute that makes Braze drop all of {name}"
        if isinstance(key, str) and " " in key:
            yield f"{path}: the key of a nested attribute has a space"


def _identifier_problem(identifier: str, value: str) -> str | None:
    if identifier == "external_id" and len(value.encode()) > _EXTERNAL_ID_BYTES:
        return f"external_id is longer than {_EXTERNAL_ID_BYTES} bytes"
    if identifier == "phone" and not _PHONE.fullmatch(value):
        return "phone is not in E.164 form (+ and up to 15 digits)"
    return None


def _price_problems(fields: Mapping[str, Any]) -> Iterator[str]:
    price, quantity, currency = fields.get("price"), fields.get("quantity"), fields.get("currency")
    if price is not None and (isinstance(price, bool) or not isinstance(price, int | float)):
        yield "price is not a number"
    if quantity is not None and (type(quantity) is not int or not 1 <= quantity <= 100):
        yield "quantity is not a whole number from 1 to 100"
    if currency is not None and not _CURRENCY.fullmatch(str(currency)):
        yield "currency is not a code of three capital letters (ISO 4217)"


def _property_problems(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    for name, value in properties.items():
        if name in _RESERVED[kind]:
            yield f"properties.{name}: the name is reserved by Braze"
        for path, key, part in walk(f"properties.{name}", value, name):
            yield from _text_problems(path, key, part)
            if isinstance(key, str) and key.startswith("$"):
                yield f"{path}: the name of a property may not start with $"
    if encoded_size(properties) > _PROPERTIES_BYTES[kind]:
        yield f"properties are larger than {_PROPERTIES_BYTES[kind]} bytes"


def _text_problems(path: str, key: object, value: Any) -> Iterator[str]:
    if isinstance(key, str) and not 0 < len(key) <= _TEXT:
        yield f"{path[:40]}: a name must have 1 to {_TEXT} characters"
    if isinstance(value, str) and len(value) > _TEXT:
        yield f"{path[:_TEXT]} is longer than {_TEXT} characters"


def _text(value: Any) -> Any:
    """Return a number as the text of an id: Braze's ids are strings, warehouses often have integers."""
    return key_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def walk(path: str, value: Any, key: object = None) -> Iterator[tuple[str, object, Any]]:
    """Yield path, key and value of ``value`` and of everything in it."""
    yield path, path if key is None else key, value
    if isinstance(value, dict):
        for child, part in value.items():
            yield from walk(f"{path}.{child}", part, child)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from walk(f"{path}.{index}", part, index)
