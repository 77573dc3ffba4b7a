"""The connection to Zapier."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class ZapierHook(DestinationHook):
    """
    Speaks to a Catch Hook of Zapier through an Airflow connection of type ``zapier``.

    :param zapier_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "zapier_conn_id"
    default_conn_name = "zapier_default"
    conn_type = "zapier"
    hook_name = "Zapier"
    destination = "zapier"

    def __init__(self, zapier_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(zapier_conn_id, **kwargs)
