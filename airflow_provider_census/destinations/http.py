"""
Any HTTP API with JSON bodies: what a request looks like and what an answer means is told by the author of the sync.

One request per row, or per batch: ``options`` names method and path, and how the API says yes and no. Nothing is
assumed in favour of acceptance: an answer that is not what was declared leaves its rows ``uncertain``, and a request
that the API might apply twice is not sent twice, unless the author says that the API can tell.

Values of rows stand in JSON, or quoted in their place of a path; there are no templates of text.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from airflow_provider_census.destinations import _http_answers as answers
from airflow_provider_census.destinations._http_credentials import authorization
from airflow_provider_census.destinations._http_options import OPTIONS, RATE, Settings, read
from airflow_provider_census.destinations._http_path import Path
from airflow_provider_census.destinations.base import (
    Destination,
    Identifier,
    ObjectType,
    base_url,
    encoded_size,
)
from airflow_provider_census.errors import ConfigError, Unanswered
from airflow_provider_census.sync.paths import get, put
from airflow_provider_census.sync.values import Behavior, Operation, Outcome, RowResult
from airflow_provider_census.transport.message import Credentials, Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

_ID = "id"
_NAME = re.compile(r"[^\s{}.]+(\.[^\s{}.]+)*")
_DONE = {
    Behavior.UPDATE_OR_CREATE: Outcome.UPSERTED,
    Behavior.UPDATE_ONLY: Outcome.UPDATED,
    Behavior.CREATE_ONLY: Outcome.CREATED,
    Behavior.DELETE: Outcome.DELETED,
    Behavior.APPEND: Outcome.SENT,
    Behavior.SEND: Outcome.SENT,
}
# What says, by the meaning of the status, that there is nothing to do.
_SKIPS = {Behavior.UPDATE_ONLY: (404,), Behavior.CREATE_ONLY: (409,), Behavior.DELETE: (404, 410)}


@dataclass(frozen=True, slots=True)
class _Call:
    """What one kind of operation asks of the API."""

    method: str
    path: Path
    batch_size: int | None
    skips: tuple[int, ...]
    repeatable: bool
    names_record: bool
    """Whether the identifier stands in the path."""


class Http(Destination):
    """One endpoint of an API."""

    name: ClassVar[str] = "http"
    objects = (
        ObjectType(
            name="request",
            behaviors=(*_DONE, Behavior.MIRROR),
            identifiers=(Identifier(_ID),),
            options=OPTIONS,
        ),
    )
    rates = (Rate(RATE, 10, 1.0),)
    # What many servers take unless they are told otherwise (nginx: client_max_body_size).
    max_record_bytes = 1_000_000

    test_path: ClassVar[str] = ""

    def __init__(
        self,
        object: str,
        behavior: Behavior,
        identifier: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        sync_id: str = "",
    ) -> None:
        super().__init__(object, behavior, identifier, options, sync_id=sync_id)
        self._settings = read(self.options)
        self.concurrency = self._settings.concurrency
        kinds = (Behavior.UPDATE_OR_CREATE, Behavior.DELETE) if behavior is Behavior.MIRROR else (behavior,)
        self._calls = {kind: self._call(kind, self._settings) for kind in kinds}
        self._there = False
        # A key that is always the same for the same content would turn a value that changes and changes back into a
        # repetition. What adds or creates must keep its key over all runs.
        self._run = "" if behavior.adds or behavior is Behavior.CREATE_ONLY else uuid.uuid4().hex

    def _call(self, kind: Behavior, settings: Settings) -> _Call:
        deletes = kind is Behavior.DELETE
        method = settings.delete_method if deletes else settings.method
        path = (settings.delete_path if deletes else None) or settings.path
        if path is None:
            name = "delete_path" if deletes else "path"
            raise ConfigError(f"options[{name!r}] is needed for http {self.object.name}, like '/users/{{id}}'")
        named = any(name in (_ID, self.identifier.name) for name in path.names)
        if method == "DELETE" and not named:
            raise ConfigError(f"DELETE {path} names no record and might delete them all; put {{id}} into the path")
        batch_size = None if method == "DELETE" else settings.batch_size
        if batch_size and named and not deletes:
            raise ConfigError(f"options['batch_size']: a path with one record's id in it takes no batch: {path}")
        if kind is Behavior.UPDATE_OR_CREATE:
            skips: tuple[int, ...] = ()
        elif settings.skip_status is not None:
            skips = settings.skip_status
        else:  # of a path that is the same for all records, 404 says nothing about one
            skips = tuple(status for status in _SKIPS.get(kind, ()) if path.names or status == 409)
        repeatable = settings.repeatable
        if repeatable is None:
            repeatable = deletes or method != "POST" or bool(settings.idempotency_header)
        return _Call(method, path, None if named else batch_size, skips, repeatable, named)

    # --- what is offered -------------------------------------------------------------------------------------------

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """Return the one object; what is sent where is told by the options, so its name is a label."""
        return replace(cls.objects[0], name=name)

    def find_identifier(self, name: str | None) -> Identifier:
        """Return the identifier of this name: any field may be one."""
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(f"identifier {name!r} must be the name of a field, like 'id' or 'user.email'")
        return Identifier(name or _ID)

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
        if (
            self.identifier.name != _ID
            and _ID in fields
            and any(_ID in call.path.names for call in self._calls.values())
        ):
            raise ConfigError(
                f"{{id}} in a path is the identifier, {self.identifier.name!r}, and the mapping fills a field 'id'; "
                f"write {{{self.identifier.name}}}, or make 'id' the identifier"
            )
        known = dict.fromkeys((_ID, self.identifier.name, *fields))
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
        size = encoded_size(self.payload(operation))
        most = self.max_record_bytes
        return f"the record has {size:,} bytes, more than {most:,}" if size > most else None

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
            json=body,
            headers={**self._settings.headers, **self._idempotency(call, path, body, batch)},
            idempotent=all(self.resendable(operation) for operation in batch),
        )
        done = RowResult(_DONE[kind])
        response, again = yield from _sent(request)
        if response.status in call.skips and len(batch) == 1:
            # What is gone, or is there, after a request without an answer is its work.
            own = again and kind in (Behavior.DELETE, Behavior.CREATE_ONLY)
            return [done if own else RowResult(Outcome.SKIPPED, answers.said(response), response.status)]
        if response.status in (404, 405) and not call.path.names and not self._there:
            raise ConfigError(f"{call.method} {call.path}: {answers.said(response)}; the API has no such path")
        errors = self._settings.errors
        answer = answers.require_success(self._settings.success, response, errors=errors)
        self._there = True
        return answers.results(errors, answer, batch, replace(done, status=response.status))

    def _path(self, operation: Operation) -> str:
        record = operation.record
        own = (_ID, self.identifier.name)
        return self._calls[operation.behavior].path.fill(
            lambda name: record.id if name in own else get(record.fields, name)
        )

    def _body(self, call: _Call, batch: Sequence[Operation]) -> Any:
        records = [self.payload(operation) for operation in batch]
        if call.batch_size is None:
            return records[0]
        if not self._settings.batch_key:
            return records
        body: dict[str, Any] = {}
        put(body, self._settings.batch_key, records)
        return body

    def _idempotency(self, call: _Call, path: str, body: Any, batch: Sequence[Operation]) -> dict[str, str]:
        if not self._settings.idempotency_header:
            return {}
        ids = [operation.record.id for operation in batch]
        parts = json.dumps([self.sync_id, self._run, call.method, path, ids, body], sort_keys=True)
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
