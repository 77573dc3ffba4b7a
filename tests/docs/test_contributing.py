"""The guide shows the code that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(r"^`(\S+)`\n\n```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_guide_shows_every_file_a_destination_needs() -> None:
    assert [path.split("/")[1] for path, _ in SHOWN] == [
        *("destinations", "hooks", "get_provider_info.py", "sandbox", "destinations"),
    ]


def flush(code: str) -> str:
    """Return code without its indentation."""
    return re.sub(r"^ +", "", code, flags=re.MULTILINE)


@pytest.mark.parametrize(("path", "shown"), SHOWN, ids=[path for path, _ in SHOWN])
def test_the_guide_shows_a_file_as_it_is(path: str, shown: str) -> None:
    code = flush((ROOT / path).read_text())
    for part in flush(shown).split("# …"):
        assert part.strip() in code, f"{path} has changed; show it in CONTRIBUTING.md as it is now"
