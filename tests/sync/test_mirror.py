from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, ConfigError, GuardTripped
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior, check_pair
from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import Column, Constant
from airflow_provider_census.sync.statement import Query
from tests.sync.support import Database, Duck, Lite, Rig, Roomy, TinyApi, Users

MIRROR = Behavior.MIRROR


class Killed(BaseException):
    """The worker is gone."""


def _die_behind_the_first_write(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    """Run; what happens behind the first write to the snapshot's database is not noted anywhere."""
    database = rig.settings["snapshot_database"] or rig.source
    written: list[int] = []

    def write(queries: Iterable[Query]) -> None:
        queries = list(queries)
        if any("UPDATE" in query.sql for query in queries):
            written.append(1)
        elif written:
            raise Killed
        type(database).write(database, queries)

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", write)
        with pytest.raises(Killed):
            rig.run()


@pytest.fixture(params=["lite", "duck", "staged"])
def mirror(request: pytest.FixtureRequest, sandbox: Sandbox) -> Rig:
    """A mirror of users by their id; its snapshot is beside them, or staged in another database."""
    staged = request.param == "staged"
    database: Database = request.getfixturevalue("lite" if staged else request.param)
    if isinstance(database, Lite):
        Users(database)
    else:
        database.execute("CREATE TABLE users (id INT, name TEXT, t INT)")
    database.execute("INSERT INTO users VALUES (?, ?, ?)", *[(i, f"n{i}", 0) for i in range(20)])
    elsewhere = request.getfixturevalue("duck") if staged else None
    return Rig(sandbox, database, delta=Snapshot(), behavior=MIRROR, snapshot_database=elsewhere)


def test_a_mirror_sends_what_differs_and_deletes_what_is_gone(mirror: Rig, tiny: TinyApi) -> None:
    assert mirror.run().counts == {"upserted": 20}
    assert mirror.run().counts == {}
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 3")
    mirror.source.execute("DELETE FROM users WHERE id = 4")
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (99, "n99", 0))
    assert mirror.run().counts == {"upserted": 2, "deleted": 1}
    assert tiny.records["3"] == {"name": "new"}
    assert "4" not in tiny.records
    assert mirror.run().counts == {}


def test_a_change_of_a_column_that_is_not_mapped_sends_nothing(mirror: Rig) -> None:
    mirror.run()
    mirror.source.execute("UPDATE users SET t = 1")
    assert mirror.run().counts == {}


def test_the_first_run_deletes_nothing_whatever_is_there(mirror: Rig, tiny: TinyApi) -> None:
    tiny.records["theirs"] = {"name": "made by hand"}
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 1")
    assert mirror.run().counts == {"deleted": 1}
    assert tiny.records["theirs"] == {"name": "made by hand"}


def test_too_many_deletions_delete_nothing_and_fail_with_the_numbers_and_the_way_out(
    mirror: Rig, tiny: TinyApi
) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id < 3")
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 3")
    ran = mirror.run()
    assert isinstance(ran.failure, GuardTripped)
    assert "3 of the 20 records" in str(ran.failure)
    assert "max_deletes=0.1 allows 2" in str(ran.failure)
    assert "max_deletes=3" in str(ran.failure)
    assert len(tiny.records) == 20
    assert tiny.records["3"] == {"name": "new"}, "updates are not held up by the guard"
    assert mirror.run(max_deletes=3).counts == {"deleted": 3}
    assert mirror.run().failure is None


@pytest.mark.parametrize(("limit", "deleted"), [(0, 0), (2, 0), (3, 3), (0.15, 3), (None, 3)])
def test_the_guard_counts_records_or_a_share_of_what_was_sent(mirror: Rig, limit: Any, deleted: int) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id < 3")
    ran = mirror.run(max_deletes=limit)
    assert ran.counts.get("deleted", 0) == deleted
    assert (ran.failure is None) == bool(deleted)


def test_an_empty_model_deletes_nothing_unless_it_is_allowed_to(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users")
    ran = mirror.run(max_deletes=None)
    assert isinstance(ran.failure, GuardTripped)
    assert "allow_empty=True" in str(ran.failure)
    assert len(tiny.records) == 20
    assert mirror.run(max_deletes=None, allow_empty=True).counts == {"deleted": 20}
    assert tiny.records == {}


def test_an_empty_model_in_the_first_run_is_nothing_to_worry_about(mirror: Rig) -> None:
    mirror.source.execute("DELETE FROM users")
    assert mirror.run().failure is None


def test_a_rejected_row_is_tried_in_every_run_with_its_newest_values(mirror: Rig, tiny: TinyApi) -> None:
    tiny.refused["5"] = "no"
    assert mirror.run().counts == {"upserted": 19, "rejected": 1}
    mirror.source.execute("UPDATE users SET name = 'fixed' WHERE id = 5")
    assert mirror.run().counts == {"rejected": 1}
    tiny.refused.clear()
    assert mirror.run().counts == {"upserted": 1}
    assert tiny.records["5"] == {"name": "fixed"}


def test_a_row_that_never_arrived_and_is_gone_owes_and_deletes_nothing(mirror: Rig, tiny: TinyApi) -> None:
    tiny.refused["5"] = "no"
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 5")
    assert mirror.run().counts == {}


def test_a_refused_deletion_is_tried_again(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 5")
    tiny.refused["5"] = "in use"
    assert mirror.run().counts == {"rejected": 1}
    tiny.refused.clear()
    assert mirror.run().counts == {"deleted": 1}


def test_a_row_that_leaves_and_comes_back_is_deleted_and_sent_again(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 5")
    mirror.run()
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (5, "n5", 0))
    assert mirror.run().counts == {"upserted": 1}
    assert tiny.records["5"] == {"name": "n5"}


def test_a_full_refresh_sends_everything_and_still_mirrors(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 5")
    assert mirror.run(full_refresh=True).counts == {"upserted": 19, "deleted": 1}


@pytest.mark.parametrize("behavior", [Behavior.UPDATE_OR_CREATE, MIRROR])
def test_a_full_refresh_that_is_cut_short_leaves_the_rest_to_the_next_run(
    sandbox: Sandbox, lite: Lite, users: Users, tiny: TinyApi, behavior: Behavior
) -> None:
    users.add(range(2_000))
    rig = Rig(sandbox, lite, Roomy, delta=Snapshot(), behavior=behavior)
    rig.run()
    tiny.records.clear()
    sandbox.inject(Fault(api="tiny", status=401, after=3))
    assert isinstance(rig.run(full_refresh=True).failure, AuthError)
    assert rig.run().failure is None
    assert len(tiny.records) == 2_000
    assert rig.run().counts == {}


def test_a_changed_mapping_sends_everything_once(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    remapped = {"name": "name", "source": Constant("warehouse")}
    assert mirror.run(mapping=remapped).counts == {"upserted": 20}
    assert mirror.run(mapping=remapped).counts == {}


def test_every_copy_of_a_duplicate_key_is_invalid_and_its_record_stays(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (5, "other", 0), (None, "no key", 0))
    assert mirror.run().counts == {"invalid": 3}
    assert tiny.records["5"] == {"name": "n5"}


def test_a_key_written_in_another_case_is_the_same_record(sandbox: Sandbox, lite: Lite, tiny: TinyApi) -> None:
    lite.execute("CREATE TABLE users (email TEXT, name TEXT)")
    lite.execute("INSERT INTO users VALUES (?, ?)", *[(f"u{i}@x", "n") for i in range(20)])
    rig = Rig(sandbox, lite, delta=Snapshot(), behavior=MIRROR, identifier="email", key="email")
    rig.run()
    lite.execute("UPDATE users SET email = 'U3@X' WHERE email = 'u3@x'")
    assert rig.run().counts == {"upserted": 1}
    assert tiny.records["u3@x"] == {"name": "n"}
    lite.execute("UPDATE users SET email = 'u4@X', name = 'bad' WHERE email = 'u4@x'")
    tiny.refused["u4@x"] = "no"
    assert rig.run().counts == {"rejected": 1}
    assert "u4@x" in tiny.records, "what did not arrive under its new spelling must not be deleted under the old one"
    tiny.refused.clear()
    assert rig.run().counts == {"upserted": 1}
    assert len(tiny.records) == 20


def test_a_row_that_is_again_what_it_was_is_sent_if_nobody_knows_what_arrived_in_between(
    mirror: Rig, tiny: TinyApi, sandbox: Sandbox
) -> None:
    mirror.run()
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 3")
    sandbox.inject(Fault(api="tiny", reset="after", times=3))
    assert mirror.run().counts == {"uncertain": 1}
    assert tiny.records["3"] == {"name": "new"}
    mirror.source.execute("UPDATE users SET name = 'n3' WHERE id = 3")
    assert mirror.run().counts == {"upserted": 1}
    assert tiny.records["3"] == {"name": "n3"}
    assert mirror.run().counts == {}


def test_so_it_is_after_a_run_that_was_killed(mirror: Rig, tiny: TinyApi, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.run()
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 3")
    _die_behind_the_first_write(monkeypatch, mirror)
    assert tiny.records["3"] == {"name": "new"}
    mirror.source.execute("UPDATE users SET name = 'n3' WHERE id = 3")
    assert mirror.run().counts == {"upserted": 1}
    assert tiny.records["3"] == {"name": "n3"}


def test_what_may_have_arrived_is_deleted_when_its_row_is_gone(mirror: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    mirror.run()
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (99, "n99", 0))
    sandbox.inject(Fault(api="tiny", reset="after", times=3))
    assert mirror.run().counts == {"uncertain": 1}
    mirror.source.execute("DELETE FROM users WHERE id = 99")
    assert mirror.run().counts == {"deleted": 1}
    assert "99" not in tiny.records


def test_a_row_that_comes_back_is_sent_if_nobody_knows_whether_it_was_deleted(
    mirror: Rig, tiny: TinyApi, sandbox: Sandbox
) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id = 5")
    sandbox.inject(Fault(api="tiny", reset="after", times=3))
    assert mirror.run().counts == {"uncertain": 1}
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (5, "n5", 0))
    assert mirror.run().counts == {"upserted": 1}
    assert tiny.records["5"] == {"name": "n5"}


def test_the_guards_share_is_not_lost_to_binary_fractions(mirror: Rig) -> None:
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", *[(i, "n", 0) for i in range(20, 100)])
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id < 29")
    assert mirror.run(max_deletes=0.29).counts == {"deleted": 29}


def test_another_order_of_the_models_columns_is_no_change(mirror: Rig) -> None:
    mapping = {"name": "name", "time": "t"}
    mirror.run(mapping=mapping, sql="SELECT id, name, t FROM users")
    assert mirror.run(mapping=mapping, sql="SELECT t, name, id FROM users").counts == {}


@pytest.fixture(params=["beside", "staged"])
def addresses(request: pytest.FixtureRequest, sandbox: Sandbox, lite: Lite) -> Rig:
    """A mirror of users by their e-mail address, which the destination matches without regard to case."""
    lite.execute("CREATE TABLE users (email TEXT, name TEXT)")
    lite.execute("INSERT INTO users VALUES (?, ?)", *[(f"u{i}@x", "n") for i in range(20)])
    elsewhere = request.getfixturevalue("duck") if request.param == "staged" else None
    settings: dict[str, Any] = {"behavior": MIRROR, "identifier": "email", "key": "email", "max_deletes": None}
    return Rig(sandbox, lite, delta=Snapshot(), snapshot_database=elsewhere, **settings)


def test_a_record_is_known_by_its_last_spelling_alone(addresses: Rig, tiny: TinyApi) -> None:
    addresses.run()
    addresses.source.execute("UPDATE users SET email = 'U3@X', name = 'new' WHERE email = 'u3@x'")
    assert addresses.run().counts == {"upserted": 1}
    addresses.source.execute("UPDATE users SET email = 'u3@x', name = 'n' WHERE email = 'U3@X'")
    assert addresses.run().counts == {"upserted": 1}
    assert tiny.records["u3@x"] == {"name": "n"}
    addresses.source.execute("DELETE FROM users WHERE email = 'u3@x'")
    assert addresses.run().counts == {"deleted": 1}


def test_a_dry_run_knows_a_new_spelling_too(addresses: Rig) -> None:
    addresses.run()
    addresses.source.execute("UPDATE users SET email = 'U3@X' WHERE email = 'u3@x'")
    assert addresses.run(dry_run=True).counts == {"upserted": 1}


@pytest.mark.parametrize(
    "edit",
    [
        "INSERT INTO users SELECT 'U3@X ', 'copy' UNION ALL SELECT 'U3@x', 'copy'",
        "INSERT INTO users VALUES ('U3@X', NULL)",
    ],
)
def test_a_row_that_is_invalid_under_its_new_spelling_keeps_its_record(
    addresses: Rig, tiny: TinyApi, edit: str
) -> None:
    settings: dict[str, Any] = {"mapping": {"name": Column("name", null="reject")}}
    addresses.run(**settings)
    addresses.source.execute("DELETE FROM users WHERE email = 'u3@x'")
    addresses.source.execute(edit)
    ran = addresses.run(max_deletes=0, **settings)
    assert (ran.failure, set(ran.counts)) == (None, {"invalid"})
    assert tiny.records["u3@x"] == {"name": "n"}


def test_copies_are_found_however_many_rows_lie_between_them(sandbox: Sandbox, lite: Lite, duck: Duck) -> None:
    """Staged, rows are read from the source so many keys at a time."""
    lite.execute("CREATE TABLE users (email TEXT, name TEXT)")
    rows = [(f"u{i}@x", "n") for i in range(1_200)]
    lite.execute("INSERT INTO users VALUES (?, ?)", *rows, *[(email.upper(), "n") for email, _ in rows], *rows[:700])
    rig = Rig(sandbox, lite, Roomy, delta=Snapshot(), snapshot_database=duck, identifier="email", key="email")
    assert rig.run().counts == {"invalid": 3_100}


def test_what_changed_while_it_was_staged_is_remembered_as_it_was_sent(
    sandbox: Sandbox, lite: Lite, duck: Duck, tiny: TinyApi
) -> None:
    class Busy(Lite):
        """A source that changes behind the first read of all rows."""

        def stream(self, query: Query, batch_rows: int = 100) -> Generator[Sequence[tuple[Any, ...]], None, None]:
            yield from super().stream(query, batch_rows)
            if self.edits:
                self.execute(self.edits.pop())

    busy = Busy(Path(lite.path))
    busy.edits = []
    Users(busy).add([1], name="old")
    rig = Rig(sandbox, busy, delta=Snapshot(), behavior=MIRROR, snapshot_database=duck)
    busy.edits = ["UPDATE users SET name = 'new'"]
    assert rig.run().counts == {"upserted": 1}
    assert tiny.records["1"] == {"name": "new"}
    busy.execute("UPDATE users SET name = 'old'")
    assert rig.run().counts == {"upserted": 1}
    assert tiny.records["1"] == {"name": "old"}


def test_a_baseline_skips_what_is_there_and_never_deletes_it(mirror: Rig, tiny: TinyApi) -> None:
    delta = Snapshot(baseline="skip")
    assert mirror.run(delta=delta).counts == {}
    assert tiny.records == {}
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    mirror.source.execute("DELETE FROM users WHERE id = 2")
    assert mirror.run(delta=delta).counts == {"upserted": 1}
    mirror.source.execute("DELETE FROM users WHERE id = 1")
    assert mirror.run(delta=delta, max_deletes=None).counts == {"deleted": 1}


def test_a_dry_run_counts_changes_and_deletions_and_leaves_snapshot_and_destination_alone(
    mirror: Rig, tiny: TinyApi
) -> None:
    assert mirror.run(dry_run=True).counts == {"upserted": 20}
    assert mirror.run(dry_run=True, delta=Snapshot(baseline="skip")).counts == {}
    assert mirror.run().counts == {"upserted": 20}
    mirror.source.execute("DELETE FROM users WHERE id = 2")
    assert mirror.run(dry_run=True).counts == {"deleted": 1}
    assert len(tiny.records) == 20
    assert mirror.run().counts == {"deleted": 1}


def test_a_run_that_is_cut_short_keeps_what_arrived(mirror: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    sandbox.inject(Fault(api="tiny", after=1, times=100, status=401))
    ran = mirror.run()
    assert isinstance(ran.failure, AuthError)
    arrived = len(tiny.records)
    assert 0 < arrived < 20
    sandbox.recover()
    assert mirror.run().counts == {"upserted": 20 - arrived}


@pytest.mark.parametrize(
    ("behavior", "object", "first", "changed", "returned"),
    [
        (Behavior.UPDATE_OR_CREATE, "record", "upserted", {"upserted": 1}, {}),
        (Behavior.UPDATE_ONLY, "record", "updated", {"updated": 1}, {}),
        (Behavior.APPEND, "post", "sent", {}, {}),
        (Behavior.SEND, "post", "sent", {}, {}),
    ],
)
def test_without_mirror_a_removed_row_does_nothing(
    mirror: Rig,
    tiny: TinyApi,
    behavior: Behavior,
    object: str,
    first: str,
    changed: dict[str, int],
    returned: dict[str, int],
) -> None:
    if behavior is Behavior.UPDATE_ONLY:
        tiny.records = {str(i): {} for i in range(20)}
    settings: dict[str, Any] = {"behavior": behavior, "object": object}
    assert mirror.run(**settings).counts == {first: 20}
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    assert mirror.run(**settings).counts == changed
    mirror.source.execute("DELETE FROM users WHERE id = 2")
    assert mirror.run(**settings).counts == {}
    mirror.source.execute("INSERT INTO users VALUES (?, ?, ?)", (2, "n2", 0))
    assert mirror.run(**settings).counts == returned


def test_an_append_without_an_answer_is_held_and_never_posted_twice(
    mirror: Rig, tiny: TinyApi, sandbox: Sandbox
) -> None:
    settings: dict[str, Any] = {"behavior": Behavior.APPEND, "object": "post"}
    sandbox.inject(Fault(api="tiny", reset="after", times=1))
    ran = mirror.run(**settings)
    assert ran.counts == {"sent": 10, "uncertain": 10}
    assert mirror.run(**settings).counts == {}
    assert sorted(tiny.posted, key=int) == [str(i) for i in range(20)]


def test_a_mirror_without_a_snapshot_is_refused_where_it_is_declared() -> None:
    for delta in (FullRefresh(), Watermark("t")):
        with pytest.raises(ConfigError, match=r"delta=Snapshot\(\)"):
            check_pair(MIRROR, delta)
    check_pair(MIRROR, Snapshot())
    with pytest.raises(ConfigError, match="'send', 'skip'"):
        Snapshot(baseline="adopted")


def test_sqlite_has_no_schemas(sandbox: Sandbox, lite: Lite) -> None:
    Users(lite)
    ran = Rig(sandbox, lite, delta=Snapshot(schema="census"), behavior=MIRROR).run()
    assert isinstance(ran.failure, ConfigError)


def test_the_snapshot_may_live_in_a_schema_of_its_own(sandbox: Sandbox, duck: Duck) -> None:
    duck.execute("CREATE TABLE users (id INT, name TEXT)")
    duck.execute("INSERT INTO users VALUES (?, ?)", (1, "n"))
    rig = Rig(sandbox, duck, delta=Snapshot(schema="census state"), behavior=MIRROR)
    assert rig.run().counts == {"upserted": 1}
    assert rig.run().counts == {}
