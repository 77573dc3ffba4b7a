from __future__ import annotations

import datetime as dt
import json
import time
from decimal import Decimal

import pytest

from airflow_provider_census.destinations import _stripe_look_up
from airflow_provider_census.destinations._stripe_form import form
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.destinations.stripe import Stripe
from airflow_provider_census.errors import AuthError, ConfigError, Unavailable
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.stripe import StripeSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.conversion import Converter
from airflow_provider_census.sync.definition import Sync
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.fields import SyncAll
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.run import run_sync
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.sync.values import Operation, Record
from airflow_provider_census.testing.source import Table
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter, Rate
from airflow_provider_census.transport.verdict import Answered, Denied, Retry

UPSERT, UPDATE, CREATE = Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY
BY_KEY = "metadata.user_id"
EMAIL = "ada@example.com"


@pytest.fixture
def sandbox(census_sandbox: Sandbox) -> Sandbox:
    census_sandbox["stripe"].window.limit = census_sandbox["stripe"].search_window.limit = 10_000
    return census_sandbox


@pytest.fixture
def stripe(sandbox) -> StripeSandbox:
    return sandbox["stripe"]


@pytest.fixture
def connect(sandbox):
    clients = []

    def connect(password: str = StripeSandbox.key, extra=None, **settings) -> Client:
        endpoint = Stripe.endpoint(Credentials(password=password, host=sandbox.url("stripe"), extra=extra or {}))
        limiter = Limiter([Rate(rate.name, 10_000, 1) for rate in Stripe.rates])
        settings = {"attempts": 3, "backoff_s": 0.01, "timeout_s": (2, 2), **settings}
        clients.append(Client(endpoint, limiter, judge=Stripe.judge, throttle=Stripe.throttle, **settings))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect) -> Client:
    return connect()


@pytest.fixture
def later(monkeypatch):
    """Let time pass."""
    now = time.time

    def later(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now() + seconds)

    return later


def operation(behavior: Behavior, id: str, **fields) -> Operation:
    return Operation(behavior, Record(id, id, fields))


def ready(client: Client, behavior: Behavior = UPSERT, by: str = "email", sync_id: str = "crm.customers") -> Stripe:
    """Return the destination as it is at the start of a run."""
    destination = Stripe("customer", behavior, by, sync_id=sync_id)
    client.run(destination.prepare(()))
    return destination


def send(client: Client, destination: Stripe, *operations: Operation):
    return client.run(destination.send(operations))


def one(client: Client, behavior: Behavior, by: str, id: str, **fields):
    """Send one record in a run of its own and return its result."""
    (result,) = send(client, ready(client, behavior, by), operation(behavior, id, **fields))
    return result


def put_there(stripe: StripeSandbox, by: str, **fields) -> tuple[str, str]:
    """Put a customer there; return its id and the value of the identifier."""
    customer = stripe.add_customer(email=EMAIL, metadata={"user_id": "7", "plan": "free"}, name="Ada", **fields)
    return customer, {"id": customer, "email": EMAIL, BY_KEY: "7"}[by]


def error(status: int, message: str = "No.", headers=None, **details) -> dict:
    """Return what a fault answers in Stripe's words."""
    body = {"error": {"type": "invalid_request_error", "message": message, **details}}
    return {"status": status, "headers": headers or {}, "body": body}


def posts(sandbox: Sandbox):
    return sandbox.calls("stripe", "POST")


@pytest.mark.parametrize("by", ["email", "id", BY_KEY])
class TestAMatch:
    def test_is_updated_and_keeps_what_is_not_mapped(self, client, stripe, by):
        customer, value = put_there(stripe, by)
        result = one(client, UPSERT, by, value, phone="+1", metadata={"seats": 3}, address={"city": "Brno"})
        assert result.outcome is Outcome.UPDATED
        (stored,) = stripe.customers.values()
        assert (stored["id"], stored["name"], stored["phone"]) == (customer, "Ada", "+1")
        assert stored["metadata"] == {"user_id": "7", "plan": "free", "seats": "3"}
        assert stored["address"]["city"] == "Brno"

    def test_is_updated_by_update_only(self, client, stripe, by):
        customer, value = put_there(stripe, by)
        assert one(client, UPDATE, by, value, phone="+1").outcome is Outcome.UPDATED
        assert stripe.customers[customer]["phone"] == "+1"

    def test_is_cleared_by_null(self, client, stripe, by):
        customer, value = put_there(stripe, by, phone="+1", address={"city": "Brno"}, shipping={"name": "Ada"})
        nothing = {"name": None, "phone": None, "address": {"city": None}}
        one(client, UPSERT, by, value, **nothing, shipping={"name": None, "phone": None}, metadata={"plan": None})
        stored = stripe.customers[customer]
        assert (stored["name"], stored["phone"], stored["shipping"]) == (None, None, None)
        assert stored["address"]["city"] is None
        assert stored["metadata"] == {"user_id": "7"}

    def test_takes_the_value_it_had_before_within_a_day(self, client, stripe, by):
        customer, value = put_there(stripe, by)
        for plan in ("team", "free", "team"):
            assert one(client, UPSERT, by, value, metadata={"plan": plan}).outcome is Outcome.UPDATED
            assert stripe.customers[customer]["metadata"]["plan"] == plan

    def test_deleted_is_none(self, client, stripe, by):
        customer, value = put_there(stripe, by)
        stripe.delete(customer)
        assert one(client, UPDATE, by, value, phone="+1").outcome is Outcome.SKIPPED
        assert not stripe.customers

    def test_missing_ends_skipped_under_update_only(self, client, stripe, sandbox, by):
        assert one(client, UPDATE, by, "nobody@example.com", phone="+1").outcome is Outcome.SKIPPED
        assert not stripe.customers


@pytest.mark.parametrize("by", ["email", BY_KEY])
class TestCreation:
    @pytest.mark.parametrize("behavior", [UPSERT, CREATE])
    def test_writes_the_identifier_and_nothing_that_is_empty(self, client, sandbox, stripe, by, behavior):
        fields = {"name": "Ada", "phone": None, "description": "", "metadata": {"plan": "pro", "gone": None}}
        assert one(client, behavior, by, "x@example.com", **fields).outcome is Outcome.CREATED
        (stored,) = stripe.customers.values()
        assert (stored["metadata"].get("user_id") or stored["email"], stored["name"]) == ("x@example.com", "Ada")
        assert stored["metadata"]["plan"] == "pro"
        (create,) = posts(sandbox)
        assert all(create.form.values())

    def test_only_leaves_a_match_as_it_is(self, client, sandbox, stripe, by):
        customer, value = put_there(stripe, by)
        assert one(client, CREATE, by, value, name="Other").outcome is Outcome.SKIPPED
        assert stripe.customers[customer]["name"] == "Ada"
        assert posts(sandbox) == []

    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"reset": "after"}, {"truncate": True}, {"html": True}])
    def test_without_an_answer_is_repeated_and_done_once(self, client, sandbox, stripe, by, fault):
        sandbox.inject(Fault(api="stripe", method="POST", **fault))
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.CREATED
        assert len(stripe.customers) == 1
        assert len(posts(sandbox)) == 2

    def test_without_any_readable_answer_is_uncertain(self, client, sandbox, stripe, by):
        sandbox.inject(Fault(api="stripe", method="POST", truncate=True, times=9))
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.UNCERTAIN
        assert len(stripe.customers) == 1

    def test_that_failed_behind_the_work_is_found_out(self, client, stripe, by):
        stripe.search_lag_s = 3600
        stripe.break_creation = "after"
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.CREATED
        assert len(stripe.customers) == 1

    def test_that_failed_before_the_work_is_done_with_another_key_as_stripe_repeats_the_failure(
        self, client, stripe, by
    ):
        stripe.break_creation = "before"
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.CREATED
        assert len(stripe.customers) == 1

    def test_of_a_customer_deleted_within_a_day_is_not_taken_for_done(self, client, stripe, by):
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.CREATED
        stripe.delete(next(iter(stripe.customers)))
        assert one(client, UPSERT, by, "x@example.com", name="Ada").outcome is Outcome.CREATED
        (stored,) = stripe.customers.values()
        assert stored["name"] == "Ada"

    def test_refused_before_is_tried_in_earnest_again(self, client, sandbox, stripe, by):
        """Stripe would repeat yesterday's refusal, and what it was about may be mended at Stripe."""
        fields = {"name": "Ada", "tax_exempt": "perhaps"}
        first = one(client, UPSERT, by, "x@example.com", **fields)
        again = one(client, UPSERT, by, "x@example.com", **fields)
        assert (first.outcome, again.outcome) == (Outcome.REJECTED, Outcome.REJECTED)
        assert len(posts(sandbox)) == 3

    def test_does_not_follow_a_failed_look_up(self, client, sandbox, stripe, by):
        destination = ready(client, UPSERT, by)
        sandbox.inject(Fault(api="stripe", method="GET", status=503, times=99))
        with pytest.raises(Unavailable):
            send(client, destination, operation(UPSERT, "x@example.com", name="Ada"))
        assert posts(sandbox) == []

    def test_does_not_follow_a_refused_look_up(self, client, sandbox, stripe, by):
        destination = ready(client, UPSERT, by)
        sandbox.inject(Fault(api="stripe", method="GET", times=9, **error(400, "cannot parse")))
        with pytest.raises(Refused, match="cannot parse"):
            send(client, destination, operation(UPSERT, "x@example.com", name="Ada"))
        assert posts(sandbox) == []


def test_customers_behind_one_that_met_an_outage_may_fare_better_later(client, sandbox, stripe):
    destination = ready(client, UPSERT, BY_KEY)
    sandbox.inject(Fault(api="stripe", method="POST", path="/v1/customers", after=1, status=503, times=99))
    results = send(client, destination, *(operation(UPSERT, f"u{n}", name="Ada") for n in range(3)))
    assert [(r.outcome, r.passing) for r in results] == [(Outcome.CREATED, False)] + [(Outcome.REJECTED, True)] * 2


class TestById:
    def test_an_unknown_id_is_rejected_in_stripes_words_as_stripe_chooses_ids(self, client, stripe):
        result = one(client, UPSERT, "id", "cus_nobody", name="New")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 404)
        assert "No such customer: 'cus_nobody'" in result.reason
        assert "chooses the ids" in result.reason

    def test_create_only_is_refused_at_once(self):
        with pytest.raises(ConfigError, match=r"chooses the ids.*'email'"):
            Stripe("customer", CREATE, "id")

    @pytest.mark.parametrize("id", ["a/b", "a?b#c", "info@example.com", "ž"])
    def test_a_hostile_id_stays_one_segment_of_the_path(self, client, sandbox, id):
        assert one(client, UPDATE, "id", id, name="x").outcome is Outcome.SKIPPED
        assert [call.path for call in sandbox.ledger] == [f"/v1/customers/{id}"]

    @pytest.mark.parametrize("id", [".", "..", "search"])
    def test_what_means_another_path_is_invalid(self, id):
        assert "no id of a customer" in Stripe("customer", UPSERT, "id").check(operation(UPSERT, id))


class TestByEmail:
    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE, CREATE])
    def test_several_matches_are_rejected_with_their_ids(self, client, sandbox, stripe, behavior):
        ids = [stripe.add_customer(email=EMAIL) for _ in range(2)]
        result = one(client, behavior, "email", EMAIL, name="New")
        assert result.outcome is Outcome.REJECTED
        assert result.reason == f"ambiguous: 2 customers have this email ({ids[0]}, {ids[1]})"
        assert posts(sandbox) == []

    def test_many_matches_are_named_up_to_ten(self, client, stripe):
        for _ in range(11):
            stripe.add_customer(email=EMAIL)
        assert "10 or more customers" in one(client, UPSERT, "email", EMAIL, name="New").reason

    def test_addresses_that_differ_in_case_are_two_customers_to_stripe(self, client, stripe):
        put_there(stripe, "email")
        assert one(client, UPSERT, "email", "Ada@example.com").outcome is Outcome.CREATED

    def test_a_new_customer_is_found_at_once(self, client, stripe):
        stripe.search_lag_s = 3600
        one(client, UPSERT, "email", EMAIL, name="Ada")
        assert one(client, UPSERT, "email", EMAIL, name="Ada L.").outcome is Outcome.UPDATED
        assert [c["name"] for c in stripe.customers.values()] == ["Ada L."]


class TestByMetadata:
    def test_one_search_finds_ten_customers(self, client, sandbox, stripe):
        for n in range(10):
            stripe.add_customer(metadata={"user_id": f"u{n}"})
        destination = ready(client, by=BY_KEY)
        assert destination.max_batch(operation(UPSERT, "u1")) == 10
        results = send(client, destination, *(operation(UPSERT, f"u{n}", name="x") for n in range(10)))
        assert {r.outcome for r in results} == {Outcome.UPDATED}
        assert len(sandbox.calls("stripe", path="/v1/customers/search")) == 1

    def test_long_values_are_searched_alone(self):
        destination = Stripe("customer", UPSERT, BY_KEY)
        long, short = operation(UPSERT, "ž" * 40), operation(UPSERT, "z" * 40)
        assert (destination.max_batch(long), destination.max_batch(short)) == (1, 10)
        assert destination.lane(long) != destination.lane(short)

    @pytest.mark.parametrize("value", ["O'Brien", "a' OR email:'x", "back\\slash", "\\'", "ž 漢 🐎", "*", '"'])
    def test_a_hostile_value_means_its_own_customer(self, client, stripe, value):
        stripe.add_customer(metadata={"user_id": "other"}, email="x")
        assert one(client, UPSERT, BY_KEY, value, name="A").outcome is Outcome.CREATED
        assert one(client, UPSERT, BY_KEY, value, name="B").outcome is Outcome.UPDATED
        assert {c["metadata"]["user_id"]: c["name"] for c in stripe.customers.values()} == {"other": None, value: "B"}

    def test_a_value_that_differs_in_case_is_another_customer_although_search_shows_it(self, client, stripe):
        stripe.add_customer(metadata={"user_id": "ABC"})
        assert one(client, UPSERT, BY_KEY, "abc", name="x").outcome is Outcome.CREATED

    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE, CREATE])
    def test_several_matches_are_rejected_with_their_ids(self, client, stripe, behavior):
        ids = [stripe.add_customer(metadata={"user_id": "7"}) for _ in range(2)]
        result = one(client, behavior, BY_KEY, "7", name="New")
        assert result.reason == f"ambiguous: 2 customers have this {BY_KEY} ({ids[0]}, {ids[1]})"

    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
    def test_a_deleted_customer_that_search_goes_on_to_show_is_no_match(self, client, stripe, behavior):
        stripe.search_shows_deleted = True
        gone, there = (stripe.add_customer(metadata={"user_id": "7"}) for _ in range(2))
        stripe.delete(gone)
        assert one(client, behavior, BY_KEY, "7", name="New").outcome is Outcome.UPDATED
        assert stripe.customers[there]["name"] == "New"

    def test_a_deleted_customer_that_search_goes_on_to_show_is_created_anew(self, client, stripe):
        stripe.search_shows_deleted = True
        for behavior in (UPSERT, CREATE):
            stripe.delete(stripe.add_customer(metadata={"user_id": behavior}))
            assert one(client, behavior, BY_KEY, behavior, name="New").outcome is Outcome.CREATED

    def test_what_search_does_not_show_yet_is_found_by_the_next_run(self, client, stripe):
        stripe.search_lag_s = 3600
        assert one(client, UPSERT, BY_KEY, "7", name="Ada").outcome is Outcome.CREATED
        assert one(client, UPSERT, BY_KEY, "7", name="Ada L.").outcome is Outcome.UPDATED
        assert one(client, UPDATE, BY_KEY, "7", name="Ada King").outcome is Outcome.UPDATED
        assert one(client, CREATE, BY_KEY, "7", name="Other").outcome is Outcome.SKIPPED
        assert [c["name"] for c in stripe.customers.values()] == ["Ada King"]

    def test_what_was_created_in_this_run_is_remembered(self, client, stripe):
        stripe.search_lag_s = 3600
        destination = ready(client, by=BY_KEY)
        send(client, destination, operation(UPSERT, "7", name="Ada"))
        (result,) = send(client, destination, operation(UPSERT, "7", name="Ada L."))
        assert result.outcome is Outcome.UPDATED

    def test_what_another_program_creates_during_the_run_is_found_after_a_while(self, client, stripe, later):
        stripe.search_lag_s = 3600
        destination = ready(client, by=BY_KEY)
        stripe.add_customer(searchable=False, metadata={"user_id": "7"})
        later(60)
        (result,) = send(client, destination, operation(UPSERT, "7", name="Ada"))
        assert result.outcome is Outcome.UPDATED

    def test_what_cannot_be_known_is_not_created_and_the_listing_is_made_up_for(self, client, sandbox, stripe, later):
        stripe.search_lag_s = 3600
        destination = ready(client, by=BY_KEY)
        stripe.add_customer(searchable=False, metadata={"user_id": "7"})
        later(60)
        sandbox.inject(Fault(api="stripe", method="GET", path="/v1/customers", **error(400, "No list.")))
        (result,) = send(client, destination, operation(UPSERT, "7", name="Ada"))
        assert (result.outcome, posts(sandbox)) == (Outcome.REJECTED, [])
        assert "cannot be listed: No list." in result.reason
        (result,) = send(client, destination, operation(UPSERT, "7", name="Ada"))
        assert result.outcome is Outcome.UPDATED

    def test_all_pages_of_new_customers_are_listed_and_no_old_ones(self, client, sandbox, stripe):
        stripe.search_lag_s = 3600
        for n in range(205):
            stripe.add_customer(searchable=False, metadata={"user_id": f"u{n}"})
        for _ in range(150):
            stripe.add_customer(created=int(time.time()) - 3 * 3600)
        destination = ready(client, by=BY_KEY)
        assert len(sandbox.calls("stripe", path="/v1/customers")) == 3
        (result,) = send(client, destination, operation(UPSERT, "u0", name="x"))
        assert result.outcome is Outcome.UPDATED

    def test_matches_on_a_second_page_of_the_search_count(self, client, stripe):
        for n in range(101):
            stripe.add_customer(metadata={"user_id": "7" if n < 100 else "8"}, created=1)
        destination = ready(client, by=BY_KEY)
        seven, eight = send(client, destination, *(operation(UPSERT, id, name="x") for id in ("7", "8")))
        assert "ambiguous: 10 or more" in seven.reason
        assert eight.outcome is Outcome.UPDATED

    def test_no_more_is_remembered_than_search_can_be_late(self, client, stripe, monkeypatch):
        monkeypatch.setattr(_stripe_look_up, "_MAX_REMEMBERED", 2)
        destination = ready(client, by=BY_KEY)
        for id in ("1", "2", "3"):
            send(client, destination, operation(UPSERT, id, name="x"))
        assert len(destination._look_up._recent) == 2

    @pytest.mark.parametrize("key", ["", "x" * 41, "a[b]", "a.b"])
    def test_a_key_that_metadata_cannot_have_is_refused(self, key):
        with pytest.raises(ConfigError, match="metadata"):
            Stripe("customer", UPSERT, f"metadata.{key}")
        with pytest.raises(ConfigError, match="metadata"):
            Stripe("customer", UPSERT).check_field(f"metadata.{key}")


class TestPartialFailure:
    def test_a_refused_record_costs_the_others_nothing(self, client, stripe):
        destination = ready(client, by=BY_KEY)
        bad = {"tax_exempt": "perhaps"}
        results = send(client, destination, *(operation(UPSERT, f"u{n}", **(bad if n == 1 else {})) for n in range(4)))
        assert [r.outcome for r in results] == [Outcome.CREATED, Outcome.REJECTED, Outcome.CREATED, Outcome.CREATED]
        assert len(stripe.customers) == 3

    def test_when_stripe_goes_down_what_was_accepted_stays_accepted(self, client, sandbox, stripe):
        destination = ready(client, by=BY_KEY)
        sandbox.inject(Fault(api="stripe", method="POST", after=2, status=503, times=99))
        results = send(client, destination, *(operation(UPSERT, f"u{n}", name="x") for n in range(4)))
        assert [r.outcome for r in results] == [Outcome.CREATED] * 2 + [Outcome.REJECTED] * 2
        assert len(stripe.customers) == 2

    def test_a_row_without_a_readable_answer_is_uncertain_and_the_others_go_on(self, client, sandbox, stripe):
        destination = ready(client, by=BY_KEY)
        sandbox.inject(Fault(api="stripe", method="POST", after=1, truncate=True, times=2))
        results = send(client, destination, *(operation(UPSERT, f"u{n}", name="x") for n in range(3)))
        assert [r.outcome for r in results] == [Outcome.CREATED, Outcome.UNCERTAIN, Outcome.CREATED]
        assert len(stripe.customers) == 3


class TestIdempotencyKey:
    def create(self, destination: Stripe, id: str = "x@example.com", **fields):
        """Drive the exchange to its creation; return the request."""
        exchange = destination.send([operation(destination.behavior, id, **fields)])
        next(exchange)
        return exchange.send(Response(200, {}, b'{"object": "list", "data": [], "has_more": false}'))

    def key(self, sync_id: str = "crm", behavior: Behavior = UPSERT, **record) -> str:
        request = self.create(Stripe("customer", behavior, "email", sync_id=sync_id), **record)
        assert (request.method, request.path) == ("POST", "/customers")
        return request.headers["Idempotency-Key"]

    def test_is_the_same_after_a_restart_and_another_for_another_record_content_or_sync(self):
        same = {"name": "Ada", "metadata": {"plan": "pro", "seats": 3}}
        assert self.key(**same) == self.key(metadata={"seats": 3, "plan": "pro"}, name="Ada")
        others = [self.key(), self.key(name="Ada"), self.key("other", **same), self.key(id="y@example.com", **same)]
        assert len({self.key(**same), *others}) == 5

    def test_is_short_and_shows_nothing_of_the_record(self):
        key = self.key(name="Ada" * 80)
        assert len(key) <= 255
        assert "Ada" not in key
        assert "example" not in key

    def test_is_not_sent_with_updates_as_stripe_would_not_carry_out_the_second_of_two_alike(self):
        exchange = Stripe("customer", UPSERT, "id").send([operation(UPSERT, "cus_1", name="x")])
        assert next(exchange).headers == {}


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "details"),
        [
            (400, {"code": "email_invalid", "param": "email"}),
            (402, {"code": "card_declined"}),
            (404, {"code": "resource_missing", "param": "invoice_settings[default_payment_method]"}),
            (409, {"code": "something_else"}),
        ],
    )
    @pytest.mark.parametrize("by", ["email", "id", BY_KEY])
    def test_of_a_record_reject_it_in_stripes_words(self, client, sandbox, stripe, by, status, details):
        _, value = put_there(stripe, by)
        answer = error(status, "That will not do.", {"Request-Id": "req_42"}, **details)
        sandbox.inject(Fault(api="stripe", method="POST", **answer))
        result = one(client, UPSERT, by, value, name="x")
        assert (result.outcome, result.status) == (Outcome.REJECTED, status)
        assert result.reason.startswith("That will not do. (")
        assert "req_42" in result.reason
        assert details.get("param", "") in result.reason
        assert len(posts(sandbox)) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            error(409, code="lock_timeout"),
            error(429, code="lock_timeout"),
            error(409, code="idempotency_key_in_use"),
            error(400, code="rate_limit"),
            error(429, code="rate_limit"),
            error(409, headers={"Stripe-Should-Retry": "true"}),
            error(500, type="api_error"),
        ],
    )
    @pytest.mark.parametrize("existing", [False, True])
    def test_that_pass_are_tried_again(self, client, sandbox, stripe, answer, existing):
        if existing:
            put_there(stripe, "email")
        sandbox.inject(Fault(api="stripe", method="POST", times=2, **answer))
        result = one(client, UPSERT, "email", EMAIL, phone="+1")
        assert result.outcome is (Outcome.UPDATED if existing else Outcome.CREATED)
        assert [c["phone"] for c in stripe.customers.values()] == ["+1"]
        assert client.traffic.retries == 2

    def test_a_rate_limit_holds_all_back_for_its_second_and_tells_which_it_was(self, connect, sandbox, stripe):
        client = connect(attempts=2)
        stripe.window.limit = 2
        destination = Stripe("customer", UPSERT, "email")
        before = time.monotonic()
        (first,) = send(client, destination, operation(UPSERT, EMAIL))
        (second,) = send(client, destination, operation(UPSERT, "b@example.com"))
        assert (first.outcome, second.outcome) == (Outcome.CREATED, Outcome.CREATED)
        assert time.monotonic() - before > 0.9
        assert client.traffic.refused_429 == 1

    def test_what_an_answer_means(self):
        def judge(status: int, headers=None, **details):
            return Stripe.judge(Response(status, headers or {}, json.dumps({"error": details}).encode()))

        assert judge(429, {"stripe-rate-limited-reason": "endpoint-rate"}) == Retry(
            "HTTP 429 too many requests (endpoint-rate)", 1.0
        )
        assert judge(429, {"stripe-rate-limited-reason": "global-concurrency"}).after_s is None
        assert judge(429, {"retry-after": "3"}).after_s == 3
        assert judge(429, code="lock_timeout") == Retry("HTTP 429 lock_timeout", None)
        assert judge(409, code="lock_timeout") == Retry("HTTP 409 lock_timeout", None)
        assert judge(409) == Answered()
        assert judge(500) == Retry("HTTP 500 server error", None, applied=True)
        assert judge(500, {"idempotent-replayed": "true"}) == Answered()
        assert judge(500, {"stripe-should-retry": "false"}) == Answered()
        assert isinstance(judge(401), Denied)
        assert isinstance(judge(403, {"stripe-should-retry": "true"}), Denied)

    def test_a_wrong_key_stops_the_run(self, connect):
        with pytest.raises(AuthError, match="Invalid API Key"):
            one(connect("sk_test_wrong"), UPSERT, "email", EMAIL)

    def test_a_missing_permission_stops_the_run_and_is_named(self, client, sandbox):
        words = "Having the 'rak_customer_write' permission would allow this request to continue."
        sandbox.inject(Fault(api="stripe", method="POST", **error(403, words)))
        with pytest.raises(AuthError, match="rak_customer_write"):
            one(client, UPSERT, "email", EMAIL)


class TestConnection:
    def endpoint(self, **parts):
        return Stripe.endpoint(Credentials(**{"password": "sk_test_1", **parts}))

    def test_the_host_replaces_stripes_and_the_prefix_is_added(self):
        assert self.endpoint().base_url == "https://api.stripe.com/v1"
        assert self.endpoint(host="http://localhost:8420").base_url == "http://localhost:8420/v1"

    def test_the_version_is_pinned_and_may_be_another(self):
        assert self.endpoint().headers["Stripe-Version"] == "2026-06-24.dahlia"
        assert self.endpoint(extra={"api_version": "2023-10-16"}).headers["Stripe-Version"] == "2023-10-16"

    @pytest.mark.parametrize("version", ["latest", "2019-01-01", "2023-10-16; x"])
    def test_a_version_that_is_none_or_cannot_search_is_refused(self, version):
        with pytest.raises(ConfigError, match=r"api_version.*2020-08-27"):
            self.endpoint(extra={"api_version": version})

    def test_a_version_that_stripe_does_not_know_is_a_wrong_connection(self, connect):
        client = connect(extra={"api_version": "2025-09-30.acacia"})
        with pytest.raises(ConfigError, match=r"Invalid Stripe API version: 2025-09-30.acacia; see .* 'api_version'"):
            client.run(Stripe.test())
        with pytest.raises(ConfigError, match="api_version"):
            send(client, Stripe("customer", UPSERT), operation(UPSERT, EMAIL))

    @pytest.mark.parametrize("password", ["pk_live_1", "token"])
    def test_a_key_of_another_kind_is_refused(self, password):
        with pytest.raises(ConfigError, match="sk_ or rk_"):
            self.endpoint(password=password)

    @pytest.mark.parametrize(
        ("key", "mode", "rates"),
        [
            ("sk_live_1", "live", {"update": 25, "create": 25, "list": 25, "get": 25, "search": 20}),
            ("rk_live_1", "live", {"update": 25, "create": 25, "list": 25, "get": 25, "search": 20}),
            ("sk_test_1", "test", {"all": 25}),
            ("rk_test_1", "test", {"all": 25}),
        ],
    )
    def test_the_mode_of_the_key_decides_the_limits(self, key, mode, rates):
        cls = Stripe.behind(Credentials(password=key))
        assert cls.mode == mode
        assert {rate.name: rate.count for rate in cls.rates} == rates
        assert all(rate.per_s == 1 for rate in cls.rates)

    @pytest.mark.parametrize("key", ["sk_live_1", "sk_test_1"])
    @pytest.mark.parametrize("by", ["email", "id", BY_KEY])
    def test_every_request_is_counted_by_a_rate_of_its_mode(self, client, sandbox, stripe, key, by):
        cls = Stripe.behind(Credentials(password=key))
        names = {rate.name for rate in cls.rates} | {""}
        destination = cls("customer", UPSERT, by)
        assert destination.requests_for([operation(UPSERT, "7")]).keys() <= names
        seen = set()
        for exchange in (cls.test(), destination.prepare(()), destination.send([operation(UPSERT, "7")])):
            try:
                request = next(exchange)
                while True:
                    seen.add(request.limit)
                    request = exchange.send(client.send(request))
            except StopIteration:
                pass
        assert seen <= names
        assert ("" in seen) == (cls.mode == "test")

    def test_it_says_what_it_found(self, client, sandbox):
        cls = Stripe.behind(Credentials(password=StripeSandbox.key))
        assert "test mode" in client.run(cls.test())
        assert [call.method for call in sandbox.ledger] == ["GET"]


class TestDeclaration:
    @pytest.mark.parametrize("behavior", [Behavior.DELETE, Behavior.MIRROR])
    def test_deleting_is_refused_with_the_reason(self, behavior):
        with pytest.raises(ConfigError, match=r"cancels the customer's subscriptions.*'update_or_create'"):
            Stripe("customer", behavior)

    @pytest.mark.parametrize("path", ["id", "metadata", "address", "shipping.address", "tax_id_data", "address.street"])
    def test_what_is_no_field_of_a_customer_is_refused(self, path):
        with pytest.raises(ConfigError, match="valid: 'name', 'email'"):
            Stripe("customer", UPSERT).check_field(path)

    def test_sync_all_puts_what_is_no_field_into_the_metadata(self):
        destination = Stripe("customer", UPSERT, BY_KEY)
        mapper = Mapper(SyncAll(), "id", ["id", "name", "email", "plan", "seats"], destination)
        record = mapper((7, "Ada", EMAIL, "pro", 3))
        assert record.fields == {"name": "Ada", "email": EMAIL, "metadata": {"plan": "pro", "seats": 3}}
        assert destination.payload(Operation(UPSERT, record)) == {
            **{"name": "Ada", "email": EMAIL},
            **{"metadata[plan]": "pro", "metadata[seats]": "3", "metadata[user_id]": "7"},
        }


class TestForm:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"address": {"city": "Brno", "line2": None}}, {"address[city]": "Brno", "address[line2]": ""}),
            ({"preferred_locales": ["de", "en"]}, {"preferred_locales[0]": "de", "preferred_locales[1]": "en"}),
            ({"preferred_locales": []}, {"preferred_locales": ""}),
            (
                {"invoice_settings": {"custom_fields": [{"name": "PO", "value": "1"}]}},
                {"invoice_settings[custom_fields][0][name]": "PO", "invoice_settings[custom_fields][0][value]": "1"},
            ),
            ({"shipping": {"name": None, "address": {"city": None}}}, {"shipping": ""}),
            ({"name": None}, {"name": ""}),
            ({"balance": -500}, {"balance": "-500"}),
            (
                {"metadata": {"a": True, "b": False, "c": None}},
                {"metadata[a]": "true", "metadata[b]": "false", "metadata[c]": ""},
            ),
            (
                {"metadata": {"a": 7, "b": 7.0, "c": 1e-7}},
                {"metadata[a]": "7", "metadata[b]": "7", "metadata[c]": "0.0000001"},
            ),
            ({"metadata": {"a": {"b": [1, "ž"]}, "c": []}}, {"metadata[a]": '{"b":[1,"ž"]}', "metadata[c]": "[]"}),
        ],
    )
    def test_nested_values_are_written_as_stripe_reads_them(self, fields, expected):
        assert form(fields) == expected

    def test_values_of_a_database_become_text_of_metadata(self):
        convert = Converter(Stripe("customer", UPSERT)).value
        assert convert(Decimal("89.50"), "metadata.mrr") == "89.50"
        assert convert(dt.datetime(2026, 3, 1, 6), "metadata.at") == "2026-03-01T06:00:00+00:00"
        assert convert(dt.date(2026, 3, 1), "metadata.on") == "2026-03-01"
        assert convert(Decimal("500"), "balance") == 500
        with pytest.raises(ValueError, match="timedelta"):
            convert(dt.timedelta(1), "metadata.x")

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"name": "x" * 257}, "name has 257 characters"),
            ({"phone": "1" * 21}, "phone has 21"),
            ({"metadata": {"note": "x" * 501}}, "metadata.note has 501"),
            ({"metadata": {f"k{n}": "x" for n in range(50)}}, "metadata has 51 keys"),
            ({"balance": 12.5}, "balance is no whole number; Stripe counts cents"),
            ({"balance": None}, "balance is NULL"),
            ({"shipping": {"phone": "+1"}}, "shipping has no name"),
            ({"shipping": {"name": "Ada", "address": {"city": None}}}, "no address"),
        ],
    )
    def test_what_stripe_cannot_take_is_found_before_it_is_sent(self, fields, reason):
        assert reason in Stripe("customer", UPSERT, BY_KEY).check(operation(UPSERT, "7", **fields))

    def test_what_stripe_takes_passes(self):
        fields = {
            "metadata": {**{f"k{n}": "x" for n in range(49)}, "gone": None},
            "shipping": {"name": "Ada", "address": {"city": "Brno"}},
            "balance": 0,
        }
        assert Stripe("customer", UPSERT, BY_KEY).check(operation(UPSERT, "7", **fields)) is None

    def test_an_identifier_that_is_too_long_is_invalid(self):
        assert "501" in Stripe("customer", UPSERT, BY_KEY).check(operation(UPSERT, "7" * 501))
        assert "email has" in Stripe("customer", UPSERT).check(operation(UPSERT, "a" * 513))


class TestRuns:
    def test_a_changed_row_finds_its_customer_although_search_is_an_hour_late(self, client, stripe):
        stripe.search_lag_s = 3600
        table, store = (
            Table([(str(n), {"name": f"Ann {n}", "metadata.plan": "free"}) for n in range(25)]),
            MemoryStore(),
        )

        def run():
            destination = Stripe("customer", UPSERT, BY_KEY, sync_id="crm")
            sync = Sync(
                model=table.model,
                destination=destination,
                key_column="key",
                mapping=table.mapping,
                delta=Watermark("moved"),
            )
            result, failure = run_sync(sync, table, client, store)
            assert failure is None
            return {o: n for o, n in result.tally.counts.items() if n}

        assert run() == {Outcome.CREATED: 25}
        table.change("7", {"name": "Ann 7", "metadata.plan": "pro"})
        assert run()[Outcome.UPDATED] == 1
        assert len(stripe.customers) == 25
        table.close()
