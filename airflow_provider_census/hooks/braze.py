"""The connection to Braze."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class BrazeHook(DestinationHook):
    """
    Speaks to Braze through an Airflow connection of type ``braze``.

    :param braze_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "braze_conn_id"
    default_conn_name = "braze_default"
    conn_type = "braze"
    hook_name = "Braze"
    destination = "braze"

    def __init__(self, braze_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(braze_conn_id, **kwargs)
