"""
Fixtures for the tests of your own DAGs: the destinations' stand-ins, and connections to them.

Where the package is installed, pytest knows them; they need ``airflow-provider-census[testing]``. ::

    from airflow_provider_census.sandbox.core import Fault

    def test_new_users_arrive_in_intercom(census_sandbox, census_connect):
        census_connect("intercom_prod", "intercom")
        census_sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", reset="after"))

        my_dag.test()

        assert len(census_sandbox["intercom"].contacts) == 3
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_census.sandbox.core import Sandbox


@pytest.fixture(scope="session")
def census_server() -> Iterator[Sandbox]:
    """The stand-ins of all APIs, for the whole session; take :func:`census_sandbox` instead."""
    # pytest loads this module for everybody, the server's packages are for those who use it.
    from airflow_provider_census.sandbox.core import Sandbox

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def census_sandbox(census_server: Sandbox) -> Sandbox:
    """The stand-ins of all APIs, empty: look at what arrived, let things go wrong."""
    census_server.reset()
    return census_server


@pytest.fixture
def census_connect(census_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """
    A function that points an Airflow connection at a stand-in for this test.

    ``census_connect("intercom_prod", "intercom")`` sets ``AIRFLOW_CONN_INTERCOM_PROD``; parts of the connection may
    follow: ``password="wrong"``, ``extra={"region": "eu"}``.
    """

    def connect(conn_id: str, name: str, **parts: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(census_sandbox.connection(name, **parts)))

    return connect
