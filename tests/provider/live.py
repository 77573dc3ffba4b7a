"""A whole Airflow: scheduler, API server and DAG processor in processes of their own, driven over its REST API."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests


class Live:
    """
    An ``airflow standalone`` and its REST API.

    :param home: a folder with the folder ``dags``.
    :param database: URI of its metadata.
    :param at_once: tasks it runs at a time.
    """

    def __init__(self, home: Path, *, database: str, at_once: int, **environment: str) -> None:
        self.home = home
        port, *log_ports = free_ports(4)
        self._url = f"http://127.0.0.1:{port}"
        self._log = (home / "standalone.log").open("wb")
        settings = {
            "HOME": home,
            "_CORE__DAGS_FOLDER": home / "dags",
            "_CORE__UNIT_TEST_MODE": False,
            "_CORE__PARALLELISM": at_once,
            "_CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "_CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "_DATABASE__SQL_ALCHEMY_CONN": database,
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
        answer = requests.request(method, f"{self._url}{path}", json=body or None, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the API knows the DAG."""

        def known() -> bool:
            try:
                return requests.get(f"{self._url}/api/v2/dags/{dag_id}", timeout=5).ok
            except (requests.ConnectionError, requests.Timeout):
                assert self._process.poll() is None, "airflow standalone has ended"
                return False

        wait_until(known, 120)


class LiveDag:
    """A DAG of a live Airflow, and its one sync."""

    def __init__(self, airflow: Live, dag_id: str, task_id: str = "messages") -> None:
        self.airflow = airflow
        self._task_id = task_id
        self._path = f"/api/v2/dags/{dag_id}"
        self._logs = airflow.home / "logs" / f"dag_id={dag_id}"
        airflow.wait_for_dag(dag_id)

    def trigger(self, *, logical_date: dt.datetime | None = None, **conf: Any) -> str:
        """Trigger a run and return its ID."""
        date = logical_date and logical_date.isoformat()
        answer = self.airflow.call("POST", f"{self._path}/dagRuns", logical_date=date, conf=conf)
        return str(answer["dag_run_id"])

    def clear(self, run_id: str) -> None:
        """Clear a run."""
        path = f"{self._path}/clearTaskInstances"
        self.airflow.call("POST", path, dag_run_id=run_id, dry_run=False, only_failed=False)

    def wait(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run; return its task."""
        wait_until(lambda: self.task(run_id)["state"] in ("success", "failed"), 120)
        task = self.task(run_id)
        assert task["state"] == "success", task
        return task

    def task(self, run_id: str, path: str = "") -> dict[str, Any]:
        """Return the task of a run, or what the API has at ``path``."""
        path = path or f"taskInstances/{self._task_id}"
        return dict(self.airflow.call("GET", f"{self._path}/dagRuns/{run_id}/{path}"))

    def log(self, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
        """Return what a try of a mapped task has logged."""
        path = f"run_id={run_id}/task_id={task_id}/map_index={map_index}/attempt={try_number}.log"
        return (self._logs / path).read_text()

    def xcom(self, run_id: str, key: str) -> Any:
        """Return an XCom of a run."""
        return self.task(run_id, f"taskInstances/{self._task_id}/xcomEntries/{key}?stringify=false")["value"]


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
        time.sleep(0.5)
