"""The scenarios, as data. Rows are those of ``--scale 1``."""

from __future__ import annotations

from dataclasses import dataclass

from bench.peers import DLT, DRT, SEGMENT, SLACK, STRIPE, Peer


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """
    How fast rows go when no limit holds them back.

    :param batch: rows in a request.
    :param peers: who does the same.
    :param operator: whether the operator does it too.
    :param shards: in so many processes side by side.
    :param rows_per_s, seconds, times_best: goals.
    """

    name: str
    destination: str
    rows: int
    batch: int
    latency_ms: int
    peers: tuple[Peer, ...] = ()
    operator: bool = False
    shards: int = 1
    rows_per_s: float | None = None
    seconds: float | None = None
    times_best: float | None = None


THROUGHPUT = (
    Throughput(name="one a call, 0 ms", destination="intercom", rows=2_000, batch=1, latency_ms=0, peers=(DRT, DLT)),
    Throughput(
        name="one a call, 20 ms",
        destination="intercom",
        rows=2_000,
        batch=1,
        latency_ms=20,
        peers=(DRT, DLT),
        rows_per_s=800,
        times_best=15,
    ),
    Throughput(name="one a call, 100 ms", destination="intercom", rows=400, batch=1, latency_ms=100, peers=(DRT, DLT)),
    Throughput(
        name="75 a call, 0 ms",
        destination="braze",
        rows=1_000_000,
        batch=75,
        latency_ms=0,
        peers=(DRT, DLT),
        rows_per_s=50_000,
    ),
    Throughput(
        name="75 a call, 0 ms, 2 shards",
        destination="braze",
        rows=1_000_000,
        batch=75,
        latency_ms=0,
        shards=2,
        rows_per_s=50_000,
    ),
    Throughput(
        name="75 a call, 20 ms",
        destination="braze",
        rows=20_000,
        batch=75,
        latency_ms=20,
        peers=(DRT, DLT),
        operator=True,
        seconds=1.7,
        times_best=4,
    ),
    Throughput(name="75 a call, 100 ms", destination="braze", rows=20_000, batch=75, latency_ms=100, peers=(DRT, DLT)),
    Throughput(
        name="Segment users, 20 ms", destination="segment", rows=20_000, batch=100, latency_ms=20, peers=(SEGMENT,)
    ),
    Throughput(name="Slack messages, 20 ms", destination="slack", rows=200, batch=1, latency_ms=20, peers=(SLACK,)),
    Throughput(name="Stripe customers, 20 ms", destination="stripe", rows=400, batch=1, latency_ms=20, peers=(STRIPE,)),
)


@dataclass(frozen=True, kw_only=True)
class Limited:
    """
    A destination at its limit.

    :param limit: per second, as published, of what ``counts`` says; None where nothing limits requests per time.
    :param share: of the limit, where the whole of it is more than this machine can send or answer.
    :param counts: ``requests`` or ``rows``.
    :param batch: rows in a request.
    """

    destination: str
    rows: int
    limit: float | None
    counts: str = "requests"
    share: float = 1.0
    batch: int = 1

    def floor(self, rows: int, requests: int) -> float:
        """Return after how many seconds the limit lets the last request go."""
        counted = rows - self.batch if self.counts == "rows" else requests - 1
        return counted / (self.limit * self.share) if self.limit else 0.0


#: Against the sandbox, which counts windows and refuses what is above. Where there is a floor, it is about ten seconds
#: or more: the start of a run is no small part of a short one. The requests fill whole windows, and the last one is the
#: first of another: then the floor is the same for who spreads them and for who fills each window as soon as it opens.
LIMITED = (
    Limited(destination="intercom", rows=1_111, limit=1666 / 10),
    Limited(destination="braze", rows=22_575, limit=3000 / 3, share=0.02, batch=75),
    Limited(destination="segment", rows=8_100, limit=1000, counts="rows", batch=100),
    Limited(destination="slack", rows=11, limit=1, counts="rows"),
    Limited(destination="stripe", rows=238, limit=25),
    Limited(destination="zapier", rows=101, limit=10),  # less than is published, see the destination
    Limited(destination="http", rows=101, limit=10),  # what it takes where the author says nothing
    Limited(destination="clevertap", rows=5_000, limit=None),
    Limited(destination="mailchimp", rows=2_000, limit=None),
)
