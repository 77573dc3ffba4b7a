"""
What an answer means for the request that caused it.

In: a response. Out: one of four verdicts. The table holds for every HTTP API; a destination that knows better
overrides single lines by ``Destination.judge``.
"""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

from airflow_provider_census.transport.message import Response


@dataclass(frozen=True, slots=True)
class Answered:
    """The API has spoken (also with a 4xx about the records): the destination reads the body."""


@dataclass(frozen=True, slots=True)
class Retry:
    """
    Not now.

    :param after_s: seconds the API asked to wait, if it did.
    :param applied: whether the API may have applied the request before failing.
    """

    reason: str
    after_s: float | None = None
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """The credentials or their permissions do not allow it; no request of this run will fare better."""

    reason: str


@dataclass(frozen=True, slots=True)
class Misdirected:
    """No API of this kind answers there: a redirect. The connection's host is wrong."""

    reason: str


Verdict = Answered | Retry | Denied | Misdirected

# Refused before any work was done: sending again is safe whatever the request.
_REFUSED = {
    408: "request timeout",
    425: "too early",
    429: "too many requests",
    503: "service unavailable",
}
# The server failed somewhere on the way: it may have applied the request first.
_FAILED = {500: "server error", 502: "bad gateway", 504: "gateway timeout"}


def judge(response: Response) -> Verdict:
    """Return what ``response`` means by its status alone. Total: an unlisted status is for the destination to read."""
    status = response.status
    if status in (401, 403):
        return Denied(f"HTTP {status}")
    if 300 <= status < 400:
        return Misdirected(f"HTTP {status} redirects elsewhere; check the host of the connection")
    if status in _REFUSED:
        return Retry(f"HTTP {status} {_REFUSED[status]}", retry_after(response))
    if status in _FAILED or status > 504:
        return Retry(
            f"HTTP {status} {_FAILED.get(status, 'server error')}",
            retry_after(response),
            applied=True,
        )
    return Answered()


def retry_after(response: Response, *, now: float | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header (seconds or HTTP date, RFC 9110 10.2.3), or None."""
    seconds = response.number("retry-after")
    if seconds is not None:
        return max(0.0, seconds)
    at = date(response.headers.get("retry-after", ""))
    return None if at is None else max(0.0, at - (time.time() if now is None else now))


def date(text: str) -> float | None:
    """Return an HTTP date as Unix time, None if it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
