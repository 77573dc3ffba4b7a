from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from example_dags import warehouse

Con = duckdb.DuckDBPyConnection


@pytest.fixture
def con() -> Iterator[Con]:
    with duckdb.connect() as con:
        warehouse.fill(con)
        yield con


def value(con: Con, sql: str) -> Any:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def fingerprint(con: Con) -> list[Any]:
    tables = ("customers", "usage_events", "signups")
    return [
        value(con, f"SELECT md5(string_agg(t::VARCHAR, '|' ORDER BY t::VARCHAR)) FROM {table} t") for table in tables
    ]


def customers(con: Con) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row for row in con.execute("SELECT * FROM customers").fetchall()}


def test_it_is_filled_in_a_moment_and_large_enough_to_mean_something() -> None:
    with duckdb.connect() as con:
        started = time.perf_counter()
        warehouse.fill(con)

        assert time.perf_counter() - started < 5
        assert value(con, "SELECT count(*) FROM customers") == 5_000
        assert value(con, "SELECT count(*) FROM usage_events") == 20_000
        assert value(con, "SELECT count(*) FROM signups") == 12


def test_it_is_the_same_each_time_in_any_zone(con: Con) -> None:
    with duckdb.connect() as other:
        other.execute("SET TimeZone = 'Asia/Kolkata'")
        warehouse.fill(other)
        warehouse.change(other)
        other.execute("SET TimeZone = 'UTC'")
        con.execute("SET TimeZone = 'UTC'")
        assert fingerprint(other) != fingerprint(con)

        warehouse.change(con)
        assert fingerprint(other) == fingerprint(con)


@pytest.mark.parametrize(
    ("mess", "at_least"),
    [
        ("email IS NULL", 20),
        ("lower(email) <> email", 100),
        ("email LIKE 'o''brien+%'", 40),
        ("lower(email) IN (SELECT lower(email) FROM customers GROUP BY 1 HAVING count(*) > 1)", 40),
        ("email IN (SELECT email FROM customers GROUP BY 1 HAVING count(*) > 1)", 10),
        ("last_name = 'O''Brien'", 50),
        ("first_name <> strip_accents(first_name)", 200),
        ("octet_length(encode(last_name)) > 2 * length(last_name)", 50),
        ("first_name = '<!channel>'", 1),
        ("first_name LIKE '%DROP TABLE%'", 1),
        ("last_name LIKE '%{{%'", 1),
        ("updated_at IS NULL", 5),
        ("birthday IS NULL", 1000),
        ("updated_at = (SELECT mode(updated_at) FROM customers)", 500),
        ("microsecond(updated_at) % 1000 <> 0", 3000),
    ],
)
def test_the_mess_is_really_there(con: Con, mess: str, at_least: int) -> None:
    found = value(con, f"SELECT count(*) FROM customers WHERE {mess}")

    assert found >= at_least
    assert found < 5_000


def test_nothing_was_updated_before_it_was_there_or_after_today(con: Con) -> None:
    wrong = "updated_at < signed_up_at OR greatest(updated_at, signed_up_at) > ?"
    found = con.execute(f"SELECT count(*) FROM customers WHERE {wrong}", [warehouse.TODAY]).fetchone()

    assert found == (0,)


def test_values_have_the_types_a_warehouse_has(con: Con) -> None:
    row = con.execute("SELECT mrr, updated_at, is_trial, birthday FROM customers WHERE birthday IS NOT NULL").fetchone()
    assert row is not None
    mrr, updated_at, is_trial, birthday = row

    assert isinstance(mrr, Decimal)
    assert isinstance(updated_at, dt.datetime)
    assert updated_at.tzinfo
    assert isinstance(is_trial, bool)
    assert isinstance(birthday, dt.date)
    assert value(con, "SELECT count(*) FROM usage_events e JOIN customers c ON c.id = e.customer_id") == 20_000
    assert value(con, "SELECT count(DISTINCT json_extract_string(properties, 'source')) FROM usage_events") == 3
    assert value(con, "SELECT count(*) FROM signups WHERE name LIKE '<!channel>%'") == 1


def test_a_change_touches_exactly_the_customers_it_names_and_moves_their_cursor(con: Con) -> None:
    before, high = customers(con), value(con, "SELECT max(updated_at) FROM customers")

    first = warehouse.change(con)
    second = warehouse.change(con, n=3)
    after = customers(con)

    assert len(set(first)) == 37
    assert second == first[:3]
    assert {i for i in after if after[i] != before[i]} == set(first)
    assert all(after[i][-1] > high for i in first)
    assert min(after[i][-1] for i in second) > max(after[i][-1] for i in first[3:])


def test_removed_customers_are_gone_and_others_are_as_they_were(con: Con) -> None:
    changed = warehouse.change(con)
    before = customers(con)

    removed = warehouse.remove(con, n=5)

    assert len(set(removed)) == 5
    assert not set(removed) & set(changed)
    assert customers(con) == {i: row for i, row in before.items() if i not in removed}


def test_poison_spoils_one_customer_until_it_is_healed(con: Con) -> None:
    before = customers(con)

    poisoned = warehouse.poison(con)
    spoiled = customers(con)
    assert {i for i in before if spoiled[i] != before[i]} == {poisoned}
    assert "@" not in spoiled[poisoned][1]

    assert warehouse.heal(con) == poisoned
    healed = customers(con)[poisoned]
    assert healed[1] == f"healed.{poisoned}@example.com"
    assert healed[-1] > spoiled[poisoned][-1] > before[poisoned][-1]


def test_healing_without_poison_says_so(con: Con) -> None:
    with pytest.raises(LookupError):
        warehouse.heal(con)


def test_more_companies_sign_up_behind_those_there_are(con: Con) -> None:
    warehouse.sign_up(con, n=4)

    assert value(con, "SELECT count(*) FROM signups") == 16
    assert value(con, "SELECT min(signed_up_at) FILTER (id > 12) > max(signed_up_at) FILTER (id <= 12) FROM signups")


def test_what_customers_do_next_comes_behind_what_they_did(con: Con) -> None:
    high = value(con, "SELECT max(happened_at) FROM usage_events")

    warehouse.use(con, n=3)
    warehouse.use(con, n=4)

    assert value(con, "SELECT count(*) FROM usage_events") == 20_007
    new = con.execute("SELECT happened_at FROM usage_events ORDER BY happened_at DESC LIMIT 7").fetchall()
    assert len(set(new)) == 7
    assert min(new)[0] > max(high, warehouse.TODAY)
