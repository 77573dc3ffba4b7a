"""The state of a sync through real runs: in any order, cleared, retried, lost."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunType

from airflow_provider_census.errors import Busy, Unavailable
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import FullRefresh, Watermark
from tests.deployment import Deployment
from tests.provider.conftest import (
    EVENTS,
    HAS_TASK_STATE_STORE,
    MESSAGES,
    NEEDS_TASK_STATE_STORE,
    USERS,
    Warehouse,
    lines,
    outcomes,
    sent,
)

DagOf = Callable[..., DAG]

NOW = dt.datetime.now(dt.UTC)
LONG_AGO = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
YEARS_AHEAD = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)


class TestOrderOfRuns:
    """The watermark is the newest one, whatever order the dates of the runs are in."""

    DATES = (
        ("scheduled", LONG_AGO, DagRunType.SCHEDULED),
        ("from the API without a date", None, DagRunType.MANUAL),
        ("from the UI", NOW, DagRunType.MANUAL),
        ("scheduled again", LONG_AGO + dt.timedelta(days=1), DagRunType.SCHEDULED),
        ("by an asset", None, DagRunType.ASSET_TRIGGERED),
        ("of a date to come", YEARS_AHEAD, DagRunType.MANUAL),
        ("backfill", LONG_AGO - dt.timedelta(days=400), DagRunType.BACKFILL_JOB),
        ("by an asset again", None, DagRunType.ASSET_TRIGGERED),
    )

    def test_each_run_continues_behind_the_one_that_ran_before_it(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        for number, (why, logical_date, run_type) in enumerate(self.DATES, 1):
            warehouse.put(number)
            run = deployment.run(users(), logical_date=logical_date, run_type=run_type)

            assert run.state == "success", why
            assert sent(census_sandbox) == [str(number)], why
            assert run.xcom("census_state")["sequence"] == number

    @pytest.mark.parametrize("cleared", [0, 1, 2, pytest.param(3, marks=NEEDS_TASK_STATE_STORE)])
    def test_a_cleared_run_continues_behind_the_newest_and_so_does_the_next(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        slack: Any,
        messages: DagOf,
        cleared: int,
    ) -> None:
        dag = messages()
        runs = []
        for number, date in enumerate((None, NOW, LONG_AGO, None), 1):
            warehouse.put(number)
            runs.append(deployment.run(dag, logical_date=date).run_id)
        warehouse.put(5)

        deployment.clear(dag, runs[cleared])
        assert deployment.resume(dag, runs[cleared]).state == "success"
        warehouse.put(6)
        assert deployment.run(dag, logical_date=LONG_AGO + dt.timedelta(days=7)).state == "success"

        assert lines(slack.texts("general")) == [1, 2, 3, 4, 5, 6]

    def test_a_run_that_waits_to_start_again_still_counts(
        self, deployment: Deployment, warehouse: Warehouse, slack: Any, messages: DagOf
    ) -> None:
        dag = messages()
        warehouse.put(1)
        first = deployment.run(dag, logical_date=LONG_AGO).run_id
        warehouse.put(2)
        newest = deployment.run(dag, logical_date=YEARS_AHEAD).run_id
        warehouse.put(3)

        deployment.clear(dag, newest)
        deployment.clear(dag, first)
        deployment.resume(dag, first)

        assert lines(slack.texts("general")) == [1, 2, 3]

    def test_many_runs_later_the_newest_is_still_found(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        dag = users()
        warehouse.put(*range(1, 6))
        runs = [deployment.run(dag, logical_date=YEARS_AHEAD - dt.timedelta(days=n)) for n in range(12)]
        sent(census_sandbox)

        run = deployment.run(dag)

        assert [r.xcom("census_state")["sequence"] for r in runs] == list(range(1, 13))
        assert run.xcom("census_state")["sequence"] == 13
        assert sent(census_sandbox) == []


class TestRetries:
    """Airflow deletes the XComs of a task when a try starts."""

    def outage(self, sandbox: Sandbox, *, after: int) -> Fault:
        down = {"status": 503, "headers": {"Retry-After": "0"}}
        fault = Fault(api="braze", path="/users/track", after=after, times=1000, **down)
        sandbox.inject(fault)
        return fault

    @NEEDS_TASK_STATE_STORE
    def test_a_retry_continues_behind_what_the_try_before_it_has_sent(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, events: DagOf
    ) -> None:
        warehouse.put(*range(1, 751))  # ten batches
        outage = self.outage(census_sandbox, after=3)
        dag = events(retries=1, retry_delay=dt.timedelta(0))
        run_id = deployment.create(dag)

        first = deployment.resume(dag, run_id, tries=1)
        assert first.state == "up_for_retry"
        assert isinstance(first.error, Unavailable)
        assert len(braze.events) == outcomes(first.result)["sent"] == 3 * 75

        outage.times = 0
        second = deployment.resume(dag, run_id)
        assert second.state == "success"
        assert sorted(int(event["external_id"]) for event in braze.events) == list(range(1, 751))
        assert outcomes(second.result)["sent"] == 7 * 75

    @NEEDS_TASK_STATE_STORE
    def test_an_outage_that_met_few_rows_is_tried_again_as_well(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, events: DagOf
    ) -> None:
        warehouse.put(*range(1, 101))  # two batches
        outage = self.outage(census_sandbox, after=1)
        dag = events(retries=1, retry_delay=dt.timedelta(0))
        run_id = deployment.create(dag)

        first = deployment.resume(dag, run_id, tries=1)
        assert first.state == "up_for_retry"
        assert isinstance(first.error, Unavailable)
        assert "503" in str(first.error)

        outage.times = 0
        assert deployment.resume(dag, run_id).state == "success"
        assert sorted(int(event["external_id"]) for event in braze.events) == list(range(1, 101))

    def test_a_full_refresh_that_adds_is_not_tried_again(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, events: DagOf
    ) -> None:
        warehouse.put(*range(1, 101))
        self.outage(census_sandbox, after=1)

        run = deployment.run(events(delta=FullRefresh(), retries=1, retry_delay=dt.timedelta(0)))

        assert run.state == "failed"
        assert run.tries == {"events": 1}
        assert "Not retried: a full refresh does not remember" in str(run.error)
        assert len(braze.events) == outcomes(run.result)["sent"]

    @pytest.mark.skipif(HAS_TASK_STATE_STORE, reason="before Airflow 3.3")
    def test_without_a_task_state_store_what_would_be_doubled_is_not_tried_again(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, events: DagOf
    ) -> None:
        warehouse.put(*range(1, 101))
        outage = self.outage(census_sandbox, after=1)
        dag = events(retries=1, retry_delay=dt.timedelta(0))

        first = deployment.run(dag)
        assert first.tries == {"events": 1}
        assert "before Airflow 3.3" in str(first.error)

        outage.times = 0
        assert deployment.run(dag).state == "success"
        assert sorted(int(event["external_id"]) for event in braze.events) == list(range(1, 101))

    @NEEDS_TASK_STATE_STORE
    def test_what_was_sent_is_known_to_later_runs_whatever_became_of_the_retry(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        slack: Any,
        messages: DagOf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        dag = messages()
        warehouse.put(1, 2)
        run_id = deployment.run(dag).run_id
        deployment.clear(dag, run_id)
        with monkeypatch.context() as away:
            away.delenv("AIRFLOW_CONN_WAREHOUSE")
            assert deployment.resume(dag, run_id).state == "failed"

        warehouse.put(3)
        assert deployment.run(dag).state == "success"

        assert lines(slack.texts("general")) == [1, 2, 3]

    @pytest.mark.parametrize("under_way", ["running", "deferred", "restarting"])
    def test_a_second_run_of_the_same_sync_is_refused_and_may_be_retried(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        census_sandbox: Sandbox,
        users: DagOf,
        under_way: str,
    ) -> None:
        warehouse.put(1)
        dag = users(retries=1, retry_delay=dt.timedelta(0))
        first, second = deployment.create(dag), deployment.create(dag)
        deployment.set_state(dag, first, TaskInstanceState(under_way))
        ended = deployment.resume(dag, second, tries=1)
        assert ended.state == "up_for_retry"
        assert isinstance(ended.error, Busy)
        assert first in str(ended.error)
        assert sent(census_sandbox) == []

        deployment.set_state(dag, first, TaskInstanceState.FAILED)
        assert deployment.resume(dag, second).state == "success"
        assert sent(census_sandbox) == ["1"]


class TestLargeState:
    """Thousands of events of one moment, which Braze does not remove if they are sent twice."""

    MANY = 5_000

    @pytest.fixture
    def moment(self, warehouse: Warehouse) -> Warehouse:
        warehouse.put(*range(self.MANY))
        warehouse.level()
        return warehouse

    def test_it_stays_small_in_xcom_and_every_run_knows_all_of_it(
        self, deployment: Deployment, moment: Warehouse, braze: Any, events: DagOf
    ) -> None:
        dag = events()
        first = deployment.run(dag, logical_date=NOW)
        second = deployment.run(dag, logical_date=LONG_AGO)

        assert outcomes(first.result) == {"sent": self.MANY, "read": self.MANY}
        assert outcomes(second.result) == {"unchanged": self.MANY, "read": self.MANY}
        value = second.xcom("census_state")
        assert len(json.dumps(value)) < 48 * 1024
        assert value["spilled"]["conn_id"] == "warehouse"
        assert value["spilled"]["rows"]["settled"] > self.MANY / 2
        assert value["watermark"] == {"column": "moved", "value": 1}

    @NEEDS_TASK_STATE_STORE
    def test_a_retry_and_a_cleared_run_go_on_behind_it(
        self, deployment: Deployment, moment: Warehouse, braze: Any, census_sandbox: Sandbox, events: DagOf
    ) -> None:
        down = {"status": 503, "headers": {"Retry-After": "0"}}
        outage = Fault(api="braze", path="/users/track", after=40, times=10_000, **down)
        census_sandbox.inject(outage)
        dag = events(retries=1, retry_delay=dt.timedelta(0))
        run_id = deployment.create(dag)
        assert deployment.resume(dag, run_id, tries=1).state == "up_for_retry"
        outage.times = 0
        assert deployment.resume(dag, run_id).state == "success"
        deployment.clear(dag, run_id)
        assert deployment.resume(dag, run_id).state == "success"
        assert deployment.run(dag, logical_date=LONG_AGO).state == "success"

        assert sorted(int(event["external_id"]) for event in braze.events) == list(range(self.MANY))

    def test_mapped_tasks_have_one_each(
        self, deployment: Deployment, moment: Warehouse, braze: Any, make_dag: Callable[..., DAG]
    ) -> None:
        moment.put(*range(self.MANY, 2 * self.MANY))
        moment.level()
        settings = {**EVENTS, "sql": "SELECT * FROM users WHERE id % 2 = :rest"}
        with make_dag() as dag:
            CensusSyncOperator.partial(**settings).expand(parameters=[{"rest": 0}, {"rest": 1}])

        for _ in range(2):
            run = deployment.run(dag)

        counts = [outcomes(run.xcoms[f"events[{n}]"]["return_value"]) for n in (0, 1)]
        assert counts == [{"unchanged": self.MANY, "read": self.MANY}] * 2
        assert len(braze.events) == 2 * self.MANY

    def test_the_table_is_not_missed_in_silence(
        self, deployment: Deployment, moment: Warehouse, braze: Any, events: DagOf
    ) -> None:
        deployment.run(events())
        moment._db.execute("DROP TABLE census_spill")
        moment._db.commit()

        lost = deployment.run(events(retries=1))

        assert isinstance(lost.error, AirflowFailException)
        assert "Bring the table back" in str(lost.error)
        assert len(braze.events) == self.MANY
        again = deployment.run(events(full_refresh=True))
        assert outcomes(again.result) == {"sent": self.MANY, "read": self.MANY}
        assert outcomes(deployment.run(events()).result) == {"unchanged": self.MANY, "read": self.MANY}


class TestLostState:
    @pytest.mark.parametrize(("on_missing", "after"), [("full", ["1", "2", "3"]), ("now", []), ("fail", None)])
    def test_the_author_decides_what_becomes_of_a_sync_whose_state_is_gone(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        census_sandbox: Sandbox,
        users: DagOf,
        on_missing: str,
        after: list[str] | None,
    ) -> None:
        dag = users(delta=Watermark("moved", on_missing=on_missing), retries=1, retry_delay=dt.timedelta(0))
        warehouse.put(1, 2)
        deployment.run(dag)
        warehouse.put(3)
        sent(census_sandbox)

        deployment.forget_xcoms(dag)
        run = deployment.run(dag)

        if after is None:
            assert run.state == "failed"
            assert isinstance(run.error, AirflowFailException)
            assert "full_refresh=True" in str(run.error)
            run = deployment.run(users(delta=Watermark("moved", on_missing=on_missing), full_refresh=True))
            after = ["1", "2", "3"]
        assert run.state == "success"
        assert sent(census_sandbox) == after
        warehouse.put(4)
        deployment.run(dag)
        assert sent(census_sandbox) == ["4"]

    def test_a_first_run_has_lost_nothing(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(1)
        dag = users(delta=Watermark("moved", on_missing="fail"))

        assert deployment.run(dag).state == "success"
        assert sent(census_sandbox) == ["1"]

    def test_a_state_nobody_can_read_is_named_and_not_taken_for_none(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(1)
        deployment.run(users())
        sent(census_sandbox)

        deployment.replace_xcom(users(), "census_state", "/a/file/that/is/gone.json")
        run = deployment.run(users())

        assert run.state == "failed"
        assert isinstance(run.error, AirflowFailException)
        assert "census_state" in str(run.error)
        assert sent(census_sandbox) == []


class TestMappedTasks:
    def mapped(self, dag: DAG, base: dict[str, Any], expand: dict[str, Any], **partial: Any) -> DAG:
        settings = {name: value for name, value in {**base, **partial}.items() if name not in expand}
        with dag:
            CensusSyncOperator.partial(**settings).expand(**expand)
        return dag

    def halves(self, dag: DAG, **partial: Any) -> DAG:
        parameters = [{"rest": 0}, {"rest": 1}]
        return self.mapped(
            dag, MESSAGES, {"parameters": parameters}, sql="SELECT * FROM users WHERE id % 2 = :rest", **partial
        )

    @pytest.mark.parametrize("sync_id", [None, "halves"])
    def test_each_has_a_state_of_its_own(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        slack: Any,
        make_dag: Callable[..., DAG],
        sync_id: str | None,
    ) -> None:
        dag = self.halves(make_dag(), **({"sync_id": sync_id} if sync_id else {}))
        warehouse.put(1, 2)
        run = deployment.run(dag)
        warehouse.put(3)
        deployment.run(dag)
        warehouse.put(4, 5)
        deployment.clear(dag, run.run_id)
        deployment.resume(dag, run.run_id)
        last = deployment.run(dag)

        assert last.states == {"messages[0]": "success", "messages[1]": "success"}
        assert sorted(lines(slack.texts("general"))) == [1, 2, 3, 4, 5]
        watermarks = [last.xcoms[f"messages[{n}]"]["census_state"]["watermark"]["value"] for n in (0, 1)]
        assert watermarks == [4, 5]

    def test_a_sync_id_of_its_own_goes_with_the_task_when_the_order_changes(
        self, deployment: Deployment, warehouse: Warehouse, slack: Any, make_dag: Callable[..., DAG]
    ) -> None:
        even = {"sync_id": "even", "sql": "SELECT * FROM users WHERE id % 2 = 0"}
        odd = {"sync_id": "odd", "sql": "SELECT * FROM users WHERE id % 2 = 1"}
        settings = {name: value for name, value in MESSAGES.items() if name != "sql"}

        def dag(*tasks: dict[str, str]) -> DAG:
            with make_dag() as dag:
                CensusSyncOperator.partial(**settings).expand_kwargs(list(tasks))
            return dag

        warehouse.put(1, 2)
        deployment.run(dag(even, odd))
        warehouse.put(3)
        deployment.run(dag(odd, even))
        warehouse.put(4)
        deployment.run(dag(even, odd))

        assert sorted(lines(slack.texts("general"))) == [1, 2, 3, 4]

    def test_two_with_the_same_sync_id_are_refused(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, make_dag: Callable[..., DAG]
    ) -> None:
        dag = self.mapped(make_dag(), USERS, {"sync_id": ["same", "same"]})
        warehouse.put(1)
        run = deployment.run(dag)
        assert "failed" in run.states.values() or "failed" in deployment.run(dag).states.values()

    def test_objects_of_a_declaration_survive_the_serializer(
        self, deployment: Deployment, make_dag: Callable[..., DAG]
    ) -> None:
        texts = []
        for _ in range(2):
            dag = self.halves(make_dag(), sync_id="x")
            texts.append(json.dumps(deployment.serialize(dag), sort_keys=True))
        assert texts[0] == texts[1]
        assert "object at 0x" not in texts[0]

    def test_tasks_of_a_mapped_group_have_states_of_their_own(
        self, deployment: Deployment, warehouse: Warehouse, slack: Any, make_dag: Callable[..., DAG]
    ) -> None:
        from airflow.sdk import task_group

        with make_dag() as dag:

            @task_group
            def each(rest: int) -> None:
                settings = {**MESSAGES, "sync_id": "group", "sql": "SELECT * FROM users WHERE id % 2 = :rest"}
                CensusSyncOperator(**settings, parameters={"rest": rest})

            each.expand(rest=[0, 1])

        warehouse.put(1, 2)
        first = deployment.run(dag)
        warehouse.put(3)
        deployment.run(dag)

        assert set(first.states.values()) == {"success"}
        assert sorted(lines(slack.texts("general"))) == [1, 2, 3]
