"""A changed mapping sends again what it touches, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Snapshot, Watermark
from airflow_provider_census.sync.fields import Constant, SyncAll
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.sync.template import Template
from tests.sync.support import Database, Duck, Lite, Rig, TinyApi, Users

WIDE: dict[str, Any] = {"name": "name", "note": "note", "plan": "plan", "from": Constant("dwh")}
NARROW: dict[str, Any] = {"name": "name", "plan": "plan"}


@pytest.fixture(params=["lite", "duck", "staged in duck", "staged in lite"])
def rig(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Rig:
    """Upserts of users by a snapshot."""
    databases: dict[str, Database] = {"lite": Lite(tmp_path / "lite"), "duck": Duck(tmp_path / "duck")}
    *staged, where = request.param.split(" in ")
    elsewhere = databases[where] if staged else None
    source = next(database for database in databases.values() if database is not elsewhere) if staged else None
    source = source or databases[where]
    source.execute("CREATE TABLE users (id INT, name TEXT, note TEXT, plan TEXT)")
    source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", *[(i, f"n{i}", None, "free") for i in range(20)])
    return Rig(sandbox, source, delta=Snapshot(), snapshot_database=elsewhere, mapping=WIDE)


@pytest.mark.parametrize("behavior", [Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.MIRROR])
def test_a_field_that_is_left_out_sends_nothing_again(rig: Rig, tiny: TinyApi, behavior: Behavior) -> None:
    tiny.records = {str(i): {} for i in range(20)}
    settings: dict[str, Any] = {"behavior": behavior, "mapping": NARROW}
    rig.run(behavior=behavior)
    assert rig.run(**settings, dry_run=True).counts == {}
    assert rig.run(**settings).counts == {}
    assert rig.run(**settings).counts == {}
    rig.source.execute("UPDATE users SET plan = 'pro' WHERE id = 3")
    assert len(rig.run(**settings).json["rejected_sample"]) == 0
    assert tiny.records["3"] == {"name": "n3", "plan": "pro"}
    assert rig.run(**settings).counts == {}


def test_what_changed_in_the_fields_that_are_left_is_sent(rig: Rig, tiny: TinyApi) -> None:
    rig.run()
    rig.source.execute("UPDATE users SET plan = 'pro' WHERE id = 3")
    assert rig.run(mapping=NARROW, dry_run=True).counts == {"upserted": 1}
    assert rig.run(mapping=NARROW).counts == {"upserted": 1}
    assert rig.run(mapping=NARROW).counts == {}


def test_a_change_of_a_column_that_is_no_longer_mapped_sends_nothing_from_then_on(rig: Rig) -> None:
    rig.run()
    rig.run(mapping=NARROW)
    rig.source.execute("UPDATE users SET note = 'new'")
    assert rig.run(mapping=NARROW).counts == {}


@pytest.mark.parametrize(
    "mapping",
    [
        {**NARROW, "note": "plan"},
        {**WIDE, "new": "name"},
        {**NARROW, "new": "name"},
        {**NARROW, "from": Constant("lake")},
        {"name": "name", "plan": Template("{{ plan }}")},
    ],
)
def test_a_field_that_is_new_or_filled_otherwise_sends_everything(rig: Rig, mapping: dict[str, Any]) -> None:
    rig.run()
    assert rig.run(mapping=mapping).counts == {"upserted": 20}
    assert rig.run(mapping=mapping).counts == {}


def test_a_field_that_comes_back_is_sent(rig: Rig, tiny: TinyApi) -> None:
    rig.run()
    rig.run(mapping=NARROW)
    rig.source.execute("UPDATE users SET note = 'new' WHERE id = 1")
    assert rig.run().counts == {"upserted": 20}
    assert tiny.records["1"]["note"] == "new"


def test_left_out_field_by_field_nothing_is_sent_either(rig: Rig) -> None:
    rig.run()
    for fields in (("name", "note", "plan"), ("name", "plan"), ("plan",)):
        assert rig.run(mapping={field: WIDE[field] for field in fields}).counts == {}


def test_what_did_not_arrive_before_is_sent_with_the_fields_that_are_left(rig: Rig, tiny: TinyApi) -> None:
    tiny.refused["5"] = "no"
    rig.run()
    tiny.refused.clear()
    assert rig.run(mapping=NARROW).counts == {"upserted": 1}
    assert tiny.records["5"] == {"name": "n5", "plan": "free"}


def test_a_column_that_left_the_model_with_its_field_sends_everything_and_says_why(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.run()
    caplog.set_level(logging.INFO)
    settings: dict[str, Any] = {"mapping": NARROW, "sql": "SELECT id, name, plan FROM users"}
    assert rig.run(**settings).counts == {"upserted": 20}
    assert "(note)" in caplog.text
    assert rig.run(**settings).counts == {}


def test_every_column_but_one_is_every_column_less_a_field(rig: Rig) -> None:
    rig.run(mapping=SyncAll())
    assert rig.run(mapping=SyncAll(exclude=["note"])).counts == {}


def test_copies_of_a_key_stay_invalid_and_what_was_never_sent_of_them_is_not_taken_for_sent(
    rig: Rig, tiny: TinyApi
) -> None:
    rig.run()
    rig.source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (1, "another", None, "free"))
    assert rig.run(mapping=NARROW).counts == {"invalid": 2}
    rig.source.execute("DELETE FROM users WHERE id = 1 AND name = 'n1'")
    assert rig.run(mapping=NARROW).counts == {"upserted": 1}
    assert tiny.records["1"]["name"] == "another"


@pytest.mark.parametrize("writes", range(6))
def test_a_run_with_a_field_less_that_is_killed_loses_nothing_and_sends_little(
    rig: Rig, tiny: TinyApi, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    rig.run()
    rig.source.execute("UPDATE users SET plan = 'pro' WHERE id = 3")
    database: Database = rig.settings["snapshot_database"] or rig.source
    left = [writes]

    def write(queries: Iterable[Query]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise SystemExit
        type(database).write(database, queries)

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", write)
        with suppress(SystemExit):
            rig.run(mapping=NARROW)
    rig.run(mapping=NARROW)
    assert tiny.records["3"]["plan"] == "pro"
    assert len(rig.sandbox.ledger) <= 5, "two for the first run, the one row at most three times"
    assert rig.run(mapping=NARROW).counts == {}


def test_a_full_refresh_sends_everything_whatever_was_left_out(rig: Rig) -> None:
    rig.run()
    assert rig.run(mapping=NARROW, full_refresh=True).counts == {"upserted": 20}
    assert rig.run(mapping=NARROW).counts == {}


def test_where_the_digests_cannot_be_rewritten_everything_is_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.run()
    database: Database = rig.settings["snapshot_database"] or rig.source

    def write(queries: Iterable[Query]) -> None:
        queries = list(queries)
        if any("census_former" in query.sql and query.sql.startswith("UPDATE") for query in queries):
            raise ConfigError('syntax error at or near "FROM"')  # as SQLite before 3.33 has it
        type(database).write(database, queries)

    monkeypatch.setattr(database, "write", write)
    assert rig.run(mapping=NARROW).counts == {"upserted": 20}
    assert "syntax error" in caplog.text
    assert rig.run(mapping=NARROW).counts == {}


@pytest.mark.parametrize("first", [Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY])
@pytest.mark.parametrize("then", [Behavior.UPDATE_OR_CREATE, Behavior.MIRROR])
def test_a_behavior_that_reaches_more_sends_what_the_last_one_skipped(
    rig: Rig, tiny: TinyApi, first: Behavior, then: Behavior
) -> None:
    tiny.records = {str(i): {"name": "old"} for i in range(5)}
    rig.run(behavior=first)
    assert rig.run(behavior=then).counts == {"upserted": 20}
    assert [tiny.records[str(i)]["name"] for i in range(20)] == [f"n{i}" for i in range(20)]
    assert rig.run(behavior=then).counts == {}
    assert rig.run(behavior=Behavior.UPDATE_ONLY).counts == {}, "it reaches less"


# --- watermark --------------------------------------------------------------------------------------------------------


def test_a_watermark_sends_nothing_again_for_a_field_that_is_left_out(
    sandbox: Sandbox, lite: Lite, users: Users, tiny: TinyApi
) -> None:
    rig = Rig(sandbox, lite, delta=Watermark("t"), mapping={"name": "name", "time": "t", "from": Constant("dwh")})
    users.add(range(30))
    rig.run()
    less = rig.run(mapping={"name": "name", "time": "t"})
    assert less.counts == {"upserted": 1}, "the row at the watermark alone: what was sent of it had a field more"
    assert rig.run(mapping={"name": "name"}).read == 1
    assert rig.run(mapping={"name": "name"}).counts == {"unchanged": 1}
    assert rig.run(mapping={"name": "name", "time": "t"}).counts == {"upserted": 30}, "it was not sent all the while"


@pytest.mark.parametrize("first", [Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.DELETE])
def test_a_watermark_sends_again_what_a_behavior_that_reaches_less_has_skipped(
    sandbox: Sandbox, lite: Lite, users: Users, tiny: TinyApi, first: Behavior
) -> None:
    rig = Rig(sandbox, lite, delta=Watermark("t"))
    users.add(range(30))
    tiny.records = {"1": {"name": "old"}}
    rig.run(behavior=first)
    assert rig.run().counts == {"upserted": 30}
    assert {record["name"] for record in tiny.records.values()} == {"n"}
    assert rig.run(behavior=Behavior.UPDATE_ONLY).read == 1
