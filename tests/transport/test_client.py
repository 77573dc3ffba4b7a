from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import http.server
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_provider_census.errors import (
    AuthError,
    CensusError,
    ConfigError,
    Interrupted,
    Unanswered,
    Unavailable,
)
from airflow_provider_census.transport.client import Client
from airflow_provider_census.transport.credentials import Credentials
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response, array, encode, encoded_size
from airflow_provider_census.transport.rate import Limiter, Rate, Throttle
from airflow_provider_census.transport.wire import MAX_ANSWER_BYTES

SECRET = "s3cr3t-token"
Answer = Callable[["Handler"], None]


class Server(http.server.ThreadingHTTPServer):
    """Answers one request after the other as the test says, the last answer for all that follow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


def answer(status: int = 200, body: str = "{}", **headers: str) -> Answer:
    def send(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return send


def late(seconds: float) -> Answer:
    def send(handler: Handler) -> None:
        time.sleep(seconds)
        answer()(handler)

    return send


def silence(seconds: float) -> Answer:
    return lambda _: time.sleep(seconds)


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    handler.close_connection = True
    handler.connection.close()


def half(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"half"')
    handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(url: str = "", *, path: str = "", **kwargs: Any) -> Client:
        endpoint = Endpoint(
            (url or f"http://127.0.0.1:{server.server_port}") + path,
            {"Authorization": f"Bearer {SECRET}"},
            (SECRET,),
        )
        settings = {"attempts": 3, "timeout_s": (0.8, 0.8), "backoff_s": 0.001, **kwargs}
        clients.append(Client(endpoint, Limiter([Rate("a", 1e6, 1)]), **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def post(idempotent: bool = True, **kwargs: Any) -> Request:
    return Request(method="POST", path="/things", json={"ä": 1}, idempotent=idempotent, **kwargs)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- sending -----------------------------------------------------------------------------------------------------


def test_json_is_sent_compact_and_in_utf_8(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(201, '{"ok": 1}', X_Limit="5")]
    response = connect().send(post(headers={"Idempotency-Key": "k"}, query={"a": "b c&d"}))
    assert (response.status, response.json(), response.headers["x-limit"]) == (201, {"ok": 1}, "5")
    path, headers, body = server.seen[0]
    assert (path, body) == ("/things?a=b+c%26d", '{"ä":1}'.encode())
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["idempotency-key"] == "k"
    assert headers["user-agent"].startswith("airflow-provider-census/")


def test_what_is_encoded_already_is_not_encoded_again(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer()]
    items = [encode({"ä": 'say "hi"'}), encode([None, True])]
    connect().send(Request(method="POST", path="/a", json=array(items, 'the "list"', "of")))
    connect().send(Request(method="POST", path="/b", json=array([])))
    assert [body.decode() for _, _, body in server.seen] == [
        '{"the \\"list\\"":{"of":[{"ä":"say \\"hi\\""},[null,true]]}}',
        "[]",
    ]
    assert server.seen[0][1]["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("text", ["", "abc", "ä€", "\U0001f600"])
def test_the_size_is_that_on_the_wire(text: str) -> None:
    assert encoded_size(text) == len(text.encode()) + 2


def test_a_form_is_sent_urlencoded(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer()]
    connect().send(Request(method="POST", path="/f", form={"email": "a+b@x.com", "metadata[ä]": "1&2"}))
    assert server.seen[0][2] == b"email=a%2Bb%40x.com&metadata%5B%C3%A4%5D=1%262"


def test_a_netrc_of_the_worker_does_not_replace_the_credentials(
    server: Server, connect: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers = [answer()]
    connect().send(post())
    assert server.seen[0][1]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("path", ["", "/things?kind=a%20b"])
def test_the_proxy_of_the_environment_is_used(
    server: Server, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    server.answers = [answer()]
    connect("http://api.invalid/v1").send(Request(method="POST", path=path, json={}))
    assert server.seen[0][0] == f"http://api.invalid/v1{path}"
    assert server.seen[0][1]["proxy-authorization"].startswith("Basic ")


def test_the_proxy_of_the_environment_is_left_aside_where_it_says_so(
    server: Server, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.answers = [answer()]
    assert connect().send(post()).ok
    assert server.seen[0][0] == "/things"


def test_a_proxy_that_is_not_there_says_so_and_nothing_was_sent(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(Unavailable, match="no connection"):
        connect("http://api.invalid").send(post(idempotent=False))


def test_a_proxy_that_is_no_url_is_named_as_what_is_wrong(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConfigError, match="proxy"):
        connect("http://api.invalid").send(post())


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", "/a", "/a"),
        ("", "/ä b?c=d e", "/%C3%A4%20b?c=d%20e"),
        ("/v1", "/a%2Fb", "/v1/a%2Fb"),
        ("/hook", "", "/hook"),
        ("/hook/", "", "/hook/"),
        ("", "", "/"),
    ],
)
def test_the_path_of_a_request_stands_behind_that_of_the_endpoint(
    server: Server, connect: Callable[..., Client], base: str, path: str, expected: str
) -> None:
    server.answers = [answer()]
    connect(path=base).send(Request(method="POST", path=path, json={}))
    assert server.seen[0][0] == expected


def test_a_query_stands_behind_that_of_the_path(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer()]
    connect().send(Request(method="POST", path="/a?b=c", query={"d": "e f"}))
    assert server.seen[0][0] == "/a?b=c&d=e+f"


def test_a_header_of_the_request_wins_in_any_case(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer()]
    connect().send(post(headers={"content-type": "application/vnd.x+json", "AUTHORIZATION": "other"}))
    headers = server.seen[0][1]
    assert (headers["content-type"], headers["authorization"]) == ("application/vnd.x+json", "other")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\u20ac"])
def test_a_header_that_cannot_be_sent_is_refused_and_not_shown(
    server: Server, connect: Callable[..., Client], value: str
) -> None:
    server.answers = [answer()]
    with pytest.raises(ConfigError, match="characters that no header may have") as caught:
        connect().send(post(headers={"X-Key": value + SECRET}))
    assert SECRET not in f"{caught.value!r}"
    assert server.seen == []


def test_a_compressed_answer_is_read(server: Server, connect: Callable[..., Client]) -> None:
    def send(handler: Handler) -> None:
        body = gzip.compress(b'{"ok": 1}')
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.answers = [send]
    assert connect().send(post()).json() == {"ok": 1}
    assert "gzip" in server.seen[0][1]["accept-encoding"]


def test_values_json_does_not_have_are_not_sent(server: Server, connect: Callable[..., Client]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        connect().send(Request(method="POST", path="/x", json={"a": float("nan")}))
    assert server.seen == []


# --- trying again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_refused_request_is_sent_again_whatever_it_is(
    server: Server, connect: Callable[..., Client], status: int, idempotent: bool
) -> None:
    server.answers = [answer(status), answer(status), answer()]
    client = connect()
    assert client.send(post(idempotent)).status == 200
    assert (client.traffic.requests, client.traffic.retries) == (3, 2)
    assert client.traffic.refused_429 == (2 if status == 429 else 0)


@pytest.mark.parametrize("failure", [answer(500), answer(502), answer(504), silence(1.2), reset, half])
def test_a_request_that_may_have_been_applied_is_sent_again_only_if_that_is_harmless(
    server: Server, connect: Callable[..., Client], failure: Answer
) -> None:
    server.answers = [failure, answer()]
    assert connect().send(post(idempotent=True)).status == 200
    server.answers = [failure, answer()]
    server.seen.clear()
    with pytest.raises(Unanswered, match="POST /things: "):
        connect().send(post(idempotent=False))
    assert len(server.seen) == 1


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_connection_that_never_came_about_is_tried_again_whatever_the_request(
    server: Server, connect: Callable[..., Client], idempotent: bool
) -> None:
    client = connect(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(Unavailable, match=r"no connection to 127.0.0.1:\d+ \(NewConnectionError\) after 3 attempts"):
        client.send(post(idempotent))
    assert client.traffic.requests == 3


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_name_that_does_not_resolve_is_tried_again(connect: Callable[..., Client], idempotent: bool) -> None:
    with pytest.raises(Unavailable, match="no connection"):
        connect("http://no-such-host.invalid").send(post(idempotent))


@pytest.mark.parametrize("status", [400, 402, 404, 409, 413, 422, 451])
def test_what_the_api_refuses_is_not_sent_again(server: Server, connect: Callable[..., Client], status: int) -> None:
    server.answers = [answer(status, '{"error": "x"}'), answer()]
    assert connect().send(post()).status == status
    assert len(server.seen) == 1


def test_after_all_attempts_it_gives_up_and_says_why(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(503)]
    with pytest.raises(Unavailable, match="POST /things: HTTP 503 service unavailable after 3 attempts") as caught:
        connect().send(post())
    assert caught.value.status == 503
    assert len(server.seen) == 3


def test_who_is_told_when_to_come_back_comes_back_more_often(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [*[answer(429, retry_after="0.01")] * 9, answer()]
    client = connect()
    assert client.send(post()).status == 200
    assert client.traffic.retries == 9


def test_who_is_told_to_come_back_for_too_long_gives_up(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(429, retry_after="0.1")]
    with pytest.raises(Unavailable, match=r"HTTP 429 too many requests after \d+ attempts") as caught:
        connect(patience_s=0.5).send(post())
    assert str(caught.value).endswith(f" {len(server.seen)} attempts")


def test_retry_after_is_obeyed(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(429, retry_after="0.4"), answer()]
    started = time.monotonic()
    connect().send(post())
    assert 0.4 <= time.monotonic() - started < 1.5


def test_a_pause_that_one_request_was_asked_for_holds_back_the_others(
    server: Server, connect: Callable[..., Client]
) -> None:
    server.answers = [answer(429, retry_after="0.4"), answer()]
    client = connect()
    first = threading.Thread(target=client.send, args=(post(),))
    started = time.monotonic()
    first.start()
    while client.traffic.refused_429 == 0:
        time.sleep(0.005)
    client.send(post())
    assert time.monotonic() - started >= 0.4
    first.join()


def test_it_tells_what_is_held_back_and_why(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(429, retry_after="60")]
    client = connect()

    def give_up() -> None:
        with pytest.raises(Interrupted):
            client.send(post())

    waiting = threading.Thread(target=give_up)
    waiting.start()
    while client.traffic.held_back == 0:
        time.sleep(0.005)
    assert (client.traffic.in_flight, client.traffic.trouble) == (0, "HTTP 429 too many requests")
    client.stop()
    waiting.join()
    assert client.traffic.held_back == 0


def test_it_tells_what_is_in_flight(server: Server, connect: Callable[..., Client]) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        answer()(handler)

    client, server.answers = connect(), [slow]
    waiting = threading.Thread(target=client.send, args=(post(),))
    waiting.start()
    while client.traffic.in_flight == 0:
        time.sleep(0.005)
    assert (client.traffic.in_flight, client.traffic.held_back, client.traffic.trouble) == (1, 0, "")
    waiting.join()
    assert client.traffic.in_flight == 0


@pytest.mark.parametrize("failure", [answer(429, retry_after="0"), answer(503), reset])
def test_fewer_are_to_be_in_flight_after_the_api_had_no_room(
    server: Server, connect: Callable[..., Client], failure: Answer
) -> None:
    server.answers = [answer(400), answer(500), failure, answer()]
    client = connect()
    concurrency = client.concurrency(16)
    client.send(post())
    assert concurrency.allowed == 8
    client.send(post())
    assert concurrency.allowed == 4


def test_a_wait_that_is_asked_for_is_capped(server: Server) -> None:
    slept: list[float] = []

    class Patient(Client):
        def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    clock = iter(range(0, 10**9, 10_000))
    limiter = Limiter([Rate("a", 10, 1)], clock=lambda: next(clock))
    server.answers = [answer(429, retry_after="999999"), answer()]
    client = Patient(Endpoint(f"http://127.0.0.1:{server.server_port}"), limiter)
    assert client.send(post()).status == 200
    assert max(slept) == 120
    client.close()


def test_the_limiter_learns_from_the_headers(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(X_Limit="70")]
    client = connect(throttle=lambda r: Throttle(count=float(r.headers["x-limit"])))
    client.send(post())
    assert client.limiter.per_second() == pytest.approx(70, rel=0.03)


# --- giving up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_end_it_and_are_not_shown(
    server: Server, connect: Callable[..., Client], status: int
) -> None:
    server.answers = [answer(status, json.dumps({"error": f"invalid key {SECRET}"}))]
    with pytest.raises(AuthError) as caught:
        connect().send(post())
    assert 'invalid key ***"' in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value!r}"
    assert len(server.seen) == 1


def test_a_page_of_html_is_not_quoted(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(403, "<html>" + "x" * 1_000)]
    with pytest.raises(AuthError, match=r"^POST /things: HTTP 403; check"):
        connect().send(post())


def test_a_redirect_is_not_followed(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(302, location=f"http://127.0.0.1:{server.server_port}/other")]
    with pytest.raises(ConfigError, match="HTTP 302 redirects elsewhere"):
        connect().send(post())
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "ftp://127.0.0.1", "127.0.0.1:80", "http://a b", "http://.x"]
)
def test_a_host_that_is_no_url_is_a_wrong_connection(connect: Callable[..., Client], url: str) -> None:
    with pytest.raises(ConfigError, match=r"not a valid http\(s\) URL"):
        connect(url).send(post())


@pytest.mark.parametrize("body", ["", "<html>", '{"half', "null\x00", "\ud7ff"])
def test_an_answer_that_is_not_json_is_no_answer(body: str) -> None:
    response = Response(200, {"content-type": "text/html"}, body.encode())
    with pytest.raises(Unanswered, match="of text/html where JSON was promised") as caught:
        response.json()
    assert caught.value.status == 200


def test_an_answer_without_an_end_is_read_so_far_and_is_none(server: Server, connect: Callable[..., Client]) -> None:
    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.wfile.write(b'{"ok": true}')
            while True:
                handler.wfile.write(b" " * 2**20)

    server.answers = [send, answer(body='{"ok": 1}')]
    client = connect()
    response = client.send(post())
    assert len(response.body) == MAX_ANSWER_BYTES
    with pytest.raises(Unanswered, match="more than 33,554,432 bytes"):
        response.json()
    assert response.told(dict[str, Any]) == {}
    assert response.text.endswith("…")
    assert client.send(post()).json() == {"ok": 1}


def test_an_answer_that_is_large_only_when_it_is_unpacked_is_not_unpacked_whole(
    server: Server, connect: Callable[..., Client]
) -> None:
    bomb = gzip.compress(b" " * 2**28)

    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(bomb)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(bomb)

    server.answers = [send]
    response = connect().send(post())
    assert response.cut
    assert len(response.body) == MAX_ANSWER_BYTES


def drip(head: bytes = b"", unit: bytes = b" ") -> Answer:
    """An answer of which a piece comes now and then, so that no read has to wait for long."""

    def send(handler: Handler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.wfile.write(head)
            for _ in range(100):
                handler.wfile.write(unit)
                time.sleep(0.05)

    return send


DRIPS = {
    "from the first byte": drip(b"", b"H"),
    "in the headers": drip(b"HTTP/1.1 200 OK\r\n", b"x"),
    "after other answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "in the body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
    "in a body without an end": drip(b"HTTP/1.1 200 OK\r\n\r\n"),
    "in chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "in the size of a chunk": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
}


@pytest.mark.parametrize("failure", DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_that_drips_is_none(
    request: pytest.FixtureRequest,
    connect: Callable[..., Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Answer,
    scheme: str,
) -> None:
    server: Server = request.getfixturevalue("server" if scheme == "http" else "tls_server")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    client = connect(f"{scheme}://127.0.0.1:{server.server_port}", timeout_s=(0.8, 0.2))
    server.answers = [failure, answer()]
    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"no answer \(ReadTimeoutError\); it may have been applied"):
        client.send(post(idempotent=False))
    assert 0.8 <= time.monotonic() - began < 4
    server.answers = [failure, answer()]
    assert client.send(post()).ok
    assert (client.traffic.requests, client.traffic.retries) == (3, 1)


def test_an_answer_that_comes_in_pieces_has_more_time_than_each_of_them(
    server: Server, connect: Callable[..., Client]
) -> None:
    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "9")
        handler.end_headers()
        for _ in range(9):
            handler.wfile.write(b"x")
            time.sleep(0.15)

    server.answers = [send]
    client = connect(timeout_s=(0.8, 0.5))
    assert [client.send(post()).body for _ in range(2)] == [b"x" * 9] * 2
    assert client.traffic.retries == 0


def test_what_a_refusal_says_is_read_from_an_answer_without_an_end_too(
    server: Server, connect: Callable[..., Client]
) -> None:
    server.answers = [answer(401, "no such key" + " " * MAX_ANSWER_BYTES)]
    with pytest.raises(AuthError, match="no such key"):
        connect().send(post())


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 10**6])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_serves_the_next_request_when_the_answer_is_read(
    server: Server, connect: Callable[..., Client], size: int, chunked: bool
) -> None:
    ports: list[int] = []

    def send(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        handler.send_response(200)
        if chunked:
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"%x\r\n%s\r\n" % (size, b"x" * size) if size else b"")
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.send_header("content-length", str(size))
            handler.end_headers()
            handler.wfile.write(b"x" * size)

    server.answers = [send]
    client = connect()
    assert [len(client.send(post()).body) for _ in range(3)] == [size] * 3
    assert len(set(ports)) == 1


@pytest.mark.parametrize("text", ["no\x00no", "no\x1b[31mno"])
def test_what_logs_and_databases_do_not_take_stands_in_no_error(
    server: Server, connect: Callable[..., Client], text: str
) -> None:
    server.answers = [answer(403, text)]
    with pytest.raises(AuthError, match="no\N{REPLACEMENT CHARACTER}"):
        connect().send(post())


def self_signed(folder: Path) -> Path:
    """Return a file with a key and a certificate for it that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(secret + certificate.public_bytes(pem))
    return folder / "tls.pem"


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with Server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_tls_is_trusted_if_the_environment_says_so(
    tls_server: Server, connect: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    tls_server.answers = [answer()]
    assert connect(f"https://127.0.0.1:{tls_server.server_port}").send(post()).ok


def test_connections_that_take_long_to_open_do_not_pass_for_a_crowd(
    tls_server: Server, connect: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    accept = tls_server.get_request

    def slow_accept() -> Any:
        time.sleep(0.15)
        return accept()

    monkeypatch.setattr(tls_server, "get_request", slow_accept)
    tls_server.answers = [late(0.1)]
    client = connect(f"https://127.0.0.1:{tls_server.server_port}", timeout_s=(5, 5))
    concurrency = client.concurrency(64)
    for _ in range(8):
        client.send(post())
    assert concurrency.allowed == 2  # one after the other need no more
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: client.send(post()).ok, range(24)))
    assert concurrency.allowed >= 8


def test_tls_that_is_not_trusted_is_a_wrong_connection(tls_server: Server, connect: Callable[..., Client]) -> None:
    tls_server.answers = [answer()]
    client = connect(f"https://127.0.0.1:{tls_server.server_port}")
    with pytest.raises(ConfigError, match=r"certificate of 127.0.0.1:\d+ is not valid \(SSLCertVerificationError\)"):
        client.send(post())
    assert client.traffic.requests == 1
    assert tls_server.seen == []


def test_plain_http_where_tls_was_promised_is_a_wrong_connection(
    server: Server, connect: Callable[..., Client]
) -> None:
    with pytest.raises(ConfigError, match="does not speak TLS"):
        connect(f"https://127.0.0.1:{server.server_port}").send(post())


def test_tls_that_breaks_off_is_tried_again(connect: Callable[..., Client]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def hang_up() -> None:
            for _ in range(3):
                peer, _ = listener.accept()
                peer.recv(1)
                peer.shutdown(socket.SHUT_WR)
                peer.recv(65_536)
                peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unavailable, match="after 3 attempts"):
            connect(f"https://127.0.0.1:{listener.getsockname()[1]}").send(post())
        thread.join()


@pytest.mark.parametrize(
    ("at", "words"),
    [("host", b""), ("proxy", b""), ("proxy", b"HTTP/1.1 503 no tunnel\r\nContent-Length: 0\r\n\r\n")],
)
def test_what_breaks_off_before_there_is_a_connection_was_not_sent_and_is_tried_again(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, at: str, words: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def turn_away() -> None:
            for _ in range(3):
                peer, _ = listener.accept()
                peer.recv(65_536)
                peer.sendall(words)
                peer.close()

        thread = threading.Thread(target=turn_away)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        if at == "proxy":
            monkeypatch.setenv("https_proxy", f"http://{host}")
        with pytest.raises(Unavailable, match=r"no connection to .* after 3 attempts") as failure:
            connect(f"https://{host if at == 'host' else 'api.example.com'}").send(post(idempotent=False))
        thread.join()
    assert not failure.value.unheard


# --- stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting_for", ["retry", "turn"])
def test_a_stop_ends_every_wait_at_once(server: Server, connect: Callable[..., Client], waiting_for: str) -> None:
    server.answers = [answer(429, retry_after="60") if waiting_for == "retry" else answer()]
    client = connect()
    if waiting_for == "turn":
        client.limiter.pause("", 60)
    threading.Timer(0.1, client.stop).start()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        client.send(post())
    assert time.monotonic() - started < 1
    with pytest.raises(Interrupted):
        client.send(post())


# --- exchanges ---------------------------------------------------------------------------------------------------


def test_an_exchange_is_driven_to_its_end(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(body="1"), answer(body="2")]

    def exchange() -> Exchange[list[int]]:
        return [(yield post()).json(), (yield post()).json()]

    assert connect().run(exchange()) == [1, 2]


@pytest.mark.parametrize(("idempotent", "error"), [(True, Unavailable), (False, Unanswered)])
def test_an_exchange_may_go_on_behind_a_request_without_an_answer(
    server: Server, connect: Callable[..., Client], idempotent: bool, error: type[CensusError]
) -> None:
    server.answers = [reset]

    def exchange() -> Exchange[str]:
        try:
            yield post(idempotent)
        except error:
            server.answers = [answer(body='"found"')]
            return str((yield post()).json())
        return "not thrown"

    assert connect().run(exchange()) == "found"


def test_an_exchange_is_not_asked_about_credentials(server: Server, connect: Callable[..., Client]) -> None:
    server.answers = [answer(401)]

    def exchange() -> Exchange[str]:
        try:
            yield post()
        except CensusError:
            return "caught"
        return "answered"

    with pytest.raises(AuthError):
        connect().run(exchange())


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [answer(401, SECRET), answer(403, SECRET), answer(302, location=SECRET), answer(500, SECRET), reset, half],
)
@pytest.mark.parametrize("idempotent", [True, False])
def test_no_error_and_no_log_ever_shows_a_secret_not_even_in_the_path(
    server: Server, connect: Callable[..., Client], caplog: pytest.LogCaptureFixture, failure: Answer, idempotent: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [failure]
    client = connect(path=f"/hooks/{SECRET}")
    with pytest.raises(CensusError) as caught:
        client.send(Request(method="POST", path="", json={}, idempotent=idempotent))
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.args}"
    assert server.seen[0][0] == f"/hooks/{SECRET}"
    assert "/hooks/***" in caplog.text or failure in (reset, half)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", [f"http://x.invalid/{SECRET}", f"http://[{SECRET}", f"ftp://x/{SECRET}"])
def test_no_error_about_the_host_shows_a_secret(connect: Callable[..., Client], url: str) -> None:
    with pytest.raises(CensusError) as caught:
        connect(url).send(post())
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_what_holds_secrets_does_not_show_them(connect: Callable[..., Client]) -> None:
    endpoint = Endpoint(f"http://x/{SECRET}", {"Authorization": SECRET}, (SECRET, ""))
    credentials = Credentials(password=SECRET, extra={"token": SECRET})
    client = connect(path=f"/{SECRET}")
    assert SECRET not in f"{endpoint!r} {endpoint} {credentials!r} {client!r} {client.endpoint!r}"
    assert endpoint.redact(f"a {SECRET} b {SECRET}") == "a *** b ***"


def test_a_closed_client_leaves_the_log_alone(connect: Callable[..., Client]) -> None:
    log = logging.getLogger("urllib3.connectionpool")
    before = len(log.filters)
    client = connect()
    assert len(log.filters) == before + 1
    client.close()
    assert len(log.filters) == before
