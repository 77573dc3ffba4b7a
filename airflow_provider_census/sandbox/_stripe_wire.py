"""How the Stripe stand-in reads forms and search queries, and what it refuses in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Response
from fastapi.responses import JSONResponse

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+", re.ASCII)
_CLAUSE = re.compile(r"""(email|name|phone|metadata\['((?:[^'\\]|\\.)*)'\]):'((?:[^'\\]|\\.)*)'""")
_MAX_CLAUSES = 10
_ADDRESS = {"line1", "line2", "city", "state", "postal_code", "country"}
# Each parameter: the names of its parts, or None for one that has none.
_PARAMETERS: Mapping[str, Any] = {
    **dict.fromkeys(("name", "email", "phone", "description", "business_name", "individual_name")),
    **dict.fromkeys(("balance", "invoice_prefix", "next_invoice_sequence", "tax_exempt", "preferred_locales")),
    "address": _ADDRESS,
    "shipping": {"name", "phone", "address"},
    "tax": {"ip_address", "validate_location"},
    "invoice_settings": {"custom_fields", "default_payment_method", "footer", "rendering_options"},
    "cash_balance": {"settings"},
    "metadata": ...,
    "expand": None,
}
_MAX_CHARACTERS = {"email": 512, "name": 256, "phone": 20, "description": 5_000}


class Refusal(Exception):
    """An answer that is not 2xx."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str = "",
        code: str = "",
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        optional = {"param": param, "code": code}
        self.error = {"type": type, "message": message, **{k: v for k, v in optional.items() if v}}

    def answer(self) -> Response:
        """Return it as it is sent."""
        return JSONResponse({"error": self.error}, self.status, self.headers)


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the nested parameters of a form."""
    if body and not content_type.startswith("application/x-www-form-urlencoded"):
        raise Refusal(400, "Invalid request (check that your POST content type is application/x-www-form-urlencoded).")
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        first, *parts = re.split(r"\[([^\[\]]*)\]", name)
        if any(parts[1::2]):
            raise Refusal(400, f"Invalid parameter name: {name}")  # unverified: words
        _put(fields, [first, *parts[::2]], value)
    return fields


def _put(fields: dict[str, Any], path: list[str], value: str) -> None:
    *parents, last = path
    for part in parents:
        inner = fields.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Refusal(400, f"Invalid object: {part}", param=part)  # unverified: words
        fields = inner
    fields[last] = value


def check(fields: Mapping[str, Any]) -> None:
    """Refuse parameters that are not known, and values of the wrong kind."""
    for name, value in fields.items():
        _check_name(name, value)
        if len(str(value)) > _MAX_CHARACTERS.get(name, 10**6):
            # unverified: words
            raise Refusal(400, f"Invalid string: must be at most {_MAX_CHARACTERS[name]} characters", param=name)
    email = fields.get("email")
    if email and not _EMAIL.fullmatch(email):
        raise Refusal(400, f"Invalid email address: {email}", param="email", code="email_invalid")
    if fields.get("tax_exempt", "") not in ("", "none", "exempt", "reverse"):
        raise Refusal(400, "Invalid tax_exempt: must be one of none, exempt, or reverse", param="tax_exempt")
    for name in ("balance", "next_invoice_sequence"):
        if not re.fullmatch(r"-?\d+", fields.get(name, "0")):
            raise Refusal(400, f"Invalid integer: {fields[name]}", param=name, code="parameter_invalid_integer")
    shipping = fields.get("shipping")
    for part in ("name", "address"):
        if isinstance(shipping, dict) and not shipping.get(part):
            raise Refusal(400, f"Missing required param: shipping[{part}].", param=f"shipping[{part}]")
    _check_metadata(fields.get("metadata", {}))


def _check_name(name: str, value: Any) -> None:
    parts = _PARAMETERS.get(name, "unknown")
    if parts == "unknown":
        raise Refusal(400, f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
    if isinstance(parts, set) and isinstance(value, dict):
        for part in value.keys() - parts:
            whole = f"{name}[{part}]"
            raise Refusal(400, f"Received unknown parameter: {whole}", param=whole, code="parameter_unknown")
    if isinstance(value, dict) and parts is None and name not in ("preferred_locales", "expand"):
        raise Refusal(400, f"Invalid string: {name} is an object", param=name)  # unverified: words
    if isinstance(value, str) and value and parts is not None:
        raise Refusal(400, "Invalid object", param=name)  # unverified: words


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict):
        return
    for key, value in metadata.items():
        if len(key) > 40:
            raise Refusal(400, f"Invalid key: {key} must be a string under 40 characters", param="metadata")
        if not isinstance(value, str) or len(value) > 500:
            raise Refusal(400, f"Invalid val: {value} must be a string under 500 characters", param="metadata")


def merge(customer: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Carry out an update: empty values unset, metadata is merged key by key."""
    metadata = merged_metadata(customer["metadata"], fields)
    for name, value in fields.items():
        if name in ("balance", "next_invoice_sequence"):
            customer[name] = int(value)
        elif name == "preferred_locales":
            customer[name] = [value[at] for at in sorted(value, key=int)] if value else []
        elif isinstance(value, dict):
            customer[name] = _merged(customer.get(name) or {}, value)
        else:
            customer[name] = value or None
    customer["metadata"] = metadata


def merged_metadata(there: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what an update makes of the metadata, or refuse it."""
    if fields.get("metadata") == "":
        return {}
    metadata = {key: value for key, value in {**there, **fields.get("metadata", {})}.items() if value}
    if len(metadata) > 50:
        raise Refusal(400, f"Metadata can have up to 50 keys, but you've set {len(metadata)}.", param="metadata")
    return metadata


def _merged(there: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {**there, **{k: _merged({}, v) if isinstance(v, dict) else v or None for k, v in given.items()}}


def search(query: str, customers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the customers a query of the search language finds."""
    clauses, any_of = _clauses(query)
    found = any if any_of else all
    return [c for c in customers if found(_matches(c, *clause) for clause in clauses)]


def _clauses(query: str) -> tuple[list[tuple[str, str, str]], bool]:
    clauses: list[tuple[str, str, str]] = []
    joints: set[str] = set()
    at = 0
    while True:
        match = _CLAUSE.match(query, at)
        if not match:
            raise Refusal(400, f"We were unable to parse your search query near position {at}", param="query")
        field, key, value = match.groups()
        clauses.append((field.partition("[")[0], _unquoted(key or ""), _unquoted(value)))
        at = match.end()
        if at == len(query):
            break
        joint = re.compile(r"\s+(AND|OR)\s+").match(query, at)
        joints.add(joint[1] if joint else "?")
        at = joint.end() if joint else at
    if len(joints) > 1 or len(clauses) > _MAX_CLAUSES:
        # unverified: words
        raise Refusal(400, f"A query takes {_MAX_CLAUSES} clauses, joined by AND or by OR", param="query")
    return clauses, joints == {"OR"}


def _matches(customer: Mapping[str, Any], field: str, key: str, value: str) -> bool:
    found = customer["metadata"].get(key) if field == "metadata" else customer.get(field)
    return (found or "").lower() == value.lower()


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
