"""What the operator costs whoever parses DAGs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from bench.processes import Took, run
from bench.report import Line, Report

_IMPORT_S = 0.02
_PARSE_S = 1.0
# The best of some: whatever else the machine does only adds to it.
_TIMES = 5

_IMPORT = """
import json, time
from airflow.sdk import DAG, BaseHook, BaseOperator
started = time.perf_counter()
from airflow_provider_census.operators.sync import CensusSyncOperator
print(json.dumps({"seconds": time.perf_counter() - started}))
"""
_PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag(sys.argv[1])
assert bag.dags and not bag.import_errors, bag.import_errors
print(json.dumps({"seconds": time.perf_counter() - started, "dags": len(bag.dags)}))
"""


def measure(report: Report, *, scale: float, airflow: Mapping[str, str]) -> None:
    """Measure the import of the operator and the parsing of all example DAGs."""
    examples = Path(__file__).parent.parent / "example_dags"
    for what, script, goal in (
        ("import of the operator", _IMPORT, _IMPORT_S),
        ("parsing the example DAGs", _PARSE, _PARSE_S),
    ):
        times = _TIMES if scale >= 1 else 1
        took = min((_python(script, examples, airflow) for _ in range(times)), key=lambda one: one.said["seconds"])
        ratio = f"over airflow.sdk, best of {times}"
        if "dags" in took.said:
            ratio = f"{took.said['dags']} DAGs, best of {times}"
        report.add(
            Line(
                scenario=what,
                who="operator",
                process_s=took.seconds,
                run_s=took.said["seconds"],
                cpu_s=took.cpu_s,
                ratio=ratio,
            )
        )
        report.goal(what, took.said["seconds"], goal, " s")


def _python(script: str, examples: Path, airflow: Mapping[str, str]) -> Took:
    return run([sys.executable, "-c", script, str(examples)], **airflow)
