"""What a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.delta import Delta, FullRefresh
from airflow_provider_census.sync.fields import MappingDeclaration
from airflow_provider_census.sync.limit import Limit
from airflow_provider_census.sync.model import Model
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.tables import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """
    A sync as its author describes it, with every name resolved.

    :param key_column: model column of the sync key; the destination is bound to its identifier.
    :param max_invalid: rows (int), share of the rows tried (float) or None for no limit; so is ``max_rejected``.
    :param snapshot_database: where a snapshot lives if not in the source.
    :param max_deletes: the same under mirror, of the records this sync has sent; ``allow_empty`` lets it delete all.
    :param shard: the part of the sync this run sends; it deletes nothing under mirror.
    :param closes: this run comes behind so many shards, and does what is left to do for all of them: delete.
    """

    model: Model
    destination: Destination
    key_column: str
    mapping: MappingDeclaration
    delta: Delta = field(default_factory=FullRefresh)
    max_invalid: Limit = 0
    max_rejected: Limit = 0
    max_deletes: Limit = 0.1
    allow_empty: bool = False
    snapshot_database: Database | None = None
    dry_run: bool = False
    full_refresh: bool = False
    shard: Shard | None = None
    closes: int = 0
