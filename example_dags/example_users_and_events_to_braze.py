"""
Customers of the warehouse become users in Braze, and what they did becomes events of these users.

Two syncs with a watermark each. An event for a user who is not there yet would create one without attributes, so users
go first.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Column, Watermark

with DAG(
    "example_users_and_events_to_braze",
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
        destination_conn_id="braze_prod",
        destination_object="user",
        behavior="update_or_create",
        sync_key={"external_id": "id"},
        mapping={
            "email": Column("email", null="skip"),
            "first_name": "first_name",
            "last_name": "last_name",
            "country": "country",
            "plan": "plan",
            "seats": "seats",
        },
        delta=Watermark("updated_at"),
        # A few addresses that Braze refuses should not hold up the events. They are reported, and tried again.
        max_rejected=10,
        dry_run="{{ params.dry_run }}",
    )
    events = CensusSyncOperator(
        task_id="events",
        source_conn_id="warehouse",
        sql="models/usage_events.sql",
        destination_conn_id="braze_prod",
        destination_object="event",
        behavior="send",
        sync_key={"event_id": "event_id"},
        mapping={
            "external_id": "customer_id",
            "name": "name",
            "time": "happened_at",
            "properties.event_id": "event_id",
            "properties.source": "source",
            "properties.count": "count",
        },
        delta=Watermark("happened_at"),
        dry_run="{{ params.dry_run }}",
    )
    users >> events
