"""Sets the stage below ``.demo``, lets the runs happen, and says what came of them."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from airflow_provider_census.sandbox.core import Sandbox
from demo import report
from demo.deployment import Deployment, DeploymentError
from demo.promises import check
from demo.story import STEPS, SYNCS, Run, stage
from example_dags import warehouse

_ROOT = Path(__file__).parents[1]
_HOME = _ROOT / ".demo"
_WAREHOUSE = _HOME / "warehouse.duckdb"
_DAGS = list(dict.fromkeys(dag_id for dag_id, _ in SYNCS.values()))


def main() -> int:
    """Return 0 if every promise was kept."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    started = time.monotonic()
    shutil.rmtree(_HOME, ignore_errors=True)
    _HOME.mkdir()
    size = f"{warehouse.CUSTOMERS:,} customers, {warehouse.EVENTS:,} events"
    with _told(f"warehouse: {size} in DuckDB"), duckdb.connect(str(_WAREHOUSE)) as con:
        warehouse.fill(con)
    with Sandbox() as sandbox:
        stage(sandbox)
        runs = _perform(sandbox)
        with duckdb.connect(str(_WAREHOUSE), read_only=True) as con:
            promises = list(check(runs, con, sandbox))
    _print(runs, promises)
    broken = sum(not kept for _, kept in promises)
    print(f"\n{broken or 'No'} promise{'s' * (broken != 1)} broken; {time.monotonic() - started:.0f} s in all.")
    return 1 if broken else 0


def _perform(sandbox: Sandbox) -> list[Run]:
    # Read-only, so that several tasks can have the file open at once.
    source = {"conn_type": "duckdb", "host": str(_WAREHOUSE), "extra": {"read_only": True}}
    destinations = {f"{name}_prod": sandbox.connection(name) for name in ("intercom", "braze", "slack")}
    airflow = Deployment(_HOME / "airflow", _ROOT / "example_dags", {"warehouse": source, **destinations})
    try:
        with _told("Airflow: scheduler and API server, SQLite below .demo/airflow"):
            airflow.start()
        print(
            f"Airflow {airflow.version()} at {airflow.url}, the APIs' stand-ins at http://{sandbox.host}:{sandbox.port}"
        )
        return [_run(number, title, airflow, sandbox) for number, title in enumerate(STEPS, 1)]
    finally:
        airflow.stop()


def _run(number: int, title: str, airflow: Deployment, sandbox: Sandbox) -> Run:
    with duckdb.connect(str(_WAREHOUSE)) as con:
        touched = STEPS[title](con, sandbox)
    run = Run(number, title, frozenset(str(id) for id in touched))
    seen, started = len(sandbox.ledger), time.monotonic()
    with _told(f"run {number}: {title}"):
        airflow.run(f"run_{number}", _DAGS)
    run.seconds = time.monotonic() - started
    run.calls = sandbox.ledger[seen:]
    for sync, (dag_id, task_id) in SYNCS.items():
        run.states[sync] = airflow.task_state(f"run_{number}", dag_id, task_id)
        run.results[sync] = airflow.return_value(f"run_{number}", dag_id, task_id)
    return run


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what is under way, and how long it took."""
    print(f"{what} …", end="", flush=True)
    started = time.monotonic()
    try:
        yield
        print(f" {time.monotonic() - started:.1f} s")
    except BaseException:
        print()
        raise


def _print(runs: list[Run], promises: list[tuple[str, bool]]) -> None:
    print("\nWhat the tasks returned (XCom return_value):\n")
    print(*report.table(runs), sep="\n")
    print("\nRows that were refused, with the reason the API gave, or that are in doubt:\n")
    print(*report.refusals(runs), sep="\n")
    print("\nWhat was promised, checked against what the stand-ins received and the warehouse says:\n")
    for text, kept in promises:
        print("✓" if kept else "✗", text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DeploymentError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
