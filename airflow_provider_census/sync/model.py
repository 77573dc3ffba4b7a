"""
The SQL of a sync, built around the author's text.

In: the model as the author wrote it, names of its columns, values to bind. Out: queries a :class:`Source` runs.
Invariant: the author's text stands in every query as it was written, and no value ever becomes part of the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlglot import exp

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.hashing import is_of
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.single_select import split

COPIES = "census_copies"
"""The column every read adds behind those of the model: how many of its rows have the key of this one."""

_BLANKS = " \t\n\r\v\f"
# TRIM of standard SQL takes off spaces alone; that of BigQuery and Trino (Athena) takes off all blanks. By the manuals
# of the databases; tried on DuckDB, MariaDB, PostgreSQL and SQLite.
_TRIMS = {
    **dict.fromkeys(("duckdb", "snowflake", "sqlite"), f"TRIM({{}}, '{_BLANKS}')"),
    **dict.fromkeys(("postgres", "redshift"), f"BTRIM({{}}, '{_BLANKS}')"),
    **dict.fromkeys(("databricks", "spark"), f"TRIM(BOTH '{_BLANKS}' FROM {{}})"),
    "mysql": "REGEXP_REPLACE({}, '^[[:space:]]+|[[:space:]]+$', '')",
    "tsql": f"TRIM('{_BLANKS}' FROM {{}})",
}

CHUNK = 500  # keys in one IN list; the smallest limit among the databases is 999 bound parameters

_ALIAS = "census_model"
# Where the usual collation calls 'A' and 'a' equal, or 'e' and 'é', only the bytes tell two keys apart.
_EXACT_TYPES = {"mysql": "BINARY", "tsql": "VARBINARY(MAX)"}

EXACT_COLLATION = "Latin1_General_100_BIN2"
"""The collation of SQL Server that compares text by its code points."""

# How many values one statement may bind, where it is fewer than what we would: at the server in Databricks (255 by its
# connector's docs/parameters.md; a Parameterized query has too many parameters), 2,100 in SQL Server.
_MOST_BOUND = {"databricks": 255}
_BOUND = 2000

MYSQL_CONNECTOR = "mysql-connector-python"
"""Paramstyle of the driver of this name: pyformat without doubled ``%``. Its markers without names are any ``%s``."""

# PEP 249 paramstyle → the marker of a positional and of a named parameter. A driver that takes named ones only has no
# positional marker.
_MARKERS: Mapping[str, tuple[str | None, str]] = {
    "qmark": ("?", ":{}"),
    "format": ("%s", "%({})s"),
    "named": (None, ":{}"),
    "pyformat": (None, "%({})s"),
    MYSQL_CONNECTOR: (None, "%({})s"),
}

Parameters = Sequence[Any] | Mapping[str, Any]


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


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the values bound to it; None where there are none, so that a literal ``%`` needs no doubling."""

    sql: str
    parameters: tuple[Any, ...] | dict[str, Any] | None = field(default=None, repr=False)


class Source(Protocol):
    """
    A database that runs queries.

    :param dialect: its name at sqlglot, empty for standard SQL.
    :param paramstyle: of its driver, in the words of PEP 249, or :data:`MYSQL_CONNECTOR`.
    """

    @property
    def dialect(self) -> str: ...

    @property
    def paramstyle(self) -> str: ...

    def columns(self, query: Query) -> list[str]:
        """Return the names of the columns of ``query``."""

    def stream(self, query: Query, batch_rows: int = 1000) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        """Yield the rows in batches that are not empty. Exhausted or closed, it holds nothing open."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A value in a statement being put together; it is bound, never written into the text."""

    value: Any


def listed(values: Iterable[Any]) -> Iterator[str | Bound]:
    """Yield ``values``, bound, with commas between them."""
    for number, value in enumerate(values):
        if number:
            yield ", "
        yield Bound(value)


class ModelSql:
    """
    The queries about one model in one dialect. Names of columns are exact, see
    :func:`~airflow_provider_census.sync.columns.resolve_column`.

    :raises ConfigError: the text is not one SELECT, or its parameters are not of the form the driver takes.
    """

    def __init__(self, model: Model, *, dialect: str = "", paramstyle: str = "qmark") -> None:
        self._dialect = dialect
        self._head, self._body = split(model.sql, dialect)
        self._given = model.parameters or ()
        self._part = model.part
        positional, named = _MARKERS[paramstyle]
        self._marker = positional if not isinstance(self._given, Mapping) else None
        if self._marker is None and self._given and not isinstance(self._given, Mapping):
            raise ConfigError("this database binds parameters by name; give the model's parameters as a dict")
        self._named = "${}" if paramstyle == "qmark" and dialect == "duckdb" else named
        self._percent = "%" in named and paramstyle != MYSQL_CONNECTOR

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

    def quote(self, name: str) -> str:
        """Return ``name`` as an identifier."""
        return exp.to_identifier(name, quoted=True).sql(self._dialect)

    def text(self, name: str) -> str:
        """Return an expression for the value of a column as text."""
        if self._dialect == "tsql":
            # Without a style, times lose their seconds there and numbers their digits; in a string of one byte per
            # character, most of the world's letters are a question mark.
            return f"CONVERT(NVARCHAR(MAX), {self.quote(name)}, 126) COLLATE {EXACT_COLLATION}"
        return exp.cast(exp.column(name, quoted=True), "text").sql(self._dialect)

    def folded(self, name: str) -> str:
        """
        Return an expression for the value of a column as text without regard to case and blanks around it.

        Blanks and capitals beyond ASCII are left to the database: SQLite folds none of them.
        """
        return f"LOWER({_TRIMS.get(self._dialect, 'TRIM({})').format(self.text(name))})"

    def _read(self, key: str, lower: bool, *clauses: str | Bound) -> Query:
        copies = f"COUNT(*) OVER (PARTITION BY {self._same(key, lower)}) AS {COPIES}"
        return self.compose(f"SELECT {_ALIAS}.*, {copies} FROM ", *self._model(), *clauses)

    def _same(self, key: str, lower: bool) -> str:
        """Return an expression that is equal for keys the destination holds for one."""
        same = self.folded(key) if lower else self.quote(key)
        exact = _EXACT_TYPES.get(self._dialect)
        return f"CAST({same} AS {exact})" if exact else same

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

    @property
    def most_bound(self) -> int:
        """How many values one statement may bind."""
        return _MOST_BOUND.get(self._dialect, _BOUND)

    def insert(self, head: str, rows: Sequence[Sequence[Any]]) -> Iterator[Query]:
        """Return statements of ``head`` with ``rows`` behind it, bound."""
        for chunk in batched(rows, self.most_bound // len(rows[0]) if rows else 1):
            parts: list[str | Bound] = [head]
            for number, row in enumerate(chunk):
                parts += [", (" if number else "(", *listed(row), ")"]
            yield self.compose(*parts)

    def compose(self, *parts: str | Bound | None) -> Query:
        """Return a statement made of text, bound values, and the author's text where None stands."""
        bound = [part.value for part in parts if isinstance(part, Bound)]
        ours = {f"census_{number}": value for number, value in enumerate(bound)}
        names = iter(ours)
        given = self._given if None in parts else ()
        # Drivers with % markers look for them as soon as anything is bound; authors who bind double theirs already.
        double = self._percent and bool(bound or given)
        head, body = (text.replace("%", "%%") if double and not given else text for text in (self._head, self._body))
        text = [head] if None in parts else []
        for part in parts:
            if isinstance(part, Bound):
                text.append(self._marker or self._named.format(next(names)))
            elif part is None:
                text.append(body)
            else:
                text.append(part.replace("%", "%%") if double else part)
        return Query("".join(text), self._join(given, bound, ours))

    def _join(
        self, given: Parameters, bound: list[Any], ours: dict[str, Any]
    ) -> tuple[Any, ...] | dict[str, Any] | None:
        if not bound and not given:
            return None
        if self._marker is not None:
            return (*given, *bound)
        return {**dict(given), **ours}


def bind(*parts: str | Bound, dialect: str, paramstyle: str) -> Query:
    """Return a statement that has nothing to do with a model."""
    return ModelSql(Model("SELECT 1"), dialect=dialect, paramstyle=paramstyle).compose(*parts)


def text_type(dialect: str) -> str:
    """Return the type of a column that holds text of any length."""
    return "NVARCHAR(MAX)" if dialect == "tsql" else exp.DataType.build("text").sql(dialect)


def batched(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield ``rows`` in parts of ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


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
