"""One audience of the Mailchimp stand-in: its members, and what becomes of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census.sandbox import _mailchimp_wire as wire
from airflow_provider_census.sandbox._mailchimp_wire import Problem

Member = dict[str, Any]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
#: Mailchimp's own examples of addresses it takes for fake.
_FAKE = {"test@test.com"}
_SHOWN_TAGS = 50


def subscriber_hash(email: str) -> str:
    """Return the MD5 of the address in lower case."""
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


@dataclass
class Audience:
    """
    An audience.

    :param members: by subscriber hash, archived ones included.
    :param forgotten: hashes of members who were deleted for good.
    :param barred: hashes of members who unsubscribed themselves, or whose address bounced.
    :param automations: the tags that started one, with the address.
    """

    id: str
    name: str
    double_optin: bool = False
    merge_fields: list[dict[str, Any]] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    barred: set[str] = field(default_factory=set)
    automations: list[tuple[str, str]] = field(default_factory=list)

    # --- for tests -------------------------------------------------------------------------------------------------

    def add_merge_field(self, tag: str, type: str, *, required: bool = False, choices: tuple[str, ...] = ()) -> None:
        """Add a merge field."""
        self.merge_fields.append(
            {
                "merge_id": len(self.merge_fields) + 1,
                "tag": tag,
                "name": tag.title(),
                "type": type,
                "required": required,
                "default_value": "",
                "public": True,
                "options": {"choices": list(choices)} if choices else {},
                "list_id": self.id,
            }
        )

    def add_member(self, email: str, status: str = "subscribed", **fields: Any) -> Member:
        """Put a member there, unchecked."""
        return self._store({"email_address": email, **fields}, status)

    def member(self, email: str) -> Member | None:
        """Return the member with this address."""
        return self.members.get(subscriber_hash(email))

    def opt_out(self, email: str) -> None:
        """Unsubscribe a member, as the person may."""
        self.members[subscriber_hash(email)]["status"] = "unsubscribed"
        self.barred.add(subscriber_hash(email))

    def clean(self, email: str) -> None:
        """Let the address of a member bounce."""
        self.members[subscriber_hash(email)]["status"] = "cleaned"
        self.barred.add(subscriber_hash(email))

    # --- writing ---------------------------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any], *, skip_merge: bool) -> Member:
        """Make a member."""
        email, status = body["email_address"], body["status"]
        # unverified for archived members
        if self.member(email):
            raise Problem(
                400, "Member Exists", f"{email} is already a list member. Use PUT to insert or update list members."
            )
        self._check_new(email)
        self._check_merge_fields(body, {}, skip_merge=skip_merge)
        return self._store(body, "pending" if self.double_optin and status == "subscribed" else status)

    def update(self, member: Member, body: Mapping[str, Any], *, skip_merge: bool) -> Member:
        """Change a member; the tags stay as they are."""
        self._check_merge_fields(body, member["merge_fields"], skip_merge=skip_merge)
        status = body.get("status", member["status"])
        if status == "subscribed" and member["status"] != "subscribed" and member["id"] in self.barred:
            raise Problem(
                400,
                "Member In Compliance State",
                f"{member['email_address']} is in a compliance state due to unsubscribe, bounce, or compliance review "
                "and cannot be subscribed.",
            )
        return self._store({**body, "tags": []}, status)

    def archive(self, hash: str) -> None:
        """Archive a member."""
        member = self.found(hash)
        if member["status"] == "archived":
            raise Problem(405, "Method Not Allowed", "This list member cannot be removed. Please contact support.")
        member["status"] = "archived"

    def forget(self, hash: str) -> None:
        """Delete a member for good."""
        self.found(hash)
        del self.members[hash]
        self.forgotten.add(hash)

    def set_tags(self, hash: str, body: Mapping[str, Any]) -> None:
        """Set tags; what is no list of tags changes nothing (github mailchimp/mailchimp-client-lib-codegen#141)."""
        member = self.found(hash)
        if "tags" not in body:
            raise wire.schema_problem([("tags", "This value should not be blank.")])
        for tag in body["tags"] if isinstance(body["tags"], list) else ():
            if not isinstance(tag, dict) or tag.get("status") not in ("active", "inactive") or not tag.get("name"):
                raise wire.schema_problem([("tags", "Schema describes object")])  # unverified: words
            self._set_tag(member, tag["name"], active=tag["status"] == "active")
            if tag["status"] == "active" and not body.get("is_syncing", False):
                self.automations.append((member["email_address"], tag["name"]))

    def found(self, hash: str) -> Member:
        """Return the member, or refuse as Mailchimp does."""
        if hash not in self.members:
            raise Problem(404, "Resource Not Found", "The requested resource could not be found.")
        return self.members[hash]

    def shown(self, member: Member) -> Member:
        """Return the member as an answer shows it."""
        unset = {known["tag"]: "" for known in self.merge_fields}
        return {
            **member,
            "merge_fields": unset | member["merge_fields"],
            "tags": member["tags"][:_SHOWN_TAGS],
            "tags_count": len(member["tags"]),
            "list_id": self.id,
        }

    def _check_new(self, email: str) -> None:
        if subscriber_hash(email) in self.forgotten:
            raise Problem(
                400,
                "Forgotten Email Not Subscribed",
                f"{email} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get "
                "back on the list.",
            )
        if not _EMAIL.fullmatch(email):
            raise Problem(400, "Invalid Resource", "Please provide a valid email address.")
        if email.lower() in _FAKE:
            detail = f"{email} looks fake or invalid, please enter a real email address."
            raise Problem(400, "Invalid Resource", detail)

    def _check_merge_fields(self, body: Mapping[str, Any], held: Mapping[str, Any], *, skip_merge: bool) -> None:
        given = {**held, **body.get("merge_fields", {})}
        errors = []
        for known in self.merge_fields:
            tag = known["tag"]
            error = wire.merge_error(known, given.get(tag, ""))
            if known["required"] and not skip_merge and given.get(tag, "") == "":
                error = "Please enter a value"
            if error:
                errors.append((tag, error))
        if errors:
            raise Problem(400, "Invalid Resource", "Your merge fields were invalid.", errors)

    def _store(self, body: Mapping[str, Any], status: str) -> Member:
        email = body["email_address"]
        hash = subscriber_hash(email)
        fields = {k: v for k, v in body.items() if k not in ("merge_fields", "status_if_new", "tags")}
        member = self.members.setdefault(hash, {"id": hash, "merge_fields": {}, "tags": [], "vip": False})
        known = {known["tag"] for known in self.merge_fields}
        # Values of unknown tags are dropped without a word.
        merged = {tag: value for tag, value in body.get("merge_fields", {}).items() if tag in known}
        member |= {**fields, "status": status, "last_changed": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
        member["merge_fields"] |= merged
        for tag in body.get("tags", ()):
            self._set_tag(member, tag, active=True)
        return member

    def _set_tag(self, member: Member, name: str, *, active: bool) -> None:
        others = [tag for tag in member["tags"] if tag["name"].lower() != name.lower()]
        id = next(n for n in itertools.count(1) if n not in {tag["id"] for tag in others})
        member["tags"] = [*others, {"id": id, "name": name}] if active else others
