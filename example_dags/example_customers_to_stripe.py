"""
Stripe learns who the paying customers are.

They are matched on a key of their metadata, where the warehouse's own id stands: unlike an e-mail address, nobody
shares or changes it. A customer who stops paying stays as they are: Stripe customers are never deleted.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Column, Template, Watermark

with DAG(
    "example_customers_to_stripe",
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
        sql="models/paying_customers.sql",
        destination_conn_id="stripe_prod",
        destination_object="customer",
        behavior="update_or_create",
        sync_key={"metadata.customer_id": "id"},
        mapping={
            "name": Template("{{ first_name }} {{ last_name }}"),
            # An address that Stripe has stays when the warehouse has none; "send" would clear it.
            "email": Column("email", null="skip"),
            "address.country": Column("country", null="skip"),
            "metadata.company": "company",
            "metadata.plan": "plan",
            "metadata.seats": "seats",
            "metadata.mrr": "mrr",
        },
        delta=Watermark("updated_at"),
        dry_run="{{ params.dry_run }}",
    )
