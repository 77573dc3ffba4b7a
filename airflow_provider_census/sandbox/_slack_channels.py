"""The channels of the Slack stand-in: what they show of themselves and of the messages in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census.sandbox._slack_message import Failed

_SPLIT_AT, _CUT_AT = 4_000, 40_000


@dataclass
class Channel:
    """A conversation. ``messages`` is everything ever posted to it, replies included, in order."""

    id: str
    name: str
    is_private: bool = False
    is_archived: bool = False
    is_member: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The type as which it is listed."""
        return "private_channel" if self.is_private else "public_channel"

    def json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": not self.is_private,
            "is_group": self.is_private,
            "is_private": self.is_private,
            "is_archived": self.is_archived,
            "is_member": self.is_member,
        }

    def history(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the messages that ``conversations.history`` is asked for, the newest first, without replies."""
        inclusive = arguments.get("inclusive") in (True, "true")
        oldest = _bound(arguments, "oldest", (0, 0))
        latest = _bound(arguments, "latest", (math.inf, 0))
        return [
            m if arguments.get("include_all_metadata") in (True, "true") else {**m, "metadata": None}
            for m in reversed(self.messages)
            if m.get("thread_ts") in (None, m["ts"]) or m.get("subtype") == "thread_broadcast"
            if oldest < _order(m["ts"]) < latest or (inclusive and _order(m["ts"]) in (oldest, latest))
        ]

    def post(self, arguments: Mapping[str, Any], ts: Iterator[str]) -> dict[str, Any]:
        """
        Add a message and return what is answered; long texts are cut, and split into several.

        :param ts: one for each.
        """
        thread = arguments.get("thread_ts")
        if thread is not None and not any(m["ts"] == thread for m in self.messages):
            raise Failed("cannot_reply_to_message")
        text = arguments.get("text") or arguments.get("markdown_text") or ""
        warning = {"warning": "message_truncated"} if len(text) > _CUT_AT else {}
        text = text[:_CUT_AT]
        more = {k: v for k, v in arguments.items() if k not in ("channel", "text") and v is not None}
        if thread is not None and arguments.get("reply_broadcast") in (True, "true"):
            more["subtype"] = "thread_broadcast"
        pieces = [text[i : i + _SPLIT_AT] for i in range(0, len(text), _SPLIT_AT)] or [""]
        author = {"type": "message", "user": "U00000001", "bot_id": "B00000001"}
        posted = [{**author, "ts": next(ts), **more, "text": piece} for piece in pieces]
        self.messages += posted
        return {"ts": posted[0]["ts"], "message": posted[0], **warning}


def _bound(arguments: Mapping[str, Any], name: str, default: tuple[float, float]) -> tuple[float, float]:
    """Return a ``ts`` among the arguments as what it is ordered by."""
    ts = arguments.get(name)
    if not ts:
        return default
    try:
        return _order(str(ts))
    except ValueError:
        raise Failed(f"invalid_ts_{name}") from None


def _order(ts: str) -> tuple[float, float]:
    """Return what a ``ts`` is ordered by; as one float it would lose digits."""
    seconds, _, fraction = ts.partition(".")
    return int(seconds), int(fraction.ljust(6, "0") or 0)
