"""Which rows are of which shard, in the SQL of real databases and in the words of others."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import pytest
import sqlglot

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.model import Model, ModelSql
from airflow_provider_census.sync.shard import Shard
from tests.sync.support import Reads

# Keys of one record, in the eyes of some database or destination; they must meet, or copies go unseen.
SAME = [
    ["ann@x.io", "ANN@x.io", " ann@x.io", "Ann@X.io ", "ann@x.io\t", "\nann@x.io"],
    ["1", "1.0", "1.00", "1 "],
    ["0", "0.0", "-0"],
    ["6b29fc40-ca47-1067-b31d-00dd010662da", "6B29FC40-CA47-1067-B31D-00DD010662DA"],
    ["zoë@x.io", "ZOË@x.io"],
]


def model(database: Reads, text: str, shard: Shard | None = None) -> list[Any]:
    dialect, paramstyle, run = database
    sql = ModelSql(Model(text, part=shard and (shard, "id")), dialect=dialect, paramstyle=paramstyle)
    return run(sql.rows("id"))


def addresses(dialect: str, count: int = 1000) -> str:
    """A model of e-mail addresses, each there once, and two rows without one."""
    digits = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(10))
    number = "a.n + 10 * b.n + 100 * c.n"
    address = f"'Ann.' || ({number}) || '@x.io'" if dialect == "sqlite" else f"CONCAT('Ann.', {number}, '@x.io')"
    return (
        f"SELECT {address} AS id FROM ({digits}) a, ({digits}) b, ({digits}) c WHERE {number} < {count} "
        f"UNION ALL SELECT NULL UNION ALL SELECT NULL"
    )


def expected(key: str, of: int) -> int:
    """The shard, as Python sees it."""
    return int(hashlib.md5(re.sub("[^a-z1-9]", "", key.lower()).encode()).hexdigest()[:3], 16) % of


@pytest.mark.parametrize("of", [2, 3, 7, 256])
def test_every_row_is_of_exactly_one_shard_and_they_are_of_a_size(database: Reads, of: int) -> None:
    text = addresses(database[0])
    parts = [[row[0] for row in model(database, text, Shard(index, of))] for index in range(of)]

    assert Counter(key for part in parts for key in part) == Counter(row[0] for row in model(database, text))
    assert sum(map(len, parts)) == 1002
    if of < 10:
        assert min(map(len, parts)) > 1000 / of * 0.8


def test_rows_without_a_key_meet_in_the_first_one(database: Reads) -> None:
    text = addresses(database[0], 5)

    assert [(None, 2) in model(database, text, Shard(index, 4)) for index in range(4)] == [True, False, False, False]


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0])
def test_keys_somebody_may_hold_for_one_meet(database: Reads, spellings: list[str]) -> None:
    quoted = [f"SELECT '{key}' AS id" for key in spellings]
    found = [{row[0] for row in model(database, " UNION ALL ".join(quoted), Shard(index, 64))} for index in range(64)]

    # SQLite knows the letters of ASCII alone; the others are not looked at.
    assert [keys for keys in found if keys] == [set(spellings)]


def test_numbers_that_are_equal_meet_however_they_are_written(database: Reads) -> None:
    text = "SELECT CAST(1 AS DECIMAL(10, 2)) AS id UNION ALL SELECT 1 UNION ALL SELECT 1.0"
    found = [model(database, text, Shard(index, 64)) for index in range(64)]

    assert [len(rows) for rows in found if rows] == [3]


def test_databases_agree_on_the_shard_of_a_key_where_they_have_md5(database: Reads) -> None:
    if database[0] == "sqlite":
        pytest.skip("SQLite has none: it sums up the characters")
    text = addresses(database[0], 50)

    for index in range(5):
        found = {row[0] for row in model(database, text, Shard(index, 5))} - {None}
        assert {expected(key, 5) for key in found} == {index}


def test_the_authors_parameters_stay_where_they_are(database: Reads) -> None:
    dialect, paramstyle, run = database
    marker = "?" if paramstyle == "qmark" else "%s"
    text = f"SELECT id, email, seen FROM users WHERE id > {marker}"
    found = []
    for index in range(3):
        part = (Shard(index, 3), "email")
        sql = ModelSql(Model(text, (1,), part=part), dialect=dialect, paramstyle=paramstyle)
        found += run(sql.rows("email", lower=True, cursor="seen", since=20, nulls=False))
        assert run(sql.probe()) == []

    assert sorted(row[0] for row in found) == [2, 3, 5]


# As the manuals of these have it; read beside them.
TEXTS = {
    "redshift": (
        "POSITION(SUBSTRING(MD5(REGEXP_REPLACE(LOWER(CAST(\"id\" AS VARCHAR(MAX))), '[^a-z1-9]', '')) FROM 2 FOR 1) IN "
        "'0123456789abcdef')"
    ),
    "snowflake": (
        "CHARINDEX(SUBSTRING(MD5(REGEXP_REPLACE(LOWER(CAST(\"id\" AS VARCHAR)), '[^a-z1-9]', '')), 2, 1), "
        "'0123456789abcdef')"
    ),
    "bigquery": (
        "INSTR('0123456789abcdef', SUBSTRING(TO_HEX(MD5(REGEXP_REPLACE(LOWER(CAST(`id` AS STRING)), '[^a-z1-9]', ''))),"
        " 2, 1))"
    ),
    "databricks": (
        "LOCATE(SUBSTRING(MD5(REGEXP_REPLACE(LOWER(CAST(`id` AS STRING)), '[^a-z1-9]', '')), 2, 1), '0123456789abcdef')"
    ),
    "trino": (
        "STRPOS('0123456789abcdef', SUBSTR(LOWER(TO_HEX(MD5(TO_UTF8(REGEXP_REPLACE(LOWER(CAST(\"id\" AS VARCHAR)), "
        "'[^a-z1-9]', ''))))), 2, 1))"
    ),
    "tsql": (
        "CHARINDEX(SUBSTRING(LOWER(CONVERT(VARCHAR(32), HASHBYTES('MD5', REPLACE(REPLACE(REPLACE(REPLACE(REPLACE("
        "REPLACE(REPLACE(REPLACE(LOWER(CONVERT(NVARCHAR(MAX), [id], 126) COLLATE Latin1_General_100_BIN2), ' ', ''), "
        "NCHAR(9), ''), NCHAR(10), ''), NCHAR(13), ''), NCHAR(160), ''), '0', ''), '.', ''), '-', '')), 2)), 2, 1), "
        "'0123456789abcdef')"
    ),
}


@pytest.mark.parametrize("dialect", TEXTS)
def test_the_hash_in_the_words_of_databases_that_are_not_at_hand(dialect: str) -> None:
    query = ModelSql(Model("SELECT id FROM c", part=(Shard(1, 4), "id")), dialect=dialect).probe()

    (statement,) = sqlglot.parse(query.sql, dialect=dialect)
    assert statement is not None
    assert f"({TEXTS[dialect]} - 1) * 16 + " in query.sql
    rest = ", 4)" if dialect == "bigquery" else " % 4"
    assert query.sql.endswith(f"{rest}, 0) = 1) census_model WHERE 1 = 0")


def test_a_database_nobody_has_looked_at_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot be hashed in SQL of oracle.*known: athena, bigquery"):
        ModelSql(Model("SELECT 1", part=(Shard(0, 2), "id")), dialect="oracle").probe()


@pytest.mark.parametrize("text", ["4/4", "0/1", "0/257", "1", "-1/4", "a/b", "", 3, None])
def test_a_shard_is_written_as_its_number_and_how_many_there_are(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"the first of four is '0/4', the last '3/4'"):
        Shard.parse(text)

    assert str(Shard.parse("3/4")) == "3/4"
