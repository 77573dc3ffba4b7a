"""
One case on the bench: a destination, its stand-in, and the question whether what we report is what happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import CensusError
from airflow_provider_census.sandbox.core import Call, Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.delta import Delta, Watermark
from airflow_provider_census.sync.fields import MappingDeclaration
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.result import RunResult
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.state import MemoryStore, StateStore
from airflow_provider_census.sync.values import Held, Record, RowResult
from airflow_provider_census.testing.source import Table
from airflow_provider_census.testing.subject import Case
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.rate import Limiter, Rate, Throttle

_FASTER = 1_000  # the stand-ins refuse what comes too fast; the cases are not about that
ARRIVED = (Outcome.CREATED, Outcome.UPDATED, Outcome.UPSERTED, Outcome.SENT, Outcome.DELETED)


@dataclass(frozen=True)
class Door:
    """A way in: the credentials of a connection, and the class that speaks through it."""

    cls: type[Destination]
    credentials: Credentials

    @classmethod
    def of(cls, name: str, connection: Mapping[str, Any]) -> Door:
        """Return the way in of an Airflow connection, given as JSON."""
        parts = {part: connection[part] for part in ("password", "host", "login", "extra") if part in connection}
        credentials = Credentials(**parts)
        return cls(destinations.get(name).behind(credentials), credentials)

    @property
    def password(self) -> str:
        """The secret of the connection."""
        return self.credentials.password

    def spoiled(self) -> Door:
        """Return the same with a password that is not accepted."""
        credentials = replace(self.credentials, password=self.password + "x")
        return Door(self.cls.behind(credentials), credentials)

    def client(self, limiter: Limiter | None = None, **settings: Any) -> Client:
        """Return a client in a hurry."""
        fast = Limiter([Rate(r.name, r.count * _FASTER, r.per_s) for r in self.cls.rates])
        settings = {"backoff_s": 0.01, "timeout_s": (5.0, 10.0), **settings}
        return Client(
            self.cls.endpoint(self.credentials),
            limiter or fast,
            judge=self.cls.judge,
            throttle=self.cls.throttle,
            **settings,
        )


class Turns(Limiter):
    """A limiter with the names of ``rates``, each ``per_s`` a second, that takes note of who took a turn."""

    def __init__(self, rates: Iterable[Rate], per_s: float = 40) -> None:
        super().__init__([Rate(rate.name, per_s, 1) for rate in rates])
        self.names = [rate.name for rate in rates]
        self.taken: list[tuple[str, float, float]] = []
        self._per_s = per_s

    def acquire(self, name: str = "", cost: float = 1) -> None:
        """Wait for the turn."""
        super().acquire(name, cost)
        self.taken.append((name or self.names[0], time.monotonic(), cost))

    def learn(self, name: str, throttle: Throttle) -> None:
        """Keep the pace, whatever the stand-in says of its own."""

    def assert_paced(self) -> None:
        """Each turn was taken under a declared rate, and none before its time."""
        assert {name for name, _, _ in self.taken} <= set(self.names), "a rate that is not declared paces nothing"
        for wanted in self.names:
            turns = [(at, cost) for name, at, cost in self.taken if name == wanted]
            if turns:
                took = turns[-1][0] - turns[0][0]
                assert took >= 0.9 * sum(cost for _, cost in turns[:-1]) / self._per_s


class Bench:
    """A destination bound to one case, connected to its stand-in."""

    def __init__(self, case: Case, sandbox: Sandbox, door: Door) -> None:
        self.case = case
        self.subject = case.subject
        self.sandbox = sandbox
        self.door = door
        self.client = door.client()
        self.destination = self.ready()
        self._opened: list[Client | Table] = [self.client]

    def close(self) -> None:
        """Close what was opened."""
        for thing in self._opened:
            thing.close()

    def ready(self, **options: Any) -> Destination:
        """Return the destination, prepared for the fields of the subject."""
        return self._prepared(self.case.bind(self.door.cls, **options))

    def _prepared(self, destination: Destination) -> Destination:
        self.client.run(destination.prepare(tuple({**self.case.row(0), **self.subject.odd})))
        return destination

    # --- records ---------------------------------------------------------------------------------------------------

    def records(self, count: int, *, start: int = 0) -> list[Record]:
        """Return good records; those the case needs are there, with other values."""
        return self.known([self.case.record(n) for n in range(start, start + count)])

    def known(self, records: list[Record]) -> list[Record]:
        """Return ``records``, which are there with other values if the case needs that."""
        if self.case.existing:
            behaviors = self.destination.object.behaviors
            behavior = next(b for b in (Behavior.UPDATE_OR_CREATE, Behavior.CREATE_ONLY) if b in behaviors)
            destination = self._prepared(self.case.bind(self.door.cls, behavior))
            earlier = [self.case.earlier(record, n) for n, record in enumerate(records)]
            for record, result in zip(earlier, self.deliver(earlier, destination=destination), strict=True):
                assert result.outcome in ARRIVED, f"{record.id} could not be put there: {result.reason}"
        self.sandbox.ledger.clear()
        return records

    def held(self) -> list[Mapping[str, Any]]:
        """Return what the stand-in holds."""
        return list(self.subject.held(self.sandbox[self.case.destination]))

    def found(self, record: Record) -> list[Mapping[str, Any]]:
        """Return what the stand-in holds under the identifier of ``record``, or with its fields where it is added."""
        if self.case.identifies:
            return [thing for thing in self.held() if thing.get(self.destination.identifier.name) == record.id]
        return [thing for thing in self.held() if shows(thing, record.fields)]

    def landed(self, record: Record) -> bool:
        """Return whether what the case does to ``record`` was done."""
        found = self.found(record)
        return not found if self.case.deletes else any(shows(thing, record.fields) for thing in found)

    # --- doing -----------------------------------------------------------------------------------------------------

    def deliver(
        self, records: Iterable[Record], *, destination: Destination | None = None, client: Client | None = None
    ) -> list[RowResult]:
        """Send ``records`` and return their results in order."""
        destination = destination or self.destination
        results: dict[int, RowResult] = {}
        operations = (
            (n, structs.replace(self.case.operation(r), behavior=destination.behavior)) for n, r in enumerate(records)
        )
        for batch in deliver(operations, destination, client or self.client):
            for n, result in batch:
                assert n not in results, "a record has two results"
                results[n] = result
        return [results[n] for n in range(len(results))]

    def held_now(self, records: Sequence[Record]) -> list[Held | str]:
        """Return what the destination says it holds of each record."""
        operations = [self.case.operation(record) for record in records]
        most = self.destination.max_fetch()
        batches = [operations[at : at + most] for at in range(0, len(operations), most)]
        return [answer for batch in batches for answer in self.client.run(self.destination.fetch(batch))]

    def table(self, rows: Iterable[tuple[Any, Mapping[str, Any]]]) -> Table:
        """Return a model with these rows."""
        table = Table(rows)
        self._opened.append(table)
        return table

    def rows(self, count: int) -> list[tuple[Any, Mapping[str, Any]]]:
        """Return rows of good records; those the case needs are there."""
        self.records(count)
        return [(self.subject.id(n), self.case.row(n)) for n in range(count)]

    def run(
        self,
        table: Table,
        store: StateStore | None = None,
        *,
        client: Client | None = None,
        door: Door | None = None,
        delta: Delta = Watermark("moved"),  # noqa: B008 — a value
        mapping: MappingDeclaration | None = None,
        **settings: Any,
    ) -> tuple[RunResult, CensusError | None]:
        """Run the sync of ``table`` once."""
        sync = Sync(
            model=table.model,
            destination=self.case.bind((door or self.door).cls),
            key_column="key",
            mapping=mapping or table.mapping,
            delta=delta,
            **settings,
        )
        return run_sync(sync, table, client or self.connect(), store or MemoryStore())

    def connect(self, limiter: Limiter | None = None, **settings: Any) -> Client:
        """Return another client of the same connection."""
        client = self.door.client(limiter, **settings)
        self._opened.append(client)
        return client

    # --- breaking --------------------------------------------------------------------------------------------------

    def break_write(self, **what: Any) -> None:
        """Let something go wrong with the requests that write."""
        method, path = self.case.write
        self.sandbox.inject(Fault(api=self.case.destination, method=method, path=path, **what))

    def writes(self) -> list[Call]:
        """Return the requests that wrote, or tried to."""
        return self.sandbox.calls(self.case.destination, *self.case.write)

    def settle(self, seconds: float) -> None:
        """Wait until nothing is served any more, at the most so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(call.status is None for call in self.sandbox.ledger):
            time.sleep(0.02)

    # --- judging ---------------------------------------------------------------------------------------------------

    def assert_truthful(self, records: Sequence[Record], results: Sequence[RowResult]) -> None:
        """Every record has one result, and the stand-in shows it: accepted is there once, refused is not there."""
        assert len(results) == len(records)
        for record, result in zip(records, results, strict=True):
            there = len(self.found(record))
            if result.outcome in ARRIVED:
                assert self.landed(record), f"{record.id} is reported {result.outcome} and has not landed"
                assert there == (0 if self.case.deletes else 1), f"{record.id} is there {there} times"
            elif result.outcome in (Outcome.REJECTED, Outcome.INVALID):
                assert not self.landed(record), f"{record.id} is reported {result.outcome} and has landed"
                assert result.reason, f"{record.id} was {result.outcome} without a reason"
            elif result.outcome is Outcome.UNCERTAIN:
                assert there <= 1, f"{record.id} is there {there} times"
                assert result.reason, f"{record.id} is uncertain without a reason"

    def assert_arrived(self, records: Sequence[Record], results: Sequence[RowResult]) -> None:
        """All records are accepted, and there."""
        refused = {
            r.id: (x.outcome, x.reason) for r, x in zip(records, results, strict=True) if x.outcome not in ARRIVED
        }
        assert not refused
        self.assert_truthful(records, results)


def shows(thing: Any, wanted: Any) -> bool:
    """Return whether ``thing`` has every value of ``wanted``; None is wanted as unset."""
    if isinstance(wanted, Mapping):
        return isinstance(thing, Mapping) and all(shows(thing.get(name), value) for name, value in wanted.items())
    if wanted is None:
        return thing in (None, "")
    # True == 1 in Python, and nowhere else.
    return bool(thing == wanted) and isinstance(thing, bool) == isinstance(wanted, bool)


def mentions(value: Any, wanted: Any) -> bool:
    """Return whether ``wanted`` stands somewhere in ``value``, as it is."""
    if value == wanted:
        return True
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(mentions(part, wanted) for part in parts)
