"""Databases without Airflow: what the engine takes when nothing else is in the process."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.statement import Query

_Batches = Generator[Sequence[tuple[Any, ...]], None, None]


class Postgres:
    """PostgreSQL, with a cursor at the server."""

    dialect = "postgres"
    paramstyle = "pyformat"

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def columns(self, query: Query) -> list[str]:
        """Return the names of the columns of ``query``."""
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query.sql, query.parameters)
            return [column.name for column in cursor.description]

    def stream(self, query: Query, batch_rows: int = 1000) -> _Batches:
        """Yield the rows in batches."""
        with closing(self._connect()) as connection, connection.cursor("bench") as cursor:
            cursor.itersize = batch_rows
            cursor.execute(query.sql, query.parameters)
            while batch := cursor.fetchmany(batch_rows):
                yield batch

    def _connect(self) -> Any:
        import psycopg2

        return psycopg2.connect(self._uri)


class DuckDb:
    """DuckDB in this process, from a file; counts the rows it gave out."""

    dialect = "duckdb"
    paramstyle = "qmark"

    def __init__(self, path: str) -> None:
        import duckdb

        self._connection = duckdb.connect(path)
        self.fetched = 0

    def columns(self, query: Query) -> list[str]:
        """Return the names of the columns of ``query``."""
        import duckdb

        with closing(self._connection.cursor()) as cursor:
            try:
                cursor.execute(query.sql, query.parameters)
            except duckdb.Error as error:
                raise ConfigError(str(error)) from None
            return [str(column[0]) for column in cursor.description or ()]

    def stream(self, query: Query, batch_rows: int = 1000) -> _Batches:
        """Yield the rows in batches."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(query.sql, query.parameters)
            while batch := cursor.fetchmany(batch_rows):
                self.fetched += len(batch)
                yield batch

    def write(self, queries: Iterable[Query]) -> None:
        """Run ``queries`` in one transaction."""
        with closing(self._connection.cursor()) as cursor:
            cursor.begin()
            for query in queries:
                cursor.execute(query.sql, query.parameters)
            cursor.commit()
