"""How the credentials of a connection stand in a request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from airflow_provider_census.destinations._http_options import HEADER_VALUE, TOKEN
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport.credentials import Credentials, choice, secret

_KINDS = ("bearer", "basic", "header", "none")
_OPEN = ("accept", "content-type", "user-agent")


def authorization(credentials: Credentials) -> tuple[dict[str, str], tuple[str, ...]]:
    """
    Return the headers that let a request in, and the secrets in them.

    :raises ConfigError: a part of the connection is missing or wrong; the message says which.
    """
    headers = _headers(credentials.extra.get("headers") or {})
    secrets = tuple(value for name, value in headers.items() if name.lower() not in _OPEN)
    own, own_secrets = _password(credentials, "none" if secrets and not credentials.password else "bearer")
    return {**headers, **own}, (*own_secrets, *secrets)


def _password(credentials: Credentials, default: str) -> tuple[dict[str, str], tuple[str, ...]]:
    kind = choice(credentials, "auth", _KINDS, "basic" if credentials.login else default)
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


def _headers(extra: Any) -> Mapping[str, str]:
    if not isinstance(extra, Mapping) or not all(
        isinstance(value, str) and TOKEN.fullmatch(name) and HEADER_VALUE.fullmatch(value)
        for name, value in extra.items()
    ):
        raise ConfigError("the extra 'headers' of the connection must be names and values of headers, printable ASCII")
    return extra
