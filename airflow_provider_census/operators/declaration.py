"""What can be checked of a sync where it is written: all that no template hides and that needs no connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions._internal.mixins import ResolveMixin
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import check_pair, check_sets, parse_behavior
from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import check_mapping
from airflow_provider_census.sync.limit import parse_limit
from airflow_provider_census.sync.shard import Shard

if TYPE_CHECKING:
    from airflow_provider_census.operators.sync import CensusSyncOperator

LIMITS = ("max_invalid", "max_rejected", "max_deletes")
FLAGS = ("allow_empty", "dry_run", "full_refresh")


class DeclarationError(ConfigError, AirflowFailException):
    """
    The sync is described wrongly, noticed where it is written.

    In the DAG file that is an import error. What ``expand()`` gives a mapped task is seen on the worker only: there the
    task fails, and is not tried again.
    """


def check_declaration(sync: CensusSyncOperator) -> None:
    """
    Check the arguments of an operator; again once its templates are rendered.

    :raises ConfigError: the sync is described wrongly.
    """
    _check_places(sync)
    _check_model(sync)
    _check_key(sync.sync_key)
    if not isinstance(sync.delta, (FullRefresh, Snapshot, Watermark)):
        raise ConfigError(f"delta {sync.delta!r} is not known; valid: Watermark(column), Snapshot(), FullRefresh()")
    check_mapping(sync.mapping)
    if not isinstance(sync.options, Mapping):
        raise ConfigError(f"options={sync.options!r} must be {{name: value}}")
    share = sync.rate_share
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise ConfigError(f"rate_share={share!r} must be a number above 0 and at most 1")
    if not _is_open(sync.behavior):
        behavior = parse_behavior(sync.behavior)
        check_pair(behavior, sync.delta)
        check_sets(behavior, sync.mapping)
    for name in LIMITS:
        if not _is_open(getattr(sync, name)):
            parse_limit(name, getattr(sync, name))
    for name in FLAGS:
        if not _is_open(getattr(sync, name)):
            parse_flag(name, getattr(sync, name))


def parse_flag(name: str, value: Any) -> bool:
    """
    Return a rendered template as a bool.

    :raises ConfigError: it is none.
    """
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", ""):
        return False
    raise ConfigError(f"{name}={value!r} is neither true nor false")


def _check_places(sync: CensusSyncOperator) -> None:
    for name in ("source_conn_id", "destination_conn_id"):
        value = getattr(sync, name)
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{name}={value!r} must be the id of an Airflow connection")
        if _is_open(value):
            raise ConfigError(f"{name}={value!r} is not templated; give the id itself, or expand() over several")
    given = sync.destination_object
    if not _is_open(given) and (not isinstance(given, str) or not given.strip()):
        raise ConfigError(f"destination_object={given!r} must be the name of an object of the destination")
    if sync.sync_id is not None and not isinstance(sync.sync_id, str):
        raise ConfigError(f"sync_id={sync.sync_id!r} must be a name, or None")
    if sync.shard is not None:
        Shard.parse(sync.shard)


def _check_model(sync: CensusSyncOperator) -> None:
    sql: Any = sync.sql
    if sql is not SET_DURING_EXECUTION and not _is_open(sql) and (not isinstance(sql, str) or not sql.strip()):
        raise ConfigError(f"sql={sql!r} must be the text of one SELECT, or the path of a .sql file")
    given = sync.parameters
    if given is None or _is_open(given) or isinstance(given, Mapping):
        return
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(
            f"parameters must be a list or a dict of values, not a {type(given).__name__}; templates stand inside it: "
            "['{{ … }}']"
        )


def _check_key(declared: object) -> None:
    entries = [*declared.items()] if isinstance(declared, Mapping) else []
    if len(entries) != 1:
        raise ConfigError(
            f"sync_key={declared!r} must be {{destination identifier: model column}} with exactly one entry, like "
            "{'external_id': 'id'}"
        )
    for name in entries[0]:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"sync_key={declared!r} must be {{destination identifier: model column}}, both names")


def _is_open(value: object) -> bool:
    """Return whether the value is not known yet: a template, or what another task returns."""
    return isinstance(value, ResolveMixin) or (isinstance(value, str) and ("{{" in value or "{%" in value))
