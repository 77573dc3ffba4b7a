"""
A snapshot as bare SQL in DuckDB: what a person would write, and the least a sync can take.

It finds what is new or differs by a digest, and keys that are there more than once (which of their rows is sent would
be chance), fetches that, and takes the new digests into the snapshot: else the next comparison finds the same again.
Prints the seconds as JSON.
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

_WORK = WORKS["braze"]
_KEY = _WORK.key


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("duckdb")
    parser.add_argument("--fill", type=int, help="make the table users of so many rows")
    parser.add_argument("--change", action="store_true", help="change a thousandth of them")
    parser.add_argument("--join", action="store_true", help="only find what differs, look for no copies, store nothing")
    arguments = parser.parse_args()
    with duckdb.connect(arguments.duckdb) as connection:
        if arguments.fill:
            connection.execute(f"CREATE TABLE users AS {model(arguments.fill, 'duckdb')}")
        elif arguments.change:
            connection.execute("UPDATE users SET mrr = mrr + 1 WHERE id % 1000 = 0")
        else:
            _compare(connection, join=arguments.join)


def _compare(connection: duckdb.DuckDBPyConnection, *, join: bool) -> None:
    sql = _snapshot(connection)
    digested = sql.digests().sql.removeprefix("SELECT ")
    differs = (
        f"SELECT m.* FROM (SELECT census_model.*, {digested}) m LEFT JOIN {sql.name} p ON p.sync_key = m.census_key "
        "WHERE p.sync_key IS NULL OR p.digest <> m.census_digest"
    )
    copied = f"m.{_KEY} IN (SELECT {_KEY} FROM users GROUP BY {_KEY} HAVING COUNT(*) > 1)"
    started = time.perf_counter()
    if join:
        fetched = _fetch(connection.execute(differs))
    else:
        connection.execute(f"CREATE TEMP TABLE changed AS {differs} OR {copied}")
        fetched = _fetch(connection.execute("SELECT * FROM changed"))
        connection.begin()
        connection.execute(f"DELETE FROM {sql.name} WHERE sync_key IN (SELECT census_key FROM changed)")
        connection.execute(f"INSERT INTO {sql.name} SELECT census_key, census_key, census_digest, 1 FROM changed")
        connection.commit()
    print(json.dumps({"seconds": time.perf_counter() - started, "fetched": fetched}))


def _fetch(found: duckdb.DuckDBPyConnection) -> int:
    """Return how many rows there are to fetch."""
    fetched = 0
    while batch := found.fetchmany(1000):
        fetched += len(batch)
    return fetched


def _snapshot(connection: duckdb.DuckDBPyConnection) -> SnapshotSql:
    """Return the snapshot of the worker's sync, for its name and its digest."""
    destination, credentials = _WORK.bind("braze", "http://127.0.0.1")
    columns = [str(column[0]) for column in connection.execute("SELECT * FROM users LIMIT 0").description or ()]
    mapper = Mapper(_WORK.mapping, _KEY, columns, destination)
    target = destination.target(destination.endpoint(credentials), mapper.constants)
    compared = Digest.of(mapper.reads, mapper.fingerprints)
    return SnapshotSql(
        Model("SELECT * FROM users"),
        key=_KEY,
        columns=compared.columns,
        salt=compared.salt,
        lower=False,
        table=table_name(destination.sync_id, target),
        dialect="duckdb",
    )


if __name__ == "__main__":
    main()
