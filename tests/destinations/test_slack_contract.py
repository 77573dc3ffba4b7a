from __future__ import annotations

from dataclasses import replace

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject

CHANNEL = Subject(
    object="#general",
    fields=lambda n: {"text": f"message {n}."},
    held=lambda api: api.channel("general").messages,
    writes="POST /api/chat.postMessage",
    text="text",
    odd={"unfurl_links": False, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*ž*"}}]},
    poison={"thread_ts": "1503435956.000247"},
    words="cannot_reply_to_message",
    invalid={"text": "x" * 4_001},
)


class TestSlackContract(DestinationContract):
    name = "slack"
    subjects = (CHANNEL,)
    headers = ("x-oauth-scopes",)

    def arrange(self, api):
        api.posts_per_s = None


class TestSlackWebhookContract(TestSlackContract):
    subjects = (replace(CHANNEL, writes="POST /services/*"),)

    def connection(self, sandbox):
        return sandbox.connection("slack", password=f"https://hooks.slack.com{sandbox['slack'].webhook}")
