from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.fields import Column, Constant, MappingDeclaration, SyncAll
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.template import Template
from airflow_provider_census.sync.values import Record, RowResult
from tests.sync.support import SEND, UPSERT, Duck, Rig, Tiny, TinyApi, Users, bound

RECORD = Tiny("record", UPSERT)


def one(value: Any, source: Any = "v") -> Record | str:
    """Return the record with ``value`` in the field ``f``, or why there is none."""
    mapped = Mapper({"f": source}, "id", ["id", "v"], RECORD)(["k", value])
    if isinstance(mapped, Record):
        return mapped
    assert mapped.outcome is Outcome.INVALID
    return mapped.reason


def keyed(key: Any, *, copies: int = 1, identifier: str = "id") -> Record | str:
    """Return the record with this sync key, or why there is none."""
    mapped = Mapper({}, "id", ["id"], Tiny("record", UPSERT, identifier))([key, copies])
    return mapped if isinstance(mapped, Record) else mapped.reason


# --- batches -----------------------------------------------------------------------------------------------------

_PLAIN: list[list[Any]] = [["ab", "", "c"], [0, -5, 7], [1.5, 0.0, -2.0], [True, False, True], ["x" * 60_000] * 2]
_ODD = [
    *(None, "", " ", "\0", "\ud800", "x" * 100_001, "ä", "{}", 2**63, 2**1100, 1.5, 1e308, float("nan"), float("-inf")),
    *(True, b"x", Decimal("1.50"), Decimal("NaN"), dt.date(2024, 2, 29), uuid.UUID(int=7), {"a": [None]}, [b"x"]),
]
_SOURCES: list[MappingDeclaration] = [
    {"a": "a", "b": "b"},
    {"a": Column("a", null="skip"), "n.b": Column("b", null="reject"), "n.c": Constant({"x": 1})},
    {"n.o.a": Column("a", null="skip"), "n.o.b": Column("b", null="skip")},
    {"a": Column("a", json=True), "t": Template("{{ a }}/{{ b }}")},
    {},
    SyncAll(),
]


@pytest.mark.parametrize("source", _SOURCES)
@pytest.mark.parametrize("odd", _ODD, ids=lambda odd: repr(odd)[:20])
def test_the_rows_of_a_batch_become_what_each_becomes_alone(odd: Any, source: MappingDeclaration) -> None:
    mapper = Mapper(source, "id", ["id", "a", "b"], Tiny("record", UPSERT))
    for plain in _PLAIN:
        for values in (plain, [odd, *plain], [*plain, odd], [odd, odd]):
            rows = [(key, value, value) for key, value in enumerate(values)]
            # As text: it tells 1 from True.
            assert repr(list(mapper.records(rows))) == repr([mapper(row) for row in rows])


@pytest.mark.parametrize("identifier", ["id", "email"])
@pytest.mark.parametrize("keys", [[1, 2, 3], ["A@b.c", " d ", "e"]])
@pytest.mark.parametrize("odd", [7, "x", None, "", "\t", "\0", "\ud800", "Ä", Decimal("7.0"), 7.5, float("nan"), True])
def test_a_batch_has_the_keys_each_row_has_alone(odd: Any, keys: list[Any], identifier: str) -> None:
    mapper = Mapper({}, "id", ["id"], Tiny("record", UPSERT, identifier))

    def told(records: Iterable[Record | RowResult]) -> list[str]:
        """Return what comes until a key is none that can be one."""
        found = []
        with contextlib.suppress(ConfigError):
            found += [repr(record) for record in records]
        return found

    for batch in (keys, [odd, *keys], [*keys, odd], [odd, odd]):
        for copies in ([1] * len(batch), [1, 2, *[1] * len(batch)][: len(batch)], None):
            rows = [(key,) for key in batch] if copies is None else list(zip(batch, copies, strict=True))
            assert told(mapper.records(rows)) == told(map(mapper, rows))


@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_batch_in_which_one_key_cannot_be_one_tells_which(at: int) -> None:
    mapper = Mapper({}, "id", ["id"], RECORD)
    rows: list[tuple[Any, ...]] = [(n,) for n in range(7)]
    rows[at] = (dt.date(2024, 2, 29),)
    records = iter(mapper.records(rows))

    assert [next(records) for _ in range(at)] == [Record(n, str(n), {}) for n in range(at)]
    with pytest.raises(ConfigError, match="a date cannot be a sync key"):
        next(records)


# --- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, None),
        (True, True),
        (0, 0),
        ("", ""),
        (2**80, 2**80),
        (1.5, 1.5),
        (Decimal("19.90"), 19.9),
        (Decimal("20.00"), 20),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 12), "2024-02-29T12:00:00+00:00"),
        (dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2024-02-29T12:00:00+02:00"),
        (dt.time(12, 30), "12:30:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ({"a": [Decimal("1"), {"b": None}]}, {"a": [1, {"b": None}]}),
        ((1, 2), [1, 2]),
        ('x","plan":"enterprise', 'x","plan":"enterprise'),
        ("\U0001f600 ä </script> {{ x }}", "\U0001f600 ä </script> {{ x }}"),
    ],
)
def test_values_are_sent_as_json(value: Any, sent: Any) -> None:
    mapped = one(value)
    assert isinstance(mapped, Record)
    assert mapped.fields == {"f": sent}
    assert type(mapped.fields["f"]) is type(sent)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "f: NaN"),
        (float("-inf"), "f: NaN, infinity"),
        (Decimal("NaN"), "f: NaN"),
        (Decimal("sNaN"), ""),
        (Decimal("Infinity"), "infinity"),
        (Decimal("1e5000"), "beyond 1e308"),
        (Decimal("1" * 400 + ".5"), "beyond 1e308"),
        pytest.param(10**5000, "beyond 1e308", id="a huge int"),
        ("a\x00b", "NUL"),
        ({"a": ["\x00"]}, "NUL"),
        ({"\x00": 1}, "NUL"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ([float("nan")], "NaN"),
        (b"bytes", "bytes have no JSON form"),
        (memoryview(b"x"), "bytes"),
        pytest.param("x" * 10_000_000, "10,000,000 characters", id="a huge text"),
        (dt.timedelta(1), "timedelta has no JSON form"),
        (object(), "object has no JSON form"),
    ],
)
@pytest.mark.parametrize("source", ["v", Template("{{ v }}"), Template(["{{ v }}"])])
def test_a_value_that_json_cannot_hold_makes_the_row_invalid(value: Any, reason: str, source: Any) -> None:
    mapped = one(value, source)
    assert isinstance(mapped, str)
    assert reason in mapped
    assert len(mapped) < 200


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ('{"a": [1, 2.50, "x\\u00e9", true, null, {"b": []}]}', {"a": [1, 2.5, "xé", True, None, {"b": []}]}),
        ("[]", []),
        ('"text"', "text"),
        (" 12345678901234567890 ", 12345678901234567890),
        ("19.90", 19.9),
        ("1e2", 100.0),
        ({"a": 1}, {"a": 1}),
        ([Decimal("1.50")], [1.5]),
    ],
)
def test_json_that_a_driver_gives_as_text_is_sent_as_what_it_spells(text: Any, sent: Any) -> None:
    record = one(text, Column("v", json=True))

    assert isinstance(record, Record)
    assert record.fields["f"] == sent
    assert type(record.fields["f"]) is type(sent)


def test_text_is_parsed_only_where_the_author_says_so() -> None:
    plain = one('{"a": 1}')

    assert isinstance(plain, Record)
    assert plain.fields["f"] == '{"a": 1}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"secret": 1', r"f: the column is not JSON \(from character 13 on\)"),
        ("", r"not JSON \(from character 1 on\)"),
        ("{'secret': 1}", "not JSON"),
        ('["\\secret"]', "not JSON"),
        ('{"a": 1, "a": 2}', "an object names a key twice"),
        ("[NaN]", "NaN and Infinity"),
        ("-Infinity", "NaN and Infinity"),
        ("[1e999]", "beyond 1e308"),
        ("9" * 5000, "too many digits"),
        ("[" * 100_000, "nested too deep"),
        ('["\\u0000"]', "NUL"),
        ('["\\ud800"]', "lone surrogate"),
    ],
)
def test_text_that_is_no_json_to_rely_on_makes_the_row_invalid_without_quoting_it(text: str, reason: str) -> None:
    result = one(text, Column("v", json=True))

    assert isinstance(result, str)
    assert re.search(reason, result)
    assert "secret" not in result


@pytest.mark.parametrize("value", [None, "null", " null "])
def test_null_of_json_is_a_null(value: Any) -> None:
    sent, skipped = (one(value, Column("v", null=policy, json=True)) for policy in ("send", "skip"))

    assert isinstance(sent, Record)
    assert isinstance(skipped, Record)
    assert (dict(sent.fields), dict(skipped.fields)) == ({"f": None}, {})
    assert "is NULL" in str(one(value, Column("v", null="reject", json=True)))


def test_all_columns_go_along_and_those_that_are_json_are_named() -> None:
    mapper = Mapper(SyncAll(json=["A"]), "id", ["id", "a", "b"], RECORD)

    record = mapper(["k", '{"x": 1}', '{"x": 1}'])

    assert isinstance(record, Record)
    assert record.fields == {"a": {"x": 1}, "b": '{"x": 1}'}
    with pytest.raises(ConfigError, match="'nope' is not known"):
        Mapper(SyncAll(json=["nope"]), "id", ["id"], RECORD)
    with pytest.raises(ConfigError, match="list of column names"):
        SyncAll(json="a")


def test_a_value_nested_without_end_makes_the_row_invalid() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert one(value) == "a value is nested too deep"


def test_a_hostile_value_cannot_add_or_change_keys(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([1, 'x"},{"id":"9'], t=1, name='x","plan":"enterprise')
    rig.run(mapping={"name": "name", "note": Template('{"n":"{{ name }}"}'), "deep.x": "name"})
    hostile = 'x","plan":"enterprise'
    fields = {"name": hostile, "note": '{"n":"' + hostile + '"}', "deep": {"x": hostile}}
    assert tiny.records == {"1": fields, 'x"},{"id":"9': fields}


def test_hostile_rows_do_not_stop_the_good_ones(rig: Rig, duck: Duck, tiny: TinyApi) -> None:
    rig.source = duck
    duck.execute("CREATE TABLE users (id VARCHAR, t INT, v DOUBLE, j STRUCT(a VARCHAR, b DECIMAL(9,2)[]), b BLOB)")
    nested = {"a": "x", "b": [Decimal("1.50")]}
    duck.execute(
        "INSERT INTO users VALUES (?, ?, ?, ?, ?)",
        *(("ok", 1, 1.5, nested, None), ("nan", 2, float("nan"), nested, None), ("inf", 2, float("inf"), nested, None)),
        *(("bytes", 3, 1.0, nested, b"\xff"), ("nul\x00", 4, 1.0, nested, None), ("null", 5, None, None, None)),
    )
    ran = rig.run(mapping={"v": "v", "j": "j", "b": "b"})
    assert ran.counts == {"upserted": 2, "invalid": 4}
    assert tiny.records == {
        "ok": {"v": 1.5, "j": {"a": "x", "b": [1.5]}, "b": None},
        "null": {"v": None, "j": None, "b": None},
    }
    assert {entry["key"] for entry in ran.json["invalid_sample"]} == {"nan", "inf", "bytes", b"nul\x00".hex()}
    json.dumps(ran.json, allow_nan=False)


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "id"),
    [
        (7, "7"),
        (7.0, "7"),
        (Decimal("7.00"), "7"),
        (7.5, "7.5"),
        (2**70, str(2**70)),
        (" padded ", " padded "),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_key_has_one_spelling_whatever_the_driver_returns(key: Any, id: str) -> None:
    mapped = keyed(key)
    assert isinstance(mapped, Record)
    assert (mapped.key, mapped.id) == (key, id)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "is NULL"),
        ("", "is empty"),
        ("  \t", "is empty"),
        ("a\x00", "NUL"),
        ("\ud800", "surrogate"),
        (float("nan"), "cannot be a sync key"),
        (Decimal("Infinity"), "cannot be a sync key"),
    ],
)
def test_a_key_that_identifies_nothing_makes_the_row_invalid(key: Any, reason: str) -> None:
    assert reason in str(keyed(key))


@pytest.mark.parametrize("key", [True, b"k", dt.date(2024, 1, 1), [1], {"a": 1}])
def test_a_key_of_a_type_that_cannot_identify_is_the_models_fault(key: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be a sync key; cast it in the model"):
        keyed(key)


def test_an_email_identifies_in_any_case() -> None:
    mapped = keyed(" Ada@X.com ", identifier="email")
    assert isinstance(mapped, Record)
    assert (mapped.key, mapped.id) == (" Ada@X.com ", "ada@x.com")


def test_all_copies_of_a_key_are_invalid(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add([1, *[2] * 30, 3, None], t=1)
    ran = rig.run()
    assert ran.counts == {"upserted": 2, "invalid": 31}
    reasons = {entry["key"]: entry["reason"] for entry in ran.json["invalid_sample"]}
    assert reasons.keys() == {2, None}
    assert "stands in 30 rows" in reasons[2]
    assert len(ran.json["invalid_sample"]) == 2
    assert set(tiny.records) == {"1", "3"}


def test_copies_are_found_as_the_destination_sees_them(rig: Rig, users: Users, tiny: TinyApi) -> None:
    users.add(["ada@x.com", " Ada@X.com", "bob@x.com"], t=1)
    assert rig.run(identifier="email").counts == {"upserted": 1, "invalid": 2}
    rig.sandbox.reset()
    rig.store.value = None
    assert rig.run(identifier="id").counts == {"upserted": 3}


# --- fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("null", "fields"), [("send", {"a": None, "b": 1}), ("skip", {"b": 1}), ("reject", None)])
def test_a_null_does_as_the_author_says(null: str, fields: dict[str, Any] | None) -> None:
    mapped = Mapper({"a": Column("v", null=null), "b": Constant(1)}, "id", ["id", "v"], RECORD)(["k", None])
    if fields is None:
        assert not isinstance(mapped, Record)
        assert "column v is NULL" in mapped.reason
    else:
        assert isinstance(mapped, Record)
        assert mapped.fields == fields


def test_an_unknown_null_policy_names_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"'send', 'skip', 'reject'"):
        Column("v", null="drop")


@pytest.mark.parametrize(
    ("declared", "object", "says"),
    [
        ({"f": "nope"}, "record", r"mapping of 'f': column 'nope' .*'id', 'v', 'w'"),
        ({"f": Template("{{ nope }}")}, "record", r"template of 'f': column 'nope' .*'id', 'v', 'w'"),
        ({"a": "v", "a.b": "w"}, "record", r"'a' and 'a.b'"),
        ({"a.b": "v", "a.b.c.d": "w"}, "record", r"'a.b' and 'a.b.c.d'"),
        ({"status": "v", "total": "w", "colour": "v"}, "order", r"'colour' .*'status', 'total', 'amount', 'note.\*'"),
        ({"total": "v"}, "order", r"must fill 'status'"),
        ({"status": "v"}, "order", r"must fill 'total' or 'amount'"),
        ({"f": 5}, "record", r"mapping of 'f': 5 is no source"),
        ({"f": Constant(b"x")}, "record", r"constant of f: bytes"),
        ({"f": Constant(float("nan"))}, "record", r"constant of f: NaN"),
        (["f"], "record", r"mapping must be"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_is_valid(declared: Any, object: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Mapper(declared, "id", ["id", "v", "w"], Tiny(object, UPSERT))


@pytest.mark.parametrize("behavior", [UPSERT, Behavior.CREATE_ONLY, Behavior.MIRROR])
@pytest.mark.parametrize(
    "declared",
    [{"email": "v"}, {"email": Template("{{ id }}")}, {"email": Constant("x")}, SyncAll(normalize="snake_case")],
)
def test_a_record_that_is_created_has_the_identifier_it_is_found_by(declared: Any, behavior: Behavior) -> None:
    with pytest.raises(ConfigError, match=r"'email', by which records are found, .* the sync_key's column 'id'"):
        Mapper(declared, "id", ["id", "v", "Email"], Tiny("record", behavior, "email"))


@pytest.mark.parametrize("source", ["ID", Column("id", null="reject")])
def test_the_identifier_may_be_mapped_from_the_column_of_the_sync_key(source: Any) -> None:
    mapped = Mapper({"email": source}, "id", ["id"], Tiny("record", UPSERT, "email"))(["k"])
    assert isinstance(mapped, Record)
    assert mapped.fields == {"email": "k"}


def test_an_update_may_give_a_record_another_identifier() -> None:
    assert Mapper({"email": "v"}, "id", ["id", "v"], Tiny("record", Behavior.UPDATE_ONLY, "email")).reads == ["v"]


@pytest.mark.parametrize(
    ("declared", "key", "says"),
    [
        ({}, "user_id", "sync_key column 'user_id' is not known in the model; valid: 'id', 'v'"),
        ({"f": "w"}, "id", "mapping of 'f': column 'w' is not known in the model"),
        (SyncAll(exclude=["w"]), "id", "SyncAll exclude: column 'w' is not known in the model"),
        (SyncAll(json=["w"]), "id", "SyncAll json: column 'w' is not known in the model"),
    ],
)
def test_a_column_the_model_does_not_have_is_named_with_what_wants_it(declared: Any, key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        Mapper(declared, key, ["id", "v"], RECORD)


def test_fields_that_only_begin_alike_do_not_overlap() -> None:
    mapper = Mapper({"a": "v", "ab.c": "v", "ab.d": "v"}, "id", ["id", "v"], RECORD)
    mapped = mapper(["k", 1])
    assert isinstance(mapped, Record)
    assert mapped.fields == {"a": 1, "ab": {"c": 1, "d": 1}}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["k", "paid", None, 5], None),
        (["k", "paid", 0, None], None),
        (["k", None, 5, 5], "required field status is missing"),
        (["k", "", 5, 5], "required field status is missing"),
        (["k", "paid", None, None], "required field total or amount is missing"),
    ],
)
def test_a_row_without_a_required_value_is_invalid(row: list[Any], reason: str | None) -> None:
    declared = {"status": "status", "total": "total", "amount": "amount"}
    mapped = Mapper(declared, "id", ["id", "status", "total", "amount"], Tiny("order", UPSERT))(row)
    assert (None if isinstance(mapped, Record) else mapped.reason) == reason


# --- SyncAll -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalize", "fields"),
    [
        (None, ["First Name", "lastName", "HTTP_status", "zip2code"]),
        ("snake_case", ["first_name", "last_name", "http_status", "zip2code"]),
        ("camelCase", ["firstName", "lastName", "httpStatus", "zip2code"]),
        ("Title Case", ["First Name", "Last Name", "Http Status", "Zip2code"]),
    ],
)
def test_sync_all_writes_names_as_the_author_says(normalize: str | None, fields: list[str]) -> None:
    columns = ["id", "First Name", "lastName", "HTTP_status", "zip2code", "secret"]
    mapper = Mapper(SyncAll(exclude=["SECRET"], normalize=normalize), "id", columns, RECORD)
    assert list(mapper.fields) == fields
    mapped = mapper(["k", 1, 2, 3, 4, 5])
    assert isinstance(mapped, Record)
    assert mapped.fields == dict(zip(fields, [1, 2, 3, 4], strict=True))


def test_sync_all_refuses_two_columns_for_one_field() -> None:
    with pytest.raises(ConfigError, match="become the field 'first_name'; exclude or rename one"):
        Mapper(SyncAll(normalize="snake_case"), "id", ["id", "First Name", "firstName"], RECORD)
    Mapper(SyncAll(normalize="snake_case", exclude=["firstName"]), "id", ["id", "First Name", "firstName"], RECORD)


def test_sync_all_nests_below_its_prefix() -> None:
    mapped = Mapper(SyncAll(prefix="note."), "id", ["id", "status"], RECORD)(["k", 1])
    assert isinstance(mapped, Record)
    assert mapped.fields == {"note": {"status": 1}}


def test_sync_all_refuses_what_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"column 'nope'"):
        Mapper(SyncAll(exclude=["nope"]), "id", ["id", "v"], RECORD)
    with pytest.raises(ConfigError, match=r"'snake_case', 'camelCase', 'Title Case'"):
        SyncAll(normalize="kebab-case")


# --- the fingerprints --------------------------------------------------------------------------------------------


def test_the_fingerprints_change_with_the_mapping_and_not_with_its_order() -> None:
    def fingerprints(declared: MappingDeclaration, columns: tuple[str, ...] = ("id", "v", "w")) -> frozenset[bytes]:
        return Mapper(declared, "id", columns, RECORD).fingerprints

    assert fingerprints({"a": "v", "b": "w"}) == fingerprints({"b": "w", "a": Column("v")})
    assert fingerprints({"a": "v"}) < fingerprints({"a": "v", "b": "w"})
    different = [
        {"a": "v"},
        {"a": "w"},
        {"b": "v"},
        {"a": Column("v", null="skip")},
        {"a": Constant("v")},
        {"a": Constant(1)},
        {"a": Template("{{ v }}")},
        SyncAll(exclude=["w"]),
    ]
    assert len({fingerprints(declared) for declared in different}) == len(different)
    assert fingerprints(SyncAll(), ("id", "v")) < fingerprints(SyncAll())
    # As columns go to a home of their own, the same names need not be the same fields.
    assert fingerprints({"v": "v"}) != fingerprints(SyncAll(), ("id", "v"))


# --- against real destinations -----------------------------------------------------------------------------------


def test_intercom_takes_dates_as_unix_seconds() -> None:
    mapper = Mapper({"signed_up_at": "v"}, "id", ["id", "v"], bound("intercom", "contact", UPSERT))
    mapped = mapper(["k", dt.datetime(2024, 1, 1)])
    assert isinstance(mapped, Record)
    assert mapped.fields == {"signed_up_at": 1_704_067_200}


def test_a_required_field_the_destination_names_must_be_mapped() -> None:
    with pytest.raises(ConfigError, match="'event_name': required for intercom event"):
        Mapper({"created_at": "v"}, "id", ["id", "v"], bound("intercom", "event", SEND))
