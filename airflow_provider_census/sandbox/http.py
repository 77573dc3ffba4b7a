"""
A small API such as companies have for themselves: things by id, and events.

::

    GET    /v1/me                 who the token is
    PUT    /v1/things/{id}        creates or updates
    PATCH  /v1/things/{id}        updates, 404 if there is none
    DELETE /v1/things/{id}        deletes, 404 if there is none
    POST   /v1/things             creates, 409 if there is one
    POST   /v1/things/batch       {"things": […]}: creates or updates those that are good, tells of the others by index
    POST   /v1/things/import      […]: creates or updates all of them, or refuses the request
    POST   /v1/things/delete      {"things": […]}: deletes those that are there
    POST   /v1/events             adds an event
    POST   /v1/events/batch       […]: adds them all, or refuses the request

A thing has its id as ``id`` or ``external_id``. What is repeated with the same ``Idempotency-Key`` is answered and not
done again. An ``email`` without @ is refused.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_census.sandbox.core import SandboxApi, Window

Thing = dict[str, Any]

_ID_FIELDS = ("id", "external_id")


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpSandbox(SandboxApi):
    """One account."""

    name: ClassVar[str] = "http"
    login: ClassVar[str] = "sandbox"
    token: ClassVar[str] = "sandbox-http-token"
    """Let in as a bearer token, as ``X-Api-Key``, and as the password of :attr:`login`."""
    connection: ClassVar[Mapping[str, Any]] = {
        "conn_type": "census_http",
        "password": token,
        "extra": {"test_path": "/v1/me"},
    }

    def reset(self) -> None:
        """Forget all things and events."""
        self.things: dict[str, Thing] = {}
        """By id, which is not repeated in them."""
        self.events: list[Thing] = []
        self.max_batch = 100
        self.window = Window(1_000, 1)
        self._answers: dict[str, tuple[int, Any]] = {}

    def state(self) -> dict[str, Any]:
        """Return what the account holds."""
        return {"things": self.things, "events": self.events}

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1")

        def route(method: str, path: str, handler: Callable[[str, Any], tuple[int, Any]]) -> None:
            router.add_api_route(path, self._guarded(handler), methods=[method])

        route("GET", "/me", lambda id, body: (200, {"name": "Sandbox"}))
        route("POST", "/things", self._create)
        route("POST", "/things/batch", self._batch)
        route("POST", "/things/import", self._import)
        route("POST", "/things/delete", self._delete_many)
        route("PUT", "/things/{id:path}", self._put)
        route("PATCH", "/things/{id:path}", self._patch)
        route("DELETE", "/things/{id:path}", self._delete)
        route("POST", "/events", self._add)
        route("POST", "/events/batch", self._add_many)
        return router

    def _guarded(self, handler: Callable[[str, Any], tuple[int, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            if not self._admits(request):
                return JSONResponse({"message": "who are you?"}, 401)
            allowed, _, reset_s = self.window.take()
            if not allowed:
                return JSONResponse({"message": "too fast"}, 429, {"Retry-After": str(math.ceil(reset_s))})
            key = request.headers.get("idempotency-key", "")
            if key in self._answers:
                return _answer(*self._answers[key])
            content = await request.body()
            try:
                status, answer = handler(request.path_params.get("id", ""), json.loads(content) if content else None)
            except ValueError:
                status, answer = 400, {"message": "malformed JSON"}
            except _Refusal as refusal:
                status, answer = refusal.status, {"message": str(refusal)}
            if key and status < 300:
                self._answers[key] = status, answer
            return _answer(status, answer)

        return serve

    def _admits(self, request: Request) -> bool:
        basic = base64.b64encode(f"{self.login}:{self.token}".encode()).decode()
        return (
            request.headers.get("authorization") in (f"Bearer {self.token}", f"Basic {basic}")
            or request.headers.get("x-api-key") == self.token
        )

    # --- things ----------------------------------------------------------------------------------------------------

    def _put(self, id: str, body: Any) -> tuple[int, Any]:
        fields = _checked(body)
        status = 200 if id in self.things else 201
        self.things.setdefault(id, {}).update(fields)
        return status, {"ok": True}

    def _patch(self, id: str, body: Any) -> tuple[int, Any]:
        self._require(id)
        return self._put(id, body)

    def _delete(self, id: str, body: Any) -> tuple[int, Any]:
        self._require(id)
        del self.things[id]
        return 204, None

    def _create(self, _: str, body: Any) -> tuple[int, Any]:
        id, fields = _identified(body)
        if id in self.things:
            raise _Refusal(409, "there is one")
        return self._put(id, fields)

    def _batch(self, _: str, body: Any) -> tuple[int, Any]:
        errors = []
        for index, thing in enumerate(self._list(body, "things")):
            try:
                self._put(*_identified(thing))
            except _Refusal as refusal:
                id = thing.get("external_id") if isinstance(thing, dict) else None
                errors.append({"index": index, "id": id, "message": str(refusal)})
        return 200, {"ok": True, "errors": errors}

    def _import(self, _: str, body: Any) -> tuple[int, Any]:
        things = [_identified(thing) for thing in self._list(body)]
        for id, fields in things:
            self._put(id, fields)
        return 200, {"ok": True, "imported": len(things)}

    def _delete_many(self, _: str, body: Any) -> tuple[int, Any]:
        for thing in self._list(body, "things"):
            self.things.pop(_identified(thing)[0], None)
        return 200, {"ok": True}

    def _require(self, id: str) -> None:
        if id not in self.things:
            raise _Refusal(404, "there is none")

    def _list(self, body: Any, name: str = "") -> list[Any]:
        found = body.get(name) if name and isinstance(body, dict) else body
        if not isinstance(found, list) or not 0 < len(found) <= self.max_batch:
            raise _Refusal(400, f"must be a list of 1 to {self.max_batch}")
        return found

    # --- events ----------------------------------------------------------------------------------------------------

    def _add(self, _: str, body: Any) -> tuple[int, Any]:
        self.events.append(_checked(body))
        return 202, {"ok": True}

    def _add_many(self, _: str, body: Any) -> tuple[int, Any]:
        self.events += [_checked(event) for event in self._list(body)]
        return 202, {"ok": True}


def _checked(body: Any) -> Thing:
    if not isinstance(body, dict):
        raise _Refusal(400, "must be an object")
    if "email" in body and "@" not in str(body["email"]):
        raise _Refusal(422, "email is not valid")
    return body


def _identified(body: Any) -> tuple[str, Thing]:
    fields = dict(_checked(body))
    id = next((str(fields.pop(name)) for name in _ID_FIELDS if fields.get(name) not in (None, "")), None)
    if id is None:
        raise _Refusal(422, "id is missing")
    return id, fields


def _answer(status: int, content: Any) -> Response:
    return Response(status_code=status) if content is None else JSONResponse(content, status)
