"""Where the records of a sync live: another place starts over, another key does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.transport.credentials import Credentials

UPSERT, SEND = Behavior.UPDATE_OR_CREATE, Behavior.SEND
PATH = {"path": "/users/{id}"}


def place(
    name: str,
    object: str,
    identifier: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    behavior: Behavior = UPSERT,
    constants: Mapping[str, Any] | None = None,
    **connection: Any,
) -> str:
    credentials = Credentials(**connection)
    cls = destinations.get(name).behind(credentials)
    return cls(object, behavior, identifier, options).place(cls.endpoint(credentials), constants or {})


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (
            place("intercom", "contact", password="k"),
            place("intercom", "contact", password="k", extra={"region": "eu"}),
        ),
        (
            place("braze", "user", password="k", host="https://rest.iad-01.braze.com"),
            place("braze", "user", password="k", host="https://rest.fra-01.braze.eu"),
        ),
        (
            place(
                "braze", "user", "user_alias", {"alias_label": "a"}, password="k", host="https://rest.iad-01.braze.com"
            ),
            place(
                "braze", "user", "user_alias", {"alias_label": "b"}, password="k", host="https://rest.iad-01.braze.com"
            ),
        ),
        (
            place("braze", "catalog_item", constants={"catalog_name": "a"}, password="k", host="http://x"),
            place("braze", "catalog_item", constants={"catalog_name": "b"}, password="k", host="http://x"),
        ),
        (
            place("clevertap", "profile", login="ACCT-1", password="p"),
            place("clevertap", "profile", login="ACCT-2", password="p"),
        ),
        (
            place("clevertap", "profile", login="ACCT-1", password="p"),
            place("clevertap", "profile", login="ACCT-1", password="p", extra={"region": "in1"}),
        ),
        (
            place(
                "mailchimp", "member", options={"audience_id": "a1"}, password="0123456789abcdef0123456789abcdef-us1"
            ),
            place(
                "mailchimp", "member", options={"audience_id": "b2"}, password="0123456789abcdef0123456789abcdef-us1"
            ),
        ),
        (
            place("stripe", "customer", password="sk_live_1"),
            place("stripe", "customer", password="sk_test_1"),
        ),
        (
            place("segment", "user", password="k"),
            place("segment", "user", password="k", extra={"region": "eu"}),
        ),
        (
            place("http", "user", options=PATH, password="k", host="https://api.example.com"),
            place("http", "user", options=PATH, password="k", host="https://api.example.com:8443"),
        ),
        (
            place("http", "user", options=PATH, password="k", host="https://api.example.com/tenant-1"),
            place("http", "user", options=PATH, password="k", host="https://api.example.com/tenant-2"),
        ),
        (
            place("http", "user", options=PATH, password="k", host="https://api.example.com"),
            place("http", "user", options={"path": "/people/{id}"}, password="k", host="https://api.example.com"),
        ),
        (
            place(
                "http", "user", options={"path": "/{list}/{id}"}, constants={"list": "a"}, password="k", host="http://x"
            ),
            place(
                "http", "user", options={"path": "/{list}/{id}"}, constants={"list": "b"}, password="k", host="http://x"
            ),
        ),
    ],
)
def test_these_are_two_places(here: str, there: str) -> None:
    assert here != there


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (place("stripe", "customer", password="sk_live_1"), place("stripe", "customer", password="rk_live_2")),
        (
            place(
                "mailchimp", "member", options={"audience_id": "a1"}, password="0123456789abcdef0123456789abcdef-us1"
            ),
            place(
                "mailchimp",
                "member",
                options={"audience_id": "a1", "permanent": True},
                password="fedcba9876543210fedcba9876543210-us1",
            ),
        ),
        (
            place("zapier", "hook", behavior=SEND, password="https://hooks.zapier.com/hooks/catch/1/abc/"),
            place("zapier", "hook", behavior=SEND, password="https://hooks.zapier.com/hooks/catch/1/def/"),
        ),
        (
            place("intercom", "contact", password="k", host="http://localhost:1"),
            place("intercom", "contact", password="l", host="http://localhost:2"),
        ),
    ],
)
def test_another_key_another_url_that_is_a_key_and_another_port_are_the_same_place(before: str, after: str) -> None:
    assert before == after


def test_a_place_says_where_it_is() -> None:
    key = "0123456789abcdef0123456789abcdef-us21"
    assert place("mailchimp", "member", options={"audience_id": "a1"}, password=key) == (
        "us21.api.mailchimp.com, audience a1"
    )
    assert place("clevertap", "profile", login="ACCT-1", password="p") == "eu1.api.clevertap.com, account ACCT-1"
    assert place("http", "user", options=PATH, password="k", host="https://api.example.com") == (
        "api.example.com /users/{id}"
    )
