from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.segment import Segment

LOGIN = {"type": "track", "event": "Login", "userId": "u1"}


@pytest.fixture
def api(sandbox: Sandbox) -> Segment:
    segment: Segment = sandbox["segment"]
    return segment


def post(sandbox: Sandbox, *calls: Any, key: str | None = Segment.write_key, **body: Any) -> requests.Response:
    auth = (key, "") if key is not None else None
    return requests.post(f"{sandbox.url('segment')}/v1/batch", json={"batch": calls, **body}, auth=auth, timeout=10)


def taken(response: requests.Response) -> bool:
    return response.status_code == 200 and response.json() == {"success": True}


def get(sandbox: Sandbox, path: str, token: str = Segment.workspace_token, **query: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(sandbox.url("segment") + path, params=query, headers=headers, timeout=5)


class TestTracking:
    def test_calls_arrive_with_their_fields(self, sandbox: Sandbox, api: Segment) -> None:
        identify = {"type": "identify", "userId": "u1", "traits": {"plan": "free"}}
        group = {"type": "group", "groupId": "g1", "userId": "u1", "traits": {"name": "Acme"}}
        assert taken(post(sandbox, identify, group, {**LOGIN, "properties": {"n": 1}}, context={"ip": "0"}))
        assert api.users == [{"user_id": "u1", "anonymous_id": None, "traits": {"plan": "free"}}]
        assert api.groups == [
            {"group_id": "g1", "user_id": "u1", "anonymous_id": None, "traits": {"name": "Acme"}},
        ]
        (event,) = api.events
        assert (event["event"], event["properties"], event["context"]) == ("Login", {"n": 1}, {"ip": "0"})

    def test_traits_are_merged_and_null_removes_one(self, sandbox: Sandbox, api: Segment) -> None:
        for traits in ({"plan": "free", "seats": 1}, {"plan": None, "name": "Ann"}):
            post(sandbox, {"type": "identify", "userId": "u1", "traits": traits})
        assert api.users[0]["traits"] == {"seats": 1, "name": "Ann"}

    def test_the_key_may_stand_in_the_body(self, sandbox: Sandbox, api: Segment) -> None:
        assert taken(post(sandbox, LOGIN, key=None, writeKey=Segment.write_key))
        assert len(api.events) == 1

    def test_a_single_call_has_its_type_from_the_path(self, sandbox: Sandbox, api: Segment) -> None:
        body = {"event": "Login", "userId": "u1", "writeKey": Segment.write_key}
        assert taken(requests.post(f"{sandbox.url('segment')}/v1/track", json=body, timeout=5))
        assert api.events[0]["event"] == "Login"

    def test_a_wrong_key_is_answered_200_and_everything_dropped(self, sandbox: Sandbox, api: Segment) -> None:
        assert taken(post(sandbox, LOGIN, {**LOGIN, "messageId": "m1"}, key="another-key"))
        assert api.events == []
        assert api.discarded == [
            {"reason": "project_not_found", "message_id": None},
            {"reason": "project_not_found", "message_id": "m1"},
        ]

    def test_a_disabled_source_is_answered_200_too(self, sandbox: Sandbox, api: Segment) -> None:
        api.add_source("old", "old-key", enabled=False)
        assert taken(post(sandbox, LOGIN, key="old-key"))
        assert [d["reason"] for d in api.discarded] == ["source_disabled"]

    @pytest.mark.parametrize(
        ("call", "reason"),
        [
            ("Login", "bad_request"),
            ({"event": "Login", "userId": "u1"}, "missing_type"),
            ({**LOGIN, "type": "purchase"}, "invalid_type"),
            ({"type": "track", "event": "Login"}, "no_user_anon_id"),
            ({**LOGIN, "userId": 7}, "id_not_string"),
            ({**LOGIN, "anonymousId": ""}, "id_not_string"),
            ({"type": "group", "userId": "u1"}, "id_not_string"),
            ({**LOGIN, "event": ""}, "event_not_defined"),
            ({**LOGIN, "event": 7}, "event_not_string"),
            ({**LOGIN, "properties": []}, "properties_not_object"),
            ({"type": "identify", "userId": "u1", "traits": None}, "traits_not_object"),
            ({**LOGIN, "messageId": "m" * 101}, "bad_request"),
        ],
    )
    def test_what_is_wrong_is_dropped_alone_and_answered_200(
        self, sandbox: Sandbox, api: Segment, call: Any, reason: str
    ) -> None:
        assert taken(post(sandbox, call, LOGIN))
        assert [d["reason"] for d in api.discarded] == [reason]
        assert len(api.events) == 1

    def test_more_than_2_500_calls_are_answered_200_and_dropped(self, sandbox: Sandbox, api: Segment) -> None:
        api.event_window.limit = 10_000
        assert taken(post(sandbox, *[LOGIN] * 2_501))
        assert api.events == []
        assert taken(post(sandbox, *[LOGIN] * 2_500))
        assert len(api.events) == 2_500

    @pytest.mark.parametrize("calls", [[{**LOGIN, "x": "ž" * 16_000}], [{**LOGIN, "x": "x" * 25_000}] * 20])
    def test_what_is_too_large_is_refused_as_a_whole(self, sandbox: Sandbox, api: Segment, calls: list[Any]) -> None:
        response = post(sandbox, LOGIN, *calls)
        assert (response.status_code, response.text) == (400, "Exceed payload limit")
        assert api.events == []

    def test_what_is_no_json_or_has_no_key_is_refused(self, sandbox: Sandbox) -> None:
        answer = requests.post(f"{sandbox.url('segment')}/v1/batch", data="{", auth=(Segment.write_key, ""), timeout=5)
        assert (answer.status_code, answer.json()["message"]) == (400, "malformed JSON")
        assert post(sandbox, LOGIN, key="").status_code == 400

    def test_an_id_seen_within_a_day_is_dropped_whatever_the_source_and_content(
        self, sandbox: Sandbox, api: Segment
    ) -> None:
        api.add_source("other", "other-key")
        api.now = 0.0
        post(sandbox, {**LOGIN, "messageId": "m1"})
        api.now = 24 * 3600 - 1.0
        assert taken(post(sandbox, {**LOGIN, "messageId": "m1", "event": "Logout"}, key="other-key"))
        assert (len(api.events), api.duplicates) == (1, 1)
        api.now = 24 * 3600 + 1.0
        post(sandbox, {**LOGIN, "messageId": "m1"})
        assert len(api.events) == 2

    def test_calls_without_ids_are_never_duplicates(self, sandbox: Sandbox, api: Segment) -> None:
        post(sandbox, LOGIN, LOGIN)
        assert len(api.events) == 2

    def test_the_1_001st_call_of_a_second_is_refused_with_the_time_to_wait(self, sandbox: Sandbox) -> None:
        assert taken(post(sandbox, *[LOGIN] * 1_000))
        response = post(sandbox, LOGIN)
        assert response.status_code == 429
        assert response.headers["retry-after"] == response.headers["x-ratelimit-reset"] == "1"


class TestPublicApi:
    def test_the_workspace_and_its_sources_are_told(self, sandbox: Sandbox) -> None:
        assert get(sandbox, "/").json()["data"]["workspace"]["name"] == "Acme"
        (source,) = get(sandbox, "/sources").json()["data"]["sources"]
        assert (source["writeKeys"], source["enabled"]) == ([Segment.write_key], True)

    def test_pages_lead_to_the_next(self, sandbox: Sandbox, api: Segment) -> None:
        api.add_source("b", "key-b")
        api.add_source("c", "key-c")
        first = get(sandbox, "/sources", **{"pagination[count]": "2"}).json()["data"]
        assert [s["name"] for s in first["sources"]] == ["warehouse", "b"]
        cursor = first["pagination"]["next"]
        last = get(sandbox, "/sources", **{"pagination[count]": "2", "pagination[cursor]": cursor}).json()["data"]
        assert [s["name"] for s in last["sources"]] == ["c"]
        assert "next" not in last["pagination"]

    def test_keys_are_left_out_for_a_token_that_may_not_see_them(self, sandbox: Sandbox, api: Segment) -> None:
        api.shows_keys = False
        assert get(sandbox, "/sources").json()["data"]["sources"][0]["writeKeys"] == []

    @pytest.mark.parametrize("path", ["/", "/sources"])
    def test_a_wrong_token_is_refused(self, sandbox: Sandbox, path: str) -> None:
        response = get(sandbox, path, token="other")
        assert response.status_code == 401
        assert response.json()["errors"][0]["type"] == "unauthorized"
