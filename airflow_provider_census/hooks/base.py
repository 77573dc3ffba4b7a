"""From an Airflow connection to a client that speaks to its API: what all hooks of this package share."""

from __future__ import annotations

import importlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import CensusError, ConfigError
from airflow_provider_census.sync.behavior import Behavior, parse_behavior
from airflow_provider_census.sync.conversion import Converter, key_text
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.paths import put
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Request, Response
from airflow_provider_census.transport.rate import Limiter

# Airflow's own providers own some names; their connections are accepted beside ours.
_PREFIX = "census_"


class DestinationHook(BaseHook):
    """
    A connection to one destination.

    :param conn_id: the Airflow connection; nothing is read before the first use.
    :param rate_share: the part of the destination's published limit this hook may use, 0 < share ≤ 1.
    """

    conn_name_attr: ClassVar[str]
    default_conn_name: ClassVar[str]
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]
    destination: ClassVar[str]

    def __init__(self, conn_id: str, *, rate_share: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.rate_share = rate_share
        setattr(self, self.conn_name_attr, conn_id)

    def get_conn(self) -> Client:
        """
        Return the client; it is safe to use from many threads and holds the connection's rate limit.

        :raises ConfigError: the connection is missing, or a part of it.
        """
        return self._client

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
    ) -> Response:
        """
        Send one request to the API, paced and retried like those of a sync.

        :param path: below the API's base URL, which already has the API's own prefix.
        :param json: the body; ``form`` is the alternative, sent urlencoded.
        :param idempotent: whether it may be sent again after no answer; by default GET, PUT and DELETE may.
        :return: the answer, also one with a 4xx status that is about the content.
        """
        if idempotent is None:
            idempotent = method.upper() in ("GET", "HEAD", "PUT", "DELETE")
        return self._client.send(
            Request(method=method.upper(), path=path, json=json, form=form, query=query, idempotent=idempotent)
        )

    def send(
        self,
        object: str,
        behavior: str,
        records: Iterable[Mapping[str, Any]],
        *,
        identifier: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[RowResult]:
        """
        Send ``records`` and return how each ended, in their order. No state is kept.

        :param object: as ``destination_object`` of the operator; so are ``behavior`` and ``options``.
        :param records: destination fields by name, dots nest. The identifier is one of them; where every record adds
            something new (append, send) it may be left out. Values stand as they are, markup included.
        :param identifier: the field that identifies a record; the object's first one by default.
        :raises AuthError, ConfigError, Unavailable: sending cannot go on.
        """
        destination = self.bind(object, parse_behavior(behavior), identifier, options)
        records = list(records)
        fields = dict.fromkeys(path for record in records for path in record if path != destination.identifier.name)
        for path in fields:
            destination.check_field(path)
        self._client.run(destination.prepare(tuple(fields)))
        results: list[RowResult | None] = [None] * len(records)
        operations = []
        for at, planned in enumerate(_plan(records, destination)):
            if isinstance(planned, Operation):
                operations.append((at, planned))
            else:
                results[at] = planned
        for batch in deliver(operations, destination, self._client):
            for at, result in batch:
                results[at] = result
        return [result for result in results if result is not None]

    def test_connection(self) -> tuple[bool, str]:
        """Ask the API who we are, changing nothing."""
        try:
            cls, credentials = self._target
            limiter = Limiter(cls.rates)
            client = Client(
                cls.endpoint(credentials), limiter, judge=cls.judge, throttle=cls.throttle, attempts=2, patience_s=0
            )
            return True, client.run(cls.test())
        except CensusError as error:
            return False, str(error)

    def bind(
        self,
        object: str,
        behavior: Behavior,
        identifier: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        sync_id: str = "",
    ) -> Destination:
        """Return the destination bound to one object and behavior; its limits pace the connection from now on."""
        cls, _ = self._target
        destination = cls(object, behavior, identifier, options, sync_id=sync_id)
        self._client.limiter.adopt(destination.limits())
        return destination

    @cached_property
    def _target(self) -> tuple[type[Destination], Credentials]:
        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            raise ConfigError(f"connection {self.conn_id!r} is not defined") from None
        if not isinstance(connection.extra_dejson, Mapping):
            raise ConfigError(f"connection {self.conn_id!r}: its extra must be a JSON object")
        credentials = self.credentials(connection)
        with self._named():
            return destinations.get(self.destination).behind(credentials), credentials

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors about parts of the connection say whose they are."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"connection {self.conn_id!r}: {error}") from None

    @classmethod
    def credentials(cls, connection: Connection) -> Credentials:
        """Return what a destination may read of a connection."""
        return Credentials(
            password=connection.password or "",
            host=connection.host or "",
            login=connection.login or "",
            extra=connection.extra_dejson,
        )

    @cached_property
    def _client(self) -> Client:
        cls, credentials = self._target
        with self._named():
            endpoint = replace(cls.endpoint(credentials), name=f"connection {self.conn_id!r}")
        for secret in endpoint.secrets:
            mask_secret(secret)
        limiter = Limiter(cls.rates, share=self.rate_share)
        return Client(endpoint, limiter, judge=cls.judge, throttle=cls.throttle, timeout_s=cls.timeout_s)


def destination_hook(conn_id: str, *, rate_share: float = 1.0) -> DestinationHook:
    """
    Return the hook for a connection, by its type.

    :raises ConfigError: the connection is missing, or not one to a destination.
    """
    try:
        conn_type = BaseHook.get_connection(conn_id).conn_type
    except AirflowNotFoundException:
        raise ConfigError(f"destination connection {conn_id!r} is not defined") from None
    name = (conn_type or "").removeprefix(_PREFIX)
    if name not in destinations.names():
        raise ConfigError.unknown(
            "type", conn_type, destinations.names(), where=f"for destination connection {conn_id!r}"
        )
    module = importlib.import_module(f"airflow_provider_census.hooks.{name}")
    cls = next(c for c in vars(module).values() if getattr(c, "destination", None) == name)
    hook: DestinationHook = cls(conn_id, rate_share=rate_share)
    return hook


def _plan(records: list[Mapping[str, Any]], destination: Destination) -> Iterable[Operation | RowResult]:
    """Yield an operation per record, or why there is none."""
    name = destination.identifier.name
    ids = [_id(record.get(name), destination) for record in records]
    copies = Counter(ids)
    for record, id in zip(records, ids, strict=True):
        if not id.strip():
            yield RowResult(Outcome.INVALID, f"{name} is missing, empty or not usable as an identifier")
        elif copies[id] > 1:
            yield RowResult(Outcome.INVALID, f"{name} stands in {copies[id]} records; none of them is sent")
        else:
            yield _operation(record, id, destination)


def _id(key: Any, destination: Destination) -> str:
    if key is None:
        # Of its own: where the API removes duplicates by it, the same content tomorrow is none.
        return uuid.uuid4().hex if destination.behavior.adds else ""
    try:
        return destination.identifier.normalise(key_text(key))
    except ValueError:
        return ""


def _operation(record: Mapping[str, Any], id: str, destination: Destination) -> Operation | RowResult:
    name = destination.identifier.name
    convert = Converter(destination).value
    fields: dict[str, Any] = {}
    try:
        for path, value in record.items():
            if path != name:
                put(fields, path, convert(value, path))
    except ValueError as error:
        return RowResult(Outcome.INVALID, str(error))
    operation = Operation(destination.behavior, Record(record.get(name, id), id, fields))
    reason = destination.check(operation)
    return operation if reason is None else RowResult(Outcome.INVALID, reason)
