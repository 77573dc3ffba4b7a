"""
One request over HTTP: bytes out, bytes in, once.

``requests`` finds the way (proxies and certificates of the environment, as everywhere in Python), its pools of urllib3
carry the bytes: preparing each request anew would cost more time than all else that is done for it.
Errors name types only: the texts of those below may hold the URL, which may be a secret.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Retry, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from airflow_provider_census import __version__
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport.message import Endpoint, Request, Response, encode
from airflow_provider_census.transport.timed import TimedAnswer

# As many are kept open; no destination is sent more requests at once.
_MOST_CONNECTIONS = 256
_TLS_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
# A redirected POST would become a GET, and the token would travel to another host. What to try again is not for here.
_ONCE = Retry(total=False, redirect=False)
# The largest requests have 5 MB, and an answer may repeat one with a reason for each record; pages of a thousand things
# are smaller.
MAX_ANSWER_BYTES = 32 * 2**20
_PIECE = 2**16
_LOG = logging.getLogger("urllib3.connectionpool")
_DEFAULT_HEADERS = {
    **requests.utils.default_headers(),
    "User-Agent": f"airflow-provider-census/{__version__}",
}
_JSON, _FORM = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
_KINDS = (_JSON, _FORM, "")


class NoAnswer(Exception):
    """
    No answer came.

    :param never_left: the request cannot have arrived anywhere.
    """

    def __init__(self, reason: str, *, never_left: bool) -> None:
        super().__init__(reason)
        self.never_left = never_left


@dataclass(frozen=True, slots=True)
class _Address:
    """
    An endpoint, the way to it looked up.

    :param root: what to ask for where the request has no path; ``prefix`` stands before one.
    :param headers: by content type.
    """

    pool: HTTPConnectionPool
    root: str
    prefix: str
    headers: Mapping[str, dict[str, str]]


_opened = threading.local()


class _Connecting:
    """Part of a connection: tells what broke off before it stood, when no request can have left."""

    response_class = TimedAnswer

    def connect(self) -> None:
        connection: Any = self
        try:
            super().connect()  # type: ignore[misc]
        except OSError as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, _TLS_BROKEN_OFF):
                raise
            raise NewConnectionError(connection, type(error).__name__) from error
        _opened.at = time.monotonic()


class Wire:
    """The connections to one endpoint and its others, safe to use from many threads."""

    def __init__(self, endpoint: Endpoint, timeout_s: tuple[float, float]) -> None:
        self._endpoint = endpoint
        self._timeout = Timeout(connect=timeout_s[0], read=timeout_s[1])
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS))
        self._addresses: dict[str, _Address] = {}
        self._lock = threading.Lock()
        _LOG.addFilter(self._redact_log)

    def send(self, request: Request) -> Response:
        """
        Send ``request`` and return the answer, whatever it is.

        :raises NoAnswer: there is none.
        :raises ConfigError: there can be none: the host, its certificate or a header is wrong.
        """
        kind, body = _body(request)
        address = self._addresses.get(request.at) or self._look_up(request)
        headers = address.headers[kind]
        if request.headers:
            headers = _merged(headers, request.headers)
        try:
            answer = address.pool.urlopen(
                request.method,
                _target(address, request),
                body=body,
                headers=headers,
                retries=_ONCE,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
            )
            body, cut = _read(answer)
        except HTTPError as error:
            raise _failed(request, error, address.pool, self._endpoint.name) from None
        except ValueError:
            raise ConfigError(f"{request}: a header has characters that no header may have") from None
        return Response(answer.status, {k.lower(): v for k, v in answer.headers.itermerged()}, body, cut)

    @property
    def opened_at(self) -> float:
        """When this thread last had to open a connection, by the monotonic clock; long ago if it never had to."""
        at: float = getattr(_opened, "at", -math.inf)
        return at

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        _LOG.removeFilter(self._redact_log)

    def _redact_log(self, record: logging.LogRecord) -> bool:
        """Redact urllib3's debug lines: they show the path, and a webhook's path is its secret."""
        record.msg, record.args = self._endpoint.redact(record.getMessage()), ()
        return True

    def _look_up(self, request: Request) -> _Address:
        with self._lock:
            if request.at not in self._addresses:
                endpoint = self._endpoint.others[request.at] if request.at else self._endpoint
                self._addresses[request.at] = self._way_to(endpoint, request)
            return self._addresses[request.at]

    def _way_to(self, endpoint: Endpoint, request: Request) -> _Address:
        try:
            # Headers are ours alone: of a ~/.netrc, requests would take others.
            prepared = requests.Request("GET", endpoint.base_url).prepare()
            assert prepared.url is not None
            adapter = self._session.get_adapter(prepared.url)
            assert isinstance(adapter, HTTPAdapter)
            settings: Any = self._session.merge_environment_settings(prepared.url, {}, None, None, None)
            verify, proxies, cert = settings["verify"], settings["proxies"], settings["cert"]
            pool = adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies, cert=cert)
            assert isinstance(pool, HTTPConnectionPool)
            made: Any = pool
            if not issubclass(made.ConnectionCls, _Connecting):
                made.ConnectionCls = type("Connection", (_Connecting, made.ConnectionCls), {})
            adapter.cert_verify(pool, prepared.url, verify, cert)  # type: ignore[no-untyped-call]
            root = adapter.request_url(prepared, proxies)
        except requests.exceptions.InvalidProxyURL:
            raise ConfigError(f"{request}: the proxy that the environment names is not a valid URL") from None
        except (requests.exceptions.RequestException, ValueError):
            raise ConfigError(f"{request}: the host of {self._endpoint.name} is not a valid http(s) URL") from None
        # requests completes a URL without a path.
        prefix = root if urlsplit(endpoint.base_url).path else root.removesuffix("/")
        headers = {
            kind: _merged(_DEFAULT_HEADERS, {"Content-Type": kind} if kind else {}, endpoint.headers) for kind in _KINDS
        }
        return _Address(pool, root, prefix, headers)


def _read(answer: BaseHTTPResponse) -> tuple[bytes, bool]:
    """Return the body, decompressed, and whether it goes on behind what was read."""
    pieces, left = [], MAX_ANSWER_BYTES
    while piece := answer.read(_PIECE):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            answer.close()  # the connection is of no more use
            return b"".join(pieces)[:MAX_ANSWER_BYTES], True
    answer.release_conn()
    return b"".join(pieces), False


def _body(request: Request) -> tuple[str, bytes | None]:
    """Return the content type and the body, encoded."""
    if request.json is not None:
        return _JSON, encode(request.json)
    if request.form is not None:
        return _FORM, urlencode(request.form).encode()
    return "", None


def _merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """Return all headers; the later ones win, in whatever case they are written."""
    merged: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for some in headers:
        merged.update(some)
    return dict(merged.items())


def _target(address: _Address, request: Request) -> str:
    target = address.prefix + request.path if request.path else address.root
    return f"{target}{'&' if '?' in target else '?'}{urlencode(request.query)}" if request.query else target


def _failed(request: Request, error: HTTPError, pool: HTTPConnectionPool, connection: str) -> Exception:
    cause = error.original_error if isinstance(error, ProxyError) else error
    if isinstance(cause, LocationValueError):
        return ConfigError(f"{request}: the host of {connection} is not a valid http(s) URL")
    host = f"{pool.host}:{pool.port}"
    if isinstance(cause, SSLError) and not isinstance(cause.args[0], _TLS_BROKEN_OFF):
        return ConfigError(f"{request}: {_tls_trouble(cause.args[0], host)}; see the host of {connection}")
    never_left = isinstance(cause, (NewConnectionError, ConnectTimeoutError))
    what = f"no connection to {host}" if never_left else "no answer"
    return NoAnswer(f"{what} ({type(cause).__name__})", never_left=never_left)


def _tls_trouble(error: object, host: str) -> str:
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
        return f"{host} does not speak TLS as https:// needs it ({error.reason or type(error).__name__})"
    return f"the TLS certificate of {host} is not valid ({type(error).__name__})"
