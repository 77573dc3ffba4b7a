from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_census.hooks.base import destination_hook
from airflow_provider_census.hooks.http import HttpHook
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.http import HttpSandbox
from airflow_provider_census.sync.outcome import Outcome

Connect = Callable[..., None]
PUT = {"method": "PUT", "path": "/v1/things/{id}"}


@pytest.mark.parametrize("conn_type", ["census_http", "http"])
def test_a_connection_of_either_type_leads_to_the_hook(
    census_sandbox: Sandbox, census_connect: Connect, conn_type: str
) -> None:
    census_connect("api", "http", conn_type=conn_type)
    hook = destination_hook("api")
    assert isinstance(hook, HttpHook)
    assert hook.test_connection() == (True, "GET /v1/me answers HTTP 200")
    (result,) = hook.send("thing", "update_or_create", [{"id": 7, "name": "Ann"}], options=PUT)
    assert result.outcome is Outcome.UPSERTED
    assert census_sandbox["http"].things == {"7": {"name": "Ann"}}


@pytest.mark.parametrize(
    "extra",
    [
        {"Authorization": f"Bearer {HttpSandbox.token}", "timeout": 10, "verify": False},
        {"X-Api-Key": HttpSandbox.token, "test_path": "/v1/me"},
    ],
)
def test_a_connection_of_airflows_own_provider_works_as_it_is(
    census_sandbox: Sandbox, census_connect: Connect, extra: dict[str, Any]
) -> None:
    parts = urlsplit(census_sandbox.url("http"))
    census_connect(
        "api", "http", conn_type="http", schema="http", host=parts.hostname, port=parts.port, password="", extra=extra
    )
    # The stand-in has a path of its own, for which there is no place in such a connection.
    options = {"method": "PUT", "path": f"{parts.path}/v1/things/{{id}}"}
    (result,) = destination_hook("api").send("thing", "update_or_create", [{"id": 7}], options=options)
    assert result.outcome is Outcome.UPSERTED
    assert sorted(census_sandbox["http"].things) == ["7"]


def test_login_and_password_of_such_a_connection_are_basic(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("api", "http", conn_type="http", login=HttpSandbox.login)
    assert HttpHook("api").test_connection()[0]


def test_records_are_paced_as_the_options_say(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("api", "http")
    hook = HttpHook("api", rate_share=0.5)
    limiter = hook.get_conn().limiter
    assert limiter.per_second() == pytest.approx(5, rel=0.05)
    hook.send("thing", "update_or_create", [{"id": 1}], options={**PUT, "rate": {"requests": 100, "seconds": 2}})
    assert limiter.per_second() == pytest.approx(25, rel=0.05)
    hook.send("thing", "update_or_create", [{"id": 1}], options=PUT)
    assert limiter.per_second() == pytest.approx(5, rel=0.05)
