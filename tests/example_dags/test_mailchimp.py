"""The example for Mailchimp, on a real Airflow and the example warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from airflow_provider_census.sandbox.core import Sandbox
from example_dags import warehouse
from tests.deployment import Deployment, Run

FOLDER = Path(warehouse.__file__).parent

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def con(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sql:
    """A function that runs SQL in the database behind the connection ``warehouse``."""
    path = str(tmp_path / "warehouse.duckdb")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": path}))
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=60, events=1)

    def run(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with duckdb.connect(path) as con:
            return con.execute(sql, parameters).fetchall()

    return run


@pytest.fixture
def dag() -> DAG:
    return DagBag(FOLDER).dags["example_customers_to_mailchimp"]


def outcomes(run: Run) -> dict[str, int]:
    assert run.state == "success", run.errors
    return {name: n for name, n in run.result["counts"].items() if n and name != "read"}


def test_the_audience_follows_the_customers_and_leaves_their_consent_to_them(
    deployment: Deployment,
    dag: DAG,
    con: Sql,
    census_sandbox: Sandbox,
    census_connect: Callable[..., None],
) -> None:
    census_connect("mailchimp_prod", "mailchimp")
    audience = census_sandbox["mailchimp"].audience
    audience.add_member("customer.7@example.com", "unsubscribed")

    assert outcomes(deployment.run(dag)) == {"upserted": 60}
    assert len(audience.members) == 60
    known = audience.member("customer.7@example.com")
    assert (known["status"], known["merge_fields"]["FNAME"]) == ("unsubscribed", "<!channel>")
    ((since,),) = con("SELECT strftime(signed_up_at AT TIME ZONE 'UTC', '%Y-%m-%d') FROM customers WHERE id = 8")
    assert audience.member("customer.8@example.com")["merge_fields"]["SINCE"] == since

    assert outcomes(deployment.run(dag)) == {}

    con("UPDATE customers SET seats = 77 WHERE id = 8")
    row = con("SELECT * FROM customers WHERE id = 9")[0]
    con("DELETE FROM customers WHERE id = 9")
    assert outcomes(deployment.run(dag)) == {"upserted": 1, "deleted": 1}
    assert audience.member("customer.8@example.com")["merge_fields"]["SEATS"] == 77
    assert audience.member("customer.9@example.com")["status"] == "archived"

    con(f"INSERT INTO customers VALUES ({', '.join('?' * len(row))})", *row)
    assert outcomes(deployment.run(dag)) == {"updated": 1}
    assert audience.member("customer.9@example.com")["status"] == "transactional"
