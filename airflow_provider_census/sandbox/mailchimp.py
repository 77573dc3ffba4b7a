"""
Mailchimp's Marketing API as a stand-in: audiences, their merge fields and members.

Shapes follow the published description (github mailchimp/mailchimp-client-lib-codegen, spec/marketing.json, 3.0.55).
Where it is silent, what other clients found is followed: states of consent and their titles (github
ibericode/mailchimp-for-wordpress, issues 545, 666, 674, 798), archived members (mailchimp/mc-woocommerce#951,
grouparoo/grouparoo). Refusals that no source shows are marked unverified.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response

from airflow_provider_census.sandbox import _mailchimp_wire as wire
from airflow_provider_census.sandbox._mailchimp_audience import Audience, Member, subscriber_hash
from airflow_provider_census.sandbox._mailchimp_wire import Problem
from airflow_provider_census.sandbox.core import SandboxApi

_MAX_BATCH = 500


class MailchimpSandbox(SandboxApi):
    """
    One account. Ten requests at once are served, the eleventh is refused (docs "Marketing API conventions").

    Public state: ``audiences`` by id, ``connections`` (how many are served at once) and ``latency_s``, how long each
    request takes: without it none ever meets another.
    """

    name: ClassVar[str] = "mailchimp"
    api_key: ClassVar[str] = "0123456789abcdef0123456789abcdef-us21"
    """The API key that is accepted."""
    audience_id: ClassVar[str] = "a1b2c3d4e5"
    """The audience that is there after a reset."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "mailchimp", "password": api_key}

    def reset(self) -> None:
        """Forget all records; leave one audience, with the merge fields of a new one and a few more."""
        self.connections = 10
        self.latency_s = 0.0
        self.audiences: dict[str, Audience] = {}
        self._served = 0
        audience = self.add_audience(self.audience_id, "Newsletter")
        for tag, type in (("FNAME", "text"), ("LNAME", "text"), ("ADDRESS", "address"), ("PHONE", "phone")):
            audience.add_merge_field(tag, type)
        for tag, type in (("BIRTHDAY", "birthday"), ("SEATS", "number"), ("SINCE", "date"), ("WEBSITE", "url")):
            audience.add_merge_field(tag, type)
        audience.add_merge_field("PLAN", "dropdown", choices=("free", "team", "business", "enterprise"))

    # --- for tests -------------------------------------------------------------------------------------------------

    @property
    def audience(self) -> Audience:
        """The audience that is there after a reset."""
        return self.audiences[self.audience_id]

    def add_audience(self, id: str, name: str) -> Audience:
        """Add an audience without merge fields."""
        self.audiences[id] = Audience(id, name)
        return self.audiences[id]

    # --- routes ----------------------------------------------------------------------------------------------------

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/3.0", route_class=wire.route_class(self._admit, self._pause))
        self._account_routes(router)
        self._member_routes(router)

        @router.post("/lists/{list_id}")
        async def batch(list_id: str, request: Request) -> Response:
            return wire.answer(request, self._batch(self._audience(list_id), await wire.read(request), request))

        @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
        async def unknown(path: str) -> Response:
            raise _not_found()

        return router

    @contextlib.contextmanager
    def _admit(self, request: Request) -> Iterator[None]:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        try:
            key = base64.b64decode(credentials).decode().partition(":")[2] if scheme == "Basic" else credentials
        except ValueError:
            key = ""
        if key != self.api_key:
            detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
            raise Problem(401, "API Key Invalid", detail)
        if self._served >= self.connections:
            detail = f"You have exceeded the limit of {self.connections} simultaneous connections."
            raise Problem(429, "Too Many Requests", detail)
        self._served += 1
        try:
            yield
        finally:
            self._served -= 1

    async def _pause(self) -> None:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)

    def _account_routes(self, router: APIRouter) -> None:
        @router.get("/ping")
        async def ping(request: Request) -> Response:
            return wire.answer(request, {"health_status": "Everything's Chimpy!"})

        @router.get("/")
        async def root(request: Request) -> Response:
            return wire.answer(request, {"account_id": "sandbox", "account_name": "Sandbox", "role": "owner"})

        @router.get("/lists")
        async def audiences(request: Request) -> Response:
            return wire.answer(request, _page(request, "lists", [_shown(a) for a in self.audiences.values()]))

        @router.get("/lists/{list_id}")
        async def audience(list_id: str, request: Request) -> Response:
            return wire.answer(request, _shown(self._audience(list_id)))

        @router.get("/lists/{list_id}/merge-fields")
        async def merge_fields(list_id: str, request: Request) -> Response:
            page = _page(request, "merge_fields", self._audience(list_id).merge_fields)
            return wire.answer(request, {**page, "list_id": list_id})

    def _member_routes(self, router: APIRouter) -> None:
        members = "/lists/{list_id}/members"

        @router.post(members)
        async def create(list_id: str, request: Request) -> Response:
            audience, body = self._audience(list_id), await wire.read(request)
            wire.check_member(body, wire.SINGLE)
            _require(body, "email_address", "status")
            if not all(isinstance(tag, str) for tag in body.get("tags", ())):
                raise wire.schema_problem([("tags", "Schema describes string, object found instead")])
            return wire.answer(request, audience.shown(audience.create(body, skip_merge=_skips_merge(request))))

        @router.get(members + "/{hash}")
        async def show(list_id: str, hash: str, request: Request) -> Response:
            audience = self._audience(list_id)
            return wire.answer(request, audience.shown(audience.found(hash)))

        @router.put(members + "/{hash}")
        async def put(list_id: str, hash: str, request: Request) -> Response:
            audience, body = self._audience(list_id), await wire.read(request)
            return wire.answer(request, audience.shown(_put(audience, hash, body, _skips_merge(request))))

        @router.patch(members + "/{hash}")
        async def patch(list_id: str, hash: str, request: Request) -> Response:
            audience, body = self._audience(list_id), await wire.read(request)
            member = audience.found(hash)
            wire.check_member(body, wire.SINGLE - {"email_address"})
            if body.get("status") == "transactional":
                raise wire.schema_problem(
                    [("status", "Value must be one of: cleaned, pending, subscribed, unsubscribed")]
                )
            body["email_address"] = member["email_address"]
            changed = audience.update(member, body, skip_merge=_skips_merge(request))
            return wire.answer(request, audience.shown(changed))

        @router.delete(members + "/{hash}")
        async def archive(list_id: str, hash: str) -> Response:
            self._audience(list_id).archive(hash)
            return Response(status_code=204)

        @router.post(members + "/{hash}/actions/delete-permanent")
        async def forget(list_id: str, hash: str) -> Response:
            self._audience(list_id).forget(hash)
            return Response(status_code=204)

        @router.post(members + "/{hash}/tags")
        async def tags(list_id: str, hash: str, request: Request) -> Response:
            self._audience(list_id).set_tags(hash, await wire.read(request))
            return Response(status_code=204)

    def _audience(self, list_id: str) -> Audience:
        if list_id not in self.audiences:
            raise _not_found()
        return self.audiences[list_id]

    # --- many at once ----------------------------------------------------------------------------------------------

    def _batch(self, audience: Audience, body: dict[str, Any], request: Request) -> dict[str, Any]:
        members = body.get("members")
        if body.keys() - {"members", "update_existing"} or not isinstance(members, list):
            raise wire.schema_problem([("members", "Schema describes array")])
        if len(members) > _MAX_BATCH:
            raise Problem(
                400, "Invalid Resource", f"You may only send {_MAX_BATCH} members at once."
            )  # unverified: words
        for member in members:
            # One member that does not fit the schema ruins the whole request (github mailchimp/APIv3-examples#45).
            wire.check_member(member, wire.BATCH)
            _require(member, "email_address", "status")
        lists: dict[str, list[dict[str, Any]]] = {"new_members": [], "updated_members": [], "errors": []}
        seen: set[str] = set()
        for member in members:
            email = member["email_address"].lower()
            if email in seen:
                lists["errors"].append(_batch_error(member, Problem(400, "", f"{email} is in the request twice")))
                continue
            seen.add(email)
            self._batch_one(audience, member, body.get("update_existing", False), _skips_merge(request), lists)
        return {
            **lists,
            "total_created": len(lists["new_members"]),
            "total_updated": len(lists["updated_members"]),
            "error_count": len(lists["errors"]),
        }

    def _batch_one(
        self,
        audience: Audience,
        body: dict[str, Any],
        update: bool,
        skip_merge: bool,
        lists: dict[str, list[dict[str, Any]]],
    ) -> None:
        known = audience.member(body["email_address"])
        try:
            if known is None:
                lists["new_members"].append(audience.shown(audience.create(body, skip_merge=skip_merge)))
            elif update:
                lists["updated_members"].append(audience.shown(audience.update(known, body, skip_merge=skip_merge)))
            else:
                exists = Problem(400, "Member Exists", f"{body['email_address']} is already a list member")
                lists["errors"].append(_batch_error(body, exists, "ERROR_CONTACT_EXISTS"))
        except Problem as problem:
            lists["errors"].append(_batch_error(body, problem))


def _put(audience: Audience, hash: str, body: dict[str, Any], skip_merge: bool) -> Member:
    wire.check_member(body, wire.SINGLE | {"status_if_new"})
    _require(body, "email_address", "status_if_new")
    email = body["email_address"]
    if subscriber_hash(email) != hash:
        detail = f"{email} is already a list member. Use PUT to insert or update list members."
        raise Problem(400, "Member Exists", detail)
    member = audience.members.get(hash)
    if member is None:
        new = {**body, "status": body["status_if_new"], "tags": []}
        return audience.create(new, skip_merge=skip_merge)
    # Without a status an archived member stays archived.
    return audience.update(member, body, skip_merge=skip_merge)


def _batch_error(member: Mapping[str, Any], problem: Problem, code: str = "ERROR_GENERIC") -> dict[str, Any]:
    first = problem.errors[0] if problem.errors else {"field": "", "message": ""}
    return {
        "email_address": member["email_address"],
        "error": str(problem),
        "error_code": code,
        "field": first["field"],
        "field_message": first["message"],
    }


def _shown(audience: Audience) -> dict[str, Any]:
    return {"id": audience.id, "name": audience.name, "double_optin": audience.double_optin}


def _page(request: Request, name: str, items: list[Any]) -> dict[str, Any]:
    """Return one page: ten items unless the query asks for more, a thousand at the most."""
    count, offset = (int(request.query_params.get(key, default)) for key, default in (("count", 10), ("offset", 0)))
    if not 0 <= count <= 1000:
        raise Problem(400, "Invalid Parameter", "count must be between 0 and 1000")  # unverified: words
    return {name: items[offset : offset + count], "total_items": len(items)}


def _skips_merge(request: Request) -> bool:
    return request.query_params.get("skip_merge_validation") == "true"


def _require(body: Mapping[str, Any], *names: str) -> None:
    missing = [(name, "This value should not be blank.") for name in names if not body.get(name)]
    if missing:
        raise wire.schema_problem(missing)


def _not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")
