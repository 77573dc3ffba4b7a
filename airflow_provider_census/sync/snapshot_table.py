"""
The table of a snapshot: what was last accepted by the destination, a row per record.

::

    sync_key   the key as the database writes it as text
    record_id  the identifier the destination knows it by
    digest     of its mapped columns, computed by the database; or one of the words below
    sent       1 if this sync put it there; 0 if not (baseline, delete): never deleted; -1 if there was none to update

The model's values are not copied.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from airflow_provider_census.errors import CensusError
from airflow_provider_census.sync.dialect import text_type
from airflow_provider_census.sync.model import Model, ModelSql
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.sync.tables import Database, create_table, key_type, literal

COLUMNS = ("sync_key", "record_id", "digest", "sent")

BESIDE = ("stage", "doubts")
"""The tables beside it, named ``<table>_<use>``: keys of the model from elsewhere, and rows that are being sent."""

IN_DOUBT = "in doubt"
"""The digest of a record of which nobody knows what the destination holds: it was being sent. No row has it."""

GONE = "gone"
"""The digest of a record that was deleted, whatever the values of its row."""

THERE = "there"
"""The digest of a record of which it only matters that it is there."""

# Where finding a key would mean reading the table. Warehouses read it anyway, and do not enforce keys.
_WITH_PRIMARY_KEY = frozenset({"postgres", "mysql", "sqlite", "tsql"})


def table_name(sync_id: str, target: str) -> str:
    """Return the name of the snapshot table of a sync: readable, and another for every sync and every target."""
    slug = re.sub(r"[^a-z0-9]+", "_", sync_id.lower()).strip("_")[:30]
    mark = hashlib.blake2b(f"{sync_id} {target}".encode(), digest_size=4).hexdigest()
    return f"census_{slug}_{mark}"


class SnapshotTable(ModelSql):
    """
    The statements about the table alone.

    :param table: its name; ``schema``, where it stands, None for the connection's own.
    :param model: for those who ask about both.
    """

    def __init__(
        self,
        table: str,
        *,
        schema: str | None = None,
        model: Model = Model("SELECT 1"),  # noqa: B008 — a value
        dialect: str = "",
        paramstyle: str = "qmark",
    ) -> None:
        super().__init__(model, dialect=dialect, paramstyle=paramstyle)
        self._schema = schema
        #: As it stands in statements.
        self.name = exp.table_(table, db=schema, quoted=True).sql(dialect)

    def make(self, database: Database) -> None:
        """
        Make it where it is missing.

        Making needs rights that using it does not, also where nothing is left to be made; so nothing is that need not.

        :raises CensusError: the database does not let us; in its words.
        """
        if self._is_there(database):
            return
        try:
            self._make(database)
        except CensusError:
            # Another task may have made it meanwhile, and IF NOT EXISTS does not help those who come at the same time.
            if not self._is_there(database):
                raise

    def _is_there(self, database: Database) -> bool:
        try:
            database.columns(Query(f"SELECT * FROM {self.name} WHERE 1 = 0"))
        except CensusError:
            return False
        return True

    def _make(self, database: Database) -> None:
        try:
            database.write([self.create()])
        except CensusError:
            if not self._schema:
                raise
            database.write([self.create_schema(self._schema), self.create()])

    def create(self) -> Query:
        """Return the statement that makes it where it is missing."""
        key = key_type(self._dialect)
        primary = " NOT NULL PRIMARY KEY" if self._dialect in _WITH_PRIMARY_KEY else ""
        columns = f"sync_key {key}{primary}, record_id {key}, digest {text_type(self._dialect)}, sent INT"
        return create_table(self.name, columns, self._dialect)

    def drop(self) -> Query:
        """Return the statement that removes it."""
        return Query(f"DROP TABLE IF EXISTS {self.name}")

    def known(self) -> Query:
        """Return a query for how many records it knows, and how many of them this sync sent."""
        return Query(f"SELECT COUNT(*), COALESCE(SUM(CASE WHEN sent = 1 THEN 1 ELSE 0 END), 0) FROM {self.name}")

    def content(self) -> Query:
        """Return a query for all it holds."""
        return Query(f"SELECT {', '.join(COLUMNS)} FROM {self.name}")

    def respelled(self) -> Query:
        """Return a query for how many records are known by another text than their key."""
        return Query(f"SELECT COUNT(*) FROM {self.name} WHERE sync_key <> record_id")

    def put(self, rows: Sequence[tuple[str, str, str, int]]) -> Iterator[Query]:
        """Return the statements that record ``rows`` (key, record id, digest, sent) as arrived."""
        yield from self.forget([row[0] for row in rows])
        yield from self.insert(f"INSERT INTO {self.name} ({', '.join(COLUMNS)})", rows)

    def forget(self, values: Sequence[str], *, by: str = "sync_key") -> Iterator[Query]:
        """Return the statements that drop the rows with one of ``values`` in the column ``by``."""
        return self._where_in(f"DELETE FROM {self.name}", by, values)

    def doubt(self, values: Sequence[str], *, by: str = "sync_key") -> Iterator[Query]:
        """Return the statements that note of these rows that the destination may hold something else by now."""
        return self._where_in(f"UPDATE {self.name} SET digest = '{IN_DOUBT}'", by, values)

    def doubt_all(self) -> Query:
        """Return the statement that notes it of every row."""
        return Query(f"UPDATE {self.name} SET digest = '{IN_DOUBT}' WHERE digest <> '{IN_DOUBT}'")

    def doubt_versions(self) -> Query:
        """Return the statement that notes of rows in doubt that it may be in any version; but not of deletions."""
        return Query(f"UPDATE {self.name} SET digest = '{IN_DOUBT}' WHERE digest <> '{GONE}'")

    def _where_in(self, statement: str, column: str, values: Sequence[str]) -> Iterator[Query]:
        for listed in self.among(values):
            yield self.compose(f"{statement} WHERE {column} IN ", *listed)

    def create_schema(self, schema: str) -> Query:
        """Return the statement that makes a schema where it is missing."""
        if self._dialect == "tsql":  # CREATE SCHEMA must stand alone in its batch there
            create = literal(f"CREATE SCHEMA {self.quote(schema)}")
            return Query(f"IF SCHEMA_ID({literal(schema)}) IS NULL EXEC({create})")
        return Query(f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}")
