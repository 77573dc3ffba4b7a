"""
Where the fields of a record come from: each reads its value from one row, or those of a batch at once.

Nearly all batches hold plain values alone. Asking that of a column, and not of every value, is what lets a row cost
microseconds. Both ways give the same values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Protocol

from airflow_provider_census.sync.conversion import Converter
from airflow_provider_census.sync.fields import Column
from airflow_provider_census.sync.json_text import parsed

MISSING = object()
"""Stands for a field that the record does not get."""

Rows = Sequence[Sequence[Any]]
Tree = Mapping[str, "FieldReader | Tree"]
"""Readers by the names of their fields, nested as these are."""


class FieldReader(Protocol):
    """Reads one field."""

    def one(self, row: Sequence[Any]) -> Any:
        """
        Return the value of the field in the record of ``row``.

        :raises ValueError: the row is invalid; the message is the reason.
        """

    def all(self, rows: Rows, columns: Rows) -> Sequence[Any]:
        """
        Return the values of the field in the records of ``rows``.

        :param columns: the same rows, turned over.
        :raises ValueError: they have to be read one by one: a row may be invalid, or not get the field.
        """


class FromColumn:
    """Reads a column, at position ``at`` of a row."""

    def __init__(self, column: Column, at: int, field: str, converter: Converter) -> None:
        self._at = at
        self._field = field
        self._converter = converter
        self._parses = column.json
        self._null = column.null
        self._column = column.name

    def one(self, row: Sequence[Any]) -> Any:
        """Return the value of the column as JSON."""
        value = row[self._at]
        if self._parses and isinstance(value, str):
            value = parsed(value, self._field)
        if value is not None:
            return self._converter.from_row(value, self._field)
        if self._null == "reject":
            raise ValueError(f"column {self._column} is NULL and the mapping of {self._field} does not allow it")
        return MISSING if self._null == "skip" else None

    def all(self, rows: Rows, columns: Rows) -> Sequence[Any]:
        """Return the values of the column as JSON."""
        values = columns[self._at]
        kinds = set(map(type, values))
        if self._parses or (self._null != "send" and NoneType in kinds):
            raise ValueError("not every value is what the field gets")
        return self._converter.from_rows(values, kinds, self._field)


class Fixed:
    """Reads nothing: every record gets the same value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def one(self, row: Sequence[Any]) -> Any:
        """Return the value."""
        return self._value

    def all(self, rows: Rows, columns: Rows) -> Sequence[Any]:
        """Return the value, for each."""
        return [self._value] * len(rows)


class Rendered:
    """Reads what a function makes of a row."""

    def __init__(self, render: Callable[[Sequence[Any]], Any]) -> None:
        self.one = render

    def all(self, rows: Rows, columns: Rows) -> Sequence[Any]:
        """Return what it makes of each row."""
        return list(map(self.one, rows))


def objects(tree: Tree, rows: Rows, columns: Rows) -> list[dict[str, Any]]:
    """Return an object for each of ``rows``, its members where they are in ``tree``."""
    values = [
        objects(node, rows, columns) if isinstance(node, Mapping) else node.all(rows, columns) for node in tree.values()
    ]
    if not values:
        return [{} for _ in rows]
    return list(map(dict, map(zip, itertools.repeat(tuple(tree)), zip(*values, strict=True))))
