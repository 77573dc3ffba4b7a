from __future__ import annotations

import time
from typing import ClassVar

import pytest
import requests

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.intercom import IntercomSandbox


@pytest.fixture
def intercom(sandbox) -> IntercomSandbox:
    return sandbox["intercom"]


@pytest.fixture
def call(sandbox: Sandbox, intercom):
    with requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {intercom.token}", "Accept": "application/json"})

        def call(method: str, path: str, json=None, **headers) -> requests.Response:
            return session.request(method, sandbox.url("intercom") + path, json=json, headers=headers, timeout=5)

        yield call


def error(response: requests.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body["type"] == "error.list"
    return response.status_code, body["errors"][0]["code"], body["errors"][0]["message"]


def create(call, **fields) -> str:
    response = call("POST", "/contacts", fields)
    assert response.status_code == 200, response.text
    return response.json()["id"]


def search(call, query, **pagination) -> requests.Response:
    return call("POST", "/contacts/search", {"query": query, "pagination": pagination})


def attributes(**custom) -> dict:
    return {"email": "a@example.com", "custom_attributes": custom}


def group(operator: str, *parts) -> dict:
    return {"operator": operator, "value": list(parts)}


def by(field: str, value, operator: str = "=") -> dict:
    return {"field": field, "operator": operator, "value": value}


def test_a_wrong_token_is_unauthorized(call):
    assert error(call("GET", "/me", Authorization="Bearer no")) == (401, "unauthorized", "Access Token Invalid")


def test_without_accept_json_it_is_not_acceptable(call):
    assert error(call("GET", "/me", Accept="*/*"))[:2] == (406, "media_type_not_acceptable")


def test_an_unknown_version_is_refused(call):
    assert call("GET", "/me", **{"Intercom-Version": "9.9"}).status_code == 400


def test_an_unknown_path_is_not_found(call):
    assert error(call("PATCH", "/nothing"))[:2] == (404, "not_found")


def test_me_names_the_app(call):
    assert call("GET", "/me").json()["app"]["region"] == "US"


def test_answers_carry_the_limit_and_a_full_window_is_429(call, intercom):
    intercom.window.limit = 2
    first, _, third = (call("GET", "/me") for _ in range(3))
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("2", "1")
    assert 0 < int(first.headers["X-RateLimit-Reset"]) - time.time() <= 11
    assert error(third)[:2] == (429, "rate_limit_exceeded")


def test_data_attributes_are_listed_by_model(call, intercom):
    intercom.add_attribute("shoe_size", data_type="integer")
    listed = call("GET", "/data_attributes?model=contact").json()["data"]
    assert {a["model"] for a in listed} == {"contact"}
    assert next(a for a in listed if a["name"] == "shoe_size")["full_name"] == "custom_attributes.shoe_size"


class TestWrites:
    def test_a_contact_is_a_user_unless_said_otherwise(self, call):
        contact = call("POST", "/contacts", {"email": "Ada@Example.com"}).json()
        assert (contact["type"], contact["role"], contact["email"]) == ("contact", "user", "ada@example.com")

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            (attributes(isOpenSource=True), 400, "does not exist"),
            (attributes(computed="x"), 400, "not writable"),
            (attributes(seats="three"), 400, "right type"),
            (attributes(seats=True), 400, "right type"),
            (attributes(plan=["a"]), 400, "right type"),
            (attributes(plan="x" * 256), 400, "255"),
            ({"email": "a@example.com", "shoe": 1}, 400, "bad 'shoe' parameter"),
            ({"email": "a@example.com", "owner_id": 9}, 400, "The owner specified is not a member of the workspace"),
            ({"email": "nonsense"}, 400, "email is invalid"),
            ({"name": "Ada"}, 400, "must be given"),
            ([], 400, "JSON object"),
        ],
    )
    def test_a_body_intercom_would_not_take_is_refused_whole(self, call, intercom, body, status, words):
        refusal = error(call("POST", "/contacts", body))
        assert refusal[0] == status
        assert words in refusal[2]
        assert not intercom.contacts

    def test_put_changes_what_is_given_only(self, call):
        contact = create(call, email="a@example.com", name="A", custom_attributes={"plan": "pro", "seats": 3})
        changed = call("PUT", f"/contacts/{contact}", {"custom_attributes": {"seats": None}, "phone": "+1"}).json()
        assert (changed["name"], changed["phone"]) == ("A", "+1")
        assert changed["custom_attributes"] == {"plan": "pro", "seats": None}

    def test_null_empties_email_and_leaves_external_id(self, call):
        contact = create(call, email="a@example.com", external_id="1")
        changed = call("PUT", f"/contacts/{contact}", {"email": None, "external_id": None}).json()
        assert (changed["email"], changed["external_id"]) == ("", "1")

    def test_a_user_cannot_become_a_lead_but_a_lead_a_user(self, call):
        user, lead = create(call, external_id="1"), create(call, role="lead")
        assert error(call("PUT", f"/contacts/{user}", {"role": "lead"}))[:2] == (400, "client_error")
        assert call("PUT", f"/contacts/{lead}", {"role": "user", "external_id": "2"}).json()["external_id"] == "2"

    def test_the_external_id_of_a_lead_is_intercoms_own(self, call):
        lead = create(call, role="lead", external_id="mine")
        assert call("GET", f"/contacts/{lead}").json()["external_id"] not in ("mine", None)

    def test_reset_while_running_forgets_everything(self, call, sandbox):
        create(call, external_id="1")
        sandbox.reset()
        assert call("GET", "/contacts/find_by_external_id/1").status_code == 404
        assert create(call, external_id="1")


class TestUniqueness:
    @pytest.mark.parametrize("fields", [{"external_id": "1"}, {"email": "a@example.com"}])
    def test_a_second_user_conflicts_and_the_message_names_the_first(self, call, fields):
        contact = create(call, **fields)
        message = f"A contact matching those details already exists with id={contact}"
        assert error(call("POST", "/contacts", fields)) == (409, "conflict", message)

    def test_leads_are_exempt(self, call, intercom):
        for _ in range(2):
            create(call, role="lead", email="a@example.com")
        assert len(intercom.contacts) == 2

    def test_users_with_different_external_ids_may_share_an_email(self, call):
        create(call, external_id="1", email="a@example.com")
        create(call, external_id="2", email="a@example.com")

    def test_an_update_may_not_take_an_external_id_that_is_taken(self, call):
        create(call, external_id="1")
        second = create(call, external_id="2")
        assert error(call("PUT", f"/contacts/{second}", {"external_id": "1"}))[0] == 409

    def test_a_user_does_not_conflict_with_itself(self, call):
        contact = create(call, external_id="1", email="a@example.com")
        assert call("PUT", f"/contacts/{contact}", {"external_id": "1", "email": "a@example.com"}).status_code == 200


class TestArchive:
    def test_an_archived_contact_is_invisible_and_in_the_way(self, call):
        contact = create(call, external_id="1", email="a@example.com")
        assert call("POST", f"/contacts/{contact}/archive").json() == {
            "type": "contact",
            "id": contact,
            "external_id": "1",
            "archived": True,
        }
        assert call("GET", f"/contacts/{contact}").status_code == 404
        assert call("GET", "/contacts/find_by_external_id/1").status_code == 404
        assert call("PUT", f"/contacts/{contact}", {}).status_code == 404
        assert search(call, by("email", "a@example.com")).json()["total_count"] == 0
        message = f"An archived contact matching those details already exists with id={contact}"
        assert error(call("POST", "/contacts", {"external_id": "1"})) == (409, "conflict", message)

    def test_it_comes_back_by_its_id(self, call):
        contact = create(call, external_id="1")
        call("POST", f"/contacts/{contact}/archive")
        assert call("POST", f"/contacts/{contact}/unarchive").json()["archived"] is False
        assert call("GET", "/contacts/find_by_external_id/1").json()["id"] == contact

    def test_deleted_for_good_it_does_not_come_back_and_is_in_the_way(self, call):
        contact = create(call, external_id="1")
        assert call("DELETE", f"/contacts/{contact}").json()["deleted"] is True
        assert error(call("POST", f"/contacts/{contact}/unarchive"))[:2] == (400, "bad_request")
        assert "An archived contact" in error(call("POST", "/contacts", {"external_id": "1"}))[2]

    def test_an_archived_one_can_be_deleted_for_good(self, call, intercom):
        contact = create(call, external_id="1")
        call("POST", f"/contacts/{contact}/archive")
        assert call("DELETE", f"/contacts/{contact}").status_code == 200
        assert contact in intercom.purged


class TestSearch:
    def found(self, call, query) -> list[str]:
        return [c["name"] for c in search(call, query).json()["data"]]

    @pytest.fixture(autouse=True)
    def people(self, intercom):
        intercom.add_contact(name="user", email="a@example.com", external_id="1")
        intercom.add_contact(name="lead", email="a@example.com", role="lead")
        intercom.add_contact(name="other", email="b@example.com", external_id="2")

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            (by("email", "a@example.com"), ["user", "lead"]),
            (by("email", "A@example.com"), []),
            (by("email", "a@example.com", "!="), ["other"]),
            (by("external_id", ["1", "2"], "IN"), ["user", "other"]),
            (group("AND", by("role", "lead"), by("email", "a@example.com")), ["lead"]),
            (group("OR", by("role", "lead"), by("email", "b@example.com")), ["lead", "other"]),
            (group("OR", by("external_id", "1"), by("email", "b@example.com")), ["user", "other"]),
        ],
    )
    def test_it_finds_what_matches(self, call, query, names):
        assert self.found(call, query) == names

    @pytest.mark.parametrize(
        "query",
        [
            group("OR", *(by("email", f"{n}@example.com") for n in range(16))),
            by("email", [f"{n}@example.com" for n in range(16)], "IN"),
            by("email", "a@example.com", "LIKE"),
            by("shoe", "a"),
            group("AND"),
            group("AND", group("OR", group("AND", by("id", "1")))),
            {},
            None,
        ],
    )
    def test_a_query_beyond_the_rules_is_refused(self, call, query):
        assert search(call, query).status_code == 400

    def test_pages_follow_each_other(self, call):
        everyone = by("email", ["a@example.com", "b@example.com"], "IN")
        first = search(call, everyone, per_page=2).json()
        assert (len(first["data"]), first["total_count"], first["pages"]["total_pages"]) == (2, 3, 2)
        second = search(call, everyone, per_page=2, starting_after=first["pages"]["next"]["starting_after"]).json()
        assert [c["name"] for c in second["data"]] == ["other"]
        assert "next" not in second["pages"]

    def test_pages_are_at_most_150_long(self, call):
        assert search(call, by("role", "user"), per_page=151).status_code == 400

    def test_new_contacts_lag_behind(self, call, intercom):
        intercom.lag_search(0.2)
        create(call, external_id="9", name="new")
        assert self.found(call, by("external_id", "9")) == []
        assert call("GET", "/contacts/find_by_external_id/9").status_code == 200
        time.sleep(0.25)
        assert self.found(call, by("external_id", "9")) == ["new"]

    def test_find_by_external_id_knows_users_only(self, call, intercom):
        lead = next(c for c in intercom.contacts.values() if c["role"] == "lead")
        assert call("GET", f"/contacts/find_by_external_id/{lead['external_id']}").status_code == 404
        assert call("GET", "/contacts/find_by_external_id/1").json()["name"] == "user"

    def test_a_changed_email_is_found_by_the_new_value_only(self, call, intercom):
        other = next(c["id"] for c in intercom.contacts.values() if c["name"] == "other")
        call("PUT", f"/contacts/{other}", {"email": "c@example.com"})
        assert self.found(call, by("email", "b@example.com")) == []
        assert self.found(call, by("email", "c@example.com")) == ["other"]


class TestCompanies:
    def test_post_creates_and_then_updates(self, call, intercom):
        first = call("POST", "/companies", {"company_id": "c1", "name": "A", "plan": "pro"}).json()
        second = call("POST", "/companies", {"company_id": "c1", "monthly_spend": 155.98}).json()
        assert first["plan"]["name"] == "pro"
        assert (second["id"], second["name"], second["monthly_spend"]) == (first["id"], "A", 155)
        assert len(intercom.companies) == 1

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"test": "invalid", "company_id": "c1"}, "bad 'test' parameter"),
            ({"name": "A"}, "company not specified"),
            ({"company_id": "c1", "custom_attributes": {"x": 1}}, "Custom attribute 'x' does not exist"),
            ({"company_id": "c1", "monthly_spend": 2**31}, "monthly_spend is too large"),
        ],
    )
    def test_a_wrong_body_is_refused_and_nothing_is_made(self, call, intercom, body, words):
        assert words in error(call("POST", "/companies", body))[2]
        assert not intercom.companies

    def test_it_is_found_changed_and_deleted(self, call):
        id = call("POST", "/companies", {"company_id": "c1", "name": "A"}).json()["id"]
        assert call("GET", "/companies?company_id=c1").json()["id"] == id
        assert call("PUT", f"/companies/{id}", {"name": "B"}).json()["name"] == "B"
        assert error(call("PUT", f"/companies/{id}", {"company_id": "c2"}))[0] == 400
        assert call("DELETE", f"/companies/{id}").json() == {"id": id, "object": "company", "deleted": True}
        assert error(call("GET", "/companies?company_id=c1"))[:2] == (404, "company_not_found")


class TestEvents:
    EVENT: ClassVar = {"event_name": "ordered", "created_at": 1_700_000_000, "user_id": "1"}

    def test_it_is_accepted_with_an_empty_body_and_kept_once(self, call, intercom):
        create(call, external_id="1")
        for _ in range(2):
            response = call("POST", "/events", self.EVENT)
            assert (response.status_code, response.content) == (202, b"")
        call("POST", "/events", self.EVENT | {"created_at": 1_700_000_001})
        assert len(intercom.events) == 2

    def test_metadata_beyond_ten_keys_is_ignored(self, call, intercom):
        create(call, external_id="1")
        call("POST", "/events", self.EVENT | {"metadata": {f"k{n}": n for n in range(12)}})
        assert list(intercom.events[0]["metadata"]) == [f"k{n}" for n in range(10)]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"user_id": "unknown"}, 404),
            ({"event_name": None}, 400),
            ({"created_at": None}, 400),
            ({"created_at": "now"}, 400),
            ({"user_id": None}, 400),
            ({"colour": "red"}, 400),
        ],
    )
    def test_a_wrong_event_is_refused(self, call, intercom, change, status):
        create(call, external_id="1")
        assert error(call("POST", "/events", self.EVENT | change))[0] == status
        assert not intercom.events

    def test_a_lead_needs_its_id(self, call):
        lead = create(call, role="lead", email="l@example.com")
        event = {"event_name": "ordered", "created_at": 1}
        assert call("POST", "/events", event | {"email": "l@example.com"}).status_code == 404
        assert call("POST", "/events", event | {"id": lead}).status_code == 202

    def test_an_email_of_two_users_conflicts(self, call):
        for external_id in ("1", "2"):
            create(call, external_id=external_id, email="a@example.com")
        event = {"event_name": "ordered", "created_at": 1, "email": "a@example.com"}
        assert error(call("POST", "/events", event))[:2] == (409, "conflict")
