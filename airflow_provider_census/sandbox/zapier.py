"""
Zapier: the Catch Hooks of "Webhooks by Zapier".

As there, a hook answers ``success`` whether its Zap is on, off or gone, and an empty body in silent mode; what nobody
listens to stands in ``lost``. Stricter than Zapier: a body that is no JSON object is refused, where Zapier starts the
Zap with whatever it can read. Unverified: 404 for a path that is no hook's, and the words of 413 and 429.
Sources: help.zapier.com, pages "Trigger Zaps from webhooks" and "Webhooks by Zapier rate limits".
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_census.sandbox.core import SandboxApi, Window


class ZapierSandbox(SandboxApi):
    """One user with one Zap."""

    name: ClassVar[str] = "zapier"
    hook: ClassVar[str] = "/hooks/catch/1234567/sandboxhooksecret"
    """Path of the hook that starts the Zap."""
    connection: ClassVar[Mapping[str, Any]] = {"conn_type": "zapier", "password": f"https://hooks.zapier.com{hook}"}

    def reset(self) -> None:
        """Forget what was caught; the Zap is on."""
        self.caught: list[dict[str, Any]] = []
        """What started the Zap, in order."""
        self.lost: list[dict[str, Any]] = []
        """What was answered with success and started nothing: the Zap is off, or it is the URL of none."""
        self.on = True
        self.gone = False
        """Whether the hook answers 410, as unsubscribed ones of Zapier's apps do."""
        self.silent = False
        self.max_bytes = 2_000_000
        self.window = Window(20_000, 300)

    def state(self) -> dict[str, Any]:
        """Return what was caught and what was lost."""
        return {"caught": self.caught, "lost": self.lost}

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        for end in ("", "/"):
            router.add_route("/hooks/catch/{user}/{hook}" + end, self._catch, methods=["POST", "PUT"])
        return router

    async def _catch(self, request: Request) -> Response:
        allowed, _, reset_s = self.window.take()
        if not allowed:
            return JSONResponse({"status": "error"}, 429, {"Retry-After": str(math.ceil(reset_s))})
        content = await request.body()
        if len(content) > self.max_bytes:
            return JSONResponse({"status": "error", "message": "payload too large"}, 413)
        try:
            row = json.loads(content)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            return JSONResponse({"status": "error", "message": "not a JSON object"}, 400)
        if self.gone:
            return Response(status_code=410)
        path = "/hooks/catch/{user}/{hook}".format(**request.path_params)
        (self.caught if self.on and path == self.hook else self.lost).append(row)
        id = str(uuid.uuid4())
        return (
            Response()
            if self.silent
            else JSONResponse({"status": "success", "attempt": id, "id": id, "request_id": id})
        )
