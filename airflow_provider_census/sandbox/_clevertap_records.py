"""
What CleverTap's stand-in refuses in a record, and how it writes one.

The texts of 515 to 520 and 525 are recorded ones, those of other codes are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

WHO = ("identity", "objectId", "FBID", "GPID")

Problem = tuple[int, str]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_DATE = re.compile(r"\$D_-?\d+")
_FORBIDDEN = re.compile(r"[&$\"\\%><!|.:;']")
_SYSTEM = {"notificationsent", "notificationviewed", "notificationclicked", "applaunched", "utmvisited", "stayed"}
_PROPERTIES = 256


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: value in values


def _is_age(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).isdigit()


_STANDARD: Mapping[str, tuple[int, str, Callable[[Any], bool]]] = {
    "Gender": (514, "Gender needs to be M/F.", _one_of("M", "F")),
    "Email": (515, "Email is not valid.", lambda value: bool(_EMAIL.fullmatch(str(value)))),
    "Phone": (516, "Phone number is not valid.", lambda value: bool(_PHONE.fullmatch(str(value)))),
    "Employed": (517, "Employed needs to be Y/N.", _one_of("Y", "N")),
    "Education": (
        518,
        "Education needs to be School/College/Graduate..",
        _one_of("School", "College", "Graduate"),
    ),
    "Married": (519, "Married needs to be Y/N.", _one_of("Y", "N")),
    "Age": (520, "Age is invalid.", _is_age),
}


def profile_problem(record: Mapping[str, Any]) -> Problem | None:
    """Return the code and the words with which a profile is refused as a whole, None if it is not."""
    problem = _record_problem(record)
    if problem:
        return problem
    data = record.get("profileData", {})
    if not isinstance(data, dict):
        return 512, "Profile data is incorrect. "
    for name, (code, text, fits) in _STANDARD.items():
        if name in data and not isinstance(data[name], dict) and not fits(data[name]):
            return code, f"Profile data is incorrect. {text}"
    # What CleverTap does with these is unverified.
    if any(not _fits_profile(name, value) for name, value in data.items()):
        return 512, "Profile data is incorrect. "
    return None


def event_problem(record: Mapping[str, Any], discarded: set[str]) -> Problem | None:
    """Return the code and the words with which an event is refused, None if it is not."""
    problem = _record_problem(record)
    if problem:
        return problem
    name = record.get("evtName")
    if not isinstance(name, str) or not name.strip():
        return 509, "Event name is mandatory. "
    folded = _folded(name)
    if folded in _SYSTEM:
        return 513, "Restricted system event. "
    if folded in map(_folded, discarded):
        return 528, "Event is discarded. "
    data = record.get("evtData", {})
    if not isinstance(data, dict) or _FORBIDDEN.search(name):
        return 512, "Event structure is incorrect. "
    if len(data) > _PROPERTIES:
        return 522, "Too many event properties. "
    if any(not _fits_event(folded, key, value) for key, value in data.items()):
        return 512, "Event structure is incorrect. "
    return None


def write(data: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Merge ``changes`` into the properties of a profile."""
    for name, value in changes.items():
        operator, operand = next(iter(value.items())) if _is_operation(value) else ("$set", value)
        there = data.get(name)
        match operator:
            case "$set":
                data[name] = operand
            case "$add":
                data[name] = list(dict.fromkeys([*_list(there), *operand]))
            case "$remove":
                data[name] = [item for item in _list(there) if item not in operand]
            case "$incr":
                data[name] = (there or 0) + operand
            case "$decr":
                data[name] = (there or 0) - operand
        if operator == "$delete" or data[name] == []:
            data.pop(name, None)


def echo(record: Any) -> Any:
    """Return a record as an answer repeats it: what looks like a phone number has become a number."""
    if isinstance(record, dict):
        return {name: echo(value) for name, value in record.items()}
    return int(record) if isinstance(record, str) and _PHONE.fullmatch(record) else record


def _record_problem(record: Mapping[str, Any]) -> Problem | None:
    named = [record[name] for name in WHO if name in record]
    if len(named) != 1 or not isinstance(named[0], str) or not named[0]:
        return 523, "Identity is missing. "
    ts = record.get("ts", 1)
    if type(ts) is not int or ts <= 0:
        return 525, "Timestamp should be present in the Unix Epoch format. "
    return None


def _fits_profile(name: str, value: Any) -> bool:
    if _is_operation(value):
        ((operator, value),) = value.items()
        if operator in ("$incr", "$decr"):
            return isinstance(value, int | float) and value > 0
    if name == "category-unsubscribe":
        return isinstance(value, dict)
    if name == "DOB":
        return bool(_DATE.fullmatch(str(value)))
    values = value if isinstance(value, list) else [value]
    return _fits_name(name) and "#" not in name and all(_is_scalar(v) for v in values)


def _fits_event(event: str, name: str, value: Any) -> bool:
    if event == "charged" and name == "Items":
        items = value if isinstance(value, list) else [None]
        return len(items) <= 256 and all(isinstance(i, dict) and all(map(_is_scalar, i.values())) for i in items)
    return _fits_name(name) and _is_scalar(value)


def _fits_name(name: str) -> bool:
    return 0 < len(name.encode()) <= 120 and not _FORBIDDEN.search(name)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value.encode()) <= 512)


def _is_operation(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$")


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _folded(name: str) -> str:
    return "".join(name.split()).lower()
