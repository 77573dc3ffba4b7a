"""
The catalogs of Braze: which fields an item may have, and the requests that write items.

Sources: Braze API docs, pages "List catalogs", "Replace multiple catalog items", "Update multiple catalog items" and
"Delete multiple catalog items".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

from airflow_provider_census.destinations._braze_answers import Refusal, Results, permit, words
from airflow_provider_census.destinations._braze_values import walk
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.message import Exchange, Json, Request, array

CATALOG = "catalog_name"
"""The field that says which catalog an item is in."""

_REQUESTS = {
    Behavior.UPDATE_OR_CREATE: ("PUT", "catalogs.replace_items"),
    Behavior.UPDATE_ONLY: ("PATCH", "catalogs.update_items"),
    Behavior.DELETE: ("DELETE", "catalogs.delete_items"),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,250}")
_TEXT = 5_000
_DEPTH = 50
_REPLACE = "options={'replace': True}"


class _Field(TypedDict):
    name: str


class _Catalog(TypedDict):
    name: str
    fields: list[_Field]


class _Listed(TypedDict):
    catalogs: list[_Catalog]


class Catalogs:
    """
    The catalogs of a workspace, as far as the key may read them.

    :param replace: whether an upsert may empty fields: it replaces an item whole.
    """

    def __init__(self, *, replace: bool) -> None:
        self._replace = replace
        self._fields: dict[str, frozenset[str]] | None = None

    def prepare(self, behavior: Behavior, mapped: Iterable[str]) -> Exchange[None]:
        """
        Exchange that reads which fields the catalogs have, if the key may; else Braze checks item by item.

        :param mapped: the fields that the mapping fills.
        :raises ConfigError: no catalog has one of them, or an upsert would empty others.
        """
        response = yield Request(method="GET", path="/catalogs", limit="catalogs")
        if not response.ok:
            return
        listed = response.read(_Listed)["catalogs"]
        self._fields = {catalog["name"]: frozenset(field["name"] for field in catalog["fields"]) for catalog in listed}
        known = frozenset[str]().union(*self._fields.values())
        fields = set(mapped) - {CATALOG}
        for field in fields - known:
            raise ConfigError.unknown("field", field, sorted(known - {"id"}), where="in any catalog of the workspace")
        if behavior not in (Behavior.UPDATE_OR_CREATE, Behavior.MIRROR) or self._replace:
            return
        # Which catalog an item is for may stand in its row: none is refused that fits one of them.
        lost = min((_emptied(fields, has) for has in self._fields.values() if fields <= has), key=len, default=[])
        if lost:
            raise ConfigError(
                f"Braze replaces items whole, and the mapping leaves {', '.join(lost)} empty in them; map them too, "
                f"use {Behavior.UPDATE_ONLY}, or say {_REPLACE}"
            )

    def problems(self, operation: Operation) -> Iterator[str]:
        """Yield what is wrong with an item."""
        fields = operation.record.fields
        catalog = fields.get(CATALOG)
        for what, name in (("id", operation.record.id), (CATALOG, catalog)):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                yield f"{what} must be 1 to 250 letters, digits, hyphens and underscores"
        if self._fields is not None and catalog not in self._fields:
            yield f"there is no catalog {catalog!r}"
        if operation.behavior is Behavior.DELETE:
            return
        has = None if self._fields is None else self._fields.get(str(catalog), frozenset())
        for name, value in fields.items():
            if name == CATALOG:
                continue
            if has is not None and name not in has:
                yield f"catalog {catalog!r} has no field {name!r}"
            yield from _value_problems(operation.behavior, name, value)
        if operation.behavior is Behavior.UPDATE_OR_CREATE and not self._replace and has is not None:
            lost = _emptied(fields, has)
            if lost:
                yield f"Braze replaces items whole, and {', '.join(lost)} would be empty; fill them, or say {_REPLACE}"


def payload(operation: Operation) -> dict[str, Any]:
    """Return the item."""
    if operation.behavior is Behavior.DELETE:
        return {"id": operation.record.id}
    return {**{k: v for k, v in operation.record.fields.items() if k != CATALOG}, "id": operation.record.id}


def write(behavior: Behavior, catalog: str, items: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
    """Replace, edit or delete items of one catalog; Braze takes all of a request or nothing."""
    method, permission = _REQUESTS[behavior]
    response = yield Request(
        method=method,
        path=f"/catalogs/{quote(catalog, safe='')}/items",
        json=array(items, "items"),
        idempotent=idempotent,
        limit="catalog_items",
    )
    permit(response, permission)
    if response.status == 404:
        return [rejected(words(response), 404)] * len(items)
    if not response.ok:
        raise Refused(words(response), status=response.status)
    accepted = response.read(Refusal).get("message") == "success"
    return [RowResult(behavior.done, status=response.status) if accepted else None] * len(items)


def _emptied(fields: Iterable[str], has: frozenset[str]) -> list[str]:
    """Return what an item of these fields would lose in a catalog that has more."""
    return sorted(has - {"id", *fields})


def _value_problems(behavior: Behavior, name: str, value: Any) -> Iterator[str]:
    # PATCH edits arrays by operators; they are no keys of the value.
    operators = {"$add", "$remove"} if behavior is Behavior.UPDATE_ONLY else set()
    for path, key, part in walk(name, value):
        if isinstance(part, str) and len(part) > _TEXT:
            yield f"{path} is longer than {_TEXT} characters"
        if path == name or not isinstance(key, str) or (path == f"{name}.{key}" and key in operators):
            continue
        if "." in key or "$" in key:
            yield f"{path}: a key may not contain . or $"
    if _depth(value) > _DEPTH:
        yield f"{name} is nested deeper than {_DEPTH} levels"


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_depth, parts)) if parts else 0
