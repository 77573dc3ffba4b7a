from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_census.transport.message import Response
from airflow_provider_census.transport.verdict import Answered, Denied, Misdirected, Retry, judge, retry_after

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC).timestamp()


def response(status: int = 429, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 400, 402, 404, 405, 406, 409, 410, 413, 415, 418, 422, 451, 499]
)
def test_what_the_api_says_about_the_records_is_an_answer(status: int) -> None:
    assert judge(response(status)) == Answered()


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_do_not_do_end_the_run(status: int) -> None:
    assert judge(response(status)) == Denied(f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_wrong_host(status: int) -> None:
    assert isinstance(judge(response(status)), Misdirected)


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_refusal_before_any_work_may_be_tried_again(status: int) -> None:
    verdict = judge(response(status, retry_after="7"))
    assert isinstance(verdict, Retry)
    assert (verdict.after_s, verdict.applied) == (7, False)


@pytest.mark.parametrize("status", [500, 502, 504, 505, 507, 520, 521, 524, 599])
def test_a_failure_may_have_been_applied(status: int) -> None:
    verdict = judge(response(status))
    assert isinstance(verdict, Retry)
    assert (verdict.after_s, verdict.applied) == (None, True)


@given(st.integers(100, 999))
def test_every_status_has_a_meaning(status: int) -> None:
    assert isinstance(judge(response(status)), (Answered, Denied, Misdirected, Retry))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("-3", 0),
        ("1.5", 1.5),
        (" 9 ", 9),
        ("Wed, 01 May 2024 12:00:30 GMT", 30),
        ("Wed, 01 May 2024 14:00:30 +0200", 30),
        ("Wed, 01 May 2024 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("2024-05-01", None),
        ("Wed, 01 May 99999999999999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_garbage_is_neither(value: str, seconds: float | None) -> None:
    assert retry_after(response(retry_after=value), now=NOW) == seconds


@settings(deadline=None, database=None)
@given(
    st.text(max_size=30)
    | st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.just("Wed"),
        *[st.integers()] * 2,
        *[st.integers(0, 10**12)] * 4,
        st.sampled_from(["GMT", "-0000", "+9999"]),
    )
    | st.builds(
        "Wed, {} May {} 00:00:00 {}".format,
        st.integers(1, 31),
        st.integers(0, 99999),
        st.sampled_from(["GMT", "-0000", "+9959"]),
    )
)
def test_no_header_can_break_the_client(value: str) -> None:
    seconds = retry_after(response(retry_after=value))
    assert seconds is None or seconds >= 0


def test_without_the_header_nothing_is_asked() -> None:
    assert retry_after(response()) is None
