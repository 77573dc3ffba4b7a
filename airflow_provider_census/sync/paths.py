"""Fields by dotted path in nested JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def put(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at a dotted path, making the objects on the way."""
    parents, last = place(path)
    for name in parents:
        fields = fields.setdefault(name, {})
    fields[last] = value


def place(path: str) -> tuple[tuple[str, ...], str]:
    """Return the names of the objects that a dotted path leads through, and its last name."""
    *parents, last = path.split(".")
    return tuple(parents), last


def get(fields: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, None where there is none."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of everything that is no object with fields of its own."""
    for name, value in fields.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def without(fields: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return ``fields`` less those at ``paths``, and less objects that are empty for it."""
    kept = dict(fields)
    for path in paths:
        name, _, rest = path.partition(".")
        if not rest:
            kept.pop(name, None)
        elif isinstance(kept.get(name), Mapping):
            inner = without(kept[name], [rest])
            if inner or not kept[name]:
                kept[name] = inner
            else:
                del kept[name]
    return kept
