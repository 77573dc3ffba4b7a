"""
The table of what is too large to stand in a state: see :mod:`~airflow_provider_census.sync.spill`.

::

    owner    what the states of one sync in one Airflow have in common
    part     hash of the content
    sync_id  for people
    content  digests in base64, or keys as a JSON list; less than 48 KB
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlglot import exp

from airflow_provider_census.errors import CensusError
from airflow_provider_census.sync.dialect import text_type
from airflow_provider_census.sync.statement import Bound, Query, Statements, batched, rows
from airflow_provider_census.sync.tables import Database, create_table

TABLE = "census_spill"

_COLUMNS = "owner, part, sync_id, content"
_AT_ONCE = 20  # parts in one statement: below 1 MB, MySQL's limit was 4 once


class SpillTable:
    """
    The parts of one owner.

    :param owner: 32 characters at the most, as the names of the parts.
    """

    def __init__(self, database: Database, owner: str, sync_id: str) -> None:
        self._database = database
        self.owner = owner
        self._sync_id = sync_id
        self._sql = Statements(database.dialect, database.paramstyle)

    def names(self) -> set[str]:
        """Return the names of the parts that are there."""
        query = self._sql.compose(f"SELECT part FROM {TABLE} WHERE owner = ", Bound(self.owner))
        return {row[0] for row in rows(self._database, query)}

    def read(self, names: Collection[str]) -> dict[str, str]:
        """Return the content of the parts of these names, by name; one that is not there is left out."""
        queries = self._of(f"SELECT part, content FROM {TABLE}", names)
        return {part: text for query in queries for batch in self._database.stream(query) for part, text in batch}

    def write(self, parts: Mapping[str, str], drop: Collection[str]) -> None:
        """
        Add ``parts`` and drop others; the table is made where it is missing.

        :raises CensusError: the database does not let us; in its words.
        """

        def statements() -> Iterator[Query]:
            # Also those to be added: a worker killed behind this point has left them, and nobody knows.
            yield from self._of(f"DELETE FROM {TABLE}", [*drop, *parts])
            named = [(self.owner, name, self._sync_id, text) for name, text in parts.items()]
            for chunk in batched(named, _AT_ONCE):
                yield from self._sql.insert(f"INSERT INTO {TABLE} ({_COLUMNS})", chunk)

        try:
            self._database.write(statements())
        except CensusError:
            # Asked for only now: making a table needs rights that using one does not, also where it is there.
            self._database.write([self._create()])
            self._database.write(statements())

    def _create(self) -> Query:
        dialect = self._database.dialect
        short, text = exp.DataType.build("varchar(32)").sql(dialect), text_type(dialect)
        return create_table(TABLE, f"owner {short}, part {short}, sync_id {text}, content {text}", dialect)

    def _of(self, statement: str, names: Collection[str]) -> Iterator[Query]:
        for listed in self._sql.among(list(names), besides=1):
            yield self._sql.compose(f"{statement} WHERE owner = ", Bound(self.owner), " AND part IN ", *listed)
