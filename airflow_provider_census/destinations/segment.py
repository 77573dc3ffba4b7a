"""
Segment: users (identify), groups (group) and events (track), many in one ``/v1/batch``.

Segment takes nearly everything with a 200 and validates later, where only its own Debugger and Delivery Overview tell:
a wrong write key, a disabled source, a missing user. So ``upserted`` and ``sent`` mean accepted for processing; what
would be dropped for its content is invalid before it is sent; and a wrong key is found only with a workspace token, in
the connection test and before the first row of every run.

Segment drops a call whose ``messageId`` it has seen, for 24 hours or more, in about 99 of 100 cases, and does so
across all sources (page "Handling Duplicate Data"). An event's id is made of the source, the sync, the row's key and
its content: sent again it is one event, with other content it is another. A user's or group's id is of this run as
well: a value that changes and changes back within a day is no repetition, and writing a trait twice does no harm.

Sources: segment.com/docs (github segmentio/segment-docs), page "HTTP API Source" where no other is named.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypedDict

from airflow_provider_census.destinations import _segment_calls as calls
from airflow_provider_census.destinations import _segment_sources as sources
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import ConfigError, Unanswered
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.fields import SyncAll
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, choice, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response, array
from airflow_provider_census.transport.rate import Rate

# The wrong region answers 200 as well.
_HOSTS = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
_PUBLIC_HOSTS = {"us": "https://api.segmentapis.com", "eu": "https://eu1.api.segmentapis.com"}

# What Segment's own libraries send (github segmentio/analytics-python, consumer.py), of at most 2,500 calls and 500 KB.
# Calls are what the rate counts, so larger batches would not be faster, only less even.
_MAX_CALLS = 100
_MAX_BYTES = 475_000

_COMMON = ("timestamp", "context", "context.*", "integrations", "integrations.*")
_snake_case = SyncAll(normalize="snake_case").field


class _Accepted(TypedDict):
    success: bool


class _Refusal(TypedDict, total=False):
    message: str | None


class Segment(Destination):
    """One source of a workspace."""

    name: ClassVar[str] = "segment"
    objects = (
        ObjectType(
            name="user",
            behaviors=(Behavior.UPDATE_OR_CREATE,),
            identifiers=(Identifier("user_id"), Identifier("anonymous_id")),
            fields=("traits", "traits.*", *calls.PERSON, *_COMMON),
        ),
        ObjectType(
            name="group",
            behaviors=(Behavior.UPDATE_OR_CREATE,),
            identifiers=(Identifier("group_id"),),
            fields=("traits", "traits.*", "group_id", *calls.PERSON, *_COMMON),
            required=(calls.PERSON,),
        ),
        ObjectType(
            name="track",
            behaviors=(Behavior.SEND,),
            identifiers=(Identifier("event_id"),),
            fields=("event", "properties", "properties.*", *calls.PERSON, *_COMMON),
            required=("event", calls.PERSON),
        ),
    )
    # Pages "HTTP API Source" (requests) and "Rate Limits" (events): the stricter reading. Public API: unverified.
    rates = (Rate("events", 1_000, 1), Rate(sources.RATE, 60, 60))
    concurrency = 16
    max_record_bytes = calls.MAX_BYTES

    source: ClassVar[str] = ""
    """Stands for the write key of the connection."""
    confirms: ClassVar[bool] = False
    """Whether the connection has a workspace token, which can tell a good key from a bad one."""

    def configure(self) -> None:
        """Choose what tells the messages of this run from those of others; events are the same in all runs."""
        self._run = "" if self.behavior.adds else uuid.uuid4().hex

    def home(self, field: str) -> str:
        """Put columns among the traits or properties, save those without which there is no call, in any spelling."""
        kind, bundle = self.object.name, calls.BUNDLES[self.object.name]
        own = {"group": calls.PERSON, "track": ("event", "timestamp", *calls.PERSON)}.get(kind, ())
        if _snake_case(field) in own:
            return _snake_case(field)
        return field if field.startswith((f"{bundle}.", "context.", "integrations.")) else f"{bundle}.{field}"

    # --- connection ------------------------------------------------------------------------------------------------

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class that knows its source, and whether the key can be confirmed."""
        known = {
            "__module__": cls.__module__,
            "source": sources.fingerprint(_keyed(credentials).password.strip()),
            "confirms": bool(_token(credentials)),
        }
        bound: type[Destination] = type(cls.__name__, (cls,), known)
        return bound

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the Tracking API of the region, and the Public API for the workspace token."""
        key, token = secret(_keyed(credentials), "write key"), _token(credentials)
        if not token.isascii() or any(c.isspace() for c in token):
            raise ConfigError("the extra 'workspace_token' of the connection has characters no token has")
        region = choice(credentials, "region", _HOSTS, "us")
        # With the colon: without it works only "due to backward compatibility".
        basic = base64.b64encode(f"{key}:".encode()).decode()
        public = Endpoint(
            base_url(credentials.host, _PUBLIC_HOSTS[region]),
            {"Authorization": f"Bearer {token}", "Accept": "application/vnd.segment.v1+json"},
        )
        return Endpoint(
            base_url(credentials.host, _HOSTS[region], "/v1"),
            {"Authorization": f"Basic {basic}", "Accept": "application/json"},
            tuple(filter(None, (key, basic, token))),
            {sources.AT: public},
        )

    @classmethod
    def test(cls) -> Exchange[str]:
        """
        Find the source of the write key; without a workspace token only see that Segment answers.

        That it answers an empty batch with a 200 is unverified.
        """
        if cls.confirms:
            return (yield from sources.confirm(cls.source))
        response = yield Request(method="POST", path="/batch", json={"batch": []})
        if not response.ok:
            raise ConfigError(f"HTTP {response.status} to an empty batch: {_words(response)}; check host and write key")
        _require_success(response)
        return (
            "Segment answers. Whether the write key is good cannot be told: Segment takes any key and drops what comes "
            "with a wrong one. Put a workspace token into the extra 'workspace_token' to have the key looked up"
        )

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Stop before the first row if the write key is known to be wrong or its source disabled."""
        if self.confirms:
            yield from sources.confirm(self.source)

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means: after 429 ``X-RateLimit-Reset`` has the seconds too."""
        judged = verdict.judge(response)
        if isinstance(judged, verdict.Retry) and judged.after_s is None and response.status == 429:
            return verdict.Retry(judged.reason, response.number("x-ratelimit-reset"))
        if response.status in (404, 405):
            return verdict.Misdirected(f"HTTP {response.status}: Segment does not answer there; check the host")
        return judged

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return also a date as a moment where Segment reads one."""
        if path == "timestamp" and isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            value = dt.datetime.combine(value, dt.time(), dt.UTC)
        return super().scalar(value, path)

    def check(self, operation: Operation) -> str | None:
        """Return why Segment would drop this call without a word."""
        fields = self._fields(operation)
        first = next(calls.problems(self.object.name, fields), None)
        return first or calls.oversize(self.encoded(operation))

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the call."""
        call = calls.call(self.object.name, self._fields(operation))
        return {**call, "messageId": self._message_id(operation.record.id, call)}

    def _fields(self, operation: Operation) -> Mapping[str, Any]:
        if self.object.name == "track":
            return operation.record.fields
        return {**operation.record.fields, self.identifier.name: operation.record.id}

    def _message_id(self, key: str, call: Mapping[str, Any]) -> str:
        """Return an id of less than 100 characters; see the module."""
        parts = json.dumps([self.source, self.sync_id, self._run, key, call], sort_keys=True)
        return f"census-{hashlib.blake2b(parts.encode(), digest_size=20).hexdigest()}"

    # --- sending ---------------------------------------------------------------------------------------------------

    def max_batch(self, operation: Operation) -> int:
        """Return how many calls go into a request."""
        return _MAX_CALLS

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return the size of a request."""
        return _MAX_BYTES

    def repeatable(self, operation: Operation) -> bool:
        """Return True also for events: Segment knows them by their ids."""
        return True

    def costs_of(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Count calls, not requests."""
        return {"events": len(batch)}

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Send one batch; the answer is about all of it."""
        body = array([self.encoded(operation) for operation in batch], "batch")
        response = yield Request(method="POST", path="/batch", json=body, limit="events", cost=len(batch))
        if not response.ok:
            raise Refused(f"HTTP {response.status} {_words(response)}".strip(), status=response.status)
        _require_success(response)
        accepted = Outcome.SENT if self.behavior.adds else Outcome.UPSERTED
        return [RowResult(accepted, status=response.status)] * len(batch)


def _keyed(credentials: Credentials) -> Credentials:
    """Return also the connections of Airflow's own Segment provider, whose write key is an extra."""
    return replace(credentials, password=credentials.password or str(credentials.extra.get("write_key") or ""))


def _token(credentials: Credentials) -> str:
    return str(credentials.extra.get("workspace_token") or "").strip()


def _require_success(response: Response) -> None:
    if response.read(_Accepted)["success"] is not True:
        raise Unanswered(f"HTTP {response.status} without the success that Segment tells", status=response.status)


def _words(response: Response) -> str:
    """Return what Segment says of a refusal: JSON, or bare text."""
    words = response.told(_Refusal).get("message") or response.text
    return "" if words.startswith("<") else words
