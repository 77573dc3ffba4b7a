"""
How the fields of a record are filled: the declarations a DAG author writes.

Binding them to a model is the job of :mod:`~airflow_provider_census.sync.mapping`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.template import Template, check_set


@dataclass(frozen=True, slots=True)
class Column:
    """
    A destination field filled from a model column.

    :param null: what a NULL does: ``send`` it, ``skip`` the field, or ``reject`` (the row is invalid).
    :param set: when the field is written: ``always``, or ``if_empty``: where the destination holds nothing for it.
        Each record is looked up for that.
    :param json: the column is JSON that the driver gives as text (DuckDB, MySQL, SQLite, Snowflake, BigQuery,
        Redshift): it is parsed. Values that are none of text are taken as they are, and JSON's ``null`` is a NULL.
    """

    name: str
    null: str = "send"
    set: str = "always"
    json: bool = False

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise ConfigError(f"Column({self.name!r}) needs the name of a column of the model")
        check_set(self.set, f"Column {self.name!r}")
        if not isinstance(self.json, bool):
            raise ConfigError(f"Column {self.name!r}: json={self.json!r} must be True or False")
        if self.null not in ("send", "skip", "reject"):
            raise ConfigError.unknown(
                f"null policy of Column {self.name!r}",
                self.null,
                ("send", "skip", "reject"),
            )


@dataclass(frozen=True, slots=True)
class Constant:
    """
    A destination field with the same JSON value in every record.

    :param set: as of a :class:`Column`.
    """

    value: Any
    set: str = "always"

    def __post_init__(self) -> None:
        check_set(self.set, "Constant")


@dataclass(frozen=True, slots=True)
class SyncAll:
    """
    Every column of the model, less the sync key, under its own name.

    :param exclude: columns left out.
    :param normalize: how names are written: ``snake_case``, ``camelCase``, ``Title Case``; None leaves them.
    :param prefix: put before every name (``traits.`` nests).
    :param json: columns that are JSON given as text, see :class:`Column`.
    """

    exclude: Sequence[str] = ()
    normalize: str | None = None
    prefix: str = ""
    json: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.exclude, str) or not _are_names(self.exclude):
            raise ConfigError(f"SyncAll exclude={self.exclude!r} must be a list of column names")
        if isinstance(self.json, str) or not _are_names(self.json):
            raise ConfigError(f"SyncAll json={self.json!r} must be a list of column names")
        if self.normalize is not None and self.normalize not in tuple(_STYLES):
            raise ConfigError.unknown("SyncAll normalize", self.normalize, _STYLES)
        if not isinstance(self.prefix, str):
            raise ConfigError(f"SyncAll prefix={self.prefix!r} must be text, like 'traits.'")

    def field(self, column: str) -> str:
        """Return the field name of a column."""
        words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)) or [column]
        return self.prefix + (_STYLES[self.normalize](words) if self.normalize else column)


_STYLES: Mapping[str, Callable[[list[str]], str]] = {
    "snake_case": lambda words: "_".join(words).lower(),
    "camelCase": lambda words: words[0].lower() + "".join(w.capitalize() for w in words[1:]),
    "Title Case": lambda words: " ".join(w.capitalize() for w in words),
}

FieldSource = str | Column | Constant | Template
MappingDeclaration = Mapping[str, FieldSource] | SyncAll


def check_mapping(declared: object) -> None:
    """
    Check the form of a mapping; whether its names exist is checked against the model and the destination.

    :raises ConfigError: it is neither a mapping nor ``SyncAll``, or a source in it is none.
    """
    if isinstance(declared, SyncAll):
        return
    if not isinstance(declared, Mapping):
        raise ConfigError("mapping must be {destination field: source} or SyncAll(…)")
    for field, source in declared.items():
        if not isinstance(field, str) or not all(field.split(".")):
            raise ConfigError(
                f"mapping of {field!r}: no name of a field; names are text, dots stand between two of them"
            )
        if not isinstance(source, (str, Column, Constant, Template)):
            raise ConfigError(
                f"mapping of {field!r}: {source!r} is no source; give a column name, Column, Constant or Template"
            )
        if isinstance(source, str) and (not _is_name(source) or "{{" in source):
            hint = f"; where values of the row are put into text, write Template({source!r})" if "{{" in source else ""
            raise ConfigError(f"mapping of {field!r}: {source!r} is no name of a column{hint}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_names(values: object) -> bool:
    return isinstance(values, Collection) and all(map(_is_name, values))
