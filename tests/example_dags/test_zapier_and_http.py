"""The examples for Zapier and for any HTTP API, on a real Airflow and the example warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_provider_census.sandbox.core import Fault, Sandbox
from example_dags import warehouse
from tests.deployment import Deployment, Run

FOLDER = Path(warehouse.__file__).parent
CUSTOMERS = 60

Connect = Callable[..., None]
Change = Callable[..., Any]
Trigger = Callable[..., Run]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file behind the connection ``warehouse``."""
    path = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    with duckdb.connect(path) as con:
        warehouse.fill(con, customers=CUSTOMERS, events=50)
    return path


@pytest.fixture
def change(database: Path) -> Change:
    """A function that applies one of the warehouse's functions, or SQL."""

    def apply(what: Callable[..., Any] | str, **arguments: Any) -> Any:
        with duckdb.connect(database) as con:
            return con.execute(what).fetchall() if isinstance(what, str) else what(con, **arguments)

    return apply


@pytest.fixture
def trigger(deployment: Deployment, database: Path) -> Iterator[Trigger]:
    bag = DagBag(FOLDER)
    with ExitStack() as after:

        def run(dag_id: str) -> Run:
            after.callback(deployment.forget_xcoms, bag.dags[dag_id])
            return deployment.run(bag.dags[dag_id])

        yield run


def outcomes(run: Run) -> dict[str, int]:
    return {name: n for name, n in run.result["counts"].items() if n and name != "read"}


def test_invoices_paid_from_now_on_start_the_zap_once(
    trigger: Trigger, change: Change, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("zapier_prod", "zapier")
    trigger("example_events_to_zapier")
    assert census_sandbox["zapier"].caught == []

    change("UPDATE usage_events SET happened_at = '2026-03-05', name = 'invoice paid' WHERE customer_id % 7 = 0")
    paid = dict(
        change(
            "SELECT e.event_id::VARCHAR, c.company FROM usage_events e JOIN customers c ON c.id = e.customer_id "
            "WHERE happened_at = '2026-03-05'"
        )
    )
    assert len(paid) > 2
    second = trigger("example_events_to_zapier")
    assert outcomes(second)["sent"] == len(paid)
    assert {row["event_id"]: row["customer"]["company"] for row in census_sandbox["zapier"].caught} == paid

    trigger("example_events_to_zapier")
    assert len(census_sandbox["zapier"].caught) == len(paid)


def test_an_invoice_without_an_answer_fails_the_task_and_is_not_sent_again(
    trigger: Trigger, change: Change, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("zapier_prod", "zapier")
    trigger("example_events_to_zapier")
    change("UPDATE usage_events SET happened_at = '2026-03-05', name = 'invoice paid' WHERE customer_id % 7 = 0")
    census_sandbox.inject(Fault(api="zapier", reset="after"))

    run = trigger("example_events_to_zapier")
    assert run.state == "failed"
    assert outcomes(run)["uncertain"] == 1
    caught = [row["event_id"] for row in census_sandbox["zapier"].caught]
    trigger("example_events_to_zapier")
    assert [row["event_id"] for row in census_sandbox["zapier"].caught] == caught
    assert len(set(caught)) == len(caught)


def test_the_api_holds_what_the_warehouse_holds(
    trigger: Trigger, change: Change, census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("http_prod", "http")
    api = census_sandbox["http"]
    api.things["another's"] = {"name": "not ours"}
    assert outcomes(trigger("example_rows_to_http_api")) == {"upserted": CUSTOMERS}
    assert len(api.things) == CUSTOMERS + 1
    assert api.things["7"]["name"] == "<!channel> Free & <b>bold</b>"

    removed = change(warehouse.remove, n=3)
    changed = set(change(warehouse.change, n=4)) - set(removed)
    census_sandbox.ledger.clear()
    second = trigger("example_rows_to_http_api")
    assert outcomes(second)["deleted"] == len(removed)
    assert api.things.keys() == {"another's", *(str(id) for (id,) in change("SELECT id FROM customers"))}
    written = {thing["external_id"] for call in census_sandbox.calls("http", "POST") for thing in call.json["things"]}
    assert written <= {str(id) for id in changed}

    census_sandbox.ledger.clear()
    assert outcomes(trigger("example_rows_to_http_api")).keys() <= {"unchanged"}
    assert census_sandbox.ledger == []
