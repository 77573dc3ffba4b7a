"""
Which comparison a :class:`~airflow_provider_census.sync.delta.Snapshot` asks for: beside the model, or elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.delta import Snapshot
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.model import Model, Source
from airflow_provider_census.sync.snapshot import SnapshotSql
from airflow_provider_census.sync.snapshot_changes import SnapshotChanges
from airflow_provider_census.sync.snapshot_doubts import SnapshotDoubts
from airflow_provider_census.sync.snapshot_table import Database, SnapshotTable, table_name
from airflow_provider_census.sync.staging import Stage, StagedChanges, StagedSql
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.values import Behavior

_RESENT_WHEN_REMAPPED = (Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.MIRROR)


def open_snapshot(
    delta: Snapshot,
    source: Source,
    elsewhere: Database | None,
    model: Model,
    mapper: Mapper,
    destination: Destination,
    *,
    columns: Sequence[str],
    before: State | None,
    full_refresh: bool,
    keep: bool,
) -> SnapshotChanges:
    """
    Return the rows of this run; the table of the snapshot is made where it is missing.

    :param elsewhere: the database the delta names; None for the source itself.
    :param before: state of the last run, None without one.
    :param keep: whether to write what arrived; a dry run does not.
    """
    database = elsewhere or cast("Database", source)
    if delta.schema and database.dialect == "sqlite":
        raise ConfigError("SQLite has no schemas; leave out schema of the Snapshot")
    if database.dialect == "athena":
        raise ConfigError("Athena has no tables of rows that change; name another database: Snapshot(conn_id=…)")
    if not delta.schema and database.dialect == "bigquery":
        raise ConfigError("BigQuery has no schema of its own for a connection; give the Snapshot one, a dataset")
    target = f"{destination.name}/{destination.object_name}"
    name = table_name(destination.sync_id, target)
    lower = destination.identifier.lower
    salt = mapper.fingerprint if destination.behavior in _RESENT_WHEN_REMAPPED else ""
    there: dict[str, Any] = {"dialect": database.dialect, "paramstyle": database.paramstyle}
    settings: dict[str, Any] = {
        "key_at": columns.index(mapper.key_column),
        "identify": mapper.identify,
        "behavior": destination.behavior,
        "skip": (before is None or before.target != target) and delta.baseline == "skip" and not full_refresh,
        "adopt": (before is None or before.target != target or before.adopting)
        and delta.baseline == "adopt"
        and not full_refresh,
        "everything": full_refresh,
        "keep": keep,
    }
    now = replace(before or State(target=target), target=target, mapping=mapper.fingerprint)
    here = SnapshotSql(
        model,
        key=mapper.key_column,
        # The order of the columns is no change.
        columns=sorted(mapper.reads),
        salt=salt,
        lower=lower,
        table=name,
        schema=delta.schema,
        dialect=source.dialect,
        paramstyle=source.paramstyle,
    )
    beside = SnapshotTable(f"{name}_doubts", schema=delta.schema, **there)
    beside.make(database)
    doubts = SnapshotDoubts(database, beside, by_key=destination.behavior.adds)
    if elsewhere is None:
        here.make(database)
        return SnapshotChanges(database, here, doubts, now, **settings)
    stage = Stage(f"{name}_stage", schema=delta.schema, **there)
    staged = StagedSql(
        stage.model, key="sync_key", columns=(), salt="", lower=lower, table=name, schema=delta.schema, **there
    )
    staged.make(database)
    return StagedChanges(source, model, here, stage, database, staged, doubts, now, lower=lower, **settings)
