from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_census.hooks.base import destination_hook
from airflow_provider_census.hooks.segment import SegmentHook
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.segment import Segment
from airflow_provider_census.sync.outcome import Outcome

Connect = Callable[..., None]
EVENT = {"event": "Books Closed", "user_id": "finance"}


def test_the_same_event_without_an_id_arrives_as_often_as_it_is_sent(
    census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("segment", "segment")
    for _ in range(2):
        (result,) = SegmentHook("segment").send("track", "send", [EVENT])
        assert result.outcome is Outcome.SENT
    assert len(census_sandbox["segment"].events) == 2


def test_an_event_with_an_id_arrives_once(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("segment", "segment")
    for _ in range(2):
        SegmentHook("segment").send("track", "send", [{**EVENT, "event_id": "2026-01"}])
    assert len(census_sandbox["segment"].events) == 1


def test_each_record_has_an_outcome(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("segment", "segment")
    users = [{"user_id": 7, "traits.plan": "free"}, {"user_id": None}, {"user_id": "u8", "traits.essay": "x" * 31_990}]
    results = SegmentHook("segment").send("user", "update_or_create", users)
    assert [r.outcome for r in results] == [Outcome.UPSERTED, Outcome.INVALID, Outcome.INVALID]
    assert [u["user_id"] for u in census_sandbox["segment"].users] == ["7"]


@pytest.mark.parametrize("conn_type", ["census_segment", "segment"])
def test_a_connection_of_either_type_leads_to_the_hook(
    census_sandbox: Sandbox, census_connect: Connect, conn_type: str
) -> None:
    census_connect("segment", "segment", conn_type=conn_type)
    hook = destination_hook("segment")
    assert isinstance(hook, SegmentHook)
    assert hook.test_connection() == (
        True,
        "the write key belongs to source 'warehouse' (HTTP API) of workspace 'Acme'",
    )


def test_a_connection_of_airflows_own_provider_works_as_it_is(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("segment", "segment", conn_type="segment", password="", extra={"write_key": Segment.write_key})
    (result,) = destination_hook("segment").send("track", "send", [EVENT])
    assert result.outcome is Outcome.SENT
    assert len(census_sandbox["segment"].events) == 1


def test_a_wrong_key_fails_the_test_of_the_connection(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("segment", "segment", password="another-key")
    accepted, words = SegmentHook("segment").test_connection()
    assert not accepted
    assert "no source of workspace 'Acme' has this write key" in words
    assert "another-key" not in words
