from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.zapier import ZapierSandbox


@pytest.fixture
def zapier(sandbox: Sandbox) -> ZapierSandbox:
    api: ZapierSandbox = sandbox["zapier"]
    return api


def post(sandbox: Sandbox, body: Any, path: str = ZapierSandbox.hook, **sent: Any) -> requests.Response:
    return requests.post(sandbox.url("zapier") + path, **{"json": body, "timeout": 5, **sent})


def test_a_row_starts_the_zap_and_the_answer_tells_an_id(sandbox: Sandbox, zapier: ZapierSandbox) -> None:
    answer = post(sandbox, {"a": 1}).json()
    assert answer["status"] == "success"
    assert answer["id"] == answer["attempt"]
    assert zapier.caught == [{"a": 1}]


def test_success_is_answered_also_where_nobody_listens(sandbox: Sandbox, zapier: ZapierSandbox) -> None:
    assert post(sandbox, {"a": 1}, "/hooks/catch/1234567/another").json()["status"] == "success"
    zapier.on = False
    assert post(sandbox, {"a": 2}).json()["status"] == "success"
    assert (zapier.caught, zapier.lost) == ([], [{"a": 1}, {"a": 2}])


def test_a_silent_hook_answers_nothing(sandbox: Sandbox, zapier: ZapierSandbox) -> None:
    zapier.silent = True
    answer = post(sandbox, {"a": 1})
    assert (answer.status_code, answer.content) == (200, b"")
    assert zapier.caught == [{"a": 1}]


@pytest.mark.parametrize(
    ("change", "sent", "status"),
    [
        ({}, {"json": [{"a": 1}]}, 400),
        ({}, {"json": None, "data": "a=1"}, 400),
        ({}, {"path": "/hooks"}, 404),
        ({"max_bytes": 10}, {"json": {"a": "x" * 10}}, 413),
        ({"gone": True}, {}, 410),
    ],
)
def test_what_is_refused_starts_nothing(
    sandbox: Sandbox, zapier: ZapierSandbox, change: dict[str, Any], sent: dict[str, Any], status: int
) -> None:
    for name, value in change.items():
        setattr(zapier, name, value)
    assert post(sandbox, {"a": 1}, **sent).status_code == status
    assert (zapier.caught, zapier.lost) == ([], [])


def test_too_many_rows_are_told_when_to_come_again(sandbox: Sandbox, zapier: ZapierSandbox) -> None:
    zapier.window.limit = 2
    answers = [post(sandbox, {"n": n}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) > 0
