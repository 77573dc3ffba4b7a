from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.clevertap import CleverTapSandbox
from airflow_provider_census.sandbox.core import Sandbox


@pytest.fixture
def clevertap(sandbox: Sandbox) -> CleverTapSandbox:
    api: CleverTapSandbox = sandbox["clevertap"]
    return api


def call(sandbox: Sandbox, path: str, body: Any, **headers: str) -> requests.Response:
    api = CleverTapSandbox
    headers = {"X-CleverTap-Account-Id": api.account_id, "X-CleverTap-Passcode": api.passcode, **headers}
    return requests.post(sandbox.url("clevertap") + path, json=body, headers=headers, timeout=5)


def upload(sandbox: Sandbox, *records: Any, query: str = "") -> dict[str, Any]:
    answer = call(sandbox, f"/1/upload{query}", {"d": records})
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def profile(id: str = "1", **data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": id, "profileData": data}


def event(name: Any = "bought", **data: Any) -> dict[str, Any]:
    return {"type": "event", "identity": "1", "evtName": name, "evtData": data}


def test_refused_records_are_numbered_from_one_and_echoed_with_other_types(
    sandbox: Sandbox, clevertap: CleverTapSandbox
) -> None:
    bad = profile("2", Email="$$$$$", Phone="+35922333232")
    assert upload(sandbox, profile(Name="Ann"), bad) == {
        "status": "partial",
        "processed": 1,
        "unprocessed": [
            {
                "status": "fail",
                "code": 515,
                "error": "Profile data is incorrect. Email is not valid.Skipped record number : 2",
                "record": profile("2", Email="$$$$$", Phone=35922333232),
            }
        ],
    }
    assert clevertap.profiles == [{"identity": "1", "profileData": {"Name": "Ann"}}]
    assert upload(sandbox, bad)["status"] == "fail"
    assert upload(sandbox, profile()) == {"status": "success", "processed": 1, "unprocessed": []}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (event(None), 509),
        (event("a:b"), 512),
        (event(tags=["a"]), 512),
        (event("Charged", Items=[{"Quantity": None}]), 512),
        (event("APP launched"), 513),
        (profile(Gender="X"), 514),
        (profile(Phone="223"), 516),
        (profile(Employed=True), 517),
        (profile(Education="PhD"), 518),
        (profile(Married="no"), 519),
        (profile(Age="old"), 520),
        (event(**{f"p{n}": n for n in range(257)}), 522),
        ({"type": "profile", "profileData": {}}, 523),
        ({**profile(), "FBID": "2"}, 523),
        ({"type": "token"}, 524),
        ("text", 524),
        ({**event(), "ts": 0}, 525),
        ({**event(), "ts": "2026-01-01"}, 525),
        (event("re tired"), 528),
        (profile(none=None), 512),
        (profile(note="x" * 513), 512),
    ],
)
def test_each_reason_has_its_code(sandbox: Sandbox, clevertap: CleverTapSandbox, record: Any, code: int) -> None:
    (failure,) = upload(sandbox, record)["unprocessed"]
    assert failure["code"] == code
    assert not clevertap.profiles
    assert not clevertap.events


def test_a_trial_keeps_nothing(sandbox: Sandbox, clevertap: CleverTapSandbox) -> None:
    assert upload(sandbox, profile(), event(), query="?dryRun=1")["processed"] == 2
    assert clevertap.state() == {"profiles": [], "events": []}


def test_events_are_appended_and_create_their_user(sandbox: Sandbox, clevertap: CleverTapSandbox) -> None:
    upload(sandbox, event(), event())
    assert clevertap.events == [event(), event()]
    assert clevertap.profiles == [{"identity": "1", "profileData": {}}]


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"$add": ["b", "c"]}, ["a", "b", "c"]),
        ({"$remove": ["a"]}, ["b"]),
        ({"$remove": ["a", "b"]}, None),
        ({"$set": "z"}, "z"),
        ({"$delete": 1}, None),
        (["z"], ["z"]),
    ],
)
def test_operators_change_a_list(sandbox: Sandbox, clevertap: CleverTapSandbox, change: Any, after: Any) -> None:
    upload(sandbox, profile(tags=["a", "b"]), profile(tags=change))
    assert clevertap.profiles[0]["profileData"].get("tags") == after


def test_operators_count(sandbox: Sandbox, clevertap: CleverTapSandbox) -> None:
    upload(sandbox, profile(n={"$incr": 5}), profile(n={"$decr": 2}))
    assert clevertap.profiles[0]["profileData"] == {"n": 3}
    assert upload(sandbox, profile(n={"$incr": -1}))["status"] == "fail"


def test_deletions_take_one_kind_of_id(sandbox: Sandbox, clevertap: CleverTapSandbox) -> None:
    upload(sandbox, profile("1"), profile("2"), {"type": "profile", "objectId": "1"})
    assert call(sandbox, "/1/delete/profiles.json", {"identity": ["1"], "guid": ["1"]}).status_code == 400
    assert call(sandbox, "/1/delete/profiles.json", {"identity": [str(n) for n in range(101)]}).status_code == 400
    assert call(sandbox, "/1/delete/profiles.json", {"identity": ["1"]}).json() == {"status": "success"}
    assert call(sandbox, "/1/delete/profiles.json", {"guid": "1"}).json() == {"status": "success"}
    assert [p.get("identity") for p in clevertap.profiles] == ["2"]


@pytest.mark.parametrize("body", [{}, {"d": []}, {"d": [{}] * 1001}, {"d": {}}, []])
def test_a_request_that_is_no_upload_is_refused(sandbox: Sandbox, body: Any) -> None:
    assert call(sandbox, "/1/upload", body).status_code == 400


@pytest.mark.parametrize(
    ("header", "error"),
    [("X-CleverTap-Account-Id", "Account ID is not valid"), ("X-CleverTap-Passcode", "Invalid Credentials")],
)
def test_both_credentials_are_checked(sandbox: Sandbox, header: str, error: str) -> None:
    answer = call(sandbox, "/1/upload", {"d": [profile()]}, **{header: "wrong"})
    assert (answer.status_code, answer.json()) == (401, {"status": "fail", "error": error, "code": 401})


def test_an_unknown_path_is_an_empty_200(sandbox: Sandbox) -> None:
    answer = call(sandbox, "/1/uploads", {"d": [profile()]})
    assert (answer.status_code, answer.content) == (200, b"")


def test_requests_at_once_are_limited_per_api(sandbox: Sandbox, clevertap: CleverTapSandbox) -> None:
    clevertap.takes_s = 0.3
    with ThreadPoolExecutor(5) as pool:
        uploads = [pool.submit(call, sandbox, "/1/delete/profiles.json", {"identity": "1"}) for _ in range(5)]
        answers = [future.result() for future in uploads]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]
    assert next(a for a in answers if a.status_code == 429).json()["error"] == "Too many concurrent requests"
