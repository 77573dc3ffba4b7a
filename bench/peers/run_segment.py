"""Users by Segment's own library, in batches of its own making: one identify per row into its queue."""

from __future__ import annotations

import argparse

from segment.analytics import Client

from bench.peers.given import rows, timed


def send(given: argparse.Namespace) -> None:
    """Send every row."""
    # Its queue holds 10,000 by default, and what is more is dropped.
    client = Client("bench", host=given.url, max_queue_size=given.rows + 1)
    for row in rows(given):
        traits = {"email": row["email"], "name": row["name"], "plan": row["plan"], "mrr": row["mrr"]}
        client.identify(str(row["id"]), traits)
    client.shutdown()


if __name__ == "__main__":
    timed(send)
