"""
Braze: ``/users/track``, ``/users/delete``, ``/users/export/ids`` and catalogs.

Events and purchases are appended, as there: a resent request doubles them. What Braze does later is done at once here.
Sources: Braze API docs, pages "Track users", "Delete users", "Export user profile by identifier", "Catalogs", "Errors"
and "API limits"; answers as measured by github.com/leemour/braze-cli.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from airflow_provider_census.sandbox._braze_catalogs import Answer, Catalogs
from airflow_provider_census.sandbox._braze_users import Profile, Users
from airflow_provider_census.sandbox.core import SandboxApi, Window

Handler = Callable[..., Answer]

_ARRAYS = ("attributes", "events", "purchases")
_NOTHING = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
_TOO_MANY = "The max number of external_ids and aliases per request was exceeded"
_DELETE_BY = {
    "external_ids": "external_id",
    "braze_ids": "braze_id",
    "user_aliases": "user_alias",
    "email_addresses": "email",
    "phone_numbers": "phone",
}
_EXPORT_BY = {
    "external_ids": "external_id",
    "user_aliases": "user_alias",
    "braze_id": "braze_id",
    "email_address": "email",
    "phone": "phone",
}
_STANDARD = (
    *("country", "dob", "email", "email_subscribe", "first_name", "gender", "home_city", "language", "last_name"),
    *("phone", "push_subscribe", "time_zone"),
)
_NOT_EXPORTED = (
    "current_location",
    "date_of_first_session",
    "date_of_last_session",
    "facebook",
    "twitter",
    "image_url",
)


class BrazeSandbox(SandboxApi):
    """One workspace on one cluster."""

    name: ClassVar[str] = "braze"
    api_key: ClassVar[str] = "sandbox-braze-key"
    """The REST API key that is accepted."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "braze", "password": api_key}
    all_permissions: ClassVar[frozenset[str]] = frozenset(
        {
            "users.track",
            "users.delete",
            "users.export.ids",
            "catalogs.get",
            "catalogs.replace_items",
            "catalogs.update_items",
            "catalogs.delete_items",
        }
    )

    def reset(self) -> None:
        """Forget all users, occurrences and items; one catalog, ``products``, is there."""
        self.permissions = set(self.all_permissions)
        self.users = Users()
        self.events: list[dict[str, Any]] = []
        self.purchases: list[dict[str, Any]] = []
        self.catalogs = Catalogs()
        self.catalogs.create(
            "products",
            name="string",
            price="number",
            in_stock="boolean",
            updated_at="time",
            details="object",
            tags="array",
        )
        self.max_objects = 75
        """Objects of one /users/track; some plans have 50."""
        self.max_bytes = 4_000_000
        self.counts_unknown_deletes = True
        """Whether ``deleted`` counts ids that no user has; Braze does not say."""
        self.by_active_users = False
        """A plan by monthly active users: ``X-RateLimit-Reset`` is seconds, and a 429 has a header of its own."""
        self.track_window = Window(3_000, 3)
        self.delete_window = Window(20_000, 60)
        self.export_window = Window(250, 60)
        self.catalog_window = Window(50, 60)
        self.item_window = Window(16_000, 60)

    def router(self) -> APIRouter:
        """Return the routes; Braze has no prefix."""
        router = APIRouter()
        for method, path, permission, window, handler in (
            ("POST", "/users/track", "users.track", "track_window", self._track),
            ("POST", "/users/delete", "users.delete", "delete_window", self._delete),
            ("POST", "/users/export/ids", "users.export.ids", "export_window", self._export),
            ("GET", "/catalogs", "catalogs.get", "catalog_window", self._list_catalogs),
            ("PUT", "/catalogs/{catalog}/items", "catalogs.replace_items", "item_window", self._replace_items),
            ("PATCH", "/catalogs/{catalog}/items", "catalogs.update_items", "item_window", self._update_items),
            ("DELETE", "/catalogs/{catalog}/items", "catalogs.delete_items", "item_window", self._delete_items),
        ):
            router.add_route(path, self._guarded(permission, window, handler), methods=[method])
        return router

    def state(self) -> dict[str, Any]:
        """Return what the workspace holds."""
        return {
            "users": self.users.profiles,
            "events": self.events,
            "purchases": self.purchases,
            "items": self.catalogs.items,
        }

    def profile(self, **who: Any) -> Profile | None:
        """Return the profile with this ``external_id``, ``email`` …"""
        return self.users.find(who)

    def _guarded(self, permission: str, window: str, handler: Handler) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def serve(request: Request) -> JSONResponse:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme != "Bearer" or key != self.api_key:
                # Braze does echo the key.
                return JSONResponse({"message": f"Invalid API key: {key}"}, 401)
            if permission not in self.permissions:
                return JSONResponse({"message": "Access Denied"}, 403)
            limit: Window = getattr(self, window)
            allowed, remaining, reset_s = limit.take()
            headers = self._rate_headers(limit.limit, remaining, reset_s, allowed=allowed)
            if not allowed:
                return JSONResponse({"message": "Rate limit exceeded"}, 429, headers)
            status, answer = self._answer(handler, await request.body(), request.path_params)
            return JSONResponse(answer, status, headers)

        return serve

    def _answer(self, handler: Handler, content: bytes, path_params: Mapping[str, str]) -> Answer:
        if len(content) > self.max_bytes:
            return 413, {"message": "Request Entity Too Large"}
        try:
            body = json.loads(content or b"{}")
        except ValueError:
            return 400, {"message": "Bad Request"}
        return handler(body, **path_params) if isinstance(body, dict) else (400, {"message": "Bad Request"})

    def _rate_headers(self, limit: int, remaining: int, reset_s: float, *, allowed: bool) -> dict[str, str]:
        if self.by_active_users and not allowed:
            return {"x-ratelimit-retry-after": str(math.ceil(reset_s))}
        reset = reset_s if self.by_active_users else time.time() + reset_s
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(math.ceil(reset)),
        }

    # --- users -----------------------------------------------------------------------------------------------------

    def _track(self, body: dict[str, Any]) -> Answer:
        arrays = {name: body[name] for name in _ARRAYS if body.get(name)}
        if not all(isinstance(things, list) for things in arrays.values()):
            return 400, {"message": "Bad Request"}
        if sum(map(len, arrays.values())) > self.max_objects:
            return 400, {"message": "Max Input Length Exceeded"}
        errors = []
        processed: Counter[str] = Counter()
        for array, things in arrays.items():
            for index, thing in enumerate(things):
                problem = self.users.problem(array, thing)
                if problem:
                    errors.append({"type": problem, "input_array": array, "index": index})
                    continue
                processed[array] += 1
                self._apply(array, thing)
        if not processed:
            return 400, {"message": _NOTHING} | ({"errors": errors} if errors else {})
        answer = {"message": "success", **{f"{array}_processed": processed[array] for array in arrays}}
        return 201, answer | ({"errors": errors} if errors else {})

    def _apply(self, array: str, thing: dict[str, Any]) -> None:
        if array == "attributes":
            self.users.write(thing)
            return
        profile = self.users.touch(thing)
        if profile is not None:
            (self.events if array == "events" else self.purchases).append({**thing, "braze_id": profile["braze_id"]})

    def _delete(self, body: dict[str, Any]) -> Answer:
        kinds = [kind for kind in _DELETE_BY if kind in body]
        if len(kinds) != 1 or not isinstance(body[kinds[0]], list):
            return 400, {"message": "Exactly one kind of identifier is required"}  # unverified
        name, entries = _DELETE_BY[kinds[0]], body[kinds[0]]
        if len(entries) > 50:
            return 400, {"message": _TOO_MANY}
        by_contact = name in ("email", "phone")
        if by_contact and not all(isinstance(e, dict) and e.get(name) and e.get("prioritization") for e in entries):
            return 400, {"message": f"Each of {kinds[0]} needs {name} and prioritization"}  # unverified
        queued = 0
        for entry in entries:
            profile = self.users.find({name: entry}) if not by_contact else None
            doomed = self.users.prioritised(name, entry) if by_contact else [profile] if profile else []
            queued += bool(doomed) or self.counts_unknown_deletes
            self.users.profiles = [p for p in self.users.profiles if p not in doomed]
        return 201, {"deleted": queued, "message": "success"}

    def _export(self, body: dict[str, Any]) -> Answer:
        kinds = [kind for kind in _EXPORT_BY if kind in body]
        if len(kinds) != 1:
            return 400, {"message": "Exactly one kind of identifier is required"}  # unverified
        fields = body.get("fields_to_export")
        if not fields:
            return 400, {"message": "fields_to_export is required"}  # unverified
        name, asked = _EXPORT_BY[kinds[0]], body[kinds[0]]
        if isinstance(asked, list) and len(asked) > 50:
            return 400, {"message": _TOO_MANY}
        if name in ("email", "phone"):
            found = self.users.having(name, asked)
            missing: list[Any] = []
        else:
            pairs = [(who, self.users.find({name: who})) for who in (asked if isinstance(asked, list) else [asked])]
            found = [profile for _, profile in pairs if profile]
            missing = [who for who, profile in pairs if not profile]
        users = [_exported(profile, fields) for profile in found]
        return 200, {"message": "success", "users": users} | ({"invalid_user_ids": missing} if missing else {})

    # --- catalogs --------------------------------------------------------------------------------------------------

    def _list_catalogs(self, _: dict[str, Any]) -> Answer:
        return 200, {"catalogs": self.catalogs.listed(), "message": "success"}

    def _replace_items(self, body: dict[str, Any], catalog: str) -> Answer:
        return self.catalogs.write(catalog, body, self.catalogs.replace)

    def _update_items(self, body: dict[str, Any], catalog: str) -> Answer:
        return self.catalogs.write(catalog, body, self.catalogs.update)

    def _delete_items(self, body: dict[str, Any], catalog: str) -> Answer:
        return self.catalogs.write(catalog, body, self.catalogs.delete)


def _exported(profile: Profile, fields: list[str]) -> dict[str, Any]:
    """Return "the least data possible": a field that is null, false or empty is left out."""
    attributes = profile["attributes"]
    custom = {k: v for k, v in attributes.items() if k not in (*_STANDARD, *_NOT_EXPORTED)}
    whole = {**profile, **{k: v for k, v in attributes.items() if k in _STANDARD}, "custom_attributes": custom}
    return {field: whole[field] for field in fields if whole.get(field)}
