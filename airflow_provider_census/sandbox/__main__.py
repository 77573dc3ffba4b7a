"""``python -m airflow_provider_census.sandbox --port 8765``: serve all stand-ins until interrupted."""

from __future__ import annotations

import argparse
import json
import shlex

from airflow_provider_census.sandbox.core import Sandbox, names


def main() -> None:
    """Serve in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_census.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    sandbox = Sandbox(port=arguments.port, host=arguments.host)
    print(f"listening on http://{sandbox.host}:{sandbox.port}", flush=True)
    print("connections to it, for the environment of Airflow:", flush=True)
    for name in names():
        print(f"export AIRFLOW_CONN_{name.upper()}={shlex.quote(json.dumps(sandbox.connection(name)))}", flush=True)
    sandbox.serve()


if __name__ == "__main__":
    main()
