"""States that outgrow one value: what is written, what comes back, and what a crash or a database in the way does."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_census.errors import ConfigError, StateError, StateFull, Unavailable
from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sync.delta import Watermark
from airflow_provider_census.sync.progress import MAX_OWED
from airflow_provider_census.sync.spill import MOST_BYTES, Spill
from airflow_provider_census.sync.spill_table import TABLE
from airflow_provider_census.sync.state import MemoryStore, State
from airflow_provider_census.sync.statement import Query
from tests.sync.support import APPEND, SEND, UPSERT, Database, Duck, Lite, Rig, Roomy, TinyApi, Users

LARGE = 10_000


def digests(numbers: Iterable[int]) -> frozenset[bytes]:
    """Digests as of rows: nothing that packs well."""
    return frozenset(hashlib.blake2b(b"%d" % number, digest_size=8).digest() for number in numbers)


def state(arrived: int = 0, **other: Any) -> State:
    return State(**{"target": "t", "column": "t", "watermark": 1, "settled": digests(range(arrived)), **other})


class ReadOnly(Lite):
    """A source that only may be read."""

    def write(self, queries: Iterable[Query]) -> None:
        list(queries)
        raise ConfigError("permission denied for schema public")


class Away(Lite):
    """A source that is away now and then."""

    here = True

    def write(self, queries: Iterable[Query]) -> None:
        if not self.here:
            raise Unavailable("no route to host")
        super().write(queries)


class Kept:
    """Where values are kept, one per run; each run opens its own spill."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.options: dict[str, Any] = {"adds": False, **options}
        self.values: list[dict[str, Any]] = []

    def spill(self, **options: Any) -> Spill:
        return Spill("sync", "warehouse", self._connect, **{**self.options, **options})

    def restore(self, **options: Any) -> State | None:
        return self.spill(**options).restore(self.values)

    def run(self, *states: State, crash: bool = False) -> None:
        """Save states in a run; one that crashes has not left the last one."""
        spill = self.spill()
        spill.restore(self.values)
        mine = None
        for number, state in enumerate(states, 1):
            value = json.loads(json.dumps(spill.pack(state)))
            assert len(json.dumps(value)) <= MOST_BYTES
            if crash and number == len(states):
                break
            spill.kept()
            mine = value
        if mine is not None:
            self.values.insert(0, mine)

    def parts(self) -> int:
        return int(next(self.database.stream(Query(f"SELECT COUNT(*) FROM {TABLE}")))[0][0])

    def _connect(self, conn_id: str) -> Database:
        assert conn_id == "warehouse"
        return self.database


@pytest.fixture(params=[Lite, Duck])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(request.param(tmp_path / "source.db"))


def test_a_state_that_fits_makes_no_table(kept: Kept) -> None:
    kept.run(state(3_000))

    assert "spilled" not in kept.values[0]
    with pytest.raises(ConfigError):
        kept.parts()


@pytest.mark.parametrize(
    "large",
    [
        state(LARGE),
        state(100_000),
        state(in_doubt=digests(range(LARGE)), in_doubt_since=5),
        state(owed=tuple(f"person-{n:030}@example.com" for n in range(MAX_OWED)), owed_null_keys=True),
        state(owed=tuple(range(2**60, 2**60 + MAX_OWED)), settled=digests(range(4_000)), watermark="z\x00"),
        state(5_000, in_doubt=digests(range(5_000)), owed=("<é>", 2, "\ud800")),
    ],
    ids=["settled", "many", "in doubt", "owed", "mixed", "the same digests twice"],
)
def test_a_large_state_comes_back_as_it_was(kept: Kept, large: State) -> None:
    kept.run(large)

    found = kept.restore()

    assert found is not None
    assert set(found.owed) == set(large.owed)
    assert dataclasses.replace(found, owed=()) == dataclasses.replace(large, owed=())
    assert kept.values[0]["spilled"]["table"] == TABLE


def test_a_growing_set_is_written_once_and_one_that_shrinks_leaves_the_table(kept: Kept) -> None:
    growing = [state(n) for n in range(1_000, 60_000, 1_000)]
    wrote: list[str] = []
    original = type(kept.database).write

    def write(database: Any, queries: Iterable[Query]) -> None:
        seen = list(queries)
        original(database, seen)
        wrote.extend(str(v) for q in seen if q.sql.startswith("INSERT") for v in q.parameters or () if len(str(v)) > 99)

    kept.database.write = write.__get__(kept.database)  # type: ignore[method-assign]
    kept.run(*growing)

    assert len(wrote) == len(set(wrote))
    assert sum(map(len, wrote)) < 60_000 * 11
    assert kept.restore() == growing[-1]
    small = [state(sequence=n) for n in range(5)]
    for one in small:
        kept.run(one)
    assert kept.restore() == small[-1]
    kept.run(state(LARGE, sequence=9))
    assert kept.parts() <= 2, "parts nobody names any more are gone"


def test_of_a_run_that_is_cleared_the_one_before_it_counts_again(kept: Kept) -> None:
    states = [state(settled=digests(range(n * LARGE, (n + 1) * LARGE)), sequence=n) for n in range(6)]
    kept.options["adds"] = True
    for each in states:
        kept.run(each)

    for expected in reversed(states[2:]):
        assert kept.restore() == expected
        del kept.values[0]
    with pytest.raises(StateError, match="full_refresh=True"):
        kept.restore()


@pytest.mark.parametrize("damage", ["DELETE FROM {t}", "DROP TABLE {t}", "UPDATE {t} SET content = 'AAAAAAAAAAA='"])
def test_what_is_gone_is_never_taken_for_nothing_settled(kept: Kept, damage: str) -> None:
    kept.options["adds"] = True
    kept.run(state(LARGE))
    kept.database.execute(damage.format(t=TABLE))

    with pytest.raises(StateError, match=r"(?s)census_spill of connection 'warehouse'.*full_refresh=True.*rebase"):
        kept.restore()

    forgotten = kept.restore(forget=True)
    assert forgotten is not None
    assert len(forgotten.settled) < LARGE
    assert forgotten.watermark == 1


def test_where_sending_again_is_harmless_only_what_is_owed_must_be_there(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.run(state(LARGE))
    kept.database.execute(f"DELETE FROM {TABLE}")
    assert kept.restore() is not None
    assert "sent again" in caplog.text

    kept.run(state(owed=tuple("x" * 40 + str(n) for n in range(MAX_OWED))))
    kept.database.execute(f"DELETE FROM {TABLE}")
    with pytest.raises(StateError, match="owed"):
        kept.restore()


def test_a_value_alone_is_not_taken_for_a_state(kept: Kept) -> None:
    kept.run(state(LARGE))

    with pytest.raises(StateError, match=TABLE):
        State.from_json(kept.values[0])


@pytest.mark.parametrize("spilled", [5, [], {"parts": 5}, {"conn_id": "warehouse", "owner": "x", "parts": {"x": [1]}}])
def test_a_pointer_that_cannot_be_read_is_a_state_error(kept: Kept, spilled: Any) -> None:
    with pytest.raises(StateError):
        kept.spill().restore([{**state().to_json(), "spilled": spilled or [1]}])


def test_two_airflows_with_one_warehouse_keep_out_of_each_others_way(kept: Kept) -> None:
    other = Kept(kept.database)
    for n in range(6):
        kept.run(state(settled=digests(range(n, n + LARGE)), sequence=n))
        other.run(state(LARGE, sequence=n))

    assert kept.restore() == state(settled=digests(range(5, 5 + LARGE)), sequence=5)
    assert other.restore() == state(LARGE, sequence=5)


def test_a_state_that_moves_to_another_database_is_taken_along(tmp_path: Path) -> None:
    there, here = Lite(tmp_path / "there.db"), Lite(tmp_path / "here.db")
    databases = {"there": there, "here": here}
    spill = Spill("sync", "there", databases.__getitem__, adds=True)
    value = spill.pack(state(LARGE))
    moved = Spill("sync", "here", databases.__getitem__, adds=True)
    assert moved.restore([value]) == state(LARGE)

    value = moved.pack(state(LARGE, sequence=1))

    there.execute(f"DROP TABLE {TABLE}")
    assert Spill("sync", "here", databases.__getitem__, adds=True).restore([value]) == state(LARGE, sequence=1)


class TestNoTable:
    """The source may only be read."""

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Kept:
        return Kept(ReadOnly(tmp_path / "source.db"))

    def test_what_can_be_sent_again_is_left_out_and_the_log_says_what_to_do(
        self, kept: Kept, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept.run(*[state(LARGE, owed=(7,), sequence=n) for n in range(3)])

        assert kept.restore() == state(owed=(7,), sequence=2)
        (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert "permission denied" in warning
        assert "Watermark(state=<connection id>)" in warning
        assert "10,000 rows that have arrived are not remembered: the next run sends them again" in warning

    def test_what_adds_is_kept_and_must_not_grow(self, kept: Kept) -> None:
        spill = kept.spill(adds=True)
        value = spill.pack(state(LARGE))

        with pytest.raises(StateFull, match=r"Watermark\(state=<connection id>\)"):
            spill.kept()

        later = kept.spill(adds=True)
        assert later.restore([value]) == state(LARGE)
        later.pack(state(LARGE))
        later.kept()  # a run without new rows has nothing to fear
        later.pack(state(LARGE, in_doubt=digests([5])))
        with pytest.raises(StateFull):
            later.kept()

    def test_what_is_in_flight_is_limited_by_itself_and_kept(self, kept: Kept) -> None:
        spill = kept.spill(adds=True)
        large = state(100, in_doubt=digests(range(LARGE)))
        value = spill.pack(large)
        spill.kept()

        assert kept.spill(adds=True).restore([value]) == large


def test_a_database_that_was_there_and_is_away_ends_the_run_and_may_be_tried_again(tmp_path: Path) -> None:
    kept = Kept(Away(tmp_path / "source.db"))
    spill = kept.spill()
    spill.pack(state(LARGE))
    spill.kept()
    kept.database.here = False  # type: ignore[attr-defined]

    with pytest.raises(Unavailable):
        spill.pack(state(2 * LARGE))


class SpillingStore(MemoryStore):
    """A store of one value, as those of Airflow are."""

    def __init__(self, database: Database, *, adds: bool) -> None:
        super().__init__()
        self.database = database
        self.adds = adds

    def load(self) -> State | None:
        self._spill = Spill("sync", "warehouse", lambda _: self.database, adds=self.adds)
        return self._spill.restore([self.value] if self.value else [])

    def save(self, state: State) -> None:
        self.value = json.loads(json.dumps(self._spill.pack(state)))
        self._spill.kept()


class TestRuns:
    """Many rows of one moment, read from a source whose state does not fit one value."""

    def rig(self, sandbox: Sandbox, tmp_path: Path, database: type[Database], **settings: Any) -> Rig:
        source = Lite(tmp_path / "w.db")
        Users(source).add(range(LARGE), t=1)
        rig = Rig(sandbox, source, Roomy, delta=Watermark("t"), **settings)
        adds = settings.get("behavior", UPSERT).adds
        rig.store = SpillingStore(database(tmp_path / "state.db"), adds=adds)
        return rig

    @pytest.mark.parametrize("kind", [{}, {"object": "post", "behavior": APPEND}])
    def test_none_is_lost_and_none_sent_twice(self, tiny: TinyApi, sandbox: Sandbox, tmp_path: Path, kind: Any) -> None:
        rig = self.rig(sandbox, tmp_path, Lite, **kind)

        first, second = rig.run(), rig.run()

        assert sum(first.counts.values()) == LARGE
        assert second.counts == {"unchanged": LARGE}
        assert len(json.dumps(rig.store.value)) <= MOST_BYTES

    def test_a_worker_that_is_killed_doubles_nothing(self, tiny: TinyApi, sandbox: Sandbox, tmp_path: Path) -> None:
        rig = self.rig(sandbox, tmp_path, Lite, object="post", behavior=APPEND)
        for request in (30, 5):
            earlier = len(sandbox.ledger)
            store = rig.store
            assert isinstance(store, SpillingStore)
            save = store.save

            def die(state: State, save: Any = save, until: int = earlier + request) -> None:
                if len(sandbox.ledger) >= until:
                    raise SystemExit
                save(state)

            store.save = die  # type: ignore[method-assign]
            with pytest.raises(SystemExit):
                rig.run()
            store.save = save  # type: ignore[method-assign]

        ended = rig.run()

        assert len(tiny.posted) == len(set(tiny.posted))
        assert len(tiny.posted) + ended.counts.get("uncertain", 0) >= LARGE

    def test_where_nothing_can_be_written_harmless_rows_go_again(
        self, tiny: TinyApi, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        rig = self.rig(sandbox, tmp_path, ReadOnly)

        first, second = rig.run(), rig.run()

        assert (first.failure, second.failure) == (None, None)
        assert first.counts == second.counts == {"upserted": LARGE}
        assert len(json.dumps(rig.store.value)) <= MOST_BYTES

    def test_where_nothing_can_be_written_what_adds_stops_and_remembers_what_it_sent(
        self, tiny: TinyApi, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        rig = self.rig(sandbox, tmp_path, ReadOnly, object="post", behavior=SEND)

        first = rig.run()
        arrived = len(tiny.posted)
        second = rig.run()

        assert isinstance(first.failure, StateError)
        assert "Watermark(state=<connection id>)" in str(first.failure)
        assert 4_000 < arrived == first.counts["sent"] < LARGE
        assert isinstance(second.failure, StateError)
        assert len(tiny.posted) == arrived, "nothing is sent that could not be remembered"
        rig.store.database = Lite(tmp_path / "state.db")  # type: ignore[attr-defined]
        third = rig.run()
        assert third.failure is None
        assert sorted(map(int, tiny.posted)) == list(range(LARGE))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grow", "grow", "slide", "drop", "doubt", "owe"]),
        st.integers(0, 9_000),
        st.sampled_from(["save", "save", "end", "crash", "clear"]),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_becomes_of_a_state_what_was_kept_comes_back(steps: Sequence[tuple[str, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Lite(Path(folder) / "source.db"))
        truth: list[State] = []
        sequence = itertools.count(1)
        low = high = 0
        doubt: frozenset[bytes] = frozenset()
        owed: tuple[Any, ...] = ()
        run: list[State] = []
        whole = 0  # values whose parts are there, from the newest on
        for what, n, then in steps:
            low, high = {"slide": (low + n // 2, high + n), "drop": (high, high + n % 7)}.get(what, (low, high))
            high += n if what == "grow" else 0
            doubt = digests(range(-n, 0)) if what == "doubt" else doubt
            owed = tuple(f"{k:040}" for k in range(n % MAX_OWED)) if what == "owe" else owed
            settled = digests(range(low, high))
            run.append(State(target="t", sequence=next(sequence), settled=settled, in_doubt=doubt, owed=owed))
            if then == "clear" and whole > 1:
                del kept.values[0], truth[0]
                whole -= 1
            if then != "save":
                kept.run(*run, crash=then == "crash")
                left = run[: -1 if then == "crash" else None][-1:]
                truth[:0] = left
                whole = min(whole, 3) + len(left)
                run = []
                assert kept.restore() == (truth[0] if truth else None)


def test_what_a_value_holds_stays_although_its_writing_failed(kept: Kept) -> None:
    spill = kept.spill()
    spill.restore([])
    lost = spill.pack(state(LARGE))
    kept.values.insert(0, spill.pack(state(3 * LARGE)))
    spill.kept()
    assert kept.restore() == state(3 * LARGE)
    kept.values[0] = lost
    assert kept.restore() == state(LARGE), "it had arrived all the same"
