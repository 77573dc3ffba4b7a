"""What a person reads at the end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from demo.story import SYNCS, Run

_COLUMNS = ("run", "sync", "task", "outcomes", "requests", "retries", "seconds", "watermark")
_RIGHT = ("requests", "retries", "seconds")


def table(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the lines of the table, a row for each sync in each run."""
    rows = [_row(run, sync) for run in runs for sync in SYNCS]
    widths = [max(len(row[i]) for row in (_COLUMNS, *rows)) for i in range(len(_COLUMNS))]
    yield _line(_COLUMNS, widths)
    for at, row in enumerate(rows):
        if at % len(SYNCS) == 0:
            yield "─" * (sum(widths) + 2 * len(widths) - 2)
        yield _line(row, widths)


def refusals(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a line for each row that was rejected or is in doubt, with the reason."""
    for run in runs:
        for sync, result in run.results.items():
            for outcome in ("rejected", "uncertain"):
                for entry in result[f"{outcome}_sample"]:
                    status = f"HTTP {entry['status']} " if entry["status"] else ""
                    yield f"run {run.number}  {sync}  {outcome}  key {entry['key']}: {status}{entry['reason']}"


def _row(run: Run, sync: str) -> tuple[str, ...]:
    result = run.results[sync]
    counts = {name: count for name, count in result["counts"].items() if count and name != "read"}
    mark = result["watermark"]
    return (
        str(run.number),
        sync,
        run.states[sync],
        " · ".join(f"{count:,} {name}" for name, count in counts.items()) or "–",
        f"{result['requests']:,}",
        f"{result['retries']:,}",
        f"{result['seconds']:.1f}",
        f"{_moment(mark['before'])} → {_moment(mark['after'])}",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        for name, cell, width in zip(_COLUMNS, cells, widths, strict=True)
    ]
    return "  ".join(aligned).rstrip()


def _moment(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC).strftime("%d %b %H:%M:%S")
    return str(value)
