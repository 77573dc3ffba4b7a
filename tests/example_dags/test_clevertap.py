"""The example for CleverTap, on a real Airflow and the example warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.sdk import DAG

from airflow_provider_census.sandbox.core import Sandbox
from example_dags import warehouse
from example_dags.example_customers_and_usage_to_clevertap import profiles
from tests.deployment import Deployment


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=120, events=300)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    return path


@pytest.fixture
def dag() -> DAG:
    assert profiles.dag is not None
    return profiles.dag


def test_customers_become_profiles_and_their_usage_events(
    deployment: Deployment,
    dag: DAG,
    database: Path,
    census_sandbox: Sandbox,
    census_connect: Callable[..., None],
) -> None:
    census_connect("clevertap_prod", "clevertap")
    account: Any = census_sandbox["clevertap"]

    first = deployment.run(dag)
    assert first.states == {"profiles": "success", "events": "success"}
    assert len(account.profiles) == 120
    assert len(account.events) == 300
    assert account.profile(identity="7")["profileData"]["Signed up"].startswith("$D_")
    assert len(census_sandbox.calls("clevertap")) == 2

    with duckdb.connect(database) as con:
        warehouse.poison(con)
    second = deployment.run(dag)
    assert second.xcoms["profiles"]["return_value"]["counts"]["rejected"] == 1
    assert "Email is not valid" in second.xcoms["profiles"]["return_value"]["rejected_sample"][0]["reason"]
    assert len(account.events) == 300

    with duckdb.connect(database) as con:
        warehouse.heal(con)
    third = deployment.run(dag)
    assert third.xcoms["profiles"]["return_value"]["counts"]["rejected"] == 0
    assert third.xcoms["profiles"]["return_value"]["counts"]["upserted"] == 1
