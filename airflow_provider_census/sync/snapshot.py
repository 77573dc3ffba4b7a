"""
The comparison of a model with its snapshot, in SQL, where both are.

It looks at the mapped columns alone, so a change elsewhere sends nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from sqlglot import exp

from airflow_provider_census.sync.hashing import md5
from airflow_provider_census.sync.model import COPIES, Model
from airflow_provider_census.sync.snapshot_table import COLUMNS, GONE, IN_DOUBT, SnapshotTable
from airflow_provider_census.sync.statement import Query

KEY = "census_key"
DIGEST = "census_digest"
FORMER = "census_former"
SENT = "census_sent"

# No MD5: the text itself is kept.
_WITHOUT_MD5 = frozenset({"sqlite"})
# Where a row makes one long text, which is hashed once. Elsewhere each value is hashed before: Redshift takes texts of
# 64 KB and no more, and MySQL makes NULL, which differs from nothing, of one that is too long.
_WHOLE = frozenset({"duckdb", "postgres", "sqlite"})
# || is OR in MySQL, and slow in DuckDB, where it makes a text of every two.
_WITH_CONCAT = frozenset({"duckdb", "mysql"})
# Where counting the copies of keys apart, in a pass over the key alone, takes less than carrying every row through a
# window, in time and in memory. In PostgreSQL it takes more.
_COUNTS_APART = frozenset({"duckdb"})
# The others know UPDATE … FROM.
_WITH_MERGE = frozenset({"databricks", "spark", "trino"})


class Digest(NamedTuple):
    """
    What is compared of a row.

    :param columns: in the order in which they are read.
    :param salt: a change of it makes every row another one (the mapping changed).
    :param word: stands for every row, whatever is in it.
    """

    columns: Sequence[str]
    salt: str
    word: str = ""

    @classmethod
    def of(cls, columns: Iterable[str], mapping: Set[bytes]) -> Digest:
        """Return what stands for these columns under a mapping with these fingerprints; their order is no change."""
        return cls(sorted(columns), hashlib.blake2b(b"".join(sorted(mapping)), digest_size=8).hexdigest())


class SnapshotSql(SnapshotTable):
    """
    The queries about one model and its snapshot, both in one database.

    :param key: the key column; ``columns``, ``salt`` and ``word`` as of :class:`Digest`.
    :param former: what was compared until now and holds all of it: a row that is equal in that is unchanged.
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
        word: str = "",
        former: Digest | None = None,
        schema: str | None = None,
        dialect: str = "",
        paramstyle: str = "qmark",
    ) -> None:
        super().__init__(table, schema=schema, model=model, dialect=dialect, paramstyle=paramstyle)
        self._key = key
        self._compared = Digest(columns, salt, word)
        self.former = former
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

        :param only_new: leave out those that are there, in whatever form.
        :param everything: leave out none.
        """
        differs = f"p.digest <> m.{DIGEST}" + (f" AND p.digest <> m.{FORMER}" if self.former else "")
        absent = f"p.digest IN ('{GONE}', '{IN_DOUBT}') OR p.sent < 0"
        where = f"p.sync_key IS NULL OR {absent if only_new else differs}"
        with_rows, counted = self._counted()
        # Counted before the digest is made: databases carry every column through the sort of a window.
        return self.compose(
            *with_rows,
            f"SELECT m.*, p.sent AS {SENT} FROM (SELECT c.*, {self._former_too()}{self.text(self._key)} AS {KEY}, "
            f"{self._digest()} AS {DIGEST} FROM (",
            *counted,
            f") c) m LEFT JOIN {self.name} p ON p.sync_key = m.{KEY}",
            "" if everything else f" WHERE {where} OR m.{COPIES} > 1",
        )

    def _counted(self) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        """Return what stands before a query for the rows with :data:`COPIES`, and that query."""
        same = self._same(self._key, self._lower)
        if self._dialect not in _COUNTS_APART:
            return (), (f"SELECT census_model.*, COUNT(*) OVER (PARTITION BY {same}) AS {COPIES} FROM ", *self._model())
        return (
            ("WITH census_rows AS NOT MATERIALIZED (SELECT * FROM ", *self._model(), ") "),
            (
                f"SELECT census_rows.*, COALESCE(k.{COPIES}, 1) AS {COPIES} FROM census_rows LEFT JOIN (SELECT {same} "
                f"AS census_same, COUNT(*) AS {COPIES} FROM census_rows GROUP BY 1 HAVING COUNT(*) > 1) k "
                f"ON k.census_same = {same}",
            ),
        )

    def doubt_met(self) -> Query:
        """Return the statement that notes of the rows of the model that the destination may hold something else."""
        return self.compose(
            f"UPDATE {self.name} SET digest = '{IN_DOUBT}' WHERE digest <> '{IN_DOUBT}' AND sync_key IN "
            f"(SELECT {self.text(self._key)} FROM ",
            *self._model(),
            ")",
        )

    def met(self) -> Query:
        """Return a query for how many rows of the model have a key that the snapshot has."""
        return self.compose(
            f"SELECT COUNT(*) FROM (SELECT {self.text(self._key)} AS {KEY} FROM ",
            *self._model(),
            f") m JOIN {self.name} p ON p.sync_key = m.{KEY}",
        )

    def digests(self) -> Query:
        """Return a query for the key and the digest of every row; in front of them the former one, if there is one."""
        return self.compose(
            f"SELECT {self._former_too()}{self.text(self._key)} AS {KEY}, {self._digest()} AS {DIGEST} FROM ",
            *self._model(),
        )

    def rebase(self) -> Query:
        """
        Return the statement that gives the rows that are unchanged by their former digest the present one.

        Run again it changes nothing: the present digests are no former ones.
        """
        # Equal in the former digest, copies of a key are equal in the present one. DISTINCT goes by the collation, and
        # what MySQL calls equal need not be; it does not mind copies.
        distinct = "" if self._dialect == "mysql" else "DISTINCT "
        names = f"{self._former_too()}{self.text(self._key)} AS {KEY}, {self._digest()} AS {DIGEST}"
        rows = (f"(SELECT {distinct}{names} FROM ", *self._model(), ") m")
        same = f"sync_key = m.{KEY} AND digest = m.{FORMER}"
        if self._dialect == "mysql":
            return self.compose(f"UPDATE {self.name} JOIN ", *rows, f" ON {same} SET digest = m.{DIGEST}")
        if self._dialect in _WITH_MERGE:
            then = f"WHEN MATCHED THEN UPDATE SET digest = m.{DIGEST}"
            return self.compose(f"MERGE INTO {self.name} USING ", *rows, f" ON {same} {then}")
        return self.compose(f"UPDATE {self.name} SET digest = m.{DIGEST} FROM ", *rows, f" WHERE {same}")

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

    def _former_too(self) -> str:
        return f"{self._former()} AS {FORMER}, " if self.former else ""

    def _former(self) -> str:
        assert self.former is not None
        return self._digested(self.former)

    def _digest(self) -> str:
        return self._digested(self._compared)

    def _digested(self, what: Digest) -> str:
        if what.word:
            return exp.Literal.string(what.word).sql(self._dialect)
        parts = [exp.Literal.string(what.salt).sql(self._dialect)]
        for column in what.columns:
            parts += self._told(self.text(column))
        return self._hash(self._concat(*parts))

    def _told(self, text: str) -> list[str]:
        """Return expressions that together no other value of the column has, and that tell where it ends."""
        length = exp.cast(exp.var(f"LENGTH({text})"), "text").sql(self._dialect)
        if self._dialect == "duckdb":  # nothing but NULL has no length: CONCAT leaves it out
            return [length, "':'", text]
        told = self._concat(length, "':'", text) if self._dialect in _WHOLE else self._hash(text)
        return [f"COALESCE({told}, '-')"]

    @property
    def _plain(self) -> bool:
        return self._dialect in _WITHOUT_MD5

    def _concat(self, *texts: str) -> str:
        if self._dialect == "tsql":
            # Where none of the texts has a MAX, all together are cut at 8,000 bytes: the digests of 250 columns. CONCAT
            # takes 2 to 254 of them, and || is new there.
            first, *others = texts
            return " + ".join((f"CAST({first} AS VARCHAR(MAX))", *others))
        return f"CONCAT({', '.join(texts)})" if self._dialect in _WITH_CONCAT else " || ".join(texts)

    def _hash(self, text: str) -> str:
        return text if self._plain else md5(text, self._dialect)
