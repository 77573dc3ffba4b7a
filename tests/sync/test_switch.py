"""A sync whose behavior becomes another one, on the state of the last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_census.errors import StateError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Delta, Snapshot, Watermark
from tests.sync.support import APPEND, DELETE, SEND, UPSERT, Database, Lite, Rig, Tiny, TinyApi, Users

UPDATE, CREATE, MIRROR = Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.MIRROR
THEIRS = {"name": "theirs"}
WATERMARK, SNAPSHOT, STAGED = "watermark", "snapshot", "staged snapshot"
REFUSED = "the run stops before the first row"

# What is sent of four rows, of which the destination had 1 and 2. By the watermark the row at it is read again.
ALL: dict[Behavior, dict[str, int]] = {
    UPSERT: {"upserted": 4},
    MIRROR: {"upserted": 4},
    UPDATE: {"updated": 4},
    DELETE: {"deleted": 4},
}
PAIRS: dict[Behavior, dict[Behavior, Any]] = {
    UPSERT: {MIRROR: {}, UPDATE: {}, CREATE: {}, DELETE: ALL, APPEND: REFUSED, SEND: REFUSED},
    MIRROR: {UPSERT: {}, UPDATE: {}, CREATE: {}, DELETE: ALL, APPEND: REFUSED, SEND: REFUSED},
    # The two that were skipped are created; a watermark does not know which they were.
    UPDATE: {
        **{UPSERT: ALL, MIRROR: ALL, DELETE: ALL, APPEND: REFUSED, SEND: REFUSED},
        CREATE: {WATERMARK: {"created": 2, "skipped": 2}, SNAPSHOT: {"created": 2}},
    },
    CREATE: {UPSERT: ALL, MIRROR: ALL, UPDATE: ALL, DELETE: ALL, APPEND: REFUSED, SEND: REFUSED},
    DELETE: {
        **{UPSERT: ALL, MIRROR: ALL, CREATE: {"created": 4}, UPDATE: {"skipped": 4}},
        **{APPEND: REFUSED, SEND: REFUSED},
    },
    # What was added stands there; a watermark does not know whether it can be found by its identifier.
    APPEND: {
        **{UPSERT: ALL, MIRROR: ALL, UPDATE: ALL, DELETE: ALL, SEND: {}},
        CREATE: {WATERMARK: {"skipped": 4}, SNAPSHOT: {}},
    },
    SEND: {
        **{UPSERT: ALL, MIRROR: ALL, UPDATE: ALL, DELETE: ALL, APPEND: {}},
        CREATE: {WATERMARK: {"skipped": 4}, SNAPSHOT: {}},
    },
}
DELTAS: dict[str, Delta] = {WATERMARK: Watermark("t"), SNAPSHOT: Snapshot(), STAGED: Snapshot()}


class Anything(Tiny):
    """A destination whose records take every behavior."""

    objects = (replace(Tiny.objects[0], behaviors=tuple(Behavior)), *Tiny.objects[1:])


class Once(Anything):
    """The same, where nothing may be sent twice."""

    concurrency = 1

    def repeatable(self, operation: Any) -> bool:
        return False


def rows() -> list[tuple[Behavior, Behavior, str]]:
    return [
        (first, then, name)
        for first, others in PAIRS.items()
        for then in others
        for name in DELTAS
        if name != WATERMARK or MIRROR not in (first, then)
    ]


def expected(first: Behavior, then: Behavior, name: str) -> Any:
    counts = PAIRS[first][then]
    if counts is ALL:
        return ALL[then]
    return counts if counts == REFUSED else counts.get(WATERMARK if name == WATERMARK else SNAPSHOT, counts)


@pytest.fixture(params=[WATERMARK, SNAPSHOT, STAGED])
def name(request: pytest.FixtureRequest) -> str:
    """Of the delta."""
    return str(request.param)


@pytest.fixture
def sync(sandbox: Sandbox, lite: Lite, users: Users, tiny: TinyApi, name: str, tmp_path: Path) -> Rig:
    """A sync of the users 1 to 4; the destination has 1, 2 and 9."""
    users.add([1, 2, 3, 4])
    tiny.records = {id: dict(THEIRS) for id in ("1", "2", "9")}
    elsewhere = Lite(tmp_path / "elsewhere.sqlite") if name == STAGED else None
    return Rig(sandbox, lite, Anything, delta=DELTAS[name], snapshot_database=elsewhere, max_deletes=None)


def counts(rig: Rig, behavior: Behavior, **overrides: Any) -> dict[str, int]:
    ran = rig.run(behavior=behavior, **overrides)
    assert ran.failure is None
    return {outcome: n for outcome, n in ran.counts.items() if outcome != "unchanged"}


def table(rig: Rig) -> tuple[Database, str]:
    database: Database = rig.settings["snapshot_database"] or rig.source
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'census_test_%'"
    (name,) = [n for (n,) in database.connect().execute(query).fetchall() if not n.endswith(("_doubts", "_stage"))]
    return database, name


@pytest.mark.parametrize(("first", "then", "name"), rows())
def test_the_next_behavior_does_to_each_row_what_the_last_one_has_left_to_do(
    sync: Rig, tiny: TinyApi, first: Behavior, then: Behavior, name: str
) -> None:
    counts(sync, first)
    before = dict(tiny.records)
    wanted = expected(first, then, name)
    if wanted == REFUSED:
        for dry in (True, False, False):
            ran = sync.run(behavior=then, dry_run=dry)
            assert isinstance(ran.failure, StateError)
            assert "wrote to records or deleted them" in str(ran.failure)
            assert "full_refresh=True" in str(ran.failure)
        assert tiny.records == before
        wanted = {"sent": 4}
        assert counts(sync, then, full_refresh=True) == wanted
    else:
        sends = {outcome for outcome, n in counts(sync, then, dry_run=True).items() if n}
        assert bool(sends) == bool(wanted)
        assert counts(sync, then) == wanted
    assert counts(sync, then) == {}

    there = {id: record["name"] for id, record in tiny.records.items()}
    assert there.pop("9") == "theirs", "what was never in the model is not touched"
    match then:
        case Behavior.DELETE:
            assert there == {}
        case Behavior.UPDATE_ONLY:
            assert there == {id: "n" for id in before if id != "9"}
        case Behavior.CREATE_ONLY:
            assert there.keys() == {"1", "2", "3", "4"}
        case _:
            assert there == dict.fromkeys(("1", "2", "3", "4"), "n")


@pytest.mark.parametrize("back", [UPSERT, UPDATE, CREATE])
def test_what_a_list_of_deletions_has_deleted_is_written_again_and_deleted_again(
    sync: Rig, tiny: TinyApi, back: Behavior
) -> None:
    written = {UPSERT: {"upserted": 4}, UPDATE: {"skipped": 4}, CREATE: {"created": 4}}[back]
    for _ in range(2):
        counts(sync, UPSERT)
        assert counts(sync, DELETE) == {"deleted": 4}
        assert counts(sync, back) == written
        assert counts(sync, DELETE) == {"deleted": 4}
    assert tiny.records == {"9": THEIRS}


def test_rows_that_came_and_changed_meanwhile_are_sent_by_what_the_behavior_does_with_them(
    sync: Rig, users: Users, tiny: TinyApi, name: str
) -> None:
    counts(sync, UPSERT)
    users.sql("UPDATE users SET name = 'changed', t = 10 WHERE id = 1")
    users.add([5], t=11)
    assert counts(sync, CREATE) == {"created": 1} | ({"skipped": 1} if name == WATERMARK else {})
    assert tiny.records["1"]["name"] == "n"
    # A snapshot knows what arrived in which form; what was created counts as known in none.
    assert counts(sync, UPSERT) == {"upserted": 5 if name == WATERMARK else 2}
    assert tiny.records["1"]["name"] == "changed"


def test_what_was_rejected_is_tried_by_the_next_behavior(sync: Rig, tiny: TinyApi) -> None:
    tiny.whole, tiny.refused = False, {"3": "no", "4": "no"}
    counts(sync, UPSERT)
    tiny.refused.clear()
    assert counts(sync, CREATE) == {"created": 2}


@pytest.mark.parametrize(("first", "then"), [(UPSERT, DELETE), (DELETE, UPSERT), (DELETE, CREATE), (CREATE, DELETE)])
def test_cut_short_the_run_after_it_does_the_rest(
    sync: Rig, users: Users, sandbox: Sandbox, tiny: TinyApi, first: Behavior, then: Behavior
) -> None:
    users.add(range(5, 100))
    counts(sync, first)
    sandbox.inject(Fault(api="tiny", after=3, times=99, status=401))
    assert sync.run(behavior=then).failure is not None
    sandbox.recover()
    counts(sync, then)
    assert len(tiny.records) == (0 if then is DELETE else 99)


@pytest.mark.parametrize(("first", "then"), [(UPSERT, DELETE), (DELETE, UPSERT), (DELETE, CREATE), (CREATE, DELETE)])
@pytest.mark.parametrize("requests", [1, 2, 5])
def test_killed_it_leaves_nothing_settled_that_is_not_for_whichever_comes_next(
    sync: Rig, users: Users, tiny: TinyApi, first: Behavior, then: Behavior, requests: int
) -> None:
    users.add(range(5, 100))
    for behavior, next_one in ((then, first), (first, then)):
        counts(sync, next_one)
        sync.run_killed(requests, behavior=behavior)
        counts(sync, next_one)
        assert len(tiny.records) == (0 if next_one is DELETE else 99)


# --- another place ----------------------------------------------------------------------------------------------------


def test_to_add_again_where_rows_were_added_says_what_stands_against_it_and_what_to_do(
    sync: Rig, users: Users, tiny: TinyApi, name: str
) -> None:
    """What was done there in between is not known: perhaps they were deleted."""
    counts(sync, APPEND)
    counts(sync, UPSERT, identifier="email")
    users.add([5])
    before = dict(tiny.records)
    failure = str(sync.run(behavior=APPEND).failure)
    assert "tiny/record by email" in failure, "where the last run wrote"
    assert "full_refresh=True" in failure
    assert "another sync_id" in failure
    assert tiny.records == before
    assert counts(sync, APPEND, full_refresh=True) == {"sent": 5}
    assert counts(sync, APPEND) == {}


# --- mirror -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SNAPSHOT, STAGED], indirect=True)
def test_a_mirror_deletes_nothing_that_a_list_has_deleted_and_somebody_made_again(sync: Rig, tiny: TinyApi) -> None:
    counts(sync, UPSERT)
    counts(sync, DELETE)
    sync.source.execute("DELETE FROM users WHERE id < 3")
    tiny.records["1"] = dict(THEIRS)
    assert counts(sync, MIRROR) == {"upserted": 2}
    assert tiny.records["1"] == THEIRS


@pytest.mark.parametrize("name", [SNAPSHOT, STAGED], indirect=True)
def test_a_mirror_deletes_what_was_sent_whatever_the_behavior_was(sync: Rig, tiny: TinyApi) -> None:
    counts(sync, CREATE)  # 3 and 4
    sync.source.execute("DELETE FROM users WHERE id = 3")
    counts(sync, UPDATE)  # 1, 2 and 4
    sync.source.execute("DELETE FROM users WHERE id < 3")
    assert counts(sync, MIRROR) == {"upserted": 1, "deleted": 3}
    assert tiny.records == {"4": {"name": "n"}, "9": THEIRS}


@pytest.mark.parametrize("name", [SNAPSHOT, STAGED], indirect=True)
def test_what_was_deleted_by_another_spelling_of_its_key_is_not_taken_for_there(sync: Rig, tiny: TinyApi) -> None:
    settings: dict[str, Any] = {"identifier": "email"}
    sync.source.execute("UPDATE users SET id = 'Ann' WHERE id = 1")
    counts(sync, UPSERT, **settings)
    sync.source.execute("UPDATE users SET id = 'ann' WHERE id = 'Ann'")
    assert counts(sync, DELETE, **settings) == {"deleted": 4}
    sync.source.execute("UPDATE users SET id = 'Ann' WHERE id = 'ann'")
    assert counts(sync, UPSERT, **settings) == {"upserted": 4}
    assert tiny.records["ann"] == {"name": "n"}


@pytest.mark.parametrize("name", [SNAPSHOT, STAGED], indirect=True)
def test_what_update_only_did_not_find_is_not_counted_as_sent(sync: Rig) -> None:
    counts(sync, UPDATE)
    database, name = table(sync)
    rows = database.connect().execute(f"SELECT sync_key, sent FROM {name} ORDER BY sync_key").fetchall()
    assert rows == [("1", 1), ("2", 1), ("3", -1), ("4", -1)]
    sync.source.execute("DELETE FROM users WHERE id > 1")
    ran = sync.run(behavior=MIRROR, max_deletes=0)
    assert "1 of the 2 records this sync has sent" in str(ran.failure)


# --- baseline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SNAPSHOT, STAGED], indirect=True)
@pytest.mark.parametrize(
    ("first", "then", "wanted"),
    [
        (UPSERT, DELETE, {"deleted": 4}),
        (UPSERT, CREATE, {}),
        (DELETE, DELETE, {}),
        (DELETE, CREATE, {"created": 2, "skipped": 2}),
        (CREATE, UPSERT, {"upserted": 4}),
    ],
)
def test_a_baseline_is_what_its_behavior_would_have_made_of_the_rows(
    sync: Rig, first: Behavior, then: Behavior, wanted: dict[str, int]
) -> None:
    assert counts(sync, first, delta=Snapshot(baseline="skip")) == {}
    assert counts(sync, then) == wanted


# --- in doubt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "then", "wanted"),
    [
        (UPSERT, CREATE, {"uncertain": 4}),
        (CREATE, UPSERT, {"uncertain": 4}),
        (UPSERT, UPDATE, {"uncertain": 4}),
        # A deletion is no repetition of what was written, and the other way round.
        (UPSERT, DELETE, {"deleted": 4}),
        (DELETE, UPSERT, {"upserted": 4}),
        (DELETE, DELETE, {"uncertain": 4}),
    ],
)
def test_the_doubt_whether_a_row_was_written_stays_and_is_none_about_deleting_it(
    sync: Rig, first: Behavior, then: Behavior, wanted: dict[str, int]
) -> None:
    sync.destination = Once
    sync.run_killed(1, behavior=first)
    assert counts(sync, then) == wanted
    assert counts(sync, then) == {}
