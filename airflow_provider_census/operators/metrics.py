"""
How a run stands, as metrics of Airflow's own: wherever ``[metrics]`` of its configuration sends them.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from airflow.sdk.observability.stats import Stats, normalize_name_for_stats

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.standing import Standing


class Metrics:
    """
    The metrics of one run; an observer of it.

    :param ti: the task instance, named in the tags.
    """

    def __init__(self, ti: Any, destination: Destination) -> None:
        tags = {
            "dag_id": ti.dag_id,
            "task_id": ti.task_id,
            "destination": destination.name,
            "object": destination.object_name,
            "behavior": destination.behavior.value,
        }
        # Airflow drops a metric for a tag with characters its backend does not take, as in a channel's name.
        self._tags = {name: normalize_name_for_stats(value, log_warning=False) for name, value in tags.items()}
        self._told: Counter[str] = Counter()

    def __call__(self, standing: Standing) -> None:
        """Tell how the run stands; counters by what has come on top."""
        for outcome, rows in standing.counts.items():
            self._count(f"census.rows.{outcome.value}", rows)
        self._count("census.requests", standing.requests)
        self._count("census.retries", standing.retries)
        # What has ended does nothing any more; a gauge keeps its last value.
        under_way = not standing.ended
        self._gauge("census.rows_per_second", standing.rate * under_way)
        self._gauge("census.requests_in_flight", standing.in_flight * under_way)
        self._gauge("census.limit_share", standing.limit_share * under_way)
        self._gauge("census.owed", standing.owed)
        if standing.ended:
            Stats.timing("census.run", dt.timedelta(seconds=standing.seconds), tags=self._tags)

    def _count(self, name: str, so_far: int) -> None:
        if so_far > self._told[name]:
            Stats.incr(name, so_far - self._told[name], tags=self._tags)
            self._told[name] = so_far

    def _gauge(self, name: str, value: float) -> None:
        Stats.gauge(name, round(value, 3), tags=self._tags)
