"""What Slack takes as a message: the checks of the stand-in, written apart from those of the destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELDS = frozenset(
    (
        *("channel", "text", "blocks", "attachments", "markdown_text", "thread_ts", "reply_broadcast", "unfurl_links"),
        *("unfurl_media", "mrkdwn", "username", "icon_url", "icon_emoji", "metadata", "link_names", "parse"),
    )
)
CUSTOM = ("username", "icon_url", "icon_emoji")


class Failed(Exception):
    """An answer with ``ok: false``; ``body`` is all of it."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.body = {"ok": False, "error": code, **more}


def check_message(message: Mapping[str, Any]) -> None:
    """Raise what Slack answers to a message it does not take."""
    for name in ("text", "markdown_text", "thread_ts", *CUSTOM):
        if not isinstance(message.get(name), str | None):
            raise Failed("invalid_arguments", response_metadata={"messages": [f"[ERROR] /{name} is no string"]})
    content = [name for name in ("text", "blocks", "attachments", "markdown_text") if message.get(name)]
    if not content:
        raise Failed("no_text")
    if "markdown_text" in content and ("text" in content or "blocks" in content):
        raise Failed("markdown_text_conflict")
    if len(message.get("markdown_text") or "") > 12_000:
        raise Failed("msg_too_long")
    _check_attachments(message.get("attachments"))
    _check_blocks(message.get("blocks"))
    _check_metadata(message.get("metadata"))


def _check_attachments(attachments: Any) -> None:
    if not isinstance(attachments, list | None):
        raise Failed("invalid_arguments", response_metadata={"messages": ["[ERROR] /attachments is no array"]})
    if len(attachments or ()) > 100:
        raise Failed("too_many_attachments")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str):
        raise Failed("invalid_metadata_format")
    if not isinstance(metadata.get("event_payload"), dict):
        raise Failed("invalid_metadata_schema")


def _check_blocks(blocks: Any) -> None:
    if blocks is None:
        return
    if not isinstance(blocks, list) or not all(isinstance(b, dict) and isinstance(b.get("type"), str) for b in blocks):
        raise Failed("invalid_blocks_format")
    if len(blocks) > 50:
        raise _invalid_blocks("no more than 50 items allowed", "/blocks")
    total = 0
    for i, block in enumerate(blocks):
        fields = block.get("fields") or []
        if len(fields) > 10:
            raise _invalid_blocks("no more than 10 items allowed", f"/blocks/{i}/fields")
        most = {"header": 150, "section": 3_000}.get(block["type"], 12_000)
        for where, text, limit in [("text", block.get("text"), most), *(("fields", text, 2_000) for text in fields)]:
            size = len(text.get("text") or "") if isinstance(text, dict) else 0
            total += size
            if size > limit:
                raise _invalid_blocks(f"must be less than {limit + 1} characters", f"/blocks/{i}/{where}/text")
    # Seen, not documented: slackapi/bolt-js#2509.
    if total > 13_200:
        raise Failed("msg_blocks_too_long")


def _invalid_blocks(why: str, pointer: str) -> Failed:
    return Failed("invalid_blocks", response_metadata={"messages": [f"[ERROR] {why} [json-pointer:{pointer}]"]})
