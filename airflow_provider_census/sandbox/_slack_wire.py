"""What the methods of Slack's Web API are given."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from airflow_provider_census.sandbox._slack_message import Failed


async def arguments(request: Request, *, json_allowed: bool) -> dict[str, Any]:
    """Return the arguments of a call: its query, a JSON object or a form, in which JSON stands as text."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if not body:
        return dict(request.query_params)
    if kind == "application/json" and json_allowed:
        try:
            value = json.loads(body)
        except ValueError:
            raise Failed("invalid_json") from None
        if not isinstance(value, dict):
            raise Failed("json_not_object")
        return value
    if kind != "application/x-www-form-urlencoded":
        raise Failed("invalid_post_type")
    form: dict[str, Any] = {name: str(value) for name, value in (await request.form()).items()}
    for name, code in (
        ("blocks", "invalid_blocks_format"),
        ("attachments", "invalid_arguments"),
        ("metadata", "invalid_metadata_format"),
    ):
        if name in form:
            try:
                form[name] = json.loads(form[name])
            except ValueError:
                raise Failed(code) from None
    return form


def limit(arguments: Mapping[str, Any], default: int, most: int) -> int:
    """Return how many a page may hold."""
    text = str(arguments.get("limit") or default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Failed("invalid_limit")
    return int(text)


def as_cursor(position: int) -> str:
    """Return the cursor of the page that starts at ``position``."""
    return base64.b64encode(f"next:{position}".encode()).decode()


def cursor(arguments: Mapping[str, Any]) -> int:
    """Return the position at which the page starts."""
    given = arguments.get("cursor") or as_cursor(0)
    try:
        return int(base64.b64decode(str(given), validate=True).removeprefix(b"next:"))
    except (binascii.Error, ValueError):
        raise Failed("invalid_cursor") from None
