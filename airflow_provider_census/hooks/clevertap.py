"""The connection to CleverTap."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class CleverTapHook(DestinationHook):
    """
    Speaks to CleverTap through an Airflow connection of type ``clevertap``.

    :param clevertap_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "clevertap_conn_id"
    default_conn_name = "clevertap_default"
    conn_type = "clevertap"
    hook_name = "CleverTap"
    destination = "clevertap"

    def __init__(self, clevertap_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(clevertap_conn_id, **kwargs)
