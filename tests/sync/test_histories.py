"""Whatever happens to a sync, in the end the destination holds what the model says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.delta import Snapshot, Watermark
from airflow_provider_census.sync.state import MemoryStore, State
from tests.sync.support import APPEND, UPSERT, Finding, Listing, Lite, Ran, Rig, Tiny, TinyApi, Users


class Small(Tiny):
    """Many requests for few rows."""

    concurrency = 3
    batch = 3


class SmallFinding(Finding):
    """The same, where it can be asked what has arrived."""

    concurrency = 3
    batch = 3


class Dying(MemoryStore):
    """The store of a worker that is killed: what it saves from some moment on is not kept."""

    def __init__(self, value: Any, saves: int) -> None:
        super().__init__()
        self.value = value
        self._saves = saves

    def save(self, state: State) -> None:
        self._saves -= 1
        if self._saves >= 0:
            super().save(state)


@dataclass
class World:
    """A model that changes, an API that has bad days, and a sync between them."""

    rig: Rig
    users: Users
    api: TinyApi
    clock: int = 100
    rows: dict[str, str] = field(default_factory=dict)
    ids: int = 0
    versions: int = 0

    def tick(self, ticks: int) -> None:
        self.clock += ticks

    def insert(self, count: int, late: int) -> None:
        """Add rows; ``late`` ones have a cursor that has passed already."""
        for _ in range(count):
            self.ids += 1
            id = f"r{self.ids}"
            self.rows[id] = self._version()
            self.users.add([id], t=self.clock - late, name=self.rows[id])

    def update(self, which: int) -> None:
        if id := self._pick(which):
            self.rows[id] = self._version()
            self.users.sql(f"UPDATE users SET name = '{self.rows[id]}', t = {self.clock} WHERE id = '{id}'")

    def delete(self, which: int) -> None:
        if id := self._pick(which):
            del self.rows[id]
            self.users.sql(f"DELETE FROM users WHERE id = '{id}'")

    def refuse(self, which: int, whole: bool) -> None:
        self.api.whole = whole
        if id := self._pick(which):
            self.api.refused[id] = "not today"

    def forget(self, which: int) -> None:
        if id := self._pick(which):
            self.api.forgets.add(id)

    def heal(self) -> None:
        self.api.refused.clear()
        self.api.forgets.clear()

    def fault(self, after: int, times: int, what: dict[str, Any]) -> None:
        self.rig.sandbox.inject(Fault(api="tiny", after=after, times=times, **what))

    def run(self) -> Ran:
        return self.rig.run()

    def die(self, saves: int) -> None:
        kept = self.rig.store
        self.rig.store = dying = Dying(kept.value, saves)
        self.rig.run()
        self.rig.store = MemoryStore()
        self.rig.store.value = dying.value

    def kill(self, requests: int) -> None:
        self.rig.run_killed(requests)

    def recover(self) -> None:
        """Heal everything and run until nothing is left to do."""
        self.heal()
        self.rig.sandbox.recover()
        assert self.run().failure is None
        assert set(self.run().counts) <= {"unchanged"}

    def _pick(self, which: int) -> str | None:
        return list(self.rows)[which % len(self.rows)] if self.rows else None

    def _version(self) -> str:
        self.versions += 1
        return f"v{self.versions}"


WHICH = st.integers(0, 30)
FAULTS = st.sampled_from(
    [{"status": 429}, {"status": 500}, {"status": 503}, {"status": 401}, {"reset": "before"}, {"reset": "after"}]
)
COMMON = [
    st.tuples(st.just("run")),
    st.tuples(st.just("run")),
    st.tuples(st.just("tick"), st.integers(1, 5)),
    st.tuples(st.just("delete"), WHICH),
    st.tuples(st.just("refuse"), WHICH, st.booleans()),
    st.tuples(st.just("forget"), WHICH),
    st.tuples(st.just("heal")),
    st.tuples(st.just("fault"), st.integers(0, 6), st.integers(1, 3), FAULTS),
]


def steps(late: int, *more: Any) -> Any:
    insert = st.tuples(st.just("insert"), st.integers(1, 12), st.integers(0, late))
    return st.lists(st.one_of(insert, insert, *COMMON, *more), min_size=4, max_size=14)


def live(server: Sandbox, folder: Path, history: list[Any], destination: type[Tiny] = Small, **settings: Any) -> World:
    server.reset()
    source = Lite(folder / "source.sqlite")
    for (table,) in source.connect().execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        source.execute(f'DROP TABLE "{table}"')
    world = World(Rig(server, source, destination, attempts=2, **settings), Users(source), server["tiny"])
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.recover()
    return world


LAGS = st.sampled_from([None, 3])
DELTAS = st.sampled_from([Watermark("t"), Watermark("t", lag=3), Snapshot()])
UPDATE = st.tuples(st.just("update"), WHICH)
DIE = st.tuples(st.just("die"), st.integers(0, 4))
KILL = st.tuples(st.just("kill"), st.integers(0, 6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("histories")


@given(data=st.data(), lag=LAGS)
def test_upserts_end_with_the_newest_value_of_every_row(
    engine_server: Sandbox, folder: Path, data: st.DataObject, lag: int | None
) -> None:
    history = data.draw(steps(lag or 0, UPDATE, UPDATE, DIE))
    world = live(engine_server, folder, history, delta=Watermark("t", lag=lag), behavior=UPSERT)
    assert {id: world.api.records[id]["name"] for id in world.rows} == world.rows


@given(data=st.data(), delta=DELTAS)
def test_appends_end_with_every_row_once(
    engine_server: Sandbox, folder: Path, listing: Listing, data: st.DataObject, delta: Watermark | Snapshot
) -> None:
    history = data.draw(steps(3 if isinstance(delta, Snapshot) else delta.lag or 0, KILL, KILL))
    listing.keys.clear()
    world = live(engine_server, folder, history, delta=delta, behavior=APPEND, object="post")
    posted = Counter(world.api.posted)
    assert not [id for id, times in posted.items() if times > 1]
    assert set(world.rows) - listing.keys <= set(posted)


@given(data=st.data(), delta=DELTAS)
def test_appends_that_can_be_looked_for_all_arrive(
    engine_server: Sandbox, folder: Path, data: st.DataObject, delta: Watermark | Snapshot
) -> None:
    history = data.draw(steps(3 if isinstance(delta, Snapshot) else delta.lag or 0, KILL, KILL))
    world = live(engine_server, folder, history, SmallFinding, delta=delta, behavior=APPEND, object="post")
    posted = Counter(world.api.posted)
    assert not [id for id, times in posted.items() if times > 1]
    assert set(world.rows) <= set(posted)
