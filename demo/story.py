"""What happens between the runs: to the warehouse, and to the APIs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from duckdb import DuckDBPyConnection

from airflow_provider_census.sandbox.core import Call, Fault, Sandbox
from example_dags import warehouse

SYNCS = {
    "customers → Intercom": ("example_customers_to_intercom", "customers"),
    "users → Braze": ("example_users_and_events_to_braze", "users"),
    "events → Braze": ("example_users_and_events_to_braze", "events"),
    "signups → Slack": ("example_signups_to_slack", "signups"),
}
INTERCOM, USERS, EVENTS, SLACK = SYNCS

CHANGED = 37


@dataclass
class Run:
    """
    One run of all syncs.

    :param touched: ids of the customers that changed since the run before.
    :param states: how each task ended; by sync, as is ``results``, the XCom ``return_value`` of the tasks.
    :param calls: the requests the sandbox has answered during the run.
    """

    number: int
    title: str
    touched: frozenset[str] = frozenset()
    seconds: float = 0.0
    states: dict[str, str] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)


def first(con: DuckDBPyConnection, sandbox: Sandbox) -> set[int]:
    """Leave the warehouse as it was filled."""
    return set()


def quiet(con: DuckDBPyConnection, sandbox: Sandbox) -> set[int]:
    """Change nothing."""
    return set()


def change(con: DuckDBPyConnection, sandbox: Sandbox) -> set[int]:
    """Change customers, and let events and signups come in."""
    warehouse.use(con, 500)
    warehouse.sign_up(con, 12)
    return set(warehouse.change(con, CHANGED))


def trouble(con: DuckDBPyConnection, sandbox: Sandbox) -> set[int]:
    """Change more, break one customer, and let the APIs fail in every way they do."""
    touched = {*warehouse.change(con, 90), warehouse.poison(con)}
    warehouse.use(con, 500)
    warehouse.sign_up(con, 3)
    wait = {"Retry-After": "2"}
    for fault in (
        Fault(api="intercom", path="/contacts/*", after=20, times=8, status=429, headers=wait),
        Fault(api="intercom", path="/contacts/*", after=80, times=4, status=503),
        Fault(api="intercom", method="PUT", after=20, times=4, status=502),
        Fault(api="braze", contains='"attributes"', times=2, status=500),
        Fault(api="braze", contains='"events"', times=3, status=429, headers=wait),
        Fault(api="slack", path="/api/chat.postMessage", status=429, headers=wait),
        # The message stands in the channel, and nobody hears of it.
        Fault(api="slack", path="/api/chat.postMessage", after=1, reset="after"),
    ):
        sandbox.inject(fault)
    return touched


def heal(con: DuckDBPyConnection, sandbox: Sandbox) -> set[int]:
    """Mend the customer in the warehouse, and nothing else."""
    return {warehouse.heal(con)}


STEPS: dict[str, Callable[[DuckDBPyConnection, Sandbox], set[int]]] = {
    "the first sync; Intercom's limit of 10,000 requests a minute makes it one": first,
    "nothing has changed": quiet,
    f"{CHANGED} customers changed, 500 events and 12 signups came in": change,
    "91 changed, one of them broken; 429, 5xx and a dropped connection": trouble,
    "the broken customer is mended": heal,
}


def stage(sandbox: Sandbox) -> None:
    """Prepare the destinations as their owners would: Intercom's attributes, Slack's channel."""
    sandbox["intercom"].add_attribute("mrr", data_type="float")
    sandbox["intercom"].add_attribute("country")
    sandbox["slack"].add_channel("signups")
