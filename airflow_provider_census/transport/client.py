"""
Sends requests: waits for its turn, tries again where that is safe, gives up with an error that says what is known.

In: a request or a whole exchange. Out: a response the API really gave. Invariant: a request that is not idempotent is
sent a second time only if the API said, or the network proves, that the first one was not applied.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
import tenacity
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, SSLError

from airflow_provider_census import __version__
from airflow_provider_census.errors import (
    AuthError,
    CensusError,
    ConfigError,
    Interrupted,
    Unanswered,
    Unavailable,
)
from airflow_provider_census.transport import verdict as verdicts
from airflow_provider_census.transport.concurrency import Concurrency
from airflow_provider_census.transport.message import (
    Endpoint,
    Exchange,
    Request,
    Response,
    T,
)
from airflow_provider_census.transport.rate import Limiter, Throttle

_MAX_WAIT_S = 120.0  # the longest pause an API may ask for before it counts as unavailable
_BAD_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)
_TLS_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_WIRE_LOG = logging.getLogger("urllib3.connectionpool")
_NO_ROOM = (429, 503)
_LOUD = 300  # characters of an API's own words that go into an error


@dataclass
class Traffic:
    """
    What a client has sent so far, and what it is at.

    :param retries: included in ``requests``.
    :param in_flight: requests that wait for their answer.
    :param held_back: requests that wait for their turn, or to be tried again.
    :param trouble: why a request was last tried again.
    """

    requests: int = 0
    retries: int = 0
    refused_429: int = 0
    in_flight: int = 0
    held_back: int = 0
    trouble: str = ""


class _TryAgain(Exception):
    def __init__(self, retry: verdicts.Retry, status: int | None) -> None:
        super().__init__(retry.reason)
        self.retry = retry
        self.status = status


class Client:
    """
    One connection to one API, safe to use from many threads.

    :param judge: what a response means; a destination's own table.
    :param throttle: what a response's headers say about the rate that counted the request.
    :param attempts: how often one request is sent at the most.
    :param timeout_s: seconds to connect, seconds to wait for bytes of the answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limiter: Limiter,
        *,
        judge: Callable[[Response], verdicts.Verdict] = verdicts.judge,
        throttle: Callable[[Response], Throttle] = lambda _: Throttle(),
        attempts: int = 6,
        timeout_s: tuple[float, float] = (10.0, 30.0),
        backoff_s: float = 0.5,
    ) -> None:
        self.endpoint = endpoint
        self.limiter = limiter
        self.traffic = Traffic()
        self._concurrency = Concurrency(1)
        self._judge = judge
        self._throttle = throttle
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._jitter = tenacity.wait_random_exponential(multiplier=backoff_s, max=30)
        self._stopped = threading.Event()
        limiter.sleep = self.sleep
        self._environment: dict[str, dict[str, Any]] = {}
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()
        _WIRE_LOG.addFilter(self._redact_log)

    def run(self, exchange: Exchange[T]) -> T:
        """Drive ``exchange`` to its end and return what it found. Errors of a request are thrown into it."""
        try:
            request = next(exchange)
            while True:
                try:
                    response = self.send(request)
                except (Unanswered, Unavailable) as error:
                    request = exchange.throw(error)
                else:
                    request = exchange.send(response)
        except StopIteration as end:
            result: T = end.value
            return result
        except CensusError as error:
            # What an exchange quotes may be the API's own words.
            error.args = tuple(self.endpoint.redact(part) if isinstance(part, str) else part for part in error.args)
            raise

    def send(self, request: Request) -> Response:
        """
        Send ``request`` until it is answered, as often as is safe.

        :raises AuthError: 401 or 403; no other request will fare better.
        :raises ConfigError: no API answers at the host of the connection.
        :raises Unanswered: it may have been applied, and sending it again could apply it twice.
        :raises Unavailable: all attempts were refused or failed, without harm.
        :raises Interrupted: the task is to stop.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            wait=self._wait,
            stop=tenacity.stop_after_attempt(self._attempts),
            before_sleep=self._count_retry,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, request)
        except _TryAgain as error:
            raise Unavailable(
                f"{request}: {error} after {self._attempts} attempts",
                status=error.status,
                unheard=error.retry.applied and error.status is None,
            ) from None

    def concurrency(self, most: int) -> Concurrency:
        """Return what decides how many requests are in flight from now on: ``most`` at the most."""
        self._concurrency = Concurrency(most)
        return self._concurrency

    def sleep(self, seconds: float) -> None:
        """
        Wait.

        :raises Interrupted: the task is to stop.
        """
        with self._lock:
            self.traffic.held_back += 1
        stopped = self._stopped.wait(seconds)
        with self._lock:
            self.traffic.held_back -= 1
        if stopped:
            raise Interrupted("the task was asked to stop")

    def stop(self) -> None:
        """End the run from any thread: what waits for its turn or for a retry raises Interrupted."""
        self._stopped.set()

    def close(self) -> None:
        """Close the sockets."""
        for session in self._sessions:
            session.close()
        _WIRE_LOG.removeFilter(self._redact_log)

    def _redact_log(self, record: logging.LogRecord) -> bool:
        """Redact urllib3's debug lines: they show the path, and a webhook's path is its secret."""
        record.msg, record.args = self.endpoint.redact(record.getMessage()), ()
        return True

    def _attempt(self, request: Request) -> Response:
        self.limiter.acquire(request.limit, request.cost)
        if self._stopped.is_set():
            raise Interrupted("the task was asked to stop")
        with self._lock:
            self.traffic.requests += 1
            self.traffic.in_flight += 1
        try:
            response = self._timed(request)
        finally:
            with self._lock:
                self.traffic.in_flight -= 1
        self.limiter.learn(request.limit, self._throttle(response))
        match self._judge(response):
            case verdicts.Answered():
                return response
            case verdicts.Retry() as retry:
                if response.status == 429:
                    with self._lock:
                        self.traffic.refused_429 += 1
                    if retry.after_s is not None:
                        self.limiter.pause(request.limit, min(retry.after_s, _MAX_WAIT_S))
                if retry.applied and not request.idempotent:
                    raise Unanswered(
                        f"{request}: {retry.reason}",
                        status=response.status,
                    )
                raise _TryAgain(retry, response.status)
            case verdicts.Denied(reason):
                raise AuthError(
                    f"{request}: {reason}{self._words(response)}; "
                    f"check the credentials and permissions of the connection"
                )
            case verdicts.Misdirected(reason):
                raise ConfigError(f"{request}: {reason}")

    def _timed(self, request: Request) -> Response:
        """Send, and take note of how long the answer took: that decides how many requests are in flight."""
        began = time.monotonic()
        try:
            response = self._exchange_bytes(request)
        except (_TryAgain, Unanswered):
            self._concurrency.refused(began)
            raise
        if response.status in _NO_ROOM:
            self._concurrency.refused(began)
        else:
            self._concurrency.answered(began)
        return response

    def _exchange_bytes(self, request: Request) -> Response:
        endpoint = self.endpoint.others[request.at] if request.at else self.endpoint
        headers = {**endpoint.headers, **request.headers}
        body: bytes | None = None
        if request.json is not None:
            body = json.dumps(request.json, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        try:
            answer = self._session().request(
                request.method,
                endpoint.base_url + request.path,
                params=request.query,
                data=body if body is not None else request.form,
                headers=headers,
                timeout=self._timeout_s,
                **self._surroundings(endpoint.base_url),
                # A redirected POST would become a GET, and the token would travel to another host.
                allow_redirects=False,
            )
        except requests.exceptions.RequestException as error:
            raise _failed(request, error) from None
        return Response(
            answer.status_code,
            {k.lower(): v for k, v in answer.headers.items()},
            answer.content,
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            # Not from ~/.netrc either: requests would drop the header the connection gives.
            session.trust_env = False
            session.headers["User-Agent"] = f"airflow-provider-census/{__version__}"
            with self._lock:
                self._sessions.append(session)
        return session

    def _surroundings(self, url: str) -> dict[str, Any]:
        """Return the proxies and certificates the environment has for ``url``; looking them up costs as a request."""
        if url not in self._environment:
            with requests.Session() as session:
                try:
                    found: Any = session.merge_environment_settings(url, {}, None, None, None)
                except ValueError:
                    raise requests.exceptions.InvalidURL from None
            self._environment[url] = found
        return self._environment[url]

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry.after_s if isinstance(error, _TryAgain) else None
        if asked is not None:
            return min(asked, _MAX_WAIT_S)
        return self._jitter(state)

    def _count_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        with self._lock:
            self.traffic.retries += 1
            self.traffic.trouble = self.endpoint.redact(str(error))

    def _words(self, response: Response) -> str:
        """Return the API's own words about a refusal, redacted: some echo the key they refuse."""
        text = self.endpoint.redact(response.body.decode(errors="replace")).strip()
        return f" ({text[:_LOUD]})" if text and not text.startswith("<") else ""


def _failed(request: Request, error: requests.exceptions.RequestException) -> Exception:
    """Return the error for a request without an answer. Its text names types: theirs may hold the URL, a secret."""
    cause = _cause(error)
    if isinstance(error, _BAD_URL):
        return ConfigError(f"{request}: the host of the connection is not a valid http(s) URL")
    if isinstance(cause, SSLError) and not isinstance(cause.args[0], _TLS_BROKEN_OFF):
        return ConfigError(f"{request}: the TLS certificate of the host is not valid ({type(cause.args[0]).__name__})")
    never_left = isinstance(cause, (NewConnectionError, ConnectTimeoutError))
    reason = f"{'no connection' if never_left else 'no answer'} ({type(error).__name__})"
    if never_left or request.idempotent:
        return _TryAgain(verdicts.Retry(reason, applied=not never_left), None)
    return Unanswered(f"{request}: {reason}; it may have been applied")


def _cause(error: requests.exceptions.RequestException) -> object:
    cause = error.args[0] if error.args else None
    return cause.reason if isinstance(cause, MaxRetryError) else cause
