"""
The rows of a snapshot that are being sent and must not be sent twice, in a table beside it.

The table has the columns of a snapshot: the digest is that of the version being sent, nothing for a deletion, and
``sent`` is when, in minutes of Unix time.
"""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_census.sync.model import Query, Source
from airflow_provider_census.sync.progress import Change
from airflow_provider_census.sync.snapshot_table import SnapshotTable

_MINUTE = 60


class SnapshotDoubts:
    """
    What earlier runs have left in doubt, and what this one is sending.

    :param by_key: the key alone decides (append, send); otherwise a changed row is another one.
    """

    def __init__(self, source: Source, table: SnapshotTable, *, by_key: bool) -> None:
        self._table = table
        self._by_key = by_key
        rows = (row for batch in source.stream(table.content()) for row in batch)
        self._left = {key: (digest, minutes * _MINUTE) for key, _, digest, minutes in rows}
        self._written = set(self._left)
        self._intended: dict[str, tuple[str, str, str, int]] = {}
        self._known: set[str] = set()

    def since(self, change: Change) -> int | None:
        """Return since when an earlier run may have sent the row, None if none has."""
        assert change.snapshot is not None
        key, digest = change.snapshot
        left = self._left.get(key)
        return left[1] if left and (self._by_key or left[0] == digest) else None

    def intend(self, change: Change, at: int) -> None:
        """Take note that a row is about to be sent."""
        assert change.snapshot is not None
        key, digest = change.snapshot
        self._intended[key] = (key, change.record_id or "", digest, at // _MINUTE)

    def known(self, change: Change) -> None:
        """Take note that what became of a row is known."""
        assert change.snapshot is not None
        key, _ = change.snapshot
        self._intended.pop(key, None)
        if key in self._written:
            self._known.add(key)

    def statements(self) -> Iterator[Query]:
        """Return the statements that bring the table up to date."""
        yield from self._table.forget(list(self._known))
        yield from self._table.put(list(self._intended.values()))

    def saved(self) -> None:
        """Take note that they were run."""
        self._written = (self._written - self._known) | self._intended.keys()
        self._known.clear()
        self._intended.clear()
