"""
What a destination is: an offer (``offer.py``), and exchanges that turn operations into outcomes.

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
import uuid
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_census.destinations.objects import among
from airflow_provider_census.destinations.offer import Offer
from airflow_provider_census.sync.comparison import same
from airflow_provider_census.sync.paths import get, leaves
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Endpoint, Exchange, Json, Response, encode_record
from airflow_provider_census.transport.rate import Throttle


class Destination(Offer, abc.ABC):
    """One API. Subclasses fill in the class data and the exchanges; see the module for the order of calls."""

    timeout_s: ClassVar[tuple[float, float]] = (10.0, 30.0)
    """
    How long connecting may take, and how long the API may take to answer before the answer counts as lost. So does one
    that comes in pieces and has not come to its end in four times that.
    """
    finds: bool = False
    """Whether :meth:`find` can tell what became of operations in doubt; an instance may learn it in prepare."""
    finds_with: ClassVar[str] = ""
    """What :meth:`find` lacks where :attr:`finds` is False, as advice; empty where nothing would help."""
    applied_within_s: ClassVar[float] = 10.0
    """How long after a request without an answer the API may still apply it."""

    # --- the connection --------------------------------------------------------------------------------------------

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

    @property
    def escapes(self) -> bool:
        """Whether :meth:`escape` may change text."""
        return type(self).escape is not Destination.escape

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

        :raises ~.refusal.Refused: the API refused the batch as a whole and changed nothing.
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

        :raises ~.refusal.Refused: the API refused to look them up.
        """
        return ["it cannot be looked up"] * len(operations)
        yield

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Return how many requests looking up ``count`` records in one :meth:`fetch` takes per rate."""
        return {"": count}

    def matches(self, operation: Operation, held: Mapping[str, Any]) -> bool:
        """Return whether ``held`` is what the operation would leave there; False where that is not sure."""
        return all(
            among(self.object.fetched, path) and self.same(path, wanted, get(held, path))
            for path, wanted in leaves(operation.record.fields)
        )

    def same(self, path: str, wanted: Any, held: Any) -> bool:
        """Return whether the API shows ``wanted`` as ``held`` at ``path``; False where that is not sure."""
        return same(wanted, held)

    def repeatable(self, operation: Operation) -> bool:
        """Return whether sending this operation twice leaves the destination as sending it once."""
        return not operation.behavior.adds

    def once(self, operation: Operation) -> bool:
        """Return whether the operation is not :meth:`repeatable`; found out once, for all who ask."""
        if operation.once is None:
            operation.once = not self.repeatable(operation)
        return operation.once

    def resendable(self, operation: Operation) -> bool:
        """Return whether a request for this operation may be sent again after no answer came."""
        return not self.once(operation) or self.on_uncertain == "resend"

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
