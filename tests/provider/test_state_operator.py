"""The person on call looks at a state and changes it, on a real Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.state import TaskInstanceState

from airflow_provider_census.errors import Busy, ConfigError
from airflow_provider_census.operators.state import STATE_PARAMS, CensusStateOperator
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.state import State
from tests.deployment import Deployment, Run
from tests.provider.conftest import MESSAGES, USERS, Warehouse, lines, outcomes, sent

DagOf = Callable[..., DAG]


class Desk:
    """A DAG beside the one of the sync, whose Trigger form is filled in."""

    def __init__(self, deployment: Deployment, dag: DAG) -> None:
        self.deployment = deployment
        (self.sync,) = dag.tasks
        with DAG(f"{dag.dag_id}_state", schedule=None, params=STATE_PARAMS) as self.dag:
            CensusStateOperator(task_id="state", sync=self.sync)

    def try_to(self, action: str, value: str | None = None, sync_id: str | None = None) -> Run:
        """Press Trigger."""
        return self.deployment.run(self.dag, conf={"action": action, "value": value, "sync_id": sync_id})

    def do(self, action: str, value: str | None = None, sync_id: str | None = None) -> dict[str, Any]:
        """Press Trigger, and return what it answers."""
        run = self.try_to(action, value, sync_id)
        assert run.state == "success", run.errors
        return run.result

    def refusal(self, action: str, value: str | None = None, sync_id: str | None = None) -> str:
        """Press Trigger, and return why it is refused for good."""
        run = self.try_to(action, value, sync_id)
        assert isinstance(run.error, AirflowFailException), run.result
        return str(run.error)


@pytest.fixture(params=["xcom", "asset", "table"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of a sync that keeps its state there."""
    where = request.param
    if where == "asset":
        pytest.importorskip("airflow.models.asset_state_store", reason="needs Airflow 3.3")
    if where == "table":
        connection = {"conn_type": "sqlite", "host": str(tmp_path / "state.db")}
        monkeypatch.setenv("AIRFLOW_CONN_STATE_DB", json.dumps(connection))
        where = "state_db"
    return {"delta": Watermark("moved", state=where), "sync_id": f"{request.node.name}"}


@pytest.fixture
def two_runs(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    users: DagOf,
    place: dict[str, Any],
) -> tuple[DAG, list[str]]:
    """A sync whose two runs have sent 1, 2 and 3; of 4 Braze did not want to know."""
    census_sandbox.inject(Fault(api="braze", path="/users/track", contains='"4"', times=1000, status=400, body={}))
    dag = users(max_rejected=None, **place)
    warehouse.put(1, 2)
    runs = [deployment.run(dag).run_id]
    warehouse.put(4, 3)
    runs.append(deployment.run(dag).run_id)
    sent(census_sandbox)
    return dag, runs


def test_it_shows_what_the_next_run_will_do_and_changes_nothing(
    deployment: Deployment, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, _ = two_runs
    desk = Desk(deployment, dag)

    shown = desk.do("show")

    assert "reads the rows with moved >= 4 and the 1 owed ones" in shown["next_run"]
    assert shown["state"]["watermark"] == {"column": "moved", "value": 4}
    assert shown["state"]["owed_sample"] == [4]
    assert desk.do("show") == shown
    assert deployment.run(dag).state == "success"
    assert "3" not in sent(census_sandbox)


def test_a_rebase_back_sends_again_from_there_and_keeps_what_is_owed(
    deployment: Deployment, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, _ = two_runs

    answer = Desk(deployment, dag).do("rebase", " 2 ")

    assert answer["next_run"] == "reads the rows with moved >= 2 and the 1 owed ones"
    run = deployment.run(dag)
    assert {"2", "3"} < set(sent(census_sandbox)) <= {"2", "3", "4"}
    assert outcomes(run.result)["rejected"] == 1


def test_a_rebase_ahead_leaves_out_what_is_below(
    deployment: Deployment, warehouse: Warehouse, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, _ = two_runs
    warehouse.put(5, 6)

    Desk(deployment, dag).do("rebase", "6")
    deployment.run(dag)

    assert set(sent(census_sandbox)) == {"4", "6"}


def test_a_reset_sends_everything_also_when_the_last_run_is_cleared_for_it(
    deployment: Deployment, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, runs = two_runs

    answer = Desk(deployment, dag).do("reset")
    deployment.clear(dag, runs[-1])
    deployment.resume(dag, runs[-1])

    assert answer["next_run"] == "reads every row of the model and sends it"
    assert set(sent(census_sandbox)) == {"1", "2", "3", "4"}
    deployment.run(dag)
    assert set(sent(census_sandbox)) == {"4"}


def test_what_was_exported_can_be_imported_again(
    deployment: Deployment, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, _ = two_runs
    desk = Desk(deployment, dag)
    exported = desk.do("export")["state"]
    desk.do("reset")

    answer = desk.do("import", json.dumps(exported))

    assert answer["next_run"].startswith("reads the rows with moved >= 4 and the 1 owed ones")
    deployment.run(dag)
    assert set(sent(census_sandbox)) == {"4"}


def test_a_sync_that_is_running_is_left_alone(
    deployment: Deployment, census_sandbox: Sandbox, two_runs: tuple[DAG, list[str]]
) -> None:
    dag, runs = two_runs
    desk = Desk(deployment, dag)
    before = desk.do("show")
    deployment.set_state(dag, runs[0], TaskInstanceState.RUNNING)

    refused = desk.try_to("reset")

    assert isinstance(refused.error, Busy)
    assert desk.do("show") == before


@pytest.mark.parametrize(
    ("action", "value", "words"),
    [
        ("rebase", "yesterday", "no int"),
        ("rebase", None, "needs the value"),
        ("import", "{}", "not an exported state; give what an export returned in the field 'state'"),
        ("import", "reset", "not an exported state"),
        ("forget", None, "'show', 'reset', 'rebase'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    users: DagOf,
    action: str,
    value: str | None,
    words: str,
) -> None:
    dag = users()
    warehouse.put(1)
    deployment.run(dag)
    desk = Desk(deployment, dag)
    with DAG(f"{dag.dag_id}_fixed", schedule=None) as fixed:
        CensusStateOperator(task_id="state", sync=desk.sync, action=action, value=value, sync_id=None)

    run = deployment.run(fixed)

    assert isinstance(run.error, AirflowFailException)
    assert words in str(run.error)
    assert desk.do("show")["state"]["watermark"]["value"] == 1


def test_a_sync_without_a_run_has_no_state_and_a_dry_run_makes_room_for_one(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
) -> None:
    dag = users(dry_run="{{ dag_run.conf.get('dry', False) }}")
    warehouse.put(1, 2)
    deployment.register(dag)
    desk = Desk(deployment, dag)
    state = State(target="braze/user", sequence=7, column="moved", watermark=2).to_json()

    assert desk.do("show")["next_run"] == "is a first one and sends every row (baseline='send')"
    assert "no state to reset" in desk.refusal("reset")
    assert "dry_run=True" in desk.refusal("import", json.dumps(state))
    deployment.run(dag, conf={"dry": True})
    desk.do("import", json.dumps(state))

    assert desk.do("show")["state"]["watermark"]["value"] == 2


def test_a_state_that_is_gone_is_told_from_one_that_never_was(
    deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
) -> None:
    dag = users(delta=Watermark("moved", on_missing="now"))
    warehouse.put(1)
    deployment.run(dag)
    deployment.forget_xcoms(dag)

    assert "finds its state gone" in Desk(deployment, dag).do("show")["next_run"]


def test_of_mapped_tasks_the_one_that_is_named_is_changed(
    deployment: Deployment, warehouse: Warehouse, slack: Any, make_dag: Callable[..., DAG]
) -> None:
    settings = {**MESSAGES, "sql": "SELECT * FROM users WHERE id % 2 = :rest"}
    with make_dag() as dag:
        CensusSyncOperator.partial(**settings).expand(parameters=[{"rest": 0}, {"rest": 1}])
    warehouse.put(1, 2)
    deployment.run(dag)
    desk = Desk(deployment, dag)

    refusal = desk.refusal("reset")
    desk.do("reset", sync_id=f"{dag.dag_id}.messages[1]")
    deployment.run(dag)

    assert f"'{dag.dag_id}.messages[0]', '{dag.dag_id}.messages[1]'" in refusal
    assert sorted(lines(slack.texts("general"))) == [1, 1, 2]


def test_a_state_that_is_partly_in_a_table_is_handled_whole(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
) -> None:
    warehouse.put(*range(10_000))
    warehouse.level()
    dag = users()
    deployment.run(dag)
    desk = Desk(deployment, dag)
    assert desk.do("show")["state"]["settled"] == 10_000
    exported = desk.do("export")["state"]
    assert "spilled" not in exported

    desk.do("reset")
    desk.do("import", json.dumps(exported))

    assert outcomes(deployment.run(dag).result) == {"unchanged": 10_000, "read": 10_000}
    warehouse._db.execute("DROP TABLE census_spill")
    warehouse._db.commit()
    assert "Bring the table back" in desk.refusal("show")
    assert "Bring the table back" in desk.refusal("export")
    assert desk.do("rebase", "1")["state"]["settled"] == 0
    assert outcomes(deployment.run(dag).result) == {"upserted": 10_000, "read": 10_000}


def test_a_decorated_sync_has_a_state_like_any_other(
    deployment: Deployment, warehouse: Warehouse, braze: Any, make_dag: Callable[..., DAG]
) -> None:
    from airflow_provider_census.decorators.sync import census_sync_task

    with make_dag() as dag:
        users = census_sync_task(lambda: "SELECT * FROM users", **{k: v for k, v in USERS.items() if k != "sql"})()
    with DAG(f"{dag.dag_id}_state", schedule=None) as state:
        CensusStateOperator(task_id="state", sync=users, action="show", value=None, sync_id=None)
    warehouse.put(1)
    deployment.run(dag)

    assert "moved >= 1" in deployment.run(state).result["next_run"]


class TestSnapshot:
    def test_it_shows_how_much_the_snapshot_knows(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        dag = users(behavior="mirror", delta=Snapshot())
        warehouse.put(1, 2)
        deployment.run(dag)

        shown = Desk(deployment, dag).do("show")

        assert (shown["state"]["records"], shown["state"]["sent"]) == (2, 2)
        assert "connection warehouse" in shown["state"]["snapshot"]

    def test_a_reset_sends_everything_and_deletes_nothing_it_does_not_know(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        dag = users(behavior="mirror", delta=Snapshot(), max_deletes=None)
        warehouse.put(1, 2, 3)
        deployment.run(dag)
        sent(census_sandbox)

        answer = Desk(deployment, dag).do("reset")
        warehouse._db.execute("DELETE FROM users WHERE id = 3")
        warehouse._db.commit()
        run = deployment.run(dag)

        assert "will not delete them" in answer["next_run"]
        assert outcomes(run.result) == {"upserted": 2, "read": 2}

    def test_what_was_reset_is_sent_again_also_where_it_is_added(
        self, deployment: Deployment, warehouse: Warehouse, slack: Any, make_dag: Callable[..., DAG]
    ) -> None:
        with make_dag() as dag:
            CensusSyncOperator(**{**MESSAGES, "delta": Snapshot()})
        warehouse.put(1, 2)
        deployment.run(dag)
        desk = Desk(deployment, dag)

        table = desk.do("show")["state"]["snapshot"].split()[1]
        warehouse._db.execute(f"DROP TABLE {table}")
        warehouse._db.commit()
        shown = desk.do("show")["next_run"]
        lost = deployment.run(dag)
        desk.do("reset")
        run = deployment.run(dag)

        assert "is lost" in shown
        assert isinstance(lost.error, AirflowFailException)
        assert "CensusStateOperator" in str(lost.error)
        assert outcomes(run.result) == {"sent": 2, "read": 2}
        assert sorted(lines(slack.texts("general"))) == [1, 1, 2, 2]

    @pytest.mark.parametrize("action", ["rebase", "import"])
    def test_it_has_no_watermark(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf, action: str
    ) -> None:
        dag = users(delta=Snapshot())
        warehouse.put(1)
        deployment.run(dag)

        assert "a snapshot is a table" in Desk(deployment, dag).refusal(action, "1")


def test_a_full_refresh_has_nothing_to_reset(
    deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
) -> None:
    dag = users(delta=FullRefresh())
    warehouse.put(1)
    deployment.run(dag)
    desk = Desk(deployment, dag)

    assert desk.do("show")["next_run"].startswith("sends every row")
    assert "no state" in desk.refusal("reset")


def test_another_task_is_no_sync(make_dag: Callable[..., DAG]) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with make_dag(), pytest.raises(ConfigError, match="not a task that runs a sync"):
        CensusStateOperator(task_id="state", sync=EmptyOperator(task_id="other"))


@pytest.mark.parametrize("sync", [None, "users"])
def test_a_name_is_no_sync_either(make_dag: Callable[..., DAG], sync: Any) -> None:
    with make_dag(), pytest.raises(ConfigError, match="give the task itself, not its id"):
        CensusStateOperator(task_id="state", sync=sync)


def test_without_a_trigger_form_it_shows_or_does_what_the_file_says(
    deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
) -> None:
    warehouse.put(1)
    dag = users()
    deployment.run(dag)
    with DAG(f"{dag.dag_id}_state", schedule=None) as desk:
        CensusStateOperator(task_id="look", sync=dag.get_task("users"))
        CensusStateOperator(task_id="export", sync=dag.get_task("users"), action="export")

    run = deployment.run(desk)
    assert run.states == {"look": "success", "export": "success"}
    assert run.xcoms["look"]["return_value"]["action"] == "show"
    assert run.xcoms["export"]["return_value"]["state"]["watermark"] == {"column": "moved", "value": 1}
