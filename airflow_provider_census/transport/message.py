"""The values that cross the wire: where to send, what to send, what came back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from airflow_provider_census.errors import Unanswered
from airflow_provider_census.transport.reading import check, decode

T = TypeVar("T")

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_OBJECT, _LIST = b"{["  # as numbers: bytes are looked for several times as slowly
_FAST = msgspec.json.Encoder()
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


Json = bytes
"""A value as JSON in UTF-8. As part of a larger one, or as a body, it is not encoded again."""


def encode(value: Any) -> Json:
    """
    Return ``value`` as it goes over the wire.

    :raises ValueError: JSON does not have it (NaN).
    """
    return value if isinstance(value, Json) else _STRICT.encode(value).encode()


def encode_record(value: Any) -> Json:
    """Return a value made of converted ones alone: several times as fast, and NaN would become null."""
    return _FAST.encode(value)


def array(items: Iterable[Json], *names: str) -> Json:
    """Return the JSON array of ``items``, in objects if ``names`` are given: ``array(items, "a", "b")`` is at a.b."""
    text = b"[%b]" % b",".join(items)
    for name in reversed(names):
        text = b"{%b:%b}" % (encode(name), text)
    return text


def is_flat(written: Json) -> bool:
    """Return whether an object certainly has no objects or lists in it; False if a text of it may only look so."""
    return written.find(_OBJECT, 1) < 0 and _LIST not in written


def encoded_size(value: Any) -> int:
    """Return the bytes of ``value`` as JSON on the wire."""
    return len(encode(value))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    Where a destination's API answers, and what every request to it carries.

    :param secrets: of the whole connection, those of ``others`` included.
    :param others: further addresses, by the name that :attr:`Request.at` gives: an API that is managed elsewhere.
    :param name: of the connection, for messages.
    """

    base_url: str = field(repr=False)  # a webhook is its own secret
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    others: Mapping[str, Endpoint] = field(default_factory=dict, repr=False)
    name: str = "the connection"

    def redact(self, text: str) -> str:
        """
        Return ``text`` with every secret of the connection replaced; APIs echo keys in their errors.

        What databases and logs do not take is replaced too: some answer with bytes that are no text.
        """
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, "***")
        return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One HTTP request to a destination.

    :param path: below the endpoint's base URL; values in it must be quoted by the caller.
    :param json: body sent as JSON, as it is if it is :class:`Json`; ``form`` is the alternative, sent urlencoded.
    :param idempotent: whether sending it twice leaves the destination as sending it once.
    :param limit: name of the :class:`~.rate.Rate` that counts it; empty for the first one.
    :param cost: how much of that rate it uses, in the rate's unit.
    :param shown: what stands for the path in errors, where values of a row stand in it.
    :param at: name of the address it goes to, one of :attr:`Endpoint.others`; empty for the endpoint itself.
    """

    method: str
    path: str
    json: Any = None
    form: Mapping[str, str] | None = None
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = True
    limit: str = ""
    cost: int = 1
    at: str = ""
    shown: str = ""

    def __str__(self) -> str:
        return f"{self.at} {self.method} {self.shown or self.path}".lstrip()


@dataclass(frozen=True, slots=True)
class Response:
    """
    One HTTP answer, its body read. Header names are lower case.

    :param cut: the body goes on behind what was read of it.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False

    def json(self) -> Any:
        """
        Return the decoded body.

        :raises Unanswered: the body is not JSON (HTML of a proxy, a truncated answer, nothing at all): whatever the
            status says, this is not the answer of the API.
        """
        if self.cut:
            raise Unanswered(f"HTTP {self.status} with more than {len(self.body):,} bytes", status=self.status)
        try:
            return decode(self.body)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise Unanswered(
                f"HTTP {self.status} with {len(self.body)} bytes of {kind} where JSON was promised", status=self.status
            ) from None

    def read(self, form: type[T]) -> T:
        """
        Return the decoded body: what ``form``, a ``TypedDict``, names is there and of its type.

        :raises Unanswered: it is not, so that this is not the answer of the API either.
        """
        value: T = self.json()
        try:
            check(value, form)
        except ValueError as error:
            raise Unanswered(
                f"HTTP {self.status} with JSON that is not the API's: {error}", status=self.status
            ) from None
        return value

    def told(self, form: type[T]) -> T:
        """Return the body if it has this form, of which nothing is required, else an empty one: for refusals."""
        try:
            return self.read(form)
        except Unanswered:
            return form()

    @property
    def text(self) -> str:
        """The body as text; that of a body that goes on reads so."""
        return self.body.decode(errors="replace").strip() + ("…" if self.cut else "")

    def number(self, header: str) -> float | None:
        """Return a header that is a number, None if there is none."""
        try:
            value = float(self.headers[header])
        except (KeyError, ValueError):
            return None
        return value if math.isfinite(value) else None

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx. Says nothing about the records inside."""
        return 200 <= self.status < 300


#: A conversation with an API: yields requests, is sent their responses, returns its finding. It does no I/O itself,
#: so the driver may run many at once and tests need no network. A request that gets no usable answer is thrown into
#: it as :class:`~airflow_provider_census.errors.Unanswered` or ``Unavailable``.
Exchange = Generator[Request, Response, T]
