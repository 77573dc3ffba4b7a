"""What Airflow and its UI know of the provider."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow.sdk.bases.hook import BaseHook

from airflow_provider_census import destinations
from airflow_provider_census.get_provider_info import get_provider_info
from airflow_provider_census.hooks.base import DestinationHook
from airflow_provider_census.sandbox.core import Sandbox

INFO = get_provider_info()
TYPES: list[dict[str, Any]] = INFO["connection-types"]
each_type = pytest.mark.parametrize("declared", TYPES, ids=[t["connection-type"] for t in TYPES])

# The first provider to register a type owns it, and ours comes first by its name.
OTHERS = {"slack", "slackwebhook", "segment", "http", "generic", "rest", "webhook"}


def schema(name: str) -> dict[str, Any]:
    """Return a JSON schema of Airflow's."""
    return dict(json.loads((importlib.resources.files("airflow") / name).read_text()))


def hook_class(declared: dict[str, Any]) -> type[DestinationHook]:
    module, _, name = declared["hook-class-name"].rpartition(".")
    cls: type[DestinationHook] = getattr(importlib.import_module(module), name)
    return cls


def test_it_is_what_airflow_takes() -> None:
    jsonschema.validate(INFO, schema("provider_info.schema.json"))
    whole = schema("provider.yaml.schema.json")
    jsonschema.validate(TYPES, whole["properties"]["connection-types"])


def test_every_destination_has_a_connection_and_a_hook() -> None:
    assert {hook_class(declared).destination for declared in TYPES} == set(destinations.names())
    modules = INFO["hooks"][0]["python-modules"]
    assert sorted(modules) == [f"airflow_provider_census.hooks.{name}" for name in destinations.names()]


@each_type
def test_a_connection_finds_its_hook(declared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cls = hook_class(declared)

    assert cls.conn_type == declared["connection-type"]
    assert cls.hook_name == declared["hook-name"]
    assert next(iter(inspect.signature(cls).parameters)) == cls.conn_name_attr
    # As Airflow builds it from a connection.
    monkeypatch.setenv("AIRFLOW_CONN_SOME", json.dumps({"conn_type": declared["connection-type"]}))
    hook = BaseHook.get_hook("some")
    assert type(hook) is cls
    assert hook.conn_id == getattr(hook, cls.conn_name_attr) == "some"
    assert cls().conn_id == cls.default_conn_name


@each_type
def test_its_type_is_nobody_elses(declared: dict[str, Any]) -> None:
    assert declared["connection-type"] not in OTHERS
    assert declared["connection-type"].removeprefix("census_") in destinations.names()


@each_type
def test_its_form_asks_for_what_the_destination_reads(declared: dict[str, Any]) -> None:
    form = declared["ui-field-behaviour"]

    assert set(form["hidden-fields"]) >= {"schema", "port"}
    assert not set(form["hidden-fields"]) & {"password", "host"}
    assert set(form["relabeling"]) & {"password"}
    assert set(form["placeholders"]) <= {"host", "login", "password", "extra"}
    for name, field in declared["conn-fields"].items():
        secret = "token" in name or "secret" in name
        assert (field["schema"].get("format") == "password") is secret, f"{name} is shown to everybody"


def test_parsing_it_imports_nothing_of_airflow() -> None:
    code = (
        "import sys; from airflow_provider_census.get_provider_info import get_provider_info; get_provider_info();"
        "print([m for m in sys.modules if m.split('.')[0] in ('airflow', 'requests', 'sqlglot', 'jinja2')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_declaring_a_sync_imports_nothing_of_what_runs_it() -> None:
    code = (
        "import sys, airflow.sdk, airflow.sdk.exceptions; from airflow.sdk import BaseOperator\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_census.operators.sync import CensusSyncOperator\n"
        "new = set(sys.modules) - before\n"
        "heavy = new & {'sqlglot', 'requests', 'urllib3', 'tenacity', 'duckdb', 'pandas', 'msgspec'}\n"
        "rooms = ('transport', 'destinations', 'hooks', 'sources', 'state')\n"
        "ours = {m for m in new if m.startswith('airflow_provider_census.') and m.split('.')[1] in rooms}\n"
        "print(sorted(heavy | ours))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip().splitlines()[-1] == "[]"


def airflow(*arguments: str, **environment: str) -> str:
    """Run Airflow's command line and return what it prints."""
    command = [str(Path(sys.executable).with_name("airflow")), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_command_line_lists_it() -> None:
    listed = json.loads(airflow("providers", "list", "-o", "json").splitlines()[-1])
    (found,) = [provider for provider in listed if "census" in provider["package_name"]]

    assert found["package_name"] == "airflow-provider-census"
    assert found["description"].startswith("Reverse ETL")


def test_the_command_line_tests_a_connection(census_sandbox: Sandbox, census_connect: Callable[..., None]) -> None:
    census_connect("braze_prod", "braze")
    printed = airflow("connections", "test", "braze_prod", AIRFLOW__CORE__TEST_CONNECTION="Enabled")

    assert "Connection success!" in printed
    assert census_sandbox["braze"].api_key not in printed
    assert len(census_sandbox.ledger) == 1


def test_the_forms_reach_the_ui() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    shown = {meta.connection_type: meta for meta in HookMetaService.hook_meta_data()}

    intercom = shown["intercom"]
    assert intercom.hook_name == "Intercom"
    assert intercom.standard_fields is not None
    assert intercom.standard_fields.password is not None
    assert intercom.standard_fields.password.title == "Access token"
    assert intercom.standard_fields.login is not None
    assert intercom.standard_fields.login.hidden
    assert intercom.extra_fields is not None
    assert intercom.extra_fields["region"]["schema"]["enum"] == ["us", "eu", "au"]
    assert {t["connection-type"] for t in TYPES} <= set(shown)
