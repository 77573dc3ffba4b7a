"""How near to its limit each destination is served, and what a burst of refusals costs."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor

from bench.processes import Took, ask, python, server, stub
from bench.report import Line, Report
from bench.scenarios import LIMITED, Limited

_OF_FLOOR = 1.05
_INTERCOM = 1666 / 10
_WINDOW_S = 10
_UNDER_WAY = 0.25  # of a window


def measure(report: Report, *, scale: float, uri: str) -> None:
    """Measure every destination, then Intercom far away, then a burst of 429."""
    with server("bench.limited") as url:
        for limited in LIMITED:
            rows = max(4 * limited.batch, int(limited.rows * scale))
            took = _sync(limited.destination, f"{url}/{limited.destination}", rows, uri, limited.share, sandbox=True)
            _tell(report, limited, rows, took)
    _far_away(report, max(50, int(3_333 * scale)), uri)
    # A burst needs a window to be used up within the run.
    window_s = _WINDOW_S if scale >= 1 else 1
    _burst(report, int(_INTERCOM * 1.5 * window_s), window_s, uri)


def _sync(destination: str, url: str, rows: int, uri: str, share: float = 1.0, *, sandbox: bool = False) -> Took:
    given = ["--destination", destination, "--url", url, "--rows", rows, "--postgres", uri, "--limit", share]
    return python("bench.worker", *given, *(["--sandbox"] if sandbox else []))


def _tell(report: Report, limited: Limited, rows: int, took: Took) -> None:
    scenario = f"limit on, {limited.destination}"
    if limited.share < 1:
        scenario += f", {limited.share:.0%} of it"
    ratio = f"{took.said['refused_429']} × 429; no limit per time"
    if floor := limited.floor(rows, took.said["requests"]):
        ratio = f"{took.said['seconds'] / floor:.3f} × floor of {floor:.2f} s, {took.said['refused_429']} × 429"
        report.goal(f"{scenario}, times the floor", took.said["seconds"] / floor, _OF_FLOOR)
    report.goal(f"{scenario}, answers 429", took.said["refused_429"], 0)
    report.add(_line(scenario, rows, took, ratio))


def _far_away(report: Report, rows: int, uri: str) -> None:
    scenario = "limit on, one a call, 100 ms"
    floor = (rows - 1) / _INTERCOM
    with stub(100, limit=1666, per_s=_WINDOW_S) as url:
        took = _sync("intercom", url, rows, uri)
    ratio = took.said["seconds"] / floor
    report.add(_line(scenario, rows, took, f"{ratio:.3f} × floor of {floor:.2f} s, {took.said['refused_429']} × 429"))
    report.goal(f"{scenario}, times the floor", ratio, _OF_FLOOR)
    report.goal(f"{scenario}, answers 429", took.said["refused_429"], 0)


def _burst(report: Report, rows: int, window_s: int, uri: str) -> None:
    """
    Let somebody else use up the window in the middle: what comes until it ends is refused.

    Their requests count against the limit as ours do, so they count in the floor too.
    """
    scenario = "limit on, a window used up"
    limit = int(_INTERCOM * window_s)
    with stub(limit=limit, per_s=window_s) as url, ThreadPoolExecutor(1) as somebody:
        spent = somebody.submit(_spend, url, limit)
        took = _sync("intercom", url, rows, uri)
        spent.result()
        came = ask(f"{url}/__stats")
    floor = (came["requests"] - came["refused"] - 1) / _INTERCOM
    ratio = took.said["seconds"] / floor
    told = f"{took.said['refused_429']} × 429 for {came['refused_s']:.1f} s"
    report.add(_line(scenario, rows, took, f"{ratio:.3f} × floor of {floor:.2f} s, {told}"))
    report.goal(f"{scenario}, seconds from the first 429 to the next row taken", came["refused_s"], window_s, " s")


def _spend(url: str, limit: int) -> None:
    """Wait until the sync is on its way, then use up what is left of the window."""
    while (used := ask(f"{url}/__stats")["requests"]) < limit * _UNDER_WAY:
        time.sleep(0.02)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    for _ in range(limit - used):
        connection.request("POST", "/events", b"{}")
        connection.getresponse().read()


def _line(scenario: str, rows: int, took: Took, ratio: str) -> Line:
    return Line(
        scenario=scenario,
        who="engine",
        rows=rows,
        process_s=took.seconds,
        run_s=took.said["seconds"],
        cpu_s=took.cpu_s,
        requests=took.said["requests"],
        peak_mb=took.said["peak_mb"],
        ratio=ratio,
    )
