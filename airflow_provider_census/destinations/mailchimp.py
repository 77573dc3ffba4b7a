"""
Mailchimp: the members of one audience.

A sync that maps ``status_if_new`` leaves the consent of known members alone: one PUT each. One that maps ``status``
says what every member's status is; archived members come back only with the option ``unarchive``, for whose lack each
is looked up first. 500 members travel in one request where that request can express the sync: ``create_only``, and
``status`` with ``unarchive``; not with tags or marketing permissions, which it does not take.

What is there is looked up one by one. An archived member is never taken as it should be, and ``status_if_new`` says
nothing about one that is there.

Sources: Mailchimp Marketing API 3.0.55 (github mailchimp/mailchimp-client-lib-codegen, spec/marketing.json) and the
docs "Errors", "Merge fields", "Marketing API conventions"; what other clients found is named where it is used.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from airflow_provider_census.destinations import _mailchimp_answers as answers
from airflow_provider_census.destinations import _mailchimp_fields as values
from airflow_provider_census.destinations._mailchimp_answers import Body, Member, look
from airflow_provider_census.destinations._mailchimp_members import Members, missing_tags
from airflow_provider_census.destinations._mailchimp_merge_fields import PREFIX, MergeFields, listed
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType, among
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.comparison import same_moment
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

_U, _UO, _C, _D = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.DELETE
_API_KEY = re.compile(r"[^-]+-([a-z]{2,}\d+)")
_AUDIENCE_ID = re.compile(r"[A-Za-z0-9]+")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MAX_BATCH = 500
_FLAGS = {"permanent": False, "unarchive": False, "skip_merge_validation": False, "is_syncing": True}
# What a member shows: of these it has always something, and of those not; status_if_new acts on new ones alone.
_ALWAYS_HELD = (
    "status",
    "status_if_new",
    "vip",
    "email_type",
    "interests.*",
    "location.latitude",
    "location.longitude",
)
_MAYBE_HELD = ("merge_fields.*", "tags", "language", "ip_signup", "timestamp_signup", "ip_opt", "timestamp_opt")
_SHOWN = tuple(dict.fromkeys(field.partition(".")[0] for field in (*_ALWAYS_HELD, *_MAYBE_HELD, "tags_count")))


class Mailchimp(Destination):
    """The destination; see the module."""

    name = "mailchimp"
    objects = (
        ObjectType(
            name="member",
            behaviors=(_U, _UO, _C, _D, Behavior.MIRROR),
            identifiers=(Identifier("email", lower=True),),
            fields=(
                *("status", "status_if_new", "merge_fields.*", "tags", "language", "vip", "email_type", "interests.*"),
                *("marketing_permissions", "location.latitude", "location.longitude"),
                *("ip_signup", "timestamp_signup", "ip_opt", "timestamp_opt"),
            ),
            options=("audience_id", *_FLAGS),
            fetched=(*_ALWAYS_HELD, *_MAYBE_HELD),
        ),
    )
    # Not a limit of Mailchimp's, which has none per time: more than its ten connections carry.
    rates = (Rate("requests", 200, 1),)
    # Docs "Marketing API conventions": simultaneous connections of one key, those of other programs included.
    concurrency = most_in_flight = 10
    # Same page: calls are cut off after 120 seconds, and one with 500 members may well need more than the usual 30.
    timeout_s = (10.0, 120.0)

    def configure(self) -> None:
        """Read the audience, and what new members need."""
        audience_id = self.options.get("audience_id")
        if not isinstance(audience_id, str) or not _AUDIENCE_ID.fullmatch(audience_id):
            raise ConfigError(
                "mailchimp member needs options={'audience_id': …}: letters and digits, in Mailchimp under "
                "Audience → Settings → Audience name and defaults; the connection's Test button lists them"
            )
        flags = {name: self.flag(name, default) for name, default in _FLAGS.items()}
        self._members = Members(audience_id, **flags)
        creates = self._creates(self.behavior)
        self._merge_fields = MergeFields(audience_id, creates=creates and not flags["skip_merge_validation"])
        if creates:
            self.object = replace(self.object, required=(("status", "status_if_new"),))

    @staticmethod
    def _creates(behavior: Behavior) -> bool:
        return behavior in (_U, _C, Behavior.MIRROR)

    def home(self, field: str) -> str:
        """Put columns that are no field of a member among the merge fields, whose tags are in capitals."""
        return field if field in self.object.fields or "." in field else f"{PREFIX}{field.upper()}"

    # --- connection ------------------------------------------------------------------------------------------------

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the API of the data center that the key names."""
        key = secret(credentials, "API key")
        center = _API_KEY.fullmatch(key)
        if not center and not credentials.host.strip():
            raise ConfigError(
                "the password of the connection is no API key: it must end in its data center, like -us21"
            )
        url = base_url(credentials.host, center and f"https://{center[1]}.api.mailchimp.com", "/3.0")
        basic = base64.b64encode(f"census:{key}".encode()).decode()  # any user name will do
        return Endpoint(url, {"Authorization": f"Basic {basic}", "Accept": "application/json"}, (key, basic))

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """Return also the audience."""
        return f"{super().place(endpoint, constants)}, audience {self.options['audience_id']}"

    @classmethod
    def test(cls) -> Exchange[str]:
        """Name the account and its audiences, whose ids a sync needs."""
        yield from _get("/ping", answers.Health)
        account = yield from _get("/", answers.Account)
        found = yield from _get("/lists", answers.Audiences, count="1000")  # ten without it
        audiences = ", ".join(f"{audience['name']!r} ({audience['id']})" for audience in found["lists"]) or "none"
        return f"account {account['account_name']!r}, audiences: {audiences}"

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Take a 403 that Mailchimp's API did not write for too many connections (docs "Marketing API conventions")."""
        if response.status == 403 and (not response.body.strip() or response.body.lstrip().startswith(b"<")):
            return verdict.Retry("HTTP 403 without a word: too many connections", verdict.retry_after(response))
        return verdict.judge(response)

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return times in UTC and whole seconds."""
        if isinstance(value, dt.datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
            return value.isoformat(timespec="seconds")
        return super().scalar(value, path)

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Refuse an audience that is not there, and merge fields it does not have."""
        yield from self._merge_fields.prepare([f.removeprefix(PREFIX) for f in fields if f.startswith(PREFIX)])

    def check(self, operation: Operation) -> str | None:
        """Return what Mailchimp would refuse, or drop without a word."""
        if not _EMAIL.fullmatch(operation.record.id):
            return "the email is not an address"
        if operation.behavior is _D:
            return None
        fields = operation.record.fields
        problem = next(values.problems(fields), None)
        if problem:
            return problem
        if self._creates(operation.behavior) and not (fields.get("status") or fields.get("status_if_new")):
            return "neither status nor status_if_new has a value: a new member needs one"
        if operation.behavior is _UO and fields.get("status") == "transactional":
            return "status transactional is for new members only"
        problem = self._merge_fields.problem(fields.get("merge_fields", {}))
        if problem:
            return problem
        try:
            values.tags(fields.get("tags"))
        except ValueError as error:
            return str(error)
        return None

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the member; a NULL clears a merge field and leaves every other field as it is."""
        email = {"email_address": operation.record.id}
        if operation.behavior is _D:
            return email
        body = {name: value for name, value in operation.record.fields.items() if value is not None}
        for name in ("interests", "location"):
            if name in body:
                body[name] = {part: value for part, value in body[name].items() if value is not None}
        if "merge_fields" in body:
            body["merge_fields"] = self._merge_fields.values(body["merge_fields"])
        tags = values.tags(body.pop("tags", None))
        status, status_if_new = body.get("status"), body.pop("status_if_new", None)
        match operation.behavior:
            case Behavior.UPDATE_ONLY:
                return body
            case Behavior.CREATE_ONLY:
                active = [tag["name"] for tag in tags if tag["status"] == "active"]
                return {**email, **body, "status": status_if_new or status, **({"tags": active} if active else {})}
        if self._batches(operation):
            return {**email, **body}
        # Never without status_if_new: a new address with a status alone was refused, or ignored
        # (github brandonseydel/MailChimp.Net#257).
        return {**email, **body, "status_if_new": status_if_new or status}

    # --- what is there ---------------------------------------------------------------------------------------------

    def check_if_empty(self, path: str) -> None:
        """Refuse also what every member has."""
        if among(_ALWAYS_HELD, path):
            raise ConfigError(
                f"mapping of {path!r}: every member has one, so that set='if_empty' would never set it; "
                f"'status_if_new' is for new members. It can be told of {listed(_MAYBE_HELD)}"
            )
        super().check_if_empty(path)

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """Look a member up; many at once Mailchimp can only list, in no order that helps."""
        (operation,) = operations
        return [(yield from self._members.fetch(operation.record.id, _SHOWN))]

    def matches(self, operation: Operation, held: Mapping[str, Any]) -> bool:
        """Compare as the write goes: merge fields by their types, tags by what would be set, NULL where it clears."""
        fields = dict(operation.record.fields)
        merge_fields, tags = fields.pop("merge_fields", {}), values.tags(fields.pop("tags", None))
        fields.pop("status_if_new", None)
        return (
            # Whether a write brings an archived member back, and what it leaves, only the write tells.
            held.get("status") != "archived"
            and self._merge_fields.show(held.get("merge_fields") or {}, merge_fields)
            and not missing_tags(tags, cast(Member, held))
            and super().matches(operation.having(fields), held)
        )

    def same(self, path: str, wanted: Any, held: Any) -> bool:
        """Compare also times; a NULL is not sent."""
        return wanted is None or super().same(path, wanted, held) or same_moment(wanted, held)

    # --- sending ---------------------------------------------------------------------------------------------------

    def _batches(self, operation: Operation) -> bool:
        """Return whether the request for many members can express the operation."""
        fields = operation.record.fields
        status, status_if_new = fields.get("status"), fields.get("status_if_new")
        if fields.get("tags") or fields.get("marketing_permissions"):
            return False
        match operation.behavior:
            case Behavior.CREATE_ONLY:
                return True
            case Behavior.UPDATE_OR_CREATE:
                return self._members.unarchive and bool(status) and status_if_new in (None, status)
        return False

    def lane(self, operation: Operation) -> tuple[Behavior, bool]:
        """Keep what travels alone apart."""
        return operation.behavior, self._batches(operation)

    def max_batch(self, operation: Operation) -> int:
        """Return 500 where there is a request for many."""
        return _MAX_BATCH if self._batches(operation) else 1

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Count the look-up of a sync that maps ``status``; tags may cost one more request each."""
        fields = batch[0].record.fields
        if self._batches(batch[0]) or batch[0].behavior in (_C, _D):
            return {"": 1}
        looked_up = bool(fields.get("status")) and not self._members.unarchive and batch[0].held is None
        return {"": 1 + looked_up + bool(fields.get("tags"))}

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out operations of one lane."""
        first = batch[0]
        emails = [operation.record.id for operation in batch]
        payloads = [self.payload(operation) for operation in batch]
        if self._batches(first):
            update = first.behavior is _U
            return (yield from self._members.write_batch(emails, payloads, update_existing=update))
        if first.behavior is _D:  # its fields are not checked
            return [(yield from self._members.delete(emails[0]))]
        tags = values.tags(first.record.fields.get("tags"))
        match first.behavior:
            case Behavior.UPDATE_ONLY:
                exchange = self._members.update(emails[0], payloads[0], tags, first.held)
            case Behavior.CREATE_ONLY:
                exchange = self._members.create(payloads[0])
            case _:
                exchange = self._members.upsert(emails[0], payloads[0], tags, first.held)
        return [(yield from exchange)]


def _get(path: str, promised: type[Body], **query: str) -> Exchange[Body]:
    answer = yield from look(Request(method="GET", path=path, query=query), promised)
    if not answer.ok:
        raise ConfigError(f"GET {path}: {answer.words}")
    return answer.body
