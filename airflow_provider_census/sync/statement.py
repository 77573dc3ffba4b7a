"""
Statements and the values bound to them.

Invariant: no value ever becomes part of the text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_census.sync import dialect as dialects

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


def rows(source: Source, query: Query) -> Generator[tuple[Any, ...], None, None]:
    """Yield the rows of ``query``; the cursor is closed when the caller stops, however it stops."""
    with closing(source.stream(query)) as batches:
        for batch in batches:
            yield from batch


def only_row(source: Source, query: Query) -> tuple[Any, ...]:
    """Return the row of a query that gives one."""
    with closing(rows(source, query)) as found:
        return next(found)


@dataclass(frozen=True, slots=True)
class Bound:
    """A value in a statement being put together; it is bound, never written into the text."""

    value: Any


def listed(values: Iterable[Any]) -> Iterator[str | Bound]:
    """Return ``values``, bound, with commas between them."""
    return _with_commas((Bound(value),) for value in values)


def _with_commas(items: Iterable[Sequence[str | Bound]]) -> Iterator[str | Bound]:
    for number, item in enumerate(items):
        if number:
            yield ", "
        yield from item


class Verbatim(str):
    """Text whose parameters are given with it: where a driver wants ``%`` doubled, it is doubled already."""

    __slots__ = ()


class Statements:
    """The statements for one database, in its dialect and the paramstyle of its driver. Names of columns are exact."""

    def __init__(self, dialect: str, paramstyle: str) -> None:
        self._dialect = dialect
        self._positional, named = _MARKERS[paramstyle]
        self._named = "${}" if paramstyle == "qmark" and dialect == "duckdb" else named
        self._percent = "%" in named and paramstyle != MYSQL_CONNECTOR

    @property
    def most_bound(self) -> int:
        """How many values one statement may bind."""
        return dialects.most_bound(self._dialect)

    def quote(self, name: str) -> str:
        """Return ``name`` as an identifier."""
        return dialects.quoted(name, self._dialect)

    def text(self, name: str) -> str:
        """Return an expression for the value of a column as text."""
        return dialects.as_text(name, self._dialect)

    def folded(self, name: str) -> str:
        """Return an expression for the value of a column as text, less case and blanks around it."""
        return dialects.folded(name, self._dialect)

    def compose(self, *parts: str | Bound) -> Query:
        """Return a statement made of text and bound values."""
        return self._bind(parts, ())

    def among(self, values: Sequence[Any], *, besides: int = 0) -> Iterator[tuple[str | Bound, ...]]:
        """
        Yield what stands behind IN, in as many statements as ``values`` take: of one type, none of them NULL.

        :param besides: how many others each statement binds.
        """
        if values and dialects.binds_lists(self._dialect):
            yield "(SELECT UNNEST(", Bound(list(values)), "))"
            return
        for chunk in batched(values, self.most_bound - besides):
            yield "(", *listed(chunk), ")"

    def insert(self, head: str, rows: Sequence[Sequence[Any]]) -> Iterator[Query]:
        """Return statements that insert ``rows``, bound; ``head`` is what stands before them. A column has one type."""
        if rows and dialects.binds_lists(self._dialect):
            columns = (("UNNEST(", Bound(list(column)), ")") for column in zip(*rows, strict=True))
            yield self.compose(f"{head} SELECT ", *_with_commas(columns))
            return
        for chunk in batched(rows, self.most_bound // len(rows[0]) if rows else 1):
            yield self.compose(f"{head} VALUES ", *_with_commas(("(", *listed(row), ")") for row in chunk))

    def _bind(self, parts: Iterable[str | Bound], given: Parameters) -> Query:
        """
        Return a statement.

        :param given: values whose markers stand in its :class:`Verbatim` parts, before all others.
        """
        parts = list(parts)
        bound = [part.value for part in parts if isinstance(part, Bound)]
        ours = {f"census_{number}": value for number, value in enumerate(bound)}
        names = iter(ours)
        positional = None if isinstance(given, Mapping) else self._positional
        # Drivers with % markers look for them as soon as anything is bound.
        double = self._percent and bool(bound or given)
        text = []
        for part in parts:
            if isinstance(part, Bound):
                text.append(positional or self._named.format(next(names)))
            else:
                text.append(part.replace("%", "%%") if double and not isinstance(part, Verbatim) else part)
        if not bound and not given:
            return Query("".join(text))
        values = (*given, *bound) if positional is not None else {**dict(given), **ours}
        return Query("".join(text), values)


def batched(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield ``rows`` in parts of ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
