"""
Where the state of a sync lives.

``xcom`` beside the results, the default · ``asset`` Airflow's asset state store · ``table`` a database; ``kept`` is
what the last two share: they leave word of themselves in XCom. ``runs`` is what the runs of a task have left in XCom,
``remote`` and ``snapshot`` the state as another task sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_census.state.kept import Keeper, KeptStore
from airflow_provider_census.sync.delta import Delta, Watermark

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.state.xcom import XComStore


def open_store(delta: Delta, context: Context, xcom: XComStore, sync_id: str) -> XComStore | KeptStore:
    """
    Return the store a delta asks for.

    :raises ConfigError: it is not to be had here.
    """
    kept = keeper(delta, context, sync_id)
    return KeptStore(xcom, kept) if kept else xcom


def keeper(delta: Delta, context: Context, sync_id: str) -> Keeper | None:
    """
    Return where a delta wants the state kept, None for XCom.

    :raises ConfigError: it is not to be had here.
    """
    where = delta.state if isinstance(delta, Watermark) else "auto"
    if where in ("auto", "xcom"):
        return None
    if where == "asset":
        from airflow_provider_census.state.asset import AssetKeeper

        return AssetKeeper(context, sync_id)
    from airflow_provider_census.state.table import TableKeeper

    return TableKeeper(sync_id, where)
