"""How the Intercom stand-in reads requests and refuses them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

T = TypeVar("T")
Types = Mapping[str, tuple[type, ...]]

_NUMBER = (int, float)
CONTACT: Types = {
    "role": (str,),
    "external_id": (str,),
    "email": (str,),
    "phone": (str,),
    "name": (str,),
    "avatar": (str,),
    "signed_up_at": (int,),
    "last_seen_at": (int,),
    "owner_id": (int,),
    "unsubscribed_from_emails": (bool,),
    "custom_attributes": (dict,),
}
COMPANY_UPDATE: Types = {
    "name": (str,),
    "plan": (str,),
    "size": (int,),
    "website": (str,),
    "industry": (str,),
    "monthly_spend": _NUMBER,
    "custom_attributes": (dict,),
}
COMPANY: Types = {"company_id": (str,), "remote_created_at": (int,), **COMPANY_UPDATE}
EVENT: Types = {
    "event_name": (str,),
    "created_at": (int,),
    "user_id": (str,),
    "id": (str,),
    "email": (str,),
    "metadata": (dict,),
}
_ATTRIBUTE: Types = {
    "string": (str,),
    "integer": (int,),
    "float": _NUMBER,
    "boolean": (bool,),
    "date": (int,),
}


class Refusal(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> JSONResponse:
        """Return the error list, the envelope of every refusal."""
        errors = [{"code": self.code, "message": str(self)}]
        return JSONResponse({"type": "error.list", "request_id": "sandbox", "errors": errors}, self.status)


def route_class(admit: Callable[[Request, dict[str, str]], None]) -> type[APIRoute]:
    """Return a route that lets ``admit`` refuse requests and fill headers, and answers refusals as Intercom does."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                headers: dict[str, str] = {}
                try:
                    admit(request, headers)
                    response = await handle(request)
                except Refusal as refusal:
                    response = refusal.response()
                response.headers.update(headers)
                return response

            return guarded

    return Route


async def read(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "bad_request", "The body must be a JSON object")  # unverified: words
    return body


def found(contact: T | None) -> T:
    """Return ``contact``, or refuse as Intercom does for every contact it does not show."""
    if contact is None:
        raise Refusal(404, "not_found", "User Not Found")
    return contact


def check_types(body: Mapping[str, Any], types: Types) -> None:
    """Refuse keys that are not known and values of the wrong type."""
    for name, value in body.items():
        if name not in types:
            raise Refusal(400, "bad_request", f"bad '{name}' parameter")
        _check_type(name, value, types[name])


def check_attributes(given: Mapping[str, Any], attributes: Iterable[Mapping[str, Any]], model: str) -> None:
    """Refuse custom attributes the workspace does not have; one of them fails the whole write."""
    known = {a["name"]: a for a in attributes if a["custom"] and a["model"] == model and not a["archived"]}
    for name, value in given.items():
        if name not in known:
            raise Refusal(400, "parameter_invalid", f"Custom attribute '{name}' does not exist")
        if not known[name]["api_writable"]:
            raise Refusal(400, "parameter_invalid", f"Custom attribute '{name}' is not writable")  # unverified: words
        _check_type(name, value, _ATTRIBUTE[known[name]["data_type"]])
        if isinstance(value, str) and len(value) > 255:
            # unverified: Intercom may cut instead
            raise Refusal(400, "parameter_invalid", f"Custom attribute '{name}' is longer than 255 characters")


def _check_type(name: str, value: Any, types: tuple[type, ...]) -> None:
    wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if value is not None and wrong:
        raise Refusal(400, "parameter_invalid", f"{name} is not of the right type")  # unverified: words
