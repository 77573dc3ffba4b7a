"""
CleverTap: user profiles and events.

``/upload`` takes up to 1,000 records in one array and answers 200 whatever became of them: ``status`` is success,
partial or fail, and ``unprocessed`` holds the refused ones, each with its number in the array. One bad standard field
(``Email``, ``Phone`` …) refuses the whole profile. Unknown users are created, also by events.

CleverTap limits the requests in flight, not their rate. It has no key that makes an event unique: sent twice, it stands
there twice. A NULL is not sent, and leaves the property of a profile as it is.
Sources: CleverTap developer docs, pages named at each fact.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_census.destinations import _clevertap_exchanges as exchanges
from airflow_provider_census.destinations import _clevertap_records as records
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType, among
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, choice, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

# Page "Common API Components", and sk1, which Segment's CleverTap action offers too.
REGIONS = ("eu1", "in1", "sg1", "us1", "aps3", "mec1", "sk1")

_ACCOUNT = "X-CleverTap-Account-Id"
_WHO = (*records.WHO, *(name for name in records.WHO.values() if name not in records.WHO))
_DELETE_BY = {"identity": "identity", "object_id": "guid"}


class CleverTap(Destination):
    """The destination; see the module."""

    name: ClassVar[str] = "clevertap"
    objects = (
        ObjectType(
            name="profile",
            behaviors=(Behavior.UPDATE_OR_CREATE, Behavior.DELETE, Behavior.MIRROR),
            identifiers=tuple(map(Identifier, records.WHO)),
            fields=("profileData", "profileData.*", "ts"),
        ),
        ObjectType(
            name="event",
            behaviors=(Behavior.SEND,),
            identifiers=(Identifier("event_id"),),
            fields=("evtName", "ts", "evtData", "evtData.*", *_WHO),
            required=("evtName", _WHO),
        ),
    )
    # Page "API Request Limit": 15 uploads at once and 3 of anything else. A request takes "one or more seconds" (page
    # "API FAQs"), so more than that a second would not get through.
    rates = (Rate("upload", 15, 1), Rate("delete", 3, 1))
    most_in_flight = 15
    # The limit is the account's, which others send to as well, and there is no header that says what is left.
    concurrency = 10

    def configure(self) -> None:
        """Take deletions more slowly, and by the identifiers they can be told by."""
        self._data = records.DATA[self.object.name]
        if self.behavior in (Behavior.DELETE, Behavior.MIRROR):
            self.concurrency = self.most_in_flight = 3
            if self.identifier.name not in _DELETE_BY:
                raise ConfigError.unknown("identifier", self.identifier.name, _DELETE_BY, where="for deleting profiles")

    def check_field(self, path: str) -> None:
        """Refuse also names that CleverTap does not take, and fields inside a property."""
        super().check_field(path)
        data, *names = path.split(".")
        if data != self._data or not names:
            return
        for problem in records.name_problems(self.object.name, names[0]):
            raise ConfigError(f"field {path!r}: {problem}")
        if len(names) == 1 or names == ["category-unsubscribe", "email"]:
            return
        if self.object.name == "event":
            raise ConfigError(f"field {path!r}: a property of an event holds no other fields")
        if len(names) > 2 or names[1] not in records.OPERATORS:
            raise ConfigError.unknown("operator", ".".join(names[1:]), records.OPERATORS, where=f"in field {path!r}")

    def home(self, field: str) -> str:
        """Return the path among the properties for what a record does not have itself."""
        return field if among(self.object.fields, field) else f"{self._data}.{field}"

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the API of the region, eu1 by default."""
        region = choice(credentials, "region", REGIONS, REGIONS[0])
        account = credentials.login.strip()
        if not account:
            raise ConfigError("the connection has no login; put the account id of CleverTap there")
        if not account.isascii() or any(c.isspace() for c in account):
            raise ConfigError("the login of the connection has spaces or other characters no account id has")
        passcode = secret(credentials, "passcode")
        return Endpoint(
            base_url(credentials.host, f"https://{region}.api.clevertap.com", "/1"),
            {_ACCOUNT: account, "X-CleverTap-Passcode": passcode},
            (passcode,),
        )

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """Return also the account."""
        return f"{super().place(endpoint, constants)}, account {endpoint.headers[_ACCOUNT]}"

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return dates as CleverTap knows them: epoch seconds in ``ts``, ``$D_<epoch seconds>`` in a property."""
        if isinstance(value, dt.date):
            home = self.home(path)
            if home == "ts":
                return records.epoch(value)
            if home.startswith(f"{self._data}."):
                return f"$D_{records.epoch(value)}"
        return super().scalar(value, path)

    def check(self, operation: Operation) -> str | None:
        """Return the first thing CleverTap would refuse, or take for something else."""
        if operation.behavior is Behavior.DELETE:
            return None
        fields = operation.record.fields
        who = records.who_problems(fields) if self.object.name == "event" else iter(())
        return next(who, None) or next(records.problems(self.object.name, self.payload(operation)), None)

    def lane(self, operation: Operation) -> Hashable:
        """Return what a request is for, and whether it may be repeated: one that may not would bind the others."""
        return operation.behavior, self.once(operation)

    def max_batch(self, operation: Operation) -> int:
        """Return 1,000 records, or 100 profiles to delete (pages "Upload User Profiles", "Delete User Profile")."""
        return 100 if operation.behavior is Behavior.DELETE else 1_000

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return 5 MB less what stands around the records; CleverTap names no size (unverified)."""
        return 5_000_000 - 100

    def payload(self, operation: Operation) -> Any:
        """Return the record, or the identifier alone where the profile goes."""
        if operation.behavior is Behavior.DELETE:
            return operation.record.id
        made = records.record(self.object.name, operation.record.fields)
        if self.object.name == "profile":
            made[records.WHO[self.identifier.name]] = operation.record.id
        return made

    def repeatable(self, operation: Operation) -> bool:
        """Return whether a second request changes nothing: it does where a number is counted up or down."""
        return super().repeatable(operation) and not records.counts(operation.record.fields)

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Return one request."""
        return {"delete" if batch[0].behavior is Behavior.DELETE else "upload": 1}

    # --- exchanges -------------------------------------------------------------------------------------------------

    @classmethod
    def test(cls) -> Exchange[str]:
        """Have an event checked that CleverTap does not keep (page "Upload Events": ``dryRun``)."""
        event = {"type": "event", "identity": "connection-test", "evtName": "Connection tested", "evtData": {}}
        response = yield Request(
            method="POST", path="/upload", query={"dryRun": "1"}, json={"d": [event]}, limit="upload"
        )
        if response.ok and response.read(exchanges.Upload):
            return "CleverTap accepts uploads with this passcode; the event that tried it was not kept"
        raise ConfigError(f"{exchanges.words(response)}: no answer to an upload; check the host and the region")

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out one lane."""
        match batch[0].behavior:
            case Behavior.DELETE:
                ids = [operation.record.id for operation in batch]
                results = yield from exchanges.delete(_DELETE_BY[self.identifier.name], ids)
            case behavior:
                parts = [self.encoded(operation) for operation in batch]
                outcome = Outcome.SENT if behavior is Behavior.SEND else Outcome.UPSERTED
                idempotent = all(self.resendable(operation) for operation in batch)
                results = yield from exchanges.upload(parts, outcome, idempotent=idempotent)
        return results

    # --- answers ---------------------------------------------------------------------------------------------------

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means; a wrong region looks like a wrong passcode."""
        match response.status:
            case 401:
                return verdict.Denied("HTTP 401: not the account id and passcode of an account in this region")
            case 404:
                return verdict.Misdirected("HTTP 404: no CleverTap API answers here; check the host of the connection")
        return verdict.judge(response)
