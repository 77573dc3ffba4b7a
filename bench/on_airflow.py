"""
One sync by the operator on Airflow, in this process: ``dag.test()``, as a DAG author would run it.

It is the whole way of a task: metadata database, connections, execution API, XCom. What a scheduler and a worker add,
the start of another process and the wait for a slot, is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Run the sync the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destination", choices=("braze", "intercom"), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--postgres", required=True)
    arguments = parser.parse_args()
    os.environ["BENCH_DESTINATION"], os.environ["BENCH_ROWS"] = arguments.destination, arguments.rows

    from bench.syncs import WORKS

    os.environ["AIRFLOW_CONN_BENCH_SOURCE"] = arguments.postgres.replace("postgresql://", "postgres://", 1)
    os.environ["AIRFLOW_CONN_BENCH_DESTINATION"] = json.dumps(
        {"conn_type": arguments.destination, "host": arguments.url, **WORKS[arguments.destination].credentials}
    )
    from bench.dags.bench_sync import dag

    run = dag.test()
    assert run.state == "success", run.state
    task = run.get_task_instance("users")
    assert task is not None
    result = task.xcom_pull("users")
    sys.stdout.write("\n" + json.dumps({name: result[name] for name in ("seconds", "requests", "retries")}) + "\n")


def environment(home: Path) -> dict[str, str]:
    """Return the settings of an Airflow below ``home`` that knows nothing but the sync."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }


if __name__ == "__main__":
    main()
