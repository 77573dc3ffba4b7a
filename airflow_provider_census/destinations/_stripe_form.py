"""
A customer as Stripe's form: which parameters there are, how nested ones are written, what one may hold.

Sources: github stripe/stripe-python (params/_customer_create_params.py, _customer_modify_params.py, _encode.py),
github stripe/openapi (PostCustomers), docs.stripe.com/api/metadata.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Mapping
from typing import Any

#: Parameters that are objects stand here with their parts: NULL for a whole object would clear all of it.
FIELDS = (
    *("name", "email", "phone", "description", "business_name", "individual_name"),
    *(f"address.{part}" for part in ("line1", "line2", "city", "state", "postal_code", "country")),
    *("shipping.name", "shipping.phone"),
    *(f"shipping.address.{part}" for part in ("line1", "line2", "city", "state", "postal_code", "country")),
    *("preferred_locales", "tax_exempt", "tax.ip_address", "tax.validate_location"),
    *("balance", "invoice_prefix", "next_invoice_sequence"),
    *("invoice_settings.default_payment_method", "invoice_settings.footer", "invoice_settings.custom_fields"),
    *("cash_balance.settings.reconciliation_mode", "metadata.*"),
)

MAX_KEY = 40
MAX_METADATA_VALUE = 500
_MAX_METADATA = 50
# The sizes of the published description of the API, of 2022 (business_name and individual_name: of the SDK, 2026).
_MAX_CHARACTERS = {
    **{"email": 512, "name": 256, "phone": 20, "description": 5_000},
    **{"business_name": 150, "individual_name": 150},
}
# Unverified: that Stripe would refuse to unset them. Their types in the SDK know no empty value.
_NEVER_EMPTY = ("balance", "invoice_prefix", "next_invoice_sequence")
_INTEGERS = ("balance", "next_invoice_sequence")


def form(fields: Mapping[str, Any]) -> dict[str, str]:
    """
    Return ``fields`` as form parameters: ``address[city]``, ``preferred_locales[0]``, ``metadata[plan]``.

    An empty value unsets: that is what Stripe reads it as, everywhere.
    """
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if name == "metadata":
            flat |= {f"metadata[{key}]": text(item) for key, item in value.items()}
        elif name == "shipping" and not _some(value):
            flat["shipping"] = ""  # its name and address cannot be unset one by one
        else:
            _flatten(name, value, flat)
    return flat


def _flatten(name: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(f"{name}[{key}]", item, flat)
    elif isinstance(value, list) and value:
        for at, item in enumerate(value):
            _flatten(f"{name}[{at}]", item, flat)
    else:
        flat[name] = "" if value == [] else text(value)


def text(value: Any) -> str:
    """Return a JSON value as Stripe stores it in metadata: text, whatever it was."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else format(decimal.Decimal(repr(value)), "f")
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def fault(fields: Mapping[str, Any]) -> str | None:
    """Return why Stripe would refuse these fields, as far as that can be known."""
    for name, most in _MAX_CHARACTERS.items():
        if len(text(fields.get(name))) > most:
            return f"{name} has {len(text(fields[name])):,} characters; Stripe takes {most:,}"
    for name in _NEVER_EMPTY:
        if name in fields and fields[name] is None:
            return f"{name} is NULL, and Stripe cannot unset it; map it with null='skip'"
    for name in _INTEGERS:
        if name in fields and not text(fields[name]).lstrip("-").isdecimal():
            return f"{name} is no whole number" + ("; Stripe counts cents" if name == "balance" else "")
    shipping = fields.get("shipping", {})
    if _some(shipping) and not (shipping.get("name") and _some(shipping.get("address", {}))):
        return "shipping has no name or no address; Stripe takes it with both, or not at all"
    return _metadata_fault(fields.get("metadata", {}))


def _metadata_fault(metadata: Mapping[str, Any]) -> str | None:
    used = {key: text(value) for key, value in metadata.items() if text(value)}
    if len(used) > _MAX_METADATA:
        return f"metadata has {len(used)} keys; Stripe takes {_MAX_METADATA}"
    for key, value in used.items():
        if len(value) > MAX_METADATA_VALUE:
            return f"metadata.{key} has {len(value)} characters; Stripe takes {MAX_METADATA_VALUE}"
    return None


def key_fault(key: str) -> str | None:
    """Return why Stripe has no metadata of this name."""
    if not key or len(key) > MAX_KEY:
        return f"a key of metadata has 1 to {MAX_KEY} characters"
    if "[" in key or "]" in key:
        return "a key of metadata must not contain square brackets"
    if "." in key:
        return "metadata is flat: a key of it must not contain dots, which nest"
    return None


def _some(value: Any) -> bool:
    """Return whether anything in ``value`` is set."""
    if isinstance(value, Mapping):
        return any(_some(item) for item in value.values())
    return value not in (None, "")
