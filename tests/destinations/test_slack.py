from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.slack import Slack, SlackWebhook
from airflow_provider_census.errors import AuthError, CensusError, ConfigError, Unanswered, Unavailable
from airflow_provider_census.sandbox import slack as stand_in
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.rate import Limiter, Rate

POST = "/api/chat.postMessage"
WEBHOOK = "https://hooks.slack.com" + stand_in.Slack.webhook
SECRETS = (stand_in.Slack.token, stand_in.Slack.webhook, stand_in.Slack.webhook.rpartition("/")[2])


@pytest.fixture
def sandbox(census_sandbox: Sandbox) -> Sandbox:
    census_sandbox["slack"].posts_per_s = None
    census_sandbox["slack"].tiers.clear()
    return census_sandbox


class Sync:
    """One run against the sandbox, as the engine drives it."""

    def __init__(
        self,
        sandbox: Sandbox,
        channel: str = "#general",
        *,
        password: str = stand_in.Slack.token,
        options: dict[str, Any] | None = None,
        rates: Sequence[Rate] = (),
        timeout_s: tuple[float, float] = (2, 5),
    ) -> None:
        credentials = Credentials(password=password, host=sandbox.url("slack"))
        kind = destinations.get("slack").behind(credentials)
        self.destination: Destination = kind(channel, Behavior.APPEND, options=options)
        self.client = Client(
            kind.endpoint(credentials),
            Limiter(rates),
            judge=kind.judge,
            throttle=kind.throttle,
            attempts=3,
            backoff_s=0.01,
            timeout_s=timeout_s,
        )

    def prepare(self, *fields: str) -> None:
        self.client.run(self.destination.prepare(fields))

    def invalid(self, **fields: Any) -> str | None:
        return self.destination.check(operation(fields))

    def append(self, **fields: Any) -> RowResult:
        assert self.invalid(**fields) is None
        (result,) = self.client.run(self.destination.send([operation(fields)]))
        assert result is not None
        return result

    def test(self) -> str:
        return self.client.run(type(self.destination).test())


def operation(fields: dict[str, Any]) -> Operation:
    return Operation(Behavior.APPEND, Record(1, "1", fields))


def slack(object: str = "#general", **options: Any) -> Slack:
    return Slack(object, Behavior.APPEND, options=options)


class TestWhatIsOffered:
    @pytest.mark.parametrize("name", ["#general", "general", "deals-won_2", "#größe", "C0123456789", "G01"])
    def test_a_channel_is_named_or_given_by_id(self, name: str) -> None:
        assert slack(name).object.name == name

    @pytest.mark.parametrize("name", ["", "#", "#two words", "@ada", "#General", "##x"])
    def test_what_cannot_be_a_channel_is_refused_before_any_call(self, name: str) -> None:
        with pytest.raises(ConfigError, match="#channel"):
            slack(name)

    def test_only_append_is_offered(self) -> None:
        with pytest.raises(ConfigError, match="append"):
            Slack("#general", Behavior.MIRROR)

    def test_a_field_that_could_ping_by_bare_words_is_not_offered(self) -> None:
        slack().check_field("metadata.event_payload.id")
        for field in ("link_names", "parse", "channel"):
            with pytest.raises(ConfigError, match="text"):
                slack().check_field(field)

    def test_an_unknown_value_of_an_option_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="truncate"):
            slack(on_long_text="split")


class TestConnection:
    def test_the_token_goes_to_slack_by_default(self) -> None:
        endpoint = Slack.endpoint(Credentials(password="xoxb-1"))
        assert endpoint.base_url == "https://slack.com/api"
        assert endpoint.headers == {"Authorization": "Bearer xoxb-1"}
        assert endpoint.redact("no xoxb-1") == "no ***"

    def test_the_host_replaces_scheme_and_host_of_a_webhook(self) -> None:
        credentials = Credentials(password=WEBHOOK, host="http://127.0.0.1:1/slack")
        assert Slack.behind(credentials) is SlackWebhook
        endpoint = SlackWebhook.endpoint(credentials)
        assert endpoint.base_url == "http://127.0.0.1:1/slack" + stand_in.Slack.webhook
        assert not any(secret in endpoint.redact(f"{WEBHOOK} {endpoint.base_url} {SECRETS}") for secret in SECRETS[1:])

    def test_without_a_host_the_webhook_is_used_as_it_is(self) -> None:
        assert SlackWebhook.endpoint(Credentials(password=WEBHOOK)).base_url == WEBHOOK

    @pytest.mark.parametrize(
        "url", ["https://hooks.slack.com/triggers/T1/2/hush", "ftp://x/services/T/B/hush", WEBHOOK + "?token=hush"]
    )
    def test_another_url_is_refused_without_being_repeated(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            SlackWebhook.endpoint(Credentials(password=url))
        assert "hush" not in str(caught.value)
        assert SECRETS[2] not in str(caught.value)

    def test_it_tells_team_bot_and_missing_scopes(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write", "channels:read"}
        told = Sync(sandbox).test()
        assert "Sandbox as census" in told
        assert "by itself: groups:read, channels:join;" in told
        assert told.endswith("got no answer: channels:history, groups:history")
        assert [call.path for call in sandbox.calls("slack")] == ["/api/auth.test"]

    def test_a_token_that_cannot_post_fails_it(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"channels:read"}
        with pytest.raises(AuthError, match="chat:write"):
            Sync(sandbox).test()

    def test_a_wrong_token_fails_it(self, sandbox: Sandbox) -> None:
        with pytest.raises(AuthError, match="invalid_auth") as caught:
            Sync(sandbox, password="xoxb-wrong-secret").test()
        assert "wrong-secret" not in str(caught.value)

    def test_a_webhook_is_probed_without_posting(self, sandbox: Sandbox) -> None:
        assert "alive" in Sync(sandbox, password=WEBHOOK).test()
        assert sandbox["slack"].texts("general") == []

    def test_a_dead_webhook_fails_it(self, sandbox: Sandbox) -> None:
        sandbox["slack"].webhooks.clear()
        with pytest.raises(AuthError, match="no_service"):
            Sync(sandbox, password=WEBHOOK).test()


class TestFindingTheChannel:
    def test_a_name_is_found_behind_empty_pages(self, sandbox: Sandbox) -> None:
        api = sandbox["slack"]
        for n in range(6):
            api.add_channel(f"secret-{n}", is_private=True)
        target = api.add_channel("deals", is_member=True)
        api.page_size = 2
        sync = Sync(sandbox, "#deals")
        sync.prepare("text")
        assert len(sandbox.calls("slack", "GET", "/api/conversations.list")) == 5
        assert sync.append(text="Won") == RowResult(Outcome.SENT, status=200)
        assert sandbox.calls("slack", "POST", POST)[0].json["channel"] == target.id

    def test_an_id_costs_one_call(self, sandbox: Sandbox) -> None:
        channel = sandbox["slack"].channel("general")
        Sync(sandbox, channel.id).prepare("text")
        assert [call.path for call in sandbox.calls("slack")] == ["/api/conversations.info"]

    def test_an_id_that_may_not_be_looked_up_is_taken_as_it_is(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write"}
        sync = Sync(sandbox, sandbox["slack"].channel("general").id)
        sync.prepare("text")
        assert sync.append(text="hi").outcome is Outcome.SENT

    def test_an_unknown_name_is_an_error_with_similar_names(self, sandbox: Sandbox) -> None:
        with pytest.raises(ConfigError, match=r"no channel #genral.*#general"):
            Sync(sandbox, "#genral").prepare("text")

    def test_an_unknown_id_is_an_error(self, sandbox: Sandbox) -> None:
        with pytest.raises(ConfigError, match="channel_not_found"):
            Sync(sandbox, "C999").prepare("text")

    @pytest.mark.parametrize("by_id", [False, True])
    def test_an_archived_channel_is_an_error(self, sandbox: Sandbox, by_id: bool) -> None:
        channel = sandbox["slack"].add_channel("old", is_archived=True, is_member=True)
        with pytest.raises(ConfigError, match="archived"):
            Sync(sandbox, channel.id if by_id else "#old").prepare("text")

    def test_a_private_channel_is_found_once_the_bot_is_invited(self, sandbox: Sandbox) -> None:
        channel = sandbox["slack"].add_channel("board", is_private=True)
        with pytest.raises(ConfigError, match="/invite"):
            Sync(sandbox, "#board").prepare("text")
        channel.is_member = True
        sync = Sync(sandbox, "#board")
        sync.prepare("text")
        assert sync.append(text="hi").outcome is Outcome.SENT

    def test_without_groups_read_public_channels_are_found(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write", "channels:read"}
        sync = Sync(sandbox)
        sync.prepare("text")
        assert sync.append(text="hi").outcome is Outcome.SENT
        with pytest.raises(ConfigError, match="groups:read"):
            Sync(sandbox, "#board").prepare("text")

    def test_a_token_that_may_list_nothing_is_told_the_scope(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write"}
        with pytest.raises(AuthError, match="channels:read"):
            Sync(sandbox).prepare("text")


class TestJoining:
    def test_a_public_channel_is_joined_before_the_first_post(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, "#random")
        sync.prepare("text")
        assert sandbox["slack"].channel("random").is_member is False  # a dry run ends here
        assert sync.append(text="one").outcome is Outcome.SENT
        assert sync.append(text="two").outcome is Outcome.SENT
        assert sandbox["slack"].texts("random") == ["one", "two"]
        assert len(sandbox.calls("slack", "POST", "/api/conversations.join")) == 1

    def test_it_does_not_join_where_the_bot_may_post_without(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write", "chat:write.public", "channels:read"}
        sync = Sync(sandbox, "#random")
        sync.prepare("text")
        assert sync.append(text="one").outcome is Outcome.SENT
        assert sandbox["slack"].channel("random").is_member is False

    def test_without_the_scope_the_author_is_told_to_invite_the_bot(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write", "channels:read"}
        sync = Sync(sandbox, "#random")
        sync.prepare("text")
        with pytest.raises(ConfigError, match=r"/invite.*channels:join"):
            sync.append(text="one")

    def test_a_bot_that_is_removed_again_stops_the_run(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, "#random")
        sync.prepare("text")
        sync.append(text="one")
        sandbox["slack"].channel("random").is_member = False
        with pytest.raises(ConfigError, match="not_in_channel"):
            sync.append(text="two")
        assert sandbox["slack"].texts("random") == ["one"]


class TestMessages:
    def test_all_fields_arrive(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox)
        sync.prepare()
        fields = {
            "text": "Deal won",
            "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*Deal* won"}}],
            "unfurl_links": False,
            "username": "Census",
            "icon_emoji": ":tada:",
            "metadata": {"event_type": "deal", "event_payload": {"id": 7}},
        }
        assert sync.append(**fields).outcome is Outcome.SENT
        (message,) = sandbox["slack"].channel("general").messages
        assert {name: message[name] for name in fields} == fields

    def test_a_null_field_is_left_out(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox)
        sync.append(text="hi", thread_ts=None, blocks=None)
        assert sandbox.calls("slack", "POST", POST)[0].json == {"channel": "#general", "text": "hi"}

    def test_a_reply_lands_in_its_thread(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox)
        sync.append(text="parent")
        ts = sandbox["slack"].channel("general").messages[0]["ts"]
        assert sync.append(text="reply", thread_ts=ts).outcome is Outcome.SENT
        assert sandbox["slack"].channel("general").messages[1]["thread_ts"] == ts

    def test_a_number_for_thread_ts_is_invalid_since_it_lost_digits(self) -> None:
        reason = slack().check(operation({"text": "hi", "thread_ts": 1503435956.000247}))
        assert reason is not None
        assert reason.startswith("thread_ts must be text")

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({}, "empty"),
            ({"text": ""}, "empty"),
            ({"text": 5}, "text must be text"),
            ({"text": "x" * 4001}, "text has 4,001 characters, more than 4,000"),
            ({"markdown_text": "x" * 12001}, "markdown_text has 12,001"),
            ({"markdown_text": "x", "text": "x"}, "cannot go together"),
            ({"text": "x", "thread_ts": "yesterday"}, "thread_ts must read like"),
            ({"blocks": "[]"}, "blocks must be a list"),
            ({"blocks": ["x"]}, "blocks must be a list"),
            ({"blocks": [{"type": "divider"}] * 51}, "blocks has 51 items, more than 50"),
            ({"attachments": [{"text": "x"}] * 101}, "attachments has 101 items"),
            ({"blocks": [{}]}, "blocks[0]: it has no type"),
            ({"blocks": [{"type": "section", "text": {"text": "x" * 3001}}]}, "blocks[0]: text has 3,001"),
            ({"blocks": [{"type": "section", "fields": [{"text": "x" * 2001}]}]}, "blocks[0]: a field has 2,001"),
            ({"blocks": [{"type": "section", "fields": [{"text": "x"}] * 11}]}, "blocks[0]: fields must be"),
            ({"blocks": [{"type": "header", "text": {"text": "x" * 151}}]}, "blocks[0]: text has 151"),
            ({"blocks": [{"type": "divider", "block_id": "x" * 256}]}, "blocks[0]: block_id"),
        ],
    )
    def test_what_slack_would_refuse_or_split_is_invalid(self, fields: dict[str, Any], reason: str) -> None:
        found = slack().check(operation(fields))
        assert found is not None
        assert found.startswith(reason) or reason in found

    def test_4000_characters_are_one_message(self, sandbox: Sandbox) -> None:
        assert Sync(sandbox).append(text="x" * 4000).outcome is Outcome.SENT
        assert len(sandbox["slack"].channel("general").messages) == 1

    def test_a_long_text_is_cut_where_the_author_says_so(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, options={"on_long_text": "truncate"})
        sync.append(text="x" * 3998 + "&amp;")
        sync.append(text="x" * 3990 + "<https://example.com|more>")
        assert sandbox["slack"].texts("general") == ["x" * 3998 + "…", "x" * 3990 + "…"]


class TestEscaping:
    def test_markup_in_a_row_pings_nobody(self) -> None:
        assert slack().escape("<!channel> & <@U1>", "text") == "&lt;!channel&gt; &amp; &lt;@U1&gt;"

    @pytest.mark.parametrize("path", ["blocks", "blocks.0.text.text", "attachments.0.pretext", "markdown_text"])
    def test_it_is_escaped_wherever_slack_reads_markup(self, path: str) -> None:
        assert slack().escape("<!here>", path) == "&lt;!here&gt;"

    @pytest.mark.parametrize(
        "path", ["icon_url", "metadata.event_payload.url", "thread_ts", "blocks.0.accessory.image_url"]
    )
    def test_what_machines_read_stays_as_it_is(self, path: str) -> None:
        assert slack().escape("https://x/?a=1&b=2", path) == "https://x/?a=1&b=2"

    def test_sync_all_renders_a_line_per_column(self) -> None:
        columns = {"name": "Ada &amp; co", "mrr": 12.5, "won": True, "note": None, "tags": ["<!channel>"]}
        assert slack().sync_all(columns) == {
            "text": '*name*: Ada &amp; co\n*mrr*: 12.5\n*won*: true\n*note*: -\n*tags*: ["&lt;!channel&gt;"]'
        }
        assert slack().home("anything") == "text"

    def test_a_column_named_like_a_field_without_markup_cannot_ping_in_sync_all(self) -> None:
        column = slack().escape("<!channel>", "metadata")
        assert slack().sync_all({"metadata": column}) == {"text": "*metadata*: &lt;!channel&gt;"}


class TestRefusals:
    @pytest.mark.parametrize(
        "code", ["msg_blocks_too_long", "cannot_reply_to_message", "restricted_action_thread_locked", "brand_new_code"]
    )
    def test_a_refused_message_is_rejected_and_the_next_one_goes_out(self, sandbox: Sandbox, code: str) -> None:
        sandbox.inject(Fault(api="slack", path=POST, status=200, body={"ok": False, "error": code}))
        sync = Sync(sandbox)
        assert sync.append(text="one") == RowResult(Outcome.REJECTED, code, 200)
        assert sync.append(text="two").outcome is Outcome.SENT

    def test_slacks_own_words_are_kept(self, sandbox: Sandbox) -> None:
        message = "[ERROR] unsupported type: x [json-pointer:/blocks/0/type]"
        body = {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [message]}}
        sandbox.inject(Fault(api="slack", path=POST, status=200, body=body))
        assert Sync(sandbox).append(text="x").reason == f"invalid_blocks: {message}"

    @pytest.mark.parametrize("code", ["is_archived", "channel_not_found", "restricted_action_read_only_channel"])
    def test_a_channel_that_takes_no_messages_stops_the_run(self, sandbox: Sandbox, code: str) -> None:
        sandbox.inject(Fault(api="slack", path=POST, status=200, body={"ok": False, "error": code}))
        with pytest.raises(ConfigError, match=rf"#general.*{code}"):
            Sync(sandbox).append(text="one")

    def test_a_channel_archived_in_the_middle_of_a_run_stops_it(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox)
        sync.append(text="one")
        sandbox["slack"].channel("general").is_archived = True
        with pytest.raises(ConfigError, match="archived"):
            sync.append(text="two")

    @pytest.mark.parametrize("code", ["invalid_auth", "token_revoked", "account_inactive", "no_permission"])
    def test_refused_credentials_stop_the_run_at_once(self, sandbox: Sandbox, code: str) -> None:
        sandbox.inject(Fault(api="slack", path=POST, status=200, body={"ok": False, "error": code}))
        with pytest.raises(AuthError, match=code):
            Sync(sandbox).append(text="one")
        assert len(sandbox.ledger) == 1

    def test_a_missing_scope_is_named(self, sandbox: Sandbox) -> None:
        sandbox["slack"].scopes = {"chat:write"}
        with pytest.raises(AuthError, match=r"lacks the scope chat:write\.customize"):
            Sync(sandbox).append(text="hi", username="Census")

    def test_an_address_that_is_no_web_api_is_a_wrong_host(self, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api="slack", status=404, body="not here"))
        with pytest.raises(ConfigError, match="check the host"):
            Sync(sandbox).prepare("text")


class TestWaiting:
    @pytest.mark.parametrize("code", ["ratelimited", "rate_limited", "service_unavailable", "message_limit_exceeded"])
    def test_not_now_in_the_body_is_tried_again(self, sandbox: Sandbox, code: str) -> None:
        sandbox.inject(Fault(api="slack", path=POST, status=200, body={"ok": False, "error": code}))
        sync = Sync(sandbox)
        assert sync.append(text="one").outcome is Outcome.SENT
        assert sync.client.traffic.retries == 1
        assert sandbox["slack"].texts("general") == ["one"]

    def test_retry_after_is_honoured(self, sandbox: Sandbox) -> None:
        body = {"ok": False, "error": "ratelimited"}
        sandbox.inject(Fault(api="slack", path=POST, status=429, headers={"Retry-After": "1"}, body=body))
        sync = Sync(sandbox)
        assert sync.append(text="one").outcome is Outcome.SENT
        first, second = sandbox.calls("slack", "POST", POST)
        assert second.at - first.at >= 1
        assert sync.client.traffic.refused_429 == 1

    def test_a_slack_that_stays_busy_is_unavailable_and_nothing_is_in_doubt(self, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api="slack", path=POST, times=3, status=503))
        with pytest.raises(Unavailable):
            Sync(sandbox).append(text="one")

    def test_one_message_a_second_is_never_refused(self, sandbox: Sandbox) -> None:
        sandbox["slack"].posts_per_s = 1
        sync = Sync(sandbox, rates=Slack.rates)
        for text in ("one", "two", "three"):
            sync.append(text=text)
        times = [call.at for call in sandbox.calls("slack", "POST", POST)]
        assert all(later - earlier > 0.95 for earlier, later in itertools.pairwise(times))
        assert sync.client.traffic.refused_429 == 0
        assert sandbox["slack"].texts("general") == ["one", "two", "three"]


LOST = [
    Fault(api="slack", path="*", reset="before"),
    Fault(api="slack", path="*", reset="after"),
    Fault(api="slack", path="*", truncate=True),
    Fault(api="slack", path="*", html=True),
    Fault(api="slack", path="*", delay_s=0.6),
    Fault(api="slack", path="*", status=500, body="oops"),
    Fault(api="slack", path="*", status=502, body="<html>bad gateway</html>"),
]
LOST_IDS = ["reset before", "reset after", "truncated", "web page", "too late", "500", "502"]


class TestLostAnswers:
    @pytest.mark.parametrize("fault", LOST, ids=LOST_IDS)
    @pytest.mark.parametrize("password", [stand_in.Slack.token, WEBHOOK], ids=["token", "webhook"])
    def test_a_post_without_an_answer_is_never_sent_again(self, sandbox: Sandbox, fault: Fault, password: str) -> None:
        sandbox.inject(fault)
        with pytest.raises(Unanswered):
            Sync(sandbox, password=password, timeout_s=(2, 0.3)).append(text="one")
        if fault.delay_s:
            time.sleep(0.5)
        assert len(sandbox.ledger) == 1
        applied = fault.reset == "after" or fault.truncate or bool(fault.delay_s)
        assert sandbox["slack"].texts("general") == (["one"] if applied else [])

    @pytest.mark.parametrize("code", ["fatal_error", "internal_error", "request_timeout"])
    def test_an_error_that_may_have_been_applied_is_never_sent_again(self, sandbox: Sandbox, code: str) -> None:
        sandbox.inject(Fault(api="slack", path=POST, status=200, body={"ok": False, "error": code}))
        with pytest.raises(Unanswered, match=code):
            Sync(sandbox).append(text="one")
        assert len(sandbox.ledger) == 1

    @pytest.mark.parametrize("password", [stand_in.Slack.token, WEBHOOK], ids=["token", "webhook"])
    def test_the_author_may_choose_a_double_over_a_gap(self, sandbox: Sandbox, password: str) -> None:
        sandbox.inject(Fault(api="slack", reset="after"))
        sync = Sync(sandbox, password=password, options={"on_uncertain": "resend"})
        assert sync.append(text="one").outcome is Outcome.SENT
        assert sandbox["slack"].texts("general") == ["one", "one"]

    def test_json_that_is_no_answer_of_slack_is_not_acceptance(self, sandbox: Sandbox) -> None:
        for body in ("[]", "{}", '{"ok": "true"}'):
            sandbox.inject(Fault(api="slack", path=POST, status=200, body=body))
            with pytest.raises(Unanswered):
                Sync(sandbox).append(text="one")

    def test_a_look_up_without_an_answer_is_sent_again(self, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api="slack", path="/api/conversations.list", reset="after"))
        Sync(sandbox).prepare("text")
        assert len(sandbox.ledger) == 2


class TestLookingForMessages:
    """Messages are marked where they can be looked for."""

    @pytest.fixture
    def sync(self, sandbox: Sandbox) -> Sync:
        sync = Sync(sandbox)
        sync.prepare("text")
        return sync

    @staticmethod
    def find(sync: Sync, *rows: dict[str, Any]) -> Sequence[bool | None]:
        operations = [Operation(Behavior.APPEND, Record(n, str(n), fields)) for n, fields in enumerate(rows, 1)]
        return sync.client.run(sync.destination.find(operations, int(time.time())))

    def test_a_message_that_arrived_is_told_from_one_that_did_not(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.append(text="one")
        sandbox["slack"].channel("general").messages.append({"ts": f"{int(time.time())}.9", "text": "two"})
        assert self.find(sync, {"text": "one"}, {"text": "two"}) == [True, False]

    def test_the_same_row_of_another_sync_is_another_one(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.append(text="one")
        sync.destination.sync_id = "another"
        assert self.find(sync, {"text": "one"}) == [False]

    def test_a_mark_tells_nothing_of_the_row(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.destination.sync_id = "vip_customers"
        row = Operation(Behavior.APPEND, Record("ada@example.com", "ada@example.com", {"text": "hello"}))
        sync.client.run(sync.destination.send([row]))
        (message,) = sandbox["slack"].channel("general").messages
        assert message["metadata"]["event_type"] == "census_row"
        assert len(message["metadata"]["event_payload"]["row"]) == 16
        assert not re.search("ada|vip", json.dumps(message["metadata"]))

    @pytest.mark.parametrize("known", ["#general", "C0000000001"])
    def test_a_token_that_may_not_read_the_history_marks_nothing(self, sandbox: Sandbox, known: str) -> None:
        sandbox["slack"].scopes -= {"channels:history"}
        sync = Sync(sandbox, known)
        sync.prepare("text")
        sync.append(text="one")
        assert sync.destination.finds is False
        assert "metadata" not in sandbox["slack"].channel("general").messages[0]

    def test_a_private_channel_takes_the_scope_for_private_ones(self, sandbox: Sandbox) -> None:
        sandbox["slack"].add_channel("board", is_private=True, is_member=True)
        sync = Sync(sandbox, "#board")
        sync.prepare("text")
        assert sync.destination.finds is True
        sandbox["slack"].scopes -= {"groups:history"}
        sync.prepare("text")
        assert sync.destination.finds is False

    def test_a_channel_the_bot_is_not_in_cannot_be_read(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, "#random")
        sync.prepare("text")
        assert sync.destination.finds is False

    def test_a_token_that_may_not_send_metadata_posts_without_it(self, sandbox: Sandbox, sync: Sync) -> None:
        refusal = {"ok": False, "error": "metadata_must_be_sent_from_app"}
        sandbox.inject(Fault(api="slack", path=POST, contains="census_row", status=200, body=refusal, times=9))
        assert [sync.append(text=text).outcome for text in ("one", "two")] == [Outcome.SENT] * 2
        assert sandbox["slack"].texts("general") == ["one", "two"]
        assert sync.destination.finds is False
        assert len(sandbox.calls("slack", "POST", POST)) == 3

    def test_metadata_of_the_author_and_replies_are_left_alone(self, sandbox: Sandbox, sync: Sync) -> None:
        own = {"event_type": "deal", "event_payload": {"id": "1"}}
        sync.append(text="one", metadata=own)
        parent = sandbox["slack"].channel("general").messages[0]
        assert parent["metadata"] == own
        sync.append(text="two", thread_ts=parent["ts"])
        assert "metadata" not in sandbox["slack"].channel("general").messages[1]
        rows = ({"text": "one", "metadata": own}, {"text": "two", "thread_ts": parent["ts"]})
        assert self.find(sync, *rows) == [None, None]

    def test_a_message_is_found_behind_a_thousand_others(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.append(text="one")
        now = int(time.time()) + 1
        messages = sandbox["slack"].channel("general").messages
        messages += [{"ts": f"{now}.{n:06}", "text": "chatter"} for n in range(1_100)]
        assert self.find(sync, {"text": "one"}) == [True]
        assert len(sandbox.calls("slack", path="*history")) == 2

    def test_what_was_posted_long_before_is_not_read(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.append(text="one")
        (message,) = sandbox["slack"].channel("general").messages
        message["ts"] = "1500000000.000001"
        assert self.find(sync, {"text": "one"}) == [False]

    def test_a_history_that_is_closed_meanwhile_tells_nothing(self, sandbox: Sandbox, sync: Sync) -> None:
        sync.append(text="one")
        sandbox["slack"].scopes.clear()
        assert self.find(sync, {"text": "one"}) == [None]


class TestWebhook:
    def test_a_message_is_posted_as_it_is_with_no_look_up(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, "#whatever", password=WEBHOOK)
        sync.prepare("text")
        assert sync.append(text="one") == RowResult(Outcome.SENT, status=200)
        assert [(call.path, call.json) for call in sandbox.ledger] == [(stand_in.Slack.webhook, {"text": "one"})]

    def test_what_a_webhook_ignores_cannot_be_mapped(self) -> None:
        webhook = SlackWebhook("#general", Behavior.APPEND)
        webhook.check_field("blocks")
        for field in ("username", "metadata", "markdown_text", "reply_broadcast"):
            with pytest.raises(ConfigError, match=field):
                webhook.check_field(field)

    def test_a_refused_message_is_rejected_with_the_plain_words(self, sandbox: Sandbox) -> None:
        sync = Sync(sandbox, password=WEBHOOK)
        assert sync.append(text="x", thread_ts="1.5") == RowResult(Outcome.REJECTED, "cannot_reply_to_message", 400)

    @pytest.mark.parametrize("page", [True, False])
    def test_the_reason_of_a_rejection_is_no_web_page(self, sandbox: Sandbox, page: bool) -> None:
        sandbox.inject(Fault(api="slack", status=400, body="<html>x</html>" if page else "invalid_payload"))
        reason = Sync(sandbox, password=WEBHOOK).append(text="x").reason
        assert reason == ("HTTP 400" if page else "invalid_payload")

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (404, "no_service", AuthError),
            (404, "no_active_hooks", AuthError),
            (403, "action_prohibited", AuthError),
            (400, "invalid_token", AuthError),
            (404, "channel_not_found", ConfigError),
            (410, "channel_is_archived", ConfigError),
            (404, "<html>not found</html>", ConfigError),
        ],
    )
    def test_a_dead_webhook_stops_the_run(
        self, sandbox: Sandbox, status: int, body: str, error: type[CensusError]
    ) -> None:
        sandbox.inject(Fault(api="slack", status=status, body=body))
        with pytest.raises(error) as caught:
            Sync(sandbox, password=WEBHOOK).append(text="one")
        assert len(sandbox.ledger) == 1
        assert body in str(caught.value) or body.startswith("<")

    def test_429_is_tried_again(self, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api="slack", status=429, headers={"Retry-After": "0"}, body="rate_limited"))
        sync = Sync(sandbox, password=WEBHOOK)
        assert sync.append(text="one").outcome is Outcome.SENT
        assert sandbox["slack"].texts("general") == ["one"]


class TestSecrets:
    @pytest.mark.parametrize("password", [stand_in.Slack.token, WEBHOOK], ids=["token", "webhook"])
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(api="slack", status=403, body=f"you sent {' '.join(SECRETS)}"),
            Fault(api="slack", status=301, headers={"Location": f"/x?{SECRETS[2]}"}),
            Fault(api="slack", status=500, body=f"{' '.join(SECRETS)}"),
            Fault(api="slack", status=404, body=f"{' '.join(SECRETS)}"),
            Fault(api="slack", reset="after"),
            Fault(api="slack", delay_s=0.4),
            Fault(api="slack", truncate=True),
            Fault(api="slack", html=True),
        ],
    )
    def test_no_error_repeats_the_secret_or_the_message(self, sandbox: Sandbox, fault: Fault, password: str) -> None:
        sandbox.inject(fault)
        sync = Sync(sandbox, password=password, timeout_s=(2, 0.2))
        with pytest.raises(CensusError) as caught:
            sync.append(text="a private matter")
        told = f"{caught.value!r} {caught.value} {sync.client.endpoint!r}"
        assert not any(secret in told for secret in SECRETS if secret in password)
        assert "private matter" not in told

    def test_an_unreachable_webhook_is_not_repeated(self, sandbox: Sandbox) -> None:
        endpoint = SlackWebhook.endpoint(Credentials(password=WEBHOOK, host="http://127.0.0.1:9"))
        client = Client(endpoint, Limiter([]), judge=SlackWebhook.judge, attempts=2, backoff_s=0.01)
        with pytest.raises(Unavailable) as caught:
            client.run(SlackWebhook("#x", Behavior.APPEND).send([operation({"text": "x"})]))
        assert not any(secret in str(caught.value) for secret in SECRETS)


class TestVerdicts:
    @pytest.mark.parametrize("needed", ["chat:write", "chat:write:bot", "chat:write.customize", None])
    def test_a_token_that_may_not_post_is_denied(self, needed: str | None) -> None:
        body = json.dumps({"ok": False, "error": "missing_scope", **({"needed": needed} if needed else {})})
        assert isinstance(Slack.judge(Response(200, body=body.encode())), verdict.Denied)

    def test_a_scope_of_a_look_up_is_for_the_look_up_to_miss(self) -> None:
        body = json.dumps({"ok": False, "error": "missing_scope", "needed": "groups:read"})
        assert Slack.judge(Response(200, body=body.encode())) == verdict.Answered()

    def test_a_message_is_never_repeatable(self) -> None:
        assert not slack().resendable(operation({"text": "x"}))
        assert slack(on_uncertain="resend").resendable(operation({"text": "x"}))
        assert Slack.concurrency == 1
