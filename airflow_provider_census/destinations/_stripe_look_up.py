"""
Finding customers of Stripe, where nothing is unique but Stripe's own id.

By e-mail, the look-up is a list, which shows a customer at once. By metadata, it is a search, which is up to a minute
late, an hour in an outage. What it cannot know yet the list knows: all customers of the last two hours are listed
before the first row, those since then when a search finds nothing, and those created here are remembered.

Sources: docs.stripe.com/search ("Data freshness"); github stripe/stripe-node#2692 (search shows deleted customers).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from airflow_provider_census.destinations import _stripe_answers as answers
from airflow_provider_census.destinations._asking import Pages
from airflow_provider_census.destinations._stripe_answers import Answer, Body, Customer, look
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import CensusError, Unavailable
from airflow_provider_census.sync.values import Held, Operation
from airflow_provider_census.transport.message import Exchange, Request

#: Clauses in one search query (docs "Search query language").
MAX_LOOK_UP = 10
_PAGE = "100"
_NAMED = 10  # customers looked for, and named, where there should be one
_HORIZON_S = 2 * 3600  # twice what search may be late
_STALE_S = 30
_OVERLAP_S = 60  # of listings, for clocks that differ and requests under way
_MAX_REMEMBERED = 200_000  # what can be created in two hours at the published rate


class LookUp:
    """
    The exchanges that find customers.

    :param by: the identifier: ``email``, ``id`` or ``metadata.<key>``.
    :param rate: the name of the rate that counts a kind of request.
    """

    def __init__(self, by: str, rate: Callable[[str], str]) -> None:
        self.by = by
        self._metadata_key = by.partition(".")[2]
        self._rate = rate
        self._recent: dict[str, set[str]] = {}
        self._listed_at = 0.0
        self._lock = threading.Lock()

    @property
    def searches(self) -> bool:
        """Whether customers are found by search: many with one request, and late."""
        return bool(self._metadata_key)

    def prepare(self) -> Exchange[None]:
        """Learn about the customers that search may not show yet."""
        if self.searches:
            self._listed_at = time.time()
            yield from self._list(self._listed_at - _HORIZON_S)

    def ids(self, values: Sequence[str]) -> Exchange[Mapping[str, Iterable[str]]]:
        """Exchange that returns the ids of the customers for each value."""
        if self.by == "id":
            return {value: [value] for value in values}
        if self.searches:
            return (yield from self._search(values))
        (value,) = values
        return {value: [customer["id"] for customer in (yield from self._with_email(value))]}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[list[Held | str]]:
        """
        Exchange that returns what is there.

        What search finds is read once more: it may have changed, or be deleted, since search has seen it.
        """
        values = [operation.record.id for operation in operations]
        ids: Mapping[str, Iterable[str]] = (yield from self.ids(values)) if self.searches else {}
        there: list[Held | str] = []
        for value in values:
            if self.searches:
                found = yield from self._living(sorted(ids[value]) or sorted((yield from self._catch_up(value))))
            elif self.by == "id":
                found = yield from self._living([value])
            else:
                found = list((yield from self._with_email(value)))
            if len(found) > 1:
                there.append(self.ambiguous([customer["id"] for customer in found]))
            else:
                there.append(Held(found[0], found[0]["id"]) if found else Held(None))
        return there

    def now(self, value: str, ids: list[str], *, sure: bool) -> Exchange[list[str]]:
        """Exchange that returns which of ``ids`` are there; of one that is checked only if ``sure`` is asked for."""
        if self.searches and not ids:
            ids = sorted((yield from self._catch_up(value)))
        if self.searches and ids and (sure or len(ids) > 1):
            # Search may show a deleted customer for days.
            return [customer["id"] for customer in (yield from self._living(ids))]
        return ids

    def is_there(self, customer_id: str, value: str) -> Exchange[bool]:
        """Exchange that returns whether this customer is there, known by ``value``."""
        customer = yield from self._get(customer_id)
        return customer is not None and self._value(customer) == value

    def shows(self, value: str) -> Exchange[bool]:
        """Exchange that returns whether a new customer is found where those show at once."""
        if not self.searches:
            return bool((yield from self._with_email(value)))
        yield from self._list(time.time() - _HORIZON_S)
        return bool(self._known(value))

    def remember(self, value: str | None, customer_id: str) -> None:
        """Take note of a customer that search may not show yet."""
        if value is None:
            return
        with self._lock:
            self._recent.setdefault(value, set()).add(customer_id)
            if len(self._recent) > _MAX_REMEMBERED:
                del self._recent[next(iter(self._recent))]

    def ambiguous(self, ids: Sequence[str]) -> str:
        """Return why nothing is done where several customers are found."""
        number = f"{_NAMED} or more" if len(ids) >= _NAMED else str(len(ids))
        return f"ambiguous: {number} customers have this {self.by} ({', '.join(ids[:_NAMED])})"

    # --- steps -----------------------------------------------------------------------------------------------------

    def _with_email(self, email: str) -> Exchange[Sequence[Customer]]:
        query = {"email": email, "limit": str(_NAMED)}
        request = Request(method="GET", path="/customers", query=query, limit=self._rate("list"))
        answer = yield from look(request, answers.Customers)
        _refuse(answer)
        return answer.body["data"]

    def _search(self, values: Sequence[str]) -> Exchange[Mapping[str, Iterable[str]]]:
        clauses = (f"metadata[{_quoted(self._metadata_key)}]:{_quoted(value)}" for value in values)
        query = {"query": " OR ".join(clauses), "limit": _PAGE}
        found: dict[str, set[str]] = {value: set() for value in values}
        pages = Pages("the search for customers")
        while True:
            request = Request(method="GET", path="/customers/search", query=query, limit=self._rate("search"))
            answer = yield from look(request, answers.Found)
            _refuse(answer)
            for customer in answer.body["data"]:
                # Compared once more: search matches some fields without regard to case.
                found.get(self._value(customer) or "", set()).add(customer["id"])
            following = answer.body.get("next_page")
            if not following:
                break
            query = query | {"page": pages.follow(following)}
        return {value: ids | self._known(value) for value, ids in found.items()}

    def _list(self, since: float) -> Exchange[None]:
        """Exchange that takes note of all customers created since then."""
        query = {"created[gte]": str(int(since)), "limit": _PAGE}
        pages = Pages("the list of customers")
        while True:
            request = Request(method="GET", path="/customers", query=query, limit=self._rate("list"))
            answer = yield from look(request, answers.Customers)
            if not answer.ok:
                raise Unavailable(f"customers cannot be listed: {answer.words}", status=answer.status)
            page = answer.body["data"]
            for customer in page:
                self.remember(self._value(customer), customer["id"])
            if not answer.body["has_more"]:
                return
            if not page:
                raise Unavailable("the list of customers has more, Stripe says, and nothing to go on from")
            query = query | {"starting_after": pages.follow(page[-1]["id"])}

    def _catch_up(self, value: str) -> Exchange[set[str]]:
        """Exchange that looks for a customer search did not show among those created since the last listing."""
        since, now = self._listed_at, time.time()
        if now - since > _STALE_S:
            self._listed_at = now  # before it is true, so that other threads do not do the same
            try:
                yield from self._list(since - _OVERLAP_S)
            except CensusError:
                self._listed_at = since
                raise
        return self._known(value)

    def _known(self, value: str) -> set[str]:
        with self._lock:
            return set(self._recent.get(value, ()))

    def _value(self, customer: Customer) -> str | None:
        """Return the value of the identifier."""
        if not self.searches:
            return customer.get("email")
        return (customer.get("metadata") or {}).get(self._metadata_key)

    def _get(self, customer_id: str) -> Exchange[Customer | None]:
        """Exchange that returns a customer, None if it is not there or deleted."""
        request = Request(method="GET", path=path(customer_id), limit=self._rate("get"))
        answer = yield from look(request, Customer)
        if not answer.ok and not answer.no_customer:
            raise Unavailable(f"GET {path(customer_id)}: {answer.words}", status=answer.status)
        return answer.body if answer.ok and not answer.body.get("deleted") else None

    def _living(self, ids: Iterable[str]) -> Exchange[list[Customer]]:
        """Exchange that returns those that are not deleted, no more than can be named."""
        living: list[Customer] = []
        for customer_id in ids:
            customer = (yield from self._get(customer_id)) if len(living) < _NAMED else None
            if customer is not None:
                living.append(customer)
        return living


def path(customer_id: str) -> str:
    return f"/customers/{quote(customer_id, safe='')}"


def _refuse(answer: Answer[Body]) -> None:
    """Raise what a refused look-up means: nothing was written, and it may be one value that is at fault."""
    if not answer.ok:
        raise Refused(f"the look-up was refused: {answer.words}", status=answer.status)


def _quoted(text: str) -> str:
    """Return ``text`` as a string of the search query language."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
