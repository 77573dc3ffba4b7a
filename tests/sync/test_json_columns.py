"""JSON columns of a database that gives them as text, on their way into the APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync import Column, Snapshot, SyncAll, Watermark
from tests.sync.support import APPEND, Duck, Lite, Rig

BLOCKS = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "Deal won by <!channel>"}},
    {"type": "divider"},
]
HOME = {"city": "Bern", "rooms": 3, "rent": 1990.5, "tags": ["a", "b"]}


@pytest.fixture(params=["duckdb", "sqlite"])
def source(request: pytest.FixtureRequest, duck: Duck, lite: Lite) -> Any:
    """A source with a column of JSON; its driver gives text."""
    source, kind = {"duckdb": (duck, "JSON"), "sqlite": (lite, "TEXT")}[request.param]
    source.execute(f"CREATE TABLE users (id INTEGER, name TEXT, t INTEGER, doc {kind})")
    return source


def put(source: Any, *docs: Any) -> None:
    source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", *[(n, "{}", n, doc) for n, doc in enumerate(docs, 1)])


def test_blocks_of_slack_come_from_a_column(sandbox: Sandbox, source: Any) -> None:
    put(source, json.dumps(BLOCKS), '"no list"')
    slack = Rig(sandbox, source, destinations.get("slack"), delta=Watermark("t"))
    mapping = {"text": "name", "blocks": Column("doc", json=True)}

    ran = slack.run(object="#general", behavior=APPEND, mapping=mapping)

    assert ran.counts == {"sent": 1, "invalid": 1}
    (call,) = sandbox.calls("slack", "POST", "/api/chat.postMessage")
    assert call.json["text"] == "{}"
    assert call.json["blocks"][0]["text"]["text"] == "Deal won by &lt;!channel&gt;"
    assert call.json["blocks"][1] == {"type": "divider"}


@pytest.mark.parametrize("mapping", [{"home": Column("doc", json=True)}, SyncAll(exclude=["t", "name"], json=["doc"])])
def test_a_nested_attribute_of_braze_is_an_object(sandbox: Sandbox, source: Any, mapping: Any) -> None:
    put(source, json.dumps(HOME), None, "null")
    braze = Rig(sandbox, source, destinations.get("braze"), delta=Snapshot(), object="user", identifier="external_id")

    first, second = (braze.run(mapping=mapping) for _ in range(2))

    assert first.counts == {"upserted": 3}
    assert second.read == 0
    field = "doc" if isinstance(mapping, SyncAll) else "home"
    sent = {user["external_id"]: user[field] for user in sandbox.calls("braze")[-1].json["attributes"]}
    assert sent == {"1": HOME, "2": None, "3": None}
