"""
Whose write key it is, asked of Segment's Public API: the Tracking API takes every key.

Sources: github segmentio/public-api-sdk-python, docs/WorkspacesApi.md and SourcesApi.md, and the models beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_census.errors import AuthError, ConfigError, Unanswered
from airflow_provider_census.transport.message import Exchange, Request

AT = "Public API"
RATE = "public_api"
_PAGE = "200"


def fingerprint(write_key: str) -> str:
    """Return what stands for a write key where the key itself should not be."""
    return hashlib.blake2b(write_key.encode(), digest_size=16, person=b"write key").hexdigest()


def confirm(source: str) -> Exchange[str]:
    """
    Return what the workspace says of a write key, in words.

    :param source: the :func:`fingerprint` of the key.
    :raises AuthError: no source has this key.
    :raises ConfigError: its source is disabled.
    """
    workspace = (yield from _ask("/")).get("workspace", {}).get("name")
    hidden, cursor, read = 0, "", {""}
    while True:
        page = yield from _ask(
            "/sources", {"pagination[count]": _PAGE} | ({"pagination[cursor]": cursor} if cursor else {})
        )
        for found in page["sources"]:
            keys = found.get("writeKeys") or []
            hidden += not keys
            if source in map(fingerprint, keys):
                return _described(found, workspace)
        cursor = (page.get("pagination") or {}).get("next") or ""
        if not cursor:
            break
        if cursor in read:
            raise Unanswered(f"{AT}: the pages of GET /sources lead back to one that was read")
        read.add(cursor)
    if hidden:
        # Keys are left out for a token that may not see them; the list is then empty, as if there were none.
        return (
            f"workspace {workspace!r}; whether the write key is good cannot be told: the workspace token does not see "
            f"the keys of {hidden} sources. Give it the role Source Admin"
        )
    raise AuthError(f"no source of workspace {workspace!r} has this write key: Segment would drop what is sent with it")


def _described(source: Mapping[str, Any], workspace: object) -> str:
    name = (source.get("metadata") or {}).get("name") or "unknown kind"
    where = f"source {source.get('name') or source.get('slug')!r} ({name}) of workspace {workspace!r}"
    if source.get("enabled") is False:
        raise ConfigError(f"{where} is disabled: Segment would drop what is sent to it")
    return f"the write key belongs to {where}"


def _ask(path: str, query: Mapping[str, str] | None = None) -> Exchange[dict[str, Any]]:
    response = yield Request(method="GET", path=path, query=query, limit=RATE, at=AT)
    answer = response.json()
    if not response.ok:
        errors = answer.get("errors") if isinstance(answer, dict) else None
        words = "; ".join(str(e.get("message") or e.get("type")) for e in errors or [] if isinstance(e, dict))
        raise ConfigError(f"{AT} GET {path}: HTTP {response.status} {words}".strip())
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or (path == "/sources" and not isinstance(data.get("sources"), list)):
        raise Unanswered(f"HTTP {response.status} with JSON that is no answer of Segment's Public API")
    return data
