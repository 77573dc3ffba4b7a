"""
What is to be written into a snapshot, gathered: warehouses read the whole table for every statement about some of its
keys.
"""

from __future__ import annotations

from airflow_provider_census.sync.snapshot import SnapshotSql
from airflow_provider_census.sync.snapshot_doubts import SnapshotDoubts
from airflow_provider_census.sync.tables import Database

_AT_ONCE = 10_000  # keys and digests; no values


class SnapshotWrites:
    """
    The rows of a snapshot that have settled since it was written.

    :param keep: whether they are written; a dry run does not.
    :param has_rows: whether the snapshot has rows; kept up to date, save for what :attr:`uncounted` says.
    :ivar uncounted: rows were dropped, or written by others than this: whether there are any has to be looked up.
    """

    def __init__(
        self, database: Database, sql: SnapshotSql, doubts: SnapshotDoubts, *, keep: bool, has_rows: bool
    ) -> None:
        self._database = database
        self._sql = sql
        self._doubts = doubts
        self._keep = keep
        self.has_rows = has_rows
        self.uncounted = False
        self._arrived: dict[str, tuple[str, str, str, int]] = {}
        self._moved: list[str] = []
        self._gone: list[str] = []

    def put(self, key: str, record_id: str, digest: str, sent: int) -> None:
        """Take a row that arrived."""
        self._arrived[key] = (key, record_id, digest, sent)

    def move(self, record_id: str) -> None:
        """Take a record that has another key now: its row under the old one goes."""
        self._moved.append(record_id)

    def drop(self, key: str) -> None:
        """Take the row of a record that was deleted."""
        self._gone.append(key)

    @property
    def full(self) -> bool:
        """Whether it is time to write."""
        return len(self._arrived) >= _AT_ONCE or len(self._gone) >= _AT_ONCE

    def flush(self) -> None:
        """Write what was gathered, and what is in doubt."""
        queries = [
            *self._sql.forget(self._moved, by="record_id"),
            *self._sql.put(list(self._arrived.values())),
            *self._sql.forget(self._gone),
            *self._doubts.statements(),
        ]
        if queries and self._keep:
            self._database.write(queries)
            self.has_rows = self.has_rows or bool(self._arrived)
            self.uncounted = self.uncounted or bool(self._gone)
        self._doubts.saved()
        self._arrived.clear()
        self._moved.clear()
        self._gone.clear()
