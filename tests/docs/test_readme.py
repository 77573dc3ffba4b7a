"""What the README and the pages behind it tell people to import is there, under these names."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
LINKS = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text())]
IMPORTS = sorted(
    {
        (node.module, alias.name)
        for block in BLOCKS
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_shown_compiles(block: str) -> None:
    compile(block, "page", "exec")


@pytest.mark.parametrize(("module", "name"), IMPORTS)
def test_what_is_imported_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
def test_what_is_linked_is_there(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


def test_pytest_is_told_of_the_fixtures() -> None:
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    for name, module in plugins.items():
        assert name == module
        assert "census_connect" in vars(importlib.import_module(module))
