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

from sqlglot import exp

from airflow_provider_census.sync.model import COPIES, Bound, Model, ModelSql, Query

KEY = "census_key"
DIGEST = "census_digest"

_COLUMNS = ("sync_key", "record_id", "digest", "sent")
# No MD5: the text itself is kept, with the length before each value so that no two rows read the same.
_WITHOUT_MD5 = frozenset({"sqlite"})
# Types that can be compared and indexed; TEXT can not everywhere.
_TEXT_TYPES = {"mysql": "VARCHAR(512)", "tsql": "NVARCHAR(512)"}


def table_name(sync_id: str, target: str) -> str:
    """Return the name of the snapshot table of a sync: readable, and different for every sync and target."""
    slug = re.sub(r"[^a-z0-9]+", "_", sync_id.lower()).strip("_")[:30]
    return f"census_{slug}_{hashlib.blake2b(f'{sync_id}\n{target}'.encode(), digest_size=4).hexdigest()}"


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
        text = _TEXT_TYPES.get(self._dialect)
        kinds = [*[exp.DataType.build(text, dialect=self._dialect) if text else exp.DataType.build("text")] * 3]
        definitions = [
            exp.ColumnDef(this=exp.to_identifier(name), kind=kind)
            for name, kind in zip(_COLUMNS, [*kinds, exp.DataType.build("int")], strict=True)
        ]
        table = exp.Schema(this=exp.maybe_parse(self._table, into=exp.Table, dialect=self._dialect), expressions=definitions)
        yield Query(exp.Create(this=table, kind="TABLE", exists=True).sql(self._dialect))

    def known(self) -> Query:
        """Return a query for how many records are in the snapshot, and how many of them this sync sent."""
        return Query(f"SELECT COUNT(*), COALESCE(SUM(sent), 0) FROM {self._table}")

    def put(self, rows: Sequence[tuple[str, str, str, int]]) -> Iterator[Query]:
        """Return the statements that record ``rows`` (key, record id, digest, sent) as arrived."""
        yield from self.forget([row[0] for row in rows])
        values: list[str | Bound] = [f"INSERT INTO {self._table} ({', '.join(_COLUMNS)}) VALUES "]
        for number, row in enumerate(rows):
            values.append("(" if number == 0 else ", (")
            for at, value in enumerate(row):
                values += [", "] * (at > 0) + [Bound(value)]
            values.append(")")
        yield self._bind(*values)

    def forget(self, keys: Sequence[str]) -> Iterator[Query]:
        """Return the statement that drops ``keys`` from the snapshot."""
        listed: list[str | Bound] = []
        for number, key in enumerate(keys):
            listed += [", "] * (number > 0) + [Bound(key)]
        yield self._bind(f"DELETE FROM {self._table} WHERE sync_key IN (", *listed, ")")

    def adopt_all(self) -> Query:
        """Return the statement that takes every row of the model as settled, without sending it (a baseline)."""
        record_id = self._same(self._key, self._lower) if self._lower else self._key_text()
        return self._compose(
            f"INSERT INTO {self._table} ({', '.join(_COLUMNS)}) "
            f"SELECT {self._key_text()}, {record_id}, {self._digest()}, 0 FROM ",
            *self._model(),
            f" WHERE {self.quote(self._key)} IS NOT NULL",
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
        where = "p.sync_key IS NULL" if only_new else "p.sync_key IS NULL OR p.digest <> m.census_digest"
        return self._compose(
            f"SELECT m.* FROM (SELECT census_model.*, {copies}, {self._key_text()} AS {KEY}, {self._digest()} AS {DIGEST} "
            f"FROM ",
            *self._model(),
            f") m LEFT JOIN {self._table} p ON p.sync_key = m.{KEY}",
            "" if everything else f" WHERE {where} OR m.{COPIES} > 1",
        )

    def removed(self, *, count: bool = False) -> Query:
        """
        Return a query for what this sync sent and the model does not have any more: keys and record ids.

        A record whose key is only written in another way now is still there.
        """
        present = (f"(SELECT {self._key_text()} AS {KEY} FROM ", *self._model(), ")")
        return self._compose(
            f"SELECT {'COUNT(*)' if count else 'p.sync_key, p.record_id'} FROM {self._table} p "
            f"WHERE p.sent = 1 AND NOT EXISTS (SELECT 1 FROM ",
            *present,
            f" m WHERE m.{KEY} = p.sync_key) AND NOT EXISTS (SELECT 1 FROM {self._table} q, ",
            *present,
            f" n WHERE q.record_id = p.record_id AND q.sync_key <> p.sync_key AND n.{KEY} = q.sync_key)",
        )

    def any_row(self) -> Query:
        """Return a query that tells whether the model has rows at all."""
        return self._compose("SELECT COUNT(*) FROM ", *self._model())

    def _key_text(self) -> str:
        return exp.cast(exp.column(self._key, quoted=True), "text").sql(self._dialect)

    def _digest(self) -> str:
        parts: list[exp.Expression] = [exp.Literal.string(self._salt)]
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
            return exp.maybe_parse(
                f"CONVERT(VARCHAR(32), HASHBYTES('MD5', {text.sql('tsql')}), 2)", dialect="tsql"
            )
        return exp.MD5(this=text)
