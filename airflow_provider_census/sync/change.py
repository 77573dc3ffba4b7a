"""One row on its way through a run."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_census.sync.values import Record, RowResult


class Moment(msgspec.Struct, eq=False, gc=False):
    """
    A cursor value, and what arrived of its rows.

    :param arrived: their digests; of a single row its record: most are forgotten before the digest is asked for.
    """

    cursor: Any
    arrived: set[bytes] | Record | None = None


class Change(msgspec.Struct, eq=False, gc=False):
    """
    One row to look at.

    :param key: raw value of the sync key.
    :param mapped: what the mapping makes of it; None where the row is gone.
    :param cursor: its cursor value; None where there is none.
    :param owed: it was read by its key, because it did not arrive before.
    :param record: what it is for the destination; set when that is known.
    :param once: sent a second time it would stand there twice.
    :param in_doubt_since: Unix time from which on an earlier run may have sent it; None if none has, 0 if it was sent
        in a way in which it cannot be found.
    :param snapshot: key and digest as the database writes them, where it was compared with a snapshot.
    :param sent: what the snapshot says of it: 1 if this sync sent it, None if it does not have its key.
    :param record_id: identifier it is known by at the destination; set when its record is known.
    :param adopt: it is to be compared with what the destination holds, and left alone if it is the same.
    :param removed: it is gone from the model: its record is to be deleted.
    :param held: it may have arrived, and is never to be sent again; set when it has settled.
    :param moment: where it was opened, if it was.
    """

    key: Any
    mapped: Record | RowResult | None = None
    cursor: Any = None
    owed: bool = False
    record: Record | None = None
    once: bool = False
    in_doubt_since: int | None = None
    snapshot: tuple[str, str] | None = None
    sent: int | None = None
    record_id: str | None = None
    adopt: bool = False
    removed: bool = False
    held: bool = False
    moment: Moment | None = None
    closed: bool = False
