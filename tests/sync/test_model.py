from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.columns import check_columns, resolve_column
from airflow_provider_census.sync.model import COPIES, Model, ModelSql
from airflow_provider_census.sync.statement import Query
from tests.sync.support import Reads

TEXT = "SELECT id, email, updated_at FROM users"
NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)

# dialect → how it quotes ``email``, what tells two keys apart, the same without regard to case
BLANKS = " \t\n\r\v\f"
DIALECTS = {
    "": ('"email"', '"email"', 'LOWER(TRIM(CAST("email" AS TEXT)))'),
    "duckdb": ('"email"', '"email"', f"LOWER(TRIM(CAST(\"email\" AS TEXT), '{BLANKS}'))"),
    "sqlite": ('"email"', '"email"', f"LOWER(TRIM(CAST(\"email\" AS TEXT), '{BLANKS}'))"),
    "postgres": ('"email"', '"email"', f"LOWER(BTRIM(CAST(\"email\" AS TEXT), '{BLANKS}'))"),
    "mysql": (
        "`email`",
        "CAST(`email` AS BINARY)",
        "CAST(LOWER(REGEXP_REPLACE(CAST(`email` AS CHAR), '^[[:space:]]+|[[:space:]]+$', '')) AS BINARY)",
    ),
    "snowflake": ('"email"', '"email"', f"LOWER(TRIM(CAST(\"email\" AS VARCHAR), '{BLANKS}'))"),
    "bigquery": ("`email`", "`email`", "LOWER(TRIM(CAST(`email` AS STRING)))"),
    "redshift": ('"email"', '"email"', f"LOWER(BTRIM(CAST(\"email\" AS VARCHAR(MAX)), '{BLANKS}'))"),
    "databricks": ("`email`", "`email`", f"LOWER(TRIM(BOTH '{BLANKS}' FROM CAST(`email` AS STRING)))"),
    "tsql": (
        "[email]",
        "CAST([email] AS VARBINARY(MAX))",
        f"CAST(LOWER(TRIM('{BLANKS}' FROM CONVERT(NVARCHAR(MAX), [email], 126) COLLATE Latin1_General_100_BIN2)) "
        "AS VARBINARY(MAX))",
    ),
    "trino": ('"email"', '"email"', 'LOWER(TRIM(CAST("email" AS VARCHAR)))'),
}


def sql(text: str = TEXT, parameters: Any = None, **kwargs: Any) -> ModelSql:
    return ModelSql(Model(text, parameters), **kwargs)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_read_is_built_around_the_text_in_the_words_of_the_dialect(dialect: str) -> None:
    column, exact, lower = DIALECTS[dialect]
    model = sql(dialect=dialect)

    assert model.probe() == Query(f"SELECT * FROM (\n{TEXT}\n) census_model WHERE 1 = 0")
    assert model.highest("email") == Query(f"SELECT MAX({column}) FROM (\n{TEXT}\n) census_model")
    for ignore_case, same in ((False, exact), (True, lower)):
        copies = f"COUNT(*) OVER (PARTITION BY {same}) AS census_copies"
        read = f"SELECT census_model.*, {copies} FROM (\n{TEXT}\n) census_model"
        assert model.rows("email", lower=ignore_case) == Query(read)
        assert list(model.by_keys("email", ["a", "b"], lower=ignore_case)) == [
            Query(f"{read} WHERE {column} IN (?, ?)", ("a", "b"))
        ]


@pytest.mark.parametrize(
    ("since", "nulls", "where", "bound"),
    [
        (None, True, "", None),
        (None, False, ' WHERE "at" IS NOT NULL', None),
        (NOON, True, ' WHERE "at" >= ? OR "at" IS NULL', (NOON,)),
        (NOON, False, ' WHERE "at" >= ?', (NOON,)),
        (0, False, ' WHERE "at" >= ?', (0,)),
    ],
)
def test_a_watermark_is_a_closed_lower_bound_and_nulls_are_read_as_asked(
    since: Any, nulls: bool, where: str, bound: Any
) -> None:
    query = sql().rows("id", cursor="at", since=since, nulls=nulls)

    assert query.sql.endswith(f'\n) census_model{where} ORDER BY "at"')
    assert query.parameters == bound


@pytest.mark.parametrize(
    ("dialect", "quoted"),
    [("duckdb", '"a""b] `c"'), ("mysql", '`a"b] ``c`'), ("tsql", '[a"b]] `c]')],
)
def test_a_name_cannot_leave_its_quotes(dialect: str, quoted: str) -> None:
    assert sql(dialect=dialect).quote('a"b] `c') == quoted


@pytest.mark.parametrize(
    ("dialect", "paramstyle", "text", "given", "expected_sql", "expected"),
    [
        ("duckdb", "qmark", "SELECT ?", None, "SELECT ?|WHERE 'x%' >= ?", (7,)),
        ("duckdb", "qmark", "SELECT ?", [1], "SELECT ?|WHERE 'x%' >= ?", (1, 7)),
        ("duckdb", "qmark", "SELECT $a", {"a": 1}, "SELECT $a|WHERE 'x%' >= $census_0", {"a": 1, "census_0": 7}),
        ("sqlite", "qmark", "SELECT :a", {"a": 1}, "SELECT :a|WHERE 'x%' >= :census_0", {"a": 1, "census_0": 7}),
        ("postgres", "format", "SELECT '5%'", None, "SELECT '5%%'|WHERE 'x%%' >= %s", (7,)),
        ("postgres", "format", "SELECT '5%'", [], "SELECT '5%%'|WHERE 'x%%' >= %s", (7,)),
        ("postgres", "format", "SELECT '5%%', %s", (1,), "SELECT '5%%', %s|WHERE 'x%%' >= %s", (1, 7)),
        (
            "postgres",
            "format",
            "SELECT '5%%', %(a)s",
            {"a": 1},
            "SELECT '5%%', %(a)s|WHERE 'x%%' >= %(census_0)s",
            {"a": 1, "census_0": 7},
        ),
        ("athena", "pyformat", "SELECT '5%'", None, "SELECT '5%%'|WHERE 'x%%' >= %(census_0)s", {"census_0": 7}),
        ("oracle", "named", "SELECT '5%'", None, "SELECT '5%'|WHERE 'x%' >= :census_0", {"census_0": 7}),
    ],
)
def test_our_values_are_bound_behind_the_authors_in_the_drivers_style(
    dialect: str, paramstyle: str, text: str, given: Any, expected_sql: str, expected: Any
) -> None:
    model = sql(text, given, dialect=dialect, paramstyle=paramstyle)
    query = model.rows("id", cursor="x%", since=7, nulls=False)

    author, ours = expected_sql.replace("'x%%'", model.quote("x%%")).replace("'x%'", model.quote("x%")).split("|")
    assert f"FROM (\n{author}\n) census_model {ours} ORDER BY" in query.sql
    assert query.parameters == expected


def test_without_anything_bound_a_percent_sign_stays_single() -> None:
    query = sql("SELECT 1 AS a WHERE 'x' LIKE '%x'", dialect="postgres", paramstyle="format").probe()

    assert "'%x'" in query.sql
    assert query.parameters is None


def test_a_driver_that_binds_by_name_refuses_positional_parameters() -> None:
    with pytest.raises(ConfigError, match="as a dict"):
        sql("SELECT :1", [1], dialect="oracle", paramstyle="named")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("\n SELECT 1 ;; -- done\n", "SELECT 1"),
        ("SELECT 1 -- one", "SELECT 1 -- one"),
        ("-- why\nSELECT 1", "-- why\nSELECT 1"),
        ("SELECT ';' AS a", "SELECT ';' AS a"),
        ("(SELECT 1) UNION (SELECT 2)", "(SELECT 1) UNION (SELECT 2)"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH a AS (SELECT 1) SELECT * FROM a"),
        ("SELECT 'never closed;", "SELECT 'never closed"),
    ],
)
def test_the_text_stands_as_it_was_written_but_for_a_closing_semicolon(text: str, kept: str) -> None:
    assert sql(text).probe().sql == f"SELECT * FROM (\n{kept}\n) census_model WHERE 1 = 0"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        (" ; -- nothing", "empty"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("DELETE FROM users", "'DELETE'"),
        ("users", "'users'"),
    ],
)
def test_what_is_not_one_select_is_refused_by_name_of_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        sql(text)


def test_sql_server_gets_common_table_expressions_at_the_head_of_the_statement() -> None:
    text = "WITH a AS (SELECT 1 AS id), b AS (SELECT id FROM a)\nSELECT id FROM b -- all;\n;"

    assert sql(text, dialect="tsql").probe().sql == (
        "WITH a AS (SELECT 1 AS id), b AS (SELECT id FROM a)\n"
        "SELECT * FROM (\nSELECT id FROM b -- all;\n) census_model WHERE 1 = 0"
    )
    with pytest.raises(ConfigError, match="no SELECT"):
        sql("WITH a AS (SELECT 1 AS id) DELETE FROM a", dialect="tsql")


def test_many_keys_are_read_in_chunks_and_spellings_of_one_key_stay_together() -> None:
    keys = ["b@x", "A@x", "c@x", "a@x ", "d@x"]

    queries = list(sql().by_keys("email", keys, null_keys=True, size=2))

    assert [query.parameters for query in queries] == [("A@x", "a@x "), ("b@x", "c@x"), ("d@x",), None]
    assert queries[-1].sql.endswith('WHERE "email" IS NULL')
    assert list(sql().by_keys("email", [])) == []
    assert [len(q.parameters or ()) for q in sql().by_keys("id", range(1200))] == [500, 500, 200]


def test_a_column_is_found_without_regard_to_case_where_only_one_can_be_meant() -> None:
    assert resolve_column("updated_at", ["ID", "UPDATED_AT"]) == "UPDATED_AT"
    assert resolve_column("id", ["ID", "id"]) == "id"
    with pytest.raises(ConfigError, match=r"valid: 'ID', 'id'$"):
        resolve_column("Id", ["ID", "id", "x"])
    with pytest.raises(ConfigError, match=r"valid: 'ID', 'EMAIL'$"):
        resolve_column("mail", ["ID", "EMAIL"])


def test_columns_that_cannot_be_told_apart_are_refused() -> None:
    check_columns(["id", "ID", "email"])
    with pytest.raises(ConfigError, match="'id'"):
        check_columns(["id", "email", "id"])
    with pytest.raises(ConfigError, match="census_copies"):
        check_columns(["id", "Census_Copies"])


# --- on real databases ------------------------------------------------------------------------------------------------


def ids(rows: list[tuple[Any, ...]]) -> list[tuple[int, int]]:
    """The id, and how many copies of the key the read found."""
    return [(row[0], row[-1]) for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM users -- every one;",
        "WITH u AS (SELECT * FROM users WHERE note NOT LIKE '%q')\nSELECT id, email, seen, note FROM u;",
    ],
)
def test_the_queries_run_and_find_the_rows(database: Reads, text: str) -> None:
    dialect, paramstyle, run = database
    model = sql(text, dialect=dialect, paramstyle=paramstyle)

    assert run(model.probe()) == []
    assert run(model.highest("seen")) == [(30,)]
    assert sorted(ids(run(model.rows("email")))) == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]
    assert sorted(ids(run(model.rows("email", lower=True)))) == [(1, 2), (2, 2), (3, 1), (4, 1), (5, 1)]
    late = run(model.rows("email", lower=True, cursor="seen", since=20))
    assert sorted(ids(late)) == [(2, 1), (3, 1), (4, 1), (5, 1)]
    assert [row[2] for row in run(model.rows("id", cursor="seen", nulls=False))] == [10, 20, 20, 30]
    found = [row for query in model.by_keys("email", ["zoë@x.io", "ann@x.io"], null_keys=True) for row in run(query)]
    # The collation of MySQL finds what is spelled otherwise as well, and does not count it as the same.
    assert sorted(ids(found)) == [(1, 1)] * (dialect == "mysql") + [(2, 1), (4, 1), (5, 1)]


@pytest.mark.parametrize("named", [False, True])
def test_the_authors_parameters_and_ours_meet_in_one_statement(database: Reads, named: bool) -> None:
    dialect, paramstyle, run = database
    markers = {"duckdb": ("?", "$n"), "sqlite": ("?", ":n"), "postgres": ("%s", "%(n)s"), "mysql": ("%s", "%(n)s")}
    marker = markers[dialect][named]
    name = "O'Brien"
    model = sql(
        f"SELECT id, seen FROM users WHERE note = {marker}",
        {"n": name} if named else [name],
        dialect=dialect,
        paramstyle=paramstyle,
    )

    assert ids(run(model.rows("id", cursor="seen", since=20))) == [(2, 1)]
    assert run(model.rows("id", cursor="seen", since=21)) == []
    assert [ids(run(query)) for query in model.by_keys("id", [1, 2])] == [[(2, 1)]]


def test_an_accent_or_a_blank_makes_another_key(database: Reads) -> None:
    dialect, paramstyle, run = database
    text = "SELECT 1 AS id, 'zoe@x' AS email UNION ALL SELECT 2, 'zoë@x' UNION ALL SELECT 3, 'zoe@x '"
    model = sql(text, dialect=dialect, paramstyle=paramstyle)

    assert sorted(ids(run(model.rows("email")))) == [(1, 1), (2, 1), (3, 1)]
    assert sorted(ids(run(model.rows("email", lower=True)))) == [(1, 2), (2, 1), (3, 2)]


def test_keys_that_differ_in_blanks_around_them_are_one_without_regard_to_case(database: Reads) -> None:
    dialect, paramstyle, run = database
    if dialect == "mysql":
        keys = "CONCAT(CHAR(9), 'Zoe@x', CHAR(13), CHAR(10))", "'zoe@x '", "'z oe@x'"
    else:
        code = "CHAR" if dialect == "sqlite" else "CHR"
        keys = f"{code}(9) || 'Zoe@x' || {code}(13) || {code}(10)", "'zoe@x '", "'z oe@x'"
    text = " UNION ALL ".join(f"SELECT {number} AS id, {key} AS email" for number, key in enumerate(keys))
    model = sql(text, dialect=dialect, paramstyle=paramstyle)

    assert sorted(ids(run(model.rows("email", lower=True)))) == [(0, 2), (1, 2), (2, 1)]


def test_copies_stand_in_the_last_column(database: Reads) -> None:
    dialect, paramstyle, run = database
    query = sql("SELECT id FROM users", dialect=dialect, paramstyle=paramstyle).rows("id")

    assert run(Query(f"SELECT {COPIES} FROM ({query.sql}) x LIMIT 1", query.parameters)) == [(1,)]
