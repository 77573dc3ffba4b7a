"""Tables of ours in a database of the author's: what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from airflow_provider_census.sync.dialect import EXACT_COLLATION, text_type
from airflow_provider_census.sync.statement import Query, Source

# Types that can be compared and indexed, byte for byte; TEXT can not everywhere.
_KEY_TYPES = {
    "mysql": "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "tsql": f"NVARCHAR(440) COLLATE {EXACT_COLLATION}",
}


class Database(Source, Protocol):
    """A source that can also be written to."""

    def write(self, queries: Iterable[Query]) -> None:
        """Run ``queries`` in one transaction."""


def key_type(dialect: str) -> str:
    """Return the type of a column that holds a key and is compared exactly."""
    return _KEY_TYPES.get(dialect) or text_type(dialect)


def create_table(name: str, columns: str, dialect: str) -> Query:
    """
    Return the statement that makes a table where it is missing.

    :param name: as it stands in statements.
    """
    if dialect == "tsql":
        return Query(f"IF OBJECT_ID({literal(name)}, N'U') IS NULL CREATE TABLE {name} ({columns})")
    return Query(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")


def literal(text: str) -> str:
    """Return text as SQL Server has it in a statement."""
    return "N'" + text.replace("'", "''") + "'"
