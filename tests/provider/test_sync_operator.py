"""The operator on a real Airflow: what a run returns, what templates may hide, what a wrong sync is told."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import ConfigError, Unavailable
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import Column, Constant, FullRefresh, Snapshot, SyncAll, Template, Watermark
from tests.deployment import Deployment, Run
from tests.provider.conftest import MESSAGES, USERS, Warehouse, outcomes, sent

DagOf = Callable[..., DAG]

# Airflow warns from 64 KB on, and every run of a sync reads the states of all runs before it.
SMALL = 48_000


class TestResult:
    def test_runs_send_what_is_new_then_nothing_then_what_has_changed(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(1, 2, 3)
        dag = users()
        first = deployment.test(dag)
        assert sent(census_sandbox) == ["1", "2", "3"]
        assert outcomes(first.result) == {"read": 3, "upserted": 3}

        second = deployment.test(dag)
        assert sent(census_sandbox) == []
        assert outcomes(second.result) == {"read": 1, "unchanged": 1}  # the boundary is read again

        warehouse.put(2, plan="paid")
        third = deployment.test(dag)
        assert sent(census_sandbox) == ["2"]
        assert outcomes(third.result)["upserted"] == 1
        assert braze.profile(external_id="2")["attributes"]["plan"] == "paid"

    def test_the_result_has_the_documented_shape(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(1, 2)
        run = deployment.run(users())

        result = run.result
        assert result.pop("seconds") > 0
        names = "created updated upserted deleted sent unchanged skipped invalid rejected uncertain".split()
        assert result == {
            "destination": "braze",
            "object": "user",
            "behavior": "update_or_create",
            "delta": "watermark",
            "dry_run": False,
            "counts": {**dict.fromkeys(names, 0), "upserted": 2, "read": 2},
            "watermark": {"column": "moved", "before": None, "after": 2},
            "invalid_sample": [],
            "rejected_sample": [],
            "uncertain_sample": [],
            "requests": 1,
            "retries": 0,
        }

    def test_the_state_lies_beside_it_and_is_small(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(*range(2_000))
        warehouse.level()

        state = deployment.run(users()).xcom("census_state")

        assert state["watermark"] == {"column": "moved", "value": 1}
        assert len(json.dumps(state)) < SMALL

    def test_a_full_refresh_keeps_no_memory_of_rows(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(1, 2)
        dag = users(delta=FullRefresh())
        deployment.run(dag)
        run = deployment.run(dag)

        assert sent(census_sandbox) == ["1", "2", "1", "2"]
        assert run.result["watermark"] is None
        assert run.result["delta"] == "full_refresh"


class TestWhatIsThere:
    """What the destination holds is looked up before it is written."""

    def test_a_first_run_adopts_what_is_as_it_should_be(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(*range(4))
        for id in ("1", "2"):
            braze.users.write({"external_id": id, "email": f"user-{id}@example.com", "plan": "free"})
        dag = users(delta=Snapshot(baseline="adopt"))
        first = deployment.test(dag)
        assert sent(census_sandbox) == ["0", "3"]
        assert outcomes(first.result) == {"read": 4, "unchanged": 2, "upserted": 2}
        assert first.result["requests"] == 2

        second = deployment.test(dag)
        assert outcomes(second.result) == {}
        assert second.result["requests"] == 0

    def test_a_field_that_people_edit_there_is_only_filled(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(1, 2)
        braze.users.write({"external_id": "1", "email": "old@example.com", "plan": "by hand"})
        run = deployment.test(users(mapping={"email": "email", "plan": Column("plan", set="if_empty")}))
        assert outcomes(run.result) == {"read": 2, "upserted": 2}
        assert [user["attributes"] for user in braze.users.profiles] == [
            {"email": "user-1@example.com", "plan": "by hand"},
            {"email": "user-2@example.com", "plan": "free"},
        ]


class TestThresholds:
    @pytest.fixture
    def poisoned(self, warehouse: Warehouse, census_sandbox: Sandbox) -> None:
        warehouse.put(1, 2, 3, 4)
        warehouse.put(3, email="not an address")
        warehouse.put(5)

    def test_too_many_rejects_fail_the_task_for_good_and_what_arrived_counts(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        census_sandbox: Sandbox,
        users: DagOf,
        poisoned: None,
    ) -> None:
        dag = users(retries=3, retry_delay=dt.timedelta(0))
        run = deployment.run(dag)

        assert run.state == "failed"
        assert run.tries == {"users": 1}
        assert isinstance(run.error, AirflowFailException)
        assert "max_rejected=0" in str(run.error)
        assert outcomes(run.result) == {"read": 5, "upserted": 4, "rejected": 1}
        assert [entry["key"] for entry in run.result["rejected_sample"]] == [3]

        sent(census_sandbox)
        warehouse.put(6)
        again = deployment.run(dag)
        assert again.state == "failed"
        assert outcomes(again.result) == {"read": 3, "unchanged": 1, "upserted": 1, "rejected": 1}

        sent(census_sandbox)
        warehouse.put(3)
        healed = deployment.run(dag)
        assert healed.state == "success"
        assert sent(census_sandbox) == ["3"]

    @pytest.mark.parametrize("max_rejected", [1, 0.2, None, "{{ 1 }}", "0.5", "{{ none }}"])
    def test_the_author_may_let_some_pass(
        self,
        deployment: Deployment,
        braze: Any,
        users: DagOf,
        poisoned: None,
        max_rejected: Any,
    ) -> None:
        run = deployment.run(users(max_rejected=max_rejected))

        assert run.state == "success"
        assert outcomes(run.result)["rejected"] == 1

    def test_invalid_rows_have_a_limit_of_their_own(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(1, 2)
        warehouse.put(3, plan=None)
        mapping = {"plan": Column("plan", null="reject")}
        strict = deployment.run(users(mapping=mapping, sync_id="strict"))
        assert strict.state == "failed"
        assert "max_invalid=0" in str(strict.error)
        assert outcomes(strict.result) == {"read": 3, "upserted": 2, "invalid": 1}

        lenient = deployment.run(users(mapping=mapping, max_invalid=1))
        assert lenient.state == "success"


class TestTemplates:
    def test_a_run_may_be_told_to_send_everything_or_nothing(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, make_dag: DagOf
    ) -> None:
        def run(**conf: bool) -> Run:
            # Anew for each run, as a worker reads the file anew: Airflow writes the conf into the DAG's params.
            params = {"full": Param(False, type="boolean"), "dry": Param(False, type="boolean")}
            with make_dag(params=params) as dag:
                CensusSyncOperator(**USERS, full_refresh="{{ params.full }}", dry_run="{{ params.dry }}")
            return deployment.run(dag, conf=conf)

        warehouse.put(1, 2)
        dry = run(dry=True)
        assert sent(census_sandbox) == []
        assert dry.result["dry_run"] is True
        assert dry.result["estimate"]["requests"] == 1
        assert outcomes(dry.result) == {"read": 2, "upserted": 2}
        assert dry.xcom("census_state") is None

        run()
        assert sent(census_sandbox) == ["1", "2"]
        run(full=True)
        assert sent(census_sandbox) == ["1", "2"]
        run()
        assert sent(census_sandbox) == []

    def test_the_model_may_be_a_file_with_templates_and_bound_parameters(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        census_sandbox: Sandbox,
        make_dag: DagOf,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "users.sql").write_text(
            "SELECT * FROM {{ params.table }} -- {{ ds }}\nWHERE plan = :plan"
        )
        with make_dag(template_searchpath=[str(tmp_path)], params={"table": "users", "plan": "paid"}) as dag:
            CensusSyncOperator(**{**USERS, "sql": "models/users.sql"}, parameters={"plan": "{{ params.plan }}"})
        warehouse.put(1)
        warehouse.put(2, plan="paid")

        run = deployment.run(dag, logical_date=dt.datetime(2026, 2, 3, tzinfo=dt.UTC))

        assert run.state == "success"
        assert sent(census_sandbox) == ["2"]
        assert "FROM users -- 2026-02-03" in run.rendered["users"]["sql"]

    def test_object_and_behavior_may_be_templates(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, census_sandbox: Sandbox, users: DagOf
    ) -> None:
        warehouse.put(1)
        run = deployment.run(users(destination_object="{{ 'user' }}", behavior="{{ 'update_only' }}"))

        assert run.state == "success"
        assert run.result["behavior"] == "update_only"
        assert outcomes(run.result)["skipped"] == 1


def _templated(**settings: Any) -> dict[str, Any]:
    return {name: f"{{{{ {value!r} }}}}" for name, value in settings.items()}


WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("source connection", {"source_conn_id": "nowhere"}, ["source connection 'nowhere' is not defined"]),
    ("source without SQL", {"source_conn_id": "braze"}, ["'braze'", "runs no SQL"]),
    (
        "source of a type without a hook",
        {"source_conn_id": "odd"},
        ["source connection 'odd'", "no_such_type", "provider of that database installed"],
    ),
    (
        "database of the snapshot",
        {"delta": Snapshot(conn_id="moved")},
        ["Snapshot(conn_id=…): connection 'moved' is not defined"],
    ),
    (
        "place of the state",
        {"delta": Watermark("moved", state="Asset")},
        ["Watermark(state=…): connection 'Asset' is not defined"],
    ),
    ("parameters rendered as text", {"parameters": "{{ [1] }}"}, ["parameters must be a list or a dict", "not a str"]),
    ("destination connection", {"destination_conn_id": "nowhere"}, ["destination connection 'nowhere' is not defined"]),
    ("destination type", {"destination_conn_id": "warehouse"}, ["'sqlite'", "valid: 'braze'", "'intercom'"]),
    ("object", {"destination_object": "usr"}, ["object 'usr'", "'user'", "'event'"]),
    ("behavior of the object", {"behavior": "create_only"}, ["behavior 'create_only'", "'update_or_create'"]),
    ("behavior", _templated(behavior="upsert"), ["behavior 'upsert'", "'update_or_create'", "'mirror'"]),
    ("identifier", {"sync_key": {"customer_id": "id"}}, ["identifier 'customer_id'", "'external_id'", "'email'"]),
    ("option", {"options": {"fast": True}}, ["option 'fast'", "'on_uncertain'"]),
    ("value of an option", {"options": {"on_uncertain": "retry"}}, ["'retry'", "'hold'", "'resend'"]),
    ("key column", {"sync_key": {"external_id": "user_id"}}, ["user_id", "email", "plan"]),
    ("mapped column", {"mapping": {"email": "mail"}}, ["mail", "email", "plan"]),
    ("cursor column", {"delta": Watermark("updated_at")}, ["updated_at", "moved"]),
    ("column in a template", {"mapping": {"x": Template("{{ nome }}")}}, ["nome", "plan"]),
    ("SQL", {"sql": "SELEKT * FROM users"}, ["SELEKT"]),
    ("table", {"sql": "SELECT * FROM usr"}, ["'warehouse'", "usr"]),
    (
        "variable of a template",
        {"sql": "SELECT * FROM {{ params.tabel }}"},
        ["the template in sql", "'tabel'", "in params"],
    ),
    ("variable in the parameters", {"parameters": {"ids": [1, "{{ since.day }}"]}}, ["parameters", "'since'"]),
    ("syntax of a template", {"sql": "SELECT 1\n{% if x %}"}, ["the template in sql", "'endif'", "line 2"]),
    ("filter of a template", {"behavior": "{{ 'append' | behaviour }}"}, ["the template in behavior", "'behaviour'"]),
    ("file of the model", {"sql": "models/usrs.sql"}, ["the template in sql", "models/usrs.sql"]),
    ("two statements", {"sql": "SELECT 1; DROP TABLE users"}, ["one SELECT"]),
    ("limit", _templated(max_rejected="many"), ["max_rejected='many'", "share"]),
    ("flag", _templated(dry_run="maybe"), ["dry_run='maybe'", "true", "false"]),
    (
        "baseline of what cannot be looked up",
        {
            "destination_object": "catalog_item",
            "sync_key": {"id": "id"},
            "mapping": {"catalog_name": Constant("products"), "name": "plan"},
            "delta": Snapshot(baseline="adopt"),
        },
        ["baseline='adopt'", "braze catalog_item", "'send'", "'skip'"],
    ),
    (
        "behavior that compares nothing",
        {**_templated(behavior="delete"), "delta": Snapshot(baseline="adopt")},
        ["baseline='adopt'", "'delete'", "'update_or_create'"],
    ),
    (
        "field of which nobody knows whether it is empty",
        {"mapping": {"push_tokens": Column("plan", set="if_empty")}},
        ["'push_tokens'", "set='if_empty'", "first_name"],
    ),
    (
        "field",
        {"destination_conn_id": "intercom", "destination_object": "contact", "mapping": {"nick": "plan"}},
        ["field 'nick'", "'name'", "'custom_attributes.*'"],
    ),
]


class TestMistakes:
    """Each is one clear error before the first row is sent, and is not tried again."""

    @pytest.fixture(autouse=True)
    def connections(
        self, warehouse: Warehouse, braze: Any, census_connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warehouse.put(1)
        census_connect("intercom", "intercom")
        monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "no_such_type"}))

    def final(self, run: Run) -> str:
        assert run.state == "failed"
        assert run.tries == {"users": 1}, "it was tried again"
        assert isinstance(run.error, AirflowFailException), run.error
        return str(run.error)

    @pytest.mark.parametrize(("settings", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
    def test_it_names_what_is_wrong_and_what_would_be_right(
        self,
        deployment: Deployment,
        census_sandbox: Sandbox,
        users: DagOf,
        settings: dict[str, Any],
        words: list[str],
    ) -> None:
        run = deployment.run(users(retries=2, retry_delay=dt.timedelta(0), **settings))

        message = self.final(run)
        assert [word for word in words if word not in message] == [], message
        assert sent(census_sandbox) == []

    def test_a_region_that_does_not_exist(
        self, deployment: Deployment, users: DagOf, census_connect: Callable[..., None]
    ) -> None:
        census_connect("intercom", "intercom", extra={"region": "mars"}, host="")
        run = deployment.run(
            users(destination_conn_id="intercom", destination_object="contact", mapping={"name": "plan"}, retries=2)
        )

        message = self.final(run)
        assert "'mars'" in message
        assert "'us', 'eu', 'au'" in message

    @pytest.mark.parametrize(
        ("parts", "words"),
        [
            ({"password": ""}, ["connection 'braze'", "no password", "REST API key"]),
            ({"host": "http://[::1"}, ["connection 'braze'", "http(s)://host[:port]"]),
            ({"host": "http://127.0.0.1:99999"}, ["connection 'braze'", "http(s)://host[:port]"]),
            ({"extra": [1]}, ["connection 'braze'", "extra must be a JSON object"]),
        ],
    )
    def test_a_part_of_the_connection_that_cannot_be(
        self,
        deployment: Deployment,
        users: DagOf,
        census_connect: Callable[..., None],
        parts: dict[str, Any],
        words: list[str],
    ) -> None:
        census_connect("braze", "braze", **parts)
        message = self.final(deployment.run(users(retries=2, retry_delay=dt.timedelta(0))))
        assert [word for word in words if word not in message] == [], message

    def test_an_address_with_https_where_only_http_is_spoken(
        self, deployment: Deployment, users: DagOf, census_connect: Callable[..., None], census_sandbox: Sandbox
    ) -> None:
        census_connect("braze", "braze", host=census_sandbox.url("braze").replace("http:", "https:"))
        message = self.final(deployment.run(users(retries=2, retry_delay=dt.timedelta(0))))

        assert "does not speak TLS" in message
        assert "connection 'braze'" in message

    def test_a_source_that_cannot_be_reached_is_named_and_tried_again(
        self, deployment: Deployment, users: DagOf, monkeypatch: pytest.MonkeyPatch, unused_port: int
    ) -> None:
        connection = {"conn_type": "postgres", "host": "127.0.0.1", "port": unused_port, "password": "hidden-word"}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
        run = deployment.run(users(retries=1, retry_delay=dt.timedelta(0)))

        assert (run.state, run.tries) == ("failed", {"users": 2})
        assert isinstance(run.error, Unavailable)
        assert "source connection 'warehouse': no connection: " in str(run.error)
        assert "hidden-word" not in str(run.error)

    def test_a_key_that_is_not_accepted_stops_the_run_at_once(
        self, deployment: Deployment, users: DagOf, census_connect: Callable[..., None], census_sandbox: Sandbox
    ) -> None:
        census_connect("braze", "braze", password="not-the-key")
        run = deployment.run(users(retries=2, retry_delay=dt.timedelta(0)))

        message = self.final(run)
        assert "401" in message
        assert "connection 'braze'" in message
        assert len(census_sandbox.ledger) == 1

    @pytest.mark.parametrize("settings", [{"mapping": {"email": "mail"}}, {"destination_conn_id": "wrong"}])
    def test_the_log_does_not_say_there_was_nothing_to_do(
        self,
        deployment: Deployment,
        users: DagOf,
        census_connect: Callable[..., None],
        capfd: pytest.CaptureFixture[str],
        settings: dict[str, Any],
    ) -> None:
        census_connect("wrong", "braze", password="not-the-key")
        self.final(deployment.run(users(**settings)))

        log = capfd.readouterr().out
        assert "stopped before the first row had an outcome" in log
        assert "nothing to do;" not in log
        assert "None → None" not in log

    def test_a_secret_is_in_no_trace_of_a_run(
        self,
        deployment: Deployment,
        users: DagOf,
        census_connect: Callable[..., None],
        census_sandbox: Sandbox,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        secret = "3f1c0ffee-key-of-the-workspace"
        caplog.set_level(logging.DEBUG)
        census_connect("braze", "braze", password=secret)
        echoed = {"message": f"Invalid API key: {secret}", "errors": [{"authorization": f"Bearer {secret}"}]}
        census_sandbox.inject(Fault(api="braze", status=401, body=echoed))
        refused = deployment.run(users())
        census_sandbox.inject(Fault(api="braze", status=400, body=echoed, times=100))
        monkeypatch.setattr(type(census_sandbox["braze"]), "api_key", secret)
        rejected = deployment.run(users())

        assert [refused.state, rejected.state] == ["failed", "failed"]
        assert outcomes(rejected.result)["rejected"] == 1
        traces = "".join("".join(traceback.format_exception(run.error)) for run in (refused, rejected))
        printed = capfd.readouterr()
        seen = (traces, repr(refused), repr(rejected), caplog.text, printed.out, printed.err)
        assert "401" in traces
        assert [text[max(0, text.find(secret) - 200) :][:400] for text in seen if secret in text] == []


class TestDeclaration:
    """What needs neither a connection nor a rendered template is an error of the DAG file."""

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"behavior": "upsert"}, "'update_or_create'"),
            ({"behavior": "append", "delta": FullRefresh()}, "Watermark"),
            ({"behavior": "append", "delta": None}, "Watermark"),
            ({"behavior": "mirror"}, "mirror"),
            ({"behavior": "send", "delta": Watermark("moved", on_null="include")}, "on_null"),
            ({"behavior": "append", "delta": Snapshot(baseline="adopt")}, "baseline='adopt'"),
            ({"behavior": "delete", "mapping": {"a": Constant(1, set="if_empty")}}, "set='if_empty'"),
            ({"sync_key": {}}, "exactly one"),
            ({"sync_key": {"external_id": "id", "email": "email"}}, "exactly one"),
            ({"sync_key": "id"}, "exactly one"),
            ({"delta": "updated_at"}, "Watermark(column)"),
            ({"mapping": ["email"]}, "mapping"),
            ({"mapping": {"email": 7}}, "Constant"),
            ({"rate_share": 0}, "rate_share"),
            ({"rate_share": 1.5}, "rate_share"),
            ({"max_rejected": 1.5}, "max_rejected"),
            ({"max_invalid": -1}, "max_invalid"),
            ({"max_deletes": "few"}, "max_deletes"),
            ({"max_deletes": ""}, "max_deletes"),
            ({"rate_share": "0.5"}, "rate_share='0.5' must be a number"),
            ({"rate_share": None}, "rate_share=None must be a number"),
            ({"source_conn_id": None}, "source_conn_id=None must be the id"),
            ({"destination_conn_id": ["braze"]}, "destination_conn_id=['braze'] must be the id"),
            ({"destination_conn_id": "{{ params.to }}"}, "is not templated"),
            ({"destination_object": None}, "destination_object=None"),
            ({"sync_id": 7}, "sync_id=7"),
            ({"sql": None}, "sql=None must be the text of one SELECT"),
            ({"sql": " "}, "sql=' ' must be the text of one SELECT"),
            ({"sql": ["SELECT 1"]}, "must be the text of one SELECT"),
            ({"parameters": 7}, "parameters must be a list or a dict of values, not a int"),
            ({"parameters": "7"}, "parameters must be a list or a dict of values, not a str"),
            ({"options": ["permanent"]}, "options=['permanent'] must be {name: value}"),
            ({"options": "permanent"}, "options='permanent' must be {name: value}"),
            ({"dry_run": "maybe"}, "dry_run='maybe'"),
            ({"full_refresh": []}, "full_refresh=[]"),
            ({"allow_empty": 7}, "allow_empty=7"),
            ({"sync_key": {"external_id": 7}}, "{'external_id': 7} must be {destination identifier: model column}"),
            ({"sync_key": {"external_id": ["a", "b"]}}, "both names"),
            ({"sync_key": {"": "id"}}, "both names"),
            ({"mapping": {7: "plan"}}, "mapping of 7: no name of a field"),
            ({"mapping": {"home..city": "plan"}}, "mapping of 'home..city': no name of a field"),
            ({"mapping": {"x": ""}}, "mapping of 'x': '' is no name of a column"),
            ({"mapping": {"x": "{{ plan }}"}}, "write Template("),
            ({"mapping": {"x": Column}}, "mapping of 'x': <class"),
        ],
    )
    def test_wrong_use_is_refused_where_it_is_written(self, users: DagOf, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(words)):
            users(**settings)

    @pytest.mark.parametrize(
        ("declare", "words"),
        [
            (lambda: Column(None), "Column(None) needs the name of a column"),
            (lambda: Column(" "), "Column(' ') needs the name of a column"),
            (lambda: SyncAll(exclude="moved"), "exclude='moved' must be a list of column names"),
            (lambda: SyncAll(exclude=None), "exclude=None must be a list of column names"),
            (lambda: SyncAll(exclude=[7]), "exclude=[7] must be a list of column names"),
            (lambda: SyncAll(normalize=[]), "'snake_case'"),
            (lambda: SyncAll(prefix=None), "prefix=None must be text"),
            (lambda: Snapshot(conn_id=7), "conn_id=7 must be a name"),
            (lambda: Snapshot(schema=""), "schema='' must be a name"),
        ],
    )
    def test_so_are_the_parts_of_it(self, declare: Callable[[], object], words: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(words)):
            declare()

    @pytest.mark.parametrize(
        ("argument", "value"),
        [("behavior", "update_only"), ("max_rejected", 3), ("max_deletes", "0.5"), ("dry_run", True)],
    )
    def test_what_another_task_returns_may_stand_where_a_template_may(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        make_dag: DagOf,
        argument: str,
        value: object,
    ) -> None:
        warehouse.put(1)
        with make_dag() as dag:

            @task
            def decide() -> object:
                return value

            CensusSyncOperator(**{**USERS, argument: decide()})

        run = deployment.run(dag)
        assert run.states == {"decide": "success", "users": "success"}

    @pytest.mark.parametrize(
        ("partial", "expanded", "words"),
        [
            ({}, {"behavior": ["update_only", "upsert"]}, "behavior 'upsert'"),
            ({}, {"sync_key": [{"external_id": "id"}, "id"]}, "exactly one"),
            ({}, {"sql": ["SELECT * FROM users", "SELECT * FROM {{ table }}"]}, "the template in sql"),
            ({"rate_share": 7}, {"destination_conn_id": ["braze", "braze"]}, "rate_share=7"),
        ],
    )
    def test_what_a_mapped_task_is_given_is_seen_on_the_worker_and_not_tried_again(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        make_dag: DagOf,
        partial: dict[str, Any],
        expanded: dict[str, Any],
        words: str,
    ) -> None:
        with make_dag() as dag:
            CensusSyncOperator.partial(
                **{name: value for name, value in USERS.items() if name not in expanded},
                **partial,
                retries=2,
                retry_delay=dt.timedelta(0),
            ).expand(**expanded)

        run = deployment.run(dag)
        assert run.states["users[1]"] == "failed"
        assert run.tries["users[1]"] == 1
        assert words in str(run.errors["users[1]"][-1])

    def test_runs_of_one_sync_wait_for_each_other(self, users: DagOf) -> None:
        assert users().task_dict["users"].max_active_tis_per_dag == 1
        assert users(max_active_tis_per_dag=3).task_dict["users"].max_active_tis_per_dag == 3

    def test_two_tasks_with_one_sync_id_keep_states_of_their_own(
        self,
        deployment: Deployment,
        warehouse: Warehouse,
        braze: Any,
        slack: Any,
        census_sandbox: Sandbox,
        make_dag: DagOf,
    ) -> None:
        with make_dag() as dag:
            CensusSyncOperator(**USERS, sync_id="same")
            CensusSyncOperator(**MESSAGES, sync_id="same")
        for id in (1, 2):
            warehouse.put(id)
            run = deployment.run(dag)
            assert set(run.states.values()) == {"success"}

        assert slack.texts("general") == ["1 is on free", "2 is on free"]
        assert sent(census_sandbox) == ["1", "2"]

    def test_every_column_may_go_by_itself(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(1)
        deployment.run(users(mapping=SyncAll(exclude=["moved"])))

        assert braze.profile(external_id="1")["attributes"] == {"email": "user-1@example.com", "plan": "free"}

    def test_constants_need_no_column(
        self, deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
    ) -> None:
        warehouse.put(1)
        deployment.run(users(mapping={"origin": Constant("warehouse")}))

        assert braze.profile(external_id="1")["attributes"]["origin"] == "warehouse"
