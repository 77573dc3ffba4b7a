"""The objects of a destination, as data."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_census.sync.behavior import Behavior


@dataclass(frozen=True, slots=True)
class Identifier:
    """
    What a record may be matched on.

    :param lower: the destination matches it without regard to case, so two rows that differ only in case are one.
    """

    name: str
    lower: bool = False

    def normalise(self, text: str) -> str:
        """Return ``text`` as the destination matches it."""
        return text.strip().lower() if self.lower else text

    def normalise_all(self, texts: list[str]) -> list[str]:
        """Return each of ``texts`` as the destination matches it."""
        return list(map(self.normalise, texts)) if self.lower else texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectType:
    """
    An object of a destination, as data. The documentation is generated from it.

    :param name: as in ``destination_object``.
    :param identifiers: the first one is the default.
    :param fields: patterns of the fields a mapping may name (``name``, ``custom_attributes.*``, ``*``).
    :param required: fields a record must have besides its identifier; a tuple inside means one of them.
    :param options: names of the options it takes.
    :param fetched: patterns of the fields whose present values :meth:`Destination.fetch` returns; none where it cannot.
    """

    name: str
    behaviors: tuple[Behavior, ...]
    identifiers: tuple[Identifier, ...]
    fields: tuple[str, ...] = ("*",)
    required: tuple[str | tuple[str, ...], ...] = ()
    options: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()


def among(patterns: Iterable[str], path: str) -> bool:
    """Return whether one of the ``patterns`` of fields is for ``path``."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
