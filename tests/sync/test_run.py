from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.errors import AuthError, ConfigError, Interrupted, ThresholdExceeded, Unavailable
from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import Constant
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.sync.template import Template
from airflow_provider_census.sync.values import Operation
from airflow_provider_census.transport.rate import Rate
from tests.sync.support import APPEND, DELETE, SEND, UPSERT, Rig, Tiny, TinyApi, Users

TIE = Watermark("t")


@pytest.fixture
def braze(rig: Rig) -> Rig:
    mapping = {"first_name": "name"}
    return Rig(rig.sandbox, rig.source, destinations.get("braze"), delta=TIE, object="user", mapping=mapping)


@pytest.fixture
def braze_events(rig: Rig) -> Rig:
    mapping = {"external_id": "name", "name": Constant("signed_up"), "time": Constant("2024-01-01T00:00:00Z")}
    mapping["properties.n"] = "t"
    settings: dict[str, Any] = {"object": "event", "behavior": SEND, "mapping": mapping}
    return Rig(rig.sandbox, rig.source, destinations.get("braze"), delta=TIE, **settings)


@pytest.fixture
def slack(rig: Rig) -> Rig:
    """Messages by a token that may not read the channel's history."""
    rig.sandbox["slack"].posts_per_s = None
    rig.sandbox["slack"].scopes -= {"channels:history", "groups:history"}
    rates = (Rate("post", 100_000, 1.0), Rate("list", 1_000, 1.0))
    settings: dict[str, Any] = {"object": "#general", "behavior": APPEND, "mapping": {"text": Template("row {{ id }}")}}
    return Rig(rig.sandbox, rig.source, destinations.get("slack"), delta=TIE, rates=rates, **settings)


@pytest.fixture
def intercom_events(rig: Rig) -> Rig:
    mapping = {"event_name": Constant("signed_up"), "created_at": "t", "user_id": "name"}
    settings: dict[str, Any] = {"object": "event", "behavior": SEND, "mapping": mapping}
    return Rig(rig.sandbox, rig.source, destinations.get("intercom"), delta=TIE, **settings)


# --- uncertain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_uncertain", "first", "second", "posted"),
    [
        ("hold", {"sent": 19, "uncertain": 1}, {"unchanged": 1}, 1),
        ("resend", {"sent": 20}, {"unchanged": 1}, 2),
    ],
)
def test_a_message_without_an_answer_is_held_or_sent_again_as_the_author_says(
    slack: Rig, users: Users, on_uncertain: str, first: dict[str, int], second: dict[str, int], posted: int
) -> None:
    users.add(range(20))
    slack.sandbox.inject(Fault(api="slack", path="*postMessage", contains="row 7", reset="after"))
    options = {"on_uncertain": on_uncertain}
    ran = slack.run(options=options)
    assert ran.counts == first
    assert slack.run(options=options).counts == second
    texts = slack.api.texts("general")
    assert [texts.count(f"row {n}") for n in range(20)] == [1] * 7 + [posted] + [1] * 12
    assert texts == sorted(texts, key=lambda text: int(text[4:]))


def test_held_rows_are_listed_and_count_against_max_rejected(slack: Rig, users: Users) -> None:
    users.add(range(20))
    slack.sandbox.inject(Fault(api="slack", path="*postMessage", contains="row 7", reset="before"))
    ran = slack.run(max_rejected=0)
    assert isinstance(ran.failure, ThresholdExceeded)
    assert "1 of 20 rows tried ended rejected" in str(ran.failure)
    assert "no answer" in str(ran.failure)
    assert "1 of them are uncertain" in str(ran.failure)
    assert "; with the scope channels:history (in private channels groups:history)" in str(ran.failure)
    (entry,) = ran.json["uncertain_sample"]
    assert entry["key"] == 7
    assert "may have been applied" in entry["reason"]
    assert slack.run(max_rejected=0).failure is None


def test_a_held_row_at_the_watermark_is_not_sent_by_the_next_run(posts: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(10), t=7)
    posts.sandbox.inject(Fault(api="tiny", reset="after"))
    assert posts.run().counts == {"uncertain": 10}
    assert posts.run().counts == {"unchanged": 10}
    assert len(tiny.posted) == 10


def test_an_upsert_without_an_answer_is_repeated_until_there_is_one(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(range(10))
    rig.sandbox.inject(Fault(api="tiny", reset="after", times=2))
    assert rig.run().counts == {"upserted": 10}
    tiny.forgets = {"3"}
    users.sql("UPDATE users SET t = 20, name = 'm'")
    assert rig.run().counts == {"upserted": 9, "uncertain": 1}
    tiny.forgets = set()
    assert rig.run().counts == {"upserted": 1, "unchanged": 9}


def test_a_row_that_the_api_would_know_again_is_not_held(posts: Rig, users: Users, tiny: TinyApi) -> None:
    class Deduplicating(Tiny):
        def repeatable(self, operation: Operation) -> bool:
            return True

    posts.destination = Deduplicating
    users.add(range(10))
    tiny.forgets = {"3"}
    assert posts.run().counts == {"sent": 9, "uncertain": 1}
    tiny.forgets = set()
    assert posts.run().counts == {"sent": 1, "unchanged": 1}


def test_an_update_that_adds_is_held_like_an_append(braze: Rig, users: Users) -> None:
    users.add(range(3))
    mapping = {"visits": Template({"inc": "{{ t + 1 }}"})}
    braze.sandbox.inject(Fault(api="braze", path="/users/track", reset="after"))
    assert braze.run(mapping=mapping).counts == {"uncertain": 3}
    assert braze.run(mapping=mapping).counts == {"unchanged": 1}
    assert [p["attributes"]["visits"] for p in braze.api.users.profiles] == [1, 2, 3]


def test_events_at_intercom_arrive_once_whatever_the_network_does(intercom_events: Rig, users: Users) -> None:
    intercom_events.api.add_contact(role="user", external_id="u1")
    users.add(range(1_700_000_000, 1_700_000_040), name="u1")
    for fault in ({"reset": "after"}, {"html": True}, {"status": 500}, {"status": 429}):
        intercom_events.sandbox.inject(Fault(api="intercom", path="/events", after=3, **fault))
    assert intercom_events.run().counts == {"sent": 40}
    assert intercom_events.run().counts == {"unchanged": 1}
    assert len({event["created_at"] for event in intercom_events.api.events}) == 40


# --- real destinations -------------------------------------------------------------------------------------------


def test_a_poison_record_at_braze_is_rejected_alone(braze: Rig, users: Users) -> None:
    users.add([n if n != 40 else "guest" for n in range(150)], t=1)
    ran = braze.run()
    assert ran.counts == {"upserted": 149, "rejected": 1}
    assert ran.json["rejected_sample"][0]["key"] == "guest"
    assert "blacklisted" in ran.json["rejected_sample"][0]["reason"]
    assert len(braze.api.users.profiles) == 149


def test_events_of_an_interrupted_first_run_are_not_sent_again(braze_events: Rig, users: Users) -> None:
    users.add(range(3_000), name="u1")
    # The first batch stays open, so there is no watermark; others arrive before the key is revoked.
    braze_events.sandbox.inject(Fault(api="braze", contains='"n":0}', status=401, delay_s=0.3))
    first = braze_events.run()
    assert isinstance(first.failure, AuthError)
    assert first.watermark is None
    assert first.counts["sent"] >= 75
    second = braze_events.run()
    assert second.failure is None
    assert len(braze_events.api.events) == 3_000


def test_deletes_follow_the_watermark(rig: Rig, users: Users, tiny: TinyApi) -> None:
    tiny.records.update({str(n): {} for n in range(20)})
    users.add(range(5))
    assert rig.run(behavior=DELETE, mapping={}).counts == {"deleted": 5}
    assert rig.run(behavior=DELETE, mapping={}).counts == {"unchanged": 1}
    assert len(tiny.records) == 15


def test_rows_the_behavior_skips_are_settled(braze: Rig, users: Users) -> None:
    users.add(range(5))
    assert braze.run(behavior=Behavior.UPDATE_ONLY).counts == {"skipped": 5}
    assert braze.run(behavior=Behavior.UPDATE_ONLY).counts == {"unchanged": 1}


# --- limits ------------------------------------------------------------------------------------------------------


def test_what_was_accepted_is_committed_before_the_limit_fails_the_run(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([*range(95), *(f"bad{n}" for n in range(5))], t=1)
    tiny.refused.update({f"bad{n}": f"reason {n}" for n in range(5)})
    ran = rig.run(max_rejected=4)
    assert isinstance(ran.failure, ThresholdExceeded)
    assert "5 of 100 rows tried ended rejected, max_rejected=4 allows 4" in str(ran.failure)
    assert "reason 0 (sent with ***)" in str(ran.failure)
    assert len(tiny.records) == 95
    assert rig.run(max_rejected=0.05).failure is not None, "5 of 5 rows tried: the settled ones are no part of it"
    tiny.refused.clear()
    assert rig.run(max_rejected=0).counts == {"upserted": 5, "unchanged": 95}


# --- dry run -----------------------------------------------------------------------------------------------------


def test_a_dry_run_sends_no_write_and_moves_no_state(
    braze: Rig, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    users.add(range(160))
    users.sql("INSERT INTO users VALUES (NULL, 'n', 5)")
    with caplog.at_level(logging.INFO):
        ran = braze.run(dry_run=True, rates=(Rate("users_track", 1, 10.0),))
    assert ran.counts == {"upserted": 160, "invalid": 1}
    assert ran.json["dry_run"] is True
    assert ran.json["estimate"] == {"requests": 3, "seconds": 30.6}
    assert braze.store.value is None
    assert braze.sandbox.ledger == []
    assert "nothing was sent" in caplog.text
    assert '"external_id": "0"' in caplog.text
    assert braze.run().counts == {"upserted": 160, "invalid": 1}
    before = braze.store.value
    assert braze.run(dry_run=True).counts == {"unchanged": 1, "invalid": 1}
    assert braze.store.value == before


def test_a_dry_run_finds_what_is_wrong_without_failing_on_limits(rig: Rig, users: Users) -> None:
    users.add(range(3))
    assert isinstance(rig.run(dry_run=True, mapping={"name": "nope"}).failure, ConfigError)
    assert isinstance(rig.run(dry_run=True, sql="SELECT 1 AS id; SELECT 2 AS id").failure, ConfigError)


# --- before the first row ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "nope"},
        {"mapping": {"name": "nope"}},
        {"delta": Watermark("nope")},
        {"sql": "DELETE FROM users"},
        {"object": "order", "mapping": {"status": "name"}},
    ],
)
def test_a_wrong_sync_fails_before_the_first_row(rig: Rig, users: Users, wrong: dict[str, Any]) -> None:
    users.add(range(3))
    ran = rig.run(**wrong)
    assert isinstance(ran.failure, ConfigError)
    assert (ran.read, rig.source.fetched, rig.sandbox.ledger, rig.store.value) == (0, 0, [], None)


def test_a_wrong_key_stops_the_run_and_is_not_shown(rig: Rig, users: Users) -> None:
    users.add(range(1_000))
    ran = rig.run(password="wrong-secret-key")
    assert isinstance(ran.failure, AuthError)
    assert "wrong-secret" not in str(ran.failure)
    assert "***" in str(ran.failure)
    assert len(rig.sandbox.ledger) <= 4
    assert rig.run().counts == {"upserted": 1_000}


def test_a_task_that_is_asked_to_stop_while_the_source_is_busy_keeps_what_has_arrived(
    rig: Rig, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = rig.source.stream

    def busy(query: Query, batch_rows: int = 100) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        with closing(stream(query, batch_rows)) as batches:
            first = next(batches)
        yield first
        while len(rig.sandbox.ledger) < 100 / Tiny.batch:
            time.sleep(0.01)
        client.stop()
        go_on.wait(10)

    users.add(range(150))
    go_on = threading.Event()
    client = rig.client = rig.connect()
    with monkeypatch.context() as patched:
        patched.setattr(rig.source, "stream", busy)
        ran = rig.run()
    go_on.set()
    assert isinstance(ran.failure, Interrupted)
    assert (ran.counts, ran.read) == ({"upserted": 100}, 100)
    rig.client = None
    assert rig.run().counts == {"upserted": 50, "unchanged": 1}


def test_the_source_is_closed_while_the_error_that_ended_the_run_is_still_held(rig: Rig, users: Users) -> None:
    users.add(range(1_000))
    failures = [rig.run(password="wrong-secret-key").failure, rig.run(dry_run=True, mapping={"name": "id"}).failure]
    rig.source.breaks_after = rig.source.fetched + 300
    failures.append(rig.run().failure)
    assert [type(failure) for failure in failures] == [AuthError, type(None), Unavailable]
    assert rig.source.open == 0


def test_a_key_of_a_type_that_cannot_identify_stops_the_run(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([1, b"bytes"], t=1)
    ran = rig.run(delta=FullRefresh())
    assert isinstance(ran.failure, ConfigError)
    assert "bytes cannot be a sync key" in str(ran.failure)


def test_a_model_without_rows_is_a_run_like_any_other(rig: Rig, users: Users) -> None:
    ran = rig.run(behavior=UPSERT)
    assert (ran.counts, ran.failure, ran.watermark) == ({}, None, None)
    users.add(range(3))
    assert rig.run().counts == {"upserted": 3}
    users.sql("DELETE FROM users")
    assert (rig.run().counts, rig.run().watermark) == ({}, 2)


# --- one record, two rows ----------------------------------------------------------------------------------------


@pytest.fixture
def addresses(rig: Rig, users: Users) -> Rig:
    """Two rows whose keys SQLite holds for two, and the destination for one, twenty rows apart."""
    users.add(["É@x.io", *(f"{n}@x.io" for n in range(20)), "é@x.io"], t=1)
    rig.settings |= {"identifier": "email"}
    return rig


@pytest.mark.parametrize("delta", [TIE, Snapshot(), FullRefresh()])
def test_two_rows_that_are_one_record_are_never_under_way_together(addresses: Rig, tiny: TinyApi, delta: Any) -> None:
    tiny.slow_s = 0.2
    ran = addresses.run(delta=delta)
    assert ran.counts == {"upserted": 21, "invalid": 1}
    (sample,) = ran.json["invalid_sample"]
    assert sample["key"] in ("É@x.io", "é@x.io")
    assert "another row that is being sent has the same email, written otherwise" in sample["reason"]
    assert len(tiny.records) == 21


def test_two_rows_that_are_one_record_arrive_in_their_order_where_one_waits_for_the_other(
    addresses: Rig, tiny: TinyApi
) -> None:
    class Ordered(Tiny):
        concurrency = batch = 1

    addresses.destination = Ordered
    addresses.source.execute("UPDATE users SET name = id")
    assert addresses.run().counts == {"upserted": 22}
    assert tiny.records["é@x.io"] == {"name": "é@x.io"}


def test_a_row_that_waits_for_its_record_does_not_free_it(addresses: Rig, tiny: TinyApi, users: Users) -> None:
    users.add(["É@x.io "], t=1)
    tiny.slow_s = 0.2
    assert addresses.run().counts["upserted"] == 21
