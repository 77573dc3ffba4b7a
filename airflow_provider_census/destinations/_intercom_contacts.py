"""
Contacts of Intercom: look up, then write.

Intercom has no upsert for contacts. Creating a user that is already there is refused with 409 and the id of the
other one in the message; that is what makes the race between look-up and create safe, also against the search index,
which is minutes late. Leads are exempt from it: a lead created twice stands there twice.

Sources: github intercom/Intercom-OpenAPI (descriptions/2.14); docs "Create a contact"; recordings of the live API in
github grouparoo/grouparoo (plugins/@grouparoo/intercom).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from airflow_provider_census.destinations import _intercom_answers as answers
from airflow_provider_census.destinations._asking import Pages
from airflow_provider_census.destinations._intercom_answers import (
    Answer,
    Contact,
    Thing,
    contact_path,
    look,
    read,
    write,
    write_once,
)
from airflow_provider_census.destinations.objects import Identifier
from airflow_provider_census.destinations.refusal import OVERTAKEN, rejected
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.comparison import due
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport.message import Exchange, Request

#: Values in one look-up. A group of filters holds 15 (docs "Search contacts"); IN is called a shortcut for OR there.
MAX_LOOK_UP = 15
_PAGE = 150
# The only place where the id of the other contact stands.
_OTHER = re.compile(r"\bid=(\w+)")
_ABSENT = RowResult(Outcome.SKIPPED, "no such contact")
_NAMED = 5  # ids named in a rejection as ambiguous


def shown(contact: Contact) -> dict[str, Any]:
    """Return the fields of a contact as they are written."""
    return {**contact, "avatar": (contact.get("avatar") or {}).get("image_url")}


@dataclass(frozen=True, slots=True)
class Contacts:
    """
    The exchanges about contacts.

    :param role: ``user`` or ``lead`` if only those are meant.
    :param permanent: delete instead of archiving.
    :param resend: a lead may be created again although the first answer was lost.
    """

    role: str | None
    identifier: Identifier
    permanent: bool
    resend: bool

    @property
    def searches(self) -> bool:
        """Whether one search finds the contacts of a whole batch."""
        return self.identifier.name == "email" or (self.identifier.name == "external_id" and self.role == "lead")

    def makes_lead(self, operation: Operation) -> bool:
        """Return whether the contact is a lead if this operation creates it."""
        return "lead" in (self.role, operation.record.fields.get("role"))

    def send(self, batch: Sequence[Operation], payloads: Sequence[dict[str, Any]]) -> Exchange[Sequence[RowResult]]:
        """Carry out operations of one behavior."""
        found = {operation.record.id: operation.found for operation in batch if operation.found is not None}
        left = [operation.record.id for operation in batch if operation.record.id not in found]
        found |= (yield from self._look_up(left)) if left else {}
        results: list[RowResult] = []
        for operation, payload in zip(batch, payloads, strict=True):
            try:
                result = yield from self._carry_out(operation, payload, found[operation.record.id])
            except Unanswered as error:
                result = RowResult(Outcome.UNCERTAIN, str(error), error.status)
            except Unavailable as error:
                if not results:
                    raise
                # What was accepted so far must not be reported as failed.
                missed = RowResult(Outcome.REJECTED, str(error), error.status, passing=True)
                return [*results, *[missed] * (len(batch) - len(results))]
            results.append(result)
        return results

    # --- look-up ---------------------------------------------------------------------------------------------------

    def _look_up(self, values: Sequence[str]) -> Exchange[dict[str, list[str]]]:
        """Exchange that returns the ids of the contacts for each value."""
        if self.identifier.name == "id" and self.role is None:
            return {value: [value] for value in values}
        if self.searches:
            contacts = yield from self._search(values)
        else:
            contacts = {}
            find = self._by_id if self.identifier.name == "id" else self._by_external_id
            for value in values:
                contacts[value] = yield from find(value)
        return {value: [contact["id"] for contact in found] for value, found in contacts.items()}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[list[Held | str]]:
        """Exchange that returns what is there; as search has it, which is late, where that is all that is compared."""
        contacts: dict[str, list[Contact]] = {}
        if self.identifier.name != "id":
            contacts = yield from self._search([operation.record.id for operation in operations])
        there: list[Held | str] = []
        for operation in operations:
            found = contacts.get(operation.record.id, [])
            if self.identifier.name == "id" or (operation.if_empty and len(found) == 1):
                found = yield from self._by_id(found[0]["id"] if found else operation.record.id)
            elif not found and not self.searches:
                found = yield from self._user(operation.record.id)
            if len(found) > 1:
                there.append(self._ambiguous([contact["id"] for contact in found]))
            else:
                there.append(Held(shown(found[0]), found[0]["id"]) if found else Held(None))
        return there

    def _by_id(self, value: str) -> Exchange[list[Contact]]:
        answer = yield from look(Request(method="GET", path=contact_path(value)), Contact)
        return self._only(answer)

    def _by_external_id(self, value: str) -> Exchange[list[Contact]]:
        found = yield from self._user(value)
        if not found and self.role is None:
            return (yield from self._search([value]))[value]
        return found

    def _user(self, external_id: str) -> Exchange[list[Contact]]:
        # Unlike search, not said to be late; it knows users only.
        path = f"/contacts/find_by_external_id/{quote(external_id, safe='')}"
        return self._only((yield from look(Request(method="GET", path=path), Contact)))

    def _only(self, answer: Answer[Contact]) -> list[Contact]:
        if answer.absent:
            return []
        if not answer.ok:
            raise answer.refused_look_up()
        return [answer.body] if self.role in (None, answer.body.get("role")) else []

    def _search(self, values: Sequence[str]) -> Exchange[dict[str, list[Contact]]]:
        query: dict[str, Any] = {"field": self.identifier.name, "operator": "IN", "value": list(values)}
        if self.role:
            of_role = {"field": "role", "operator": "=", "value": self.role}
            query = {"operator": "AND", "value": [of_role, query]}
        found: dict[str, list[Contact]] = {value: [] for value in values}
        pagination: dict[str, Any] = {"per_page": _PAGE}
        pages = Pages("the search for contacts")
        while True:
            body = {"query": query, "pagination": pagination}
            answer = yield from look(Request(method="POST", path="/contacts/search", json=body), answers.Contacts)
            if not answer.ok:
                raise answer.refused_look_up()
            for contact in answer.body["data"]:
                found.get(self._value(contact), []).append(contact)
            following = (answer.body.get("pages") or {}).get("next")
            if not following:
                return found
            pagination = {"per_page": _PAGE, "starting_after": pages.follow(following["starting_after"])}

    def _value(self, contact: Contact) -> str:
        by = contact.get("email") if self.identifier.name == "email" else contact.get("external_id")
        return self.identifier.normalise((contact["id"] if self.identifier.name == "id" else by) or "")

    def _ambiguous(self, ids: Sequence[str]) -> str:
        named = ", ".join(ids[:_NAMED]) + (" …" if len(ids) > _NAMED else "")
        return f"ambiguous: {len(ids)} contacts have this {self.identifier.name} (ids {named})"

    # --- writing ---------------------------------------------------------------------------------------------------

    def _carry_out(self, operation: Operation, payload: dict[str, Any], found: list[str]) -> Exchange[RowResult]:
        if len(found) > 1:
            return rejected(self._ambiguous(found))
        if found and operation.overtaken(there=True):
            return rejected(OVERTAKEN)
        match operation.behavior:
            case Behavior.DELETE:
                return (yield from self._delete(found[0])) if found else _ABSENT
            case Behavior.UPDATE_ONLY:
                updated = (yield from self._update(found[0], payload)) if found else None
                return updated or _ABSENT
            case Behavior.CREATE_ONLY if found:
                return RowResult(Outcome.SKIPPED, "the contact exists")
        if found:
            updated = yield from self._update(found[0], payload)
            if updated:
                return updated
        # Not there, or gone since the look-up.
        return (yield from self._create(operation, payload))

    def _update(self, contact_id: str, payload: dict[str, Any]) -> Exchange[RowResult | None]:
        """Exchange that updates a contact; None if there is none."""
        answer = yield from write(Request(method="PUT", path=contact_path(contact_id), json=payload), Thing)
        if answer.absent:
            return None
        return RowResult(Outcome.UPDATED) if answer.ok else answer.rejected()

    def _delete(self, contact_id: str) -> Exchange[RowResult]:
        if self.permanent:
            request = Request(method="DELETE", path=contact_path(contact_id))
        else:
            request = Request(method="POST", path=contact_path(contact_id, "/archive"))
        answer, lost = yield from write_once(request)
        if answer.ok or (lost and answer.absent):
            return RowResult(Outcome.DELETED)
        return _ABSENT if answer.absent else answer.rejected()

    def _create(self, operation: Operation, payload: dict[str, Any]) -> Exchange[RowResult]:
        if self.identifier.name == "id":
            return rejected("no such contact, and Intercom chooses the ids of new ones itself")
        if operation.overtaken(there=False):
            return rejected(OVERTAKEN)
        request = Request(method="POST", path="/contacts", json=payload)
        lost = False
        if not self.makes_lead(operation):
            answer, lost = yield from write_once(request)
        elif self.identifier.name == "external_id":
            # Ignored without an error (recorded), so the next run would not find the lead and create another one.
            return rejected("Intercom chooses the external_id of a new lead itself; identify leads by email")
        elif self.resend:
            answer = yield from write(request, Thing)
        else:
            answer = read((yield replace(request, idempotent=False)), Thing)
        if answer.ok:
            return RowResult(Outcome.CREATED)
        if answer.status != 409:
            return answer.rejected()
        return (yield from self._resolve(answer, operation, payload, lost=lost))

    # --- conflicts -------------------------------------------------------------------------------------------------

    def _resolve(
        self, conflict: Answer[Thing], operation: Operation, payload: dict[str, Any], *, lost: bool
    ) -> Exchange[RowResult]:
        """Exchange that finds out who is in the way of a new contact, and writes to it if it is the one meant."""
        other = _OTHER.search(conflict.words)
        if not other:
            return conflict.rejected()
        archived = "archived" in conflict.words
        if archived:
            if operation.behavior is Behavior.CREATE_ONLY:
                return RowResult(Outcome.SKIPPED, f"the contact exists, archived (id {other[1]})")
            refusal = yield from self._unarchive(other[1])
            if refusal:
                return refusal
        holder = yield from look(Request(method="GET", path=contact_path(other[1])), Contact)
        # It may be in the way by another field than the identifier: then it is somebody else, not to be overwritten.
        if not holder.ok or self._value(holder.body) not in ("", operation.record.id):
            if archived:
                yield from look(Request(method="POST", path=contact_path(other[1], "/archive")), Thing)
            return conflict.rejected()
        if operation.behavior is Behavior.CREATE_ONLY:
            return RowResult(Outcome.CREATED) if lost else RowResult(Outcome.SKIPPED, "the contact exists")
        updated = yield from self._update(other[1], due(payload, operation.if_empty, shown(holder.body)))
        if updated is None or updated.outcome is not Outcome.UPDATED:
            return updated or conflict.rejected()
        # The look-up found nothing, then an answer was lost: the conflict is with our own contact.
        return RowResult(Outcome.CREATED) if lost else updated

    def _unarchive(self, contact_id: str) -> Exchange[RowResult | None]:
        """
        Exchange that restores an archived contact; a rejection if that is impossible.

        For contacts deleted for good Intercom answered 400 at one time and 500 at another (both recorded), so a
        repeated 500 is an answer here.
        """
        request = Request(method="POST", path=contact_path(contact_id, "/unarchive"), idempotent=False)
        for last in (False, True):
            try:
                answer = read((yield request), Thing)
            except Unanswered as error:
                if not last:
                    continue
                if error.status != 500:
                    raise Unavailable(str(error), status=error.status) from None
                return rejected(f"archived contact {contact_id} cannot be restored; it may be deleted for good", 500)
            return None if answer.ok else answer.rejected()
        return None
