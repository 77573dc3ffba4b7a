"""The hooks: testing a connection, sending records and raw requests from any task."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.get_provider_info import get_provider_info
from airflow_provider_census.hooks.base import DestinationHook, destination_hook
from airflow_provider_census.hooks.braze import BrazeHook
from airflow_provider_census.hooks.intercom import IntercomHook
from airflow_provider_census.hooks.slack import SlackHook
from airflow_provider_census.sandbox.core import Fault, Sandbox, names

Connect = Callable[..., None]


class TestTestConnection:
    @pytest.mark.parametrize("name", names())
    def test_a_good_connection_says_who_we_are_and_changes_nothing(
        self, name: str, census_sandbox: Sandbox, census_connect: Connect
    ) -> None:
        census_connect("some", name)
        before = json.dumps(census_sandbox[name].state())

        good, message = destination_hook("some").test_connection()

        assert good, message
        assert message
        assert str(census_sandbox[name].connection["password"]) not in message
        assert json.dumps(census_sandbox[name].state()) == before

    @pytest.mark.parametrize("name", ["braze", "intercom", "slack", "mailchimp", "clevertap", "stripe"])
    def test_a_wrong_secret_is_told_without_telling_it(
        self, name: str, census_sandbox: Sandbox, census_connect: Connect
    ) -> None:
        wrong = str(census_sandbox[name].connection["password"])[::-1] + "-us1"
        census_connect("some", name, password=wrong)

        good, message = destination_hook("some").test_connection()

        assert not good
        assert wrong not in message
        assert "credentials" in message or "password" in message

    @pytest.mark.parametrize("name", ["braze", "intercom", "slack", "mailchimp", "clevertap", "stripe"])
    def test_a_web_page_is_no_api(self, name: str, census_sandbox: Sandbox, census_connect: Connect) -> None:
        census_connect("some", name)
        census_sandbox.inject(Fault(api=name, html=True, times=10))

        good, message = destination_hook("some").test_connection()

        assert not good
        assert "<html" not in message.lower()

    def test_an_address_nobody_answers_at(self, census_connect: Connect, unused_port: int) -> None:
        census_connect("some", "intercom", host=f"http://127.0.0.1:{unused_port}")

        good, message = IntercomHook("some").test_connection()

        assert not good
        assert "no connection" in message

    @pytest.mark.parametrize(
        ("parts", "words"),
        [
            ({"host": ""}, "host"),
            ({"host": "rest.iad-01.braze.com"}, "http(s)://"),
            ({"password": ""}, "REST API key"),
            ({"password": "two words"}, "spaces"),
        ],
    )
    def test_a_part_that_is_missing_or_wrong_is_named(
        self, census_connect: Connect, parts: dict[str, str], words: str
    ) -> None:
        census_connect("some", "braze", **parts)

        good, message = BrazeHook("some").test_connection()

        assert not good
        assert words in message

    def test_a_connection_that_does_not_exist(self) -> None:
        assert BrazeHook("nowhere").test_connection() == (False, "connection 'nowhere' is not defined")


class TestSend:
    @pytest.fixture
    def hook(self, census_connect: Connect) -> BrazeHook:
        census_connect("braze", "braze")
        return BrazeHook("braze")

    def test_each_record_has_an_outcome_in_its_place(self, hook: BrazeHook, census_sandbox: Sandbox) -> None:
        results = hook.send(
            "user",
            "update_or_create",
            [
                {"external_id": "1", "email": "1@example.com", "plan": "free"},
                {"external_id": "2", "email": "not an address"},
                {"external_id": "3", "home.city": "Cork"},
                {"email": "nobody@example.com"},
                {"external_id": "twice", "plan": "free"},
                {"external_id": "twice", "plan": "paid"},
                {"external_id": " "},
                {"external_id": 7},
            ],
        )

        assert [str(result.outcome) for result in results] == [
            *("upserted", "rejected", "upserted", "invalid", "invalid", "invalid", "invalid", "upserted"),
        ]
        assert "external_id is missing" in results[3].reason
        assert "2 records" in results[4].reason
        assert {p["external_id"] for p in census_sandbox["braze"].users.profiles} == {"1", "3", "7"}

    def test_another_identifier_may_be_named(self, hook: BrazeHook, census_sandbox: Sandbox) -> None:
        records = [{"email": "A@Example.com", "plan": "free"}, {"email": "a@example.COM", "plan": "paid"}]

        results = hook.send("user", "update_or_create", records, identifier="email")

        assert [str(result.outcome) for result in results] == ["invalid", "invalid"]
        assert census_sandbox.ledger == []

    def test_what_adds_needs_no_identifier(self, hook: BrazeHook, census_sandbox: Sandbox) -> None:
        event = {"external_id": "1", "name": "login", "time": "2026-01-01T00:00:00Z"}

        results = hook.send("event", "send", [event, event])

        assert [str(result.outcome) for result in results] == ["sent", "sent"]
        assert len(census_sandbox["braze"].events) == 2

    def test_nothing_asks_for_nothing(self, hook: BrazeHook, census_sandbox: Sandbox) -> None:
        assert hook.send("user", "update_or_create", []) == []
        assert census_sandbox.ledger == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("usr", "update_or_create"), "'user'"),
            (("user", "upsert"), "'update_or_create'"),
            (("user", "create_only"), "'update_only'"),
        ],
    )
    def test_wrong_use_names_what_is_valid(self, hook: BrazeHook, arguments: tuple[str, str], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            hook.send(*arguments, [{"external_id": "1"}])

    def test_a_field_that_is_not_there_is_named(self, census_connect: Connect, census_sandbox: Sandbox) -> None:
        census_connect("intercom", "intercom")

        with pytest.raises(ConfigError, match="nickname"):
            IntercomHook("intercom").send("contact", "update_or_create", [{"external_id": "1", "nickname": "x"}])
        assert census_sandbox["intercom"].contacts == {}

    def test_credentials_that_are_refused_end_it(self, census_connect: Connect, census_sandbox: Sandbox) -> None:
        census_connect("slack", "slack", password="xoxb-somebody-else")

        with pytest.raises(AuthError) as raised:
            SlackHook("slack").send("#general", "append", [{"text": "hello"}])
        assert "xoxb-somebody-else" not in str(raised.value)

    def test_an_iterator_is_as_good_as_a_list(self, hook: BrazeHook) -> None:
        results = hook.send("user", "update_or_create", ({"external_id": str(n), "n": n} for n in range(200)))

        assert len(results) == 200
        assert {str(result.outcome) for result in results} == {"upserted"}


class TestRequest:
    def test_it_goes_below_the_api_with_the_credentials(self, census_connect: Connect, census_sandbox: Sandbox) -> None:
        census_connect("slack", "slack")

        answer = SlackHook("slack").request("POST", "/auth.test")

        assert answer.json()["ok"] is True
        (call,) = census_sandbox.ledger
        assert call.path == "/api/auth.test"

    def test_an_error_about_the_content_is_an_answer(self, census_connect: Connect) -> None:
        census_connect("intercom", "intercom")

        answer = IntercomHook("intercom").request("GET", "/contacts/nobody")

        assert answer.status == 404

    def test_it_is_tried_again_while_the_api_is_busy(self, census_connect: Connect, census_sandbox: Sandbox) -> None:
        census_connect("intercom", "intercom")
        busy: dict[str, Any] = {"status": 429, "headers": {"Retry-After": "0"}, "times": 2}
        census_sandbox.inject(Fault(api="intercom", path="/me", **busy))

        assert IntercomHook("intercom").request("GET", "/me").ok
        assert [call.status for call in census_sandbox.ledger] == [429, 429, 200]


class TestChoice:
    def test_connections_of_airflows_own_types_are_taken_too(self, census_connect: Connect) -> None:
        census_connect("theirs", "slack", conn_type="slack")

        hook = destination_hook("theirs", rate_share=0.5)

        assert type(hook) is SlackHook
        assert hook.rate_share == 0.5
        assert hook.test_connection()[0]

    def test_each_type_of_connection_leads_to_its_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for declared in get_provider_info()["connection-types"]:
            monkeypatch.setenv("AIRFLOW_CONN_SOME", json.dumps({"conn_type": declared["connection-type"]}))
            hook = destination_hook("some")

            assert isinstance(hook, DestinationHook)
            assert f"{type(hook).__module__}.{type(hook).__name__}" == declared["hook-class-name"]
