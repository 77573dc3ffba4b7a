from __future__ import annotations

import datetime as dt
import email.utils
import time
from typing import ClassVar

import pytest

from airflow_provider_census.destinations.intercom import Intercom
from airflow_provider_census.errors import AuthError, ConfigError, Unavailable
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.intercom import IntercomSandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter
from airflow_provider_census.transport.verdict import Retry

UPSERT, UPDATE, CREATE, DELETE, SEND = (
    Behavior.UPDATE_OR_CREATE,
    Behavior.UPDATE_ONLY,
    Behavior.CREATE_ONLY,
    Behavior.DELETE,
    Behavior.SEND,
)


@pytest.fixture
def intercom(sandbox) -> IntercomSandbox:
    return sandbox["intercom"]


@pytest.fixture
def connect(sandbox):
    clients = []

    def connect(password: str = IntercomSandbox.token, **settings) -> Client:
        credentials = Credentials(password=password, host=sandbox.url("intercom"))
        endpoint = Intercom.endpoint(credentials)
        limiter = Limiter(Intercom.rates)
        settings = {"attempts": 3, "backoff_s": 0.01, "timeout_s": (2, 2), **settings}
        clients.append(Client(endpoint, limiter, judge=Intercom.judge, throttle=Intercom.throttle, **settings))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect) -> Client:
    return connect()


def operation(behavior: Behavior, id: str, **fields) -> Operation:
    return Operation(behavior, Record(id, id, fields))


def send(client: Client, destination: Intercom, *operations: Operation):
    return client.run(destination.send(operations))


def one(client: Client, object: str, behavior: Behavior, identifier: str | None, id: str, options=None, **fields):
    """Send one record and return its result."""
    destination = Intercom(object, behavior, identifier, options)
    (result,) = send(client, destination, operation(behavior, id, **fields))
    return result


def writes(sandbox: Sandbox) -> list[str]:
    """Return method and path of every request that was no look-up."""
    return [
        f"{call.method} {call.path}"
        for call in sandbox.ledger
        if call.method != "GET" and not call.path.endswith("/search")
    ]


def put_there(intercom: IntercomSandbox, identifier: str, role: str = "user") -> tuple[str, str]:
    """Put a contact there; return its id and the value of ``identifier``."""
    contact = intercom.add_contact(role=role, external_id="x1", email="ada@example.com", name="Ada")
    return contact, intercom.contacts[contact][identifier]


MATCHES = [
    (object, identifier)
    for object in ("contact", "user", "lead")
    for identifier in ("external_id", "email", "id")
    if (object, identifier) != ("lead", "external_id")
]


class TestUpdateOrCreate:
    @pytest.mark.parametrize(("object", "identifier"), MATCHES)
    def test_a_match_is_updated_and_keeps_what_is_not_mapped(self, client, intercom, object, identifier):
        role = "lead" if object == "lead" else "user"
        contact, value = put_there(intercom, identifier, role)
        result = one(client, object, UPSERT, identifier, value, phone="+1", custom_attributes={"plan": "pro"})
        assert result.outcome is Outcome.UPDATED
        stored = intercom.contacts[contact]
        assert (stored["name"], stored["phone"], stored["custom_attributes"]) == ("Ada", "+1", {"plan": "pro"})
        assert len(intercom.contacts) == 1

    @pytest.mark.parametrize(
        ("object", "identifier", "role"),
        [
            ("contact", "external_id", "user"),
            ("contact", "email", "user"),
            ("user", "external_id", "user"),
            ("user", "email", "user"),
            ("lead", "email", "lead"),
        ],
    )
    def test_without_a_match_it_is_created(self, client, intercom, object, identifier, role):
        result = one(client, object, UPSERT, identifier, "n@example.com", name="New")
        assert result.outcome is Outcome.CREATED
        (stored,) = intercom.contacts.values()
        assert (stored[identifier], stored["role"], stored["name"]) == ("n@example.com", role, "New")

    def test_an_unknown_intercom_id_is_rejected(self, client, intercom):
        result = one(client, "contact", UPSERT, "id", "6762f0dd", name="New")
        assert result.outcome is Outcome.REJECTED
        assert "chooses the ids" in result.reason
        assert not intercom.contacts

    def test_a_contact_by_external_id_may_be_a_lead(self, client, intercom):
        contact, value = put_there(intercom, "external_id", "lead")
        assert one(client, "contact", UPSERT, "external_id", value, phone="+1").outcome is Outcome.UPDATED
        assert intercom.contacts[contact]["phone"] == "+1"

    def test_a_lead_by_external_id_is_not_created_as_intercom_would_ignore_it(self, client, intercom):
        result = one(client, "contact", UPSERT, "external_id", "x1", role="lead", email="a@example.com")
        assert result.outcome is Outcome.REJECTED
        assert "external_id of a new lead" in result.reason
        assert not intercom.contacts

    def test_a_user_is_not_taken_for_a_lead_with_the_same_email(self, client, intercom):
        user, value = put_there(intercom, "email", "user")
        assert one(client, "lead", UPSERT, "email", value, name="Lead").outcome is Outcome.CREATED
        assert intercom.contacts[user]["name"] == "Ada"

    def test_a_lead_becomes_a_user_by_the_role_of_a_contact(self, client, intercom):
        contact, value = put_there(intercom, "email", "lead")
        result = one(client, "contact", UPSERT, "email", value, role="user", external_id="7")
        assert result.outcome is Outcome.UPDATED
        assert (intercom.contacts[contact]["role"], intercom.contacts[contact]["external_id"]) == ("user", "7")

    def test_null_clears_a_field(self, client, intercom):
        contact, value = put_there(intercom, "external_id")
        one(client, "user", UPSERT, "external_id", value, name=None, custom_attributes={"plan": None})
        assert intercom.contacts[contact]["name"] is None

    @pytest.mark.parametrize("external_id", ["a/b", "a b?c#d", "ä%2F", "..x", "@'\"<>"])
    def test_a_hostile_external_id_stays_one_value(self, client, intercom, external_id):
        assert one(client, "user", UPSERT, "external_id", external_id, name="A").outcome is Outcome.CREATED
        assert one(client, "user", UPSERT, "external_id", external_id, name="B").outcome is Outcome.UPDATED
        assert [c["external_id"] for c in intercom.contacts.values()] == [external_id]


class TestUpdateOnly:
    @pytest.mark.parametrize(("object", "identifier"), [*MATCHES, ("lead", "external_id")])
    def test_a_match_is_updated(self, client, intercom, object, identifier):
        contact, value = put_there(intercom, identifier, "lead" if object == "lead" else "user")
        assert one(client, object, UPDATE, identifier, value, phone="+1").outcome is Outcome.UPDATED
        assert intercom.contacts[contact]["phone"] == "+1"

    @pytest.mark.parametrize("object", ["contact", "user", "lead"])
    @pytest.mark.parametrize("identifier", ["external_id", "email", "id"])
    def test_without_a_match_it_is_skipped(self, client, intercom, object, identifier):
        assert one(client, object, UPDATE, identifier, "n@example.com", phone="+1").outcome is Outcome.SKIPPED
        assert not intercom.contacts

    @pytest.mark.parametrize("identifier", ["external_id", "email", "id"])
    def test_a_contact_of_the_other_role_is_no_match(self, client, sandbox, intercom, identifier):
        _, value = put_there(intercom, identifier, "lead")
        assert one(client, "user", UPDATE, identifier, value, phone="+1").outcome is Outcome.SKIPPED
        assert writes(sandbox) == []

    def test_a_contact_archived_after_the_look_up_is_skipped(self, client, sandbox, intercom):
        _, value = put_there(intercom, "external_id")
        gone = {"type": "error.list", "errors": [{"code": "not_found", "message": "User Not Found"}]}
        sandbox.inject(Fault(api="intercom", method="PUT", status=404, body=gone))
        assert one(client, "user", UPDATE, "external_id", value, phone="+1").outcome is Outcome.SKIPPED


class TestCreateOnly:
    @pytest.mark.parametrize(
        ("object", "identifier"), [(o, i) for o in ("contact", "user") for i in ("external_id", "email")]
    )
    def test_a_match_is_skipped_and_stays_as_it_is(self, client, sandbox, intercom, object, identifier):
        _, value = put_there(intercom, identifier)
        assert one(client, object, CREATE, identifier, value, name="Other").outcome is Outcome.SKIPPED
        assert writes(sandbox) == []

    @pytest.mark.parametrize(
        ("object", "identifier"), [("contact", "email"), ("user", "external_id"), ("lead", "email")]
    )
    def test_without_a_match_it_is_created(self, client, intercom, object, identifier):
        assert one(client, object, CREATE, identifier, "n@example.com", name="New").outcome is Outcome.CREATED
        assert len(intercom.contacts) == 1

    def test_a_match_that_search_does_not_show_yet_is_skipped_not_updated(self, client, intercom):
        intercom.lag_search(60)
        contact, value = put_there(intercom, "email")
        assert one(client, "user", CREATE, "email", value, name="Other").outcome is Outcome.SKIPPED
        assert intercom.contacts[contact]["name"] == "Ada"

    def test_an_archived_match_is_skipped_and_stays_archived(self, client, intercom):
        contact, value = put_there(intercom, "external_id")
        intercom.archive(contact)
        assert one(client, "user", CREATE, "external_id", value).outcome is Outcome.SKIPPED
        assert contact in intercom.archived


class TestDelete:
    @pytest.mark.parametrize("permanent", [False, True])
    @pytest.mark.parametrize(("object", "identifier"), [*MATCHES, ("lead", "external_id")])
    def test_a_match_is_archived_or_on_request_deleted_for_good(self, client, intercom, object, identifier, permanent):
        contact, value = put_there(intercom, identifier, "lead" if object == "lead" else "user")
        result = one(client, object, DELETE, identifier, value, {"permanent": permanent})
        assert result.outcome is Outcome.DELETED
        assert (contact in intercom.archived, contact in intercom.purged) == (not permanent, permanent)

    @pytest.mark.parametrize("identifier", ["external_id", "email", "id"])
    def test_what_is_not_there_is_skipped(self, client, sandbox, identifier):
        result = one(client, "contact", DELETE, identifier, "n@example.com")
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no such contact")

    @pytest.mark.parametrize("permanent", [False, True])
    def test_a_lost_answer_is_found_out_to_be_a_deletion(self, client, sandbox, intercom, permanent):
        contact, value = put_there(intercom, "external_id")
        sandbox.inject(Fault(api="intercom", path=f"/contacts/{contact}*", reset="after"))
        result = one(client, "user", DELETE, "external_id", value, {"permanent": permanent})
        assert result.outcome is Outcome.DELETED
        assert len(writes(sandbox)) == 2


class TestEmail:
    def test_several_matches_are_rejected_as_ambiguous_with_their_ids(self, client, sandbox, intercom):
        ids = [intercom.add_contact(role="lead", email="ada@example.com") for _ in range(2)]
        for behavior in (UPSERT, UPDATE, CREATE, DELETE):
            result = one(client, "contact", behavior, "email", "ada@example.com", name="New")
            assert result.outcome is Outcome.REJECTED
            assert "ambiguous" in result.reason
            assert all(id in result.reason for id in ids)
        assert writes(sandbox) == []

    def test_the_role_decides_between_a_user_and_a_lead(self, client, intercom):
        lead = intercom.add_contact(role="lead", email="ada@example.com")
        user = intercom.add_contact(role="user", email="ada@example.com")
        assert one(client, "user", UPDATE, "email", "ada@example.com", name="U").outcome is Outcome.UPDATED
        assert one(client, "lead", UPDATE, "email", "ada@example.com", name="L").outcome is Outcome.UPDATED
        assert (intercom.contacts[user]["name"], intercom.contacts[lead]["name"]) == ("U", "L")

    def test_fifteen_are_looked_up_by_one_search(self, client, sandbox, intercom):
        for n in range(10):
            intercom.add_contact(email=f"u{n}@example.com")
        destination = Intercom("user", UPSERT, "email")
        batch = [operation(UPSERT, f"u{n}@example.com", name=f"U{n}") for n in range(15)]
        assert destination.max_batch(batch[0]) == 15
        outcomes = [result.outcome for result in send(client, destination, *batch)]
        assert outcomes == [Outcome.UPDATED] * 10 + [Outcome.CREATED] * 5
        assert len(sandbox.calls("intercom", path="/contacts/search")) == 1
        assert {c["email"]: c["name"] for c in intercom.contacts.values()} == {
            f"u{n}@example.com": f"U{n}" for n in range(15)
        }

    def test_further_pages_of_a_search_are_read(self, client, sandbox, intercom):
        for _ in range(160):
            intercom.add_contact(role="lead", email="many@example.com")
        intercom.add_contact(role="lead", email="one@example.com")
        batch = [operation(UPDATE, f"{name}@example.com", name="N") for name in ("one", "many")]
        last, many = send(client, Intercom("lead", UPDATE, "email"), *batch)
        assert last.outcome is Outcome.UPDATED
        assert "160 contacts" in many.reason
        assert len(sandbox.calls("intercom", path="/contacts/search")) == 2

    def test_it_is_matched_without_regard_to_case(self):
        assert Intercom("user", UPSERT, "email").identifier.normalise(" Ada@Example.COM ") == "ada@example.com"

    def test_one_refused_record_does_not_touch_its_neighbours(self, client, intercom):
        batch = [operation(UPSERT, id) for id in ("a@example.com", "nonsense", "b@example.com")]
        first, second, third = send(client, Intercom("user", UPSERT, "email"), *batch)
        assert (first.outcome, third.outcome) == (Outcome.CREATED, Outcome.CREATED)
        assert (second.outcome, second.status, second.reason) == (Outcome.REJECTED, 400, "email is invalid")

    def test_what_was_accepted_counts_although_the_api_goes_down_within_the_batch(self, client, sandbox, intercom):
        sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", after=2, status=503, times=99))
        batch = [operation(UPSERT, f"u{n}@example.com") for n in range(5)]
        results = send(client, Intercom("user", UPSERT, "email"), *batch)
        assert [r.outcome for r in results] == [Outcome.CREATED] * 2 + [Outcome.REJECTED] * 3
        assert results[-1].status == 503
        assert [r.passing for r in results] == [False] * 2 + [True] * 3
        assert len(intercom.contacts) == 2

    def test_a_value_that_search_refuses_does_not_hold_back_its_neighbours(self, client, sandbox, intercom):
        refusal = {"type": "error.list", "errors": [{"code": "parameter_invalid", "message": "no such value"}]}
        sandbox.inject(
            Fault(api="intercom", path="/contacts/search", contains="u3@", status=400, body=refusal, times=99)
        )
        batch = [operation(UPSERT, f"u{n}@example.com") for n in range(15)]
        delivered = deliver(enumerate(batch), Intercom("user", UPSERT, "email"), client)
        results = {n: result for group in delivered for n, result in group}
        assert {n for n, result in results.items() if result.outcome is Outcome.CREATED} == {*range(15)} - {3}
        assert (results[3].outcome, results[3].status, results[3].passing) == (Outcome.REJECTED, 400, False)
        assert "no such value" in results[3].reason


class TestConflicts:
    def test_a_user_that_search_does_not_show_yet_is_updated(self, client, intercom):
        intercom.lag_search(60)
        contact = intercom.add_contact(email="ada@example.com")
        result = one(client, "user", UPSERT, "email", "ada@example.com", name="Ada")
        assert result.outcome is Outcome.UPDATED
        assert intercom.contacts[contact]["name"] == "Ada"
        assert len(intercom.contacts) == 1

    @pytest.mark.parametrize("identifier", ["external_id", "email"])
    def test_an_archived_user_is_restored_and_updated(self, client, intercom, identifier):
        value = "ada@example.com"
        contact = intercom.add_contact(**{identifier: value}, name="Ada")
        intercom.archive(contact)
        result = one(client, "user", UPSERT, identifier, value, name="Back")
        assert result.outcome is Outcome.UPDATED
        assert intercom.contacts[contact]["name"] == "Back"

    def test_a_user_deleted_for_good_is_rejected_with_the_reason(self, client, intercom):
        contact, value = put_there(intercom, "external_id")
        intercom.purge(contact)
        result = one(client, "user", UPSERT, "external_id", value, name="Back")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 400)
        assert result.reason == "User has been marked for permanent deletion and is not restorable."

    def test_a_user_that_fails_to_be_restored_is_rejected_and_the_run_goes_on(self, client, sandbox, intercom):
        contact, value = put_there(intercom, "external_id")
        intercom.archive(contact)
        sandbox.inject(Fault(api="intercom", path="*/unarchive", status=500, times=2))
        result = one(client, "user", UPSERT, "external_id", value, name="Back")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 500)
        assert contact in result.reason

    def test_restoring_is_tried_again_after_one_failure(self, client, sandbox, intercom):
        contact, value = put_there(intercom, "external_id")
        intercom.archive(contact)
        sandbox.inject(Fault(api="intercom", path="*/unarchive", reset="after"))
        assert one(client, "user", UPSERT, "external_id", value, name="Back").outcome is Outcome.UPDATED

    @pytest.mark.parametrize("archived", [False, True])
    def test_somebody_else_in_the_way_is_not_overwritten(self, client, intercom, archived):
        other = intercom.add_contact(external_id="7", email="other@example.com", name="Other")
        if archived:
            intercom.archive(other)
        result = one(client, "user", UPSERT, "email", "ada@example.com", external_id="7", name="Ada")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 409)
        assert other in result.reason
        where = intercom.archived if archived else intercom.contacts
        assert where[other]["name"] == "Other"

    def test_an_update_to_an_external_id_that_is_taken_is_rejected(self, client, intercom):
        put_there(intercom, "external_id")
        intercom.add_contact(email="bob@example.com")
        result = one(client, "user", UPSERT, "email", "bob@example.com", external_id="x1")
        assert (result.outcome, result.status) == (Outcome.REJECTED, 409)


class TestLostAnswers:
    @pytest.mark.parametrize("identifier", ["external_id", "email"])
    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"reset": "after"}, {"truncate": True}, {"html": True}])
    def test_a_user_is_created_once_and_counted_as_created(self, client, sandbox, intercom, identifier, fault):
        sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", **fault))
        result = one(client, "user", UPSERT, identifier, "ada@example.com", name="Ada")
        assert result.outcome is Outcome.CREATED
        assert [c["name"] for c in intercom.contacts.values()] == ["Ada"]

    @pytest.mark.parametrize("fault", [{"reset": "after"}, {"truncate": True}])
    def test_create_only_counts_a_lost_creation_as_created(self, client, sandbox, intercom, fault):
        sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", **fault))
        assert one(client, "user", CREATE, "external_id", "x1").outcome is Outcome.CREATED

    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"reset": "after"}, {"truncate": True}, {"html": True}])
    def test_an_update_is_sent_again(self, client, sandbox, intercom, fault):
        contact, value = put_there(intercom, "external_id")
        sandbox.inject(Fault(api="intercom", method="PUT", **fault))
        assert one(client, "user", UPSERT, "external_id", value, name="B").outcome is Outcome.UPDATED
        assert intercom.contacts[contact]["name"] == "B"

    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"reset": "after"}, {"truncate": True}, {"html": True}])
    def test_a_lead_is_never_created_twice(self, client, sandbox, intercom, fault):
        sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", **fault))
        assert one(client, "lead", UPSERT, "email", "ada@example.com").outcome is Outcome.UNCERTAIN
        assert len(sandbox.calls("intercom", "POST", "/contacts")) == 1

    def test_a_lead_is_created_again_where_the_author_allows_it(self, client, sandbox, intercom):
        sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", reset="before"))
        result = one(client, "lead", UPSERT, "email", "ada@example.com", {"on_uncertain": "resend"})
        assert result.outcome is Outcome.CREATED

    def test_leads_to_be_created_travel_alone_and_are_not_repeatable(self):
        for destination, fields in (
            (Intercom("lead", UPSERT, "email"), {}),
            (Intercom("contact", UPSERT, "email"), {"role": "lead"}),
        ):
            lead = operation(UPSERT, "a@example.com", **fields)
            assert (destination.repeatable(lead), destination.max_batch(lead)) == (False, 1)
        destination = Intercom("contact", UPSERT, "email")
        user = operation(UPSERT, "b@example.com", role="user")
        assert destination.repeatable(user)
        assert destination.lane(user) != destination.lane(operation(UPSERT, "a@example.com", role="lead"))

    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"status": 500}, {"html": True}])
    @pytest.mark.parametrize("object", ["user", "lead"])
    def test_a_lost_look_up_is_unavailable_never_uncertain(self, client, sandbox, object, fault):
        sandbox.inject(Fault(api="intercom", path="/contacts/search", times=99, **fault))
        with pytest.raises(Unavailable):
            one(client, object, UPSERT, "email", "ada@example.com")
        assert writes(sandbox) == []

    @pytest.mark.parametrize("errors", [None, "no", ["no"]])
    def test_a_refusal_of_another_shape_is_not_intercoms_and_ends_no_run(self, client, sandbox, errors):
        sandbox.inject(Fault(api="intercom", method="POST", path="/events", status=404, body={"errors": errors}))
        result = one(client, "event", SEND, None, "e1", event_name="x", created_at=1_700_000_000, user_id="x1")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "HTTP 404, without a word of Intercom")

    def test_a_404_that_is_not_intercoms_is_no_missing_contact(self, client, sandbox):
        sandbox.inject(Fault(api="intercom", method="GET", status=404, body="<html>", times=99))
        with pytest.raises(Unavailable):
            one(client, "user", UPSERT, "external_id", "x1")
        assert writes(sandbox) == []


class TestCompany:
    def test_it_is_upserted_by_one_request(self, client, sandbox, intercom):
        for name in ("A", "B"):
            result = one(client, "company", UPSERT, None, "c1", name=name, plan="pro", custom_attributes={"seats": 3})
            assert result.outcome is Outcome.UPSERTED
        (company,) = intercom.companies.values()
        assert (company["company_id"], company["name"], company["custom_attributes"]) == ("c1", "B", {"seats": 3})
        assert len(sandbox.ledger) == 2

    @pytest.mark.parametrize("as_list", [False, True])
    def test_update_only_updates_a_match_and_skips_the_rest(self, client, intercom, as_list):
        intercom.companies_as_list = as_list
        assert one(client, "company", UPDATE, None, "c1", name="A").outcome is Outcome.SKIPPED
        one(client, "company", UPSERT, None, "c1", name="A")
        assert one(client, "company", UPDATE, None, "c1", name="B").outcome is Outcome.UPDATED
        assert [c["name"] for c in intercom.companies.values()] == ["B"]

    @pytest.mark.parametrize("as_list", [False, True])
    def test_delete_archives_a_match_and_skips_the_rest(self, client, intercom, as_list):
        intercom.companies_as_list = as_list
        one(client, "company", UPSERT, None, "c1", name="A")
        assert one(client, "company", DELETE, None, "c1").outcome is Outcome.DELETED
        assert one(client, "company", DELETE, None, "c1").outcome is Outcome.SKIPPED
        assert not intercom.companies

    def test_a_lost_deletion_counts_as_deleted(self, client, sandbox):
        one(client, "company", UPSERT, None, "c1", name="A")
        sandbox.inject(Fault(api="intercom", method="DELETE", reset="after"))
        assert one(client, "company", DELETE, None, "c1").outcome is Outcome.DELETED

    def test_a_hostile_company_id_stays_one_value(self, client):
        one(client, "company", UPSERT, None, "a&b=/?c d", name="A")
        assert one(client, "company", UPDATE, None, "a&b=/?c d", name="B").outcome is Outcome.UPDATED

    def test_a_refusal_carries_intercoms_words(self, client):
        result = one(client, "company", UPSERT, None, "c1", size="many")
        assert (result.outcome, result.status, result.reason) == (
            Outcome.REJECTED,
            400,
            "size is not of the right type",
        )

    def test_remote_created_at_is_refused_where_put_would_refuse_it(self):
        Intercom("company", UPSERT).check_field("remote_created_at")
        with pytest.raises(ConfigError, match="remote_created_at"):
            Intercom("company", UPDATE).check_field("remote_created_at")


class TestEvent:
    EVENT: ClassVar = {"event_name": "ordered", "created_at": 1_700_000_000, "user_id": "x1"}

    def send(self, client, **fields):
        return one(client, "event", SEND, None, "row-1", **{**self.EVENT, **fields})

    @pytest.mark.parametrize("by", ["external_id", "email", "id"])
    def test_it_is_sent_to_its_contact(self, client, sandbox, intercom, by):
        _, value = put_there(intercom, by)
        who = {"user_id" if by == "external_id" else by: value}
        event = {"event_name": "ordered", "created_at": 1_700_000_000, **who, "metadata": {"total": 3}}
        (result,) = send(client, Intercom("event", SEND), Operation(SEND, Record("row-1", "row-1", event)))
        assert result.outcome is Outcome.SENT
        assert intercom.events == [event]

    def test_the_row_id_is_not_sent(self, client, sandbox, intercom):
        put_there(intercom, "external_id")
        self.send(client)
        assert sandbox.ledger[-1].json == self.EVENT

    def test_null_metadata_is_left_out(self, client, sandbox, intercom):
        put_there(intercom, "external_id")
        self.send(client, metadata={"a": None})
        assert sandbox.ledger[-1].json == self.EVENT

    @pytest.mark.parametrize("fault", [{"reset": "before"}, {"reset": "after"}, {"status": 500}, {"html": True}])
    def test_it_is_sent_again_because_intercom_drops_duplicates(self, client, sandbox, intercom, fault):
        put_there(intercom, "external_id")
        sandbox.inject(Fault(api="intercom", path="/events", **fault))
        assert self.send(client).outcome is Outcome.SENT
        assert len(intercom.events) == 1
        assert Intercom("event", SEND).repeatable(operation(SEND, "row-1", **self.EVENT))

    def test_an_unknown_user_is_rejected(self, client):
        result = self.send(client)
        assert (result.outcome, result.status, result.reason) == (Outcome.REJECTED, 404, "User Not Found")

    def test_an_ambiguous_email_is_rejected(self, client, intercom):
        for external_id in ("1", "2"):
            intercom.add_contact(external_id=external_id, email="ada@example.com")
        fields = {"event_name": "ordered", "created_at": 1, "email": "ada@example.com"}
        result = one(client, "event", SEND, None, "row-1", **fields)
        assert (result.outcome, result.status) == (Outcome.REJECTED, 409)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"created_at": "2026-01-01"}, "created_at"),
            ({"created_at": True}, "created_at"),
            ({"created_at": 1_700_000_000_000}, "milliseconds"),
            ({"metadata": {f"k{n}": n for n in range(11)}}, "first 10"),
            ({"metadata": {"a": "x" * 256}}, "255"),
            ({"metadata": {"a": [1]}}, "nested"),
            ({"metadata": {"a": {"b": 1}}}, "nested"),
            ({"metadata": {"a": {"amount": 9.99, "currency": "eur"}}}, "nested"),
        ],
    )
    def test_what_intercom_would_drop_or_refuse_is_invalid(self, fields, reason):
        assert reason in Intercom("event", SEND).check(operation(SEND, "row-1", **{**self.EVENT, **fields}))

    @pytest.mark.parametrize(
        "metadata",
        [
            {"a": {"url": "https://example.com", "value": "x"}, "b": {"amount": 999, "currency": "eur"}},
            {f"k{n}": "x" * 255 for n in range(10)},
            {f"k{n}": None for n in range(11)},
        ],
    )
    def test_what_intercom_takes_is_valid(self, metadata):
        assert Intercom("event", SEND).check(operation(SEND, "row-1", **self.EVENT, metadata=metadata)) is None


class TestPrepare:
    def prepare(self, client, *fields, object="user"):
        return client.run(Intercom(object, UPSERT).prepare(fields))

    def test_known_attributes_pass(self, client, sandbox):
        self.prepare(client, "name", "custom_attributes.plan", "custom_attributes.seats")
        assert sandbox.ledger[0].query == {"model": "contact"}

    def test_without_custom_attributes_nothing_is_asked(self, client, sandbox):
        self.prepare(client, "name")
        assert sandbox.ledger == []

    def test_an_unknown_one_is_named_with_similar_ones(self, client):
        with pytest.raises(ConfigError, match=r"'custom_attributes\.plann'.*similar:.*'custom_attributes\.plan'"):
            self.prepare(client, "custom_attributes.plann")

    def test_one_that_cannot_be_written_is_refused(self, client):
        with pytest.raises(ConfigError, match="cannot be written"):
            self.prepare(client, "custom_attributes.computed")

    def test_an_attribute_of_contacts_is_none_of_companies(self, client, intercom):
        intercom.add_attribute("only_people")
        self.prepare(client, "custom_attributes.only_people")
        with pytest.raises(ConfigError, match="company data attribute"):
            self.prepare(client, "custom_attributes.only_people", object="company")

    def test_an_archived_one_is_unknown(self, client, intercom):
        intercom.add_attribute("old")
        intercom.attributes[-1]["archived"] = True
        with pytest.raises(ConfigError, match=r"custom_attributes\.old"):
            self.prepare(client, "custom_attributes.old")


class TestWrongUse:
    @pytest.mark.parametrize(
        ("object", "behavior", "identifier", "message"),
        [
            ("lead", UPSERT, "external_id", "chooses that of a new lead"),
            ("lead", CREATE, None, "chooses that of a new lead"),
            ("user", CREATE, "id", "chooses the ids"),
            ("company", CREATE, None, "update_or_create"),
            ("event", UPSERT, None, "send"),
            ("user", UPSERT, "phone", "external_id"),
            ("ticket", UPSERT, None, "contact"),
        ],
    )
    def test_what_cannot_work_is_one_clear_error(self, object, behavior, identifier, message):
        with pytest.raises(ConfigError, match=message):
            Intercom(object, behavior, identifier)

    @pytest.mark.parametrize(
        ("object", "behavior", "field"),
        [
            ("lead", UPDATE, "external_id"),
            ("user", UPSERT, "role"),
            ("user", UPSERT, "plan"),
            ("user", UPSERT, "custom_attributes"),
            ("company", UPSERT, "email"),
            ("event", SEND, "metadata.a$b"),
        ],
    )
    def test_a_field_the_object_has_not_is_refused(self, object, behavior, field):
        with pytest.raises(ConfigError, match=field.replace("$", r"\$")):
            Intercom(object, behavior).check_field(field)

    def test_permanent_is_true_or_false(self):
        with pytest.raises(ConfigError, match="permanent"):
            Intercom("user", DELETE, options={"permanent": "yes"})

    @pytest.mark.parametrize(
        ("object", "column", "field"),
        [
            ("user", "name", "name"),
            ("user", "plan", "custom_attributes.plan"),
            ("company", "industry", "industry"),
            ("event", "user_id", "user_id"),
            ("event", "total", "metadata.total"),
        ],
    )
    def test_sync_all_puts_unknown_columns_among_the_custom_ones(self, object, column, field):
        behavior = SEND if object == "event" else UPSERT
        assert Intercom(object, behavior).home(column) == field


class TestValues:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 1767225600),
            (dt.datetime(2026, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), 1767225600),
            (dt.datetime(2026, 1, 1), 1767225600),
            (dt.date(2026, 1, 1), 1767225600),
        ],
    )
    @pytest.mark.parametrize("path", ["signed_up_at", "custom_attributes.renewal"])
    def test_dates_are_unix_seconds(self, value, seconds, path):
        assert Intercom("user", UPSERT).scalar(value, path) == seconds

    def test_a_date_in_metadata_is_a_number_only_where_intercom_reads_it_as_a_date(self):
        event = Intercom("event", SEND)
        assert event.scalar(dt.date(2026, 1, 1), "metadata.renewal_date") == 1767225600
        assert event.scalar(dt.date(2026, 1, 1), "metadata.renewal") == "2026-01-01"
        assert event.scalar(dt.date(2026, 1, 1), "created_at") == 1767225600

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"custom_attributes": {"plan": "x" * 256}}, "256 characters"),
            ({"custom_attributes": {"plan": ["a"]}}, "list or an object"),
            ({"custom_attributes": {"plan": {"a": 1}}}, "list or an object"),
            ({"external_id": None}, "cannot unset"),
        ],
    )
    def test_what_intercom_cannot_take_is_invalid(self, fields, reason):
        assert reason in Intercom("user", UPSERT, "email").check(operation(UPSERT, "a@example.com", **fields))

    def test_a_company_spending_more_than_intercom_counts_is_invalid(self):
        company = Intercom("company", UPSERT)
        assert "monthly_spend" in company.check(operation(UPSERT, "c1", monthly_spend=2**31))
        assert company.check(operation(UPSERT, "c1", monthly_spend=2**31 - 1)) is None

    @pytest.mark.parametrize("spend", ["", "about 300", True, [300], {"amount": 300}])
    def test_a_spend_that_is_no_number_makes_the_row_invalid_and_ends_no_run(self, spend):
        reason = Intercom("company", UPSERT).check(operation(UPSERT, "c1", monthly_spend=spend))
        assert reason == "monthly_spend is no number; cast it in the model"

    @pytest.mark.parametrize("id", [".", ".."])
    def test_an_id_that_would_climb_the_path_is_invalid(self, id):
        assert "URL" in Intercom("user", UPSERT).check(operation(UPSERT, id))

    def test_ordinary_values_are_valid(self):
        fields = {"name": None, "custom_attributes": {"plan": "x" * 255, "seats": 3, "active": True, "score": None}}
        assert Intercom("user", UPSERT).check(operation(UPSERT, "x1", **fields)) is None

    def test_the_estimate_counts_look_ups(self):
        batch = [operation(UPSERT, f"u{n}@example.com") for n in range(15)]
        assert Intercom("user", UPSERT, "email").requests_for(batch) == {"": 16}
        assert Intercom("user", UPSERT).requests_for(batch[:1]) == {"": 2}
        assert Intercom("contact", UPSERT, "id").requests_for(batch[:1]) == {"": 1}
        assert Intercom("company", UPSERT).requests_for(batch[:1]) == {"": 1}


class TestConnection:
    @pytest.mark.parametrize(
        ("extra", "url"),
        [
            ({}, "https://api.intercom.io"),
            ({"region": "eu"}, "https://api.eu.intercom.io"),
            ({"region": "AU"}, "https://api.au.intercom.io"),
        ],
    )
    def test_the_region_decides_the_host(self, extra, url):
        assert Intercom.endpoint(Credentials(password="t", extra=extra)).base_url == url

    def test_an_unknown_region_is_named_with_the_valid_ones(self):
        with pytest.raises(ConfigError, match="'us', 'eu', 'au'"):
            Intercom.endpoint(Credentials(password="t", extra={"region": "mars"}))

    def test_the_test_names_workspace_and_region(self, client):
        assert client.run(Intercom.test()) == "workspace 'Sandbox', region US"

    def test_the_test_tells_a_region_that_does_not_match(self, client, intercom):
        intercom.region = "EU"
        expected = "workspace 'Sandbox', region EU; the connection says US: set its extra 'region' to 'eu'"
        assert client.run(Intercom.behind(Credentials(password="t")).test()) == expected
        behind_eu = Intercom.behind(Credentials(password="t", host="http://localhost", extra={"region": "eu"}))
        assert client.run(behind_eu.test()) == "workspace 'Sandbox', region EU"

    def test_a_wrong_token_stops_the_run_and_is_not_repeated(self, connect, sandbox):
        with pytest.raises(AuthError, match="Access Token Invalid") as caught:
            one(connect(password="wrong-token"), "user", UPSERT, "external_id", "x1")
        assert "wrong-token" not in str(caught.value)
        assert len(sandbox.ledger) == 1

    def test_429_waits_for_the_next_window_and_loses_nothing(self, client, sandbox, intercom):
        reset = {"X-RateLimit-Reset": str(int(time.time()) + 2)}
        sandbox.inject(Fault(api="intercom", status=429, headers=reset, body={"type": "error.list", "errors": []}))
        before = time.monotonic()
        assert one(client, "user", UPSERT, "external_id", "x1").outcome is Outcome.CREATED
        assert time.monotonic() - before > 0.9
        assert [call.status for call in sandbox.ledger] == [429, 404, 200]

    def test_a_429_is_answered_by_waiting_until_the_reset(self):
        headers = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "x-ratelimit-reset": "1767225607"}
        verdict = Intercom.judge(Response(429, headers))
        assert isinstance(verdict, Retry)
        assert verdict.after_s == 7

    def test_the_reset_is_counted_to_the_fraction_while_the_clocks_agree(self):
        now = time.time()
        headers = {"date": email.utils.formatdate(now, usegmt=True), "x-ratelimit-reset": str(int(now) + 5)}
        reset_s = Intercom.throttle(Response(200, headers)).reset_s
        assert reset_s == pytest.approx(int(now) + 5 - now, abs=0.2)

    def test_the_headers_correct_the_rate(self):
        headers = {
            "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            "x-ratelimit-limit": "167",
            "x-ratelimit-remaining": "3",
            "x-ratelimit-reset": "1767225610",
        }
        throttle = Intercom.throttle(Response(200, headers))
        assert (throttle.count, throttle.remaining, throttle.reset_s) == (167, 3, 10)
