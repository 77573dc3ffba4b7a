"""What Mailchimp answers, and how often a request is put before its answer is taken as lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_census.destinations import _asking as asking
from airflow_provider_census.destinations.refusal import rejected
from airflow_provider_census.errors import Unanswered
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.message import Exchange, Request, Response

# Mailchimp has no error codes, and `type` is one constant URL: titles and details are all there is to tell them apart.
_MEANINGS = {
    "compliance state": "only the person can subscribe again; status 'pending' sends them the question",
    "permanently deleted": "no API brings it back; the person has to use a form of Mailchimp's",
    "forgotten": "no API brings it back; the person has to use a form of Mailchimp's",
    'status is "cleaned': "mail to this address bounced",
    "already a list member": "another member has this address",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Mailchimp, or a refusal of whatever stands before it."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    def title(self) -> str:
        """The title of Mailchimp's problem document; empty if the refusal is not Mailchimp's."""
        return str(self.body.get("title") or "")

    @property
    def absent(self) -> bool:
        """Whether Mailchimp says that there is no such thing; a 404 without its words says nothing about that."""
        return self.status == 404 and bool(self.title)

    @property
    def words(self) -> str:
        """What the problem document says."""
        if not self.title:
            return f"HTTP {self.status}, without a word of Mailchimp"
        errors = self.body.get("errors") or ()
        fields = ", ".join(f"{e.get('field')}: {e.get('message')}" for e in errors if isinstance(e, dict))
        return explain(": ".join(filter(None, (self.title, str(self.body.get("detail") or ""), fields))))

    def rejected(self) -> RowResult:
        """Return the rejection in Mailchimp's words."""
        return rejected(self.words, self.status)


def explain(text: str) -> str:
    """Return Mailchimp's words, and what can be done where they leave that open."""
    meaning = next((m for phrase, m in _MEANINGS.items() if phrase in text.lower()), None)
    return f"{text} ({meaning})" if meaning else text


def read(response: Response, promised: str | None) -> Answer:
    """
    Return the answer in ``response``: an object with the key ``promised`` (None: 204 and no body), or a refusal.

    :raises Unanswered: it is neither, so somebody else answered, or only half of it arrived.
    """
    if not response.ok:
        return Answer(response.status, response.json_object())
    if promised is None and response.status == 204:
        return Answer(204, {})
    body = response.json()
    if not isinstance(body, dict) or promised not in body:
        raise Unanswered(f"HTTP {response.status} with JSON that is not Mailchimp's", status=response.status)
    return Answer(response.status, body)


def ask(request: Request, promised: str | None) -> Exchange[Answer]:
    """Exchange of a request that may be repeated."""
    return asking.ask(request, partial(read, promised=promised))


def look(request: Request, promised: str) -> Exchange[Answer]:
    """Exchange of a request that only reads."""
    return asking.look(request, partial(read, promised=promised))


def ask_once(request: Request, promised: str | None) -> Exchange[tuple[Answer, bool]]:
    """Exchange of a request that is answered otherwise the second time: a second create finds the member."""
    return asking.ask_once(request, partial(read, promised=promised))
