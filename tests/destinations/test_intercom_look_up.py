from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_census.destinations.intercom import Intercom
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.intercom import IntercomSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, Record
from airflow_provider_census.testing.bench import Door
from airflow_provider_census.transport.client import Client

UPSERT, UPDATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY
ADA = {"external_id": "7", "email": "ada@example.com", "name": "Ada"}


@pytest.fixture
def api(sandbox: Sandbox) -> IntercomSandbox:
    api: IntercomSandbox = sandbox["intercom"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Door.of("intercom", sandbox.connection("intercom")).client()
    yield client
    client.close()


def operation(id: str, if_empty: tuple[str, ...] = (), **fields: Any) -> Operation:
    return Operation(UPSERT, Record(id, id, fields), if_empty)


def fetch(client: Client, object: str, by: str | None, *operations: Operation) -> list[Held | str]:
    return list(client.run(Intercom(object, UPDATE, by).fetch(operations)))


def one(client: Client, object: str, by: str | None, id: str, **more: Any) -> Held | str:
    (held,) = fetch(client, object, by, operation(id, **more))
    return held


@pytest.mark.parametrize(
    ("object", "by"),
    [(object, by) for object in ("contact", "user", "lead") for by in ("external_id", "email", "id")],
)
def test_a_contact_is_found_by_every_identifier_and_only_in_its_role(
    client: Client, api: IntercomSandbox, object: str, by: str
) -> None:
    role = "lead" if object == "lead" else "user"
    contact = api.add_contact(role=role, **ADA, custom_attributes={"plan": "team"})
    other = {"user": "lead", "lead": "user"}.get(object, object)
    value = {**api.contacts[contact], "id": contact}[by]
    held = one(client, object, by, value)
    assert isinstance(held, Held)
    assert held.id == contact
    assert held.fields is not None
    assert (held.fields["name"], held.fields["custom_attributes"]) == ("Ada", {"plan": "team"})
    assert one(client, other, by, value).id == (contact if other == object else "")
    assert one(client, object, by, "missing@example.com") == Held(None)


def test_fifteen_users_are_looked_up_by_one_search(client: Client, api: IntercomSandbox, sandbox: Sandbox) -> None:
    for n in range(15):
        api.add_contact(external_id=str(n), name=f"n{n}")
    held = fetch(client, "user", "external_id", *(operation(str(n)) for n in range(15)))
    assert [h.fields["name"] for h in held if isinstance(h, Held) and h.fields] == [f"n{n}" for n in range(15)]
    assert [call.path for call in sandbox.ledger] == ["/contacts/search"]
    assert Intercom("user", UPSERT).max_fetch() == 15


def test_a_user_that_search_does_not_know_yet_is_found(client: Client, api: IntercomSandbox) -> None:
    api.lag_search(60)
    contact = api.add_contact(**ADA)
    assert one(client, "user", "external_id", "7").id == contact


def test_what_is_to_be_left_alone_is_read_where_it_is_not_late(
    client: Client, api: IntercomSandbox, sandbox: Sandbox
) -> None:
    contact = api.add_contact(**ADA)
    held = one(client, "user", "email", "ada@example.com", if_empty=("name",))
    assert held.id == contact
    assert [call.path for call in sandbox.ledger] == ["/contacts/search", f"/contacts/{contact}"]


def test_several_contacts_with_one_address_cannot_be_told_apart(client: Client, api: IntercomSandbox) -> None:
    ids = [api.add_contact(**{**ADA, "external_id": n}) for n in ("1", "2")]
    held = one(client, "contact", "email", "ada@example.com")
    assert isinstance(held, str)
    assert all(id in held for id in ids)


@pytest.mark.parametrize("as_list", [False, True])
def test_a_company_is_found_with_the_name_of_its_plan(client: Client, api: IntercomSandbox, as_list: bool) -> None:
    api.companies_as_list = as_list
    acme = Intercom("company", UPSERT)
    client.run(acme.send([operation("c1", name="Acme", plan="pro", monthly_spend=10.9)]))
    held = one(client, "company", None, "c1")
    assert isinstance(held, Held)
    assert held.fields is not None
    assert held.fields["plan"] == "pro"
    assert acme.matches(operation("c1", name="Acme", plan="pro", monthly_spend=10.9), held.fields)
    assert not acme.matches(operation("c1", plan="free"), held.fields)
    assert one(client, "company", None, "c2") == Held(None)


SAME = [
    ("email", "Ada@Example.com", "ada@example.com"),
    ("owner_id", 123, "123"),
    ("avatar", "https://x/a.png", "https://x/a.png"),
    ("signed_up_at", 1_700_000_000, 1_700_000_000),
    ("phone", None, None),
    ("email", None, ""),
    ("unsubscribed_from_emails", False, False),
]


@pytest.mark.parametrize(("path", "wanted", "held"), SAME)
def test_values_are_compared_as_intercom_shows_them(path: str, wanted: Any, held: Any) -> None:
    assert Intercom("user", UPSERT).matches(operation("7", **{path: wanted}), {path: held})


@pytest.mark.parametrize(
    ("path", "wanted", "held"),
    [("name", "Ada", "ada"), ("owner_id", 123, None), ("email", "a@x", "b@x"), ("phone", "+1 2", "+12")],
)
def test_values_that_may_differ_are_sent(path: str, wanted: Any, held: Any) -> None:
    assert not Intercom("user", UPSERT).matches(operation("7", **{path: wanted}), {path: held})


def test_an_avatar_is_shown_by_its_address(client: Client, api: IntercomSandbox) -> None:
    user = Intercom("user", UPSERT)
    client.run(user.send([operation("7", avatar="https://x/a.png")]))
    held = one(client, "user", None, "7")
    assert isinstance(held, Held)
    assert user.matches(operation("7", avatar="https://x/a.png"), held.fields or {})


# --- writing what was looked up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
def test_what_was_found_is_not_looked_up_again(
    client: Client, api: IntercomSandbox, sandbox: Sandbox, behavior: Behavior
) -> None:
    contact = api.add_contact(**ADA)
    record = Record("7", "7", {"name": "New"})
    found = Operation(behavior, record, held=Held({}, contact))
    user = Intercom("user", behavior)
    assert client.run(user.send([found]))[0].outcome is Outcome.UPDATED
    assert [call.method for call in sandbox.ledger] == ["PUT"]
    assert user.requests_for([found]) == {"": 1}


def test_update_only_does_nothing_about_what_was_not_found(client: Client, sandbox: Sandbox) -> None:
    for object in ("user", "company"):
        missing = Operation(UPDATE, Record("7", "7", {"name": "New"}), held=Held(None))
        (result,) = client.run(Intercom(object, UPDATE).send([missing]))
        assert result.outcome is Outcome.SKIPPED
    assert sandbox.ledger == []


def test_who_was_made_since_the_look_up_is_left_to_the_next_run(client: Client, api: IntercomSandbox) -> None:
    contact = api.add_contact(**ADA)
    late = Operation(UPSERT, Record("7", "7", {"name": "New"}), ("name",), Held(None))
    (result,) = client.run(Intercom("user", UPSERT).send([late]))
    assert result.outcome is Outcome.REJECTED
    assert api.contacts[contact]["name"] == "Ada"


def test_who_was_archived_since_the_look_up_comes_back_with_what_was_held(client: Client, api: IntercomSandbox) -> None:
    contact = api.add_contact(**ADA)
    api.archive(contact)
    missing = Operation(UPSERT, Record("7", "7", {"name": "New", "phone": "+1"}), ("name",), Held(None))
    (result,) = client.run(Intercom("user", UPSERT).send([missing]))
    assert result.outcome is Outcome.UPDATED
    assert (api.contacts[contact]["name"], api.contacts[contact]["phone"]) == ("Ada", "+1")


def test_who_is_gone_since_the_look_up_is_not_made_without_the_fields_left_out(
    client: Client, api: IntercomSandbox
) -> None:
    contact = api.add_contact(**ADA)
    api.purge(contact)
    gone = Operation(UPSERT, Record("8", "8", {"phone": "+1"}), ("name",), Held({"name": "Ada"}, contact))
    (result,) = client.run(Intercom("user", UPSERT).send([gone]))
    assert result.outcome is Outcome.REJECTED
    assert api.contacts == {}


def test_an_event_cannot_be_looked_up(client: Client) -> None:
    event = Intercom("event", Behavior.SEND)
    assert not event.fetches
    with pytest.raises(ConfigError, match="does not tell"):
        event.check_if_empty("metadata.x")
