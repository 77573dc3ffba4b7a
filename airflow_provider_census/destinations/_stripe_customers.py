"""
Customers of Stripe: look up, then write. There is no upsert, and nothing is unique but Stripe's own id.

What keeps a customer from standing there twice:

- By e-mail, the look-up is a list, which shows a customer at once.
- By metadata, the look-up is a search, which is up to a minute late, an hour in an outage. What it cannot know yet the
  list knows: all customers of the last two hours are listed before the first row, those since then when a search
  finds nothing, and those created here are remembered.
- A creation whose answer is lost is sent again with the same idempotency key, which Stripe carries out once a day. The
  key is made of the sync, the record and its content: the same after a restart, another one for changed content, which
  Stripe would refuse under the old key.
- For that day Stripe repeats its recorded answer, also a failure, and also when the customer was deleted since. So an
  answer that is a repetition is checked, and the creation sent with a key of this run if it is no longer true.

An update carries no key: it sets values, so doing it twice does no harm, whereas a repeated answer would: a plan that
goes from A to B and back to A within a day would stay at B.

Sources: docs.stripe.com/search ("Data freshness"), docs.stripe.com/api/idempotent_requests,
docs.stripe.com/error-low-level; github stripe/stripe-node#2692 (search shows deleted customers).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from airflow_provider_census.destinations import _stripe_answers as answers
from airflow_provider_census.destinations._asking import Pages
from airflow_provider_census.destinations._stripe_answers import Answer, Body, Customer, ask, look
from airflow_provider_census.destinations.refusal import OVERTAKEN, Refused, rejected
from airflow_provider_census.errors import CensusError, Unanswered, Unavailable
from airflow_provider_census.sync.values import Behavior, Held, Operation, Outcome, RowResult
from airflow_provider_census.transport.message import Exchange, Request

#: Clauses in one search query (docs "Search query language").
MAX_LOOK_UP = 10
_PAGE = "100"
_NAMED = 10  # customers looked for, and named, where there should be one
_HORIZON_S = 2 * 3600  # twice what search may be late
_STALE_S = 30
_OVERLAP_S = 60  # of listings, for clocks that differ and requests under way
_MAX_REMEMBERED = 200_000  # what can be created in two hours at the published rate
_REFUSED = range(400, 429)  # one request, by whomever; the next one may fare better
_ABSENT = RowResult(Outcome.SKIPPED, "no such customer")


class Customers:
    """
    The exchanges about customers.

    :param by: the identifier: ``email``, ``id`` or ``metadata.<key>``.
    :param rate: the name of the rate that counts a kind of request.
    """

    def __init__(self, by: str, sync_id: str, rate: Callable[[str], str]) -> None:
        self._by = by
        self._metadata_key = by.partition(".")[2]
        self._sync_id = sync_id
        self._rate = rate
        self._run = uuid.uuid4().hex
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

    def send(self, batch: Sequence[Operation], forms: Sequence[Mapping[str, str]]) -> Exchange[Sequence[RowResult]]:
        """Carry out operations."""
        found: dict[str, Iterable[str]] = {o.record.id: o.found for o in batch if o.found is not None}
        left = [operation.record.id for operation in batch if operation.record.id not in found]
        found |= (yield from self._look_up(left)) if left else {}
        results: list[RowResult] = []
        for operation, form in zip(batch, forms, strict=True):
            try:
                result = yield from self._carry_out(operation, form, found[operation.record.id])
            except Unanswered as error:
                result = RowResult(Outcome.UNCERTAIN, str(error), error.status)
            except Unavailable as error:
                result = RowResult(Outcome.REJECTED, str(error), error.status, passing=True)
                if error.status not in _REFUSED:
                    if not results:
                        raise
                    # What was accepted so far must not be reported as failed.
                    return [*results, *[result] * (len(batch) - len(results))]
            results.append(result)
        return results

    # --- look-up ---------------------------------------------------------------------------------------------------

    def _look_up(self, values: Sequence[str]) -> Exchange[Mapping[str, Iterable[str]]]:
        """Exchange that returns the ids of the customers for each value."""
        if self._by == "id":
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
        ids: Mapping[str, Iterable[str]] = (yield from self._look_up(values)) if self.searches else {}
        answers: list[Held | str] = []
        for value in values:
            if self.searches:
                found = yield from self._living(sorted(ids[value]) or sorted((yield from self._catch_up(value))))
            elif self._by == "id":
                found = yield from self._living([value])
            else:
                found = list((yield from self._with_email(value)))
            if len(found) > 1:
                answers.append(self._ambiguous([customer["id"] for customer in found]))
            else:
                answers.append(Held(found[0], found[0]["id"]) if found else Held(None))
        return answers

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
                self._remember(self._value(customer), customer["id"])
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

    def _remember(self, value: str | None, customer_id: str) -> None:
        if value is None:
            return
        with self._lock:
            self._recent.setdefault(value, set()).add(customer_id)
            if len(self._recent) > _MAX_REMEMBERED:
                del self._recent[next(iter(self._recent))]

    def _value(self, customer: Customer) -> str | None:
        """Return the value of the identifier."""
        if not self.searches:
            return customer.get("email")
        return (customer.get("metadata") or {}).get(self._metadata_key)

    def _get(self, customer_id: str) -> Exchange[Customer | None]:
        """Exchange that returns a customer, None if it is not there or deleted."""
        request = Request(method="GET", path=_path(customer_id), limit=self._rate("get"))
        answer = yield from look(request, Customer)
        if not answer.ok and not answer.no_customer:
            raise Unavailable(f"GET {_path(customer_id)}: {answer.words}", status=answer.status)
        return answer.body if answer.ok and not answer.body.get("deleted") else None

    def _living(self, ids: Iterable[str]) -> Exchange[list[Customer]]:
        """Exchange that returns those that are not deleted, no more than can be named."""
        living: list[Customer] = []
        for customer_id in ids:
            customer = (yield from self._get(customer_id)) if len(living) < _NAMED else None
            if customer is not None:
                living.append(customer)
        return living

    def _ambiguous(self, ids: Sequence[str]) -> str:
        number = f"{_NAMED} or more" if len(ids) >= _NAMED else str(len(ids))
        return f"ambiguous: {number} customers have this {self._by} ({', '.join(ids[:_NAMED])})"

    # --- writing ---------------------------------------------------------------------------------------------------

    def _carry_out(self, operation: Operation, form: Mapping[str, str], found: Iterable[str]) -> Exchange[RowResult]:
        creates = operation.behavior is Behavior.CREATE_ONLY
        ids = yield from self._now(operation.record.id, sorted(found), sure=creates)
        if len(ids) > 1:
            return rejected(self._ambiguous(ids))
        if ids and self._by != "id" and operation.overtaken(there=True):
            return rejected(OVERTAKEN)
        if ids and creates:
            return RowResult(Outcome.SKIPPED, "the customer exists")
        if ids:
            answer = yield from ask(self._post(_path(ids[0]), form, "update"))
            if answer.ok:
                return RowResult(Outcome.UPDATED)
            if not answer.no_customer:
                return answer.rejected()
            if self._by == "id" and operation.behavior is Behavior.UPDATE_OR_CREATE:
                return rejected(f"{answer.words}; Stripe chooses the ids of new customers itself", answer.status)
        if operation.behavior is Behavior.UPDATE_ONLY:
            return _ABSENT
        if operation.overtaken(there=False):
            return rejected(OVERTAKEN)
        return (yield from self._create(operation.record.id, {name: text for name, text in form.items() if text}))

    def _now(self, value: str, ids: list[str], *, sure: bool) -> Exchange[list[str]]:
        """Exchange that returns which of ``ids`` are there; of one that is checked only if ``sure`` is asked for."""
        if self.searches and not ids:
            ids = sorted((yield from self._catch_up(value)))
        if self.searches and ids and (sure or len(ids) > 1):
            # Search may show a deleted customer for days.
            return [customer["id"] for customer in (yield from self._living(ids))]
        return ids

    def _create(self, value: str, form: Mapping[str, str]) -> Exchange[RowResult]:
        for salt in ("", self._run):
            headers = {"Idempotency-Key": self._key(value, form, salt)}
            answer = yield from ask(self._post("/customers", form, "create", headers))
            if answer.ok and (not answer.replayed or (yield from self._is_there(answer.body["id"], value))):
                self._remember(value, answer.body["id"])
                return RowResult(Outcome.CREATED)
            # A failure may come behind the work.
            if answer.status >= 500 and (yield from self._look_again(value)):
                return RowResult(Outcome.CREATED)
            if not answer.replayed:
                break
        return rejected("created, and deleted since") if answer.ok else answer.rejected()

    def _post(self, path: str, form: Mapping[str, str], kind: str, headers: Mapping[str, str] | None = None) -> Request:
        return Request(method="POST", path=path, form=form, headers=headers or {}, limit=self._rate(kind))

    def _is_there(self, customer_id: str, value: str) -> Exchange[bool]:
        customer = yield from self._get(customer_id)
        return customer is not None and self._value(customer) == value

    def _look_again(self, value: str) -> Exchange[bool]:
        """Exchange that looks where a new customer shows at once."""
        if not self.searches:
            return bool((yield from self._with_email(value)))
        yield from self._list(time.time() - _HORIZON_S)
        return bool(self._known(value))

    def _key(self, value: str, form: Mapping[str, str], salt: str) -> str:
        # A digest: keys must not be personal data (docs "Idempotent requests"), and have 255 characters at the most.
        content = json.dumps([self._sync_id, "create", self._by, value, sorted(form.items()), salt])
        return f"census-{hashlib.blake2b(content.encode(), digest_size=20).hexdigest()}"


def _refuse(answer: Answer[Body]) -> None:
    """Raise what a refused look-up means: nothing was written, and it may be one value that is at fault."""
    if not answer.ok:
        raise Refused(f"the look-up was refused: {answer.words}", status=answer.status)


def _path(customer_id: str) -> str:
    return f"/customers/{quote(customer_id, safe='')}"


def _quoted(text: str) -> str:
    """Return ``text`` as a string of the search query language."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
