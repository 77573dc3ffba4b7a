"""Good records arrive, whole and once."""

from __future__ import annotations

from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.testing.bench import Bench, Turns, mentions
from airflow_provider_census.testing.cases.select import one_of_each, only
from airflow_provider_census.testing.subject import Case

TEXTS = (
    "Žofie 漢字 🐎 \u202eاسم",
    """O'Brien said "no" \\ back/slash""",
    "'; DROP TABLE users; --",
    '","injected":true,"x":"',
    "{{ 7 * 7 }} ${HOME} %s %(x)s {0}",
    "<script>alert(1)</script> &amp; <!channel>",
    "two\nlines\tand a tab",
    "0",
    "null",
)
KEYS = ("a/b", "a?b=c&d#e", "../other", "%2e%2e%2fother", 'O\'Brien "x"', "ž 漢 🐎", "..", "*")

_EXPECTED = {
    (Behavior.UPDATE_OR_CREATE, False): {Outcome.CREATED, Outcome.UPSERTED},
    (Behavior.UPDATE_OR_CREATE, True): {Outcome.UPDATED, Outcome.UPSERTED},
    (Behavior.UPDATE_ONLY, True): {Outcome.UPDATED},
    (Behavior.CREATE_ONLY, False): {Outcome.CREATED},
    (Behavior.DELETE, True): {Outcome.DELETED},
    (Behavior.APPEND, False): {Outcome.SENT},
    (Behavior.SEND, False): {Outcome.SENT},
}


def _has_plain_ids(case: Case) -> bool:
    return case.identifies and "@" not in case.subject.id(0)


class Arrival:
    """Batches and values."""

    def test_one_record_arrives(self, bench: Bench) -> None:
        records = bench.records(1)
        results = bench.deliver(records)
        bench.assert_arrived(records, results)
        assert results[0].outcome in _EXPECTED[bench.case.behavior, bench.case.existing]

    def test_a_full_batch_arrives_with_about_the_requests_a_dry_run_promises(self, bench: Bench) -> None:
        records = bench.records(_full(bench))
        promised = sum(bench.destination.requests_for([bench.case.operation(r) for r in records]).values())
        bench.assert_arrived(records, bench.deliver(records))
        assert promised / 2 <= len(bench.sandbox.ledger) <= promised * 2

    def test_more_than_a_batch_is_split_and_nothing_is_refused_for_its_size(self, bench: Bench) -> None:
        records = bench.records(_full(bench) + 1)
        bench.assert_arrived(records, bench.deliver(records))
        assert {call.status for call in bench.writes()} <= {200, 201, 202, 204}
        assert len(bench.writes()) >= 2

    def test_nothing_is_sent_for_no_operations(self, bench: Bench) -> None:
        bench.sandbox.ledger.clear()
        assert bench.deliver([]) == []
        assert bench.sandbox.ledger == []

    @only(lambda case: case.writes)
    def test_text_arrives_as_it_is(self, bench: Bench) -> None:
        records = bench.known([bench.case.record(n, **{bench.subject.text: text}) for n, text in enumerate(TEXTS)])
        bench.assert_arrived(records, bench.deliver(records))

    @only(lambda case: case.writes and bool(case.subject.odd))
    def test_numbers_booleans_nulls_and_nested_values_arrive_as_they_are(self, bench: Bench) -> None:
        records = bench.known([bench.case.record(1, **bench.subject.odd)])
        assert bench.destination.check(bench.case.operation(records[0])) is None
        bench.assert_arrived(records, bench.deliver(records))

    @only(_has_plain_ids)
    def test_a_hostile_key_is_invalid_or_means_its_own_record_only(self, bench: Bench) -> None:
        (bystander,) = bench.records(1, start=100)
        before = bench.found(bystander)
        records = [bench.case.record(n, id=key) for n, key in enumerate(KEYS)]
        fit = [r for r in records if bench.destination.check(bench.case.operation(r)) is None]
        fit = bench.known(fit)
        bench.assert_arrived(fit, bench.deliver(fit))
        assert bench.found(bystander) == before

    def test_the_payload_of_a_dry_run_is_what_is_sent(self, bench: Bench) -> None:
        records = bench.records(2)
        payloads = [bench.destination.payload(bench.case.operation(record)) for record in records]
        bench.deliver(records)
        bodies = [call.json if call.form is None else call.form for call in bench.writes()]
        if bench.case.deletes and bodies == [None] * len(records):
            return  # the path says it all
        by = bench.destination.identifier.name
        for payload in payloads:
            # The identifier may stand in the path instead.
            forms = [payload, {k: v for k, v in payload.items() if k != by} if isinstance(payload, dict) else payload]
            assert any(mentions(body, form) for body in bodies for form in forms), payload

    @one_of_each(lambda case: (case.subject.object, case.behavior))
    def test_every_request_waits_for_its_turn_under_a_declared_rate(self, bench: Bench) -> None:
        turns = Turns(bench.door.cls.rates)
        records = bench.records(6)
        bench.assert_arrived(records, bench.deliver(records, client=bench.connect(turns)))
        assert len(turns.taken) == len(bench.sandbox.ledger)
        turns.assert_paced()


class Repetition:
    """The same again, and records that are or are not there."""

    @only(lambda case: case.repeatable)
    def test_the_same_batch_again_changes_nothing(self, bench: Bench) -> None:
        records = bench.records(3)
        bench.assert_arrived(records, bench.deliver(records))
        held = len(bench.held())
        again = bench.deliver(records)
        assert {r.outcome for r in again} <= {*_EXPECTED[bench.case.behavior, bench.case.existing], *_AGAIN}
        bench.assert_truthful(records, again)
        assert len(bench.held()) == held
        assert all(bench.landed(record) for record in records)

    @only(lambda case: case.behavior is Behavior.UPDATE_ONLY)
    def test_update_only_creates_nothing_and_skips_what_is_not_there(self, bench: Bench) -> None:
        there = bench.records(2)
        missing = [bench.case.record(n) for n in (10, 11)]
        results = bench.deliver([there[0], missing[0], there[1], missing[1]])
        bench.assert_arrived(there, results[::2])
        assert not any(bench.found(record) for record in missing)
        if bench.subject.tells_absence:
            assert [r.outcome for r in results[1::2]] == [Outcome.SKIPPED] * 2

    @only(lambda case: case.behavior is Behavior.CREATE_ONLY)
    def test_create_only_leaves_what_is_there(self, bench: Bench) -> None:
        there = bench.records(2)
        bench.assert_arrived(there, bench.deliver(there))
        others = [bench.case.earlier(record, n) for n, record in enumerate(there)]
        results = bench.deliver(others)
        assert [r.outcome for r in results] == [Outcome.SKIPPED] * 2
        assert all(bench.landed(record) for record in there)

    @only(lambda case: case.deletes)
    def test_deleting_what_is_not_there_is_harmless(self, bench: Bench) -> None:
        (there,) = bench.records(1)
        never = bench.case.record(10)
        results = bench.deliver([never, there])
        assert results[0].outcome in (Outcome.DELETED, Outcome.SKIPPED)
        bench.assert_arrived([there], results[1:])
        (again,) = bench.deliver([there])
        assert again.outcome in (Outcome.DELETED, Outcome.SKIPPED)


_AGAIN = (Outcome.UPDATED, Outcome.UPSERTED, Outcome.SKIPPED, Outcome.SENT)


def _full(bench: Bench) -> int:
    return bench.destination.max_batch(bench.case.operation(bench.case.record(0)))
