"""
Where the state of a sync lives.

``xcom`` beside the results, the default · ``asset`` Airflow's asset state store · ``table`` a database; ``kept`` is
what the last two share: they leave word of themselves in XCom. What is too large for any of them is spilled into a
table (:mod:`~airflow_provider_census.sync.spill`). ``runs`` is what the runs of a task have left in XCom,
``remote`` and ``snapshot`` the state as another task sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_census.state.kept import Keeper, KeptStore
from airflow_provider_census.sync.delta import Delta, Watermark

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.state.xcom import XComStore
    from airflow_provider_census.sync.spill import Spill


def open_store(
    delta: Delta, context: Context, sync_id: str, spill: Spill, together: Sequence[str] = ()
) -> XComStore | KeptStore:
    """
    Return the store a delta asks for.

    :param together: the tasks that make up one run of the sync, if this is one of several.
    :raises ConfigError: it is not to be had here.
    """
    from airflow_provider_census.state.xcom import XComStore

    xcom = XComStore(context, sync_id, spill, together)
    kept = keeper(delta, context, sync_id)
    return KeptStore(xcom, kept, spill) if kept else xcom


def open_spill(delta: Delta, sync_id: str, source_conn_id: str, *, adds: bool, forget: bool) -> Spill:
    """
    Return what keeps the part of a state that is too large: the database of the state if it has one, else the source.

    :param adds: whether the sync adds something with every row.
    :param forget: whether what is lost may be lost, because the state is about to be emptied.
    """
    from airflow_provider_census.sources.dbapi import DbApiSource
    from airflow_provider_census.sync.spill import Spill

    where = _place(delta)
    conn_id = source_conn_id if where in _IN_AIRFLOW else where
    return Spill(sync_id, conn_id, DbApiSource.of, adds=adds, forget=forget)


def keeper(delta: Delta, context: Context, sync_id: str) -> Keeper | None:
    """
    Return where a delta wants the state kept, None for XCom.

    :raises ConfigError: it is not to be had here.
    """
    where = _place(delta)
    if where in ("auto", "xcom"):
        return None
    if where == "asset":
        from airflow_provider_census.state.asset import AssetKeeper

        return AssetKeeper(context, sync_id)
    from airflow_provider_census.state.table import TableKeeper

    return TableKeeper(sync_id, where)


_IN_AIRFLOW = ("auto", "xcom", "asset")


def _place(delta: Delta) -> str:
    return delta.state if isinstance(delta, Watermark) else "auto"
