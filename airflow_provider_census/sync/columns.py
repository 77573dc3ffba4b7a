"""The columns of a model, and what the author means by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.model import COPIES


def check_columns(columns: Sequence[str]) -> None:
    """
    Check the names of a model's columns.

    :raises ConfigError: two have the same name, or one has a name of ours.
    """
    twice = ", ".join(repr(name) for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise ConfigError(f"the model has more than one column named {twice}; rename one in the SQL")
    if COPIES in map(str.lower, columns):
        raise ConfigError(f"the model has a column {COPIES!r}; the name is taken, rename it in the SQL")


def resolve_column(name: str, columns: Sequence[str], what: str = "column") -> str:
    """
    Return the column the author means by ``name``: the one of this spelling, else the only one that differs in case.

    :param what: what the author names it for, in words for an error.
    :raises ConfigError: there is none, or more than one.
    """
    if name in columns:
        return name
    near = [column for column in columns if column.lower() == name.lower()]
    if len(near) == 1:
        return near[0]
    raise ConfigError.unknown(what, name, near or columns, where="in the model" if not near else "exactly")
