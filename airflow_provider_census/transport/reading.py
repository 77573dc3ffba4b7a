"""
JSON that others wrote.

In: bytes. Out: a value that can be walked, compared and encoded again, whatever they hold; and whether it has the form
that was promised. A form is a ``TypedDict`` of what the reader relies on: all else may be there too.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"[^.]")]
"""Text that may stand in a path as the id of something: not empty, not dots, which would lead to something else."""

_FAST = msgspec.json.Decoder()
# Answers nest less than ten levels; what walks through values calls itself, and Python ends that at a thousand.
_DEEPEST = 100


def decode(body: bytes) -> Any:
    """
    Return what ``body`` says.

    :raises ValueError: it is no JSON, or nests deeper than any answer does.
    """
    try:
        value = _decode(body)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    # Counting is quick, and most bodies have fewer.
    if body.count(b"[") + body.count(b"{") > _DEEPEST and _is_deep(value):
        raise ValueError("it nests too deep")
    return value


def check(value: Any, form: Any) -> None:
    """
    Check that ``value`` has a form.

    :raises ValueError: it has not; the message names types and places, and shows no values.
    """
    msgspec.convert(value, form)


def _decode(body: bytes) -> Any:
    try:
        return _FAST.decode(body)
    except msgspec.DecodeError:
        # Stricter than APIs are: it takes no NaN, no byte order mark and no half of a surrogate pair.
        text = json.dumps(json.loads(body), ensure_ascii=False)
        return json.loads(text.encode(errors="replace"))  # such a half could not be sent or stored


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        parts = (part for thing in level for part in (thing.values() if isinstance(thing, dict) else thing))
        level = [part for part in parts if isinstance(part, (dict, list))]
        if not level:
            return False
    return True
