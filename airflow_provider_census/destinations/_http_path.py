"""Paths with the values of a record in them. A value stays in its place, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

_NAME = re.compile(r"\{([^{}]*)\}")


class Path:
    """
    A path below the host, in which ``{id}`` and ``{field}`` stand for values of a record; a query may follow.

    :raises ValueError: it is none.
    """

    def __init__(self, text: str) -> None:
        self.names = tuple(_NAME.findall(text))
        bare = _NAME.sub("x", text)
        if not bare.startswith("/") or bare.startswith("//") or re.search(r"[\s#{}]", bare) or "" in self.names:
            raise ValueError("must read like /users/{id}: a path without host and fragment, names of fields in braces")
        if _climbs(bare):
            raise ValueError("must not have the parts . or ..")
        self._text = text

    def __str__(self) -> str:
        return self._text

    def fill(self, value: Callable[[str], Any]) -> str:
        """
        Return the path of one record.

        :param value: returns what stands for a name.
        :raises ValueError: a value is missing, or cannot stand in a path.
        """
        path = _NAME.sub(lambda match: _quoted(match[1], value(match[1])), self._text)
        if _climbs(path):
            raise ValueError("a part of the path would be . or .., which leads to another path")
        return path


def _quoted(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise ValueError(f"{name} stands in the path, and is missing, empty, or neither text nor number")
    return quote(str(value), safe="")


def _climbs(path: str) -> bool:
    """Return whether it has parts that clients resolve; quoting leaves dots as they are."""
    return any(part in (".", "..") for part in path.partition("?")[0].split("/"))
