"""JSON that a driver gives as text, as values."""

from __future__ import annotations

import decimal
import json
from typing import Any


def parsed(text: str, path: str) -> Any:
    """
    Return the value that ``text`` spells.

    :param path: the field it is for.
    :raises ValueError: it is not JSON, or not one value to everybody who reads it. The reason has nothing of the text.
    """
    try:
        return _DECODER.decode(text)
    except _Ambiguous as error:
        raise ValueError(f"{path}: the column is not JSON to rely on: {error}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the column is not JSON (from character {error.pos + 1} on)") from None
    except ValueError:  # Python's limit for the digits of an integer
        raise ValueError(f"{path}: the column has a number with too many digits") from None


class _Ambiguous(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Ambiguous("an object names a key twice")
    return fields


def _number(text: str) -> float | decimal.Decimal:
    """Return a number with a point: exact, so that the destination decides about it as of any decimal."""
    number = float(text)
    exact = decimal.Decimal(text)
    return number if exact == decimal.Decimal(repr(number)) else exact


def _no_number(_: str) -> Any:
    raise _Ambiguous("NaN and Infinity are no numbers of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_no_number)
