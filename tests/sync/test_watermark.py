from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, ConfigError, StateError, Unavailable
from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync.delta import FullRefresh, Watermark
from airflow_provider_census.sync.fields import Constant
from airflow_provider_census.sync.state import State
from tests.sync.support import UPSERT, Duck, Forgetful, Rig, Roomy, TinyApi, Users


def test_a_second_run_sends_nothing(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(500))
    assert rig.run().counts == {"upserted": 500}
    before = len(rig.sandbox.ledger)
    assert rig.run().counts == {"unchanged": 1}
    assert len(rig.sandbox.ledger) == before


def test_only_what_changed_is_sent(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(500))
    rig.run()
    users.sql("UPDATE users SET name = 'new', t = 900 WHERE id < 37")
    assert rig.run().counts == {"upserted": 37, "unchanged": 1}
    assert sum(record["name"] == "new" for record in tiny.records.values()) == 37
    assert rig.run().counts == {"unchanged": 37}


def test_ten_thousand_equal_timestamps_are_sent_once(posts: Rig, users: Users, tiny: TinyApi) -> None:
    posts.destination = Roomy
    users.add(range(10_000), t=7)
    assert posts.run().counts == {"sent": 10_000}
    assert posts.run().counts == {"unchanged": 10_000}
    users.add(range(10_000, 10_005), t=7)
    assert posts.run().counts == {"unchanged": 10_000, "sent": 5}
    assert sorted(map(int, tiny.posted)) == list(range(10_005))


@pytest.mark.parametrize("after", [0, 3, 30, 77])
def test_ties_interrupted_in_the_middle_are_neither_lost_nor_doubled(
    posts: Rig, users: Users, tiny: TinyApi, after: int
) -> None:
    users.add(range(5), t=6)
    users.add(range(5, 1_000), t=7)
    posts.sandbox.inject(Fault(api="tiny", after=after, status=401))
    first = posts.run()
    assert isinstance(first.failure, AuthError)
    second = posts.run()
    assert second.failure is None
    assert first.counts.get("sent", 0) + second.counts["sent"] == 1_000
    assert sorted(map(int, tiny.posted)) == list(range(1_000))


def test_ties_that_a_run_did_not_get_to_read_stay_settled(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(500), t=7)
    posts.run()
    posts.source.breaks_after = posts.source.fetched + 200
    assert posts.run().counts == {"unchanged": 200}
    posts.source.breaks_after = None
    assert posts.run().counts == {"unchanged": 500}
    assert len(tiny.posted) == 500


def test_rows_updated_at_the_same_cursor_value_are_sent_again_by_an_upsert(
    rig: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(20), t=7)
    rig.run()
    users.sql("UPDATE users SET name = 'late' WHERE id = 3")
    assert rig.run().counts == {"upserted": 1, "unchanged": 19}
    assert tiny.records["3"] == {"name": "late"}


def test_rows_updated_at_the_same_cursor_value_are_not_appended_again(posts: Rig, users: Users) -> None:
    users.add(range(20), t=7)
    posts.run()
    users.sql("UPDATE users SET name = 'late' WHERE id = 3")
    assert posts.run().counts == {"unchanged": 20}


@pytest.mark.parametrize(
    ("on_null", "first", "second"),
    [
        ("invalid", {"upserted": 3, "invalid": 2}, {"unchanged": 1, "invalid": 2}),
        ("include", {"upserted": 5}, {"unchanged": 1, "upserted": 2}),
        ("exclude", {"upserted": 3}, {"unchanged": 1}),
    ],
)
def test_rows_without_a_cursor_go_as_the_author_says(
    rig: Rig, users: Users, on_null: str, first: dict[str, int], second: dict[str, int]
) -> None:
    users.add(range(3))
    users.sql("INSERT INTO users VALUES (8, 'n', NULL), (9, 'n', NULL)")
    delta = Watermark("t", on_null=on_null)
    assert rig.run(delta=delta).counts == first
    assert rig.run(delta=delta).counts == second


def test_rows_committed_late_arrive_within_the_lag_and_settled_ones_are_not_sent_again(
    posts: Rig, users: Users, tiny: TinyApi
) -> None:
    delta = Watermark("t", lag=10)
    users.add(range(100))
    posts.run(delta=delta)
    users.add([500], t=91)
    users.add([501], t=80)
    assert posts.run(delta=delta).counts == {"sent": 1, "unchanged": 11}
    assert "500" in tiny.posted
    assert "501" not in tiny.posted


def test_a_watermark_with_a_lag_never_moves_back(posts: Rig, users: Users, tiny: TinyApi) -> None:
    delta = Watermark("t", lag=10)
    users.add(range(101))
    assert posts.run(delta=delta).watermark == 100
    users.sql("DELETE FROM users WHERE t > 95")
    for _ in range(3):
        assert posts.run(delta=delta).watermark == 100
    users.add(range(200, 260), t=95)
    posts.sandbox.inject(Fault(api="tiny", after=2, status=401))
    assert posts.run(delta=delta).watermark == 100
    assert posts.run(delta=delta).failure is None
    assert sorted(map(int, tiny.posted)) == [*range(101), *range(200, 260)]


def test_a_lag_that_does_not_fit_the_cursor_is_refused_before_anything_is_sent(rig: Rig, users: Users) -> None:
    users.add(range(50))
    ran = rig.run(delta=Watermark("t", lag=dt.timedelta(hours=1)))
    assert isinstance(ran.failure, ConfigError)
    assert "give a timedelta for dates and times" in str(ran.failure)
    assert rig.sandbox.ledger == []


@pytest.mark.parametrize("lag", [-1, dt.timedelta(seconds=-1), float("nan"), "1h", True])
def test_a_lag_that_is_no_length_is_refused(lag: Any) -> None:
    with pytest.raises(ConfigError, match="no length"):
        Watermark("t", lag=lag)


def test_a_baseline_takes_what_is_there_as_settled(posts: Rig, users: Users, tiny: TinyApi) -> None:
    delta = Watermark("t", baseline="skip")
    users.add(range(100))
    users.add(range(100, 105), t=99)
    assert posts.run(delta=delta).counts == {"skipped": 6}
    assert posts.run(delta=delta).counts == {"unchanged": 6}
    users.add([200], t=99)
    users.add([201], t=300)
    posts.run(delta=delta)
    assert sorted(tiny.posted) == ["200", "201"]


def test_a_baseline_of_an_empty_model_sends_what_comes_later(posts: Rig, users: Users, tiny: TinyApi) -> None:
    delta = Watermark("t", baseline="skip")
    assert posts.run(delta=delta).read == 0
    users.add([1])
    assert posts.run(delta=delta).counts == {"sent": 1}


def test_lost_state_is_handled_as_the_author_says(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(30))
    for on_missing, counts in (("full", {"upserted": 30}), ("now", {"skipped": 1})):
        rig.store = Forgetful()
        assert rig.run(delta=Watermark("t", on_missing=on_missing)).counts == counts
        assert rig.run(delta=Watermark("t", on_missing=on_missing)).counts == {"unchanged": 1}
    rig.store = Forgetful()
    ran = rig.run(delta=Watermark("t", on_missing="fail"))
    assert isinstance(ran.failure, StateError)
    assert "full_refresh=True" in str(ran.failure)
    assert rig.store.value is None
    assert rig.run(delta=Watermark("t", on_missing="fail"), full_refresh=True).counts == {"upserted": 30}


def test_another_cursor_column_starts_over_as_on_missing_says(rig: Rig, users: Users) -> None:
    users.add(range(30))
    rig.run()
    renamed = "SELECT id, name, t AS changed_at FROM users"
    assert isinstance(rig.run(sql=renamed, delta=Watermark("changed_at", on_missing="fail")).failure, StateError)
    assert rig.run(sql=renamed, delta=Watermark("changed_at")).counts == {"upserted": 30}
    assert rig.run(sql=renamed, delta=Watermark("changed_at")).counts == {"unchanged": 1}


def test_the_cursor_may_be_spelled_in_another_case(rig: Rig, users: Users) -> None:
    users.add(range(3))
    assert rig.run(delta=Watermark("T")).json["watermark"]["column"] == "t"


@pytest.mark.parametrize(
    ("sql_type", "low", "high", "lag"),
    [
        ("BIGINT", 2**60, 2**60 + 1, 5),
        ("VARCHAR", "a", "ä'; DROP TABLE users --", None),
        ("DATE", dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.timedelta(days=1)),
        ("TIMESTAMP", dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 1), dt.timedelta(hours=1)),
        # 2:30 happens twice in Berlin that night.
        (
            "TIMESTAMPTZ",
            dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC),
            dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC),
            dt.timedelta(minutes=30),
        ),
        ("DECIMAL(38, 10)", Decimal("0.1"), Decimal("0.1000000001"), 0.5),
        ("DOUBLE", 0.1, 0.1 + 2**-55, 0.5),
        ("BLOB", b"\x00", b"\x00\x01", None),
    ],
)
def test_every_type_that_can_be_ordered_is_a_cursor(
    posts: Rig, duck: Duck, tiny: TinyApi, sql_type: str, low: Any, high: Any, lag: Any
) -> None:
    posts.source = duck
    duck.execute(f"CREATE TABLE users (id INT, name VARCHAR, t {sql_type})")
    duck.execute("INSERT INTO users VALUES (?, 'n', ?)", *[(i, low) for i in range(5)])
    assert posts.run().counts == {"sent": 5}
    duck.execute("INSERT INTO users VALUES (?, 'n', ?)", (5, low), *[(i, high) for i in range(6, 9)])
    assert posts.run().counts == {"unchanged": 5, "sent": 4}
    assert posts.run().counts == {"unchanged": 3}
    assert sorted(tiny.posted) == [str(i) for i in range(9)]
    assert posts.run(delta=Watermark("t", lag=lag)).failure is None


@pytest.mark.parametrize(("sql_type", "value"), [("TIME", "12:00"), ("INTERVAL", "1 day"), ("INT[]", [1])])
def test_a_cursor_that_the_state_cannot_keep_is_refused_before_anything_is_sent(
    rig: Rig, duck: Duck, sql_type: str, value: Any
) -> None:
    rig.source = duck
    duck.execute(f"CREATE TABLE users (id INT, name VARCHAR, t {sql_type})")
    duck.execute("INSERT INTO users VALUES (?, 'n', ?)", *[(i, value) for i in range(50)])
    ran = rig.run()
    assert isinstance(ran.failure, StateError)
    assert "cast it in the model" in str(ran.failure)
    assert rig.sandbox.ledger == []


def test_a_cursor_that_is_not_a_number_counts_as_none(rig: Rig, duck: Duck) -> None:
    rig.source = duck
    duck.execute("CREATE TABLE users (id INT, name VARCHAR, t DOUBLE)")
    duck.execute("INSERT INTO users VALUES (1, 'n', 1), (2, 'n', 'nan')")
    assert rig.run().counts == {"upserted": 1, "invalid": 1}
    assert rig.run().watermark == 1


def test_a_lag_counts_in_real_hours_on_the_night_clocks_change(posts: Rig, duck: Duck, tiny: TinyApi) -> None:
    posts.source = duck
    delta = Watermark("t", lag=dt.timedelta(hours=2))
    duck.execute("CREATE TABLE users (id INT, name VARCHAR, t TIMESTAMPTZ)")
    duck.execute("INSERT INTO users VALUES (1, 'n', '2024-03-31 03:30:00+02')")
    assert posts.run(delta=delta).watermark == "2024-03-31T01:30:00+00:00"
    duck.execute("INSERT INTO users VALUES (2, 'n', '2024-03-30 23:45:00+00')")
    assert posts.run(delta=delta).counts == {"sent": 1, "unchanged": 1}


def test_an_early_batch_that_is_delayed_holds_the_watermark(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(200))
    # The first batch hangs until the run is over; later ones arrive, then the key is revoked.
    posts.sandbox.inject(Fault(api="tiny", contains='"id":"0"', delay_s=0.3, status=503, times=9))
    posts.sandbox.inject(Fault(api="tiny", after=8, status=401))
    first = posts.run(attempts=1)
    assert isinstance(first.failure, AuthError)
    posts.sandbox.recover()
    assert posts.run().failure is None
    assert sorted(map(int, tiny.posted)) == list(range(200))


def test_a_full_refresh_sends_everything_and_keeps_tracking(rig: Rig, users: Users) -> None:
    users.add(range(30))
    rig.run()
    ran = rig.run(full_refresh=True)
    assert ran.counts == {"upserted": 30}
    assert ran.json["watermark"] == {"column": "t", "before": 29, "after": 29}
    assert rig.run().counts == {"unchanged": 1}


def test_a_full_refresh_cut_short_is_finished_by_the_next_run(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    users.add(range(100, 120), t=99)
    rig.run()
    tiny.records.clear()
    rig.sandbox.inject(Fault(api="tiny", after=3, status=401))
    assert isinstance(rig.run(full_refresh=True).failure, AuthError)
    assert rig.run().failure is None
    assert len(tiny.records) == 120


def test_a_changed_mapping_sends_everything_again_for_upserts(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(30))
    rig.run(mapping={"name": "name", "b": "t"})
    assert rig.run(mapping={"b": "t", "name": "name"}).counts == {"unchanged": 1}, "the order is no change"
    assert rig.run(mapping={"name": "name", "from": Constant("dwh")}).counts == {"upserted": 30}
    assert tiny.records["3"] == {"name": "n", "from": "dwh"}


def test_a_changed_mapping_sends_nothing_again_for_appends(posts: Rig, users: Users) -> None:
    users.add(range(30))
    posts.run()
    assert posts.run(mapping={"name": Constant("x")}).counts == {"unchanged": 1}


def test_every_run_of_a_full_refresh_sends_everything(rig: Rig, users: Users) -> None:
    users.add(range(30))
    for _ in range(2):
        ran = rig.run(delta=FullRefresh(), behavior=UPSERT)
        assert (ran.counts, ran.json["watermark"]) == ({"upserted": 30}, None)
    assert rig.run().counts == {"upserted": 30}, "a state without a watermark tells none"


def test_a_source_that_breaks_off_loses_nothing(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(1_000))
    posts.source.breaks_after = 500
    first = posts.run()
    assert isinstance(first.failure, Unavailable)
    assert first.counts == {"sent": 500 - 500 % 10}
    posts.source.breaks_after = None
    posts.run()
    assert sorted(map(int, tiny.posted)) == list(range(1_000))


def test_the_sequence_grows_with_every_save(rig: Rig, users: Users) -> None:
    users.add([1])
    seen = []
    for _ in range(3):
        rig.run()
        seen.append(State.from_json(rig.store.value).sequence)
    assert seen == sorted(set(seen))
