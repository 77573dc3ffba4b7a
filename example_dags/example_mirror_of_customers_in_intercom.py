"""
The users of Intercom are the paying customers of the warehouse: who is gone there is archived here.

A snapshot, a table in the warehouse, remembers what Intercom has accepted. Each run sends the customers that differ
from it, whatever their timestamps say, and archives those that are gone: only users this sync has sent, and no more
than ``max_deletes`` of them. Should a run be refused for that, look with a dry run, then trigger it with the number the
message names. Intercom must have the custom attributes ``plan``, ``seats`` and ``source``.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Constant, Snapshot, Template

with DAG(
    "example_mirror_of_customers_in_intercom",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={
        "max_deletes": Param("0.1", type="string", title="Archive so many users (5), or this share of them (0.1)"),
        "allow_empty": Param(False, type="boolean", title="Archive all if there are no customers"),
        "dry_run": Param(False, type="boolean", title="Only count what would be sent and archived"),
    },
    tags=["census", "example"],
):
    CensusSyncOperator(
        task_id="customers",
        source_conn_id="warehouse",
        sql="models/paying_customers.sql",
        destination_conn_id="intercom_prod",
        destination_object="user",
        behavior="mirror",
        sync_key={"external_id": "id"},
        mapping={
            "name": Template("{{ first_name }} {{ last_name }}"),
            "email": "email",
            "custom_attributes.plan": "plan",
            "custom_attributes.seats": "seats",
            "custom_attributes.source": Constant("warehouse"),
        },
        # In a schema of its own, that the connection may make; a warehouse that may only be read needs conn_id.
        delta=Snapshot(schema="census"),
        max_deletes="{{ params.max_deletes }}",
        allow_empty="{{ params.allow_empty }}",
        dry_run="{{ params.dry_run }}",
    )
