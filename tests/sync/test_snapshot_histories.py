"""Whatever happens to a sync with a snapshot, the destination ends as the model says, and what is theirs stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_census.destinations.objects import Identifier
from airflow_provider_census.errors import GuardTripped
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Snapshot
from airflow_provider_census.sync.fields import Constant, MappingDeclaration
from airflow_provider_census.sync.snapshot_table import table_name
from airflow_provider_census.sync.statement import Query
from airflow_provider_census.transport.message import Endpoint
from tests.sync.support import APPEND, Listing, Lite, Ran, Rig, Tiny, TinyApi

IDENTIFIERS = {True: ("email", "login"), False: ("id", "code")}
THEIRS = {"name": "made by hand"}
MAPPINGS: list[MappingDeclaration] = [
    {"name": "name"},
    {"name": "name", "note": "note"},
    {"name": "name", "source": Constant("old")},
    {"name": "name", "source": Constant("new")},
]


class Small(Tiny):
    """Many requests for few rows; each record has a second identifier, of the same text."""

    objects = tuple(
        replace(o, identifiers=(*o.identifiers, Identifier("code"), Identifier("login", lower=True)))
        for o in Tiny.objects
    )
    concurrency = 3
    batch = 3


class Elsewhere(Small):
    """The same records by another name: what was sent there must not be deleted here."""

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        return "elsewhere"


class Killed(BaseException):
    """The worker is gone: neither the snapshot nor the state hears of what happens from now on."""


class Mortal(Lite):
    """A database that sees the worker die when it has written so often."""

    writes: int | None = None

    def write(self, queries: Iterable[Query]) -> None:
        if self.writes is not None:
            self.writes -= 1
            if self.writes < 0:
                raise Killed
        super().write(queries)


class World:
    """
    A model that changes, an API that has bad days, and a sync between them.

    :param lower: whether the destination holds keys that differ only in case for one.
    """

    def __init__(
        self, sandbox: Sandbox, folder: Path, *, behavior: Behavior, staged: bool, lower: bool, known: int = 0
    ) -> None:
        sandbox.reset()
        self.source, self.elsewhere = Mortal(folder / "source.sqlite"), Mortal(folder / "elsewhere.sqlite")
        for database in (self.source, self.elsewhere):
            Path(database.path).unlink(missing_ok=True)
        self.source.execute("CREATE TABLE users (id TEXT, name TEXT, note TEXT)")
        self.api: TinyApi = sandbox["tiny"]
        self.api.records = {"theirs": dict(THEIRS)} | {f"r{n}": dict(THEIRS) for n in range(1, known + 1)}
        self.rig = Rig(
            sandbox,
            self.source,
            Small,
            attempts=2,
            delta=Snapshot(),
            behavior=behavior,
            object="post" if behavior.adds else "record",
            identifier=IDENTIFIERS[lower][0],
            snapshot_database=self.elsewhere if staged else None,
            mapping=MAPPINGS[0],
        )
        self.sandbox = sandbox
        self.identifiers = IDENTIFIERS[lower]
        self.moves = [(0, (False, False))]
        """From which request on the sync wrote where."""
        self.behaviors = [(0, behavior)]
        """From which request on it did what."""
        self.hidden: tuple[Mortal, str] | None = None
        self.rows: list[tuple[str | None, str, str]] = []
        self.past: list[tuple[str | None, str, str]] = []
        """What rows looked like before they were changed or deleted."""
        self.orphans: set[str] = set()
        """What was sent by workers that died: nobody can know."""
        self.numbers = 0

    # --- the source ------------------------------------------------------------------------------------------------

    def insert(self, count: int) -> None:
        for _ in range(count):
            self.numbers += 1
            self.rows.append((f"r{self.numbers}", self._version(), "n"))

    def update(self, which: int, unmapped: bool) -> None:
        if self.rows:
            key, name, note = self._pop(which)
            self.rows.append((key, name, self._version()) if unmapped else (key, self._version(), note))

    def delete(self, which: int) -> None:
        if self.rows:
            self._pop(which)

    def clear(self) -> None:
        self.past += self.rows
        self.rows.clear()

    def revert(self, which: int) -> None:
        """Let a row be again as it was not long ago, also one that was deleted."""
        if self.past:
            row = self.past[-1 - which % len(self.past)]
            self.rows = [other for other in self.rows if _id(other[0]) != _id(row[0])] + [row]

    def respell(self, which: int, changed: bool) -> None:
        if self.rows:
            key, name, note = self._pop(which)
            self.rows.append((key and key.swapcase(), self._version() if changed else name, note))

    def duplicate(self, which: int, respelled: bool) -> None:
        if self.rows:
            key, *_ = self.rows[which % len(self.rows)]
            self.rows.append((key and (key.swapcase() if respelled else key), self._version(), "n"))

    def forget_key(self) -> None:
        self.rows.append((None, self._version(), "n"))

    def tidy(self) -> None:
        """Let every key be there once."""
        self.rows = list({_id(row[0]): row for row in self.rows if row[0] is not None}.values())

    # --- the destination -------------------------------------------------------------------------------------------

    def refuse(self, which: int, whole: bool) -> None:
        self.api.whole = whole
        if self.rows:
            self.api.refused[_id(self.rows[which % len(self.rows)][0])] = "not today"

    def forget(self, which: int) -> None:
        if self.rows:
            self.api.forgets.add(_id(self.rows[which % len(self.rows)][0]))

    def heal(self) -> None:
        self.api.refused.clear()
        self.api.forgets.clear()

    def recovers(self) -> None:
        """The API is well again."""
        self.sandbox.recover()

    def fault(self, after: int, times: int, what: dict[str, Any]) -> None:
        self.sandbox.inject(Fault(api="tiny", after=after, times=times, **what))

    # --- the sync --------------------------------------------------------------------------------------------------

    def remap(self, which: int) -> None:
        self.rig.settings["mapping"] = MAPPINGS[which]

    def move(self, away: bool, renamed: bool) -> None:
        """Write elsewhere from now on, or know the records by another identifier: what was sent is left alone there."""
        if (away, renamed) == self.moves[-1][1]:
            return
        self.rig.destination = Elsewhere if away else Small
        self.rig.settings["identifier"] = self.identifiers[renamed]
        self.moves.append((len(self.sandbox.ledger), (away, renamed)))
        self.orphans |= {id for _, id, _ in self.sent()}

    def switch(self, behavior: Behavior) -> None:
        """Do something else with the rows from now on."""
        self.rig.settings["behavior"] = behavior
        self.behaviors.append((len(self.sandbox.ledger), behavior))

    def lose(self) -> None:
        """Drop the snapshot; where rows are added only hide it, as nothing may be sent without it."""
        state = self.rig.store.load()
        if state is None or not state.snapshot or self.hidden:
            return
        database = self.rig.settings["snapshot_database"] or self.source
        table = table_name("test", state.target)
        if self.rig.settings["behavior"].adds:
            database.execute(f"ALTER TABLE {table} RENAME TO hidden")
            self.hidden = database, table
        else:
            database.execute(f"DROP TABLE IF EXISTS {table}")
            self.orphans |= {id for _, id, _ in self.sent()}

    def find(self) -> None:
        """Come back to what is known, where nothing is sent without it."""
        if self.hidden:
            database, table = self.hidden
            database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(f"ALTER TABLE hidden RENAME TO {table}")
            self.hidden = None
        state = self.rig.store.load()
        if self.rig.settings["behavior"].adds and state is not None:
            self.move(state.target.endswith(" elsewhere"), f" by {self.identifiers[1]} " in state.target)

    def fill(self) -> None:
        self.source.execute("DELETE FROM users")
        if self.rows:
            self.source.execute("INSERT INTO users VALUES (?, ?, ?)", *self.rows)

    def run(self, **overrides: Any) -> Ran:
        self.fill()
        before, calls = dict(self.api.records), len(self.sandbox.ledger)
        ran = self.rig.run(**{"max_deletes": None, "allow_empty": True, **overrides})
        if overrides.get("dry_run"):
            assert (self.api.records, len(self.sandbox.ledger)) == (before, calls)
        return ran

    def dry(self) -> None:
        self.run(dry_run=True)

    def refresh(self) -> None:
        self.run(full_refresh=True)

    def guarded(self, most: int) -> None:
        calls = len(self.sandbox.ledger)
        ran = self.run(max_deletes=most, allow_empty=False)
        deleted = {id for at, id, deletes in self.sent() if deletes and at >= calls}
        if self.rig.settings["behavior"] is Behavior.MIRROR:
            assert len(deleted) <= most
            assert not deleted or (self.rows and not isinstance(ran.failure, GuardTripped))

    def die(self, writes: int) -> None:
        calls = len(self.sandbox.ledger)
        self.source.writes = self.elsewhere.writes = writes
        try:
            self.run()
        except Killed:
            self.orphans |= {id for at, id, _ in self.sent() if at >= calls}
        self.source.writes = self.elsewhere.writes = None
        self.source.open = self.elsewhere.open = 0

    def kill(self, requests: int) -> None:
        """Let the worker die when it has sent so much."""
        calls = len(self.sandbox.ledger)
        self.fill()
        self.rig.run_killed(requests, max_deletes=None, allow_empty=True)
        self.orphans |= {id for at, id, _ in self.sent() if at >= calls}
        self.source.open = self.elsewhere.open = 0

    def recover(self) -> None:
        """Heal everything and run until nothing is left to do."""
        self.heal()
        self.find()
        self.tidy()
        self.sandbox.recover()
        expected = self.run(dry_run=True).counts
        ran = self.run()
        assert ran.failure is None
        if self.rig.settings["behavior"] is Behavior.MIRROR:
            assert ran.counts == expected, "the dry run knew"
        assert self.run().counts == {}

    def sent(self) -> list[tuple[int, str, bool]]:
        """Return of every record in a request: the number of the request, its id, and whether it was to be deleted."""
        return [
            (at, record["id"], call.path.endswith("/delete"))
            for at, call in enumerate(self.sandbox.ledger)
            for record in call.json["records"]
        ]

    def check_deletions(self) -> None:
        """Check that nothing was ever deleted where it had not been sent before."""
        written: set[tuple[tuple[bool, bool], str]] = set()
        for at, id, deletes in self.sent():
            where = next(where for start, where in reversed(self.moves) if at >= start)
            if not deletes:
                written.add((where, id))
            elif self.behavior_at(at) is Behavior.MIRROR:
                assert (where, id) in written, f"{id} was deleted and never sent"

    def behavior_at(self, request: int) -> Behavior:
        return next(behavior for start, behavior in reversed(self.behaviors) if request >= start)

    @property
    def model(self) -> dict[str, dict[str, str]]:
        """What should be there, by id."""
        fields = self.rig.settings["mapping"]
        return {
            _id(key): {
                field: source.value if isinstance(source, Constant) else {"name": name, "note": note}[source]
                for field, source in fields.items()
            }
            for key, name, note in self.rows
        }

    @property
    def arrived(self) -> dict[str, dict[str, str] | None]:
        """What is there of it, by id; of fields that were left out of the mapping something may be left."""
        return {id: _only(self.api.records.get(id), record) for id, record in self.model.items()}

    def _pop(self, which: int) -> tuple[str | None, str, str]:
        row = self.rows.pop(which % len(self.rows))
        self.past.append(row)
        return row

    def _version(self) -> str:
        self.numbers += 1
        return f"v{self.numbers}"


def _id(key: str | None) -> str:
    return (key or "").lower()


def _only(record: dict[str, Any] | None, fields: Iterable[str]) -> dict[str, Any] | None:
    return record and {field: record[field] for field in fields if field in record}


# Few rows, so that steps meet: what is changed, refused and taken back is often one row.
WHICH = st.integers(0, 3)
FAULTS = st.sampled_from(
    [{"status": 429}, {"status": 500}, {"status": 401}, {"reset": "before"}, {"reset": "after"}, {"reset": "after"}]
)
REMAP = st.tuples(st.just("remap"), st.integers(0, len(MAPPINGS) - 1))
MOVE = st.tuples(st.just("move"), st.booleans(), st.booleans())
UPDATE = st.tuples(st.just("update"), WHICH, st.booleans())
REVERT = st.tuples(st.just("revert"), WHICH)
EDITS = [
    *(UPDATE, UPDATE, REVERT, REVERT, REVERT, REMAP),
    st.tuples(st.just("insert"), st.integers(1, 3)),
    st.tuples(st.just("delete"), WHICH),
    st.tuples(st.just("duplicate"), WHICH, st.just(False)),
    st.tuples(st.just("tidy")),
    st.tuples(st.just("forget_key")),
    st.tuples(st.just("clear")),
    REMAP,
    MOVE,
    st.tuples(st.just("lose")),
]
SPELLINGS = [
    st.tuples(st.just("respell"), WHICH, st.booleans()),
    st.tuples(st.just("duplicate"), WHICH, st.just(True)),
]
TROUBLE = [
    st.just(("heal",)),
    st.just(("heal",)),
    st.tuples(st.just("refuse"), WHICH, st.booleans()),
    st.tuples(st.just("forget"), WHICH),
    st.tuples(st.just("fault"), st.integers(0, 3), st.integers(1, 4), FAULTS),
]
RUN = st.just(("run",))
RUNS = [
    RUN,
    st.just(("dry",)),
    st.tuples(st.just("guarded"), st.integers(0, 2)),
    st.tuples(st.just("die"), st.integers(0, 4)),
]
REFRESH = st.just(("refresh",))


CHANGE = st.tuples(st.just("update"), WHICH, st.just(False))
SILENCE = st.just(("fault", 0, 9, {"reset": "after"}))
BACK = st.just(("revert", 0))
# What goes wrong only if steps follow on each other that seldom do by chance.
SCENES = [
    # The answer is lost, or the worker, and the row is again what it was.
    st.tuples(RUN, CHANGE, SILENCE, RUN, BACK, RUN),
    st.tuples(RUN, CHANGE, st.tuples(st.just("die"), st.integers(0, 3)), BACK, RUN),
    # What was perhaps never sent is gone.
    st.tuples(RUN, st.just(("insert", 1)), SILENCE, RUN, st.just(("delete", -1)), RUN),
    # A field less, and a row that changes with it.
    st.tuples(REMAP, RUN, CHANGE, st.just(("remap", 0)), st.one_of(RUN, st.just(("die", 1))), RUN),
    # Elsewhere, and back.
    st.tuples(RUN, MOVE, CHANGE, RUN, st.just(("move", False, False)), BACK, RUN),
]
WRITING = [Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY, Behavior.DELETE, Behavior.MIRROR]
SWITCH = st.tuples(st.just("switch"), st.sampled_from(WRITING))
DIE = st.tuples(st.just("die"), st.integers(0, 3))
KILL = st.tuples(st.just("kill"), st.integers(1, 2))


# Of these the second has to do, or undoes, what the first has left.
OPPOSED = st.sampled_from(
    [
        (Behavior.UPDATE_OR_CREATE, Behavior.DELETE),
        (Behavior.DELETE, Behavior.UPDATE_OR_CREATE),
        (Behavior.CREATE_ONLY, Behavior.DELETE),
        (Behavior.DELETE, Behavior.CREATE_ONLY),
        (Behavior.UPDATE_ONLY, Behavior.CREATE_ONLY),
    ]
)


def opposed(*steps: Any) -> Any:
    """A scene of two behaviors: ``steps`` name them 0 and 1."""
    drawn = st.tuples(OPPOSED, *(step if isinstance(step, st.SearchStrategy) else st.just(step) for step in steps))
    return drawn.map(lambda d: tuple(("switch", d[0][step]) if isinstance(step, int) else step for step in d[1:]))


SWITCHES = [
    st.tuples(SWITCH, RUN, SWITCH, RUN),
    # What one leaves alone the next finds changed, gone, or back again.
    st.tuples(SWITCH, RUN, st.one_of(CHANGE, st.just(("delete", 0))), SWITCH, RUN, BACK, SWITCH),
    opposed(0, RUN, 1, RUN),
    # There and back, and not all the way.
    opposed(0, RUN, 1, st.one_of(KILL, KILL, DIE, SILENCE), 0),
    opposed(0, RUN, 1, KILL, 0),
    # In the destination the two places are one.
    opposed(0, RUN, ("move", True, False), 1, RUN, ("move", False, False), 0),
]


def histories(*, edits: Sequence[Any] = EDITS, runs: Sequence[Any] = (*RUNS, REFRESH), days: int = 5) -> Any:
    """Days: the source changes, something may go wrong, a run; or a scene."""
    day = st.tuples(
        st.lists(st.one_of(edits), min_size=1, max_size=3), st.one_of(TROUBLE), st.one_of(RUN, st.one_of(runs))
    )
    start = st.tuples(st.just([("insert", 4)]), st.just(("heal",)), st.one_of(runs))
    scene = st.one_of(SCENES).map(lambda steps: ((("heal",), ("recovers",)), *steps))
    lived = st.tuples(start, st.lists(st.one_of(day, scene), min_size=1, max_size=days))
    return lived.map(lambda days: [step for edits, *rest in (days[0], *days[1]) for step in (*edits, *rest)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("snapshot-histories")


def live(world: World, history: list[Any]) -> World:
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.recover()
    world.check_deletions()
    return world


@pytest.mark.parametrize("staged", [False, True])
@settings(max_examples=40)
@given(data=st.data())
def test_a_mirror_ends_as_the_model_and_leaves_alone_what_it_never_sent(
    engine_server: Sandbox, folder: Path, staged: bool, data: st.DataObject
) -> None:
    history = data.draw(histories(edits=[*EDITS, *SPELLINGS]))
    world = live(World(engine_server, folder, behavior=Behavior.MIRROR, staged=staged, lower=True), history)
    extra = {id: record for id, record in world.api.records.items() if id not in world.model}
    assert world.arrived == world.model
    assert extra.pop("theirs") == THEIRS
    assert extra.keys() <= world.orphans


@pytest.mark.parametrize("staged", [False, True])
@settings(max_examples=25)
@given(data=st.data())
def test_upserts_end_with_the_newest_value_of_every_row_and_delete_nothing(
    engine_server: Sandbox, folder: Path, staged: bool, data: st.DataObject
) -> None:
    history = data.draw(histories(edits=[*EDITS, *SPELLINGS]))
    world = live(World(engine_server, folder, behavior=Behavior.UPDATE_OR_CREATE, staged=staged, lower=True), history)
    assert world.arrived == world.model
    assert world.api.records["theirs"] == THEIRS
    assert not [id for _, id, deletes in world.sent() if deletes]


@settings(max_examples=25)
@given(data=st.data(), staged=st.booleans())
def test_updates_reach_what_is_there_and_create_nothing(
    engine_server: Sandbox, folder: Path, data: st.DataObject, staged: bool
) -> None:
    history = data.draw(histories())
    world = World(engine_server, folder, behavior=Behavior.UPDATE_ONLY, staged=staged, lower=False, known=6)
    known = set(world.api.records)
    live(world, history)
    assert set(world.api.records) == known
    assert {id: record for id, record in world.arrived.items() if id in known} == {
        id: record for id, record in world.model.items() if id in known
    }


@settings(max_examples=25)
@given(data=st.data(), staged=st.booleans())
def test_creations_are_made_and_leave_alone_what_is_there(
    engine_server: Sandbox, folder: Path, data: st.DataObject, staged: bool
) -> None:
    history = data.draw(histories())
    world = World(engine_server, folder, behavior=Behavior.CREATE_ONLY, staged=staged, lower=False, known=4)
    known = set(world.api.records)
    live(world, history)
    assert world.model.keys() <= world.api.records.keys()
    assert all(world.api.records[id] == THEIRS for id in known)


@settings(max_examples=25)
@given(data=st.data(), staged=st.booleans())
def test_deletions_remove_every_row_of_the_list_and_nothing_else(
    engine_server: Sandbox, folder: Path, data: st.DataObject, staged: bool
) -> None:
    history = data.draw(histories())
    world = World(engine_server, folder, behavior=Behavior.DELETE, staged=staged, lower=False, known=20)
    known = set(world.api.records)
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.recover()
    named = {_id(key) for key, *_ in (*world.rows, *world.past)}
    assert not world.model.keys() & world.api.records.keys()
    assert known - named <= world.api.records.keys()


@settings(max_examples=80)
@given(data=st.data(), staged=st.booleans(), first=st.sampled_from(WRITING))
def test_whatever_the_behaviors_were_the_last_one_has_done_what_it_does(
    engine_server: Sandbox, folder: Path, data: st.DataObject, staged: bool, first: Behavior
) -> None:
    history = data.draw(histories(edits=[*EDITS, *[SWITCH] * 5], days=1))
    world = World(engine_server, folder, behavior=first, staged=staged, lower=False, known=2)
    known = set(world.api.records)
    live(world, [*history, ("heal",), ("recovers",), *data.draw(st.one_of(SWITCHES))])
    model, there = world.model, world.api.records
    assert there["theirs"] == THEIRS
    match world.behaviors[-1][1]:
        case Behavior.DELETE:
            assert not model.keys() & there.keys()
        case Behavior.CREATE_ONLY:
            assert model.keys() <= there.keys()
        case Behavior.UPDATE_ONLY:
            assert {id: record for id, record in world.arrived.items() if record is not None} == {
                id: record for id, record in model.items() if id in there
            }
        case Behavior.UPDATE_OR_CREATE:
            assert world.arrived == model
        case Behavior.MIRROR:
            assert world.arrived == model
            # Nobody can know whether what create_only has sent, and got no answer for, was there before.
            perhaps = {id for at, id, _ in world.sent() if world.behavior_at(at) is Behavior.CREATE_ONLY}
            assert there.keys() - model.keys() <= world.orphans | known | perhaps


@pytest.mark.parametrize("staged", [False, True])
@settings(max_examples=40)
@given(data=st.data())
def test_appends_end_with_every_row_once(
    engine_server: Sandbox, folder: Path, listing: Listing, staged: bool, data: st.DataObject
) -> None:
    listing.keys.clear()
    history = data.draw(histories(runs=RUNS))
    world = live(World(engine_server, folder, behavior=APPEND, staged=staged, lower=False), history)
    posted = Counter(world.api.posted)
    assert not [id for id, times in posted.items() if times > 1]
    assert world.model.keys() - listing.keys <= posted.keys()
