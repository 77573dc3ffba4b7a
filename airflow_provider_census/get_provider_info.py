"""What Airflow knows of this provider without importing the rest of it."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; the connection forms of the UI are made from it (Airflow ≥ 3.2)."""
    return {
        "package-name": "airflow-provider-census",
        "name": "Census",
        "description": "Reverse ETL: push the rows of a SQL model into the tools that need them.",
        "integrations": [
            {
                "integration-name": "Census",
                "external-doc-url": "https://pypi.org/project/airflow-provider-census/",
                "tags": ["service"],
            },
        ],
        "operators": [
            {
                "integration-name": "Census",
                "python-modules": [f"airflow_provider_census.operators.{name}" for name in ("state", "sync")],
            },
        ],
        "hooks": [
            {
                "integration-name": "Census",
                "python-modules": [
                    f"airflow_provider_census.hooks.{name}"
                    for name in "braze clevertap http intercom mailchimp segment slack stripe zapier".split()
                ],
            },
        ],
        "task-decorators": [
            {"name": "census_sync", "class-name": "airflow_provider_census.decorators.sync.census_sync_task"},
        ],
        "connection-types": [
            _connection(
                "intercom",
                "IntercomHook",
                "Intercom",
                password="Access token",
                host="https://api.intercom.io (only to replace the region's address)",
                fields={"region": _choice("Region", ("us", "eu", "au"), "Where the workspace is hosted.")},
            ),
            _connection(
                "braze",
                "BrazeHook",
                "Braze",
                password="REST API key",
                host="https://rest.iad-01.braze.com (required: the REST endpoint of your cluster)",
            ),
            _connection(
                "clevertap",
                "CleverTapHook",
                "CleverTap",
                login="Account ID",
                password="Passcode",
                host="https://eu1.api.clevertap.com (only to replace the region's address)",
                fields={
                    "region": _choice(
                        "Region",
                        ("eu1", "in1", "sg1", "us1", "aps3", "mec1", "sk1"),
                        "As in the address of your dashboard.",
                    )
                },
            ),
            _connection(
                "mailchimp",
                "MailchimpHook",
                "Mailchimp",
                password="API key (it ends in its data center, like -us21)",
                host="https://us21.api.mailchimp.com (only to replace the key's data center)",
            ),
            _connection(
                "census_segment",
                "SegmentHook",
                "Segment (Census)",
                module="segment",
                password="Write key",
                host="https://api.segment.io (only to replace the region's addresses)",
                fields={
                    "region": _choice(
                        "Region", ("us", "eu"), "Where the workspace is; the other one drops everything."
                    ),
                    "workspace_token": {
                        "label": "Workspace token",
                        "description": "Public API token, to look the write key up: Segment takes wrong ones too.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                },
            ),
            _connection(
                "census_slack",
                "SlackHook",
                "Slack (Census)",
                module="slack",
                password="Bot token or incoming webhook URL",
                host="https://slack.com (only to replace it)",
            ),
            _connection(
                "stripe",
                "StripeHook",
                "Stripe",
                password="Secret or restricted key (sk_…, rk_…)",
                host="https://api.stripe.com (only to replace it)",
                fields={"api_version": _text("API version", "Like 2026-06-24.dahlia, which is the default.")},
            ),
            _connection(
                "zapier",
                "ZapierHook",
                "Zapier",
                password="Catch Hook URL (whoever has it can start the Zap)",
                host="https://hooks.zapier.com (only to replace it)",
            ),
            _connection(
                "census_http",
                "HttpHook",
                "HTTP API (Census)",
                module="http",
                login="Login (basic only)",
                password="Token, key or password",
                host="https://api.example.com (required: the API's address)",
                fields={
                    "auth": _choice(
                        "Authorization", ("bearer", "basic", "header", "none"), "How the password is sent."
                    ),
                    "header": _text("Header", "With authorization 'header': its name, like X-Api-Key."),
                    "test_path": _text("Test path", "What the Test button gets, like /v1/me."),
                },
            ),
        ],
    }


def _connection(
    conn_type: str,
    hook: str,
    name: str,
    *,
    password: str,
    host: str,
    module: str | None = None,
    fields: dict[str, Any] | None = None,
    login: str | None = None,
) -> dict[str, Any]:
    relabeling = {"password": password, **({"login": login} if login else {})}
    return {
        "connection-type": conn_type,
        "hook-class-name": f"airflow_provider_census.hooks.{module or conn_type}.{hook}",
        "hook-name": name,
        "conn-fields": fields or {},
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", *([] if login else ["login"])],
            "relabeling": relabeling,
            "placeholders": {"host": host},
        },
    }


def _choice(label: str, values: tuple[str, ...], description: str) -> dict[str, Any]:
    return {
        "label": label,
        "description": description,
        "schema": {"type": ["string", "null"], "enum": list(values), "default": values[0]},
    }


def _text(label: str, description: str) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"]}}
