from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_census.destinations.mailchimp import Mailchimp
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.mailchimp import MailchimpSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, Record
from airflow_provider_census.testing.bench import Door
from airflow_provider_census.transport.client import Client

UPSERT, UPDATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY
ANN = "ann@example.com"
ADDRESS = {"addr1": "1 Main St", "city": "Brno", "state": "JM", "zip": "60200"}


@pytest.fixture
def api(sandbox: Sandbox) -> MailchimpSandbox:
    api: MailchimpSandbox = sandbox["mailchimp"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Door.of("mailchimp", sandbox.connection("mailchimp")).client()
    yield client
    client.close()


def operation(held: Held | None = None, behavior: Behavior = UPSERT, **fields: Any) -> Operation:
    return Operation(behavior, Record(ANN, ANN, fields), held=held)


@pytest.fixture
def member(client: Client) -> Mailchimp:
    return ready(client)


def ready(client: Client, behavior: Behavior = UPSERT, **options: Any) -> Mailchimp:
    destination = Mailchimp("member", behavior, options={"audience_id": MailchimpSandbox.audience_id, **options})
    client.run(destination.prepare(()))
    return destination


def held_of(client: Client, member: Mailchimp) -> dict[str, Any]:
    (held,) = client.run(member.fetch([operation()]))
    assert isinstance(held, Held)
    assert held.fields is not None
    return dict(held.fields)


def test_a_member_is_told_with_its_tags_and_merge_fields(
    client: Client, api: MailchimpSandbox, member: Mailchimp, sandbox: Sandbox
) -> None:
    assert client.run(member.fetch([operation()])) == [Held(None)]
    api.audience.add_member("Ann@Example.com", merge_fields={"FNAME": "Ann"}, tags=["a"])
    sandbox.ledger.clear()
    held = held_of(client, member)
    assert (held["merge_fields"]["FNAME"], held["merge_fields"]["LNAME"]) == ("Ann", "")
    assert [tag["name"] for tag in held["tags"]] == ["a"]
    (call,) = sandbox.ledger
    assert "merge_fields" in call.query["fields"], "no more is read than is compared"


FIELDS = [
    ({"merge_fields": {"FNAME": 7}}, {"merge_fields": {"FNAME": "7"}}),
    ({"merge_fields": {"SEATS": 5}}, {"merge_fields": {"SEATS": 5.0}}),
    ({"merge_fields": {"SEATS": "5"}}, {"merge_fields": {"SEATS": 5}}),
    ({"merge_fields": {"SINCE": "2026-01-31T10:00:00+00:00"}}, {"merge_fields": {"SINCE": "2026-01-31"}}),
    ({"merge_fields": {"BIRTHDAY": "2026-01-31"}}, {"merge_fields": {"BIRTHDAY": "01/31"}}),
    ({"merge_fields": {"FNAME": None}}, {"merge_fields": {"FNAME": ""}}),
    ({"merge_fields": {"ADDRESS": ADDRESS}}, {"merge_fields": {"ADDRESS": {**ADDRESS, "addr2": ""}}}),
    ({"tags": ["A", {"name": "old", "status": "inactive"}]}, {"tags": [{"name": "a"}, {"name": "b"}], "tags_count": 2}),
    ({"status_if_new": "subscribed"}, {"status": "unsubscribed"}),
    ({"status": "subscribed"}, {"status": "subscribed"}),
    ({"language": None, "vip": None}, {"language": "cs", "vip": True}),
    ({"timestamp_opt": "2026-01-01T01:00:00+01:00"}, {"timestamp_opt": "2026-01-01T00:00:00+00:00"}),
    ({"interests": {"a": True}}, {"interests": {"a": True, "b": False}}),
]


@pytest.mark.parametrize(("wanted", "held"), FIELDS)
def test_values_are_compared_as_a_write_would_leave_them(
    member: Mailchimp, wanted: dict[str, Any], held: dict[str, Any]
) -> None:
    assert member.check(operation(**{"status_if_new": "subscribed", **wanted})) is None
    assert member.matches(operation(**wanted), held)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ({"merge_fields": {"FNAME": "ann"}}, {"merge_fields": {"FNAME": "Ann"}}),
        ({"merge_fields": {"FNAME": "5.0"}}, {"merge_fields": {"FNAME": "5"}}),
        ({"merge_fields": {"SINCE": "2026-01-31"}}, {"merge_fields": {"SINCE": "01/31/2026"}}),
        ({"merge_fields": {"ADDRESS": ADDRESS}}, {"merge_fields": {"ADDRESS": {**ADDRESS, "addr2": "2nd floor"}}}),
        ({"merge_fields": {"FNAME": None}}, {"merge_fields": {"FNAME": "Ann"}}),
        ({"tags": ["a"]}, {"tags": [], "tags_count": 0}),
        ({"tags": ["a"]}, {"tags": [{"name": "a"}], "tags_count": 51}),
        ({"status": "subscribed"}, {"status": "pending"}),
        ({"language": "cs"}, {"language": ""}),
        ({"marketing_permissions": [{"enabled": True}]}, {"marketing_permissions": [{"enabled": True}]}),
        ({"status_if_new": "subscribed"}, {"status": "archived"}),
    ],
)
def test_values_that_may_differ_are_sent(member: Mailchimp, wanted: dict[str, Any], held: dict[str, Any]) -> None:
    assert not member.matches(operation(**wanted), held)


@pytest.mark.parametrize("path", ["status", "status_if_new", "vip", "interests.a", "location.latitude"])
def test_what_every_member_has_cannot_be_set_if_it_is_empty(member: Mailchimp, path: str) -> None:
    with pytest.raises(ConfigError, match="merge_fields"):
        member.check_if_empty(path)


@pytest.mark.parametrize("path", ["merge_fields.FNAME", "merge_fields.ADDRESS.city", "tags", "language"])
def test_what_a_member_may_lack_can(member: Mailchimp, path: str) -> None:
    member.check_if_empty(path)


def test_what_is_not_shown_cannot_be_set_if_it_is_empty(member: Mailchimp) -> None:
    with pytest.raises(ConfigError, match="does not tell"):
        member.check_if_empty("marketing_permissions")


@pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
@pytest.mark.parametrize(
    ("held", "outcome"),
    [
        (Held(None), {UPSERT: Outcome.CREATED, UPDATE: Outcome.SKIPPED}),
        (Held({"status": "archived"}), {UPSERT: Outcome.SKIPPED, UPDATE: Outcome.SKIPPED}),
        (Held({"status": "pending"}), {UPSERT: Outcome.UPDATED, UPDATE: Outcome.UPDATED}),
    ],
)
def test_who_was_looked_up_is_not_looked_up_again(
    client: Client, api: MailchimpSandbox, sandbox: Sandbox, behavior: Behavior, held: Held, outcome: Any
) -> None:
    if held.fields:
        api.audience.add_member(ANN, held.fields["status"])
    member = ready(client, behavior)
    sandbox.ledger.clear()
    looked_up = operation(held, behavior, status="subscribed")
    (result,) = client.run(member.send([looked_up]))
    assert result is not None
    assert result.outcome is outcome[behavior]
    assert [call.method for call in sandbox.ledger if call.method == "GET"] == []
    assert member.requests_for([looked_up]) == {"": 1}
