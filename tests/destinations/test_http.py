from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from airflow_provider_census.destinations.http import Http
from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.http import HttpSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Request
from airflow_provider_census.transport.rate import Limiter, Rate

UPSERT, UPDATE, CREATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY
DELETE, MIRROR, SEND = Behavior.DELETE, Behavior.MIRROR, Behavior.SEND
TOKEN = "s3cr3t-t0ken"
PUT = {"method": "PUT", "path": "/v1/things/{id}"}
BATCH = {"path": "/v1/things/batch", "batch_size": 5, "batch_key": "things"}


@pytest.fixture
def api(sandbox: Sandbox) -> HttpSandbox:
    api: HttpSandbox = sandbox["http"]
    return api


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = connect(sandbox)
    yield client
    client.close()


def connect(sandbox: Sandbox, **parts: Any) -> Client:
    credentials = Credentials(**{"password": HttpSandbox.token, "host": sandbox.url("http"), **parts})
    return Client(Http.endpoint(credentials), Limiter([]), judge=Http.judge, backoff_s=0.01)


def http(behavior: Behavior = UPSERT, identifier: str | None = None, **options: Any) -> Http:
    return Http("things", behavior, identifier, options, sync_id="s")


def row(id: Any = 1, behavior: Behavior = UPSERT, **fields: Any) -> Operation:
    return Operation(behavior, Record(id, str(id), fields))


def run(client: Client, destination: Http, *operations: Operation) -> list[RowResult]:
    for operation in operations:
        assert destination.check(operation) is None
    results = {n: result for batch in deliver(enumerate(operations), destination, client) for n, result in batch}
    return [results[n] for n in range(len(operations))]


def request(destination: Http, *operations: Operation) -> Request:
    return next(destination.send(operations))


def outcomes(results: list[RowResult]) -> list[Outcome]:
    return [result.outcome for result in results]


# --- the connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ({}, {"Authorization": f"Bearer {TOKEN}"}),
        ({"extra": {"auth": "header", "header": "X-Api-Key"}}, {"X-Api-Key": TOKEN}),
        ({"login": "ann"}, {"Authorization": "Basic " + base64.b64encode(f"ann:{TOKEN}".encode()).decode()}),
        ({"login": "ann", "extra": {"auth": "bearer"}}, {"Authorization": f"Bearer {TOKEN}"}),
        ({"login": "key", "password": ""}, {"Authorization": "Basic a2V5Og=="}),
        ({"extra": {"auth": "none"}}, {}),
        ({"password": "", "extra": {"headers": {"X-Token": "abc"}}}, {"X-Token": "abc"}),
        ({"extra": {"headers": {"X-Tenant": "7"}}}, {"X-Tenant": "7", "Authorization": f"Bearer {TOKEN}"}),
    ],
    ids=["bearer", "header", "basic", "bearer beside a login", "a key for a login", "none", "headers", "both"],
)
def test_the_connection_says_how_requests_are_let_in(parts: dict[str, Any], headers: dict[str, str]) -> None:
    endpoint = Http.endpoint(Credentials(**{"password": TOKEN, "host": "https://api.example.com/v2", **parts}))
    assert endpoint.base_url == "https://api.example.com/v2"
    assert endpoint.headers == {"Accept": "application/json", **headers}


def test_whatever_lets_a_request_in_is_a_secret() -> None:
    extra = {"headers": {"X-Token": "abc-def", "Accept": "text/plain"}}
    endpoint = Http.endpoint(Credentials(login="ann", password=TOKEN, host="https://api.example.com", extra=extra))
    pair = base64.b64encode(f"ann:{TOKEN}".encode()).decode()
    assert endpoint.redact(f"{pair} {TOKEN} abc-def text/plain") == "*** *** *** text/plain"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"host": ""}, "host"),
        ({"password": ""}, "password"),
        ({"extra": {"auth": "digest"}}, "'bearer', 'basic'"),
        ({"extra": {"auth": "basic"}}, "login"),
        ({"extra": {"auth": "header"}}, "X-Api-Key"),
        ({"extra": {"auth": "header", "header": "X-Api: Key"}}, "X-Api-Key"),
        ({"extra": {"headers": {"X": "a\nb"}}}, "headers"),
        ({"extra": {"test_path": "v1/me"}}, "test_path"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_by_name(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Http.endpoint(Credentials(**{"password": TOKEN, "host": "https://api.example.com", **parts}))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"login": HttpSandbox.login},
        {"extra": {"auth": "header", "header": "X-Api-Key"}},
        {"password": "", "extra": {"headers": {"X-Api-Key": HttpSandbox.token}}},
    ],
)
def test_the_test_path_confirms_the_credentials(sandbox: Sandbox, parts: dict[str, Any]) -> None:
    extra = {"test_path": "/v1/me", **parts.pop("extra", {})}
    client = connect(sandbox, **parts, extra=extra)
    assert client.run(Http.behind(Credentials(extra=extra)).test()) == "GET /v1/me answers HTTP 200"
    client.close()


def test_without_a_test_path_nothing_is_asked_and_nothing_confirmed(sandbox: Sandbox, client: Client) -> None:
    with pytest.raises(ConfigError, match="test_path"):
        client.run(Http.test())
    assert sandbox.ledger == []


def test_a_test_path_that_is_not_there_is_named(client: Client) -> None:
    with pytest.raises(ConfigError, match="/v1/them: HTTP 404"):
        client.run(Http.behind(Credentials(extra={"test_path": "/v1/them"})).test())


def test_a_denial_ends_the_run(sandbox: Sandbox) -> None:
    client = connect(sandbox, password="wrong")
    with pytest.raises(AuthError):
        run(client, http(**PUT), row())
    client.close()


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "'path'"),
        ({"path": ""}, "path"),
        ({"path": "things"}, "/users/"),
        ({"path": "//evil.example.com/things"}, "/users/"),
        ({"path": "/things/{}"}, "/users/"),
        ({"path": "/things/{id"}, "/users/"),
        ({"path": "/things/#{id}"}, "/users/"),
        ({"path": "/things/../{id}"}, "parts"),
        ({**PUT, "method": "GET"}, "POST, PUT"),
        ({**PUT, "batch_size": 5}, "takes no batch"),
        ({**PUT, "batch_key": "things"}, "batch_size"),
        ({**BATCH, "batch_size": 0}, "at least 1"),
        ({**BATCH, "batch_size": True}, "whole number"),
        ({**BATCH, "errors": {"path": "errors"}}, "'index' or 'id'"),
        ({**PUT, "errors": {"reason": "message"}}, "'path'"),
        ({**PUT, "success": {"stauts": [200]}}, "status, path"),
        ({**PUT, "success": {"status": [404]}}, "200 to 299"),
        ({**PUT, "success": {"path": "error", "value": None}}, "null"),
        ({**PUT, "success": True}, "dict"),
        ({**PUT, "skip_status": 404}, "list of statuses"),
        ({**PUT, "skip_status": [500]}, "400 to 499"),
        ({**PUT, "repeatable": "yes"}, "True or False"),
        ({**PUT, "headers": {"authorization": "Bearer x"}}, "connection"),
        ({**PUT, "headers": {"X-Tenant": "a\r\nX-Evil: b"}}, "printable"),
        ({**PUT, "headers": {"X Tenant": "a"}}, "no name"),
        ({**PUT, "rate": {"requests": 0}}, "at least 1"),
        ({**PUT, "pathh": "/x"}, "'path', 'method'"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_what_would(options: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        http(**options)


def test_deleting_needs_a_path_that_names_the_record() -> None:
    with pytest.raises(ConfigError, match="might delete them all"):
        http(MIRROR, path="/v1/things")
    with pytest.raises(ConfigError, match="'delete_path'"):
        http(DELETE)


def test_the_path_of_writing_serves_deleting_too() -> None:
    sent = request(http(MIRROR, **PUT), row("a", DELETE))
    assert (sent.method, sent.path, sent.json) == ("DELETE", "/v1/things/a", None)


@pytest.mark.parametrize("path", ["/v1/things", "/v1/things/{id}"])
def test_a_mirror_that_would_delete_by_the_request_that_writes_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="'delete_path'"):
        http(MIRROR, path=path, delete_method="POST")
    http(MIRROR, path=path, delete_method="POST", delete_path=f"{path}/delete")
    http(DELETE, path=path, delete_method="POST")


def test_any_field_may_be_the_identifier() -> None:
    sent = request(http(identifier="user.email", path="/users"), row("ann@example.com", user={"name": "Ann"}))
    assert json.loads(sent.json) == {"user": {"email": "ann@example.com", "name": "Ann"}}


def test_an_identifier_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="'id'"):
        http(identifier="two words", **PUT)


def test_the_rate_is_what_the_author_says() -> None:
    assert http(**PUT).limits() == Http.rates
    assert http(**PUT, rate={"requests": 600, "seconds": 60}).limits() == (Rate("requests", 600, 60),)
    assert http(**PUT, rate={"requests": 3}).limits() == (Rate("requests", 3, 1),)
    assert http(**PUT, concurrency=1).concurrency == 1


def test_headers_go_out_in_one_spelling() -> None:
    sent = request(http(**PUT, headers={"content-type": "application/vnd.api+json", "x-tenant": "a"}), row())
    assert sent.headers == {"Content-Type": "application/vnd.api+json", "X-Tenant": "a"}


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        ("/v1/things/{id}", "/v1/things/a%2Fb%3Fc%23d%26e"),
        ("/v1/things?email={id}&plan={plan}", "/v1/things?email=a%2Fb%3Fc%23d%26e&plan=free%20%26%20easy"),
        ("/v1/{address.city}/{n}", "/v1/Brno/7"),
    ],
)
def test_values_stay_in_their_place_of_the_path(path: str, filled: str) -> None:
    operation = row("a/b?c#d&e", plan="free & easy", address={"city": "Brno"}, n=7)
    assert request(http(path=path), operation).path == filled


@pytest.mark.parametrize("value", [None, "", True, [1], {"a": 1}, "..", "."])
def test_a_value_that_cannot_stand_in_a_path_makes_the_row_invalid(value: Any) -> None:
    reason = http(path="/v1/{place}/things").check(row(place=value))
    assert reason is not None
    assert "path" in reason


def test_values_that_only_together_climb_are_found_too() -> None:
    assert http(path="/v1/{a}{b}").check(row(a=".", b=".")) is not None
    assert http(path="/v1/x{a}{b}").check(row(a=".", b=".")) is None


def test_the_identifier_is_in_the_path_or_in_the_body() -> None:
    assert json.loads(request(http(**PUT), row("a", n=1)).json) == {"n": 1}
    assert json.loads(request(http(path="/v1/things"), row("a", n=1)).json) == {"id": "a", "n": 1}
    assert json.loads(request(http(identifier="code", path="/v1/things/{code}"), row("a", n=1)).json) == {"n": 1}


def test_a_mapped_identifier_is_in_the_body_with_its_own_type() -> None:
    mapped = Operation(UPSERT, Record(7, "7", {"id": 7}))
    assert json.loads(request(http(**PUT), mapped).json) == {"id": 7}
    assert json.loads(request(http(path="/v1/things"), mapped).json) == {"id": 7}


def test_a_path_with_a_field_nobody_fills_is_refused_before_the_first_row(client: Client) -> None:
    destination = http(path="/v1/{place}/{address.city}")
    client.run(destination.prepare(["place", "address"]))
    with pytest.raises(ConfigError, match="'place'"):
        client.run(destination.prepare(["address"]))


def test_a_path_that_could_mean_two_fields_is_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match=r"\{email\}"):
        client.run(http(identifier="email", **PUT).prepare(["id"]))


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "status", "body", "outcome"),
    [
        ({}, 200, "", Outcome.UPSERTED),
        ({}, 204, "", Outcome.UPSERTED),
        ({}, 202, {"id": 7}, Outcome.UPSERTED),
        ({}, 200, {"errors": [], "error": None, "ok": True}, Outcome.UPSERTED),
        ({}, 200, "accepted", Outcome.UNCERTAIN),
        ({}, 200, "<html>Sign in</html>", Outcome.UNCERTAIN),
        ({}, 200, {"ok": False}, Outcome.UNCERTAIN),
        ({}, 200, {"success": False}, Outcome.UNCERTAIN),
        ({}, 200, {"error": "no"}, Outcome.UNCERTAIN),
        ({}, 200, {"errors": [{"message": "no"}]}, Outcome.UNCERTAIN),
        ({}, 207, {"results": []}, Outcome.UNCERTAIN),
        ({"status": [200, 207]}, 207, {"results": []}, Outcome.UPSERTED),
        ({"status": [201]}, 200, {}, Outcome.UNCERTAIN),
        ({"text": "accepted"}, 200, "accepted\n", Outcome.UPSERTED),
        ({"text": "accepted"}, 200, "later", Outcome.UNCERTAIN),
        ({"path": "result.ok"}, 200, {"result": {"ok": True}}, Outcome.UPSERTED),
        ({"path": "result.ok"}, 200, {"result": {"ok": False}, "message": "no"}, Outcome.REJECTED),
        ({"path": "result.ok"}, 200, {"result": {}}, Outcome.UNCERTAIN),
        ({"path": "result.ok"}, 200, "[]", Outcome.UNCERTAIN),
        ({"path": "result.ok"}, 200, "", Outcome.UNCERTAIN),
        ({"path": "result.ok"}, 204, "", Outcome.UPSERTED),
        ({"path": "result.ok"}, 200, {"result": {"ok": 1}}, Outcome.REJECTED),
        ({"path": "code", "value": 0}, 200, {"code": 0}, Outcome.UPSERTED),
        ({"path": "code", "value": 0}, 200, {"code": False}, Outcome.REJECTED),
        ({"path": "code", "value": 0}, 200, {"code": 17, "detail": "no"}, Outcome.REJECTED),
    ],
)
def test_accepted_is_what_was_declared_to_be_an_acceptance(
    sandbox: Sandbox, client: Client, success: dict[str, Any], status: int, body: Any, outcome: Outcome
) -> None:
    sandbox.inject(Fault(api="http", status=status, body=body))
    (result,) = run(client, http(**PUT, **({"success": success} if success else {})), row())
    assert result.outcome is outcome


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "e-mail is taken", "email": "private"}, "e-mail is taken"),
        ({"error": {"code": 17, "message": "no such plan"}}, "no such plan"),
        ({"title": "Bad Request", "detail": "plan must be one of …"}, "plan must be one of …"),
        ({"errors": [{"detail": "too long"}]}, "too long"),
        ("quota exceeded", "quota exceeded"),
        ("<html>private</html>", ""),
        ({"input": {"email": "private"}}, ""),
    ],
)
def test_a_refusal_is_quoted_without_the_row(sandbox: Sandbox, client: Client, body: Any, words: str) -> None:
    sandbox.inject(Fault(api="http", status=422, body=body))
    (result,) = run(client, http(**PUT), row())
    assert (result.outcome, result.reason) == (Outcome.REJECTED, f"HTTP 422 {words}".rstrip())


@pytest.mark.parametrize("errors", [{"index": "index"}, {"id": "id"}], ids=["by index", "by id"])
def test_records_that_a_batch_names_are_rejected_and_the_others_arrive(
    api: HttpSandbox, client: Client, errors: dict[str, str]
) -> None:
    destination = http(identifier="external_id", **BATCH, errors={"path": "errors", **errors})
    results = run(client, destination, row("a"), row("b", email="none"), row("c"))
    assert outcomes(results) == [Outcome.UPSERTED, Outcome.REJECTED, Outcome.UPSERTED]
    assert results[1].reason == "email is not valid"
    assert sorted(api.things) == ["a", "c"]


@pytest.mark.parametrize(
    ("errors", "named"),
    [
        ({"index": "row", "first": 1}, {"row": 2}),
        ({"index": "row.number"}, {"row": {"number": 1}}),
        ({"id": "key"}, {"key": "2"}),
        ({"id": "key"}, {"key": 2}),
    ],
)
def test_the_author_says_how_an_error_names_its_record(
    sandbox: Sandbox, client: Client, errors: dict[str, Any], named: dict[str, Any]
) -> None:
    sandbox.inject(Fault(api="http", status=200, body={"failed": [{**named, "why": "no"}]}))
    destination = http(**BATCH, errors={"path": "failed", "reason": "why", **errors})
    results = run(client, destination, row(1), row(2), row(3))
    assert outcomes(results) == [Outcome.UPSERTED, Outcome.REJECTED, Outcome.UPSERTED]
    assert results[1].reason == "no"


@pytest.mark.parametrize("error", [{"index": 9}, {"index": -1}, {"index": True}, {"message": "no"}, "no"])
def test_an_error_that_names_no_record_of_the_batch_leaves_all_others_uncertain(
    sandbox: Sandbox, client: Client, error: Any
) -> None:
    sandbox.inject(Fault(api="http", status=200, body={"errors": [{"index": 1, "message": "bad"}, error]}))
    destination = http(**BATCH, errors={"path": "errors", "index": "index"})
    results = run(client, destination, row(1), row(2), row(3))
    assert outcomes(results) == [Outcome.UNCERTAIN, Outcome.REJECTED, Outcome.UNCERTAIN]


def test_errors_that_are_no_list_are_no_acceptance(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", status=200, body={"errors": {"1": "bad"}}))
    destination = http(**BATCH, errors={"path": "errors", "index": "index"})
    assert outcomes(run(client, destination, row(1), row(2))) == [Outcome.UNCERTAIN] * 2


@pytest.mark.parametrize("body", [{"ok": False}, {"success": False, "failed": []}, {"error": "quota exceeded"}])
def test_a_complaint_that_names_no_record_is_no_acceptance_also_where_errors_are_declared(
    sandbox: Sandbox, client: Client, body: dict[str, Any]
) -> None:
    sandbox.inject(Fault(api="http", status=200, body=body))
    destination = http(**BATCH, errors={"path": "failed", "index": "index"})
    assert outcomes(run(client, destination, row(1), row(2))) == [Outcome.UNCERTAIN] * 2


def test_a_complaint_that_names_records_is_about_them(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", status=200, body={"success": False, "failed": [{"index": 0}]}))
    destination = http(**BATCH, errors={"path": "failed", "index": "index"})
    assert outcomes(run(client, destination, row(1), row(2))) == [Outcome.REJECTED, Outcome.UPSERTED]


def test_a_batch_that_is_refused_as_a_whole_is_split(sandbox: Sandbox, api: HttpSandbox, client: Client) -> None:
    destination = http(path="/v1/things/import", batch_size=8)
    results = run(client, destination, *(row(n, email="none" if n == 5 else "a@b") for n in range(8)))
    assert [n for n, r in enumerate(results) if r.outcome is Outcome.REJECTED] == [5]
    assert sorted(api.things) == [str(n) for n in range(8) if n != 5]
    assert isinstance(sandbox.ledger[0].json, list)


def test_a_batch_holds_records_of_one_path_only(sandbox: Sandbox, client: Client) -> None:
    destination = http(SEND, path="/v1/events/{kind}?x={n}", batch_size=10, success={"status": [200]})
    sandbox.inject(Fault(api="http", status=200, body={}, times=10))
    run(client, destination, *(row(n, SEND, kind="batch", n=n % 2) for n in range(6)))
    sent = {call.query["x"]: [event["id"] for event in call.json] for call in sandbox.ledger}
    assert sent == {"0": ["0", "2", "4"], "1": ["1", "3", "5"]}


# --- what is not there, what is there, what was heard of twice ------------------------------------------------------


def test_what_is_not_there_is_skipped_by_updates_and_deletions(client: Client) -> None:
    updates = http(UPDATE, method="PATCH", path="/v1/things/{id}")
    assert outcomes(run(client, updates, row("a", UPDATE))) == [Outcome.SKIPPED]
    deletes = http(DELETE, delete_path="/v1/things/{id}")
    assert outcomes(run(client, deletes, row("a", DELETE))) == [Outcome.SKIPPED]


def test_what_is_there_is_skipped_by_creation(api: HttpSandbox, client: Client) -> None:
    api.things["a"] = {"n": 1}
    assert outcomes(run(client, http(CREATE, path="/v1/things"), row("a", CREATE, n=2))) == [Outcome.SKIPPED]
    assert api.things["a"] == {"n": 1}


def test_the_author_may_name_another_status_for_nothing_to_do(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", status=412, body={"message": "as it is"}))
    destination = http(UPDATE, **PUT, skip_status=[412])
    (result,) = run(client, destination, row("a", UPDATE))
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "HTTP 412 as it is")


def test_an_upsert_skips_nothing(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", status=404, body={"message": "no such account"}))
    assert outcomes(run(client, http(MIRROR, **PUT, skip_status=[404]), row())) == [Outcome.REJECTED]


@pytest.mark.parametrize("behavior", [UPSERT, UPDATE, CREATE, SEND])
def test_a_path_that_is_not_there_stops_the_run(sandbox: Sandbox, client: Client, behavior: Behavior) -> None:
    with pytest.raises(ConfigError, match="no such path"):
        run(client, http(behavior, path="/v2/things", concurrency=2), *(row(n, behavior) for n in range(50)))
    assert len(sandbox.ledger) <= 2


@pytest.mark.parametrize("status", [401, 500, 503])
def test_no_error_shows_the_values_that_stand_in_a_path(sandbox: Sandbox, client: Client, status: int) -> None:
    sandbox.inject(Fault(api="http", status=status, times=99))
    try:
        (result,) = run(client, http(path="/v1/things/{id}?plan={plan}", method="PUT"), row("ann@x.com", plan="gold"))
        words = result.reason
    except AuthError as error:
        words = str(error)
    assert "PUT /v1/things/{id}?plan={plan}: HTTP" in words


def test_404_on_a_path_that_was_there_before_is_about_the_record(sandbox: Sandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", status=404, after=1, body={"message": "no such user"}))
    destination = http(SEND, path="/v1/events", concurrency=1)
    results = run(client, destination, *(row(n, SEND) for n in range(3)))
    assert outcomes(results) == [Outcome.SENT, Outcome.REJECTED, Outcome.SENT]


@pytest.mark.parametrize(
    ("behavior", "options", "repeatable"),
    [
        (UPSERT, {"method": "PUT"}, True),
        (UPDATE, {"method": "PATCH"}, True),
        (UPSERT, {}, False),
        (SEND, {}, False),
        (SEND, {"method": "PUT"}, True),
        (SEND, {"idempotency_header": "Idempotency-Key"}, True),
        (SEND, {"idempotency_header": "Idempotency-Key", "path": "/v1/events", "batch_size": 5}, False),
        (SEND, {"repeatable": True}, True),
        (UPSERT, {"method": "PUT", "repeatable": False}, False),
        (DELETE, {}, True),
        (DELETE, {"delete_method": "POST"}, True),
    ],
)
def test_the_method_or_the_author_says_what_may_be_sent_twice(
    behavior: Behavior, options: dict[str, Any], repeatable: bool
) -> None:
    destination = http(behavior, **{"path": "/v1/things/{id}", **options})
    assert destination.repeatable(row("a", behavior)) is repeatable


def test_a_deletion_whose_answer_was_lost_is_a_deletion(sandbox: Sandbox, api: HttpSandbox, client: Client) -> None:
    api.things["a"] = {}
    sandbox.inject(Fault(api="http", reset="after"))
    assert outcomes(run(client, http(DELETE, **PUT), row("a", DELETE))) == [Outcome.DELETED]
    assert len(sandbox.calls("http", "DELETE")) == 2


def test_a_creation_whose_answer_was_lost_is_a_creation(sandbox: Sandbox, api: HttpSandbox, client: Client) -> None:
    sandbox.inject(Fault(api="http", reset="after"))
    destination = http(CREATE, path="/v1/things", repeatable=True)
    assert outcomes(run(client, destination, row("a", CREATE))) == [Outcome.CREATED]
    assert sorted(api.things) == ["a"]


def test_an_event_with_a_key_is_there_once_however_often_it_is_sent(
    sandbox: Sandbox, api: HttpSandbox, client: Client
) -> None:
    options = {"path": "/v1/events", "idempotency_header": "idempotency-key"}
    sandbox.inject(Fault(api="http", reset="after"))
    for _ in range(2):  # two runs
        assert outcomes(run(client, http(SEND, **options), row("e1", SEND, n=1))) == [Outcome.SENT]
    assert len(api.events) == 1
    assert len(sandbox.calls("http", "POST")) == 3


def key(destination: Http, *operations: Operation) -> str:
    return request(destination, *operations).headers["Idempotency-Key"]


def test_the_key_is_of_the_sync_the_row_and_its_content() -> None:
    options = {"path": "/v1/events", "idempotency_header": "Idempotency-Key"}
    event = row("e1", SEND, n=1)
    same = key(http(SEND, **options), event)
    assert key(http(SEND, **options), event) == same
    others = {
        key(http(SEND, **options), row("e2", SEND, n=1)),
        key(http(SEND, **options), row("e1", SEND, n=2)),
        key(Http("things", SEND, None, options, sync_id="another"), event),
        key(http(SEND, **{**options, "path": "/v1/others"}), event),
    }
    assert len(others | {same}) == 5


def test_a_value_that_changes_back_is_no_repetition_of_itself() -> None:
    options = {"path": "/v1/things", "idempotency_header": "Idempotency-Key"}
    assert key(http(**options), row(n=1)) != key(http(**options), row(n=1))
    assert key(http(CREATE, **options), row("a", CREATE)) == key(http(CREATE, **options), row("a", CREATE))


def test_a_record_larger_than_a_request_is_invalid() -> None:
    assert "1,000,000" in (http(**PUT).check(row(a="x" * 600_000, b="x" * 600_000)) or "")
