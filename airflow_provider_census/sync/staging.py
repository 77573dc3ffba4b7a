"""
A snapshot in another database than the source: for sources that may only be read.

Of every row of the model its key and a digest are staged beside the snapshot, nothing else. Compared there, the rows
that differ are then read from the source by their keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from airflow_provider_census.sync.change import Change
from airflow_provider_census.sync.dialect import text_type
from airflow_provider_census.sync.model import COPIES, Model, ModelSql
from airflow_provider_census.sync.snapshot import KEY, SENT, SnapshotSql
from airflow_provider_census.sync.snapshot_changes import SnapshotChanges
from airflow_provider_census.sync.statement import Query, Source, Statements
from airflow_provider_census.sync.tables import Database, key_type

_STAGED_ROWS = 500
_KEYS = 500


class Stage:
    """
    The table the model's keys and digests are staged in, made anew by every run.

    :param tables: its name; or those the shards of a sync have staged their parts in, to be read together.
    :param former: whether former digests are staged too.
    """

    def __init__(self, *tables: str, schema: str | None, dialect: str, paramstyle: str, former: bool = False) -> None:
        self._tables = [exp.table_(table, db=schema, quoted=True).sql(dialect) for table in tables]
        self._table = self._tables[0]
        self._sql = Statements(dialect, paramstyle)
        # Quoted, as the comparison quotes the columns of a model: databases fold the case of what is not.
        text = text_type(dialect)
        types = {"former": text} if former else {}
        types |= {"sync_key": key_type(dialect), "digest": text}
        self._types = {self._sql.quote(name): type for name, type in types.items()}
        self._columns = ", ".join(self._types)

    @property
    def model(self) -> Model:
        """What is staged, as the snapshot's database compares it."""
        return Model(" UNION ALL ".join(f"SELECT {self._columns} FROM {table}" for table in self._tables))

    def create(self) -> Iterator[Query]:
        """Return the statements that make it, empty."""
        yield Query(f"DROP TABLE IF EXISTS {self._table}")
        columns = ", ".join(f"{name} {type}" for name, type in self._types.items())
        yield Query(f"CREATE TABLE {self._table} ({columns})")

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Query]:
        """Return the statements that add rows: the former digest if it is staged, key, digest."""
        return self._sql.insert(f"INSERT INTO {self._table} ({self._columns})", rows)


class StagedSql(SnapshotSql):
    """The comparison of what is staged."""

    def keys(self, *, only_new: bool, everything: bool) -> Query:
        """Return a query for what :meth:`changed` finds, each key once: key, how many rows have it, ``sent``."""
        changed = self.changed(only_new=only_new, everything=everything)
        return replace(
            changed, sql=f"SELECT {KEY}, MAX({COPIES}), MIN({SENT}) FROM (\n{changed.sql}\n) d GROUP BY {KEY}"
        )

    def _former(self) -> str:
        return self.quote("former")

    def _digest(self) -> str:
        return self.quote("digest")


class StagedChanges(SnapshotChanges):
    """
    The comparison of a model in one database with its snapshot in another.

    ``sql`` of the parent is about the stage as the model; see there for the other settings.
    """

    def __init__(
        self,
        source: Source,
        model: Model,
        digests: SnapshotSql,
        stage: Stage,
        database: Database,
        sql: StagedSql,
        *args: Any,
        lower: bool,
        **settings: Any,
    ) -> None:
        super().__init__(database, sql, *args, **settings)
        self._source = source
        self._digests = digests
        self._stage = stage
        self._staged = sql
        self._lower = lower
        keyed = digests.keyed()
        self._rows = ModelSql(Model(keyed.sql, model.parameters), dialect=source.dialect, paramstyle=source.paramstyle)

    def read(self) -> Iterator[Sequence[Change]]:
        """Stage the model, compare, and yield the rows to send."""
        self._fill()
        yield from super().read()

    def _compare(self, *, only_new: bool, everything: bool, expected: bool = False) -> Iterator[Sequence[Change]]:
        found = self._spooled(self._staged.keys(only_new=only_new, everything=everything), expected=expected)
        chunks = iter(lambda: {key: about for key, *about in itertools.islice(found, _KEYS)}, {})
        for chunk in chunks:
            yield from self._fetch(chunk)

    def _fill(self) -> None:
        self._database.write(self._stage.create())
        for batch in self._source.stream(self._digests.digests(), _STAGED_ROWS):
            self._database.write(self._stage.insert(batch))

    def _fetch(self, chunk: dict[str | None, list[Any]]) -> Iterator[Sequence[Change]]:
        keys = [key for key in chunk if key is not None]
        for query in self._rows.by_keys(KEY, keys, null_keys=None in chunk, lower=self._lower):
            for batch in self._source.stream(query):
                changes = []
                for *row, key, digest, copies in batch:
                    if key in chunk:
                        # Spelled otherwise, copies may be in another chunk; and the row may be another one by now.
                        staged, sent = chunk[key]
                        mapped = self._mapper((*row, max(copies, staged)))
                        changes.append(Change(self._mapper.key(row), mapped, snapshot=(key, digest), sent=sent))
                yield changes
