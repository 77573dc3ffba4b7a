"""What is there is looked up before it is written: told as it is, compared with what would be written, left alone."""

from __future__ import annotations

from airflow_provider_census.sync.delta import Snapshot
from airflow_provider_census.sync.fields import Column
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.state import MemoryStore
from airflow_provider_census.sync.values import Held, Record
from airflow_provider_census.testing.bench import Bench, shows
from airflow_provider_census.testing.cases.select import only

_ADOPT = Snapshot(baseline="adopt")


def _there(bench: Bench, count: int) -> list[Record]:
    """Return records that are there as they are."""
    records = [bench.case.record(n) for n in range(count)]
    bench.assert_arrived(records, bench.deliver(records))
    bench.sandbox.ledger.clear()
    return records


class LookUp:
    """Destinations that can tell what they hold."""

    @only(lambda case: case.looks_up)
    def test_what_was_written_is_held_and_what_was_not_is_missing(self, bench: Bench) -> None:
        there = _there(bench, bench.destination.max_fetch() + 1)
        for record, held in zip(there, bench.held_now(there), strict=True):
            assert isinstance(held, Held)
            assert held.fields is not None
            assert bench.destination.matches(bench.case.operation(record), held.fields), record.id
            other = bench.case.earlier(record, 1)
            assert not bench.destination.matches(bench.case.operation(other), held.fields), record.id
        missing = bench.held_now([bench.case.record(n) for n in (1000, 1001)])
        assert missing == [Held(None), Held(None)]
        assert bench.writes() == []

    @only(lambda case: case.looks_up and bool(case.subject.odd))
    def test_no_change_of_a_single_field_is_missed(self, bench: Bench) -> None:
        record = bench.case.record(1, **bench.subject.odd)
        bench.assert_arrived([record], bench.deliver([record]))
        (held,) = bench.held_now([record])
        assert isinstance(held, Held)
        for path, value in bench.case.row(2).items():
            if value != bench.case.row(1)[path]:
                changed = bench.case.record(1, **{**bench.subject.odd, path: value})
                assert not bench.destination.matches(bench.case.operation(changed), held.fields or {}), path

    @only(lambda case: case.looks_up)
    def test_looking_up_takes_about_the_requests_a_dry_run_promises(self, bench: Bench) -> None:
        there = _there(bench, bench.destination.max_fetch())
        promised = sum(bench.destination.requests_to_fetch(len(there)).values())
        bench.held_now(there)
        assert promised / 2 <= len(bench.sandbox.ledger) <= promised * 2

    @only(lambda case: case.looks_up)
    def test_a_first_run_that_adopts_sends_only_what_differs(self, bench: Bench) -> None:
        there = _there(bench, 4)
        changed = bench.case.earlier(there[3], 3)
        bench.deliver([changed])
        bench.sandbox.ledger.clear()
        rows = [(bench.subject.id(n), bench.case.row(n)) for n in range(5)]
        table, store = bench.table(rows), MemoryStore()
        result, failure = bench.run(table, store, delta=_ADOPT)
        assert failure is None
        assert result.tally.counts[Outcome.UNCHANGED] == 3
        assert all(bench.landed(bench.case.record(n)) for n in range(5))
        assert all(len(bench.found(bench.case.record(n))) == 1 for n in range(5))
        bench.sandbox.ledger.clear()
        assert bench.run(table, store, delta=_ADOPT)[0].tally.read == 0
        assert bench.writes() == []

    @only(lambda case: case.looks_up)
    def test_a_field_is_set_only_where_it_is_empty(self, bench: Bench) -> None:
        path = bench.subject.text
        full = bench.case.record(0, **{path: "theirs"})
        empty = bench.case.record(1, **{path: None})
        bench.assert_arrived([full, empty], bench.deliver([full, empty]))
        rows = [(bench.subject.id(n), bench.case.row(n + 50, **{path: "ours"})) for n in range(3)]
        table = bench.table(rows)
        columns = {field: Column(column.name) for field, column in table.mapping.items()}
        mapping = {**columns, path: Column(columns[path].name, set="if_empty")}
        result, failure = bench.run(table, mapping=mapping)
        assert failure is None, result.to_json()
        for n, text in enumerate(("theirs", "ours", "ours")):
            wanted = Record(None, bench.case.record(n).id, bench.case.record(n + 50, **{path: text}).fields)
            (held,) = bench.found(wanted)
            assert shows(held, wanted.fields), path
