"""
A stub API that costs next to nothing: what is measured is the client, not the sandbox.

It accepts everything, in the words of the API whose path it is, or refuses with 429 what is above a limit it counts.
``GET /__stats`` tells what came in.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import time

_MARKS = (b"@example.com", b"%40example.com")  # once in every row, urlencoded in a form
# By path: the status and the body that stand for success. Whatever else is sent is taken as well.
_ANSWERS = (
    (b"/events", b"202 Accepted", b""),  # Intercom
    (b"/v1/batch", b"200 OK", b'{"success":true}'),  # Segment
    (b"/api/chat.postmessage", b"200 OK", b'{"ok":true,"channel":"C024BE91L","ts":"1503435956.000247"}'),
    (b"/api/conversations.list", b"200 OK", b'{"ok":true,"channels":[{"id":"C024BE91L","name":"general"}]}'),
    (b"/v1/customers", b"200 OK", b'{"id":"cus_1","object":"customer"}'),
)


class Counts:
    """
    What came in, and what the limit makes of it: ``limit`` requests in a window that opens with the first one.

    ``refused_s`` is the longest time from a refusal to the next request that was taken.
    """

    def __init__(self, limit: float, per_s: float) -> None:
        self.requests = self.rows = self.refused = self.in_flight = self.most_in_flight = 0
        self.refused_s = 0.0
        self._refused_at: float | None = None
        self._limit = limit
        self._per_s = per_s
        self._opened_at = -math.inf
        self._used = 0

    def refuse_for(self) -> float | None:
        """Count a request; return the seconds until the next window if it is one too many."""
        now = time.monotonic()
        if now - self._opened_at >= self._per_s:
            self._opened_at, self._used = now, 0
        if self._used >= self._limit:
            self.refused += 1
            self._refused_at = self._refused_at or now
            return self._opened_at + self._per_s - now
        self._used += 1
        if self._refused_at is not None:
            self.refused_s = max(self.refused_s, now - self._refused_at)
            self._refused_at = None
        return None


class Stub(asyncio.Protocol):
    """Answers HTTP/1.1 with keep-alive, after ``latency_s``."""

    def __init__(self, counts: Counts, latency_s: float) -> None:
        self._counts = counts
        self._latency_s = latency_s
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if head.startswith(b"get /__stats "):
                self._write(_http(b"200 OK", json.dumps(_public(self._counts)).encode()))
            else:
                self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        counts = self._counts
        counts.requests += 1
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        wait_s = counts.refuse_for()
        if wait_s is None:
            counts.rows += sum(map(body.count, _MARKS))
            answer = _answer(head, body)
        else:
            answer = _http(b"429 Too Many Requests", b"", b"Retry-After: %d\r\n" % math.ceil(wait_s))
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._finish, answer)
        else:
            self._finish(answer)

    def _finish(self, answer: bytes) -> None:
        self._counts.in_flight -= 1
        self._write(answer)

    def _write(self, answer: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(answer)


def _answer(head: bytes, body: bytes) -> bytes:
    path = head.split(b" ", 2)[1]
    if path.startswith(b"/users/track"):  # Braze tells how many it took
        count = body.count(b'"external_id"')
        return _http(b"201 Created", b'{"message":"success","attributes_processed":%d}' % count)
    for start, status, text in _ANSWERS:
        if path.startswith(start):
            return _http(status, text)
    return _http(b"200 OK", b"{}")


def _http(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s" % (
        status,
        headers,
        len(body),
        body,
    )


def _public(counts: Counts) -> dict[str, float]:
    return {name: value for name, value in vars(counts).items() if not name.startswith("_")}


async def _serve(latency_s: float, limit: float, per_s: float) -> None:
    counts = Counts(limit, per_s)
    server = await asyncio.get_running_loop().create_server(lambda: Stub(counts, latency_s), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--limit", type=float, default=math.inf, help="requests per window")
    parser.add_argument("--per-s", type=float, default=1.0, help="length of a window")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.latency_ms / 1000, arguments.limit, arguments.per_s))
