"""Rows that must not be sent twice, and a worker that is killed while it sends them."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from airflow_provider_census.destinations.slack import Slack
from airflow_provider_census.errors import AuthError, Busy, StateError, ThresholdExceeded
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Snapshot, Watermark
from airflow_provider_census.sync.state import MemoryStore, State
from airflow_provider_census.sync.template import Template
from airflow_provider_census.sync.values import Operation
from airflow_provider_census.transport.rate import Rate
from tests.sync.support import APPEND, Finding, Lite, Rig, Tiny, TinyApi, Users

MIRROR = Behavior.MIRROR


class Adding(Tiny):
    """A destination where nothing may be sent twice, whatever it is."""

    def repeatable(self, operation: Operation) -> bool:
        return False


@pytest.fixture(params=["watermark", "snapshot", "staged snapshot"])
def kept(request: pytest.FixtureRequest, posts: Rig, tmp_path: Path) -> Rig:
    """Appends, and what is remembered of them in each of the ways there are."""
    if request.param != "watermark":
        posts.settings["delta"] = Snapshot()
    if request.param == "staged snapshot":
        posts.settings["snapshot_database"] = Lite(tmp_path / "snapshot.sqlite")
    return posts


def in_doubt(rig: Rig) -> int:
    return len(State.from_json(rig.store.value).in_doubt)


def nothing_left(rig: Rig) -> bool:
    ran = rig.run(max_rejected=0)
    return ran.failure is None and set(ran.counts) <= {"unchanged"}


# --- a worker that is killed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("requests", [1, 4, 9])
def test_what_a_killed_worker_was_sending_is_listed_once_and_never_sent_again(
    kept: Rig, users: Users, tiny: TinyApi, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    users.add(range(300))
    kept.sandbox.inject(Fault(api="tiny", after=requests - 1, reset="before"))
    kept.run_killed(requests)
    caplog.clear()
    ran = kept.run(max_rejected=0)
    assert isinstance(ran.failure, ThresholdExceeded)
    assert 10 <= ran.counts["uncertain"] <= Tiny.concurrency * Tiny.batch
    (reason,) = {entry["reason"] for entry in ran.json["uncertain_sample"]}
    assert reason == "sent by a run that ended before the answer came"
    assert max(Counter(tiny.posted).values()) == 1
    listed = keys(caplog.records)
    assert set(range(300)) - {int(id) for id in tiny.posted} <= set(listed)
    assert len(listed) == len(set(listed)) == ran.counts["uncertain"]
    assert nothing_left(kept)


def test_nothing_leaves_before_it_is_saved_that_it_will(kept: Rig, users: Users) -> None:
    users.add(range(300))
    kept.run_killed(0)
    assert kept.sandbox.ledger == []


def test_what_a_killed_worker_was_sending_is_sent_again_where_the_author_says_so(
    kept: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(300))
    kept.run_killed(2)
    arrived = len(tiny.posted)
    ran = kept.run(options={"on_uncertain": "resend"})
    assert set(ran.counts) <= {"sent", "unchanged"}
    times = Counter(tiny.posted)
    assert len(times) == 300
    assert max(times.values()) == 2
    assert times.total() - 300 <= arrived
    assert nothing_left(kept)


def test_a_worker_that_is_killed_again_and_again_doubles_nothing(kept: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(200))
    for requests in (1, 1, 2, 1, 3):
        kept.run_killed(requests)
    kept.run()
    assert max(Counter(tiny.posted).values()) == 1
    assert nothing_left(kept)


def test_a_full_refresh_sends_also_what_is_in_doubt(kept: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    kept.run_killed(2)
    assert kept.run(full_refresh=True).counts == {"sent": 100}
    assert set(tiny.posted) == {str(n) for n in range(100)}
    assert nothing_left(kept)


def test_a_dry_run_leaves_the_doubt_as_it_is(finding: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    finding.run_killed(1)
    assert finding.run(dry_run=True).counts == {"uncertain": 10, "sent": 90}
    assert len(finding.sandbox.ledger) == 1
    assert finding.run().counts == {"sent": 100}
    assert max(Counter(tiny.posted).values()) == 1


def test_a_changed_row_is_still_the_one_in_doubt_where_the_key_decides(kept: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(10))
    kept.run_killed(1)
    users.sql("UPDATE users SET name = 'new'")
    assert kept.run().counts == {"uncertain": 10}
    assert len(tiny.posted) == 10


def test_a_row_that_cannot_be_sent_for_a_while_stays_in_doubt(kept: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(10))
    kept.run_killed(1)
    users.add([3])
    assert kept.run().counts == {"uncertain": 9, "invalid": 2}
    users.sql("DELETE FROM users WHERE id = 3 AND rowid > 5")
    counts = kept.run().counts
    assert counts.pop("unchanged", 0) <= 9
    assert counts == {"uncertain": 1}
    assert len(tiny.posted) == 10


def test_what_is_repeated_without_harm_is_not_written_down(rig: Rig, users: Users) -> None:
    saves = []

    class Counting(MemoryStore):
        def save(self, state: State) -> None:
            saves.append(state)
            super().save(state)

    rig.store = Counting()
    users.add(range(500))
    assert rig.run().counts == {"upserted": 500}
    assert len(saves) == 1


def test_an_update_that_adds_is_in_doubt_in_the_form_it_was_sent_in(rig: Rig, users: Users, tiny: TinyApi) -> None:
    rig.destination = Adding
    users.add(range(10))
    rig.run_killed(1)
    users.sql("UPDATE users SET name = 'more' WHERE id = 3")
    assert rig.run().counts == {"uncertain": 9, "upserted": 1}
    assert tiny.records["3"] == {"name": "more"}
    assert nothing_left(rig)


# --- a mapping that changes ---------------------------------------------------------------------------------------

MORE: dict[str, Any] = {"mapping": {"name": "name", "time": "t"}}


@pytest.fixture(params=["watermark", "snapshot", "staged snapshot"])
def careful(request: pytest.FixtureRequest, rig: Rig, users: Users, tmp_path: Path) -> Rig:
    """Updates where nothing may be sent twice; a worker was killed that had sent ten of thirty."""

    class InOrder(Adding):
        concurrency = 1

    rig.destination = InOrder
    if request.param != "watermark":
        rig.settings["delta"] = Snapshot()
    if request.param == "staged snapshot":
        rig.settings["snapshot_database"] = Lite(tmp_path / "snapshot.sqlite")
    users.add(range(30))
    rig.run_killed(1)
    return rig


def most_often_written(rig: Rig) -> int:
    sent = Counter(record["id"] for call in rig.sandbox.ledger for record in call.json["records"])
    return max(sent.values())


@pytest.mark.parametrize("fewer", [False, True])
def test_a_changed_mapping_leaves_in_doubt_what_was(careful: Rig, fewer: bool) -> None:
    settings = {"mapping": {"name": "name"}, "behavior": Behavior.UPDATE_ONLY} if fewer else MORE
    done = "updated" if fewer else "upserted"
    ran = careful.run(**settings)
    assert ran.counts.pop("skipped", 0) + ran.counts.pop(done, 0) == 20
    assert ran.counts == {"uncertain": 10}
    assert most_often_written(careful) == 1
    assert set(careful.run(**settings).counts) <= {"unchanged"}


def test_a_doubt_outlives_a_run_with_the_new_mapping_that_does_not_come_to_it(
    careful: Rig, users: Users, tiny: TinyApi
) -> None:
    sent = ", ".join(tiny.records)
    if isinstance(careful.settings["delta"], Watermark):
        careful.source.breaks_after = careful.source.fetched
        assert careful.run(**MORE).failure is not None
        careful.source.breaks_after = None
        left = 20
    else:
        careful.run(**MORE, sql=f"SELECT * FROM users WHERE id NOT IN ({sent})")
        left = 0
    assert careful.run(**MORE).counts == {"uncertain": 10} | ({"upserted": left} if left else {})
    assert most_often_written(careful) == 1
    users.sql(f"UPDATE users SET name = 'new', t = 100 WHERE id IN ({sent})")
    assert careful.run(**MORE).counts["upserted"] == 10, "another version, and in no doubt"


def test_a_changed_mapping_sends_what_is_in_doubt_where_the_author_says_so(careful: Rig) -> None:
    assert careful.run(**MORE, options={"on_uncertain": "resend"}).counts == {"upserted": 30}
    assert set(careful.run(**MORE).counts) <= {"unchanged"}


def test_another_cursor_leaves_in_doubt_what_was(careful: Rig) -> None:
    if isinstance(careful.settings["delta"], Snapshot):
        pytest.skip("it follows none")
    assert careful.run(delta=Watermark("id")).counts == {"uncertain": 10, "upserted": 20}
    assert most_often_written(careful) == 1


@pytest.mark.parametrize("adds", [False, True])
def test_another_delta_sends_nothing_before_the_doubt_is_settled_by_the_last_one(
    kept: Rig, users: Users, tiny: TinyApi, adds: bool
) -> None:
    class InOrder(Adding):
        concurrency = 1

    kept.destination = InOrder
    kept.settings |= {} if adds else {"object": "record", "behavior": Behavior.CREATE_ONLY}
    users.add(range(30))
    kept.run_killed(1)
    tiny.records.clear()  # the API does not say which of them it has
    last: Any = kept.settings["delta"]
    kept.settings["delta"] = Watermark("t") if isinstance(last, Snapshot) else Snapshot()
    for dry in (True, False, False):
        ran = kept.run(dry_run=dry)
        assert isinstance(ran.failure, StateError)
        followed = "a snapshot" if isinstance(last, Snapshot) else "the cursor t"
        assert f"followed {followed} and left 10 row(s) in doubt" in str(ran.failure)
        assert "Run it once more as it was" in str(ran.failure)
    assert most_often_written(kept) == 1

    assert kept.run(delta=last).counts == {"uncertain": 10, "sent" if adds else "created": 20}
    ran = kept.run()
    assert most_often_written(kept) == 1 if adds else set(ran.counts) <= {"created", "skipped"}
    assert kept.run(full_refresh=True).failure is None


def test_a_full_refresh_by_another_delta_sends_what_is_in_doubt_too(
    kept: Rig, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    users.add(range(30))
    kept.run_killed(1)
    back = isinstance(kept.settings["delta"], Snapshot)
    kept.settings["delta"] = Watermark("t") if back else Snapshot()
    assert kept.run(full_refresh=True).counts == {"sent": 30}
    assert ("The last run followed a snapshot, this one follows the cursor t" in caplog.text) == back
    assert nothing_left(kept)


@pytest.mark.parametrize("delta", [Watermark("t"), Snapshot()], ids=["watermark", "snapshot"])
def test_what_arrived_before_any_watermark_is_not_sent_again_by_another_delta(
    posts: Rig, users: Users, tiny: TinyApi, delta: Any
) -> None:
    class Two(Tiny):
        concurrency = 2

    posts.destination, posts.settings["delta"] = Two, delta
    users.add(range(30))
    posts.sandbox.inject(Fault(api="tiny", contains='"id":"0"', delay_s=0.5, status=401))
    assert isinstance(posts.run().failure, AuthError)
    assert tiny.posted
    before = list(tiny.posted)
    posts.settings["delta"] = Watermark("t") if isinstance(delta, Snapshot) else Snapshot()
    ran = posts.run()
    assert "add every row again" in str(ran.failure)
    assert tiny.posted == before


def test_a_creation_in_doubt_is_not_repeated_with_other_values(careful: Rig, users: Users, tiny: TinyApi) -> None:
    careful.settings["behavior"] = Behavior.CREATE_ONLY
    careful.run()
    users.add([50, 51], t=50)
    careful.run_killed(1)
    tiny.records.pop("50")  # it is not found yet
    users.sql("UPDATE users SET name = 'new' WHERE id = 50")
    counts = careful.run().counts
    counts.pop("unchanged", None)
    assert counts == {"uncertain": 2}


# --- what is known is not in doubt -------------------------------------------------------------------------------


def test_what_was_refused_is_not_in_doubt(kept: Rig, users: Users, tiny: TinyApi) -> None:
    tiny.refused.update({str(n): "no" for n in range(5)})
    users.add(range(20))
    assert kept.run().counts == {"sent": 15, "rejected": 5}
    assert in_doubt(kept) == 0
    tiny.refused.clear()
    assert kept.run().counts["sent"] == 5


def test_what_was_not_sent_because_the_run_had_to_end_is_not_in_doubt(kept: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(200))
    kept.sandbox.inject(Fault(api="tiny", after=3, times=99, status=401))
    assert isinstance(kept.run().failure, AuthError)
    assert in_doubt(kept) == 0
    kept.sandbox.recover()
    assert "uncertain" not in kept.run().counts
    assert sorted(map(int, tiny.posted)) == list(range(200))


def test_what_is_answered_while_the_task_is_ended_is_known_and_what_was_not_sent_is_not_in_doubt(
    kept: Rig, users: Users, tiny: TinyApi
) -> None:
    class TimedOut(BaseException):
        pass

    def time_out(*_: object) -> None:
        raise TimedOut

    def end_the_task() -> None:
        while not kept.sandbox.ledger:
            time.sleep(0.01)
        time.sleep(1.2)  # long enough to hand the other batches over, also on a busy machine
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    users.add(range(200))
    tiny.slow_s = 2.5
    before = signal.signal(signal.SIGUSR1, time_out)
    ending = threading.Thread(target=end_the_task)
    ending.start()
    try:
        # One batch is being served, the others wait for their turn.
        with pytest.raises(TimedOut):
            kept.run(rates=(Rate("all", 1, 60.0),))
    finally:
        ending.join()
        signal.signal(signal.SIGUSR1, before)
    assert len(tiny.posted) == 10
    tiny.slow_s = 0.0
    assert "uncertain" not in kept.run().counts
    assert sorted(map(int, tiny.posted)) == list(range(200))


def test_what_could_not_be_written_down_is_neither_sent_nor_in_doubt(kept: Rig, users: Users, tiny: TinyApi) -> None:
    class Contended(MemoryStore):
        saves = 0

        def save(self, state: State) -> None:
            self.saves += 1
            if self.saves == 2:
                raise Busy("another run has saved its state meanwhile")
            super().save(state)

    users.add(range(200))
    kept.store = Contended()
    assert isinstance(kept.run().failure, Busy)
    assert "uncertain" not in kept.run().counts
    assert sorted(map(int, tiny.posted)) == list(range(200))


def test_a_source_that_is_slow_holds_up_nothing_that_is_ready(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(100))
    posts.source.breaks_after = 95
    ran = posts.run(sql="SELECT * FROM users")
    assert ran.failure is not None
    assert len(tiny.posted) == ran.counts.get("sent", 0)
    assert in_doubt(posts) == 0


# --- snapshots ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(sandbox: Sandbox, lite: Lite) -> Rig:
    """A mirror where nothing may be sent twice: not a deletion either."""
    lite.execute("CREATE TABLE users (id INT, name TEXT, t INT)")
    lite.execute("INSERT INTO users VALUES (?, ?, ?)", *[(i, f"n{i}", 0) for i in range(20)])
    settings: dict[str, Any] = {"behavior": MIRROR, "max_deletes": None}
    return Rig(sandbox, lite, Adding, delta=Snapshot(), **settings)


def test_a_deletion_in_doubt_is_listed_once_and_not_repeated(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("DELETE FROM users WHERE id < 5")
    mirror.run_killed(1)
    tiny.records["3"] = {"name": "another who came to be called so"}
    assert mirror.run().counts == {"uncertain": 5}
    assert "3" in tiny.records
    assert mirror.run().counts == {}


def test_a_change_in_doubt_that_was_refused_leaves_the_record_known(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id = 3")
    tiny.refused["3"] = "no"
    assert mirror.run().counts == {"rejected": 1}
    tiny.refused.clear()
    mirror.source.execute("DELETE FROM users WHERE id = 3")
    assert mirror.run().counts == {"deleted": 1}


def test_a_row_in_doubt_that_changed_since_is_another_one(mirror: Rig, tiny: TinyApi) -> None:
    mirror.run()
    mirror.source.execute("UPDATE users SET name = 'new' WHERE id < 5")
    mirror.run_killed(1)
    mirror.source.execute("UPDATE users SET name = 'newer' WHERE id = 3")
    assert mirror.run().counts == {"uncertain": 4, "upserted": 1}
    assert tiny.records["3"] == {"name": "newer"}
    assert mirror.run().counts == {}


# --- looking -----------------------------------------------------------------------------------------------------


@pytest.fixture
def finding(kept: Rig) -> Rig:
    """Appends to an API that can be asked what has arrived; one request at a time."""

    class InOrder(Finding):
        concurrency = 1

    kept.destination = InOrder
    return kept


def test_what_is_found_is_sent_and_what_is_not_is_sent_now_in_its_turn(
    finding: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(50))
    finding.run_killed(3)
    arrived = tiny.posted
    lost = [arrived[24], arrived[27]]
    tiny.posts = [post for post in tiny.posts if post["id"] not in lost]
    ran = finding.run(max_rejected=0)
    assert ran.failure is None
    assert set(ran.counts) <= {"sent", "unchanged"}
    assert tiny.posted[28:30] == lost
    assert sorted(map(int, tiny.posted)) == list(range(50))
    assert nothing_left(finding)


@pytest.mark.parametrize(("on_uncertain", "outcome", "posted"), [("hold", "uncertain", 10), ("resend", "sent", 20)])
def test_what_cannot_be_told_goes_as_the_author_says(
    finding: Rig, users: Users, tiny: TinyApi, on_uncertain: str, outcome: str, posted: int
) -> None:
    options = {"on_uncertain": on_uncertain}
    users.add(range(10), name="vague")
    finding.run_killed(1, options=options)
    assert finding.run(options=options).counts == {outcome: 10}
    assert len(tiny.posted) == posted
    assert nothing_left(finding)


def test_an_answer_that_is_lost_behind_a_post_is_made_good_by_looking(
    finding: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(30))
    finding.sandbox.inject(Fault(api="tiny", path="*write", after=1, reset="after"))
    assert finding.run(max_rejected=0).counts == {"sent": 30}
    assert len(tiny.posted) == 30
    assert nothing_left(finding)


def test_a_post_that_is_not_found_at_once_is_looked_for_by_the_next_run(
    finding: Rig, users: Users, tiny: TinyApi
) -> None:
    users.add(range(30))
    finding.sandbox.inject(Fault(api="tiny", path="*write", after=1, reset="before"))
    assert finding.run().counts == {"sent": 20, "uncertain": 10}
    assert len(tiny.posted) == 20
    assert finding.run(max_rejected=0).counts["sent"] == 10
    assert sorted(map(int, tiny.posted)) == list(range(30))
    assert nothing_left(finding)


def test_where_looking_fails_the_doubt_stays(finding: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(30))
    finding.run_killed(2)
    finding.sandbox.inject(Fault(api="tiny", path="*find", times=9, status=503))
    assert finding.run().failure is not None
    finding.sandbox.recover()
    assert finding.run(max_rejected=0).failure is None
    assert sorted(map(int, tiny.posted)) == list(range(30))


# --- Slack -------------------------------------------------------------------------------------------------------


@pytest.fixture
def slack(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Messages by a token that may read the channel's history."""
    monkeypatch.setattr(Slack, "applied_within_s", 0.0)
    rig.sandbox["slack"].posts_per_s = None
    rates = [Rate(name, 1_000, 1.0) for name in ("post", "list", "history")]
    settings: dict[str, Any] = {"object": "#general", "behavior": APPEND, "mapping": {"text": Template("row {{ id }}")}}
    return Rig(rig.sandbox, rig.source, Slack, delta=Watermark("t"), rates=rates, max_rejected=0, **settings)


@pytest.mark.parametrize("requests", [2, 3, 6])
@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_message_that_a_killed_worker_was_posting_is_looked_for(
    slack: Rig, users: Users, requests: int, reset: Literal["before", "after"]
) -> None:
    users.add(range(10))
    slack.sandbox.inject(Fault(api="slack", path="*postMessage", after=requests - 2, reset=reset))
    slack.sandbox.inject(Fault(api="slack", path="*history", times=9, status=503))
    slack.run_killed(requests)
    slack.sandbox.recover()
    assert slack.run().failure is None
    assert slack.api.texts("general") == [f"row {n}" for n in range(10)]
    assert nothing_left(slack)


def test_a_message_posted_without_a_mark_is_not_looked_for(slack: Rig, users: Users) -> None:
    users.add(range(10))
    scopes = set(slack.api.scopes)
    slack.api.scopes -= {"channels:history"}
    slack.run_killed(2)
    slack.api.scopes |= scopes
    assert slack.run(max_rejected=None).counts == {"uncertain": 1, "sent": 9}
    assert slack.api.texts("general") == [f"row {n}" for n in range(10)]


def keys(records: Iterable[logging.LogRecord]) -> list[int]:
    """Return the keys of the rows that a log lists as uncertain."""
    return [int(key) for record in records if "uncertain" in record.msg for key in str(record.args[1]).split(", ")]
