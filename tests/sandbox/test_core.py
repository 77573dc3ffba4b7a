from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests
from fastapi import APIRouter, Request

from airflow_provider_census.sandbox.core import Fault, Sandbox, SandboxApi, Window


class Counter(SandboxApi):
    name = "counter"

    def reset(self) -> None:
        self.notes: list[Any] = []
        self.window = Window(1000, 60)

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1")

        @router.post("/notes", status_code=201)
        async def add(request: Request) -> dict[str, Any]:
            self.notes.append(await request.json())
            return {"notes": self.notes}

        @router.get("/notes")
        async def read() -> dict[str, Any]:
            return {"notes": self.notes}

        @router.post("/form")
        async def form() -> dict[str, bool]:
            return {"ok": True}

        return router


@pytest.fixture(scope="module")
def server():
    with Sandbox([Counter]) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture
def url(sandbox):
    return sandbox.url("counter") + "/v1/notes"


def post(url: str, note: str = "a", timeout: float = 5) -> requests.Response:
    return requests.post(url, json={"note": note}, timeout=timeout)


def control(sandbox: Sandbox, path: str) -> str:
    return f"http://127.0.0.1:{sandbox.port}/_sandbox/{path}"


def test_a_stand_in_answers_below_its_mount_and_keeps_state(sandbox, url):
    assert post(url).status_code == 201
    assert sandbox["counter"].notes == [{"note": "a"}]


def test_the_ledger_tells_what_came_in(sandbox, url):
    post(url + "?dry=1")
    requests.post(sandbox.url("counter") + "/v1/form", data={"a": "b c"}, timeout=5)
    first, second = sandbox.ledger
    assert (first.api, first.method, first.path, first.query) == ("counter", "POST", "/v1/notes", {"dry": "1"})
    assert (first.json, first.form, first.status, first.in_flight) == ({"note": "a"}, None, 201, 0)
    assert (second.json, second.form, second.status) == (None, {"a": "b c"}, 200)
    assert sandbox.calls("counter", path="/v1/f*") == [second]


def test_the_ledger_tells_how_many_requests_were_in_flight(sandbox, url):
    sandbox.inject(Fault(api="counter", delay_s=0.3, times=3))
    threads = [threading.Thread(target=post, args=(url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(call.in_flight for call in sandbox.ledger) == [0, 1, 2]


def test_a_reset_before_drops_the_connection_and_applies_nothing(sandbox, url):
    sandbox.inject(Fault(api="counter", reset="before"))
    with pytest.raises(requests.ConnectionError, match="reset"):
        post(url)
    assert sandbox["counter"].notes == []
    assert sandbox.ledger[0].status is None


def test_a_reset_after_drops_the_connection_and_the_change_stands(sandbox, url):
    sandbox.inject(Fault(api="counter", reset="after"))
    with pytest.raises(requests.ConnectionError, match="reset"):
        post(url)
    assert sandbox["counter"].notes == [{"note": "a"}]
    assert post(url).status_code == 201


def test_a_reset_hits_only_the_connection_of_its_request(sandbox, url):
    sandbox.inject(Fault(api="counter", contains='"bad"', delay_s=0.1, reset="after"))
    with requests.Session() as good:
        good.get(url, timeout=5)
        with pytest.raises(requests.ConnectionError):
            post(url, "bad")
        assert good.get(url, timeout=5).json() == {"notes": [{"note": "bad"}]}


def test_a_truncated_answer_is_half_of_the_real_one(sandbox, url):
    sandbox.inject(Fault(api="counter", truncate=True))
    answer = post(url)
    assert answer.status_code == 201
    assert answer.content == b'{"notes":[{"note":"a"}]}'[:12]
    assert sandbox["counter"].notes == [{"note": "a"}]


def test_an_answer_that_drips_comes_byte_by_byte_to_whoever_waits(sandbox, url):
    sandbox.inject(Fault(api="counter", drip_s=0.002, times=2))
    began = time.monotonic()
    answer = post(url)
    assert time.monotonic() - began > 0.2
    assert (answer.status_code, answer.json()) == (201, {"notes": [{"note": "a"}]})
    assert answer.headers["content-type"] == "application/json"
    with requests.Session() as session:
        answer = session.get(url, timeout=5, stream=True)
        answer.close()
        assert session.get(url, timeout=5).json() == {"notes": [{"note": "a"}]}
    assert [call.status for call in sandbox.ledger] == [201, 200, 200]


def test_html_comes_with_200_and_nothing_is_applied(sandbox, url):
    sandbox.inject(Fault(api="counter", html=True))
    answer = post(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert sandbox["counter"].notes == []


def test_a_fault_answers_with_its_own_status_headers_and_body(sandbox, url):
    sandbox.inject(Fault(api="counter", status=429, headers={"Retry-After": "7"}, body={"error": "slow down"}))
    answer = post(url)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (429, "7", {"error": "slow down"})
    assert sandbox["counter"].notes == []


@pytest.mark.parametrize(
    ("place", "put", "answer"),
    [
        ([], "null", None),
        (["notes"], "{}", {"notes": {}}),
        (["notes", 0], "", {"notes": []}),
        (["notes", 0, "note"], "7", {"notes": [{"note": 7}]}),
        (["notes", 1], "7", {"notes": [{"note": "a"}]}),
        (["notes", "note"], "7", {"notes": [{"note": "a"}]}),
        (["other"], "7", {"notes": [{"note": "a"}]}),
    ],
)
def test_an_answer_is_changed_where_it_has_that_place(sandbox, url, place, put, answer):
    sandbox.inject(Fault(api="counter", place=place, put=put))
    assert post(url).json() == answer
    assert sandbox["counter"].notes == [{"note": "a"}]
    assert sandbox.ledger[-1].answer == answer


def test_headers_without_a_status_stand_in_the_answer_of_the_api(sandbox, url):
    sandbox.inject(Fault(api="counter", headers={"X-Left": "0", "Content-Type": "text/plain"}))
    response = post(url)
    assert (response.status_code, response.json()) == (201, {"notes": [{"note": "a"}]})
    assert (response.headers["x-left"], response.headers["content-type"]) == ("0", "text/plain")


def test_a_delayed_request_is_applied_although_the_client_gave_up(sandbox, url):
    sandbox.inject(Fault(api="counter", delay_s=0.3))
    with pytest.raises(requests.ReadTimeout):
        post(url, timeout=0.1)
    deadline = time.monotonic() + 3
    while not sandbox["counter"].notes and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sandbox["counter"].notes == [{"note": "a"}]


def test_a_fault_hits_the_requests_it_is_meant_for_and_is_then_spent(sandbox, url):
    sandbox.inject(Fault(api="counter", method="POST", path="/v1/n*", contains="a", after=1, times=2, status=500))
    assert requests.get(url, timeout=5).status_code == 200
    assert post(url, "b").status_code == 201
    assert [post(url, "a").status_code for _ in range(4)] == [201, 500, 500, 201]


def test_reset_forgets_records_requests_and_faults(sandbox, url):
    post(url)
    sandbox.inject(Fault(api="counter", status=500))
    sandbox.reset()
    assert (sandbox["counter"].notes, sandbox.ledger) == ([], [])
    assert post(url).status_code == 201


def test_other_processes_steer_it_over_http(sandbox, url):
    fault = {"api": "counter", "status": 418, "headers": {}, "body": "tea"}
    assert requests.post(control(sandbox, "faults"), json=fault, timeout=5).status_code == 200
    assert post(url).text == "tea"
    post(url)
    assert requests.get(control(sandbox, "state/counter"), timeout=5).json() == {"notes": [{"note": "a"}]}
    ledger = requests.get(control(sandbox, "ledger"), timeout=5).json()
    assert [call["status"] for call in ledger] == [418, 201]
    requests.post(control(sandbox, "reset"), timeout=5)
    assert sandbox["counter"].notes == []


@pytest.mark.parametrize("fault", [{"api": "nowhere"}, {"api": "counter", "colour": "red"}, {}])
def test_a_fault_that_means_nothing_is_refused(sandbox, fault):
    assert requests.post(control(sandbox, "faults"), json=fault, timeout=5).status_code == 422


def test_it_starts_and_stops_fast_even_with_an_answer_pending():
    before = time.monotonic()
    with Sandbox([Counter]) as sandbox:
        sandbox.inject(Fault(api="counter", delay_s=30))
        with pytest.raises(requests.ReadTimeout):
            post(sandbox.url("counter") + "/v1/notes", timeout=0.1)
    assert time.monotonic() - before < 2


def test_two_sandboxes_share_nothing(sandbox, url):
    with Sandbox([Counter]) as other:
        post(other.url("counter") + "/v1/notes")
    assert sandbox["counter"].notes == []


def test_the_module_serves_all_stand_ins_in_the_foreground():
    with subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_census.sandbox", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            root = process.stdout.readline().split()[-1]
            deadline = time.monotonic() + 20
            while True:
                try:
                    ledger = requests.get(f"{root}/_sandbox/ledger", timeout=5).json()
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert ledger == []
        finally:
            process.terminate()


class TestWindow:
    def test_it_lets_its_limit_through_and_says_what_remains(self):
        window = Window(3, 10, clock=lambda: 5.0)
        assert [window.take() for _ in range(4)] == [(True, 2, 10), (True, 1, 10), (True, 0, 10), (False, 0, 10)]

    def test_a_new_window_opens_when_the_old_one_has_passed(self):
        now = [0.0]
        window = Window(1, 10, clock=lambda: now[0])
        window.take()
        now[0] = 9.0
        assert window.take() == (False, 0, 1)
        now[0] = 10.0
        assert window.take() == (True, 0, 10)

    def test_a_costly_request_needs_all_of_its_cost(self):
        window = Window(10, 1, clock=lambda: 0.0)
        assert window.take(8) == (True, 2, 1)
        assert window.take(3) == (False, 2, 1)
        assert window.take(2) == (True, 0, 1)
