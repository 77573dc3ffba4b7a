"""
Where a run begins that reads all rows or follows a cursor: what it takes from the state of the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import replace

from airflow_provider_census.errors import StateError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.changes import Changes, FullRefreshChanges, Reader
from airflow_provider_census.sync.columns import resolve_column
from airflow_provider_census.sync.delta import FullRefresh, Watermark
from airflow_provider_census.sync.marks import any_version
from airflow_provider_census.sync.model import ModelSql
from airflow_provider_census.sync.state import State
from airflow_provider_census.sync.target import (
    check_adds,
    check_doubts,
    check_follows,
    last_delta,
    moved,
    reaches_more,
)
from airflow_provider_census.sync.watermark_changes import WatermarkChanges

log = logging.getLogger(__name__)


def open_changes(
    delta: FullRefresh | Watermark,
    reader: Reader,
    behavior: Behavior,
    *,
    before: State | None,
    lost: bool,
    target: str,
    mapping: Set[bytes],
    full_refresh: bool,
    whole: ModelSql | None = None,
    shards: int = 1,
) -> Changes:
    """
    Return the rows of this run.

    :param before: state of the last run, None without one; ``lost`` tells that there were runs all the same.
    :param target: where the rows go; elsewhere than before, the run is a first one.
    :param mapping: fingerprints of its fields and of what the behavior reaches; others than before send everything
        again, save what is in doubt.
    :param whole: the model of the whole sync, where ``reader`` reads one of its ``shards``.
    :raises StateError: the state speaks of something else and rows would double, or is lost and the author wants to be
        told.
    """
    start = State(target=target, mapping=frozenset(mapping), shards=shards)
    if not isinstance(delta, Watermark):
        return FullRefreshChanges(reader, start)
    if not full_refresh:
        check_shards(before, shards)
    if before is not None and moved(before, target, doubles=behavior.adds and not full_refresh):
        before, lost = None, False
    if before is not None and not full_refresh:
        same = mapping == before.mapping
        doubts = before.in_doubt if same else frozenset(map(any_version, before.in_doubt))
        start = replace(start, in_doubt=doubts, in_doubt_since=before.in_doubt_since)
    column = resolve_column(delta.column, reader.columns, "cursor column")
    reached = whole.highest(column) if whole else None
    if before is not None and before.column != column:
        log.warning("The last run followed %s, this one follows the cursor %s.", last_delta(before), column)
        if not full_refresh:
            _check_followed(before, f"the cursor {column}", delta, adds=behavior.adds)
        before, lost = None, True
    if before is None:
        return WatermarkChanges(
            reader,
            delta,
            start,
            since=None,
            skip=_skips(delta, lost, full_refresh),
            behavior=behavior,
            reached=reached,
        )
    if behavior.adds and not full_refresh:
        check_adds(before, known=before.followed)
    resend = full_refresh or reaches_more(before, mapping)
    now = replace(start, watermark=before.watermark)
    if not resend:
        # Cut short, the run after it would take for settled what only the earlier ones sent.
        now = replace(now, settled=before.settled, owed=before.owed, owed_null_keys=before.owed_null_keys)
    since = None if resend else before.watermark
    return WatermarkChanges(reader, delta, now, since=since, behavior=behavior, reached=reached)


def _check_followed(before: State, now: str, delta: Watermark, *, adds: bool) -> None:
    """
    Check that what another cursor or a snapshot has sent can be left to them.

    :raises StateError: this run would send it again.
    """
    if adds and delta.on_missing != "fail":
        check_follows(before, now, settles=delta.on_missing == "now")
    check_doubts(before, before.snapshot_doubts, now)


def check_shards(before: State | None, shards: int) -> None:
    """
    Check that a state is of a sync in as many shards as now.

    :raises StateError: it is not: a row may be of another shard now, whose state knows nothing of it.
    """
    if before is not None and before.shards != shards:
        raise StateError(
            f"the last run of this sync was in {before.shards} shard(s), this one is in {shards}, and what has arrived "
            f"is remembered by shard. Nothing was sent. Go back to {before.shards}, or run it once with "
            f"full_refresh=True, which sends every row (append and send: once more); or give it another sync_id, with "
            f"Watermark(baseline='skip') if nothing has changed since"
        )


def _skips(delta: Watermark, lost: bool, full_refresh: bool) -> bool:
    """Return whether a run without state takes what is there as settled."""
    if full_refresh:
        return False
    if not lost:
        return delta.baseline == "skip"
    if delta.on_missing == "fail":
        raise StateError(
            "this sync has run before, but its state is gone (on_missing='fail'); run it once with full_refresh=True, "
            "or set on_missing to 'full' or 'now'"
        )
    log.warning(
        "This sync has run before, but its state is gone; on_missing=%r decides.",
        delta.on_missing,
    )
    return delta.on_missing == "now"
