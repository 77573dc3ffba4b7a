"""
Every invoice that is paid starts a Zap.

The first run starts none: invoices that are paid already are old news. The connection's password is the URL that the
trigger "Catch Hook" of the Zap shows.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Column, Watermark

with DAG(
    "example_events_to_zapier",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be sent")},
    tags=["census", "example"],
):
    CensusSyncOperator(
        task_id="invoices",
        source_conn_id="warehouse",
        sql="models/paid_invoices.sql",
        destination_conn_id="zapier_prod",
        destination_object="hook",
        behavior="send",
        # Each row carries it, so that the Zap can look up (in a table of Zapier's, say) whether it has seen the row.
        sync_key={"event_id": "event_id"},
        mapping={
            "paid_at": "happened_at",
            "amount": "amount",
            "customer.company": "company",
            "customer.email": Column("email", null="skip"),
            "customer.plan": "plan",
        },
        delta=Watermark("happened_at", baseline="skip"),
        # A row without an answer may have started the Zap. Where the Zap looks up event_id, "resend" is right.
        options={"on_uncertain": "hold"},
        dry_run="{{ params.dry_run }}",
    )
