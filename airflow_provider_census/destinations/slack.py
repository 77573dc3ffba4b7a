"""
Slack: one message per row, in the order of the rows, into one channel.

A bot token speaks to the Web API (docs.slack.dev, apis/web-api), which answers errors with HTTP 200 and ``ok: false``.
An incoming webhook (docs.slack.dev, messaging/sending-messages-using-incoming-webhooks) is bound to one channel and
answers plain text: which channel that is cannot be asked, so ``destination_object`` is then only a label.

Slack has no idempotency key (slackapi/slack-api-specs#10): a post without an answer is never sent again by itself.
Where the token may read the channel's history, messages are marked, and such a post is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired
from urllib.parse import urlsplit

from airflow_provider_census.destinations import _slack_answers as answers
from airflow_provider_census.destinations import _slack_channels as channels
from airflow_provider_census.destinations import _slack_marks as marks
from airflow_provider_census.destinations import _slack_message as content
from airflow_provider_census.destinations._asking import look
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.destinations.refusal import rejected
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate

# A name is always lower case, so an ID cannot be taken for one.
_CHANNEL_ID = re.compile(r"[CG][A-Z0-9]+")
_CHANNEL_NAME = re.compile(r"#?[^\s#@<>,.A-Z]{1,80}")

# Not offered: link_names and parse turn bare words of a row (@here, #general) into mentions.
_WEBHOOK_FIELDS = ("text", "blocks", "attachments", "thread_ts", "unfurl_links", "unfurl_media", "mrkdwn")
_FIELDS = (
    *(*_WEBHOOK_FIELDS, "markdown_text", "reply_broadcast", "username", "icon_url", "icon_emoji"),
    *("metadata", "metadata.*"),
)

_WANTED = {
    "find and join channels by itself": ("channels:read", "groups:read", "channels:join"),
    "look for messages that got no answer": ("channels:history", "groups:history"),
}


class _Identity(answers.Answer):
    team: NotRequired[str | None]
    user: NotRequired[str | None]


class Slack(Destination):
    """Slack by a bot token (``xoxb-…``)."""

    name = "slack"
    objects = (
        ObjectType(
            name="channel",
            behaviors=(Behavior.APPEND,),
            identifiers=(Identifier("row_id"),),
            fields=_FIELDS,
            required=(content.CONTENT,),
            options=("on_long_text",),
        ),
    )
    # One message per second and channel; the others are tiers per method (docs.slack.dev, apis/web-api/rate-limits).
    rates = (
        Rate("post", 1, 1.0),
        Rate("list", 20, 60.0),
        *(Rate(name, 50, 60.0) for name in ("info", "join", "history")),
    )
    concurrency = 1
    finds_with = (
        "with the scope channels:history (in private channels groups:history), and the bot in the channel, such "
        "messages are looked for instead"
    )

    def configure(self) -> None:
        """Read what becomes of long texts."""
        self.channel = self.object_name
        self._may_join = True
        self.on_long_text = self.choice("on_long_text", ("invalid", "truncate"))

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """Return the channel of this name or ID; whether it exists is asked in :meth:`prepare`."""
        if not _CHANNEL_ID.fullmatch(name) and not _CHANNEL_NAME.fullmatch(name):
            raise ConfigError.unknown("object", name, ("#channel", "C0123456789"), where=f"at {cls.name}")
        return replace(cls.objects[0], name=name)

    def home(self, field: str) -> str:
        """Return ``text``: every column is a line of it."""
        return "text"

    def sync_all(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message with a line per column."""
        return {"text": "\n".join(content.line(name, value) for name, value in columns.items())}

    @classmethod
    def behind(cls, credentials: Credentials) -> type[Destination]:
        """Return the class for the connection's kind of password."""
        return SlackWebhook if "://" in credentials.password else cls

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the Web API for the token in the password."""
        token = secret(credentials, "bot token or incoming webhook URL")
        url = base_url(credentials.host, "https://slack.com", "/api")
        return Endpoint(url, {"Authorization": f"Bearer {token}"}, (token,))

    def escape(self, text: str, path: str) -> str:
        """Return ``text`` with Slack's markup characters as entities, where it is markup."""
        return content.escape(text, path)

    # --- the exchanges ---------------------------------------------------------------------------------------------

    @classmethod
    def test(cls) -> Exchange[str]:
        """Ask who the token is and what it may do."""
        response = yield Request(method="POST", path="/auth.test")
        answer = response.read(_Identity)
        if not answer["ok"]:
            raise ConfigError(f"auth.test: {answers.reason(response)}")
        who = f"Connected to {answer.get('team')} as {answer.get('user')}"
        header = response.headers.get("x-oauth-scopes")
        if header is None:
            return f"{who}; Slack does not tell the scopes of this token"
        granted = answers.scopes(response)
        if "chat:write" not in granted:
            raise AuthError(f"{who}, but the token lacks the scope chat:write: it cannot post")
        words = f"{who}; scopes: {', '.join(sorted(granted))}"
        for what, wanted in _WANTED.items():
            if missing := [scope for scope in wanted if scope not in granted]:
                words += f"; missing to {what}: {', '.join(missing)}"
        return words

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Find the channel's ID: a name may be given to another channel, and works for public ones only."""
        if _CHANNEL_ID.fullmatch(self.object_name):
            channel, granted = yield from channels.by_id(self.object_name)
        else:
            channel, granted = yield from channels.by_name(self.object_name.lstrip("#"))
        if channel.get("is_archived"):
            raise answers.stop(self.object_name, "is_archived")
        if channel.get("is_private") and channel.get("is_member") is False:
            raise answers.stop(self.object_name, "not_in_channel")
        self.channel = channel["id"]
        # Only members may read. Of a channel that cannot be asked about it is not known which scope it takes.
        history = "groups:history" if channel.get("is_private") else "channels:history"
        self.finds = bool(channel.get("is_member")) and history in granted

    def check(self, operation: Operation) -> str | None:
        """Return why Slack would refuse, or silently change, this message."""
        return content.fault(operation.record.fields, truncate=self.on_long_text == "truncate")

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the arguments of chat.postMessage."""
        payload = {"channel": self.channel, **content.message(operation.record.fields)}
        if self.finds and marks.takes_mark(payload):
            payload["metadata"] = marks.metadata(self._mark(operation))
        return payload

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Post one message, joining the channel first where that turns out to be needed."""
        (operation,) = batch
        response = yield self._post(operation)
        if self.finds and answers.refusal(response) == answers.NO_METADATA:
            self.finds = False
            response = yield self._post(operation)
        if self._may_join and answers.refusal(response) == "not_in_channel":
            # Not before: a bot with chat:write.public need not join, and a dry run must not.
            self._may_join = False
            yield from self._join()
            response = yield self._post(operation)
        return [self._result(response)]

    def _post(self, operation: Operation) -> Request:
        return Request(
            method="POST",
            path="/chat.postMessage",
            json=self.payload(operation),
            idempotent=self.resendable(operation),
            limit="post",
        )

    def find(self, operations: Sequence[Operation], since: int) -> Exchange[Sequence[bool | None]]:
        """Look for the marks of the rows in the channel's history."""
        there = yield from marks.read_marks(self.channel, since)
        return [
            None if there is None or not marks.takes_mark(operation.record.fields) else self._mark(operation) in there
            for operation in operations
        ]

    def _mark(self, operation: Operation) -> str:
        return marks.mark(self.sync_id, operation.record.id)

    def _join(self) -> Exchange[None]:
        join = Request(method="POST", path="/conversations.join", json={"channel": self.channel}, limit="join")
        reason = yield from look(join, lambda r: None if r.read(answers.Answer)["ok"] else answers.reason(r))
        if reason is not None:
            raise ConfigError(
                f"the bot is not in {self.object_name} and cannot join it ({reason}); "
                f"{answers.INVITE}, or grant the scope channels:join"
            )

    def _result(self, response: Response) -> RowResult:
        if not response.ok:
            return rejected(f"HTTP {response.status} {answers.reason(response)}", response.status)
        answer = response.read(answers.Answer)
        if answer["ok"]:
            return RowResult(Outcome.SENT, status=response.status)
        code = answer.get("error")
        if code in answers.STOP:
            raise answers.stop(self.object_name, code)
        return rejected(answers.reason(response), response.status)

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means; the code in the body decides where the status says 200."""
        return answers.judge(response)


class SlackWebhook(Slack):
    """Slack by an incoming webhook: the URL is the password, and the only secret."""

    objects = (replace(Slack.objects[0], fields=_WEBHOOK_FIELDS, required=(("text", "blocks", "attachments"),)),)
    finds_with = "a bot token with the scope channels:history in place of the webhook would let them be looked for"

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the webhook; ``host`` replaces its scheme and host."""
        url = secret(credentials, "incoming webhook URL")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.query or not re.search(r"/services(/\w+){3}$", parts.path):
            raise ConfigError("the password of the connection is neither a bot token nor an incoming webhook URL")
        to = base_url(credentials.host, f"{parts.scheme}://{parts.netloc}", parts.path)
        # The last part alone is enough to post.
        return Endpoint(to, {}, (to, url, parts.path, parts.path.rpartition("/")[2]))

    @classmethod
    def test(cls) -> Exchange[str]:
        """Send an empty message: a live webhook refuses it, a dead one says so (unverified)."""
        response = yield Request(method="POST", path="", json={})
        if response.status != 400:
            raise Unanswered(f"HTTP {response.status} to an empty message, which a webhook refuses with 400")
        return "The webhook is alive: it refused an empty message. Whether it can post shows with the first one"

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Do nothing: the channel was chosen when the webhook was made."""
        return
        yield

    def payload(self, operation: Operation) -> dict[str, Any]:
        """Return the message; the webhook knows its channel."""
        return content.message(operation.record.fields)

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Post one message."""
        (operation,) = batch
        response = yield Request(
            method="POST",
            path="",
            json=self.payload(operation),
            idempotent=self.resendable(operation),
            limit="post",
        )
        words = response.text
        if not response.ok:
            return [rejected(words[:200] if words and words[0] != "<" else f"HTTP {response.status}", response.status)]
        if words != "ok":
            raise Unanswered(f"HTTP {response.status} without the 'ok' of a webhook", status=response.status)
        return [RowResult(Outcome.SENT, status=response.status)]

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means: the status does not tell a bad message from a dead webhook, the text does."""
        words = response.text
        if words in ("no_service", "no_service_id", "no_active_hooks", "no_team", "invalid_token"):
            return verdict.Denied(f"the webhook is gone ({words}); make a new one")
        if words in ("channel_not_found", "channel_is_archived"):
            return verdict.Misdirected(f"the webhook's channel takes no messages ({words})")
        by_status = verdict.judge(response)
        if isinstance(by_status, verdict.Answered) and response.status in (404, 405, 410):
            return verdict.Misdirected(f"HTTP {response.status}: no webhook answers there")
        return by_status
