"""
Whose write key it is, asked of Segment's Public API: the Tracking API takes every key.

Sources: github segmentio/public-api-sdk-python, docs/WorkspacesApi.md and SourcesApi.md, and the models beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import NotRequired, TypedDict, TypeVar

from airflow_provider_census.destinations._asking import Pages, look
from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.transport.message import Exchange, Request, Response

AT = "Public API"
RATE = "public_api"
_PAGE = "200"


class _Named(TypedDict, total=False):
    name: str | None


class _Workspace(TypedDict):
    workspace: _Named


class _Source(TypedDict, total=False):
    name: str | None
    slug: str | None
    enabled: bool | None
    writeKeys: list[str] | None
    metadata: _Named | None


class _Pagination(TypedDict, total=False):
    next: str | None


class _Sources(TypedDict):
    sources: list[_Source]
    pagination: NotRequired[_Pagination | None]


class _Me(TypedDict):
    data: _Workspace


class _Page(TypedDict):
    data: _Sources


class _Error(TypedDict, total=False):
    type: str | None
    message: str | None


class _Refusal(TypedDict, total=False):
    errors: list[_Error] | None


_Answer = TypeVar("_Answer")


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
    workspace = (yield from _ask("/", _Me))["data"]["workspace"].get("name")
    pages, hidden = Pages(f"GET /sources of the {AT}"), 0
    query = {"pagination[count]": _PAGE}
    while True:
        page = (yield from _ask("/sources", _Page, query))["data"]
        for found in page["sources"]:
            keys = found.get("writeKeys") or []
            hidden += not keys
            if source in map(fingerprint, keys):
                return _described(found, workspace)
        cursor = (page.get("pagination") or {}).get("next")
        if not cursor:
            break
        query = query | {"pagination[cursor]": pages.follow(cursor)}
    if hidden:
        # Keys are left out for a token that may not see them; the list is then empty, as if there were none.
        return (
            f"workspace {workspace!r}; whether the write key is good cannot be told: the workspace token does not see "
            f"the keys of {hidden} sources. Give it the role Source Admin"
        )
    raise AuthError(f"no source of workspace {workspace!r} has this write key: Segment would drop what is sent with it")


def _described(source: _Source, workspace: object) -> str:
    name = (source.get("metadata") or {}).get("name") or "unknown kind"
    where = f"source {source.get('name') or source.get('slug')!r} ({name}) of workspace {workspace!r}"
    if source.get("enabled") is False:
        raise ConfigError(f"{where} is disabled: Segment would drop what is sent to it")
    return f"the write key belongs to {where}"


def _ask(path: str, promised: type[_Answer], query: Mapping[str, str] | None = None) -> Exchange[_Answer]:
    request = Request(method="GET", path=path, query=query, limit=RATE, at=AT)
    return look(request, partial(_read, path=path, promised=promised))


def _read(response: Response, path: str, promised: type[_Answer]) -> _Answer:
    if not response.ok:
        errors = response.told(_Refusal).get("errors") or []
        words = "; ".join(error.get("message") or error.get("type") or "an error without words" for error in errors)
        raise ConfigError(f"{AT} GET {path}: HTTP {response.status} {words}".strip())
    return response.read(promised)
