"""What Slack's Web API answers, and who can help."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.message import Response

# The errors of chat.postMessage by who can help. What is not listed is about the row.
_DENIED = frozenset(
    (
        *("not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type"),
        *("no_permission", "access_denied", "accesslimited", "app_access_restricted", "ekm_access_denied", "is_bot"),
        *("org_login_required", "team_access_not_granted", "team_added_to_org", "two_factor_setup_required"),
        "enterprise_is_restricted",
    )
)
_BUSY = frozenset(("ratelimited", "rate_limited", "service_unavailable", "message_limit_exceeded"))
# "It's possible some aspect of the operation succeeded": the method's own words. A truncated request is counted here
# too: what of it arrived is not said.
_MAYBE_APPLIED = frozenset(("fatal_error", "internal_error", "request_timeout"))
INVITE = "invite the bot (/invite @bot)"
NO_METADATA = "metadata_must_be_sent_from_app"
STOP = {
    "channel_not_found": f"it does not exist, or is private: then {INVITE}",
    "not_in_channel": f"the bot is not in it: {INVITE}",
    "is_archived": "it is archived",
    "channel_is_limited_access": "the bot has no access to it",
    "restricted_action": "the settings of the workspace keep the bot from posting",
    "restricted_action_read_only_channel": "it is read-only",
    "restricted_action_thread_only_channel": "it takes replies only: map thread_ts",
    "restricted_action_non_threadable_channel": "it takes no replies: do not map thread_ts",
    "messages_tab_disabled": "the app's messages tab is disabled",
    "team_not_found": "a token of an organisation needs the channel's ID",
    NO_METADATA: "this token may not send metadata: do not map it",
}


class Answer(TypedDict):
    """What every method answers."""

    ok: bool
    error: NotRequired[str | None]


class _Error(TypedDict, total=False):
    ok: bool
    error: str | None
    needed: str | None


class _Messages(TypedDict, total=False):
    messages: list[str] | None


class _Details(TypedDict, total=False):
    response_metadata: _Messages | None


def judge(response: Response) -> verdict.Verdict:
    """Return what a response means; the code in the body decides where the status says 200."""
    by_status = verdict.judge(response)
    if not isinstance(by_status, verdict.Answered):
        return by_status
    if response.status in (404, 405):
        return verdict.Misdirected(f"HTTP {response.status}, which the Web API never answers; check the host")
    answer = response.told(_Error)
    code = (answer.get("ok") is False and answer.get("error")) or ""
    if code in _BUSY:
        return verdict.Retry(code, verdict.retry_after(response))
    if code in _MAYBE_APPLIED:
        return verdict.Retry(code, applied=True)
    if code in _DENIED:
        return verdict.Denied(code)
    if code == "missing_scope":
        needed = answer.get("needed") or ""
        # The scopes of the look-ups are missed there: they have other ways.
        if not needed or "chat:" in needed:
            return verdict.Denied(f"the token lacks the scope {needed or '(not told)'}")
    return by_status


def stop(channel: str, code: str) -> ConfigError:
    """Return the error of a channel that takes no message."""
    return ConfigError(f"channel {channel}: {STOP.get(code, 'Slack refuses')} ({code})")


def refusal(response: Response) -> str | None:
    """Return the code of the error that Slack answers, None where it answers none."""
    answer = response.told(_Error)
    return answer.get("error") if answer.get("ok") is False else None


def scopes(response: Response) -> frozenset[str]:
    """Return what the token is granted, as far as Slack tells (the header is not in its reference: unverified)."""
    header = response.headers.get("x-oauth-scopes", "")
    return frozenset(scope.strip() for scope in header.split(",") if scope.strip())


def reason(response: Response) -> str:
    """Return the error code and, where Slack gives them, the places in the message it is about."""
    code = response.told(_Error).get("error") or "an error without a code"
    messages = (response.told(_Details).get("response_metadata") or {}).get("messages") or []
    return ": ".join([code, *messages])[:300]
