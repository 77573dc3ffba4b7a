"""
What stands for a row in doubt: 8 bytes, six for its record and two for the version of it that was being sent.

The version is left open where it does not matter, as what creates, adds or deletes does so once for each record; and
where it cannot be told any more, as the mapping has changed. To write a record and to delete it are two things.
"""

from __future__ import annotations

import hashlib
import json

from airflow_provider_census.sync.values import Behavior, Record

_RECORD_BYTES = 6
_ANY = bytes(2)
_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


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
