"""``@task.census_sync``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Sandbox
from tests.deployment import Deployment
from tests.provider.conftest import MESSAGES, USERS, Warehouse, lines, outcomes, sent

SETTINGS = {name: value for name, value in USERS.items() if name not in ("sql", "task_id")}


def test_the_model_is_what_the_function_returns(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, make_dag: Callable[..., DAG]
) -> None:
    with make_dag(params={"table": "users"}) as dag:

        @task.census_sync(**SETTINGS)
        def paying(plan: str, params: Any = None, **context: Any) -> str:
            assert context["ti"].task_id == "paying"
            return f"SELECT * FROM {{{{ params.table }}}} WHERE plan = '{plan}'"

        paying("paid")
    warehouse.put(1)
    warehouse.put(2, plan="paid")

    run = deployment.run(dag)

    assert run.state == "success"
    assert sent(census_sandbox) == ["2"]
    assert outcomes(run.result)["upserted"] == 1
    assert run.rendered["paying"]["sql"] == "SELECT * FROM users WHERE plan = 'paid'"
    assert run.xcom("census_state")["sync_id"] == f"{dag.dag_id}.paying"


def test_a_template_that_cannot_be_rendered_is_refused_for_good(
    deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, make_dag: Callable[..., DAG]
) -> None:
    with make_dag() as dag:

        @task.census_sync(**SETTINGS, retries=2, retry_delay=dt.timedelta(0))
        def model() -> str:
            return "SELECT * FROM {{ params.table }}"

        model()
    run = deployment.run(dag)

    assert (run.state, run.tries) == ("failed", {"model": 1})
    assert "the template in sql cannot be rendered" in str(run.error)
    assert sent(census_sandbox) == []


@pytest.mark.parametrize("returned", [None, 7, "", "  ", ["SELECT 1"]])
def test_anything_but_sql_is_refused_for_good(
    deployment: Deployment,
    warehouse: Warehouse,
    braze: Any,
    census_sandbox: Sandbox,
    make_dag: Callable[..., DAG],
    returned: Any,
) -> None:
    with make_dag() as dag:

        @task.census_sync(**SETTINGS, retries=2, retry_delay=dt.timedelta(0))
        def model() -> Any:
            return returned

        model()

    run = deployment.run(dag)

    assert run.state == "failed"
    assert run.tries == {"model": 1}
    assert isinstance(run.error, AirflowFailException)
    assert "must return the SQL" in str(run.error)
    assert sent(census_sandbox) == []


def test_a_wrong_declaration_is_an_error_of_the_dag_file(make_dag: Callable[..., DAG]) -> None:
    with make_dag():

        @task.census_sync(**{**SETTINGS, "behavior": "upsert"})
        def model() -> str:
            return "SELECT 1"

        with pytest.raises(ConfigError, match="'update_or_create'"):
            model()


def test_expanded_over_its_arguments_each_has_a_state_of_its_own(
    deployment: Deployment, warehouse: Warehouse, slack: Any, make_dag: Callable[..., DAG]
) -> None:
    with make_dag() as dag:

        @task.census_sync(**{k: v for k, v in MESSAGES.items() if k not in ("sql", "task_id")}, sync_id="halves")
        def half(rest: int) -> str:
            return f"SELECT * FROM users WHERE id % 2 = {rest}"

        half.expand(rest=[0, 1])
    warehouse.put(1, 2)
    deployment.run(dag)
    warehouse.put(3)
    run = deployment.run(dag)

    assert run.states == {"half[0]": "success", "half[1]": "success"}
    assert sorted(lines(slack.texts("general"))) == [1, 2, 3]


def test_its_result_goes_on_to_the_next_task(
    deployment: Deployment, warehouse: Warehouse, braze: Any, make_dag: Callable[..., DAG]
) -> None:
    with make_dag() as dag:

        @task.census_sync(**SETTINGS)
        def model() -> str:
            return "SELECT * FROM users"

        @task
        def count(result: dict[str, Any]) -> int:
            return int(result["counts"]["upserted"])

        count(model())
    warehouse.put(1, 2)

    assert deployment.run(dag).xcoms["count"]["return_value"] == 2
