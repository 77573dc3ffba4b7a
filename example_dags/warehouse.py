"""
A small warehouse of a subscription business, with the mess a real one has.

``fill`` makes it, the same each time; the other functions are the changes the examples show: ``change`` some customers,
``remove`` some, ``poison`` one so that a destination refuses it, ``heal`` it; let customers ``use`` the product and new
ones ``sign_up``. All of them move the cursors on, by the data's own clock: nothing depends on the day or the zone it
runs in.
"""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

from duckdb import DuckDBPyConnection

CUSTOMERS = 5_000
EVENTS = 20_000
SIGNUPS = 12
SEED = 20260301
#: The day on which the warehouse stands still until something changes it.
TODAY = dt.datetime(2026, 3, 1, 6, 0, tzinfo=dt.UTC)

POISON_EMAIL = "not an e-mail address"

_SCHEMA = """
CREATE OR REPLACE TABLE customers (
    id INTEGER PRIMARY KEY, email VARCHAR, first_name VARCHAR, last_name VARCHAR, company VARCHAR, plan VARCHAR,
    mrr NUMERIC(10, 2), seats INTEGER, is_trial BOOLEAN, country VARCHAR, signed_up_at TIMESTAMPTZ, birthday DATE,
    updated_at TIMESTAMPTZ
);
CREATE OR REPLACE TABLE usage_events (
    event_id UUID PRIMARY KEY, customer_id INTEGER, name VARCHAR, properties JSON, happened_at TIMESTAMPTZ
);
CREATE OR REPLACE TABLE signups (
    id INTEGER PRIMARY KEY, name VARCHAR, company VARCHAR, plan VARCHAR, mrr NUMERIC(10, 2), signed_up_at TIMESTAMPTZ
);
"""

_FIRST = (
    "Ann Bob Carla Dmitri Eve François Grace Hiroshi Ines João Kofi Léa Mia Noor Olu Priya Quentin Renée Søren Tomás "
    "Uma Vera Wei Xóchitl Yara Zoë 美咲 Łukasz Siân Đorđe Ayşe"
).split()
_LAST = (
    "O'Brien D'Angelo Smith Müller García Nguyễn Kowalski Åström Ivanov Okafor Tanaka Silva Dubois Jansen Rossi Novák "
    "Haddad Cohen Singh Andersson Öztürk Papadopoulos 王 Martínez-López MacDonald"
).split()
_COMPANY = (
    "Acme",
    "Globex",
    "Initech",
    "Umbrella & Sons",
    "Smith's Bakery",
    "Café Zürich",
    "Żubr Sp. z o.o.",
    "株式会社さくら",
)
_PLANS = {"free": (70, Decimal("0")), "team": (20, Decimal("12.90")), "business": (8, Decimal("29.00"))}
_PLANS["enterprise"] = (2, Decimal("89.5"))
_ZONES = [dt.timezone(dt.timedelta(hours=hours)) for hours in (-8, -5, 0, 1, 5.5, 9)]
#: A load that stamped a fifth of the customers with one and the same moment.
_MIGRATION = dt.datetime(2025, 11, 30, 2, 30, tzinfo=dt.UTC)
_EVENTS = ["login", "report exported", "seat added", "invoice paid", "Ünïcode ☃ event"]
# Names that mean something to a program: each must arrive as the text it is.
_HOSTILE = {
    7: ("<!channel>", "Free & <b>bold</b>"),
    77: ("*Bob*", "{{ 7 * 7 }}"),
    777: ('"; DROP TABLE customers; --', "back\\slash"),
}


def fill(con: DuckDBPyConnection, *, customers: int = CUSTOMERS, events: int = EVENTS) -> None:
    """
    Make the tables anew.

    :param con: an open DuckDB database.
    """
    rng = random.Random(SEED)
    con.execute(_SCHEMA)
    _insert(con, "customers", [_customer(rng, number) for number in range(1, customers + 1)])
    _insert(con, "usage_events", [_event(rng, customers) for _ in range(events)])
    sign_up(con)


def sign_up(con: DuckDBPyConnection, n: int = SIGNUPS) -> None:
    """Let ``n`` new companies sign up."""
    (taken,) = _row(con, "SELECT count(*) FROM signups")
    rng = random.Random(SEED + taken)
    rows = [_signup(rng, number) for number in range(taken + 1, taken + n + 1)]
    _insert(con, "signups", rows)


def use(con: DuckDBPyConnection, n: int = 500) -> None:
    """Let the customers use the product ``n`` times more."""
    customers, taken = _row(con, "SELECT (SELECT max(id) FROM customers), count(*) FROM usage_events")
    (latest,) = _row(con, "SELECT greatest(max(happened_at), ?) FROM usage_events", [TODAY])
    rng = random.Random(SEED + taken)
    rows = [
        (*_event(rng, customers)[:-1], latest + dt.timedelta(milliseconds=37 * number)) for number in range(1, n + 1)
    ]
    _insert(con, "usage_events", rows)


def change(con: DuckDBPyConnection, n: int = 37) -> list[int]:
    """Change exactly ``n`` customers, and return their ids; none of them is part of the mess."""
    ids = _clean_ids(con)[:n]
    con.execute(
        """
        UPDATE customers SET seats = seats + 1, mrr = mrr + 12.90, is_trial = FALSE, plan = 'business', updated_at = ?
        WHERE list_contains(?::INTEGER[], id)
        """,
        [_next_moment(con), ids],
    )
    return ids


def remove(con: DuckDBPyConnection, n: int = 5) -> list[int]:
    """Delete ``n`` customers, and return their ids."""
    ids = _clean_ids(con)[-n:]
    con.execute("DELETE FROM customers WHERE list_contains(?::INTEGER[], id)", [ids])
    return ids


def poison(con: DuckDBPyConnection) -> int:
    """Give one customer an e-mail address no API takes, and return the customer's id."""
    customer_id = _clean_ids(con)[100]
    _set_email(con, customer_id, POISON_EMAIL)
    return customer_id


def heal(con: DuckDBPyConnection) -> int:
    """Mend what ``poison`` did, and return the customer's id."""
    (customer_id,) = _row(con, "SELECT id FROM customers WHERE email = ?", [POISON_EMAIL])
    _set_email(con, customer_id, f"healed.{customer_id}@example.com")
    return int(customer_id)


def _customer(rng: random.Random, number: int) -> tuple[Any, ...]:
    first, last = _HOSTILE.get(number) or (rng.choice(_FIRST), rng.choice(_LAST))
    (plan,) = rng.choices(list(_PLANS), [weight for weight, _ in _PLANS.values()])
    seats = 1 if plan == "free" else rng.randint(2, 250)
    signed_up = TODAY - dt.timedelta(minutes=rng.randrange(1, 3 * 365 * 24 * 60))
    updated = signed_up + (TODAY - signed_up) * rng.random()
    return (
        number,
        _email(number),
        first,
        last,
        rng.choice(_COMPANY),
        plan,
        _PLANS[plan][1] * seats,
        seats,
        plan == "free" and rng.random() < 0.3,
        rng.choice(["DE", "FR", "GB", "IE", "JP", "PL", "US", None]),
        signed_up.astimezone(rng.choice(_ZONES)),
        dt.date(1960, 1, 1) + dt.timedelta(days=rng.randrange(16_000)) if rng.random() < 0.6 else None,
        None if number % 500 == 250 else max(signed_up, _MIGRATION) if number % 5 == 0 else updated,
    )


def _email(number: int) -> str | None:
    if number % 200 == 199:
        return None
    if number % 250 == 249:  # the same as its neighbour's, who wrote it in lower case
        return f"Customer.{number - 1}@Example.com"
    if number % 1000 == 501:  # the same to the letter
        return f"customer.{number - 1}@example.com"
    if number % 100 == 42:
        return f"o'brien+{number}@example.com"
    return f"Customer.{number}@EXAMPLE.com" if number % 50 == 3 else f"customer.{number}@example.com"


def _event(rng: random.Random, customers: int) -> tuple[Any, ...]:
    moment = TODAY - dt.timedelta(seconds=rng.randrange(1, 30 * 24 * 3600), microseconds=rng.randrange(1_000_000))
    properties = f'{{"count": {rng.randrange(1, 50)}, "source": "{rng.choice(["web", "ios", "api"])}"}}'
    event_id = f"{rng.getrandbits(128):032x}"
    return (event_id, rng.randint(1, customers), rng.choice(_EVENTS), properties, moment.astimezone(rng.choice(_ZONES)))


def _signup(rng: random.Random, number: int) -> tuple[Any, ...]:
    name = "<!channel> & friends" if number % SIGNUPS == 7 else f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
    seats = rng.randint(2, 40)
    moment = TODAY + dt.timedelta(minutes=7 * number)
    return (number, name, rng.choice(_COMPANY), "team", _PLANS["team"][1] * seats, moment)


def _insert(con: DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    # Column by column in one statement: row by row DuckDB takes minutes.
    types = [str(kind) for _, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()]
    columns = ", ".join(f"unnest(?::{kind}[])" for kind in types)
    con.execute(f"INSERT INTO {table} SELECT {columns}", [list(values) for values in zip(*rows, strict=True)])


def _clean_ids(con: DuckDBPyConnection) -> list[int]:
    """Return the ids of customers nothing is wrong with, in an order of their own."""
    found = con.execute(
        """
        SELECT id FROM customers c
        WHERE email IS NOT NULL AND email <> ? AND updated_at IS NOT NULL
          AND (SELECT count(*) FROM customers o WHERE lower(o.email) = lower(c.email)) = 1
        ORDER BY (id * 7919) % 10007
        """,
        [POISON_EMAIL],
    )
    return [int(customer_id) for (customer_id,) in found.fetchall()]


def _set_email(con: DuckDBPyConnection, customer_id: int, email: str) -> None:
    con.execute("UPDATE customers SET email = ?, updated_at = ? WHERE id = ?", [email, _next_moment(con), customer_id])


def _next_moment(con: DuckDBPyConnection) -> dt.datetime:
    (latest,) = _row(con, "SELECT greatest(max(updated_at), ?) FROM customers", [TODAY])
    moment: dt.datetime = latest + dt.timedelta(minutes=1)
    return moment


def _row(con: DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
    row = con.execute(sql, parameters).fetchone()
    if row is None:
        raise LookupError("the warehouse has no such row; fill it first")
    return tuple(row)
