"""
The merge fields of an audience: which there are, and in which form each takes a value.

Types of merge fields: Mailchimp docs "Merge fields"; that null and booleans are refused in all of them, and "" clears
each, was observed by others (github VingtCinq/python-mailchimp#146, grouparoo/grouparoo).
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.destinations import _mailchimp_answers as answers
from airflow_provider_census.destinations._mailchimp_answers import look
from airflow_provider_census.destinations._mailchimp_fields import iso_time
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.comparison import is_empty, same
from airflow_provider_census.sync.conversion import key_text
from airflow_provider_census.transport.message import Exchange, Request

PREFIX = "merge_fields."
"""What stands before the tag in a mapping."""

_ADDRESS = ("addr1", "addr2", "city", "state", "zip", "country")
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
    def read(cls, body: answers.MergeField) -> MergeField:
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
            return _NUMBER.fullmatch(str(held)) is not None and float(value) == float(str(held))
        return str(value) == str(held)


class MergeFields:
    """
    The merge fields of an audience, by their tags. There are none before :meth:`prepare`.

    :param creates: whether the sync makes members, which need a value for each required field.
    """

    def __init__(self, audience_id: str, *, creates: bool) -> None:
        self._audience_id = audience_id
        self._creates = creates
        self._fields: dict[str, MergeField] = {}

    def prepare(self, mapped: Iterable[str]) -> Exchange[None]:
        """
        Exchange that reads what merge fields there are.

        :param mapped: the paths behind :data:`PREFIX` that the mapping fills.
        :raises ConfigError: there is no such audience, it lacks one of them (Mailchimp drops the values of such), or
            requires another.
        """
        request = Request(
            method="GET",
            path=f"/lists/{self._audience_id}/merge-fields",
            query={"count": "1000"},  # ten without it; an audience has 80 at the most
        )
        answer = yield from look(request, answers.MergeFields)
        if not answer.ok:
            raise ConfigError(f"audience {self._audience_id!r} cannot be read: {answer.words}")
        self._fields = {body["tag"]: MergeField.read(body) for body in answer.body["merge_fields"]}
        tags = set()
        for path in mapped:
            tag, *parts = path.split(".")
            self._check(tag, parts)
            tags.add(tag)
        missing = [field.tag for field in self._fields.values() if field.required and field.tag not in tags]
        if missing and self._creates:
            raise ConfigError(
                f"the audience requires merge fields that the mapping does not fill: {listed(missing)}; map them, or "
                "set options={'skip_merge_validation': True}"
            )

    def _check(self, tag: str, parts: Sequence[str]) -> None:
        if tag not in self._fields:
            near = difflib.get_close_matches(tag.upper(), self._fields, cutoff=0.5)
            hint = f"similar: {listed(near)}" if near else f"it has: {listed(self._fields)}"
            raise ConfigError(f"{PREFIX + tag!r} is no merge field of the audience; {hint}")
        kind = self._fields[tag].type
        if parts and (kind != "address" or len(parts) > 1 or parts[0] not in _ADDRESS):
            takes = f"and has {', '.join(_ADDRESS)}" if kind == "address" else "and has no parts"
            raise ConfigError(f"{PREFIX + tag!r} is of the type {kind} {takes}, not {'.'.join(parts)!r}")

    def problem(self, given: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the first value that is."""
        for tag, value in given.items():
            try:
                self._fields[tag].value(value)
            except ValueError as error:
                return f"{PREFIX}{tag} {error}"
        return None

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return values without a :meth:`problem` as the fields take them."""
        return {tag: self._fields[tag].value(value) for tag, value in given.items()}

    def show(self, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        """Return whether ``held`` is what a member shows to whom ``wanted`` was given; False where not sure."""
        return all(self._fields[tag].shows(held.get(tag), value) for tag, value in wanted.items())


def listed(names: Iterable[str]) -> str:
    """Return names for a message."""
    return ", ".join(map(repr, names)) or "none"


def _address(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"is an address and takes {', '.join(_ADDRESS)}")
    unknown = value.keys() - set(_ADDRESS)
    if unknown:
        raise ValueError(f"has a part no address has; it takes {', '.join(_ADDRESS)}")
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
    moment = iso_time(text)
    if moment is None:
        raise ValueError("is not a date (YYYY-MM-DD)")
    return moment.date().isoformat()


def _birthday(text: str) -> str:
    try:
        # A leap year: the 29th of February is a birthday.
        moment = dt.datetime.strptime(f"2000/{text}", "%Y/%m/%d") if "/" in text else iso_time(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("is not a birthday (MM/DD, or a date)")
    return f"{moment:%m/%d}"
