"""
Stripe: customers.

One customer a request; look-up, then write. By e-mail the look-up is one list per customer, by metadata one search for
ten of them, by id there is none. Nothing is ever deleted.

What is there is looked up in the same way; what a search finds is read once more, since it may have changed or be gone.
A ``balance``, a ``tax_exempt`` and a ``next_invoice_sequence`` are never empty.

Stripe grants an account 500 reads for each of its transactions in 30 days, and 10,000 a month at the least. Look-ups
are reads: a small account should send what changed, by ``id`` or ``metadata.<key>``, and not all customers by e-mail.

Sources: docs.stripe.com/api/customers, docs.stripe.com/rate-limits, docs.stripe.com/keys; github stripe/openapi.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from airflow_provider_census.destinations import _stripe_answers as answers
from airflow_provider_census.destinations import _stripe_form as forms
from airflow_provider_census.destinations._stripe_customers import Customers
from airflow_provider_census.destinations._stripe_look_up import MAX_LOOK_UP, LookUp
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.paths import put
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

# Pinned, because without it the default of the account applies. The version of the SDK the fields were read from.
_VERSION = "2026-06-24.dahlia"
_OLDEST = "2020-08-27"  # older ones cannot search (docs "Search")
_A_VERSION = re.compile(r"\d{4}-\d\d-\d\d(\.\w+)?")
_METADATA = "metadata."
# Ten of them make a URL of two kilobytes; the query itself may have 5,000 characters.
_MAX_SHARED_VALUE = 100

_U, _UO, _C = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY


class Stripe(Destination):
    """One account of Stripe, in live mode."""

    name = "stripe"
    objects = (
        ObjectType(
            name="customer",
            behaviors=(_U, _UO, _C),
            # The list matches e-mail addresses with regard to case.
            identifiers=(Identifier("email"), Identifier("id"), Identifier("metadata.<key>")),
            fields=forms.FIELDS,
            # Stripe shows the others only if it is asked to expand them.
            fetched=tuple(field for field in forms.FIELDS if not field.startswith(("tax.", "cash_balance."))),
        ),
    )
    # 25 a second for each endpoint, 20 for search. No sync uses all of them, so that it stays below the 100 a second of
    # the account.
    rates: ClassVar[tuple[Rate, ...]] = (
        *(Rate("update", 25, 1.0), Rate("create", 25, 1.0), Rate("list", 25, 1.0), Rate("get", 25, 1.0)),
        Rate("search", 20, 1.0),
    )

    mode: ClassVar[str] = "live"

    def check_behavior(self, behavior: Behavior) -> None:
        """Say also why nothing is deleted."""
        if behavior in (Behavior.DELETE, Behavior.MIRROR):
            valid = ", ".join(repr(b.value) for b in self.objects[0].behaviors)
            raise ConfigError(
                f"behavior {behavior.value!r} is not offered for stripe: deleting a customer cannot be undone and "
                f"cancels the customer's subscriptions at once; valid: {valid}"
            )
        super().check_behavior(behavior)

    def configure(self) -> None:
        """Refuse to create what Stripe alone names."""
        if self.identifier.name == "id" and self.behavior is _C:
            raise ConfigError("Stripe chooses the ids of new customers; identify them by 'email' or 'metadata.<key>'")
        self._look_up = LookUp(self.identifier.name, self._rate)
        self._customers = Customers(self._look_up, self.sync_id, self._rate)

    def find_identifier(self, name: str | None) -> Identifier:
        """Return the identifier of this name; any key of metadata is one."""
        if name is None or not name.startswith(_METADATA):
            return super().find_identifier(name)
        if reason := forms.key_fault(name.removeprefix(_METADATA)):
            raise ConfigError(f"identifier {name!r}: {reason}")
        return Identifier(name)

    def check_field(self, path: str) -> None:
        """Refuse also names that metadata cannot have."""
        super().check_field(path)
        if path.startswith(_METADATA) and (reason := forms.key_fault(path.removeprefix(_METADATA))):
            raise ConfigError(f"field {path!r}: {reason}")

    def home(self, field: str) -> str:
        """Put columns that are no field of a customer into the metadata."""
        return field if field in self.object.fields or "." in field else f"{_METADATA}{field}"

    # --- connection ------------------------------------------------------------------------------------------------

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class for the mode of the key: test mode has limits of its own."""
        return cls if re.match(r"[sr]k_live_", credentials.password.strip()) else _TestStripe

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the API, version 1, for the key."""
        key = secret(credentials, "secret or restricted key (sk_…, rk_…)")
        if not key.startswith(("sk_", "rk_")):
            raise ConfigError("the password of the connection is no secret or restricted key: these start sk_ or rk_")
        version = str(credentials.extra.get("api_version") or _VERSION)
        if not _A_VERSION.fullmatch(version) or version < _OLDEST:
            raise ConfigError(
                f"extra 'api_version' of the connection must be a version of Stripe's API since {_OLDEST}, "
                f"like {_VERSION!r}"
            )
        headers = {"Authorization": f"Bearer {key}", "Stripe-Version": version}
        return Endpoint(base_url(credentials.host, "https://api.stripe.com", "/v1"), headers, (key,))

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """Return also the mode, which has customers of its own; Stripe knows the account by the key alone."""
        return f"{super().place(endpoint, constants)}, {self.mode} mode"

    @classmethod
    def test(cls) -> Exchange[str]:
        """Read one customer: no other permission is needed for a sync but to write them, which cannot be tried out."""
        request = Request(method="GET", path="/customers", query={"limit": "1"}, limit=cls._rate("list"))
        answer = yield from answers.look(request, answers.Customers)
        if not answer.ok:
            raise ConfigError(f"customers cannot be listed: {answer.words}")
        return f"Connected in {cls.mode} mode; customers can be read. Whether they can be written the first one shows"

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means."""
        return answers.judge(response)

    @classmethod
    def _rate(cls, kind: str) -> str:
        """Return the rate that counts this kind of request; the first one counts what has none of its own."""
        return kind if any(rate.name == kind for rate in cls.rates) else ""

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return decimals in metadata with all their digits: there they are text anyway."""
        if isinstance(value, decimal.Decimal) and path.startswith(_METADATA):
            return format(value, "f")
        if isinstance(value, dt.timedelta):
            raise ValueError(f"{path}: a timedelta has no form Stripe knows; cast it in the model")
        return super().scalar(value, path)

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Learn about the customers that search may not show yet."""
        yield from self._look_up.prepare()

    def check(self, operation: Operation) -> str | None:
        """Return what Stripe could not take."""
        if self.identifier.name == "id" and operation.record.id in (".", "..", "search"):
            return f"{operation.record.id!r} is no id of a customer"
        return forms.fault(self._fields(operation))

    def payload(self, operation: Operation) -> dict[str, str]:
        """Return the form of the update; that of a creation is the same without what is empty."""
        return forms.form(self._fields(operation))

    def _fields(self, operation: Operation) -> dict[str, Any]:
        fields = {k: dict(v) if k == "metadata" else v for k, v in operation.record.fields.items()}
        if self.identifier.name != "id":
            put(fields, self.identifier.name, operation.record.id)
        return fields

    # --- what is there ---------------------------------------------------------------------------------------------

    def max_fetch(self) -> int:
        """Return how many customers one search finds, 1 without search."""
        return MAX_LOOK_UP if self._look_up.searches else 1

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Count the search and one request for each, or a list."""
        if not self._look_up.searches:
            return {self._rate("get" if self.identifier.name == "id" else "list"): count}
        costs: dict[str, float] = {self._rate("get"): count}
        return costs | {self._rate("search"): costs.get(self._rate("search"), 0) + 1}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """Look customers up."""
        return (yield from self._look_up.fetch(operations))

    def same(self, path: str, wanted: Any, held: Any) -> bool:
        """Compare as the form is written, in which all is text."""
        if isinstance(wanted, (dict, list)) and not path.startswith(_METADATA):
            return super().same(path, wanted, held)
        return forms.text(wanted) == forms.text(held)

    # --- sending ---------------------------------------------------------------------------------------------------

    def lane(self, operation: Operation) -> tuple[Behavior, int]:
        """Keep apart what is looked up alone."""
        return operation.behavior, self.max_batch(operation)

    def max_batch(self, operation: Operation) -> int:
        """Return how many customers one search finds. Each is then written by a request of its own."""
        shared = self._look_up.searches and len(quote(operation.record.id)) <= _MAX_SHARED_VALUE
        return MAX_LOOK_UP if shared else 1

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Count the look-ups and one write for each."""
        costs = {self._rate("create" if batch[0].behavior is _C else "update"): len(batch)}
        if self.identifier.name != "id" and batch[0].found is None:
            look_up = self._rate("search" if self._look_up.searches else "list")
            costs[look_up] = costs.get(look_up, 0) + 1
        return costs

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out operations of one behavior."""
        return (yield from self._customers.send(batch, [self.payload(operation) for operation in batch]))


class _TestStripe(Stripe):
    """An account in test mode, or a sandbox of it: 25 requests a second, of all kinds together."""

    rates = (Rate("all", 25, 1.0),)
    mode = "test"
