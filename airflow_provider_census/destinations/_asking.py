"""
What all answers have in common, how often a request is put before its answer is taken as lost, and how far a listing is
followed.

``read`` turns a response into the answer of an API. It raises Unanswered for what is none: HTML of a proxy, or half of
an answer.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from airflow_provider_census.destinations.refusal import rejected
from airflow_provider_census.errors import Unanswered, Unavailable
from airflow_provider_census.sync.values import RowResult
from airflow_provider_census.transport.message import Exchange, Request, Response

_Answer = TypeVar("_Answer")
_Body = TypeVar("_Body")
Read = Callable[[Response], _Answer]


@dataclass(frozen=True, slots=True)
class Answer(abc.ABC, Generic[_Body]):
    """
    An answer of an API, or a refusal of whatever stands before it.

    :param body: empty in a refusal.
    """

    status: int
    body: _Body

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What a refusal says."""

    def rejected(self) -> RowResult:
        """Return the rejection in the words of the API."""
        return rejected(self.words, self.status)


def ask(request: Request, read: Read[_Answer]) -> Exchange[_Answer]:
    """
    Exchange of a request that may be repeated: an unreadable answer is asked for once more.

    :raises Unanswered: the second one is unreadable too; what was asked for may have been done.
    """
    try:
        return read((yield request))
    except Unanswered:
        pass  # nothing is lost: the request may be repeated
    return read((yield request))


class Pages:
    """
    The way through a listing. A cursor that was followed already would lead in circles.

    :param what: is listed, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._followed: set[str] = set()

    def follow(self, cursor: str) -> str:
        """
        Return ``cursor``, which is to be followed now.

        :raises Unavailable: it was followed before.
        """
        if cursor in self._followed:
            raise Unavailable(f"the pages of {self._what} lead back to one that was read")
        self._followed.add(cursor)
        return cursor


def look(request: Request, read: Read[_Answer]) -> Exchange[_Answer]:
    """
    Exchange of a request of which it does no harm that nobody knows whether it was carried out.

    :raises Unavailable: the answer is unreadable, twice.
    """
    try:
        return (yield from ask(request, read))
    except Unanswered as error:
        raise Unavailable(f"{request.method} {request.path}: {error}", status=error.status) from None


def ask_once(
    request: Request, read: Read[_Answer], again: Callable[[Request, Read[_Answer]], Exchange[_Answer]] = ask
) -> Exchange[tuple[_Answer, bool]]:
    """
    Exchange of a request that may be repeated but is then answered otherwise: a second create finds what is there, a
    second delete does not. Returns also whether an earlier answer was lost.

    :param again: how it is repeated.
    """
    try:
        return read((yield replace(request, idempotent=False))), False
    except Unanswered:
        return (yield from again(request, read)), True
