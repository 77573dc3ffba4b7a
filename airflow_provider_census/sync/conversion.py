"""
Database values as JSON values.

What JSON has stays as it is; what it has not (dates, decimals) is converted the way the destination takes it; what it
cannot hold (NaN, NUL, bytes) makes the row invalid, with the reason.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from types import NoneType
from typing import TYPE_CHECKING, Any

from airflow_provider_census.errors import ConfigError

if TYPE_CHECKING:
    from airflow_provider_census.destinations.base import Destination

# Integers that any JSON number holds; others are looked at more closely.
_LEAST, _MOST = -(2**63), 2**63 - 1
# Types of which a destination takes every value, or says why not.
_SCALARS = frozenset((dt.datetime, dt.date, dt.time, uuid.UUID))


class Converter:
    """Converts the values of one destination. All methods raise ValueError with the reason."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._longest = destination.max_record_bytes

    def from_row(self, value: Any, path: str) -> Any:
        """Return a column's value for the field at ``path``; its text cannot act as markup at the destination."""
        # Nearly all values are one of these, and each stands for nanoseconds that a million rows have to wait.
        kind = type(value)
        if kind is str:
            if not (value.isascii() and len(value) <= self._longest and "\x00" not in value):
                self._text(value, path)
            return self._destination.escape(value, path)
        if kind is bool or (kind is int and _LEAST <= value <= _MOST) or (kind is float and math.isfinite(value)):
            return value
        converted = self._destination.scalar(value, path) if kind in _SCALARS else self.value(value, path)
        return self._escaped(converted, path)

    def from_rows(self, values: Sequence[Any], kinds: Set[type], path: str) -> Sequence[Any]:
        """
        Return what :meth:`from_row` returns for each of ``values``, and None for None.

        :param kinds: the types of all of them.
        """
        kinds = kinds - {NoneType}
        if kinds == {str}:
            plain = self._is_plain(values)
        elif kinds == {int}:
            numbers = list(filter(None, values))
            plain = min(numbers, default=0) >= _LEAST and max(numbers, default=0) <= _MOST
        elif kinds == {float}:
            plain = math.isfinite(sum(filter(None, values)))
        else:
            plain = kinds <= {bool}
        if plain:
            return values
        return [None if value is None else self.from_row(value, path) for value in values]

    def _is_plain(self, texts: Iterable[str | None]) -> bool:
        """Return whether all of ``texts`` go as they are."""
        filled = list(filter(None, texts))
        together = "".join(filled)
        fit = len(together) <= self._longest or max(map(len, filled)) <= self._longest
        return fit and together.isascii() and "\x00" not in together and not self._destination.escapes

    def value(self, value: Any, path: str) -> Any:
        """Return ``value`` as JSON."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, (int, float, decimal.Decimal)) and not _is_json(value):
            raise ValueError(f"{path}: NaN, infinity and numbers beyond 1e308 have no JSON form")
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, Mapping):
            return {self._text(str(k), path): self.value(v, f"{path}.{k}") for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, path) for item in value]
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise ValueError(f"{path}: bytes have no JSON form; encode them in the model")
        return self._destination.scalar(value, path)

    def _text(self, text: str, path: str) -> str:
        if "\x00" in text:
            raise ValueError(f"{path}: the text holds a NUL character")
        if len(text) > self._longest:
            raise ValueError(
                f"{path}: the text has {len(text):,} characters, a whole record may have {self._longest:,} bytes"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path}: the text is not valid Unicode (a lone surrogate)") from None
        return text

    def _escaped(self, value: Any, path: str) -> Any:
        """Escape every text, the leaves of a JSON column by their own paths: the destination knows which are markup."""
        if isinstance(value, str):
            return self._destination.escape(value, path)
        if isinstance(value, dict):
            return {k: self._escaped(v, f"{path}.{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self._escaped(item, path) for item in value]
        return value


def _is_json(number: int | float | decimal.Decimal) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def key_text(key: Any) -> str:
    """
    Return the text of a sync key.

    Numbers without a fraction are written as integers: drivers return the same id as 7, 7.0 or Decimal("7").

    :raises ValueError: this value cannot identify anything.
    :raises ConfigError: no value of this type can; the model must cast the column.
    """
    if type(key) is int:
        return str(key)
    if isinstance(key, str):
        if "\x00" in key:
            raise ValueError("the sync key holds a NUL character")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise ValueError("the sync key is not valid Unicode (a lone surrogate)") from None
        return key
    if isinstance(key, bool) or not isinstance(key, (int, float, decimal.Decimal, uuid.UUID)):
        raise ConfigError(f"a {type(key).__name__} cannot be a sync key; cast it in the model")
    if isinstance(key, (float, decimal.Decimal)):
        if not math.isfinite(key):
            raise ValueError(f"{key} cannot be a sync key")
        return str(int(key)) if key == int(key) else str(key)
    return str(key)


def key_texts(keys: Sequence[Any]) -> list[str]:
    """
    Return the :func:`key_text` of each of ``keys``.

    :raises ValueError: they have to be looked at one by one: some may be none.
    """
    kinds = set(map(type, keys))
    if kinds == {int}:
        return list(map(str, keys))
    together = "".join(keys) if kinds == {str} else "\x00"
    if "\x00" in together or not together.isascii():
        raise ValueError("some may be none")
    return list(keys)
