"""drt's own command on a project of one sync to its REST destination, its limit of ten requests a second lifted."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.peers.given import arguments
from bench.work import model

_ROW = (
    '{"external_id": {{ %s.id | string | tojson }}, "email": {{ %s.email | tojson }}, "name": {{ %s.name | tojson }}, '
    '"plan": {{ %s.plan | tojson }}, "mrr": {{ %s.mrr | tojson }}}'
)
_FIELDS = 5


def main() -> None:
    """Write the project and run it."""
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / ".drt").mkdir()
        (home / "syncs").mkdir()
        # JSON is YAML.
        (home / ".drt" / "profiles.yml").write_text(json.dumps({"bench": _profile(given.postgres)}))
        (home / "drt_project.yml").write_text(json.dumps({"name": "bench", "version": "0.1", "profile": "bench"}))
        (home / "syncs" / "users.yml").write_text(json.dumps(_sync(given)))
        drt = Path(sys.executable).with_name("drt")
        subprocess.run([drt, "run", "--quiet"], cwd=home, env={**os.environ, "HOME": folder}, check=True)


def _profile(uri: str) -> dict[str, Any]:
    import psycopg2.extensions

    parts = psycopg2.extensions.parse_dsn(uri)
    return {"type": "postgres", "host": parts["host"], "dbname": parts["dbname"], "user": parts["user"]}


def _sync(given: argparse.Namespace) -> dict[str, Any]:
    if given.batch == 1:
        shape = {"url": f"{given.url}/events", "body_template": _ROW % (("row",) * _FIELDS)}
    else:
        row = _ROW % (("row",) * _FIELDS)
        shape = {
            "url": f"{given.url}/users/track",
            "body_mode": "batch",
            "batch_template": '{"attributes": [{% for row in rows %}'
            + row
            + "{{ ',' if not loop.last }}{% endfor %}]}",
            "max_records_per_request": given.batch,
        }
    return {
        "name": "users",
        "model": model(given.rows),
        "destination": {
            "type": "rest_api",
            "method": "POST",
            "headers": {"Content-Type": "application/json"},
            "rate_limit": {"requests_per_second": 0},
            **shape,
        },
        "sync": {"mode": "full", "batch_size": 100 * given.batch, "on_error": "fail"},
    }


if __name__ == "__main__":
    main()
