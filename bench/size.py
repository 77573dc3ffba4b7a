"""What many rows cost: memory of a long sync, and a snapshot of millions."""

from __future__ import annotations

from pathlib import Path

from bench.processes import Took, python, stub
from bench.report import Line, Report

_FEW, _MANY = 10_000, 1_000_000
_MB_MORE = 30
_SNAPSHOT = 10_000_000
_ROUNDS = 4
_OF_BARE = 1.3
_OF_CHANGED = 1.05


def memory(report: Report, *, scale: float, uri: str) -> None:
    """Compare the peak memory of many rows with that of few."""
    peaks = []
    for name, full in (("memory, few rows", _FEW), ("memory, many rows", _MANY)):
        rows = max(100, int(full * scale))
        with stub() as url:
            took = python("bench.worker", "--destination", "braze", "--url", url, "--rows", rows, "--postgres", uri)
        peaks.append(took.said["peak_mb"])
        more = f"{peaks[1] - peaks[0]:+.0f} MB" if peaks[1:] else ""
        report.add(_line(name, "engine", rows, took, more))
    report.goal("memory, many rows more than few", peaks[1] - peaks[0], _MB_MORE, " MB")


def snapshot(report: Report, *, scale: float, home: Path) -> None:
    """Compare a sync with a snapshot in DuckDB, a thousandth of it changed, with the bare SQL comparison."""
    rows = max(20_000, int(_SNAPSHOT * scale))
    changed = rows // 1000
    file = home / "snapshot.duckdb"
    python("bench.bare", file, "--fill", rows)
    skipped = _sync(file, baseline="skip")
    report.add(_line("snapshot, baseline", "engine", rows, skipped))
    best: dict[str, Took] = {}
    for _ in range(_ROUNDS if scale >= 1 else 1):
        for who in ("bare join", "bare SQL", "engine"):
            python("bench.bare", file, "--change")
            join = ("--join",) if who == "bare join" else ()
            took = _sync(file) if who == "engine" else python("bench.bare", file, *join)
            if who not in best or took.said["seconds"] < best[who].said["seconds"]:
                best[who] = took
    name = "snapshot, 0.1 % changed"
    least = best["bare SQL"].said["seconds"]
    for who, took in best.items():
        report.add(_line(name, who, rows, took, f"{took.said['seconds'] / least:.2f} × the bare SQL"))
    report.goal(f"{name}, times the bare SQL comparison", best["engine"].said["seconds"] / least, _OF_BARE)
    # Besides rows that differ, it fetches what it knows of the table and of the state.
    report.goal(f"{name}, rows fetched of those changed", best["engine"].said["fetched"] / changed, _OF_CHANGED)


def _sync(file: Path, baseline: str = "send") -> Took:
    with stub() as url:
        given = ("--destination", "braze", "--url", url, "--duckdb", file, "--baseline", baseline)
        return python("bench.worker", *given)


def _line(scenario: str, who: str, rows: int, took: Took, ratio: str = "") -> Line:
    return Line(
        scenario=scenario,
        who=who,
        rows=rows,
        process_s=took.seconds,
        run_s=took.said["seconds"],
        cpu_s=took.cpu_s,
        requests=took.said.get("requests"),
        peak_mb=took.said.get("peak_mb", took.peak_mb),
        ratio=ratio,
    )
