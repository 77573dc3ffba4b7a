"""The table, and which goals were missed."""

from __future__ import annotations

from dataclasses import dataclass, field

_HEAD = (
    f"{'scenario':<31} {'who':<31} {'rows':>10} {'process s':>9} {'run s':>7} {'cpu s':>7} {'rows/s':>8} "
    f"{'requests':>8} {'in flight':>9} {'peak MB':>7}  ratio"
)

HOW_TO_READ = """
How to read it
  process s  from the start of the process to its end, the start of Python and all imports included; rows/s is by this.
  run s      the sync alone, where the process tells; drt's command does not.
  cpu s      processor time of the process. On a machine with other work to do it says more than the seconds.
  in flight  the most requests under way at once, as the stub saw them.
  peak MB    the most memory the process had. DuckDB is part of the process that uses it, its buffers included; compare
             a snapshot's with that of the bare comparison.
  ratio      "×" compares with the line of the engine in the same scenario (how many times as long this one took), or
             with what the words behind it name. Every line of a scenario did the same work, against a stub in another
             process, and all rows are known to have arrived.
  0 ms       nothing is waited for. One core of Python is the bound: it reads, maps, plans, encodes and settles a row in
             6 to 8 µs, and its threads take turns at that core; the rest are requests (0.3 ms each) and the start.
  2 shards   two processes side by side, as two tasks of sharded_sync() are: what bounds one of them has two cores then,
             which the stub and the database use as well. CPU and memory are those of both.
  engine     bench/worker.py: the sync without Airflow. operator: the same sync as a task, by dag.test() in one process;
             what a scheduler and a worker add is not in it.
  bare SQL   bench/bare.py: a snapshot by hand. It compares digests, finds copies of a key, fetches and stores what
             differs. "bare join" compares and fetches alone: it sends copies in turn, and finds the same every time.
             They and the engine take turns; the best run of each is shown.
"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One process of one scenario; None where there is nothing to tell."""

    scenario: str
    who: str
    rows: int | None = None
    process_s: float | None = None
    run_s: float | None = None
    cpu_s: float | None = None
    requests: int | None = None
    in_flight: int | None = None
    peak_mb: float | None = None
    ratio: str = ""

    def __str__(self) -> str:
        per_s = self.rows / self.process_s if self.rows and self.process_s else None
        return (
            f"{self.scenario:<31} {self.who:<31} {_text(self.rows, ',', 10)} {_text(self.process_s, '.2f', 9)} "
            f"{_text(self.run_s, '.2f', 7)} {_text(self.cpu_s, '.2f', 7)} {_text(per_s, ',.0f', 8)} "
            f"{_text(self.requests, ',', 8)} {_text(self.in_flight, '', 9)} {_text(self.peak_mb, '.0f', 7)}  "
            f"{self.ratio}"
        ).rstrip()


def _text(value: float | None, form: str, width: int) -> str:
    return f"{'' if value is None else format(value, form):>{width}}"


@dataclass
class Report:
    """Prints lines as they come, and collects what becomes of the goals."""

    missed: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    def head(self) -> None:
        """Print the head of the table."""
        print(_HEAD, flush=True)

    def add(self, line: Line) -> None:
        """Print a line."""
        print(line, flush=True)

    def note(self, words: str) -> None:
        """Print a remark between the lines."""
        print(f"  {words}", flush=True)

    def goal(self, what: str, measured: float, limit: float, unit: str = "", *, at_least: bool = False) -> None:
        """Take note of a goal: ``measured`` at most ``limit``, or at least."""
        reached = measured >= limit if at_least else measured <= limit
        word = "at least" if at_least else "at most"
        form = ",.0f" if limit >= 100 else ".2f"
        text = f"{what}: {measured:{form}}{unit} (goal: {word} {limit:,g}{unit})"
        (self.reached if reached else self.missed).append(text)

    def close(self, scale: float) -> None:
        """Print how to read the table, and what became of the goals."""
        print(HOW_TO_READ)
        if scale != 1:
            print(f"The goals are for --scale 1; this was {scale:g}.\n")
        print("Goals reached\n  " + ("\n  ".join(self.reached) or "none"))
        print("\nGoals missed\n  " + ("\n  ".join(self.missed) or "none"))
