"""
What Braze answers: what was refused, what is denied, how long to wait.

Sources: Braze API docs, pages "Errors" and "API limits"; answers as measured by github.com/leemour/braze-cli.
"""

from __future__ import annotations

import time
from typing import Any, TypedDict

from airflow_provider_census.errors import AuthError
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Throttle

Results = list[RowResult | None]

_LONGEST_WINDOW_S = 3600.0  # page "API limits": hourly limits start anew at the full hour


class Refusal(TypedDict, total=False):
    """What Braze says is wrong; its errors are texts, objects, or one of them."""

    message: str | None
    errors: Any


def judge(response: Response) -> verdict.Verdict:
    """Return what a response means; 403 is for the exchange to read: not every permission is needed."""
    match response.status:
        case 403:
            return verdict.Answered()
        case 404 if not response.told(Refusal).get("errors"):
            return verdict.Misdirected("HTTP 404: no Braze REST API answers here; check the host of the connection")
        case 429:
            return verdict.Retry("HTTP 429 too many requests", _wait_s(response))
    return verdict.judge(response)


def throttle(response: Response) -> Throttle:
    """Return what is left. ``X-RateLimit-Limit`` is left alone: nothing says how long its window is."""
    return Throttle(remaining=response.number("x-ratelimit-remaining"), reset_s=_reset_s(response))


def _wait_s(response: Response) -> float | None:
    """Return the seconds a 429 asks to wait; plans by monthly active users get a header of their own (unverified)."""
    asked = (response.number("x-ratelimit-retry-after"), verdict.retry_after(response), _reset_s(response))
    return next((seconds for seconds in asked if seconds is not None), None)


def _reset_s(response: Response) -> float | None:
    """Return the seconds until the window ends: the header gives them, or Unix time, depending on the plan."""
    reset = response.number("x-ratelimit-reset")
    if reset is None:
        return None
    return min(max(reset - time.time() if reset > 1e9 else reset, 0.0), _LONGEST_WINDOW_S)


def permit(response: Response, permission: str) -> None:
    """
    Pass what is not a denial.

    :raises AuthError: the key lacks ``permission``; the answer is not quoted, because Braze is known to echo keys.
    """
    if response.status == 403:
        raise AuthError(f"HTTP 403: Braze knows the key and denies it this; give it the permission {permission}")


def words(response: Response) -> str:
    """Return what Braze says is wrong."""
    body = response.told(Refusal)
    texts = [body.get("message") or f"HTTP {response.status}", *map(_text, _listed(body))]
    return ": ".join(dict.fromkeys(texts))[:500]


def refusals(body: Refusal, array: str, sent: int) -> tuple[dict[int, str], int]:
    """Return the refused objects, reason by index, and how many errors name none."""
    refused: dict[int, str] = {}
    unplaced = 0
    for error in _listed(body):
        index = error.get("index") if isinstance(error, dict) and error.get("input_array") == array else None
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < sent:
            refused[index] = _text(error)
        else:
            unplaced += 1
    return refused, unplaced


def _listed(body: Refusal) -> list[Any]:
    errors = body.get("errors")
    return errors if isinstance(errors, list) else [errors] if errors else []


def _text(error: Any) -> str:
    return str(error.get("type") or error.get("message") or error.get("id")) if isinstance(error, dict) else str(error)
