"""
The sets of a state that are too large to stand beside its watermark.

In: a state. Out: a JSON value of at most :data:`MOST_BYTES`. What does not fit is put into a table first, in parts that
never change and are named by a hash of what they hold; the value names them. So only what is new is ever written, a
part that is read shows whether it is what was meant, and a crash leaves parts nobody names, never a value without them.

Parts are dropped when neither this run's value nor one of the newest three before it names them: a run that is cleared
takes its value along, and the one before it counts again.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow_provider_census.errors import CensusError, StateError, StateFull, Unavailable
from airflow_provider_census.sync.spill_parts import Part, Sets, cut, name_of, named, sets_of, size_of
from airflow_provider_census.sync.spill_table import TABLE, SpillTable
from airflow_provider_census.sync.state import State, decode, pack_digests
from airflow_provider_census.sync.tables import Database

log = logging.getLogger(__name__)

MOST_BYTES = 48_000
"""Of an encoded state. Airflow's state stores and the TEXT of MySQL end at 64 KiB; run and sync are named besides."""

_REMEMBERED = 3
_ADDRESS_BYTES = 300  # of a value that names parts
_NAME_BYTES = 20


class Spill:
    """
    How the state of one sync is written and read.

    :param conn_id: where what is too large goes; its table is made when it is first needed.
    :param connect: returns the database of a connection.
    :param adds: a row sent twice stands there twice: nothing may be sent that cannot be remembered.
    :param forget: what is lost may be lost: the caller is about to empty the sets.
    """

    def __init__(
        self,
        sync_id: str,
        conn_id: str,
        connect: Callable[[str], Database],
        *,
        adds: bool,
        forget: bool = False,
    ) -> None:
        self._sync_id = sync_id
        self._conn_id = conn_id
        self._connect = connect
        self._adds = adds
        self._forget = forget
        self._owner = ""
        self._table: SpillTable | None = None
        # Parts the present state may be made of; names that values besides the next one have or may have; those in the
        # table.
        self._parts: list[Part] = []
        self._remembered: set[str] = set()
        self._last: set[str] = set()
        self._there: set[str] = set()
        self._restored = 0
        self._works = False
        self._refused = self._warned = False
        self._words = ""
        self._full: StateFull | None = None

    # --- reading ---------------------------------------------------------------------------------------------------

    def restore(self, values: Sequence[Mapping[str, Any]]) -> State | None:
        """
        Return the state in the first of ``values``.

        :param values: what is kept of this sync, newest first.
        :raises StateError: it cannot be read, or some of it is not where it was put.
        """
        if not values:
            return None
        try:
            pointers = [value["spilled"] for value in values if value.get("spilled")]
            at_home = [pointer for pointer in pointers if pointer["conn_id"] == self._conn_id]
            self._owner = at_home[0]["owner"] if at_home else ""
            self._remembered = {
                name for value in values[:_REMEMBERED] for _, name in named(value.get("spilled") or {"parts": {}})
            }
            pointer = values[0].get("spilled")
            state = State.from_json({name: part for name, part in values[0].items() if name != "spilled"})
            state = self._completed(state, pointer) if pointer else state
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the stored state is not readable ({type(error).__name__}); delete it to start over"
            ) from None
        self._restored = len(state.settled)
        return state

    def _completed(self, state: State, pointer: Mapping[str, Any]) -> State:
        wanted = list(named(pointer))
        words = ""
        found: dict[str, str] = {}
        try:
            table = SpillTable(self._connect(pointer["conn_id"]), pointer["owner"], self._sync_id)
            found = table.read([name for _, name in wanted])
        except Unavailable:
            raise
        except CensusError as error:
            words = f" ({error})"
        gone = [(of, name) for of, name in wanted if name_of(found.get(name, "")) != name]
        if gone:
            self._lose({of for of, _ in gone}, pointer["conn_id"], f"{len(gone)} of {len(wanted)} parts", words)
        parts = [Part.read(of, name, found[name]) for of, name in wanted if (of, name) not in gone]
        if pointer["conn_id"] == self._conn_id and parts:
            self._parts, self._works = parts, True
        sets = {of: items.union(*(p.items for p in parts if p.of == of)) for of, items in sets_of(state).items()}
        return replace(
            state,
            settled=sets["settled"],
            in_doubt=sets["in_doubt"],
            owed=tuple(decode(json.loads(key)) for key in sorted(sets["owed"])),
        )

    def _lose(self, lost: set[str], conn_id: str, what: str, words: str) -> None:
        where = f"table {TABLE} of connection {conn_id!r}"
        if self._forget or (not self._adds and lost == {"settled"}):
            log.warning(
                "%s of this sync's state are gone from %s%s: rows that have arrived are sent again.", what, where, words
            )
            return
        raise StateError(
            f"{what} of this sync's state are gone from {where}{words}, so it is not known which rows have arrived or "
            f"are owed. Bring the table back; or run the sync once with full_refresh=True, which sends every row, or "
            f"let a CensusStateOperator rebase its watermark, which sends the rows from there on"
        )

    # --- writing ---------------------------------------------------------------------------------------------------

    def pack(self, state: State) -> dict[str, Any]:
        """
        Return what is to be kept of ``state``; the rest is in the table when this returns.

        :raises Unavailable: the table that is there cannot be reached.
        """
        self._full = None
        sets: Sets = sets_of(state)
        bare = replace(state, settled=frozenset(), in_doubt=frozenset(), owed=())
        room = MOST_BYTES - len(json.dumps(bare.to_json()))
        parts: list[Part] = []
        if size_of(sets) > room and not self._refused:
            try:
                parts, sets = self._divided(sets, room - _ADDRESS_BYTES)
            except CensusError as error:
                if self._works and isinstance(error, Unavailable):
                    raise
                self._refuse(error)
        if size_of(sets) > room:
            sets = self._left(sets, room)
        self._parts = parts
        # Nobody knows of a value whose writing fails whether it was written.
        self._last |= {part.name for part in parts}
        value = bare.to_json()
        value["settled"] = pack_digests(sets["settled"])
        value["in_doubt"]["rows"] = pack_digests(sets["in_doubt"])
        value["owed"] = [json.loads(key) for key in sorted(sets["owed"])]
        if parts:
            names = {of: [part.name for part in parts if part.of == of] for of in sets}
            counts = {of: sum(len(part.items) for part in parts if part.of == of) for of in sets}
            value["spilled"] = {
                "conn_id": self._conn_id,
                "table": TABLE,
                "owner": self._owner,
                "rows": {of: count for of, count in counts.items() if count},
                "parts": {of: some for of, some in names.items() if some},
            }
        return value

    def kept(self) -> None:
        """
        Take note that the last value is where it belongs.

        :raises StateFull: it is larger than it should be, and nothing that makes it grow may be sent.
        """
        self._last = {part.name for part in self._parts}
        if self._full is not None:
            raise self._full

    def _divided(self, sets: Sets, room: int) -> tuple[list[Part], Sets]:
        """Return parts that are in the table, and what fits beside them."""
        parts = [part for part in self._parts if part.items <= sets[part.of]]
        rest = {of: items.difference(*(p.items for p in parts if p.of == of)) for of, items in sets.items()}
        new: dict[str, str] = {}
        # What is in doubt changes most.
        for of in ("settled", "owed", "in_doubt"):
            for part in cut(of, rest[of]):
                if size_of(rest) <= room - _NAME_BYTES * len(parts):
                    break
                parts.append(part)
                new[part.name] = part.text
                rest[of] -= part.items
        if new:
            self._write(new)
        return parts, rest

    def _write(self, new: Mapping[str, str]) -> None:
        if self._table is None:
            table = SpillTable(self._connect(self._conn_id), self._owner or uuid.uuid4().hex, self._sync_id)
            with suppress(CensusError):  # it is gone, and made anew
                self._there = table.names() if self._owner else set()
            self._owner, self._table = table.owner, table
        drop = self._there - self._remembered - self._last - new.keys()
        self._table.write({name: text for name, text in new.items() if name not in self._there}, drop)
        self._there = (self._there - drop) | new.keys()
        self._works = True

    def _refuse(self, error: CensusError) -> None:
        self._refused = True
        self._words = (
            f"The state of this sync is too large for one value, and connection {self._conn_id!r} does not keep the "
            f"rest ({error}). Let it make and write the table {TABLE}, or name a database that can be written: "
            f"Watermark(state=<connection id>)"
        )

    def _left(self, sets: Sets, room: int) -> Sets:
        """
        Return what is kept where no table can be written.

        What is owed and what is in doubt is limited by itself, and stays. The number of settled rows is not.
        """
        settled = len(sets["settled"])
        if self._adds:
            if len(pack_digests(sets["settled"])) > room and (sets["in_doubt"] or settled > self._restored):
                self._full = StateFull(
                    f"{settled:,} rows of one cursor value (and the lag) have arrived. {self._words}. The run stops "
                    f"here: what arrived is remembered, more could not be"
                )
            effect = "It is kept in one all the same."
        else:
            sets = {**sets, "settled": frozenset()}
            effect = f"{settled:,} rows that have arrived are not remembered: the next run sends them again."
        if not self._warned:
            self._warned = True
            log.warning("%s. %s", self._words, effect)
        return sets
