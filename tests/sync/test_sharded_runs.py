"""A sync in shards does what the same sync does in one piece: side by side, over histories of messy data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, GuardTripped, StateError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.closing import result_of
from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import Constant
from airflow_provider_census.sync.hashing import is_of
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.state import MemoryStore
from tests.sync.support import Database, Duck, Lite, Ran, Rig, TinyApi, Users

MIRROR: dict[str, Any] = {"behavior": Behavior.MIRROR, "delta": Snapshot(), "max_deletes": None, "allow_empty": True}
POSTS: dict[str, Any] = {"object": "post", "behavior": Behavior.APPEND}


class Shards:
    """A rig whose runs are those of shards, one after the other, and of what closes them."""

    def __init__(self, rig: Rig, of: int = 4) -> None:
        self.rig = rig
        self.of = of
        self.stores = [MemoryStore() for _ in range(of)]
        self.ran: list[Ran] = []
        self.closed: Ran | None = None

    def shard(self, index: int, **overrides: Any) -> Ran:
        self.rig.store = self.stores[index]
        return self.rig.run(shard=Shard(index, self.of), **overrides)

    def run(self, **overrides: Any) -> dict[str, Any]:
        """Run all, and return the one result."""
        self.ran = [self.shard(index, **overrides) for index in range(self.of)]
        self.rig.store = MemoryStore()
        self.closed = None
        if self.rig.settings.get("behavior") is Behavior.MIRROR:
            self.closed = self.rig.run(closes=self.of, **overrides)
        whole = result_of([ran.json for ran in self.ran]).to_json()
        if self.closed:
            for name, count in self.closed.json["counts"].items():
                whole["counts"][name] += count
        return whole


@pytest.fixture(scope="module")
def other_server() -> Iterator[Sandbox]:
    with Sandbox([TinyApi]) as sandbox:
        yield sandbox


@pytest.fixture
def other(other_server: Sandbox) -> Sandbox:
    other_server.reset()
    return other_server


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the order of the rows, or on the size of batches."""
    samples = {name: sorted(map(str, result[name])) for name in result if name.endswith("_sample")}
    # Of more than can be shown, those that were met first are shown.
    samples = {name: entries if len(entries) < 20 else [] for name, entries in samples.items()}
    return {"counts": result["counts"], "watermark": result["watermark"], **samples}


class Mess:
    """A table of people, changed at random, the same for two databases."""

    def __init__(self, seed: int, *databases: Database, apis: list[TinyApi]) -> None:
        self.random = random.Random(seed)
        self.databases = databases
        self.apis = apis
        self.rows: list[list[Any]] = []
        self.moment = 0
        for database in databases:
            database.execute("CREATE TABLE users (id TEXT, name TEXT, t INTEGER)")

    def change(self) -> None:
        for _ in range(self.random.randrange(1, 12)):
            self.moment += self.random.randrange(3)
            what = self.random.choice(["add"] * 4 + ["alter", "alter", "respell", "double", "leave", "refuse"])
            getattr(self, what)()
        for database in self.databases:
            database.execute("DELETE FROM users")
            if self.rows:
                database.execute("INSERT INTO users VALUES (?, ?, ?)", *self.rows)

    def add(self) -> None:
        many, few = self.random.randrange(10**6), self.random.randrange(50)
        key = self.random.choice([None, f"User{many}@x.io", f"u{few}@x.io"])
        self.rows.append([key, f"n{self.random.randrange(100)}", self.random.choice([self.moment] * 9 + [None])])

    def alter(self) -> None:
        if self.rows:
            self.random.choice(self.rows)[1:] = [f"n{self.random.randrange(100)}", self.moment]

    def respell(self) -> None:
        row = self.random.choice(self.rows or [[None]])
        if row[0]:
            row[0] = self.random.choice([row[0].swapcase(), f" {row[0]}", f"{row[0]}\t", row[0].strip()])
            row[2] = self.moment

    def double(self) -> None:
        if self.rows:
            key, name, _ = self.random.choice(self.rows)
            self.rows.append([key and self.random.choice([key, key.upper()]), name, self.moment])

    def leave(self) -> None:
        if self.rows:
            self.rows.remove(self.random.choice(self.rows))

    def refuse(self) -> None:
        key = self.random.choice(self.rows or [[None]])[0]
        refused = {key.strip().lower(): "not today"} if key and self.random.random() < 0.7 else {}
        for api in self.apis:
            api.refused = refused


def _syncs() -> dict[str, dict[str, Any]]:
    upsert: dict[str, Any] = {"identifier": "email"}
    return {
        "watermark": {**upsert, "delta": Watermark("t")},
        "watermark with a lag": {**upsert, "delta": Watermark("t", lag=5, on_null="include")},
        "watermark behind a baseline": {**upsert, "delta": Watermark("t", baseline="skip", on_null="exclude")},
        "posts": {**POSTS, "delta": Watermark("t")},
        "full refresh": {**upsert, "delta": FullRefresh()},
        "snapshot": {**upsert, "delta": Snapshot()},
        "snapshot behind a baseline": {**upsert, "delta": Snapshot(baseline="skip")},
        "posts by snapshot": {**POSTS, "delta": Snapshot()},
        "mirror": {**upsert, **MIRROR},
        "mirror behind a baseline": {**upsert, **MIRROR, "delta": Snapshot(baseline="skip")},
    }


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("name", _syncs())
def test_four_shards_do_what_one_sync_does(
    sandbox: Sandbox, other: Sandbox, tmp_path: Path, name: str, elsewhere: bool
) -> None:
    settings = _syncs()[name]
    if elsewhere and not isinstance(settings["delta"], Snapshot):
        pytest.skip("nothing is elsewhere")
    whole_db, parts_db = Lite(tmp_path / "whole.sqlite"), Lite(tmp_path / "parts.sqlite")
    whole = Rig(sandbox, whole_db, **settings)
    parts = Shards(Rig(other, parts_db, **settings))
    if elsewhere:
        whole.settings["snapshot_database"] = Duck(tmp_path / "whole.duckdb")
        parts.rig.settings["snapshot_database"] = Duck(tmp_path / "parts.duckdb")
    apis: list[Any] = [sandbox["tiny"], other["tiny"]]
    mess = Mess(len(name), whole_db, parts_db, apis=apis)

    for _ in range(3 if elsewhere else 8):
        mess.change()
        expected = plain(whole.run(dry_run=True).json)
        # Cut off at the row that was read last, and in shards that is another one.
        assert {**plain(parts.run(dry_run=True)), "watermark": expected["watermark"]} == expected
        assert plain(parts.run()) == plain(whole.run().json)
        assert apis[1].records == apis[0].records
        assert sorted(apis[1].posted) == sorted(apis[0].posted)
    assert plain(parts.run(full_refresh=True)) == plain(whole.run(full_refresh=True).json)
    assert sum(ran.read > 0 for ran in parts.ran) > 1


@pytest.fixture
def mirror(sandbox: Sandbox, lite: Lite, users: Users) -> Shards:
    users.add(range(1, 41))
    return Shards(Rig(sandbox, lite, **{**MIRROR, "max_deletes": 0.1, "allow_empty": False}))


def test_the_guard_of_a_mirror_decides_once_over_the_whole_sync(mirror: Shards, tiny: TinyApi, users: Users) -> None:
    mirror.run()
    users.sql("DELETE FROM users WHERE id <= 5")
    mirror.run()
    assert mirror.closed
    assert "5 of the 40 records" in str(mirror.closed.failure)
    assert isinstance(mirror.closed.failure, GuardTripped)
    assert len(tiny.records) == 40

    users.sql("INSERT INTO users VALUES (5, 'back', 5)")
    # However they are spread over the shards, four of forty are within a tenth.
    assert mirror.run()["counts"]["deleted"] == 4
    assert sorted(map(int, tiny.records)) == list(range(5, 41))


def test_a_model_that_is_empty_in_some_shards_is_not_empty(mirror: Shards, tiny: TinyApi, users: Users) -> None:
    mirror.run()
    users.sql("DELETE FROM users WHERE id > 1")
    mirror.run(max_deletes=None)
    assert sorted(tiny.records) == ["1"]

    users.sql("DELETE FROM users")
    mirror.run(max_deletes=None)
    assert mirror.closed
    assert "the model has no rows" in str(mirror.closed.failure)
    assert sorted(tiny.records) == ["1"]


def test_a_record_whose_new_spelling_is_refused_keeps_its_old_one(sandbox: Sandbox, lite: Lite, tiny: TinyApi) -> None:
    lite.execute("CREATE TABLE users (id TEXT, name TEXT)")
    lite.execute("INSERT INTO users VALUES (?, ?)", *[(f"U{n}@x.io", "n") for n in range(8)])
    shards = Shards(Rig(sandbox, lite, identifier="email", **MIRROR))
    shards.run()
    lite.execute("UPDATE users SET id = lower(id) || char(10), name = 'm'")
    tiny.refused = {f"u{n}@x.io": "not today" for n in range(4)}

    shards.run()

    assert tiny.records == {f"u{n}@x.io": {"name": "n" if n < 4 else "m"} for n in range(8)}


@pytest.mark.parametrize("delta", [Watermark("t"), Snapshot()], ids=["watermark", "snapshot"])
def test_a_shard_that_fails_and_is_tried_again_loses_and_doubles_nothing(
    sandbox: Sandbox, lite: Lite, tiny: TinyApi, users: Users, delta: Any
) -> None:
    users.add(range(1, 101))
    shards = Shards(Rig(sandbox, lite, delta=delta, **POSTS))
    shards.shard(0)
    sandbox.inject(Fault(api="tiny", path="/v1/post/write", after=1, times=1, status=401))
    assert isinstance(shards.shard(1).failure, AuthError)
    sandbox.recover()
    shards.shard(2)
    shards.shard(1)
    shards.shard(3)

    assert sorted(map(int, tiny.posted)) == list(range(1, 101))
    assert shards.run()["counts"]["sent"] == 0


def test_the_watermark_before_a_run_is_one_behind_which_every_shard_has_settled_its_rows(
    sandbox: Sandbox, lite: Lite, users: Users
) -> None:
    users.add(range(1, 101))
    shards = Shards(Rig(sandbox, lite, delta=Watermark("t")))
    sandbox.inject(Fault(api="tiny", path="/v1/record/write", after=1, times=1, status=401))
    assert isinstance(shards.shard(1).failure, AuthError)
    sandbox.recover()
    assert shards.stores[1].load() is not None, "it goes on where it was"
    assert shards.run()["watermark"] == {"column": "t", "before": None, "after": 100}
    assert shards.run()["watermark"] == {"column": "t", "before": 100, "after": 100}


def test_a_killed_shard_leaves_the_others_alone_and_is_continued(
    sandbox: Sandbox, lite: Lite, tiny: TinyApi, users: Users
) -> None:
    users.add(range(1, 101))
    shards = Shards(Rig(sandbox, lite, delta=Watermark("t"), **POSTS))
    shards.rig.store = shards.stores[2]
    shards.rig.run_killed(1, shard=Shard(2, 4))
    whole = shards.run()

    assert sorted({*map(int, tiny.posted)}) == list(range(1, 101))
    # What was under way when it was killed is told, and not sent again.
    assert len(tiny.posted) == 100
    assert whole["counts"]["sent"] + whole["counts"]["uncertain"] + whole["counts"]["unchanged"] >= 90


def test_what_one_shard_has_left_in_doubt_is_no_doubt_of_the_others(sandbox: Sandbox, lite: Lite, users: Users) -> None:
    users.add(range(1, 101))
    shards = Shards(Rig(sandbox, lite, delta=Snapshot(), **POSTS))
    shards.rig.store = shards.stores[2]
    shards.rig.run_killed(1, shard=Shard(2, 4))
    for index in (0, 1, 3):
        shards.shard(index)
    states = [store.load() for store in shards.stores]
    assert [state is not None and state.snapshot_doubts > 0 for state in states] == [False, False, True, False]
    assert shards.shard(2).counts["uncertain"]
    assert (state := shards.stores[2].load()) is not None
    assert state.snapshot_doubts == 0


def test_every_shard_stands_at_the_highest_value_of_the_whole_model(sandbox: Sandbox, lite: Lite, users: Users) -> None:
    users.add([1, 2, 3], t=7)
    users.add([4], t=9)
    shards = Shards(Rig(sandbox, lite, delta=Watermark("t")), of=16)

    assert shards.run()["watermark"] == {"column": "t", "before": None, "after": 9}
    assert {ran.watermark for ran in shards.ran} == {9}
    users.add([5], t=9)
    assert shards.run()["counts"]["upserted"] == 1


@pytest.mark.parametrize(("before", "after"), [(4, 8), (8, 4), (None, 4), (4, None)])
def test_another_number_of_shards_sends_nothing_until_it_is_meant(
    sandbox: Sandbox, lite: Lite, tiny: TinyApi, users: Users, before: int | None, after: int | None
) -> None:
    users.add(range(1, 41))
    rig = Rig(sandbox, lite, delta=Watermark("t"), **POSTS)
    first = rig.store

    def run(of: int | None, **overrides: Any) -> list[Ran]:
        if of is None:
            rig.store = first
            return [rig.run(**overrides)]
        shards = Shards(rig, of)
        shards.stores[0] = first
        shards.run(**overrides)
        return shards.ran

    run(before)
    users.add([41])
    # The others look at the state of the first one: see the operator.
    refused = run(after)[0].failure

    assert isinstance(refused, StateError)
    assert f"was in {before or 1} shard(s), this one is in {after or 1}" in str(refused)
    assert {ran.failure for ran in run(after, full_refresh=True)} == {None}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_shards_that_followed_a_cursor_take_as_sent_what_they_have_sent(
    sandbox: Sandbox, lite: Lite, tiny: TinyApi, users: Users, tmp_path: Path, elsewhere: bool
) -> None:
    users.add(range(1, 41))
    rig = Rig(sandbox, lite, delta=Watermark("t"), **POSTS)
    shards = Shards(rig)
    shards.run()
    if elsewhere:
        rig.settings["snapshot_database"] = Lite(tmp_path / "snapshot.sqlite")
    rig.settings["delta"] = Snapshot(baseline="skip")
    shards.run()
    assert {ran.failure for ran in shards.ran} == {None}
    users.add(range(41, 81))
    assert shards.run()["counts"]["sent"] == 40
    assert sorted(map(int, tiny.posted)) == list(range(1, 81))

    rig.settings["delta"] = Watermark("t", on_missing="now")
    shards.run()
    users.add(range(81, 121))
    shards.run()
    rig.settings["delta"] = Snapshot(baseline="skip")
    shards.run()
    assert {type(ran.failure) for ran in shards.ran} == {StateError}, "the snapshot does not know of the last ones"
    assert sorted(map(int, tiny.posted)) == list(range(1, 121))


def test_a_shard_that_had_no_rows_sends_nothing_again_that_others_have_sent(
    sandbox: Sandbox, lite: Lite, users: Users
) -> None:
    users.add(range(200))
    there = is_of(Shard(2, 4), "CAST(id AS TEXT)", "sqlite")
    sql = f"SELECT * FROM users WHERE {there}"
    rig = Rig(sandbox, lite, delta=Snapshot(), mapping={"source": Constant("dwh")}, sql=sql)
    first = Shards(rig, 4)
    assert first.run()["counts"]["upserted"] > 10
    then = Shards(rig, 2)
    then.stores[0] = first.stores[0]
    assert {name: n for name, n in then.run()["counts"].items() if n} == {}


def test_a_snapshot_does_not_mind_another_number_of_shards(
    sandbox: Sandbox, lite: Lite, tiny: TinyApi, users: Users
) -> None:
    users.add(range(1, 41))
    rig = Rig(sandbox, lite, **MIRROR)
    rig.run()
    users.add([41])
    users.sql("DELETE FROM users WHERE id < 4")

    assert {k: n for k, n in Shards(rig, 3).run()["counts"].items() if n} == {"upserted": 1, "read": 1, "deleted": 3}
    users.sql("DELETE FROM users WHERE id < 6")
    assert {k: n for k, n in Shards(rig, 7).run()["counts"].items() if n} == {"deleted": 2}
    assert sorted(map(int, tiny.records)) == list(range(6, 42))
