"""The sets of a state in parts that never change, each named by a hash of what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.sync.state import State, encode, pack_digests, unpack_digests
from airflow_provider_census.sync.statement import batched

_MOST_DIGESTS = 4_000  # in a part: 43 KB
_MOST_KEY_BYTES = 40_000

Sets = Mapping[str, frozenset[Any]]
"""``settled`` and ``in_doubt``: digests · ``owed``: keys as JSON."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some elements of one of the sets."""

    of: str
    name: str
    items: frozenset[Any]

    @classmethod
    def holding(cls, of: str, items: Iterable[Any]) -> Part:
        """Return a new part of the set ``of``."""
        items = frozenset(items)
        return cls(of, name_of(_text(of, items)), items)

    @classmethod
    def read(cls, of: str, name: str, text: str) -> Part:
        """Return the part that is kept as ``text``."""
        items = map(json.dumps, json.loads(text)) if of == "owed" else unpack_digests(text)
        return cls(of, name, frozenset(items))

    @property
    def text(self) -> str:
        """As it is kept."""
        return _text(self.of, self.items)


def sets_of(state: State) -> dict[str, frozenset[Any]]:
    """Return the sets of a state by name."""
    keys = frozenset(json.dumps(encode(key)) for key in state.owed)
    return {"settled": state.settled, "in_doubt": state.in_doubt, "owed": keys}


def size_of(sets: Sets) -> int:
    """Return how many bytes the sets take in JSON."""
    keys = sum(len(key) + 2 for key in sets["owed"])
    return keys + sum(len(sets[of]) * 32 // 3 + 4 for of in ("settled", "in_doubt"))


def cut(of: str, items: frozenset[Any]) -> Iterator[Part]:
    """Yield ``items`` in parts."""
    if of != "owed":
        yield from (Part.holding(of, some) for some in batched(sorted(items), _MOST_DIGESTS))
        return
    some: list[str] = []
    for key in sorted(items):
        if some and sum(map(len, some)) + len(key) > _MOST_KEY_BYTES:
            yield Part.holding(of, some)
            some = []
        some.append(key)
    if some:
        yield Part.holding(of, some)


def named(pointer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts a value names: of which set, and their names."""
    for of, names in pointer["parts"].items():
        yield from ((of, name) for name in names)


def _text(of: str, items: frozenset[Any]) -> str:
    return f"[{', '.join(sorted(items))}]" if of == "owed" else pack_digests(items)


def name_of(text: str) -> str:
    """Return the name of the part with this text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
