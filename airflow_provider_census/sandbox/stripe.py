"""
Stripe's API as a stand-in: customers.

Shapes follow Stripe's published description (github stripe/openapi); behaviour follows docs.stripe.com: api/errors,
api/idempotent_requests, error-low-level, rate-limits, search, metadata. Refusals these do not show are marked
unverified.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from airflow_provider_census.sandbox import _stripe_wire as wire
from airflow_provider_census.sandbox._stripe_answers import FirstAnswers
from airflow_provider_census.sandbox._stripe_versions import VERSIONS
from airflow_provider_census.sandbox._stripe_wire import Refusal
from airflow_provider_census.sandbox.core import SandboxApi, Window

Customer = dict[str, Any]


class StripeSandbox(SandboxApi):
    """
    One account in test mode: 25 requests a second, 20 of them searches.

    Public state: ``customers`` and ``deleted`` by id, ``window``, ``search_window``.
    """

    name: ClassVar[str] = "stripe"
    key: ClassVar[str] = "sk_test_sandbox"
    """The secret key that is accepted."""
    versions: ClassVar[tuple[str, ...]] = VERSIONS
    """The versions of the API there are."""
    default_version: ClassVar[str] = "2026-06-24.dahlia"
    """That of the account, for requests that name none."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "stripe", "password": key}

    def reset(self) -> None:
        """Forget all customers."""
        self.window = Window(25, 1)
        self.search_window = Window(20, 1)
        self.customers: dict[str, Customer] = {}
        self.deleted: dict[str, Customer] = {}
        self.search_lag_s = 0.0
        """How long a new customer, or a change, stays out of search: in truth up to a minute, an hour in outages."""
        self.search_shows_deleted = False
        """Whether search goes on to show deleted customers, as reported (github stripe/stripe-node#2692)."""
        self.forget_after_s = 24 * 3600.0
        """How long idempotency keys are remembered."""
        self.break_creation: Literal["", "before", "after"] = ""
        """Lets the next creation fail with 500, before or behind the work; that is recorded like any answer."""
        self._indexed: dict[str, list[tuple[float, Customer]]] = {}
        self._answers = FirstAnswers()
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)

    # --- for tests -------------------------------------------------------------------------------------------------

    def add_customer(self, *, searchable: bool = True, **fields: Any) -> str:
        """Put a customer there, unchecked; return the id. ``searchable`` puts it into search at once."""
        customer = self._new()
        customer.update(fields)
        self._keep(customer, at=0.0 if searchable else time.time())
        return str(customer["id"])

    def delete(self, customer_id: str) -> None:
        """Delete a customer, as a person may in the dashboard."""
        self.deleted[customer_id] = self.customers.pop(customer_id)

    # --- routes ----------------------------------------------------------------------------------------------------

    def router(self) -> APIRouter:
        """Return the routes, below ``/v1``."""
        router = APIRouter(prefix="/v1", route_class=_route_class(self._answer))

        @router.get("/balance")
        async def balance() -> Response:
            amount = {"amount": 0, "currency": "eur"}
            return JSONResponse({"object": "balance", "available": [amount], "pending": [amount], "livemode": False})

        @router.get("/customers")
        async def list_customers(request: Request) -> Response:
            return JSONResponse(self._list(dict(request.query_params)))

        @router.get("/customers/search")
        async def search(request: Request) -> Response:
            return JSONResponse(self._search(dict(request.query_params)))

        @router.post("/customers")
        async def create(request: Request) -> Response:
            return JSONResponse(self._create(await _form(request)))

        @router.get("/customers/{customer_id}")
        async def retrieve(customer_id: str) -> Response:
            if customer_id in self.deleted:
                return JSONResponse({"id": customer_id, "object": "customer", "deleted": True})
            return JSONResponse(self._customer(customer_id))

        @router.post("/customers/{customer_id}")
        async def update(customer_id: str, request: Request) -> Response:
            return JSONResponse(self._update(self._customer(customer_id), await _form(request)))

        @router.delete("/customers/{customer_id}")
        async def delete(customer_id: str) -> Response:
            self._customer(customer_id)
            self.delete(customer_id)
            return JSONResponse({"id": customer_id, "object": "customer", "deleted": True})

        @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        async def unknown(request: Request) -> Response:
            raise Refusal(404, f"Unrecognized request URL ({request.method}: {request.url.path}).")

        return router

    # --- before and behind every request ---------------------------------------------------------------------------

    async def _answer(self, request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
        try:
            self._admit(request)
            response = await self._answers.once(request, handle, forget_after_s=self.forget_after_s)
        except Refusal as refusal:
            response = refusal.answer()
        response.headers["Request-Id"] = f"req_{next(self._requests):08d}"
        response.headers["Stripe-Version"] = request.headers.get("stripe-version", self.default_version)
        return response

    def _admit(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal(401, "Invalid API Key provided: sk_test_*****")
        version = request.headers.get("stripe-version", self.default_version)
        if version not in self.versions:
            # In these words: github beam-community/stripity-stripe#613.
            raise Refusal(400, f"Invalid Stripe API version: {version}")
        limits = [("global-rate", self.window)]
        if request.url.path.endswith("/search"):
            limits.append(("endpoint-rate", self.search_window))
        for reason, window in limits:
            if not window.take()[0]:
                headers = {"Stripe-Rate-Limited-Reason": reason}
                raise Refusal(429, "Request rate limit exceeded.", code="rate_limit", headers=headers)

    # --- customers -------------------------------------------------------------------------------------------------

    def _customer(self, customer_id: str) -> Customer:
        if customer_id not in self.customers:
            raise Refusal(404, f"No such customer: '{customer_id}'", param="id", code="resource_missing")
        return self.customers[customer_id]

    def _new(self) -> Customer:
        return {
            "id": f"cus_{next(self._numbers):014d}",
            "object": "customer",
            **dict.fromkeys(("address", "description", "email", "name", "phone", "shipping")),
            "balance": 0,
            "created": int(time.time()),
            "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None},
            "livemode": False,
            "metadata": {},
            "next_invoice_sequence": 1,
            "preferred_locales": [],
            "tax_exempt": "none",
            "test_clock": None,
        }

    def _create(self, fields: dict[str, Any]) -> Customer:
        wire.check(fields)
        customer = self._new()
        wire.merge(customer, fields)
        broken, self.break_creation = self.break_creation, ""
        if broken != "before":
            self._keep(customer, at=time.time())
        if broken:
            raise Refusal(500, "An unknown error occurred", type="api_error")
        return customer

    def _update(self, customer: Customer, fields: dict[str, Any]) -> Customer:
        wire.check(fields)
        wire.merge(customer, fields)
        self._keep(customer, at=time.time())
        return customer

    def _keep(self, customer: Customer, *, at: float) -> None:
        self.customers[customer["id"]] = customer
        self._indexed.setdefault(customer["id"], []).append((at, json.loads(json.dumps(customer))))

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        size, after = _limit(query), query.pop("starting_after", None)
        email, since = query.pop("email", None), query.pop("created[gte]", "0")
        if query:
            name = next(iter(query))
            raise Refusal(400, f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
        if not since.isdecimal():
            raise Refusal(400, f"Invalid integer: {since}", param="created[gte]")
        found = [
            customer
            for customer in reversed(self.customers.values())
            if customer["created"] >= int(since) and email in (None, customer["email"])
        ]
        if after is not None:
            self._customer(after)
            found = list(itertools.dropwhile(lambda customer: customer["id"] != after, found))[1:]
        return {"object": "list", "url": "/v1/customers", "has_more": len(found) > size, "data": found[:size]}

    def _search(self, query: dict[str, str]) -> dict[str, Any]:
        size, start = _limit(query), int(query.get("page", "0"))
        found = wire.search(query.get("query", ""), self._index())
        more = start + size < len(found)
        return {
            "object": "search_result",
            "url": "/v1/customers/search",
            "has_more": more,
            "next_page": str(start + size) if more else None,
            "data": found[start : start + size],
        }

    def _index(self) -> list[Customer]:
        """Return the customers as search sees them: as they were some time ago."""
        shown, now = [], time.time()
        for customer_id, versions in self._indexed.items():
            if customer_id in self.deleted and not self.search_shows_deleted:
                continue
            seen = [version for at, version in versions if now - at >= self.search_lag_s]
            shown += seen[-1:]
        return shown


def _route_class(
    answer: Callable[[Request, Callable[[Request], Coroutine[Any, Any, Response]]], Coroutine[Any, Any, Response]],
) -> type[APIRoute]:
    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                return await answer(request, handle)

            return guarded

    return Route


async def _form(request: Request) -> dict[str, Any]:
    return wire.parse(await request.body(), request.headers.get("content-type", ""))


def _limit(query: dict[str, str]) -> int:
    limit = query.pop("limit", "10")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise Refusal(400, f"Invalid integer: {limit}", param="limit")  # unverified: words
    return int(limit)
