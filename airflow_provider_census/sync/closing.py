"""
The result of a sync that ran in shards.

In: the results of the shards, as they stand in XCom, and that of the run that closed them, if there was one. Out: one
result, as a sync without shards would have given it.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.result import MAX_SAMPLES, RunResult, Tally


def result_of(shards: Sequence[dict[str, Any]], closing: RunResult | None = None) -> RunResult:
    """
    Return the result of the whole sync.

    Counts, requests and retries are summed up; seconds are those of the slowest shard and of what came behind it.

    :param shards: at least one.
    """
    parts = [*shards, *([closing.to_json()] if closing else [])]
    estimates = [part.get("estimate") for part in parts]
    return RunResult(
        destination=shards[0]["destination"],
        object=shards[0]["object"],
        behavior=shards[0]["behavior"],
        delta=shards[0]["delta"],
        dry_run=shards[0]["dry_run"],
        tally=_tally(parts, removed=closing.tally.removed if closing else 0),
        watermark=_watermark([shard["watermark"] for shard in shards if shard["watermark"]]),
        requests=sum(part["requests"] for part in parts),
        retries=sum(part["retries"] for part in parts),
        seconds=_seconds(shards, closing, lambda part: part["seconds"]),
        estimate={
            "requests": sum(estimate["requests"] for estimate in estimates if estimate),
            "seconds": _seconds(shards, closing, lambda part: (part.get("estimate") or {"seconds": 0.0})["seconds"]),
        }
        if any(estimates)
        else None,
    )


def _tally(parts: Sequence[dict[str, Any]], *, removed: int) -> Tally:
    tally = Tally(read=sum(part["counts"]["read"] for part in parts), removed=removed)
    for outcome in Outcome:
        tally.counts[outcome] = sum(part["counts"][outcome.value] for part in parts)
    for outcome in tally.samples:
        entries = [entry for part in parts for entry in part[f"{outcome.value}_sample"]]
        tally.samples[outcome] = entries[:MAX_SAMPLES]
    return tally


def _seconds(shards: Sequence[dict[str, Any]], closing: RunResult | None, of: Callable[[Any], float]) -> float:
    return max(of(shard) for shard in shards) + (of(closing.to_json()) if closing else 0.0)


def _watermark(watermarks: Sequence[dict[str, Any]]) -> tuple[str, Any, Any] | None:
    """
    Return the lowest of each: rows below it are settled in every shard.

    One that has none before has run for the first time, though others may have gone on where they failed; one that has
    none after has no rows.
    """
    if not watermarks:
        return None
    before, after = ([mark[when] for mark in watermarks] for when in ("before", "after"))
    first = None in before
    return (
        watermarks[0]["column"],
        None if first else _lowest(before),
        _lowest([value for value in after if value is not None]),
    )


def _lowest(values: Sequence[Any]) -> Any:
    try:
        return min(values, key=lambda value: decimal.Decimal(str(value)), default=None)
    except decimal.InvalidOperation:
        return min(values, key=str)
