"""What each kind of operation asks of an API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_census.destinations._http_options import Settings
from airflow_provider_census.destinations._http_path import Path
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior

ID = "id"

# What says, by the meaning of the status, that there is nothing to do.
_SKIPS = {Behavior.UPDATE_ONLY: (404,), Behavior.CREATE_ONLY: (409,), Behavior.DELETE: (404, 410)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A request to be made of operations.

    :param batch_size: None for one record, which is then no list.
    :param skips: statuses that say that there is nothing to do.
    :param names_record: whether the identifier stands in the path.
    """

    method: str
    path: Path
    batch_size: int | None
    skips: tuple[int, ...]
    repeatable: bool
    names_record: bool


def calls(behavior: Behavior, identifier: str, settings: Settings) -> Mapping[Behavior, Call]:
    """
    Return the call for every kind of operation that ``behavior`` plans.

    :raises ConfigError: there is no path for it, or a request could mean other records than its own.
    """
    if behavior is not Behavior.MIRROR:
        return {behavior: _call(behavior, identifier, settings)}
    write, delete = (_call(kind, identifier, settings) for kind in (Behavior.UPDATE_OR_CREATE, Behavior.DELETE))
    if (write.method, str(write.path)) == (delete.method, str(delete.path)):
        raise ConfigError(
            f"mirror would delete by {delete.method} {delete.path}, the request that writes: the API would update the "
            f"record, with nothing in it; give options['delete_path']"
        )
    return {Behavior.UPDATE_OR_CREATE: write, Behavior.DELETE: delete}


def _call(kind: Behavior, identifier: str, settings: Settings) -> Call:
    deletes = kind is Behavior.DELETE
    method = settings.delete_method if deletes else settings.method
    path = (settings.delete_path if deletes else None) or settings.path
    if path is None:
        raise ConfigError(f"options[{'delete_path' if deletes else 'path'!r}] is needed, like '/users/{{id}}'")
    named = any(name in (ID, identifier) for name in path.names)
    if method == "DELETE" and not named:
        raise ConfigError(f"DELETE {path} names no record and might delete them all; put {{id}} into the path")
    if settings.batch_size and named and not deletes:
        raise ConfigError(f"options['batch_size']: a path with one record's id in it takes no batch: {path}")
    batch_size = None if named else settings.batch_size
    # The key of a batch is not that of the same records in another one, as the next run may send them.
    keyed = bool(settings.idempotency_header) and batch_size is None
    repeatable = deletes or method != "POST" or keyed
    return Call(
        method=method,
        path=path,
        batch_size=batch_size,
        skips=_skips(kind, path, settings.skip_status),
        repeatable=repeatable if settings.repeatable is None else settings.repeatable,
        names_record=named,
    )


def _skips(kind: Behavior, path: Path, told: tuple[int, ...] | None) -> tuple[int, ...]:
    if kind is Behavior.UPDATE_OR_CREATE:
        return ()
    if told is not None:
        return told
    # Of a path that is the same for all records, 404 says nothing about one.
    return tuple(status for status in _SKIPS.get(kind, ()) if path.names or status == 409)
