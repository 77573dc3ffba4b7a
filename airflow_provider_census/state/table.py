"""
The state of a sync in a table: for sources that may only be read, and for metadata databases that are cleaned often.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_census.errors import Busy
from airflow_provider_census.sources.dbapi import DbApiSource
from airflow_provider_census.sync.dialect import text_type
from airflow_provider_census.sync.statement import Bound, Query, Statements, rows
from airflow_provider_census.sync.tables import create_table, key_type

TABLE = "census_state"


class TableKeeper:
    """
    The state of one sync as a row of :data:`TABLE`.

    :param conn_id: connection to the database; it needs the right to make the table and to write it.
    """

    def __init__(self, sync_id: str, conn_id: str) -> None:
        self.name = f"table {TABLE} of connection {conn_id}"
        self._sync_id = sync_id
        self._source = DbApiSource.of(conn_id, "Watermark(state=…): connection")
        self._sequence: int | None = None

    def read(self) -> Any:
        """Return what was kept last, None if nothing was."""
        self._source.write([self._create()])
        row = self._row()
        self._sequence = row[0] if row else None
        return json.loads(row[1]) if row else None

    def write(self, value: Mapping[str, Any]) -> None:
        """
        Keep ``value``, a state in JSON.

        :raises Busy: somebody else has written the row since it was read.
        """
        row = self._row()
        if (row[0] if row else None) != self._sequence:
            raise Busy("another run of this sync has saved its state meanwhile; this one stops")
        text = json.dumps(value)
        values = (Bound(self._sync_id), ", ", Bound(value["sequence"]), ", ", Bound(text), ")")
        self._source.write(
            [
                self._query(f"DELETE FROM {TABLE} WHERE sync_id = ", Bound(self._sync_id)),
                self._query(f"INSERT INTO {TABLE} (sync_id, sequence, value) VALUES (", *values),
            ]
        )
        self._sequence = value["sequence"]

    def _create(self) -> Query:
        dialect = self._source.dialect
        columns = f"sync_id {key_type(dialect)} NOT NULL, sequence BIGINT, value {text_type(dialect)}"
        return create_table(TABLE, columns, dialect)

    def _row(self) -> tuple[int, str] | None:
        query = self._query(f"SELECT sequence, value FROM {TABLE} WHERE sync_id = ", Bound(self._sync_id))
        found = list(rows(self._source, query))
        return (int(found[0][0]), found[0][1]) if found else None

    def _query(self, *parts: str | Bound) -> Query:
        return Statements(self._source.dialect, self._source.paramstyle).compose(*parts)
