"""
Which comparison a :class:`~airflow_provider_census.sync.delta.Snapshot` asks for: beside the model, or elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from typing import Any, cast

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import ConfigError, StateError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.delta import Snapshot
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.snapshot import Digest, SnapshotSql
from airflow_provider_census.sync.snapshot_changes import SnapshotChanges
from airflow_provider_census.sync.snapshot_doubts import SnapshotDoubts
from airflow_provider_census.sync.snapshot_table import GONE, THERE, SnapshotTable, table_name
from airflow_provider_census.sync.staging import Stage, StagedChanges, StagedSql
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.statement import Source, only_row
from airflow_provider_census.sync.tables import Database
from airflow_provider_census.sync.target import check_adds, check_doubts, check_follows, moved, reaches_more

log = logging.getLogger(__name__)


def open_snapshot(
    delta: Snapshot,
    source: Source,
    elsewhere: Database | None,
    model: Model,
    mapper: Mapper,
    destination: Destination,
    *,
    columns: Sequence[str],
    target: str,
    before: State | None,
    full_refresh: bool,
    keep: bool,
    closes: int = 0,
) -> SnapshotChanges:
    """
    Return the rows of this run; the table of the snapshot is made where it is missing.

    :param elsewhere: the database the delta names; None for the source itself.
    :param target: where the rows go; elsewhere than before, the snapshot is another one.
    :param before: state of the last run, None without one.
    :param keep: whether to write what arrived; a dry run does not.
    :param closes: how many shards have staged and sent their parts before.
    :raises StateError: it is not known any more what was sent, and rows would double.
    """
    database = elsewhere or cast("Database", source)
    if delta.schema and database.dialect == "sqlite":
        raise ConfigError("SQLite has no schemas; leave out schema of the Snapshot")
    if database.dialect == "athena":
        raise ConfigError("Athena has no tables of rows that change; name another database: Snapshot(conn_id=…)")
    if not delta.schema and database.dialect == "bigquery":
        raise ConfigError("BigQuery has no schema of its own for a connection; give the Snapshot one, a dataset")
    name = table_name(destination.sync_id, target)
    there: dict[str, Any] = {"schema": delta.schema, "dialect": database.dialect, "paramstyle": database.paramstyle}
    table = SnapshotTable(name, **there)
    beside = SnapshotTable(f"{name}_doubts", **there)
    for one in (table, beside):
        one.make(database)
    known = bool(only_row(database, table.known())[0])
    behavior = destination.behavior
    first = before is None or _starts_over(
        before,
        target,
        table.name,
        known=known,
        adds=behavior.adds and not full_refresh,
        skips=delta.baseline == "skip",
        shard=model.part is not None,
        sync_id=destination.sync_id,
    )
    if before is not None and behavior.adds and not full_refresh:
        check_adds(before, known=known)
    digest = _digest(mapper, behavior)
    last = before if before is not None and before.target == target else None
    if last is not None and not full_refresh:
        check_doubts(last, len(last.in_doubt), "a snapshot")
    kept = last is not None and last.columns is not None
    former = None
    if last is not None and kept and known and behavior.updates and not full_refresh:
        former = _former(last, mapper.fingerprints, columns)
    settings: dict[str, Any] = {
        "mapper": mapper,
        "behavior": behavior,
        "known": known,
        # Others wrote there since: another delta, or this one as another target.
        "stale": known and before is not None and not kept,
        "skip": first and delta.baseline == "skip" and not full_refresh,
        "adopt": (first or (last is not None and last.adopting)) and delta.baseline == "adopt" and not full_refresh,
        "everything": full_refresh,
        "keep": keep,
        "shard": model.part is not None,
        "follows": before if behavior.adds and before is not None and before.followed else None,
    }
    now = State(
        target=target,
        mapping=mapper.fingerprints,
        columns=tuple(digest.columns),
        shards=model.part[0].of if model.part else 1,
    )
    lower = destination.identifier.lower
    here = SnapshotSql(
        model,
        key=mapper.key_column,
        columns=digest.columns,
        salt=digest.salt,
        word=digest.word,
        former=former,
        lower=lower,
        table=name,
        schema=delta.schema,
        dialect=source.dialect,
        paramstyle=source.paramstyle,
    )
    remapped = last is None or last.mapping != mapper.fingerprints
    doubts = SnapshotDoubts(database, beside, by_key=not behavior.updates, remapped=remapped)
    if elsewhere is None:
        return SnapshotChanges(database, here, doubts, now, **settings)
    parts = range(closes) if model.part is None else [model.part[0].index]
    stage = Stage(*stage_names(name, parts), former=former is not None, **there)
    staged = StagedSql(
        stage.model, key="sync_key", columns=(), salt="", former=former, lower=lower, table=name, **there
    )
    return StagedChanges(source, model, here, stage, database, staged, doubts, now, lower=lower, **settings)


def _digest(mapper: Mapper, behavior: Behavior) -> Digest:
    """Return what is compared of a row: to be deleted, or only to be there, is the same in whatever form."""
    if behavior.updates:
        return Digest.of(mapper.reads, mapper.fingerprints)
    return Digest((), "", word=GONE if behavior is Behavior.DELETE else THERE)


def stage_names(snapshot: str, parts: Iterable[int]) -> list[str]:
    """Return the names of the tables the shards stage their parts in; of a sync without shards, of the one there is."""
    return [f"{snapshot}_stage_{part}" for part in parts] or [f"{snapshot}_stage"]


def _starts_over(
    before: State, target: str, table: str, *, known: bool, adds: bool, skips: bool, shard: bool, sync_id: str
) -> bool:
    """
    Return whether nothing is known of what earlier runs sent; it is told.

    :param table: its name; ``known``, whether it has rows.
    :param adds: whether rows sent again would stand there twice; ``skips``, whether a first run sends none.
    :param shard: the other shards may have made the table known in this very run.
    :raises StateError: they would be sent again.
    """
    then = f"What was sent there before, by table {table}, counts." if known else "It is a first run."
    if before.snapshot:
        left = table_name(sync_id, before.target)
        then += f" Table {left} stays behind and is not used; drop it and {left}_* if the sync is not to go back."
    if moved(before, target, doubles=adds and not known, then=then):
        return not known
    if adds and before.followed:
        check_follows(before, "a snapshot", settles=skips and (shard or not known))
        return True
    if known or not before.snapshot:
        return False
    gone = f"what this sync has sent was in table {table}, which is gone or empty"
    if adds:
        raise StateError(
            f"{gone}; every row would be sent again. If it lives elsewhere now, say so in the Snapshot (conn_id, "
            f"schema). To send every row again, run the sync once with full_refresh=True or reset it with "
            f"CensusStateOperator; to send none of them again, give it another sync_id and baseline='skip' for a run"
        )
    log.warning("%s: it is a first run, and nothing that was sent before is ever deleted.", gone.capitalize())
    return True


def _former(before: State, mapping: Set[bytes], columns: Sequence[str]) -> Digest | None:
    """Return what was compared until now, if all of what is compared now is in it: then nothing need be sent again."""
    if mapping == before.mapping or reaches_more(before, mapping):
        return None
    compared = before.columns or ()
    if missing := set(compared).difference(columns):
        log.info(
            "Fields were left out of the mapping since the last run, and their columns (%s) of the model too, so that "
            "no row can be compared with what was sent: all rows are sent again.",
            ", ".join(sorted(missing)),
        )
        return None
    return Digest.of(compared, before.mapping)
