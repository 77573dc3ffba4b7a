"""
What goes wrong on purpose, and what came in.

A :class:`Gate` stands before each stand-in: it writes every request into the ledger and applies the faults that tests
inject. Dropped connections are TCP resets and cut answers are real bytes, so clients meet what a network does to them.
"""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import json
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_census.sandbox._connections import drip, reset

_HTML = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the guest network</body></html>"


@dataclass
class Call:
    """
    One request in the ledger. Headers are left out: they carry the secrets.

    :param path: below the mount.
    :param json: the decoded body, None if it was not JSON.
    :param form: the decoded body of a form, else None.
    :param status: of the answer; None while there is none, and for good when the connection was reset.
    :param answer: the decoded body of the answer, None if it was not JSON.
    :param at: Unix time of arrival.
    :param in_flight: how many requests of this API were being served when it arrived. Stand-ins answer at once; to
        see requests overlap, give them latency with ``Fault(delay_s=0.1, times=10**6)``.
    """

    api: str
    method: str
    path: str
    query: dict[str, str]
    json: Any
    form: dict[str, str] | None
    status: int | None
    at: float
    in_flight: int
    answer: Any = None


@dataclass(kw_only=True)
class Fault:
    """
    What shall go wrong with the requests that match.

    A request is taken by the first fault that applies to it, in the order of injection.

    :param method: glob, as is ``path`` (below the mount).
    :param contains: text the body must contain.
    :param after: matching requests let through first.
    :param times: how many requests it hits before it is spent.
    :param status: answer this, with ``headers`` and ``body``, and apply nothing.
    :param headers: without ``status``: apply, and let these be in the answer.
    :param reset: drop the connection, before or after the request is applied.
    :param truncate: apply, then answer with the first half of the body: good HTTP, broken JSON.
    :param place: apply, then change the JSON of the answer there, if it has that: ``["data", 0, "id"]``; ``[]`` is all.
    :param put: the JSON text that stands there instead; empty for nothing.
    :param delay_s: wait this long first; alone it only makes the answer late.
    :param drip_s: apply, then answer byte by byte, so long after each other, from the first one of the head.
    :param html: apply nothing, answer 200 with a web page.
    """

    api: str
    method: str = "*"
    path: str = "*"
    contains: str = ""
    after: int = 0
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | dict[str, Any] | None = None
    reset: Literal["before", "after"] | None = None
    truncate: bool = False
    place: list[str | int] | None = None
    put: str = ""
    delay_s: float = 0.0
    drip_s: float = 0.0
    html: bool = False

    def matches(self, call: Call, body: bytes) -> bool:
        """Return whether it is meant for this request."""
        return (
            self.api == call.api
            and fnmatch.fnmatchcase(call.method, self.method)
            and fnmatch.fnmatchcase(call.path, self.path)
            and self.contains.encode() in body
        )

    def answer(self) -> _Answer | None:
        """Return what to answer instead of the API, None to let the request through."""
        if self.html:
            return _Answer(200, {"content-type": "text/html; charset=utf-8"}, _HTML.encode())
        if self.status is None:
            return None
        if isinstance(self.body, dict):
            return _Answer(
                self.status, {"content-type": "application/json", **self.headers}, json.dumps(self.body).encode()
            )
        return _Answer(
            self.status, {"content-type": "text/plain; charset=utf-8", **self.headers}, (self.body or "").encode()
        )

    def spoil(self, answer: _Answer) -> None:
        """Change what the API answers."""
        answer.headers |= {name.lower(): value for name, value in self.headers.items()}
        answer.drip_s = self.drip_s
        if self.truncate:
            answer.body = answer.body[: len(answer.body) // 2]
        if self.place is not None:
            answer.body = _changed(answer.body, self.place, self.put)


def _changed(body: bytes, place: Sequence[str | int], text: str) -> bytes:
    if not place:
        return text.encode()
    value = _json(body)
    *way, last = place
    try:
        inner = functools.reduce(operator.getitem, way, value)
        inner[last]  # only what is there
        if text:
            inner[last] = json.loads(text)
        else:
            del inner[last]
    except (LookupError, TypeError):
        return body
    return json.dumps(value).encode()


class Faults:
    """The faults waiting for their requests."""

    def __init__(self) -> None:
        self._armed: list[tuple[Fault, dict[str, int]]] = []

    def inject(self, fault: Fault) -> None:
        """Arm ``fault``."""
        self._armed.append((fault, {"passed": 0, "hit": 0}))

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    def take(self, call: Call, body: bytes) -> Fault | None:
        """Return the fault that hits this request and count it."""
        for fault, count in self._armed:
            if count["hit"] >= fault.times or not fault.matches(call, body):
                continue
            if count["passed"] < fault.after:
                count["passed"] += 1
                continue
            count["hit"] += 1
            return fault
        return None


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    drip_s: float = 0.0

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {**{k.lower(): v for k, v in self.headers.items()}, "content-length": str(len(self.body))}
        raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        if self.drip_s:
            await drip(scope, receive, self.status, raw, self.body, every_s=self.drip_s)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})


class Gate:
    """ASGI middleware before one stand-in."""

    def __init__(self, app: ASGIApp, api: str, ledger: list[Call], faults: Faults) -> None:
        self._app = app
        self._api = api
        self._ledger = ledger
        self._faults = faults
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await _read(receive)
        call = _call(self._api, scope, body, self._in_flight)
        self._ledger.append(call)
        self._in_flight += 1
        try:
            answer = await self._serve(scope, call, body)
        finally:
            self._in_flight -= 1
        if answer is None:
            await reset(scope, receive)
        else:
            call.status, call.answer = answer.status, _json(answer.body)
            await answer.send(scope, receive, send)

    async def _serve(self, scope: Scope, call: Call, body: bytes) -> _Answer | None:
        """Return the answer, None to drop the connection."""
        fault = self._faults.take(call, body)
        if fault is None:
            return await self._apply(scope, body)
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.reset == "before":
            return None
        answer = fault.answer() or await self._apply(scope, body)
        if fault.reset == "after":
            return None
        fault.spoil(answer)
        return answer

    async def _apply(self, scope: Scope, body: bytes) -> _Answer:
        """Let the stand-in handle the request; return what it answers."""
        answer = _Answer(500, {}, b"")
        request: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return request.pop() if request else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self._app(scope, receive, send)
        return answer


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _call(api: str, scope: Scope, body: bytes, in_flight: int) -> Call:
    form = dict(parse_qsl(body.decode(), keep_blank_values=True)) if _is_form(scope["headers"]) else None
    return Call(
        api=api,
        method=scope["method"],
        path=scope["path"].removeprefix(scope["root_path"]),
        query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        json=None if form is not None else _json(body),
        form=form,
        status=None,
        at=time.time(),
        in_flight=in_flight,
    )


def _is_form(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(k == b"content-type" and v.startswith(b"application/x-www-form-urlencoded") for k, v in headers)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
