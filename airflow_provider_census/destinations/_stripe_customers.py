"""
Customers of Stripe: look up, then write. There is no upsert, and nothing is unique but Stripe's own id.

What keeps a customer from standing there twice:

- The look-up misses none that Stripe shows anywhere (``_stripe_look_up.py``).
- A creation whose answer is lost is sent again with the same idempotency key, which Stripe carries out once a day. The
  key is made of the sync, the record and its content: the same after a restart, another one for changed content, which
  Stripe would refuse under the old key.
- For that day Stripe repeats its recorded answer, also a failure, and also when the customer was deleted since. So an
  answer that is a repetition is checked, and the creation sent with a key of this run if it is no longer true.

An update carries no key: it sets values, so doing it twice does no harm, whereas a repeated answer would: a plan that
goes from A to B and back to A within a day would stay at B.

Sources: docs.stripe.com/api/idempotent_requests, docs.stripe.com/error-low-level.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from airflow_provider_census.destinations._stripe_answers import ask
from airflow_provider_census.destinations._stripe_look_up import LookUp, path
from airflow_provider_census.destinations.refusal import OVERTAKEN, rejected
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.message import Exchange, Request

_REFUSED = range(400, 429)  # one request, by whomever; the next one may fare better
_ABSENT = RowResult(Outcome.SKIPPED, "no such customer")


class Customers:
    """
    The exchanges that write customers.

    :param rate: the name of the rate that counts a kind of request.
    """

    def __init__(self, look_up: LookUp, sync_id: str, rate: Callable[[str], str]) -> None:
        self._look_up = look_up
        self._sync_id = sync_id
        self._rate = rate
        self._run = uuid.uuid4().hex

    def send(self, batch: Sequence[Operation], forms: Sequence[Mapping[str, str]]) -> Exchange[Sequence[RowResult]]:
        """Carry out operations."""
        found: dict[str, Iterable[str]] = {o.record.id: o.found for o in batch if o.found is not None}
        left = [operation.record.id for operation in batch if operation.record.id not in found]
        found |= (yield from self._look_up.ids(left)) if left else {}
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

    def _carry_out(self, operation: Operation, form: Mapping[str, str], found: Iterable[str]) -> Exchange[RowResult]:
        creates = operation.behavior is Behavior.CREATE_ONLY
        ids = yield from self._look_up.now(operation.record.id, sorted(found), sure=creates)
        if len(ids) > 1:
            return rejected(self._look_up.ambiguous(ids))
        if ids and self._look_up.by != "id" and operation.overtaken(there=True):
            return rejected(OVERTAKEN)
        if ids and creates:
            return RowResult(Outcome.SKIPPED, "the customer exists")
        if ids:
            answer = yield from ask(self._post(path(ids[0]), form, "update"))
            if answer.ok:
                return RowResult(Outcome.UPDATED)
            if not answer.no_customer:
                return answer.rejected()
            if self._look_up.by == "id" and operation.behavior is Behavior.UPDATE_OR_CREATE:
                return rejected(f"{answer.words}; Stripe chooses the ids of new customers itself", answer.status)
        if operation.behavior is Behavior.UPDATE_ONLY:
            return _ABSENT
        if operation.overtaken(there=False):
            return rejected(OVERTAKEN)
        return (yield from self._create(operation.record.id, {name: text for name, text in form.items() if text}))

    def _create(self, value: str, form: Mapping[str, str]) -> Exchange[RowResult]:
        for salt in ("", self._run):
            headers = {"Idempotency-Key": self._key(value, form, salt)}
            answer = yield from ask(self._post("/customers", form, "create", headers))
            if answer.ok and (not answer.replayed or (yield from self._look_up.is_there(answer.body["id"], value))):
                self._look_up.remember(value, answer.body["id"])
                return RowResult(Outcome.CREATED)
            # A failure may come behind the work.
            if answer.status >= 500 and (yield from self._look_up.shows(value)):
                return RowResult(Outcome.CREATED)
            if not answer.replayed:
                break
        return rejected("created, and deleted since") if answer.ok else answer.rejected()

    def _post(self, path: str, form: Mapping[str, str], kind: str, headers: Mapping[str, str] | None = None) -> Request:
        return Request(method="POST", path=path, form=form, headers=headers or {}, limit=self._rate(kind))

    def _key(self, value: str, form: Mapping[str, str], salt: str) -> str:
        # A digest: keys must not be personal data (docs "Idempotent requests"), and have 255 characters at the most.
        content = json.dumps([self._sync_id, "create", self._look_up.by, value, sorted(form.items()), salt])
        return f"census-{hashlib.blake2b(content.encode(), digest_size=20).hexdigest()}"
