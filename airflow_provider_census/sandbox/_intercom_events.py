"""The events of the Intercom stand-in: whose they are, and which one is a repetition."""

from __future__ import annotations

import itertools
from typing import Any

from airflow_provider_census.sandbox import _intercom_wire as wire
from airflow_provider_census.sandbox._intercom_contacts import Contact, ContactStore
from airflow_provider_census.sandbox._intercom_wire import Refusal

_MAX_METADATA = 10


class EventStore:
    """
    Events in the order they came, as they are kept.

    :param contacts: whom they are about.
    """

    def __init__(self, contacts: ContactStore) -> None:
        self.kept: list[dict[str, Any]] = []
        self._contacts = contacts
        self._keys: set[tuple[str, str, int]] = set()

    def accept(self, body: dict[str, Any]) -> None:
        """Keep an event, unless there is one of that contact, name and second."""
        wire.check_types(body, wire.EVENT)
        for name in ("event_name", "created_at"):
            if body.get(name) is None:
                raise Refusal(400, "parameter_missing", f"{name} is missing")  # unverified: words
        contact = self._contact(body)
        key = (contact["id"], body["event_name"], body["created_at"])
        if key not in self._keys:
            self._keys.add(key)
            metadata = dict(itertools.islice((body.get("metadata") or {}).items(), _MAX_METADATA))
            self.kept.append(body | {"metadata": metadata})

    def _contact(self, body: dict[str, Any]) -> Contact:
        if body.get("id"):
            return wire.found(self._contacts.live.get(body["id"]))
        if body.get("user_id"):
            return wire.found(self._contacts.user_with(body["user_id"]))
        if not body.get("email"):
            raise Refusal(400, "parameter_missing", "user_id, email or id is missing")  # unverified: words
        users = [c for c in self._contacts.with_email(body["email"]) if c["role"] == "user"]
        if len(users) > 1:
            raise Refusal(
                409,
                "conflict",
                "Multiple existing users match this email address - must be more specific using user_id",
            )
        return wire.found(users[0] if users else None)
