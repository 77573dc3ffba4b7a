"""The example of a mirror, on a real Airflow and the example warehouse."""

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

Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sql:
    """A function that runs SQL in the database behind the connection ``warehouse``."""
    path = str(tmp_path / "warehouse.duckdb")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": path}))
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=20, events=1)
        con.execute("UPDATE customers SET plan = 'team', email = format('customer.{}@example.com', id)")

    def run(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(path) as con:
            return con.execute(statement).fetchall()

    return run


@pytest.fixture
def intercom(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    """A workspace with a user that somebody made by hand."""
    census_connect("intercom_prod", "intercom")
    census_sandbox["intercom"].add_attribute("source")
    census_sandbox["intercom"].add_contact(role="user", external_id="by hand", email="by.hand@example.com")
    return census_sandbox["intercom"]


@pytest.fixture
def trigger(deployment: Deployment) -> Callable[..., Run]:
    """A function that triggers the example, with what was filled into the form."""

    def run(**conf: Any) -> Run:
        dag: DAG = DagBag(FOLDER).dags["example_mirror_of_customers_in_intercom"]
        return deployment.run(dag, conf=conf)

    return run


def outcomes(run: Run) -> dict[str, int]:
    return {name: n for name, n in run.result["counts"].items() if n and name != "read"}


def users(intercom: Any) -> set[str]:
    return {contact["external_id"] for contact in intercom.contacts.values()}


def test_users_follow_the_customers_within_the_guards(trigger: Callable[..., Run], sql: Sql, intercom: Any) -> None:
    everybody = {str(id) for id in range(1, 21)}
    assert outcomes(trigger()) == {"created": 20}
    assert outcomes(trigger()) == {}

    sql("UPDATE customers SET seats = 77 WHERE id = 8")
    sql("UPDATE customers SET plan = 'free' WHERE id = 9")
    assert outcomes(trigger(dry_run=True)) == {"upserted": 1, "deleted": 1}
    assert users(intercom) == everybody | {"by hand"}
    assert outcomes(trigger()) == {"updated": 1, "deleted": 1}
    assert users(intercom) == everybody - {"9"} | {"by hand"}
    assert [user["external_id"] for user in intercom.archived.values()] == ["9"]

    sql("UPDATE customers SET plan = 'free' WHERE id < 4")
    refused = trigger()
    assert (refused.state, outcomes(refused)) == ("failed", {})
    assert "3 of the 19 records" in str(refused.error)
    assert users(intercom) == everybody - {"9"} | {"by hand"}
    assert outcomes(trigger(max_deletes="3")) == {"deleted": 3}

    sql("UPDATE customers SET plan = 'free'")
    assert trigger(max_deletes="1.0").state == "failed"
    assert outcomes(trigger(max_deletes="1.0", allow_empty=True)) == {"deleted": 16}
    assert users(intercom) == {"by hand"}
    assert sql("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'census'") == [(2,)]
