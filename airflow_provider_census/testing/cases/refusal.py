"""What the API refuses is rejected in its own words, alone."""

from __future__ import annotations

import itertools
from typing import ClassVar

import pytest

from airflow_provider_census.errors import AuthError, ConfigError
from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.testing.bench import Bench
from airflow_provider_census.testing.cases.select import one_of_each, only

_NOT_ACCEPTED = (Outcome.REJECTED, Outcome.UNCERTAIN)


class Refusal:
    """Records at fault."""

    @only(lambda case: case.meets_refusal)
    def test_a_poison_record_alone_is_rejected_in_the_words_of_the_api(self, bench: Bench) -> None:
        records = bench.known([bench.case.record(1, **bench.subject.poison)])
        assert bench.destination.check(bench.case.operation(records[0])) is None
        results = bench.deliver(records)
        assert [r.outcome for r in results] == [Outcome.REJECTED]
        assert bench.subject.words in results[0].reason
        bench.assert_truthful(records, results)

    @only(lambda case: case.meets_refusal)
    def test_one_poison_record_costs_no_other_its_place(self, bench: Bench) -> None:
        count = min(bench.destination.max_batch(bench.case.operation(bench.case.record(0))), 20) + 3
        records = [bench.case.record(n, **(bench.subject.poison if n == 1 else {})) for n in range(count)]
        results = bench.deliver(bench.known(records))
        assert results[1].outcome is Outcome.REJECTED
        assert bench.subject.words in results[1].reason
        others, theirs = records[:1] + records[2:], results[:1] + results[2:]
        bench.assert_arrived(others, theirs)
        bench.assert_truthful(records, results)

    @only(lambda case: case.meets_refusal)
    def test_a_batch_of_poison_is_rejected_record_by_record(self, bench: Bench) -> None:
        records = bench.known([bench.case.record(n, **bench.subject.poison) for n in range(3)])
        results = bench.deliver(records)
        assert [r.outcome for r in results] == [Outcome.REJECTED] * 3
        bench.assert_truthful(records, results)

    @only(lambda case: case.writes)
    def test_what_the_api_cannot_take_is_found_before_it_is_sent(self, bench: Bench) -> None:
        bad = bench.case.record(1, **bench.subject.invalid)
        reason = bench.destination.check(bench.case.operation(bad))
        assert reason
        assert not any(text in reason for text in bench.subject.invalid.values() if isinstance(text, str) and text)

    def test_a_refused_batch_is_split_and_the_rest_arrives(self, bench: Bench) -> None:
        records = bench.records(min(bench.destination.max_batch(bench.case.operation(bench.case.record(0))), 8))
        bench.break_write(status=400, body={"no": "thanks"})
        results = bench.deliver(records)
        bench.assert_truthful(records, results)
        assert sum(r.outcome in _NOT_ACCEPTED for r in results) <= 1

    @pytest.mark.parametrize(
        ("status", "body"), [(400, "bad"), (404, {"not": "here"}), (409, {"un": "heard of"}), (418, "stout"), (422, "")]
    )
    def test_an_unknown_refusal_is_neither_accepted_nor_tried_again(
        self, bench: Bench, status: int, body: str | dict[str, str]
    ) -> None:
        records = bench.records(1)
        bench.break_write(status=status, body=body, times=100)
        try:
            results = bench.deliver(records)
        except ConfigError:  # no API answers there: right for a 404
            results = [RowResult(Outcome.REJECTED, "the run ended")]
        bench.assert_truthful(records, results)
        assert results[0].outcome in (*_NOT_ACCEPTED, Outcome.SKIPPED)
        assert len(bench.writes()) == 1


class Denial:
    """Credentials and permissions: they stop the run at once."""

    answers_alike: ClassVar[bool]

    @one_of_each(lambda case: (case.subject.object, case.deletes))
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_denial_stops_the_run_at_once(self, bench: Bench, status: int) -> None:
        bench.sandbox.ledger.clear()
        words = f"the key {bench.door.password} is not welcome"
        bench.sandbox.inject(Fault(api=bench.case.destination, status=status, body=words, times=10_000))
        endless = (bench.case.record(n) for n in itertools.count())
        with pytest.raises(AuthError) as denied:
            bench.deliver(endless)
        assert bench.door.password not in str(denied.value)
        assert len(bench.sandbox.ledger) <= bench.destination.concurrency

    def test_bad_credentials_stop_a_run_before_anything_is_written(self, bench: Bench) -> None:
        table = bench.table(bench.rows(3))
        before = bench.held()
        door = bench.door.spoiled()
        client = door.client()
        result, failure = bench.run(table, client=client, door=door)
        client.close()
        assert bench.door.password not in f"{failure} {result.to_json()}"
        assert bench.held() == before
        if self.answers_alike:
            return  # nobody can tell
        assert isinstance(failure, AuthError)
        assert not any(n for outcome, n in result.tally.counts.items() if outcome.arrived)
