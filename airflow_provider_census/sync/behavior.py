"""
What a sync does with its rows, and the deltas it can follow. Checked where the sync is declared, before anything is
read.
"""

from __future__ import annotations

from enum import StrEnum

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import MappingDeclaration, SyncAll
from airflow_provider_census.sync.outcome import Outcome


class Behavior(StrEnum):
    """What a sync does with the rows of its delta."""

    UPDATE_OR_CREATE = "update_or_create"
    UPDATE_ONLY = "update_only"
    CREATE_ONLY = "create_only"
    DELETE = "delete"
    MIRROR = "mirror"
    APPEND = "append"
    SEND = "send"

    @property
    def adds(self) -> bool:
        """Whether every accepted row adds something new: sent twice, it stands there twice."""
        return self in _ADDS

    __hash__ = str.__hash__  # that of an enumeration is a function of Python, and asked for several times a row

    @property
    def updates(self) -> bool:
        """Whether it writes to records that are there."""
        return self in _UPDATES

    @property
    def done(self) -> Outcome:
        """What a row ends in that was accepted, where the destination tells no more."""
        return _DONE[self]


# Asked for every row; naming a member of an enumeration costs as much as making a record.
_ADDS = frozenset((Behavior.APPEND, Behavior.SEND))
_UPDATES = frozenset((Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.MIRROR))
_DONE = {
    Behavior.UPDATE_OR_CREATE: Outcome.UPSERTED,
    Behavior.UPDATE_ONLY: Outcome.UPDATED,
    Behavior.CREATE_ONLY: Outcome.CREATED,
    Behavior.DELETE: Outcome.DELETED,
    Behavior.APPEND: Outcome.SENT,
    Behavior.SEND: Outcome.SENT,
}
_UPDATING = ", ".join(repr(behavior.value) for behavior in Behavior if behavior.updates)


def parse_behavior(name: str) -> Behavior:
    """
    Return the behavior of this name.

    :raises ConfigError: there is none; the message names the valid ones.
    """
    try:
        return Behavior(name)
    except ValueError:
        raise ConfigError.unknown("behavior", name, Behavior) from None


def check_pair(behavior: Behavior, delta: Delta) -> None:
    """
    Check that ``behavior`` can follow ``delta``.

    :raises ConfigError: it would lose rows, or send them in every run.
    """
    if behavior is Behavior.MIRROR and not isinstance(delta, Snapshot):
        raise ConfigError("behavior 'mirror' deletes what is gone from the model, which only delta=Snapshot() can see")
    if behavior is Behavior.APPEND and isinstance(delta, FullRefresh):
        raise ConfigError(
            "behavior 'append' without a delta would send all rows in every run; give delta=Watermark(…) or Snapshot()"
        )
    if isinstance(delta, Snapshot) and delta.baseline == "adopt" and not behavior.updates:
        raise ConfigError(
            f"baseline='adopt' sends what differs from what is there, which behavior {behavior.value!r} does not ask "
            f"for; with it baseline may be 'send' or 'skip', and 'adopt' with {_UPDATING}"
        )
    if behavior.adds and isinstance(delta, Watermark) and delta.on_null == "include":
        raise ConfigError(f"on_null='include' with behavior {behavior.value!r} would send those rows in every run")


def check_sets(behavior: Behavior, mapping: MappingDeclaration) -> None:
    """
    Check that ``behavior`` can leave fields of ``mapping`` as they are.

    :raises ConfigError: it writes to no record that is there before.
    """
    if isinstance(mapping, SyncAll) or behavior.updates:
        return
    for field, source in mapping.items():
        if not isinstance(source, str) and source.set == "if_empty":
            raise ConfigError(
                f"mapping of {field!r}: set='if_empty' is for records that may be there before, which behavior "
                f"{behavior.value!r} does not write to; leave it out, or take {_UPDATING}"
            )
