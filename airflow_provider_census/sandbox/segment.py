"""
Segment: the Tracking API, and as much of the Public API as tells whose write key it is.

As there, the Tracking API answers 200 to nearly everything; what Segment would then drop stands in ``discarded``, with
the codes of its Delivery Overview. Sources: segment.com/docs, pages "HTTP API Source", "Delivery Overview", "Handling
Duplicate Data"; github segmentio/public-api-sdk-python, docs/SourcesApi.md.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from airflow_provider_census.sandbox.core import SandboxApi, Window

_SINGLE = ("identify", "group", "track")
_TYPES = (*_SINGLE, "page", "screen", "alias")
_DAY_S = 24 * 3600.0

Call = dict[str, Any]


class Segment(SandboxApi):
    """One workspace with one source."""

    name: ClassVar[str] = "segment"
    write_key: ClassVar[str] = "sandbox-segment-write-key"
    """The key of the source ``warehouse``."""
    workspace_token: ClassVar[str] = "sandbox-segment-workspace-token"
    """The token of the Public API."""
    connection: ClassVar[Mapping[str, Any]] = {
        "conn_type": "census_segment",
        "password": write_key,
        "extra": {"workspace_token": workspace_token},
    }

    def reset(self) -> None:
        """Forget all calls; one enabled source is there."""
        self.users: list[dict[str, Any]] = []
        """``user_id``, ``anonymous_id`` and ``traits``."""
        self.groups: list[dict[str, Any]] = []
        """``group_id``, ``user_id``, ``anonymous_id`` of the last call, and ``traits``."""
        self.events: list[dict[str, Any]] = []
        """``event``, ``user_id``, ``anonymous_id``, ``timestamp`` and ``properties``."""
        self.discarded: list[dict[str, Any]] = []
        """``reason`` and ``message_id`` of what was taken with a 200 and dropped."""
        self.duplicates = 0
        self.sources: list[dict[str, Any]] = []
        self.add_source("warehouse", self.write_key)
        self.shows_keys = True
        """Whether the workspace token may see write keys (the role Source Admin)."""
        self.page_size = 200
        self.event_window = Window(1_000, 1)
        self.now: float | None = None
        """The time by which duplicates are told; None for the clock."""
        self._seen: dict[str, float] = {}
        # A look-up for each call must not walk through all users.
        self._users: dict[tuple[str, str], dict[str, Any]] = {}
        self._groups: dict[str, dict[str, Any]] = {}

    def add_source(self, name: str, write_key: str, *, enabled: bool = True) -> None:
        """Add a source to the workspace."""
        self.sources.append(
            {
                "id": f"src{len(self.sources)}",
                "slug": name,
                "name": name,
                "metadata": {"id": "iUM16Md8P2", "slug": "http-api", "name": "HTTP API"},
                "workspaceId": "ws1",
                "enabled": enabled,
                "writeKeys": [write_key],
                "settings": {},
                "labels": [],
            }
        )

    def state(self) -> dict[str, Any]:
        """Return what arrived and what was dropped."""
        return {
            "users": self.users,
            "groups": self.groups,
            "events": self.events,
            "discarded": self.discarded,
        }

    def router(self) -> APIRouter:
        """Return the routes of both APIs; they have one host here."""
        router = APIRouter()
        router.add_route("/v1/batch", self._batch, methods=["POST"])
        for kind in _SINGLE:
            router.add_route(f"/v1/{kind}", self._single, methods=["POST"])
        router.add_route("/", self._workspace, methods=["GET"])
        router.add_route("/sources", self._list_sources, methods=["GET"])
        return router

    # --- Tracking API ----------------------------------------------------------------------------------------------

    async def _batch(self, request: Request) -> Response:
        content = await request.body()
        body = _object(content)
        if len(content) > 500_000:
            return PlainTextResponse("Exceed payload limit", 400)
        if body is None or not isinstance(body.get("batch"), list):
            return _refused("invalid_request", "malformed JSON")
        return self._take(request, body, body["batch"])

    async def _single(self, request: Request) -> Response:
        body = _object(await request.body())
        if body is None:
            return _refused("invalid_request", "malformed JSON")
        kind = request.url.path.rpartition("/")[2]
        return self._take(request, body, [{**body, "type": kind}])

    def _take(self, request: Request, body: Call, calls: list[Any]) -> Response:
        key = _basic_user(request) or str(body.get("writeKey") or "")
        if len(key) < 3:  # the only keys refused (github segmentio/analytics-go#205)
            return _refused("invalid_request", "write key is missing")
        if any(len(json.dumps(call, ensure_ascii=False, separators=(",", ":")).encode()) > 32_000 for call in calls):
            return PlainTextResponse("Exceed payload limit", 400)
        allowed, _, reset_s = self.event_window.take(len(calls))
        if not allowed:
            seconds = str(math.ceil(reset_s))
            return JSONResponse({"message": "slow down"}, 429, {"Retry-After": seconds, "X-RateLimit-Reset": seconds})
        self._process(key, calls, body)
        return JSONResponse({"success": True})

    def _process(self, key: str, calls: list[Any], body: Call) -> None:
        """Do what Segment does behind its answer."""
        source = next((s for s in self.sources if key in s["writeKeys"]), None)
        whole = (
            *(["project_not_found"] if source is None else []),
            *(["source_disabled"] if source and not source["enabled"] else []),
            *(["empty_batch"] if not calls else []),
            *(["batch_too_long"] if len(calls) > 2_500 else []),  # the code is unverified
        )
        if whole:
            self.discarded += [{"reason": whole[0], "message_id": _id(call)} for call in calls]
            return
        for call in calls:
            reason = next(_discard(call), None)
            if reason:
                self.discarded.append({"reason": reason, "message_id": _id(call)})
            elif self._is_new(call):
                self._apply({**call, "context": {**body.get("context", {}), **(call.get("context") or {})}})

    def _is_new(self, call: Call) -> bool:
        """Remember the id, of whichever source; without one the server would make one up."""
        now = time.time() if self.now is None else self.now
        message_id = call.get("messageId")
        if message_id is None:
            return True
        if now - self._seen.get(message_id, -math.inf) < _DAY_S:
            self.duplicates += 1
            return False
        self._seen[message_id] = now
        return True

    def _apply(self, call: Call) -> None:
        who = {"user_id": call.get("userId"), "anonymous_id": call.get("anonymousId")}
        match call["type"]:
            case "identify":
                ids = {name: id for name, id in who.items() if id}
                user = next((self._users[id] for id in ids.items() if id in self._users), None)
                if user is None:
                    user = {**who, "traits": {}}
                    self.users.append(user)
                user.update(ids)
                self._users.update(dict.fromkeys(ids.items(), user))
                _merge(user["traits"], call.get("traits") or {})
            case "group":
                group = self._groups.get(call["groupId"])
                if group is None:
                    group = self._groups[call["groupId"]] = {"group_id": call["groupId"], "traits": {}}
                    self.groups.append(group)
                group.update(who)
                _merge(group["traits"], call.get("traits") or {})
            case "track":
                fields = {name: call.get(name) for name in ("event", "timestamp", "properties", "context")}
                self.events.append({**who, **fields})

    # --- Public API ------------------------------------------------------------------------------------------------

    async def _workspace(self, request: Request) -> Response:
        return self._denied(request) or _answer({"workspace": {"id": "ws1", "slug": "acme", "name": "Acme"}})

    async def _list_sources(self, request: Request) -> Response:
        denied = self._denied(request)
        if denied:
            return denied
        start = int(request.query_params.get("pagination[cursor]", "0"))
        size = min(int(request.query_params.get("pagination[count]", "10")), self.page_size)
        shown = [{**s, "writeKeys": s["writeKeys"] if self.shows_keys else []} for s in self.sources]
        rest = start + size < len(shown)
        pagination = {"current": str(start), "totalEntries": len(shown)} | ({"next": str(start + size)} if rest else {})
        return _answer({"sources": shown[start : start + size], "pagination": pagination})

    def _denied(self, request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {self.workspace_token}":
            return None
        return JSONResponse({"errors": [{"type": "unauthorized", "message": "the token is not valid"}]}, 401)


def _discard(call: Any) -> Iterator[str]:
    """Yield the codes with which Segment would drop this call."""
    if not isinstance(call, dict):
        yield "bad_request"
        return
    kind = call.get("type")
    if kind not in _TYPES:
        yield "invalid_type" if kind else "missing_type"
    yield from _wrong_ids(call)
    event = call.get("event")
    if kind == "track" and not (event and isinstance(event, str)):
        yield "event_not_string" if event else "event_not_defined"
    for name in ("traits", "properties"):
        if name in call and not isinstance(call[name], dict):
            yield f"{name}_not_object"


def _wrong_ids(call: Call) -> Iterator[str]:
    ids = [call[name] for name in ("userId", "anonymousId") if name in call]
    if not ids:
        yield "no_user_anon_id"
    if not all(isinstance(id, str) and id for id in ids):
        yield "id_not_string"
    if len(_id(call) or "") > 100:
        yield "bad_request"
    if call.get("type") == "group" and not isinstance(call.get("groupId"), str):
        yield "id_not_string"


def _merge(traits: dict[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if value is None:
            traits.pop(name, None)
        else:
            traits[name] = value


def _id(call: Any) -> str | None:
    return str(call["messageId"]) if isinstance(call, dict) and call.get("messageId") is not None else None


def _basic_user(request: Request) -> str:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        user, colon, _ = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return user if scheme == "Basic" and colon else ""


def _object(content: bytes) -> Call | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refused(code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, 400)


def _answer(data: Mapping[str, Any]) -> Response:
    return JSONResponse({"data": data}, media_type="application/vnd.segment.v1+json")
