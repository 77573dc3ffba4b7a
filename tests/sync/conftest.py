from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from airflow_provider_census.sandbox.core import Sandbox, get
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.values import Behavior
from tests.sync.support import Duck, Listing, Lite, Rig, TinyApi, Users

# The machines of CI are slow and shared; what was found once becomes a test of its own.
settings.register_profile("census", max_examples=60, deadline=None, database=None)
settings.load_profile("census")


@pytest.fixture(scope="session")
def engine_server() -> Iterator[Sandbox]:
    with Sandbox([TinyApi, get("braze"), get("slack"), get("intercom")]) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(engine_server: Sandbox) -> Sandbox:
    engine_server.reset()
    return engine_server


@pytest.fixture
def lite(tmp_path: Path) -> Lite:
    return Lite(tmp_path / "source.sqlite")


@pytest.fixture
def duck(tmp_path: Path) -> Duck:
    return Duck(tmp_path / "source.duckdb")


@pytest.fixture
def users(lite: Lite) -> Users:
    return Users(lite)


@pytest.fixture
def tiny(sandbox: Sandbox) -> TinyApi:
    api: TinyApi = sandbox["tiny"]
    return api


@pytest.fixture
def rig(sandbox: Sandbox, lite: Lite) -> Rig:
    """Upserts of records by the watermark t."""
    return Rig(sandbox, lite, delta=Watermark("t"))


@pytest.fixture
def posts(sandbox: Sandbox, lite: Lite) -> Rig:
    """Appends by the watermark t."""
    settings: dict[str, Any] = {"object": "post", "behavior": Behavior.APPEND}
    return Rig(sandbox, lite, delta=Watermark("t"), **settings)


@pytest.fixture(scope="module")
def listing() -> Iterator[Listing]:
    log, listing = logging.getLogger("airflow_provider_census.sync.run"), Listing()
    log.addHandler(listing)
    yield listing
    log.removeHandler(listing)
