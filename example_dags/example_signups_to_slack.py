"""
Every new signup becomes a message in a Slack channel.

The first run posts nothing: signups that are there already are old news. Names are text whatever they look like:
``<!channel>`` in one pings nobody.
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG, Param

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Template, Watermark

with DAG(
    "example_signups_to_slack",
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    default_args={"retries": 2},
    doc_md=__doc__,
    params={"dry_run": Param(False, type="boolean", title="Only count what would be posted")},
    tags=["census", "example"],
):
    CensusSyncOperator(
        task_id="signups",
        source_conn_id="warehouse",
        sql="models/signups.sql",
        destination_conn_id="slack_prod",
        destination_object="#signups",
        behavior="append",
        sync_key={"row_id": "id"},
        mapping={
            "text": Template("*{{ company }}* signed up: {{ name }}, {{ plan }}, {{ '%.2f' | format(mrr) }} a month"),
        },
        delta=Watermark("id", baseline="skip"),
        # Slack cannot tell a repeated message from a new one. When the connection breaks behind a message, it may stand
        # in the channel: the task fails for somebody to look, and does not post it again. "resend" is the other way.
        options={"on_uncertain": "hold"},
        dry_run="{{ params.dry_run }}",
    )
