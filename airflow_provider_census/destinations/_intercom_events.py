"""Events of Intercom, one a request (docs "Submit a data event"; help article 175)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_census.destinations._intercom_answers import Empty, write
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.message import Exchange, Request

_MAX_KEYS = 10
_MAX_TEXT = 255
_MILLISECONDS = 10**11  # no event is that many seconds old or young


def check_event(fields: Mapping[str, Any]) -> str | None:
    """Return what Intercom could not take, or would drop without a word."""
    created_at = fields.get("created_at")
    if not isinstance(created_at, int) or isinstance(created_at, bool):
        return "created_at is neither a timestamp nor Unix seconds"
    if abs(created_at) >= _MILLISECONDS:
        return "created_at is in milliseconds; Intercom counts seconds"
    metadata = {k: v for k, v in (fields.get("metadata") or {}).items() if v is not None}
    if len(metadata) > _MAX_KEYS:
        return f"metadata has {len(metadata)} keys; Intercom ignores all after the first {_MAX_KEYS}"
    for name, value in metadata.items():
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            return f"metadata.{name} has {len(value)} characters; Intercom takes {_MAX_TEXT}"
        if isinstance(value, list) or (isinstance(value, dict) and not _is_link(value) and not _is_money(value)):
            return f"metadata.{name} is nested; only {{url, value}} and {{amount, currency}} may be"
    return None


def send_event(payload: Mapping[str, Any]) -> Exchange[RowResult]:
    """Send one event. Intercom ignores it when it has it already, so it may be repeated."""
    answer = yield from write(Request(method="POST", path="/events", json=payload), Empty)
    return RowResult(Outcome.SENT) if answer.ok else answer.rejected()


def _is_link(value: Mapping[str, Any]) -> bool:
    return set(value) == {"url", "value"}


def _is_money(value: Mapping[str, Any]) -> bool:
    return set(value) == {"amount", "currency"} and isinstance(value["amount"], int) and value["amount"] > 0
