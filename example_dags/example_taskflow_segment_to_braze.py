"""
A function picks the customers, the decorator sends them: users of one segment get a flag in Braze.

``update_only`` creates nobody: customers Braze does not know are skipped. There is no delta, so each run sends the
whole segment, which is what a one-off needs.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_census.sync import Constant

SEGMENTS = {
    "trials": "is_trial",
    "large teams": "seats >= 100",
    "german": "country = 'DE'",
}


@dag(
    schedule=None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    doc_md=__doc__,
    params={
        "segment": Param("trials", enum=list(SEGMENTS), title="Which customers"),
        "dry_run": Param(False, type="boolean", title="Only count what would be sent"),
    },
    tags=["census", "example"],
)
def example_taskflow_segment_to_braze() -> None:
    @task.census_sync(
        source_conn_id="warehouse",
        destination_conn_id="braze_prod",
        destination_object="user",
        behavior="update_only",
        sync_key={"external_id": "id"},
        mapping={"segment": "segment", "segmented_by": Constant("warehouse")},
        dry_run="{{ params.dry_run }}",
    )
    def segment(**context: Any) -> str:
        name = context["params"]["segment"]
        return f"SELECT id, '{name}' AS segment FROM customers WHERE {SEGMENTS[name]}"

    segment()


example_taskflow_segment_to_braze()
