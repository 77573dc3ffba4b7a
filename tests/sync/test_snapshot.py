"""The SQL of a snapshot on real databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sources.dbapi import DbApiSource
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.snapshot import Digest, SnapshotSql
from airflow_provider_census.sync.snapshot_table import SnapshotTable, table_name
from airflow_provider_census.sync.staging import Stage
from airflow_provider_census.sync.statement import Query

_ROWS = "(1, 'a@x', 10.5, TIMESTAMP '2026-01-01 00:00:00'), (2, 'b@x', NULL, NULL), (3, '', 0, NULL)"


@pytest.fixture(params=["duckdb", "sqlite", "postgres", "mariadb"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DbApiSource]:
    """A database with a table of customers."""
    kind = request.param
    if kind in ("duckdb", "sqlite"):
        connection = json.dumps({"conn_type": kind, "host": str(tmp_path / "db")})
    else:
        connection = request.getfixturevalue(f"{kind}_uri").replace("postgresql://", "postgres://", 1)
    monkeypatch.setenv("AIRFLOW_CONN_SNAPSHOT_DB", connection)
    source = DbApiSource.of("snapshot_db")
    rows = _ROWS.replace("TIMESTAMP ", "") if kind == "sqlite" else _ROWS
    time = "DATETIME" if kind == "mariadb" else "TIMESTAMP"
    _run(source, "DROP TABLE IF EXISTS c", f"CREATE TABLE c (id INT, email VARCHAR(50), mrr NUMERIC(9, 2), t {time})")
    _run(source, f"INSERT INTO c VALUES {rows}")
    yield source
    _run(source, "DROP TABLE c")


def _run(source: DbApiSource, *statements: str) -> None:
    source.write([Query(statement) for statement in statements])


def _rows(source: DbApiSource, query: Any) -> list[tuple[Any, ...]]:
    return sorted((row for batch in source.stream(query) for row in batch), key=str)


def _sql(source: DbApiSource, request: pytest.FixtureRequest, **changes: Any) -> SnapshotSql:
    settings: dict[str, Any] = {"key": "id", "columns": ["email", "mrr", "t"], "salt": "m", "lower": False, **changes}
    return SnapshotSql(
        settings.pop("model", Model("SELECT * FROM c")),
        table=table_name(request.node.name, "x/user"),
        dialect=source.dialect,
        paramstyle=source.paramstyle,
        **settings,
    )


def _accept(source: DbApiSource, sql: SnapshotSql, rows: list[tuple[Any, ...]]) -> None:
    source.write(sql.put([(row[-3], f"r{row[-3]}", row[-2], 1) for row in rows]))


@pytest.fixture
def sql(source: DbApiSource, request: pytest.FixtureRequest) -> Iterator[SnapshotSql]:
    """Its snapshot, empty."""
    sql = _sql(source, request)
    sql.make(source)
    sql.make(source)  # the second run finds it there
    yield sql
    _run(source, f"DROP TABLE {sql.name}")


def test_everything_is_changed_at_first_and_nothing_once_it_arrived(source: DbApiSource, sql: SnapshotSql) -> None:
    rows = _rows(source, sql.changed())
    assert [row[0] for row in rows] == [1, 2, 3]

    _accept(source, sql, rows)

    assert _rows(source, sql.changed()) == []
    assert _rows(source, sql.known()) == [(3, 3)]


def test_many_rows_are_kept_to_the_letter_and_found_again(source: DbApiSource, sql: SnapshotSql) -> None:
    odd = ["", "a'b", '"', "%s", "?", "$1", "é😀", "[1, 2]", "{}", "NULL", "\\", "\n", "x" * 300]
    rows = [(f"{n}{odd[n % len(odd)]}", f"r{n}", f"d{n}", n % 3 - 1) for n in range(6_000)]

    source.write(sql.put(rows))
    assert _rows(source, sql.content()) == sorted(rows, key=str)

    source.write(sql.doubt([row[0] for row in rows[::2]]))
    doubted = {record_id for _, record_id, digest, _ in _rows(source, sql.content()) if digest == "in doubt"}
    assert doubted == {row[1] for row in rows[::2]}

    source.write(sql.forget([row[0] for row in rows[1:]]))
    assert [row[0] for row in _rows(source, sql.content())] == ["0"]


def test_keys_that_are_missing_are_staged_as_such(source: DbApiSource) -> None:
    stage = Stage("census_staged", schema=None, dialect=source.dialect, paramstyle=source.paramstyle)
    source.write(stage.create())

    source.write(stage.insert([(None, "d1"), (None, "d2")]))
    source.write(stage.insert([("a", "d3"), (None, "d4")]))

    found = _rows(source, Query(stage.model.sql))
    assert sorted(found, key=lambda row: row[1]) == [(None, "d1"), (None, "d2"), ("a", "d3"), (None, "d4")]
    _run(source, "DROP TABLE census_staged")


@pytest.mark.parametrize(
    "edit",
    ["email = 'new'", "mrr = NULL", "mrr = 10.51", "t = NULL", "email = NULL"],
)
def test_an_edit_of_any_compared_column_is_a_change_of_that_row_alone(
    source: DbApiSource, sql: SnapshotSql, edit: str
) -> None:
    _accept(source, sql, _rows(source, sql.changed()))

    _run(source, f"UPDATE c SET {edit} WHERE id = 1")

    assert [row[0] for row in _rows(source, sql.changed())] == [1]
    assert _rows(source, sql.changed(only_new=True)) == []


def test_empty_text_and_null_are_not_the_same(source: DbApiSource, sql: SnapshotSql) -> None:
    _accept(source, sql, _rows(source, sql.changed()))

    _run(source, "UPDATE c SET email = NULL WHERE id = 3")

    assert [row[0] for row in _rows(source, sql.changed())] == [3]


def test_values_cannot_trade_places_between_columns(source: DbApiSource, request: pytest.FixtureRequest) -> None:
    one = _sql(source, request, model=Model("SELECT 1 AS id, 'ab' AS x, 'c' AS y"), columns=["x", "y"])
    two = _sql(source, request, model=Model("SELECT 1 AS id, 'a' AS x, 'bc' AS y"), columns=["x", "y"])
    one.make(source)

    digests = {_rows(source, query.changed())[0][-2] for query in (one, two)}

    assert len(digests) == 2
    _run(source, f"DROP TABLE {one.name}")


def test_no_two_rows_read_the_same_whatever_stands_in_them(source: DbApiSource, request: pytest.FixtureRequest) -> None:
    values = ["NULL", "''", "'-'", "':'", "'0:'", "'1:a'", "'a'", "'a1:'", "'1:a1:a'", "'é'", "'2:é'", "'NULL'", "' '"]
    pairs = [(one, two) for one in values for two in values]
    rows = " UNION ALL ".join(f"SELECT {id} AS id, {one} AS x, {two} AS y" for id, (one, two) in enumerate(pairs))
    sql = _sql(source, request, model=Model(rows), columns=["x", "y"])
    sql.make(source)

    assert len({row[-2] for row in _rows(source, sql.changed())}) == len(pairs)
    _run(source, f"DROP TABLE {sql.name}")


def test_rows_of_constants_alone_are_compared_by_their_key(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    constants = _sql(source, request, columns=[])
    _accept(source, constants, _rows(source, constants.changed()))

    _run(source, "UPDATE c SET mrr = 99, email = NULL", "UPDATE c SET id = 4 WHERE id = 1")

    assert [row[0] for row in _rows(source, constants.changed())] == [4]
    assert len(_rows(source, _sql(source, request, columns=[], salt="other").changed())) == 3


def test_a_change_in_the_last_of_many_columns_is_seen(source: DbApiSource, request: pytest.FixtureRequest) -> None:
    names = [f"c{n}" for n in range(300)]
    digests = set()
    for last in ("'a'", "'b'", "NULL"):
        values = ["'x'"] * 299 + [last]
        model = Model("SELECT 1 AS id, " + ", ".join(f"{v} AS {n}" for v, n in zip(values, names, strict=True)))
        sql = _sql(source, request, model=model, columns=names)
        sql.make(source)
        digests.add(_rows(source, sql.changed())[0][-2])
    assert len(digests) == 3
    _run(source, f"DROP TABLE {sql.name}")


def test_a_column_that_is_not_compared_and_a_new_salt_do_what_they_should(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    narrow = _sql(source, request, columns=["email"])
    _accept(source, narrow, _rows(source, narrow.changed()))

    _run(source, "UPDATE c SET mrr = 99 WHERE id = 1")

    assert _rows(source, narrow.changed()) == []
    assert len(_rows(source, _sql(source, request, columns=["email"], salt="other").changed())) == 3


def test_a_column_that_is_no_longer_compared_makes_no_row_another_one(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    _accept(source, sql, _rows(source, sql.changed()))
    _run(source, "UPDATE c SET email = 'new' WHERE id = 1", "INSERT INTO c VALUES (3, 'copy', 0, NULL)")
    former = Digest(["email", "mrr", "t"], "m")
    narrow = _sql(source, request, columns=["email", "mrr"], salt="n", former=former)
    before = _rows(source, narrow.changed())

    for _ in range(2):
        source.write([narrow.rebase()])

        assert [row[0] for row in _rows(source, narrow.changed())] == [row[0] for row in before] == [1, 3, 3]
        after = _sql(source, request, columns=["email", "mrr"], salt="n")
        assert [row[0] for row in _rows(source, after.changed())] == [1, 3, 3]
        assert _rows(source, sql.known()) == [(3, 3)]
    _run(source, "DELETE FROM c WHERE email = ''")
    assert [row[0] for row in _rows(source, after.changed())] == [1, 3], "the copy was never sent"
    _run(source, "UPDATE c SET t = NULL")
    assert [row[0] for row in _rows(source, after.changed())] == [1, 3]


def test_keys_that_a_collation_calls_equal_keep_their_own_digests(
    source: DbApiSource, request: pytest.FixtureRequest
) -> None:
    rows = [("A", "x"), ("a", "x"), ("e", "y"), ("é", "Y"), ("😀", "z"), ("😁", "z")]
    model = Model(" UNION ALL ".join(f"SELECT '{key}' AS id, '{email}' AS email, 1 AS mrr" for key, email in rows))
    wide = _sql(source, request, model=model, columns=["email", "mrr"])
    wide.make(source)
    _accept(source, wide, _rows(source, wide.changed()))
    narrow = _sql(source, request, model=model, columns=["email"], salt="n", former=Digest(["email", "mrr"], "m"))

    source.write([narrow.rebase()])

    assert _rows(source, _sql(source, request, model=model, columns=["email"], salt="n").changed()) == []
    _run(source, f"DROP TABLE {wide.name}")


def test_every_copy_of_a_key_comes_back_in_every_run(source: DbApiSource, sql: SnapshotSql) -> None:
    _accept(source, sql, _rows(source, sql.changed()))

    _run(source, "INSERT INTO c VALUES (1, 'other', 1, NULL), (NULL, 'no key', 1, NULL)")

    rows = _rows(source, sql.changed())
    assert [(row[0], row[-4]) for row in rows] == [(1, 2), (1, 2), (None, 1)]


def test_copies_are_counted_as_the_destination_sees_keys_under_values_that_are_bound(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    _run(source, "INSERT INTO c VALUES (4, ' A@X ', 1, NULL), (5, 'c@x', 1, NULL), (6, 'C@x', 1, NULL)")
    values: Any = {"least": 0, "most": 6}
    if source.paramstyle not in ("named", "pyformat"):
        values = tuple(values.values())
    marks = {"qmark": "? AND id < ?", "format": "%s AND id < %s", "named": ":least AND id < :most"}
    bounds = marks.get(source.paramstyle, "%(least)s AND id < %(most)s")
    folded = _sql(
        source,
        request,
        model=Model(f"SELECT * FROM c WHERE id > {bounds}", values),
        key="email",
        columns=["mrr"],
        lower=True,
    )
    seen = [(row[0], row[-4]) for row in _rows(source, folded.changed())]

    assert sorted(seen) == [(1, 2), (2, 1), (3, 1), (4, 2), (5, 1)]


def test_what_is_gone_from_the_model_is_removed_only_if_this_sync_sent_it(
    source: DbApiSource, sql: SnapshotSql
) -> None:
    rows = _rows(source, sql.changed())
    _accept(source, sql, rows[:2])
    source.write(sql.put([("3", "r3", "d", 0)]))

    _run(source, "DELETE FROM c")

    assert _rows(source, sql.removed(count=True)) == [(2,)]
    assert _rows(source, sql.removed()) == [("1", "r1"), ("2", "r2")]
    source.write(sql.forget(["1"]))
    assert _rows(source, sql.removed()) == [("2", "r2")]
    assert _rows(source, sql.any_row()) == [(0,)]


def test_a_key_that_is_only_written_differently_now_is_still_there(source: DbApiSource, sql: SnapshotSql) -> None:
    source.write(sql.put([("01", "one", "d", 1), ("1", "one", "d", 1), ("9", "nine", "d", 1)]))

    assert _rows(source, sql.removed()) == [("9", "nine")]


def test_keys_that_a_collation_calls_equal_are_different_keys(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    keys = ["A", "a", "e", "é", "😀", "😁", "日本"]
    model = Model(" UNION ALL ".join(f"SELECT '{key}' AS id, 'x' AS email" for key in keys))
    sql = _sql(source, request, model=model, columns=["email"])
    rows = _rows(source, sql.changed())
    assert sorted(row[0] for row in rows) == sorted(keys)
    assert {row[-4] for row in rows} == {1}

    _accept(source, sql, [row for row in rows if row[0] not in ("a", "😁", "e")])

    assert {row[0] for row in _rows(source, sql.changed())} == {"a", "😁", "e"}
    without = _sql(source, request, model=Model(model.sql.replace("'A'", "'B'").replace("'é'", "'è'")), columns=["id"])
    assert _rows(source, without.removed()) == [("A", "rA"), ("é", "ré")]
    assert _rows(source, without.removed(count=True)) == [(2,)]


@pytest.mark.parametrize(("before", "after"), [("Ann", "ann"), ("é", "e"), ("😀", "😁"), ("x", "x ")])
def test_an_edit_a_collation_does_not_see_is_a_change(
    source: DbApiSource, sql: SnapshotSql, before: str, after: str
) -> None:
    _run(source, f"UPDATE c SET email = '{before}'")
    _accept(source, sql, _rows(source, sql.changed()))

    _run(source, f"UPDATE c SET email = '{after}' WHERE id = 2")

    assert [row[0] for row in _rows(source, sql.changed())] == [2]


def test_a_baseline_settles_every_row_without_reading_one(source: DbApiSource, sql: SnapshotSql) -> None:
    source.write([sql.baseline()])

    assert _rows(source, sql.changed()) == []
    assert _rows(source, sql.known()) == [(3, 0)]
    _run(source, "DELETE FROM c")
    assert _rows(source, sql.removed()) == []


def test_a_baseline_of_folded_keys_keeps_what_the_destination_knows(
    source: DbApiSource, sql: SnapshotSql, request: pytest.FixtureRequest
) -> None:
    model = Model("SELECT ' Ann@X ' AS id, 'x' AS email UNION ALL SELECT 'zoë@x', 'y'")
    sql = _sql(source, request, model=model, columns=["email"], lower=True)

    source.write([sql.baseline()])

    assert [row[:2] for row in _rows(source, sql.content())] == [(" Ann@X ", "ann@x"), ("zoë@x", "zoë@x")]
    assert _rows(source, sql.changed()) == []


def test_the_models_own_parameters_and_percent_signs_are_kept(
    source: DbApiSource, request: pytest.FixtureRequest
) -> None:
    marker = "?" if source.paramstyle == "qmark" else "%s"
    percent = "%" if source.paramstyle == "qmark" else "%%"
    model = Model(f"SELECT * FROM c WHERE id > {marker} AND email LIKE '{percent}@x'", (1,))
    sql = _sql(source, request, model=model)
    sql.make(source)

    rows = _rows(source, sql.changed())
    _accept(source, sql, rows)

    assert [row[0] for row in rows] == [2]
    assert _rows(source, sql.changed()) == []
    _run(source, f"DROP TABLE {sql.name}")


def test_the_rights_to_make_a_table_in_a_schema_and_to_write_it_are_enough(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres_uri.replace("postgresql://", "postgres://", 1)
    monkeypatch.setenv("AIRFLOW_CONN_OWNER", uri)
    monkeypatch.setenv("AIRFLOW_CONN_GUEST", uri.replace("postgres:@", "guest:secret@"))
    owner, guest = DbApiSource.of("owner"), DbApiSource.of("guest")
    _run(
        owner,
        "DROP SCHEMA IF EXISTS crm CASCADE",
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN PASSWORD 'secret'",
        "CREATE SCHEMA crm",
        "GRANT USAGE, CREATE ON SCHEMA crm TO guest",
    )
    table = SnapshotTable("t", schema="crm", dialect="postgres", paramstyle="format")

    table.make(guest)
    guest.write(table.put([("1", "r1", "d", 1)]))
    _run(owner, "REVOKE CREATE ON SCHEMA crm FROM guest")
    table.make(guest)

    assert _rows(guest, table.known()) == [(1, 1)]
    with pytest.raises(ConfigError, match="permission denied for database"):
        SnapshotTable("t", schema="absent", dialect="postgres", paramstyle="format").make(guest)
    _run(owner, "DROP SCHEMA crm CASCADE", "DROP ROLE guest")


@pytest.mark.parametrize("source", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_shards_make_and_write_one_snapshot_at_the_same_time(
    source: DbApiSource, request: pytest.FixtureRequest
) -> None:
    tables = [_sql(source, request) for _ in range(4)]

    def write(shard: int) -> None:
        tables[shard].make(source)
        for start in range(0, 600, 100):
            keys = [f"key-{n}" for n in range(start, start + 100) if n % 4 == shard]
            for digest in ("in doubt", "done"):
                source.write(tables[shard].put([(key, key, digest, 1) for key in keys]))

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(4)))

    assert _rows(source, tables[0].known()) == [(600, 600)]
    assert {row[2] for row in _rows(source, tables[0].content())} == {"done"}
    _run(source, f"DROP TABLE {tables[0].name}")


def test_table_names_are_readable_and_differ_by_sync_and_target() -> None:
    assert table_name("my dag.Customers", "intercom/user").startswith("census_my_dag_customers_")
    assert len({table_name("a", "x"), table_name("a", "y"), table_name("b", "x")}) == 3
    assert len(table_name("x" * 300, "y")) < 60
