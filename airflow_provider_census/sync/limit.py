"""How many rows a person allows to end badly, or to be deleted: so many, or a share."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.errors import ConfigError

Limit = int | float | None
"""An int counts rows, a float is a share of them, None is no limit."""


def rows_of(limit: int | float, whole: int) -> int:
    """Return how many of ``whole`` rows a limit is."""
    # Rounded: 0.29 * 100 is less than 29.
    return limit if isinstance(limit, int) else int(round(limit * whole, 6))


def parse_limit(name: str, value: Any) -> Limit:
    """
    Return a ``max_…`` argument as a number: an int counts rows, a float is a share of them, None is no limit.

    Rendered templates come as text: ``"5"``, ``"0.1"``, ``"None"``.

    :raises ConfigError: it is none of these.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = None if text.lower() == "none" else float(text) if "." in text else int(text)
        except ValueError:
            raise ConfigError(f"{name}={text!r} is no number; give rows (5), a share (0.1) or None") from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigError(f"{name}={value!r} is no limit; give rows (5), a share (0.1) or None")
    if isinstance(value, float) and value > 1:
        raise ConfigError(f"{name}={value!r}: a share is at most 1.0; rows are given as an int")
    return value
