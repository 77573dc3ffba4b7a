from __future__ import annotations

import pytest
import requests

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.stripe import StripeSandbox


@pytest.fixture
def stripe(sandbox) -> StripeSandbox:
    sandbox["stripe"].window.limit = 1_000
    return sandbox["stripe"]


@pytest.fixture
def call(sandbox: Sandbox, stripe):
    def call(method: str, path: str = "", form=None, headers=None, key: str = StripeSandbox.key, **query):
        headers = {"Authorization": f"Bearer {key}", **(headers or {})}
        url = f"{sandbox.url('stripe')}/v1/customers{path}"
        return requests.request(method, url, data=form, params=query, headers=headers, timeout=5)

    return call


def refusal(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["message"]


@pytest.mark.parametrize("key", ["", "sk_test_other", "pk_test_sandbox"])
def test_another_key_is_unauthorized(call, key):
    assert call("GET", key=key).status_code == 401


@pytest.mark.parametrize("version", ["latest", "2023-10-17", "2026-06-24", "2026-06-24.basil", "2099-01-01.zinnia"])
def test_a_version_that_is_none_is_refused(call, version):
    refused = call("GET", headers={"Stripe-Version": version})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == f"Invalid Stripe API version: {version}"
    assert refused.json()["error"]["type"] == "invalid_request_error"


def test_a_version_is_echoed(call):
    assert call("GET", headers={"Stripe-Version": "2023-10-16"}).headers["Stripe-Version"] == "2023-10-16"


def test_json_is_refused(call, stripe):
    response = call("POST", form='{"name": "Ada"}', headers={"Content-Type": "application/json"})
    assert "application/x-www-form-urlencoded" in refusal(response)[1]
    assert not stripe.customers


def test_a_customer_is_created_read_updated_and_deleted(call):
    form = {"email": "a@example.com", "address[city]": "Brno", "preferred_locales[0]": "cs", "metadata[plan]": "pro"}
    created = call("POST", form=form).json()
    assert created["address"] == {"city": "Brno"}
    assert (created["preferred_locales"], created["metadata"]) == (["cs"], {"plan": "pro"})
    path = f"/{created['id']}"
    changed = call("POST", path, {"email": "", "metadata[plan]": "", "metadata[a]": "1", "balance": "-5"}).json()
    assert (changed["email"], changed["metadata"], changed["balance"]) == (None, {"a": "1"}, -5)
    assert call("POST", path, {"metadata": ""}).json()["metadata"] == {}
    assert call("DELETE", path).json() == {"id": created["id"], "object": "customer", "deleted": True}
    assert call("GET", path).json()["deleted"] is True
    assert refusal(call("POST", path, {"name": "x"})) == (404, f"No such customer: '{created['id']}'")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"nickname": "x"}, "unknown parameter: nickname"),
        ({"address[street]": "x"}, "unknown parameter: address[street]"),
        ({"email": "x"}, "Invalid email address"),
        ({"name": "x" * 257}, "256"),
        ({"tax_exempt": "perhaps"}, "Invalid tax_exempt"),
        ({"balance": "1.5"}, "Invalid integer"),
        ({"shipping[name]": "Ada"}, "shipping[address]"),
        ({"shipping[address][city]": "Brno"}, "shipping[name]"),
        ({"metadata[a]": "x" * 501}, "under 500 characters"),
        ({"metadata[" + "k" * 41 + "]": "x"}, "under 40 characters"),
        ({f"metadata[k{n}]": "x" for n in range(51)}, "up to 50 keys, but you've set 51"),
        ({"name[x]": "y"}, "is an object"),
        ({"address": "Brno"}, "Invalid object"),
    ],
)
def test_bad_parameters_are_refused(call, stripe, form, words):
    status, message = refusal(call("POST", form=form))
    assert (status, words in message) == (400, True), message
    assert not stripe.customers


def test_the_list_is_case_sensitive_immediate_and_paged_newest_first(call, stripe):
    ids = [stripe.add_customer(email="a@example.com", created=n) for n in range(3)]
    stripe.add_customer(email="A@example.com")
    page = call("GET", email="a@example.com", limit="2").json()
    assert ([c["id"] for c in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    rest = call("GET", email="a@example.com", starting_after=ids[1]).json()
    assert ([c["id"] for c in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert len(call("GET", **{"created[gte]": "2"}).json()["data"]) == 2
    assert call("GET", limit="101").status_code == 400
    assert call("GET", phone="1").status_code == 400


def test_search_is_late_and_without_regard_to_case(call, stripe):
    stripe.search_lag_s = 3600
    stripe.add_customer(metadata={"id": "A"})
    stripe.add_customer(metadata={"id": "B"}, email="B@example.com")
    stripe.add_customer(searchable=False, metadata={"id": "c"})

    def found(query: str) -> list[str]:
        return [c["metadata"]["id"] for c in call("GET", "/search", query=query).json()["data"]]

    assert found("metadata['id']:'a'") == ["A"]
    assert found("email:'b@EXAMPLE.com'") == ["B"]
    assert found("metadata['id']:'a' OR metadata['id']:'b' OR metadata['id']:'c'") == ["A", "B"]
    assert found("metadata['id']:'b' AND email:'x'") == []
    stripe.search_lag_s = 0
    assert found("metadata['id']:'c'") == ["c"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "metadata['id']:'a",
        "shoe_size:'1'",
        "metadata['id']:'a' OR email:'a' AND email:'b'",
        " OR ".join(f"email:'{n}'" for n in range(11)),
    ],
)
def test_a_query_it_does_not_understand_is_refused(call, query):
    assert call("GET", "/search", query=query).status_code == 400


def test_an_idempotency_key_is_carried_out_once_a_day(call, stripe):
    headers = {"Idempotency-Key": "k"}
    first = call("POST", form={"name": "Ada"}, headers=headers)
    again = call("POST", form={"name": "Ada"}, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    other = call("POST", form={"name": "Bob"}, headers=headers)
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    assert len(stripe.customers) == 1
    stripe.forget_after_s = -1
    assert call("POST", form={"name": "Bob"}, headers=headers).json()["name"] == "Bob"
    assert call("POST", form={}, headers={"Idempotency-Key": "k" * 256}).status_code == 400


@pytest.mark.parametrize(("when", "there"), [("before", 0), ("after", 1)])
def test_a_failure_is_recorded_and_repeated(call, stripe, when, there):
    stripe.break_creation = when
    answers = [call("POST", form={"name": "Ada"}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [a.status_code for a in answers] == [500, 500]
    assert len(stripe.customers) == there


def test_a_request_that_is_not_valid_is_not_recorded(call, stripe):
    headers = {"Idempotency-Key": "k"}
    assert call("POST", form={"nickname": "x"}, headers=headers).status_code == 400
    assert call("POST", form={"name": "x"}, headers=headers).status_code == 200


def test_what_comes_too_fast_is_refused_with_the_reason(call, stripe):
    stripe.window.limit = 2
    answers = [call("GET") for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[2].headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    assert all(a.headers["Request-Id"].startswith("req_") for a in answers)


def test_searches_have_a_limit_of_their_own(call, stripe):
    stripe.search_window.limit = 1
    answers = [call("GET", "/search", query="email:'x'") for _ in range(2)]
    assert answers[1].headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert call("GET").status_code == 200


def test_other_paths_are_not_known(call):
    assert refusal(call("PATCH", "/cus_1"))[0] == 404
    assert refusal(call("GET", "/cus_1/nothing"))[1].startswith("Unrecognized request URL")
