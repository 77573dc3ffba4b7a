"""Whole runs: model, delta, mapping and state with this destination at the end."""

from __future__ import annotations

import json
import logging

import pytest

from airflow_provider_census.sandbox.core import Fault
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.testing.bench import Bench
from airflow_provider_census.testing.cases.arrival import TEXTS
from airflow_provider_census.testing.cases.select import only

PRIVATE = "private-value-of-a-row"


class Run:
    """``run_sync`` over a model in SQLite."""

    def test_a_run_sends_every_row_and_the_next_one_nothing(self, bench: Bench) -> None:
        table, store = bench.table(bench.rows(5)), MemoryStore()
        result, failure = bench.run(table, store)
        assert failure is None
        assert result.tally.read == 5
        assert sum(n for o, n in result.tally.counts.items() if o.arrived and o is not Outcome.SKIPPED) == 5
        assert all(bench.landed(bench.case.record(n)) for n in range(5))
        bench.sandbox.ledger.clear()
        again, failure = bench.run(table, store)
        assert failure is None
        assert again.tally.counts[Outcome.UNCHANGED] == again.tally.read
        assert bench.writes() == []

    @only(lambda case: case.meets_refusal)
    def test_a_refused_row_is_owed_and_arrives_once_it_is_mended(self, bench: Bench) -> None:
        rows = bench.rows(3)
        key, good = rows[1]
        rows[1] = key, {**good, **bench.subject.poison}
        table, store = bench.table(rows), MemoryStore()
        result, _ = bench.run(table, store)
        assert result.tally.counts[Outcome.REJECTED] == 1
        table.change(key, good)
        result, failure = bench.run(table, store)
        assert failure is None
        assert bench.landed(bench.case.record(1))
        assert bench.run(table, store)[0].tally.counts.keys() <= {Outcome.UNCHANGED}

    @only(lambda case: case.writes)
    def test_an_invalid_row_is_not_sent_and_stops_no_other(self, bench: Bench) -> None:
        rows = bench.rows(3)
        rows[1] = rows[1][0], {**rows[1][1], **bench.subject.invalid}
        result, failure = bench.run(bench.table(rows))
        assert result.tally.counts[Outcome.INVALID] == 1
        assert failure is not None
        assert [bench.landed(bench.case.record(n)) for n in range(3)] == [True, False, True]

    def test_rows_of_one_key_are_never_sent(self, bench: Bench) -> None:
        rows = bench.rows(3)
        doubled = [*rows, (rows[1][0], rows[1][1])]
        result, _ = bench.run(bench.table(doubled))
        assert result.tally.counts[Outcome.INVALID] == 2
        assert [bench.landed(bench.case.record(n)) for n in range(3)] == [True, False, True]

    def test_keys_that_differ_in_case_are_one_where_the_api_says_so(self, bench: Bench) -> None:
        rows = bench.rows(2)
        key, row = rows[0]
        other = key.swapcase()
        assert key != other
        result, _ = bench.run(bench.table([(key, row), (other, bench.case.row(5)), rows[1]]), max_invalid=None)
        assert result.tally.counts[Outcome.INVALID] == (2 if bench.destination.identifier.lower else 0)
        assert bench.landed(bench.case.record(1))

    @only(lambda case: case.writes)
    def test_text_of_a_row_arrives_as_text(self, bench: Bench) -> None:
        rows = bench.rows(len(TEXTS))
        path = bench.subject.text
        rows = [(key, {**row, path: text}) for (key, row), text in zip(rows, TEXTS, strict=True)]
        _, failure = bench.run(bench.table(rows))
        assert failure is None
        for n, text in enumerate(TEXTS):
            assert bench.landed(bench.case.record(n, **{path: bench.destination.escape(text, path)})), text

    def test_a_dry_run_writes_nothing_and_keeps_no_state(self, bench: Bench) -> None:
        store = MemoryStore()
        table = bench.table(bench.rows(3))
        before = bench.held()
        result, failure = bench.run(table, store, dry_run=True)
        assert failure is None
        assert result.tally.counts.total() == 3
        assert result.estimate is not None
        assert result.estimate["requests"] >= 1
        assert bench.writes() == []
        assert bench.held() == before
        assert store.value is None

    @only(lambda case: case.writes)
    @pytest.mark.parametrize("fault", [None, "poison", "echo", "reset", "denied"])
    def test_neither_secrets_nor_values_of_rows_are_shown(
        self, bench: Bench, fault: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = bench.rows(3)
        rows = [(key, {**row, bench.subject.text: PRIVATE}) for key, row in rows]
        if fault == "poison":
            rows[1] = rows[1][0], {**rows[1][1], **bench.subject.poison, bench.subject.text: PRIVATE}
        secrets = bench.client.endpoint.secrets
        for name, status in (("echo", 400), ("denied", 401)):
            if fault == name:
                body = {"message": f"wrong: {secrets}", "errors": [{"message": f"wrong: {secrets}"}]}
                bench.break_write(status=status, body=body, times=100)
        if fault == "reset":
            bench.break_write(reset="after", times=2)
        store = MemoryStore()
        with caplog.at_level(logging.DEBUG, logger="airflow_provider_census"):
            result, failure = bench.run(bench.table(rows), store)
        assert (failure is None) or fault
        shown = json.dumps([result.to_json(), store.value]) + f"{failure} {failure!r} {result!r}"
        shown += "".join(r.getMessage() for r in caplog.records if r.name.startswith("airflow_provider_census"))
        for secret in secrets:
            assert secret not in shown
        assert PRIVATE not in shown
        # What the stand-in was sent besides the address and the headers, which are where secrets belong.
        sent = json.dumps([[call.json, call.form, call.query] for call in bench.sandbox.ledger])
        assert bench.door.password not in sent

    def test_a_run_in_which_nothing_answers_ends_and_loses_nothing(self, bench: Bench) -> None:
        table, store = bench.table(bench.rows(3)), MemoryStore()
        bench.sandbox.inject(Fault(api=bench.case.destination, status=503, times=10_000))
        result, failure = bench.run(table, store, client=bench.connect(attempts=2))
        assert failure is not None
        assert result.tally.counts.total() == result.tally.read
        bench.sandbox.recover()
        _, failure = bench.run(table, store)
        assert failure is None
        assert all(bench.landed(bench.case.record(n)) for n in range(3))
