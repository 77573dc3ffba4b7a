"""How fast rows go when no limit holds them back, next to what peers do with the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_census.sync.shard import Shard
from bench import on_airflow
from bench.peers import Peer
from bench.processes import Failed, Took, ask, python, side_by_side, stub
from bench.report import Line, Report
from bench.scenarios import THROUGHPUT, Throughput


def measure(report: Report, *, scale: float, uri: str, peers: bool, airflow: Mapping[str, str] | None) -> None:
    """
    Measure every scenario.

    :param uri: of PostgreSQL.
    :param airflow: settings of an Airflow for the operator, None to leave it out.
    """
    unusable: set[Peer] = set()
    for scenario in THROUGHPUT:
        rows = max(20, int(scenario.rows * scale))
        ours = _engine(scenario, rows, uri)
        report.add(_line(scenario, "engine", rows, *ours))
        if scenario.operator and airflow is not None:
            operator = _operator(scenario, rows, uri, airflow)
            report.add(_line(scenario, "operator", rows, *operator, ratio=_times(operator[0], ours[0])))
        theirs = []
        for peer in scenario.peers if peers else ():
            if peer in unusable:
                continue
            try:
                with stub(scenario.latency_ms) as url:
                    took = peer.send(url, uri, rows, scenario.batch)
                    came = _arrived(url, rows)
            except Failed as error:
                unusable.add(peer)
                report.note(f"{peer.name} is left out: {error}")
                continue
            theirs.append(took)
            report.add(_line(scenario, peer.name, rows, took, came, ratio=_times(took, ours[0])))
        for goal in _goals(scenario, rows, ours[0], theirs):
            report.goal(**goal)


def _engine(scenario: Throughput, rows: int, uri: str) -> tuple[Took, dict[str, int]]:
    with stub(scenario.latency_ms) as url:
        given = ("--destination", scenario.destination, "--url", url, "--rows", rows, "--postgres", uri)
        if scenario.shards == 1:
            return python("bench.worker", *given), _arrived(url, rows)
        shards = [(*given, "--shard", Shard(index, scenario.shards)) for index in range(scenario.shards)]
        return side_by_side("bench.worker", shards), _arrived(url, rows)


def _operator(scenario: Throughput, rows: int, uri: str, airflow: Mapping[str, str]) -> tuple[Took, dict[str, int]]:
    with stub(scenario.latency_ms) as url:
        given = ("--destination", scenario.destination, "--url", url, "--rows", rows, "--postgres", uri)
        return python(on_airflow.__name__, *given, **airflow), _arrived(url, rows)


def _arrived(url: str, rows: int) -> dict[str, int]:
    came: dict[str, int] = ask(f"{url}/__stats")
    if came["rows"] != rows:
        raise Failed(f"{came['rows']} of {rows} rows arrived")
    return came


def _times(took: Took, ours: Took) -> str:
    return f"{took.seconds / ours.seconds:.1f} ×"


def _line(scenario: Throughput, who: str, rows: int, took: Took, came: Mapping[str, int], ratio: str = "1.0 ×") -> Line:
    return Line(
        scenario=scenario.name,
        who=who,
        rows=rows,
        process_s=took.seconds,
        run_s=took.said.get("seconds"),
        cpu_s=took.cpu_s,
        requests=came["requests"],
        in_flight=came["most_in_flight"],
        peak_mb=took.said.get("peak_mb", took.peak_mb),
        ratio=ratio,
    )


def _goals(scenario: Throughput, rows: int, ours: Took, theirs: list[Took]) -> Iterator[dict[str, Any]]:
    what = f"{scenario.name}, engine, whole process"
    if scenario.rows_per_s is not None:
        per_s = {"measured": rows / ours.seconds, "limit": scenario.rows_per_s, "unit": " rows/s", "at_least": True}
        yield {"what": what, **per_s}
    if scenario.seconds is not None:
        yield {"what": what, "measured": ours.seconds, "limit": scenario.seconds, "unit": " s"}
    if scenario.times_best is not None and theirs:
        times = min(took.seconds for took in theirs) / ours.seconds
        limit = {"limit": scenario.times_best, "unit": " ×", "at_least": True}
        yield {"what": f"{what}, times as fast as the best peer", "measured": times, **limit}
