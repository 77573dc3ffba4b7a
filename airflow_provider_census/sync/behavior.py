"""
What a behavior and a delta can do together. Checked where the sync is declared, before anything is read.
"""

from __future__ import annotations

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.delta import Delta, FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.values import Behavior


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
    if behavior.adds and isinstance(delta, Watermark) and delta.on_null == "include":
        raise ConfigError(f"on_null='include' with behavior {behavior.value!r} would send those rows in every run")
