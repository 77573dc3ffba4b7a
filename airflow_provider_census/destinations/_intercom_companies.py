"""Companies of Intercom: POST is an upsert by ``company_id``; everything else goes by Intercom's own id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_provider_census.destinations._intercom_answers import (
    Answer,
    Body,
    Company,
    Thing,
    look_for_companies,
    write,
    write_once,
)
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport.message import Exchange, Request

_ABSENT = RowResult(Outcome.SKIPPED, "no such company")
_MAX_SPEND = 2**31 - 1


def check_company(fields: Mapping[str, Any]) -> str | None:
    """Return what Intercom could not take of a company."""
    spend = fields.get("monthly_spend")
    if spend is None:
        return None
    if isinstance(spend, bool) or not isinstance(spend, (int, float)):
        return "monthly_spend is no number; cast it in the model"
    return f"monthly_spend is over {_MAX_SPEND:,}" if abs(spend) > _MAX_SPEND else None


def send_company(operation: Operation, payload: dict[str, Any]) -> Exchange[RowResult]:
    """Carry out one operation."""
    if operation.behavior is Behavior.UPDATE_OR_CREATE:
        answer = yield from write(Request(method="POST", path="/companies", json=payload), Thing)
        return RowResult(Outcome.UPSERTED) if answer.ok else answer.rejected()
    found = operation.found
    if found is None:
        company = yield from _look_up(operation.record.id)
        found = [company["id"]] if company else []
    if not found:
        return _ABSENT
    path = f"/companies/{quote(found[0], safe='')}"
    if operation.behavior is Behavior.DELETE:
        answer, lost = yield from write_once(Request(method="DELETE", path=path))
        return _result(answer, Outcome.DELETED, again=lost)
    # The company_id never changes, and PUT does not take it.
    changes = {k: v for k, v in payload.items() if k != "company_id"}
    answer = yield from write(Request(method="PUT", path=path, json=changes), Thing)
    return _result(answer, Outcome.UPDATED)


def fetch_company(company_id: str) -> Exchange[Held]:
    """Exchange that returns what is there."""
    company = yield from _look_up(company_id)
    if company is None:
        return Held(None)
    return Held({**company, "plan": (company.get("plan") or {}).get("name")}, company["id"])


def _look_up(company_id: str) -> Exchange[Company | None]:
    answer = yield from look_for_companies(Request(method="GET", path="/companies", query={"company_id": company_id}))
    if answer.absent:
        return None
    if not answer.ok:
        raise answer.refused_look_up()
    return next((company for company in answer.body if company.get("company_id") == company_id), None)


def _result(answer: Answer[Body], outcome: Outcome, *, again: bool = False) -> RowResult:
    if answer.ok or (again and answer.absent):
        return RowResult(outcome)
    return _ABSENT if answer.absent else answer.rejected()
