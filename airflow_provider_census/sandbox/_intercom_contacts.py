"""The contacts of the Intercom stand-in: who is there, who is archived, who collides with whom, and search."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable
from typing import Any

Contact = dict[str, Any]

_INDEXED = ("id", "external_id", "email")
_FIELDS = (*_INDEXED, "role", "name", "phone")
_MAX_FILTERS = 15
_MAX_DEPTH = 2


class BadQuery(ValueError):
    """A search the API refuses; the message is the API's."""


class ContactStore:
    """
    Contacts by Intercom's id.

    :ivar live: what the API shows.
    :ivar archived: invisible, and in the way of new users with the same identifiers.
    :ivar purged: deleted for good, and in the way all the same.
    :ivar search_lag_s: how long a new contact stays out of search.
    """

    def __init__(self) -> None:
        self.live: dict[str, Contact] = {}
        self.archived: dict[str, Contact] = {}
        self.purged: dict[str, Contact] = {}
        self.search_lag_s = 0.0
        self._ids = (f"6762f0dd1bb69f9f{n:08x}" for n in itertools.count(1))
        self._searchable_at: dict[str, float] = {}
        self._index: dict[tuple[str, str], set[str]] = {}

    def add(self, fields: Contact) -> Contact:
        """Create a contact; the caller has looked for conflicts."""
        now = int(time.time())
        contact = _blank(next(self._ids), now) | fields
        if contact["role"] == "lead":
            # "The external_id of a lead cannot be set": Intercom puts its own there and says nothing.
            contact["external_id"] = str(uuid.uuid4())
        self.live[contact["id"]] = contact
        self._searchable_at[contact["id"]] = time.monotonic() + self.search_lag_s
        self._enter(contact)
        return contact

    def change(self, contact: Contact, fields: Contact) -> None:
        """Update a contact; the caller has looked for conflicts."""
        self._leave(contact)
        if fields.get("external_id") is None or (contact["role"], fields.get("role", "lead")) == ("lead", "lead"):
            # It cannot be unset, nor set for a lead; both are ignored without an error.
            fields = {k: v for k, v in fields.items() if k != "external_id"}
        attributes = contact["custom_attributes"] | (fields.get("custom_attributes") or {})
        contact |= fields | {"custom_attributes": attributes, "updated_at": int(time.time())}
        contact["email"] = contact["email"] or ""
        self._enter(contact)

    def archive(self, contact_id: str) -> Contact | None:
        """Hide a contact; None if there is none."""
        contact = self.live.pop(contact_id, None)
        if contact:
            self._leave(contact)
            self.archived[contact_id] = contact
        return contact

    def unarchive(self, contact_id: str) -> Contact | None:
        """Show a contact again; None if there is none."""
        contact = self.archived.pop(contact_id, None)
        if contact:
            self.live[contact_id] = contact
            self._searchable_at[contact_id] = time.monotonic() + self.search_lag_s
            self._enter(contact)
        return contact or self.live.get(contact_id)

    def purge(self, contact_id: str) -> Contact | None:
        """Delete a contact for good; None if there is none."""
        contact = self.archive(contact_id)
        contact = self.archived.pop(contact_id, None)
        if contact:
            self.purged[contact_id] = contact
        return contact

    def user_with(self, external_id: str) -> Contact | None:
        """Return the live user with this external id."""
        return next((c for c in self._find("external_id", external_id) if c["role"] == "user"), None)

    def with_email(self, email: str) -> list[Contact]:
        """Return the live contacts with this address."""
        return list(self._find("email", email.lower()))

    def conflict(self, fields: Contact, own_id: str | None = None) -> str | None:
        """
        Return the message about the user that already has these identifiers, None if there is none.

        Leads are exempt. With an external id, the address does not matter: two users may share one.
        """
        if fields["role"] == "lead":
            return None
        name = "external_id" if fields.get("external_id") else "email"
        value = fields.get(name)
        if not value:
            return None
        for contact in self._find(name, value):
            if contact["role"] == "user" and contact["id"] != own_id:
                return f"A contact matching those details already exists with id={contact['id']}"
        for contact in (*self.archived.values(), *self.purged.values()):
            if contact["role"] == "user" and contact[name] == value and contact["id"] != own_id:
                return f"An archived contact matching those details already exists with id={contact['id']}"
        return None

    def search(self, query: Any) -> list[Contact]:
        """Return the contacts that match ``query``, oldest first."""
        now = time.monotonic()
        _check(query)
        ids = self._candidates(query)
        candidates = self.live.values() if ids is None else [self.live[i] for i in sorted(ids)]
        return [c for c in candidates if self._searchable_at[c["id"]] <= now and _matches(c, query)]

    def _find(self, field: str, value: str) -> Iterable[Contact]:
        return [self.live[i] for i in sorted(self._index.get((field, value), ()))]

    def _enter(self, contact: Contact) -> None:
        for field in _INDEXED:
            self._index.setdefault((field, contact[field]), set()).add(contact["id"])

    def _leave(self, contact: Contact) -> None:
        for field in _INDEXED:
            self._index[field, contact[field]].discard(contact["id"])

    def _candidates(self, query: Any) -> set[str] | None:
        """Return ids among which all matches are, None for all contacts: searches must not scan a large store."""
        if query["operator"] in ("AND", "OR"):
            parts = [self._candidates(part) for part in query["value"]]
            known = [part for part in parts if part is not None]
            if query["operator"] == "AND":
                return min(known, key=len, default=None)
            return set().union(*known) if len(known) == len(parts) else None
        if query["field"] in _INDEXED and query["operator"] in ("=", "IN"):
            values = query["value"] if query["operator"] == "IN" else [query["value"]]
            return set().union(*(self._index.get((query["field"], v), set()) for v in values))
        return None


def _blank(contact_id: str, now: int) -> Contact:
    """Return a contact as the API shows it, with nothing set."""
    related = {"type": "list", "data": [], "total_count": 0, "has_more": False}
    return {
        "type": "contact",
        "id": contact_id,
        "workspace_id": "sandbox",
        "external_id": None,
        "role": "user",
        "email": "",
        "phone": None,
        "name": None,
        "avatar": None,
        "owner_id": None,
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": False,
        "created_at": now,
        "updated_at": now,
        "signed_up_at": None,
        "last_seen_at": None,
        "custom_attributes": {},
        "tags": related | {"url": f"/contacts/{contact_id}/tags"},
        "companies": related | {"url": f"/contacts/{contact_id}/companies"},
    }


def _check(query: Any, depth: int = 0) -> None:
    if not isinstance(query, dict) or "operator" not in query or "value" not in query:
        raise BadQuery("The query is malformed: it needs operator and value")
    operator, value = query["operator"], query["value"]
    if operator in ("AND", "OR"):
        if depth >= _MAX_DEPTH:
            raise BadQuery(f"Queries may be nested {_MAX_DEPTH} levels deep")
        if not isinstance(value, list) or not 0 < len(value) <= _MAX_FILTERS:
            raise BadQuery(f"A group may hold 1 to {_MAX_FILTERS} filters")
        for part in value:
            _check(part, depth + 1)
    elif query.get("field") not in _FIELDS:
        raise BadQuery(f"Field {query.get('field')!r} is not searchable in the sandbox")
    elif operator == "IN":
        # Intercom's pages give no number for IN, which they call a shortcut for OR; 15 is a third party's finding.
        if not isinstance(value, list) or not 0 < len(value) <= _MAX_FILTERS:
            raise BadQuery(f"IN takes an array of 1 to {_MAX_FILTERS} values")
    elif operator not in ("=", "!="):
        raise BadQuery(f"Operator {operator!r} is not supported for this field")


def _matches(contact: Contact, query: Any) -> bool:
    operator, value = query["operator"], query["value"]
    match operator:
        case "AND":
            return all(_matches(contact, part) for part in value)
        case "OR":
            return any(_matches(contact, part) for part in value)
        case "IN":
            return contact[query["field"]] in value
        case "!=":
            return bool(contact[query["field"]] != value)
    return bool(contact[query["field"]] == value)
