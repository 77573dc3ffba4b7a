"""Answers that make no sense: a run ends in a result or an error that says why, and accepts nothing for them."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from airflow_provider_census.errors import CensusError
from airflow_provider_census.sandbox.core import Call, Fault, Sandbox
from airflow_provider_census.sync.delta import Delta, Snapshot, Watermark
from airflow_provider_census.sync.paths import without
from airflow_provider_census.sync.values import Record
from airflow_provider_census.testing.bench import ARRIVED, Bench, Door
from airflow_provider_census.testing.cases.select import one_of_each, only

Place = list[str | int]
Rows = list[tuple[Any, Mapping[str, Any]]]

# Of all that could be wrong with the answers to one run, so many things are: others for each case.
_TRIED = 8
_DEEPEST = 4
_INSTEAD = ("", "null", "[[]]", '{"?": [null]}', '"?"', "-7", "<html>", '{"?"', "[" * 10_000)
_FOR_ALL = ("", "null", "[null]", '{"?": [null]}', "-7", "0.5")
_NOTHING = ("", "null", "[]")
_MOVED = Watermark("moved")
_HEADERS = (
    *("date", "retry-after"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-retry-after"),
)
_NO_NUMBERS = ("", "?", "nan", "-inf", "9" * 400, "-1", "Mon, 01 Jan 99999 00:00:00 GMT")


class Nonsense:
    """Every exchange of a run, and the one of the connection test."""

    name: ClassVar[str]
    headers: ClassVar[tuple[str, ...]]

    def arrange(self, api: Any) -> None:
        """Put into the empty stand-in what must be there before any record."""

    def test_an_absurd_answer_is_no_acceptance(self, bench: Bench) -> None:
        self._try(bench, lambda rows: _run(bench, rows))

    def test_an_absurd_answer_behind_a_lost_one_is_no_acceptance(self, bench: Bench) -> None:
        self._try(bench, lambda rows: _run(bench, rows), reset="after")

    @only(lambda case: case.looks_up)
    def test_an_absurd_answer_to_a_look_up_is_no_acceptance(self, bench: Bench) -> None:
        def run(rows: Rows) -> None:
            _run(bench, rows, delta=Snapshot(baseline="adopt"))
            text = bench.subject.text
            _run(bench, [(key, {**row, text: f"text {key}"}) for key, row in rows], keep=text)

        self._try(bench, run)

    @one_of_each(lambda case: case.subject.object)
    @pytest.mark.parametrize("text", _NO_NUMBERS, ids=lambda text: text[:12])
    def test_headers_that_say_nothing_change_nothing(self, bench: Bench, text: str) -> None:
        headers = dict.fromkeys((*_HEADERS, *self.headers), text)
        fault = Fault(api=self.name, headers=headers, times=10_000)
        bench.sandbox.inject(fault)
        bench.break_write(status=429, body={}, headers=headers)
        records = bench.records(3)
        bench.assert_truthful(records, bench.deliver(records))

    def test_an_absurd_answer_to_the_connection_test_is_a_clear_error_or_none(
        self, door: Door, sandbox: Sandbox
    ) -> None:
        client = door.client(attempts=2)
        client.run(door.cls.test())
        for fault in _faults(self.name, list(sandbox.ledger), ()):
            sandbox.recover()
            sandbox.inject(fault)
            with contextlib.suppress(CensusError):
                assert client.run(door.cls.test()).strip()
        client.close()

    def _try(self, bench: Bench, run: Callable[[Rows], None], **trouble: Any) -> None:
        """Run once to see what is answered, and again for what could be wrong with it."""

        def start(*faults: Fault) -> None:
            bench.sandbox.reset()
            self.arrange(bench.sandbox[self.name])
            rows = bench.rows(3)
            if bench.case.meets_refusal:
                rows[1] = rows[1][0], {**rows[1][1], **bench.subject.poison}
            if trouble:
                bench.break_write(**trouble)
            for fault in faults:
                bench.sandbox.inject(fault)
            run(rows)

        start()
        faults = list(_faults(self.name, bench.sandbox.ledger, bench.subject.silent))
        faults.sort(key=lambda fault: _order(f"{bench.case} {fault}", len(fault.place or ())))
        for fault in faults[:_TRIED]:
            try:
                start(fault)
            except BaseException as error:
                error.add_note(f"with {fault}")
                raise


def _run(bench: Bench, rows: Rows, *, delta: Delta = _MOVED, keep: str = "") -> None:
    """
    Run a sync, and see that no more is reported accepted than is there.

    :param keep: a field that is set only where it is empty.
    """
    table = bench.table(rows)
    mapping = dict(table.mapping)
    if keep:
        mapping[keep] = replace(mapping[keep], set="if_empty")
    client = bench.connect(attempts=2)
    result, failure = bench.run(table, client=client, delta=delta, mapping=mapping)
    assert failure is None or str(failure)
    counts = result.tally.counts
    assert counts.total() == result.tally.read, result.to_json()
    records = [bench.case.record(n, **row) for n, (_, row) in enumerate(rows)]
    there = [Record(record.key, record.id, without(record.fields, [keep] if keep else [])) for record in records]
    landed = sum(map(bench.landed, there))
    assert sum(counts[outcome] for outcome in ARRIVED) <= landed, result.to_json()


def _faults(api: str, calls: Iterable[Call], silent: Sequence[str]) -> Iterator[Fault]:
    """Yield what could be wrong with the answers to ``calls``."""
    seen = set()
    for call in calls:
        # What names a record in a path is not the same in the next run.
        path = re.sub(r"[^/]*\d[^/]*", "*", call.path)
        for place, puts in _changes(call.answer, silent):
            for put in puts:
                key = (call.method, path, tuple(place), put)
                if key not in seen:
                    seen.add(key)
                    # An answer that is lost once is asked for again.
                    times = 1 if len(seen) % 3 == 0 else 10_000
                    yield Fault(api=api, method=call.method, path=path, place=place, put=put, times=times)


def _order(fault: str, depth: int) -> float:
    """Return a number that is always the same, another one for each case, and mostly lower for what is read first."""
    return zlib.crc32(fault.encode()) * (1 + depth) ** 2


def _changes(answer: Any, silent: Sequence[str]) -> Iterator[tuple[Place, Iterable[str]]]:
    """Yield the places of an answer, and the JSON text to put there."""
    yield [], _INSTEAD
    level: list[tuple[Place, Any]] = [([], answer)]
    for _ in range(_DEEPEST):
        level = [([*place, name], part) for place, value in level for name, part in _parts(value)]
        for place, value in level:
            # Another text for a text, or another list, could be true: nobody can tell.
            puts = [*_FOR_ALL, '""' if isinstance(value, str) else '"?"']
            if isinstance(value, list):
                puts += ["[]", json.dumps(value * 2)]
            if any(fnmatch.fnmatchcase(".".join(map(str, place)), pattern) for pattern in silent):
                puts = [put for put in puts if put not in _NOTHING]
            yield place, puts


def _parts(value: Any) -> Iterable[tuple[str | int, Any]]:
    """Return the parts of an object, or the first one of a list: the others are read as it is."""
    return value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
