"""
The catalogs of the Braze stand-in. One bad item is enough for Braze to take nothing of a request.

Source: Braze API docs, pages "List catalogs" and "Update multiple catalog items" (codes of the errors).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Answer = tuple[int, dict[str, Any]]
Item = dict[str, Any]

_ITEM_ID = re.compile(r"[A-Za-z0-9_-]+")
_ITEM_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str, int, float),
    "number": (int, float),
    "boolean": (bool,),
    "time": (str,),
    "object": (dict,),
    "array": (list, dict),
}


class Catalogs:
    """All catalogs: ``fields`` by catalog, ``items`` by catalog and id."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, str]] = {}
        self.items: dict[str, dict[str, Item]] = {}

    def create(self, catalog: str, **fields: str) -> None:
        """Create a catalog: types by field."""
        self.fields[catalog] = {"id": "string", **fields}
        self.items[catalog] = {}

    def listed(self) -> list[dict[str, Any]]:
        """Return the catalogs as Braze lists them."""
        return [
            {
                "name": name,
                "description": "",
                "fields": [{"name": field, "type": kind} for field, kind in fields.items()],
                "num_items": len(self.items[name]),
            }
            for name, fields in self.fields.items()
        ]

    def write(self, catalog: str, body: dict[str, Any], apply: Callable[[dict[str, Item], Item], None]) -> Answer:
        """Apply all items of ``body``, or none."""
        refusal = self._refusal(catalog, body.get("items"))
        if refusal:
            return refusal
        for item in body["items"]:
            apply(self.items[catalog], item)
        return 202, {"message": "success"}

    @staticmethod
    def replace(items: dict[str, Item], item: Item) -> None:
        """Put an item; fields that are not sent are gone."""
        items[item["id"]] = item

    @staticmethod
    def update(items: dict[str, Item], item: Item) -> None:
        """Edit an item; an unknown one is lost without a word (unverified)."""
        known = items.get(item["id"], {})
        known.update({name: _edited(known.get(name), value) for name, value in item.items()})

    @staticmethod
    def delete(items: dict[str, Item], item: Item) -> None:
        """Delete an item."""
        items.pop(item["id"], None)

    def _refusal(self, catalog: str, items: Any) -> Answer | None:
        if catalog not in self.fields:
            return 404, _invalid("catalog-not-found", "Could not find catalog", "catalog_name", [catalog])
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            return 400, _invalid("item-array-invalid", "'items' must be an array of objects", "items", [])
        if len(items) > 50:
            return 400, _invalid("request-includes-too-many-items", "The limit is 50 items", "items", [])
        if any(item.get("id") is None for item in items):
            return 400, _invalid("items-missing-ids", "Some items do not have ids", "id", [])
        if repeated := [id for id, n in Counter(str(item["id"]) for item in items).items() if n > 1]:
            return 400, _invalid("ids-not-unique", "Item ids must be unique", "id", repeated)
        for code, text, bad in _CHECKS:
            if named := [item["id"] for item in items if bad(item, self.fields[catalog])]:
                return 400, _invalid(code, text, "id", named)
        return None


def _invalid(code: str, text: str, parameter: str, values: list[Any]) -> dict[str, Any]:
    error = {"id": code, "message": text, "parameters": [parameter], "parameter_values": values}
    return {"message": "Invalid Request", "errors": [error]}


def _edited(old: Any, new: Any) -> Any:
    if isinstance(new, dict) and new.keys() & {"$add", "$remove"}:
        return [v for v in [*(old or []), *new.get("$add", [])] if v not in new.get("$remove", [])]
    return new


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)


def _uncoerced(item: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    return any(v is not None and not isinstance(v, _ITEM_TYPES[fields[name]]) for name, v in item.items())


def _has_bad_keys(item: Mapping[str, Any], _: Mapping[str, str]) -> bool:
    values = [v for v in item.values() if isinstance(v, dict) and not v.keys() & {"$add", "$remove"}]
    return any("." in key or "$" in key for value in values for key in value)


_CHECKS: tuple[tuple[str, str, Callable[[Mapping[str, Any], Mapping[str, str]], bool]], ...] = (
    ("ids-not-strings", "Item ids must be strings", lambda item, _: not isinstance(item["id"], str)),
    ("ids-too-large", "Item ids cannot be more than 250 characters", lambda item, _: len(item["id"]) > 250),
    ("invalid-ids", "Item ids are not valid", lambda item, _: not _ITEM_ID.fullmatch(item["id"])),
    (
        "invalid-fields",
        "Some of the fields given do not exist in the catalog",
        lambda item, fields: not item.keys() <= fields.keys(),
    ),
    ("unable-to-coerce-value", "Some values are not of the type of their field", _uncoerced),
    (
        "items-too-large",
        "Item values cannot exceed 5000 characters",
        lambda item, _: any(len(text) > 5000 for text in _texts(item)),
    ),
    ("invalid-keys-in-value-object", "Keys of objects cannot include . or $", _has_bad_keys),
)
