"""
Where the state of a sync lives.

``xcom`` beside the results, the default · ``asset`` Airflow's asset state store · ``table`` a database; ``kept`` is
what the last two share: they leave word of themselves in XCom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_census.state.kept import KeptStore
from airflow_provider_census.sync.delta import Delta, Watermark

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_census.state.xcom import XComStore


def open_store(delta: Delta, context: Context, xcom: XComStore, sync_id: str) -> XComStore | KeptStore:
    """
    Return the store a delta asks for.

    :raises ConfigError: it is not to be had here.
    """
    where = delta.state if isinstance(delta, Watermark) else "auto"
    if where in ("auto", "xcom"):
        return xcom
    if where == "asset":
        from airflow_provider_census.state.asset import AssetKeeper

        return KeptStore(xcom, AssetKeeper(context, sync_id))
    from airflow_provider_census.state.table import TableKeeper

    return KeptStore(xcom, TableKeeper(sync_id, where))
