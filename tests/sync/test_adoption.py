from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_census.errors import AuthError, ConfigError, Unavailable
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior, check_pair, check_sets
from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import Column, Constant, SyncAll
from airflow_provider_census.sync.template import Template
from tests.sync.support import Database, Lite, Looking, Rig, TinyApi, Users

ADOPT = Snapshot(baseline="adopt")
MAPPING = {"name": "name", "plan": Column("plan", null="send")}
IF_EMPTY = {"name": "name", "plan": Column("plan", set="if_empty")}


def _rows(sandbox: Sandbox, database: Database, **settings: Any) -> Rig:
    database.execute("CREATE TABLE users (id INT, name TEXT, plan TEXT, t INT)")
    database.execute("INSERT INTO users VALUES (?, ?, ?, ?)", *[(i, f"n{i}", "team", i) for i in range(20)])
    return Rig(sandbox, database, Looking, mapping=MAPPING, **settings)


@pytest.fixture(params=["lite", "duck", "staged"])
def adopting(request: pytest.FixtureRequest, sandbox: Sandbox) -> Rig:
    """A mirror that adopts what is there; its snapshot is beside the model, or in another database."""
    staged = request.param == "staged"
    database: Database = request.getfixturevalue("lite" if staged else request.param)
    elsewhere = {"snapshot_database": request.getfixturevalue("duck")} if staged else {}
    return _rows(sandbox, database, delta=ADOPT, behavior=Behavior.MIRROR, **elsewhere)


@pytest.fixture
def rig(sandbox: Sandbox, lite: Lite) -> Rig:
    return _rows(sandbox, lite)


def _there(tiny: TinyApi, ids: range) -> None:
    tiny.records.update({str(i): {"name": f"n{i}", "plan": "team", "theirs": "x"} for i in ids})


def _written(sandbox: Sandbox) -> list[str]:
    calls = sandbox.calls("tiny", "POST", "/v1/record/write")
    return sorted((record["id"] for call in calls for record in call.json["records"]), key=int)


def test_the_first_run_sends_only_what_differs_and_the_second_nothing(
    adopting: Rig, tiny: TinyApi, sandbox: Sandbox
) -> None:
    _there(tiny, range(15))
    tiny.records["3"]["name"] = "other"
    tiny.records["4"]["plan"] = None
    ran = adopting.run()
    assert ran.counts == {"unchanged": 13, "upserted": 7}
    assert _written(sandbox) == ["3", "4", "15", "16", "17", "18", "19"]
    assert ran.json["requests"] == len(sandbox.ledger)
    assert len(sandbox.calls("tiny", "POST", "*/fetch")) == 4, "they are looked up five at once"
    sandbox.ledger.clear()
    assert adopting.run().counts == {}
    assert sandbox.ledger == []


def test_a_mirror_deletes_what_it_sent_and_not_what_it_adopted(adopting: Rig, tiny: TinyApi) -> None:
    _there(tiny, range(10))
    adopting.run()
    adopting.source.execute("DELETE FROM users WHERE id IN (1, 12)")
    assert adopting.run(max_deletes=None).counts == {"deleted": 1}
    assert "1" in tiny.records
    assert "12" not in tiny.records


def test_a_record_that_was_adopted_and_then_changed_is_ours(adopting: Rig, tiny: TinyApi) -> None:
    _there(tiny, range(20))
    assert adopting.run().counts == {"unchanged": 20}
    adopting.source.execute("UPDATE users SET name = 'new' WHERE id = 1")
    assert adopting.run().counts == {"upserted": 1}
    adopting.source.execute("DELETE FROM users WHERE id = 1")
    assert adopting.run(max_deletes=None).counts == {"deleted": 1}


def test_rows_that_come_later_are_sent_without_a_look(adopting: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    adopting.run()
    _there(tiny, range(20, 21))
    adopting.source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (20, "n20", "team", 0))
    sandbox.ledger.clear()
    assert adopting.run().counts == {"upserted": 1}
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 5])
def test_a_worker_killed_in_the_first_run_leaves_the_rest_to_adopt(
    adopting: Rig, tiny: TinyApi, sandbox: Sandbox, requests: int
) -> None:
    _there(tiny, range(18))
    adopting.run_killed(requests)
    ran = adopting.run()
    assert ran.failure is None
    assert set(_written(sandbox)) == {"18", "19"}
    adopting.source.execute("DELETE FROM users WHERE id < 18")
    assert adopting.run(max_deletes=None).counts == {}
    assert len(tiny.records) == 20


def test_rows_that_could_not_be_looked_up_are_not_sent_but_looked_up_by_the_next_run(
    adopting: Rig, tiny: TinyApi, sandbox: Sandbox
) -> None:
    _there(tiny, range(20))
    tiny.silent = {"7"}
    ran = adopting.run(max_rejected=0)
    assert ran.counts == {"unchanged": 15, "rejected": 5}
    assert isinstance(ran.failure, Unavailable), "the next try may fare better"
    assert "could not be looked up" in ran.json["rejected_sample"][0]["reason"]
    tiny.silent = set()
    assert adopting.run().counts == {"unchanged": 5}
    assert _written(sandbox) == []


def test_a_destination_that_answers_no_look_up_is_down(adopting: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    adopting.source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", *[(i, "n", "p", i) for i in range(100, 200)])
    sandbox.inject(Fault(api="tiny", status=503, times=10_000))
    ran = adopting.run(attempts=1)
    assert isinstance(ran.failure, Unavailable)
    assert "down" in str(ran.failure)
    sandbox.recover()
    _there(tiny, range(20))
    assert adopting.run().counts == {"unchanged": 20, "upserted": 100}


def test_looking_up_and_sending_together_keep_to_what_the_destination_allows(
    adopting: Rig, tiny: TinyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopting.source.execute("INSERT INTO users VALUES (?, ?, ?, ?)", *[(i, "n", "p", i) for i in range(100, 300)])
    monkeypatch.setattr(Looking, "concurrency", 3)
    tiny.slow_s = 0.01
    assert adopting.run().counts == {"upserted": 220}
    assert tiny.most_in_flight == 3


def test_bad_credentials_end_the_run_at_the_look_up(adopting: Rig, tiny: TinyApi) -> None:
    assert isinstance(adopting.run(password="wrong").failure, AuthError)
    assert tiny.records == {}


def test_an_id_that_cannot_be_looked_up_is_rejected_alone(adopting: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    _there(tiny, range(20))
    tiny.unfit = {"8"}
    assert adopting.run().counts == {"unchanged": 19, "rejected": 1}
    tiny.unfit = set()
    sandbox.ledger.clear()
    assert adopting.run().counts == {"upserted": 1}, "the adoption has ended"


def test_what_cannot_be_told_is_sent(sandbox: Sandbox, lite: Lite) -> None:
    rig = _rows(sandbox, lite, delta=ADOPT, sql="SELECT 'twice' AS id, 'n' AS name, 'team' AS plan")
    assert rig.run().counts == {"upserted": 1}


def test_update_only_skips_what_is_not_there(rig: Rig, tiny: TinyApi) -> None:
    _there(tiny, range(10))
    tiny.records["0"]["name"] = "old"
    counts = rig.run(delta=ADOPT, behavior=Behavior.UPDATE_ONLY).counts
    assert counts == {"unchanged": 9, "updated": 1, "skipped": 10}


def test_a_full_refresh_looks_nothing_up(adopting: Rig, tiny: TinyApi, sandbox: Sandbox) -> None:
    _there(tiny, range(20))
    assert adopting.run(full_refresh=True).counts == {"upserted": 20}
    assert sandbox.calls("tiny", "POST", "*/fetch") == []


def test_a_dry_run_counts_the_look_ups_and_makes_none(
    adopting: Rig, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        ran = adopting.run(dry_run=True)
    assert ran.counts == {"upserted": 20}
    assert ran.json["estimate"]["requests"] == 4 + 2
    assert "20 records to look up differs" in caplog.text
    assert sandbox.ledger == []
    assert adopting.store.value is None


def test_another_object_of_the_same_sync_is_adopted_as_well(rig: Rig, tiny: TinyApi) -> None:
    class Elsewhere(Looking):
        objects = (*Looking.objects, replace(Looking.objects[0], name="other"))

    rig.destination = Elsewhere
    _there(tiny, range(20))
    assert rig.run(delta=ADOPT).counts == {"unchanged": 20}
    assert rig.run(delta=ADOPT, object="other").counts == {"unchanged": 20}


def test_a_destination_that_cannot_be_looked_up_is_refused_with_what_to_take_instead(users: Users, rig: Rig) -> None:
    ran = rig.run(delta=ADOPT, object="order", mapping={"status": "name", "total": "t"})
    assert isinstance(ran.failure, ConfigError)
    assert "tiny order cannot be looked up" in str(ran.failure)
    assert "'send'" in str(ran.failure)
    assert "'skip'" in str(ran.failure)
    assert ran.read == 0


@pytest.fixture
def users() -> None:
    """The table is made by the rig."""


@pytest.mark.parametrize("behavior", [Behavior.APPEND, Behavior.SEND, Behavior.CREATE_ONLY, Behavior.DELETE])
def test_behaviors_that_compare_nothing_are_refused_where_the_sync_is_declared(behavior: Behavior) -> None:
    with pytest.raises(ConfigError, match="'adopt' with 'update_or_create', 'update_only', 'mirror'"):
        check_pair(behavior, ADOPT)
    with pytest.raises(ConfigError, match="take 'update_or_create', 'update_only', 'mirror'"):
        check_sets(behavior, IF_EMPTY)
    check_sets(behavior, MAPPING)
    check_sets(behavior, SyncAll())


@pytest.mark.parametrize("behavior", [Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.MIRROR])
def test_behaviors_that_update_adopt_and_set_what_is_empty(behavior: Behavior) -> None:
    check_pair(behavior, ADOPT)
    check_sets(behavior, IF_EMPTY)


# --- set if empty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [{}, {"plan": None}, {"plan": ""}, {"plan": []}, {"plan": {"a": None}}])
def test_a_field_is_set_where_nothing_is_held(rig: Rig, tiny: TinyApi, held: dict[str, Any]) -> None:
    tiny.records["0"] = {"name": "old", **held}
    rig.run(mapping=IF_EMPTY)
    assert tiny.records["0"]["plan"] == "team"
    assert tiny.records["1"]["plan"] == "team", "new records get it"


@pytest.mark.parametrize("held", ["pro", 0, False, ["a"], {"a": 1}])
def test_a_field_that_is_held_is_left_alone(rig: Rig, sandbox: Sandbox, tiny: TinyApi, held: Any) -> None:
    tiny.records["0"] = {"name": "old", "plan": held}
    assert rig.run(mapping=IF_EMPTY).counts == {"upserted": 20}
    sent = [r for call in sandbox.calls("tiny", "POST", "*/write") for r in call.json["records"] if r["id"] == "0"]
    assert sent == [{"id": "0", "name": "n0"}]


@pytest.mark.parametrize("source", [Column("plan", set="if_empty"), Constant("c", set="if_empty")])
def test_templates_and_constants_are_set_if_empty_as_columns_are(rig: Rig, tiny: TinyApi, source: Any) -> None:
    tiny.records["0"] = {"a": {"b": "held"}}
    tiny.records["1"] = {"a": {"c": "held"}}
    mapping = {"a.b": source, "a.c": Template("{{ name }}", set="if_empty"), "name": "name"}
    assert rig.run(mapping=mapping).counts == {"upserted": 20}
    assert tiny.records["0"] == {"name": "n0", "a": {"c": "n0"}}
    assert tiny.records["1"]["a"].keys() == {"b"}


def test_a_row_with_nothing_left_to_write_is_unchanged(rig: Rig, sandbox: Sandbox, tiny: TinyApi) -> None:
    _there(tiny, range(20))
    assert rig.run(mapping={"plan": Column("plan", set="if_empty")}).counts == {"unchanged": 20}
    assert _written(sandbox) == []


def test_a_watermark_reads_a_row_once_whether_its_field_was_set_or_not(rig: Rig, tiny: TinyApi) -> None:
    _there(tiny, range(10))
    assert rig.run(mapping=IF_EMPTY, delta=Watermark("t")).counts == {"upserted": 20}
    assert rig.run(mapping=IF_EMPTY, delta=Watermark("t")).counts == {"unchanged": 1}


def test_a_change_of_the_column_is_looked_at_and_does_not_overwrite(rig: Rig, tiny: TinyApi) -> None:
    rig.run(mapping=IF_EMPTY, delta=Snapshot())
    rig.source.execute("UPDATE users SET plan = 'pro' WHERE id < 2")
    tiny.records["1"]["plan"] = ""
    assert rig.run(mapping=IF_EMPTY, delta=Snapshot()).counts == {"upserted": 2}
    assert tiny.records["0"].get("plan") in (None, "team")
    assert tiny.records["1"]["plan"] == "pro"
    assert rig.run(mapping=IF_EMPTY, delta=Snapshot()).counts == {}


def test_another_policy_is_another_mapping(rig: Rig) -> None:
    rig.run(delta=Snapshot())
    assert rig.run(mapping=IF_EMPTY, delta=Snapshot()).counts == {"upserted": 20}


def test_adopting_compares_what_would_be_written(rig: Rig, tiny: TinyApi) -> None:
    _there(tiny, range(20))
    tiny.records["0"]["plan"] = "theirs"
    tiny.records["1"]["plan"] = ""
    assert rig.run(mapping=IF_EMPTY, delta=ADOPT).counts == {"unchanged": 19, "upserted": 1}
    assert tiny.records["1"]["plan"] == "team"


def test_where_it_cannot_be_told_what_is_held_nothing_is_written(rig: Rig, tiny: TinyApi) -> None:
    ran = rig.run(mapping=IF_EMPTY, sql="SELECT 'twice' AS id, 'n' AS name, 'team' AS plan")
    assert ran.counts == {"rejected": 1}
    assert ran.json["rejected_sample"][0]["reason"] == "two records have this id"
    assert tiny.records == {}


def test_a_field_that_cannot_be_told_is_refused_before_the_first_row(rig: Rig) -> None:
    mapping = {"status": Column("plan", set="if_empty"), "total": "t"}
    ran = rig.run(object="order", mapping=mapping, delta=FullRefresh())
    assert isinstance(ran.failure, ConfigError)
    assert "'status'" in str(ran.failure)
    assert "Set it always" in str(ran.failure)
    assert ran.read == 0


@pytest.mark.parametrize(
    "make", [lambda: Column("a", set="never"), lambda: Constant(1, set=""), lambda: Template("", 0)]
)
def test_an_unknown_policy_names_the_known_ones(make: Any) -> None:
    with pytest.raises(ConfigError, match="'always', 'if_empty'"):
        make()
