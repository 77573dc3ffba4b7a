"""What a destination offers, as data, and what one sync takes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_census.destinations.objects import Identifier, ObjectType, among
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.paths import put
from airflow_provider_census.transport.rate import Rate


class Offer:
    """Objects, behaviors, identifiers, fields, options and limits of one API; an instance is bound to one sync."""

    name: ClassVar[str]
    objects: ClassVar[tuple[ObjectType, ...]]
    rates: ClassVar[tuple[Rate, ...]]
    concurrency: int = 16
    """Requests in flight at the most; how many it takes is learned. An instance may have fewer. 1 keeps the order."""
    most_in_flight: int | None = None
    """The published limit of requests in flight, None without one; a sync may use its ``rate_share`` of it."""
    max_record_bytes: ClassVar[int] = 100_000
    """The encoded size of one record the API takes."""
    common_options: ClassVar[tuple[str, ...]] = ("on_uncertain",)

    def __init__(
        self,
        object: str,
        behavior: Behavior,
        identifier: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        sync_id: str = "",
    ) -> None:
        """
        Bind the destination to one sync.

        :raises ConfigError: the object, behavior, identifier or an option is not offered; the message names the valid.
        """
        self.object_name = object
        self.object = self.object_type(object)
        self.check_behavior(behavior)
        self.behavior = behavior
        self.options = dict(options or {})
        self.sync_id = sync_id
        for option in self.options:
            valid = (*self.common_options, *self.object.options)
            if option not in valid:
                raise ConfigError.unknown("option", option, valid, where=self._where)
        self.on_uncertain = self.choice("on_uncertain", ("hold", "resend"))
        self.identifier = self.find_identifier(identifier)
        self.configure()

    def configure(self) -> None:
        """
        Read the options, and what else follows from what the sync takes. Nothing, unless a destination says so.

        :raises ConfigError: an option has a value that is not offered, or two choices exclude each other.
        """

    @property
    def _where(self) -> str:
        return f"for {self.name} {self.object.name}"

    # --- what one sync takes ---------------------------------------------------------------------------------------

    def flag(self, name: str, default: bool = False) -> bool:
        """
        Return the option of this name.

        :raises ConfigError: it is neither True nor False.
        """
        value = self.options.get(name, default)
        if not isinstance(value, bool):
            raise ConfigError(f"options[{name!r}] must be True or False")
        return value

    def choice(self, name: str, valid: Sequence[str]) -> str:
        """
        Return the option of this name, the first one of ``valid`` without it.

        :raises ConfigError: it is none of them.
        """
        value: str = self.options.get(name, valid[0])
        if value not in valid:
            raise ConfigError.unknown(f"options[{name!r}]", value, valid)
        return value

    @classmethod
    def object_type(cls, name: str) -> ObjectType:
        """Return the object of this name. Destinations with dynamic objects (channels) override it."""
        for candidate in cls.objects:
            if candidate.name == name:
                return candidate
        raise ConfigError.unknown("object", name, (o.name for o in cls.objects), where=f"at {cls.name}")

    def check_behavior(self, behavior: Behavior) -> None:
        """
        Check that the object takes this behavior.

        :raises ConfigError: it does not.
        """
        if behavior not in self.object.behaviors:
            raise ConfigError.unknown("behavior", behavior.value, self.object.behaviors, where=self._where)

    def find_identifier(self, name: str | None) -> Identifier:
        """Return the identifier of this name, the first one for None."""
        for candidate in self.object.identifiers:
            if name is None or candidate.name == name:
                return candidate
        raise ConfigError.unknown("identifier", name, (i.name for i in self.object.identifiers), where=self._where)

    def check_field(self, path: str) -> None:
        """
        Check one field name of a mapping before any row is read.

        :raises ConfigError: the object has no such field.
        """
        if not among(self.object.fields, path):
            raise ConfigError.unknown("field", path, self.object.fields, where=self._where)

    @property
    def fetches(self) -> bool:
        """Whether :meth:`fetch` can tell what the destination holds of this object."""
        return bool(self.object.fetched)

    def check_if_empty(self, path: str) -> None:
        """
        Check that it can be told whether the destination holds something at ``path``.

        :raises ConfigError: it cannot; the message names the ways out.
        """
        if among(self.object.fetched, path):
            return
        told = f"; it tells {', '.join(map(repr, self.object.fetched))}" if self.fetches else ""
        other = (
            f", or fill it by a sync with behavior {Behavior.CREATE_ONLY.value!r}"
            if Behavior.CREATE_ONLY in self.object.behaviors
            else ""
        )
        raise ConfigError(
            f"mapping of {path!r}: set='if_empty' needs to know what is there, which {self.name} {self.object.name} "
            f"does not tell{told}. Set it always{other}"
        )

    def home(self, field: str) -> str:
        """Return the path at which ``SyncAll`` puts a column that it names ``field``."""
        return field

    def sync_all(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the fields of a record made of every column: each at its home, dots nest.

        :param columns: by the names ``SyncAll`` gives them; JSON values, text already escaped.
        """
        fields: dict[str, Any] = {}
        for name, value in columns.items():
            put(fields, self.home(name), value)
        return fields

    def limits(self) -> Sequence[Rate]:
        """Return what this sync is paced by: the rates of the class, where no option says otherwise."""
        return self.rates

    def in_flight(self, share: float) -> int:
        """Return how many requests may be in flight for a sync that may use this ``share`` of the limits."""
        if self.most_in_flight is None:
            return self.concurrency
        # Rounded: 0.29 * 100 is less than 29.
        return min(self.concurrency, max(1, int(round(self.most_in_flight * share, 6))))
