"""
The rows a run has to look at, read by the delta of the sync.

In: the model, the delta, the state of the last run. Out: :class:`Change` s from one cursor of the source, and the state
behind them. Each delta reads them in its own way; :mod:`~airflow_provider_census.sync.open_changes` and
:mod:`~airflow_provider_census.sync.open_snapshot` decide where it begins.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

from airflow_provider_census.sync.ahead import ahead
from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.model import ModelSql
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.statement import Query, Source, only_row
from airflow_provider_census.sync.values import Record, RowResult


class Changes(Protocol):
    """
    The rows of one run and the state behind them.

    :param expected: how many rows there are, None while nobody has counted them.
    """

    expected: int | None

    @property
    def owed(self) -> int:
        """Return how many rows did not arrive and are tried again by the next run, as far as known."""

    def count(self) -> None:
        """Let the source count the rows if nobody has; from any thread."""

    def read(self) -> Iterator[Sequence[Change]]:
        """Yield the rows to look at, as many at a time as the source gives."""

    def verdict(self, change: Change, record: Record | None) -> RowResult | None:
        """Return how the row ends without being sent, None if it is to be sent. ``record`` is None if invalid."""

    def intend(self, changes: Sequence[Change], at: int) -> None:
        """
        Take note that rows are about to be sent that must not be sent twice.

        :param at: the Unix time; 0 if they could not be found at the destination.
        """

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Take note that rows were not sent after all."""

    def settle(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        """Take note of how rows ended."""

    def finish(self) -> None:
        """All rows were read and have settled."""

    def state(self) -> State | None:
        """Return what may be kept now, None for nothing."""

    @property
    def watermark(self) -> tuple[str, Any, Any] | None:
        """Return the cursor column and its watermark before and now, None without one."""


class Reader:
    """
    The model bound to its source: queries in, rows out, and what the mapping makes of them.

    :param stopped: set when the task is to stop: then nobody waits for rows.
    """

    def __init__(
        self,
        source: Source,
        sql: ModelSql,
        columns: Sequence[str],
        mapper: Mapper,
        *,
        lower: bool,
        stopped: threading.Event,
    ) -> None:
        self.source = source
        self.sql = sql
        self.columns = columns
        self.key = mapper.key_column
        self.lower = lower
        self._mapper = mapper
        self._stopped = stopped
        self.key_of = mapper.key

    def mapped(self, query: Query) -> Iterator[tuple[Sequence[tuple[Any, ...]], Iterable[Record | RowResult]]]:
        """Yield the rows of ``query`` in batches, each with what the mapping makes of its rows."""
        with closing(ahead(self.source.stream(query), self._stopped)) as batches:
            for batch in batches:
                yield batch, self._mapper.records(batch)

    def one(self, query: Query) -> Any:
        """Return the only value that ``query`` gives."""
        return only_row(self.source, query)[0]


class FullRefreshChanges:
    """Every row of the model, every time."""

    watermark = None
    owed = 0

    def __init__(self, reader: Reader, before: State) -> None:
        self._reader = reader
        self._before = before
        self.expected: int | None = None

    def count(self) -> None:
        """Let the source count the rows of the model."""
        self.expected = self._reader.one(self._reader.sql.count())

    def read(self) -> Iterator[Sequence[Change]]:
        """Yield every row."""
        reader = self._reader
        for rows, records in reader.mapped(reader.sql.rows(reader.key, lower=reader.lower)):
            yield list(map(Change, map(reader.key_of, rows), records))

    def verdict(self, change: Change, record: Record | None) -> RowResult | None:
        """Every row is sent."""
        return None

    def intend(self, changes: Sequence[Change], at: int) -> None:
        """Nothing is remembered: the next run sends every row anyway."""

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Nothing is remembered."""

    def settle(self, results: Sequence[tuple[Change, RowResult]]) -> None:
        """Nothing is remembered."""

    def finish(self) -> None:
        """Nothing is remembered."""

    def state(self) -> State:
        """Return a state without memory of rows; it tells that there was a run."""
        return State(target=self._before.target, mapping=self._before.mapping, shards=self._before.shards)
