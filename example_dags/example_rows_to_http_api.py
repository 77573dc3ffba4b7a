"""
An API nobody has written a destination for holds the customers of the warehouse, and no others.

``API`` tells all there is to know: where records are written, what a yes looks like, how the answer names those it
refuses, how one is deleted, how fast one may go. The connection has the address and the token. A first run deletes
nothing; later runs delete what this sync has sent and the warehouse has no longer.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Snapshot, Template

API = {
    "path": "/v1/things/batch",
    "batch_size": 100,
    "batch_key": "things",
    # Writing a thing twice leaves one; of a POST that cannot be known.
    "repeatable": True,
    "success": {"path": "ok", "value": True},
    "errors": {"path": "errors", "id": "id", "reason": "message"},
    "delete_path": "/v1/things/{external_id}",
    "rate": {"requests": 20, "seconds": 1},
}

with DAG(
    "example_rows_to_http_api",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be sent")},
    tags=["census", "example"],
):
    CensusSyncOperator(
        task_id="customers",
        source_conn_id="warehouse",
        sql="models/customers.sql",
        destination_conn_id="http_prod",
        destination_object="thing",
        behavior="mirror",
        sync_key={"external_id": "id"},
        mapping={
            "name": Template("{{ first_name }} {{ last_name }}"),
            "plan": "plan",
            "address.country": "country",
        },
        delta=Snapshot(),
        options=API,
        dry_run="{{ params.dry_run }}",
    )
