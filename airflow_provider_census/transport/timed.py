"""
Answers that must come to their end.

The timeout of a socket is that of one read: a byte now and then would keep a request waiting for hours.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

WHOLE = 4
"""In so many times the timeout of a read an answer must be there, its head included."""


class TimedAnswer(http.client.HTTPResponse):
    """An answer read from a socket, which times out as a whole too; made when the request was sent."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(sock, self.fp.detach()))


class _Timed(io.RawIOBase):
    """What comes in at a socket, as long as there is time."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._read_s = sock.gettimeout() or 0.0
        self._until = time.monotonic() + WHOLE * self._read_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer did not come to its end")
        if left_s < self._read_s:
            self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
