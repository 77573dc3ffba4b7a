"""A sync in shards, as tasks of a DAG."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.utils.state import TaskInstanceState

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.operators.shards import sharded_sync
from airflow_provider_census.operators.state import STATE_PARAMS, CensusStateOperator
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import Snapshot, Watermark
from tests.deployment import Deployment, Run
from tests.provider.conftest import EVENTS, MESSAGES, NEEDS_TASK_STATE_STORE, USERS, Warehouse, lines, outcomes, sent

MakeDag = Callable[..., DAG]


@pytest.fixture
def sharded(make_dag: MakeDag) -> MakeDag:
    """A function that returns a DAG of a sync in shards; side by side, each would have a quarter of the limit."""

    def make(base: dict[str, Any] = USERS, **settings: Any) -> DAG:
        with make_dag() as dag:
            sharded_sync(**{**base, "shards": 4, "at_once": 1, **settings})
        return dag

    return make


def whole(run: Run) -> dict[str, Any]:
    """The result of the sync."""
    (task,) = (task for task in run.xcoms if task.endswith("_result"))
    return dict(run.xcoms[task]["return_value"])


def test_each_row_is_sent_by_one_shard_and_there_is_one_result(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, sharded: MakeDag
) -> None:
    warehouse.put(*range(1, 41))
    first = deployment.run(sharded())

    assert first.states == {**{f"users[{n}]": "success" for n in range(4)}, "users_result": "success"}
    assert sorted(map(int, sent(census_sandbox))) == list(range(1, 41))
    parts = [first.xcoms[f"users[{n}]"]["return_value"] for n in range(4)]
    assert all(part["counts"]["upserted"] > 3 for part in parts)
    result = whole(first)
    assert outcomes(result) == {"upserted": 40, "read": 40}
    assert result["watermark"] == {"column": "moved", "before": None, "after": 40}
    assert result["requests"] == sum(part["requests"] for part in parts)
    assert result.keys() == parts[0].keys()

    warehouse.put(3, 4)
    second = deployment.run(sharded())
    assert sorted(sent(census_sandbox)) == ["3", "4"]
    assert whole(second)["watermark"] == {"column": "moved", "before": 40, "after": 42}


def test_limits_are_those_of_the_whole_sync(
    deployment: Deployment, warehouse: Warehouse, braze: Any, sharded: MakeDag
) -> None:
    warehouse.put(*range(1, 40))
    warehouse.put(40, plan="x" * 200_000)

    passed = deployment.run(sharded(max_invalid=0.025))
    assert set(passed.states.values()) == {"success"}
    failed = deployment.run(sharded(max_invalid=0))

    assert failed.states == {**{f"users[{n}]": "success" for n in range(4)}, "users_result": "failed"}
    assert outcomes(whole(passed)) == {"upserted": 39, "invalid": 1, "read": 40}
    assert "max_invalid=0 allows 0" in str(failed.errors["users_result"][-1])
    assert whole(failed)["counts"]["invalid"] == 1
    assert failed.tries["users_result"] == 1


def test_a_mirror_deletes_when_all_shards_have_succeeded(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, sharded: MakeDag
) -> None:
    mirror = {"behavior": "mirror", "delta": Snapshot(), "max_deletes": 3}
    warehouse.put(*range(1, 21))
    deployment.run(sharded(**mirror))
    warehouse.remove(1, 2, 3, 4)
    refused = deployment.run(sharded(**mirror))
    assert "4 of the 20 records" in str(refused.errors["users_result"][-1])
    assert len(braze.users.profiles) == 20

    warehouse.put(21)
    census_sandbox.inject(Fault(api="braze", path="/users/track", times=1, status=401))
    broken = deployment.run(sharded(**{**mirror, "max_deletes": 4}))
    assert sorted(broken.states.values()) == ["failed", "failed", "success", "success", "success"]
    assert "1 of 4 shards did not succeed" in str(broken.errors["users_result"][-1])
    assert len(braze.users.profiles) == 20

    done = deployment.run(sharded(**{**mirror, "max_deletes": 4}))
    assert {**outcomes(whole(done)), "read": 1} == {"upserted": 1, "deleted": 4, "read": 1}
    assert {profile["external_id"] for profile in braze.users.profiles} == {str(id) for id in range(5, 22)}


def test_shards_share_the_limit_and_wait_for_another_run(
    deployment: Deployment, warehouse: Warehouse, braze: Any, sharded: MakeDag
) -> None:
    dag = sharded(rate_share=0.8, at_once=2)
    parts: Any = dag.get_task("users")
    assert parts.partial_kwargs["rate_share"] == 0.4
    assert parts.partial_kwargs["max_active_tis_per_dag"] == 2

    warehouse.put(1)
    first = deployment.create(dag)
    deployment.resume(dag, first, tries=2)
    deployment.set_state(dag, first, TaskInstanceState.RUNNING)
    second = deployment.run(dag)

    assert set(second.states.values()) == {"failed"}
    assert all("same sync is under way" in str(second.errors[f"users[{n}]"][-1]) for n in range(4))


@NEEDS_TASK_STATE_STORE
def test_a_shard_that_fails_goes_on_where_it_was_and_the_others_are_not_repeated(
    deployment: Deployment, warehouse: Warehouse, slack: Any, census_sandbox: Sandbox, sharded: MakeDag
) -> None:
    warehouse.put(*range(1, 13))
    down: dict[str, Any] = {"status": 503, "headers": {"Retry-After": "0"}}
    census_sandbox.inject(Fault(api="slack", path="/api/chat.postMessage", after=4, times=12, **down))
    dag = sharded(MESSAGES, retries=1, retry_delay=0)
    run_id = deployment.create(dag)
    deployment.resume(dag, run_id, tries=2)
    census_sandbox.recover()
    run = deployment.resume(dag, run_id)

    assert set(run.states.values()) == {"success"}
    assert sorted(run.tries.values())[-1] == 2
    assert sorted(lines(slack.texts("general"))) == list(range(1, 13))
    assert whole(run)["watermark"] == {"column": "moved", "before": None, "after": 12}


@pytest.mark.parametrize("state", ["auto", "warehouse_state"])
def test_another_number_of_shards_doubles_nothing(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    sharded: MakeDag,
    make_dag: MakeDag,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE_STATE", json.dumps({"conn_type": "sqlite", "host": f"{warehouse.path}2"})
    )
    delta = Watermark("moved", state=state)
    warehouse.put(*range(1, 7))
    with make_dag() as one:
        CensusSyncOperator(**{**EVENTS, "delta": delta})
    deployment.run(one)
    assert "was in 1 shard(s)" in str(deployment.run(sharded(EVENTS, delta=delta)).errors["events[3]"][-1])
    assert set(deployment.run(sharded(EVENTS, delta=delta, full_refresh=True)).states.values()) == {"success"}
    assert len(braze.events) == 12

    warehouse.put(7)
    for dag in (sharded(EVENTS, delta=delta, shards=6), sharded(EVENTS, delta=delta, shards=2), one):
        assert "success" not in deployment.run(dag).states.values()
    assert len(braze.events) == 12
    deployment.run(sharded(EVENTS, delta=delta))
    assert len(braze.events) == 13


def test_skipped_shards_leave_nothing_to_close(
    deployment: Deployment, warehouse: Warehouse, braze: Any, make_dag: MakeDag
) -> None:
    from airflow.sdk import task

    with make_dag() as dag:

        @task.short_circuit
        def never() -> bool:
            return False

        never() >> sharded_sync(**USERS, shards=2)

    run = deployment.run(dag)

    assert {state for task_id, state in run.states.items() if task_id != "never"} == {"skipped"}


def test_the_model_may_be_what_a_task_returns(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, make_dag: MakeDag
) -> None:
    from airflow.sdk import task

    with make_dag() as dag:

        @task
        def model() -> str:
            return f"{USERS['sql']} WHERE id > 2"

        sharded_sync(**{**USERS, "shards": 2, "at_once": 1, "sql": model()})
    warehouse.put(*range(1, 9))

    assert outcomes(whole(deployment.run(dag))) == {"upserted": 6, "read": 6}
    assert sorted(map(int, sent(census_sandbox))) == list(range(3, 9))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shards": 1}, "give 2 to 256"),
        ({"shards": 257}, "give 2 to 256"),
        ({"behavior": "upsert"}, "behavior 'upsert' is not known"),
        ({"delta": Watermark("moved", state="asset")}, "needs a sync_id"),
    ],
)
def test_wrong_use_is_refused_where_it_is_written(sharded: MakeDag, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sharded(**settings)


def test_the_group_stands_where_a_task_would(make_dag: MakeDag, deployment: Deployment) -> None:
    with make_dag() as dag:
        before, after = (
            CensusSyncOperator(**{**USERS, "task_id": "before"}),
            CensusSyncOperator(**{**USERS, "task_id": "after"}),
        )
        group = sharded_sync(**USERS, shards=2)
        before >> group >> after

    assert isinstance(group, TaskGroup)
    assert before.downstream_task_ids == {"users"}
    assert after.upstream_task_ids == {"users_result"}
    assert json.dumps(deployment.serialize(dag), sort_keys=True).count("object at 0x") == 0


def test_the_person_on_call_moves_all_shards_at_once(
    deployment: Deployment, warehouse: Warehouse, braze: Any, make_dag: MakeDag
) -> None:
    with make_dag() as dag:
        group = sharded_sync(**EVENTS, shards=3)
    with DAG(f"{dag.dag_id}_state", schedule=None, params=STATE_PARAMS) as desk:
        CensusStateOperator(task_id="state", sync=group)
    warehouse.put(*range(1, 9))
    deployment.run(dag)

    def do(action: str, value: str | None = None) -> dict[str, Any]:
        return deployment.run(desk, conf={"action": action, "value": value}).result

    shown = do("show")["shards"]
    assert [report["state"]["watermark"]["value"] for report in shown.values()] == [8, 8, 8]
    assert list(shown) == [f"{dag.dag_id}.events{index}" for index in ("", "[1]", "[2]")]
    do("rebase", "7")
    deployment.run(dag)
    assert sorted(int(event["external_id"]) for event in braze.events) == [1, 2, 3, 4, 5, 6, 7, 7, 8, 8]
    do("reset")
    deployment.run(dag)
    assert len(braze.events) == 18
