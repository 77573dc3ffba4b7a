from __future__ import annotations

import os
import subprocess
import sys

import pytest
from airflow.sdk import BaseHook

from airflow_provider_census.sandbox.core import names

pytest_plugins = ("airflow_provider_census.testing.plugin",)


@pytest.mark.parametrize("name", names())
def test_a_connection_leads_to_the_stand_in_through_airflow(census_sandbox, census_connect, name):
    census_connect("of_the_dag", name)
    connection = BaseHook.get_connection("of_the_dag")
    assert connection.host == census_sandbox.url(name)
    assert connection.password == census_sandbox[name].connection["password"]


@pytest.mark.parametrize("name", names())
def test_the_hook_of_the_connection_type_is_let_in(census_connect, name):
    from airflow_provider_census.hooks.base import destination_hook

    census_connect("of_the_dag", name)
    ok, message = destination_hook("of_the_dag").test_connection()
    assert ok, message


def test_parts_of_a_connection_can_be_replaced(census_connect):
    census_connect("of_the_dag", "intercom", password="another", extra={"region": "eu"})
    connection = BaseHook.get_connection("of_the_dag")
    assert connection.password == "another"
    assert connection.extra_dejson == {"region": "eu"}


class TestBetweenTests:
    def test_one_test_leaves_a_contact(self, census_sandbox, census_connect):
        census_connect("of_one_test", "intercom")
        census_sandbox["intercom"].add_contact(name="Ann")

    def test_the_next_one_finds_neither_it_nor_the_connection(self, census_sandbox):
        assert census_sandbox["intercom"].contacts == {}
        assert "AIRFLOW_CONN_OF_ONE_TEST" not in os.environ


def loaded(*modules: str, of: tuple[str, ...]) -> str:
    """Return which modules ``of`` these packages are loaded by importing ``modules``, in a new process."""
    code = f"import sys, {', '.join(modules)}; print([m for m in sys.modules if m.split('.')[0] in {of}])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return shown.stdout.strip().splitlines()[-1]


def test_who_does_not_use_the_fixtures_loads_neither_airflow_nor_a_server():
    servers = ("airflow", "fastapi", "uvicorn", "requests", "sqlglot")
    assert loaded("airflow_provider_census.testing.plugin", of=servers) == "[]"


def test_the_package_itself_does_without_pytest():
    modules = ("operators.sync", "hooks.base", "sandbox.core", "sync.run")
    assert loaded(*(f"airflow_provider_census.{m}" for m in modules), of=("pytest", "_pytest")) == "[]"
