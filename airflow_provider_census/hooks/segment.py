"""The connection to Segment."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class SegmentHook(DestinationHook):
    """
    Speaks to Segment through an Airflow connection of type ``census_segment``.

    :param segment_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "segment_conn_id"
    default_conn_name = "segment_default"
    conn_type = "census_segment"
    hook_name = "Segment (Census)"
    destination = "segment"

    def __init__(self, segment_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(segment_conn_id, **kwargs)
