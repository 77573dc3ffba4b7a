"""
What stands for a row in 8 bytes: for one that arrived, its digest; for one in doubt, its mark.

A mark has six bytes for the record and two for the version of it that was being sent. The version is left open where it
does not matter, as what creates, adds or deletes does so once for each record; and where it cannot be told any more, as
the mapping has changed. To write a record and to delete it are two things.
"""

from __future__ import annotations

import hashlib
import json

from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.values import Record

_BYTES = 8
_RECORD_BYTES = 6
_ANY = bytes(_BYTES - _RECORD_BYTES)
_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


def digest(record: Record, *, by_key: bool) -> bytes:
    """
    Return 8 bytes that stand for a record that arrived.

    :param by_key: the key alone decides (append, send); otherwise a changed record is another one.
    """
    content = record.id if by_key else _SORTED.encode([record.id, record.fields])
    return hashlib.blake2b(content.encode(), digest_size=_BYTES).digest()


def mark(record: Record, behavior: Behavior) -> bytes:
    """Return the mark of a record that ``behavior`` is about to be done to."""
    what = b"delete" if behavior is Behavior.DELETE else b"write"
    of_record = hashlib.blake2b(record.id.encode(), digest_size=_RECORD_BYTES, person=what).digest()
    if not behavior.updates:
        return of_record + _ANY
    return of_record + hashlib.blake2b(_SORTED.encode(record.fields).encode(), digest_size=len(_ANY)).digest()


def any_version(mark: bytes) -> bytes:
    """Return the mark of the record in whatever version."""
    return mark[:_RECORD_BYTES] + _ANY
