"""The benchmark works; how fast anything is is not for a test to say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

from bench.peers import Peer
from bench.processes import Failed, ask, stub
from bench.report import Report
from bench.scenarios import LIMITED, THROUGHPUT


@pytest.mark.timeout(300)  # some forty processes
def test_every_scenario_runs_in_a_small_form() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bench", "--scale", "0.005", "--no-peers"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    told = [
        *(scenario.name for scenario in THROUGHPUT),
        *(f"limit on, {limited.destination}" for limited in LIMITED),
        *("memory, many rows", "snapshot, 0.1 % changed", "import of the operator", "parsing the example DAGs"),
    ]
    assert [name for name in told if not any(line.startswith(name) for line in lines)] == []
    assert any(line.split()[5] == "operator" for line in lines if line.startswith("75 a call, 20 ms"))
    assert "Goals missed" in lines


def test_a_goal_is_reached_or_missed_on_the_side_it_is_set() -> None:
    report = Report()

    report.goal("seconds", 1.7, 1.7, " s")
    report.goal("seconds more", 1.8, 1.7, " s")
    report.goal("rows", 800, 800, " rows/s", at_least=True)
    report.goal("fewer rows", 799, 800, " rows/s", at_least=True)

    assert report.reached == ["seconds: 1.70 s (goal: at most 1.7 s)", "rows: 800 rows/s (goal: at least 800 rows/s)"]
    assert [text.partition(":")[0] for text in report.missed] == ["seconds more", "fewer rows"]


def test_the_stub_counts_rows_and_refuses_what_is_above_the_limit_of_a_window() -> None:
    with stub(limit=2, per_s=60) as url:
        ask(f"{url}/users/track", [{"external_id": "1", "email": "a@example.com"}])
        ask(f"{url}/v1/batch", {})
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{url}/v1/batch", {"email": "b@example.com"})
        refused.value.close()
        stats = ask(f"{url}/__stats")

    assert refused.value.code == 429
    assert 0 < int(refused.value.headers["Retry-After"]) <= 60
    assert (stats["requests"], stats["rows"], stats["refused"]) == (3, 1, 1)


def test_the_stub_tells_for_how_long_it_refused() -> None:
    with stub(limit=1, per_s=0.5) as url:
        ask(f"{url}/v1/batch", {})
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(f"{url}/v1/batch", {})
            refused.value.close()
        assert ask(f"{url}/__stats")["refused_s"] == 0
        time.sleep(0.5)
        ask(f"{url}/v1/batch", {})
        assert ask(f"{url}/__stats")["refused_s"] >= 0.5


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    peer = Peer("nobody", "nobody", ("./no-such-folder",))

    with pytest.raises(Failed, match="no-such-folder"):
        peer.send("http://127.0.0.1:9", "postgresql://", 1, 1)
