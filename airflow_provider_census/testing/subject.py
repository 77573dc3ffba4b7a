"""What a destination's test class tells about one of its objects: how to make records, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.paths import put
from airflow_provider_census.sync.values import Operation, Record

# Far enough from the numbers of all records a test makes.
_EARLIER = 1_000_000


def _default_id(n: int) -> str:
    return f"Row-{n}"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """
    One object of a destination, identified in one way. Fields are named as in a mapping: dots nest.

    :param object: as in ``destination_object``.
    :param fields: of the n-th good record: text and numbers, different for each n.
    :param held: what the stand-in holds of this object, each as fields of the same names; the identifier is one of
        them, save where the behavior adds.
    :param writes: the request that writes a record, ``"POST /things"``, both parts globs. Look-ups must not match.
        ``updates`` and ``deletes`` are those that update and delete, where they are others.
    :param text: a field that takes any text.
    :param odd: values by field that a database has besides text and numbers: bool, None, lists, objects.
    :param poison: fields that :meth:`~.Destination.check` lets pass and the API refuses with ``words``; both are left
        out where the API refuses nothing but what ``check`` finds.
    :param invalid: fields that ``check`` refuses.
    :param identifier: as in ``sync_key``; None for the default one.
    :param id: the identifier of the n-th record.
    :param options: as in ``options``; a function of the behavior where each needs its own.
    :param short: the body of a success that accounts for fewer records than were sent, where there is such a thing.
    :param tells_absence: whether an update of a record that is not there is known to be one.
    :param silent: places of answers, as globs of dotted paths, where nothing means that nothing was refused; what the
        API does not say there nobody can know.
    """

    object: str
    fields: Callable[[int], Mapping[str, Any]]
    held: Callable[[Any], Iterable[Mapping[str, Any]]]
    writes: str
    updates: str = ""
    deletes: str = ""
    text: str
    odd: Mapping[str, Any] = field(default_factory=dict)
    poison: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    invalid: Mapping[str, Any]
    identifier: str | None = None
    id: Callable[[int], str] = _default_id
    options: Mapping[str, Any] | Callable[[Behavior], Mapping[str, Any]] = field(default_factory=dict)
    short: Mapping[str, Any] | None = None
    tells_absence: bool = True
    silent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """
    One thing a destination does to one kind of record.

    :param existing: whether the records are there before.
    """

    destination: str
    subject: Subject
    behavior: Behavior
    existing: bool

    def __str__(self) -> str:
        by = f"-by-{self.subject.identifier}" if self.subject.identifier else ""
        state = "" if self.behavior is not Behavior.UPDATE_OR_CREATE else "-known" if self.existing else "-new"
        return f"{self.subject.object.lstrip('#')}{by}-{self.behavior}{state}"

    @property
    def deletes(self) -> bool:
        """Whether records go."""
        return self.behavior is Behavior.DELETE

    @property
    def writes(self) -> bool:
        """Whether records get values."""
        return not self.deletes

    @property
    def meets_refusal(self) -> bool:
        """Whether there is a record that only the API refuses."""
        return self.writes and bool(self.subject.poison)

    @property
    def looks_up(self) -> bool:
        """Whether records can be looked up before they are written; one case of each subject will do."""
        shown = self.bind(destinations.get(self.destination)).fetches
        return shown and self.behavior is Behavior.UPDATE_OR_CREATE and self.existing

    @property
    def identifies(self) -> bool:
        """Whether a record written twice is one record."""
        return not self.behavior.adds

    @property
    def repeatable(self) -> bool:
        """Whether a request may be sent twice."""
        return self.bind(destinations.get(self.destination)).repeatable(self.operation(self.record(0)))

    @property
    def doubles(self) -> bool:
        """Whether a request sent twice could leave two records; what is known before is not created again."""
        return not self.repeatable and not self.existing

    @property
    def write(self) -> tuple[str, str]:
        """The globs of method and path of the request that does it."""
        subject = self.subject
        own = subject.deletes if self.deletes else subject.updates if self.existing else ""
        method, path = (own or subject.writes).split()
        return method, path

    def bind(self, cls: type[Destination], behavior: Behavior | None = None, **options: Any) -> Destination:
        """Return the destination bound to this case, or to another behavior; ``options`` are added to the subject's."""
        subject, behavior = self.subject, behavior or self.behavior
        given = subject.options(behavior) if callable(subject.options) else subject.options
        return cls(subject.object, behavior, subject.identifier, {**given, **options}, sync_id="contract")

    def row(self, n: int, **changes: Any) -> dict[str, Any]:
        """Return the fields of the n-th record, by their dotted names."""
        return {**self.subject.fields(n), **changes}

    def record(self, n: int, *, id: str | None = None, **changes: Any) -> Record:
        """Return the n-th record."""
        key = self.subject.id(n) if id is None else id
        identifier = self.bind(destinations.get(self.destination)).identifier
        fields: dict[str, Any] = {}
        for path, value in self.row(n, **changes).items():
            put(fields, path, value)
        return Record(key, identifier.normalise(key), fields)

    def earlier(self, record: Record, n: int) -> Record:
        """Return a record with the same identifier and other values."""
        return Record(record.key, record.id, self.record(n + _EARLIER).fields)

    def operation(self, record: Record) -> Operation:
        """Return what is to be done with ``record``."""
        return Operation(self.behavior, record)


def cases_of(name: str, subjects: Iterable[Subject]) -> list[Case]:
    """Return every behavior of every subject; update_or_create both of new and of known records."""
    return [
        Case(name, subject, behavior, existing)
        for subject in subjects
        for behavior in destinations.get(name).object_type(subject.object).behaviors
        if behavior is not Behavior.MIRROR  # it sends updates and deletes
        for existing in _EXISTING.get(behavior, (False,))
    ]


_EXISTING: Mapping[Behavior, tuple[bool, ...]] = {
    Behavior.UPDATE_OR_CREATE: (False, True),
    Behavior.UPDATE_ONLY: (True,),
    Behavior.DELETE: (True,),
}
