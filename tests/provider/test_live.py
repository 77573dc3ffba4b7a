"""A whole Airflow: scheduler, API server and DAG processor in processes of their own, driven over its REST API."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from airflow_provider_census.sandbox.core import Fault, Sandbox
from tests.provider.conftest import Warehouse, lines

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

DAG_FILE = """
import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Template, Watermark


def tell_pid(context):
    Path(__file__).with_name("pid").write_text(str(os.getpid()))


with DAG("live", schedule=None, params={"dry": False}):
    CensusSyncOperator(
        task_id="messages",
        source_conn_id="warehouse",
        sql="SELECT * FROM users",
        destination_conn_id="slack",
        destination_object="#general",
        behavior="append",
        sync_key={"row_id": "id"},
        mapping={"text": Template("{{ id }} is on {{ plan }}")},
        delta=Watermark("moved"),
        dry_run="{{ params.dry }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
        pre_execute=tell_pid,
    )
"""


class Live:
    """An ``airflow standalone`` and its REST API."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.pid_file = home / "dags" / "pid"
        port, *log_ports = free_ports(4)
        self._url = f"http://127.0.0.1:{port}"
        self._log = (home / "standalone.log").open("wb")
        settings = {
            "HOME": home,
            "_CORE__DAGS_FOLDER": home / "dags",
            "_CORE__UNIT_TEST_MODE": False,
            "_CORE__PARALLELISM": 2,
            "_CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "_CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "_DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "_API__PORT": port,
            "_API__BASE_URL": self._url,
            "_API__WORKERS": 1,
            "_LOGGING__WORKER_LOG_SERVER_PORT": log_ports[0],
            "_LOGGING__TRIGGER_LOG_SERVER_PORT": log_ports[1],
        }
        environment |= {f"AIRFLOW_{name}": str(value) for name, value in settings.items()}
        # It starts its parts by the name of the command.
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["airflow", "standalone"],
            env={**os.environ, **environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def close(self) -> None:
        """End every process of it; nothing of its home is needed any more."""
        members = psutil.Process(self._process.pid).children(recursive=True)
        os.killpg(self._process.pid, signal.SIGKILL)
        for member in members:
            if member.is_running():
                member.kill()
        self._process.wait()
        self._log.close()

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Return what the REST API answers."""
        answer = requests.request(method, f"{self._url}{path}", json=body or None, timeout=10)
        assert answer.ok, answer.text
        return answer.json()

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the API knows the DAG."""

        def known() -> bool:
            try:
                return requests.get(f"{self._url}/api/v2/dags/{dag_id}", timeout=5).ok
            except requests.ConnectionError:
                assert self._process.poll() is None, "airflow standalone has ended"
                return False

        wait_until(known, 120)

    def trigger(self, *, logical_date: dt.datetime | None = None, **conf: Any) -> str:
        """Trigger a run and return its ID."""
        date = logical_date and logical_date.isoformat()
        return str(self.call("POST", "/api/v2/dags/live/dagRuns", logical_date=date, conf=conf)["dag_run_id"])

    def clear(self, run_id: str) -> None:
        """Clear a run."""
        self.call("POST", "/api/v2/dags/live/clearTaskInstances", dag_run_id=run_id, dry_run=False, only_failed=False)

    def wait(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run; return its task."""
        wait_until(lambda: self.task(run_id)["state"] in ("success", "failed"), 120)
        task = self.task(run_id)
        assert task["state"] == "success", task
        return task

    def task(self, run_id: str) -> dict[str, Any]:
        """Return the task of a run."""
        return dict(self.call("GET", f"/api/v2/dags/live/dagRuns/{run_id}/taskInstances/messages"))

    def xcom(self, run_id: str, key: str) -> Any:
        """Return an XCom of a run."""
        path = f"/api/v2/dags/live/dagRuns/{run_id}/taskInstances/messages/xcomEntries/{key}?stringify=false"
        return self.call("GET", path)["value"]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"nothing happened for {seconds} s"
        time.sleep(0.2)


@pytest.fixture
def live(tmp_path: Path, census_sandbox: Sandbox, warehouse: Warehouse) -> Iterator[Live]:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "live.py").write_text(DAG_FILE)
    # The warehouse's connection is in the environment already.
    live = Live(tmp_path, AIRFLOW_CONN_SLACK=json.dumps(census_sandbox.connection("slack")))
    with closing(live):
        yield live


def test_nothing_is_lost_or_doubled_when_a_worker_dies_and_runs_come_in_any_order(
    live: Live, census_sandbox: Sandbox, warehouse: Warehouse
) -> None:
    slack = census_sandbox["slack"]

    def arrived() -> list[int]:
        return lines(slack.texts("general"))

    def posts() -> int:
        return len(census_sandbox.calls("slack", path="/api/chat.postMessage"))

    warehouse.put(*range(1, 7))
    live.wait_for_dag("live")

    # The worker is killed while the fourth message waits for a refusal; Airflow tries again.
    busy = Fault(api="slack", path="/api/chat.postMessage", after=3, delay_s=20, status=503)
    census_sandbox.inject(busy)
    first = live.trigger(logical_date=dt.datetime.now(dt.UTC))
    wait_until(lambda: posts() == 4, 60)
    os.kill(int(live.pid_file.read_text()), signal.SIGKILL)
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
    files = [path for path in live.home.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".log"]) > 3
    assert [path for path in files if token in path.read_bytes()] == []

    forms = {form["connection_type"]: form for form in live.call("GET", "/ui/connections/hook_meta")}
    assert forms["census_slack"]["standard_fields"]["password"]["title"] == "Bot token or incoming webhook URL"
