"""
Customers of the warehouse become users in Intercom.

Each run sends the customers that changed since the last one. Intercom must have the custom attributes ``plan``,
``seats``, ``mrr`` and ``country``; the run says so before it sends anything if one is missing.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Column, Template, Watermark

with DAG(
    "example_customers_to_intercom",
    schedule=None,  # "@hourly", for example; how often decides how fresh Intercom is, not what arrives there
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    # Airflow asks for these when somebody presses Trigger.
    params={
        "full_refresh": Param(False, type="boolean", title="Send every customer again"),
        "dry_run": Param(False, type="boolean", title="Only count what would be sent"),
    },
    tags=["census", "example"],
):
    CensusSyncOperator(
        task_id="customers",
        source_conn_id="warehouse",
        sql="models/customers.sql",
        destination_conn_id="intercom_prod",
        destination_object="user",
        behavior="update_or_create",
        sync_key={"external_id": "id"},
        mapping={
            "name": Template("{{ first_name }} {{ last_name }}"),
            "email": Column("email", null="reject"),
            "signed_up_at": "signed_up_at",
            "custom_attributes.plan": "plan",
            "custom_attributes.seats": "seats",
            "custom_attributes.mrr": "mrr",
            "custom_attributes.country": Column("country", null="skip"),
        },
        delta=Watermark("updated_at"),
        # Some customers have no e-mail address. They are reported by every run and sent once they have one.
        max_invalid=50,
        full_refresh="{{ params.full_refresh }}",
        dry_run="{{ params.dry_run }}",
    )
