"""What each behavior does with rows that are new, changed and gone, by the delta that finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Delta, Snapshot, Watermark
from airflow_provider_census.sync.fields import Column, Constant
from tests.sync.support import APPEND, DELETE, SEND, UPSERT, Lite, Rig, TinyApi, Users

UPDATE, CREATE, MIRROR = Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.MIRROR
WATERMARK, SNAPSHOT = Watermark("t"), Snapshot()
THEIRS = {"name": "theirs"}

Counts = dict[str, int]
Start = Callable[..., Rig]


@pytest.fixture
def start(sandbox: Sandbox, lite: Lite, tiny: TinyApi) -> Start:
    """A function that returns a sync of the users 1 and 2; the destination has 1, 3 and 5."""

    def start(behavior: Behavior, delta: Delta, **settings: Any) -> Rig:
        Users(lite).add([1, 2])
        tiny.records = {id: dict(THEIRS) for id in ("1", "3", "5")}
        object = "post" if behavior.adds else "record"
        return Rig(sandbox, lite, behavior=behavior, delta=delta, object=object, max_deletes=None, **settings)

    return start


def counts(rig: Rig, **overrides: Any) -> Counts:
    """Run and return the counts of what was new to the sync."""
    ran = rig.run(**overrides)
    assert ran.failure is None
    return {outcome: n for outcome, n in ran.counts.items() if outcome != "unchanged"}


@pytest.mark.parametrize(
    ("behavior", "delta", "first", "new", "changed", "gone", "back"),
    [
        # 1 is known there, 2 is not; then 3, known, and 4 are new; 1 and 2 change; 1 goes; 1 comes back as it was.
        (UPSERT, WATERMARK, {"upserted": 2}, {"upserted": 2}, {"upserted": 2}, {}, {"upserted": 1}),
        (UPSERT, SNAPSHOT, {"upserted": 2}, {"upserted": 2}, {"upserted": 2}, {}, {}),
        (UPDATE, WATERMARK, *[{"updated": 1, "skipped": 1}] * 3, {}, {"updated": 1}),
        (UPDATE, SNAPSHOT, *[{"updated": 1, "skipped": 1}] * 3, {}, {}),
        (CREATE, WATERMARK, *[{"created": 1, "skipped": 1}] * 2, {"skipped": 2}, {}, {"skipped": 1}),
        (CREATE, SNAPSHOT, *[{"created": 1, "skipped": 1}] * 2, {}, {}, {}),
        (DELETE, WATERMARK, {"deleted": 2}, {"deleted": 2}, {"deleted": 2}, {}, {"deleted": 1}),
        (DELETE, SNAPSHOT, {"deleted": 2}, {"deleted": 2}, {}, {}, {}),
        (MIRROR, SNAPSHOT, {"upserted": 2}, {"upserted": 2}, {"upserted": 2}, {"deleted": 1}, {"upserted": 1}),
        (APPEND, WATERMARK, {"sent": 2}, {"sent": 2}, {"sent": 2}, {}, {"sent": 1}),
        (APPEND, SNAPSHOT, {"sent": 2}, {"sent": 2}, {}, {}, {}),
        (SEND, WATERMARK, {"sent": 2}, {"sent": 2}, {"sent": 2}, {}, {"sent": 1}),
        (SEND, SNAPSHOT, {"sent": 2}, {"sent": 2}, {}, {}, {}),
    ],
)
def test_what_becomes_of_rows(
    start: Start,
    tiny: TinyApi,
    behavior: Behavior,
    delta: Delta,
    first: Counts,
    new: Counts,
    changed: Counts,
    gone: Counts,
    back: Counts,
) -> None:
    rig = start(behavior, delta)
    assert counts(rig) == first
    assert counts(rig) == {}

    rig.source.execute("INSERT INTO users VALUES (3, 'n', 3), (4, 'n', 4)")
    assert counts(rig) == new

    rig.source.execute("UPDATE users SET name = 'changed', t = 10 + id WHERE id < 3")
    assert counts(rig) == changed
    rig.source.execute("DELETE FROM users WHERE id = 1")
    assert counts(rig) == gone
    rig.source.execute("INSERT INTO users VALUES (1, 'changed', 20)")
    assert counts(rig) == back
    assert tiny.records["5"] == THEIRS, "what was never in the model is not touched"


@pytest.mark.parametrize(
    ("behavior", "delta", "counted", "there"),
    [
        (UPSERT, WATERMARK, {"upserted": 2}, "1235"),
        (UPSERT, SNAPSHOT, {"upserted": 2}, "1235"),
        (UPDATE, SNAPSHOT, {"updated": 2}, "135"),
        (CREATE, SNAPSHOT, {"skipped": 2}, "1235"),
        (DELETE, SNAPSHOT, {"deleted": 2}, "5"),
        (MIRROR, SNAPSHOT, {"upserted": 2, "deleted": 1}, "135"),
        (APPEND, WATERMARK, {"sent": 2}, "135"),
        (APPEND, SNAPSHOT, {"sent": 2}, "135"),
    ],
)
def test_a_full_refresh_does_it_to_every_row_and_still_mirrors(
    start: Start, tiny: TinyApi, behavior: Behavior, delta: Delta, counted: Counts, there: str
) -> None:
    rig = start(behavior, delta)
    rig.source.execute("INSERT INTO users VALUES (3, 'n', 3)")
    counts(rig)
    rig.source.execute("DELETE FROM users WHERE id = 2")
    assert counts(rig, full_refresh=True) == counted
    assert "".join(sorted(tiny.records)) == there
    assert counts(rig) == {}


@pytest.mark.parametrize(
    ("behavior", "delta"),
    [
        (UPSERT, WATERMARK),
        (UPDATE, WATERMARK),
        (APPEND, WATERMARK),
        *((b, SNAPSHOT) for b in (UPSERT, UPDATE, CREATE, APPEND)),
    ],
)
@pytest.mark.parametrize(
    ("mapping", "touched"),
    [
        ({"source": Constant("a"), "name": "name"}, False),
        ({"name": "name", "source": Constant("b")}, True),
        ({"name": "name", "source": Constant("a"), "time": "t"}, True),
        ({"name": Column("name", null="skip"), "source": Constant("a")}, True),
        ({"full_name": "name", "source": Constant("a")}, True),
    ],
)
def test_a_mapping_that_says_something_else_is_sent_once_where_records_are_updated(
    start: Start, behavior: Behavior, delta: Delta, mapping: dict[str, Any], touched: bool
) -> None:
    rig = start(behavior, delta, mapping={"name": "name", "source": Constant("a")})
    counts(rig)
    expected = {UPSERT: {"upserted": 2}, UPDATE: {"updated": 1, "skipped": 1}}.get(behavior, {}) if touched else {}
    assert counts(rig, mapping=mapping) == expected
    assert counts(rig, mapping=mapping) == {}


@pytest.mark.parametrize("delta", [Watermark("t", baseline="skip"), Snapshot(baseline="skip")])
@pytest.mark.parametrize(
    ("behavior", "new"),
    [
        (UPSERT, {"upserted": 2}),
        (UPDATE, {"updated": 1, "skipped": 1}),
        (CREATE, {"created": 1, "skipped": 1}),
        (DELETE, {"deleted": 2}),
        (APPEND, {"sent": 2}),
        (SEND, {"sent": 2}),
    ],
)
def test_a_baseline_leaves_out_what_is_there_and_sends_what_comes(
    start: Start, sandbox: Sandbox, delta: Delta, behavior: Behavior, new: Counts
) -> None:
    rig = start(behavior, delta)
    assert set(counts(rig)) <= {"skipped"}
    assert not sandbox.calls("tiny")
    rig.source.execute("INSERT INTO users VALUES (3, 'n', 3), (4, 'n', 4)")
    assert counts(rig) == new
    assert counts(rig) == {}


@pytest.mark.parametrize(("delta", "behavior"), [(WATERMARK, UPDATE), (SNAPSHOT, UPDATE), (SNAPSHOT, CREATE)])
def test_a_rejected_row_is_tried_again_and_a_skipped_one_is_not(
    start: Start, tiny: TinyApi, delta: Delta, behavior: Behavior
) -> None:
    rig = start(behavior, delta)
    tiny.whole, tiny.refused = False, {"1": "no", "2": "no"}
    assert counts(rig) == {"rejected": 2}
    del tiny.refused["2" if behavior is UPDATE else "1"]
    assert counts(rig) == {"skipped": 1, "rejected": 1}
    tiny.refused.clear()
    assert counts(rig) == {behavior.done.value: 1}
    assert counts(rig) == {}
