"""
The exchanges about members of an audience.

Consent is the person's: what a sync does not map it does not touch. ``status_if_new`` acts on new members only. A
``status`` acts on all, and would bring archived members back; so whoever maps it without the option ``unarchive`` has
each member looked up first. An archived member that is written to without a status stays archived, as Mailchimp says
in its answer (github mailchimp/mc-woocommerce#951).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.destinations import _mailchimp_answers as answers
from airflow_provider_census.destinations._mailchimp_answers import Answer, Member, ask, ask_once, explain, look
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, RowResult
from airflow_provider_census.transport.message import Exchange, Request

_ABSENT = RowResult(Outcome.SKIPPED, "no such member")
_EXISTS = RowResult(Outcome.SKIPPED, "the member exists")
_ARCHIVED = RowResult(Outcome.SKIPPED, "archived, and stays so; a status and options={'unarchive': True} bring it back")
_ALREADY_ARCHIVED = RowResult(Outcome.SKIPPED, "already archived")

Payload = Mapping[str, Any]
Tags = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Members:
    """
    One audience.

    :param unarchive: archived members come back with the status the mapping gives them.
    :param permanent: delete for good instead of archiving.
    :param skip_merge_validation: Mailchimp takes members without a value for required merge fields.
    :param is_syncing: tags that are set start no automations.
    """

    audience_id: str
    unarchive: bool
    permanent: bool
    skip_merge_validation: bool
    is_syncing: bool

    def path(self, email: str, action: str = "") -> str:
        """Return the path of a member: the MD5 of the address in lower case."""
        hash = hashlib.md5(email.encode(), usedforsecurity=False).hexdigest()
        return f"/lists/{self.audience_id}/members/{hash}{action}"

    # --- many ------------------------------------------------------------------------------------------------------

    def write_batch(
        self, emails: Sequence[str], payloads: Sequence[Payload], *, update_existing: bool
    ) -> Exchange[list[RowResult | None]]:
        """Exchange that writes many members in one request; existing ones only on ``update_existing``."""
        request = self._write(
            "POST",
            f"/lists/{self.audience_id}",
            {"members": list(payloads), "update_existing": update_existing},
        )
        answer, lost = yield from ask_once(request, answers.Batch)
        if not answer.ok:
            if answer.status not in (400, 413):
                return [answer.rejected()] * len(emails)
            raise Refused(answer.words, status=answer.status)
        found = _accounted(answer, lost=lost)
        asked = [payload["status"] for payload in payloads]
        return [_settled(found.get(email), status) for email, status in zip(emails, asked, strict=True)]

    # --- one -------------------------------------------------------------------------------------------------------

    def upsert(self, email: str, payload: Payload, tags: Tags, held: Held | None) -> Exchange[RowResult]:
        """Exchange that updates a member, or makes one; ``held`` is what was found before."""
        status, outcome = payload.get("status"), Outcome.UPSERTED
        if status and not self.unarchive:
            known = yield from self._status(email, held)
            if known == "archived":
                return _ARCHIVED
            outcome = Outcome.UPDATED if known else Outcome.CREATED
        answer = yield from ask(self._write("PUT", self.path(email), payload), answers.Written)
        if answer.ok and not status and answer.body.get("status") == "archived":
            if not self.unarchive:
                return _ARCHIVED
            status, outcome = payload["status_if_new"], Outcome.UPDATED
            # Not PATCH: that takes all statuses but transactional.
            answer = yield from ask(
                self._write("PUT", self.path(email), {**payload, "status": status}), answers.Written
            )
        return (yield from self._finish(email, answer, tags, RowResult(outcome), status))

    def update(self, email: str, payload: Payload, tags: Tags, held: Held | None) -> Exchange[RowResult]:
        """Exchange that updates a member if there is one; ``held`` is what was found before."""
        status = payload.get("status")
        if status and not self.unarchive:
            known = yield from self._status(email, held)
            if known in (None, "archived"):
                return _ARCHIVED if known else _ABSENT
        answer = yield from ask(self._write("PATCH", self.path(email), payload), answers.Written)
        if answer.absent:
            return _ABSENT
        if answer.ok and answer.body.get("status") == "archived":
            return _ARCHIVED
        return (yield from self._finish(email, answer, tags, RowResult(Outcome.UPDATED), status))

    def create(self, payload: Payload) -> Exchange[RowResult]:
        """Exchange that makes a member if there is none."""
        request = self._write("POST", f"/lists/{self.audience_id}/members", payload)
        answer, lost = yield from ask_once(request, answers.Written)
        if answer.ok or (lost and answer.title == "Member Exists"):
            return RowResult(Outcome.CREATED)
        return _EXISTS if answer.title == "Member Exists" else answer.rejected()

    def delete(self, email: str) -> Exchange[RowResult]:
        """Exchange that archives a member, or deletes it for good."""
        if self.permanent:
            request = Request(method="POST", path=self.path(email, "/actions/delete-permanent"))
        else:
            request = Request(method="DELETE", path=self.path(email))
        answer, lost = yield from ask_once(request, answers.Empty)
        # 405 is what archiving an archived member is answered (github grouparoo/grouparoo).
        archived = answer.status == 405 and bool(answer.title)
        if answer.ok or (lost and (answer.absent or archived)):
            return RowResult(Outcome.DELETED)
        if answer.absent:
            return _ABSENT
        return _ALREADY_ARCHIVED if archived else answer.rejected()

    # --- steps -----------------------------------------------------------------------------------------------------

    def _status(self, email: str, held: Held | None) -> Exchange[str | None]:
        """Exchange that returns the status of a member, None if there is none."""
        held = held or (yield from self.fetch(email, ("status",)))
        return None if held.fields is None else str(held.fields["status"])

    def fetch(self, email: str, fields: Sequence[str]) -> Exchange[Held]:
        """Exchange that returns what is there; ``status`` must be one of ``fields``."""
        request = Request(method="GET", path=self.path(email), query={"fields": ",".join(fields)})
        answer = yield from look(request, Member)
        if answer.absent:
            return Held(None)
        if not answer.ok:
            raise Unavailable(f"the look-up was refused: {answer.words}", status=answer.status)
        return Held(answer.body)

    def _finish(
        self, email: str, answer: Answer[answers.Written], tags: Tags, result: RowResult, status: str | None
    ) -> Exchange[RowResult]:
        """Exchange that judges the answer to a write and sets the tags, which Mailchimp ignores in updates."""
        if not answer.ok:
            return answer.rejected()
        kept = _kept(answer.body["status"], status)
        if kept:
            return kept
        missing = missing_tags(tags, answer.body)
        if missing:
            body = {"tags": missing, "is_syncing": self.is_syncing}
            tagged = yield from ask(Request(method="POST", path=self.path(email, "/tags"), json=body), answers.Empty)
            if not tagged.ok:
                return rejected(f"the member was written, the tags were refused: {tagged.words}", tagged.status)
        return result

    def _write(self, method: str, path: str, payload: Payload) -> Request:
        query = {"skip_merge_validation": "true"} if self.skip_merge_validation else None
        return Request(method=method, path=path, json=payload, query=query)


def _accounted(answer: Answer[answers.Batch], *, lost: bool) -> dict[str, tuple[RowResult, str]]:
    """
    Return what the answer to a batch says, and the status of each member.

    By address in lower case: it has nothing else to tell members apart.
    """
    body = answer.body
    found: dict[str, tuple[RowResult, str]] = {}
    for listed, total, outcome in (
        (body.get("new_members") or (), body.get("total_created") or 0, Outcome.CREATED),
        (body.get("updated_members") or (), body.get("total_updated") or 0, Outcome.UPDATED),
    ):
        if len(listed) > total:
            raise Unanswered(f"the answer lists {len(listed)} members {outcome} and counts {total}")
        found |= {_address(member["email_address"]): (RowResult(outcome), member["status"]) for member in listed}
    for error in body["errors"]:
        found[_address(error.get("email_address") or "")] = (_refusal(error, lost=lost), "")
    return found


def _refusal(error: answers.RefusedMember, *, lost: bool) -> RowResult:
    if error.get("error_code") == "ERROR_CONTACT_EXISTS":
        # Where an answer was lost, it is most likely our own.
        return RowResult(Outcome.CREATED) if lost else _EXISTS
    field = f"{error.get('field')}: {error.get('field_message')}" if error.get("field") else ""
    return rejected(explain(": ".join(filter(None, (error.get("error"), field)))) or "refused without words")


def _address(shown: str) -> str:
    # Some answers quote the address of an error, escaped (seen by other clients).
    return shown.strip(' "\\').lower()


def _settled(found: tuple[RowResult, str] | None, status: str) -> RowResult | None:
    if found is None:
        return None
    result, has = found
    return (_kept(has, status) if result.outcome is Outcome.UPDATED else None) or result


def _kept(has: str, status: str | None) -> RowResult | None:
    """
    Return a rejection if a member was asked to have ``status`` and has another.

    Pending instead of subscribed is an acceptance: the audience asks for double opt-in, or Mailchimp reviews the
    account (github drewm/mailchimp-api#112).
    """
    if status is None or has == status or (status, has) == ("subscribed", "pending"):
        return None
    return rejected(f"Mailchimp kept the status {has!r}; the other fields may have been written")


def missing_tags(tags: Tags, member: Member) -> list[Mapping[str, str]]:
    """Return the tags that are not yet as they should be; an answer shows 50 at the most."""
    shown = member.get("tags") or []
    if member.get("tags_count", 0) != len(shown):
        return list(tags)
    has = {tag["name"].lower() for tag in shown}
    return [tag for tag in tags if (tag["status"] == "active") != (tag["name"].lower() in has)]
