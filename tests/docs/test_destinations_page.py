"""The documents say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_destinations_is_what_the_code_declares() -> None:
    assert (ROOT / "docs" / "destinations.md").read_text() == _generator().page(), "run python docs/generate.py"


def test_the_table_in_the_readme_is_what_the_code_declares() -> None:
    assert (ROOT / "README.md").read_text() == _generator().readme(), "run python docs/generate.py"
