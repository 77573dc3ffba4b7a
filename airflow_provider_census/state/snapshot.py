"""The snapshot of a sync, for another task than the one that runs it."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.sources.dbapi import DbApiSource
from airflow_provider_census.sync.snapshot_table import BESIDE, SnapshotTable, table_name
from airflow_provider_census.sync.statement import only_row


class RemoteSnapshot:
    """
    The table of a snapshot.

    :param conn_id: of the database it is in.
    :param target: ``destination/object`` of the sync.
    :param shards: how many it is in.
    """

    def __init__(self, conn_id: str, *, schema: str | None, sync_id: str, target: str, shards: int = 1) -> None:
        self._source = DbApiSource.of(conn_id)
        there: dict[str, Any] = {"dialect": self._source.dialect, "paramstyle": self._source.paramstyle}
        name = table_name(sync_id, target)
        self._table = SnapshotTable(name, schema=schema, **there)
        stages = [f"stage_{index}" for index in range(shards) if shards > 1]
        self._beside = [SnapshotTable(f"{name}_{use}", schema=schema, **there) for use in (*BESIDE, *stages)]
        self.name = f"table {self._table.name} of connection {conn_id}"

    def known(self) -> tuple[int, int]:
        """Return how many records it knows, and how many of them the sync sent."""
        self._table.make(self._source)
        records, sent = only_row(self._source, self._table.known())
        return int(records), int(sent)

    def drop(self) -> None:
        """Forget it: the next run makes it anew."""
        self._source.write(table.drop() for table in (self._table, *self._beside))
