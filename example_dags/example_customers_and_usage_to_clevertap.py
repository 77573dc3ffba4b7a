"""
Customers of the warehouse become profiles in CleverTap, and what they did becomes events of theirs.

Two syncs with a watermark each. An event creates its user where there is none, without a name to greet, so profiles go
first. The first run of the events sends what happened so far: CleverTap files it under the time it happened.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Column, Template, Watermark

with DAG(
    "example_customers_and_usage_to_clevertap",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be sent")},
    tags=["census", "example"],
):
    profiles = CensusSyncOperator(
        task_id="profiles",
        source_conn_id="warehouse",
        sql="models/customers.sql",
        destination_conn_id="clevertap_prod",
        destination_object="profile",
        behavior="update_or_create",
        sync_key={"identity": "id"},
        mapping={
            # CleverTap's own properties are written just so; profileData.email would be another one.
            "profileData.Name": Template("{{ first_name }} {{ last_name }}"),
            "profileData.Email": Column("email", null="skip"),
            "profileData.Customer Type": "plan",
            "profileData.Seats": "seats",
            "profileData.Signed up": "signed_up_at",
        },
        delta=Watermark("updated_at"),
        # One address that CleverTap does not take refuses the whole profile. It is reported, and tried again.
        max_rejected=10,
        dry_run="{{ params.dry_run }}",
    )
    events = CensusSyncOperator(
        task_id="events",
        source_conn_id="warehouse",
        sql="models/usage_events.sql",
        destination_conn_id="clevertap_prod",
        destination_object="event",
        behavior="send",
        sync_key={"event_id": "event_id"},
        mapping={
            "identity": "customer_id",
            "evtName": "name",
            "ts": "happened_at",
            "evtData.Source": "source",
            "evtData.Count": "count",
        },
        delta=Watermark("happened_at"),
        dry_run="{{ params.dry_run }}",
    )
    profiles >> events
