"""
The conversations with Braze: which requests carry out a batch, and what the answers say about each of its objects.

Sources: Braze API docs, pages "Track users", "Delete users", "Export user profile by identifier" and "Update multiple
catalog items"; answers as measured by github.com/leemour/braze-cli.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import AuthError, Unanswered, Unavailable
from airflow_provider_census.sync.values import Behavior, Operation, Outcome, RowResult
from airflow_provider_census.transport.message import Exchange, Json, Request, Response
from airflow_provider_census.transport.message import array as joined
from airflow_provider_census.transport.verdict import retry_after

Results = list[RowResult | None]

OUTCOME = {
    Behavior.UPDATE_OR_CREATE: Outcome.UPSERTED,
    Behavior.UPDATE_ONLY: Outcome.UPDATED,
    Behavior.DELETE: Outcome.DELETED,
    Behavior.SEND: Outcome.SENT,
}
ONE_BY_ONE = {"braze_id": "braze_id", "email": "email_address", "phone": "phone"}
"""Identifiers of which an export takes a single value, and their names there."""

_DELETE_BY = {
    "external_id": "external_ids",
    "braze_id": "braze_ids",
    "user_alias": "user_aliases",
    "email": "email_addresses",
    "phone": "phone_numbers",
}
_ITEMS = {
    Behavior.UPDATE_OR_CREATE: ("PUT", "catalogs.replace_items"),
    Behavior.UPDATE_ONLY: ("PATCH", "catalogs.update_items"),
    Behavior.DELETE: ("DELETE", "catalogs.delete_items"),
}
_LONGEST_WINDOW_S = 3600.0  # page "API limits": hourly limits start anew at the full hour


def track(array: str, objects: Sequence[Json], behavior: Behavior, *, idempotent: bool) -> Exchange[Results]:
    """Write attributes, events or purchases."""
    response = yield Request(
        method="POST", path="/users/track", json=joined(objects, array), idempotent=idempotent, limit="users_track"
    )
    permit(response, "users.track")
    body = _body(response)
    refused, unplaced = _errors(body, array, len(objects))
    settled = body.get("message") == "success" and not unplaced
    if not response.ok:
        # All objects were bad, or the request was: nothing is applied. Those not named may be good by themselves.
        if len(refused) < len(objects):
            raise Refused(words(response), status=response.status)
    elif body.get(f"{array}_processed") != len(objects) - len(refused):
        settled = False
    accepted = RowResult(OUTCOME[behavior], status=response.status) if settled else None
    return [rejected(refused[i], response.status) if i in refused else accepted for i in range(len(objects))]


def update(
    identifier: str, operations: Sequence[Operation], who: Sequence[Any], objects: Sequence[Json], *, idempotent: bool
) -> Exchange[Results]:
    """Write attributes of the users that exist: Braze would count the others as processed."""
    if all(operation.held is not None for operation in operations):
        exists: list[bool | None] = [operation.held.fields is not None for operation in operations if operation.held]
    else:
        exists = yield from look_up(identifier, who)
    present = [item for item, there in zip(objects, exists, strict=True) if there]
    tracked: Results = []
    if present:
        tracked = yield from track("attributes", present, Behavior.UPDATE_ONLY, idempotent=idempotent)
    answers = iter(tracked)
    missing = RowResult(Outcome.SKIPPED, "no such user")
    return [next(answers) if there else missing if there is False else None for there in exists]


def delete(identifier: str, who: Sequence[Any], objects: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
    """Delete users for good."""
    response = yield Request(
        method="POST",
        path="/users/delete",
        json=joined(objects, _DELETE_BY[identifier]),
        idempotent=idempotent,
        limit="users_delete",
    )
    permit(response, "users.delete")
    if not response.ok:
        raise Refused(words(response), status=response.status)
    gone = RowResult(Outcome.DELETED, status=response.status)
    if _body(response).get("deleted") == len(objects):
        return [gone] * len(objects)
    # Fewer were queued, and the answer does not say which. Users that are not there settle themselves. A look-up that
    # fails may not end the batch: the deletion went out, and by e-mail or phone it must not go out again.
    try:
        exists = yield from look_up(identifier, who)
    except (AuthError, Refused, Unanswered, Unavailable) as error:
        return [RowResult(Outcome.UNCERTAIN, f"Braze queued fewer deletions than it was asked for ({error})")] * len(
            who
        )
    return [gone if there is False else None for there in exists]


def write_items(behavior: Behavior, catalog: str, objects: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
    """Replace, edit or delete items of one catalog; Braze takes all of a request or nothing."""
    method, permission = _ITEMS[behavior]
    response = yield Request(
        method=method,
        path=f"/catalogs/{quote(catalog, safe='')}/items",
        json=joined(objects, "items"),
        idempotent=idempotent,
        limit="catalog_items",
    )
    permit(response, permission)
    if response.status == 404:
        return [rejected(words(response), 404)] * len(objects)
    if not response.ok:
        raise Refused(words(response), status=response.status)
    accepted = _body(response).get("message") == "success"
    return [RowResult(OUTCOME[behavior], status=response.status) if accepted else None] * len(objects)


def read_catalogs() -> Exchange[dict[str, frozenset[str]] | None]:
    """Return the fields of each catalog, None if the key may not read them."""
    response = yield Request(method="GET", path="/catalogs", limit="catalogs")
    if not response.ok:
        return None
    return {
        catalog["name"]: frozenset(field["name"] for field in catalog["fields"])
        for catalog in _body(response).get("catalogs", ())
    }


def look_up(identifier: str, who: Sequence[Any]) -> Exchange[list[bool | None]]:
    """Return for each user whether there is one, None where the answer does not say."""
    if identifier == "external_id":
        body = yield from export({"external_ids": who, "fields_to_export": ["external_id"]})
        known = dict.fromkeys(body.get("invalid_user_ids") or (), False)
        known |= {user.get("external_id"): True for user in body["users"]}
        return [known.get(id) for id in who]
    if identifier == "user_alias":
        # Whether invalid_user_ids lists aliases too is unverified.
        body = yield from export({"user_aliases": who, "fields_to_export": ["user_aliases"]})
        aliases = [alias for user in body["users"] for alias in user.get("user_aliases") or ()]
        return [alias in aliases for alias in who]
    exists: list[bool | None] = []
    for id in who:
        body = yield from export({ONE_BY_ONE[identifier]: id, "fields_to_export": ["braze_id"]})
        exists.append(bool(body["users"]))
    return exists


def export(question: dict[str, Any]) -> Exchange[dict[str, Any]]:
    """
    Exchange that asks for profiles.

    :raises AuthError: the key lacks the permission.
    """
    response = yield Request(method="POST", path="/users/export/ids", json=question, limit="users_export")
    permit(response, "users.export.ids")
    body = _body(response)
    if not response.ok or not isinstance(body.get("users"), list):
        raise Refused(words(response), status=response.status)
    return body


def permit(response: Response, permission: str) -> None:
    """
    Pass what is not a denial.

    :raises AuthError: the key lacks ``permission``; the answer is not quoted, because Braze is known to echo keys.
    """
    if response.status == 403:
        raise AuthError(f"HTTP 403: Braze knows the key and denies it this; give it the permission {permission}")


def words(response: Response) -> str:
    """Return what Braze says is wrong."""
    body = response.json_object()
    texts = [str(body.get("message") or f"HTTP {response.status}"), *map(_text, _listed(body))]
    return ": ".join(dict.fromkeys(texts))[:500]


def number(response: Response, header: str) -> float | None:
    """Return the value of a header, None where it is missing or no number."""
    try:
        return float(response.headers[header])
    except (KeyError, ValueError):
        return None


def wait_s(response: Response) -> float | None:
    """Return the seconds a 429 asks to wait; plans by monthly active users get a header of their own (unverified)."""
    asked = (number(response, "x-ratelimit-retry-after"), retry_after(response), reset_s(response))
    return next((seconds for seconds in asked if seconds is not None), None)


def reset_s(response: Response) -> float | None:
    """Return the seconds until the window ends: the header gives them, or Unix time, depending on the plan."""
    reset = number(response, "x-ratelimit-reset")
    if reset is None:
        return None
    return min(max(reset - time.time() if reset > 1e9 else reset, 0.0), _LONGEST_WINDOW_S)


def _body(response: Response) -> dict[str, Any]:
    """Return the answer; a success that is not JSON is no answer of Braze."""
    value = response.json() if response.ok else response.json_object()
    return value if isinstance(value, dict) else {}


def _errors(body: Mapping[str, Any], array: str, sent: int) -> tuple[dict[int, str], int]:
    """Return the refused objects, reason by index, and how many errors name none."""
    refused: dict[int, str] = {}
    unplaced = 0
    for error in _listed(body):
        index = error.get("index") if isinstance(error, dict) and error.get("input_array") == array else None
        if isinstance(index, int) and 0 <= index < sent:
            refused[index] = _text(error)
        else:
            unplaced += 1
    return refused, unplaced


def _listed(body: Mapping[str, Any]) -> list[Any]:
    errors = body.get("errors")
    return errors if isinstance(errors, list) else [errors] if errors else []


def _text(error: Any) -> str:
    return str(error.get("type") or error.get("message") or error.get("id")) if isinstance(error, dict) else str(error)
