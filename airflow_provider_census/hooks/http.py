"""The connection to any HTTP API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow.sdk import Connection

from airflow_provider_census.hooks.base import DestinationHook
from airflow_provider_census.transport.message import Credentials


class HttpHook(DestinationHook):
    """
    Speaks to an HTTP API through an Airflow connection of type ``census_http``, or Airflow's own ``http``.

    :param http_conn_id: the connection; its fields are described in the README.
    """

    conn_name_attr = "http_conn_id"
    default_conn_name = "census_http_default"
    conn_type = "census_http"
    hook_name = "HTTP API (Census)"
    destination = "http"

    def __init__(self, http_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(http_conn_id, **kwargs)

    @classmethod
    def credentials(cls, connection: Connection) -> Credentials:
        """Return also the address of Airflow's own HTTP connections, which may have it in parts."""
        host = connection.host or ""
        if host and "://" not in host:
            host = f"{connection.schema or 'http'}://{host}"
        if host and connection.port:
            host = f"{host}:{connection.port}"
        return replace(super().credentials(connection), host=host)
