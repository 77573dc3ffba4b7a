"""
What Stripe answers, and what that means.

Sources: docs.stripe.com/api/errors, docs.stripe.com/error-low-level, docs.stripe.com/rate-limits; github
stripe/stripe-python (_http_client.py) for ``Stripe-Should-Retry``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NotRequired, TypedDict, TypeVar

from airflow_provider_census.destinations import _asking as asking
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.message import Exchange, Request, Response
from airflow_provider_census.transport.reading import Id

# Another request holds the object, or this very one is still being carried out (409, lock_timeout also 429).
# rate_limit once came with 400.
_LATER = ("lock_timeout", "idempotency_key_in_use", "rate_limit")
_WINDOW_S = 1.0  # all limits of Stripe count requests per second


class Thing(TypedDict, total=False):
    """An object of Stripe; what it is stands in it."""

    object: str


class Customer(Thing):
    """What is relied on in a customer; one that is deleted has no more than the id."""

    id: Id
    deleted: NotRequired[bool | None]
    email: NotRequired[str | None]
    metadata: NotRequired[dict[str, str] | None]


class Customers(Thing):
    """A page of a list."""

    data: list[Customer]
    has_more: bool


class Found(Thing):
    """A page of a search."""

    data: list[Customer]
    next_page: NotRequired[str | None]


_NAMES: dict[type, str] = {Customer: "customer", Customers: "list", Found: "search_result"}


class _Error(TypedDict, total=False):
    type: str | None
    message: str | None
    param: str | None
    code: str | None


class _Refusal(TypedDict, total=False):
    error: _Error


Body = TypeVar("Body", bound=Thing)


@dataclass(frozen=True, slots=True)
class Answer(asking.Answer[Body]):
    """
    An answer that is Stripe's own.

    :param replayed: it is the recorded answer to an earlier request with the same idempotency key.
    """

    error: _Error
    request_id: str
    replayed: bool

    @property
    def words(self) -> str:
        """What the error says, and where to look for it: the parameter, and Stripe's log."""
        error = self.error
        where = ", ".join(part for part in (error.get("param"), self.request_id) if part)
        said = error.get("message") or error.get("type") or f"HTTP {self.status}"
        return f"{said}{f' ({where})' if where else ''}"

    @property
    def no_customer(self) -> bool:
        """Whether there is no such customer, or no longer. Other objects may be missing, too: a payment method."""
        return self.status == 404 and self.error.get("param") in (None, "id", "customer")


def read(response: Response, promised: type[Body]) -> Answer[Body]:
    """
    Return the answer in ``response``: an object of the ``promised`` form, or an error.

    :raises Unanswered: it is neither, so somebody else answered, or only half of it arrived.
    :raises Unavailable: it is a refusal, and not in Stripe's words: nothing was done, nothing comes of repeating it.
    """
    id, replayed = response.headers.get("request-id", ""), is_replayed(response)
    if not response.ok:
        error = response.told(_Refusal).get("error")
        if error is None:
            raise Unavailable(f"HTTP {response.status}, and not in Stripe's words", status=response.status)
        return Answer(response.status, promised(), error, id, replayed)
    body = response.read(promised)
    if body.get("object") != _NAMES[promised]:
        raise Unanswered(f"HTTP {response.status} with another object than asked for", status=response.status)
    return Answer(response.status, body, {}, id, replayed)


def ask(request: Request) -> Exchange[Answer[Customer]]:
    """Exchange of a request that writes a customer, and may be repeated."""
    return asking.ask(request, partial(read, promised=Customer))


def look(request: Request, promised: type[Body]) -> Exchange[Answer[Body]]:
    """Exchange of a request that changes nothing."""
    return asking.look(request, partial(read, promised=promised))


def is_replayed(response: Response) -> bool:
    """
    Return whether this is the recorded answer to an earlier request with the same idempotency key.

    That there is a header which says so is documented; its name is unverified.
    """
    return response.headers.get("idempotent-replayed") == "true"


def judge(response: Response) -> verdict.Verdict:
    """Return what a response means; the code in the body and ``Stripe-Should-Retry`` decide before the status."""
    by_status = verdict.judge(response)
    if response.ok or isinstance(by_status, (verdict.Denied, verdict.Misdirected)):
        return by_status
    error, status = response.told(_Refusal).get("error", {}), response.status
    code, message = error.get("code"), error.get("message") or ""
    if status == 400 and message.startswith("Invalid Stripe API version"):
        return verdict.Misdirected(f"{message}; see the extra 'api_version' of the connection")
    if status == 429 and code != "lock_timeout":
        return _slow_down(response)
    if status < 500 and code in _LATER:
        return verdict.Retry(f"HTTP {status} {code}", verdict.retry_after(response))
    should_retry = response.headers.get("stripe-should-retry")
    if status >= 500 and (is_replayed(response) or should_retry == "false"):
        # A recorded failure stays the same for a day, however often it is asked for.
        return verdict.Answered()
    if status < 500 and should_retry == "true":
        return verdict.Retry(f"HTTP {status}, and Stripe asks to try again", verdict.retry_after(response))
    return by_status


def _slow_down(response: Response) -> verdict.Retry:
    reason = response.headers.get("stripe-rate-limited-reason", "")
    after_s = verdict.retry_after(response)
    if after_s is None and reason.endswith("-rate"):
        # There is no documented Retry-After. For too many at once (…-concurrency) a pause of all would be too much.
        after_s = _WINDOW_S
    return verdict.Retry(f"HTTP 429 too many requests{f' ({reason})' if reason else ''}", after_s)
