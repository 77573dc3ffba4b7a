"""The state in XCom where Airflow's metadata are in PostgreSQL, which sorts runs without a date first, not last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_the_order_of_runs_matters_as_little_on_postgresql(postgres_uri: str) -> None:
    with psycopg.connect(postgres_uri, autocommit=True) as server:
        server.execute("CREATE DATABASE airflow")
    database = postgres_uri.replace("postgresql://", "postgresql+psycopg2://").replace("/postgres?", "/airflow?")
    assert "/airflow?" in database

    # Airflow connects to one metadata database in a process.
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-k", "TestOrderOfRuns or TestLargeState"]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/provider/test_state_in_xcom.py"],
        cwd=ROOT,
        env=os.environ | {"CENSUS_TEST_METADATA_DB": database},
        capture_output=True,
        text=True,
        timeout=220,
    )

    assert tests.returncode == 0, tests.stdout[-5000:]
    with psycopg.connect(postgres_uri.replace("/postgres?", "/airflow?")) as metadata:
        assert metadata.execute("SELECT count(*) FROM xcom WHERE key = 'census_state'").fetchone() > (10,)
        spilled = "SELECT max(length(value::text)) FROM xcom WHERE value ? 'spilled'"
        ((longest,),) = metadata.execute(spilled).fetchall()
        assert 0 < longest < 48 * 1024
