"""
Zapier: every row starts a Zap whose trigger is a Catch Hook of "Webhooks by Zapier".

The URL of the hook is all there is: whoever has it can start the Zap. Zapier answers ``success`` before the Zap runs,
and also when it is off or gone, so ``sent`` means that Zapier has taken the row, and what became of it stands in the
Zap's history alone. Nothing is deduplicated: a request without an answer may have started the Zap. Each row carries
its ``event_id``, so that a Zap can look up whether it has seen it; a row that has changed since comes with the
same one, unless the sync key changes with it.

Sources: help.zapier.com, pages "Trigger Zaps from webhooks" and "Webhooks by Zapier rate limits".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict
from urllib.parse import urlsplit

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.destinations.refusal import rejected
from airflow_provider_census.errors import ConfigError, Unanswered
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

_HOOK = re.compile(r"/hooks/catch(/[\w-]+)+/?", re.ASCII)


class _Caught(TypedDict, total=False):
    status: str


class Zapier(Destination):
    """One Catch Hook."""

    name = "zapier"
    objects = (ObjectType(name="hook", behaviors=(Behavior.SEND,), identifiers=(Identifier("event_id"),)),)
    # Published are 20,000 in five minutes for all Zaps of a user. Zapier holds back Zaps that are started by a hundred
    # rows at once (the number is unverified), so this is a sixth of it, evenly.
    rates = (Rate("hook", 10, 1.0),)
    concurrency = 4
    # What a Catch Raw Hook takes; the URL does not tell it from a Catch Hook.
    max_record_bytes = 2_000_000

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the hook; ``host`` replaces its scheme and host."""
        url = secret(credentials, "Catch Hook URL")
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.query or not _HOOK.fullmatch(parts.path):
            raise ConfigError(
                "the password of the connection is no Catch Hook URL; copy it from the trigger of the Zap"
            )
        to = base_url(credentials.host, f"{parts.scheme}://{parts.netloc}", parts.path)
        # Texts of rows that look like JSON or XML would be taken apart.
        return Endpoint(to, {"X-Recurse-Parse": "false"}, (to, url, parts.path.rstrip("/")))

    @classmethod
    def test(cls) -> Exchange[str]:
        """Send nothing: any request would start the Zap, and none tells whether there is one."""
        return "The URL is one of a Catch Hook. Whether a Zap listens cannot be told without starting it"
        yield

    def check(self, operation: Operation) -> str | None:
        """Return why the row would not arrive whole."""
        if (bytes_of_it := len(self.encoded(operation))) > self.max_record_bytes:
            return f"the row has {bytes_of_it:,} bytes, Zapier takes {self.max_record_bytes:,}"
        return next(
            (f"{name}: {fault}" for name, value in operation.record.fields.items() if (fault := _list_fault(value))),
            None,
        )

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the row, one object: Zapier would start a Zap, or not, for each object of a list."""
        return {**operation.record.fields, self.identifier.name: operation.record.id}

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Send one row."""
        (operation,) = batch
        response = yield Request(
            method="POST", path="", json=self.encoded(operation), idempotent=self.resendable(operation)
        )
        if not response.ok:
            words = response.text
            return [rejected(f"HTTP {response.status} {'' if words.startswith('<') else words}", response.status)]
        # In silent mode the answer has no body.
        if response.body and response.told(_Caught).get("status") != "success":
            raise Unanswered(f"HTTP {response.status} without the 'success' of a hook", status=response.status)
        return [RowResult(Outcome.SENT, status=response.status)]

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means: where Zapier knows no hook, no row will arrive."""
        if response.status in (404, 405, 410):
            return verdict.Misdirected(
                f"HTTP {response.status}: no hook answers there; copy the URL from the Zap again"
            )
        return verdict.judge(response)


def _list_fault(value: Any) -> str | None:
    """Return why Zapier would mix up the lists in ``value``: it makes of each a list per field ("line items")."""
    if isinstance(value, dict):
        return next(filter(None, map(_list_fault, value.values())), None)
    if not isinstance(value, list):
        return None
    parts = [item.values() if isinstance(item, dict) else (item,) for item in value]
    if any(isinstance(part, (dict, list)) for item in parts for part in item):
        return "a list whose items hold lists or objects does not arrive as it is; flatten it in the model"
    if len({tuple(sorted(item)) if isinstance(item, dict) else None for item in value}) > 1:
        return "a list whose items do not have the same fields does not arrive as it is; fill them in the model"
    return None
