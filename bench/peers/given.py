"""What all peers are given, read in their environments: arguments, and the rows of the model."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from bench.work import model


def arguments() -> argparse.Namespace:
    """Return what :meth:`bench.peers.Peer.send` gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    return parser.parse_args()


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of the model from a cursor at the server."""
    import psycopg2
    from psycopg2.extras import RealDictCursor

    with (
        closing(psycopg2.connect(given.postgres)) as connection,
        connection.cursor("bench", cursor_factory=RealDictCursor) as cursor,
    ):
        cursor.itersize = 1000
        cursor.execute(model(given.rows))
        yield from map(dict, cursor)


def timed(send: Callable[[argparse.Namespace], None]) -> None:
    """Run ``send`` and print the seconds it took."""
    given = arguments()
    started = time.perf_counter()
    send(given)
    print(json.dumps({"seconds": time.perf_counter() - started}))
