"""What happens to syncs on a whole Airflow, when workers die and runs come in any order."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from airflow_provider_census.sandbox.core import Fault, Sandbox
from tests.provider.conftest import Warehouse, lines
from tests.provider.live import Live, LiveDag, wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

DAG_FILE = """
import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_census.operators.shards import sharded_sync
from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Template, Watermark


def tell_pid(context):
    Path(__file__).with_name(f"pid{context['ti'].map_index}").write_text(str(os.getpid()))


SYNC = dict(
    task_id="messages",
    source_conn_id="warehouse",
    sql="SELECT * FROM users",
    destination_conn_id="slack",
    destination_object="#general",
    behavior="append",
    sync_key={"row_id": "id"},
    mapping={"text": Template("{{ id }} is on {{ plan }}")},
    delta=Watermark("moved"),
    retries=1,
    retry_delay=timedelta(seconds=1),
    pre_execute=tell_pid,
)

with DAG("live", schedule=None, params={"dry": False}):
    CensusSyncOperator(**SYNC, dry_run="{{ params.dry }}")

with DAG("sharded", schedule=None):
    sharded_sync(**SYNC, shards=4)
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, census_server: Sandbox, postgres_uri: str) -> Iterator[Live]:
    """One Airflow for all tests: it takes half a minute to start."""
    home = tmp_path_factory.mktemp("live")
    (home / "dags").mkdir()
    (home / "dags" / "live.py").write_text(DAG_FILE)
    with psycopg.connect(postgres_uri, autocommit=True) as server:
        server.execute("CREATE DATABASE live")
    database = postgres_uri.replace("postgresql://", "postgresql+psycopg2://").replace("/postgres?", "/live?")
    assert "/live?" in database
    connections = {
        "WAREHOUSE": {"conn_type": "sqlite", "host": str(home / "warehouse.db")},
        "SLACK": census_server.connection("slack"),
    }
    environment = {f"AIRFLOW_CONN_{name}": json.dumps(parts) for name, parts in connections.items()}
    with closing(Live(home, database=database, at_once=5, **environment)) as airflow:
        yield airflow


@pytest.fixture
def warehouse(airflow: Live) -> Iterator[Warehouse]:
    """The source of all syncs, empty."""
    path = airflow.home / "warehouse.db"
    path.unlink(missing_ok=True)
    with closing(Warehouse(path)) as warehouse:
        yield warehouse


def stored(database: str) -> Iterator[bytes]:
    """Return all that Airflow's tables hold."""
    with psycopg.connect(database) as metadata:
        for (table,) in metadata.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            with metadata.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as rows:
                yield from map(bytes, rows)


def test_nothing_is_lost_or_doubled_when_a_worker_dies_and_runs_come_in_any_order(
    airflow: Live, census_sandbox: Sandbox, warehouse: Warehouse, postgres_uri: str
) -> None:
    slack = census_sandbox["slack"]

    def arrived() -> list[int]:
        return lines(slack.texts("general"))

    def posts() -> int:
        return len(census_sandbox.calls("slack", path="/api/chat.postMessage"))

    warehouse.put(*range(1, 7))
    live = LiveDag(airflow, "live")

    # The worker is killed while the fourth message waits for a refusal; Airflow tries again.
    busy = Fault(api="slack", path="/api/chat.postMessage", after=3, delay_s=20, status=503)
    census_sandbox.inject(busy)
    first = live.trigger(logical_date=dt.datetime.now(dt.UTC))
    wait_until(lambda: posts() == 4, 60)
    os.kill(int((airflow.home / "dags" / "pid-1").read_text()), signal.SIGKILL)
    task = live.wait(first)
    assert task["try_number"] == 2
    assert arrived() == [1, 2, 3, 4, 5, 6]
    assert posts() == 7
    assert live.xcom(first, "return_value")["counts"]["sent"] >= 3
    assert live.xcom(first, "census_state")["watermark"] == {"column": "moved", "value": 6}

    warehouse.put(7)
    undated = live.trigger()
    live.wait(undated)
    assert arrived()[6:] == [7]

    warehouse.put(8)
    rehearsed = live.trigger(dry=True)
    live.wait(rehearsed)
    assert live.xcom(rehearsed, "return_value")["dry_run"] is True
    assert arrived()[7:] == []
    live.wait(live.trigger(logical_date=dt.datetime.now(dt.UTC)))
    assert arrived()[7:] == [8]

    for number, cleared in ((9, first), (10, undated)):
        warehouse.put(number)
        live.clear(cleared)
        live.wait(cleared)
        assert arrived()[number - 1 :] == [number]

    warehouse.put(11)
    live.wait(live.trigger(logical_date=dt.datetime(2025, 1, 1, tzinfo=dt.UTC)))
    assert arrived() == list(range(1, 12))

    token = slack.token.encode()
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".log"]) > 3
    assert [path for path in files if token in path.read_bytes()] == []
    rows = list(stored(postgres_uri.replace("/postgres?", "/live?")))
    assert any(b"census_state" in row for row in rows)
    assert [row for row in rows if token in row] == []

    forms = {form["connection_type"]: form for form in airflow.call("GET", "/ui/connections/hook_meta")}
    assert forms["census_slack"]["standard_fields"]["password"]["title"] == "Bot token or incoming webhook URL"


def test_shards_side_by_side_lose_and_double_nothing_when_one_of_them_is_killed(
    airflow: Live, census_sandbox: Sandbox, warehouse: Warehouse
) -> None:
    slack = census_sandbox["slack"]
    pid = airflow.home / "dags" / "pid1"
    warehouse.put(*range(1, 13))
    sharded = LiveDag(airflow, "sharded", "messages_result")

    run = sharded.trigger()
    # The second shard has five of the twelve rows, and Slack takes one in a second of all shards together.
    wait_until(lambda: pid.exists() and len(slack.texts("general")) >= 3, 120)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    sharded.wait(run)

    mapped = sharded.task(run, "taskInstances/messages/listMapped")["task_instances"]
    shards = {task["map_index"]: task for task in mapped}
    again = [index for index in range(4) if shards[index]["try_number"] > 1]
    assert again == [1], "\n".join(sharded.log(run, "messages", index, 1) for index in again if index != 1)
    assert shards[1]["try_number"] == 2
    assert {task["state"] for task in shards.values()} == {"success"}
    assert [shards[index]["rendered_map_index"] for index in range(4)] == [f"shard {n}/4" for n in range(4)]
    started = [dt.datetime.fromisoformat(shards[index]["start_date"]) for index in (0, 2, 3)]
    ended = [dt.datetime.fromisoformat(shards[index]["end_date"]) for index in (0, 2, 3)]
    assert max(started) < min(ended), "they did not run side by side"
    assert sorted(lines(slack.texts("general"))) == list(range(1, 13))
    result = sharded.xcom(run, "return_value")
    assert result["watermark"]["after"] == 12
    assert result["counts"]["uncertain"] == result["counts"]["rejected"] == 0

    warehouse.put(13)
    second = sharded.trigger()
    sharded.wait(second)
    assert sorted(lines(slack.texts("general"))) == list(range(1, 14))
    assert sharded.xcom(second, "return_value")["counts"]["sent"] == 1
