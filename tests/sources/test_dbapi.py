from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from airflow.providers.duckdb.hooks.duckdb import DuckDBHook
from airflow.providers.postgres.hooks import postgres as postgres_module
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.providers.standard.hooks.filesystem import FSHook

from airflow_provider_census.errors import ConfigError, StateError, StateFull, Unavailable
from airflow_provider_census.sources.dbapi import DbApiSource
from airflow_provider_census.sync.model import Model, ModelSql
from airflow_provider_census.sync.spill import Spill
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.statement import Query

Make = Callable[[str], DbApiSource]


@pytest.fixture
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    """Makes the source behind the Airflow connection ``warehouse``, defined as a deployment may: in the environment."""

    def make(driver: str) -> DbApiSource:
        def define(**fields: Any) -> None:
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))

        if driver == "duckdb":
            define(conn_type="duckdb", host=str(tmp_path / "w.duckdb"))
            return DbApiSource(DuckDBHook(duckdb_conn_id="warehouse"))
        if driver == "sqlite":
            define(conn_type="sqlite", host=str(tmp_path / "w.sqlite"))
            return DbApiSource(SqliteHook(sqlite_conn_id="warehouse"))
        if driver in ("mysqlclient", "mysql-connector-python"):
            there = urlsplit(request.getfixturevalue("mariadb_uri"))
            address = {"host": there.hostname, "port": there.port, "login": there.username, "schema": there.path[1:]}
            define(conn_type="mysql", **address, extra={"client": driver})
            return DbApiSource.of("warehouse")
        # Which of the two drivers Airflow's hook takes is decided when it is imported, by what is installed.
        monkeypatch.setattr(postgres_module, "USE_PSYCOPG3", driver == "psycopg")
        socket = request.getfixturevalue("postgres_uri").partition("host=")[2]
        define(conn_type="postgres", host=socket, login="postgres", schema="postgres")
        return DbApiSource(PostgresHook(postgres_conn_id="warehouse"))

    return make


@pytest.fixture(params=["duckdb", "sqlite", "psycopg2", "psycopg", "mysqlclient", "mysql-connector-python"])
def source(request: pytest.FixtureRequest, make: Make) -> DbApiSource:
    return make(request.param)


def read(source: DbApiSource, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    return [row for batch in source.stream(Query(sql, parameters)) for row in batch]


NUMBERS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
SELECT i, '{text}' || i AS name FROM n
"""


def numbers(source: DbApiSource, count: int, text: str) -> Query:
    if source.dialect == "mysql":  # MariaDB, whose recursion ends at 1,000
        return Query(f"SELECT seq AS i, CONCAT('{text}', seq) AS name FROM seq_1_to_{count}")
    return Query(NUMBERS.format(count=count, text=text))


@pytest.mark.parametrize(
    ("driver", "dialect", "paramstyle"),
    [
        ("duckdb", "duckdb", "qmark"),
        ("sqlite", "sqlite", "qmark"),
        ("psycopg", "postgres", "format"),
        ("mysqlclient", "mysql", "format"),
        ("mysql-connector-python", "mysql", "mysql-connector-python"),
    ],
)
def test_the_hook_tells_dialect_and_paramstyle(make: Make, driver: str, dialect: str, paramstyle: str) -> None:
    source = make(driver)

    assert (source.dialect, source.paramstyle) == (dialect, paramstyle)


def test_a_connection_that_runs_no_sql_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FILES", "fs://")

    with pytest.raises(ConfigError, match="FSHook runs no SQL"):
        DbApiSource(FSHook("files"))


def test_text_numbers_and_nulls_come_back_as_they_are(source: DbApiSource) -> None:
    sql = "SELECT 1 AS id, 'Zoë O''Brien <!channel> 😀' AS name, NULL AS absent, 1.5 AS share"

    assert source.columns(Query(sql)) == ["id", "name", "absent", "share"]
    assert read(source, sql) == [(1, "Zoë O'Brien <!channel> 😀", None, 1.5)]


TYPES = """
SELECT CAST('2026-03-01 12:00:00.123456+02' AS TIMESTAMPTZ), CAST('2026-03-01 12:00:00' AS TIMESTAMP),
       CAST('2026-03-01' AS DATE), CAST('19.90' AS NUMERIC(10, 2)), TRUE,
       CAST('0b5c6f6e-3a51-4b53-9d39-6f7d4c3a2b10' AS UUID), CAST('{"a": [1, "é"]}' AS JSON)
"""


@pytest.mark.parametrize("driver", ["duckdb", "psycopg2", "psycopg"])
def test_rich_types_come_back_as_python_values(make: Make, driver: str) -> None:
    ((zoned, naive, date, amount, flag, ident, doc),) = read(make(driver), TYPES)

    assert zoned == dt.datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=dt.UTC)
    assert naive == dt.datetime(2026, 3, 1, 12, 0)
    assert date == dt.date(2026, 3, 1)
    assert amount == Decimal("19.90")
    assert isinstance(amount, Decimal)
    assert flag is True
    assert uuid.UUID(str(ident)) == uuid.UUID("0b5c6f6e-3a51-4b53-9d39-6f7d4c3a2b10")
    assert (json.loads(doc) if isinstance(doc, str) else doc) == {"a": [1, "é"]}


@pytest.mark.parametrize("driver", ["duckdb", "psycopg2", "psycopg"])
def test_what_was_read_can_be_bound_again_and_means_the_same(make: Make, driver: str) -> None:
    source = make(driver)
    model = ModelSql(
        Model(f"SELECT z, n, d, m, u FROM ({TYPES}) AS t (z, n, d, m, f, u, j)"),
        dialect=source.dialect,
        paramstyle=source.paramstyle,
    )
    (row,) = [row for batch in source.stream(model.rows("u")) for row in batch]

    for column, value in zip("znd", row, strict=False):
        query = model.rows("u", cursor=column, since=value)
        assert len(read(source, query.sql, query.parameters)) == 1
        query = model.rows("u", cursor=column, since=value + dt.timedelta(days=1))
        assert read(source, query.sql, query.parameters) == []
    for column, value in (("m", row[3]), ("u", row[4])):
        (query,) = model.by_keys(column, [value])
        assert len(read(source, query.sql, query.parameters)) == 1


def test_a_model_is_read_through_its_queries(source: DbApiSource) -> None:
    rows = "SELECT 1 AS id, '50% off %s' AS note UNION ALL SELECT 2, 'x' UNION ALL SELECT 2, 'y'"
    text = f"WITH p AS ({rows}) SELECT * FROM p;"
    model = ModelSql(Model(text), dialect=source.dialect, paramstyle=source.paramstyle)

    assert source.columns(model.probe()) == ["id", "note"]
    assert read(source, model.highest("id").sql) == [(2,)]
    query = model.rows("id", cursor="id", since=1)
    assert sorted(read(source, query.sql, query.parameters)) == [(1, "50% off %s", 1), (2, "x", 2), (2, "y", 2)]


def test_rows_stream_in_batches_and_never_stand_in_memory_at_once(source: DbApiSource) -> None:
    count, text = 300_000, "x" * 300
    process = psutil.Process()
    before = process.memory_info().rss
    seen = peak = 0
    for batch in source.stream(numbers(source, count, text), 1000):
        assert len(batch) <= 1000
        seen += len(batch)
        if seen % 20_000 == 0:
            peak = max(peak, process.memory_info().rss - before)

    assert seen == count
    assert peak < count * len(text) / 3


def test_a_reading_may_end_at_any_row(source: DbApiSource) -> None:
    rows = source.stream(numbers(source, 50_000, "person "), 10)
    assert next(rows)[0] == (1, "person 1")

    rows.close()

    assert read(source, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("driver", ["mysqlclient", "mysql-connector-python"])
def test_times_and_amounts_of_mysql_come_back_and_can_be_bound_again(make: Make, driver: str) -> None:
    source = make(driver)
    text = "SELECT CAST('2026-03-01 12:00:00.123456' AS DATETIME(6)) AS at, CAST('19.90' AS DECIMAL(10, 2)) AS amount"
    model = ModelSql(Model(text), dialect=source.dialect, paramstyle=source.paramstyle)
    expected = (dt.datetime(2026, 3, 1, 12, 0, 0, 123456), Decimal("19.90"), 1)

    for column, value in (("at", expected[0]), ("amount", expected[1])):
        query = model.rows("amount", cursor=column, since=value)
        assert read(source, query.sql, query.parameters) == [expected]


def test_a_server_side_cursor_is_open_only_while_it_is_read(make: Make, postgres_uri: str) -> None:
    source = make("psycopg")
    rows = source.stream(Query(NUMBERS.format(count=5000, text="person ")), 10)
    next(rows)

    def sessions() -> int:
        with psycopg.connect(postgres_uri, autocommit=True) as watcher:
            found = watcher.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%census_%' AND pid <> pg_backend_pid()"
            ).fetchall()
            return len(found) and int(found[0][0])

    assert sessions() == 1
    rows.close()
    assert sessions() == 0


@pytest.mark.parametrize("driver", ["duckdb", "sqlite", "psycopg", "mysqlclient"])
def test_what_a_run_remembers_can_be_written_where_it_reads(make: Make, driver: str) -> None:
    source = make(driver)
    source.write([Query("CREATE TABLE kept (n INTEGER)")])
    rows = source.stream(numbers(source, 5000, "person "), 10)
    assert next(rows)[0] == (1, "person 1")

    source.write([Query("INSERT INTO kept VALUES (1)")])

    assert read(source, "SELECT n FROM kept") == [(1,)]
    assert sum(map(len, rows)) == 4990
    source.write([Query("DROP TABLE kept")])


def test_a_reading_closed_early_frees_the_database(make: Make, tmp_path: Path) -> None:
    source = make("sqlite")
    path = tmp_path / "w.sqlite"
    with sqlite3.connect(path) as writer:
        writer.execute("CREATE TABLE t AS " + NUMBERS.format(count=5000, text="person "))
    rows = source.stream(Query("SELECT * FROM t"), 10)
    assert next(rows)[0] == (1, "person 1")

    rows.close()

    with sqlite3.connect(path, timeout=0) as writer:
        writer.execute("DROP TABLE t")


LARGE = State(target="t", settled=frozenset(n.to_bytes(8, "big") for n in range(50_000)), owed=("é", 2**60))


def test_what_is_too_large_for_a_state_is_kept_beside_the_model(source: DbApiSource) -> None:
    def spill() -> Spill:
        return Spill("sync", "warehouse", lambda _: source, adds=True)

    source.write([Query("DROP TABLE IF EXISTS census_spill")])  # other tests have the same server
    values: list[Any] = []
    for sequence in range(5):
        run = spill()
        assert run.restore(values) == (replace(LARGE, sequence=sequence - 1) if values else None)
        values.insert(0, json.loads(json.dumps(run.pack(replace(LARGE, sequence=sequence)))))
        run.kept()

    assert len(json.dumps(values[0])) < 48 * 1024
    assert read(source, "SELECT count(*) FROM census_spill")[0][0] == 12
    source.write([Query("DROP TABLE census_spill")])
    with pytest.raises(StateError, match="census_spill"):
        spill().restore(values)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_source_that_may_only_be_read_says_so(make: Make, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(driver).write([Query("DROP ROLE IF EXISTS reader"), Query("CREATE USER reader")])
    fields = json.loads(os.environ["AIRFLOW_CONN_WAREHOUSE"])
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({**fields, "login": "reader"}))
    reader = DbApiSource.of("warehouse")
    assert read(reader, "SELECT 1") == [(1,)]
    spill = Spill("sync", "warehouse", lambda _: reader, adds=True)

    spill.pack(LARGE)

    with pytest.raises(StateFull, match=r"denied.*table census_spill.*Watermark\(state=<connection id>\)"):
        spill.kept()


def test_a_wrong_statement_is_the_authors_to_mend_in_the_databases_words(source: DbApiSource) -> None:
    model = ModelSql(Model("SELECT id FROM no_such_table"), dialect=source.dialect, paramstyle=source.paramstyle)

    with pytest.raises(ConfigError, match=r"'warehouse'.*no_such_table") as caught:
        source.columns(model.probe())

    assert caught.value.__suppress_context__
    assert len(str(caught.value).splitlines()) == 1


def test_a_database_that_is_not_well_may_be_tried_again(make: Make, tmp_path: Path) -> None:
    (tmp_path / "w.sqlite").write_bytes(b"SQLite format 3\0" + b"?" * 4096)

    with pytest.raises(Unavailable, match="'warehouse'"):
        read(make("sqlite"), "SELECT * FROM sqlite_master")


@pytest.mark.parametrize("driver", ["duckdb", "psycopg2", "psycopg"])
def test_a_value_that_does_not_convert_is_not_quoted(make: Make, driver: str) -> None:
    sql = "SELECT CAST(v AS INTEGER) FROM (SELECT '1' AS v UNION ALL SELECT 'ann@secret.io') t"

    with pytest.raises(ConfigError, match="cannot be evaluated") as caught:
        read(make(driver), sql)

    assert "ann@secret.io" not in str(caught.value)


def test_bound_values_reach_no_log(source: DbApiSource, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model = ModelSql(Model("SELECT 'x' AS id"), dialect=source.dialect, paramstyle=source.paramstyle)
    (query,) = model.by_keys("id", ["ann@secret.io"])

    assert read(source, query.sql, query.parameters) == []
    assert list(query.parameters.values() if isinstance(query.parameters, dict) else query.parameters or ()) == [
        "ann@secret.io"
    ]
    assert "ann@secret.io" not in repr(query)
    assert "ann@secret.io" not in caplog.text


def test_rows_are_tuples_whatever_cursor_the_connection_asks_for(
    make: Make, monkeypatch: pytest.MonkeyPatch, postgres_uri: str
) -> None:
    make("psycopg2")
    extra = {"cursor": "realdictcursor"}
    fields = {"conn_type": "postgres", "login": "postgres", "schema": "postgres", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields | {"host": postgres_uri.partition("host=")[2]}))

    assert read(DbApiSource(PostgresHook(postgres_conn_id="warehouse")), "SELECT 1 AS a, 'x' AS b") == [(1, "x")]


def test_a_source_is_found_by_the_id_of_its_connection(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("duckdb")
    monkeypatch.setenv("AIRFLOW_CONN_FILES", "fs://")

    assert read(DbApiSource.of("warehouse"), "SELECT 42") == [(42,)]
    with pytest.raises(ConfigError, match=r"'files'.*FSHook runs no SQL"):
        DbApiSource.of("files")
