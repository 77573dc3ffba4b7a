from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_census.destinations.stripe import Stripe
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.stripe import StripeSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, Record
from airflow_provider_census.testing.bench import Door
from airflow_provider_census.transport.client import Client

UPSERT, UPDATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY
BY_KEY = "metadata.user_id"
EMAIL = "ada@example.com"


@pytest.fixture
def api(sandbox: Sandbox) -> StripeSandbox:
    api: StripeSandbox = sandbox["stripe"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Door.of("stripe", sandbox.connection("stripe")).client()
    yield client
    client.close()


def operation(id: str, if_empty: tuple[str, ...] = (), held: Held | None = None, **fields: Any) -> Operation:
    return Operation(UPSERT, Record(id, id, fields), if_empty, held)


def put_there(api: StripeSandbox, **more: Any) -> str:
    return api.add_customer(email=EMAIL, name="Ada", metadata={"user_id": "7", "plan": "free"}, **more)


def ready(client: Client, by: str, behavior: Behavior = UPSERT) -> Stripe:
    destination = Stripe("customer", behavior, by, sync_id="crm")
    client.run(destination.prepare(()))
    return destination


def one(client: Client, by: str, id: str) -> Held | str:
    (held,) = client.run(ready(client, by).fetch([operation(id)]))
    return held


@pytest.fixture(autouse=True)
def unlimited(api: StripeSandbox) -> None:
    api.window.limit = api.search_window.limit = 10_000


@pytest.mark.parametrize("by", ["email", "id", BY_KEY])
def test_a_customer_is_found_by_every_identifier(client: Client, api: StripeSandbox, by: str) -> None:
    customer = put_there(api, address={"city": "Brno"})
    held = one(client, by, {"email": EMAIL, "id": customer, BY_KEY: "7"}[by])
    assert isinstance(held, Held)
    assert held.id == customer
    assert held.fields is not None
    assert (held.fields["name"], held.fields["address"]["city"], held.fields["metadata"]["plan"]) == (
        *("Ada", "Brno", "free"),
    )
    assert one(client, by, {"email": "x@example.com", "id": "cus_0", BY_KEY: "8"}[by]) == Held(None)


@pytest.mark.parametrize("by", ["email", BY_KEY])
def test_several_customers_cannot_be_told_apart(client: Client, api: StripeSandbox, by: str) -> None:
    ids = [put_there(api), put_there(api)]
    held = one(client, by, {"email": EMAIL, BY_KEY: "7"}[by])
    assert isinstance(held, str)
    assert all(id in held for id in ids)


def test_what_search_shows_late_is_read_as_it_is(client: Client, api: StripeSandbox) -> None:
    customer = put_there(api)
    api.search_lag_s = 3600
    api.customers[customer]["name"] = "Changed"
    held = one(client, BY_KEY, "7")
    assert isinstance(held, Held)
    assert (held.fields or {})["name"] == "Changed"


def test_a_customer_that_search_does_not_show_yet_is_found(client: Client, api: StripeSandbox) -> None:
    api.search_lag_s = 3600
    customer = put_there(api, searchable=False)
    assert one(client, BY_KEY, "7").id == customer


@pytest.mark.parametrize("by", ["email", "id", BY_KEY])
def test_a_deleted_customer_is_missing_also_where_search_shows_it(client: Client, api: StripeSandbox, by: str) -> None:
    api.search_shows_deleted = True
    customer = put_there(api)
    api.delete(customer)
    assert one(client, by, {"email": EMAIL, "id": customer, BY_KEY: "7"}[by]) == Held(None)


def test_ten_customers_take_one_search_and_a_request_each(client: Client, api: StripeSandbox, sandbox: Sandbox) -> None:
    for n in range(10):
        api.add_customer(metadata={"user_id": str(n)})
    destination = ready(client, BY_KEY)
    sandbox.ledger.clear()
    held = client.run(destination.fetch([operation(str(n)) for n in range(10)]))
    assert all(isinstance(h, Held) and h.id for h in held)
    assert len(sandbox.ledger) == 11
    assert destination.requests_to_fetch(10) == {"get": 10, "search": 1}
    assert Door.of("stripe", sandbox.connection("stripe")).cls("customer", UPSERT, BY_KEY).requests_to_fetch(10) == {
        "": 11
    }


@pytest.mark.parametrize(
    ("path", "wanted", "held"),
    [
        ("metadata", {"plan": 5, "vip": True, "rate": 1.50}, {"plan": "5", "vip": "true", "rate": "1.5", "x": "y"}),
        ("metadata", {"plan": None}, {}),
        ("name", "", None),
        ("name", None, None),
        ("balance", "5", 5),
        ("balance", 5.0, 5),
        ("address", {"city": "Brno", "line2": None}, {"city": "Brno", "country": "CZ", "line2": None}),
        ("preferred_locales", ["de", "en"], ["de", "en"]),
        ("preferred_locales", [], []),
    ],
)
def test_values_are_compared_as_the_form_writes_them(path: str, wanted: Any, held: Any) -> None:
    assert Stripe("customer", UPSERT).matches(operation(EMAIL, **{path: wanted}), {path: held})


@pytest.mark.parametrize(
    ("path", "wanted", "held"),
    [
        ("metadata", {"plan": "5.0"}, {"plan": "5"}),
        ("name", "Ada", "ada"),
        ("address", {"city": "Brno"}, None),
        ("preferred_locales", ["de", "en"], ["en", "de"]),
        ("tax", {"ip_address": None}, None),
        ("cash_balance", {"settings": {"reconciliation_mode": "manual"}}, None),
    ],
)
def test_values_that_may_differ_are_sent(path: str, wanted: Any, held: Any) -> None:
    assert not Stripe("customer", UPSERT).matches(operation(EMAIL, **{path: wanted}), {path: held})


def test_a_field_that_stripe_does_not_show_cannot_be_left_alone() -> None:
    with pytest.raises(ConfigError, match="behavior 'create_only'"):
        Stripe("customer", UPSERT).check_if_empty("tax.ip_address")
    Stripe("customer", UPSERT).check_if_empty("metadata.plan")


# --- writing what was looked up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["email", BY_KEY])
def test_what_was_found_is_not_looked_up_again(client: Client, api: StripeSandbox, sandbox: Sandbox, by: str) -> None:
    customer = put_there(api)
    destination = ready(client, by)
    sandbox.ledger.clear()
    found = operation({"email": EMAIL, BY_KEY: "7"}[by], held=Held({}, customer), name="New")
    (result,) = client.run(destination.send([found]))
    assert result is not None
    assert result.outcome is Outcome.UPDATED
    assert [call.method for call in sandbox.ledger] == ["POST"]
    assert destination.requests_for([found]) == {"update": 1}


def test_what_was_missing_is_looked_up_again_before_it_is_made(client: Client, api: StripeSandbox) -> None:
    customer = put_there(api)
    (result,) = client.run(ready(client, "email").send([operation(EMAIL, held=Held(None), name="New")]))
    assert result is not None
    assert result.outcome is Outcome.UPDATED
    assert api.customers.keys() == {customer}


@pytest.mark.parametrize("there", [True, False])
def test_who_was_made_or_deleted_since_the_look_up_is_left_to_the_next_run(
    client: Client, api: StripeSandbox, there: bool
) -> None:
    customer = put_there(api)
    held = Held(None) if there else Held({"name": "Ada"}, "cus_gone")
    late = operation(EMAIL if there else "other@example.com", ("name",), held, name="New")
    (result,) = client.run(ready(client, "email").send([late]))
    assert result is not None
    assert result.outcome is Outcome.REJECTED
    assert api.customers.keys() == {customer}
    assert api.customers[customer]["name"] == "Ada"
