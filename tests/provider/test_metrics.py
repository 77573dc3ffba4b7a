"""What a run tells the StatsD server of the deployment: a real socket, and Airflow's own client."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.observability.metrics import stats_utils
from airflow.sdk.observability.stats import Stats

from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync import pace
from tests.deployment import Deployment
from tests.provider.conftest import HAS_TASK_STATE_STORE, Warehouse

DagOf = Callable[..., DAG]

# Airflow's client never closes its socket.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class StatsD:
    """A server that keeps what it is sent, with tags as Telegraf writes them."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def received(self) -> list[tuple[str, dict[str, str], str, str]]:
        """Return the metrics of syncs since the last look: name, tags, value and kind."""
        metrics = []
        while True:
            try:
                line = self._socket.recv(65_536).decode()
            except TimeoutError:
                return metrics
            named, _, measured = line.partition(":")
            name, *tags = named.split(",")
            if name.startswith("airflow.census."):
                value, kind = measured.split("|")
                metrics.append((name, dict(tag.split("=", 1) for tag in tags), value, kind))


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsD]:
    """A StatsD server that the deployment sends its metrics to."""
    with closing(StatsD()) as server:
        settings = {"ON": "True", "HOST": "127.0.0.1", "PORT": str(server.port), "INFLUXDB_ENABLED": "True"}
        for name, value in settings.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
        _initialize()
        yield server
    monkeypatch.undo()
    _initialize()


def _initialize() -> None:
    """Read the configuration as the process of a task does when it starts."""
    if HAS_TASK_STATE_STORE:  # Airflow 3.3
        Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    else:
        factory: Callable[..., Any] = stats_utils.get_stats_factory
        initialize: Callable[..., Any] = Stats.initialize
        initialize(factory=factory(Stats))


def test_a_run_counts_its_rows_by_outcome_and_tells_how_long_it_took(
    deployment: Deployment, warehouse: Warehouse, braze: Any, statsd: StatsD, users: DagOf
) -> None:
    warehouse.put(1, 2, 3)
    warehouse.put(4, email="no address {}")
    run = deployment.run(users())
    assert run.state == "failed"  # and what arrived counts all the same
    metrics = statsd.received()

    tags = {
        "dag_id": "test_a_run_counts_its_rows_by_outcome_and_tells_how_long_it_took",
        "task_id": "users",
        "destination": "braze",
        "object": "user",
        "behavior": "update_or_create",
    }
    assert [each[1] for each in metrics] == [tags] * len(metrics)
    counts = {name: int(value) for name, _, value, kind in metrics if kind == "c"}
    expected = {f"airflow.census.rows.{o}": n for o, n in run.result["counts"].items() if n and o != "read"}
    assert counts == {**expected, "airflow.census.requests": run.result["requests"]}
    gauges = {name.removeprefix("airflow.census."): float(value) for name, _, value, kind in metrics if kind == "g"}
    assert gauges == {"rows_per_second": 0, "requests_in_flight": 0, "limit_share": 0, "owed": 1}
    (duration,) = [float(value) for name, _, value, kind in metrics if (name, kind) == ("airflow.census.run", "ms")]
    assert duration / 1_000 == pytest.approx(run.result["seconds"], abs=0.1)


def test_a_long_run_tells_how_it_stands_while_it_is_under_way(
    deployment: Deployment,
    warehouse: Warehouse,
    slack: Any,
    census_sandbox: Sandbox,
    statsd: StatsD,
    messages: DagOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_EVERY_S", 0.5)
    warehouse.put(1, 2, 3, 4)
    census_sandbox.inject(Fault(api="slack", path="/api/chat.postMessage", after=2, status=429, times=1))
    run = deployment.test(messages())
    metrics = statsd.received()

    sent = [int(value) for name, _, value, _ in metrics if name == "airflow.census.rows.sent"]
    assert sum(sent) == run.result["counts"]["sent"] == 4
    assert len(sent) > 2
    assert [value for name, _, value, _ in metrics if name == "airflow.census.retries"] == ["1"]
    rates = [float(value) for name, _, value, _ in metrics if name == "airflow.census.rows_per_second"]
    assert max(rates) > 0
    assert rates[-1] == 0
    # A channel's name has characters that would cost the metric.
    assert {each[1]["object"] for each in metrics} == {"_general"}


def test_a_dry_run_is_no_work_and_counts_nothing(
    deployment: Deployment, warehouse: Warehouse, braze: Any, statsd: StatsD, users: DagOf
) -> None:
    warehouse.put(1, 2, 3)
    deployment.test(users(dry_run=True))
    assert statsd.received() == []


def test_without_a_backend_a_run_tells_nobody(
    deployment: Deployment, warehouse: Warehouse, braze: Any, users: DagOf
) -> None:
    warehouse.put(1)
    assert deployment.test(users()).result["counts"]["upserted"] == 1
