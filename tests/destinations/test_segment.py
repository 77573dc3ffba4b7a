from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.destinations.segment import Segment
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered, Unavailable
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.segment import Segment as Api
from airflow_provider_census.sync import Column, Constant, FullRefresh, SyncAll
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.testing.source import Table
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response, encoded_size
from airflow_provider_census.transport.rate import Limiter

UPSERT, SEND = Behavior.UPDATE_OR_CREATE, Behavior.SEND
AT = "2026-01-01T12:00:00+00:00"
EVENT = {"event": "Seat Added", "user_id": "u1", "timestamp": AT, "properties": {"seats": 3}}


@pytest.fixture
def sandbox(census_sandbox: Sandbox) -> Sandbox:
    census_sandbox["segment"].event_window.limit = 10**9
    return census_sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    segment: Api = sandbox["segment"]
    return segment


class Door:
    """A connection to the stand-in."""

    def __init__(self, sandbox: Sandbox, key: str = Api.write_key, token: str = Api.workspace_token) -> None:
        extra = {"workspace_token": token} if token else {}
        self.credentials = Credentials(password=key, host=sandbox.url("segment"), extra=extra)
        self.cls = Segment.behind(self.credentials)
        self.client = Client(
            self.cls.endpoint(self.credentials),
            Limiter(()),
            judge=self.cls.judge,
            throttle=self.cls.throttle,
            backoff_s=0.01,
        )

    def bind(self, object: str, behavior: Behavior, identifier: str | None = None, sync_id: str = "s") -> Destination:
        return self.cls(object, behavior, identifier, sync_id=sync_id)

    def test(self) -> str:
        return self.client.run(self.cls.test())


@pytest.fixture
def connect(sandbox: Sandbox) -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []

    def connect(*credentials: str) -> Door:
        doors.append(Door(sandbox, *credentials))
        return doors[-1]

    yield connect
    for door in doors:
        door.client.close()


@pytest.fixture
def door(connect: Callable[..., Door]) -> Door:
    return connect()


def operation(behavior: Behavior, id: str, **fields: Any) -> Operation:
    return Operation(behavior, Record(id, id, fields))


def send(door: Door, destination: Destination, *operations: Operation) -> list[Outcome]:
    for op in operations:
        assert destination.check(op) is None
    results: dict[int, RowResult] = {}
    for batch in deliver(enumerate(operations), destination, door.client):
        results.update(batch)
    return [results[n].outcome for n in range(len(operations))]


def users(door: Door, **traits: Any) -> list[Outcome]:
    """Write the user u1, as a run of its own."""
    return send(door, door.bind("user", UPSERT), operation(UPSERT, "u1", traits=traits))


class TestCalls:
    def test_a_user_becomes_an_identify_call(self) -> None:
        call = Segment("user", UPSERT).payload(operation(UPSERT, "u1", traits={"plan": "free"}, anonymous_id=7))
        assert call.pop("messageId").startswith("census-")
        assert call == {"type": "identify", "userId": "u1", "anonymousId": "7", "traits": {"plan": "free"}}

    def test_a_user_may_be_known_by_an_anonymous_id_only(self) -> None:
        call = Segment("user", UPSERT, "anonymous_id").payload(operation(UPSERT, "a1", traits={}, user_id=None))
        assert call["anonymousId"] == "a1"
        assert "userId" not in call

    def test_a_group_becomes_a_group_call_of_a_person(self) -> None:
        call = Segment("group", UPSERT).payload(operation(UPSERT, "g1", user_id=12.0, traits={"seats": 3}))
        del call["messageId"]
        assert call == {"type": "group", "groupId": "g1", "userId": "12", "traits": {"seats": 3}}

    def test_an_event_becomes_a_track_call_without_its_key(self) -> None:
        call = Segment("track", SEND).payload(operation(SEND, "e1", **EVENT, anonymous_id=""))
        del call["messageId"]
        assert call == {
            **{"type": "track", "event": "Seat Added", "userId": "u1"},
            **{"timestamp": AT, "properties": {"seats": 3}},
        }

    def test_no_call_says_when_it_was_sent(self, door: Door, sandbox: Sandbox) -> None:
        # Segment would move the timestamps of past events by the difference of the clocks.
        send(door, door.bind("track", SEND), operation(SEND, "e1", **EVENT))
        (call,) = sandbox.calls("segment", "POST")
        assert set(call.json) == {"batch"}
        assert "sentAt" not in call.json["batch"][0]

    def test_times_are_in_iso_8601_and_decimals_are_numbers(self) -> None:
        segment = Segment("track", SEND)
        assert segment.scalar(dt.datetime(2026, 1, 1, 12), "timestamp") == AT
        assert segment.scalar(dt.date(2026, 1, 1), "timestamp") == "2026-01-01T00:00:00+00:00"
        assert segment.scalar(dt.date(2026, 1, 1), "properties.day") == "2026-01-01"
        assert segment.scalar(Decimal("12.90"), "properties.price") == 12.9

    def test_a_null_trait_removes_it_from_the_profile(self, door: Door, api: Api) -> None:
        users(door, plan="free", seats=1)
        users(door, plan=None)
        assert api.users[0]["traits"] == {"seats": 1}

    def test_context_and_integrations_travel_with_the_call(self, door: Door, api: Api) -> None:
        extra = {"context": {"active": False}, "integrations": {"All": False, "Mixpanel": True}}
        send(door, door.bind("track", SEND), operation(SEND, "e1", **EVENT, **extra))
        assert api.events[0]["context"] == {"active": False}


class TestSyncAll:
    @staticmethod
    def record(object: str, behavior: Behavior, columns: Mapping[str, Any], key: str, **how: Any) -> Mapping[str, Any]:
        destination = Segment(object, behavior)
        mapper = Mapper(SyncAll(**how), key, list(columns), destination)
        record = mapper(tuple(columns.values()))
        assert isinstance(record, Record)
        assert destination.check(Operation(behavior, record)) is None
        return record.fields

    @pytest.mark.parametrize(
        ("normalize", "names"),
        [
            (None, ["First_Name", "signedUpAt", "event"]),
            ("snake_case", ["first_name", "signed_up_at", "event"]),
            ("camelCase", ["firstName", "signedUpAt", "event"]),
            ("Title Case", ["First Name", "Signed Up At", "Event"]),
        ],
    )
    def test_every_column_of_a_user_is_a_trait_in_the_spelling_asked_for(
        self, normalize: str | None, names: list[str]
    ) -> None:
        columns = {"id": 1, "First_Name": "Ann", "signedUpAt": dt.date(2026, 1, 1), "event": None, "secret": "x"}
        fields = self.record("user", UPSERT, columns, "id", exclude=["secret"], normalize=normalize)
        assert fields == {"traits": dict(zip(names, ["Ann", "2026-01-01", None], strict=True))}

    @pytest.mark.parametrize("normalize", [None, "snake_case", "camelCase", "Title Case"])
    def test_an_event_keeps_what_makes_it_one_out_of_its_properties(self, normalize: str | None) -> None:
        columns = {"event_id": 1, "event": "Login", "user_id": 7, "timestamp": dt.datetime(2026, 1, 1, 12), "seats": 3}
        fields = self.record("track", SEND, columns, "event_id", normalize=normalize)
        bundle = {"Seats" if normalize == "Title Case" else "seats": 3}
        assert fields == {"event": "Login", "user_id": 7, "timestamp": AT, "properties": bundle}

    def test_a_group_keeps_its_person_out_of_its_traits(self) -> None:
        fields = self.record("group", UPSERT, {"id": 1, "userId": 7, "name": "Acme"}, "id")
        assert fields == {"user_id": 7, "traits": {"name": "Acme"}}

    def test_a_prefix_nests_in_the_traits_and_may_name_them(self) -> None:
        columns = {"id": 1, "city": "Brno"}
        nested = {"traits": {"address": {"city": "Brno"}}}
        assert self.record("user", UPSERT, columns, "id", prefix="address.") == nested
        assert self.record("user", UPSERT, columns, "id", prefix="traits.address.") == nested


class TestCheck:
    @pytest.mark.parametrize(
        ("object", "behavior", "fields", "reason"),
        [
            ("track", SEND, {**EVENT, "event": ""}, "event is not text, or empty"),
            ("track", SEND, {**EVENT, "event": "  "}, "event is not text, or empty"),
            ("track", SEND, {**EVENT, "event": 7}, "event is not text, or empty"),
            ("track", SEND, {**EVENT, "user_id": None}, "neither user_id nor anonymous_id has a value"),
            ("track", SEND, {**EVENT, "user_id": " "}, "neither user_id nor anonymous_id has a value"),
            ("track", SEND, {**EVENT, "user_id": True}, "user_id is neither text nor a number"),
            ("track", SEND, {**EVENT, "anonymous_id": ["a"]}, "anonymous_id is neither text nor a number"),
            ("track", SEND, {**EVENT, "properties": "seats=3"}, "properties is not an object"),
            ("track", SEND, {**EVENT, "properties": None}, "properties is not an object"),
            ("track", SEND, {**EVENT, "context": []}, "context is not an object"),
            ("track", SEND, {**EVENT, "integrations": True}, "integrations is not an object"),
            ("track", SEND, {**EVENT, "timestamp": "yesterday"}, "timestamp is not a date and time with a zone"),
            ("track", SEND, {**EVENT, "timestamp": "2026-01-01T12:00:00"}, "timestamp is not a date and time"),
            ("track", SEND, {**EVENT, "timestamp": 1_767_268_800}, "timestamp is not a date and time"),
            ("group", UPSERT, {"traits": {}}, "neither user_id nor anonymous_id has a value"),
            ("user", UPSERT, {"traits": ["plan"]}, "traits is not an object"),
        ],
    )
    def test_what_segment_would_drop_without_a_word_is_invalid(
        self, object: str, behavior: Behavior, fields: dict[str, Any], reason: str
    ) -> None:
        found = Segment(object, behavior).check(operation(behavior, "k1", **fields))
        assert found is not None
        assert found.startswith(reason)

    @pytest.mark.parametrize("text", ["x", "ž", "🐎", '"'])
    def test_the_size_of_a_call_is_that_of_its_bytes_with_everything_around(
        self, door: Door, api: Api, text: str
    ) -> None:
        destination = door.bind("track", SEND)
        around = encoded_size(destination.payload(operation(SEND, "e1", **{**EVENT, "properties": {"note": ""}})))
        fits = text * ((32_000 - around) // (encoded_size(text) - 2))
        assert send(door, destination, operation(SEND, "e1", **{**EVENT, "properties": {"note": fits}})) == [
            Outcome.SENT
        ]
        assert len(api.events) == 1
        too_large = operation(SEND, "e1", **{**EVENT, "properties": {"note": fits + text}})
        assert "Segment takes 32,000" in str(destination.check(too_large))

    def test_nothing_that_passes_is_discarded(self, door: Door, api: Api) -> None:
        odd = [
            {**EVENT, "user_id": 7},
            {**EVENT, "user_id": None, "anonymous_id": "a1"},
            {**EVENT, "user_id": "", "anonymous_id": 0},
            {**EVENT, "timestamp": None},
            {**EVENT, "timestamp": "2026-01-01 12:00:00Z"},
            {"event": "Login", "user_id": "u1"},
        ]
        destination = door.bind("track", SEND)
        sent = send(door, destination, *(operation(SEND, f"e{n}", **fields) for n, fields in enumerate(odd)))
        assert sent == [Outcome.SENT] * 6
        assert api.discarded == []
        assert [e["user_id"] or e["anonymous_id"] for e in api.events] == ["7", "a1", "0", "u1", "u1", "u1"]


class TestMessageIds:
    @staticmethod
    def id(destination: Destination, key: str = "k1", **fields: Any) -> str:
        payload = destination.payload(operation(destination.behavior, key, **fields))
        return str(payload["messageId"])

    def test_an_event_has_the_same_id_in_every_run_of_its_sync(self, door: Door) -> None:
        one, other = (self.id(door.bind("track", SEND), **EVENT) for _ in range(2))
        assert one == other
        assert len(one) <= 100

    def test_another_row_sync_source_or_content_has_another_id(self, door: Door, connect: Callable[..., Door]) -> None:
        ids = [
            self.id(door.bind("track", SEND), **EVENT),
            self.id(door.bind("track", SEND), "k2", **EVENT),
            self.id(door.bind("track", SEND), **{**EVENT, "properties": {"seats": 4}}),
            self.id(door.bind("track", SEND), **{**EVENT, "timestamp": None}),
            self.id(door.bind("track", SEND, sync_id="other"), **EVENT),
            self.id(connect("another-key").bind("track", SEND), **EVENT),
        ]
        assert len(set(ids)) == len(ids)

    def test_the_write_key_is_not_in_an_id_or_a_class(self, door: Door) -> None:
        assert Api.write_key not in self.id(door.bind("track", SEND), **EVENT)
        assert Api.write_key not in str(vars(door.cls))

    def test_an_event_sent_again_by_another_run_arrives_once(self, door: Door, api: Api) -> None:
        for _ in range(2):
            assert send(door, door.bind("track", SEND), operation(SEND, "e1", **EVENT)) == [Outcome.SENT]
        assert len(api.events) == 1
        assert api.duplicates == 1

    def test_two_sources_both_get_the_event_of_one_sync(
        self, api: Api, door: Door, connect: Callable[..., Door]
    ) -> None:
        # What Segment remembers of ids is not kept by source.
        api.add_source("staging", "another-key")
        for one in (door, connect("another-key")):
            send(one, one.bind("track", SEND), operation(SEND, "e1", **EVENT))
        assert len(api.events) == 2

    @pytest.mark.parametrize(("object", "held"), [("user", "users"), ("group", "groups")])
    def test_a_value_that_changes_back_within_a_day_arrives(self, door: Door, api: Api, object: str, held: str) -> None:
        for plan in ("free", "paid", "free"):
            destination = door.bind(object, UPSERT)
            send(door, destination, operation(UPSERT, "k1", user_id="u1", traits={"plan": plan}))
        assert getattr(api, held)[0]["traits"] == {"plan": "free"}
        assert api.duplicates == 0

    def test_a_user_written_again_by_the_same_run_has_the_same_id(self, door: Door, sandbox: Sandbox, api: Api) -> None:
        sandbox.inject(Fault(api="segment", path="/v1/batch", reset="after"))
        assert users(door, plan="free") == [Outcome.UPSERTED]
        assert len(sandbox.calls("segment", "POST")) == 2
        assert api.duplicates == 1


class TestBatches:
    def test_a_batch_has_100_calls(self, door: Door, sandbox: Sandbox, api: Api) -> None:
        destination = door.bind("user", UPSERT)
        outcomes = send(door, destination, *(operation(UPSERT, f"u{n}", traits={}) for n in range(201)))
        assert outcomes == [Outcome.UPSERTED] * 201
        assert sorted(len(call.json["batch"]) for call in sandbox.calls("segment", "POST")) == [1, 100, 100]
        assert len(api.users) == 201

    def test_a_batch_is_smaller_where_its_calls_are_large(self, door: Door, sandbox: Sandbox, api: Api) -> None:
        destination = door.bind("user", UPSERT)
        large = [operation(UPSERT, f"u{n}", traits={"essay": "ž" * 15_000}) for n in range(40)]
        assert send(door, destination, *large) == [Outcome.UPSERTED] * 40
        calls = sandbox.calls("segment", "POST")
        assert [call.status for call in calls] == [200, 200, 200]
        assert max(encoded_size(call.json) for call in calls) <= 500_000
        assert len(api.users) == 40

    def test_calls_are_paced_and_a_dry_run_tells_requests_from_seconds(self, sandbox: Sandbox, door: Door) -> None:
        rows = [(f"e{n}", {"event": "Login", "user_id": f"u{n}"}) for n in range(2_000)]
        table = Table(rows)
        mapping = table.mapping
        sync = Sync(
            model=table.model,
            destination=door.bind("track", SEND),
            key_column="key",
            mapping=mapping,
            delta=FullRefresh(),
            dry_run=True,
        )
        client = Client(door.client.endpoint, Limiter(Segment.rates), judge=Segment.judge)
        result, failure = run_sync(sync, table, client, MemoryStore())
        client.close()
        table.close()
        assert failure is None
        assert result.estimate is not None
        assert result.estimate["requests"] == 20
        assert 2 <= result.estimate["seconds"] <= 2.2
        assert sandbox.calls("segment", "POST") == []

    def test_a_request_takes_as_many_turns_as_it_has_calls(self, door: Door) -> None:
        destination = door.bind("user", UPSERT)
        exchange = destination.send([operation(UPSERT, f"u{n}", traits={}) for n in range(7)])
        request = next(exchange)
        assert (request.limit, request.cost, request.idempotent) == ("events", 7, True)


class TestAnswers:
    @pytest.mark.parametrize("body", [b"{}", b'{"success": false}', b'{"success": "true"}', b"OK", b"", b"[]"])
    def test_a_200_without_success_is_no_acceptance(self, body: bytes) -> None:
        exchange = Segment("user", UPSERT).send([operation(UPSERT, "u1", traits={})])
        next(exchange)
        with pytest.raises(Unanswered):
            exchange.send(Response(200, {}, body))

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"Exceed payload limit", "HTTP 400 Exceed payload limit"),
            (b'{"code": "invalid_request", "message": "malformed JSON"}', "HTTP 400 malformed JSON"),
            (b"<html>Bad Request</html>", "HTTP 400"),
            (b"", "HTTP 400"),
        ],
    )
    def test_a_refusal_is_told_in_its_words_json_or_not(self, body: bytes, words: str) -> None:
        exchange = Segment("user", UPSERT).send([operation(UPSERT, "u1", traits={})])
        next(exchange)
        with pytest.raises(Refused) as refused:
            exchange.send(Response(400, {}, body))
        assert refused.value.reason == words

    def test_both_headers_of_a_429_say_how_long_to_wait(self) -> None:
        assert Segment.judge(Response(429, {"retry-after": "3"})) == verdict.Retry("HTTP 429 too many requests", 3)
        assert Segment.judge(Response(429, {"x-ratelimit-reset": "4"})) == verdict.Retry(
            "HTTP 429 too many requests", 4
        )
        assert Segment.judge(Response(429, {"x-ratelimit-reset": "?"})) == verdict.Retry("HTTP 429 too many requests")

    def test_what_comes_too_fast_is_sent_again(self, door: Door, api: Api, sandbox: Sandbox) -> None:
        api.event_window.limit, api.event_window.per_s = 1, 0.2
        destination = door.bind("track", SEND)
        for n in range(2):
            assert send(door, destination, operation(SEND, f"e{n}", **EVENT)) == [Outcome.SENT]
        assert [call.status for call in sandbox.calls("segment", "POST")] == [200, 429, 200]

    @pytest.mark.parametrize("reset", ["before", "after"])
    def test_an_event_without_an_answer_is_sent_again_and_there_once(
        self, door: Door, api: Api, sandbox: Sandbox, reset: Any
    ) -> None:
        sandbox.inject(Fault(api="segment", path="/v1/batch", reset=reset))
        assert send(door, door.bind("track", SEND), operation(SEND, "e1", **EVENT)) == [Outcome.SENT]
        assert len(api.events) == 1

    def test_another_address_is_named(self, door: Door, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api="segment", path="/v1/batch", status=404))
        with pytest.raises(ConfigError, match="check the host"):
            send(door, door.bind("track", SEND), operation(SEND, "e1", **EVENT))


class TestDeclaration:
    @pytest.mark.parametrize(
        ("object", "behavior", "mapping", "missing"),
        [
            ("track", SEND, {"user_id": "a"}, "'event'"),
            ("track", SEND, {"event": "a"}, "'user_id' or 'anonymous_id'"),
            ("group", UPSERT, {"traits.name": "a"}, "'user_id' or 'anonymous_id'"),
        ],
    )
    def test_a_mapping_without_what_segment_needs_is_refused(
        self, object: str, behavior: Behavior, mapping: dict[str, str], missing: str
    ) -> None:
        with pytest.raises(ConfigError, match=missing):
            Mapper(mapping, "id", ["id", "a"], Segment(object, behavior))

    def test_a_group_may_be_made_by_nobody_in_particular(self) -> None:
        mapping = {"traits.name": Column("a"), "anonymous_id": Constant("warehouse")}
        record = Mapper(mapping, "id", ["id", "a"], Segment("group", UPSERT))((1, "Acme"))
        assert isinstance(record, Record)
        assert Segment("group", UPSERT).check(Operation(UPSERT, record)) is None

    @pytest.mark.parametrize("field", ["plan", "properties.plan", "userId", "messageId", "type"])
    def test_a_field_a_user_does_not_have_is_refused(self, field: str) -> None:
        with pytest.raises(ConfigError, match=r"traits\.\*"):
            Mapper({field: "a"}, "id", ["id", "a"], Segment("user", UPSERT))

    @pytest.mark.parametrize("behavior", [Behavior.DELETE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY])
    def test_what_the_tracking_api_cannot_do_is_not_offered(self, behavior: Behavior) -> None:
        with pytest.raises(ConfigError, match="update_or_create"):
            Segment("user", behavior)


class TestConnection:
    @pytest.mark.parametrize(
        ("extra", "tracking", "public"),
        [
            ({}, "https://api.segment.io/v1", "https://api.segmentapis.com"),
            ({"region": "us"}, "https://api.segment.io/v1", "https://api.segmentapis.com"),
            ({"region": "EU"}, "https://events.eu1.segmentapis.com/v1", "https://eu1.api.segmentapis.com"),
        ],
    )
    def test_the_region_chooses_both_addresses(self, extra: dict[str, str], tracking: str, public: str) -> None:
        endpoint = Segment.endpoint(Credentials(password="k", extra=extra))
        assert (endpoint.base_url, endpoint.others["Public API"].base_url) == (tracking, public)

    def test_an_unknown_region_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'us', 'eu'"):
            Segment.endpoint(Credentials(password="k", extra={"region": "au"}))

    def test_a_host_replaces_both_addresses(self) -> None:
        endpoint = Segment.endpoint(Credentials(password="k", host="http://proxy:8080/segment"))
        assert endpoint.base_url == "http://proxy:8080/segment/v1"
        assert endpoint.others["Public API"].base_url == "http://proxy:8080/segment"

    def test_the_key_is_sent_with_a_colon_and_all_its_forms_are_secret(self) -> None:
        # The documentation's own example.
        endpoint = Segment.endpoint(Credentials(password="abc123", extra={"workspace_token": "wt"}))
        assert endpoint.headers["Authorization"] == "Basic YWJjMTIzOg=="
        assert endpoint.others["Public API"].headers["Authorization"] == "Bearer wt"
        assert set(endpoint.secrets) == {"abc123", "YWJjMTIzOg==", "wt"}
        assert "wt" not in repr(endpoint)

    def test_a_connection_of_airflows_own_type_keeps_the_key_in_an_extra(self) -> None:
        endpoint = Segment.endpoint(Credentials(extra={"write_key": "abc123"}))
        assert endpoint.headers["Authorization"] == "Basic YWJjMTIzOg=="

    @pytest.mark.parametrize("token", ["two words", "žeton"])
    def test_a_token_that_cannot_be_one_is_refused(self, token: str) -> None:
        with pytest.raises(ConfigError, match="workspace_token") as refused:
            Segment.endpoint(Credentials(password="k", extra={"workspace_token": token}))
        assert token not in str(refused.value)

    def test_with_a_token_the_test_names_the_source_of_the_key(self, door: Door) -> None:
        assert door.test() == "the write key belongs to source 'warehouse' (HTTP API) of workspace 'Acme'"

    def test_the_source_is_found_on_any_page(self, api: Api, connect: Callable[..., Door]) -> None:
        api.page_size = 2
        for n in range(4):
            api.add_source(f"source {n}", f"key-{n}")
        assert "'source 3'" in connect("key-3").test()

    def test_pages_that_go_in_circles_come_to_an_end_and_prove_nothing(self, door: Door, sandbox: Sandbox) -> None:
        page = {"data": {"sources": [], "pagination": {"current": "a", "next": "a"}}}
        sandbox.inject(Fault(api="segment", path="/sources", status=200, body=page, times=9))
        with pytest.raises(Unavailable, match="lead back"):
            door.test()
        assert len(sandbox.calls("segment", path="/sources")) == 2

    def test_a_key_of_no_source_is_refused_by_the_test(self, connect: Callable[..., Door]) -> None:
        with pytest.raises(AuthError, match="no source of workspace 'Acme' has this write key"):
            connect("another-key").test()

    def test_a_disabled_source_is_named_by_the_test(self, api: Api, door: Door) -> None:
        api.sources[0]["enabled"] = False
        with pytest.raises(ConfigError, match=r"'warehouse' .* is disabled"):
            door.test()

    def test_keys_the_token_may_not_see_are_not_taken_for_none(self, api: Api, door: Door) -> None:
        api.shows_keys = False
        assert "cannot be told: the workspace token does not see the keys of 1 sources" in door.test()
        assert users(door, plan="free") == [Outcome.UPSERTED]

    def test_a_wrong_token_is_refused_and_said_to_be_the_public_apis(self, connect: Callable[..., Door]) -> None:
        with pytest.raises(AuthError, match="Public API GET /: HTTP 401") as refused:
            connect(Api.write_key, "not-the-token").test()
        assert "not-the-token" not in str(refused.value)

    def test_without_a_token_the_test_says_what_it_cannot_tell(
        self, api: Api, connect: Callable[..., Door], sandbox: Sandbox
    ) -> None:
        for key in (Api.write_key, "another-key"):
            found = connect(key, "").test()
            assert "Whether the write key is good cannot be told" in found
            assert "workspace_token" in found
        assert api.state() == {"users": [], "groups": [], "events": [], "discarded": []}
        assert sandbox.calls("segment", "GET") == []

    def test_a_key_that_even_segment_refuses_fails_the_test(self, connect: Callable[..., Door]) -> None:
        with pytest.raises(ConfigError, match="write key"):
            connect("7q", "").test()


class TestWrongKey:
    """Segment answers 200 to it."""

    @staticmethod
    def run(door: Door) -> tuple[dict[str, Any], Exception | None]:
        table = Table([(f"u{n}", {"traits.plan": "free"}) for n in range(3)])
        sync = Sync(
            model=table.model,
            destination=door.bind("user", UPSERT),
            key_column="key",
            mapping=table.mapping,
            delta=FullRefresh(),
        )
        result, failure = run_sync(sync, table, door.client, MemoryStore())
        table.close()
        return result.to_json()["counts"], failure

    def test_with_a_token_the_run_stops_before_the_first_row(
        self, api: Api, connect: Callable[..., Door], sandbox: Sandbox
    ) -> None:
        counts, failure = self.run(connect("another-key"))
        assert isinstance(failure, AuthError)
        assert counts["upserted"] == 0
        assert sandbox.calls("segment", "POST") == []

    def test_without_one_nobody_can_know_and_the_rows_count_as_accepted(
        self, api: Api, connect: Callable[..., Door]
    ) -> None:
        counts, failure = self.run(connect("another-key", ""))
        assert failure is None
        assert counts["upserted"] == 3
        assert api.users == []
        assert {d["reason"] for d in api.discarded} == {"project_not_found"}

    def test_a_disabled_source_stops_the_run_too(self, api: Api, door: Door) -> None:
        api.sources[0]["enabled"] = False
        assert isinstance(self.run(door)[1], ConfigError)
