"""One sync in this process; prints what it took as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import time

from airflow_provider_census.destinations import get
from airflow_provider_census.sources.dbapi import DbApiSource
from airflow_provider_census.sync import Watermark
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.run import Sync, run_sync
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.sync.values import Behavior
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.message import Credentials
from airflow_provider_census.transport.rate import Limiter, Rate

_MODEL = """
SELECT n AS id, 'user' || n || '@example.com' AS email, 'Name ' || n AS name, MOD(n, 5) AS plan, MOD(n, 1000) / 10.0 AS mrr,
       TIMESTAMPTZ '2026-01-01 00:00:00+00' + n * INTERVAL '1 second' AS updated_at
FROM generate_series(1, %s) AS n
"""

_SYNCS = {
    "braze": (
        "user",
        Behavior.UPDATE_OR_CREATE,
        "external_id",
        {"email": "email", "first_name": "name", "plan": "plan", "mrr": "mrr"},
    ),
    "intercom": (
        "event",
        Behavior.SEND,
        "event_id",
        {"event_name": "name", "created_at": "updated_at", "email": "email", "metadata.plan": "plan"},
    ),
}


def main() -> None:
    """Run the sync the arguments describe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--destination", choices=_SYNCS, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    cls = get(arguments.destination)
    credentials = Credentials(password="bench", host=arguments.url)
    object_name, behavior, identifier, mapping = _SYNCS[arguments.destination]
    sync = Sync(
        model=Model(_MODEL, (arguments.rows,)),
        destination=cls(object_name, behavior, identifier),
        key_column="id",
        mapping=mapping,
        delta=Watermark("updated_at"),
    )
    # Limits off: what is measured is what would hold the engine back if the destination did not.
    limiter = Limiter([Rate(rate.name, 1e9, 1.0) for rate in cls.rates])
    client = Client(cls.endpoint(credentials), limiter, judge=cls.judge, throttle=cls.throttle)
    source = DbApiSource.of("bench_source")
    started = time.perf_counter()
    result, failure = run_sync(sync, source, client, MemoryStore())
    seconds = time.perf_counter() - started
    if failure is not None:
        raise failure
    print(
        json.dumps(
            {
                "read": result.tally.read,
                "requests": result.requests,
                "seconds": seconds,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
