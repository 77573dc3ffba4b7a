"""The contract fails where a destination is wrong: each mutant of a good one is caught."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)

TEST = """
from airflow_provider_census.destinations.slack import Slack, SlackWebhook
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject
from airflow_provider_census.transport.message import Endpoint, Request
from airflow_provider_census.transport.rate import Rate

{mutation}

class TestMutant(DestinationContract):
    name = "slack"
    subjects = (
        Subject(
            object="#general",
            fields=lambda n: {{"text": f"message {{n}}."}},
            held=lambda api: api.channel("general").messages,
            writes="POST /api/chat.postMessage",
            text="text",
            poison={{"thread_ts": "1503435956.000247"}},
            words="cannot_reply_to_message",
            invalid={{"text": "x" * 4_001}},
        ),
    )

    def arrange(self, api):
        api.posts_per_s = None
"""
MUTANTS = {
    "none": ("", ()),
    "sends again what could double": (
        "Slack.resendable = lambda self, operation: True",
        ("test_a_lost_answer_leaves_uncertain_what_could_double", "test_a_late_answer_doubles_nothing"),
    ),
    "takes every 200 for an acceptance": (
        "Slack._result = lambda self, response: RowResult(Outcome.SENT)",
        (
            "test_a_success_that_accounts_for_nothing_is_no_acceptance",
            "test_a_poison_record_alone_is_rejected_in_the_words_of_the_api",
        ),
    ),
    "believes that answers are as they should be": (
        "outcomes = {True: Outcome.SENT, False: Outcome.REJECTED}\n"
        "Slack._result = lambda self, response: RowResult(outcomes[response.json()['ok']], 'refused')",
        ("test_an_absurd_answer_is_no_acceptance",),
    ),
    "is paced by a rate nobody declared": (
        'Slack.rates = (Rate("list", 20, 60.0),)',
        ("test_every_request_waits_for_its_turn_under_a_declared_rate",),
    ),
    "tells no secret to be hidden": (
        "endpoint = Slack.endpoint\n"
        "Slack.endpoint = classmethod(lambda cls, c: Endpoint(endpoint(c).base_url, endpoint(c).headers))",
        ("test_the_password_is_known_as_a_secret_and_not_shown", "test_a_denial_stops_the_run_at_once"),
    ),
    "shows another payload than it sends": (
        "payload = Slack.payload\n"
        "turns = iter(range(9))\n"
        "Slack.payload = lambda self, o: payload(self, o) | {'mrkdwn': next(turns, 9) > 1}",
        ("test_the_payload_of_a_dry_run_is_what_is_sent",),
    ),
    "changes text on the way": (
        "payload = Slack.payload\n"
        "Slack.payload = lambda self, o: {k: v.strip() and v.replace('\\\\', '') for k, v in payload(self, o).items()}",
        ("test_text_arrives_as_it_is",),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(pytester: pytest.Pytester, mutant):
    mutation, caught_by = MUTANTS[mutant]
    pytester.makepyfile(TEST.format(mutation=mutation))
    names = caught_by or ("test",)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", " or ".join(names))
    failed = [line for line in result.outlines if line.startswith("FAILED")]
    assert [name for name in caught_by if not any(name in line for line in failed)] == []
    assert bool(failed) == bool(caught_by)
