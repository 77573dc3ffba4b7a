"""A sync that goes elsewhere, knows its records by something else, or has lost what it knew of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, StateError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Snapshot, Watermark
from airflow_provider_census.sync.state import State
from airflow_provider_census.transport.message import Endpoint
from tests.sync.support import APPEND, SEND, Database, Rig, Tiny, TinyApi, Users

MIRROR = Behavior.MIRROR
POSTS: dict[str, Any] = {"object": "post", "behavior": APPEND}
BY_EMAIL: dict[str, Any] = {"identifier": "email", "key": "email"}


class Elsewhere(Tiny):
    """The same, with another account behind the same host."""

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        return f"{super().place(endpoint, constants)}, account 2"


@pytest.fixture(params=["beside", "staged"])
def snapshot(request: pytest.FixtureRequest, sandbox: Sandbox, lite: Database) -> Rig:
    """A mirror of users that have an id and an e-mail address."""
    lite.execute("CREATE TABLE users (id INT, email TEXT, name TEXT)")
    lite.execute("INSERT INTO users VALUES (?, ?, ?)", *[(i, f"u{i}@x", f"n{i}") for i in range(20)])
    elsewhere = request.getfixturevalue("duck") if request.param == "staged" else None
    return Rig(sandbox, lite, delta=Snapshot(), behavior=MIRROR, max_deletes=None, snapshot_database=elsewhere)


def tables(rig: Rig) -> list[str]:
    """The names of the snapshot's tables."""
    database: Database = rig.settings["snapshot_database"] or rig.source
    catalog = "sqlite_master" if database.dialect == "sqlite" else "duckdb_tables()"
    column = "name" if database.dialect == "sqlite" else "table_name"
    rows = database.connect().execute(f"SELECT {column} FROM {catalog} WHERE {column} LIKE 'census%'").fetchall()
    return sorted(name for (name,) in rows if not name.startswith("sqlite_"))


def table(rig: Rig) -> str:
    """The name of the one table that has the records."""
    (name,) = [name for name in tables(rig) if not name.endswith(("_doubts", "_stage"))]
    return name


def edit(rig: Rig, statement: str) -> None:
    (rig.settings["snapshot_database"] or rig.source).execute(statement)


# --- snapshot: elsewhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["identifier", "place"])
def test_elsewhere_a_mirror_deletes_nothing_it_has_sent_before_and_sends_everything(
    snapshot: Rig, tiny: TinyApi, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot.run()
    (old,) = (table(snapshot),)
    tiny.records = {"0": {"name": "of somebody else there"}, "u0@x": {"name": "of somebody else there"}}
    snapshot.source.execute("DELETE FROM users WHERE id = 0")
    if how == "place":
        snapshot.destination = Elsewhere
    settings = BY_EMAIL if how == "identifier" else {}

    assert snapshot.run(**settings).counts == {"upserted": 19}

    assert set(tiny.records) >= {"0", "u0@x"}
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    there = "tiny/record by email at 127.0.0.1" if how == "identifier" else "by id at 127.0.0.1, account 2"
    for words in ("tiny/record by id at 127.0.0.1,", there, "a first run", f"Table {old} stays behind", f"{old}_*"):
        assert words in warning
    assert snapshot.run(**settings).counts == {}
    snapshot.source.execute("DELETE FROM users WHERE id = 1")
    assert snapshot.run(**settings).counts == {"deleted": 1}


def test_elsewhere_the_baseline_decides_again(snapshot: Rig, tiny: TinyApi) -> None:
    snapshot.run()
    snapshot.destination = Elsewhere
    tiny.records.clear()
    assert snapshot.run(delta=Snapshot(baseline="skip")).counts == {}
    assert tiny.records == {}


def test_back_again_everything_is_sent_and_what_was_sent_there_is_still_known(snapshot: Rig, tiny: TinyApi) -> None:
    snapshot.run()
    snapshot.run(**BY_EMAIL)
    snapshot.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    snapshot.run(**BY_EMAIL)
    snapshot.source.execute("UPDATE users SET name = 'n1' WHERE id = 1")
    tiny.records["1"] = {"name": "new"}  # the two identifiers are of one record
    snapshot.source.execute("DELETE FROM users WHERE id = 0")

    assert snapshot.run(dry_run=True).counts == {"upserted": 19, "deleted": 1}
    assert snapshot.run().counts == {"upserted": 19, "deleted": 1}

    assert tiny.records["1"] == {"name": "n1"}
    assert snapshot.run().counts == {}


def test_killed_on_the_way_back_what_was_not_sent_yet_is_sent_then(snapshot: Rig, tiny: TinyApi) -> None:
    snapshot.run()
    snapshot.run(**BY_EMAIL)
    tiny.records = {id: {"name": "of nobody knows when"} for id in tiny.records}
    snapshot.run_killed(1)
    snapshot.run()
    assert {tiny.records[str(i)]["name"] for i in range(20)} == {f"n{i}" for i in range(20)}


def test_what_another_delta_has_sent_meanwhile_is_not_taken_for_settled(snapshot: Rig, tiny: TinyApi) -> None:
    settings: dict[str, Any] = {"behavior": Behavior.UPDATE_OR_CREATE}
    snapshot.run(**settings)
    snapshot.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    snapshot.run(**settings, delta=Watermark("id"))
    snapshot.source.execute("UPDATE users SET name = 'n1' WHERE id = 1")
    assert snapshot.run(**settings).counts == {"upserted": 20}
    assert tiny.records["1"] == {"name": "n1"}


@pytest.mark.parametrize("behavior", [APPEND, SEND])
def test_what_would_be_added_again_elsewhere_is_not_unless_it_is_meant(
    snapshot: Rig, tiny: TinyApi, behavior: Behavior
) -> None:
    settings: dict[str, Any] = {"object": "post", "behavior": behavior}
    snapshot.run(**settings)
    snapshot.destination = Elsewhere
    for dry in (True, False):
        ran = snapshot.run(**settings, dry_run=dry)
        assert isinstance(ran.failure, StateError)
        assert "full_refresh=True" in str(ran.failure)
    assert len(tiny.posts) == 20
    assert snapshot.run(**settings, full_refresh=True).counts == {"sent": 20}
    assert snapshot.run(**settings).counts == {}
    snapshot.destination = Tiny
    assert snapshot.run(**settings).counts == {}, "what was added there is known there"


# --- snapshot: lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["DROP TABLE", "DELETE FROM"])
def test_nothing_is_added_again_when_the_snapshot_is_lost(snapshot: Rig, tiny: TinyApi, how: str) -> None:
    snapshot.run(**POSTS)
    edit(snapshot, f"{how} {table(snapshot)}")
    for dry in (True, False, False):
        ran = snapshot.run(**POSTS, dry_run=dry)
        assert isinstance(ran.failure, StateError)
        assert "full_refresh=True" in str(ran.failure)
        assert "CensusStateOperator" in str(ran.failure)
    assert len(tiny.posts) == 20
    assert snapshot.run(**POSTS, full_refresh=True).counts == {"sent": 20}
    assert snapshot.run(**POSTS).counts == {}


def test_without_its_snapshot_a_mirror_is_in_its_first_run_and_says_so(
    snapshot: Rig, tiny: TinyApi, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot.run()
    edit(snapshot, f"DROP TABLE {table(snapshot)}")
    snapshot.source.execute("DELETE FROM users WHERE id = 0")
    assert snapshot.run(dry_run=True).counts == {"upserted": 19}
    assert snapshot.run().counts == {"upserted": 19}
    assert "0" in tiny.records
    assert "gone or empty" in caplog.text
    assert snapshot.run().counts == {}


def test_without_its_snapshot_the_baseline_decides(snapshot: Rig, tiny: TinyApi) -> None:
    snapshot.run()
    edit(snapshot, f"DROP TABLE {table(snapshot)}")
    snapshot.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    assert snapshot.run(delta=Snapshot(baseline="skip")).counts == {}
    assert tiny.records["1"] == {"name": "n1"}


def test_a_snapshot_that_never_was_is_not_lost(snapshot: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    assert snapshot.run(**POSTS, dry_run=True).counts == {"sent": 20}
    sandbox.inject(Fault(api="tiny", times=100, status=401))
    assert isinstance(snapshot.run(**POSTS).failure, AuthError)
    sandbox.recover()
    assert snapshot.run(**POSTS).counts == {"sent": 20}


def test_a_snapshot_that_a_mirror_has_emptied_is_not_lost(snapshot: Rig, caplog: pytest.LogCaptureFixture) -> None:
    snapshot.run()
    snapshot.source.execute("DELETE FROM users")
    assert snapshot.run(allow_empty=True).counts == {"deleted": 20}
    snapshot.source.execute("INSERT INTO users VALUES (1, 'u1@x', 'n1')")
    assert snapshot.run(delta=Snapshot(baseline="skip")).counts == {"upserted": 1}
    assert "gone" not in caplog.text


def test_a_baseline_of_nothing_is_not_lost(snapshot: Rig) -> None:
    snapshot.source.execute("DELETE FROM users")
    assert snapshot.run(**POSTS, delta=Snapshot(baseline="skip")).counts == {}
    snapshot.source.execute("INSERT INTO users VALUES (1, 'u1@x', 'n1')")
    assert snapshot.run(**POSTS, delta=Snapshot(baseline="skip")).counts == {"sent": 1}


def test_what_a_killed_first_run_has_sent_is_known_although_it_left_no_state(snapshot: Rig, tiny: TinyApi) -> None:
    snapshot.run_killed(1)
    assert snapshot.store.load() is None
    assert tiny.records
    assert snapshot.run().failure is None
    assert set(tiny.records) == {str(i) for i in range(20)}


# --- watermark --------------------------------------------------------------------------------------------------------


def test_elsewhere_the_watermark_of_before_is_of_no_use(
    rig: Rig, users: Users, tiny: TinyApi, caplog: pytest.LogCaptureFixture
) -> None:
    users.add(range(30))
    rig.run()
    tiny.records.clear()
    rig.destination = Elsewhere
    assert rig.run().counts == {"upserted": 30}
    assert "wrote to tiny/record by id at 127.0.0.1, this one writes to tiny/record by id at 127.0.0.1, account 2" in (
        caplog.text
    )
    assert rig.run().counts == {"unchanged": 1}
    assert rig.run(identifier="email").counts == {"upserted": 30}


def test_elsewhere_the_baseline_of_a_watermark_decides_again(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(30))
    rig.run()
    rig.destination = Elsewhere
    assert rig.run(delta=Watermark("t", baseline="skip", on_missing="fail")).counts == {"skipped": 1}


def test_another_object_is_another_target(rig: Rig, users: Users) -> None:
    users.add(range(30))
    rig.run()
    settings: dict[str, Any] = {"object": "order", "mapping": {"status": "name", "total": "t"}}
    assert rig.run(**settings).counts == {"upserted": 30}


def test_a_watermark_adds_nothing_elsewhere_unless_it_is_meant(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(30))
    posts.run()
    posts.destination = Elsewhere
    ran = posts.run()
    assert isinstance(ran.failure, StateError)
    assert "account 2" in str(ran.failure)
    assert len(tiny.posts) == 30
    assert posts.run(full_refresh=True).counts == {"sent": 30}
    assert posts.run().counts == {"unchanged": 1}


def test_another_key_or_another_port_is_no_other_place(rig: Rig, users: Users) -> None:
    users.add([1])
    rig.run()
    before = State.from_json(rig.store.value)
    endpoint = Endpoint("http://127.0.0.1:1/v1", {"Authorization": "Bearer other"}, ("other",))
    target = Tiny("record", Behavior.UPDATE_OR_CREATE).target(endpoint, {})
    assert replace(before, target=target) == before


def test_a_secret_in_a_place_stays_out_of_the_state() -> None:
    endpoint = Endpoint("https://s3cret.example.com", {}, ("s3cret",))
    assert Tiny("record", Behavior.UPDATE_OR_CREATE).target(endpoint, {}) == "tiny/record by id at ***.example.com"


# --- another delta ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [Snapshot(), Watermark("id")])
def test_what_was_added_by_a_cursor_is_not_added_again_by_another_delta(
    posts: Rig, users: Users, tiny: TinyApi, delta: Snapshot | Watermark
) -> None:
    users.add(range(5))
    posts.run()
    for dry in (True, False, False):
        ran = posts.run(delta=delta, dry_run=dry)
        assert isinstance(ran.failure, StateError)
        assert "full_refresh=True" in str(ran.failure)
    assert len(tiny.posts) == 5
    assert posts.run(delta=delta, full_refresh=True).counts == {"sent": 5}
    users.add([5])
    assert posts.run(delta=delta).counts["sent"] == 1


@pytest.mark.parametrize("delta", [Snapshot(baseline="skip"), Watermark("id", on_missing="now")])
def test_what_was_added_by_a_cursor_may_be_taken_as_settled_by_another_delta(
    posts: Rig, users: Users, tiny: TinyApi, caplog: pytest.LogCaptureFixture, delta: Snapshot | Watermark
) -> None:
    users.add(range(5))
    tiny.refused = {"3": "no"}
    posts.run()
    tiny.refused.clear()
    assert posts.run(delta=delta).failure is None
    assert "1 rows are owed" in caplog.text
    users.add([5])
    assert posts.run(delta=delta).counts["sent"] == 1
    assert sorted(tiny.posted) == ["0", "1", "2", "4", "5"]


def test_what_was_added_by_a_snapshot_is_not_added_again_by_a_cursor(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(5))
    posts.run(delta=Snapshot())
    assert isinstance(posts.run().failure, StateError)
    users.add([5])
    now = Watermark("t", on_missing="now")
    posts.run(delta=now)
    users.add([6])
    posts.run(delta=now)
    assert isinstance(posts.run(delta=Snapshot(baseline="skip")).failure, StateError), "it does not know of 6"
    assert sorted(tiny.posted) == ["0", "1", "2", "3", "4", "6"]


def test_a_cursor_that_has_added_nothing_yet_leaves_another_delta_to_begin(posts: Rig, users: Users) -> None:
    posts.run()
    users.add(range(5))
    assert posts.run(delta=Snapshot()).counts == {"sent": 5}
