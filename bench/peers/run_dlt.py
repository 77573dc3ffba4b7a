"""dlt with a custom destination, as its documentation shows one."""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import dlt
import requests

from bench.peers.given import rows, timed

_FIELDS = ("email", "name", "plan", "mrr")


def send(given: argparse.Namespace) -> None:
    """Send every row."""
    session = requests.Session()

    def post(items: list[dict[str, Any]], table: Any) -> None:
        users = [{"external_id": str(item["id"]), **{field: item[field] for field in _FIELDS}} for item in items]
        path, body = ("/events", users[0]) if given.batch == 1 else ("/users/track", {"attributes": users})
        session.post(given.url + path, json=body, timeout=30).raise_for_status()

    to_stub = dlt.destination(
        post, batch_size=given.batch, name="stub", naming_convention="direct", skip_dlt_columns_and_tables=True
    )
    with tempfile.TemporaryDirectory() as home:
        pipeline = dlt.pipeline("bench", destination=to_stub, pipelines_dir=home)
        pipeline.run(dlt.resource(rows(given), name="users")).raise_on_failed_jobs()


if __name__ == "__main__":
    timed(send)
