"""One sync in this process, without Airflow; prints what it took as JSON."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

from airflow_provider_census.sync import Snapshot, Watermark
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delta import Delta
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.rate import Limiter
from bench.sources import DuckDb, Postgres
from bench.syncs import LIMITED, WORKS
from bench.work import model


def main() -> None:
    """Run the sync the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destination", choices=LIMITED, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--postgres", help="the rows are made there")
    parser.add_argument("--shard", type=Shard.parse, help="send only this part of the rows, like 0/2")
    parser.add_argument("--duckdb", help="the rows are those of the table users there, compared with a snapshot")
    parser.add_argument("--baseline", choices=("send", "skip"), default="send")
    parser.add_argument("--limit", type=float, help="share of the published limit; without, there is none")
    parser.add_argument("--sandbox", action="store_true", help="do what a sandbox takes")
    arguments = parser.parse_args()
    work = (LIMITED if arguments.sandbox else WORKS)[arguments.destination]
    destination, credentials = work.bind(arguments.destination, arguments.url)
    cls = type(destination)
    client = Client(
        cls.endpoint(credentials),
        Limiter(destination.limits() if arguments.limit else (), share=arguments.limit or 1.0),
        judge=cls.judge,
        throttle=cls.throttle,
        timeout_s=cls.timeout_s,
    )
    source: DuckDb | Postgres
    delta: Delta
    if arguments.duckdb:
        source, delta = DuckDb(arguments.duckdb), Snapshot(baseline=arguments.baseline)
        sql = "SELECT * FROM users"
    else:
        source, delta = Postgres(arguments.postgres), Watermark("updated_at")
        sql = model(arguments.rows)
    sync = Sync(
        model=Model(sql),
        destination=destination,
        key_column=work.key,
        mapping=work.mapping,
        delta=delta,
        shard=arguments.shard,
    )
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
                "retries": result.retries,
                "refused_429": client.traffic.refused_429,
                "seconds": seconds,
                "peak_mb": _peak_mb(),
                "fetched": getattr(source, "fetched", None),
            }
        )
    )


def _peak_mb() -> float:
    """Return the most memory this process had: getrusage also counts that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
