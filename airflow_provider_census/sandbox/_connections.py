"""The connections of the clients, for what no server would do: drop one, or answer in drips."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.protocols.http.auto import AutoHTTPProtocol

# By both ends of the connection, as ASGI names them.
_transports: dict[tuple[Any, Any], asyncio.Transport] = {}


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # h11 or httptools, chosen when uvicorn is imported
    """Uvicorn's HTTP protocol, which remembers the connection of each client."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        _transports[self.client, self.server] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _transports.pop((self.client, self.server), None)
        super().connection_lost(exc)


async def reset(scope: Scope, receive: Receive) -> None:
    """Drop the connection."""
    transport = _transports[scope["client"], scope["server"]]
    # Without lingering, closing sends RST: the client sees "connection reset by peer".
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await receive()  # returns as soon as the server has noticed


async def drip(
    scope: Scope, receive: Receive, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, every_s: float
) -> None:
    """Answer byte by byte, until the client has had enough, and close the connection."""
    transport = _transports[scope["client"], scope["server"]]
    lines = [b"HTTP/1.1 %d Dripping" % status, *(b"%s: %s" % header for header in headers), b"connection: close"]
    for byte in b"\r\n".join([*lines, b"", body]):
        if transport.is_closing():
            break
        transport.write(bytes([byte]))
        await asyncio.sleep(every_s)
    transport.close()
    await receive()
