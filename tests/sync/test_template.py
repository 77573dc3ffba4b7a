from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_census import destinations
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.mapping import Mapper
from airflow_provider_census.sync.template import Template
from airflow_provider_census.sync.values import Record
from tests.sync.support import APPEND, UPSERT, Rig, Tiny, Users, bound

ROW = {"id": "k", "first": "Ada", "last": None, "amount": 5, "tags": ["a", "b"], "data": {"x": 1}, "at": None}


def render(template: Any, destination: Any = None, **row: Any) -> Any:
    """Return the value of the field, or the reason why the row is invalid."""
    values = {**ROW, **row}
    destination = destination or Tiny("record", UPSERT)
    field = "blocks" if destination.name == "slack" else "f"
    declared: dict[str, Any] = {field: Template(template)}
    if destination.name == "slack":
        declared["text"] = "first"
    mapped = Mapper(declared, "id", list(values), destination)(list(values.values()))
    return mapped.fields[field] if isinstance(mapped, Record) else mapped.reason


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ first }} {{ last }}!", "Ada !"),
        ("{{ amount * 100 }}", 500),
        ("{{ amount * 100 }} ct", "500 ct"),
        ("{{ -amount }}", -5),
        ("{{ first }}", "Ada"),
        ("{{ last }}", None),
        ("{{ last or 'nobody' }}", "nobody"),
        ("{{ amount > 3 }}", True),
        ("{{ tags }}", ["a", "b"]),
        ("{{ tags | join('-') }}", "a-b"),
        ("{{ data.x }}", 1),
        ("{{ data['x'] }}", 1),
        ("{{ {'y': amount} }}", {"y": 5}),
        ("{% if amount > 3 %}big{% else %}small{% endif %}", "big"),
        ("{% for tag in tags %}{{ tag }},{% endfor %}", "a,b,"),
        ("no template", "no template"),
        ("", ""),
        ("{{ 'a' ~ first }}", "aAda"),
        (7, 7),
        (None, None),
        ([{"a": "{{ first }}", "b": ["{{ amount }}", True]}], [{"a": "Ada", "b": [5, True]}]),
        ({"{{ first }}": 1}, {"{{ first }}": 1}),
        ("{{ FIRST }}", "Ada"),
    ],
)
def test_a_template_gives_a_value(template: Any, value: Any) -> None:
    assert render(template) == value


def test_numbers_and_dates_come_as_the_destination_takes_them() -> None:
    assert render("{{ amount }}", amount=Decimal("19.90")) == 19.9
    assert render("at {{ at }}", at=dt.datetime(2024, 1, 1)) == "at 2024-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "template",
    [
        "{{ first.__class__ }}",
        "{{ first.__class__.__mro__ }}",
        "{{ ''.__class__ }} text",
        "{{ tags.append(1) or tags.__init__.__globals__ }}",
        "{{ first.format.__globals__ }}",
        "{{ '{0.__class__}'.format(first) }}",
        "{{ data | attr('__class__') }}",
        "{% set x = first.__class__ %}{{ x }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    assert "template failed" in str(render(template))


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ data.nope }}", "UndefinedError"),
        ("{{ 1 / (amount - 5) }}", "ZeroDivisionError"),
        ("{{ first + amount }}", "TypeError"),
        ("{{ first + amount }} text", "TypeError"),
        ("{{ first.nope() }}", "UndefinedError"),
        ("{{ first | round }}", "TypeError"),
        ("{{ first.encode('nope') }}", "LookupError"),
    ],
)
def test_a_template_that_fails_on_a_row_makes_that_row_invalid(template: str, error: str) -> None:
    assert render(template) == f"a template failed on this row ({error})"


@pytest.mark.parametrize("template", ["{{ first", "{% if %}", "{{ first | nope }}", "{{ first is nope }}", "{{ }}"])
def test_a_template_that_is_not_jinja_is_refused_before_any_row(template: str) -> None:
    with pytest.raises(ConfigError, match="is not valid Jinja"):
        render(template)


def test_a_column_the_model_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match=r"'nope'.*'first'"):
        render("{{ first }}{{ nope }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ first }}",
        "Hello {{ first }}",
        "{{ first | upper }}",
        "{{ [first] | join }}",
        "{{ [first] }}",
        "{{ (first, 1) }}",
        "{{ {'text': first} }}",
        "{{ tags }}",
        {"type": "section", "text": {"type": "mrkdwn", "text": "*{{ first }}*"}},
    ],
)
def test_text_of_a_row_is_no_markup_at_slack_however_a_template_brings_it(template: Any) -> None:
    value = render(template, bound("slack", "#general", APPEND), first="<!channel>", tags=["<!channel>"])
    assert "<!channel" not in str(value).lower()
    assert "&lt;!channel&gt;" in str(value).lower()


def test_markup_of_the_author_stays_markup(rig: Rig, users: Users) -> None:
    users.add(["r1"], t=1, name="<!here> & co")
    api = rig.sandbox["slack"]
    api.posts_per_s = None
    slack = Rig(rig.sandbox, rig.source, destinations.get("slack"), delta=rig.settings["delta"])
    mapping = {"text": Template("<https://x.com|{{ name }}> *{{ t }}*")}
    assert slack.run(object="#general", behavior=APPEND, mapping=mapping).counts == {"sent": 1}
    assert api.texts("general") == ["<https://x.com|&lt;!here&gt; &amp; co> *1*"]
