"""
The SQL of a sync, built around the author's text.

In: the model as the author wrote it, names of its columns, values to bind. Out: queries a :class:`~.statement.Source`
runs. Invariant: the author's text stands in every query as it was written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.dialect import to_the_letter
from airflow_provider_census.sync.hashing import is_of
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.single_select import split
from airflow_provider_census.sync.statement import Bound, Parameters, Query, Statements, Verbatim, listed

COPIES = "census_copies"
"""The column every read adds behind those of the model: how many of its rows have the key of this one."""

CHUNK = 500  # keys in one IN list; the smallest limit among the databases is 999 bound parameters

_ALIAS = "census_model"


@dataclass(frozen=True, slots=True)
class Model:
    """
    What the author wrote.

    :param sql: one SELECT.
    :param parameters: values bound to it, a sequence or a mapping as its markers ask.
    :param part: the shard whose rows alone are read, and the exact name of the column it is told by; None for all.
    """

    sql: str
    parameters: Parameters | None = field(default=None, repr=False)
    part: tuple[Shard, str] | None = None


class ModelSql(Statements):
    """
    The queries about one model in one dialect. Names of columns are exact, see
    :func:`~airflow_provider_census.sync.columns.resolve_column`.

    :raises ConfigError: the text is not one SELECT, or its parameters are not of the form the driver takes.
    """

    def __init__(self, model: Model, *, dialect: str = "", paramstyle: str = "qmark") -> None:
        super().__init__(dialect, paramstyle)
        self._head, self._body = split(model.sql, dialect)
        self._given = model.parameters or ()
        self._part = model.part
        if self._given and self._positional is None and not isinstance(self._given, Mapping):
            raise ConfigError("this database binds parameters by name; give the model's parameters as a dict")

    def probe(self) -> Query:
        """Return a query that has the model's columns and no row; running it also checks the author's syntax."""
        return self.compose("SELECT * FROM ", *self._model(), " WHERE 1 = 0")

    def rows(
        self,
        key: str,
        *,
        lower: bool = False,
        cursor: str | None = None,
        since: Any = None,
        nulls: bool = True,
    ) -> Query:
        """
        Return a query for the rows of one read, with :data:`COPIES`, in the order of ``cursor``.

        :param lower: whether keys that differ only in case are one.
        :param since: the lowest value of the cursor to read; None for all.
        :param nulls: whether rows whose cursor is NULL are read.
        """
        if cursor is None:
            return self._read(key, lower)
        return self._read(key, lower, *self._bounds(cursor, since, nulls), f" ORDER BY {self.quote(cursor)}")

    def count(self, *, cursor: str | None = None, since: Any = None, nulls: bool = True) -> Query:
        """Return a query for how many rows :meth:`rows` finds."""
        bounds = self._bounds(cursor, since, nulls) if cursor is not None else ()
        return self.compose("SELECT COUNT(*) FROM ", *self._model(), *bounds)

    def _bounds(self, cursor: str, since: Any, nulls: bool) -> tuple[str | Bound, ...]:
        column = self.quote(cursor)
        if since is not None:
            return (f" WHERE {column} >= ", Bound(since), f" OR {column} IS NULL" if nulls else "")
        return () if nulls else (f" WHERE {column} IS NOT NULL",)

    def by_keys(
        self,
        key: str,
        keys: Iterable[Any],
        *,
        null_keys: bool = False,
        lower: bool = False,
        size: int = CHUNK,
    ) -> Iterator[Query]:
        """
        Return queries for the rows with one of ``keys``, with :data:`COPIES`.

        A collation without regard to case finds more than was asked for.

        :param null_keys: whether rows without a key are asked for too.
        """
        column = self.quote(key)
        for chunk in _chunks(keys, min(size, self.most_bound - len(self._given))):
            yield self._read(key, lower, f" WHERE {column} IN (", *listed(chunk), ")")
        if null_keys:
            yield self._read(key, lower, f" WHERE {column} IS NULL")

    def highest(self, cursor: str) -> Query:
        """Return a query for the highest value of ``cursor``; NULL for a model without one."""
        return self.compose(f"SELECT MAX({self.quote(cursor)}) FROM ", *self._model())

    def _read(self, key: str, lower: bool, *clauses: str | Bound) -> Query:
        copies = f"COUNT(*) OVER (PARTITION BY {self._same(key, lower)}) AS {COPIES}"
        return self.compose(f"SELECT {_ALIAS}.*, {copies} FROM ", *self._model(), *clauses)

    def _same(self, key: str, lower: bool) -> str:
        """Return an expression that is equal for keys the destination holds for one."""
        return to_the_letter(self.folded(key) if lower else self.quote(key), self._dialect)

    def _model(self) -> tuple[str | None, ...]:
        # A comment may end the author's last line: the parenthesis needs a line of its own. None stands for the text.
        if self._part is None:
            return ("(\n", None, f"\n) {_ALIAS}")
        shard, key = self._part
        return (
            "(SELECT * FROM (\n",
            None,
            f"\n) {_ALIAS} WHERE {is_of(shard, self.text(key), self._dialect)}) {_ALIAS}",
        )

    def compose(self, *parts: str | Bound | None) -> Query:
        """Return a statement made of text, bound values, and the author's text where None stands."""
        ours = [part for part in parts if part is not None]
        if len(ours) == len(parts):
            return super().compose(*ours)
        # Authors who bind values double every % of theirs already.
        written = Verbatim if self._given else str
        whole = [written(self._head), *(written(self._body) if part is None else part for part in parts)]
        return self._bind(whole, self._given)


def _chunks(keys: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield ``keys`` in lists of about ``size``; spellings of one key stay together, or their copies go unseen."""

    def same(key: Any) -> str:
        return str(key).strip().lower()

    chunk: list[Any] = []
    for _, spellings in itertools.groupby(sorted(keys, key=same), same):
        group = list(spellings)
        if chunk and len(chunk) + len(group) > size:
            yield chunk
            chunk = []
        chunk += group
    if chunk:
        yield chunk
