"""What Intercom answers, and how often a request is put before its answer is taken as lost."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from airflow_provider_census.destinations import _asking as asking
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.message import Exchange, Request, Response

_CLOCK_SKEW_S = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Intercom, or a refusal of whatever stands before it."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    def absent(self) -> bool:
        """Whether Intercom says that there is no such thing; a 404 without its error list says nothing about that."""
        return self.status == 404 and "errors" in self.body

    @property
    def words(self) -> str:
        """What the error list says."""
        if "errors" not in self.body:
            return f"HTTP {self.status}, without a word of Intercom"
        return "; ".join(str(e.get("message") or e.get("code")) for e in self.body["errors"])

    def rejected(self) -> RowResult:
        """Return the rejection in Intercom's words."""
        return rejected(self.words, self.status)

    def refused_look_up(self) -> Refused | Unavailable:
        """Return the error of a look-up without a result: one value may be at fault, if it is Intercom that says so."""
        words = f"the look-up was refused: {self.words}"
        if "errors" in self.body:
            return Refused(words, status=self.status)
        return Unavailable(words, status=self.status)


def read(response: Response, promised: str | None = "id") -> Answer:
    """
    Return the answer in ``response``: an object with the key ``promised`` (None: 202 and no body), or a refusal.

    :raises Unanswered: it is neither, so somebody else answered, or only half of it arrived.
    """
    if not response.ok:
        body = response.json_object()
        errors = body.get("errors")
        listed = isinstance(errors, list) and all(isinstance(error, dict) for error in errors)
        return Answer(response.status, body if listed else {})
    if promised is None and response.status == 202:
        return Answer(202, {})
    body = response.json()
    if not isinstance(body, dict) or promised not in body:
        raise Unanswered(f"HTTP {response.status} with JSON that is not Intercom's", status=response.status)
    return Answer(response.status, body)


def ask(request: Request, promised: str | None = "id") -> Exchange[Answer]:
    """Exchange of a request that may be repeated; nothing comes of one whose answers are lost."""
    return asking.look(request, partial(read, promised=promised))


def ask_once(request: Request) -> Exchange[tuple[Answer, bool]]:
    """The same of a request that is answered otherwise the second time: a second create conflicts."""
    return asking.ask_once(request, read, asking.look)


def contact_path(contact_id: str, action: str = "") -> str:
    """Return the path of a contact."""
    return f"/contacts/{quote(contact_id, safe='')}{action}"


def reset_s(response: Response) -> float | None:
    """Return the seconds until the window of the rate limit ends, by X-RateLimit-Reset."""
    reset = response.number("x-ratelimit-reset")
    if reset is None:
        return None
    now = time.time()
    date = email.utils.parsedate_tz(response.headers.get("date", ""))
    # Our clock is the finer one as long as it agrees with Intercom's; in windows of ten seconds a second counts.
    if date and abs(email.utils.mktime_tz(date) - now) > _CLOCK_SKEW_S:
        now = email.utils.mktime_tz(date)
    return max(0.0, reset - now)
