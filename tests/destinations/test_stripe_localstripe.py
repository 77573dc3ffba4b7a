"""
Stripe against localstripe, a stateful stand-in that others wrote.

It has no search and no idempotency keys, so what is tried here is the rest: the connection, customers by e-mail and id.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import pytest
import requests

from airflow_provider_census.destinations.stripe import Stripe
from airflow_provider_census.errors import AuthError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.sync.values import Operation, Record
from airflow_provider_census.testing.source import Table
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.rate import Limiter, Rate

# It would write its customers to one file in /tmp, whoever runs it.
_START = """
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
server.start()
"""
UPSERT, UPDATE, CREATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY


@pytest.fixture(scope="module")
def address():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("localstripe needs IPv6, and this machine has none")
    command = [sys.executable, "-c", _START, "--port", str(port), "--from-scratch"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, "localstripe did not start"
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=1)
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def customers(address):
    """Return what is there, by asking localstripe itself."""
    requests.delete(f"{address}/_config/data", timeout=5)

    def customers() -> list[dict]:
        answer = requests.get(f"{address}/v1/customers", params={"limit": 100}, auth=("sk_test_1", ""), timeout=5)
        return answer.json()["data"]

    return customers


def connect(address: str, key: str) -> Client:
    endpoint = Stripe.endpoint(Credentials(password=key, host=address))
    return Client(endpoint, Limiter([Rate("update", 1_000, 1)]), judge=Stripe.judge, attempts=2, backoff_s=0.01)


@pytest.fixture
def client(address):
    client = connect(address, "sk_test_1")
    yield client
    client.close()


def one(client: Client, behavior: Behavior, by: str, id: str, **fields):
    destination = Stripe("customer", behavior, by)
    (result,) = client.run(destination.send([Operation(behavior, Record(id, id, fields))]))
    return result


def test_the_connection_is_proven(client, customers):
    assert "test mode" in client.run(Stripe.behind(Credentials(password="sk_test_1")).test())


def test_a_wrong_key_is_refused(address, customers):
    client = connect(address, "rk_none")
    with pytest.raises(AuthError):
        client.run(Stripe.test())
    client.close()


def test_customers_are_created_and_updated_by_email(client, customers):
    fields = {"name": "Žofie & Ada", "address": {"city": "Brno", "line1": "1"}, "metadata": {"plan": "pro", "seats": 3}}
    assert one(client, UPSERT, "email", "a+b@example.com", **fields).outcome is Outcome.CREATED
    (there,) = customers()
    assert (there["email"], there["name"], there["address"]["city"]) == ("a+b@example.com", "Žofie & Ada", "Brno")
    assert there["metadata"] == {"plan": "pro", "seats": "3"}
    changes = {"preferred_locales": ["cs", "en"], "metadata": {"plan": "team"}}
    assert one(client, UPSERT, "email", "a+b@example.com", **changes).outcome is Outcome.UPDATED
    (there,) = customers()
    assert (there["preferred_locales"], there["name"]) == (["cs", "en"], "Žofie & Ada")
    assert there["metadata"] == {"plan": "team", "seats": "3"}


def test_behaviors_keep_to_what_is_there(client, customers):
    assert one(client, UPDATE, "email", "a@example.com", name="x").outcome is Outcome.SKIPPED
    assert customers() == []
    assert one(client, CREATE, "email", "a@example.com", name="Ada").outcome is Outcome.CREATED
    assert one(client, CREATE, "email", "a@example.com", name="Other").outcome is Outcome.SKIPPED
    (there,) = customers()
    assert there["name"] == "Ada"
    assert one(client, UPDATE, "id", there["id"], name="Ada L.").outcome is Outcome.UPDATED
    assert one(client, UPDATE, "id", "cus_nobody", name="x").outcome is Outcome.SKIPPED
    assert one(client, UPSERT, "id", "cus_nobody", name="x").outcome is Outcome.REJECTED
    assert [c["name"] for c in customers()] == ["Ada L."]


def test_several_customers_with_one_address_are_not_touched(client, address, customers):
    for _ in range(2):
        requests.post(f"{address}/v1/customers", {"email": "a@example.com"}, auth=("sk_test_1", ""), timeout=5)
    result = one(client, UPSERT, "email", "a@example.com", name="x")
    assert result.outcome is Outcome.REJECTED
    assert all(c["id"] in result.reason for c in customers())
    assert {c["name"] for c in customers()} == {None}


def test_what_it_refuses_is_rejected_in_its_words(client, customers):
    result = one(client, UPSERT, "email", "a@example.com", tax_exempt="none")
    assert (result.outcome, result.status) == (Outcome.REJECTED, 400)
    assert "tax_exempt" in result.reason
    assert customers() == []


def test_a_run_sends_what_changed(client, customers):
    rows = [(f"user{n}@example.com", {"name": f"Ann {n}", "metadata.seats": n}) for n in range(20)]
    table, store = Table(rows), MemoryStore()

    def run():
        destination = Stripe("customer", UPSERT, "email")
        delta = Watermark("moved")
        sync = Sync(model=table.model, destination=destination, key_column="key", mapping=table.mapping, delta=delta)
        result, failure = run_sync(sync, table, client, store)
        assert failure is None
        return {outcome: n for outcome, n in result.tally.counts.items() if n}

    assert run() == {Outcome.CREATED: 20}
    table.change("user7@example.com", {"name": "Ann", "metadata.seats": 70})
    assert run()[Outcome.UPDATED] == 1
    there = {c["email"]: (c["name"], c["metadata"]) for c in customers()}
    assert len(there) == 20
    assert there["user7@example.com"] == ("Ann", {"seats": "70"})
    table.close()
