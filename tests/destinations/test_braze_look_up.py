from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_census.destinations.braze import Braze
from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.sandbox.braze import BrazeSandbox
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, Record
from airflow_provider_census.testing.bench import Door
from airflow_provider_census.transport.client import Client

UPSERT, UPDATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY
LABEL = {"alias_label": "crm"}


@pytest.fixture
def api(sandbox: Sandbox) -> BrazeSandbox:
    api: BrazeSandbox = sandbox["braze"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Door.of("braze", sandbox.connection("braze")).client()
    yield client
    client.close()


def operation(id: str = "u1", held: Held | None = None, **fields: Any) -> Operation:
    return Operation(UPSERT, Record(id, id, fields), held=held)


def user(by: str = "external_id", behavior: Behavior = UPSERT) -> Braze:
    return Braze("user", behavior, by, LABEL if by == "user_alias" else {})


def put_there(api: BrazeSandbox, by: str, id: str, **attributes: Any) -> None:
    who = {"alias_name": id, **LABEL} if by == "user_alias" else id
    api.users.write({by: who, "_update_existing_only": False, **attributes})


@pytest.mark.parametrize(
    ("by", "id"), [("external_id", "u1"), ("user_alias", "u1"), ("email", "a@example.com"), ("phone", "+420777")]
)
def test_a_user_is_found_by_every_identifier(client: Client, api: BrazeSandbox, by: str, id: str) -> None:
    put_there(api, by, id, first_name="Ann", plan="team")
    found, missing = client.run(user(by).fetch([operation(id, first_name="", plan=""), operation(id + "0", plan="")]))
    assert isinstance(found, Held)
    assert found.fields is not None
    assert (found.fields["first_name"], found.fields["plan"]) == ("Ann", "team")
    assert missing == Held(None)


def test_a_user_is_found_by_the_id_that_braze_gave_it(client: Client, api: BrazeSandbox) -> None:
    put_there(api, "external_id", "u1", plan="team")
    id = api.users.profiles[0]["braze_id"]
    assert client.run(user("braze_id").fetch([operation(id, plan="")])) == [Held({"plan": "team"})]


def test_fifty_users_take_one_export_of_what_is_mapped(client: Client, api: BrazeSandbox, sandbox: Sandbox) -> None:
    for n in range(50):
        put_there(api, "external_id", f"u{n}", plan=f"p{n}", first_name="Ann")
    held = client.run(user().fetch([operation(f"u{n}", plan="") for n in range(50)]))
    assert held == [Held({"plan": f"p{n}"}) for n in range(50)]
    (call,) = sandbox.ledger
    assert call.json["fields_to_export"] == ["custom_attributes", "external_id"]
    assert user().max_fetch() == 50
    assert user("email").max_fetch() == 1


@pytest.mark.parametrize("by", ["email", "phone"])
def test_users_who_share_an_identifier_cannot_be_told_apart(client: Client, api: BrazeSandbox, by: str) -> None:
    for id in ("u1", "u2"):
        put_there(api, "external_id", id, **{by: "+420777"})
    (answer,) = client.run(user(by).fetch([operation("+420777")]))
    assert isinstance(answer, str)
    assert "2 users" in answer


def test_a_user_the_answer_does_not_account_for_is_not_taken_for_missing(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject(Fault(api="braze", status=200, body={"message": "success", "users": []}))
    (answer,) = client.run(user().fetch([operation()]))
    assert isinstance(answer, str)


def test_a_key_that_may_not_export_is_told_the_permission(client: Client, api: BrazeSandbox) -> None:
    api.permissions.remove("users.export.ids")
    with pytest.raises(AuthError, match=r"users\.export\.ids"):
        client.run(user().fetch([operation()]))


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ({"since": "2026-01-01T01:00:00+01:00"}, {"since": "2026-01-01T00:00:00.000Z"}),
        ({"dob": "2000-02-29"}, {"dob": "2000-02-29"}),
        ({"email": "Ann@Example.com"}, {"email": "ann@example.com"}),
        ({"plan": None, "tags": []}, {}),
        ({"home": {"city": "Brno", "since": {"$time": "2026-01-01T00:00:00+00:00"}}, "_merge_objects": True}, None),
        ({"score": 1}, {"score": 1.0}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),
    ],
)
def test_attributes_are_compared_as_braze_shows_them(wanted: dict[str, Any], held: dict[str, Any] | None) -> None:
    held = held if held is not None else {"home": {"city": "Brno", "since": "2026-01-01T00:00:00.000Z"}}
    assert user().matches(operation(**wanted), held)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ({"home": {"city": "Brno"}}, {"home": {"city": "Brno", "flat": 3}}),
        ({"home": {"city": "Brno"}}, {}),
        ({"visits": {"inc": 1}}, {"visits": 1}),
        ({"tags": {"add": ["a"]}}, {"tags": ["a"]}),
        ({"vip": False}, {}),
        ({"score": "1"}, {"score": 1}),
        ({"code": "20260101"}, {"code": "2026-01-01"}),
        ({"subscription_groups": []}, {}),
        ({"country": "Germany"}, {"country": "DE"}),
        ({"plan": None}, {"plan": "team"}),
    ],
)
def test_attributes_that_may_differ_are_sent(wanted: dict[str, Any], held: dict[str, Any]) -> None:
    assert not user().matches(operation(**wanted), held)


@pytest.mark.parametrize("path", ["home.city", "push_tokens", "_merge_objects"])
def test_what_cannot_be_told_or_is_replaced_whole_cannot_be_set_if_empty(path: str) -> None:
    with pytest.raises(ConfigError, match=path.partition(".")[0]):
        user().check_if_empty(path)


def test_attributes_can_be_set_if_empty_and_items_of_catalogs_cannot() -> None:
    user().check_if_empty("plan")
    user().check_if_empty("first_name")
    with pytest.raises(ConfigError, match="braze catalog_item does not tell"):
        Braze("catalog_item", UPSERT).check_if_empty("price")


def test_users_who_were_looked_up_are_not_looked_up_again(client: Client, api: BrazeSandbox, sandbox: Sandbox) -> None:
    put_there(api, "external_id", "u1")
    update = user(behavior=UPDATE)
    operations = [
        Operation(UPDATE, Record(id, id, {"plan": "team"}), held=held)
        for id, held in (("u1", Held({})), ("u2", Held(None)))
    ]
    results = client.run(update.send(operations))
    assert [result.outcome for result in results if result] == [Outcome.UPDATED, Outcome.SKIPPED]
    assert [call.path for call in sandbox.ledger] == ["/users/track"]
    assert update.requests_for(operations) == {"users_track": 1, "users_export": 0}
