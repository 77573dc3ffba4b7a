from __future__ import annotations

from collections.abc import Callable

from airflow_provider_census.hooks.zapier import ZapierHook
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync.outcome import Outcome

Connect = Callable[..., None]


def test_records_start_the_zap_also_without_an_id_of_their_own(
    census_sandbox: Sandbox, census_connect: Connect
) -> None:
    census_connect("zap", "zapier")
    results = ZapierHook("zap").send("hook", "send", [{"event_id": "e1", "order.total": 9.5}, {"order.total": 7}])
    assert [result.outcome for result in results] == [Outcome.SENT] * 2
    first, second = sorted(census_sandbox["zapier"].caught, key=lambda row: row["event_id"] != "e1")
    assert first == {"event_id": "e1", "order": {"total": 9.5}}
    assert second["event_id"]


def test_the_test_of_the_connection_says_what_it_cannot_tell(census_sandbox: Sandbox, census_connect: Connect) -> None:
    census_connect("zap", "zapier")
    good, words = ZapierHook("zap").test_connection()
    assert good
    assert "cannot be told" in words
    census_connect("zap", "zapier", password="https://hooks.zapier.com/app/zaps")
    good, words = ZapierHook("zap").test_connection()
    assert not good
    assert "Catch Hook URL" in words
    assert census_sandbox.ledger == []
