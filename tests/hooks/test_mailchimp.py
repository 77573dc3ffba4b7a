from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_census.destinations.mailchimp import Mailchimp
from airflow_provider_census.hooks.mailchimp import MailchimpHook
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.outcome import Outcome

OPTIONS = {"audience_id": "a1b2c3d4e5"}


@pytest.fixture
def hook(census_connect: Callable[..., None]) -> MailchimpHook:
    census_connect("mailchimp_default", "mailchimp")
    return MailchimpHook()


def test_the_test_button_names_the_audiences(hook: MailchimpHook) -> None:
    assert hook.test_connection() == (True, "account 'Sandbox', audiences: 'Newsletter' (a1b2c3d4e5)")


def test_the_test_button_tells_of_a_wrong_key_without_showing_it(census_connect: Callable[..., None]) -> None:
    census_connect("mailchimp_default", "mailchimp", password="0000-us21")
    found, words = MailchimpHook().test_connection()
    assert not found
    assert "API Key Invalid" in words
    assert "0000" not in words


def test_every_record_has_an_outcome_and_one_address_is_one_member(
    hook: MailchimpHook, census_sandbox: Sandbox
) -> None:
    records: list[dict[str, Any]] = [
        {"email": "ann@example.com", "status": "subscribed", "merge_fields.FNAME": "Ann"},
        {"email": "bo@example.com", "status": "subscribed"},
        {"email": "Bo@Example.com ", "status": "subscribed"},
        {"email": "cy@example.com", "status": "subscribed", "merge_fields.SEATS": "many"},
        {"email": "di@example.com", "status": "subscribed", "merge_fields.WEBSITE": "nowhere"},
    ]
    results = hook.send("member", "create_only", records, options=OPTIONS)
    assert [result.outcome for result in results] == [Outcome.CREATED, *[Outcome.INVALID] * 3, Outcome.REJECTED]
    assert len(census_sandbox["mailchimp"].audience.members) == 1
    assert len(census_sandbox.calls("mailchimp", "POST")) == 1


def test_the_raw_api_is_there_below_its_prefix(hook: MailchimpHook) -> None:
    assert hook.request("GET", "/ping").json() == {"health_status": "Everything's Chimpy!"}


def test_an_answer_is_waited_for_as_long_as_the_destination_says(
    hook: MailchimpHook, census_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mailchimp, "timeout_s", (5.0, 0.2))
    census_sandbox.inject(Fault(api="mailchimp", path="/3.0/ping", delay_s=0.6))
    assert hook.request("GET", "/ping").ok
    assert hook.get_conn().traffic.retries == 1
