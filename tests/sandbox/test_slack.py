from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sandbox.slack import Slack


@pytest.fixture
def sandbox(census_sandbox: Sandbox) -> Sandbox:
    census_sandbox["slack"].posts_per_s = None
    return census_sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> Slack:
    slack: Slack = sandbox["slack"]
    return slack


def read(sandbox: Sandbox, method: str, token: str = Slack.token, **arguments: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer: dict[str, Any] = requests.get(
        f"{sandbox.url('slack')}/api/{method}", params=arguments, headers=headers, timeout=5
    ).json()
    return answer


def post(sandbox: Sandbox, **message: Any) -> dict[str, Any]:
    response = requests.post(
        f"{sandbox.url('slack')}/api/chat.postMessage",
        json=message,
        headers={"Authorization": f"Bearer {Slack.token}"},
        timeout=5,
    )
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def hook(sandbox: Sandbox, data: str, path: str = Slack.webhook) -> tuple[int, str]:
    response = requests.post(sandbox.url("slack") + path, data=data.encode(), timeout=5)
    return response.status_code, response.text


class TestAccess:
    def test_a_missing_or_wrong_token_is_refused_with_200(self, sandbox: Sandbox) -> None:
        assert read(sandbox, "auth.test", token="") == {"ok": False, "error": "not_authed"}
        assert read(sandbox, "auth.test", token="xoxb-other") == {"ok": False, "error": "invalid_auth"}

    def test_an_unknown_method_is_refused(self, sandbox: Sandbox) -> None:
        assert read(sandbox, "chat.postMesage")["error"] == "unknown_method"

    def test_a_missing_scope_is_named(self, sandbox: Sandbox, api: Slack) -> None:
        api.scopes = {"channels:read"}
        assert post(sandbox, channel="#general", text="x") == {
            "ok": False,
            "error": "missing_scope",
            "needed": "chat:write",
            "provided": "channels:read",
        }

    def test_the_scopes_of_the_token_are_in_the_headers(self, sandbox: Sandbox, api: Slack) -> None:
        api.scopes = {"chat:write", "channels:read"}
        response = requests.post(
            sandbox.url("slack") + "/api/auth.test", headers={"Authorization": f"Bearer {Slack.token}"}, timeout=5
        )
        assert response.headers["X-OAuth-Scopes"] == "channels:read,chat:write"


class TestChannels:
    def test_pages_are_filtered_after_paging_and_may_be_empty(self, sandbox: Sandbox, api: Slack) -> None:
        api.add_channel("hidden", is_private=True)
        api.add_channel("seen", is_private=True, is_member=True)
        types = "public_channel,private_channel"
        pages, cursor = [], ""
        while True:
            page = read(sandbox, "conversations.list", types=types, limit=1, cursor=cursor)
            pages.append([channel["name"] for channel in page["channels"]])
            cursor = page["response_metadata"]["next_cursor"]
            if not cursor:
                break
        assert pages == [["general"], ["random"], [], ["seen"]]

    @pytest.mark.parametrize("limit", [1000, 0, "many"])
    def test_a_page_of_a_thousand_is_refused(self, sandbox: Sandbox, limit: Any) -> None:
        assert read(sandbox, "conversations.list", limit=limit)["error"] == "invalid_limit"

    def test_a_wrong_cursor_or_type_is_refused(self, sandbox: Sandbox) -> None:
        assert read(sandbox, "conversations.list", cursor="abc")["error"] == "invalid_cursor"
        assert read(sandbox, "conversations.list", types="channel")["error"] == "invalid_types"

    def test_private_channels_need_a_scope_of_their_own(self, sandbox: Sandbox, api: Slack) -> None:
        api.scopes.discard("groups:read")
        answer = read(sandbox, "conversations.list", types="public_channel,private_channel")
        assert (answer["error"], answer["needed"]) == ("missing_scope", "groups:read")
        assert read(sandbox, "conversations.list")["ok"]

    def test_the_tier_of_a_method_is_enforced(self, sandbox: Sandbox) -> None:
        for _ in range(20):
            assert read(sandbox, "conversations.list")["ok"]
        response = requests.get(
            sandbox.url("slack") + "/api/conversations.list",
            headers={"Authorization": f"Bearer {Slack.token}"},
            timeout=5,
        )
        assert response.status_code == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60

    def test_info_takes_ids_only(self, sandbox: Sandbox, api: Slack) -> None:
        random = api.channel("random")
        assert read(sandbox, "conversations.info", channel=random.id)["channel"]["is_member"] is False
        assert read(sandbox, "conversations.info", channel="random")["error"] == "channel_not_found"

    def test_joining_makes_the_bot_a_member(self, sandbox: Sandbox, api: Slack) -> None:
        random = api.channel("random")
        assert read(sandbox, "conversations.join", channel=random.id)["channel"]["is_member"] is True
        assert read(sandbox, "conversations.join", channel=random.id)["warning"] == "already_in_channel"

    def test_archived_and_private_channels_cannot_be_joined(self, sandbox: Sandbox, api: Slack) -> None:
        old = api.add_channel("old", is_archived=True)
        board = api.add_channel("board", is_private=True, is_member=True)
        assert read(sandbox, "conversations.join", channel=old.id)["error"] == "is_archived"
        joined = read(sandbox, "conversations.join", channel=board.id)
        assert joined["error"] == "method_not_supported_for_channel_type"


class TestPosting:
    def test_every_post_is_appended(self, sandbox: Sandbox, api: Slack) -> None:
        first = post(sandbox, channel=api.channel("general").id, text="x")
        second = post(sandbox, channel="#general", text="x")
        assert api.texts("general") == ["x", "x"]
        assert first["ts"] != second["ts"]
        assert second["channel"] == api.channel("general").id

    def test_only_who_is_in_the_channel_posts(self, sandbox: Sandbox, api: Slack) -> None:
        api.add_channel("board", is_private=True)
        api.add_channel("old", is_archived=True, is_member=True)
        for channel, error in (
            ("#random", "not_in_channel"),
            ("#board", "channel_not_found"),
            ("#none", "channel_not_found"),
            ("#old", "is_archived"),
        ):
            assert post(sandbox, channel=channel, text="x")["error"] == error
        api.scopes.add("chat:write.public")
        assert post(sandbox, channel="#random", text="x")["ok"]

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            ({}, "no_text"),
            ({"text": ""}, "no_text"),
            ({"text": 5}, "invalid_arguments"),
            ({"text": "x", "txet": "x"}, "invalid_arguments"),
            ({"text": "x", "markdown_text": "x"}, "markdown_text_conflict"),
            ({"markdown_text": "x" * 12_001}, "msg_too_long"),
            ({"blocks": {"type": "divider"}}, "invalid_blocks_format"),
            ({"blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
            ({"blocks": [{"type": "section", "text": {"text": "x" * 3001}}]}, "invalid_blocks"),
            ({"blocks": [{"type": "section", "fields": [{"text": "x"}] * 11}]}, "invalid_blocks"),
            ({"blocks": [{"type": "header", "text": {"text": "x" * 151}}]}, "invalid_blocks"),
            ({"blocks": [{"type": "section", "text": {"text": "x" * 2700}}] * 5}, "msg_blocks_too_long"),
            ({"text": "x", "attachments": [{"text": "x"}] * 101}, "too_many_attachments"),
            ({"text": "x", "metadata": {"event_payload": {}}}, "invalid_metadata_format"),
            ({"text": "x", "metadata": {"event_type": "a"}}, "invalid_metadata_schema"),
            ({"text": "x", "thread_ts": "1.5"}, "cannot_reply_to_message"),
        ],
    )
    def test_a_malformed_message_is_refused(
        self, sandbox: Sandbox, api: Slack, message: dict[str, Any], error: str
    ) -> None:
        assert post(sandbox, channel="#general", **message)["error"] == error
        assert api.texts("general") == []

    def test_a_text_over_4000_characters_falls_into_pieces(self, sandbox: Sandbox, api: Slack) -> None:
        assert post(sandbox, channel="#general", text="x" * 4001)["ok"]
        assert [len(text) for text in api.texts("general")] == [4000, 1]

    def test_a_form_is_as_good_as_json(self, sandbox: Sandbox, api: Slack) -> None:
        url, headers = sandbox.url("slack") + "/api/chat.postMessage", {"Authorization": f"Bearer {Slack.token}"}
        form = {"channel": "#general", "text": "x", "blocks": '[{"type": "divider"}]'}
        assert requests.post(url, data=form, headers=headers, timeout=5).json()["ok"]
        assert api.channel("general").messages[0]["blocks"] == [{"type": "divider"}]

    def test_a_second_message_within_a_second_is_refused_per_channel(self, sandbox: Sandbox, api: Slack) -> None:
        api.posts_per_s = 1
        api.channel("random").is_member = True
        assert post(sandbox, channel="#general", text="x")["ok"]
        assert post(sandbox, channel="#random", text="x")["ok"]
        response = requests.post(
            sandbox.url("slack") + "/api/chat.postMessage",
            json={"channel": "#general", "text": "x"},
            headers={"Authorization": f"Bearer {Slack.token}"},
            timeout=5,
        )
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        assert api.texts("general") == ["x"]

    def test_a_post_whose_answer_is_lost_stands_there(self, sandbox: Sandbox, api: Slack) -> None:
        sandbox.inject(Fault(api="slack", path="/api/chat.postMessage", reset="after"))
        with pytest.raises(requests.ConnectionError):
            post(sandbox, channel="#general", text="x")
        assert api.texts("general") == ["x"]


class TestHistory:
    def test_it_is_newest_first_in_pages_and_behind_oldest(self, sandbox: Sandbox, api: Slack) -> None:
        marks = [post(sandbox, channel="#general", text=str(n))["ts"] for n in range(5)]
        arguments: dict[str, Any] = {"channel": api.channel("general").id, "oldest": marks[1], "limit": 2}
        page = read(sandbox, "conversations.history", **arguments)
        assert ([m["text"] for m in page["messages"]], page["has_more"]) == (["4", "3"], True)
        cursor = page["response_metadata"]["next_cursor"]
        page = read(sandbox, "conversations.history", **arguments, cursor=cursor)
        assert ([m["text"] for m in page["messages"]], page["has_more"]) == (["2"], False)
        page = read(sandbox, "conversations.history", **arguments | {"limit": 9}, inclusive="true")
        assert [m["text"] for m in page["messages"]] == ["4", "3", "2", "1"]

    def test_metadata_is_shown_on_request(self, sandbox: Sandbox, api: Slack) -> None:
        metadata = {"event_type": "row", "event_payload": {"id": "7"}}
        post(sandbox, channel="#general", text="x", metadata=metadata)
        channel = api.channel("general").id
        assert "metadata" not in read(sandbox, "conversations.history", channel=channel)["messages"][0]
        shown = read(sandbox, "conversations.history", channel=channel, include_all_metadata="true")
        assert shown["messages"][0]["metadata"] == metadata

    def test_replies_are_not_in_it_unless_broadcast(self, sandbox: Sandbox, api: Slack) -> None:
        ts = post(sandbox, channel="#general", text="parent")["ts"]
        post(sandbox, channel="#general", text="quiet", thread_ts=ts)
        post(sandbox, channel="#general", text="loud", thread_ts=ts, reply_broadcast=True)
        page = read(sandbox, "conversations.history", channel=api.channel("general").id)
        assert [m["text"] for m in page["messages"]] == ["loud", "parent"]
        assert api.texts("general") == ["parent", "quiet", "loud"]

    def test_only_members_with_the_scope_read_it(self, sandbox: Sandbox, api: Slack) -> None:
        channel = api.channel("random").id
        assert read(sandbox, "conversations.history", channel=channel)["error"] == "not_in_channel"
        api.scopes.discard("channels:history")
        assert read(sandbox, "conversations.history", channel=channel)["needed"] == "channels:history"
        assert read(sandbox, "conversations.history", channel="C404")["error"] == "channel_not_found"


class TestWebhook:
    def test_it_posts_to_its_channel_and_answers_plain_text(self, sandbox: Sandbox, api: Slack) -> None:
        assert hook(sandbox, '{"text": "x", "channel": "#random"}') == (200, "ok")
        assert (api.texts("general"), api.texts("random")) == (["x"], [])

    def test_errors_are_plain_text_with_4xx(self, sandbox: Sandbox, api: Slack) -> None:
        assert hook(sandbox, "{}") == (400, "no_text")
        assert hook(sandbox, "text") == (400, "invalid_payload")
        assert hook(sandbox, '{"text": "x"}', "/services/T1/B1/x") == (404, "no_service")
        api.channel("general").is_archived = True
        assert hook(sandbox, '{"text": "x"}') == (410, "channel_is_archived")

    def test_one_message_a_second(self, sandbox: Sandbox, api: Slack) -> None:
        api.posts_per_s = 1
        assert hook(sandbox, '{"text": "x"}') == (200, "ok")
        assert hook(sandbox, '{"text": "x"}')[0] == 429
