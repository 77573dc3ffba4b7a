"""
What the Stripe stand-in has answered to idempotency keys (docs.stripe.com: api/idempotent_requests, error-low-level).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from airflow_provider_census.sandbox._stripe_wire import Refusal


@dataclass
class _Recorded:
    """The first answer to an idempotency key."""

    request: tuple[str, bytes]
    status: int
    body: bytes
    at: float


class FirstAnswers:
    """The first answers to idempotency keys, failures included."""

    def __init__(self) -> None:
        self._recorded: dict[str, _Recorded] = {}

    async def once(
        self,
        request: Request,
        handle: Callable[[Request], Coroutine[Any, Any, Response]],
        *,
        forget_after_s: float,
    ) -> Response:
        """
        Carry out a request with an idempotency key only the first time.

        :raises Refusal: the key is too long or was used for another request, or what is refused is not recorded.
        """
        key = request.headers.get("idempotency-key")
        if request.method != "POST" or key is None:
            return await handle(request)
        if len(key) > 255:
            raise Refusal(400, "Idempotency keys have 255 characters at the most", type="idempotency_error")
        asked = (request.url.path, await request.body())
        recorded = self._recorded.get(key)
        if recorded is None or time.time() - recorded.at > forget_after_s:
            try:
                response = await handle(request)
            except Refusal as refusal:
                if refusal.error.get("code", "").startswith("parameter_"):
                    raise  # the request itself was not valid, so nothing began and nothing is recorded
                response = refusal.answer()
            self._recorded[key] = _Recorded(asked, response.status_code, bytes(response.body), time.time())
            return response
        if recorded.request != asked:
            raise Refusal(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        headers = {"Idempotent-Replayed": "true"}
        return Response(recorded.body, recorded.status, headers, media_type="application/json")
