"""
The SQL of a snapshot: what was last accepted by the destination, compared with the model where the model is.

One table per sync. A row of it stands for a record that arrived::

    sync_key   the key as the database writes it as text
    record_id  the identifier the destination knows it by
    digest     of its mapped columns, computed by the database
    sent       1 if this sync put it there; 0 if it was only found there (baseline): never deleted

The model's values are not copied. Comparing happens on the mapped columns only, so a change elsewhere sends nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlglot import exp

from airflow_provider_census.sync.model import COPIES, Bound, Model, ModelSql, Query

KEY = "census_key"
DIGEST = "census_digest"

_COLUMNS = ("sync_key", "record_id", "digest", "sent")
# No MD5: the text itself is kept, with the length before each value so that no two rows read the same.
_WITHOUT_MD5 = frozenset({"sqlite"})
# Types that can be compared and indexed; TEXT can not everywhere.
_TEXT_TYPES = {"mysql": "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "tsql": "NVARCHAR(440)"}
# Where finding a key would mean reading the table. Warehouses read it anyway, and do not enforce keys.
_WITH_PRIMARY_KEY = frozenset({"postgres", "mysql", "sqlite", "tsql"})


def table_name(sync_id: str, target: str) -> str:
    """Return the name of the snapshot table of a sync: readable, and different for every sync and target."""
    slug = re.sub(r"[^a-z0-9]+", "_", sync_id.lower()).strip("_")[:30]
    mark = hashlib.blake2b(f"{sync_id} {target}".encode(), digest_size=4).hexdigest()
    return f"census_{slug}_{mark}"


def table_type(dialect: str) -> str:
    """Return the type of a column that holds text and is compared exactly."""
    return _TEXT_TYPES.get(dialect) or exp.DataType.build("text").sql(dialect)


class SnapshotSql(ModelSql):
    """
    The queries about one model and its snapshot, both in one database.

    :param key: the key column; ``columns``, those that are compared.
    :param salt: a change of it makes every row another one (the mapping changed).
    :param lower: whether keys that differ only in case are one.
    :param table: of the snapshot; ``schema``, where it stands, None for the connection's own.
    """

    def __init__(
        self,
        model: Model,
        *,
        key: str,
        columns: Sequence[str],
        salt: str,
        lower: bool,
        table: str,
        schema: str | None = None,
        dialect: str = "",
        paramstyle: str = "qmark",
    ) -> None:
        super().__init__(model, dialect=dialect, paramstyle=paramstyle)
        self._key = key
        self._compared = columns
        self._salt = salt
        self._lower = lower
        self._schema = schema
        self._table = exp.table_(table, db=schema, quoted=True).sql(dialect)

    # --- the table -------------------------------------------------------------------------------------------------

    def create(self) -> Iterator[Query]:
        """Return the statements that make the table where it is missing."""
        if self._schema:
            schema = exp.Create(this=exp.table_(self._schema, quoted=True), kind="SCHEMA", exists=True)
            yield Query(schema.sql(self._dialect))
        text = table_type(self._dialect)
        primary = " NOT NULL PRIMARY KEY" if self._dialect in _WITH_PRIMARY_KEY else ""
        columns = f"sync_key {text}{primary}, record_id {text}, digest {text}, sent INT"
        if self._dialect == "tsql":
            yield Query(f"IF OBJECT_ID(N'{self._table}', N'U') IS NULL CREATE TABLE {self._table} ({columns})")
        else:
            yield Query(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns})")

    def known(self) -> Query:
        """Return a query for how many records are in the snapshot, and how many of them this sync sent."""
        return Query(f"SELECT COUNT(*), COALESCE(SUM(sent), 0) FROM {self._table}")

    def put(self, rows: Sequence[tuple[str, str, str, int]]) -> Iterator[Query]:
        """Return the statements that record ``rows`` (key, record id, digest, sent) as arrived."""
        yield from self.forget([row[0] for row in rows])
        yield self.values(f"INSERT INTO {self._table} ({', '.join(_COLUMNS)}) VALUES ", rows)

    def forget(self, keys: Sequence[str]) -> Iterator[Query]:
        """Return the statement that drops ``keys`` from the snapshot."""
        listed: list[str | Bound] = []
        for number, key in enumerate(keys):
            listed += [", "] * (number > 0) + [Bound(key)]
        yield self.compose(f"DELETE FROM {self._table} WHERE sync_key IN (", *listed, ")")

    def baseline(self) -> Query:
        """Return the statement that takes every row of the model as settled, without sending it (a baseline)."""
        record_id = self._same(self._key, self._lower) if self._lower else self._key_text()
        return self.compose(
            f"INSERT INTO {self._table} ({', '.join(_COLUMNS)}) "
            f"SELECT {self._key_text()}, MIN({record_id}), MIN({self._digest()}), 0 FROM ",
            *self._model(),
            f" WHERE {self.quote(self._key)} IS NOT NULL GROUP BY {self._key_text()}",
        )

    # --- the comparison --------------------------------------------------------------------------------------------

    def changed(self, *, only_new: bool = False, everything: bool = False) -> Query:
        """
        Return a query for the rows that did not arrive as they are now: new, changed, or with a key that is not unique.

        Behind the model's columns stand :data:`COPIES`, :data:`KEY` and :data:`DIGEST`.

        :param only_new: leave out those that arrived in another form.
        :param everything: leave out none.
        """
        copies = f"COUNT(*) OVER (PARTITION BY {self._same(self._key, self._lower)}) AS {COPIES}"
        where = "p.sync_key IS NULL" if only_new else f"p.sync_key IS NULL OR p.digest <> m.{DIGEST}"
        return self.compose(
            f"SELECT m.* FROM (SELECT census_model.*, {copies}, {self._key_text()} AS {KEY}, "
            f"{self._digest()} AS {DIGEST} FROM ",
            *self._model(),
            f") m LEFT JOIN {self._table} p ON p.sync_key = m.{KEY}",
            "" if everything else f" WHERE {where} OR m.{COPIES} > 1",
        )

    def digests(self) -> Query:
        """Return a query for the key and the digest of every row."""
        return self.compose(f"SELECT {self._key_text()} AS {KEY}, {self._digest()} AS {DIGEST} FROM ", *self._model())

    def keyed(self) -> Query:
        """Return a query for the rows of the model, each with :data:`KEY` behind it."""
        return self.compose(f"SELECT census_model.*, {self._key_text()} AS {KEY} FROM ", *self._model())

    def removed(self, *, count: bool = False) -> Query:
        """
        Return a query for what this sync sent and the model does not have any more: keys and record ids.

        A record whose key is only written in another way now is still there.
        """
        what = "COUNT(*)" if count else "r.sync_key, r.record_id"
        return self.compose(
            f"SELECT {what} FROM (SELECT p.sync_key, p.record_id, p.sent, "
            f"MAX(CASE WHEN m.{KEY} IS NULL THEN 0 ELSE 1 END) OVER (PARTITION BY p.record_id) AS present "
            f"FROM {self._table} p LEFT JOIN (SELECT {self._key_text()} AS {KEY} FROM ",
            *self._model(),
            f") m ON m.{KEY} = p.sync_key) r WHERE r.sent = 1 AND r.present = 0",
        )

    def any_row(self) -> Query:
        """Return a query that tells whether the model has rows at all."""
        return self.compose("SELECT COUNT(*) FROM ", *self._model())

    def _key_text(self) -> str:
        return exp.cast(exp.column(self._key, quoted=True), "text").sql(self._dialect)

    def _digest(self) -> str:
        parts: list[Any] = [exp.Literal.string(self._salt)]
        for column in self._compared:
            text = exp.cast(exp.column(column, quoted=True), "text")
            parts.append(exp.func("COALESCE", self._mark(text), exp.Literal.string("-")))
        return self._hash(exp.Concat(expressions=parts, safe=True, coalesce=False)).sql(self._dialect)

    def _mark(self, text: exp.Expression) -> exp.Expression:
        if self._dialect not in _WITHOUT_MD5:
            return self._hash(text)
        length = exp.cast(exp.Length(this=text), "text")
        return exp.Concat(expressions=[length, exp.Literal.string(":"), text.copy()], safe=True, coalesce=False)

    def _hash(self, text: exp.Expression) -> exp.Expression:
        if self._dialect in _WITHOUT_MD5:
            return text
        if self._dialect == "tsql":  # bytes there, which do not concatenate
            return exp.maybe_parse(f"CONVERT(VARCHAR(32), HASHBYTES('MD5', {text.sql('tsql')}), 2)", dialect="tsql")
        return exp.MD5(this=text)
