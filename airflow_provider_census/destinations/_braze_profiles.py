"""
What Braze holds of users: the exchanges that read it, and how it is compared with what would be written.

Source: Braze API docs, page "Export user profile by identifier": the fields that can be exported; a field that is
missing there is null, false or empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from airflow_provider_census.destinations._asking import look
from airflow_provider_census.destinations._braze_answers import permit, words
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.comparison import is_empty, same, same_moment
from airflow_provider_census.sync.values import Held
from airflow_provider_census.transport.message import Exchange, Request, Response

ONE_BY_ONE = {"braze_id": "braze_id", "email": "email_address", "phone": "phone"}
"""Identifiers of which an export takes a single value, and their names there."""

EXPORTED = (
    *("country", "dob", "email", "email_subscribe", "first_name", "gender", "home_city", "language", "last_name"),
    *("phone", "push_subscribe", "time_zone"),
)
"""Fields of a profile that are written and exported under one name."""

UNTOLD = (
    *("alias_name", "alias_label", "app_id", "current_location", "date_of_first_session", "date_of_last_session"),
    *("email_click_tracking_disabled", "email_open_tracking_disabled", "facebook", "image_url"),
    *("marked_email_as_spam_at", "push_token_import", "push_tokens", "subscription_groups", "twitter"),
)
"""Those that are written and not exported, or otherwise. All others are custom attributes."""

_UNACCOUNTED = "Braze's answer does not account for this user"


class _Alias(TypedDict):
    alias_name: str
    alias_label: str


class _User(TypedDict, total=False):
    external_id: str | None
    user_aliases: list[_Alias] | None
    custom_attributes: dict[str, Any] | None


class _Export(TypedDict):
    users: list[_User]
    invalid_user_ids: NotRequired[list[Any] | None]


def check_if_empty(path: str) -> None:
    """
    Check that an export shows whether the attribute is empty, and that it can be set by itself.

    :raises ConfigError: it does not, or it is a part of an object: those are replaced whole.
    """
    name, _, part = path.partition(".")
    if part:
        raise ConfigError(
            f"mapping of {path!r}: Braze replaces an object whole, so that set='if_empty' is for all of {name!r}"
        )
    if name in UNTOLD or name == "_merge_objects":
        raise ConfigError(
            f"mapping of {path!r}: Braze does not export it, so that nobody knows whether it is empty; "
            f"set='if_empty' takes {', '.join(EXPORTED)} and custom attributes"
        )


def look_up(identifier: str, who: Sequence[Any]) -> Exchange[list[bool | None]]:
    """Return for each user whether there is one, None where the answer does not say."""
    if identifier == "external_id":
        body = yield from _export({"external_ids": who, "fields_to_export": ["external_id"]})
        known, unknown = {user.get("external_id") for user in body["users"]}, body.get("invalid_user_ids") or []
        return [True if id in known else False if id in unknown else None for id in who]
    if identifier == "user_alias":
        # Whether invalid_user_ids lists aliases too is unverified.
        body = yield from _export({"user_aliases": who, "fields_to_export": ["user_aliases"]})
        aliases = [alias for user in body["users"] for alias in user.get("user_aliases") or ()]
        return [alias in aliases for alias in who]
    exists: list[bool | None] = []
    for id in who:
        body = yield from _export({ONE_BY_ONE[identifier]: id, "fields_to_export": ["braze_id"]})
        exists.append(bool(body["users"]))
    return exists


def _export(question: dict[str, Any]) -> Exchange[_Export]:
    """
    Exchange that asks for profiles.

    :raises AuthError: the key lacks the permission.
    """
    return look(Request(method="POST", path="/users/export/ids", json=question, limit="users_export"), _read)


def _read(response: Response) -> _Export:
    permit(response, "users.export.ids")
    if not response.ok:
        raise Refused(words(response), status=response.status)
    return response.read(_Export)


def fetch(identifier: str, who: Sequence[Any], fields: Sequence[str]) -> Exchange[list[Held | str]]:
    """
    Exchange that returns what is there.

    :param fields: names of the attributes that are to be compared.
    """
    asked = {name if name in EXPORTED else "custom_attributes" for name in fields if name not in UNTOLD}
    if identifier in ONE_BY_ONE:
        question = {"fields_to_export": sorted({"braze_id", *asked})}
        answers: list[Held | str] = []
        for id in who:
            body = yield from _export({ONE_BY_ONE[identifier]: id, **question})
            answers.append(_one(identifier, body["users"]))
        return answers
    by = "external_ids" if identifier == "external_id" else "user_aliases"
    asked.add("external_id" if identifier == "external_id" else "user_aliases")
    body = yield from _export({by: who, "fields_to_export": sorted(asked)})
    if identifier == "user_alias":
        having = [(alias, user) for user in body["users"] for alias in user.get("user_aliases") or ()]
        return [_one(identifier, [user for alias, user in having if alias == id]) for id in who]
    users = {user.get("external_id"): _attributes(user) for user in body["users"]}
    unknown = body.get("invalid_user_ids") or []
    return [Held(users[id]) if id in users else Held(None) if id in unknown else _UNACCOUNTED for id in who]


def _one(identifier: str, users: Sequence[_User]) -> Held | str:
    if len(users) > 1:
        return f"{len(users)} users have this {identifier}; which of them is written to only Braze knows"
    return Held(_attributes(users[0]) if users else None)


def _attributes(user: _User) -> dict[str, Any]:
    shown: Mapping[str, Any] = user
    return {**(user.get("custom_attributes") or {}), **{name: shown[name] for name in EXPORTED if name in shown}}


def matches(fields: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Return whether ``held`` is what writing ``fields`` would leave there; objects replace those that are there."""
    return all(
        name not in UNTOLD and _same(name, value, held.get(name))
        for name, value in fields.items()
        if name != "_merge_objects"
    )


def _same(name: str, wanted: Any, held: Any) -> bool:
    if isinstance(wanted, Mapping) and set(wanted) == {"$time"}:
        return same(wanted, held) or same_moment(wanted["$time"], held)
    if isinstance(wanted, Mapping) and isinstance(held, Mapping):
        return wanted.keys() == held.keys() and all(_same(key, wanted[key], held[key]) for key in wanted)
    if name == "email" and not is_empty(wanted) and not is_empty(held):
        return str(wanted).lower() == str(held).lower()
    return same(wanted, held) or same_moment(wanted, held)
