"""
Records that a snapshot may know by another key than their row has now: the key is only written otherwise.

The snapshot goes by the key, the destination by the identifier made of it; where the two differ, a row that looks new
may stand for a record that is there.
"""

from __future__ import annotations

import functools

from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.snapshot import SnapshotSql
from airflow_provider_census.sync.statement import only_row
from airflow_provider_census.sync.tables import Database


class Moves:
    """
    What a run finds of them.

    :param known: whether the snapshot has rows.
    :ivar spared: identifiers of records that are there under another key, as far as known: not gone, and not to delete.
    """

    def __init__(self, database: Database, sql: SnapshotSql, mapper: Mapper, *, known: bool) -> None:
        self._database = database
        self._sql = sql
        self._mapper = mapper
        self._known = known
        self.spared: set[str] = set()

    def of(self, change: Change) -> str | None:
        """Return the identifier of a record that the snapshot may have under another key, None if it cannot."""
        if change.sent is not None or not self._known:
            return None
        assert change.snapshot is not None
        id = self._mapper.identify(change.key)
        return id if id != change.snapshot[0] or self._respelled else None

    def spare(self, change: Change) -> None:
        """Take note of a row that did not arrive under its new key."""
        if (id := self.of(change)) is not None:
            self.spared.add(id)

    @functools.cached_property
    def _respelled(self) -> bool:
        """Whether a record is known by another text than its key; looked up for the first new row."""
        return bool(only_row(self._database, self._sql.respelled())[0])
