"""The sync that ``bench.on_airflow`` runs. Airflow reads the file too: a DAG must be in its folder to be tested."""

from __future__ import annotations

import datetime as dt
import os

from airflow.sdk import DAG

from airflow_provider_census.operators.sync import CensusSyncOperator
from airflow_provider_census.sync import Watermark
from bench.syncs import WORKS
from bench.work import model

work = WORKS[os.environ["BENCH_DESTINATION"]]

with DAG("bench_sync", schedule=None, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) as dag:
    CensusSyncOperator(
        task_id="users",
        sync_id=f"bench_{os.environ['BENCH_DESTINATION']}",
        source_conn_id="bench_source",
        sql=model(int(os.environ["BENCH_ROWS"])),
        destination_conn_id="bench_destination",
        destination_object=work.object,
        behavior=work.behavior.value,
        sync_key={work.identifier: work.key},
        mapping=work.mapping,
        delta=Watermark("updated_at"),
    )
