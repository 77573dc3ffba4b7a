from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census.destinations.braze import Braze
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered
from airflow_provider_census.sandbox.braze import BrazeSandbox
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter

UPSERT, UPDATE, DELETE, SEND = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.DELETE, Behavior.SEND
NOTHING = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
BAD_STATE = {"email_subscribe": "maybe"}
TOLD = "'email_subscribe' must be 'subscribed', 'unsubscribed', or 'opted_in'"
AT = "2024-05-01T12:00:00+00:00"
ALIAS = {"alias_label": "crm"}


@pytest.fixture
def braze(sandbox: Sandbox) -> BrazeSandbox:
    api: BrazeSandbox = sandbox["braze"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = connect(sandbox)
    yield client
    client.close()


def connect(sandbox: Sandbox, key: str = BrazeSandbox.api_key, *, share: float = 1.0) -> Client:
    endpoint = Braze.endpoint(Credentials(password=key, host=sandbox.url("braze")))
    return Client(
        endpoint, Limiter(Braze.rates, share=share), judge=Braze.judge, throttle=Braze.throttle, backoff_s=0.01
    )


def operation(behavior: Behavior, id: str, **fields: Any) -> Operation:
    return Operation(behavior, Record(id, id, fields))


def send(client: Client, destination: Braze, *operations: Operation) -> Sequence[RowResult | None]:
    for op in operations:
        assert destination.check(op) is None
    return client.run(destination.send(operations))


def outcomes(results: Sequence[RowResult | None]) -> list[Outcome | None]:
    return [result.outcome if result else None for result in results]


def event(id: str, **fields: Any) -> Operation:
    return operation(SEND, id, **{"external_id": "u1", "name": "signed_up", "time": AT, **fields})


def purchase(id: str, **fields: Any) -> Operation:
    bought = {"product_id": "tea", "currency": "EUR", "price": 9.5, "time": AT}
    return operation(SEND, id, **{"external_id": "u1", **bought, **fields})


def answer(status: int, body: Any) -> Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return Response(status, {"content-type": "application/json"}, content.encode())


def converse(destination: Braze, operations: Sequence[Operation], *answers: Response) -> Any:
    """Drive the exchange with these answers; return its results."""
    exchange = destination.send(operations)
    next(exchange)
    try:
        for given in answers:
            exchange.send(given)
    except StopIteration as end:
        return end.value
    raise AssertionError("the exchange asks for more")


# --- the connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["", "rest.iad-01.braze.com", "https://sdk.iad-01.braze.com", "https://dashboard.braze.eu"]
)
def test_a_host_that_is_no_rest_endpoint_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"host|REST endpoint"):
        Braze.endpoint(Credentials(password="k", host=host))


def test_the_rest_endpoint_is_taken_as_it_is() -> None:
    endpoint = Braze.endpoint(Credentials(password="k1", host="https://rest.fra-02.braze.eu/"))
    assert endpoint.base_url == "https://rest.fra-02.braze.eu"
    assert endpoint.headers["Authorization"] == "Bearer k1"


def test_the_connection_test_says_what_it_proves_and_writes_nothing(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox
) -> None:
    assert "/users/track" in client.run(Braze.test())
    assert [call.json for call in sandbox.calls("braze")] == [{}]
    assert not braze.users.profiles


def test_a_refused_key_is_not_repeated_in_the_error(sandbox: Sandbox) -> None:
    with pytest.raises(AuthError) as caught:
        connect(sandbox, key="not-the-right-key").run(Braze.test())
    assert "Invalid API key: ***" in str(caught.value)
    assert "not-the-right-key" not in repr(caught.value)


def test_a_missing_permission_is_named(client: Client, braze: BrazeSandbox) -> None:
    braze.permissions = {"users.track"}
    with pytest.raises(AuthError, match=r"users\.delete"):
        send(client, Braze("user", DELETE), operation(DELETE, "u1"))


def test_a_host_without_braze_is_a_matter_of_configuration(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject(Fault(api="braze", status=404, body="no such page"))
    with pytest.raises(ConfigError, match="host"):
        send(client, Braze("user", UPSERT), operation(UPSERT, "u1"))


def test_a_web_page_passes_no_connection_test(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject(Fault(api="braze", html=True))
    with pytest.raises(ConfigError, match="host"):
        client.run(Braze.test())


# --- users ----------------------------------------------------------------------------------------------------------

IDENTIFIERS = [
    ("external_id", "u1", {}, {"external_id": "u1"}),
    ("email", "a@example.com", {}, {"email": "a@example.com"}),
    ("phone", "+4712345678", {}, {"phone": "+4712345678"}),
    ("user_alias", "n1", ALIAS, {"user_alias": {"alias_name": "n1", "alias_label": "crm"}}),
]


@pytest.mark.parametrize(("identifier", "id", "options", "who"), IDENTIFIERS)
def test_users_are_created_and_updated_on_every_identifier(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, identifier: str, id: str, options: Any, who: Any
) -> None:
    destination = Braze("user", UPSERT, identifier, options)
    assert outcomes(send(client, destination, operation(UPSERT, id, plan="free"))) == [Outcome.UPSERTED]
    assert outcomes(send(client, destination, operation(UPSERT, id, plan="pro"))) == [Outcome.UPSERTED]
    (profile,) = braze.users.profiles
    assert profile["attributes"]["plan"] == "pro"
    assert sandbox.calls("braze")[0].json == {"attributes": [{"plan": "free", **who, "_update_existing_only": False}]}


@pytest.mark.parametrize(("identifier", "id", "options", "who"), IDENTIFIERS)
def test_update_only_updates_who_is_there_and_skips_the_rest(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, identifier: str, id: str, options: Any, who: Any
) -> None:
    braze.users.write({**who, "plan": "free", "_update_existing_only": False})
    destination = Braze("user", UPDATE, identifier, options)
    other = "+4799999999" if identifier == "phone" else "other@example.com"
    results = send(client, destination, operation(UPDATE, other, plan="pro"), operation(UPDATE, id, plan="pro"))
    assert outcomes(results) == [Outcome.SKIPPED, Outcome.UPDATED]
    (profile,) = braze.users.profiles
    assert profile["attributes"]["plan"] == "pro"
    (track,) = sandbox.calls("braze", path="/users/track")
    assert track.json == {"attributes": [{"plan": "pro", **who, "_update_existing_only": True}]}


def test_braze_id_updates_and_deletes_but_cannot_create(client: Client, braze: BrazeSandbox) -> None:
    braze.users.write({"external_id": "u1"})
    id = braze.users.profiles[0]["braze_id"]
    update = Braze("user", UPDATE, "braze_id")
    results = send(client, update, operation(UPDATE, id, plan="pro"), operation(UPDATE, "none", plan="pro"))
    assert outcomes(results) == [Outcome.UPDATED, Outcome.SKIPPED]
    assert outcomes(send(client, Braze("user", DELETE, "braze_id"), operation(DELETE, id))) == [Outcome.DELETED]
    assert not braze.users.profiles


def test_update_only_sends_nothing_when_nobody_is_there(client: Client, sandbox: Sandbox) -> None:
    assert outcomes(send(client, Braze("user", UPDATE), operation(UPDATE, "u1", plan="pro"))) == [Outcome.SKIPPED]
    assert [call.path for call in sandbox.calls("braze")] == ["/users/export/ids"]


def test_update_only_trusts_no_look_up_that_says_neither(sandbox: Sandbox) -> None:
    found = answer(200, {"message": "success", "users": [{"external_id": "u1"}]})
    tracked = answer(201, {"message": "success", "attributes_processed": 1})
    batch = [operation(UPDATE, "u1"), operation(UPDATE, "u2")]
    assert outcomes(converse(Braze("user", UPDATE), batch, found, tracked)) == [Outcome.UPDATED, None]


def test_the_look_ups_of_update_only_are_counted(sandbox: Sandbox) -> None:
    batch = [operation(UPDATE, str(n)) for n in range(50)]
    assert Braze("user", UPDATE).requests_for(batch) == {"users_track": 1, "users_export": 1}
    assert Braze("user", UPDATE, "email").requests_for(batch) == {"users_track": 1, "users_export": 50}


def test_a_full_batch_goes_out_as_one_request(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    destination = Braze("user", UPSERT)
    batch = [operation(UPSERT, f"u{n}", plan="pro") for n in range(destination.max_batch(operation(UPSERT, "u")))]
    assert outcomes(send(client, destination, *batch)) == [Outcome.UPSERTED] * 75
    assert len(sandbox.calls("braze")) == 1
    assert len(braze.users.profiles) == 75


def test_the_refused_of_a_batch_are_named_and_the_others_arrive(client: Client, braze: BrazeSandbox) -> None:
    batch = [operation(UPSERT, f"u{n}", **(BAD_STATE if n in (0, 40) else {})) for n in range(75)]
    results = send(client, Braze("user", UPSERT), *batch)
    refused = {n: r for n, r in enumerate(results) if r and r.outcome is Outcome.REJECTED}
    assert refused == {n: RowResult(Outcome.REJECTED, TOLD, 201) for n in (0, 40)}
    assert outcomes(results).count(Outcome.UPSERTED) == 73
    assert len(braze.users.profiles) == 73


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_bad_objects_is_rejected_row_by_row(client: Client, sandbox: Sandbox, size: int) -> None:
    results = send(client, Braze("user", UPSERT), *(operation(UPSERT, f"u{n}", **BAD_STATE) for n in range(size)))
    assert results == [RowResult(Outcome.REJECTED, TOLD, 400)] * size
    assert len(sandbox.calls("braze")) == 1


def test_a_400_that_names_no_row_refuses_the_batch(client: Client, braze: BrazeSandbox) -> None:
    braze.max_objects = 50
    with pytest.raises(Refused, match="Max Input Length Exceeded") as caught:
        send(client, Braze("user", UPSERT), *(operation(UPSERT, f"u{n}") for n in range(51)))
    assert caught.value.status == 400


def test_a_400_that_names_some_rows_refuses_the_batch() -> None:
    named = {"type": TOLD, "input_array": "attributes", "index": 0}
    with pytest.raises(Refused, match=NOTHING):
        converse(
            Braze("user", UPSERT),
            [operation(UPSERT, "u1"), operation(UPSERT, "u2")],
            answer(400, {"message": NOTHING, "errors": [named]}),
        )


def test_a_413_refuses_the_batch_whatever_its_body() -> None:
    with pytest.raises(Refused, match="HTTP 413"):
        converse(Braze("user", UPSERT), [operation(UPSERT, "u1")], answer(413, "<html>too large</html>"))


@pytest.mark.parametrize(
    "body",
    [
        {"message": "success", "attributes_processed": 1},
        {"message": "success", "attributes_processed": 3},
        {"message": "success"},
        {"message": "success", "attributes_processed": 2, "errors": ["something is wrong"]},
        {
            "message": "success",
            "attributes_processed": 2,
            "errors": [{"type": "x", "input_array": "events", "index": 0}],
        },
        {"message": "success", "attributes_processed": 1, "errors": [{"type": "x"}]},
        {"message": "failed", "attributes_processed": 2},
        {"message": "queued"},
    ],
)
def test_an_answer_that_does_not_add_up_accepts_nothing(body: Any) -> None:
    batch = [operation(UPSERT, "u1"), operation(UPSERT, "u2")]
    assert converse(Braze("user", UPSERT), batch, answer(201, body)) == [None, None]


@pytest.mark.parametrize(
    "body",
    [["success"], {"message": ["success"]}, {"message": "success", "attributes_processed": True}],
)
def test_an_answer_that_cannot_be_read_is_none(body: Any) -> None:
    with pytest.raises(Unanswered):
        converse(Braze("user", UPSERT), [operation(UPSERT, "u1")], answer(201, body))


def test_a_short_count_leaves_only_the_named_rows_certain() -> None:
    error = {"type": TOLD, "input_array": "attributes", "index": 1}
    body = {"message": "success", "attributes_processed": 1, "errors": [error]}
    batch = [operation(UPSERT, f"u{n}") for n in range(3)]
    results = converse(Braze("user", UPSERT), batch, answer(201, body))
    assert results == [None, RowResult(Outcome.REJECTED, TOLD, 201), None]


def test_null_errors_are_no_errors() -> None:
    body = {"message": "success", "attributes_processed": 1, "errors": None}
    assert outcomes(converse(Braze("user", UPSERT), [operation(UPSERT, "u")], answer(201, body))) == [Outcome.UPSERTED]


def test_a_web_page_instead_of_an_answer_is_no_answer(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    sandbox.inject(Fault(api="braze", html=True))
    with pytest.raises(Unanswered, match="text/html"):
        send(client, Braze("user", UPSERT), operation(UPSERT, "u1"))
    assert not braze.users.profiles


def test_null_removes_an_attribute(client: Client, braze: BrazeSandbox) -> None:
    destination = Braze("user", UPSERT)
    send(client, destination, operation(UPSERT, "u1", plan="pro", city="Oslo"))
    send(client, destination, operation(UPSERT, "u1", plan=None))
    assert braze.users.profiles[0]["attributes"] == {"city": "Oslo"}


def test_an_update_survives_a_lost_answer(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    sandbox.inject(Fault(api="braze", reset="after"))
    assert outcomes(send(client, Braze("user", UPSERT), operation(UPSERT, "u1"))) == [Outcome.UPSERTED]
    assert client.traffic.retries == 1
    assert len(braze.users.profiles) == 1


@pytest.mark.parametrize("value", [{"inc": 1}, {"add": ["x"]}, {"$add": [{"id": 1}]}])
def test_what_adds_is_not_sent_again_after_a_lost_answer(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, value: Any
) -> None:
    destination = Braze("user", UPSERT)
    adding, plain = operation(UPSERT, "u1", points=value), operation(UPSERT, "u2", points=1)
    assert destination.lane(adding) != destination.lane(plain)
    sandbox.inject(Fault(api="braze", reset="after"))
    with pytest.raises(Unanswered):
        send(client, destination, adding)
    assert len(sandbox.calls("braze")) == 1
    assert len(braze.users.profiles) == 1


@pytest.mark.parametrize(
    ("identifier", "field"),
    [
        ("external_id", "braze_id"),
        ("external_id", "user_alias.alias_name"),
        ("email", "external_id"),
        ("phone", "email"),
        ("external_id", "_update_existing_only"),
    ],
)
def test_a_field_that_would_match_other_users_cannot_be_mapped(identifier: str, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Braze("user", UPSERT, identifier).check_field(field)


@pytest.mark.parametrize(
    ("identifier", "field"), [("external_id", "email"), ("email", "phone"), ("phone", "home.city")]
)
def test_other_attributes_can_be_mapped(identifier: str, field: str) -> None:
    Braze("user", UPSERT, identifier).check_field(field)


def test_the_name_of_an_attribute_has_255_characters_at_the_most() -> None:
    users = Braze("user", UPSERT)
    users.check_field("x" * 255 + ".city")
    with pytest.raises(ConfigError, match="longer than the 255 characters"):
        users.check_field("x" * 256)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"home": {"x" * 256: 1}}, "1 to 255 characters"),
        ({"home": {"": 1}}, "1 to 255 characters"),
        ({"bio": "x" * 256}, "bio is longer than 255"),
        ({"home": {"city": "x" * 256}}, r"home\.city is longer"),
        ({"home": {"city": None}}, r"home\.city is null"),
        ({"homes": [{"city": "Oslo"}, {"city": None}]}, r"homes\.1\.city is null"),
        ({"home": {"post code": 1}}, "has a space"),
    ],
)
def test_what_braze_would_drop_in_silence_is_invalid(fields: dict[str, Any], reason: str) -> None:
    problem = Braze("user", UPSERT).check(operation(UPSERT, "u1", **fields))
    assert problem is not None
    assert re.search(reason, problem)


@pytest.mark.parametrize(
    ("identifier", "id", "good"),
    [
        ("external_id", "x" * 987, True),
        ("external_id", "x" * 988, False),
        ("external_id", "ø" * 494, False),
        ("phone", "+4712345678", True),
        ("phone", "12 34 56 78", False),
    ],
)
def test_identifiers_braze_cannot_hold_are_invalid(identifier: str, id: str, good: bool) -> None:
    assert (Braze("user", UPSERT, identifier).check(operation(UPSERT, id)) is None) is good


def test_dates_are_marked_inside_attributes_only() -> None:
    at = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
    user = Braze("user", UPSERT)
    assert user.scalar(at, "joined") == AT
    assert user.scalar(at, "home.since") == {"$time": AT}
    assert user.scalar(dt.date(2024, 5, 1), "home.since") == {"$time": "2024-05-01"}
    assert user.scalar(Decimal("1.5"), "home.rate") == 1.5
    assert Braze("event", SEND).scalar(at, "properties.since") == AT


def test_an_alias_needs_its_label() -> None:
    with pytest.raises(ConfigError, match="alias_label"):
        Braze("user", UPSERT, "user_alias")


# --- deleting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("identifier", "id", "options", "who"), IDENTIFIERS)
def test_users_are_deleted_on_every_identifier(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, identifier: str, id: str, options: Any, who: Any
) -> None:
    braze.users.write({**who, "_update_existing_only": False})
    braze.users.write({"external_id": "stays"})
    by_contact = identifier in ("email", "phone")
    chosen = {"prioritization": ["unidentified", "most_recently_updated"]} if by_contact else {}
    results = send(client, Braze("user", DELETE, identifier, {**options, **chosen}), operation(DELETE, id))
    assert outcomes(results) == [Outcome.DELETED]
    assert [p["external_id"] for p in braze.users.profiles] == ["stays"]


def test_a_deletion_by_email_must_say_whom_it_means() -> None:
    with pytest.raises(ConfigError, match="most_recently_updated"):
        Braze("user", DELETE, "email")
    with pytest.raises(ConfigError, match="oldest"):
        Braze("user", DELETE, "email", {"prioritization": "oldest"})


def test_a_deletion_by_email_is_not_repeated_onto_the_next_profile(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox
) -> None:
    for id in ("u1", "u2"):
        braze.users.write({"external_id": id, "email": "a@example.com"})
    sandbox.inject(Fault(api="braze", reset="after"))
    destination = Braze("user", DELETE, "email", {"prioritization": ["most_recently_updated"]})
    with pytest.raises(Unanswered):
        send(client, destination, operation(DELETE, "a@example.com"))
    assert [p["external_id"] for p in braze.users.profiles] == ["u1"]


def test_users_already_gone_count_as_deleted_when_braze_counts_fewer(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox
) -> None:
    braze.counts_unknown_deletes = False
    braze.users.write({"external_id": "u1"})
    results = send(client, Braze("user", DELETE), operation(DELETE, "u1"), operation(DELETE, "u2"))
    assert outcomes(results) == [Outcome.DELETED] * 2
    assert [call.path for call in sandbox.calls("braze")] == ["/users/delete", "/users/export/ids"]


def test_a_user_still_there_after_a_short_count_is_uncertain() -> None:
    looked_up = answer(200, {"message": "success", "users": [{"external_id": "u1"}], "invalid_user_ids": ["u2"]})
    batch = [operation(DELETE, "u1"), operation(DELETE, "u2")]
    results = converse(Braze("user", DELETE), batch, answer(201, {"deleted": 1}), looked_up)
    assert outcomes(results) == [None, Outcome.DELETED]


def test_a_deletion_whose_look_up_fails_is_uncertain_and_sent_once(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox
) -> None:
    braze.counts_unknown_deletes = False
    braze.permissions = {"users.delete"}
    destination = Braze("user", DELETE, "email", {"prioritization": ["identified"]})
    (result,) = send(client, destination, operation(DELETE, "a@example.com"))
    assert result is not None
    assert result.outcome is Outcome.UNCERTAIN
    assert "users.export.ids" in result.reason
    assert len(sandbox.calls("braze", path="/users/delete")) == 1


def test_a_refused_deletion_refuses_the_batch(client: Client) -> None:
    with pytest.raises(Refused, match="max number"):
        send(client, Braze("user", DELETE), *(operation(DELETE, str(n)) for n in range(51)))
    assert Braze("user", DELETE).max_batch(operation(DELETE, "u")) == 50


# --- events and purchases -------------------------------------------------------------------------------------------

WHO = [
    {"external_id": "u1"},
    {"email": "a@example.com"},
    {"phone": "+4712345678"},
    {"user_alias": {"alias_name": "n1", "alias_label": "crm"}},
]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("name", "make"), [("event", event), ("purchase", purchase)])
def test_occurrences_are_sent_for_every_kind_of_user(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, name: str, make: Any, who: dict[str, Any]
) -> None:
    made = make("e1", external_id=None, **who) if "external_id" not in who else make("e1")
    assert outcomes(send(client, Braze(name, SEND), made)) == [Outcome.SENT]
    (stored,) = braze.events if name == "event" else braze.purchases
    assert who.items() <= stored.items()
    assert "event_id" not in stored
    (sent,) = sandbox.calls("braze")[0].json[f"{name}s"]
    assert sent["_update_existing_only"] is False


def test_a_full_batch_of_events_keeps_the_good_ones(client: Client, braze: BrazeSandbox) -> None:
    batch = [event(f"e{n}", external_id="guest" if n == 7 else f"u{n}") for n in range(75)]
    results = send(client, Braze("event", SEND), *batch)
    assert outcomes(results) == [Outcome.REJECTED if n == 7 else Outcome.SENT for n in range(75)]
    rejected = results[7]
    assert rejected is not None
    assert rejected.reason == "provided external_id is blacklisted and disallowed"
    assert len(braze.events) == 74


def test_all_bad_purchases_are_rejected_in_brazes_words(client: Client) -> None:
    batch = [purchase(f"e{n}", external_id="guest") for n in range(2)]
    results = send(client, Braze("purchase", SEND), *batch)
    assert [r and (r.outcome, r.status) for r in results] == [(Outcome.REJECTED, 400)] * 2


@pytest.mark.parametrize("name", ["event", "purchase"])
def test_a_lost_answer_leaves_occurrences_in_doubt_and_applied_once(
    client: Client, sandbox: Sandbox, braze: BrazeSandbox, name: str
) -> None:
    sandbox.inject(Fault(api="braze", reset="after"))
    with pytest.raises(Unanswered):
        send(client, Braze(name, SEND), event("e1") if name == "event" else purchase("e1"))
    assert len(braze.events + braze.purchases) == 1
    assert len(sandbox.calls("braze")) == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_error_leaves_events_in_doubt(client: Client, sandbox: Sandbox, status: int) -> None:
    sandbox.inject(Fault(api="braze", status=status))
    with pytest.raises(Unanswered):
        send(client, Braze("event", SEND), event("e1"))
    assert len(sandbox.calls("braze")) == 1


def test_a_cut_answer_leaves_events_in_doubt(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    sandbox.inject(Fault(api="braze", truncate=True))
    with pytest.raises(Unanswered):
        send(client, Braze("event", SEND), event("e1"))
    assert len(braze.events) == 1


def test_the_author_may_have_events_sent_again(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    sandbox.inject(Fault(api="braze", reset="after"))
    destination = Braze("event", SEND, options={"on_uncertain": "resend"})
    assert outcomes(send(client, destination, event("e1"))) == [Outcome.SENT]
    assert len(braze.events) == 2


def test_nulls_and_integer_ids_reach_braze_in_its_terms(client: Client, braze: BrazeSandbox) -> None:
    alias = {"alias_name": None, "alias_label": "crm"}
    made = event("e1", external_id=7, braze_id=None, user_alias=alias, properties={"plan": None, "seats": 3})
    assert outcomes(send(client, Braze("event", SEND), made)) == [Outcome.SENT]
    (stored,) = braze.events
    assert stored["external_id"] == "7"
    assert stored["properties"] == {"seats": 3}
    assert not stored.keys() & {"user_alias", "app_id"}


def test_an_author_may_keep_events_to_existing_users(client: Client, braze: BrazeSandbox) -> None:
    send(client, Braze("event", SEND), event("e1", _update_existing_only=True))
    assert not braze.users.profiles


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (event("e", braze_id="b1"), "only one of external_id, braze_id"),
        (event("e", external_id="x" * 988), "987 bytes"),
        (event("e", name="x" * 256), "name is longer"),
        (event("e", properties={"$plan": 1}), "start with $"),
        (event("e", properties={"time": 1}), "reserved"),
        (event("e", properties={"event_name": 1}), "reserved"),
        (event("e", properties={"": 1}), "1 to 255"),
        (event("e", properties={"plan": "x" * 256}), "longer than 255"),
        (event("e", properties={"many": ["x" * 255] * 400}), "larger than 100000 bytes"),
        (event("e", properties="none"), "not an object"),
        (purchase("e", quantity=0), "quantity"),
        (purchase("e", quantity=101), "quantity"),
        (purchase("e", quantity=1.5), "quantity"),
        (purchase("e", price="9"), "price"),
        (purchase("e", price=True), "price"),
        (purchase("e", currency="euro"), "ISO 4217"),
        (purchase("e", product_id="x" * 256), "product_id is longer"),
        (purchase("e", properties={"price": 1}), "reserved"),
    ],
)
def test_occurrences_braze_would_refuse_are_invalid(made: Operation, reason: str) -> None:
    name = "event" if "name" in made.record.fields else "purchase"
    assert reason in str(Braze(name, SEND).check(made))


def test_sync_all_puts_unknown_columns_into_the_properties() -> None:
    destination = Braze("event", SEND)
    fields = destination.sync_all({"external_id": "u1", "name": "x", "time": AT, "plan": "pro"})
    assert fields == {"external_id": "u1", "name": "x", "time": AT, "properties": {"plan": "pro"}}
    assert Braze("user", UPSERT).home("plan") == "plan"


# --- catalog items --------------------------------------------------------------------------------------------------


def item(behavior: Behavior, id: str, **fields: Any) -> Operation:
    return operation(behavior, id, catalog_name="products", **fields)


def test_items_are_replaced_whole(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    destination = Braze("catalog_item", UPSERT)
    assert outcomes(send(client, destination, item(UPSERT, "1", name="Tea", price=3))) == [Outcome.UPSERTED]
    send(client, destination, item(UPSERT, "1", price=4))
    assert braze.catalogs.items["products"] == {"1": {"id": "1", "price": 4}}
    assert [call.method for call in sandbox.calls("braze")] == ["PUT", "PUT"]


def test_items_are_edited_and_deleted(client: Client, sandbox: Sandbox, braze: BrazeSandbox) -> None:
    braze.catalogs.items["products"]["1"] = {"id": "1", "name": "Tea"}
    assert outcomes(send(client, Braze("catalog_item", UPDATE), item(UPDATE, "1", price=3))) == [Outcome.UPDATED]
    assert braze.catalogs.items["products"] == {"1": {"id": "1", "name": "Tea", "price": 3}}
    assert outcomes(send(client, Braze("catalog_item", DELETE), item(DELETE, "1", price=3))) == [Outcome.DELETED]
    assert braze.catalogs.items["products"] == {}
    assert sandbox.calls("braze", method="DELETE")[0].json == {"items": [{"id": "1"}]}


def test_items_of_different_catalogs_share_no_request() -> None:
    destination = Braze("catalog_item", UPSERT)
    assert destination.lane(item(UPSERT, "1")) == destination.lane(item(UPSERT, "2"))
    assert destination.lane(item(UPSERT, "1")) != destination.lane(operation(UPSERT, "1", catalog_name="shops"))
    assert destination.max_batch(item(UPSERT, "1")) == 50


def test_one_bad_item_refuses_the_batch_with_its_reason(client: Client, braze: BrazeSandbox) -> None:
    with pytest.raises(Refused, match="do not exist in the catalog"):
        send(client, Braze("catalog_item", UPSERT), item(UPSERT, "1", price=3), item(UPSERT, "2", colour="red"))
    assert braze.catalogs.items["products"] == {}


def test_the_items_beside_a_bad_one_arrive(client: Client, braze: BrazeSandbox) -> None:
    batch = [item(UPSERT, str(n), **({"colour": "red"} if n == 33 else {"price": n})) for n in range(50)]
    delivered = deliver(((op.record.id, op) for op in batch), Braze("catalog_item", UPSERT), client)
    results = dict(pair for part in delivered for pair in part)
    assert [id for id, result in results.items() if result.outcome is Outcome.REJECTED] == ["33"]
    assert "do not exist in the catalog" in results["33"].reason
    assert len(braze.catalogs.items["products"]) == 49


def test_items_of_an_unknown_catalog_are_rejected_in_one_request(client: Client, sandbox: Sandbox) -> None:
    batch = [operation(UPSERT, str(n), catalog_name="none") for n in range(3)]
    results = send(client, Braze("catalog_item", UPSERT), *batch)
    assert results == [RowResult(Outcome.REJECTED, "Invalid Request: Could not find catalog", 404)] * 3
    assert len(sandbox.calls("braze")) == 1


@pytest.mark.parametrize("errors", ["no", 7, {"type": "no"}])
def test_errors_that_are_no_list_are_errors_all_the_same(errors: Any) -> None:
    body = {"message": "success", "attributes_processed": 1, "errors": errors}
    assert converse(Braze("user", UPSERT), [operation(UPSERT, "1", plan="x")], answer(201, body)) == [None]


def test_an_answer_without_success_accepts_no_item() -> None:
    assert converse(Braze("catalog_item", UPSERT), [item(UPSERT, "1")], answer(202, {"message": "?"})) == [None]


def test_fields_no_catalog_has_are_found_before_the_first_row(client: Client) -> None:
    destination = Braze("catalog_item", UPDATE)
    client.run(destination.prepare(["catalog_name", "price", "details.size"]))
    with pytest.raises(ConfigError, match=r"'colour'.*'price'"):
        client.run(destination.prepare(["catalog_name", "colour"]))


def test_rows_for_a_catalog_without_them_are_invalid(client: Client, braze: BrazeSandbox) -> None:
    braze.catalogs.create("shops", city="string")
    destination = Braze("catalog_item", UPSERT)
    client.run(destination.prepare(["catalog_name", "city"]))
    assert destination.check(operation(UPSERT, "1", catalog_name="shops", city="Oslo")) is None
    assert destination.check(item(UPSERT, "1", city="Oslo")) == "catalog 'products' has no field 'city'"
    assert destination.check(operation(UPSERT, "1", catalog_name="none")) == "there is no catalog 'none'"


@pytest.mark.parametrize("behavior", [UPSERT, Behavior.MIRROR])
def test_a_mapping_that_would_empty_fields_of_items_is_refused(
    client: Client, braze: BrazeSandbox, behavior: Behavior
) -> None:
    braze.catalogs.create("shops", city="string", zip="string")
    with pytest.raises(ConfigError, match=r"leaves zip empty.*update_only.*'replace': True"):
        client.run(Braze("catalog_item", behavior).prepare(["catalog_name", "city"]))
    client.run(Braze("catalog_item", behavior).prepare(["catalog_name", "city", "zip"]))
    client.run(Braze("catalog_item", behavior, options={"replace": True}).prepare(["catalog_name", "city"]))
    client.run(Braze("catalog_item", UPDATE).prepare(["catalog_name", "city"]))


def test_a_row_that_would_empty_fields_of_its_item_is_invalid(client: Client, braze: BrazeSandbox) -> None:
    braze.catalogs.create("shops", city="string", zip="string")
    braze.catalogs.create("towns", city="string")
    # Of the second catalog nothing is left out; and a column with null="skip" leaves out what is NULL.
    town = {"catalog_name": "towns", "city": "Oslo"}
    shop = {"catalog_name": "shops", "city": "Oslo"}
    destination = Braze("catalog_item", UPSERT)
    client.run(destination.prepare(["catalog_name", "city"]))
    assert destination.check(operation(UPSERT, "1", **town)) is None
    assert "zip would be empty" in str(destination.check(operation(UPSERT, "1", **shop)))
    assert destination.check(operation(UPSERT, "1", **shop, zip=None)) is None
    assert destination.check(operation(DELETE, "1", **shop)) is None


def test_a_key_that_may_not_list_catalogs_can_still_write_items(client: Client, braze: BrazeSandbox) -> None:
    braze.permissions = {"catalogs.replace_items"}
    destination = Braze("catalog_item", UPSERT)
    client.run(destination.prepare(["catalog_name", "price"]))
    assert outcomes(send(client, destination, item(UPSERT, "1", price=3))) == [Outcome.UPSERTED]
    with pytest.raises(AuthError, match=r"catalogs\.delete_items"):
        send(client, Braze("catalog_item", DELETE), item(DELETE, "1"))


def deep(levels: int) -> Any:
    return {"x": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (item(UPSERT, "a b"), "id must be"),
        (item(UPSERT, "x" * 251), "id must be"),
        (operation(UPSERT, "1", catalog_name="my shop"), "catalog_name must be"),
        (operation(UPSERT, "1", catalog_name=7), "catalog_name must be"),
        (operation(UPSERT, "1"), "catalog_name must be"),
        (item(UPSERT, "1", name="x" * 5001), "longer than 5000"),
        (item(UPSERT, "1", details={"a.b": 1}), "may not contain"),
        (item(UPSERT, "1", details={"$add": 1}), "may not contain"),
        (item(UPSERT, "1", details=deep(51)), "deeper than 50"),
    ],
)
def test_items_braze_would_refuse_are_invalid(made: Operation, reason: str) -> None:
    assert reason in str(Braze("catalog_item", UPSERT).check(made))


def test_array_operators_are_for_edits_and_bind_the_request_to_one_try() -> None:
    made = item(UPDATE, "1", tags={"$add": ["new"]})
    destination = Braze("catalog_item", UPDATE)
    assert destination.check(made) is None
    assert not destination.repeatable(made)


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-retry-after": "7", "x-ratelimit-reset": "9"}, 7),
        ({"retry-after": "3"}, 3),
        ({"x-ratelimit-reset": "9"}, 9),
        ({"x-ratelimit-reset": str(time.time() + 9)}, 9),
        ({"x-ratelimit-reset": "999999999999999"}, 3600),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_a_429_is_waited_for_as_long_as_a_header_says(headers: dict[str, str], wait_s: float | None) -> None:
    judged = Braze.judge(Response(429, headers))
    assert isinstance(judged, verdict.Retry)
    assert judged.after_s == (None if wait_s is None else pytest.approx(wait_s, abs=60))
    assert not judged.applied


def test_what_remains_of_a_window_is_read_in_both_units() -> None:
    seconds = Braze.throttle(Response(201, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}))
    epoch = Braze.throttle(Response(201, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(time.time() + 30)}))
    assert (seconds.remaining, seconds.reset_s) == (0, 30)
    assert epoch.reset_s == pytest.approx(30, abs=1)


@pytest.mark.parametrize("by_active_users", [False, True])
def test_events_refused_by_the_rate_are_sent_once_it_allows(
    client: Client, braze: BrazeSandbox, by_active_users: bool
) -> None:
    braze.by_active_users = by_active_users
    braze.track_window.limit, braze.track_window.per_s = 1, 0.5
    destination = Braze("event", SEND)
    for n in range(3):
        assert outcomes(send(client, destination, event(f"e{n}"))) == [Outcome.SENT]
    assert len(braze.events) == 3


@pytest.mark.parametrize("by_active_users", [False, True])
def test_a_window_that_this_sync_has_used_up_is_waited_for_no_whole_second(
    sandbox: Sandbox, braze: BrazeSandbox, by_active_users: bool
) -> None:
    braze.by_active_users = by_active_users
    braze.track_window.limit = 60
    share = 60 / 3_000
    client = connect(sandbox, share=share)
    destination = Braze("event", SEND)
    began = time.monotonic()
    rows = 75 * 62
    arrived = sum(map(len, deliver(((n, event(f"e{n}")) for n in range(rows)), destination, client)))
    took_s = time.monotonic() - began
    client.close()
    assert arrived == rows
    assert client.traffic.refused_429 == 0
    assert took_s < 3 * 61 / 60 + 0.8
