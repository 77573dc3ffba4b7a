"""
What the author of a sync tells about an API: the options, read and checked once.

They are no language: statuses, names, and dotted paths in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_census.destinations._http_path import Path
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport.rate import Rate

T = TypeVar("T")

RATE = "requests"

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a header's name: RFC 9110 5.6.2
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_NOT_THEIRS = ("Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Length", "Transfer-Encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """
    How an answer says that the request was accepted. Without ``path`` one that looks like a complaint is none.

    :param status: the statuses; if empty, every 2xx but 207, which says that the records fared differently.
    :param path: where the answer, JSON, holds ``value``. An answer without content (204) needs no more.
    :param text: what the answer reads, where it is no JSON.
    """

    status: tuple[int, ...] = ()
    path: str = ""
    value: Any = True
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """
    How an answer says which records it refuses though it accepts the request.

    :param path: where the answer holds a list with an object for each of them.
    :param index: its field with the record's number in the request, counted from ``first``.
    :param id: its field with the record's identifier.
    :param reason: its field with the reason; without it the usual names are tried.
    """

    path: str = ""
    index: str = ""
    id: str = ""
    first: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("needs a 'path'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a request; the README describes them."""

    path: Path | None = None
    method: str = "POST"
    delete_path: Path | None = None
    delete_method: str = "DELETE"
    batch_size: int | None = None
    batch_key: str = ""
    success: Success = field(default_factory=Success)
    errors: Errors | None = None
    skip_status: tuple[int, ...] | None = None
    repeatable: bool | None = None
    idempotency_header: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    rate: Rate | None = None
    concurrency: int = 8

    def __post_init__(self) -> None:
        if self.batch_size and self.errors and not (self.errors.index or self.errors.id):
            raise ConfigError("options['errors'] needs 'index' or 'id', to tell the records of a batch apart")
        if self.batch_key and not self.batch_size:
            raise ConfigError("options['batch_key'] names the list of a batch, and needs options['batch_size']")


def read(options: Mapping[str, Any]) -> Settings:
    """
    Return the settings in ``options``; other names are left to others.

    :raises ConfigError: a value is none that its option takes.
    """
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name in _READERS:
            try:
                given[name] = _READERS[name](value)
            except ValueError as error:
                raise ConfigError(f"options[{name!r}]={value!r}: {error}") from None
    return Settings(**given)


# --- readers: each returns the value, or raises ValueError with what is wrong -----------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number")
    return value


def _positive(value: Any) -> int:
    if _count(value) == 0:
        raise ValueError("must be at least 1")
    return int(value)


def _method(value: Any) -> str:
    methods = ("POST", "PUT", "PATCH", "DELETE")
    if value not in methods:
        raise ValueError(f"valid: {', '.join(methods)}")
    return str(value)


def _wanted(value: Any) -> Any:
    if value is None:
        raise ValueError("null cannot be told from nothing; name what an acceptance holds")
    return value


def _statuses(first: int, last: int) -> Callable[[Any], tuple[int, ...]]:
    def read(value: Any) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or not all(first <= _count(status) <= last for status in value):
            raise ValueError(f"must be a list of statuses from {first} to {last}")
        return tuple(value)

    return read


def _header(value: Any) -> str:
    """Return the name of a header as it is usually written: two spellings of one would both be sent."""
    if not TOKEN.fullmatch(_text(value)):
        raise ValueError("is no name of a header")
    name = value.title()
    if name in _NOT_THEIRS:
        raise ValueError(f"{name} is not for options to set; credentials belong to the connection")
    return str(name)


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a dict of texts")
    for text in value.values():
        if not HEADER_VALUE.fullmatch(_text(text)):
            raise ValueError("the value of a header must be printable ASCII")
    return {_header(name): text for name, text in value.items()}


def _group(make: Callable[..., T], readers: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        valid = ", ".join(readers)
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a dict of {valid}")
        for name in value:
            if name not in readers:
                raise ValueError(f"{name!r} is not known; valid: {valid}")
        return make(**{name: readers[name](part) for name, part in value.items()})

    return read


def _rate(requests: int = 1, seconds: float = 1) -> Rate:
    return Rate(RATE, requests, seconds)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "path": lambda value: Path(_text(value)),
    "method": _method,
    "delete_path": lambda value: Path(_text(value)),
    "delete_method": _method,
    "batch_size": _positive,
    "batch_key": _text,
    "success": _group(Success, {"status": _statuses(200, 299), "path": _text, "value": _wanted, "text": _text}),
    "errors": _group(Errors, {"path": _text, "index": _text, "id": _text, "first": _count, "reason": _text}),
    # 401 and 403 stop a run and 408, 425 and 429 are tried again, whatever is said here.
    "skip_status": _statuses(400, 499),
    "repeatable": _flag,
    "idempotency_header": _header,
    "headers": _headers,
    "rate": _group(_rate, {"requests": _positive, "seconds": _positive}),
    "concurrency": _positive,
}
OPTIONS = tuple(_READERS)
