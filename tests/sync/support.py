"""What the tests of the engine share: real databases, a small API that can be made difficult, and runs of a sync."""

from __future__ import annotations

import ast
import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import CensusError, ConfigError, Unavailable
from airflow_provider_census.sandbox.core import Sandbox, SandboxApi
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delta import Delta, FullRefresh
from airflow_provider_census.sync.fields import MappingDeclaration
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.standing import Observer
from airflow_provider_census.sync.state import MemoryStore, State
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import message
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials, base_url
from airflow_provider_census.transport.message import Endpoint, Exchange
from airflow_provider_census.transport.rate import Limiter, Rate

Reads = tuple[str, str, Callable[[Query], list[tuple[Any, ...]]]]
"""A database of the fixture of that name: its dialect, the paramstyle of its driver, and what runs a query there."""

UPSERT, DELETE, APPEND, SEND = Behavior.UPDATE_OR_CREATE, Behavior.DELETE, Behavior.APPEND, Behavior.SEND


class Database:
    """A source over a connection; it counts the cursors that are open and the rows that were fetched."""

    dialect = ""
    paramstyle = "qmark"

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.open = 0
        self.fetched = 0
        self.breaks_after: int | None = None
        """Rows after which the database goes away."""
        self.dead: Callable[[], bool] = bool
        """Whether the worker is: then nothing is written."""

    def connect(self) -> Any:
        raise NotImplementedError

    def execute(self, sql: str, *rows: Sequence[Any]) -> None:
        with closing(self.connect()) as connection:
            if rows:
                connection.executemany(sql, rows)
            else:
                connection.execute(sql)
            connection.commit()

    def columns(self, query: Query) -> list[str]:
        with closing(self.connect()) as connection, self._errors():
            return [column[0] for column in connection.execute(query.sql, query.parameters or ()).description]

    def stream(self, query: Query, batch_rows: int = 100) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        self.open += 1
        try:
            with closing(self.connect()) as connection, self._errors():
                cursor = connection.execute(query.sql, query.parameters or ())
                while batch := cursor.fetchmany(min(batch_rows, 100)):
                    if self.breaks_after is not None and self.fetched + len(batch) > self.breaks_after:
                        raise Unavailable("source: the database went away")
                    self.fetched += len(batch)
                    yield batch
        finally:
            self.open -= 1

    def write(self, queries: Iterable[Query]) -> None:
        assert self.open == 0, "written while a cursor was open"
        if self.dead():
            raise SystemExit
        with closing(self.connect()) as connection, self._errors():
            connection.execute("BEGIN")
            for query in queries:
                connection.execute(query.sql, query.parameters or ())
            connection.commit()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, duckdb.Error) as error:
            raise ConfigError(str(error)) from None


class Lite(Database):
    """SQLite."""

    dialect = "sqlite"

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA synchronous = OFF")  # tests kill workers, not machines
        return connection


class Duck(Database):
    """DuckDB, for the types that SQLite does not have."""

    dialect = "duckdb"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        # In memory as long as this connection is open: a file takes a hundred times as long to open, at every query.
        self.path = f":memory:{path}"
        self._kept = duckdb.connect(self.path)
        self._kept.execute("SET threads = 1")

    def connect(self) -> Any:
        connection = duckdb.connect(self.path)
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        return connection


class TinyApi(SandboxApi):
    """An API that takes batches, and can be made as difficult as a test needs it."""

    name = "tiny"
    key = "tiny-secret-key"

    def reset(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.posts: list[dict[str, Any]] = []
        self.refused: dict[str, str] = {}
        """Why a record is refused, by id."""
        self.whole = True
        """Whether one refused record refuses the batch."""
        self.breaks: set[str] = set()
        """Ids that make the API fail with 500."""
        self.forgets: set[str] = set()
        """Ids the answer leaves out, although they were applied."""
        self.silent: set[str] = set()
        """Ids for which a look-up is answered with 503."""
        self.unfit: set[str] = set()
        """Ids that refuse the look-up of a batch."""
        self.slow_s = 0.0
        self._in_flight = 0
        self.most_in_flight = 0

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1")

        @router.post("/{kind}/{action}")
        async def write(kind: str, action: str, request: Request) -> Response:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            try:
                await asyncio.sleep(self.slow_s)
                return self._write(kind, action, await request.json(), request.headers.get("authorization", ""))
            finally:
                self._in_flight -= 1

        return router

    def _write(self, kind: str, action: str, body: dict[str, Any], key: str) -> Response:
        if key != f"Bearer {self.key}":
            return JSONResponse({"error": f"bad key {key}"}, 401)
        records = body["records"]
        ids = [record["id"] for record in records]
        if action == "fetch":
            return self._fetch(ids)
        if self.breaks.intersection(ids):
            return Response(status_code=500)
        if action == "find":
            return JSONResponse({"there": sorted({*ids}.intersection(self.posted))})
        bad = [id for id in ids if id in self.refused]
        if bad and self.whole:
            return JSONResponse({"error": f"{self.refused[bad[0]]} (sent with {self.key})"}, 422)
        results = [
            {
                "id": record["id"],
                "error": self.refused.get(record["id"]),
                "done": record["id"] not in self.refused and self._apply(kind, action, record),
            }
            for record in records
        ]
        return JSONResponse({"results": [result for result in results if result["id"] not in self.forgets]})

    def _fetch(self, ids: Sequence[str]) -> Response:
        if self.silent.intersection(ids):
            return Response(status_code=503)
        if len(ids) > 1 and self.unfit.intersection(ids):
            return JSONResponse({"error": "an id does not fit"}, 422)
        if self.unfit.intersection(ids):
            return JSONResponse({"error": f"{ids[0]} is no id"}, 422)
        return JSONResponse({"records": {id: self.records[id] for id in ids if id in self.records}})

    def _apply(self, kind: str, action: str, record: dict[str, Any]) -> bool:
        """Return whether there was anything to do."""
        id = record["id"]
        if kind == "post":
            self.posts.append(record)
            return True
        if action == {True: "create", False: "update"}[id in self.records]:
            return False
        if action == "delete":
            self.records.pop(id, None)
        else:
            self.records[id] = {k: v for k, v in record.items() if k != "id"}
        return True

    @property
    def posted(self) -> list[str]:
        """The ids of all posts, in order."""
        return [post["id"] for post in self.posts]


_ACTIONS = {DELETE: "delete", Behavior.CREATE_ONLY: "create", Behavior.UPDATE_ONLY: "update"}


class Tiny(Destination):
    """The destination that speaks to :class:`TinyApi`."""

    name = "tiny"
    objects = (
        ObjectType(
            name="record",
            behaviors=(UPSERT, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, DELETE, Behavior.MIRROR),
            identifiers=(Identifier("id"), Identifier("email", lower=True)),
        ),
        ObjectType(
            name="order",
            behaviors=(UPSERT,),
            identifiers=(Identifier("id"),),
            fields=("status", "total", "amount", "note.*"),
            required=("status", ("total", "amount")),
        ),
        ObjectType(name="post", behaviors=(APPEND, SEND), identifiers=(Identifier("id"),)),
    )
    rates = (Rate("all", 1_000_000, 1.0),)
    concurrency = 4
    batch = 10
    batch_bytes: int | None = None

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        key = credentials.password
        return Endpoint(base_url(credentials.host, None, "/v1"), {"Authorization": f"Bearer {key}"}, (key,))

    @classmethod
    def test(cls) -> Exchange[str]:
        yield message.Request(method="POST", path="/record/write", json={"records": []})
        return "connected"

    def max_batch(self, operation: Operation) -> int:
        return self.batch

    def max_batch_bytes(self, operation: Operation) -> int | None:
        return self.batch_bytes

    def payload(self, operation: Operation) -> dict[str, Any]:
        return {**operation.record.fields, "id": operation.record.id}

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        behavior = batch[0].behavior
        action = _ACTIONS.get(behavior, "write")
        response = yield message.Request(
            method="POST",
            path=f"/{self.object_name}/{action}",
            json={"records": [self.payload(operation) for operation in batch]},
            idempotent=all(self.resendable(operation) for operation in batch),
        )
        if response.status == 422:
            raise Refused(response.json()["error"], status=422)
        results = {result["id"]: result for result in response.json()["results"]}
        return [self._result(results.get(operation.record.id), behavior) for operation in batch]

    def _result(self, result: dict[str, Any] | None, behavior: Behavior) -> RowResult | None:
        if result is None:
            return None
        if result["error"]:
            return rejected(result["error"], 200)
        return RowResult(behavior.done if result["done"] else Outcome.SKIPPED)


class Finding(Tiny):
    """The same, if it can be asked what has arrived."""

    finds = True
    applied_within_s = 0.0

    def find(self, operations: Sequence[Operation], since: int) -> Exchange[Sequence[bool | None]]:
        assert time.time() - 60 < since <= time.time()
        response = yield message.Request(
            method="POST", path="/post/find", json={"records": [{"id": op.record.id} for op in operations]}
        )
        there = response.json()["there"]
        return [None if op.record.fields["name"] == "vague" else op.record.id in there for op in operations]


class Looking(Tiny):
    """The same, if its records can be looked up."""

    objects = (replace(Tiny.objects[0], fetched=("*",)), *Tiny.objects[1:])

    def max_fetch(self) -> int:
        return 5

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        return {"": 1}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        ids = [operation.record.id for operation in operations]
        response = yield message.Request(
            method="POST", path="/record/fetch", json={"records": [{"id": id} for id in ids]}
        )
        if response.status == 422:
            raise Refused(response.json()["error"], status=422)
        records = response.json()["records"]
        return ["two records have this id" if id == "twice" else Held(records.get(id)) for id in ids]


class Roomy(Tiny):
    """The same, in larger batches."""

    batch = 200


class Killed(MemoryStore):
    """
    The store of a worker that is killed: it is found dead when it wants to save.

    Unlike a real one it lives on until what it has sent is answered.
    """

    def __init__(self, value: Any, dead: Callable[[], bool]) -> None:
        super().__init__()
        self.value = value
        self._dead = dead

    def save(self, state: State) -> None:
        if self._dead():
            raise SystemExit
        super().save(state)


class Forgetful(MemoryStore):
    """A store that lost its state."""

    def lost(self) -> bool:
        return self.value is None


class Listing(logging.Handler):
    """What the log lists as uncertain: a run that is killed leaves nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if "ended uncertain" in record.getMessage():
            self.keys |= set(ast.literal_eval(record.getMessage().partition(": ")[2] + ","))


@dataclass(frozen=True)
class Ran:
    """What a run did, counts that are 0 left out."""

    counts: dict[str, int]
    read: int
    json: dict[str, Any]
    failure: CensusError | None

    @property
    def watermark(self) -> Any:
        return self.json["watermark"]["after"]


class Rig:
    """
    A model, a destination behind the sandbox, and the state between runs.

    :param settings: of every run; :meth:`run` overrides them.
    """

    def __init__(
        self, sandbox: Sandbox, source: Database, destination: type[Destination] = Tiny, **settings: Any
    ) -> None:
        self.sandbox = sandbox
        self.source = source
        self.store: MemoryStore = MemoryStore()
        self.destination = destination
        self.settings = settings
        self.api = sandbox[destination.name]
        self.client: Client | None = None
        self.observe: Observer | None = None

    def run(self, **overrides: Any) -> Ran:
        """Run once, check what holds for every run, and return what it did."""
        given = {**self.settings, **overrides}
        client = self.client or self.connect(
            given.pop("password", None), rates=given.pop("rates", None), attempts=given.pop("attempts", 3)
        )
        try:
            result, failure = run_sync(self._sync(given), self.source, client, self.store, self.observe)
        finally:
            client.close()
        json = result.to_json()
        counts = {name: n for name, n in json["counts"].items() if n and name != "read"}
        assert sum(counts.values()) == json["counts"]["read"] + result.tally.removed
        assert self.source.open == 0, "the source was left open"
        assert client.endpoint.secrets[0] not in f"{json} {failure} {failure!r} {self.store.value}"
        return Ran(counts, json["counts"]["read"], json, failure)

    def run_killed(self, requests: int, **overrides: Any) -> None:
        """Run once; the worker is killed behind so many requests."""
        earlier = len(self.sandbox.ledger)

        def dead() -> bool:
            return len(self.sandbox.ledger) - earlier >= requests

        kept, self.store = self.store, Killed(self.store.value, dead)
        databases = [self.source, self.settings.get("snapshot_database") or self.source]
        for database in databases:
            database.dead = dead
        try:
            self.run(**overrides)
        except SystemExit:
            pass
        finally:
            kept.value, self.store = self.store.value, kept
            for database in databases:
                database.dead = bool

    def connect(self, password: str | None = None, *, rates: Any = None, attempts: int = 3) -> Client:
        api = self.api
        default = next(getattr(api, name) for name in ("key", "api_key", "token") if hasattr(api, name))
        credentials = Credentials(password=password or default, host=self.sandbox.url(self.destination.name))
        return Client(
            self.destination.endpoint(credentials),
            Limiter(rates or self.destination.rates),
            judge=self.destination.judge,
            throttle=self.destination.throttle,
            backoff_s=0.01,
            attempts=attempts,
            timeout_s=(5.0, 5.0),
        )

    def _sync(self, given: dict[str, Any]) -> Sync:
        options: Mapping[str, Any] = given.pop("options", {})
        behavior: Behavior = given.pop("behavior", UPSERT)
        destination = self.destination(
            given.pop("object", "record"), behavior, given.pop("identifier", None), options, sync_id="test"
        )
        mapping: MappingDeclaration = given.pop("mapping", {"name": "name"})
        delta: Delta = given.pop("delta", FullRefresh())
        return Sync(
            model=Model(given.pop("sql", "SELECT * FROM users")),
            destination=destination,
            key_column=given.pop("key", "id"),
            mapping=mapping,
            delta=delta,
            max_invalid=given.pop("max_invalid", None),
            max_rejected=given.pop("max_rejected", None),
            **given,
        )


class Users:
    """A table ``users`` (id, name, t) in SQLite."""

    def __init__(self, source: Database) -> None:
        self._source = source
        source.execute("CREATE TABLE users (id, name, t)")

    def add(self, ids: Iterable[Any], t: Any = None, name: str = "n") -> None:
        """Insert rows; ``t`` is their cursor, by default the id."""
        self._source.execute("INSERT INTO users VALUES (?, ?, ?)", *[(i, name, i if t is None else t) for i in ids])

    def sql(self, statement: str) -> None:
        self._source.execute(statement)


def bound(name: str, object: str, behavior: Behavior, **kwargs: Any) -> Destination:
    """Return a real destination."""
    return destinations.get(name)(object, behavior, sync_id="test", **kwargs)
