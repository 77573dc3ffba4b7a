from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_census.destinations.zapier import Zapier
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.zapier import ZapierSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.rate import Limiter

URL = "https://hooks.zapier.com/hooks/catch/1234567/abc12de/"
HOOK = Credentials(password=URL)


@pytest.fixture
def zapier(sandbox: Sandbox) -> ZapierSandbox:
    api: ZapierSandbox = sandbox["zapier"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = connect(sandbox)
    yield client
    client.close()


def connect(sandbox: Sandbox, end: str = "") -> Client:
    credentials = Credentials(password=ZapierSandbox.connection["password"] + end, host=sandbox.url("zapier"))
    return Client(Zapier.endpoint(credentials), Limiter([]), judge=Zapier.judge, backoff_s=0.01)


def row(n: int = 1, **fields: Any) -> Operation:
    return Operation(Behavior.SEND, Record(n, f"e{n}", fields))


def run(client: Client, *operations: Operation, **options: Any) -> list[RowResult]:
    zapier = Zapier("hook", Behavior.SEND, options=options)
    for operation in operations:
        assert zapier.check(operation) is None
    results = {n: result for batch in deliver(enumerate(operations), zapier, client) for n, result in batch}
    return [results[n] for n in range(len(operations))]


def fault(**fields: Any) -> str | None:
    return Zapier("hook", Behavior.SEND).check(row(**fields))


# --- the connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "url"),
    [("", URL), ("http://127.0.0.1:9/proxy/", "http://127.0.0.1:9/proxy/hooks/catch/1234567/abc12de/")],
)
def test_the_password_is_where_to_send_and_a_host_replaces_its_own(host: str, url: str) -> None:
    assert Zapier.endpoint(replace(HOOK, host=host)).base_url == url


@pytest.mark.parametrize("path", ["/hooks/catch/1234567/abc12de", "/hooks/catch/1234567/abc12de/silent/"])
def test_every_form_of_a_hook_is_taken(path: str) -> None:
    url = f"https://hooks.zapier.com{path}"
    assert Zapier.endpoint(Credentials(password=url)).base_url == url


@pytest.mark.parametrize(
    "password",
    [
        "abc12de",
        "hooks.zapier.com/hooks/catch/1/a/",
        "https://hooks.zapier.com/hooks/catch/",
        "https://hooks.zapier.com/hooks/catch/1/../a/",
        "https://hooks.zapier.com/hooks/catch/1/a/?x=1",
        "https://zapier.com/app/zaps",
        "ftp://hooks.zapier.com/hooks/catch/1/a/",
        "http://hooks.zapier.com/hooks/catch/1/a/",
    ],
)
def test_a_password_that_is_no_hook_is_refused_without_showing_it(password: str) -> None:
    with pytest.raises(ConfigError, match="Catch Hook URL") as refused:
        Zapier.endpoint(Credentials(password=password))
    assert password not in str(refused.value)


def test_the_path_alone_is_a_secret_too() -> None:
    endpoint = Zapier.endpoint(HOOK)
    assert endpoint.redact("POST /hooks/catch/1234567/abc12de HTTP/1.1") == "POST *** HTTP/1.1"


def test_the_test_starts_no_zap_and_promises_nothing(sandbox: Sandbox, client: Client) -> None:
    assert "cannot be told" in client.run(Zapier.test())
    assert sandbox.ledger == []


# --- rows -----------------------------------------------------------------------------------------------------------


def test_each_row_is_one_object_with_its_event_id(sandbox: Sandbox, zapier: ZapierSandbox, client: Client) -> None:
    results = run(client, row(1, plan="free", customer={"name": "Ann"}), row(2, plan=None))
    assert [r.outcome for r in results] == [Outcome.SENT] * 2
    assert sorted(zapier.caught, key=lambda r: r["event_id"]) == [
        {"event_id": "e1", "plan": "free", "customer": {"name": "Ann"}},
        {"event_id": "e2", "plan": None},
    ]
    assert len(sandbox.calls("zapier", "POST")) == 2


def test_the_event_id_of_the_row_wins_over_a_field_of_this_name() -> None:
    assert Zapier("hook", Behavior.SEND).payload(row(7, event_id="other")) == {"event_id": "e7"}


def test_text_that_looks_like_json_is_left_alone_by_zapier() -> None:
    assert Zapier.endpoint(HOOK).headers["X-Recurse-Parse"] == "false"


def test_a_url_with_a_slash_at_its_end_reaches_the_same_hook(sandbox: Sandbox, zapier: ZapierSandbox) -> None:
    client = connect(sandbox, "/")
    run(client, row())
    client.close()
    assert len(zapier.caught) == 1
    assert sandbox.ledger[0].path.endswith("/")


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["a", "b"],
        [1, None, True],
        [{"sku": "a", "n": 1}, {"n": 2, "sku": "b"}],
        {"items": [{"sku": "a"}], "city": "Brno"},
    ],
)
def test_lists_that_zapier_keeps_together_are_sent(value: Any) -> None:
    assert fault(value=value) is None


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3]],
        [{"sku": "a", "sizes": [1, 2]}],
        [{"address": {"city": "Brno"}}],
        [{"sku": "a", "n": 1}, {"sku": "b"}],
        [{"sku": "a"}, "b"],
        {"order": {"items": [[1]]}},
    ],
)
def test_lists_that_zapier_would_mix_up_are_invalid(value: Any) -> None:
    reason = fault(value=value)
    assert reason is not None
    assert reason.startswith("value: a list whose items")


def test_a_row_larger_than_a_hook_takes_is_invalid() -> None:
    assert "2,000,000" in (fault(a="x" * 1_500_000, b="x" * 600_000) or "")


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_hook_in_silent_mode_accepts_without_a_word(zapier: ZapierSandbox, client: Client) -> None:
    zapier.silent = True
    assert [r.outcome for r in run(client, row())] == [Outcome.SENT]


def test_sent_means_taken_also_where_the_zap_is_off(zapier: ZapierSandbox, client: Client) -> None:
    zapier.on = False
    assert [r.outcome for r in run(client, row())] == [Outcome.SENT]
    assert zapier.caught == []


def test_a_hook_that_is_gone_stops_the_run(sandbox: Sandbox, zapier: ZapierSandbox, client: Client) -> None:
    zapier.gone = True
    with pytest.raises(ConfigError, match="copy the URL"):
        run(client, *map(row, range(100)))
    assert len(sandbox.ledger) <= Zapier.concurrency


@pytest.mark.parametrize("status", [404, 405])
def test_an_address_without_a_hook_stops_the_run(sandbox: Sandbox, client: Client, status: int) -> None:
    sandbox.inject(Fault(api="zapier", status=status, body="nothing here", times=100))
    with pytest.raises(ConfigError, match=str(status)):
        run(client, row())


def test_a_refused_row_is_rejected_in_zapiers_words(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="zapier", status=413, body="payload too large"))
    (result,) = run(client, row())
    assert (result.outcome, result.reason, result.status) == (Outcome.REJECTED, "HTTP 413 payload too large", 413)


def test_a_row_without_an_answer_may_have_started_the_zap_and_is_not_sent_again(
    sandbox: Sandbox, zapier: ZapierSandbox, client: Client
) -> None:
    sandbox.inject(Fault(api="zapier", reset="after"))
    assert [r.outcome for r in run(client, row())] == [Outcome.UNCERTAIN]
    assert len(zapier.caught) == 1


def test_a_row_without_an_answer_is_sent_again_with_its_id_where_the_author_says_so(
    sandbox: Sandbox, zapier: ZapierSandbox, client: Client
) -> None:
    sandbox.inject(Fault(api="zapier", reset="after"))
    assert [r.outcome for r in run(client, row(), on_uncertain="resend")] == [Outcome.SENT]
    assert [caught["event_id"] for caught in zapier.caught] == ["e1", "e1"]


def test_another_status_than_success_is_no_acceptance(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="zapier", status=200, body={"status": "failure"}))
    assert [r.outcome for r in run(client, row())] == [Outcome.UNCERTAIN]
