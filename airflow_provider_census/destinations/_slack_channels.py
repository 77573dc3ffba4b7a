"""Where a message goes: the channel behind a name or an ID."""

from __future__ import annotations

import difflib
from typing import NotRequired, TypedDict

from airflow_provider_census.destinations import _slack_answers as answers
from airflow_provider_census.destinations._asking import Pages
from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.transport.message import Exchange, Request
from airflow_provider_census.transport.reading import Id

# Without groups:read the private channels stay unseen, without channels:read the public ones.
_SEARCHES = ("public_channel,private_channel", "public_channel", "private_channel")


class Channel(TypedDict):
    """What is told of a channel; of one that cannot be looked up, only the ID."""

    id: Id
    is_archived: NotRequired[bool | None]
    is_member: NotRequired[bool | None]
    is_private: NotRequired[bool | None]


class _Listed(Channel):
    name: str
    name_normalized: NotRequired[str | None]


class _Info(TypedDict):
    channel: Channel


class _Next(TypedDict, total=False):
    next_cursor: str | None


class _Page(TypedDict):
    channels: list[_Listed]
    response_metadata: NotRequired[_Next | None]


Found = tuple[Channel, frozenset[str]]
"""A channel, and the scopes that the token is granted."""


def by_id(channel_id: str) -> Exchange[Found]:
    """
    Exchange that looks a channel up; the ID alone if the token may not.

    :raises ConfigError: there is no such channel.
    """
    response = yield Request(method="GET", path="/conversations.info", query={"channel": channel_id}, limit="info")
    answer, granted = response.read(answers.Answer), answers.scopes(response)
    if answer.get("error") == "missing_scope":
        return {"id": channel_id}, granted  # the first post will tell
    if not answer["ok"]:
        raise answers.stop(channel_id, str(answer.get("error")))
    return response.read(_Info)["channel"], granted


def by_name(name: str) -> Exchange[Found]:
    """
    Exchange that looks for a channel.

    :raises ConfigError: the bot sees none of this name.
    :raises AuthError: it may not look.
    """
    for types in _SEARCHES:
        found = yield from _search(name, types)
        if found is not None:
            return found
    raise AuthError(
        f"the token lacks the scope channels:read (groups:read for private channels), needed to find #{name}; "
        f"grant it, or name the channel by its ID"
    )


def _search(name: str, types: str) -> Exchange[Found | None]:
    """Walk through the channels; None if the token may not list these types."""
    seen: list[str] = []
    pages, cursor = Pages("conversations.list"), ""
    while True:
        # 999 is the most it takes.
        query = {"types": types, "limit": "999", "cursor": pages.follow(cursor)}
        response = yield Request(method="GET", path="/conversations.list", query=query, limit="list")
        answer, granted = response.read(answers.Answer), answers.scopes(response)
        if answer.get("error") == "missing_scope":
            return None
        if not answer["ok"]:
            raise answers.stop(f"#{name}", str(answer.get("error")))
        page = response.read(_Page)
        for channel in page["channels"]:
            if name in (channel["name"], channel.get("name_normalized")):
                return channel, granted
            seen.append(channel["name"])
        # A page may be short or empty and not the last: Slack filters behind paging.
        cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
        if not cursor:
            break
    near = ", ".join(f"#{other}" for other in difflib.get_close_matches(name, seen))
    unseen = "" if "private" in types else "; private channels are not visible without the scope groups:read"
    raise ConfigError(
        f"the bot sees no channel #{name}{f' (similar: {near})' if near else ''}; "
        f"if it is private, {answers.INVITE}{unseen}"
    )
