"""
The fields of a member: what Mailchimp takes, and in which form.

Types of merge fields: Mailchimp docs "Merge fields"; that null and booleans are refused in all of them, and "" clears
each, was observed by others (github VingtCinq/python-mailchimp#146, grouparoo/grouparoo).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.sync.comparison import is_empty, same
from airflow_provider_census.sync.conversion import key_text

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
ADDRESS = ("addr1", "addr2", "city", "state", "zip", "country")
_NEEDED = ("addr1", "city", "state", "zip")
_SLASHED_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_NO_LISTS = "is a list or an object; only an address is one"


@dataclass(frozen=True, slots=True)
class MergeField:
    """
    A merge field of the audience.

    :param choices: the values a radio or dropdown field takes.
    """

    tag: str
    type: str
    required: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> MergeField:
        """Return a field as the API describes it."""
        choices = (body.get("options") or {}).get("choices") or ()
        return cls(body["tag"], body["type"], bool(body.get("required")), tuple(choices))

    def value(self, value: Any) -> Any:
        """
        Return ``value`` as the field takes it; None clears it.

        :raises ValueError: it cannot be one of this type.
        """
        if value is None or value == "":
            return ""
        if self.type == "address":
            return _address(value)
        if isinstance(value, (dict, list)):
            raise ValueError(_NO_LISTS)
        if isinstance(value, bool):
            if self.type == "text":
                return str(value).lower()
            raise ValueError("is a boolean, which Mailchimp takes in no merge field; cast it in the model")
        match self.type:
            case "number":
                return _number(value)
            case "date":
                return _date(_text(value))
            case "birthday":
                return _birthday(_text(value))
        text = _text(value)
        if self.choices and text not in self.choices:
            raise ValueError(f"is none of the choices of the field: {', '.join(self.choices)}")
        return text

    def shows(self, held: Any, wanted: Any) -> bool:
        """Return whether ``held`` is what a member shows to whom ``wanted`` was given; False where that is not sure."""
        try:
            value = self.value(wanted)
        except ValueError:
            return False
        if is_empty(value) or is_empty(held) or isinstance(value, dict):
            return same(value, held)
        if self.type == "number":
            return _NUMBER.fullmatch(str(held)) is not None and float(value) == float(held)
        return str(value) == str(held)


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
        moment = fields.get(name)
        if moment is not None and (not isinstance(moment, str) or _moment(moment) is None):
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


def _address(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"is an address and takes {', '.join(ADDRESS)}")
    unknown = value.keys() - set(ADDRESS)
    if unknown:
        raise ValueError(f"has a part no address has; it takes {', '.join(ADDRESS)}")
    parts = {name: _text(part).strip() for name, part in value.items() if part is not None}
    if not any(parts.values()):
        return ""
    missing = [name for name in _NEEDED if not parts.get(name)]
    if missing:
        raise ValueError(f"is not a complete address: {', '.join(missing)} missing")
    return parts


def _text(value: Any) -> str:
    if isinstance(value, (dict, list, bool)):
        raise ValueError("has a part that is not text")
    return key_text(value)


def _number(value: Any) -> Any:
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise ValueError("is not a number")
    return value


def _date(text: str) -> str:
    if _SLASHED_DATE.fullmatch(text):
        return text  # in the order the field has in the audience, which only the API knows
    moment = _moment(text)
    if moment is None:
        raise ValueError("is not a date (YYYY-MM-DD)")
    return moment.date().isoformat()


def _birthday(text: str) -> str:
    try:
        # A leap year: the 29th of February is a birthday.
        moment = dt.datetime.strptime(f"2000/{text}", "%Y/%m/%d") if "/" in text else _moment(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("is not a birthday (MM/DD, or a date)")
    return f"{moment:%m/%d}"


def _moment(text: str) -> dt.datetime | None:
    """Return a date or time in ISO 8601, in UTC where it has a zone."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment
