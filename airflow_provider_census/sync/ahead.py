"""
Reading ahead: while rows are mapped and sent, the source fetches the next ones.

Else a run would take as long as reading and sending together, not as long as the slower of them.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import TypeVar

from airflow_provider_census.errors import Interrupted

T = TypeVar("T")

# Airflow kills a task five seconds after it has asked it to stop; what is known by then has to be saved.
_LOOK_S = 0.5
_LEAVE_S = 1.0


def ahead(items: Generator[T, None, None], stopped: threading.Event) -> Generator[T, None, None]:
    """
    Yield ``items``, of which the next one is made meanwhile.

    They begin and end in a thread of their own: some drivers bind a connection to the thread that opened it. Who leaves
    while the source is busy does not wait for it; it is closed when it is done.

    :param stopped: set when the task is to stop.
    :raises Interrupted: it is, and the source has nothing to give.
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
            item, error = _wait(made, stopped)
            if error is not None:
                raise error
            if item is None:
                return
            wanted.put(True)
            yield item
    finally:
        wanted.put(False)
        reader.join(_LEAVE_S)


def _wait(made: SimpleQueue[T], stopped: threading.Event) -> T:
    while True:
        try:
            return made.get(timeout=_LOOK_S)
        except Empty:
            if stopped.is_set():
                raise Interrupted("the task was asked to stop") from None
