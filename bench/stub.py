"""
A stub API that costs next to nothing: what is measured is the engine, not the sandbox.

It accepts everything: Braze's ``/users/track`` with the number of objects it was sent, Intercom's ``/events`` with 202.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib


class Stub(asyncio.Protocol):
    """Answers HTTP/1.1 with keep-alive, after ``latency_s``."""

    def __init__(self, latency_s: float) -> None:
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
            answer = _answer(head, body)
            asyncio.get_running_loop().call_later(self._latency_s, self._write, answer)

    def _write(self, answer: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(answer)


def _answer(head: bytes, body: bytes) -> bytes:
    if head.startswith(b"post /users/track"):
        count = body.count(b'"_update_existing_only"')
        return _http(b"201 Created", b'{"message":"success","attributes_processed":%d}' % count)
    return _http(b"202 Accepted", b"")


def _http(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def _serve(latency_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(latency_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().latency_ms / 1000))
