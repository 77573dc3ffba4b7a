"""
CleverTap: ``/1/upload`` (also with ``dryRun=1``) and ``/1/delete/profiles.json``.

Events are appended, as there: a resent request doubles them. Profiles are deleted at once here, a little later there.
Sources: CleverTap developer docs, pages "Upload User Profiles", "Upload Events", "Delete User Profile", "API Request
Limit" and "Errors"; answers as recorded by github.com/tradeo/clevertap-ruby.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from airflow_provider_census.sandbox._clevertap_records import WHO, echo, event_problem, profile_problem, write
from airflow_provider_census.sandbox.core import SandboxApi

Answer = tuple[int, dict[str, Any]]


class CleverTapSandbox(SandboxApi):
    """One account in one region."""

    name: ClassVar[str] = "clevertap"
    account_id: ClassVar[str] = "SBX-CLV-TAPZ"
    """The account id that is accepted."""
    passcode: ClassVar[str] = "sandbox-clevertap-passcode"
    """The passcode that is accepted."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "clevertap", "login": account_id, "password": passcode}

    def reset(self) -> None:
        """Forget all profiles and events; the event ``Retired`` is discarded, as the dashboard can do with any."""
        self.profiles: list[dict[str, Any]] = []
        """Each with ``profileData`` and its ``identity``, ``objectId``, ``FBID`` or ``GPID``."""
        # A look-up for each record must not walk through all profiles.
        self._known: dict[tuple[str, Any], dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.discarded = {"Retired"}
        self.max_records = 1_000
        self.max_deletes = 100
        self.max_bytes = 5_000_000
        self.max_in_flight = {"upload": 15, "delete": 3}
        self.takes_s = 0.0
        """How long a request takes; the limits count those that are being served."""
        self._in_flight: Counter[str] = Counter()

    def router(self) -> APIRouter:
        """Return the routes, and for all other paths the empty 200 that CleverTap may give there."""
        router = APIRouter(prefix="/1")
        router.add_api_route("/upload", self._guarded("upload", self._upload), methods=["POST"])
        router.add_api_route("/delete/profiles.json", self._guarded("delete", self._delete), methods=["POST"])
        router.add_api_route("/{path:path}", _nothing, methods=["GET", "POST", "PUT", "DELETE"])
        return router

    def state(self) -> dict[str, Any]:
        """Return what the account holds."""
        return {"profiles": self.profiles, "events": self.events}

    def profile(self, **who: str) -> dict[str, Any] | None:
        """Return the profile with this ``identity``, ``objectId`` …"""
        return next((p for p in self.profiles if all(p.get(name) == id for name, id in who.items())), None)

    def _guarded(
        self, api: str, handler: Callable[[dict[str, Any], bool], Answer]
    ) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def serve(request: Request) -> JSONResponse:
            if request.headers.get("x-clevertap-account-id") != self.account_id:
                return _fail(401, "Account ID is not valid")
            if request.headers.get("x-clevertap-passcode") != self.passcode:
                return _fail(401, "Invalid Credentials")
            if self._in_flight[api] >= self.max_in_flight[api]:
                return _fail(429, "Too many concurrent requests")
            self._in_flight[api] += 1
            try:
                await asyncio.sleep(self.takes_s)
                content = await request.body()
            finally:
                self._in_flight[api] -= 1
            if len(content) > self.max_bytes:
                return _fail(413, "Payload too large")  # unverified
            try:
                body = json.loads(content)
            except ValueError:
                return _fail(400, "Malformed JSON")
            if not isinstance(body, dict):
                return _fail(400, "Invalid parameter")
            status, answer = handler(body, request.query_params.get("dryRun") == "1")
            return JSONResponse(answer, status)

        return serve

    # --- upload ----------------------------------------------------------------------------------------------------

    def _upload(self, body: dict[str, Any], dry_run: bool) -> Answer:
        records = body.get("d")
        if not isinstance(records, list) or not 0 < len(records) <= self.max_records:
            return 400, {"status": "fail", "error": "Invalid parameter", "code": 400}
        unprocessed = []
        for number, record in enumerate(records, start=1):
            problem = self._problem(record)
            if problem:
                code, text = problem
                error = f"{text}Skipped record number : {number}"
                unprocessed.append({"status": "fail", "code": code, "error": error, "record": echo(record)})
            elif not dry_run:
                self._apply(record)
        processed = len(records) - len(unprocessed)
        status = "success" if not unprocessed else "partial" if processed else "fail"
        return 200, {"status": status, "processed": processed, "unprocessed": unprocessed}

    def _problem(self, record: Any) -> tuple[int, str] | None:
        kind = record.get("type") if isinstance(record, dict) else None
        if kind not in ("profile", "event"):
            return 524, "Record is neither an event nor a profile."
        return profile_problem(record) if kind == "profile" else event_problem(record, self.discarded)

    def _apply(self, record: dict[str, Any]) -> None:
        name = next(name for name in WHO if name in record)
        who = name, record[name]
        profile = self._known.get(who)
        if profile is None:
            profile = self._known[who] = {name: record[name], "profileData": {}}
            self.profiles.append(profile)
        if record["type"] == "event":
            self.events.append(record)
        else:
            write(profile["profileData"], record.get("profileData", {}))

    # --- delete ----------------------------------------------------------------------------------------------------

    def _delete(self, body: dict[str, Any], _: bool) -> Answer:
        kinds = [kind for kind in ("identity", "guid") if kind in body]
        ids = body[kinds[0]] if len(kinds) == 1 else None
        if isinstance(ids, str):
            ids = [ids]
        if not isinstance(ids, list) or not 0 < len(ids) <= self.max_deletes:
            return 400, {"status": "fail", "error": "Invalid parameter", "code": 400}
        name = "identity" if kinds == ["identity"] else "objectId"
        self.profiles = [profile for profile in self.profiles if profile.get(name) not in ids]
        for id in ids:
            self._known.pop((name, id), None)
        return 200, {"status": "success"}  # also of ids that nobody has (unverified)


def _fail(status: int, error: str) -> JSONResponse:
    return JSONResponse({"status": "fail", "error": error, "code": status}, status)


async def _nothing() -> Response:
    return Response(status_code=200)
