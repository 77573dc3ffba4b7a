"""How the credentials of a connection stand in a request."""

from __future__ import annotations

import base64

from airflow_provider_census.destinations._http_options import TOKEN
from airflow_provider_census.destinations.base import choice, secret
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport.message import Credentials


def authorization(credentials: Credentials) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the headers that let a request in, and the secrets in them."""
    kind = choice(
        credentials, "auth", ("bearer", "basic", "header", "none"), "basic" if credentials.login else "bearer"
    )
    if kind == "none":
        return {}, ()
    if kind == "basic":
        if not credentials.login:
            raise ConfigError("the connection has no login, which the extra 'auth': 'basic' needs")
        pair = base64.b64encode(f"{credentials.login}:{credentials.password}".encode()).decode()
        # Where there is no password, APIs take a key for the login.
        return {"Authorization": f"Basic {pair}"}, (pair, credentials.password or credentials.login)
    password = secret(credentials, "token or key")
    if kind == "bearer":
        return {"Authorization": f"Bearer {password}"}, (password,)
    name = str(credentials.extra.get("header") or "")
    if not TOKEN.fullmatch(name):
        raise ConfigError("the extra 'auth': 'header' needs the header's name in the extra 'header', like 'X-Api-Key'")
    return {name: password}, (password,)
