"""
The user profiles of the Braze stand-in: who an object means, what is wrong with it, and what it does to the profile.

Texts of errors are those measured by github.com/leemour/braze-cli and quoted in the tests of
github.com/rudderlabs/rudder-transformer; the ones marked "unverified" are ours.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

Profile = dict[str, Any]

_PRIMARY = ("external_id", "user_alias", "braze_id")
_INDEXED = ("external_id", "braze_id")
_CONTROL = {*_PRIMARY, "_update_existing_only", "_merge_objects"}
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_STATES = {"subscribed", "unsubscribed", "opted_in"}
_RESERVED = {
    "events": {"time", "event_name"},
    "purchases": {"time", "event_name", "product_id", "quantity", "price", "currency"},
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "attributes": (),
    "events": ("name", "time"),
    "purchases": ("product_id", "currency", "time"),
}


class Users:
    """All profiles; ``updated`` of each is a sequence number."""

    def __init__(self) -> None:
        self.profiles = []
        self.blocked_ids = {"guest", "null"}
        self._sequence = itertools.count(1)

    @property
    def profiles(self) -> list[Profile]:
        """Identifiers, ``attributes`` and ``updated`` of every user."""
        return self._profiles

    @profiles.setter
    def profiles(self, profiles: list[Profile]) -> None:
        self._profiles = profiles
        # A look-up for each object must not walk through all users.
        self._by_id = {(name, profile[name]): profile for profile in profiles for name in _INDEXED}

    def find(self, who: Mapping[str, Any]) -> Profile | None:
        """Return the profile that Braze picks for the identifiers of ``who``."""
        for name in _PRIMARY:
            if name in who:
                if name in _INDEXED:
                    return self._by_id.get((name, str(who[name])))
                return next((p for p in self.profiles if who[name] in p["user_aliases"]), None)
        for name in ("email", "phone"):
            if name in who:
                found = self.having(name, who[name])
                return max(found, key=lambda p: (p["external_id"] is not None, p["updated"]), default=None)
        return None

    def having(self, contact: str, value: Any) -> list[Profile]:
        """Return the profiles with this e-mail or phone."""
        return [p for p in self.profiles if p["attributes"].get(contact) == value]

    def touch(self, thing: Mapping[str, Any]) -> Profile | None:
        """Return the profile of an object, created if need be; None where it may not be."""
        profile = self.find(thing)
        if profile is None:
            if thing.get("_update_existing_only", "user_alias" in thing) or "braze_id" in thing:
                return None
            profile = {"braze_id": uuid.uuid4().hex, "external_id": thing.get("external_id"), "user_aliases": []}
            profile["attributes"] = {}
            if "user_alias" in thing:
                profile["user_aliases"].append(dict(thing["user_alias"]))
            self.profiles.append(profile)
            self._by_id.update({(name, profile[name]): profile for name in _INDEXED})
        profile["updated"] = next(self._sequence)
        return profile

    def write(self, thing: Mapping[str, Any]) -> None:
        """Apply an attributes object."""
        profile = self.touch(thing)
        if profile is None:
            return
        attributes = profile["attributes"]
        for name, value in thing.items():
            if name in _CONTROL:
                continue
            if value is None:
                attributes.pop(name, None)
            elif not _holds_null(value):
                attributes[name] = _changed(attributes.get(name), value, merge=thing.get("_merge_objects") is True)

    def prioritised(self, contact: str, entry: Mapping[str, Any]) -> list[Profile]:
        """Return the one profile that a deletion by e-mail or phone means; none while several remain."""
        found = self.having(contact, entry[contact])
        for step in entry["prioritization"]:
            if step in ("identified", "unidentified"):
                kept = [p for p in found if (p["external_id"] is not None) == (step == "identified")]
            else:
                pick = max if step == "most_recently_updated" else min
                kept = [pick(found, key=lambda p: p["updated"])] if found else []
            found = kept or found
        return found if len(found) == 1 else []

    def problem(self, array: str, thing: Any) -> str | None:
        """Return why Braze refuses an object of ``array``."""
        if not isinstance(thing, dict):
            return "is not an object"  # unverified
        return next(itertools.chain(self._identity(thing), _shape(array, thing)), None)

    def _identity(self, thing: Mapping[str, Any]) -> Iterator[str]:
        if sum(name in thing for name in _PRIMARY) > 1:
            yield "You must specify only one of 'external_id', 'user_alias' or 'braze_id'"
        if not any(name in thing for name in (*_PRIMARY, "email", "phone")):
            yield "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
        for name in ("external_id", "braze_id"):
            if name in thing and (not isinstance(thing[name], str) or not thing[name]):
                yield f"'{name}' is not valid"  # unverified
        external_id = thing.get("external_id")
        if isinstance(external_id, str) and len(external_id.encode()) > 987:
            yield "provided external_id is too large"  # unverified
        if external_id in self.blocked_ids:
            yield "provided external_id is blacklisted and disallowed"
        if "user_alias" in thing and not _is_alias(thing["user_alias"]):
            yield "'user_alias' is not valid"  # unverified


def _shape(array: str, thing: Mapping[str, Any]) -> Iterator[str]:
    if thing.get("email") is not None and not _EMAIL.fullmatch(str(thing["email"])):
        yield "The value provided for the 'email' field is not a valid email."
    for name in _REQUIRED[array]:
        if not isinstance(thing.get(name), str) or not thing[name]:
            yield f"'{name}' is required"  # unverified
    if array == "attributes":
        for name in ("email_subscribe", "push_subscribe"):
            if thing.get(name) is not None and thing[name] not in _STATES:
                yield f"'{name}' must be 'subscribed', 'unsubscribed', or 'opted_in'"
    else:
        yield from _bad_properties(array, thing.get("properties", {}))
    if array == "purchases":
        yield from _bad_price(thing.get("price"), thing.get("quantity", 1))


def _bad_price(price: Any, quantity: Any) -> Iterator[str]:
    if type(price) not in (int, float):
        yield "'price' is not valid"
    if type(quantity) is not int or not 1 <= quantity <= 100:
        yield "'quantity' is not valid"


def _bad_properties(array: str, properties: Any) -> Iterator[str]:
    if not isinstance(properties, dict):
        yield "'properties' is not valid"  # unverified
        return
    for name in properties:
        if not 0 < len(name) <= 255 or name.startswith("$") or name in _RESERVED[array]:
            yield f"'{name}' is not a valid property name"  # unverified


def _is_alias(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"alias_name", "alias_label"}
        and all(isinstance(part, str) and part for part in value.values())
    )


def _holds_null(value: Any) -> bool:
    """Return whether Braze drops the value without a word."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(part is None or _holds_null(part) for part in parts)


def _changed(old: Any, new: Any, *, merge: bool) -> Any:
    if not isinstance(new, dict):
        return new
    if set(new) == {"inc"}:
        return (old or 0) + new["inc"]
    if new.keys() and new.keys() <= {"add", "remove", "$add"}:
        added = new.get("$add", []) + [item for item in new.get("add", []) if item not in (old or [])]
        return [item for item in [*(old or []), *added] if item not in new.get("remove", [])]
    if merge and isinstance(old, dict):
        return {**old, **{name: _changed(old.get(name), value, merge=True) for name, value in new.items()}}
    return new
