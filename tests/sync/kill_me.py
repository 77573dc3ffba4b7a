"""
A worker that is killed: for every line it reads it forks a child that runs a sync once.

If the line says "kill", the next one says when. Importing is done once, so that the child is at work when it is killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delta import Snapshot, Watermark
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.state import State
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.rate import Limiter
from tests.sync.support import Lite, Tiny, TinyApi


class Hasty(Tiny):
    """Many requests for few rows."""

    batch = 3


class FileStore:
    """A state in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write("CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, value TEXT)")

    def load(self) -> State | None:
        with closing(sqlite3.connect(self._path)) as connection:
            row = connection.execute("SELECT value FROM state").fetchone()
        return State.from_json(json.loads(row[0])) if row else None

    def lost(self) -> bool:
        return False

    def save(self, state: State) -> None:
        self._write("INSERT OR REPLACE INTO state VALUES (1, ?)", json.dumps(state.to_json()))

    def _write(self, sql: str, *values: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute(sql, values)
            connection.commit()


def run(folder: Path, url: str, behavior: Behavior, delta: Any) -> None:
    logging.basicConfig(filename=folder / "log", format="%(message)s", force=True)
    destination = Hasty("post" if behavior.adds else "record", behavior, sync_id="test")
    sync = Sync(
        model=Model("SELECT * FROM users"),
        destination=destination,
        key_column="id",
        mapping={"name": "name"},
        delta=delta,
        max_rejected=None,
    )
    endpoint = Hasty.endpoint(Credentials(password=TinyApi.key, host=url))
    client = Client(endpoint, Limiter(Hasty.rates), backoff_s=0.01)
    _, failure = run_sync(sync, Lite(folder / "source.sqlite"), client, FileStore(folder / "state.sqlite"))
    if failure is not None:
        raise failure


def main(folder: str, url: str, behavior: str, delta: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(Path(folder), url, Behavior(behavior), Snapshot() if delta == "snapshot" else Watermark("t"))
            os._exit(0)
        if line == "kill\n":
            sys.stdin.readline()
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), f"the run failed: {status}"
        print("killed" if status else "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
