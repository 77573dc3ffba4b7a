"""What Intercom answers, and how often a request is put before its answer is taken as lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import NotRequired, TypedDict, TypeVar
from urllib.parse import quote

from airflow_provider_census.destinations import _asking as asking
from airflow_provider_census.destinations.refusal import Refused
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.message import Exchange, Request, Response
from airflow_provider_census.transport.reading import Id

_CLOCK_SKEW_S = 2


class Empty(TypedDict, total=False):
    """Nothing is promised but 202, which tells it all."""


class Thing(TypedDict):
    """What was written or found; relied on is its id alone."""

    id: Id


class _Avatar(TypedDict, total=False):
    image_url: str | None


class Contact(Thing):
    """What is relied on in a contact."""

    role: NotRequired[str | None]
    email: NotRequired[str | None]
    external_id: NotRequired[str | None]
    avatar: NotRequired[_Avatar | None]


class _Next(TypedDict):
    starting_after: str


class _Pages(TypedDict, total=False):
    next: _Next | None


class Contacts(TypedDict):
    """A page of a search."""

    data: list[Contact]
    pages: NotRequired[_Pages | None]


class _Plan(TypedDict, total=False):
    name: str | None


class Company(Thing):
    """What is relied on in a company."""

    company_id: NotRequired[str | None]
    plan: NotRequired[_Plan | None]


class Kind(TypedDict):
    """What an answer is."""

    type: str


class Companies(Kind):
    """A page of a list."""

    data: list[Company]


class App(TypedDict, total=False):
    """A workspace."""

    name: str | None
    region: str | None


class Me(Thing):
    """Whose token it is."""

    app: NotRequired[App | None]


class _Attribute(TypedDict):
    full_name: str
    api_writable: NotRequired[bool | None]
    archived: NotRequired[bool | None]


class Attributes(TypedDict):
    """The data attributes of a workspace."""

    data: list[_Attribute]


class _Error(TypedDict, total=False):
    code: str | None
    message: str | None


class _Refusal(TypedDict, total=False):
    errors: list[_Error]


Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Answer(asking.Answer[Body]):
    """
    An answer of Intercom, or a refusal of whatever stands before it.

    :param errors: the list in a refusal, None where Intercom gave none.
    """

    errors: list[_Error] | None = None

    @property
    def absent(self) -> bool:
        """Whether Intercom says that there is no such thing; a 404 without its error list says nothing about that."""
        return self.status == 404 and self.errors is not None

    @property
    def words(self) -> str:
        """What the error list says."""
        if not self.errors:
            return f"HTTP {self.status}, without a word of Intercom"
        return "; ".join(error.get("message") or error.get("code") or "an error without words" for error in self.errors)

    def refused_look_up(self) -> Refused | Unavailable:
        """Return the error of a look-up without a result: one value may be at fault, if it is Intercom that says so."""
        words = f"the look-up was refused: {self.words}"
        if self.errors is not None:
            return Refused(words, status=self.status)
        return Unavailable(words, status=self.status)


def read(response: Response, promised: type[Body]) -> Answer[Body]:
    """
    Return the answer in ``response``: of the form ``promised``, or a refusal.

    :raises Unanswered: it is neither, so somebody else answered, or only half of it arrived.
    """
    if not response.ok:
        return Answer(response.status, promised(), response.told(_Refusal).get("errors"))
    if promised is not Empty:
        return Answer(response.status, response.read(promised))
    if response.status != 202:
        raise Unanswered(f"HTTP {response.status} where Intercom answers 202", status=response.status)
    return Answer(response.status, promised())


def read_companies(response: Response) -> Answer[list[Company]]:
    """Return the companies in ``response``: a list, or the one that was asked for."""
    if not response.ok:
        return Answer(response.status, [], read(response, Kind).errors)
    # The description shows a list; connectors read one object from it (github rudderlabs/rudder-transformer).
    listed = response.read(Kind)["type"] == "list"
    return Answer(response.status, response.read(Companies)["data"] if listed else [response.read(Company)])


def look(request: Request, promised: type[Body]) -> Exchange[Answer[Body]]:
    """Exchange of a request of which nothing comes if its answers are lost."""
    return asking.look(request, partial(read, promised=promised))


def look_for_companies(request: Request) -> Exchange[Answer[list[Company]]]:
    """The same where companies are asked for."""
    return asking.look(request, read_companies)


def write(request: Request, promised: type[Body]) -> Exchange[Answer[Body]]:
    """Exchange of a write that may be repeated."""
    return asking.ask(request, partial(read, promised=promised))


def write_once(request: Request) -> Exchange[tuple[Answer[Thing], bool]]:
    """The same of a request that is answered otherwise the second time: a second create conflicts."""
    return asking.ask_once(request, partial(read, promised=Thing))


def contact_path(contact_id: str, action: str = "") -> str:
    """Return the path of a contact."""
    return f"/contacts/{quote(contact_id, safe='')}{action}"


def reset_s(response: Response) -> float | None:
    """Return the seconds until the window of the rate limit ends, by X-RateLimit-Reset."""
    reset = response.number("x-ratelimit-reset")
    if reset is None:
        return None
    now = time.time()
    date = verdict.date(response.headers.get("date", ""))
    # Our clock is the finer one as long as it agrees with Intercom's; in windows of ten seconds a second counts.
    if date is not None and abs(date - now) > _CLOCK_SKEW_S:
        now = date
    return max(0.0, reset - now)
