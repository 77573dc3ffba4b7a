"""The companies of the Intercom stand-in: known by their ``company_id``, reached by Intercom's own id."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_census.sandbox import _intercom_wire as wire
from airflow_provider_census.sandbox._intercom_wire import Refusal

Company = dict[str, Any]


class CompanyStore:
    """
    Companies by Intercom's id.

    :param attributes: the data attributes of the workspace.
    """

    def __init__(self, attributes: Iterable[Mapping[str, Any]]) -> None:
        self.live: dict[str, Company] = {}
        self._attributes = attributes
        self._ids: dict[str, str] = {}
        self._new_id = (f"531ee472cce572a6{n:08x}" for n in itertools.count(1))

    def get(self, id: str) -> Company:
        """Return a company, or refuse."""
        if id not in self.live:
            raise Refusal(404, "company_not_found", "Company Not Found")
        return self.live[id]

    def known_as(self, company_id: str) -> Company:
        """Return the company with this ``company_id``, or refuse."""
        return self.get(self._ids.get(company_id, ""))

    def upsert(self, body: dict[str, Any]) -> Company:
        """Update a company, or create it."""
        company_id = body.get("company_id")
        if not company_id:
            raise Refusal(400, "parameter_not_found", "company not specified")  # unverified for this route
        if company_id in self._ids:
            company = self.known_as(company_id)
        else:
            now = int(time.time())
            company = {"type": "company", "id": next(self._new_id), "created_at": now, "custom_attributes": {}}
        self._change(company, body, wire.COMPANY)
        self.live[company["id"]] = company
        self._ids[company_id] = company["id"]
        return company

    def update(self, id: str, body: dict[str, Any]) -> Company:
        """Update a company that is there."""
        company = self.get(id)
        self._change(company, body, wire.COMPANY_UPDATE)
        return company

    def delete(self, id: str) -> None:
        """Delete a company."""
        company = self.get(id)
        del self.live[id], self._ids[company["company_id"]]

    def _change(self, company: Company, body: dict[str, Any], types: wire.Types) -> None:
        wire.check_types(body, types)
        given = body.get("custom_attributes") or {}
        wire.check_attributes(given, self._attributes, "company")
        if (body.get("monthly_spend") or 0) > 2**31 - 1:
            raise Refusal(400, "parameter_invalid", "monthly_spend is too large")  # unverified: words
        changes = body | {"custom_attributes": company["custom_attributes"] | given, "updated_at": int(time.time())}
        if "plan" in body:
            changes["plan"] = {"type": "plan", "id": "1", "name": body["plan"]}
        if body.get("monthly_spend") is not None:
            changes["monthly_spend"] = int(body["monthly_spend"])
        company |= changes
