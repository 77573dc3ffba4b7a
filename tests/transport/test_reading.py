"""What others wrote is read as it is meant, held to its form, and never a Python error."""

from __future__ import annotations

import json
from typing import Any, NotRequired, TypedDict

import pytest

from airflow_provider_census.errors import Unanswered
from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.reading import Id


class Thing(TypedDict):
    id: str
    tags: NotRequired[list[str] | None]


class Page(TypedDict):
    things: list[Thing]


class Refusal(TypedDict, total=False):
    message: str | None


def response(value: Any, status: int = 200) -> Response:
    return Response(status, body=value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"things": []},
        {"things": [{"id": "a"}]},
        {"things": [{"id": "a", "tags": None}, {"id": "b", "tags": ["x"], "more": {"z": 1}}], "total": "?"},
    ],
)
def test_an_answer_of_the_promised_form_is_returned_with_all_that_it_has(value: Any) -> None:
    assert response(value).read(Page) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "things",
        7,
        {},
        {"things": None},
        {"things": {}},
        {"things": [None]},
        {"things": [{}]},
        {"things": [{"id": None}]},
        {"things": [{"id": 7}]},
        {"things": [{"id": "a", "tags": "x"}]},
    ],
)
def test_an_answer_of_another_form_is_none_and_its_values_are_not_shown(value: Any) -> None:
    with pytest.raises(Unanswered, match="HTTP 200 with JSON that is not the API's") as caught:
        response(value).read(Page)
    assert caught.value.status == 200
    assert "x" not in str(caught.value).partition(": ")[2].replace("Expected", "")


class Named(TypedDict):
    id: Id


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_what_would_lead_elsewhere_in_a_path_is_no_id(id: str) -> None:
    with pytest.raises(Unanswered, match=r"at `\$.id`"):
        response({"id": id}).read(Named)
    assert response({"id": f"{id}a"}).read(Named) == {"id": f"{id}a"}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"a": "ž"}'.encode("utf-16"), {"a": "ž"}),
        (b'{"a": "\\ud83d\\ude00 \\ud83d"}', {"a": "😀 ?"}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_json_that_strict_readers_refuse_is_read(body: bytes, value: Any) -> None:
    assert response(body).json() == value


@pytest.mark.parametrize("body", [b"[" * 10**6, b"[" * 500 + b"]" * 500, b'{"a":' * 101 + b"1" + b"}" * 101])
def test_what_nests_deeper_than_can_be_walked_is_no_answer(body: bytes) -> None:
    with pytest.raises(Unanswered):
        response(body).json()


def test_what_nests_as_deep_as_answers_do_is_one() -> None:
    value: Any = 1
    for _ in range(50):
        value = [{"in": value}] * 2 if isinstance(value, int) else [{"in": value}]
    assert response(value).json() == value


def test_a_number_no_computer_needs_is_no_answer() -> None:
    with pytest.raises(Unanswered):
        response(b'{"a": ' + b"1" * 5000 + b"}").json()


@pytest.mark.parametrize("value", [None, [], "no", {"message": ["no"]}, b"<html>", b""])
def test_a_refusal_in_no_known_words_says_nothing(value: Any) -> None:
    assert response(value, 400).told(Refusal) == {}


def test_the_words_of_a_refusal_are_read() -> None:
    assert response({"message": "no", "code": [1]}, 400).told(Refusal).get("message") == "no"


@pytest.mark.parametrize("text", ["", "many", "nan", "inf", "-inf", "9" * 400])
def test_a_header_that_is_no_number_says_nothing(text: str) -> None:
    assert Response(200, {"x-limit": text}).number("x-limit") is None


def test_a_header_that_is_a_number_is_read() -> None:
    assert Response(200, {"x-limit": " 2.5"}).number("x-limit") == 2.5
    assert Response(200).number("x-limit") is None
