"""The example for Stripe, on a real Airflow and the example warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from airflow_provider_census.sandbox.core import Fault, Sandbox
from example_dags import warehouse
from tests.deployment import Deployment, Run

FOLDER = Path(warehouse.__file__).parent

Connect = Callable[..., None]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file behind the connection ``warehouse``."""
    path = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=60, events=1)
    return path


@pytest.fixture
def dag(deployment: Deployment) -> Iterator[DAG]:
    dag = DagBag(FOLDER).dags["example_customers_to_stripe"]
    yield dag
    deployment.forget_xcoms(dag)


def paying(database: Path) -> dict[str, tuple[Any, ...]]:
    with duckdb.connect(database) as con:
        rows = con.execute("SELECT id, plan, seats, mrr FROM customers WHERE plan <> 'free'").fetchall()
    return {str(id): (plan, str(seats), str(mrr)) for id, plan, seats, mrr in rows}


def there(stripe: Any) -> dict[str, tuple[Any, ...]]:
    customers = [c["metadata"] for c in stripe.customers.values()]
    assert len({m["customer_id"] for m in customers}) == len(customers), "a customer is there twice"
    return {m["customer_id"]: (m["plan"], m["seats"], m["mrr"]) for m in customers}


def outcomes(run: Run) -> dict[str, int]:
    assert run.state == "success", run.errors
    return {name: n for name, n in run.result["counts"].items() if n and name != "read"}


def test_paying_customers_stand_in_stripe_once_however_late_its_search_is(
    deployment: Deployment, dag: DAG, database: Path, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("stripe_prod", "stripe")
    stripe: Any = census_sandbox["stripe"]
    stripe.search_lag_s = 3600
    census_sandbox.inject(Fault(api="stripe", method="POST", after=3, reset="after"))

    first = paying(database)
    assert len(first) > 10
    assert outcomes(deployment.run(dag)) == {"created": len(first)}
    assert there(stripe) == first

    with duckdb.connect(database) as con:
        changed = {str(id) for id in warehouse.change(con, n=5)}
    run = deployment.run(dag)
    new = len(changed - first.keys())
    expected = {"created": new, "updated": 5 - new}
    assert {name: n for name, n in outcomes(run).items() if name != "unchanged"} == {
        k: n for k, n in expected.items() if n
    }
    assert there(stripe) == paying(database)


def test_a_wrong_key_fails_the_task_at_once_and_writes_nothing(
    deployment: Deployment, dag: DAG, database: Path, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("stripe_prod", "stripe", password="sk_test_another")
    run = deployment.run(dag)
    assert (run.state, list(run.tries.values())) == ("failed", [1])
    assert "Invalid API Key" in str(run.error)
    assert census_sandbox.calls("stripe", "POST") == []
