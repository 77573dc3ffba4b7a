"""A model in memory, for whole runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.fields import Column
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.statement import Query


class Table:
    """
    A table ``model`` in SQLite: a :class:`~airflow_provider_census.sync.snapshot_table.Database`.

    Columns are ``key``, ``moved`` (a cursor that grows with every change), and one per field.

    :param rows: fields by their dotted names, by key; several rows may have one key.
    """

    dialect = "sqlite"
    paramstyle = "qmark"

    def __init__(self, rows: Iterable[tuple[Any, Mapping[str, Any]]]) -> None:
        rows = list(rows)
        self._columns = {path: f"field_{n}" for n, path in enumerate(dict.fromkeys(p for _, row in rows for p in row))}
        self._db = sqlite3.connect(":memory:", check_same_thread=False)  # a run reads in a thread of its own
        self._moved = 0
        self._db.execute(f'CREATE TABLE model ("key", moved, {", ".join(self._columns.values()) or "nothing"})')
        for key, row in rows:
            self._insert(key, row)

    model = Model("SELECT * FROM model")

    @property
    def mapping(self) -> dict[str, Column]:
        """The mapping of every field; a field a row does not have is not sent."""
        return {path: Column(column, null="skip") for path, column in self._columns.items()}

    def change(self, key: Any, row: Mapping[str, Any]) -> None:
        """Replace the row of ``key``; its cursor moves."""
        self._db.execute('DELETE FROM model WHERE "key" = ?', (key,))
        self._insert(key, row)

    def columns(self, query: Query) -> list[str]:
        """Return the names of the columns of ``query``."""
        try:
            return [column[0] for column in self._db.execute(query.sql, query.parameters or ()).description]
        except sqlite3.OperationalError as error:
            raise ConfigError(str(error)) from None

    def stream(self, query: Query, batch_rows: int = 1000) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        """Yield the rows in batches."""
        cursor = self._db.execute(query.sql, query.parameters or ())
        while batch := cursor.fetchmany(batch_rows):
            yield batch

    def write(self, queries: Iterable[Query]) -> None:
        """Run ``queries`` in one transaction."""
        with self._db:
            for query in queries:
                self._db.execute(query.sql, query.parameters or ())

    def close(self) -> None:
        """Forget the table."""
        self._db.close()

    def _insert(self, key: Any, row: Mapping[str, Any]) -> None:
        self._moved += 1
        values = {'"key"': key, "moved": self._moved, **{self._columns[path]: value for path, value in row.items()}}
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT INTO model ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
