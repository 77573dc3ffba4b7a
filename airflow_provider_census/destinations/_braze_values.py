"""
What Braze cannot take: each function yields the reasons why a record would be refused, or worse, dropped in silence.

Limits: Braze API docs, pages "User attributes object", "Nested custom attributes", "Event object", "Purchase object",
"Track users" and "Update multiple catalog items".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from airflow_provider_census.sync.conversion import key_text
from airflow_provider_census.sync.values import Behavior, Operation
from airflow_provider_census.transport.message import encoded_size

PRIMARY = ("external_id", "braze_id", "user_alias")
"""The identifiers of which an object may carry one."""

REPLACE = "options={'replace': True}"

_TEXT = 255  # characters of a name or a string
_EXTERNAL_ID_BYTES = 987
_PHONE = re.compile(r"\+[1-9]\d{1,14}")  # E.164
_CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217
_CATALOG_NAME = re.compile(r"[A-Za-z0-9_-]{1,250}")
_CATALOG_TEXT = 5_000
_CATALOG_DEPTH = 50
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


def user_problems(identifier: str, operation: Operation) -> Iterator[str]:
    """Yield what is wrong with a user."""
    yield from _identifier_problems(identifier, operation.record.id)
    if operation.behavior is Behavior.DELETE:
        return
    for name, value in operation.record.fields.items():
        if not isinstance(value, (dict, list)):
            # Of every attribute of every user: a generator each would be felt.
            if not 0 < len(name) <= _TEXT or (isinstance(value, str) and len(value) > _TEXT):
                yield from _text_problems(name, name, value)
            continue
        for path, key, part in _walk(name, value):
            yield from _text_problems(path, key, part)
            if path == name:
                continue
            # Braze answers success and drops the whole attribute.
            if part is None:
                yield f"{path} is null: inside an attribute that makes Braze drop all of {name}"
            if isinstance(key, str) and " " in key:
                yield f"{path}: the key of a nested attribute has a space"


def occurrence_problems(kind: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an :func:`occurrence`."""
    primary = [name for name in PRIMARY if name in fields]
    if len(primary) > 1:
        yield f"only one of {', '.join(primary)} may have a value"
    for name in ("external_id", "phone"):
        if name in fields:
            yield from _identifier_problems(name, str(fields[name]))
    for name in ("name", "product_id"):
        yield from _text_problems(name, name, fields.get(name))
    if kind == "purchase":
        yield from _price_problems(fields)
    properties = fields.get("properties")
    if isinstance(properties, Mapping):
        yield from _property_problems(kind, properties)
    elif properties is not None:
        yield "properties is not an object"


def emptied(fields: Iterable[str], catalog: Set[str]) -> list[str]:
    """Return what an item of these fields would lose in a catalog: an upsert replaces it whole."""
    return sorted(catalog - {"id", *fields})


def emptied_in_all(fields: Set[str], catalogs: Mapping[str, frozenset[str]]) -> list[str]:
    """Return what items would lose in the catalog they fit best, nothing if one of those they may be for fits."""
    lost = [emptied(fields, catalog) for catalog in catalogs.values() if fields <= catalog]
    return min(lost, key=len, default=[])


def item_problems(
    operation: Operation, catalogs: Mapping[str, frozenset[str]] | None, *, replace: bool
) -> Iterator[str]:
    """
    Yield what is wrong with a catalog item.

    :param catalogs: the fields of each catalog; None where the key may not read them.
    :param replace: whether an upsert may empty fields.
    """
    fields = operation.record.fields
    catalog = fields.get("catalog_name")
    for what, name in (("id", operation.record.id), ("catalog_name", catalog)):
        if not isinstance(name, str) or not _CATALOG_NAME.fullmatch(name):
            yield f"{what} must be 1 to 250 letters, digits, hyphens and underscores"
    if catalogs is not None and catalog not in catalogs:
        yield f"there is no catalog {catalog!r}"
    if operation.behavior is Behavior.DELETE:
        return
    for name, value in fields.items():
        if name == "catalog_name":
            continue
        if catalogs is not None and name not in catalogs.get(str(catalog), ()):
            yield f"catalog {catalog!r} has no field {name!r}"
        yield from _item_value_problems(operation.behavior, name, value)
    if operation.behavior is Behavior.UPDATE_OR_CREATE and not replace and catalogs is not None:
        lost = emptied(fields, catalogs.get(str(catalog), frozenset()))
        if lost:
            yield f"Braze replaces items whole, and {', '.join(lost)} would be empty; fill them, or say {REPLACE}"


def _identifier_problems(identifier: str, value: str) -> Iterator[str]:
    if identifier == "external_id" and len(value.encode()) > _EXTERNAL_ID_BYTES:
        yield f"external_id is longer than {_EXTERNAL_ID_BYTES} bytes"
    if identifier == "phone" and not _PHONE.fullmatch(value):
        yield "phone is not in E.164 form (+ and up to 15 digits)"


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
        for path, key, part in _walk(f"properties.{name}", value, name):
            yield from _text_problems(path, key, part)
            if isinstance(key, str) and key.startswith("$"):
                yield f"{path}: the name of a property may not start with $"
    if encoded_size(properties) > _PROPERTIES_BYTES[kind]:
        yield f"properties are larger than {_PROPERTIES_BYTES[kind]} bytes"


def _item_value_problems(behavior: Behavior, name: str, value: Any) -> Iterator[str]:
    # PATCH edits arrays by operators; they are no keys of the value.
    operators = {"$add", "$remove"} if behavior is Behavior.UPDATE_ONLY else set()
    for path, key, part in _walk(name, value):
        if isinstance(part, str) and len(part) > _CATALOG_TEXT:
            yield f"{path} is longer than {_CATALOG_TEXT} characters"
        if path == name or not isinstance(key, str) or (path == f"{name}.{key}" and key in operators):
            continue
        if "." in key or "$" in key:
            yield f"{path}: a key may not contain . or $"
    if _depth(value) > _CATALOG_DEPTH:
        yield f"{name} is nested deeper than {_CATALOG_DEPTH} levels"


def _text_problems(path: str, key: object, value: Any) -> Iterator[str]:
    if isinstance(key, str) and not 0 < len(key) <= _TEXT:
        yield f"{path[:40]}: a name must have 1 to {_TEXT} characters"
    if isinstance(value, str) and len(value) > _TEXT:
        yield f"{path[:_TEXT]} is longer than {_TEXT} characters"


def _text(value: Any) -> Any:
    """Return a number as the text of an id: Braze's ids are strings, warehouses often have integers."""
    return key_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _walk(path: str, value: Any, key: object = None) -> Iterator[tuple[str, object, Any]]:
    """Yield path, key and value of ``value`` and of everything in it."""
    yield path, path if key is None else key, value
    if isinstance(value, dict):
        for child, part in value.items():
            yield from _walk(f"{path}.{child}", part, child)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _walk(f"{path}.{index}", part, index)


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_depth, parts)) if parts else 0
