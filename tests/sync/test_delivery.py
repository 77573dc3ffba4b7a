from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_census.errors import AccountingError, AuthError, ConfigError, Interrupted, Unavailable
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.batches import Batcher
from airflow_provider_census.sync.delivery import deliver
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, Record, RowResult
from airflow_provider_census.transport import message
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.message import Exchange, encoded_size
from tests.sync.support import APPEND, DELETE, UPSERT, Database, Rig, Tiny, TinyApi, bound

Results = list[tuple[int, RowResult]]


def operations(count: int, behavior: Any = UPSERT, **fields: Any) -> Iterator[tuple[int, Operation]]:
    for n in range(count):
        yield n, Operation(behavior, Record(n, str(n), {"name": "n", **fields}))


@pytest.fixture
def client(sandbox: Sandbox, lite: Database) -> Iterator[Client]:
    client = Rig(sandbox, lite).connect()
    yield client
    client.close()


def drain(destination: Tiny, client: Client, rows: Iterator[tuple[int, Operation]]) -> tuple[Results, Exception | None]:
    """Return every result, and the error that ended the delivery."""
    results: Results = []
    try:
        for batch in deliver(rows, destination, client):
            results += batch
    except Exception as error:
        return results, error
    return results, None


def outcomes(results: Results) -> dict[int, Outcome]:
    assert len({token for token, _ in results}) == len(results), "a token came back twice"
    return {token: result.outcome for token, result in results}


def record() -> Tiny:
    return Tiny("record", UPSERT)


def post(**options: Any) -> Tiny:
    return Tiny("post", APPEND, options=options)


def test_batches_are_as_large_as_the_api_takes(tiny: TinyApi, sandbox: Sandbox, client: Client) -> None:
    results, error = drain(record(), client, operations(95))
    assert error is None
    assert set(outcomes(results)) == set(range(95))
    assert sorted(len(call.json["records"]) for call in sandbox.ledger) == [5] + [10] * 9


def test_batches_stay_below_the_bytes_the_api_takes() -> None:
    class Narrow(Tiny):
        batch = 1_000
        batch_bytes = 500

    destination = Narrow("record", UPSERT)
    batcher: Batcher[int] = Batcher(destination)
    batches = [b for n, op in operations(100, text="ä" * 20) for b in batcher.add(n, op)] + list(batcher.rest())
    sizes = [encoded_size([destination.payload(op) for _, op in batch]) for batch in batches]
    assert sum(map(len, batches)) == 100
    assert max(sizes) <= 500
    assert all(size > 400 for size in sizes[:-1])


def test_a_payload_is_encoded_once_and_anew_for_another_record(tiny: TinyApi) -> None:
    made: list[str] = []

    class Counting(Tiny):
        batch_bytes = 500

        def payload(self, operation: Operation) -> dict[str, Any]:
            made.append(operation.record.id)
            return super().payload(operation)

    destination = Counting("record", UPSERT)
    (_, operation), *_ = operations(1, text="ä")
    Batcher[int](destination).add(0, operation)
    assert destination.encoded(operation) == '{"name":"n","text":"ä","id":"0"}'.encode()
    assert made == ["0"]
    other = Operation(UPSERT, Record(1, "1", {"name": "m"}))
    assert destination.encoded(other) == b'{"name":"m","id":"1"}'


def test_a_record_larger_than_a_batch_travels_alone() -> None:
    class Narrow(Tiny):
        batch_bytes = 100

    batcher: Batcher[int] = Batcher(Narrow("record", UPSERT))
    batches = [b for n, op in operations(3, text="x" * 200) for b in batcher.add(n, op)] + list(batcher.rest())
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_operations_of_many_lanes_do_not_pile_up() -> None:
    class Lanes(Tiny):
        def lane(self, operation: Operation) -> Any:
            return operation.record.id

    batcher: Batcher[int] = Batcher(Lanes("record", UPSERT))
    early = [b for n, op in operations(200) for b in batcher.add(n, op)]
    assert len(early) > 150
    assert sum(map(len, early + list(batcher.rest()))) == 200


@pytest.mark.parametrize("poison", [0, 36, 37, 38, 55, 74])
def test_one_poison_record_among_75_is_found_in_few_calls(
    sandbox: Sandbox, tiny: TinyApi, client: Client, poison: int
) -> None:
    tiny.refused[str(poison)] = "the plan is unknown"
    results, error = drain(Wide("post", APPEND), client, operations(75, APPEND))
    assert error is None
    refused = [(token, result) for token, result in results if result.outcome is Outcome.REJECTED]
    assert [token for token, _ in refused] == [poison]
    assert refused[0][1] == RowResult(Outcome.REJECTED, "the plan is unknown (sent with ***)", 422)
    assert sorted(map(int, tiny.posted)) == [n for n in range(75) if n != poison]
    assert len(sandbox.ledger) <= 1 + 2 * math.log2(75)


def test_a_batch_in_which_every_record_is_refused_ends_with_every_record_rejected(
    tiny: TinyApi, client: Client
) -> None:
    tiny.refused.update({str(n): f"no {n}" for n in range(30)})
    results, error = drain(record(), client, operations(30))
    assert error is None
    assert {token: result.reason.split(" (")[0] for token, result in results} == {n: f"no {n}" for n in range(30)}


def test_a_record_the_answer_leaves_out_is_uncertain(tiny: TinyApi, client: Client) -> None:
    tiny.forgets.update({"3", "4"})
    results, _ = drain(record(), client, operations(10))
    assert [n for n, o in outcomes(results).items() if o is Outcome.UNCERTAIN] == [3, 4]


def test_a_destination_says_which_rejections_may_pass_by_themselves(client: Client) -> None:
    class Unwell(Tiny):
        def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
            return [
                RowResult(Outcome.REJECTED, "not well", 503, passing=operation.record.key > 0) for operation in batch
            ]
            yield

    results, _ = drain(Unwell("record", UPSERT), client, operations(3))
    assert {token: result.passing for token, result in results} == {0: False, 1: True, 2: True}


@pytest.mark.parametrize("results", [[], [RowResult(Outcome.SENT)] * 3, [RowResult(Outcome.SENT)] * 11])
def test_a_wrong_number_of_results_is_a_defect_and_says_so(client: Client, results: list[RowResult]) -> None:
    class Miscounting(Tiny):
        def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
            return results
            yield

    _, error = drain(Miscounting("post", APPEND), client, operations(10, APPEND))
    assert isinstance(error, AccountingError)
    assert f"{len(results)} results for 10 operations" in str(error)


def test_what_was_in_flight_when_the_key_was_revoked_is_accounted_for(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    tiny.slow_s = 0.02
    sandbox.inject(Fault(api="tiny", after=6, status=401, body="the key tiny-secret-key is revoked"))
    results, error = drain(post(), client, operations(1_000, APPEND))
    assert isinstance(error, AuthError)
    assert "tiny-secret-key" not in str(error)
    assert sorted(n for n, _ in results) == sorted(map(int, tiny.posted))
    assert set(outcomes(results).values()) == {Outcome.SENT}
    assert 60 <= len(results) <= 150


def test_the_half_that_was_sent_before_the_key_was_revoked_is_accounted_for(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    tiny.refused["9"] = "no"
    sandbox.inject(Fault(api="tiny", after=2, status=401))
    results, error = drain(post(), client, operations(10, APPEND))
    assert isinstance(error, AuthError)
    assert [n for n, _ in results] == [0, 1, 2, 3, 4] == list(map(int, tiny.posted))


def test_a_source_that_breaks_off_leaves_nothing_unaccounted(tiny: TinyApi, client: Client) -> None:
    tiny.slow_s = 0.05

    def broken() -> Iterator[tuple[int, Operation]]:
        yield from operations(25, APPEND)
        raise Unavailable("the source is gone")

    results, error = drain(post(), client, broken())
    assert str(error) == "the source is gone"
    assert sorted(n for n, _ in results) == list(range(20)) == sorted(map(int, tiny.posted))


def test_no_more_is_in_flight_than_the_destination_takes_and_little_is_read_ahead(
    tiny: TinyApi, client: Client
) -> None:
    tiny.slow_s = 0.03
    read = 0

    def counted() -> Iterator[tuple[int, Operation]]:
        nonlocal read
        for pair in operations(400):
            read += 1
            yield pair

    done = 0
    ahead = []
    for batch in deliver(counted(), record(), client):
        done += len(batch)
        ahead.append(read - done)
    assert done == 400
    assert tiny.most_in_flight == Tiny.concurrency
    assert max(ahead) <= Tiny.concurrency * Tiny.batch


@pytest.mark.parametrize(("share", "most"), [(1.0, 4), (0.5, 2), (0.3, 1), (0.01, 1)])
def test_a_share_of_the_limit_is_a_share_of_what_may_be_in_flight(
    tiny: TinyApi, client: Client, share: float, most: int
) -> None:
    class Limited(Tiny):
        concurrency = most_in_flight = 4

    tiny.slow_s = 0.02
    client.limiter.share = share
    drain(Limited("record", UPSERT), client, operations(100))
    assert tiny.most_in_flight == most


def test_a_share_of_the_rates_leaves_alone_what_is_in_flight_where_the_api_does_not_limit_that(
    tiny: TinyApi, client: Client
) -> None:
    tiny.slow_s = 0.02
    client.limiter.share = 0.25
    drain(record(), client, operations(100))
    assert tiny.most_in_flight == Tiny.concurrency


@pytest.mark.parametrize(
    ("name", "object", "behavior", "expected"),
    [
        ("mailchimp", "member", UPSERT, {1.0: 10, 0.5: 5, 0.29: 2}),
        ("clevertap", "profile", UPSERT, {1.0: 10, 0.5: 7, 0.2: 3}),
        ("clevertap", "profile", DELETE, {1.0: 3, 0.5: 1}),
        ("slack", "#general", APPEND, {1.0: 1, 0.1: 1}),
    ],
)
def test_tasks_that_share_a_limit_of_requests_in_flight_stay_below_it_together(
    name: str, object: str, behavior: Any, expected: dict[float, int]
) -> None:
    options = {"audience_id": "a1"} if name == "mailchimp" else {}
    destination = bound(name, object, behavior, options=options)
    assert {share: destination.in_flight(share) for share in expected} == expected


def test_more_are_in_flight_where_answers_take_long_and_all_of_them_are_used(tiny: TinyApi, client: Client) -> None:
    class Wide(Tiny):
        concurrency = 40
        batch = 1

    tiny.slow_s = 0.2
    drain(Wide("record", UPSERT), client, operations(300))
    assert 24 <= tiny.most_in_flight <= 40


def test_a_destination_without_concurrency_keeps_the_order_of_the_rows(tiny: TinyApi, client: Client) -> None:
    class Ordered(Tiny):
        concurrency = 1
        batch = 3

    drain(Ordered("post", APPEND), client, operations(50, APPEND))
    assert list(map(int, tiny.posted)) == list(range(50))
    assert tiny.most_in_flight == 1


def test_a_destination_that_is_down_stops_the_run(sandbox: Sandbox, tiny: TinyApi, client: Client) -> None:
    sandbox.inject(Fault(api="tiny", after=3, status=503, times=10_000))
    results, error = drain(post(), client, operations(1_000, APPEND))
    assert isinstance(error, Unavailable)
    assert "down" in str(error)
    assert len(results) < 200
    assert {n for n, o in outcomes(results).items() if o is Outcome.SENT} == set(map(int, tiny.posted))


def test_a_single_row_that_breaks_the_api_does_not_stop_the_run(tiny: TinyApi, client: Client) -> None:
    class One(Tiny):
        batch = 1

    tiny.breaks = {"7", "77"}
    results, error = drain(One("record", UPSERT), client, operations(100))
    assert error is None
    assert [n for n, o in sorted(outcomes(results).items()) if o is not Outcome.UPSERTED] == [7, 77]
    assert dict(results)[7].status == 500


class Wide(Tiny):
    batch = 75


@pytest.mark.parametrize("guilty", [{0}, {37}, {74}, {40, 74}])
def test_a_record_that_makes_the_api_fail_is_rejected_alone(
    sandbox: Sandbox, tiny: TinyApi, client: Client, guilty: set[int]
) -> None:
    tiny.breaks = {str(n) for n in guilty}
    results, error = drain(Wide("record", UPSERT), client, operations(75))
    assert error is None
    refused = {token: result for token, result in results if result.outcome is Outcome.REJECTED}
    assert set(refused) == guilty
    assert all(result.status == 500 and not result.passing for result in refused.values())
    assert sorted(map(int, tiny.records)) == [n for n in range(75) if n not in guilty]
    assert len(sandbox.ledger) <= 6 + 2 * 2 * len(guilty) * math.log2(75)


def test_an_object_for_which_the_api_always_fails_costs_few_requests(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    class Lanes(Wide):
        def lane(self, operation: Operation) -> Any:
            return operation.record.key < 75

    tiny.breaks = {str(n) for n in range(75)}
    results, error = drain(Lanes("record", UPSERT), client, operations(75 * 6))
    assert error is None
    assert [n for n, outcome in sorted(outcomes(results).items()) if outcome is not Outcome.UPSERTED] == list(range(75))
    assert len(sandbox.ledger) <= 5 + 6 + 2 * 4 * math.log2(128)


def test_an_api_that_fails_for_everything_is_soon_left_alone(sandbox: Sandbox, tiny: TinyApi, client: Client) -> None:
    sandbox.inject(Fault(api="tiny", status=500, times=10_000))
    results, error = drain(Wide("record", UPSERT), client, operations(75 * 100))
    assert isinstance(error, Unavailable)
    assert "down" in str(error)
    assert all(result.passing for _, result in results)
    assert len(sandbox.ledger) <= 6 * (Wide.concurrency + 6)


def test_an_api_that_fails_for_the_only_batch_is_asked_little_more(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    sandbox.inject(Fault(api="tiny", status=500, times=10_000))
    results, error = drain(Wide("record", UPSERT), client, operations(75))
    assert error is None
    assert {(result.outcome, result.passing) for _, result in results} == {(Outcome.REJECTED, True)}
    assert len(sandbox.ledger) <= 6 + 2 * 2


def test_what_may_not_be_repeated_is_not_sent_again_to_find_the_record_that_makes_the_api_fail(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    tiny.breaks = {"7"}
    results, error = drain(Wide("post", APPEND), client, operations(75, APPEND))
    assert error is None
    assert set(outcomes(results).values()) == {Outcome.UNCERTAIN}
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("guilty", [0, 3, 9])
def test_records_behind_one_that_makes_the_api_fail_are_sent_too_where_each_has_a_request_of_its_own(
    tiny: TinyApi, client: Client, guilty: int
) -> None:
    class OneByOne(Tiny):
        """As destinations do that look a batch up and then write its records one after the other."""

        def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
            results: list[RowResult | None] = []
            for operation in batch:
                try:
                    results += yield from super().send([operation])
                except Unavailable as error:
                    if not results:
                        raise
                    missed = RowResult(Outcome.REJECTED, str(error), error.status, passing=True)
                    return [*results, *[missed] * (len(batch) - len(results))]
            return results

    tiny.breaks = {str(guilty)}
    results, error = drain(OneByOne("record", UPSERT), client, operations(10))
    assert error is None
    assert [n for n, outcome in outcomes(results).items() if outcome is Outcome.REJECTED] == [guilty]
    # Of the last one it cannot be told: nothing was answered since.
    assert dict(results)[guilty].passing == (guilty == 9)


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": "after"},
        {"status": 500},
        {"truncate": True},
        {"html": True},
    ],
)
@pytest.mark.parametrize(("on_uncertain", "expected"), [("hold", Outcome.UNCERTAIN), ("resend", Outcome.SENT)])
def test_an_answer_that_is_lost_behind_an_append_is_uncertain_or_sent_again_as_the_author_says(
    sandbox: Sandbox, tiny: TinyApi, client: Client, fault: dict[str, Any], on_uncertain: str, expected: Outcome
) -> None:
    sandbox.inject(Fault(api="tiny", **fault))
    results, error = drain(post(on_uncertain=on_uncertain), client, operations(1, APPEND))
    assert error is None
    if on_uncertain == "resend" and ("html" in fault or "truncate" in fault):
        expected = Outcome.UNCERTAIN  # an answer that is none is not asked for again; the next run sends the row
    assert outcomes(results) == {0: expected}


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"status": 408}])
def test_an_append_that_was_refused_before_any_work_is_sent_again(
    sandbox: Sandbox, tiny: TinyApi, client: Client, fault: dict[str, Any]
) -> None:
    sandbox.inject(Fault(api="tiny", **fault))
    results, _ = drain(post(), client, operations(1, APPEND))
    assert outcomes(results) == {0: Outcome.SENT}
    assert tiny.posted == ["0"]


def test_closed_early_it_ends_what_waits(sandbox: Sandbox, tiny: TinyApi, client: Client) -> None:
    sandbox.inject(Fault(api="tiny", after=1, status=429, headers={"Retry-After": "60"}, times=99))
    started = time.monotonic()
    with closing(deliver(operations(100), record(), client)) as batches:
        next(batches)
    assert time.monotonic() - started < 2
    with pytest.raises(Interrupted):
        client.send(message.Request(method="POST", path="/record/write", json={"records": []}))


def test_a_stop_from_another_thread_ends_the_run_and_keeps_what_arrived(
    sandbox: Sandbox, tiny: TinyApi, client: Client
) -> None:
    sandbox.inject(Fault(api="tiny", after=4, status=429, headers={"Retry-After": "60"}, times=99))
    timer = threading.Timer(0.3, client.stop)
    timer.start()
    results, error = drain(post(), client, operations(100, APPEND))
    timer.join()
    assert isinstance(error, Interrupted)
    assert sorted(n for n, _ in results) == sorted(map(int, tiny.posted))
    assert len(results) == 40


def test_secrets_in_what_an_exchange_quotes_are_redacted(client: Client) -> None:
    class Quoting(Tiny):
        def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
            raise ConfigError(f"the API says: no such key {TinyApi.key}")
            yield

    _, error = drain(Quoting("record", UPSERT), client, operations(1))
    assert str(error) == "the API says: no such key ***"
