"""An Airflow of its own below one folder: scheduler and API server as processes, steered over the REST API."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

_START_S = 90
_RUN_S = 300
_POLL_S = 0.3
_ENDED = ("success", "failed")


class DeploymentError(Exception):
    """Airflow did not do what it was asked to."""


class Deployment:
    """
    Airflow with SQLite and the LocalExecutor, whose processes this one starts and stops.

    :param home: becomes AIRFLOW_HOME; logs of the processes and tasks are below it.
    :param dags: the folder of DAG files.
    :param connections: by their ids, as Airflow takes them in JSON.
    """

    def __init__(self, home: Path, dags: Path, connections: Mapping[str, Mapping[str, Any]]) -> None:
        self._home = home
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the network has nothing to do with this machine
        self._processes: list[subprocess.Popen[bytes]] = []
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            # Whatever Airflow the shell is set up for is not ours.
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "NO_PROXY": "127.0.0.1,localhost",
            **{f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(parts) for conn_id, parts in connections.items()},
        }

    def start(self) -> None:
        """Make the database and start the processes; :meth:`stop` is the caller's part, however this ends."""
        self._home.mkdir(parents=True)
        self._call("db", "migrate")
        self._start("api-server")
        self._start("scheduler", "--skip-serve-logs")
        self._call("dags", "reserialize")
        self._wait_until_healthy()

    def version(self) -> str:
        """Return the version of Airflow."""
        return str(self._get("/version")["version"])

    def run(self, run_id: str, dag_ids: Sequence[str]) -> dict[str, str]:
        """
        Trigger the DAGs, wait for all, and return how each ended.

        :raises DeploymentError: one did not end in time.
        """
        for dag_id in dag_ids:
            self._request("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None})
        deadline = time.monotonic() + _RUN_S
        while True:
            states = {dag_id: self._get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"] for dag_id in dag_ids}
            if all(state in _ENDED for state in states.values()):
                return states
            self._check_alive()
            if time.monotonic() > deadline:
                raise DeploymentError(f"{run_id} has not ended after {_RUN_S} s: {states}; see {self._home}/logs")
            time.sleep(_POLL_S)

    def task_state(self, run_id: str, dag_id: str, task_id: str) -> str:
        """Return how a task ended."""
        return str(self._get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["state"])

    def return_value(self, run_id: str, dag_id: str, task_id: str) -> dict[str, Any]:
        """Return the XCom ``return_value`` of a task."""
        task = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        value: dict[str, Any] = self._get(f"{task}/xcomEntries/return_value?stringify=false")["value"]
        return value

    def stop(self) -> None:
        """End every process of this Airflow, whatever it is doing: nothing of it is needed again."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave half of them
        for ending, wait_s in ((signal.SIGTERM, 3), (signal.SIGKILL, 1)):
            for pid in self._members():
                with suppress(ProcessLookupError):
                    os.kill(pid, ending)
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(wait_s)

    def _members(self) -> list[int]:
        """Return the processes of the sessions begun here: the tasks have groups of their own, and may lose parents."""
        sessions = {process.pid for process in self._processes}
        found = []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) in sessions:
                    found.append(pid)
        return found

    def _call(self, *arguments: str) -> None:
        process = self._start(*arguments)
        try:
            failed = process.wait(_START_S) != 0
        except subprocess.TimeoutExpired:
            failed = True
        if failed:
            raise DeploymentError(f"airflow {' '.join(arguments)} failed; see {self._log(arguments)}")
        self._processes.remove(process)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log(arguments).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who then stop them in order
            )
        self._processes.append(process)
        return process

    def _log(self, arguments: Sequence[str]) -> Path:
        return self._home / f"{arguments[0]}.log"

    def _check_alive(self) -> None:
        for process in self._processes:
            if process.poll() is not None:
                raise DeploymentError(f"a process of Airflow ended with {process.returncode}; see {self._home}/*.log")

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                health = self._get("/monitor/health")
            except requests.ConnectionError:
                health = {}
            if health.get("scheduler", {}).get("status") == "healthy":
                token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
                self._session.headers["Authorization"] = f"Bearer {token}"
                return
            time.sleep(_POLL_S)
        raise DeploymentError(f"Airflow is not up after {_START_S} s; see {self._home}/*.log")

    def _get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = self._session.request(method, f"{self.url}/api/v2{path}", json=body, timeout=30)
        if not response.ok:
            raise DeploymentError(f"{method} {path}: HTTP {response.status_code} {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
