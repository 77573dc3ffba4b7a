from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from airflow_provider_census.destinations.mailchimp import Mailchimp
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered, Unavailable
from airflow_provider_census.sandbox._mailchimp_audience import Audience
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.mailchimp import MailchimpSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter, Rate
from airflow_provider_census.transport.verdict import Answered, Denied, Retry

UPSERT, UPDATE, CREATE, DELETE = (
    Behavior.UPDATE_OR_CREATE,
    Behavior.UPDATE_ONLY,
    Behavior.CREATE_ONLY,
    Behavior.DELETE,
)
ANN = "ann@example.com"
AUDIENCE = MailchimpSandbox.audience_id


@pytest.fixture
def api(sandbox) -> MailchimpSandbox:
    return sandbox["mailchimp"]


@pytest.fixture
def audience(api) -> Audience:
    return api.audience


@pytest.fixture
def connect(sandbox):
    clients = []

    def connect(password: str = MailchimpSandbox.api_key, **settings) -> Client:
        endpoint = Mailchimp.endpoint(Credentials(password=password, host=sandbox.url("mailchimp")))
        settings = {"attempts": 3, "backoff_s": 0.01, "timeout_s": (2, 2), **settings}
        clients.append(Client(endpoint, Limiter([Rate("requests", 1e5, 1)]), judge=Mailchimp.judge, **settings))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect) -> Client:
    return connect()


def bind(behavior: Behavior, client: Client | None = None, fields: Any = (), **options: Any) -> Mailchimp:
    destination = Mailchimp("member", behavior, options={"audience_id": AUDIENCE, **options})
    if client:
        client.run(destination.prepare(tuple(fields)))
    return destination


def operation(behavior: Behavior, email: str = ANN, **fields: Any) -> Operation:
    return Operation(behavior, Record(email, email.lower(), fields))


def one(client: Client, behavior: Behavior, email: str = ANN, options: Any = None, **fields: Any) -> RowResult:
    """Send one record and return its result."""
    destination = bind(behavior, client, **(options or {}))
    (result,) = client.run(destination.send([operation(behavior, email, **fields)]))
    return result


def many(client: Client, destination: Mailchimp, *operations: Operation) -> list[RowResult]:
    found = {n: result for batch in deliver(enumerate(operations), destination, client) for n, result in batch}
    return [found[n] for n in range(len(operations))]


def writes(sandbox: Sandbox) -> list[str]:
    return [f"{call.method} {call.path.removeprefix('/3.0/lists/')}" for call in sandbox.ledger if call.method != "GET"]


def hash_of(email: str) -> str:
    return hashlib.md5(email.encode()).hexdigest()


def problem(status: int, title: str, detail: str = "") -> dict[str, Any]:
    return {"type": "https://mailchimp.com", "title": title, "status": status, "detail": detail, "instance": ""}


class TestUpdateOrCreate:
    def test_a_new_member_gets_the_status_for_new_ones(self, client, sandbox, audience):
        result = one(client, UPSERT, status_if_new="subscribed", merge_fields={"FNAME": "Ann"})
        assert result.outcome is Outcome.UPSERTED
        member = audience.member(ANN)
        assert (member["status"], member["merge_fields"]) == ("subscribed", {"FNAME": "Ann"})
        assert writes(sandbox) == [f"PUT {AUDIENCE}/members/{hash_of(ANN)}"]

    @pytest.mark.parametrize("status", ["subscribed", "unsubscribed", "cleaned", "pending", "transactional"])
    def test_a_known_member_keeps_the_own_status(self, client, audience, status):
        audience.add_member(ANN, status)
        assert one(client, UPSERT, status_if_new="subscribed", language="cs").outcome is Outcome.UPSERTED
        assert (audience.member(ANN)["status"], audience.member(ANN)["language"]) == (status, "cs")

    @pytest.mark.parametrize(("there", "outcome"), [(True, Outcome.UPDATED), (False, Outcome.CREATED)])
    def test_a_status_is_given_to_new_and_known_members(self, client, audience, there, outcome):
        if there:
            audience.add_member(ANN, "subscribed")
        assert one(client, UPSERT, status="unsubscribed").outcome is outcome
        assert audience.member(ANN)["status"] == "unsubscribed"

    def test_a_null_status_leaves_consent_alone(self, client, audience):
        audience.add_member(ANN, "unsubscribed")
        assert one(client, UPSERT, status=None, status_if_new="subscribed").outcome is Outcome.UPSERTED
        assert audience.member(ANN)["status"] == "unsubscribed"

    def test_the_address_is_hashed_in_lower_case(self, client, audience):
        audience.add_member("Žofie@Example.com")
        result = one(client, UPSERT, "ŽOFIE@Example.com", status_if_new="subscribed", language="cs")
        assert result.outcome is Outcome.UPSERTED
        assert [m["language"] for m in audience.members.values()] == ["cs"]

    def test_double_opt_in_makes_a_new_member_pending_and_that_is_accepted(self, client, audience):
        audience.double_optin = True
        assert one(client, UPSERT, status="subscribed").outcome is Outcome.CREATED
        assert audience.member(ANN)["status"] == "pending"

    def test_null_clears_merge_fields_and_leaves_the_rest(self, client, audience):
        audience.add_member(ANN, language="cs", merge_fields={"FNAME": "Ann", "SINCE": "2026-01-01"})
        one(client, UPSERT, status_if_new="subscribed", language=None, merge_fields={"FNAME": None, "SINCE": None})
        member = audience.member(ANN)
        assert (member["language"], member["merge_fields"]) == ("cs", {"FNAME": "", "SINCE": ""})

    def test_a_status_mailchimp_does_not_take_over_is_no_success(self, client, sandbox, audience):
        audience.add_member(ANN, "unsubscribed")
        kept = {**audience.shown(audience.member(ANN)), "status": "unsubscribed"}
        sandbox.inject(Fault(api="mailchimp", method="PUT", status=200, body=kept))
        result = one(client, UPSERT, status="subscribed")
        assert result.outcome is Outcome.REJECTED
        assert "kept the status 'unsubscribed'" in result.reason


class TestArchivedMembers:
    @pytest.fixture(autouse=True)
    def _archived(self, audience):
        audience.add_member(ANN, "archived")

    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
    @pytest.mark.parametrize("fields", [{"status_if_new": "subscribed"}, {"status": "subscribed"}])
    def test_they_stay_archived_unless_asked_for(self, client, audience, behavior, fields):
        result = one(client, behavior, **fields)
        assert result.outcome is Outcome.SKIPPED
        assert "unarchive" in result.reason
        assert audience.member(ANN)["status"] == "archived"

    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
    def test_a_mapped_status_does_not_even_write_to_them(self, client, sandbox, behavior):
        one(client, behavior, status="subscribed")
        assert writes(sandbox) == []

    @pytest.mark.parametrize("status", ["subscribed", "pending", "transactional"])
    @pytest.mark.parametrize("field", ["status_if_new", "status"])
    def test_asked_for_they_come_back_with_the_status_of_the_mapping(self, client, audience, field, status):
        options = {"unarchive": True}
        result = one(client, UPSERT, options=options, merge_fields={"FNAME": "Ann"}, **{field: status})
        assert result.outcome is Outcome.UPDATED
        assert audience.member(ANN)["status"] == status
        assert audience.member(ANN)["merge_fields"] == {"FNAME": "Ann"}

    def test_one_who_left_before_does_not_come_back_subscribed(self, client, audience):
        audience.barred.add(hash_of(ANN))
        result = one(client, UPSERT, options={"unarchive": True}, status_if_new="subscribed")
        assert result.outcome is Outcome.REJECTED
        assert audience.member(ANN)["status"] == "archived"

    def test_create_only_leaves_them(self, client, audience):
        assert one(client, CREATE, status="subscribed").outcome is Outcome.SKIPPED
        assert audience.member(ANN)["status"] == "archived"


class TestUpdateOnly:
    def test_a_member_is_updated_and_keeps_what_is_not_mapped(self, client, audience):
        audience.add_member(ANN, "unsubscribed", merge_fields={"FNAME": "Ann"})
        result = one(client, UPDATE, status_if_new="subscribed", merge_fields={"LNAME": "Lee"})
        assert result.outcome is Outcome.UPDATED
        member = audience.member(ANN)
        assert (member["status"], member["merge_fields"]) == ("unsubscribed", {"FNAME": "Ann", "LNAME": "Lee"})

    @pytest.mark.parametrize("fields", [{"language": "cs"}, {"status": "unsubscribed"}])
    def test_without_a_member_it_is_skipped(self, client, audience, fields):
        result = one(client, UPDATE, **fields)
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no such member")
        assert not audience.members

    def test_it_needs_no_status(self):
        assert bind(UPDATE).object.required == ()
        assert bind(UPDATE).check(operation(UPDATE, language="cs")) is None

    def test_a_404_that_is_not_mailchimps_is_no_absence(self, client, sandbox):
        sandbox.inject(Fault(api="mailchimp", method="PATCH", status=404, body="no such page"))
        assert one(client, UPDATE, language="cs").outcome is Outcome.REJECTED


class TestCreateOnly:
    def test_many_are_one_request(self, client, sandbox, audience):
        audience.add_member("user3@example.com", "unsubscribed", language="cs")
        destination = bind(CREATE, client)
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed", language="en") for n in range(5)]
        results = many(client, destination, *operations)
        assert [r.outcome for r in results] == [*[Outcome.CREATED] * 3, Outcome.SKIPPED, Outcome.CREATED]
        assert audience.member("user3@example.com")["language"] == "cs"
        assert writes(sandbox) == [f"POST {AUDIENCE}"]

    def test_the_status_for_new_ones_is_the_one_that_counts(self, client, audience):
        one(client, CREATE, status="subscribed", status_if_new="pending")
        assert audience.member(ANN)["status"] == "pending"

    @pytest.mark.parametrize("fields", [{}, {"tags": ["a"]}])
    @pytest.mark.parametrize("fault", [{"reset": "after"}, {"truncate": True}])
    def test_what_an_unanswered_request_created_is_created(self, client, sandbox, audience, fields, fault):
        sandbox.inject(Fault(api="mailchimp", method="POST", **fault))
        assert one(client, CREATE, status="subscribed", **fields).outcome is Outcome.CREATED
        assert len(writes(sandbox)) == 2
        assert list(audience.members) == [hash_of(ANN)]

    def test_a_member_with_tags_is_created_alone_because_only_that_takes_them(self, client, sandbox, audience):
        destination = bind(CREATE, client)
        tagged = operation(CREATE, status="subscribed", tags=["vip", {"name": "lost", "status": "inactive"}])
        plain = operation(CREATE, "bo@example.com", status="subscribed")
        assert [r.outcome for r in many(client, destination, tagged, plain)] == [Outcome.CREATED] * 2
        assert sorted(writes(sandbox)) == [f"POST {AUDIENCE}", f"POST {AUDIENCE}/members"]
        assert [tag["name"] for tag in audience.member(ANN)["tags"]] == ["vip"]
        (again,) = many(client, destination, tagged)
        assert again.outcome is Outcome.SKIPPED


class TestDelete:
    def test_it_archives(self, client, sandbox, audience):
        audience.add_member(ANN)
        assert one(client, DELETE).outcome is Outcome.DELETED
        assert audience.member(ANN)["status"] == "archived"
        assert writes(sandbox) == [f"DELETE {AUDIENCE}/members/{hash_of(ANN)}"]

    def test_for_good_only_on_request(self, client, audience):
        audience.add_member(ANN)
        assert one(client, DELETE, options={"permanent": True}).outcome is Outcome.DELETED
        assert (audience.members, audience.forgotten) == ({}, {hash_of(ANN)})

    @pytest.mark.parametrize("permanent", [False, True])
    def test_without_a_member_it_is_skipped(self, client, permanent):
        assert one(client, DELETE, options={"permanent": permanent}).outcome is Outcome.SKIPPED

    def test_an_archived_member_is_skipped(self, client, audience):
        audience.add_member(ANN, "archived")
        result = one(client, DELETE)
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, "already archived")

    @pytest.mark.parametrize("tags", ["vip", [1]])
    def test_fields_of_a_member_that_goes_are_not_read(self, client, audience, tags):
        audience.add_member(ANN)
        assert one(client, DELETE, tags=tags).outcome is Outcome.DELETED

    @pytest.mark.parametrize("permanent", [False, True])
    def test_what_an_unanswered_request_deleted_is_deleted(self, client, sandbox, audience, permanent):
        audience.add_member(ANN)
        sandbox.inject(Fault(api="mailchimp", path="*/members/*", reset="after"))
        assert one(client, DELETE, options={"permanent": permanent}).outcome is Outcome.DELETED

    @pytest.mark.parametrize("status", [404, 405])
    def test_a_refusal_that_is_not_mailchimps_is_no_absence(self, client, sandbox, audience, status):
        audience.add_member(ANN)
        sandbox.inject(Fault(api="mailchimp", method="DELETE", status=status, body="nginx"))
        assert one(client, DELETE).outcome is Outcome.REJECTED

    def test_a_missing_audience_does_not_look_like_missing_members(self, client):
        with pytest.raises(ConfigError, match="Resource Not Found"):
            client.run(Mailchimp("member", DELETE, options={"audience_id": "zzz"}).prepare(()))


class TestStatesThatMailchimpDoesNotUndo:
    @pytest.mark.parametrize("leave", ["opt_out", "clean"])
    @pytest.mark.parametrize("unarchive", [False, True])
    def test_compliance_is_a_rejection_that_says_what_is_left(self, client, audience, leave, unarchive):
        audience.add_member(ANN)
        getattr(audience, leave)(ANN)
        before = audience.member(ANN)["status"]
        result = one(client, UPSERT, options={"unarchive": unarchive}, status="subscribed")
        assert result.outcome is Outcome.REJECTED
        assert "compliance state" in result.reason
        assert "'pending'" in result.reason
        assert audience.member(ANN)["status"] == before

    @pytest.mark.parametrize("behavior", [UPSERT, CREATE])
    @pytest.mark.parametrize("tags", [None, ["a"]])
    def test_who_was_deleted_for_good_is_rejected(self, client, audience, behavior, tags):
        audience.forgotten.add(hash_of(ANN))
        result = one(client, behavior, status_if_new="subscribed", tags=tags)
        assert result.outcome is Outcome.REJECTED
        assert "permanently deleted" in result.reason
        assert "form of Mailchimp's" in result.reason

    def test_a_fake_address_is_rejected_in_mailchimps_words(self, client):
        result = one(client, UPSERT, "test@test.com", status_if_new="subscribed")
        assert result.outcome is Outcome.REJECTED
        assert "looks fake or invalid" in result.reason


class TestBatches:
    def test_status_with_unarchive_updates_many_in_one_request(self, client, sandbox, audience):
        audience.add_member("user1@example.com", "archived")
        destination = bind(UPSERT, client, unarchive=True)
        operations = [operation(UPSERT, f"User{n}@example.com", status="subscribed") for n in range(3)]
        results = many(client, destination, *operations)
        assert [r.outcome for r in results] == [Outcome.CREATED, Outcome.UPDATED, Outcome.CREATED]
        assert writes(sandbox) == [f"POST {AUDIENCE}"]
        assert {m["status"] for m in audience.members.values()} == {"subscribed"}

    @pytest.mark.parametrize(
        "fields",
        [
            {"status_if_new": "subscribed"},
            {"status": "subscribed", "status_if_new": "pending"},
            {"status": "subscribed", "tags": ["a"]},
            {"status": "subscribed", "marketing_permissions": [{"marketing_permission_id": "x", "enabled": True}]},
        ],
    )
    def test_what_one_request_cannot_express_is_sent_alone(self, client, sandbox, audience, fields):
        destination = bind(UPSERT, client, unarchive=True)
        assert destination.max_batch(operation(UPSERT, **fields)) == 1
        assert many(client, destination, operation(UPSERT, **fields))[0].outcome.arrived
        assert writes(sandbox)[0].startswith("PUT ")

    def test_errors_find_their_rows_by_address_whatever_its_case(self, client, sandbox):
        answer = {
            "new_members": [{"email_address": "User0@Example.com", "status": "subscribed"}],
            "updated_members": [],
            "errors": [
                {"email_address": '\\"USER2@example.com\\"', "error": "no", "error_code": "ERROR_GENERIC"},
                {
                    "email_address": "user1@example.com",
                    "error": "Your merge fields were invalid.",
                    "error_code": "ERROR_GENERIC",
                    "field": "PHONE",
                    "field_message": "Please enter a number",
                },
            ],
            "total_created": 1,
            "total_updated": 0,
            "error_count": 2,
        }
        sandbox.inject(Fault(api="mailchimp", method="POST", status=200, body=answer))
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed") for n in range(4)]
        results = many(client, bind(CREATE, client), *operations)
        expected = [Outcome.CREATED, Outcome.REJECTED, Outcome.REJECTED, Outcome.UNCERTAIN]
        assert [r.outcome for r in results] == expected
        assert results[1].reason == "Your merge fields were invalid.: PHONE: Please enter a number"

    def test_more_members_than_the_answer_counts_are_not_taken_as_created(self, client, sandbox):
        listed = [{"email_address": f"user{n}@example.com", "status": "subscribed"} for n in range(2)]
        answer = {"new_members": listed, "updated_members": [], "errors": [], "total_created": 1}
        sandbox.inject(Fault(api="mailchimp", method="POST", status=200, body=answer))
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed") for n in range(2)]
        results = many(client, bind(CREATE, client), *operations)
        assert [r.outcome for r in results] == [Outcome.UNCERTAIN] * 2

    def test_a_silently_kept_status_is_no_update(self, client, sandbox):
        member = {"email_address": ANN, "status": "unsubscribed"}
        answer = {"new_members": [], "updated_members": [member], "errors": [], "total_updated": 1}
        sandbox.inject(Fault(api="mailchimp", method="POST", status=200, body=answer))
        result = one(client, UPSERT, options={"unarchive": True}, status="subscribed")
        assert result.outcome is Outcome.REJECTED

    def test_one_member_that_ruins_the_request_is_found(self, client, sandbox, audience):
        # A permission list is not checked by us and not in the schema of a batch; here it stands for anything new.
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed") for n in range(6)]
        operations[3] = operation(CREATE, "user3@example.com", status="subscribed", ip_signup=7)
        results = many(client, bind(CREATE, client), *operations)
        assert [r.outcome for r in results].count(Outcome.CREATED) == 5
        assert "ip_signup: Schema describes string" in results[3].reason

    def test_a_refusal_of_the_audience_is_not_taken_apart(self, client, sandbox):
        gone = problem(404, "Resource Not Found", "The requested resource could not be found.")
        destination = bind(CREATE, client)
        sandbox.inject(Fault(api="mailchimp", method="POST", status=404, body=gone, times=100))
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed") for n in range(8)]
        assert {r.outcome for r in many(client, destination, *operations)} == {Outcome.REJECTED}
        assert len(writes(sandbox)) == 1

    def test_a_refused_schema_is_refused_as_a_whole(self, client):
        destination = bind(CREATE, client)
        exchange = destination.send([operation(CREATE, status="subscribed")])
        next(exchange)
        body = b'{"title": "Invalid Resource", "detail": "Schema describes object, NULL found instead"}'
        with pytest.raises(Refused, match="NULL found"):
            exchange.send(Response(400, {}, body))

    def test_a_batch_holds_five_hundred(self, client, sandbox, audience):
        destination = bind(CREATE, client)
        operations = [operation(CREATE, f"user{n}@example.com", status="subscribed") for n in range(501)]
        assert {r.outcome for r in many(client, destination, *operations)} == {Outcome.CREATED}
        assert sorted(len(call.json["members"]) for call in sandbox.calls("mailchimp", "POST")) == [1, 500]
        assert len(audience.members) == 501


class TestTags:
    def names(self, audience) -> set[str]:
        return {tag["name"] for tag in audience.member(ANN)["tags"]}

    @pytest.mark.parametrize("behavior", [UPSERT, UPDATE])
    def test_they_are_added_and_removed_as_the_row_says(self, client, audience, behavior):
        audience.add_member(ANN, tags=["Old", "Kept"])
        tags = ["new", {"name": "old", "status": "inactive"}]
        assert one(client, behavior, status_if_new="subscribed", tags=tags).outcome.arrived
        assert self.names(audience) == {"Kept", "new"}

    def test_they_start_no_automations_unless_asked_to(self, client, audience):
        one(client, UPSERT, status_if_new="subscribed", tags=["quiet"])
        assert audience.automations == []
        one(client, UPSERT, options={"is_syncing": False}, status_if_new="subscribed", tags=["loud"])
        assert audience.automations == [(ANN, "loud")]

    def test_tags_that_are_there_cost_no_request(self, client, sandbox, audience):
        audience.add_member(ANN, tags=["VIP"])
        one(client, UPSERT, status_if_new="subscribed", tags=["vip", {"name": "gone", "status": "inactive"}])
        assert len(writes(sandbox)) == 1

    def test_where_the_answer_does_not_show_all_tags_they_are_set(self, client, sandbox, audience):
        audience.add_member(ANN, tags=[f"tag {n}" for n in range(60)])
        one(client, UPSERT, status_if_new="subscribed", tags=["tag 59"])
        assert len(writes(sandbox)) == 2

    def test_refused_tags_are_a_rejection_of_the_row(self, client, sandbox):
        sandbox.inject(Fault(api="mailchimp", path="*/tags", status=400, body=problem(400, "Invalid Resource", "no")))
        result = one(client, UPSERT, status_if_new="subscribed", tags=["a"])
        assert result.outcome is Outcome.REJECTED
        assert "tags were refused: Invalid Resource: no" in result.reason

    @pytest.mark.parametrize("fault", [{"html": True}, {"status": 200, "body": {}}])
    def test_tags_without_mailchimps_answer_are_uncertain(self, client, sandbox, fault):
        sandbox.inject(Fault(api="mailchimp", path="*/tags", times=10, **fault))
        with pytest.raises(Unanswered):
            one(client, UPSERT, status_if_new="subscribed", tags=["a"])

    @pytest.mark.parametrize(
        "tags",
        [
            "vip",
            [7],
            [""],
            [{"name": "a"}],
            [{"name": "a", "status": "on"}],
            [{"name": 7, "status": "active"}],
            ["a", {"name": "A", "status": "inactive"}],
        ],
    )
    def test_what_are_no_tags_is_invalid(self, client, tags):
        destination = bind(UPSERT, client)
        assert "tags" in destination.check(operation(UPSERT, status_if_new="subscribed", tags=tags))

    @pytest.mark.parametrize("tags", [None, [], [" a ", "A"]])
    def test_none_and_copies_are_no_problem(self, client, tags):
        destination = bind(UPSERT, client)
        assert destination.check(operation(UPSERT, status_if_new="subscribed", tags=tags)) is None


class TestMergeFields:
    ADDRESS: ClassVar = {"addr1": "1 Main St", "city": "Brno", "state": "JM", "zip": 60200}

    @pytest.mark.parametrize(
        ("tag", "value", "sent"),
        [
            ("FNAME", "Ann", "Ann"),
            ("FNAME", True, "true"),
            ("FNAME", 7, "7"),
            ("PHONE", 420600, "420600"),
            ("SEATS", 7, 7),
            ("SEATS", 1.5, 1.5),
            ("SEATS", "7", "7"),
            ("SINCE", "2026-03-01", "2026-03-01"),
            ("SINCE", "2026-03-01T23:30:00-05:00", "2026-03-02"),
            ("SINCE", "2026-03-01 23:30:00", "2026-03-01"),
            ("SINCE", 20260301, "2026-03-01"),
            ("BIRTHDAY", "2/9", "02/09"),
            ("BIRTHDAY", "02/29", "02/29"),
            ("BIRTHDAY", "1960-02-29", "02/29"),
            ("PLAN", "team", "team"),
            ("ADDRESS", {**ADDRESS, "addr2": None}, {**ADDRESS, "zip": "60200"}),
            ("ADDRESS", {"addr1": None, "city": ""}, ""),
            *((tag, None, "") for tag in ("FNAME", "SEATS", "SINCE", "BIRTHDAY", "PLAN", "ADDRESS", "WEBSITE")),
        ],
    )
    def test_values_are_put_in_the_form_of_their_type_and_mailchimp_takes_them(
        self, client, audience, tag, value, sent
    ):
        destination = bind(UPSERT, client)
        op = operation(UPSERT, status_if_new="subscribed", merge_fields={tag: value})
        assert destination.check(op) is None
        assert destination.payload(op)["merge_fields"] == {tag: sent}
        (result,) = many(client, destination, op)
        assert result.outcome is Outcome.UPSERTED
        assert audience.member(ANN)["merge_fields"][tag] == sent

    @pytest.mark.parametrize(
        ("tag", "value", "words"),
        [
            ("SEATS", True, "boolean"),
            ("PLAN", False, "boolean"),
            ("SEATS", "many", "not a number"),
            ("SINCE", "yesterday", "not a date"),
            ("SINCE", 1_767_225_600, "not a date"),
            ("BIRTHDAY", "13/01", "not a birthday"),
            ("BIRTHDAY", "02/30", "not a birthday"),
            ("BIRTHDAY", "soon", "not a birthday"),
            ("PLAN", "gold", "free, team, business, enterprise"),
            ("FNAME", ["Ann"], "list"),
            ("FNAME", {"a": 1}, "object"),
            ("ADDRESS", "1 Main St", "is an address and takes addr1"),
            ("ADDRESS", {"addr1": "1 Main St", "city": " "}, "city, state, zip missing"),
            ("ADDRESS", {**ADDRESS, "street": "x"}, "part no address has"),
            ("ADDRESS", {**ADDRESS, "city": ["Brno"]}, "part that is not text"),
        ],
    )
    def test_what_the_type_cannot_hold_is_invalid(self, client, tag, value, words):
        destination = bind(UPSERT, client)
        reason = destination.check(operation(UPSERT, status_if_new="subscribed", merge_fields={tag: value}))
        assert reason.startswith(f"merge_fields.{tag} ")
        assert words in reason

    @pytest.mark.parametrize(
        ("value", "sent"),
        [
            (dt.date(2026, 3, 1), "2026-03-01"),
            (dt.datetime(2026, 3, 1, 12, 0, 0, 5), "2026-03-01T12:00:00+00:00"),
            (dt.datetime(2026, 3, 1, 23, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "2026-03-02T04:00:00+00:00"),
            (Decimal("1.50"), 1.5),
        ],
    )
    def test_values_of_a_database_get_a_form_mailchimp_reads(self, value, sent):
        assert bind(UPSERT).scalar(value, "merge_fields.SINCE") == sent

    def test_one_the_audience_does_not_have_is_named_with_similar_ones(self, client):
        with pytest.raises(ConfigError, match=r"'merge_fields.fname' is no merge field .* similar: 'FNAME'"):
            bind(UPSERT, client, ["merge_fields.fname"])
        with pytest.raises(ConfigError, match=r"it has: 'FNAME', 'LNAME'"):
            bind(UPSERT, client, ["merge_fields.QQQQ"])

    @pytest.mark.parametrize("field", ["ADDRESS.street", "ADDRESS.city.x", "FNAME.x"])
    def test_a_part_the_field_does_not_have_is_named(self, client, field):
        with pytest.raises(ConfigError, match=field.split(".")[0]):
            bind(UPSERT, client, [f"merge_fields.{field}"])

    def test_more_than_ten_fields_are_read(self, client, audience):
        for n in range(20):
            audience.add_merge_field(f"MORE{n}", "text")
        bind(UPSERT, client, ["merge_fields.MORE19", "merge_fields.ADDRESS.city"])

    def test_a_required_one_must_be_mapped_or_given_up(self, client, audience):
        audience.add_merge_field("COMPANY", "text", required=True)
        with pytest.raises(ConfigError, match=r"'COMPANY'.*skip_merge_validation"):
            bind(UPSERT, client, ["merge_fields.FNAME"])
        bind(UPSERT, client, ["merge_fields.COMPANY"])
        bind(UPDATE, client, ["merge_fields.FNAME"])
        options = {"skip_merge_validation": True}
        assert one(client, UPSERT, options=options, status_if_new="subscribed").outcome is Outcome.UPSERTED
        assert one(client, CREATE, "bo@example.com", options, status="subscribed").outcome is Outcome.CREATED

    def test_sync_all_puts_columns_among_the_merge_fields_in_capitals(self):
        destination = bind(UPSERT)
        assert destination.home("fname") == "merge_fields.FNAME"
        assert destination.home("language") == "language"


class TestCheck:
    @pytest.mark.parametrize(
        "email", ["ann", "ann@", "@example.com", "a b@example.com", "a@b@example.com", "ann@local"]
    )
    def test_what_is_no_address_is_invalid(self, email):
        for behavior in (UPSERT, DELETE):
            assert (
                bind(behavior).check(operation(behavior, email, status="subscribed")) == "the email is not an address"
            )

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"status": "archived"}, "behavior delete archives"),
            ({"status": "Subscribed"}, "status is none of"),
            ({"status": ["subscribed"]}, "status is none of"),
            ({"status_if_new": "new"}, "status_if_new is none of"),
            ({"email_type": "pdf"}, "email_type"),
            ({"vip": "yes"}, "vip"),
            ({"interests": {"a1": 1}}, "interests.a1"),
            ({"location": {"latitude": "49"}}, "location.latitude"),
            ({"location": {"latitude": True}}, "location.latitude"),
            ({"timestamp_opt": "yesterday"}, "timestamp_opt"),
        ],
    )
    def test_a_value_mailchimp_cannot_take_is_named(self, fields, words):
        reason = bind(UPSERT).check(operation(UPSERT, **{"status_if_new": "subscribed", **fields}))
        assert words in reason

    @pytest.mark.parametrize("behavior", [UPSERT, CREATE])
    def test_a_new_member_needs_a_status(self, behavior):
        assert "status" in bind(behavior).check(operation(behavior, status=None))
        assert bind(behavior).object.required == (("status", "status_if_new"),)

    def test_transactional_is_for_new_members_only(self):
        assert "new members only" in bind(UPDATE).check(operation(UPDATE, status="transactional"))

    def test_everything_at_once_is_taken(self, client, audience):
        fields = {
            "status_if_new": "transactional",
            "email_type": "text",
            "language": "cs",
            "vip": False,
            "interests": {"a1": True, "b2": None},
            "location": {"latitude": 49.2, "longitude": None},
            "marketing_permissions": [{"marketing_permission_id": "x", "enabled": True}],
            "ip_signup": "192.0.2.1",
            "timestamp_signup": "2026-03-01T12:00:00+00:00",
        }
        assert bind(UPSERT).check(operation(UPSERT, **fields)) is None
        assert one(client, UPSERT, **fields).outcome is Outcome.UPSERTED
        member = audience.member(ANN)
        assert (member["interests"], member["location"], member["vip"]) == ({"a1": True}, {"latitude": 49.2}, False)


class TestOptions:
    @pytest.mark.parametrize("audience_id", [None, "", 7, "a/b", "../x", "ž"])
    def test_an_audience_is_required(self, audience_id):
        with pytest.raises(ConfigError, match="audience_id"):
            Mailchimp("member", UPSERT, options={"audience_id": audience_id})

    @pytest.mark.parametrize("name", ["permanent", "unarchive", "skip_merge_validation", "is_syncing"])
    def test_flags_are_true_or_false(self, name):
        with pytest.raises(ConfigError, match=name):
            bind(UPSERT, **{name: "yes"})

    @pytest.mark.parametrize("field", ["email_address", "FNAME", "merge_fields", "location", "contact_id"])
    def test_what_is_no_field_is_refused(self, field):
        with pytest.raises(ConfigError, match="valid"):
            bind(UPSERT).check_field(field)


class TestConnection:
    @pytest.mark.parametrize("key", ["0123-us21", "abc-eu1"])
    def test_the_suffix_of_the_key_names_the_host(self, key):
        center = key.partition("-")[2]
        assert Mailchimp.endpoint(Credentials(password=key)).base_url == f"https://{center}.api.mailchimp.com/3.0"

    @pytest.mark.parametrize("host", ["http://localhost:1/mailchimp", "http://localhost:1/mailchimp/"])
    def test_a_host_replaces_it_and_keeps_the_prefix(self, host):
        endpoint = Mailchimp.endpoint(Credentials(password="0123-us21", host=host))
        assert endpoint.base_url == "http://localhost:1/mailchimp/3.0"

    @pytest.mark.parametrize("key", ["0123", "0123-", "0-1-us21", "0123-us21.evil.example", "0123-21", "0123-us21/"])
    def test_a_key_of_another_shape_is_refused_without_showing_it(self, key):
        with pytest.raises(ConfigError, match="-us21") as error:
            Mailchimp.endpoint(Credentials(password=key))
        assert key not in str(error.value).replace("-us21", "")

    def test_the_encoded_key_is_a_secret_too(self):
        endpoint = Mailchimp.endpoint(Credentials(password="0123-us21"))
        assert endpoint.redact(endpoint.headers["Authorization"]) == "Basic ***"

    def test_the_account_and_its_audiences_are_named(self, client, api):
        api.add_audience("f6e7d8c9b0", "Customers")
        found = client.run(Mailchimp.test())
        assert found == f"account 'Sandbox', audiences: 'Newsletter' ({AUDIENCE}), 'Customers' (f6e7d8c9b0)"

    def test_all_audiences_are_named_not_only_the_first_ten(self, client, api):
        for n in range(12):
            api.add_audience(f"f6e7d8c9{n}", f"List {n}")
        assert "'List 11' (f6e7d8c911)" in client.run(Mailchimp.test())

    def test_a_wrong_key_is_an_auth_error(self, connect):
        with pytest.raises(AuthError, match="API Key Invalid"):
            connect("0123-us21").run(Mailchimp.test())

    def test_an_account_that_cannot_be_read_is_named(self, client, sandbox):
        sandbox.inject(Fault(api="mailchimp", path="/3.0/lists", status=404, body=problem(404, "Resource Not Found")))
        with pytest.raises(ConfigError, match="GET /lists: Resource Not Found"):
            client.run(Mailchimp.test())

    def test_a_web_page_is_unavailable(self, client, sandbox):
        sandbox.inject(Fault(api="mailchimp", html=True, times=10))
        with pytest.raises(Unavailable, match="text/html"):
            client.run(Mailchimp.test())


class TestAnswers:
    @pytest.mark.parametrize("body", [b"", b" \r\n", b"<html>Request Blocked</html>"])
    def test_a_403_without_a_word_of_the_api_is_a_throttle(self, body):
        assert isinstance(Mailchimp.judge(Response(403, {}, body)), Retry)

    @pytest.mark.parametrize("body", [b'{"title": "Forbidden"}', b"not allowed"])
    def test_a_403_with_words_is_a_denial(self, body):
        assert isinstance(Mailchimp.judge(Response(403, {}, body)), Denied)

    def test_a_refusal_about_a_record_is_for_the_exchange(self):
        assert isinstance(Mailchimp.judge(Response(405, {}, b"")), Answered)

    @pytest.mark.parametrize(
        "fault", [{"status": 403}, {"status": 429}, {"status": 503, "body": "<html>Request Blocked"}]
    )
    def test_a_throttle_is_waited_out(self, client, sandbox, fault):
        sandbox.inject(Fault(api="mailchimp", method="PUT", times=2, **fault))
        assert one(client, UPSERT, status_if_new="subscribed").outcome is Outcome.UPSERTED
        assert client.traffic.retries == 2

    def test_a_problem_without_a_type_is_understood(self, client, sandbox):
        body = {"title": "Invalid Resource", "status": 400, "detail": "signed up to a lot of lists very recently"}
        sandbox.inject(Fault(api="mailchimp", method="PUT", status=400, body=body))
        result = one(client, UPSERT, status_if_new="subscribed")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 400)
        assert result.reason == "Invalid Resource: signed up to a lot of lists very recently"

    def test_the_fields_of_a_problem_are_named(self, client):
        result = one(client, UPSERT, status_if_new="subscribed", merge_fields={"WEBSITE": "nowhere"})
        assert result.reason == ("Invalid Resource: Your merge fields were invalid.: WEBSITE: Please enter a valid URL")

    def test_a_status_among_the_valid_ones_is_not_explained(self, client):
        result = one(client, UPSERT, status_if_new="archived")
        assert result.reason.endswith("cleaned, pending, subscribed, transactional, unsubscribed")

    def test_an_unreadable_look_up_writes_nothing(self, client, sandbox):
        destination = bind(UPSERT, client)
        sandbox.inject(Fault(api="mailchimp", method="GET", html=True, times=10))
        with pytest.raises(Unavailable):
            client.run(destination.send([operation(UPSERT, status="subscribed")]))
        assert writes(sandbox) == []

    def test_an_unreadable_look_up_does_not_stand_for_an_absent_member(self, client, sandbox):
        destination = bind(UPDATE, client)
        sandbox.inject(Fault(api="mailchimp", method="GET", status=404, body="nginx"))
        with pytest.raises(Unavailable, match="look-up was refused"):
            client.run(destination.send([operation(UPDATE, status="unsubscribed")]))


def test_never_more_than_ten_connections_are_used(connect, sandbox, api):
    api.latency_s = 0.05
    client = connect()
    destination = bind(UPSERT, client)
    operations = [operation(UPSERT, f"user{n}@example.com", status_if_new="subscribed") for n in range(60)]
    results = many(client, destination, *operations)
    assert {r.outcome for r in results} == {Outcome.UPSERTED}
    assert 5 <= max(call.in_flight for call in sandbox.ledger) <= 9
    assert client.traffic.refused_429 == 0
