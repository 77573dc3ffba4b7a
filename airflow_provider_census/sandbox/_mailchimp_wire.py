"""How the Mailchimp stand-in reads requests and refuses them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

_NUMBER = (int, float)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "email_address": (str,),
    "email_type": (str,),
    "status": (str,),
    "merge_fields": (dict,),
    "interests": (dict,),
    "language": (str,),
    "vip": (bool,),
    "location": (dict,),
    "ip_signup": (str,),
    "timestamp_signup": (str,),
    "ip_opt": (str,),
    "timestamp_opt": (str,),
}
#: The request for many members takes these.
BATCH = frozenset(_TYPES)
#: PUT and PATCH drop tags without a word (github ibericode/mailchimp-for-wordpress#674).
SINGLE = BATCH | {"marketing_permissions", "tags"}
STATUSES = frozenset({"subscribed", "unsubscribed", "cleaned", "pending", "transactional"})
_ALL_TYPES = {**_TYPES, "status_if_new": (str,), "marketing_permissions": (list,), "tags": (list,)}
_PARTS: Mapping[str, tuple[type, ...]] = {"location": _NUMBER, "interests": (bool,)}
_NAMES = {bool: "boolean", str: "string", dict: "object", list: "array", int: "integer", float: "number"}
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_BIRTHDAY = re.compile(r"(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01])")


class Problem(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, title: str, detail: str, errors: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.errors = [{"field": field, "message": message} for field, message in errors]

    def response(self) -> Response:
        """Return the problem document, the envelope of every refusal."""
        body = {
            "type": "https://mailchimp.com/developer/marketing/docs/errors/",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            "instance": "sandbox",
            **({"errors": self.errors} if self.errors else {}),
        }
        return Response(json.dumps(body), self.status, media_type="application/problem+json; charset=utf-8")


def route_class(admit: Callable[[Request], AbstractContextManager[Any]], pause: Callable[[], Any]) -> type[APIRoute]:
    """Return a route that is passed with ``admit`` only, takes ``pause``, and answers problems as Mailchimp does."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    with admit(request):
                        await pause()
                        return await handle(request)
                except Problem as problem:
                    return problem.response()

            return guarded

    return Route


def answer(request: Request, body: Mapping[str, Any]) -> Response:
    """Return ``body``, reduced to what the query's ``fields`` name."""
    wanted = request.query_params.get("fields")
    if not wanted:
        return JSONResponse(dict(body))
    return JSONResponse(_select(body, [path.split(".") for path in wanted.split(",")]))


def _select(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_select(item, paths) for item in value]
    if not isinstance(value, Mapping) or [] in paths:
        return value
    names = dict.fromkeys(path[0] for path in paths)
    return {n: _select(value[n], [p[1:] for p in paths if p[0] == n]) for n in names if n in value}


async def read(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body."""
    try:
        body = await request.json()
    except ValueError:
        raise Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.") from None
    if not isinstance(body, dict):
        raise schema_problem([("", f"Schema describes object, {_type(body)} found instead")])
    return body


def check_member(body: Any, names: Container[str]) -> None:
    """Refuse what does not fit the schema of a member."""
    if not isinstance(body, dict):
        raise schema_problem([("", f"Schema describes object, {_type(body)} found instead")])
    errors = [error for name, value in body.items() if (error := _member_error(name, value, names))]
    for name, value in body.items():
        if isinstance(value, dict):
            errors += _part_errors(name, value)
    if errors:
        raise schema_problem(errors)


def _member_error(name: str, value: Any, names: Container[str]) -> tuple[str, str] | None:
    if name not in names:
        return name, "This value is not in the schema"  # unverified: Mailchimp may ignore it
    if not isinstance(value, _ALL_TYPES[name]):
        return name, f"Schema describes {_NAMES[_ALL_TYPES[name][0]]}, {_type(value)} found instead"
    if name.startswith("status") and value not in STATUSES:
        return name, f"Value must be one of: {', '.join(sorted(STATUSES))}"
    return None


def _part_errors(name: str, parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, value in parts.items():
        if name == "merge_fields" and (value is None or isinstance(value, (bool, list))):
            yield f"merge_fields.{part}", "Data did not match any of the schemas described in anyOf."
        types = _PARTS.get(name, (object,))
        if not isinstance(value, types) or (isinstance(value, bool) and name == "location"):
            yield f"{name}.{part}", f"Schema describes {_NAMES[types[0]]}, {_type(value)} found instead"


def schema_problem(errors: Iterable[tuple[str, str]]) -> Problem:
    """Return the problem of a body that does not fit the schema."""
    detail = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
    return Problem(400, "Invalid Resource", detail, errors)


def merge_error(field: Mapping[str, Any], value: Any) -> str | None:
    """Return what is wrong with a merge field's value by its type; "" clears every type."""
    if value == "":
        return None
    match field["type"]:
        case "address":
            whole = isinstance(value, dict) and all(
                isinstance(value.get(part), str) and value[part] for part in ("addr1", "city", "state", "zip")
            )
            return None if whole else "Please enter a complete address"
        case _ if isinstance(value, dict):
            return "Data did not match any of the schemas described in anyOf."
        case "number":
            number = isinstance(value, _NUMBER) or re.fullmatch(r"-?\d+(\.\d+)?", value)
            return None if number else "Please enter a number"
        case "date":
            return None if isinstance(value, str) and _ISO_DATE.fullmatch(value) else "Please enter the date"
        case "birthday":
            fits = isinstance(value, str) and _BIRTHDAY.fullmatch(value)
            return None if fits else "Please enter a month (01-12) and a day (01-31)."
        case "url" | "imageurl":
            # unverified: words
            return None if str(value).startswith(("http://", "https://")) else "Please enter a valid URL"
        case "radio" | "dropdown":
            # unverified: words
            return None if value in field["options"]["choices"] else "Please enter one of the choices"
    return None


def _type(value: Any) -> str:
    return "NULL" if value is None else _NAMES[type(value)]
