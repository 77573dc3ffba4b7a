"""
What a connection says, without Airflow.

In: an Airflow connection's fields. Out: an address, a secret, a choice that a destination can rely on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_census.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Credentials:
    """An Airflow connection without Airflow: the fields a destination may read."""

    password: str = field(default="", repr=False)
    host: str = ""
    login: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def base_url(host: str, default: str | None, prefix: str = "") -> str:
    """
    Return the base URL of an API: ``host`` of the connection, else ``default``, then the API's own ``prefix``.

    :raises ConfigError: ``host`` is not ``http(s)://host[:port][/base]``, or is missing without a default.
    """
    url = host.strip() or default
    if not url:
        raise ConfigError("the connection has no host; give the API's address as https://…")
    if not _is_address(url):
        raise ConfigError("the host of the connection must read http(s)://host[:port][/base]")
    return url.rstrip("/") + prefix


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - read for its check
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and not parts.query


def secret(credentials: Credentials, what: str) -> str:
    """Return the password of the connection; ``what`` names it in the error when it is missing."""
    password = credentials.password.strip()
    if not password:
        raise ConfigError(f"the connection has no password; put the {what} there")
    if not password.isascii() or any(c.isspace() for c in password):
        raise ConfigError(f"the password of the connection has spaces or other characters no {what} has")
    return password


def choice(credentials: Credentials, name: str, valid: Iterable[str], default: str) -> str:
    """Return an extra of the connection that takes one of a few values."""
    value = str(credentials.extra.get(name) or default).lower()
    valid = tuple(valid)
    if value not in valid:
        raise ConfigError.unknown(f"extra {name!r} of the connection", value, valid)
    return value
