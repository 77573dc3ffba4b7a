"""The connection to Intercom."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class IntercomHook(DestinationHook):
    """
    Speaks to Intercom through an Airflow connection of type ``intercom``.

    :param intercom_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "intercom_conn_id"
    default_conn_name = "intercom_default"
    conn_type = "intercom"
    hook_name = "Intercom"
    destination = "intercom"

    def __init__(self, intercom_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(intercom_conn_id, **kwargs)
