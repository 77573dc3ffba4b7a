"""Fields by dotted path in nested JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def put(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at a dotted path, making the objects on the way."""
    *parents, last = path.split(".")
    for name in parents:
        fields = fields.setdefault(name, {})
    fields[last] = value


def get(fields: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, None where there is none."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
