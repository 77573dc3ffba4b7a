"""
The contract of a destination, as tests.

A destination is done when a subclass of :class:`DestinationContract` passes. The subclass gives data alone: for each
object a :class:`~.subject.Subject`, which makes records and reads what the stand-in holds. The cases run over real HTTP
against the stand-in in :mod:`airflow_provider_census.sandbox`::

    from airflow_provider_census.testing.contract import DestinationContract
    from airflow_provider_census.testing.subject import Subject

    class TestAcmeContract(DestinationContract):
        name = "acme"
        subjects = (
            Subject(
                object="contact",
                fields=lambda n: {"name": f"Ann {n}", "address.city": "Brno"},
                held=lambda api: api.contacts.values(),
                writes="P* /v1/contacts*",
                deletes="DELETE /v1/contacts/*",
                text="name",
                odd={"vip": False, "tags": ["a", "b"], "address.city": None},
                poison={"email": "no address"},
                words="email is not valid",
                invalid={"name": "x" * 256},
            ),
        )

        def arrange(self, api):     # only if something must be there before
            api.add_company("Row-0")

Every behavior of every subject is a case. What holds for all of them: each record has exactly one result; what is
reported accepted is there once, with its values; what is reported refused is not there; nothing that could double is
sent twice. The cases are in :mod:`airflow_provider_census.testing.cases`, by what they are about.

What an API cannot do is said in the subject (``tells_absence=False``), never by leaving a case out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from airflow_provider_census.sandbox.core import Sandbox
from airflow_provider_census.sandbox.core import get as stand_in
from airflow_provider_census.testing.bench import Bench, Door
from airflow_provider_census.testing.cases.arrival import Arrival, Repetition
from airflow_provider_census.testing.cases.declaration import Connection, Declaration
from airflow_provider_census.testing.cases.look_up import LookUp
from airflow_provider_census.testing.cases.nonsense import Nonsense
from airflow_provider_census.testing.cases.refusal import Denial, Refusal
from airflow_provider_census.testing.cases.run import Run
from airflow_provider_census.testing.cases.select import select
from airflow_provider_census.testing.cases.silence import Backpressure, Silence
from airflow_provider_census.testing.subject import Case, Subject, cases_of


class DestinationContract(
    Declaration, Connection, Arrival, Repetition, Refusal, Denial, Silence, Backpressure, Nonsense, LookUp, Run
):
    """Base of the test class of every destination; see the module."""

    name: ClassVar[str]
    """The destination's, and its stand-in's."""
    subjects: ClassVar[tuple[Subject, ...]]
    """At least one for each object."""
    headers: ClassVar[tuple[str, ...]] = ()
    """What it reads in the headers of answers, besides dates and those of rates."""
    answers_alike: ClassVar[bool] = False
    """Whether the API answers good and bad credentials alike: then the connection test asks it nothing."""

    def arrange(self, api: Any) -> None:
        """Put into the empty stand-in what must be there before any record."""

    def connection(self, sandbox: Sandbox) -> Mapping[str, Any]:
        """Return the connection to the stand-in. Override it where there is a second way in."""
        return sandbox.connection(self.name)

    # --- the machinery ---------------------------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once for each case it is for."""
        if "case" in metafunc.fixturenames:
            cases = select(metafunc.function, cases_of(self.name, self.subjects))
            none = pytest.param(None, id="none", marks=pytest.mark.skip("no object of the destination has such a case"))
            metafunc.parametrize("case", cases or [none], ids=str)

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[Sandbox]:
        with Sandbox([stand_in(cls.name)]) as sandbox:
            yield sandbox

    @pytest.fixture
    def sandbox(self, server: Sandbox) -> Sandbox:
        server.reset()
        self.arrange(server[self.name])
        return server

    @pytest.fixture
    def door(self, sandbox: Sandbox) -> Door:
        return Door.of(self.name, self.connection(sandbox))

    @pytest.fixture
    def bench(self, case: Case, sandbox: Sandbox, door: Door) -> Iterator[Bench]:
        bench = Bench(case, sandbox, door)
        yield bench
        bench.close()
