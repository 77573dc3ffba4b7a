"""
What a behavior and a delta can do together. Checked where the sync is declared, before anything is read.
"""

from __future__ import annotations

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import MappingDeclaration, SyncAll
from airflow_provider_census.sync.values import Behavior

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
