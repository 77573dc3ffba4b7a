"""The example for Segment, on a real Airflow and the example warehouse."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.sdk import DAG

from airflow_provider_census.sandbox.core import Fault, Sandbox
from example_dags import warehouse
from example_dags.example_users_and_events_to_segment import users
from tests.deployment import Deployment, Run

Connect = Callable[..., None]
CUSTOMERS, EVENTS = 120, 600


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=CUSTOMERS, events=EVENTS)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    return path


@pytest.fixture
def dag() -> DAG:
    assert users.dag is not None
    return users.dag


def outcomes(run: Run, task: str) -> dict[str, int]:
    return {name: n for name, n in run.xcoms[task]["return_value"]["counts"].items() if n}


def test_every_column_becomes_a_trait_and_every_event_arrives_once(
    deployment: Deployment, dag: DAG, database: Path, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("segment_prod", "segment")
    segment: Any = census_sandbox["segment"]
    census_sandbox.inject(Fault(api="segment", path="/v1/batch", contains='"type":"track"', reset="after"))

    first = deployment.run(dag)
    assert first.states == {"users": "success", "events": "success"}
    assert outcomes(first, "users") == {"read": CUSTOMERS, "upserted": CUSTOMERS}
    assert outcomes(first, "events") == {"read": EVENTS, "sent": EVENTS}
    assert (len(segment.users), len(segment.events), segment.discarded) == (CUSTOMERS, EVENTS, [])
    assert segment.duplicates == 100  # the batch whose answer was lost

    seventh = next(user for user in segment.users if user["user_id"] == "7")
    traits = {"email", "firstName", "lastName", "plan", "seats", "mrr", "country", "signedUpAt"}
    assert seventh["traits"].keys() == traits
    assert seventh["traits"]["firstName"] == "<!channel>"
    assert isinstance(seventh["traits"]["mrr"], int | float)
    assert dt.datetime.fromisoformat(segment.events[0]["timestamp"]).tzinfo is not None

    with duckdb.connect(database) as con:
        changed = warehouse.change(con, n=5)
        warehouse.use(con, 3)
    second = deployment.run(dag)
    assert outcomes(second, "users")["upserted"] == 5
    assert outcomes(second, "events")["sent"] == 3
    plans = {user["user_id"]: user["traits"]["plan"] for user in segment.users}
    assert {plans[str(id)] for id in changed} == {"business"}
    deployment.forget_xcoms(dag)


def test_a_wrong_write_key_fails_the_task_and_sends_nothing(
    deployment: Deployment, dag: DAG, database: Path, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("segment_prod", "segment", password="another-key")

    run = deployment.run(dag)

    assert run.states == {"users": "failed", "events": "upstream_failed"}
    assert run.tries["users"] == 1
    assert "no source of workspace 'Acme' has this write key" in str(run.errors["users"][-1])
    assert census_sandbox.calls("segment", "POST") == []
