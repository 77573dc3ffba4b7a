"""
The conversations with CleverTap, and what its answers say about each record.

Sources: CleverTap developer docs, pages "Upload User Profiles", "Upload Events", "Delete User Profile" and "Errors";
answers as recorded by github.com/tradeo/clevertap-ruby.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from airflow_provider_census.destinations._clevertap_records import WHO
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.message import Exchange, Json, Request, Response, array

Results = list[RowResult | None]

_THEIR_FAULT = 555  # page "Errors": miscellaneous server error, the one code of a record that is worth another try
_NUMBER = re.compile(r"\s*Skipped record number\s*:\s*(\d{1,9})\s*$")


class _Failure(TypedDict, total=False):
    status: str | None
    code: int | str | None
    error: str | None


class _Skipped(_Failure, total=False):
    record: Any


class _Whole(_Failure, total=False):
    processed: int | None
    unprocessed: list[Any] | None


class _Deletion(TypedDict):
    status: str


class Upload(TypedDict):
    """What became of records."""

    status: str
    processed: int
    unprocessed: NotRequired[list[_Skipped] | None]


def upload(records: Sequence[Json], outcome: Outcome, *, idempotent: bool) -> Exchange[Results]:
    """Write profiles or events."""
    response = yield Request(
        method="POST", path="/upload", json=array(records, "d"), idempotent=idempotent, limit="upload"
    )
    whole = response.told(_Whole)
    # With something processed, a second request could do it twice.
    nothing = whole.get("status") == "fail" and not whole.get("unprocessed") and not whole.get("processed")
    if not response.ok or nothing:
        raise Refused(words(response), status=response.status)
    answer = response.read(Upload)
    entries = answer.get("unprocessed") or []
    refused = _refused(entries, records, response.status)
    accounted = len(refused) == len(entries) and answer["processed"] == len(records) - len(refused)
    told = accounted and answer["status"] in ("success", "partial")
    accepted = RowResult(outcome, status=response.status) if told else None
    return [refused.get(at, accepted) for at in range(len(records))]


def delete(kind: str, ids: Sequence[str]) -> Exchange[Results]:
    """Delete profiles; CleverTap answers for all of them with one word, and does it a little later."""
    response = yield Request(method="POST", path="/delete/profiles.json", json={kind: ids}, limit="delete")
    if not response.ok or response.told(_Failure).get("status") == "fail":
        raise Refused(words(response), status=response.status)
    gone = RowResult(Outcome.DELETED, status=response.status)
    return [gone if response.read(_Deletion)["status"] == "success" else None] * len(ids)


def words(response: Response) -> str:
    """Return what CleverTap says is wrong with a request."""
    failure = response.told(_Failure)
    return _words(failure) if failure.get("error") else f"HTTP {response.status}"


def _words(failure: _Failure) -> str:
    code, text = failure.get("code"), _NUMBER.sub("", failure.get("error") or failure.get("status") or "no reason")
    return text if code is None else f"{code}: {text}"


def _refused(entries: Sequence[_Skipped], records: Sequence[Json], status: int) -> dict[int, RowResult]:
    """Return the refused records by position: fewer than ``entries`` if some cannot be placed."""
    refused: dict[int, RowResult] = {}
    for entry in entries:
        at = _position(entry, records)
        if at is not None:
            passing = entry.get("code") == _THEIR_FAULT
            refused[at] = RowResult(Outcome.REJECTED, _words(entry), status, passing=passing)
    return refused


def _position(entry: _Skipped, records: Sequence[Json]) -> int | None:
    """
    Return which record an entry is about.

    The echo of the record is no proof: CleverTap gives some of its values another type. Its user's id helps where the
    number is missing, if no other record has that id.
    """
    number = _NUMBER.search(entry.get("error") or "")
    if number:
        at = int(number[1]) - 1
        return at if 0 <= at < len(records) else None
    echo = entry.get("record")
    who = _who(echo) if isinstance(echo, dict) else None
    same = [at for at, record in enumerate(records) if who and _who(json.loads(record)) == who]
    return same[0] if len(same) == 1 else None


def _who(record: Mapping[str, Any]) -> tuple[str, str] | None:
    return next(((name, str(record[name])) for name in WHO.values() if name in record), None)
