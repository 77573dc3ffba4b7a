"""
The calls of Segment's Spec: how they are written, and what Segment would take with a 200 and then drop.

Sources: segment.com/docs, pages "Spec: Common Fields", "Spec: Identify", "Spec: Group", "Spec: Track", "HTTP API
Source" (sizes) and "Delivery Overview" (discards, whose codes stand beside the checks).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_census.sync.conversion import key_text
from airflow_provider_census.transport.message import Json

TYPES = {"user": "identify", "group": "group", "track": "track"}
BUNDLES = {"user": "traits", "group": "traits", "track": "properties"}
"""Where the author's own data stand."""
PERSON = ("user_id", "anonymous_id")

MAX_BYTES = 32_000
"""32 KB a call; a larger one may be answered 200 and dropped, so KB is read the strict way."""
_IDS = {"user_id": "userId", "anonymous_id": "anonymousId", "group_id": "groupId"}
_OBJECTS = ("traits", "properties", "context", "integrations")


def call(object: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call for ``fields``, the identifier among them; ids become text, as Segment's libraries send them."""
    written: dict[str, Any] = {"type": TYPES[object]}
    for name, value in fields.items():
        if name in _IDS:
            if not _absent(value):
                written[_IDS[name]] = key_text(value)
        elif value is not None:
            written[name] = value
    return written


def problems(object: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a call of these fields."""
    for name in _IDS:
        # id_not_string
        if isinstance(fields.get(name), bool | list | dict):
            yield f"{name} is neither text nor a number"
    if all(_absent(fields.get(name)) for name in PERSON):  # no_user_anon_id, id_required
        yield "neither user_id nor anonymous_id has a value"
    if object == "track":
        event = fields.get("event")
        if not isinstance(event, str) or not event.strip():  # event_not_defined, event_not_string
            yield "event is not text, or empty"
    for name in _OBJECTS:
        if name in fields and not isinstance(fields[name], Mapping):  # traits_not_object, properties_not_object
            yield f"{name} is not an object"
    if fields.get("timestamp") is not None and not _is_moment(fields["timestamp"]):
        yield "timestamp is not a date and time with a zone (ISO 8601)"


def oversize(written: Json) -> str | None:
    """Return how much a call is too large."""
    bytes_of_it = len(written)
    return f"the call has {bytes_of_it:,} bytes; Segment takes {MAX_BYTES:,}" if bytes_of_it > MAX_BYTES else None


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and dt.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
