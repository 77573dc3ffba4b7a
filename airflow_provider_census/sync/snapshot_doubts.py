"""
The rows of a snapshot that are being sent and must not be sent twice, in a table beside it.

The table has the columns of a snapshot: the digest is that of the version being sent, or the word for whichever that
was; for a deletion the word for that. ``sent`` is when, in minutes of Unix time.
"""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.snapshot_table import GONE, IN_DOUBT, SnapshotTable
from airflow_provider_census.sync.statement import Query, Source, rows

_MINUTE = 60


class SnapshotDoubts:
    """
    What earlier runs have left in doubt, and what this one is sending.

    :param by_key: the key alone decides (what adds, creates or deletes); otherwise a changed row is another one.
    :param remapped: digests are made in another way now, so that versions cannot be told apart any more.
    """

    def __init__(self, source: Source, table: SnapshotTable, *, by_key: bool, remapped: bool) -> None:
        self._table = table
        self._by_key = by_key
        self._left = {key: (digest, minutes * _MINUTE) for key, _, digest, minutes in rows(source, table.content())}
        self._remapped = remapped and bool(self._left)
        if remapped:
            self._left = {key: (digest if digest == GONE else IN_DOUBT, at) for key, (digest, at) in self._left.items()}
        self._written = set(self._left)
        # Whether what others have left is ours, where the sync is in shards, is known when it is met.
        self._unmet = set(self._left)
        self._open: set[str] = set()
        self._intended: dict[str, tuple[str, str, str, int]] = {}
        self._known: set[str] = set()

    def since(self, change: Change) -> int | None:
        """Return since when an earlier run may have sent the row, None if none has."""
        assert change.snapshot is not None
        key, digest = change.snapshot
        if (left := self._left.get(key)) is None:
            return None
        if key in self._unmet:
            self._unmet.remove(key)
            self._open.add(key)
        sent, at = left
        same = sent == digest or (GONE not in (sent, digest) and (self._by_key or sent == IN_DOUBT))
        return at if same else None

    def intend(self, change: Change, at: int) -> None:
        """Take note that a row is about to be sent."""
        assert change.snapshot is not None
        key, digest = change.snapshot
        self._intended[key] = (key, change.record_id or "", digest, at // _MINUTE)
        self._open.add(key)

    def known(self, change: Change) -> None:
        """Take note that what became of a row is known."""
        assert change.snapshot is not None
        key, _ = change.snapshot
        self._intended.pop(key, None)
        self._open.discard(key)
        if key in self._written:
            self._known.add(key)

    @property
    def count(self) -> int:
        """Return how many rows are in doubt now, as far as known."""
        return len(self._open) + len(self._unmet)

    def complete(self) -> None:
        """Every row was read: those that were not met are not among them."""
        self._unmet.clear()

    def statements(self) -> Iterator[Query]:
        """Return the statements that bring the table up to date."""
        if self._remapped:
            yield self._table.doubt_versions()
        yield from self._table.forget(list(self._known))
        yield from self._table.put(list(self._intended.values()))

    def saved(self) -> None:
        """Take note that they were run."""
        self._remapped = False
        self._written = (self._written - self._known) | self._intended.keys()
        self._known.clear()
        self._intended.clear()
