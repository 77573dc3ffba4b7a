"""Which cases a test is for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from airflow_provider_census.testing.subject import Case

Test = TypeVar("Test", bound=Callable[..., Any])

_CONDITION = "census_condition"
_KIND = "census_kind"


def only(condition: Callable[[Case], bool]) -> Callable[[Test], Test]:
    """Run a test for the cases of which ``condition`` is true."""
    return lambda test: _mark(test, _CONDITION, condition)


def one_of_each(kind: Callable[[Case], Hashable]) -> Callable[[Test], Test]:
    """Run a slow test for the first case of each kind."""
    return lambda test: _mark(test, _KIND, kind)


def select(test: Callable[..., Any], cases: Iterable[Case]) -> list[Case]:
    """Return the cases that ``test`` is for."""
    condition = getattr(test, _CONDITION, None)
    wanted = [case for case in cases if condition is None or condition(case)]
    kind = getattr(test, _KIND, None)
    if kind is None:
        return wanted
    first: dict[Hashable, Case] = {}
    for case in wanted:
        first.setdefault(kind(case), case)
    return list(first.values())


def _mark(test: Test, name: str, value: object) -> Test:
    setattr(test, name, value)
    return test
