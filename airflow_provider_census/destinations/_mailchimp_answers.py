"""What Mailchimp answers, and how often a request is put before its answer is taken as lost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NotRequired, Required, TypedDict, TypeVar

from airflow_provider_census.destinations import _asking as asking
from airflow_provider_census.errors import Unanswered
from airflow_provider_census.transport.message import Exchange, Request, Response

# Mailchimp has no error codes, and `type` is one constant URL: titles and details are all there is to tell them apart.
_MEANINGS = {
    "compliance state": "only the person can subscribe again; status 'pending' sends them the question",
    "permanently deleted": "no API brings it back; the person has to use a form of Mailchimp's",
    "forgotten": "no API brings it back; the person has to use a form of Mailchimp's",
    'status is "cleaned': "mail to this address bounced",
    "already a list member": "another member has this address",
}


class Empty(TypedDict, total=False):
    """Nothing is promised but 204, which tells it all."""


class Health(TypedDict):
    """The answer to a ping."""

    health_status: str


class Account(TypedDict):
    """The account behind a key."""

    account_name: str


class _Audience(TypedDict):
    id: str
    name: str


class Audiences(TypedDict):
    """Those of an account."""

    lists: list[_Audience]


class Tag(TypedDict):
    """A tag of a member."""

    name: str


class Member(TypedDict):
    """What is relied on in a member, of which Mailchimp shows as much as it is asked for."""

    status: str
    merge_fields: NotRequired[dict[str, Any] | None]
    tags: NotRequired[list[Tag] | None]
    tags_count: NotRequired[int | None]


class Written(Member):
    """The answer to a write."""

    email_address: str


class RefusedMember(TypedDict, total=False):
    """An error of one member in a batch."""

    email_address: str | None
    error: str | None
    error_code: str | None
    field: str | None
    field_message: str | None


class Batch(TypedDict, total=False):
    """What became of many members."""

    new_members: list[Written] | None
    updated_members: list[Written] | None
    total_created: int | None
    total_updated: int | None
    errors: Required[list[RefusedMember]]


class _Choices(TypedDict, total=False):
    choices: list[str] | None


class MergeField(TypedDict):
    """A merge field as the API describes it."""

    tag: str
    type: str
    required: NotRequired[bool | None]
    options: NotRequired[_Choices | None]


class MergeFields(TypedDict):
    """Those of an audience."""

    merge_fields: list[MergeField]


class _FieldError(TypedDict, total=False):
    field: str | None
    message: str | None


class Problem(TypedDict, total=False):
    """The document that Mailchimp refuses with."""

    title: str | None
    detail: str | None
    errors: list[_FieldError] | None


Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Answer(asking.Answer[Body]):
    """
    An answer of Mailchimp, or a refusal of whatever stands before it.

    :param problem: what a refusal says.
    """

    problem: Problem

    @property
    def title(self) -> str:
        """The title of Mailchimp's problem document; empty if the refusal is not Mailchimp's."""
        return self.problem.get("title") or ""

    @property
    def absent(self) -> bool:
        """Whether Mailchimp says that there is no such thing; a 404 without its words says nothing about that."""
        return self.status == 404 and bool(self.title)

    @property
    def words(self) -> str:
        """What the problem document says."""
        if not self.title:
            return f"HTTP {self.status}, without a word of Mailchimp"
        fields = ", ".join(f"{e.get('field')}: {e.get('message')}" for e in self.problem.get("errors") or ())
        return explain(": ".join(filter(None, (self.title, self.problem.get("detail"), fields))))


def explain(text: str) -> str:
    """Return Mailchimp's words, and what can be done where they leave that open."""
    meaning = next((m for phrase, m in _MEANINGS.items() if phrase in text.lower()), None)
    return f"{text} ({meaning})" if meaning else text


def read(response: Response, promised: type[Body]) -> Answer[Body]:
    """
    Return the answer in ``response``: of the form ``promised``, or a refusal.

    :raises Unanswered: it is neither, so somebody else answered, or only half of it arrived.
    """
    if not response.ok:
        return Answer(response.status, promised(), response.told(Problem))
    if promised is not Empty:
        return Answer(response.status, response.read(promised), {})
    if response.status != 204:
        raise Unanswered(f"HTTP {response.status} where Mailchimp answers 204", status=response.status)
    return Answer(response.status, promised(), {})


def ask(request: Request, promised: type[Body]) -> Exchange[Answer[Body]]:
    """Exchange of a request that may be repeated."""
    return asking.ask(request, partial(read, promised=promised))


def look(request: Request, promised: type[Body]) -> Exchange[Answer[Body]]:
    """Exchange of a request that only reads."""
    return asking.look(request, partial(read, promised=promised))


def ask_once(request: Request, promised: type[Body]) -> Exchange[tuple[Answer[Body], bool]]:
    """Exchange of a request that is answered otherwise the second time: a second create finds the member."""
    return asking.ask_once(request, partial(read, promised=promised))
