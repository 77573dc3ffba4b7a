"""
Intercom: contacts (users and leads), companies, events.

Contacts are looked up, then written, because the API has no upsert for them. Companies have one, which does not tell
whether it created. Events are sent one by one; Intercom ignores a second event of the same contact, name and second,
which makes resending safe and lets two real events in one second become one.

What is there is looked up by search, 15 contacts at once, by ``id`` and of companies one by one. Search may be minutes
late: a contact it does not know is asked for by its ``external_id`` as well, and one with a field that is set only if
it is empty is read once more by its id.

Sources: github intercom/Intercom-OpenAPI (descriptions/2.14) and developers.intercom.com, pages "Rate limiting",
"HTTP responses", "Error codes"; help article 175 (event metadata).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_census.destinations import _intercom_answers as answers
from airflow_provider_census.destinations._intercom_answers import look, reset_s
from airflow_provider_census.destinations._intercom_attributes import CUSTOM, attribute_problems, check_attributes
from airflow_provider_census.destinations._intercom_companies import check_company, fetch_company, send_company
from airflow_provider_census.destinations._intercom_contacts import MAX_LOOK_UP, Contacts
from airflow_provider_census.destinations._intercom_events import check_event, send_event
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, choice, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate, Throttle

# Pinned, because without it the default of the workspace's app applies. 2.13 brought the look-up by external id; later
# than 2.14, the bodies of contacts, companies and events are unchanged.
_VERSION = "2.14"
_HOSTS = {"us": "https://api.intercom.io", "eu": "https://api.eu.intercom.io", "au": "https://api.au.intercom.io"}

_U, _UO, _C, _D = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.DELETE
_PERSON = (
    "email",
    "phone",
    "name",
    "avatar",
    "signed_up_at",
    "last_seen_at",
    "owner_id",
    "unsubscribed_from_emails",
    "custom_attributes.*",
)
_BY = (Identifier("external_id"), Identifier("email", lower=True), Identifier("id"))


def _contact(name: str, *fields: str) -> ObjectType:
    fields = (*fields, *_PERSON)
    return ObjectType(
        name=name,
        behaviors=(_U, _UO, _C, _D, Behavior.MIRROR),
        identifiers=_BY,
        fields=fields,
        options=("permanent",),
        fetched=fields,
    )


_COMPANY = (
    *("name", "plan", "size", "website", "industry", "monthly_spend", "remote_created_at"),
    "custom_attributes.*",
)


class Intercom(Destination):
    """One workspace of Intercom."""

    name = "intercom"
    objects = (
        _contact("contact", "external_id", "role"),
        # Intercom chooses the external_id of a lead and ignores another one without an error.
        _contact("lead"),
        _contact("user", "external_id"),
        ObjectType(
            name="company",
            behaviors=(_U, _UO, _D, Behavior.MIRROR),
            identifiers=(Identifier("company_id"),),
            fields=_COMPANY,
            fetched=_COMPANY,
        ),
        ObjectType(
            name="event",
            behaviors=(Behavior.SEND,),
            identifiers=(Identifier("event_id"),),
            fields=("event_name", "created_at", "user_id", "email", "id", "metadata.*"),
            required=("event_name", "created_at", ("user_id", "email", "id")),
        ),
    )
    # 10,000 a minute per app, which Intercom counts in windows of ten seconds.
    rates = (Rate("app", 1666, 10),)
    # About the answers under way at that rate, at a fifth of a second each.
    concurrency = 64

    region: ClassVar[str | None] = None
    """Where the connection says the workspace lives, if it does."""

    def configure(self) -> None:
        """Choose how contacts are found and deleted, and refuse what Intercom has no place for."""
        self._contacts = Contacts(
            role=self.object.name if self.object.name in ("lead", "user") else None,
            identifier=self.identifier,
            permanent=self.flag("permanent"),
            resend=self.on_uncertain == "resend",
        )
        by = self.identifier.name
        if by == "id" and self.behavior is _C:
            raise ConfigError("Intercom chooses the ids of new contacts; identify them by 'external_id' or 'email'")
        if self._contacts.role == "lead" and by == "external_id" and self.behavior in (_U, _C, Behavior.MIRROR):
            raise ConfigError(
                f"{self.behavior} of intercom lead cannot be identified by 'external_id': Intercom chooses that of a "
                f"new lead itself; identify leads by 'email', or use {_UO}"
            )

    def check_field(self, path: str) -> None:
        """Refuse also what only a new company takes, and names Intercom has no place for."""
        super().check_field(path)
        if path == "remote_created_at" and self.behavior is _UO:
            raise ConfigError(f"intercom company takes 'remote_created_at' only with {_U}")
        if path.startswith("metadata.") and "$" in path:
            raise ConfigError(f"{path!r}: the name of event metadata must not contain '$'")

    def home(self, field: str) -> str:
        """Put columns that are no field of the object among the custom attributes, or the metadata."""
        if field in self.object.fields or "." in field:
            return field
        return f"{'metadata' if self.object.name == 'event' else CUSTOM}.{field}"

    # --- connection ------------------------------------------------------------------------------------------------

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class that expects the region of the connection; with a host of its own it may have none."""
        if credentials.host and not credentials.extra.get("region"):
            return cls
        return _REGIONS[choice(credentials, "region", _HOSTS, "us")]

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the API of the region."""
        token = secret(credentials, "access token")
        host = _HOSTS[choice(credentials, "region", _HOSTS, "us")]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Intercom-Version": _VERSION}
        return Endpoint(base_url(credentials.host, host), headers, (token,))

    @classmethod
    def test(cls) -> Exchange[str]:
        """Name the workspace and its region."""
        answer = yield from look(Request(method="GET", path="/me"), answers.Me)
        if not answer.ok:
            raise ConfigError(f"GET /me: {answer.words}")
        app: answers.App = answer.body.get("app") or {}
        region = app.get("region") or "unknown"
        found = f"workspace {app.get('name')!r}, region {region}"
        if cls.region and region.lower() != cls.region:
            return f"{found}; the connection says {cls.region.upper()}: set its extra 'region' to {region.lower()!r}"
        return found

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Wait for the next window after 429: Intercom sends no Retry-After."""
        judged = super().judge(response)
        if isinstance(judged, verdict.Retry) and response.status == 429 and judged.after_s is None:
            return verdict.Retry(judged.reason, reset_s(response))
        return judged

    @classmethod
    def throttle(cls, response: Response) -> Throttle:
        """Read X-RateLimit-Limit, of a window of ten seconds, X-RateLimit-Remaining and X-RateLimit-Reset."""
        limit, remaining = (response.number(f"x-ratelimit-{name}") for name in ("limit", "remaining"))
        return Throttle(limit, remaining, reset_s(response))

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return dates as Unix seconds; in metadata only where Intercom reads them as dates."""
        if isinstance(value, dt.date) and not (path.startswith("metadata.") and not path.endswith("_date")):
            moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
            return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())
        return super().scalar(value, path)

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Refuse custom attributes the workspace does not have."""
        if self.object.name != "event":
            yield from check_attributes("company" if self.object.name == "company" else "contact", fields)

    def check(self, operation: Operation) -> str | None:
        """Return what Intercom could not take, or would drop without a word."""
        fields = operation.record.fields
        if self.object.name == "event":
            return check_event(fields)
        if operation.record.id in (".", ".."):
            return f"the {self.identifier.name} {operation.record.id!r} cannot stand in a URL"
        if "external_id" in fields and fields["external_id"] is None:
            return "external_id is NULL, and Intercom cannot unset it; map it with null='skip'"
        if self.object.name == "company" and (problem := check_company(fields)):
            return problem
        return next(attribute_problems(fields.get(CUSTOM, {})), None)

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the body of the write."""
        fields, by = dict(operation.record.fields), self.identifier.name
        if self.object.name == "event":
            metadata = {k: v for k, v in fields.pop("metadata", {}).items() if v is not None}
            return fields | ({"metadata": metadata} if metadata else {})
        if operation.behavior is not Behavior.DELETE and self._contacts.role:
            fields = {"role": self._contacts.role, **fields}
        if by == "id" or (by == "external_id" and self._contacts.role == "lead"):
            return fields
        return {by: operation.record.id, **fields}

    # --- what is there ---------------------------------------------------------------------------------------------

    def max_fetch(self) -> int:
        """Return how many contacts one search finds."""
        return 1 if self.object.name == "company" or self.identifier.name == "id" else MAX_LOOK_UP

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Count the search; contacts it does not know, or that have fields to fill, cost one request more each."""
        return {"": 1}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """Look up contacts, or one company."""
        if self.object.name == "company":
            return [(yield from fetch_company(operations[0].record.id))]
        return (yield from self._contacts.fetch(operations))

    def same(self, path: str, wanted: Any, held: Any) -> bool:
        """Compare as Intercom keeps it: addresses in lower case, whole amounts, ids of owners as text or numbers."""
        if wanted is not None and held is not None:
            match path:
                case "email":
                    wanted = wanted.strip().lower() if isinstance(wanted, str) else wanted
                case "owner_id":
                    return str(wanted) == str(held)
                case "monthly_spend" if isinstance(wanted, float):
                    wanted = int(wanted)
        return super().same(path, wanted, held)

    # --- sending ---------------------------------------------------------------------------------------------------

    def repeatable(self, operation: Operation) -> bool:
        """Return False for creating leads: only for users do conflicts protect, and Intercom drops repeated events."""
        return operation.behavior not in (_U, _C) or not self._contacts.makes_lead(operation)

    def lane(self, operation: Operation) -> tuple[Behavior, bool]:
        """Keep what may not be repeated apart, so that it travels alone."""
        return operation.behavior, self.once(operation)

    def max_batch(self, operation: Operation) -> int:
        """Return how many contacts one search finds. Each is then written by a request of its own."""
        shared = self.object.name not in ("company", "event") and self._contacts.searches
        return MAX_LOOK_UP if shared and self.repeatable(operation) else 1

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Count the look-ups and one write for each."""
        by, writes = self.identifier.name, len(batch)
        if batch[0].found is not None:
            return {"": writes}
        if self.object.name == "event" or (self.object.name == "company" and batch[0].behavior is _U):
            return {"": writes}
        if by == "id" and self._contacts.role is None:
            return {"": writes}
        return {"": writes + (1 if self.max_batch(batch[0]) > 1 else writes)}

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out operations of one behavior."""
        payloads = [self.payload(operation) for operation in batch]
        match self.object.name:
            case "event":
                return [(yield from send_event(payloads[0]))]
            case "company":
                return [(yield from send_company(batch[0], payloads[0]))]
        return (yield from self._contacts.send(batch, payloads))


class _UsIntercom(Intercom):
    region = "us"


class _EuIntercom(Intercom):
    region = "eu"


class _AuIntercom(Intercom):
    region = "au"


_REGIONS: Mapping[str, type[Intercom]] = {"us": _UsIntercom, "eu": _EuIntercom, "au": _AuIntercom}
