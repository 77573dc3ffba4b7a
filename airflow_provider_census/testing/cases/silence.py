"""Answers that come late, broken or not at all: what is reported is what happened, and nothing is doubled."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.testing.bench import Bench
from airflow_provider_census.testing.cases.select import one_of_each, only

_NOT_ACCEPTED = (Outcome.REJECTED, Outcome.UNCERTAIN)
_LOST = [{"reset": "before"}, {"reset": "after"}, {"status": 500}, {"status": 502, "body": "<html>bad gateway</html>"}]
_LOST_IDS = ["reset before", "reset after", "500", "502"]


class Silence:
    """No answer: sent again where that is safe, else uncertain."""

    @only(lambda case: case.repeatable)
    @pytest.mark.parametrize("fault", _LOST, ids=_LOST_IDS)
    def test_a_lost_answer_is_made_good_by_sending_again(self, bench: Bench, fault: dict[str, Any]) -> None:
        records = bench.records(3)
        bench.break_write(**fault)
        bench.assert_arrived(records, bench.deliver(records))

    @only(lambda case: case.doubles)
    @pytest.mark.parametrize("fault", _LOST, ids=_LOST_IDS)
    def test_a_lost_answer_leaves_uncertain_what_could_double(self, bench: Bench, fault: dict[str, Any]) -> None:
        records = bench.records(1)
        bench.break_write(**fault)
        results = bench.deliver(records)
        assert results[0].outcome is Outcome.UNCERTAIN or bench.destination.finds
        assert len(bench.writes()) == 1
        bench.assert_truthful(records, results)

    @only(lambda case: case.doubles)
    @pytest.mark.parametrize("fault", _LOST, ids=_LOST_IDS)
    def test_what_could_double_is_sent_again_where_the_author_says_so(
        self, bench: Bench, fault: dict[str, Any]
    ) -> None:
        records = bench.records(1)
        bench.break_write(**fault)
        (result,) = bench.deliver(records, destination=bench.ready(on_uncertain="resend"))
        assert result.outcome.arrived
        assert bench.landed(records[0])
        assert len(bench.writes()) == 2

    @one_of_each(lambda case: (case.behavior, case.doubles))
    @pytest.mark.parametrize("fault", [{"delay_s": 0.4}, {"drip_s": 0.05}], ids=["at once", "byte by byte"])
    def test_a_late_answer_doubles_nothing(self, bench: Bench, fault: dict[str, Any]) -> None:
        records = bench.records(1)
        bench.break_write(**fault)
        results = bench.deliver(records, client=bench.connect(timeout_s=(5.0, 0.15)))
        if bench.case.repeatable:
            assert results[0].outcome.arrived
        elif bench.case.doubles:
            assert results[0].outcome is Outcome.UNCERTAIN or bench.destination.finds
        bench.settle(0.6)
        bench.assert_truthful(records, results)

    @pytest.mark.parametrize("fault", [{"truncate": True}, {"html": True}], ids=["cut in half", "web page"])
    def test_an_answer_that_is_not_the_apis_is_no_acceptance(self, bench: Bench, fault: dict[str, Any]) -> None:
        records = bench.records(2)
        bench.break_write(**fault)
        results = bench.deliver(records)
        bench.assert_truthful(records, results)

    @pytest.mark.parametrize("fault", [{"truncate": True}, {"html": True}], ids=["cut in half", "web page"])
    def test_only_answers_that_are_not_the_apis_end_in_no_acceptance(self, bench: Bench, fault: dict[str, Any]) -> None:
        records = bench.records(1)
        bench.break_write(**fault, times=100)
        results = bench.deliver(records)
        # An answer without a body cannot be cut: then it was one.
        assert results[0].outcome in _NOT_ACCEPTED or bench.landed(records[0])
        assert len(bench.found(records[0])) <= 1

    @pytest.mark.parametrize("body", [{}, "[]", '"ok"'])
    def test_a_success_that_accounts_for_nothing_is_no_acceptance(self, bench: Bench, body: Any) -> None:
        records = bench.records(2)
        bench.break_write(status=200, headers={"content-type": "application/json"}, body=body, times=100)
        results = bench.deliver(records)
        assert {r.outcome for r in results} <= set(_NOT_ACCEPTED)
        bench.assert_truthful(records, results)

    @only(lambda case: case.subject.short is not None and case.writes)
    def test_a_success_that_accounts_for_fewer_leaves_the_others_uncertain(self, bench: Bench) -> None:
        assert bench.subject.short is not None
        records = bench.records(2)
        bench.break_write(status=201, body=dict(bench.subject.short), times=100)
        assert Outcome.UNCERTAIN in {r.outcome for r in bench.deliver(records)}


class Backpressure:
    """Refused before any work was done: sent again, whatever it is."""

    @one_of_each(lambda case: (case.subject.object, case.write))
    def test_429_with_retry_after_is_waited_for(self, bench: Bench) -> None:
        records = bench.records(1)
        bench.break_write(status=429, headers={"Retry-After": "0.2"}, body={"message": "slow down"})
        bench.assert_arrived(records, bench.deliver(records))
        first, second = bench.writes()
        assert second.at - first.at >= 0.2

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_api_is_asked_again(self, bench: Bench, status: int) -> None:
        records = bench.records(3)
        bench.break_write(status=status, body={"message": "later"}, times=2)
        bench.assert_arrived(records, bench.deliver(records))
        assert bench.client.traffic.retries >= 2
