"""Rows on their way through a file, where the cursor they come from must not stay open."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def spooled(batches: Iterable[Sequence[tuple[Any, ...]]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield ``batches``, first read to the end: what they come from may change meanwhile."""
    with tempfile.TemporaryFile() as spool:
        count = 0
        for batch in batches:
            pickle.dump(batch, spool)
            count += 1
        spool.seek(0)
        for _ in range(count):
            yield pickle.load(spool)
