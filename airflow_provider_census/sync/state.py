"""
What a sync remembers between runs, as a small JSON value.

Invariant: a state says only what the destination accepted. It is written behind the outcomes, never ahead of them, and
of several states of one sync the one with the greatest ``sequence`` is true, whatever the order Airflow lists them in.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_census.errors import StateError

VERSION = 1
_EXACT_INT = 2**53  # JSON numbers beyond it lose digits in some metadata databases
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """
    The memory of one sync.

    :param target: ``destination/object by identifier at place`` it speaks of; state of another target is not used.
    :param sequence: grows with every save.
    :param mapping: fingerprints of what was done with the rows, and of the fields they were sent with.
    :param columns: of the model, that digests of a snapshot were made of; None if the last run followed no snapshot.
    :param snapshot: whether the table of the snapshot has rows: if it has none, they are lost.
    :param snapshot_doubts: how many rows were in doubt, in the table beside it.
    :param column: the cursor column, empty where there is none.
    :param watermark: rows with a lower cursor value are settled.
    :param settled: digests of settled rows at or above the watermark (less the lag): the next run reads them again.
    :param owed: keys of rows that did not arrive, to be read again by key.
    :param owed_null_keys: whether rows without a key are among them.
    :param in_doubt: marks of rows that were being sent when the state was saved, and must not be sent twice: what
        became of them is not known, unless a newer state says so.
    :param in_doubt_since: Unix time before which none of them was sent; 0 if they cannot be found at the destination.
    :param adopting: the run that compares all rows with what the destination holds has not come to its end.
    :param shards: how many the sync was in: the state is that of one of them.
    """

    target: str
    sequence: int = 0
    mapping: frozenset[bytes] = frozenset()
    columns: tuple[str, ...] | None = None
    snapshot: bool = False
    snapshot_doubts: int = 0
    column: str = ""
    watermark: Any = None
    settled: frozenset[bytes] = frozenset()
    owed: tuple[Any, ...] = ()
    owed_null_keys: bool = False
    in_doubt: frozenset[bytes] = frozenset()
    in_doubt_since: int = 0
    adopting: bool = False
    run_id: str = ""
    shards: int = 1

    @property
    def followed(self) -> bool:
        """Whether rows have arrived by a cursor; the first of them may not, and then there is no watermark."""
        return self.watermark is not None or bool(self.settled)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value kept in XCom."""
        return {
            "version": VERSION,
            "sequence": self.sequence,
            "target": self.target,
            "run_id": self.run_id,
            "mapping": pack_digests(self.mapping),
            "snapshot": {
                "kept": self.snapshot,
                "columns": None if self.columns is None else list(self.columns),
                "in_doubt": self.snapshot_doubts,
            },
            "watermark": {"column": self.column, "value": encode(self.watermark)},
            "settled": pack_digests(self.settled),
            "owed": [encode(key) for key in self.owed],
            "owed_null_keys": self.owed_null_keys,
            "in_doubt": {"since": self.in_doubt_since, "rows": pack_digests(self.in_doubt)},
            "adopting": self.adopting,
            "shards": self.shards,
        }

    @classmethod
    def from_json(cls, value: Any) -> State:
        """
        Return the state in ``value``.

        :raises StateError: it is not a state, or one of a newer version of this package.
        """
        try:
            version = value["version"]
            if version != VERSION:
                raise StateError(f"state version {version} is not known here (known: {VERSION}); upgrade the package")
            if "spilled" in value:
                raise StateError(f"this is a part of a state: the rest is in a table, {value['spilled']['table']}")
            return cls(
                target=value["target"],
                sequence=int(value["sequence"]),
                mapping=unpack_digests(value["mapping"]),
                snapshot=bool(value["snapshot"]["kept"]),
                snapshot_doubts=int(value["snapshot"]["in_doubt"]),
                columns=None if value["snapshot"]["columns"] is None else tuple(value["snapshot"]["columns"]),
                column=value["watermark"]["column"],
                watermark=decode(value["watermark"]["value"]),
                settled=unpack_digests(value["settled"]),
                owed=tuple(decode(key) for key in value["owed"]),
                owed_null_keys=bool(value["owed_null_keys"]),
                in_doubt=unpack_digests(value["in_doubt"]["rows"]),
                in_doubt_since=int(value["in_doubt"]["since"]),
                adopting=bool(value["adopting"]),
                run_id=value["run_id"],
                shards=int(value["shards"]),
            )
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the stored state is not readable ({type(error).__name__}); delete it to start over"
            ) from None


class StateStore(Protocol):
    """Where the state of one sync lives."""

    def load(self) -> State | None:
        """
        Return the newest state, None before the first run.

        :raises StateError: there is one, but it cannot be read; or another run of the sync is under way.
        """

    def lost(self) -> bool:
        """Return whether runs were there although :meth:`load` found no state."""

    def save(self, state: State) -> None:
        """
        Keep ``state`` so that it survives the end of this process.

        :raises StateFull: it is kept, and must not grow.
        """


class MemoryStore:
    """A state that lives as long as the process: for tests, and for hooks used outside of a sync."""

    def __init__(self, state: State | None = None) -> None:
        self.value = state.to_json() if state else None

    def load(self) -> State | None:
        """Return the last saved state."""
        return State.from_json(self.value) if self.value else None

    def lost(self) -> bool:
        """Memory that is gone leaves no trace."""
        return False

    def save(self, state: State) -> None:
        """Keep ``state``."""
        self.value = state.to_json()


def newest_first(values: Iterable[Any]) -> list[Any]:
    """
    Return JSON values of one sync by their sequence, without empty ones.

    :raises StateError: one has none.
    """
    try:
        return sorted(filter(None, values), key=lambda value: int(value["sequence"]), reverse=True)
    except (KeyError, TypeError, ValueError):
        raise StateError("a stored state is not readable (no sequence); delete it to start over") from None


def pack_digests(digests: frozenset[bytes]) -> str:
    """Return digests as text."""
    return base64.b64encode(b"".join(sorted(digests))).decode()


def unpack_digests(text: str) -> frozenset[bytes]:
    """Return what :func:`pack_digests` was given; ValueError if it is something else."""
    packed = base64.b64decode(text, validate=True)
    return frozenset(packed[i : i + _DIGEST_BYTES] for i in range(0, len(packed), _DIGEST_BYTES))


_ENCODERS: tuple[tuple[type, str, Any], ...] = (
    (dt.datetime, "datetime", lambda v: v.isoformat()),
    (dt.date, "date", lambda v: v.isoformat()),
    (decimal.Decimal, "decimal", str),
    (uuid.UUID, "uuid", str),
    (bytes, "bytes", bytes.hex),
)
_DECODERS: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "text": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "bytes": bytes.fromhex,
}


def encode(value: Any) -> Any:
    """
    Return a database value as JSON that keeps its type: text, numbers and None as they are, others tagged.

    :raises StateError: the type cannot be kept.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT_INT:
        return {"int": str(value)}
    if isinstance(value, str):
        return value if _storable(value) else {"text": value.encode("utf-8", "surrogatepass").hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (int, float)):
        return value
    for kind, tag, write in _ENCODERS:
        if isinstance(value, kind):
            return {tag: write(value)}
    raise StateError(f"a {type(value).__name__} cannot be a sync key or a cursor; cast it in the model")


def _storable(text: str) -> bool:
    """Return whether every metadata database takes the text in JSON: no NUL, no lone surrogate."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def decode(value: Any) -> Any:
    """Return what :func:`encode` was given."""
    if isinstance(value, Mapping):
        ((tag, text),) = value.items()
        return _DECODERS[tag](text)
    return value


def readable(value: Any) -> Any:
    """Return a watermark or key for people: ISO text for dates, the value itself otherwise."""
    encoded = encode(value)
    return next(iter(encoded.values())) if isinstance(encoded, Mapping) else encoded
