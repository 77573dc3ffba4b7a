"""
The SQL of a snapshot in the words of databases that are not at hand here.

Each text was read with the database's own manual beside it; sqlglot only guards against slips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
import sqlglot

from airflow_provider_census.sync.model import Model, ModelSql
from airflow_provider_census.sync.snapshot import Digest, SnapshotSql
from airflow_provider_census.sync.staging import Stage, StagedSql
from airflow_provider_census.sync.statement import Query

DIALECTS = {
    "redshift": "format",
    "snowflake": "format",
    "bigquery": "format",
    "databricks": "qmark",
    "tsql": "qmark",
    "trino": "qmark",
}
MODEL = Model("SELECT id, plan FROM c")


def snapshot(
    dialect: str,
    *,
    columns: Sequence[str] = ("plan",),
    lower: bool = False,
    schema: str = "crm",
    former: Digest | None = None,
) -> SnapshotSql:
    return SnapshotSql(
        MODEL,
        key="id",
        columns=columns,
        salt="f00",
        lower=lower,
        former=former,
        table="census_x",
        schema=schema,
        dialect=dialect,
        paramstyle=DIALECTS[dialect],
    )


def texts(dialect: str, queries: Iterable[Query]) -> list[str]:
    """The statements, each of which sqlglot takes for one of its dialect."""
    found = [query.sql for query in queries]
    for text in found:
        (statement,) = sqlglot.parse(text.replace("%s", "?"), dialect=dialect)
        assert statement is not None
    return found


CREATE = {
    "redshift": [
        'CREATE SCHEMA IF NOT EXISTS "crm"',
        'CREATE TABLE IF NOT EXISTS "crm"."census_x" '
        # VARCHAR alone is 256 bytes there.
        "(sync_key VARCHAR(MAX), record_id VARCHAR(MAX), digest VARCHAR(MAX), sent INT)",
    ],
    "snowflake": [
        'CREATE SCHEMA IF NOT EXISTS "crm"',
        'CREATE TABLE IF NOT EXISTS "crm"."census_x" (sync_key VARCHAR, record_id VARCHAR, digest VARCHAR, sent INT)',
    ],
    "bigquery": [
        "CREATE SCHEMA IF NOT EXISTS `crm`",
        "CREATE TABLE IF NOT EXISTS `crm`.`census_x` (sync_key STRING, record_id STRING, digest STRING, sent INT)",
    ],
    "databricks": [
        "CREATE SCHEMA IF NOT EXISTS `crm`",
        "CREATE TABLE IF NOT EXISTS `crm`.`census_x` (sync_key STRING, record_id STRING, digest STRING, sent INT)",
    ],
    "tsql": [
        "IF SCHEMA_ID(N'crm') IS NULL EXEC(N'CREATE SCHEMA [crm]')",
        "IF OBJECT_ID(N'[crm].[census_x]', N'U') IS NULL CREATE TABLE [crm].[census_x] "
        # 440 characters of two bytes are within the 900 bytes of a clustered key.
        "(sync_key NVARCHAR(440) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY, "
        "record_id NVARCHAR(440) COLLATE Latin1_General_100_BIN2, digest NVARCHAR(MAX), sent INT)",
    ],
    "trino": [
        'CREATE SCHEMA IF NOT EXISTS "crm"',
        'CREATE TABLE IF NOT EXISTS "crm"."census_x" (sync_key VARCHAR, record_id VARCHAR, digest VARCHAR, sent INT)',
    ],
}
# dialect → key as text, digest, name of the table
WORDS = {
    "redshift": (
        'CAST("id" AS VARCHAR(MAX))',
        """MD5('f00' || COALESCE(MD5(CAST("plan" AS VARCHAR(MAX))), '-'))""",
        '"crm"."census_x"',
    ),
    "snowflake": (
        'CAST("id" AS VARCHAR)',
        """MD5('f00' || COALESCE(MD5(CAST("plan" AS VARCHAR)), '-'))""",
        '"crm"."census_x"',
    ),
    "bigquery": (
        "CAST(`id` AS STRING)",
        "TO_HEX(MD5('f00' || COALESCE(TO_HEX(MD5(CAST(`plan` AS STRING))), '-')))",
        "`crm`.`census_x`",
    ),
    "databricks": (
        "CAST(`id` AS STRING)",
        "MD5('f00' || COALESCE(MD5(CAST(`plan` AS STRING)), '-'))",
        "`crm`.`census_x`",
    ),
    "tsql": (
        "CONVERT(NVARCHAR(MAX), [id], 126) COLLATE Latin1_General_100_BIN2",
        # CONCAT takes 2 to 254 texts there, and makes 8,000 bytes of them at the most, as + does without a MAX.
        "CONVERT(VARCHAR(32), HASHBYTES('MD5', CAST('f00' AS VARCHAR(MAX)) + COALESCE(CONVERT(VARCHAR(32), "
        "HASHBYTES('MD5', CONVERT(NVARCHAR(MAX), [plan], 126) COLLATE Latin1_General_100_BIN2), 2), '-')), 2)",
        "[crm].[census_x]",
    ),
    "trino": (
        'CAST("id" AS VARCHAR)',
        "LOWER(TO_HEX(MD5(TO_UTF8('f00' || "
        """COALESCE(LOWER(TO_HEX(MD5(TO_UTF8(CAST("plan" AS VARCHAR))))), '-')))))""",
        '"crm"."census_x"',
    ),
}
# The digest of a row of which no column is mapped.
OF_CONSTANTS = {
    "redshift": "MD5('f00')",
    "snowflake": "MD5('f00')",
    "bigquery": "TO_HEX(MD5('f00'))",
    "databricks": "MD5('f00')",
    "tsql": "CONVERT(VARCHAR(32), HASHBYTES('MD5', CAST('f00' AS VARCHAR(MAX))), 2)",
    "trino": "LOWER(TO_HEX(MD5(TO_UTF8('f00'))))",
}
INNER = "(\nSELECT id, plan FROM c\n) census_model"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_table_is_made_where_it_is_missing(dialect: str) -> None:
    sql = snapshot(dialect)
    assert texts(dialect, [sql.create_schema("crm"), sql.create()]) == CREATE[dialect]


def test_a_schema_of_any_name_is_made_in_sql_server() -> None:
    assert snapshot("tsql").create_schema("o'b]x").sql == (
        "IF SCHEMA_ID(N'o''b]x') IS NULL EXEC(N'CREATE SCHEMA [o''b]]x]')"
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_changed_is_found_by_key_and_digest(dialect: str) -> None:
    key, digest, table = WORDS[dialect]
    column = ModelSql(MODEL, dialect=dialect).quote("id")
    same = f"CAST({column} AS VARBINARY(MAX))" if dialect == "tsql" else column

    assert texts(dialect, [snapshot(dialect).changed()]) == [
        f"SELECT m.*, p.sent AS census_sent FROM (SELECT c.*, {key} AS census_key, {digest} AS census_digest "
        f"FROM (SELECT census_model.*, COUNT(*) OVER (PARTITION BY {same}) AS census_copies FROM {INNER}) c) m "
        f"LEFT JOIN {table} p ON p.sync_key = m.census_key "
        f"WHERE p.sync_key IS NULL OR p.digest <> m.census_digest OR m.census_copies > 1"
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_of_constants_alone_have_one_digest(dialect: str) -> None:
    (text,) = texts(dialect, [snapshot(dialect, columns=()).changed()])
    assert f", {OF_CONSTANTS[dialect]} AS census_digest FROM (" in text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_gone_is_found_unless_its_record_has_another_key_now(dialect: str) -> None:
    key, _, table = WORDS[dialect]

    assert texts(dialect, [snapshot(dialect).removed()]) == [
        "SELECT r.sync_key, r.record_id FROM (SELECT p.sync_key, p.record_id, p.sent, "
        "MAX(CASE WHEN m.census_key IS NULL THEN 0 ELSE 1 END) OVER (PARTITION BY p.record_id) AS present "
        f"FROM {table} p LEFT JOIN (SELECT {key} AS census_key FROM {INNER}) m ON m.census_key = p.sync_key) r "
        "WHERE r.sent = 1 AND r.present = 0"
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_arrived_takes_the_place_of_what_was_there(dialect: str) -> None:
    _, _, table = WORDS[dialect]
    marker = "?" if DIALECTS[dialect] == "qmark" else "%s"
    queries = list(snapshot(dialect).put([("1", "r1", "d1", 1), ("2", "r2", "d2", 0)]))

    assert texts(dialect, queries) == [
        f"DELETE FROM {table} WHERE sync_key IN ({marker}, {marker})",
        f"INSERT INTO {table} (sync_key, record_id, digest, sent) "
        f"VALUES ({marker}, {marker}, {marker}, {marker}), ({marker}, {marker}, {marker}, {marker})",
    ]
    assert [query.parameters for query in queries] == [("1", "2"), ("1", "r1", "d1", 1, "2", "r2", "d2", 0)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_about_to_be_sent_is_in_doubt(dialect: str) -> None:
    _, _, table = WORDS[dialect]
    marker = "?" if DIALECTS[dialect] == "qmark" else "%s"

    assert texts(dialect, snapshot(dialect).doubt(["1", "2"], by="record_id")) == [
        f"UPDATE {table} SET digest = 'in doubt' WHERE record_id IN ({marker}, {marker})"
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_digests_of_what_is_unchanged_are_rewritten_in_one_statement(dialect: str) -> None:
    key, digest, table = WORDS[dialect]
    former = digest.replace("f00", "0ld")
    rows = f"SELECT DISTINCT {former} AS census_former, {key} AS census_key, {digest} AS census_digest FROM {INNER}"
    same = "sync_key = m.census_key AND digest = m.census_former"
    merged = f"MERGE INTO {table} USING ({rows}) m ON {same} WHEN MATCHED THEN UPDATE SET digest = m.census_digest"
    updated = f"UPDATE {table} SET digest = m.census_digest FROM ({rows}) m WHERE {same}"

    assert texts(dialect, [snapshot(dialect, former=Digest(["plan"], "0ld")).rebase()]) == [
        merged if dialect in ("databricks", "trino") else updated
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_staged_keys_are_found_once_each(dialect: str) -> None:
    _, _, table = WORDS[dialect]
    stage = Stage("census_x_stage", schema="crm", dialect=dialect, paramstyle=DIALECTS[dialect])
    sql = StagedSql(
        stage.model, key="sync_key", columns=(), salt="", lower=False, table="census_x", schema="crm", dialect=dialect
    )

    (text,) = texts(dialect, [sql.keys(only_new=False, everything=False)])

    assert text.startswith("SELECT census_key, MAX(census_copies), MIN(census_sent) FROM (\nSELECT m.*, p.sent AS ")
    assert f" m LEFT JOIN {table} p ON p.sync_key = m.census_key WHERE p.sync_key IS NULL OR " in text
    assert text.endswith(" OR m.census_copies > 1\n) d GROUP BY census_key")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_baseline_is_one_statement(dialect: str) -> None:
    key, digest, table = WORDS[dialect]
    model = ModelSql(MODEL, dialect=dialect)
    column, folded = model.quote("id"), model.folded("id")

    assert texts(dialect, [snapshot(dialect, lower=True).baseline()]) == [
        f"INSERT INTO {table} (sync_key, record_id, digest, sent) "
        f"SELECT {key}, MIN({folded}), MIN({digest}), 0 FROM {INNER} "
        f"WHERE {column} IS NOT NULL GROUP BY {key}"
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_that_are_asked_for_in_quotes_are_given_in_quotes(dialect: str) -> None:
    quote = ModelSql(MODEL, dialect=dialect).quote
    stage = Stage("census_x_stage", schema="crm", dialect=dialect, paramstyle=DIALECTS[dialect])

    _, create = texts(dialect, stage.create())

    assert create.count(quote("sync_key")) == create.count(quote("digest")) == 1
    assert stage.model.sql.startswith(f"SELECT {quote('sync_key')}, {quote('digest')} FROM ")
    keyed = snapshot(dialect).keyed().sql
    assert f" AS {quote('census_key')}, " in keyed
    assert f" AS {quote('census_digest')} FROM " in keyed


# SQL Server: Maximum Capacity Specifications; Databricks: docs/parameters.md of its connector.
@pytest.mark.parametrize(("dialect", "most"), [("tsql", 2100), ("databricks", 255)])
def test_no_statement_binds_more_than_the_database_takes(dialect: str, most: int) -> None:
    sql = snapshot(dialect)
    rows = [(str(n), str(n), "d", 1) for n in range(500)]
    stage = Stage("census_x_stage", schema=None, dialect=dialect, paramstyle="qmark")
    model = ModelSql(Model("SELECT id FROM c WHERE plan = ?", ("free",)), dialect=dialect)
    statements = {
        "put": list(sql.put(rows)),
        "stage": list(stage.insert([(key, digest) for key, _, digest, _ in rows])),
        "read": list(model.by_keys("id", [row[0] for row in rows])),
    }

    for name, queries in statements.items():
        assert max(len(query.parameters or ()) for query in queries) <= most, name
        assert sum(query.sql.count("?") for query in queries) == sum(len(query.parameters or ()) for query in queries)
    inserted = [query.parameters or () for query in statements["put"] if query.sql.startswith("INSERT")]
    assert [value for parameters in inserted for value in list(parameters)[::4]] == [row[0] for row in rows]
