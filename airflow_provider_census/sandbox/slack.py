"""
Slack: the methods of the Web API that a destination needs, and incoming webhooks.

Errors are ``ok: false`` with HTTP 200, names and order after the method pages of docs.slack.dev. Stricter than Slack:
an argument the method does not have is ``invalid_arguments``. Unverified: ``cannot_reply_to_message`` for a
``thread_ts`` that is no message, ``msg_too_long`` for ``markdown_text``, and the status codes of webhooks.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from airflow_provider_census.sandbox import _slack_wire as wire
from airflow_provider_census.sandbox._api import SandboxApi, Window
from airflow_provider_census.sandbox._slack_channels import Channel
from airflow_provider_census.sandbox._slack_message import CUSTOM, FIELDS, Failed, check_message

_READS = ("auth.test", "conversations.list", "conversations.info", "conversations.history")


class Slack(SandboxApi):
    """
    One workspace, with the channels #general (the bot is in it) and #random (it is not).

    ``posts_per_s`` (per channel and webhook; None for no limit) and ``tiers`` (a :class:`Window` per method) are the
    limits; ``scopes`` are what the token is granted, ``page_size`` is the most a page of channels holds.
    """

    name = "slack"
    token = "xoxb-sandbox-token"
    webhook = "/services/T00000001/B00000001/sandboxwebhooksecret"
    """Path of the webhook that posts to #general."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "census_slack", "password": token}

    def reset(self) -> None:
        """Restore the workspace."""
        self.scopes = {
            *("chat:write", "chat:write.customize", "channels:read", "groups:read", "channels:join"),
            *("channels:history", "groups:history"),
        }
        self.page_size = 999
        self.posts_per_s: float | None = 1
        self.tiers = {
            "auth.test": Window(600, 60),
            "conversations.list": Window(20, 60),
            "conversations.info": Window(50, 60),
            "conversations.join": Window(50, 60),
            "conversations.history": Window(50, 60),
        }
        self.channels: dict[str, Channel] = {}
        self.webhooks: dict[str, str] = {}
        self._ids = itertools.count(1)
        self._ts = (f"{int(time.time())}.{n:06}" for n in itertools.count(1))
        self._posts: dict[str, Window] = {}
        self.webhooks[self.webhook] = self.add_channel("general", is_member=True).id
        self.add_channel("random")

    def add_channel(
        self, name: str, *, is_private: bool = False, is_archived: bool = False, is_member: bool = False
    ) -> Channel:
        """Create a channel."""
        channel = Channel(f"C{next(self._ids):010}", name, is_private, is_archived, is_member)
        self.channels[channel.id] = channel
        return channel

    def channel(self, name: str) -> Channel:
        """Return the channel of this name."""
        return next(c for c in self.channels.values() if c.name == name)

    def texts(self, name: str) -> list[str]:
        """Return the texts of all messages in a channel, in order."""
        return [message["text"] for message in self.channel(name).messages]

    def state(self) -> Any:
        """Return the channels with their messages."""
        return {c.name: {**c.json(), "messages": c.messages} for c in self.channels.values()}

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "conversations.list": self._list,
            "conversations.info": self._info,
            "conversations.join": self._join,
            "conversations.history": self._history,
        }

        @router.api_route("/api/{method}", methods=["GET", "POST"])
        async def call(method: str, request: Request) -> Response:
            headers = {"x-oauth-scopes": ",".join(sorted(self.scopes))}
            try:
                if method not in methods:
                    raise Failed("unknown_method")
                self._authenticate(request)
                if (wait := self._wait(self.tiers.get(method))) is not None:
                    return _slow_down(JSONResponse({"ok": False, "error": "ratelimited"}, 429), wait)
                arguments = await wire.arguments(request, json_allowed=method not in _READS)
                if method == "chat.postMessage" and (wait := self._wait_to_post(arguments)) is not None:
                    return _slow_down(JSONResponse({"ok": False, "error": "ratelimited"}, 429), wait)
                return JSONResponse({"ok": True, **methods[method](arguments)}, headers=headers)
            except Failed as failed:
                return JSONResponse(failed.body, headers=headers)

        @router.post("/services/{team}/{bot}/{secret}")
        async def webhook(team: str, bot: str, secret: str, request: Request) -> Response:
            return await self._webhook(f"/services/{team}/{bot}/{secret}", request)

        return router

    # --- methods ---------------------------------------------------------------------------------------------------

    def _auth_test(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": "https://sandbox.slack.com/",
            "team": "Sandbox",
            "user": "census",
            "team_id": "T00000001",
            "user_id": "U00000001",
            "bot_id": "B00000001",
            "is_enterprise_install": False,
        }

    def _list(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        types = str(arguments.get("types") or "public_channel").split(",")
        scopes = {"public_channel": "channels:read", "private_channel": "groups:read", "mpim": "mpim:read"}
        scopes["im"] = "im:read"
        if not set(types) <= set(scopes):
            raise Failed("invalid_types")
        self._need(*(scopes[t] for t in types))
        limit = min(wire.limit(arguments, 100, 999), self.page_size)
        start = wire.cursor(arguments)
        everything = list(self.channels.values())
        # Filters come after paging, so pages may be short or empty and not the last.
        page = [
            channel.json()
            for channel in everything[start : start + limit]
            if channel.kind in types
            and (channel.is_member or not channel.is_private)
            and not (channel.is_archived and arguments.get("exclude_archived") in (True, "true"))
        ]
        end = start + limit
        return {
            "channels": page,
            "response_metadata": {"next_cursor": wire.as_cursor(end) if end < len(everything) else ""},
        }

    def _info(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._find(arguments)
        self._need("groups:read" if channel.is_private else "channels:read")
        return {"channel": channel.json()}

    def _join(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._need("channels:join")
        channel = self._find(arguments)
        if channel.is_private:
            raise Failed("method_not_supported_for_channel_type")
        if channel.is_archived:
            raise Failed("is_archived")
        already = {"warning": "already_in_channel"} if channel.is_member else {}
        channel.is_member = True
        return {"channel": channel.json(), **already}

    def _history(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._find(arguments)
        self._need("groups:history" if channel.is_private else "channels:history")
        if not channel.is_member:
            raise Failed("not_in_channel")
        limit = wire.limit(arguments, 100, 999)
        start = wire.cursor(arguments)
        messages = channel.history(arguments)
        end = start + limit
        return {
            "messages": [{k: v for k, v in m.items() if v is not None} for m in messages[start:end]],
            "has_more": end < len(messages),
            "response_metadata": {"next_cursor": wire.as_cursor(end) if end < len(messages) else ""},
        }

    def _post_message(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._need("chat:write")
        if unknown := sorted(set(arguments) - FIELDS):
            raise Failed("invalid_arguments", response_metadata={"messages": [f"[ERROR] unknown: {unknown}"]})
        channel = self._target(arguments)
        if channel.is_archived:
            raise Failed("is_archived")
        if not channel.is_member and "chat:write.public" not in self.scopes:
            raise Failed("not_in_channel")
        if any(name in arguments for name in CUSTOM):
            self._need("chat:write.customize")
        check_message(arguments)
        return {"channel": channel.id, **channel.post(arguments, self._ts)}

    # --- webhooks --------------------------------------------------------------------------------------------------

    async def _webhook(self, path: str, request: Request) -> Response:
        if path not in self.webhooks:
            return PlainTextResponse("no_service", 404)
        channel = self.channels[self.webhooks[path]]
        if channel.is_archived:
            return PlainTextResponse("channel_is_archived", 410)
        if (wait := self._wait_for(path)) is not None:
            return _slow_down(PlainTextResponse("rate_limited", 429), wait)
        try:
            message = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        if not isinstance(message, dict):
            return PlainTextResponse("invalid_payload", 400)
        try:
            check_message(message)
            channel.post({k: v for k, v in message.items() if k in FIELDS and k not in CUSTOM}, self._ts)
        except Failed as failed:
            return PlainTextResponse(failed.body["error"], 400)
        return PlainTextResponse("ok")

    # --- guards ----------------------------------------------------------------------------------------------------

    def _authenticate(self, request: Request) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer":
            raise Failed("not_authed")
        if token != self.token:
            raise Failed("invalid_auth")

    def _need(self, *scopes: str) -> None:
        missing = [scope for scope in scopes if scope not in self.scopes]
        if missing:
            raise Failed("missing_scope", needed=",".join(missing), provided=",".join(sorted(self.scopes)))

    def _wait(self, window: Window | None) -> float | None:
        if window is None:
            return None
        allowed, _, reset_s = window.take()
        return None if allowed else reset_s

    def _wait_to_post(self, arguments: Mapping[str, Any]) -> float | None:
        return self._wait_for(str(arguments.get("channel")))

    def _wait_for(self, key: str) -> float | None:
        if self.posts_per_s is None:
            return None
        window = self._posts.setdefault(key, Window(1, 1.0))
        # Short bursts are tolerated: who sends once a second must not be refused for a network's jitter.
        window.per_s = 0.95 / self.posts_per_s
        return self._wait(window)

    def _find(self, arguments: Mapping[str, Any]) -> Channel:
        channel = self.channels.get(str(arguments.get("channel")))
        if channel is None or (channel.is_private and not channel.is_member):
            raise Failed("channel_not_found")
        return channel

    def _target(self, arguments: Mapping[str, Any]) -> Channel:
        """Return the channel to post to: an ID, or the name of a public channel."""
        wanted = str(arguments.get("channel"))
        for channel in self.channels.values():
            if not channel.is_private and wanted.removeprefix("#") == channel.name:
                return channel
        return self._find(arguments)


def _slow_down(response: Response, wait_s: float) -> Response:
    response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return response
