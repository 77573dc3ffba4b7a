"""What an answer of some API says, in the terms its author has declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_census.destinations._http_options import Errors, Success
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import Unanswered
from airflow_provider_census.sync.paths import get
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.message import Response

# Where APIs put what a person shall read, the more telling names first (RFC 9457 has detail and title).
_WORDS = ("message", "detail", "error_description", "error", "reason", "title", "errors")


def require_success(success: Success, response: Response, *, errors: Errors | None = None) -> Any:
    """
    Return the JSON of an answer that says the request was accepted, None where it has none.

    :raises Refused: it says the opposite.
    :raises Unanswered: it says neither.
    """
    status = response.status
    if not response.ok:
        raise Refused(said(response), status=status)
    if status not in success.status if success.status else status == 207:
        raise Unanswered(f"HTTP {status} is none of the statuses of options['success']", status=status)
    if success.text:
        if response.text != success.text:
            raise Unanswered(f"HTTP {status} without the text of options['success']", status=status)
        return None
    answer = response.json() if response.body else None
    if success.path and (answer is not None or status not in (204, 205)):
        found = _at(answer, success.path)
        if found is None:
            raise Unanswered(f"HTTP {status} with nothing at {success.path}", status=status)
        if isinstance(found, (dict, list)):
            raise Unanswered(f"HTTP {status} with a list or an object at {success.path}", status=status)
        if not _same(found, success.value):
            raise Refused(said(response), status=status)
    elif not success.path and not (errors and _at(answer, errors.path)) and _complains(answer):
        raise Unanswered(
            f"{said(response)}: this looks like a refusal; say by options['success'] or ['errors'] what it means",
            status=status,
        )
    return answer


def results(
    errors: Errors | None, answer: Any, batch: Sequence[Operation], accepted: RowResult
) -> list[RowResult | None]:
    """Return a result for each record of an accepted request: ``accepted``, save those it names as refused."""
    found: list[RowResult | None] = [accepted] * len(batch)
    refused = _at(answer, errors.path) if errors else None
    if errors is None or refused is None:
        return found
    if not isinstance(refused, list):
        raise Unanswered(f"HTTP {accepted.status} with no list at {errors.path}", status=accepted.status)
    nameless = False
    for error in refused:
        at = 0 if len(batch) == 1 else _position(errors, error, batch)
        if at is None:
            nameless = True
        else:
            found[at] = rejected(_reason(errors, error), accepted.status)
    if nameless:  # it may be about any of those that are not named
        found = [None if result is accepted else result for result in found]
    return found


def said(response: Response) -> str:
    """Return the status and the API's own words: of JSON what is for people, since the rest may be the row."""
    try:
        words = _words(response.json())
    except Unanswered:
        text = response.text
        words = "" if text.startswith("<") else text[:200]
    return f"HTTP {response.status} {words}".rstrip()


def _at(answer: Any, path: str) -> Any:
    return get(answer, path) if isinstance(answer, Mapping) else None


def _same(found: Any, wanted: Any) -> bool:
    # True == 1 in Python, and nowhere else.
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _complains(answer: Any) -> bool:
    """Return whether an answer nobody has declared looks like one that many APIs give together with a 200."""
    if not isinstance(answer, Mapping):
        return False
    return any(answer.get(name) is False for name in ("ok", "success")) or any(
        answer.get(name) for name in ("error", "errors")
    )


def _position(errors: Errors, error: Any, batch: Sequence[Operation]) -> int | None:
    """Return which record of the batch an error is about, None if it does not say."""
    if errors.index:
        number = _at(error, errors.index)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number - errors.first < len(batch):
            return number - errors.first
    elif errors.id:
        id = _at(error, errors.id)
        return next((at for at, operation in enumerate(batch) if operation.record.id == str(id)), None)
    return None


def _reason(errors: Errors, error: Any) -> str:
    words = _at(error, errors.reason) if errors.reason else None
    return _words(words if words is not None else error) or "refused without a reason"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return next(filter(None, (_words(value.get(name)) for name in _WORDS)), "")
    if isinstance(value, list):
        return _words(value[0]) if value else ""
    return value.strip() if isinstance(value, str) else ""
