"""The connection to Slack."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class SlackHook(DestinationHook):
    """
    Speaks to Slack through an Airflow connection of type ``census_slack``.

    :param slack_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "slack_conn_id"
    default_conn_name = "slack_default"
    conn_type = "census_slack"
    hook_name = "Slack (Census)"
    destination = "slack"

    def __init__(self, slack_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(slack_conn_id, **kwargs)
