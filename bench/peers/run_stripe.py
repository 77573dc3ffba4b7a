"""Customers by Stripe's own library, one after the other."""

from __future__ import annotations

import argparse

from stripe import StripeClient

from bench.peers.given import rows, timed


def send(given: argparse.Namespace) -> None:
    """Update every row."""
    client = StripeClient("sk_test_bench", base_addresses={"api": given.url})
    for row in rows(given):
        metadata = {"plan": str(row["plan"]), "mrr": str(row["mrr"])}
        client.v1.customers.update(str(row["id"]), {"email": row["email"], "name": row["name"], "metadata": metadata})


if __name__ == "__main__":
    timed(send)
