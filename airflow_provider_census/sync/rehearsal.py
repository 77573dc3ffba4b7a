"""
A dry run: what would be sent, and how long it would take, without sending it.
"""

from __future__ import annotations

import json
import logging
import math

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.sync.delivery import Batcher
from airflow_provider_census.sync.result import Tally
from airflow_provider_census.sync.values import Operation, RowResult
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

    def add(self, operation: Operation) -> RowResult:
        """Take an operation and return how it should end if the destination has nothing against it."""
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
        requests = math.ceil(self._requests)
        seconds = self._client.limiter.seconds(self._costs)
        counts = ", ".join(f"{n} {o.value}" for o, n in tally.counts.items() if n) or "nothing"
        log.info(
            "Dry run, nothing was sent. %d rows read; expected: %s. About %d requests, %.0f s or more at the "
            "destination's limit.\nSample payloads (%d):\n%s",
            tally.read,
            counts,
            requests,
            seconds,
            len(self._samples),
            "\n".join(self._samples),
        )
        return {"requests": requests, "seconds": round(seconds, 1)}

    def _count(self, batch: list[Operation]) -> None:
        self._requests += sum(self._destination.requests_for(batch).values())
        for rate, cost in self._destination.costs_of(batch).items():
            self._costs[rate] = self._costs.get(rate, 0) + cost
