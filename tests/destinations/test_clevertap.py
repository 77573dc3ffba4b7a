from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_census.destinations.clevertap import CleverTap
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered
from airflow_provider_census.sandbox.clevertap import CleverTapSandbox
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.conversion import Converter
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.fields import Column, SyncAll
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter, Rate

UPSERT, DELETE, SEND = Behavior.UPDATE_OR_CREATE, Behavior.DELETE, Behavior.SEND
AT = 1_700_000_000
ACCOUNT = Credentials(login="ABC-DEF-GHIJ", password="pass-code")


@pytest.fixture
def clevertap(sandbox: Sandbox) -> CleverTapSandbox:
    api: CleverTapSandbox = sandbox["clevertap"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = connect(sandbox)
    yield client
    client.close()


def connect(sandbox: Sandbox, *, backoff_s: float = 0.01, **parts: str) -> Client:
    api = CleverTapSandbox
    credentials = Credentials(login=api.account_id, password=api.passcode, host=sandbox.url("clevertap"))
    rates = [replace(rate, count=rate.count * 100) for rate in CleverTap.rates]
    return Client(
        CleverTap.endpoint(replace(credentials, **parts)), Limiter(rates), judge=CleverTap.judge, backoff_s=backoff_s
    )


def profile(id: str, behavior: Behavior = UPSERT, **properties: Any) -> Operation:
    return Operation(behavior, Record(id, id, {"profileData": properties} if properties else {}))


def event(id: str = "e1", **fields: Any) -> Operation:
    return Operation(SEND, Record(id, id, {"identity": "u1", "evtName": "bought", "ts": AT, **fields}))


def run(client: Client, destination: CleverTap, *operations: Operation) -> list[RowResult]:
    for operation in operations:
        assert destination.check(operation) is None
    results = {n: result for batch in deliver(enumerate(operations), destination, client) for n, result in batch}
    return [results[n] for n in range(len(operations))]


def answer(body: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


def converse(destination: CleverTap, operations: Sequence[Operation], given: Response) -> Any:
    """Drive the exchange with this answer; return its results."""
    exchange = destination.send(operations)
    next(exchange)
    with pytest.raises(StopIteration) as end:
        exchange.send(given)
    return end.value.value


def outcomes(results: Sequence[RowResult | None]) -> list[Outcome | None]:
    return [result.outcome if result else None for result in results]


def skipped(number: int | None, code: int = 515, **record: Any) -> dict[str, Any]:
    at = "" if number is None else f"Skipped record number : {number}"
    error = f"Profile data is incorrect. Email is not valid.{at}"
    return {"status": "fail", "code": code, "error": error, "record": record}


# --- the connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "extra", "url"),
    [
        ("", {}, "https://eu1.api.clevertap.com/1"),
        ("", {"region": "IN1"}, "https://in1.api.clevertap.com/1"),
        ("http://127.0.0.1:9/proxy/", {"region": "us1"}, "http://127.0.0.1:9/proxy/1"),
    ],
)
def test_the_region_names_the_host_and_a_host_replaces_it(host: str, extra: dict[str, str], url: str) -> None:
    endpoint = CleverTap.endpoint(replace(ACCOUNT, host=host, extra=extra))
    assert endpoint.base_url == url
    assert endpoint.headers == {"X-CleverTap-Account-Id": "ABC-DEF-GHIJ", "X-CleverTap-Passcode": "pass-code"}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"login": " "}, "account id"),
        ({"login": "two words"}, "login"),
        ({"password": ""}, "passcode"),
        ({"extra": {"region": "eu"}}, "'eu1', 'in1'"),
        ({"host": "eu1.api.clevertap.com"}, "host"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_by_name(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CleverTap.endpoint(replace(ACCOUNT, **parts))


def test_the_connection_test_uploads_for_trial_only(
    client: Client, sandbox: Sandbox, clevertap: CleverTapSandbox
) -> None:
    assert "accepts" in client.run(CleverTap.test())
    assert [(call.path, call.query) for call in sandbox.calls("clevertap")] == [("/1/upload", {"dryRun": "1"})]
    assert not clevertap.events
    assert not clevertap.profiles


@pytest.mark.parametrize("parts", [{"login": "SBX-OTHER"}, {"password": "wrong-passcode"}])
def test_a_refusal_of_the_account_names_the_region_too_and_shows_no_passcode(
    sandbox: Sandbox, parts: dict[str, str]
) -> None:
    with pytest.raises(AuthError, match="in this region") as caught:
        connect(sandbox, **parts).run(CleverTap.test())
    assert "wrong-passcode" not in str(caught.value)


def test_an_empty_200_is_not_clevertap(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject(Fault(api="clevertap", status=200))
    with pytest.raises(Unanswered):
        client.run(CleverTap.test())
    sandbox.inject(Fault(api="clevertap", status=404))
    with pytest.raises(ConfigError, match="host"):
        client.run(CleverTap.test())


# --- profiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "name"), [("identity", "identity"), ("object_id", "objectId"), ("fbid", "FBID"), ("gpid", "GPID")]
)
def test_a_profile_is_merged_under_each_identifier(
    client: Client, clevertap: CleverTapSandbox, identifier: str, name: str
) -> None:
    destination = CleverTap("profile", UPSERT, identifier)
    (created,) = run(client, destination, profile("7", Name="Ann", plan="free"))
    (updated,) = run(client, destination, profile("7", plan="pro", seats=3))
    assert (created.outcome, updated.outcome) == (Outcome.UPSERTED, Outcome.UPSERTED)
    assert clevertap.profiles == [{name: "7", "profileData": {"Name": "Ann", "plan": "pro", "seats": 3}}]


def test_refused_profiles_are_found_by_number_although_the_answer_is_200(
    client: Client, sandbox: Sandbox, clevertap: CleverTapSandbox
) -> None:
    destination = CleverTap("profile", UPSERT)
    good = {"Name": "Ann", "Phone": "+35922333232"}
    results = run(
        client,
        destination,
        profile("1", **good),
        profile("2", **good, Email="$$$$$"),
        profile("3", **good),
        profile("4", Phone="223"),
    )
    assert outcomes(results) == [Outcome.UPSERTED, Outcome.REJECTED, Outcome.UPSERTED, Outcome.REJECTED]
    assert results[1].reason == "515: Profile data is incorrect. Email is not valid."
    assert results[3].reason == "516: Profile data is incorrect. Phone number is not valid."
    assert [p["identity"] for p in clevertap.profiles] == ["1", "3"]
    assert len(sandbox.calls("clevertap")) == 1


def test_a_complete_failure_is_a_200_too(client: Client, clevertap: CleverTapSandbox) -> None:
    results = run(client, CleverTap("profile", UPSERT), profile("1", Gender="F?"), profile("2", Age="old"))
    assert outcomes(results) == [Outcome.REJECTED] * 2
    assert not clevertap.profiles


def test_nulls_are_not_sent() -> None:
    destination = CleverTap("profile", UPSERT)
    operation = Operation(
        UPSERT, Record(7, "7", {"ts": None, "profileData": {"a": None, "b": 0, "n": {"$incr": None}}})
    )
    assert destination.payload(operation) == {"type": "profile", "identity": "7", "profileData": {"b": 0}}


def test_a_profile_that_counts_is_not_repeated_and_does_not_bind_the_others(
    client: Client, sandbox: Sandbox, clevertap: CleverTapSandbox
) -> None:
    destination = CleverTap("profile", UPSERT)
    counting = profile("1", visits={"$incr": 2})
    assert run(client, destination, counting)[0].outcome is Outcome.UPSERTED
    sandbox.inject(Fault(api="clevertap", contains="$incr", reset="after"))
    assert run(client, destination, counting)[0].outcome is Outcome.UNCERTAIN
    assert clevertap.profile(identity="1")["profileData"] == {"visits": 4}  # type: ignore[index]
    assert destination.lane(counting) != destination.lane(profile("2", visits=1))
    assert destination.repeatable(profile("2", tags={"$add": ["x"]}))


def test_operators_are_fields_of_a_mapping(client: Client, clevertap: CleverTapSandbox) -> None:
    destination = CleverTap("profile", UPSERT)
    mapper = Mapper({"profileData.tags.$add": "tags", "profileData.old.$delete": "gone"}, "id", COLUMNS, destination)
    record = mapper((1, ["b", "c"], 1))
    assert isinstance(record, Record)
    run(client, destination, profile("1", tags=["a", "b"], old="x"), Operation(UPSERT, record))
    assert clevertap.profile(identity="1")["profileData"] == {"tags": ["a", "b", "c"]}  # type: ignore[index]


COLUMNS = ("id", "tags", "gone")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("plan", "profileData"),
        ("evtName", "profileData"),
        ("identity", "profileData"),
        ("profileData.50% off", "%"),
        ("profileData.a#b", "#"),
        (f"profileData.{'é' * 61}", "120 bytes"),
        ("profileData.home.city", r"'city'.*\$add"),
        ("profileData.tags.$add.x", r"\$add"),
    ],
)
def test_a_field_no_profile_can_have_is_refused_before_any_row(field: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CleverTap("profile", UPSERT).check_field(field)


@pytest.mark.parametrize(
    "field", ["ts", "profileData", "profileData.MSG-sms", "profileData.category-unsubscribe.email"]
)
def test_fields_of_a_profile_are_taken(field: str) -> None:
    CleverTap("profile", UPSERT).check_field(field)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"note": "é" * 257}, "512 bytes"),
        ({"tags": ["a"] * 101}, "100 values"),
        ({"tags": ["a", 1]}, "must be text"),
        ({"tags": ["x" * 513]}, "512 bytes"),
        ({"home": {"city": "Brno"}}, "exactly one of"),
        ({"n": {"$incr": 1, "$decr": 1}}, "exactly one of"),
        ({"n": {"$incr": -1}}, "positive"),
        ({"n": {"$decr": True}}, "positive"),
        ({"tags": {"$add": "a"}}, "not a list"),
        ({"tags": {"$remove": [None]}}, "must be text"),
        ({"tags": {"$set": "x" * 513}}, "512 bytes"),
        ({"DOB": "1990-05-01"}, "cast it to DATE"),
        ({"a:b": 1}, "may not contain :"),
        ({"": 1}, "1 to 120 bytes"),
    ],
)
def test_a_property_no_profile_can_have_is_invalid(properties: dict[str, Any], said: str) -> None:
    reason = CleverTap("profile", UPSERT).check(profile("1", **properties))
    assert reason is not None
    assert said in reason


def test_text_for_the_properties_is_invalid() -> None:
    operation = Operation(UPSERT, Record(1, "1", {"profileData": "text"}))
    assert CleverTap("profile", UPSERT).check(operation) == "profileData is not an object"


# --- deletion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("identifier", "kind"), [("identity", "identity"), ("object_id", "guid")])
def test_profiles_are_deleted_a_hundred_at_a_time_and_three_requests_at_once(
    sandbox: Sandbox, clevertap: CleverTapSandbox, client: Client, identifier: str, kind: str
) -> None:
    run(client, CleverTap("profile", UPSERT, identifier), *(profile(str(n), plan="x") for n in range(801)))
    sandbox.ledger.clear()
    clevertap.takes_s = 0.05
    results = run(
        client, CleverTap("profile", DELETE, identifier), *(profile(str(n), behavior=DELETE) for n in range(800))
    )
    assert outcomes(results) == [Outcome.DELETED] * 800
    assert [p["profileData"] for p in clevertap.profiles] == [{"plan": "x"}]
    calls = sandbox.calls("clevertap", path="/1/delete/profiles.json")
    assert [(list(call.json), len(call.json[kind])) for call in calls] == [([kind], 100)] * 8
    assert {call.status for call in calls} == {200}
    assert max(call.in_flight for call in calls) == 2


@pytest.mark.parametrize("identifier", ["fbid", "gpid"])
def test_deleting_by_an_identifier_the_api_does_not_delete_by_is_refused(identifier: str) -> None:
    with pytest.raises(ConfigError, match="'identity', 'object_id'"):
        CleverTap("profile", DELETE, identifier)


def test_only_success_is_a_deletion() -> None:
    results = converse(CleverTap("profile", DELETE), [profile("1", DELETE)], answer({"status": "partial"}))
    assert results == [None]


@pytest.mark.parametrize("body", [{}, {" message": "proxy"}])
def test_an_answer_without_a_status_is_no_deletion(body: dict[str, str]) -> None:
    with pytest.raises(Unanswered):
        converse(CleverTap("profile", DELETE), [profile("1", DELETE)], answer(body))


def test_a_failed_deletion_is_a_refusal_in_clevertaps_words() -> None:
    exchange = CleverTap("profile", DELETE).send([profile("1", DELETE), profile("2", DELETE)])
    next(exchange)
    with pytest.raises(Refused, match="400: Invalid parameter"):
        exchange.send(answer({"status": "fail", "error": "Invalid parameter", "code": 400}))


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("identity", "identity"),
        ("object_id", "objectId"),
        ("objectId", "objectId"),
        ("fbid", "FBID"),
        ("FBID", "FBID"),
        ("gpid", "GPID"),
    ],
)
def test_an_event_names_its_user_by_any_identifier(
    client: Client, clevertap: CleverTapSandbox, field: str, name: str
) -> None:
    destination = CleverTap("event", SEND)
    destination.check_field(field)
    sent = Operation(SEND, Record("e1", "e1", {field: 42, "evtName": "bought", "ts": AT, "evtData": {"n": 1}}))
    assert outcomes(run(client, destination, sent)) == [Outcome.SENT]
    assert clevertap.events == [{"type": "event", name: "42", "evtName": "bought", "ts": AT, "evtData": {"n": 1}}]


def test_events_of_one_user_are_told_apart_by_their_numbers(client: Client, clevertap: CleverTapSandbox) -> None:
    operations = [event(f"e{n}", evtName=name) for n, name in enumerate(["bought", "re tired", "bought"])]
    results = run(client, CleverTap("event", SEND), *operations)
    assert outcomes(results) == [Outcome.SENT, Outcome.REJECTED, Outcome.SENT]
    assert results[1].reason.startswith("528: ")
    assert len(clevertap.events) == 2


@pytest.mark.parametrize(
    "fault",
    [{"reset": "after"}, {"reset": "before"}, {"truncate": True}, {"html": True}, {"status": 500}, {"status": 200}],
)
def test_an_event_without_an_answer_is_uncertain_and_not_sent_again(
    client: Client, sandbox: Sandbox, clevertap: CleverTapSandbox, fault: dict[str, Any]
) -> None:
    sandbox.inject(Fault(api="clevertap", **fault))
    (result,) = run(client, CleverTap("event", SEND), event())
    assert result.outcome is Outcome.UNCERTAIN
    assert len(sandbox.calls("clevertap")) == 1
    assert len(clevertap.events) == (1 if fault.get("reset") == "after" or "truncate" in fault else 0)


def test_too_many_requests_at_once_are_tried_again_and_double_nothing(
    clevertap: CleverTapSandbox, sandbox: Sandbox
) -> None:
    client = connect(sandbox, backoff_s=0.2)
    clevertap.max_in_flight["upload"] = 1
    clevertap.takes_s = 0.1
    destination = CleverTap("event", SEND)
    counting = CleverTap("profile", UPSERT)
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(run, client, destination, event()) for _ in range(2)]
        sent.append(pool.submit(run, client, counting, profile("1", visits={"$incr": 1})))
        results = [future.result()[0] for future in sent]
    assert outcomes(results) == [Outcome.SENT, Outcome.SENT, Outcome.UPSERTED]
    assert len(clevertap.events) == 2
    assert clevertap.profile(identity="1") == {"identity": "1", "profileData": {"visits": 1}}
    assert 429 in {call.status for call in sandbox.calls("clevertap")}
    client.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"object_id": "o1"}, "only one of identity, object_id"),
        ({"identity": True}, "identity is neither"),
        ({"identity": ["u1"]}, "identity is neither"),
        ({"evtName": 5}, "evtName is no text"),
        ({"evtName": " "}, "evtName is no text"),
        ({"evtName": "App Launched"}, "CleverTap's own"),
        ({"evtName": "notificationSENT"}, "CleverTap's own"),
        ({"evtName": "50% off"}, "evtName may not contain %"),
        ({"evtName": "x" * 513}, "512 bytes"),
        ({"ts": 0}, "1970"),
        ({"ts": AT * 1000}, "not in seconds"),
        ({"ts": "2026-01-01"}, "cast it in the model"),
        ({"evtData": {"tags": ["a"]}}, "a list or an object cannot stand here"),
        ({"evtData": {"home": {"city": "Brno"}}}, "a list or an object cannot stand here"),
        ({"evtData": {"Items": [{"n": 1}]}}, "a list or an object cannot stand here"),
        ({"evtData": {"a.b": 1}}, "may not contain ."),
        ({"evtName": "Charged", "evtData": {"Items": [1]}}, "list of objects"),
        ({"evtName": "Charged", "evtData": {"Items": [{"n": 1}] * 257}}, "256 items"),
        ({"evtName": "Charged", "evtData": {"Items": [{"n": [1]}]}}, "a list or an object cannot stand here"),
    ],
)
def test_an_event_clevertap_would_refuse_or_misread_is_invalid(fields: dict[str, Any], said: str) -> None:
    reason = CleverTap("event", SEND).check(event(**fields))
    assert reason is not None
    assert said in reason


def test_a_purchase_has_items(client: Client, clevertap: CleverTapSandbox) -> None:
    items = [{"Category": "books", "Quantity": 1}]
    (result,) = run(client, CleverTap("event", SEND), event(evtName="Charged", evtData={"Amount": 300, "Items": items}))
    assert result.outcome is Outcome.SENT
    assert clevertap.events[0]["evtData"]["Items"] == items


def test_nulls_are_sent_nowhere() -> None:
    items = [{"Category": "books", "Quantity": None}, {"Category": None}]
    charged = event(evtName="Charged", evtData={"Amount": None, "Items": items})
    assert CleverTap("event", SEND).payload(charged)["evtData"] == {"Items": [{"Category": "books"}, {}]}


def test_an_event_without_a_name_or_a_user_cannot_be_mapped() -> None:
    destination = CleverTap("event", SEND)
    with pytest.raises(ConfigError, match="evtName"):
        Mapper({"identity": "id"}, "id", ("id",), destination)
    with pytest.raises(ConfigError, match="'identity' or 'object_id'"):
        Mapper({"evtName": "id"}, "id", ("id",), destination)
    with pytest.raises(ConfigError, match="holds no other fields"):
        destination.check_field("evtData.home.city")


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (dt.datetime(2023, 11, 14, 22, 13, 20, 999_999, tzinfo=dt.UTC), AT),
        (dt.datetime(2023, 11, 14, 22, 13, 20), AT),
        (dt.datetime(2023, 11, 14, 23, 13, 20, tzinfo=dt.timezone(dt.timedelta(hours=1))), AT),
        (dt.date(1970, 1, 2), 86_400),
        (dt.date(1969, 12, 31), -86_400),
    ],
)
def test_dates_are_what_clevertap_knows_as_dates(value: dt.date, seconds: int) -> None:
    convert = Converter(CleverTap("event", SEND)).value
    assert convert(value, "ts") == seconds
    assert convert(value, "evtData.Delivery By") == f"$D_{seconds}"
    assert convert([{"by": value}], "evtData.Items") == [{"by": f"$D_{seconds}"}]
    assert Converter(CleverTap("profile", UPSERT)).value(value, "profileData.DOB") == f"$D_{seconds}"


def test_all_columns_of_a_model_become_properties_with_their_dates() -> None:
    destination = CleverTap("event", SEND)
    mapper = Mapper(SyncAll(), "id", ("id", "identity", "evtName", "ts", "day"), destination)
    moment = dt.datetime.fromtimestamp(AT, dt.UTC)
    record = mapper(("e1", 7, "bought", moment, moment.date()))
    assert isinstance(record, Record)
    assert destination.payload(Operation(SEND, record)) == {
        "type": "event",
        "identity": "7",
        "evtName": "bought",
        "ts": AT,
        "evtData": {"day": "$D_1699920000"},
    }


def test_epoch_seconds_with_a_fraction_are_cut() -> None:
    assert CleverTap("event", SEND).payload(event(ts=AT + 0.9))["ts"] == AT


def test_a_null_user_of_an_event_is_a_missing_field() -> None:
    fields = {"identity": Column("u"), "evtName": Column("n")}
    result = Mapper(fields, "id", ("id", "u", "n"), CleverTap("event", SEND))(("e1", None, "bought"))
    assert isinstance(result, RowResult)
    assert result.outcome is Outcome.INVALID


# --- answers --------------------------------------------------------------------------------------------------------

TWO = [profile("13", Email="a@b.cz", Phone="+35922333232"), profile("x", Email="?")]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success", "processed": 1, "unprocessed": []},
        {"status": "success", "processed": 3, "unprocessed": []},
        {"status": "fail", "processed": 2, "unprocessed": []},
        {"status": "fail", "processed": 1, "unprocessed": []},
        {"status": "partial", "processed": 2, "unprocessed": [skipped(2)]},
        {"status": "partial", "processed": 1, "unprocessed": [skipped(9)]},
        {"status": "partial", "processed": 1, "unprocessed": [skipped(None, identity="unknown")]},
    ],
)
def test_what_the_answer_does_not_account_for_is_not_accepted(body: dict[str, Any]) -> None:
    results = converse(CleverTap("profile", UPSERT), TWO, answer(body))
    assert results[0] is None
    assert Outcome.UPSERTED not in outcomes(results)


@pytest.mark.parametrize(
    "body",
    [
        {"status": "success"},
        {"processed": 2, "unprocessed": []},
        {"status": "success", "processed": True},
        {"status": "partial", "processed": 1, "unprocessed": ["?"]},
    ],
)
def test_an_answer_that_cannot_be_read_is_none(body: dict[str, Any]) -> None:
    with pytest.raises(Unanswered):
        converse(CleverTap("profile", UPSERT), TWO, answer(body))


def test_the_number_counts_even_if_the_echo_has_other_types() -> None:
    body = {"status": "partial", "processed": 1, "unprocessed": [skipped(1, identity=13, profileData={"Phone": 359})]}
    results = converse(CleverTap("profile", UPSERT), TWO, answer(body))
    assert outcomes(results) == [Outcome.REJECTED, Outcome.UPSERTED]


def test_without_a_number_the_identifier_tells_the_record() -> None:
    body = {"status": "partial", "processed": 1, "unprocessed": [skipped(None, code=555, identity=13)]}
    results = converse(CleverTap("profile", UPSERT), TWO, answer(body))
    assert outcomes(results) == [Outcome.REJECTED, Outcome.UPSERTED]
    assert results[0].reason == "555: Profile data is incorrect. Email is not valid."


def test_only_an_error_of_the_server_is_worth_another_try() -> None:
    body = {"status": "fail", "processed": 0, "unprocessed": [skipped(1, code=555), skipped(2)]}
    results = converse(CleverTap("profile", UPSERT), TWO, answer(body))
    assert [result.passing for result in results] == [True, False]


def test_without_a_number_two_events_of_one_user_are_not_guessed_at() -> None:
    body = {"status": "partial", "processed": 1, "unprocessed": [skipped(None, identity="u1")]}
    assert converse(CleverTap("event", SEND), [event("e1"), event("e2")], answer(body)) == [None, None]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "fail", "error": "Too much", "code": 7}, 200),
        ({"status": "fail", "processed": 0, "unprocessed": [], "error": "Too much", "code": 7}, 200),
        ({"status": "fail", "error": "Too much", "code": 7}, 400),
    ],
)
def test_a_failure_that_names_no_record_refuses_the_batch(body: dict[str, Any], status: int) -> None:
    exchange = CleverTap("profile", UPSERT).send(TWO)
    next(exchange)
    with pytest.raises(Refused, match="7: Too much"):
        exchange.send(answer(body, status))


def test_rates_allow_what_the_limits_in_flight_let_through() -> None:
    assert CleverTap.rates == (Rate("upload", 15, 1), Rate("delete", 3, 1))
    assert CleverTap("profile", UPSERT).concurrency < 15
    assert CleverTap("profile", DELETE).concurrency == 3
