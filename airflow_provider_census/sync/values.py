"""
The values that pass between the stages. Those that are made for every row are structs: they cost a twentieth of a
frozen dataclass. None of them leads back to itself, so that Python need not look for rings among them (``gc``).

``row`` (a tuple of the model) → :class:`Record` or :class:`RowResult` → :class:`Operation` → :class:`RowResult`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.transport.message import Json


class RowResult(msgspec.Struct, frozen=True, gc=False):
    """
    How one row ended.

    :param reason: for people; the API's own words where it gave some. No payloads.
    :param status: HTTP status of the answer, where there was one.
    :param passing: the destination was not well, which says nothing about the row: a later try may fare better.
    """

    outcome: Outcome
    reason: str = ""
    status: int | None = None
    passing: bool = False


class Record(msgspec.Struct, frozen=True, gc=False):
    """
    A row in the destination's terms.

    :param key: value of the sync key as the model gave it; how the row is found again.
    :param id: the same value as the destination matches it: text, normalised as the destination does.
    :param fields: destination fields, nested, JSON values only. The identifier is not repeated here.
    """

    key: Any
    id: str
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """
    What the destination holds of one record now.

    :param fields: by the names of a mapping, nested as in a :class:`Record`; None if there is no such record.
    :param id: the destination's own identifier of it, where writing needs that.
    """

    fields: Mapping[str, Any] | None
    id: str = ""


class Operation(msgspec.Struct, eq=False, gc=False):
    """
    One thing to do at the destination.

    :param behavior: what to do with this record; never ``MIRROR``, which plans updates and deletes.
    :param if_empty: paths of fields that are to be written only where the destination holds nothing for them.
    :param held: what was found there just before, None if nobody has looked.

    ``encoded`` and ``once`` are kept by the methods of :class:`~airflow_provider_census.destinations.base.Destination`
    that are called so.
    """

    behavior: Behavior
    record: Record
    if_empty: tuple[str, ...] = ()
    held: Held | None = None
    encoded: Json | None = None
    once: bool | None = None

    def having(self, fields: Mapping[str, Any]) -> Operation:
        """Return the operation with these fields instead of its own."""
        record = Record(self.record.key, self.record.id, fields)
        return Operation(self.behavior, record, self.if_empty, self.held)

    @property
    def found(self) -> list[str] | None:
        """
        The destination's ids of the record as they were looked up; None where that has to be done.

        It has to be done again for what is to be created: it may be there by now.
        """
        if self.held is None:
            return None
        if self.held.id:
            return [self.held.id]
        return [] if self.behavior is Behavior.UPDATE_ONLY else None

    def overtaken(self, *, there: bool) -> bool:
        """Return whether the fields to write are no longer the right ones: they were chosen when it was otherwise."""
        return bool(self.if_empty) and self.held is not None and (self.held.fields is not None) != there
