"""What becomes of the rows of :mod:`bench.work` in each destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census.destinations import get
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync import Constant, Template
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.fields import MappingDeclaration
from airflow_provider_census.transport.credentials import Credentials


@dataclass(frozen=True, kw_only=True)
class Work:
    """
    What becomes of a row.

    :param credentials: those of the sandbox; the stub takes any.
    :param key: the column of the sync key.
    """

    object: str
    behavior: Behavior
    identifier: str
    mapping: MappingDeclaration
    credentials: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str = "id"

    def bind(self, name: str, url: str) -> tuple[Destination, Credentials]:
        """Return the destination ``name`` at ``url``, and its connection."""
        credentials = Credentials(**self.credentials, host=url)
        cls = get(name).behind(credentials)
        return cls(self.object, self.behavior, self.identifier, dict(self.options), sync_id="bench"), credentials


_TRAITS = {"email": "email", "name": "name", "plan": "plan", "mrr": "mrr"}

WORKS: Mapping[str, Work] = {
    "braze": Work(
        object="user",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="external_id",
        mapping={"email": "email", "first_name": "name", "plan": "plan", "mrr": "mrr"},
        credentials={"password": "sandbox-braze-key"},
    ),
    "intercom": Work(
        object="event",
        behavior=Behavior.SEND,
        identifier="event_id",
        mapping={
            **{"event_name": Constant("billed"), "created_at": "updated_at", "email": "email"},
            **{"metadata.name": "name", "metadata.plan": "plan", "metadata.mrr": "mrr"},
        },
        credentials={"password": "sandbox-token"},
    ),
    "segment": Work(
        object="user",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="user_id",
        mapping={f"traits.{name}": column for name, column in _TRAITS.items()},
        credentials={"password": "sandbox-segment-write-key"},
    ),
    "slack": Work(
        object="#general",
        behavior=Behavior.APPEND,
        identifier="row_id",
        mapping={"text": Template("{{ name }} ({{ email }}) is on {{ plan }}")},
        credentials={"password": "xoxb-sandbox-token"},
    ),
    "stripe": Work(
        object="customer",
        behavior=Behavior.UPDATE_ONLY,
        identifier="id",
        mapping={"email": "email", "name": "name", "metadata.plan": "plan", "metadata.mrr": "mrr"},
        credentials={"password": "sk_test_sandbox"},
    ),
}

# What the sandbox takes as well: it knows whom an event is about, and who is there already.
LIMITED: Mapping[str, Work] = {
    "intercom": Work(
        object="contact",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="external_id",
        mapping={"email": "email", "name": "name"},
        credentials=WORKS["intercom"].credentials,
    ),
    "braze": WORKS["braze"],
    "segment": WORKS["segment"],
    "slack": WORKS["slack"],
    "stripe": Work(
        object="customer",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="email",
        mapping={"name": "name", "metadata.plan": "plan"},
        credentials=WORKS["stripe"].credentials,
        key="email",
    ),
    "clevertap": Work(
        object="profile",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="identity",
        mapping={"profileData.Email": "email", "profileData.Name": "name"},
        credentials={"login": "SBX-CLV-TAPZ", "password": "sandbox-clevertap-passcode"},
    ),
    "mailchimp": Work(
        object="member",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="email",
        mapping={"status_if_new": Constant("subscribed"), "merge_fields.FNAME": "name"},
        credentials={"password": "0123456789abcdef0123456789abcdef-us21"},
        options={"audience_id": "a1b2c3d4e5"},
        key="email",
    ),
    "zapier": Work(
        object="hook",
        behavior=Behavior.SEND,
        identifier="event_id",
        mapping=_TRAITS,
        credentials={"password": "https://hooks.zapier.com/hooks/catch/1234567/sandboxhooksecret"},
    ),
    "http": Work(
        object="request",
        behavior=Behavior.UPDATE_OR_CREATE,
        identifier="id",
        mapping={"name": "name", "plan": "plan"},
        credentials={"password": "sandbox-http-token"},
        options={"path": "/v1/things/{id}", "method": "PUT"},
    ),
}
