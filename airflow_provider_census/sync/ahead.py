"""
Reading ahead: while rows are mapped and sent, the source fetches the next ones.

Else a run would take as long as reading and sending together, not as long as the slower of them.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_LEAVE_S = 1.0


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """
    Yield ``items``, of which the next one is made meanwhile.

    They begin and end in a thread of their own: some drivers bind a connection to the thread that opened it. Who leaves
    while the source is busy (the task is to stop) does not wait for it; it is closed when it is done.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def make() -> None:
        with closing(items):
            while wanted.get():
                try:
                    made.put((next(items, None), None))
                except BaseException as error:  # it is raised where the items are wanted
                    made.put((None, error))

    reader = threading.Thread(target=make, name="census-read", daemon=True)
    reader.start()
    wanted.put(True)
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            wanted.put(True)
            yield item
    finally:
        wanted.put(False)
        reader.join(_LEAVE_S)
