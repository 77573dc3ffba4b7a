"""
The stages of a sync, in the order the data walks through them.

::

    model ──▶ changes ──▶ mapping ──▶ behavior ──▶ delivery ──▶ result
    (SQL)     (delta)     (Record)    (Operation)  (RowResult)  (counts)
                 ▲                                     │
                 └──────── progress, state ◀───────────┘

The names below are what a DAG author writes.
"""

from airflow_provider_census.sync.delta import FullRefresh, Snapshot, Watermark
from airflow_provider_census.sync.fields import Column, Constant, SyncAll
from airflow_provider_census.sync.template import Template

__all__ = ["Column", "Constant", "FullRefresh", "Snapshot", "SyncAll", "Template", "Watermark"]
