"""
Writes ``docs/destinations.md``, with ``docs/notes``, and the README's table: ``python docs/generate.py``.

They say what the destinations declare; a test fails when they do not.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_census import destinations
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import ObjectType
from airflow_provider_census.get_provider_info import get_provider_info

PAGE = Path(__file__).with_name("destinations.md")
NOTES = Path(__file__).with_name("notes")
README = Path(__file__).parents[1] / "README.md"
_MARKS = ("<!-- made by docs/generate.py -->", "<!-- until here -->")

_HEAD = """# Destinations

Made from the code and from `docs/notes` by `python docs/generate.py`; edit those.

What an answer means, unless a destination says otherwise: 401 and 403 stop the run, 408, 425, 429 and 503 are tried
again for every request, 500, 502, 504 and a lost answer only where sending twice is harmless (else the row is
`uncertain`), another 4xx about the records makes them `rejected` with the API's own words, and a batch refused as a
whole is halved until the record at fault is alone, as is one for which the API fails while it answers others. A
redirect or an invalid certificate means that the host is wrong.

The option `on_uncertain` is everybody's: `"hold"` (the default) lists a row that got no answer and never sends it again
by itself, `"resend"` would rather have it twice than not at all.

Where present values can be read, ``Snapshot(baseline="adopt")`` can compare with them and ``set="if_empty"`` leave them
alone. Objects without that line cannot be looked up.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_destination(cls, connection) for cls, connection in _all())])


def readme() -> str:
    """Return the README with the table as it should be."""
    before, rest = README.read_text().split(_MARKS[0])
    _, after = rest.split(_MARKS[1])
    rows = [
        "| connection type | object | behaviors | identifiers (first = default) |",
        "|---|---|---|---|",
        *(row for cls, connection in _all() for row in _rows(cls, connection["connection-type"])),
    ]
    return "\n".join([before + _MARKS[0], *rows, _MARKS[1] + after])


def _all() -> Iterator[tuple[type[Destination], dict[str, Any]]]:
    connections = {c["hook-class-name"].split(".")[-2]: c for c in get_provider_info()["connection-types"]}
    for name in destinations.names():
        yield destinations.get(name), connections[name]


def _rows(cls: type[Destination], connection: str) -> Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for kind in cls.objects:
        behaviors = ", ".join(b.value for b in kind.behaviors)
        identifiers = ", ".join(i.name for i in kind.identifiers)
        alike.setdefault((behaviors, identifiers), []).append(f"`{kind.name}`")
    first = f"[`{connection}`](docs/destinations.md#{cls.name})"
    for (behaviors, identifiers), names in alike.items():
        yield f"| {first} | {', '.join(names)} | {behaviors} | {identifiers} |".replace("|  |", "| |").replace(
            "<", "&lt;"
        )
        first = ""


def _destination(cls: type[Destination], connection: dict[str, Any]) -> str:
    about = inspect.getdoc(sys.modules[cls.__module__]) or ""
    lines = [
        f"## {cls.name}",
        "",
        about,
        "",
        (NOTES / f"{cls.name}.md").read_text(),
        f"**Connection** `{connection['connection-type']}`: {_fields(connection)}.",
        "",
    ]
    lines += [_object(o) for o in cls.objects]
    rates = ", ".join(f"{rate.name} {rate.count:,g} per {rate.per_s:g} s" for rate in cls.rates)
    allowed = f" of the {cls.most_in_flight} it allows" if cls.most_in_flight else ""
    lines += [f"**Paced at** {rates or 'no limit'}; at most {cls.concurrency} requests in flight{allowed}.", ""]
    return "\n".join(lines)


def _fields(connection: dict[str, Any]) -> str:
    behaviour = connection["ui-field-behaviour"]
    known = [f"{name} = {label}" for name, label in behaviour["relabeling"].items()]
    host = behaviour["placeholders"].get("host")
    known += [f"host = {host}"] if host else []
    for name, field in connection["conn-fields"].items():
        values = field["schema"].get("enum")
        known.append(f"extra `{name}`" + (f" ({', '.join(map(str, values))})" if values else ""))
    return "; ".join(known)


def _object(kind: ObjectType) -> str:
    required = [r if isinstance(r, str) else " or ".join(f"`{name}`" for name in r) for r in kind.required]
    rows = [
        ("behaviors", ", ".join(b.value for b in kind.behaviors)),
        ("identifiers (first = default)", ", ".join(f"`{i.name}`" for i in kind.identifiers)),
        ("fields", ", ".join(f"`{f}`" for f in kind.fields)),
        ("required", ", ".join(r if " or " in r else f"`{r}`" for r in required)),
        ("present values can be read of", _fetched(kind)),
        ("options", ", ".join(f"`{o}`" for o in (*kind.options, *Destination.common_options))),
    ]
    table = "\n".join(f"| {what} | {value} |" for what, value in rows if value)
    return f"| `{kind.name}` | |\n|---|---|\n{table}\n"


def _fetched(kind: ObjectType) -> str:
    left = [f"`{field}`" for field in kind.fields if field not in kind.fetched]
    if not kind.fetched:
        return ""
    return "all fields" + (f" but {', '.join(left)}" if left else "")


if __name__ == "__main__":
    PAGE.write_text(page())
    README.write_text(readme())
