"""
Any HTTP API with JSON bodies: what a request is and how the API says yes is told by the author of the sync.

Nothing is assumed in favour of acceptance: an answer that is not as declared leaves its rows ``uncertain``, and what
the API might apply twice is not sent twice. Values of rows stand in JSON, or quoted in their place of a path, never in
text. The name of the object is a label; any field may be the identifier. The options:

- ``path`` (required), ``method`` (POST): where records are written. ``{id}`` is the identifier, ``{field}`` a field;
  both may stand in a query as well. The identifier is in the body too, unless the path has it; map it to have it in
  both, and with the type of its column.
- ``delete_path`` (``path``), ``delete_method`` (DELETE, without a body): where they are deleted, by delete and mirror;
  for mirror not the request that writes.
- ``batch_size``: records in one request, as a list; ``batch_key``: its name in an object (``data.items`` nests).
- ``success``: ``status`` (every 2xx but 207), a list; ``path``, where the answer has ``value`` (True), or ``text``,
  what it reads if it is no JSON. Another value is a refusal. Without ``path``, JSON with ``ok`` or ``success`` false,
  ``error`` or ``errors`` is taken for neither yes nor no, save where it names records as ``errors`` says. A refused
  batch is halved until the record at fault is alone.
- ``errors``: how a success names the records it does not mean: ``path`` of a list of objects, in each ``index``
  (counted from ``first``, 0) or ``id`` is the name of the field that tells the record, ``reason`` of the one with the
  reason.
- ``skip_status``: statuses that say that there is nothing to do: 404 for update_only, 409 for create_only, 404 and 410
  for deletions. No status does so for update_or_create.
- ``repeatable``: whether the API takes a record sent twice for one; by default all methods do but POST.
- ``idempotency_header``: header for a key by which the API knows a request again, made of sync, row and content: what
  makes a POST of one record repeatable. A batch has a key of its own, which is not that of its records in another one.
- ``headers``: others, without secrets. ``rate``: ``requests`` (10) in ``seconds`` (1). ``concurrency`` (8): requests
  in flight; 1 keeps the order of the rows.

The extra ``auth`` of the connection says how the password is sent: ``bearer``, ``basic`` (with the login), ``header``
(named in the extra ``header``) or ``none``; the extra ``headers`` has more headers, all secret.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_census.destinations import _http_answers as answers
from airflow_provider_census.destinations._http_calls import ID, Call, calls
from airflow_provider_census.destinations._http_credentials import authorization
from airflow_provider_census.destinations._http_options import OPTIONS, RATE, read
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import ConfigError, Unanswered
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.paths import get, put
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.credentials import Credentials, base_url
from airflow_provider_census.transport.message import Endpoint, Exchange, Json, Request, Response, array
from airflow_provider_census.transport.rate import Rate

_NAME = re.compile(r"[^\s{}.]+(\.[^\s{}.]+)*")
_BEHAVIORS = (
    *(Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.DELETE),
    *(Behavior.APPEND, Behavior.SEND, Behavior.MIRROR),
)


class Http(Destination):
    """One endpoint of an API."""

    name: ClassVar[str] = "http"
    objects = (
        ObjectType(
            name="request",
            behaviors=_BEHAVIORS,
            identifiers=(Identifier(ID),),
            options=OPTIONS,
        ),
    )
    rates = (Rate(RATE, 10, 1.0),)
    # What many servers take unless they are told otherwise (nginx: client_max_body_size).
    max_record_bytes = 1_000_000
    concurrency = 8

    test_path: ClassVar[str] = ""

    def configure(self) -> None:
        """Read the calls the author describes."""
        self._settings = read(self.options)
        self.concurrency = self._settings.concurrency
        self._calls = calls(self.behavior, self.identifier.name, self._settings)
        self._there = False
        # A key that is always the same for the same content would turn a value that changes and changes back into a
        # repetition. What adds or creates must keep its key over all runs.
        self._run = "" if self.behavior.adds or self.behavior is Behavior.CREATE_ONLY else uuid.uuid4().hex

    # --- what is offered -------------------------------------------------------------------------------------------

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """Return the one object; what is sent where is told by the options, so its name is a label."""
        return replace(cls.objects[0], name=name)

    def find_identifier(self, name: str | None) -> Identifier:
        """Return the identifier of this name: any field may be one."""
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(f"identifier {name!r} must be the name of a field, like 'id' or 'user.email'")
        return Identifier(name or ID)

    def limits(self) -> Sequence[Rate]:
        """Return the rate the author gives."""
        return (self._settings.rate,) if self._settings.rate else self.rates

    # --- connection ------------------------------------------------------------------------------------------------

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class that knows what to ask for in the connection test."""
        path = str(credentials.extra.get("test_path") or "")
        bound: type[Destination] = type(cls.__name__, (cls,), {"__module__": cls.__module__, "test_path": path})
        return bound

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the host with the credentials in the form the connection names."""
        headers, secrets = authorization(credentials)
        test_path = str(credentials.extra.get("test_path") or "/")
        if not test_path.startswith("/"):
            raise ConfigError("the extra 'test_path' of the connection must be a path, like '/v1/me'")
        return Endpoint(base_url(credentials.host, None), {"Accept": "application/json", **headers}, secrets)

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """Return also the port and the path: on one host many APIs may answer, and an API may have many collections."""
        parts = urlsplit(endpoint.base_url)
        address = parts.netloc.lower()
        if parts.path:
            # Of an address somebody was given, the path may be what keeps others out.
            address += f"/#{hashlib.blake2b(parts.path.encode(), digest_size=4).hexdigest()}"
        path = self._settings.path or self._settings.delete_path
        assert path is not None
        given = [f", {name} {value}" for name in path.names if (value := get(constants, name)) is not None]
        return f"{address} {path}{''.join(given)}"

    @classmethod
    def test(cls) -> Exchange[str]:
        """Get the path the connection names for that: no other is known to change nothing and to need credentials."""
        if not cls.test_path:
            raise ConfigError(
                "nothing was asked: name a path to get, which needs the credentials, in the extra 'test_path' of the "
                "connection, like '/v1/me'"
            )
        response = yield Request(method="GET", path=cls.test_path)
        if not response.ok:
            raise ConfigError(f"GET {cls.test_path}: {answers.said(response)}")
        if response.body:
            response.json()
        return f"GET {cls.test_path} answers HTTP {response.status}"

    # --- sending ---------------------------------------------------------------------------------------------------

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Refuse a path with names that the mapping does not fill, or fills with something else."""
        if self.identifier.name != ID and ID in fields and any(ID in call.path.names for call in self._calls.values()):
            raise ConfigError(
                f"{{id}} in a path is the identifier, {self.identifier.name!r}, and the mapping fills a field 'id'; "
                f"write {{{self.identifier.name}}}, or make 'id' the identifier"
            )
        known = dict.fromkeys((ID, self.identifier.name, *fields))
        for call in self._calls.values():
            for name in call.path.names:
                if not any(name == field or name.startswith(f"{field}.") for field in known):
                    raise ConfigError.unknown("field", name, known, where=f"in the path {call.path}")
        return
        yield

    def check(self, operation: Operation) -> str | None:
        """Return why there is no request for this record."""
        try:
            self._path(operation)
        except ValueError as error:
            return str(error)
        bytes_of_it, most = len(self.encoded(operation)), self.max_record_bytes
        return f"the record has {bytes_of_it:,} bytes, more than {most:,}" if bytes_of_it > most else None

    def lane(self, operation: Operation) -> Hashable:
        """Return the path as well: a batch has one."""
        return operation.behavior, self._path(operation)

    def max_batch(self, operation: Operation) -> int:
        """Return the size of batches the author gives, 1 without."""
        return self._calls[operation.behavior].batch_size or 1

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return what a request may hold."""
        return self.max_record_bytes if self._calls[operation.behavior].batch_size else None

    def repeatable(self, operation: Operation) -> bool:
        """Return what the author says of the API, else what the method promises (RFC 9110 9.2.2) or nearly does."""
        return self._calls[operation.behavior].repeatable

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the record; its identifier is not repeated where it stands in the path, unless it is mapped."""
        call = self._calls[operation.behavior]
        body: dict[str, Any] = {}
        if not call.names_record or call.method == "DELETE":
            put(body, self.identifier.name, operation.record.id)
        return body if call.method == "DELETE" else _merged(body, operation.record.fields)

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Send one request and read its answer as the author has declared it."""
        kind = batch[0].behavior
        call, path = self._calls[kind], self._path(batch[0])
        body = None if call.method == "DELETE" else self._body(call, batch)
        request = Request(
            method=call.method,
            path=path,
            shown=str(call.path),
            json=body,
            headers={**self._settings.headers, **self._idempotency(call, path, batch)},
            idempotent=all(self.resendable(operation) for operation in batch),
        )
        done = RowResult(kind.done)
        response, again = (yield from _sent(request)) if call.skips else ((yield request), False)
        if response.status in call.skips and len(batch) == 1:
            # What is gone, or is there, after a request without an answer is its work.
            own = again and kind in (Behavior.DELETE, Behavior.CREATE_ONLY)
            return [done if own else RowResult(Outcome.SKIPPED, answers.said(response), response.status)]
        if response.status in (404, 405) and not call.path.names and not self._there:
            raise ConfigError(f"{call.method} {call.path}: {answers.said(response)}; the API has no such path")
        errors = self._settings.errors
        answer = answers.require_success(self._settings.success, response, errors=errors)
        self._there = True
        return answers.results(errors, answer, batch, RowResult(done.outcome, status=response.status))

    def _path(self, operation: Operation) -> str:
        record = operation.record
        own = (ID, self.identifier.name)
        return self._calls[operation.behavior].path.fill(
            lambda name: record.id if name in own else get(record.fields, name)
        )

    def _body(self, call: Call, batch: Sequence[Operation]) -> Json:
        records = [self.encoded(operation) for operation in batch]
        if call.batch_size is None:
            return records[0]
        names = self._settings.batch_key.split(".") if self._settings.batch_key else ()
        return array(records, *names)

    def _idempotency(self, call: Call, path: str, batch: Sequence[Operation]) -> dict[str, str]:
        if not self._settings.idempotency_header:
            return {}
        # The order of the fields is no other content.
        content = [(operation.record.id, self.payload(operation)) for operation in batch]
        parts = json.dumps([self.sync_id, self._run, call.method, path, content], sort_keys=True)
        return {self._settings.idempotency_header: hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()}


def _sent(request: Request) -> Exchange[tuple[Response, bool]]:
    """Send a request, again if it may be; return the answer, and whether it may be about the repetition."""
    if not request.idempotent:
        return (yield request), False
    try:
        return (yield replace(request, idempotent=False)), False
    except Unanswered:
        return (yield request), True


def _merged(into: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, the objects on common paths merged; ``fields`` win."""
    for name, value in fields.items():
        own = into.get(name)
        into[name] = _merged(own, value) if isinstance(own, dict) and isinstance(value, Mapping) else value
    return into
