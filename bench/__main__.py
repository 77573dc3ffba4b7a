"""Measure the engine, the operator, and what a user would pick instead; print one table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import limits, size, startup, throughput
from bench.on_airflow import environment
from bench.processes import postgres, run
from bench.report import Report

PARTS = ("throughput", "limits", "memory", "snapshot", "startup")


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows; small to see that it works")
    parser.add_argument("--no-peers", action="store_true", help="leave out what has to be installed first")
    parser.add_argument("--no-operator", action="store_true", help="leave out what needs a whole Airflow")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    arguments = parser.parse_args()
    scale, parts = arguments.scale, arguments.only or PARTS
    report = Report()
    report.head()
    with tempfile.TemporaryDirectory(prefix="census-bench-") as folder:
        home = Path(folder)
        airflow = environment(home)
        with postgres(home / "postgres") as uri:
            if "throughput" in parts:
                operator = not arguments.no_operator
                if operator:
                    run([sys.executable, "-m", "airflow", "db", "migrate"], **airflow)
                throughput.measure(
                    report, scale=scale, uri=uri, peers=not arguments.no_peers, airflow=airflow if operator else None
                )
            if "limits" in parts:
                limits.measure(report, scale=scale, uri=uri)
            if "memory" in parts:
                size.memory(report, scale=scale, uri=uri)
        if "snapshot" in parts:
            size.snapshot(report, scale=scale, home=home)
        if "startup" in parts:
            startup.measure(report, scale=scale, airflow=airflow)
    report.close(scale)


if __name__ == "__main__":
    main()
