"""
An audience of Mailchimp mirrors the customers of the warehouse.

The snapshot, a table in the warehouse, remembers what Mailchimp has accepted: each run sends the customers that differ
from it, and archives those that are gone. Nobody's consent is touched: who is new becomes a contact that gets no
campaigns, who is known keeps the status they have. The audience must have the merge fields ``PLAN``, ``SEATS`` and
``SINCE``; the run says so before it sends anything if one is missing.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Constant, Snapshot

with DAG(
    "example_customers_to_mailchimp",
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
        sql="models/audience.sql",
        destination_conn_id="mailchimp_prod",
        destination_object="member",
        behavior="mirror",
        sync_key={"email": "email"},
        mapping={
            "status_if_new": Constant("transactional"),
            "merge_fields.FNAME": "first_name",
            "merge_fields.LNAME": "last_name",
            "merge_fields.PLAN": "plan",
            "merge_fields.SEATS": "seats",
            "merge_fields.SINCE": "signed_up_at",
        },
        delta=Snapshot(),
        # The audience's own id, and: a customer who comes back is a contact again.
        options={"audience_id": "a1b2c3d4e5", "unarchive": True},
        max_deletes=0.2,
        dry_run="{{ params.dry_run }}",
    )
