"""
Customers of the warehouse become users in Segment, every column a trait, and what they did becomes their events.

A column that joins the model is a trait in the next run: nothing is mapped by hand. Segment answers yes to nearly
everything, so give the connection a workspace token: then a wrong write key stops the run.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import SyncAll, Watermark

with DAG(
    "example_users_and_events_to_segment",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be sent")},
    tags=["census", "example"],
):
    users = CensusSyncOperator(
        task_id="users",
        source_conn_id="warehouse",
        sql="models/customers.sql",
        destination_conn_id="segment_prod",
        destination_object="user",
        behavior="update_or_create",
        sync_key={"user_id": "id"},
        # Segment's own traits are written like this: firstName, lastName.
        mapping=SyncAll(exclude=["updated_at"], normalize="camelCase"),
        delta=Watermark("updated_at"),
        dry_run="{{ params.dry_run }}",
    )
    events = CensusSyncOperator(
        task_id="events",
        source_conn_id="warehouse",
        sql="models/usage_events.sql",
        destination_conn_id="segment_prod",
        destination_object="track",
        behavior="send",
        # Segment knows by it that an event is there already, should one be sent twice.
        sync_key={"event_id": "event_id"},
        mapping={
            "event": "name",
            "user_id": "customer_id",
            "timestamp": "happened_at",
            "properties.source": "source",
            "properties.count": "count",
        },
        delta=Watermark("happened_at"),
        dry_run="{{ params.dry_run }}",
    )
    users >> events
