"""Each example, on a warehouse of a few rows."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
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
EXAMPLES = sorted(path.stem for path in FOLDER.glob("example_*.py"))
CUSTOMERS = 30

Sql = Callable[[str], list[tuple[Any, ...]]]
Trigger = Callable[..., Run]


@pytest.fixture
def bag() -> DagBag:
    """The examples, parsed anew: Airflow writes the parameters of a run into the DAG it was made of."""
    return DagBag(FOLDER)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file behind the connection ``warehouse``."""
    path = tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    with duckdb.connect(str(path)) as con:
        warehouse.fill(con, customers=CUSTOMERS, events=60)
    return path


@pytest.fixture
def sql(source: Path) -> Sql:
    def run(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(source)) as con:
            return con.execute(statement).fetchall()

    return run


@pytest.fixture
def trigger(bag: DagBag, deployment: Deployment, source: Path) -> Iterator[Trigger]:
    """A function that runs an example; its DAG forgets the runs afterwards."""
    used: list[DAG] = []
    day = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)

    def run(dag_id: str, **params: Any) -> Run:
        used.append(bag.dags[dag_id])
        return deployment.test(used[-1], logical_date=day + dt.timedelta(days=len(used)), run_conf=params)

    yield run
    for dag in used:
        deployment.forget_xcoms(dag)


@pytest.fixture
def intercom(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    census_connect("intercom_prod", "intercom")
    census_sandbox["intercom"].add_attribute("mrr", data_type="float")
    census_sandbox["intercom"].add_attribute("country")
    return census_sandbox["intercom"]


@pytest.fixture
def braze(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    census_connect("braze_prod", "braze")
    return census_sandbox["braze"]


@pytest.fixture
def slack(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> Any:
    census_connect("slack_prod", "slack")
    census_sandbox["slack"].add_channel("signups")
    census_sandbox["slack"].posts_per_s = None
    return census_sandbox["slack"]


def outcomes(run: Run, task: str) -> dict[str, int]:
    return {name: n for name, n in run.xcoms[task]["return_value"]["counts"].items() if n and name != "read"}


def test_every_example_parses_without_a_connection(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == EXAMPLES


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_the_trigger_form_offers_a_dry_run_that_is_off(bag: DagBag, dag_id: str) -> None:
    param = bag.dags[dag_id].params.get_param("dry_run")

    assert param.schema["type"] == "boolean"
    assert param.value is False


def test_customers_reach_intercom_and_then_only_those_that_change(intercom: Any, trigger: Trigger, sql: Sql) -> None:
    sql("UPDATE customers SET email = NULL WHERE id = 3")
    first = trigger("example_customers_to_intercom")
    sql("UPDATE customers SET plan = 'enterprise', updated_at = '2026-03-02' WHERE id IN (7, 8)")
    second = trigger("example_customers_to_intercom")

    assert outcomes(first, "customers") == {"created": 29, "invalid": 1}
    assert outcomes(second, "customers") == {"updated": 2, "unchanged": 1, "invalid": 1}
    contacts = {c["external_id"]: c for c in intercom.contacts.values()}
    assert contacts.keys() == {str(id) for id in range(1, CUSTOMERS + 1)} - {"3"}
    assert contacts["7"]["name"] == "<!channel> Free & <b>bold</b>"
    (mrr,) = sql("SELECT mrr::DOUBLE FROM customers WHERE id = 7")[0]
    assert contacts["7"]["custom_attributes"]["plan"] == "enterprise"
    assert contacts["7"]["custom_attributes"]["mrr"] == mrr


def test_the_forms_full_refresh_sends_every_customer_again(intercom: Any, trigger: Trigger) -> None:
    trigger("example_customers_to_intercom")

    assert outcomes(trigger("example_customers_to_intercom", full_refresh=True), "customers") == {"updated": CUSTOMERS}


def test_a_dry_run_counts_and_leaves_intercom_alone(intercom: Any, trigger: Trigger) -> None:
    run = trigger("example_customers_to_intercom", dry_run=True)

    assert run.result["dry_run"] is True
    assert run.result["counts"]["read"] == CUSTOMERS
    assert not intercom.contacts


def test_users_and_then_their_events_reach_braze_once(braze: Any, trigger: Trigger, sql: Sql, source: Path) -> None:
    trigger("example_users_and_events_to_braze")
    with duckdb.connect(str(source)) as con:
        warehouse.use(con, 5)
    second = trigger("example_users_and_events_to_braze")

    assert outcomes(second, "users") == {"unchanged": 1}
    assert outcomes(second, "events") == {"sent": 5, "unchanged": 1}
    assert len(braze.users.profiles) == CUSTOMERS
    assert all("plan" in profile["attributes"] for profile in braze.users.profiles)
    sent = [event["properties"]["event_id"] for event in braze.events]
    assert sorted(sent) == [id for (id,) in sql("SELECT event_id::VARCHAR FROM usage_events ORDER BY 1")]
    assert {type(event["properties"]["count"]) for event in braze.events} == {int}


def test_four_shards_send_each_customer_once_and_give_one_result(braze: Any, trigger: Trigger, sql: Sql) -> None:
    first = trigger("example_sharded_users_to_braze")
    sql("UPDATE customers SET plan = 'enterprise', updated_at = '2026-03-02' WHERE id IN (7, 8)")
    second = trigger("example_sharded_users_to_braze")

    assert outcomes(first, "users_result") == {"upserted": CUSTOMERS}
    parts = [outcomes(first, f"users[{n}]")["upserted"] for n in range(4)]
    assert sum(parts) == CUSTOMERS
    assert len(parts) == 4
    assert outcomes(second, "users_result")["upserted"] == 2
    assert second.xcoms["users_result"]["return_value"]["watermark"]["after"].startswith("2026-03-02")


def test_signups_that_were_there_are_no_news_and_new_ones_are_posted(
    slack: Any, trigger: Trigger, source: Path
) -> None:
    trigger("example_signups_to_slack")
    assert slack.texts("signups") == []

    with duckdb.connect(str(source)) as con:
        con.execute("INSERT INTO signups VALUES (13, '<!channel>', 'A & B', 'team', 12.9, '2026-03-02')")
    trigger("example_signups_to_slack")
    trigger("example_signups_to_slack")

    assert slack.texts("signups") == ["*A &amp; B* signed up: &lt;!channel&gt;, team, 12.90 a month"]


def test_a_segment_chosen_in_the_form_flags_known_users_only(braze: Any, trigger: Trigger, sql: Sql) -> None:
    germans = {str(id) for (id,) in sql("SELECT id FROM customers WHERE country = 'DE'")}
    unknown = min(germans)
    for id in range(1, CUSTOMERS + 1):
        if str(id) != unknown:
            braze.users.write({"external_id": str(id)})

    run = trigger("example_taskflow_segment_to_braze", segment="german")

    assert outcomes(run, "segment") == {"updated": len(germans) - 1, "skipped": 1}
    flagged = {p["external_id"] for p in braze.users.profiles if p["attributes"].get("segment") == "german"}
    assert flagged == germans - {unknown}
    assert braze.profile(external_id=unknown) is None
