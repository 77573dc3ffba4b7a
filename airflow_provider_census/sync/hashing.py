"""
Hashes in SQL: of rows, which a snapshot compares, and of sync keys, which tell the shards of a sync apart.
"""

from __future__ import annotations

from sqlglot import exp

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.shard import Shard

# The first three hex digits of an MD5: 4,096 values, shared out over the shards.
_DIGITS = 3
_HEX = exp.Literal.string("0123456789abcdef")
_KEPT = exp.Literal.string("[^a-z1-9]")

# MD5 of bytes to bytes.
_OF_BYTES = frozenset({"athena", "presto", "trino"})
# No regular expressions before SQL Server 2025; these are what keys of one record may differ in.
_REPLACED_IN_TSQL = ("' '", "NCHAR(9)", "NCHAR(10)", "NCHAR(13)", "NCHAR(160)", "'0'", "'.'", "'-'")
_KNOWN = frozenset(
    "athena bigquery databricks duckdb mysql postgres presto redshift snowflake spark sqlite trino tsql".split()
)

_SQLITE = (
    "(WITH RECURSIVE census_text(t) AS (SELECT LOWER({text})), census_hash(at, h) AS (SELECT 1, 0 UNION ALL "
    "SELECT at + 1, CASE WHEN SUBSTR(t, at, 1) GLOB '[a-z1-9]' THEN (h * 31 + UNICODE(SUBSTR(t, at, 1))) % 1000003 "
    "ELSE h END FROM census_hash, census_text WHERE at <= LENGTH(t)) "
    "SELECT h FROM census_hash ORDER BY at DESC LIMIT 1)"
)


def is_of(shard: Shard, text: str, dialect: str) -> str:
    """
    Return the condition that a key is of ``shard``.

    The hash sees the letters and digits of the key alone, without regard to case and zeros: keys that a database or a
    destination may hold for one (``Ann@x.io`` and ``ann@x.io``, 1 and 1.0) meet in one shard, where copies are found.
    NULL is of the first one.

    :param text: an expression for the key as text.
    :raises ConfigError: no way is known to hash in this dialect.
    """
    if dialect not in _KNOWN:
        raise ConfigError(
            f"keys cannot be hashed in SQL of {dialect or 'this database'} here, so its models are not sharded; "
            f"known: {', '.join(sorted(_KNOWN))}"
        )
    number = _SQLITE.format(text=text) if dialect == "sqlite" else _number(md5(_core(text, dialect), dialect), dialect)
    index = exp.Mod(this=exp.var(f"({number})"), expression=exp.Literal.number(shard.of)).sql(dialect)
    return f"COALESCE({index}, 0) = {shard.index}"


def md5(text: str, dialect: str) -> str:
    """Return an expression for the MD5 of ``text``, in hex digits."""
    if dialect == "tsql":  # bytes there, which do not concatenate
        return f"CONVERT(VARCHAR(32), HASHBYTES('MD5', {text}), 2)"
    if dialect in _OF_BYTES:
        return f"LOWER(TO_HEX(MD5(TO_UTF8({text}))))"
    return exp.MD5(this=exp.var(text)).sql(dialect)


def _core(text: str, dialect: str) -> str:
    """Return an expression for what the hash sees of a key."""
    core = f"LOWER({text})"
    if dialect == "tsql":
        for what in _REPLACED_IN_TSQL:
            core = f"REPLACE({core}, {what}, '')"
        return core
    # The fourth argument is a position in Redshift; where it is a flag, all and not the first one are replaced.
    everywhere = ", 'g'" if dialect in ("postgres", "duckdb") else ""
    return f"REGEXP_REPLACE({core}, {_KEPT.sql(dialect)}, ''{everywhere})"


def _number(digits: str, dialect: str) -> str:
    """Return an expression for the number the first hex digits say."""
    if dialect == "tsql":
        digits = f"LOWER({digits})"
    places = []
    for at in range(_DIGITS):
        digit = exp.Substring(this=exp.var(digits), start=exp.Literal.number(at + 1), length=exp.Literal.number(1))
        place = exp.StrPosition(this=_HEX.copy(), substr=digit).sql(dialect)
        places.append(f"({place} - 1) * {16 ** (_DIGITS - 1 - at)}")
    return " + ".join(places)
