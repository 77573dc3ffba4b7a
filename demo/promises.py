"""What must hold after the runs, checked against what the sandbox was sent and what the warehouse says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from duckdb import DuckDBPyConnection

from airflow_provider_census.sandbox.core import Call, Sandbox
from demo.story import CHANGED, EVENTS, INTERCOM, SLACK, SYNCS, USERS, Run

Promise = tuple[str, bool]


def check(runs: Sequence[Run], con: DuckDBPyConnection, sandbox: Sandbox) -> Iterator[Promise]:
    """Yield each promise and whether it was kept."""
    yield from _accounts(runs)
    yield from _deltas(*runs)
    yield from _trouble(*runs)
    yield from _users(con, sandbox)
    yield from _occurrences(con, sandbox)


def _accounts(runs: Sequence[Run]) -> Iterator[Promise]:
    counts = [dict(run.results[sync]["counts"]) for run in runs for sync in SYNCS]
    rows = sum(count["read"] for count in counts)
    gaps = sum(count.pop("read") != sum(count.values()) for count in counts)
    yield f"{rows:,} rows were read in {len(counts)} syncs, and each has one outcome", gaps == 0
    marks = [[run.results[sync]["watermark"] for run in runs] for sync in SYNCS]
    chained = all(earlier["after"] == later["before"] for line in marks for earlier, later in pairwise(line))
    yield "each run began at the watermark the last one had left in XCom", chained


def _deltas(first: Run, quiet: Run, changed: Run, *_: Run) -> Iterator[Promise]:
    ok = set(first.states.values()) == {"success"}
    total = sum(first.results[sync]["requests"] for sync in SYNCS)
    yield (
        f"run 1: everything arrived, {total:,} requests within the published limits and none refused",
        (ok and not _refused(first.calls)),
    )
    written = len([call for call in quiet.calls if _writes(call)])
    yield f"run 2: nothing had changed, {written} requests that write", written == 0
    for sync, sent in ((INTERCOM, _intercom_ids(changed.calls)), (USERS, _braze_ids(changed.calls))):
        yield (
            f"run 3, {sync}: {CHANGED} customers had changed, {sent.total()} were sent",
            (sent == Counter(changed.touched) and sent.total() == CHANGED),
        )
    sent_events = changed.results[EVENTS]["counts"]["sent"]
    yield f"run 3, {EVENTS}: 500 events had come in, {sent_events} were sent", sent_events == 500


def _trouble(first: Run, quiet: Run, changed: Run, trouble: Run, healed: Run) -> Iterator[Promise]:
    refused = Counter(call.status for call in trouble.calls if _bad(call))
    faults = f"{refused[429]} × 429, {sum(refused.values()) - refused[429]} × 5xx"
    arrived = {
        INTERCOM: trouble.results[INTERCOM]["counts"]["updated"],
        USERS: trouble.results[USERS]["counts"]["upserted"],
        EVENTS: trouble.results[EVENTS]["counts"]["sent"],
    }
    yield (
        f"run 4: {faults}, and all the same 90 of 91 customers and all 500 events arrived",
        (refused[429] >= 10 and refused.keys() > {429} and arrived == {INTERCOM: 90, USERS: 90, EVENTS: 500}),
    )
    rejected = [trouble.results[sync]["counts"]["rejected"] for sync in (INTERCOM, USERS)]
    yield (
        f"run 4: the broken customer was refused alone, once by each API ({rejected[0]} + {rejected[1]})",
        (rejected == [1, 1]),
    )
    failed = {sync for sync, state in trouble.states.items() if state != "success"}
    yield (
        "run 4: Airflow shows the sync as failed whose author allows no such row, and only this one",
        (failed == {INTERCOM}),
    )
    posted = trouble.results[SLACK]["counts"]
    yield (
        "run 4: the message whose answer was lost was found in the channel's history, and not sent again",
        (posted["sent"], posted["uncertain"]) == (3, 0),
    )
    sent = _intercom_ids(healed.calls), _braze_ids(healed.calls)
    yield (
        "run 5: the mended customer, and nobody else, was sent",
        (sent == (Counter(healed.touched), Counter(healed.touched)) and set(healed.states.values()) == {"success"}),
    )


def _users(con: DuckDBPyConnection, sandbox: Sandbox) -> Iterator[Promise]:
    customers = con.execute(
        """
        SELECT id::VARCHAR, lower(email), first_name, last_name, plan, seats, mrr::DOUBLE, country,
            epoch(signed_up_at)::BIGINT
        FROM customers
        """
    ).fetchall()
    there = {c["external_id"]: _of_intercom(c) for c in sandbox["intercom"].contacts.values()}
    due = {
        id: (email, f"{first} {last}", plan, seats, mrr, country, signed_up)
        for id, email, first, last, plan, seats, mrr, country, signed_up in customers
        if email
    }
    yield f"all {len(due):,} customers with an e-mail address stand in Intercom with their current values", there == due
    contacts = len(sandbox["intercom"].contacts)
    yield f"Intercom holds {contacts:,} contacts: none twice, none made up", contacts == len(due)
    profiles = {p["external_id"]: _of_braze(p) for p in sandbox["braze"].users.profiles}
    wanted = {
        id: (email, first, last, plan, seats, country)
        for id, email, first, last, plan, seats, _, country, _ in customers
    }
    yield f"all {len(wanted):,} customers stand in Braze with their current values", profiles == wanted


def _occurrences(con: DuckDBPyConnection, sandbox: Sandbox) -> Iterator[Promise]:
    due = {str(id) for (id,) in con.execute("SELECT event_id FROM usage_events").fetchall()}
    sent = Counter(event["properties"]["event_id"] for event in sandbox["braze"].events)
    yield f"all {len(due):,} events stand in Braze, none of them twice", sent == Counter(due)
    signups = con.execute("SELECT company, name FROM signups WHERE id > 12 ORDER BY id").fetchall()
    texts: list[str] = sandbox["slack"].texts("signups")
    told = [text.partition(" signed up: ")[::2] for text in texts]
    expected = [(f"*{_escaped(company)}*", _escaped(name)) for company, name in signups]
    yield (
        f"all {len(signups)} new signups stand in Slack, none of them twice, the one in doubt included",
        ([(company, rest.partition(",")[0]) for company, rest in told] == expected),
    )
    pings, shown = sum("<!" in text for text in texts), sum("&lt;!channel&gt;" in text for text in texts)
    yield f"<!channel> in {shown} name was posted as text and pinged nobody", pings == 0 and shown > 0


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _writes(call: Call) -> bool:
    looks = call.path.endswith("/search") or call.path.startswith("/api/conversations.")
    return call.method != "GET" and not looks


def _bad(call: Call) -> bool:
    return call.status is not None and (call.status == 429 or call.status >= 500)


def _refused(calls: Sequence[Call]) -> list[Call]:
    # Intercom answers 404 where a contact is not there yet: that is what was asked.
    return [call for call in calls if _bad(call) or (_writes(call) and call.status is not None and call.status >= 400)]


def _intercom_ids(calls: Sequence[Call]) -> Counter[str]:
    return Counter(call.json["external_id"] for call in calls if call.api == "intercom" and _writes(call))


def _braze_ids(calls: Sequence[Call]) -> Counter[str]:
    users = [user for call in calls if call.api == "braze" for user in call.json.get("attributes", [])]
    return Counter(user["external_id"] for user in users)


def _of_intercom(contact: dict[str, Any]) -> tuple[Any, ...]:
    more = contact["custom_attributes"]
    return (
        contact["email"],
        contact["name"],
        more["plan"],
        more["seats"],
        more["mrr"],
        more.get("country"),
        contact["signed_up_at"],
    )


def _of_braze(profile: dict[str, Any]) -> tuple[Any, ...]:
    had = profile["attributes"]
    email = had.get("email")
    names = ("first_name", "last_name", "plan", "seats", "country")
    return (email.lower() if email else None, *(had.get(name) for name in names))
