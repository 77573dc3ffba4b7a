"""What databases write differently: names, values as text, comparison to the letter, how much a statement binds."""

from __future__ import annotations

from sqlglot import exp

_BLANKS = " \t\n\r\v\f"
# TRIM of standard SQL takes off spaces alone; that of BigQuery and Trino (Athena) takes off all blanks. By the manuals
# of the databases; tried on DuckDB, MariaDB, PostgreSQL and SQLite.
_TRIMS = {
    **dict.fromkeys(("duckdb", "snowflake", "sqlite"), f"TRIM({{}}, '{_BLANKS}')"),
    **dict.fromkeys(("postgres", "redshift"), f"BTRIM({{}}, '{_BLANKS}')"),
    **dict.fromkeys(("databricks", "spark"), f"TRIM(BOTH '{_BLANKS}' FROM {{}})"),
    "mysql": "REGEXP_REPLACE({}, '^[[:space:]]+|[[:space:]]+$', '')",
    "tsql": f"TRIM('{_BLANKS}' FROM {{}})",
}

# Where the usual collation calls 'A' and 'a' equal, or 'e' and 'é', only the bytes tell two keys apart.
_EXACT_TYPES = {"mysql": "BINARY", "tsql": "VARBINARY(MAX)"}

# How many values one statement may bind: 2,100 in SQL Server, and fewer at the server in Databricks (255 by its
# connector's docs/parameters.md; a Parameterized query has too many parameters).
_MOST_BOUND = {"databricks": 255}
_BOUND = 2000
# Where a list is one value, which UNNEST makes rows of. DuckDB takes as long to plan a statement of 20,000 values as to
# read a table of ten million rows.
_WITH_LISTS = frozenset({"duckdb"})

EXACT_COLLATION = "Latin1_General_100_BIN2"
"""The collation of SQL Server that compares text by its code points."""


def quoted(name: str, dialect: str) -> str:
    """Return ``name`` as an identifier."""
    return exp.to_identifier(name, quoted=True).sql(dialect)


def as_text(name: str, dialect: str) -> str:
    """Return an expression for the value of a column as text."""
    if dialect == "tsql":
        # Without a style, times lose their seconds there and numbers their digits; in a string of one byte per
        # character, most of the world's letters are a question mark.
        return f"CONVERT(NVARCHAR(MAX), {quoted(name, dialect)}, 126) COLLATE {EXACT_COLLATION}"
    return exp.cast(exp.column(name, quoted=True), "text").sql(dialect)


def folded(name: str, dialect: str) -> str:
    """
    Return an expression for the value of a column as text without regard to case and blanks around it.

    Blanks and capitals beyond ASCII are left to the database: SQLite folds none of them.
    """
    return f"LOWER({_TRIMS.get(dialect, 'TRIM({})').format(as_text(name, dialect))})"


def to_the_letter(expression: str, dialect: str) -> str:
    """Return an expression that is equal only where ``expression`` is the same, whatever the collation."""
    exact = _EXACT_TYPES.get(dialect)
    return f"CAST({expression} AS {exact})" if exact else expression


def text_type(dialect: str) -> str:
    """Return the type of a column that holds text of any length."""
    return "NVARCHAR(MAX)" if dialect == "tsql" else exp.DataType.build("text").sql(dialect)


def most_bound(dialect: str) -> int:
    """Return how many values one statement may bind."""
    return _MOST_BOUND.get(dialect, _BOUND)


def binds_lists(dialect: str) -> bool:
    """Return whether a statement binds any number of values as one list."""
    return dialect in _WITH_LISTS
