"""The benchmark works; how fast it is is not for a test to say."""

from __future__ import annotations

import os
import subprocess
import sys


def test_every_scenario_runs_in_a_small_form_and_the_table_tells_rows_and_peak_memory() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bench", "--scale", "0.005"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )

    assert result.returncode == 0, result.stderr
    table = [line.split() for line in result.stdout.splitlines()]
    assert ["memory,", "many", "rows", "5,000"] in [row[:4] for row in table]
    assert "goal: at most 100 MB" in result.stdout
