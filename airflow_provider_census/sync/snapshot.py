"""
The comparison of a model with its snapshot, in SQL, where both are.

It looks at the mapped columns alone, so a change elsewhere sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from airflow_provider_census.sync.model import COPIES, Model, Query
from airflow_provider_census.sync.snapshot_table import COLUMNS, SnapshotTable

KEY = "census_key"
DIGEST = "census_digest"
SENT = "census_sent"

# No MD5: the text itself is kept, with the length before each value so that no two rows read the same.
_WITHOUT_MD5 = frozenset({"sqlite"})
# MD5 of bytes to bytes.
_OF_BYTES = frozenset({"athena", "presto", "trino"})
# || is OR in MySQL, and new in SQL Server.
_WITH_CONCAT = frozenset({"mysql", "tsql"})


class SnapshotSql(SnapshotTable):
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
        super().__init__(table, schema=schema, model=model, dialect=dialect, paramstyle=paramstyle)
        self._key = key
        self._compared = columns
        self._salt = salt
        self._lower = lower

    def baseline(self) -> Query:
        """Return the statement that takes every row of the model as settled, without sending it (a baseline)."""
        record_id = self.folded(self._key) if self._lower else self.text(self._key)
        return self.compose(
            f"INSERT INTO {self.name} ({', '.join(COLUMNS)}) "
            f"SELECT {self.text(self._key)}, MIN({record_id}), MIN({self._digest()}), 0 FROM ",
            *self._model(),
            f" WHERE {self.quote(self._key)} IS NOT NULL GROUP BY {self.text(self._key)}",
        )

    def changed(self, *, only_new: bool = False, everything: bool = False) -> Query:
        """
        Return a query for the rows that did not arrive as they are now: new, changed, or with a key that is not unique.

        Behind the model's columns stand :data:`COPIES`, :data:`KEY`, :data:`DIGEST` and :data:`SENT`, which is NULL for
        a key that the snapshot does not have.

        :param only_new: leave out those that arrived in another form.
        :param everything: leave out none.
        """
        copies = f"COUNT(*) OVER (PARTITION BY {self._same(self._key, self._lower)}) AS {COPIES}"
        where = "p.sync_key IS NULL" if only_new else f"p.sync_key IS NULL OR p.digest <> m.{DIGEST}"
        # Counted before the digest is made: databases carry every column through the sort of a window.
        return self.compose(
            f"SELECT m.*, p.sent AS {SENT} FROM (SELECT c.*, {self.text(self._key)} AS {KEY}, "
            f"{self._digest()} AS {DIGEST} FROM (SELECT census_model.*, {copies} FROM ",
            *self._model(),
            f") c) m LEFT JOIN {self.name} p ON p.sync_key = m.{KEY}",
            "" if everything else f" WHERE {where} OR m.{COPIES} > 1",
        )

    def digests(self) -> Query:
        """Return a query for the key and the digest of every row."""
        return self.compose(
            f"SELECT {self.text(self._key)} AS {KEY}, {self._digest()} AS {DIGEST} FROM ", *self._model()
        )

    def keyed(self) -> Query:
        """Return a query for the rows of the model, each with :data:`KEY` and :data:`DIGEST` behind it."""
        return self.compose(
            f"SELECT census_model.*, {self.text(self._key)} AS {self.quote(KEY)}, "
            f"{self._digest()} AS {self.quote(DIGEST)} FROM ",
            *self._model(),
        )

    def removed(self, *, count: bool = False) -> Query:
        """
        Return a query for what this sync sent and the model does not have any more: keys and record ids.

        A record whose key is only written in another way now is still there.
        """
        what = "COUNT(*)" if count else "r.sync_key, r.record_id"
        return self.compose(
            f"SELECT {what} FROM (SELECT p.sync_key, p.record_id, p.sent, "
            f"MAX(CASE WHEN m.{KEY} IS NULL THEN 0 ELSE 1 END) OVER (PARTITION BY p.record_id) AS present "
            f"FROM {self.name} p LEFT JOIN (SELECT {self.text(self._key)} AS {KEY} FROM ",
            *self._model(),
            f") m ON m.{KEY} = p.sync_key) r WHERE r.sent = 1 AND r.present = 0",
        )

    def any_row(self) -> Query:
        """Return a query that tells whether the model has rows at all."""
        return self.compose("SELECT COUNT(*) FROM ", *self._model())

    def _digest(self) -> str:
        parts = [exp.Literal.string(self._salt).sql(self._dialect)]
        parts += [f"COALESCE({self._mark(self.text(column))}, '-')" for column in self._compared]
        return self._hash(self._concat(*parts))

    def _mark(self, text: str) -> str:
        """Return an expression that no other value of the column has, and that tells where it ends."""
        return self._concat(f"CAST(LENGTH({text}) AS TEXT)", "':'", text) if self._plain else self._hash(text)

    @property
    def _plain(self) -> bool:
        return self._dialect in _WITHOUT_MD5

    def _concat(self, *texts: str) -> str:
        return f"CONCAT({', '.join(texts)})" if self._dialect in _WITH_CONCAT else " || ".join(texts)

    def _hash(self, text: str) -> str:
        if self._plain:
            return text
        if self._dialect == "tsql":  # bytes there, which do not concatenate
            return f"CONVERT(VARCHAR(32), HASHBYTES('MD5', {text}), 2)"
        if self._dialect in _OF_BYTES:
            return f"LOWER(TO_HEX(MD5(TO_UTF8({text}))))"
        return exp.MD5(this=exp.var(text)).sql(self._dialect)
