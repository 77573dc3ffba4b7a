"""One contract for every place a state can be kept in."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import Busy, ConfigError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import Snapshot, Watermark
from tests.deployment import Deployment
from tests.provider.conftest import NEEDS_TASK_STATE_STORE, Warehouse, lines, outcomes, sent

DagOf = Callable[..., DAG]
LONG_AGO = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


PLACES = (
    "xcom",
    pytest.param("asset", marks=NEEDS_TASK_STATE_STORE),
    "sqlite table",
    "postgres table",
    "mariadb table",
)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of a sync that keeps its state there."""
    where = request.param
    if where.endswith("table"):
        connection = {"conn_type": "sqlite", "host": str(tmp_path / "state.db")}
        value = json.dumps(connection)
        if where.startswith("postgres"):
            value = request.getfixturevalue("postgres_uri").replace("postgresql://", "postgres://", 1)
        if where.startswith("mariadb"):
            value = request.getfixturevalue("mariadb_uri")
        monkeypatch.setenv("AIRFLOW_CONN_STATE_DB", value)
        where = "state_db"
    return {"delta": Watermark("moved", state=where), "sync_id": f"{request.node.name}"}


def test_runs_in_any_order_and_cleared_ones_continue_behind_the_newest(
    deployment: Deployment, warehouse: Warehouse, slack: Any, messages: DagOf, place: dict[str, Any]
) -> None:
    dag = messages(**place)
    runs = []
    for number, date in enumerate((None, dt.datetime.now(dt.UTC), LONG_AGO, None), 1):
        warehouse.put(number)
        runs.append(deployment.run(dag, logical_date=date))
        assert runs[-1].state == "success", runs[-1].errors
    deployment.clear(dag, runs[1].run_id)
    assert deployment.resume(dag, runs[1].run_id).state == "success"
    warehouse.put(5)
    assert deployment.run(dag, logical_date=LONG_AGO + dt.timedelta(days=1)).state == "success"

    assert lines(slack.texts("general")) == [1, 2, 3, 4, 5]


def test_a_retry_continues_behind_what_was_sent_and_owed_rows_are_remembered(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    events: DagOf,
    place: dict[str, Any],
) -> None:
    warehouse.put(*range(1, 451))
    down = Fault(api="braze", path="/users/track", after=2, times=1000, status=503, headers={"Retry-After": "0"})
    census_sandbox.inject(down)
    dag = events(retries=1, retry_delay=dt.timedelta(0), max_rejected=None, **place)
    run_id = deployment.create(dag)
    deployment.resume(dag, run_id, tries=1)
    down.times = 0
    run = deployment.resume(dag, run_id)
    later = deployment.run(dag)

    assert [run.state, later.state] == ["success", "success"]
    assert sorted(int(event["external_id"]) for event in braze.events) == list(range(1, 451))


def test_ten_thousand_rows_of_one_moment_are_sent_once(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    users: DagOf,
    place: dict[str, Any],
) -> None:
    warehouse.put(*range(10_000))
    warehouse.level()
    dag = users(**place)
    assert outcomes(deployment.run(dag).result) == {"upserted": 10_000, "read": 10_000}
    sent(census_sandbox)

    second = deployment.run(dag)

    assert outcomes(second.result) == {"unchanged": 10_000, "read": 10_000}
    assert sent(census_sandbox) == []
    most = 48 * 1024 if place["delta"].state == "xcom" else 2_000
    assert len(json.dumps(second.xcom("census_state"))) < most, "XCom holds a pointer"


def test_a_second_run_at_the_same_time_is_refused(
    deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf, place: dict[str, Any]
) -> None:
    from airflow.utils.state import TaskInstanceState

    warehouse.put(1)
    dag = users(retries=0, **place)
    first = deployment.run(dag)
    deployment.set_state(dag, first.run_id, TaskInstanceState.RUNNING)

    second = deployment.run(dag)

    assert second.state == "failed"
    assert isinstance(second.error, Busy)


def test_a_state_that_moves_is_taken_along_and_the_old_place_refuses(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    users: DagOf,
    place: dict[str, Any],
) -> None:
    warehouse.put(1, 2)
    in_xcom = {**place, "delta": Watermark("moved")}
    deployment.run(users(**in_xcom))
    warehouse.put(3)
    sent(census_sandbox)

    moved = deployment.run(users(**place))

    assert outcomes(moved.result) == {"upserted": 1, "unchanged": 1, "read": 2}
    back = deployment.run(users(**in_xcom))
    if place["delta"].state == "xcom":
        assert back.state == "success"
    else:
        assert isinstance(back.error, AirflowFailException)
        assert "say so in the delta's state" in str(back.error)


def test_state_outside_of_xcom_survives_a_cleaned_metadata_database(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    users: DagOf,
    place: dict[str, Any],
) -> None:
    warehouse.put(1, 2)
    dag = users(**place)
    deployment.run(dag)
    deployment.forget_xcoms(dag)
    sent(census_sandbox)

    run = deployment.run(dag)

    expected = ["1", "2"] if place["delta"].state == "xcom" else []
    assert sent(census_sandbox) == expected
    assert run.state == "success"


def test_a_snapshot_needs_no_state_in_airflow(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
) -> None:
    dag = users(behavior="mirror", delta=Snapshot(), max_deletes="{{ dag_run.conf.get('most', 0.1) }}")
    warehouse.put(*range(20))
    assert outcomes(deployment.run(dag).result) == {"upserted": 20, "read": 20}
    deployment.forget_xcoms(dag)
    warehouse._db.execute("DELETE FROM users WHERE id < 3")
    warehouse._db.commit()

    refused = deployment.run(dag)
    allowed = deployment.run(dag, conf={"most": 3})

    assert isinstance(refused.error, AirflowFailException)
    assert "max_deletes=3" in str(refused.error)
    assert outcomes(allowed.result) == {"deleted": 3, "read": 0} or outcomes(allowed.result) == {"deleted": 3}


def test_an_asset_needs_a_name_of_its_own(users: DagOf) -> None:
    with pytest.raises(ConfigError, match="sync_id"):
        users(delta=Watermark("moved", state="asset"))
