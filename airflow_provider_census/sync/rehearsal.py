"""
A dry run: what would be sent, and how long it would take, without sending it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.batches import Batcher
from airflow_provider_census.sync.result import Tally
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport.client import Client

log = logging.getLogger(__name__)

_SAMPLES = 3


class Rehearsal:
    """Stands in for delivery: batches the operations as delivery would and adds up what they would cost."""

    def __init__(self, destination: Destination, client: Client) -> None:
        self._destination = destination
        self._client = client
        self._batcher: Batcher[None] = Batcher(destination)
        self._requests = 0.0
        self._costs: dict[str, float] = {}
        self._samples: list[str] = []
        self._to_fetch = self._looked_up = 0

    def add(self, operation: Operation, *, looked_up: bool = False) -> RowResult:
        """
        Take an operation and return how it should end if the destination has nothing against it.

        :param looked_up: what is there is looked up first. It is not now, so that the row counts as one that differs.
        """
        if looked_up:
            operation.held = Held({}, "there")
            self._to_fetch += 1
            if self._to_fetch == self._destination.max_fetch():
                self._count_fetch()
        if len(self._samples) < _SAMPLES:
            payload = json.dumps(self._destination.payload(operation), ensure_ascii=False, indent=2)
            self._samples.append(self._client.endpoint.redact(payload))
        for batch in self._batcher.add(None, operation):
            self._count([op for _, op in batch])
        return RowResult(operation.behavior.done)

    def finish(self, tally: Tally) -> dict[str, float]:
        """Log the recap and return the requests and seconds the real run would take."""
        for batch in self._batcher.rest():
            self._count([op for _, op in batch])
        if self._to_fetch:
            self._count_fetch()
        requests = math.ceil(self._requests)
        seconds = self._client.limiter.seconds(self._costs)
        counts = ", ".join(f"{n} {o.value}" for o, n in tally.counts.items() if n) or "nothing"
        looked_up = f", if each of the {self._looked_up} records to look up differs" if self._looked_up else ""
        log.info(
            "Dry run, nothing was sent. %d rows read; expected: %s%s. About %d requests, %.0f s or more at the "
            "destination's limit.\nSample payloads (%d):\n%s",
            tally.read,
            counts,
            looked_up,
            requests,
            seconds,
            len(self._samples),
            "\n".join(self._samples),
        )
        return {"requests": requests, "seconds": round(seconds, 1)}

    def _count(self, batch: list[Operation]) -> None:
        self._add(sum(self._destination.requests_for(batch).values()), self._destination.costs_of(batch))

    def _count_fetch(self) -> None:
        costs = self._destination.requests_to_fetch(self._to_fetch)
        self._add(sum(costs.values()), costs)
        self._looked_up += self._to_fetch
        self._to_fetch = 0

    def _add(self, requests: float, costs: Mapping[str, float]) -> None:
        self._requests += requests
        for rate, cost in costs.items():
            self._costs[rate] = self._costs.get(rate, 0) + cost
