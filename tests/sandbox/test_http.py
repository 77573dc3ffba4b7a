from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.http import HttpSandbox

BEARER = {"Authorization": f"Bearer {HttpSandbox.token}"}


@pytest.fixture
def api(sandbox: Sandbox) -> HttpSandbox:
    api: HttpSandbox = sandbox["http"]
    return api


def call(sandbox: Sandbox, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    return requests.request(method, sandbox.url("http") + path, json=body, headers=headers or BEARER, timeout=5)


def test_things_come_change_and_go(sandbox: Sandbox, api: HttpSandbox) -> None:
    assert call(sandbox, "PUT", "/v1/things/a", {"n": 1}).status_code == 201
    assert call(sandbox, "PUT", "/v1/things/a", {"m": 2}).status_code == 200
    assert call(sandbox, "PATCH", "/v1/things/a", {"n": 3}).json() == {"ok": True}
    assert api.things == {"a": {"n": 3, "m": 2}}
    assert call(sandbox, "POST", "/v1/things", {"id": "a"}).status_code == 409
    assert call(sandbox, "DELETE", "/v1/things/a").status_code == 204
    assert call(sandbox, "DELETE", "/v1/things/a").status_code == 404
    assert call(sandbox, "PATCH", "/v1/things/a", {"n": 1}).status_code == 404
    assert call(sandbox, "POST", "/v1/things", {"external_id": "a", "n": 4}).status_code == 201
    assert api.things == {"a": {"n": 4}}


def test_a_batch_tells_what_it_refuses_and_an_import_refuses_all(sandbox: Sandbox, api: HttpSandbox) -> None:
    things = [{"id": 1, "email": "a@b"}, {"id": 2, "email": "none"}, {"email": "c@d"}]
    assert call(sandbox, "POST", "/v1/things/batch", {"things": things}).json()["errors"] == [
        {"index": 1, "id": None, "message": "email is not valid"},
        {"index": 2, "id": None, "message": "id is missing"},
    ]
    assert sorted(api.things) == ["1"]
    api.things.clear()
    assert call(sandbox, "POST", "/v1/things/import", things).status_code == 422
    assert api.things == {}


@pytest.mark.parametrize("body", [[], {"things": []}, {}, [{"id": n} for n in range(101)]])
def test_a_list_that_is_none_or_too_long_is_refused(sandbox: Sandbox, api: HttpSandbox, body: Any) -> None:
    assert call(sandbox, "POST", "/v1/things/import", body).status_code == 400


def test_what_is_repeated_with_its_key_is_not_done_again(sandbox: Sandbox, api: HttpSandbox) -> None:
    for _ in range(2):
        answer = call(sandbox, "POST", "/v1/events", {"n": 1}, **BEARER, **{"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()) == (202, {"ok": True})
    call(sandbox, "POST", "/v1/events", {"n": 1})
    assert len(api.events) == 2


@pytest.mark.parametrize("headers", [{"X-Api-Key": HttpSandbox.token}, BEARER])
def test_the_token_is_let_in(sandbox: Sandbox, api: HttpSandbox, headers: dict[str, str]) -> None:
    assert call(sandbox, "GET", "/v1/me", **headers).status_code == 200


@pytest.mark.parametrize("headers", [{"X-Api-Key": "wrong"}, {"Authorization": HttpSandbox.token}])
def test_others_are_not(sandbox: Sandbox, api: HttpSandbox, headers: dict[str, str]) -> None:
    assert call(sandbox, "PUT", "/v1/things/a", {}, **headers).status_code == 401
    assert api.things == {}


def test_who_comes_too_fast_is_told_when_to_come_again(sandbox: Sandbox, api: HttpSandbox) -> None:
    api.window.limit = 1
    assert [call(sandbox, "GET", "/v1/me").status_code for _ in range(2)] == [200, 429]
