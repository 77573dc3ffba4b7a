"""
Rows in the destination's terms.

In: a row of the model. Out: a :class:`Record`, or an invalid :class:`RowResult` with the reason. Invariant: values of a
row stay values; they are never pasted into text that something else interprets.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.columns import resolve_column
from airflow_provider_census.sync.conversion import Converter, key_text, key_texts
from airflow_provider_census.sync.field_readers import MISSING, FieldReader, Fixed, FromColumn, Rendered, Tree, objects
from airflow_provider_census.sync.fields import (
    Column,
    Constant,
    FieldSource,
    MappingDeclaration,
    SyncAll,
    check_mapping,
)
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.paths import get, place, put
from airflow_provider_census.sync.template import Template
from airflow_provider_census.sync.values import Record, RowResult

if TYPE_CHECKING:
    from airflow_provider_census.destinations.base import Destination

# What a behavior sees to, as fingerprints: one that sees to more has rows to send that the last one has left alone.
_CREATES, _UPDATES, _DELETES = b"creates.", b"updates.", b"deletes."
_REACHES = {
    Behavior.UPDATE_OR_CREATE: (_CREATES, _UPDATES),
    Behavior.MIRROR: (_CREATES, _UPDATES),
    Behavior.UPDATE_ONLY: (_UPDATES,),
    Behavior.CREATE_ONLY: (_CREATES,),
    Behavior.DELETE: (_DELETES,),
}


class Mapper:
    """
    A mapping bound to the columns of a model and to a destination.

    :param declared: destination field ← column, :class:`Constant` or :class:`Template`; or :class:`SyncAll`.
    :param key_column: the model column that identifies a record.
    :param columns: what the model returns, in order. Rows may have one value more: how often their key is there.
    :ivar fingerprints: of what the behavior reaches and, where it updates, of the fields and how they are filled.
    :ivar if_empty: the fields that are written only where the destination holds nothing for them.
    :raises ConfigError: a column, a field or a required field is missing, or two fields claim one place.
    """

    def __init__(
        self,
        declared: MappingDeclaration,
        key_column: str,
        columns: Sequence[str],
        destination: Destination,
    ) -> None:
        check_mapping(declared)
        self._columns = list(columns)
        self._read: set[int] = set()
        self._constants: dict[str, Any] = {}
        self._destination = destination
        self._converter = Converter(destination)
        self.key_column = resolve_column(key_column, self._columns, "sync_key column")
        self._key_at = self._columns.index(self.key_column)
        #: Returns the raw value of the sync key of a row.
        self.key: Callable[[Sequence[Any]], Any] = operator.itemgetter(self._key_at)
        self._copies_at = len(self._columns)
        self._all = isinstance(declared, SyncAll)
        sources = self._sync_all(declared) if isinstance(declared, SyncAll) else declared
        self._readers = readers = {field: self._reader(source, field) for field, source in sources.items()}
        self._places = [(*place(field), reader) for field, reader in readers.items()]
        self.fields = tuple(dict.fromkeys(destination.home(f) if self._all else f for f in readers))
        for path in self.fields:
            destination.check_field(path)
        self.if_empty = tuple(
            field
            for field, source in ({} if isinstance(declared, SyncAll) else declared).items()
            if not isinstance(source, str) and source.set == "if_empty"
        )
        for path in self.if_empty:
            destination.check_if_empty(path)
        self._refuse_overlaps()
        self._refuse_another_identity(sources)
        self._tree: Tree = readers if self._all else _tree(readers)
        self._required = self._check_required()
        # One for each field: their order is no change. To others than updates a field is none either.
        behavior = destination.behavior
        fields = [self._fingerprint(field, source) for field, source in sources.items() if behavior.updates]
        self.fingerprints = frozenset((*fields, *_REACHES.get(behavior, ())))

    def __call__(self, row: Sequence[Any]) -> Record | RowResult:
        """Return the record of ``row``, or why there is none."""
        try:
            key, text = self._key(row)
            if self._all:
                fields = self._destination.sync_all({f: reader.one(row) for f, reader in self._readers.items()})
            else:
                fields = self._nest(row)
            self._require(fields)
        except ValueError as error:
            return RowResult(Outcome.INVALID, str(error))
        except RecursionError:
            return RowResult(Outcome.INVALID, "a value is nested too deep")
        return Record(key, text, fields)

    def records(self, rows: Sequence[Sequence[Any]]) -> Iterable[Record | RowResult]:
        """Return for each of ``rows`` its record, or why there is none."""
        try:
            return self._records(rows)
        except (ValueError, RecursionError):
            return map(self, rows)  # each tells what is wrong with it

    @property
    def reads(self) -> list[str]:
        """The columns a record is made of, in the order of the model."""
        return [self._columns[at] for at in sorted(self._read)]

    @property
    def constants(self) -> dict[str, Any]:
        """The fields every record has alike: all that is known of one whose row is gone."""
        fields: dict[str, Any] = {}
        for path, value in self._constants.items():
            put(fields, path, value)
        return fields

    def identify(self, key: Any) -> str | None:
        """Return what the destination knows the record of ``key`` by, None if it cannot have one."""
        try:
            return self._identifier(key)
        except ValueError:
            return None

    # --- binding ---------------------------------------------------------------------------------------------------

    def _fingerprint(self, field: str, source: FieldSource) -> bytes:
        """Return 8 bytes that stand for a field and how it is filled."""
        meant = Column(source) if isinstance(source, str) else source
        return hashlib.blake2b(repr((self._all, field, meant)).encode(), digest_size=8).digest()

    def _sync_all(self, declared: SyncAll) -> dict[str, FieldSource]:
        excluded = {resolve_column(c, self._columns, "SyncAll exclude: column") for c in declared.exclude} | {
            self.key_column
        }
        spelled = {resolve_column(c, self._columns, "SyncAll json: column") for c in declared.json}
        sources: dict[str, FieldSource] = {}
        for column in self._columns:
            if column in excluded:
                continue
            field = declared.field(column)
            if field in sources:
                raise ConfigError(f"two columns of the model become the field {field!r}; exclude or rename one")
            sources[field] = Column(column, json=column in spelled)
        return sources

    def _reader(self, source: FieldSource, field: str) -> FieldReader:
        match source:
            case str():
                return self._column(Column(source), field)
            case Column():
                return self._column(source, field)
            case Constant(value=value):
                constant = self._constants[field] = self._constant(value, field)
                return Fixed(constant)
            case Template():
                render = source.bind(
                    lambda name: self._position(name, f"template of {field!r}"),
                    escape=lambda value: self._converter.from_row(value, field),
                    convert=lambda value: self._converter.value(value, field),
                )
                return Rendered(lambda row: self._converter.value(render(row), field))

    def _constant(self, value: Any, field: str) -> Any:
        try:
            return self._converter.value(value, field)
        except ValueError as error:
            raise ConfigError(f"the constant of {error}") from None

    def _column(self, column: Column, field: str) -> FieldReader:
        return FromColumn(column, self._position(column.name, f"mapping of {field!r}"), field, self._converter)

    def _position(self, column: str, where: str) -> int:
        at = self._columns.index(resolve_column(column, self._columns, f"{where}: column"))
        self._read.add(at)
        return at

    def _refuse_overlaps(self) -> None:
        for path in self.fields:
            for other in self.fields:
                if other.startswith(path + "."):
                    raise ConfigError(
                        f"the mapping fills {path!r} and {other!r}, one inside the other; keep one of them"
                    )

    def _refuse_another_identity(self, sources: Mapping[str, FieldSource]) -> None:
        # What was created under another value than the sync key's would not be found again, and made anew by each run.
        behavior, identifier = self._destination.behavior, self._destination.identifier.name
        if behavior.adds or behavior in (Behavior.UPDATE_ONLY, Behavior.DELETE):
            return
        for field, source in sources.items():
            if (self._destination.home(field) if self._all else field) != identifier:
                continue
            column = source.name if isinstance(source, Column) else source if isinstance(source, str) else None
            if column is None or resolve_column(column, self._columns) != self.key_column:
                raise ConfigError(
                    f"the mapping fills {identifier!r}, by which records are found, with something else than the "
                    f"sync_key's column {self.key_column!r}; leave that to the sync_key"
                )

    def _check_required(self) -> list[tuple[str, ...]]:
        groups = [(r,) if isinstance(r, str) else r for r in self._destination.object.required]
        present = {*self.fields, self._destination.identifier.name}
        for group in groups:
            if not any(name in present for name in group):
                what = " or ".join(repr(name) for name in group)
                raise ConfigError(
                    f"the mapping must fill {what}: required for {self._destination.name} "
                    f"{self._destination.object.name}"
                )
        return [group for group in groups if self._destination.identifier.name not in group]

    # --- reading ---------------------------------------------------------------------------------------------------

    def _key(self, row: Sequence[Any]) -> tuple[Any, str]:
        key = row[self._key_at]
        text = self._identifier(key)
        copies = row[self._copies_at] if len(row) > self._copies_at else 1
        if copies > 1:
            raise ValueError(f"the sync key stands in {copies} rows; none of them is sent")
        return key, text

    def _identifier(self, key: Any) -> str:
        if key is None:
            raise ValueError(f"the sync key {self.key_column} is NULL")
        text = self._destination.identifier.normalise(key_text(key))
        if not text or text.isspace():
            raise ValueError(f"the sync key {self.key_column} is empty")
        return text

    def _nest(self, row: Sequence[Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for parents, name, reader in self._places:
            value = reader.one(row)
            if value is not MISSING:
                home = fields
                for parent in parents:
                    home = home.setdefault(parent, {})
                home[name] = value
        return fields

    def _records(self, rows: Sequence[Sequence[Any]]) -> list[Record | RowResult]:
        """
        Return the record of each of ``rows``.

        :raises ValueError: one of them may have none.
        """
        columns = list(zip(*rows, strict=True))
        keys = columns[self._key_at]
        texts = self._destination.identifier.normalise_all(key_texts(keys))
        counted = columns[self._copies_at] if len(columns) > self._copies_at else (1,)
        if not all(map(str.strip, texts)) or max(counted) > 1:
            raise ValueError("some may have no key of their own")
        made = objects(self._tree, rows, columns)
        if self._all:
            made = list(map(self._destination.sync_all, made))
        for fields in made if self._required else ():
            self._require(fields)
        return list(map(Record, keys, texts, made))

    def _require(self, fields: Mapping[str, Any]) -> None:
        for group in self._required:
            if all(get(fields, path) in (None, "") for path in group):
                raise ValueError(f"required field {' or '.join(group)} is missing")


def _tree(readers: Mapping[str, FieldReader]) -> Tree:
    tree: dict[str, Any] = {}
    for field, reader in readers.items():
        put(tree, field, reader)
    return tree
