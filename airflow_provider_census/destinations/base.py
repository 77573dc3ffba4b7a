"""
What a destination is: data about its objects, and exchanges that turn operations into outcomes.

A destination class knows its API and nothing else: no Airflow, no I/O, no state of the sync. An instance is bound to
one object, one behavior and one identifier for one run. The engine calls, in this order::

    Destination.behind(credentials)        the class that speaks to this connection; nearly always the same
    Destination.endpoint(credentials)      where to send; a wrong connection is a ConfigError here
    destination = Destination(object, behavior, identifier, options, sync_id)
    destination.prepare(fields)            exchange: look things up, refuse what cannot work
    destination.check(operation)           per record: the reason why the API cannot take it, or None
    destination.fetch(operations)            exchange, where offered: what is there now, before anything is written
    destination.lane(operation)            which operations may share a batch
    destination.send(batch)                exchange: one RowResult per operation, in the order of the batch
    destination.find(operations, since)    exchange, where offered: whether operations without an answer were applied
"""

from __future__ import annotations

import abc
import datetime as dt
import decimal
import fnmatch
import uuid
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import CensusError, ConfigError
from airflow_provider_census.sync.comparison import same
from airflow_provider_census.sync.paths import get, leaves, put
from airflow_provider_census.sync.values import Behavior, Held, Operation, Outcome, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Endpoint, Exchange, Json, Response, encode, encode_record, size
from airflow_provider_census.transport.rate import Rate, Throttle

OVERTAKEN = "it was made or deleted since it was looked up; the next run looks again"
"""Why an operation is rejected that is :meth:`~.Operation.overtaken`."""


class Refused(CensusError):
    """
    The API refused a whole batch and changed nothing.

    Raised by :meth:`Destination.send`; the engine halves the batch until the record at fault is alone, which is then
    rejected with ``reason``.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Destination(abc.ABC):
    """One API. Subclasses fill in the class data and the exchanges; see the module for the order of calls."""

    name: ClassVar[str]
    objects: ClassVar[tuple[ObjectType, ...]]
    rates: ClassVar[tuple[Rate, ...]]
    concurrency: int = 16
    """Requests in flight at the most; how many it takes is learned. An instance may have fewer. 1 keeps the order."""
    most_in_flight: int | None = None
    """The published limit of requests in flight, None without one; a sync may use its ``rate_share`` of it."""
    timeout_s: ClassVar[tuple[float, float]] = (10.0, 30.0)
    """How long connecting may take, and how long the API may take to answer before the answer counts as lost."""
    max_record_bytes: ClassVar[int] = 100_000
    """The encoded size of one record the API takes."""
    finds: bool = False
    """Whether :meth:`find` can tell what became of operations in doubt; an instance may learn it in prepare."""
    finds_with: ClassVar[str] = ""
    """What :meth:`find` lacks where :attr:`finds` is False, as advice; empty where nothing would help."""
    applied_within_s: ClassVar[float] = 10.0
    """How long after a request without an answer the API may still apply it."""
    common_options: ClassVar[tuple[str, ...]] = ("on_uncertain",)

    def __init__(
        self,
        object: str,
        behavior: Behavior,
        identifier: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        sync_id: str = "",
    ) -> None:
        """
        Bind the destination to one sync.

        :raises ConfigError: the object, behavior, identifier or an option is not offered; the message names the valid.
        """
        self.object_name = object
        self.object = self.object_type(object)
        if behavior not in self.object.behaviors:
            raise ConfigError.unknown(
                "behavior", behavior.value, self.object.behaviors, where=f"for {self.name} {self.object.name}"
            )
        self.behavior = behavior
        self.options = dict(options or {})
        self.sync_id = sync_id
        for option in self.options:
            valid = (*self.common_options, *self.object.options)
            if option not in valid:
                raise ConfigError.unknown("option", option, valid, where=f"for {self.name} {self.object.name}")
        self.on_uncertain: str = self.options.get("on_uncertain", "hold")
        if self.on_uncertain not in ("hold", "resend"):
            raise ConfigError.unknown("options['on_uncertain']", self.on_uncertain, ("hold", "resend"))
        self.identifier = self.find_identifier(identifier)

    # --- what is offered -------------------------------------------------------------------------------------------

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """Return the object of this name. Destinations with dynamic objects (channels) override it."""
        for candidate in cls.objects:
            if candidate.name == name:
                return candidate
        raise ConfigError.unknown("object", name, (o.name for o in cls.objects), where=f"at {cls.name}")

    def find_identifier(self, name: str | None) -> Identifier:
        """Return the identifier of this name, the first one for None."""
        for candidate in self.object.identifiers:
            if name is None or candidate.name == name:
                return candidate
        raise ConfigError.unknown(
            "identifier", name, (i.name for i in self.object.identifiers), where=f"for {self.name} {self.object.name}"
        )

    def check_field(self, path: str) -> None:
        """
        Check one field name of a mapping before any row is read.

        :raises ConfigError: the object has no such field.
        """
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in self.object.fields):
            raise ConfigError.unknown("field", path, self.object.fields, where=f"for {self.name} {self.object.name}")

    @property
    def fetches(self) -> bool:
        """Whether :meth:`fetch` can tell what the destination holds of this object."""
        return bool(self.object.fetched)

    def check_if_empty(self, path: str) -> None:
        """
        Check that it can be told whether the destination holds something at ``path``.

        :raises ConfigError: it cannot; the message names the ways out.
        """
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.object.fetched):
            return
        told = f"; it tells {', '.join(map(repr, self.object.fetched))}" if self.fetches else ""
        other = (
            f", or fill it by a sync with behavior {Behavior.CREATE_ONLY.value!r}"
            if Behavior.CREATE_ONLY in self.object.behaviors
            else ""
        )
        raise ConfigError(
            f"mapping of {path!r}: set='if_empty' needs to know what is there, which {self.name} {self.object.name} "
            f"does not tell{told}. Set it always{other}"
        )

    def home(self, field: str) -> str:
        """Return the path at which ``SyncAll`` puts a column that it names ``field``."""
        return field

    def sync_all(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the fields of a record made of every column: each at its home, dots nest.

        :param columns: by the names ``SyncAll`` gives them; JSON values, text already escaped.
        """
        fields: dict[str, Any] = {}
        for name, value in columns.items():
            put(fields, self.home(name), value)
        return fields

    def limits(self) -> Sequence[Rate]:
        """Return what this sync is paced by: the rates of the class, where no option says otherwise."""
        return self.rates

    def in_flight(self, share: float) -> int:
        """Return how many requests may be in flight for a sync that may use this ``share`` of the limits."""
        if self.most_in_flight is None:
            return self.concurrency
        # Rounded: 0.29 * 100 is less than 29.
        return min(self.concurrency, max(1, int(round(self.most_in_flight * share, 6))))

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class that speaks to this connection: another one where an API has a second way in."""
        return cls

    @classmethod
    @abc.abstractmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """
        Return where the connection points.

        :raises ConfigError: a part of the connection is missing or wrong; the message says which.
        """

    def target(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """
        Return what the state of a sync speaks of: these records, known by this identifier, in this place.

        :param constants: as for :meth:`place`.
        """
        place = endpoint.redact(self.place(endpoint, constants))
        return f"{self.name}/{self.object_name} by {self.identifier.name} at {place}"

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """
        Return where the records live, as far as connection, options and mapping tell: elsewhere nothing was sent yet.

        The host, if not overridden. No secrets, and the same with a renewed key: what only the key tells (in most APIs
        the account) is left out.

        :param constants: the fields that every record has alike.
        """
        return urlsplit(endpoint.base_url).hostname or ""

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """
        Return a database value that JSON does not know as one that the API takes at ``path``.

        :raises ValueError: it cannot; the message is the reason the row is invalid.
        """
        match value:
            case decimal.Decimal():
                return int(value) if value == value.to_integral_value() else float(value)
            case dt.datetime():
                return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()
            case dt.date() | dt.time():
                return value.isoformat()
            case uuid.UUID():
                return str(value)
        raise ValueError(f"{path}: a {type(value).__name__} has no JSON form; cast it in the model")

    def escape(self, text: str, path: str) -> str:
        """Return text of a row so that the destination shows it at ``path`` and does not interpret it (markup)."""
        return text

    # --- the exchanges ---------------------------------------------------------------------------------------------

    @classmethod
    @abc.abstractmethod
    def test(cls) -> Exchange[str]:
        """Exchange that proves the connection without changing anything; returns what a person wants to read."""

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """
        Exchange run once before the first row: resolve names, refuse what cannot work.

        :param fields: the paths the mapping writes.
        :raises ConfigError: the destination does not have what the mapping or the object names.
        """
        return
        yield

    def check(self, operation: Operation) -> str | None:
        """Return why the API could not take this operation, None if it can. The row is invalid with that reason."""
        return None

    def lane(self, operation: Operation) -> Hashable:
        """Return a value equal for operations that may share a batch."""
        return operation.behavior

    def max_batch(self, operation: Operation) -> int:
        """Return how many operations of this lane one batch may hold."""
        return 1

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return the encoded size of a whole batch of this lane, None for no limit."""
        return None

    @abc.abstractmethod
    def payload(self, operation: Operation) -> Any:
        """Return the JSON that stands for this operation in a request. :meth:`send` and the dry run both use it."""

    def encoded(self, operation: Operation) -> Json:
        """Return the payload as it goes over the wire; made once, for what is measured, collected and sent."""
        if operation.encoded is None:
            operation.encoded = encode_record(self.payload(operation))
        return operation.encoded

    @abc.abstractmethod
    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """
        Exchange that carries out a batch; returns one result per operation, in order.

        None stands for an operation the answer does not account for: it ends uncertain, never accepted.

        :raises Refused: the API refused the batch as a whole and changed nothing.
        """

    def find(self, operations: Sequence[Operation], since: int) -> Exchange[Sequence[bool | None]]:
        """
        Exchange that looks for operations in doubt; one answer each, in order. Asked where :attr:`finds` says so.

        True: it was applied. False: it was not. None: that cannot be told.

        :param since: Unix time before which none of them was sent, by the clock of the machine that did.
        """
        return [None] * len(operations)
        yield

    def max_fetch(self) -> int:
        """Return how many records one :meth:`fetch` takes."""
        return 1

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """
        Exchange that returns what is there now for each operation, in order; asked where :attr:`fetches` says so.

        A field that is not returned is empty. Text says why it cannot be told: several records have the identifier.

        :raises Refused: the API refused to look them up.
        """
        return ["it cannot be looked up"] * len(operations)
        yield

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Return how many requests looking up ``count`` records in one :meth:`fetch` takes per rate."""
        return {"": count}

    def matches(self, operation: Operation, held: Mapping[str, Any]) -> bool:
        """Return whether ``held`` is what the operation would leave there; False where that is not sure."""
        return all(
            any(fnmatch.fnmatchcase(path, pattern) for pattern in self.object.fetched)
            and self.same(path, wanted, get(held, path))
            for path, wanted in leaves(operation.record.fields)
        )

    def same(self, path: str, wanted: Any, held: Any) -> bool:
        """Return whether the API shows ``wanted`` as ``held`` at ``path``; False where that is not sure."""
        return same(wanted, held)

    def repeatable(self, operation: Operation) -> bool:
        """Return whether sending this operation twice leaves the destination as sending it once."""
        return not operation.behavior.adds

    def resendable(self, operation: Operation) -> bool:
        """Return whether a request for this operation may be sent again after no answer came."""
        return self.repeatable(operation) or self.on_uncertain == "resend"

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Return how many requests a batch takes per rate, for the estimate of a dry run."""
        return {"": 1}

    def costs_of(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Return what a batch costs per rate, in the rate's unit: not the same where an API counts objects."""
        return self.requests_for(batch)

    # --- answers ---------------------------------------------------------------------------------------------------

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means. Override for single lines; fall back to :func:`~.verdict.judge`."""
        return verdict.judge(response)

    @classmethod
    def throttle(cls, response: Response) -> Throttle:
        """Return what the headers of a response say about the rate limit."""
        return Throttle()


def encoded_size(value: Any) -> int:
    """Return the bytes of ``value`` as JSON on the wire."""
    return size(encode(value))


def rejected(reason: str, status: int | None = None) -> RowResult:
    """Return a rejection."""
    return RowResult(Outcome.REJECTED, reason, status)
