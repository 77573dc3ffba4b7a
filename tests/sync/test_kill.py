"""Workers that are really killed, at any moment."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync.behavior import Behavior
from tests.sync.support import APPEND, UPSERT, Lite, TinyApi, Users

ROOT = Path(__file__).parents[2]
KILLS = 12
ROWS = 900
MOST_REQUESTS = 16


class Worker:
    """A process that runs a sync when it is told to, and is killed in the middle of it."""

    def __init__(self, process: subprocess.Popen[str], sandbox: Sandbox) -> None:
        self._process = process
        self._sandbox = sandbox
        self._chance = random.Random(7)
        self.killed = 0

    def run(self) -> None:
        self._tell("run")
        assert self._answer() == "done\n"

    def run_killed(self) -> None:
        """Kill it when it has sent a few requests, be the machine fast or slow, or none; at the latest if it ends."""
        last = len(self._sandbox.ledger) + self._chance.randrange(MOST_REQUESTS)
        end = time.monotonic() + 10
        self._tell("kill")
        while len(self._sandbox.ledger) < last and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(self._chance.uniform(0, 0.02))
        self._tell("now")
        self.killed += self._answer() == "killed\n"

    def _tell(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def worker(folder: Path, sandbox: Sandbox, behavior: Behavior, delta: str) -> Iterator[Worker]:
    command = [sys.executable, str(Path(__file__).with_name("kill_me.py"))]
    arguments = [str(folder), sandbox.url("tiny"), behavior.value, delta]
    with subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        yield Worker(process, sandbox)
        assert process.stdin
        process.stdin.close()


def listed(folder: Path) -> set[str]:
    """Return the keys the log lists as uncertain."""
    log = (folder / "log").read_text()
    return {key for line in re.findall(r"rows ended uncertain: (.*)", log) for key in line.split(", ")}


@pytest.mark.parametrize("delta", ["watermark", "snapshot"])
def test_an_append_arrives_once_or_is_listed(
    tmp_path: Path, sandbox: Sandbox, tiny: TinyApi, lite: Lite, users: Users, delta: str
) -> None:
    tiny.slow_s = 0.003
    users.add(range(ROWS))
    with worker(tmp_path, sandbox, APPEND, delta) as sync:
        for _ in range(KILLS):
            sync.run_killed()
        killed = sync.killed
        sync.run()
        sync.run()
    posted = Counter(tiny.posted)
    assert killed > KILLS / 2
    assert max(posted.values()) == 1
    assert listed(tmp_path), "no kill came at a bad moment"
    assert {str(n) for n in range(ROWS)} - set(posted) <= listed(tmp_path)


@pytest.mark.parametrize("delta", ["watermark", "snapshot"])
def test_an_upsert_ends_with_what_the_model_says(
    tmp_path: Path, sandbox: Sandbox, tiny: TinyApi, lite: Lite, users: Users, delta: str
) -> None:
    tiny.slow_s = 0.003
    users.add(range(ROWS))
    with worker(tmp_path, sandbox, UPSERT, delta) as sync:
        for version in range(KILLS):
            changed = f"UPDATE users SET name = 'v{version}', t = {1_000 + version} WHERE id % 7 = {version % 7}"
            users.sql(changed)
            sync.run_killed()
        killed = sync.killed
        sync.run()
    assert killed > KILLS / 2
    assert not listed(tmp_path)
    with lite.connect() as connection:
        model = {str(id): {"name": name} for id, name in connection.execute("SELECT id, name FROM users")}
    assert tiny.records == model
