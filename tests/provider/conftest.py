"""A warehouse in a file, and DAGs of one sync from it into a stand-in."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync import Constant, Template, Watermark

HAS_TASK_STATE_STORE = find_spec("airflow.models.task_state_store") is not None
NEEDS_TASK_STATE_STORE = pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="needs Airflow 3.3")


class Warehouse:
    """Users in SQLite; ``moved`` is their cursor and grows with every change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path)
        self._db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, plan TEXT, moved INTEGER)")

    def put(self, *ids: int, email: str = "user-{}@example.com", plan: str | None = "free") -> None:
        """Insert users, or change those that are there."""
        (moved,) = self._db.execute("SELECT coalesce(max(moved), 0) FROM users").fetchone()
        rows = [(id, email.format(id), plan, moved + n) for n, id in enumerate(ids, 1)]
        self._db.executemany("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", rows)
        self._db.commit()

    def remove(self, *ids: int) -> None:
        """Remove users."""
        self._db.executemany("DELETE FROM users WHERE id = ?", [(id,) for id in ids])
        self._db.commit()

    def level(self) -> None:
        """Let all users have changed at one and the same time."""
        self._db.execute("UPDATE users SET moved = 1")
        self._db.commit()

    def close(self) -> None:
        """Close the file."""
        self._db.close()


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """The source behind the connection ``warehouse``, empty."""
    with closing(Warehouse(tmp_path / "warehouse.db")) as warehouse:
        connection = {"conn_type": "sqlite", "host": str(warehouse.path)}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
        yield warehouse


@pytest.fixture
def braze(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    """The stand-in behind the connection ``braze``: a sync that can be repeated."""
    census_connect("braze", "braze")
    return census_sandbox["braze"]


@pytest.fixture
def slack(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    """The stand-in behind the connection ``slack``: what is sent twice stands there twice."""
    census_connect("slack", "slack")
    census_sandbox["slack"].posts_per_s = None
    return census_sandbox["slack"]


@pytest.fixture
def make_dag(request: pytest.FixtureRequest) -> Callable[..., DAG]:
    """A function that returns a DAG without tasks, named after the test."""
    dag_id = re.sub(r"\W+", "_", request.node.name)

    def make(**options: Any) -> DAG:
        return DAG(dag_id, schedule=None, start_date=dt.datetime(2025, 1, 1, tzinfo=dt.UTC), **options)

    return make


USERS: dict[str, Any] = {
    "task_id": "users",
    "source_conn_id": "warehouse",
    "sql": "SELECT * FROM users",
    "destination_conn_id": "braze",
    "destination_object": "user",
    "sync_key": {"external_id": "id"},
    "mapping": {"email": "email", "plan": "plan"},
    "delta": Watermark("moved"),
}
MESSAGES: dict[str, Any] = {
    **USERS,
    "task_id": "messages",
    "destination_conn_id": "slack",
    "destination_object": "#general",
    "behavior": "append",
    "sync_key": {"row_id": "id"},
    "mapping": {"text": Template("{{ id }} is on {{ plan }}")},
}


EVENTS: dict[str, Any] = {
    **USERS,
    "task_id": "events",
    "destination_object": "event",
    "behavior": "send",
    "sync_key": {"event_id": "id"},
    "mapping": {"external_id": "id", "name": Constant("changed"), "time": Constant("2026-01-01T00:00:00Z")},
}


@pytest.fixture
def users(make_dag: Callable[..., DAG]) -> Callable[..., DAG]:
    """A function that returns a DAG that syncs the users into Braze; arguments of the operator may follow."""

    def make(**settings: Any) -> DAG:
        with make_dag() as dag:
            CensusSyncOperator(**{**USERS, **settings})
        return dag

    return make


@pytest.fixture
def events(make_dag: Callable[..., DAG]) -> Callable[..., DAG]:
    """A function that returns a DAG that sends the users as events to Braze, which doubles what is sent twice."""

    def make(**settings: Any) -> DAG:
        with make_dag() as dag:
            CensusSyncOperator(**{**EVENTS, **settings})
        return dag

    return make


@pytest.fixture
def messages(make_dag: Callable[..., DAG]) -> Callable[..., DAG]:
    """A function that returns a DAG that posts the users to Slack; arguments of the operator may follow."""

    def make(**settings: Any) -> DAG:
        with make_dag() as dag:
            CensusSyncOperator(**{**MESSAGES, **settings})
        return dag

    return make


def sent(sandbox: Sandbox) -> list[str]:
    """Return the ids of the users sent to Braze since the last look, in order."""
    calls = sandbox.calls("braze", "POST", "/users/track")
    sandbox.ledger.clear()
    return [str(user["external_id"]) for call in calls for user in call.json.get("attributes", [])]


def outcomes(result: dict[str, Any]) -> dict[str, int]:
    """Return the counts of a result that are not zero."""
    return {name: count for name, count in result["counts"].items() if count}


def lines(texts: Iterable[str]) -> list[int]:
    """Return the ids in Slack messages, in order."""
    return [int(text.split()[0]) for text in texts]


@pytest.fixture
def unused_port() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
