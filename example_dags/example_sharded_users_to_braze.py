"""
Many users for Braze: four workers send them side by side.

By the hash of its id each customer is of one of four shards. Their tasks share Braze's limit; the task behind them
returns the result of the whole sync, and fails if more than one row in a hundred was refused in all of it.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.shards import sharded_sync
from airflow_provider_census.sync import Watermark

with DAG(
    "example_sharded_users_to_braze",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    # Shards of another run would be refused while these are under way.
    max_active_runs=1,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be sent")},
    tags=["census", "example"],
):
    sharded_sync(
        task_id="users",
        shards=4,
        # The file of a DuckDB lets one process in; with a warehouse that is a server, leave this out.
        at_once=1,
        source_conn_id="warehouse",
        sql="SELECT id, email, plan, country, updated_at FROM customers",
        destination_conn_id="braze_prod",
        destination_object="user",
        sync_key={"external_id": "id"},
        mapping={"email": "email", "plan": "plan", "country": "country"},
        delta=Watermark("updated_at"),
        max_rejected=0.01,
        dry_run="{{ params.dry_run }}",
    )
