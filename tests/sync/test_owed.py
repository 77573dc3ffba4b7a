from __future__ import annotations

import pytest

from airflow_provider_census.errors import AuthError, ThresholdExceeded
from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync.progress import MAX_OWED
from airflow_provider_census.sync.state import State
from tests.sync.support import Rig, Roomy, TinyApi, Users


def owed(rig: Rig) -> set[object]:
    return set(State.from_json(rig.store.value).owed)


def test_a_rejected_row_goes_out_with_its_new_values_although_its_cursor_did_not_move(
    rig: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(100))
    tiny.refused["5"] = "no"
    assert rig.run().counts == {"upserted": 99, "rejected": 1}
    assert owed(rig) == {5}
    users.sql("UPDATE users SET name = 'fixed' WHERE id = 5")
    assert rig.run().counts == {"rejected": 1, "unchanged": 1}
    tiny.refused.clear()
    users.sql("UPDATE users SET name = 'fixed again' WHERE id = 5")
    assert rig.run().counts == {"upserted": 1, "unchanged": 1}
    assert tiny.records["5"] == {"name": "fixed again"}
    assert owed(rig) == set()
    assert rig.run().counts == {"unchanged": 1}


def test_a_rejected_row_at_the_watermark_is_tried_once_per_run(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(10), t=7)
    tiny.refused["5"] = "no"
    rig.run()
    assert rig.run().counts == {"rejected": 1, "unchanged": 9}
    tiny.refused.clear()
    assert rig.run().counts == {"upserted": 1, "unchanged": 9}
    assert rig.run().counts == {"unchanged": 10}


def test_a_row_that_left_the_model_is_owed_no_more(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    tiny.refused.update({"5": "no", "6": "no"})
    rig.run()
    users.sql("DELETE FROM users WHERE id = 5")
    assert rig.run().counts == {"rejected": 1, "unchanged": 1}
    assert owed(rig) == {6}


def test_a_row_owed_and_changed_at_once_is_sent_once_with_the_newest_value(
    rig: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(100))
    tiny.refused["5"] = "no"
    rig.run()
    tiny.refused.clear()
    users.sql("UPDATE users SET name = 'newest', t = 500 WHERE id = 5")
    ran = rig.run()
    assert ran.counts == {"upserted": 1, "unchanged": 1}
    assert tiny.records["5"] == {"name": "newest"}
    assert (ran.watermark, owed(rig)) == (500, set())
    assert rig.run().counts == {"unchanged": 1}


def test_invalid_rows_without_a_key_fail_in_every_run_and_count_once(rig: Rig, users: Users) -> None:
    users.add(range(10))
    users.sql("INSERT INTO users VALUES (NULL, 'n', 3), (NULL, 'n', 9), ('', 'n', 4)")
    assert rig.run().counts == {"upserted": 10, "invalid": 3}
    for _ in range(2):
        assert rig.run().counts == {"unchanged": 1, "invalid": 3}
    users.sql("INSERT INTO users VALUES (NULL, 'n', 50)")
    assert rig.run().counts == {"unchanged": 1, "invalid": 4}
    users.sql("UPDATE users SET id = 77 WHERE t = 3 AND id IS NULL")
    users.sql("DELETE FROM users WHERE id IS NULL OR id = ''")
    assert rig.run().failure is None
    assert State.from_json(rig.store.value).owed_null_keys is False


def test_a_key_that_is_there_twice_is_owed_until_one_copy_is_left(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([1, 2, 2, 3])
    assert rig.run().counts == {"upserted": 2, "invalid": 2}
    assert rig.run().counts == {"unchanged": 1, "invalid": 2}
    users.sql("DELETE FROM users WHERE rowid = 2")
    assert rig.run().counts == {"unchanged": 1, "upserted": 1}
    assert set(tiny.records) == {"1", "2", "3"}


@pytest.mark.parametrize("appends", [True, False])
def test_more_rejects_than_can_be_owed_stop_the_run_and_lose_nothing(
    rig: Rig, posts: Rig, users: Users, tiny: TinyApi, appends: bool
) -> None:
    rig = posts if appends else rig
    rig.destination = Roomy
    total = MAX_OWED + 3_000
    users.add(range(total))
    tiny.whole = False
    # Every second row is refused, so batches are mixed when the limit is reached.
    tiny.refused.update({str(i): "no" for i in range(0, total, 2)})
    first = rig.run()
    assert isinstance(first.failure, ThresholdExceeded)
    assert "more than 2,000 rows" in str(first.failure)
    assert len(owed(rig)) == MAX_OWED
    assert first.read < total
    tiny.refused.clear()
    second = rig.run()
    assert second.failure is None
    if appends:
        assert sorted(map(int, tiny.posted)) == list(range(total))
    else:
        assert len(tiny.records) == total
    assert owed(rig) == set()


def test_too_many_invalid_rows_at_the_end_do_not_count_as_done(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([""] + [f"\x00{i}" for i in range(MAX_OWED + 1)], t=3)
    first = rig.run()
    assert isinstance(first.failure, ThresholdExceeded)
    users.sql("UPDATE users SET id = rowid")
    assert rig.run().counts == {"upserted": MAX_OWED + 2}


def test_debts_survive_a_run_that_is_cut_short(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    tiny.refused.update({"5": "no", "50": "no"})
    rig.run()
    users.add(range(200, 300))
    rig.sandbox.inject(Fault(api="tiny", after=2, status=401))
    assert isinstance(rig.run().failure, AuthError)
    assert {5, 50} <= owed(rig)
    tiny.refused.clear()
    assert rig.run().failure is None
    assert len(tiny.records) == 200
    assert owed(rig) == set()


def test_a_debt_is_paid_although_the_run_that_paid_it_is_cut_short(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(40))
    tiny.refused.update({str(i): "no" for i in range(40)})
    posts.run()
    tiny.refused.clear()
    posts.sandbox.inject(Fault(api="tiny", after=2, status=401, times=9))
    assert isinstance(posts.run().failure, AuthError)
    posts.sandbox.recover()
    posts.run()
    assert sorted(map(int, tiny.posted)) == list(range(40))


def test_keys_keep_their_type_when_they_are_read_again(rig: Rig, users: Users, tiny: TinyApi) -> None:
    keys = [2**60, "7", 7.5, "it's; DROP TABLE users --", "\U0001f600"]
    users.add(keys, t=1)
    tiny.refused.update({str(key): "no" for key in keys})
    assert rig.run().counts == {"rejected": 5}
    tiny.refused.clear()
    assert rig.run().counts == {"upserted": 5}
    assert set(tiny.records) == {str(key) for key in keys}
