from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import psycopg2
import pytest
from hypothesis import settings

from airflow_provider_census.sandbox.core import Sandbox, get
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.statement import Query
from tests.sync.support import Duck, Listing, Lite, Reads, Rig, TinyApi, Users

MESS = [
    (1, "Ann@x.io", 10, "50% off"),
    (2, "ann@x.io", 20, "O'Brien"),
    (3, "bob@x.io", 20, "a"),
    (4, None, None, "b"),
    (5, "zoë@x.io", 30, "c"),
]

# The machines of CI are slow and shared; what was found once becomes a test of its own.
settings.register_profile("census", max_examples=60, deadline=None, database=None)
settings.load_profile("census")


@pytest.fixture(scope="session")
def engine_server() -> Iterator[Sandbox]:
    with Sandbox([TinyApi, get("braze"), get("slack"), get("intercom")]) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(engine_server: Sandbox) -> Sandbox:
    engine_server.reset()
    return engine_server


@pytest.fixture
def lite(tmp_path: Path) -> Lite:
    return Lite(tmp_path / "source.sqlite")


@pytest.fixture
def duck(tmp_path: Path) -> Duck:
    return Duck(tmp_path / "source.duckdb")


@pytest.fixture
def users(lite: Lite) -> Users:
    return Users(lite)


@pytest.fixture
def tiny(sandbox: Sandbox) -> TinyApi:
    api: TinyApi = sandbox["tiny"]
    return api


@pytest.fixture
def rig(sandbox: Sandbox, lite: Lite) -> Rig:
    """Upserts of records by the watermark t."""
    return Rig(sandbox, lite, delta=Watermark("t"))


@pytest.fixture
def posts(sandbox: Sandbox, lite: Lite) -> Rig:
    """Appends by the watermark t."""
    settings: dict[str, Any] = {"object": "post", "behavior": Behavior.APPEND}
    return Rig(sandbox, lite, delta=Watermark("t"), **settings)


@pytest.fixture(scope="module")
def listing() -> Iterator[Listing]:
    log, listing = logging.getLogger("airflow_provider_census.sync.run"), Listing()
    log.addHandler(listing)
    yield listing
    log.removeHandler(listing)


@pytest.fixture(params=["duckdb", "sqlite", "postgres", "mysql"])
def database(request: pytest.FixtureRequest) -> Iterator[Reads]:
    """A real database with a table ``users`` (id, email, seen, note) of what people type."""
    dialect = request.param
    if dialect == "postgres":
        connection: Any = psycopg2.connect(request.getfixturevalue("postgres_uri"))
        paramstyle, row = "format", "(%s, %s, %s, %s)"
    elif dialect == "mysql":
        there = urlsplit(request.getfixturevalue("mariadb_uri"))
        mysql = pytest.importorskip("MySQLdb")
        connection = mysql.connect(
            host=there.hostname, port=there.port, user=there.username, db=there.path[1:], charset="utf8mb4"
        )
        paramstyle, row = "format", "(%s, %s, %s, %s)"
    else:
        connection = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
        paramstyle, row = "qmark", "(?, ?, ?, ?)"

    def run(query: Query) -> list[tuple[Any, ...]]:
        with closing(connection.cursor()) as cursor:
            cursor.execute(query.sql, *([] if query.parameters is None else [query.parameters]))
            return [tuple(row) for row in cursor.fetchall()]

    with closing(connection), closing(connection.cursor()) as cursor:
        if dialect == "mysql":  # where a transaction does not take back a table
            cursor.execute("DROP TABLE IF EXISTS users")
        cursor.execute("CREATE TABLE users (id INTEGER, email TEXT, seen INTEGER, note TEXT)")
        cursor.executemany(f"INSERT INTO users VALUES {row}", MESS)
        yield dialect, paramstyle, run
