from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox._mailchimp_audience import Audience
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.mailchimp import MailchimpSandbox

ANN = "ann@example.com"
LIST = f"/lists/{MailchimpSandbox.audience_id}"


@pytest.fixture
def api(sandbox) -> MailchimpSandbox:
    return sandbox["mailchimp"]


@pytest.fixture
def audience(api) -> Audience:
    return api.audience


@pytest.fixture
def call(sandbox: Sandbox, api):
    def call(method: str, path: str, json: Any = None, key: str = api.api_key, **query: str) -> requests.Response:
        url = f"{sandbox.url('mailchimp')}/3.0{path}"
        return requests.request(method, url, json=json, params=query, auth=("anyone", key), timeout=5)

    return call


def member(email: str = ANN) -> str:
    return f"{LIST}/members/{hashlib.md5(email.lower().encode()).hexdigest()}"


def error(response: requests.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"].startswith("application/problem+json")
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["title"], " ".join([body["detail"], *map(str, body.get("errors", ()))])


def put(call, email: str = ANN, **fields: Any) -> requests.Response:
    return call("PUT", member(email), {"email_address": email, **fields})


def batch(call, *members: Any, **fields: Any) -> requests.Response:
    return call("POST", LIST, {"members": list(members), **fields})


class TestAccount:
    def test_a_wrong_key_is_refused(self, call):
        assert error(call("GET", "/ping", key="0123-us21"))[:2] == (401, "API Key Invalid")

    @pytest.mark.parametrize("authorization", ["Basic ???", "Basic /w==", "nothing", ""])
    def test_a_broken_authorization_is_refused(self, sandbox, api, authorization):
        url = f"{sandbox.url('mailchimp')}/3.0/ping"
        answer = requests.get(url, headers={"Authorization": authorization}, timeout=5)
        assert error(answer)[:2] == (401, "API Key Invalid")

    def test_a_bearer_token_is_taken_too(self, sandbox, api):
        url = f"{sandbox.url('mailchimp')}/3.0/ping"
        answer = requests.get(url, headers={"Authorization": f"Bearer {api.api_key}"}, timeout=5)
        assert answer.json() == {"health_status": "Everything's Chimpy!"}

    def test_the_account_names_itself(self, call):
        assert call("GET", "/").json()["account_name"] == "Sandbox"

    def test_an_unknown_path_is_not_found(self, call):
        assert error(call("GET", "/nothing"))[:2] == (404, "Resource Not Found")

    def test_lists_are_paged_by_ten(self, call, api):
        for n in range(12):
            api.add_audience(f"list{n}", f"List {n}")
        answer = call("GET", "/lists").json()
        assert (len(answer["lists"]), answer["total_items"]) == (10, 13)
        assert len(call("GET", "/lists", count="1000").json()["lists"]) == 13
        assert call("GET", "/lists", count="1001").status_code == 400

    def test_fields_reduce_an_answer(self, call):
        answer = call("GET", f"{LIST}/merge-fields", fields="merge_fields.tag,total_items", count="1")
        assert answer.json() == {"merge_fields": [{"tag": "FNAME"}], "total_items": 9}

    def test_the_eleventh_connection_is_refused_without_a_hint_when_to_come_back(self, call, api):
        api.latency_s = 0.3
        with ThreadPoolExecutor(14) as pool:
            answers = list(pool.map(lambda _: call("GET", "/ping"), range(14)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 0 < len(refused) <= 4
        assert error(refused[0])[:2] == (429, "Too Many Requests")
        assert "retry-after" not in refused[0].headers
        assert call("GET", "/ping").status_code == 200


class TestPut:
    def test_a_new_member_takes_the_status_for_new_ones_and_ignores_tags(self, call):
        answer = put(call, status="unsubscribed", status_if_new="subscribed", tags=["a"])
        assert (answer.status_code, answer.json()["status"], answer.json()["tags"]) == (200, "subscribed", [])

    def test_it_requires_the_status_for_new_ones(self, call, audience):
        assert error(put(call, status="subscribed"))[:2] == (400, "Invalid Resource")
        assert not audience.members

    def test_a_status_is_for_known_members_too(self, call, audience):
        audience.add_member(ANN, "archived")
        assert put(call, status_if_new="subscribed").json()["status"] == "archived"
        assert put(call, status_if_new="subscribed", status="pending").json()["status"] == "pending"

    def test_a_hash_of_another_address_meets_a_member_that_exists(self, call):
        answer = call("PUT", member("Bo@x.io"), {"email_address": ANN, "status_if_new": "subscribed"})
        assert error(answer)[:2] == (400, "Member Exists")

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"status": "archived"}, "Value must be one of"),
            ({"status": "Subscribed"}, "Value must be one of"),
            ({"language": None}, "NULL found"),
            ({"vip": "yes"}, "describes boolean"),
            ({"interests": {"a": 1}}, "interests.a"),
            ({"location": {"latitude": True}}, "location.latitude"),
            ({"merge_fields": {"FNAME": None}}, "anyOf"),
            ({"merge_fields": {"FNAME": True}}, "anyOf"),
            ({"merge_fields": {"FNAME": {"a": 1}}}, "anyOf"),
            ({"merge_fields": {"SEATS": "many"}}, "enter a number"),
            ({"merge_fields": {"SINCE": "01.02.2026"}}, "enter the date"),
            ({"merge_fields": {"BIRTHDAY": "1960-02-29"}}, "month (01-12)"),
            ({"merge_fields": {"ADDRESS": {"addr1": "x"}}}, "complete address"),
            ({"merge_fields": {"ADDRESS": "x"}}, "complete address"),
            ({"merge_fields": {"PLAN": "gold"}}, "choices"),
            ({"shoe": 1}, "not in the schema"),
        ],
    )
    def test_what_mailchimp_would_not_take_is_refused_whole(self, call, audience, fields, words):
        status, title, found = error(put(call, **{"status_if_new": "subscribed", **fields}))
        assert (status, title) == (400, "Invalid Resource")
        assert words in found
        assert not audience.members

    @pytest.mark.parametrize("body", [[], "x", None])
    def test_a_body_that_is_no_object_is_refused(self, call, body):
        assert call("PUT", member(), body).status_code == 400

    def test_values_of_unknown_tags_are_dropped_without_a_word(self, call, audience):
        assert put(call, status_if_new="subscribed", merge_fields={"NOPE": "x", "FNAME": ""}).status_code == 200
        assert audience.member(ANN)["merge_fields"] == {"FNAME": ""}

    def test_a_required_merge_field_is_asked_for_unless_skipped(self, call, audience):
        audience.add_merge_field("COMPANY", "text", required=True)
        assert "Please enter a value" in error(put(call, status_if_new="subscribed"))[2]
        body = {"email_address": ANN, "status_if_new": "subscribed"}
        assert call("PUT", member(), body, skip_merge_validation="true").status_code == 200

    @pytest.mark.parametrize(
        ("email", "title", "words"),
        [
            ("nonsense", "Invalid Resource", "valid email"),
            ("test@test.com", "Invalid Resource", "fake"),
            ("gone@example.com", "Forgotten Email Not Subscribed", "permanently deleted"),
        ],
    )
    def test_addresses_it_does_not_want_are_refused(self, call, audience, email, title, words):
        audience.forgotten.add(hashlib.md5(b"gone@example.com").hexdigest())
        _, found, detail = error(put(call, email, status_if_new="subscribed"))
        assert found == title
        assert words in detail

    @pytest.mark.parametrize("leave", ["opt_out", "clean"])
    def test_who_is_in_compliance_state_may_only_be_asked(self, call, audience, leave):
        audience.add_member(ANN)
        getattr(audience, leave)(ANN)
        answer = put(call, status_if_new="subscribed", status="subscribed")
        assert error(answer)[:2] == (400, "Member In Compliance State")
        assert put(call, status_if_new="subscribed", status="pending").json()["status"] == "pending"

    def test_double_opt_in_makes_new_members_pending(self, call, audience):
        audience.double_optin = True
        assert put(call, status_if_new="subscribed").json()["status"] == "pending"


class TestOtherWrites:
    def test_post_creates_with_tags_and_refuses_a_known_address(self, call):
        body = {"email_address": ANN, "status": "subscribed", "tags": ["a"]}
        assert [tag["name"] for tag in call("POST", f"{LIST}/members", body).json()["tags"]] == ["a"]
        assert error(call("POST", f"{LIST}/members", body))[:2] == (400, "Member Exists")
        assert call("POST", f"{LIST}/members", {**body, "tags": [{"name": "a"}]}).status_code == 400

    def test_patch_changes_members_only(self, call, audience):
        assert error(call("PATCH", member(), {"language": "cs"}))[:2] == (404, "Resource Not Found")
        audience.add_member(ANN)
        assert call("PATCH", member(), {"language": "cs"}).json()["language"] == "cs"
        assert call("PATCH", member(), {"status": "transactional"}).status_code == 400

    def test_delete_archives_once(self, call, audience):
        audience.add_member(ANN)
        assert call("DELETE", member()).status_code == 204
        assert call("GET", member(), fields="status").json() == {"status": "archived"}
        assert call("DELETE", member()).status_code == 405
        assert call("DELETE", member("bo@example.com")).status_code == 404

    def test_delete_permanent_forgets(self, call, audience):
        audience.add_member(ANN)
        assert call("POST", f"{member()}/actions/delete-permanent").status_code == 204
        assert call("GET", member()).status_code == 404
        assert call("POST", f"{member()}/actions/delete-permanent").status_code == 404

    def test_tags_are_set_and_removed_and_start_automations(self, call, audience):
        audience.add_member(ANN, tags=["Old"])
        tags = [{"name": "new", "status": "active"}, {"name": "old", "status": "inactive"}]
        assert call("POST", f"{member()}/tags", {"tags": tags, "is_syncing": True}).status_code == 204
        assert [tag["name"] for tag in audience.member(ANN)["tags"]] == ["new"]
        assert audience.automations == []
        call("POST", f"{member()}/tags", {"tags": tags[:1]})
        assert audience.automations == [(ANN, "new")]

    def test_what_is_no_list_of_tags_changes_nothing_and_says_nothing(self, call, audience):
        audience.add_member(ANN)
        assert call("POST", f"{member()}/tags", {"tags": {"name": "a", "status": "active"}}).status_code == 204
        assert audience.member(ANN)["tags"] == []
        assert call("POST", f"{member()}/tags", {"tags": ["a"]}).status_code == 400
        assert call("POST", f"{member()}/tags", {}).status_code == 400


class TestBatch:
    def test_each_member_is_accounted_for(self, call, audience):
        audience.add_member("bo@example.com")
        audience.forgotten.add(hashlib.md5(b"cy@example.com").hexdigest())
        emails = (ANN, "Bo@example.com", "cy@example.com", "ANN@example.com")
        members = [{"email_address": email, "status": "subscribed"} for email in emails]
        answer = batch(call, *members).json()
        assert [m["email_address"] for m in answer["new_members"]] == [ANN]
        assert [e["error_code"] for e in answer["errors"]] == ["ERROR_CONTACT_EXISTS", "ERROR_GENERIC", "ERROR_GENERIC"]
        assert "twice" in answer["errors"][2]["error"]
        counts = (answer["total_created"], answer["total_updated"], answer["error_count"])
        assert counts == (1, 0, 3)

    def test_known_members_are_updated_on_request_status_included(self, call, audience):
        audience.add_member(ANN, "archived")
        answer = batch(call, {"email_address": ANN, "status": "subscribed"}, update_existing=True).json()
        assert [m["status"] for m in answer["updated_members"]] == ["subscribed"]

    def test_an_error_names_the_field(self, call):
        fields = {"merge_fields": {"SEATS": "many"}}
        (found,) = batch(call, {"email_address": ANN, "status": "subscribed", **fields}).json()["errors"]
        assert (found["field"], found["field_message"]) == ("SEATS", "Please enter a number")

    @pytest.mark.parametrize(
        "wrong",
        [
            None,
            {"email_address": "bo@example.com"},
            {"email_address": "bo@example.com", "status": "archived"},
            {"email_address": "bo@example.com", "status": "subscribed", "marketing_permissions": []},
            {"email_address": "bo@example.com", "status": "subscribed", "tags": ["a"]},
            {"email_address": "bo@example.com", "status": "subscribed", "status_if_new": "pending"},
        ],
    )
    def test_one_member_that_does_not_fit_the_schema_ruins_all(self, call, audience, wrong):
        assert batch(call, {"email_address": ANN, "status": "subscribed"}, wrong).status_code == 400
        assert not audience.members

    def test_more_than_five_hundred_are_refused(self, call):
        members = [{"email_address": f"user{n}@example.com", "status": "subscribed"} for n in range(501)]
        assert batch(call, *members).status_code == 400
        assert batch(call, *members[1:]).json()["total_created"] == 500

    def test_what_is_no_batch_is_refused(self, call):
        assert call("POST", LIST, {"members": {}}).status_code == 400
        assert call("POST", LIST, {"members": [], "nonsense": True}).status_code == 400
