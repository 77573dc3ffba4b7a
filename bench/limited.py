"""The sandbox in a process of its own, its limit of Braze lowered to what it can answer."""

from __future__ import annotations

from airflow_provider_census.sandbox.core import Sandbox
from bench.scenarios import LIMITED


def main() -> None:
    """Serve until ended; print the address."""
    sandbox = Sandbox()
    (braze,) = (limited for limited in LIMITED if limited.destination == "braze")
    window = sandbox["braze"].track_window
    window.limit = int(window.limit * braze.share)
    print(f"http://{sandbox.host}:{sandbox.port}", flush=True)
    sandbox.serve()


if __name__ == "__main__":
    main()
