"""
What a Slack message may hold: its sizes, and which of its text Slack reads as markup.

Over a size Slack refuses the message, or silently posts it in pieces; text of a row read as markup could ping.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

CONTENT = ("text", "blocks", "attachments", "markdown_text")
"""One of them makes a message."""

# Above 4,000 characters of text Slack posts several messages and tells of one (slackapi/java-slack-sdk#704).
_MAX_CHARACTERS = {"text": 4_000, "markdown_text": 12_000}
_STRINGS = ("text", "markdown_text", "thread_ts", "username", "icon_url", "icon_emoji")
_MAX_ITEMS = {"blocks": 50, "attachments": 100}
_TS = re.compile(r"\d+\.\d+")
# Read by machines, shown as they are.
_UNMARKED = ("thread_ts", "icon_url", "icon_emoji", "metadata")
# The keys in blocks and attachments whose text Slack reads as markup; the others hold URLs, ids and enumerations.
_MARKED_KEYS = ("text", "pretext", "title", "value", "fallback", "author_name", "footer", "alt_text")


def escape(text: str, path: str) -> str:
    """Return ``text`` with ``&``, ``<`` and ``>`` as entities where Slack would read it as markup."""
    root, _, below = path.partition(".")
    if root in _UNMARKED or (below and below.rpartition(".")[2] not in _MARKED_KEYS):
        return text
    # These three characters and no others (docs.slack.dev, messaging/formatting-message-text).
    return html.escape(text, quote=False)


def line(name: str, value: Any) -> str:
    """Return a column as a line of text."""
    shown = value if isinstance(value, str) else "-" if value is None else json.dumps(value, ensure_ascii=False)
    # Text was escaped by the name of its column, which may be that of a field without markup, and JSON in parts.
    # "&" stays: escaped twice it would show, and alone it does nothing.
    return f"*{escape(name, '')}*: " + shown.replace("<", "&lt;").replace(">", "&gt;")


def truncated(text: str, most: int) -> str:
    """Return ``text`` in at most ``most`` characters."""
    if len(text) <= most:
        return text
    # Half an entity or half a link would show as rubbish.
    return re.sub(r"(&[a-z]{0,3}|<[^<>]*)$", "", text[: most - 1]) + "…"


def message(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a message for the fields of a record that passed :func:`fault`."""
    return {
        name: truncated(value, _MAX_CHARACTERS[name]) if name in _MAX_CHARACTERS else value
        for name, value in fields.items()
        if value is not None
    }


def fault(fields: Mapping[str, Any], *, truncate: bool) -> str | None:
    """
    Return why Slack would refuse, or silently change, a message of these fields.

    :param truncate: long text will be cut, so it is no fault.
    """
    for name in _STRINGS:
        # A number would also have lost digits of a thread_ts.
        if fields.get(name) is not None and not isinstance(fields[name], str):
            return f"{name} must be text; cast it in the model"
    for name, most in _MAX_CHARACTERS.items():
        if not truncate and len(fields.get(name) or "") > most:
            return f"{name} has {len(fields[name]):,} characters, more than {most:,}"
    return _content_fault(fields) or _list_fault(fields)


def _content_fault(fields: Mapping[str, Any]) -> str | None:
    if not any(fields.get(name) for name in CONTENT):
        return f"the message is empty: none of {', '.join(CONTENT)} has a value"
    if fields.get("markdown_text") and (fields.get("text") or fields.get("blocks")):
        return "markdown_text cannot go together with text or blocks"
    thread = fields.get("thread_ts")
    if thread is not None and not _TS.fullmatch(thread):
        return "thread_ts must read like '1503435956.000247'"
    return None


def _list_fault(fields: Mapping[str, Any]) -> str | None:
    for name, most in _MAX_ITEMS.items():
        items = fields.get(name)
        if items is None:
            continue
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            return f"{name} must be a list of objects"
        if len(items) > most:
            return f"{name} has {len(items)} items, more than {most}"
        if name == "blocks":
            for i, block in enumerate(items):
                if reason := _block_fault(block):
                    return f"blocks[{i}]: {reason}"
    return None


def _block_fault(block: Mapping[str, Any]) -> str | None:
    """Return which limit of docs.slack.dev, reference/block-kit/blocks, the block breaks."""
    kind = block.get("type")
    if not isinstance(kind, str):
        return "it has no type"
    if len(str(block.get("block_id") or "")) > 255:
        return "block_id has more than 255 characters"
    sized: list[tuple[str, Any, int]] = []
    if kind == "header":
        sized = [("text", block.get("text"), 150)]
    elif kind == "section":
        texts = block.get("fields") or []
        if not isinstance(texts, list) or len(texts) > 10:
            return "fields must be a list of at most 10"
        sized = [("text", block.get("text"), 3_000), *(("a field", text, 2_000) for text in texts)]
    for where, text, most in sized:
        size = len(str(text.get("text") or "")) if isinstance(text, dict) else 0
        if size > most:
            return f"{where} has {size:,} characters, more than {most:,}"
    return None
