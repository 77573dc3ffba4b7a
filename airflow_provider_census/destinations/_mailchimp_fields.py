"""The fields of a member other than merge fields: what Mailchimp takes, and in which form."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")


def problems(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the fields of a member other than merge fields and tags. None is not sent."""
    for name in ("status", "status_if_new"):
        if fields.get(name) not in (None, *STATUSES):
            yield f"{name} is none of {', '.join(STATUSES)} (behavior delete archives)"
    if fields.get("email_type") not in (None, "html", "text"):
        yield "email_type is neither 'html' nor 'text'"
    flags = {"vip": fields.get("vip")}
    flags |= {f"interests.{id}": value for id, value in fields.get("interests", {}).items()}
    for name, flag in flags.items():
        if flag is not None and not isinstance(flag, bool):
            yield f"{name} is neither true nor false"
    for name, degrees in fields.get("location", {}).items():
        if degrees is not None and (isinstance(degrees, bool) or not isinstance(degrees, (int, float))):
            yield f"location.{name} is not a number"
    for name in ("timestamp_signup", "timestamp_opt"):
        given = fields.get(name)
        if given is not None and (not isinstance(given, str) or iso_time(given) is None):
            yield f"{name} is not a time in ISO 8601"


def tags(value: Any) -> list[dict[str, str]]:
    """
    Return the tags to set, ``{"name": …, "status": "active" | "inactive"}``.

    :param value: None, or a list of names (active) or of such objects.
    :raises ValueError: it is something else, or names a tag twice.
    """
    found: dict[str, dict[str, str]] = {}
    for item in _listed(value):
        tag = {"name": item, "status": "active"} if isinstance(item, str) else item
        if not isinstance(tag, dict) or tag.keys() != {"name", "status"} or tag["status"] not in ("active", "inactive"):
            raise ValueError("tags takes names, or objects with a name and a status that is active or inactive")
        name = tag["name"].strip() if isinstance(tag["name"], str) else ""
        if not name:
            raise ValueError("tags has a name that is empty or no text")
        # Mailchimp keeps tags regardless of case (github grouparoo/grouparoo).
        if found.setdefault(name.lower(), {**tag, "name": name})["status"] != tag["status"]:
            raise ValueError("tags has one name both active and inactive")
    return list(found.values())


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("tags is not a list")
    return value


def iso_time(text: str) -> dt.datetime | None:
    """Return a date or time in ISO 8601, in UTC where it has a zone."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(dt.UTC) if found.tzinfo else found
