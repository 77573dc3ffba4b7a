"""The connection to any HTTP API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow.sdk import Connection

from airflow_provider_census.hooks.base import DestinationHook
from airflow_provider_census.transport.credentials import Credentials

_OWN = ("auth", "header", "headers", "test_path")
# What the hook of Airflow's HTTP provider does not send as a header.
_SETTINGS = (
    *("timeout", "allow_redirects", "proxies", "proxy", "verify", "cert", "trust_env", "stream", "max_redirects"),
    "check_response",
)


class HttpHook(DestinationHook):
    """
    Speaks to an HTTP API through an Airflow connection of type ``census_http``, or Airflow's own ``http``.

    :param http_conn_id: the connection; docs/destinations.md describes its fields.
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
        """Return what Airflow's own HTTP connections have elsewhere, too: the address in parts, headers as extras."""
        credentials = super().credentials(connection)
        host, extra = credentials.host, credentials.extra
        if host and "://" not in host:
            host = f"{connection.schema or 'http'}://{host}"
        if host and connection.port:
            host = f"{host}:{connection.port}"
        if connection.conn_type == "http":
            headers = {name: value for name, value in extra.items() if name not in (*_OWN, *_SETTINGS)}
            extra = {**extra, "headers": {**headers, **extra.get("headers", {})}}
        return replace(credentials, host=host, extra=extra)
