"""
Which message stands for which row: a mark in the message's metadata, found again in the channel's history.

Every app and member of the workspace can read metadata (docs.slack.dev, methods/chat.postMessage), so a mark is a
digest that tells nothing of the row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from airflow_provider_census.destinations import _slack_answers as answers
from airflow_provider_census.destinations._asking import Pages, look
from airflow_provider_census.sync.paths import get
from airflow_provider_census.transport.message import Exchange, Request, Response

_EVENT = "census_row"
# The clock of the worker and that of Slack may differ so much.
_MARGIN_S = 300


class _Next(TypedDict, total=False):
    next_cursor: str | None


class _Page(TypedDict):
    messages: list[dict[str, Any]]
    response_metadata: NotRequired[_Next | None]


def mark(sync_id: str, row_id: str) -> str:
    """Return the mark of a row."""
    return hashlib.blake2b(json.dumps([sync_id, row_id]).encode(), digest_size=8).hexdigest()


def metadata(mark: str) -> dict[str, Any]:
    """Return ``mark`` as the metadata of a message."""
    return {"event_type": _EVENT, "event_payload": {"row": mark}}


def takes_mark(fields: Mapping[str, Any]) -> bool:
    """Return whether a message of these fields can be marked and found: replies are in no history."""
    return fields.get("metadata") is None and fields.get("thread_ts") is None


def read_marks(channel: str, since: int) -> Exchange[set[str] | None]:
    """
    Exchange that reads the marks of all messages in a channel; None if Slack does not let it.

    :param since: Unix time of the first message.
    """
    marks: set[str] = set()
    # 999 is the most it takes.
    query = {
        "channel": channel,
        "oldest": f"{since - _MARGIN_S}.000000",
        "include_all_metadata": "true",
        "limit": "999",
    }
    pages = Pages("conversations.history")
    while True:
        page = yield from look(
            Request(method="GET", path="/conversations.history", query=query, limit="history"), _read_page
        )
        if page is None:
            return None
        for message in page["messages"]:
            if get(message, "metadata.event_type") == _EVENT:
                marks.add(str(get(message, "metadata.event_payload.row")))
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return marks
        query = {**query, "cursor": pages.follow(cursor)}


def _read_page(response: Response) -> _Page | None:
    return response.read(_Page) if response.read(answers.Answer)["ok"] else None
