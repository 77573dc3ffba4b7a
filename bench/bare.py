"""
The comparison of a snapshot as bare SQL in DuckDB: what a person would write, and the least a sync can take.

Without arguments that say otherwise, compares and fetches what differs; prints the seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import duckdb

from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.snapshot import Digest, SnapshotSql
from airflow_provider_census.sync.snapshot_table import table_name
from bench.syncs import WORKS
from bench.work import model


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("duckdb")
    parser.add_argument("--fill", type=int, help="make the table users of so many rows")
    parser.add_argument("--change", action="store_true", help="change a thousandth of them")
    arguments = parser.parse_args()
    with duckdb.connect(arguments.duckdb) as connection:
        if arguments.fill:
            connection.execute(f"CREATE TABLE users AS {model(arguments.fill, 'duckdb')}")
        elif arguments.change:
            connection.execute("UPDATE users SET mrr = mrr + 1 WHERE id % 1000 = 0")
        else:
            _compare(connection)


def _compare(connection: duckdb.DuckDBPyConnection) -> None:
    sql = _sql(connection)
    started = time.perf_counter()
    cursor = connection.execute(sql)
    fetched = 0
    while batch := cursor.fetchmany(1000):
        fetched += len(batch)
    print(json.dumps({"seconds": time.perf_counter() - started, "fetched": fetched}))


def _sql(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a LEFT JOIN with the snapshot of the worker's sync, on the same digest."""
    work = WORKS["braze"]
    destination, credentials = work.bind("braze", "http://127.0.0.1")
    columns = [str(column[0]) for column in connection.execute("SELECT * FROM users LIMIT 0").description or ()]
    mapper = Mapper(work.mapping, work.key, columns, destination)
    target = destination.target(destination.endpoint(credentials), mapper.constants)
    compared = Digest.of(mapper.reads, mapper.fingerprints)
    snapshot = SnapshotSql(
        Model("SELECT * FROM users"),
        key=work.key,
        columns=compared.columns,
        salt=compared.salt,
        lower=False,
        table=table_name(destination.sync_id, target),
        dialect="duckdb",
    )
    digested = snapshot.digests().sql.removeprefix("SELECT ")
    return (
        f"SELECT m.* FROM (SELECT census_model.*, {digested}) m LEFT JOIN {snapshot.name} p "
        "ON p.sync_key = m.census_key WHERE p.sync_key IS NULL OR p.digest <> m.census_digest"
    )


if __name__ == "__main__":
    main()
