"""What a destination declares fits together, and a connection is what it should be."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.errors import AuthError, CensusError, ConfigError
from airflow_provider_census.sandbox.core import Fault, Sandbox
from airflow_provider_census.testing.bench import Bench, Door
from airflow_provider_census.testing.cases.select import only
from airflow_provider_census.testing.subject import Subject


class Declaration:
    """Class data: names, rates, objects."""

    name: ClassVar[str]
    subjects: ClassVar[tuple[Subject, ...]]

    def test_the_destination_is_found_by_the_name_of_its_module(self) -> None:
        cls = destinations.get(self.name)
        assert cls.name == self.name
        assert cls.__module__.rpartition(".")[2] == self.name

    def test_rates_and_sizes_are_positive(self) -> None:
        cls = destinations.get(self.name)
        assert len({rate.name for rate in cls.rates}) == len(cls.rates) > 0
        assert all(rate.count > 0 and rate.per_s > 0 for rate in cls.rates)
        assert cls.concurrency >= 1
        assert cls.max_record_bytes > 0

    def test_every_object_has_behaviors_identifiers_and_fields(self) -> None:
        objects = destinations.get(self.name).objects
        assert _distinct(o.name for o in objects)
        for o in objects:
            assert _distinct(o.behaviors), o.name
            assert _distinct(i.name for i in o.identifiers), o.name
            assert _distinct(o.fields), o.name

    def test_required_fields_are_fields_or_identifiers(self) -> None:
        for o in destinations.get(self.name).objects:
            known = (*o.fields, *(i.name for i in o.identifiers))
            for group in o.required:
                for path in (group,) if isinstance(group, str) else group:
                    assert any(fnmatch.fnmatchcase(path, pattern) for pattern in known), f"{o.name}: {path}"

    def test_every_object_is_held_to_the_contract(self) -> None:
        cls = destinations.get(self.name)
        shown = [cls.object_type(subject.object) for subject in self.subjects]
        assert [o.name for o in cls.objects if not any(replace(s, name=o.name) == o for s in shown)] == []

    def test_what_is_not_offered_is_refused_with_the_names_of_what_is(self, bench: Bench) -> None:
        cls, subject, behavior = bench.door.cls, bench.subject, bench.case.behavior
        with pytest.raises(ConfigError, match=bench.destination.object.identifiers[0].name):
            cls(subject.object, behavior, "no such identifier")
        with pytest.raises(ConfigError, match="on_uncertain"):
            bench.case.bind(cls, no_such_option=1)
        with pytest.raises(ConfigError, match="resend"):
            bench.case.bind(cls, on_uncertain="perhaps")

    def test_the_place_of_the_records_outlives_the_credentials_and_does_not_show_them(self, bench: Bench) -> None:
        door = bench.door
        constants = bench.case.record(0).fields
        places = {
            bench.destination.place(cls.endpoint(credentials), constants)
            for cls, credentials in ((door.cls, door.credentials), (door.spoiled().cls, door.spoiled().credentials))
        }
        assert len(places) == 1
        (place,) = places
        assert place
        assert not any(secret in place for secret in door.cls.endpoint(door.credentials).secrets)


class Connection:
    """Credentials: what is wrong with them is said at once and clearly, and they are shown nowhere."""

    name: ClassVar[str]
    answers_alike: ClassVar[bool]

    def test_good_credentials_are_confirmed_without_changing_anything(self, door: Door, sandbox: Sandbox) -> None:
        before = sandbox[self.name].state()
        client = door.client()
        found = client.run(door.cls.test())
        client.close()
        assert found.strip()
        assert door.password not in found
        assert sandbox[self.name].state() == before

    def test_bad_credentials_are_refused_by_the_test_without_showing_them(self, door: Door) -> None:
        if self.answers_alike:
            pytest.skip("the API answers good and bad credentials alike")
        spoiled = door.spoiled()
        client = spoiled.client()
        with pytest.raises(AuthError) as refused:
            client.run(spoiled.cls.test())
        client.close()
        assert door.password not in str(refused.value)
        assert refused.value.__cause__ is None, "the cause of an error is logged with it"

    def test_a_web_page_is_not_taken_for_the_api(self, door: Door, sandbox: Sandbox) -> None:
        sandbox.inject(Fault(api=self.name, html=True, times=100))
        client = door.client()
        if self.answers_alike:
            client.run(door.cls.test())
            assert sandbox.ledger == [], "an answer would be taken for a confirmation"
        else:
            with pytest.raises(CensusError):
                client.run(door.cls.test())
        client.close()

    def test_a_missing_password_is_named(self, door: Door) -> None:
        with pytest.raises(ConfigError, match="password"):
            door.cls.endpoint(replace(door.credentials, password="  "))

    def test_a_host_that_is_no_address_is_named(self, door: Door) -> None:
        for host in ("localhost", "ftp://localhost", "http://user:secret@localhost"):
            with pytest.raises(ConfigError, match="host") as refused:
                door.cls.endpoint(replace(door.credentials, host=host))
            assert "secret" not in str(refused.value)

    def test_the_password_is_known_as_a_secret_and_not_shown(self, door: Door) -> None:
        endpoint = door.cls.endpoint(door.credentials)
        assert door.password in endpoint.secrets
        assert door.password not in repr(endpoint)
        assert door.password not in repr(door.credentials)
        assert endpoint.redact(f"the key {door.password} is wrong") == "the key *** is wrong"

    @only(lambda case: case.subject.identifier is None)
    def test_the_first_identifier_is_the_default(self, bench: Bench) -> None:
        assert bench.destination.identifier == bench.destination.object.identifiers[0]


def _distinct(values: Iterable[object]) -> bool:
    """Return whether there are values, none of them twice."""
    values = list(values)
    return 0 < len(values) == len(set(values))
