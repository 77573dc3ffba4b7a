"""
Intercom's REST API as a stand-in: contacts, companies, events, data attributes.

Shapes follow Intercom's published OpenAPI description (github intercom/Intercom-OpenAPI, 2.14). Where it is silent,
recordings of the live API are followed (github grouparoo/grouparoo, plugins/@grouparoo/intercom): conflicts with
archived contacts, external ids of leads. Refusals that neither source shows are marked unverified.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from airflow_provider_census.sandbox import _intercom_wire as wire
from airflow_provider_census.sandbox._intercom_companies import CompanyStore
from airflow_provider_census.sandbox._intercom_contacts import BadQuery, Contact, ContactStore
from airflow_provider_census.sandbox._intercom_events import EventStore
from airflow_provider_census.sandbox._intercom_wire import Refusal
from airflow_provider_census.sandbox.core import SandboxApi, Window

_VERSIONS = {*(f"1.{n}" for n in range(5)), *(f"2.{n}" for n in range(17)), "Preview"}


class IntercomSandbox(SandboxApi):
    """
    One workspace. 10,000 requests a minute are counted in windows of 10 seconds (docs "Rate limiting").

    Public state: ``contacts``, ``archived``, ``purged`` and ``companies`` by Intercom's id, ``events``,
    ``attributes``, ``window``, and ``region``, where /me says the workspace lives.
    """

    name: ClassVar[str] = "intercom"
    token: ClassVar[str] = "sandbox-token"
    """The access token that is accepted."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "intercom", "password": token}
    admins: ClassVar[frozenset[int]] = frozenset({123})
    """Whom ``owner_id`` may name."""

    def reset(self) -> None:
        """Forget all records; seed a few data attributes."""
        self.window = Window(1666, 10)
        self.region = "US"
        self.companies_as_list = False
        """GET /companies?company_id= answers one object, as connectors found; the description shows a list."""
        self._contact_store = ContactStore()
        self.contacts = self._contact_store.live
        self.archived = self._contact_store.archived
        self.purged = self._contact_store.purged
        self.attributes: list[dict[str, Any]] = []
        self._company_store = CompanyStore(self.attributes)
        self.companies = self._company_store.live
        self._event_store = EventStore(self._contact_store)
        self.events = self._event_store.kept
        for model in ("contact", "company"):
            self.add_attribute("name", model, custom=False)
            self.add_attribute("plan", model)
            self.add_attribute("seats", model, data_type="integer")
            self.add_attribute("score", model, data_type="float")
            self.add_attribute("active", model, data_type="boolean")
            self.add_attribute("renewal", model, data_type="date")
            self.add_attribute("computed", model, api_writable=False)

    # --- for tests -------------------------------------------------------------------------------------------------

    def add_attribute(
        self,
        name: str,
        model: str = "contact",
        *,
        data_type: str = "string",
        custom: bool = True,
        api_writable: bool = True,
    ) -> None:
        """Add a data attribute to the workspace."""
        self.attributes.append(
            {
                "type": "data_attribute",
                "model": model,
                "name": name,
                "full_name": f"custom_attributes.{name}" if custom else name,
                "label": name,
                "data_type": data_type,
                "api_writable": api_writable,
                "custom": custom,
                "archived": False,
            }
        )

    def add_contact(self, **fields: Any) -> str:
        """Put a contact there, unchecked; return its id."""
        return str(self._contact_store.add(fields)["id"])

    def archive(self, contact_id: str) -> None:
        """Archive a contact, as a person may in Intercom."""
        self._contact_store.archive(contact_id)

    def purge(self, contact_id: str) -> None:
        """Delete a contact for good, as a person may in Intercom."""
        self._contact_store.purge(contact_id)

    def lag_search(self, seconds: float) -> None:
        """Keep contacts made from now on out of search for so long ("Contact Creation Delay")."""
        self._contact_store.search_lag_s = seconds

    # --- routes ----------------------------------------------------------------------------------------------------

    def router(self) -> APIRouter:
        """Return the routes; the API has no prefix."""
        router = APIRouter(route_class=wire.route_class(self._admit))
        self._contact_routes(router)
        self._company_routes(router)

        @router.get("/me")
        async def me() -> Response:
            app = {"type": "app", "id_code": "sandbox", "name": "Sandbox", "region": self.region, "timezone": "UTC"}
            return JSONResponse({"type": "admin", "id": "123", "email": "admin@example.com", "name": "Ada", "app": app})

        @router.get("/data_attributes")
        async def data_attributes(model: str | None = None) -> Response:
            listed = [a for a in self.attributes if model in (None, a["model"]) and not a["archived"]]
            return JSONResponse({"type": "list", "data": listed})

        @router.post("/events")
        async def event(request: Request) -> Response:
            self._event_store.accept(await wire.read(request))
            return Response(status_code=202)

        @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
        async def unknown(path: str) -> Response:
            raise Refusal(404, "not_found", "The requested resource was not found")

        return router

    def _admit(self, request: Request, headers: dict[str, str]) -> None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "unauthorized", "Access Token Invalid")
        allowed, remaining, reset_s = self.window.take()
        headers["X-RateLimit-Limit"] = str(self.window.limit)
        headers["X-RateLimit-Remaining"] = str(remaining)
        headers["X-RateLimit-Reset"] = str(math.ceil(time.time() + reset_s))
        if not allowed:
            raise Refusal(429, "rate_limit_exceeded", "The rate limit for the App has been exceeded")
        if "application/json" not in request.headers.get("accept", ""):
            raise Refusal(406, "media_type_not_acceptable", "The Accept header should send a media type of JSON")
        if request.headers.get("intercom-version", "2.14") not in _VERSIONS:
            # unverified: status and words
            raise Refusal(400, "intercom_version_invalid", "The requested version could not be found")

    def _contact_routes(self, router: APIRouter) -> None:
        @router.post("/contacts")
        async def create(request: Request) -> Response:
            return JSONResponse(self._create_contact(await wire.read(request)))

        @router.post("/contacts/search")
        async def search(request: Request) -> Response:
            return JSONResponse(self._search(await wire.read(request)))

        @router.get("/contacts/find_by_external_id/{external_id:path}")
        async def find_by_external_id(external_id: str) -> Response:
            return JSONResponse(wire.found(self._contact_store.user_with(external_id)))

        @router.get("/contacts/{contact_id}")
        async def show(contact_id: str) -> Response:
            return JSONResponse(wire.found(self.contacts.get(contact_id)))

        @router.put("/contacts/{contact_id}")
        async def update(contact_id: str, request: Request) -> Response:
            contact = wire.found(self.contacts.get(contact_id))
            self._update_contact(contact, await wire.read(request))
            return JSONResponse(contact)

        @router.post("/contacts/{contact_id}/archive")
        async def archive(contact_id: str) -> Response:
            return _reference(wire.found(self._contact_store.archive(contact_id)), archived=True)

        @router.post("/contacts/{contact_id}/unarchive")
        async def unarchive(contact_id: str) -> Response:
            if contact_id in self.purged:
                raise Refusal(400, "bad_request", "User has been marked for permanent deletion and is not restorable.")
            return _reference(wire.found(self._contact_store.unarchive(contact_id)), archived=False)

        @router.delete("/contacts/{contact_id}")
        async def delete(contact_id: str) -> Response:
            return _reference(wire.found(self._contact_store.purge(contact_id)), deleted=True)

    def _company_routes(self, router: APIRouter) -> None:
        @router.post("/companies")
        async def upsert(request: Request) -> Response:
            return JSONResponse(self._company_store.upsert(await wire.read(request)))

        @router.get("/companies")
        async def find(company_id: str) -> Response:
            company = self._company_store.known_as(company_id)
            if self.companies_as_list:
                return JSONResponse({"type": "list", "data": [company], "total_count": 1})
            return JSONResponse(company)

        @router.put("/companies/{id}")
        async def update(id: str, request: Request) -> Response:
            return JSONResponse(self._company_store.update(id, await wire.read(request)))

        @router.delete("/companies/{id}")
        async def delete(id: str) -> Response:
            self._company_store.delete(id)
            return JSONResponse({"id": id, "object": "company", "deleted": True})

    # --- contacts --------------------------------------------------------------------------------------------------

    def _create_contact(self, body: dict[str, Any]) -> Contact:
        if not any(body.get(name) for name in ("email", "external_id", "role")):
            # unverified: words
            raise Refusal(400, "parameter_missing", "email, external_id or role must be given")
        fields = {"role": "user"} | self._contact_fields(body)
        if message := self._contact_store.conflict(fields):
            raise Refusal(409, "conflict", message)
        return self._contact_store.add(fields)

    def _update_contact(self, contact: Contact, body: dict[str, Any]) -> None:
        fields = self._contact_fields(body)
        if (contact["role"], fields.get("role")) == ("user", "lead"):
            raise Refusal(400, "client_error", "Contact with user role can't be converted to a lead")
        given = {k: v for k, v in fields.items() if v is not None}
        if message := self._contact_store.conflict(contact | given, own_id=contact["id"]):
            raise Refusal(409, "conflict", message)
        self._contact_store.change(contact, fields)

    def _contact_fields(self, body: dict[str, Any]) -> dict[str, Any]:
        wire.check_types(body, wire.CONTACT)
        wire.check_attributes(body.get("custom_attributes") or {}, self.attributes, "contact")
        if body.get("role", "user") not in ("user", "lead"):
            raise Refusal(400, "parameter_invalid", "role must be user or lead")
        if body.get("owner_id") is not None and body["owner_id"] not in self.admins:
            raise Refusal(400, "parameter_invalid", "The owner specified is not a member of the workspace")
        if body.get("avatar") is not None:
            body = body | {"avatar": {"type": "avatar", "image_url": body["avatar"]}}
        if "email" not in body:
            return body
        email = (body["email"] or "").lower()
        if email and "@" not in email:
            raise Refusal(400, "parameter_invalid", "email is invalid")  # unverified: words
        return body | {"email": email}

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        pagination = body.get("pagination") or {}
        size = pagination.get("per_page", 50)
        if not isinstance(size, int) or not 1 <= size <= 150:
            raise Refusal(400, "parameter_invalid", "per_page must be between 1 and 150")
        try:
            found = self._contact_store.search(body.get("query"))
        except BadQuery as error:
            raise Refusal(400, "parameter_invalid", str(error)) from None
        start = int(pagination.get("starting_after") or 0)
        page = start // size + 1
        pages: dict[str, Any] = {"type": "pages", "page": page, "per_page": size, "total_pages": -(-len(found) // size)}
        if start + size < len(found):
            pages["next"] = {"page": page + 1, "starting_after": str(start + size)}
        return {"type": "list", "data": found[start : start + size], "total_count": len(found), "pages": pages}


def _reference(contact: Contact, **state: bool) -> Response:
    return JSONResponse({"type": "contact", "id": contact["id"], "external_id": contact["external_id"], **state})
