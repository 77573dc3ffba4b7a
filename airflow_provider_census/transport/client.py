"""
Sends requests: waits for its turn, tries again where that is safe, gives up with an error that says what is known.

In: a request or a whole exchange. Out: a response the API really gave. Invariant: a request that is not idempotent is
sent a second time only if the API said, or the network proves, that the first one was not applied.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import tenacity

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
from airflow_provider_census.transport.wire import NoAnswer, Wire

_MAX_WAIT_S = 120.0  # the longest pause an API may ask for before it counts as unavailable
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
    :param patience_s: for so long it is sent more often, if the API answers 429 and says when to come back: it is well,
        and others use up the limit.
    :param timeout_s: seconds to connect, seconds to wait for bytes of the answer; in four times as many it must be
        there whole.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limiter: Limiter,
        *,
        judge: Callable[[Response], verdicts.Verdict] = verdicts.judge,
        throttle: Callable[[Response], Throttle] = lambda _: Throttle(),
        attempts: int = 6,
        patience_s: float = 120.0,
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
        self._patience_s = patience_s
        self._jitter = tenacity.wait_random_exponential(multiplier=backoff_s, max=30)
        #: Set by :meth:`stop`.
        self.stopped = threading.Event()
        limiter.sleep = self.sleep
        self._wire = Wire(endpoint, timeout_s)
        self._lock = threading.Lock()

    def run(self, exchange: Exchange[T], *, attempts: int | None = None) -> T:
        """
        Drive ``exchange`` to its end and return what it found. Errors of a request are thrown into it.

        :param attempts: how often each of its requests is sent at the most, if not as often as usual.
        """
        try:
            request = next(exchange)
            while True:
                try:
                    response = self.send(request, attempts=attempts)
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

    def send(self, request: Request, *, attempts: int | None = None) -> Response:
        """
        Send ``request`` until it is answered, as often as is safe.

        :raises AuthError: 401 or 403; no other request will fare better.
        :raises ConfigError: no API answers at the host of the connection.
        :raises Unanswered: it may have been applied, and sending it again could apply it twice.
        :raises Unavailable: all attempts were refused or failed, without harm.
        :raises Interrupted: the task is to stop.
        """
        try:
            return self._attempt(request)
        except _TryAgain as error:
            return self._try_again(request, error, attempts or self._attempts)

    def concurrency(self, most: int) -> Concurrency:
        """Return what decides how many requests are in flight from now on: ``most`` at the most."""
        self._concurrency = Concurrency(most)
        return self._concurrency

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._concurrency.allowed

    def sleep(self, seconds: float) -> None:
        """
        Wait.

        :raises Interrupted: the task is to stop.
        """
        with self._lock:
            self.traffic.held_back += 1
        stopped = self.stopped.wait(seconds)
        with self._lock:
            self.traffic.held_back -= 1
        if stopped:
            raise Interrupted("the task was asked to stop")

    def stop(self) -> None:
        """End the run from any thread: what waits for rows, for its turn or for a retry raises Interrupted."""
        self.stopped.set()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _attempt(self, request: Request) -> Response:
        self.limiter.acquire(request.limit, request.cost)
        if self.stopped.is_set():
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
                        self.limiter.pause(request.limit, min(retry.after_s, _MAX_WAIT_S), unused=request.cost)
                if retry.applied and not request.idempotent:
                    raise Unanswered(
                        f"{request}: {retry.reason}",
                        status=response.status,
                    )
                raise _TryAgain(retry, response.status)
            case verdicts.Denied(reason):
                raise AuthError(
                    f"{request}: {reason}{self._words(response)}; "
                    f"check the credentials and permissions of {self.endpoint.name}"
                )
            case verdicts.Misdirected(reason):
                raise ConfigError(f"{request}: {reason}")

    def _give_up(self, attempts: int) -> Callable[[tenacity.RetryCallState], bool]:
        def give_up(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            put_off = isinstance(error, _TryAgain) and error.status == 429 and error.retry.after_s
            waited_s = state.seconds_since_start or 0.0
            return state.attempt_number >= attempts and not (put_off and waited_s < self._patience_s)

        return give_up

    def _try_again(self, request: Request, first: _TryAgain, attempts: int) -> Response:
        """Wait and send the request again, as often as is left after the attempt that failed with ``first``."""
        made = [first]

        def attempt() -> Response:
            if made:
                raise made.pop()
            return self._attempt(request)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            wait=self._wait,
            stop=self._give_up(attempts),
            before_sleep=self._count_retry,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except _TryAgain as error:
            raise Unavailable(
                f"{request}: {error} after {retrying.statistics['attempt_number']} attempts",
                status=error.status,
                unheard=error.retry.applied and error.status is None,
            ) from None

    def _timed(self, request: Request) -> Response:
        """Send, and take note of how long the answer took: that decides how many requests are in flight."""
        began = time.monotonic()
        try:
            response = self._wire.send(request)
        except NoAnswer as error:
            self._concurrency.refused(began)
            if error.never_left or request.idempotent:
                raise _TryAgain(verdicts.Retry(str(error), applied=not error.never_left), None) from None
            raise Unanswered(f"{request}: {error}; it may have been applied") from None
        if response.status in _NO_ROOM:
            self._concurrency.refused(began)
        else:
            self._concurrency.answered(began, self._wire.opened_at)
        return response

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
        text = self.endpoint.redact(response.text)
        return f" ({text[:_LOUD]})" if text and not text.startswith("<") else ""
