"""What a stand-in is: an API's routes over state that tests can read, and the rate limit it enforces."""

from __future__ import annotations

import abc
import importlib
import math
import pkgutil
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastapi import APIRouter
from fastapi.encoders import jsonable_encoder

from airflow_provider_census import sandbox
from airflow_provider_census.errors import ConfigError


class SandboxApi(abc.ABC):
    """
    A stateful stand-in of one API, as strict as the real one about credentials, shapes, sizes and limits.

    Subclasses keep their records in public attributes, their default credentials in documented class attributes, and
    their handlers ``async``: they run one at a time on the server's loop, so state needs no locks.
    """

    name: ClassVar[str]
    """Mounted at ``/<name>``: the host of a connection is ``http://127.0.0.1:PORT/<name>``."""
    connection: ClassVar[Mapping[str, Any]]
    """What an Airflow connection needs to be let in, besides the host: ``conn_type``, ``password`` …"""

    def __init__(self) -> None:
        self.reset()

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget all records; restore the default credentials and limits."""

    @abc.abstractmethod
    def router(self) -> APIRouter:
        """Return the API's routes, its own prefix (``/api``, ``/3.0``) included."""

    def state(self) -> Any:
        """Return the records as JSON values."""
        public = {k: v for k, v in vars(self).items() if not k.startswith("_") and not isinstance(v, Window)}
        return jsonable_encoder(public)


class Window:
    """
    A rate limit: ``limit`` units in a window of ``per_s`` seconds that opens with the first request.

    Tests may set both attributes at any time. Refused requests are not counted.
    """

    def __init__(self, limit: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.per_s = per_s
        self._clock = clock
        self._opened_at = -math.inf
        self._used = 0

    def take(self, cost: int = 1) -> tuple[bool, int, float]:
        """Count a request; return whether it is allowed, what remains, and the seconds until the next window."""
        now = self._clock()
        if now - self._opened_at >= self.per_s:
            self._opened_at, self._used = now, 0
        allowed = self._used + cost <= self.limit
        if allowed:
            self._used += cost
        return allowed, max(0, self.limit - self._used), self._opened_at + self.per_s - now


def names() -> list[str]:
    """Return the names of all stand-ins: every public module of the package but ``core``."""
    return sorted(m.name for m in pkgutil.iter_modules(sandbox.__path__) if m.name != "core" and m.name[0] != "_")


def get(name: str) -> type[SandboxApi]:
    """Return the stand-in of this name."""
    if name not in names():
        raise ConfigError.unknown("sandbox", name, names())
    module = importlib.import_module(f"{sandbox.__name__}.{name}")
    return next(c for c in vars(module).values() if isinstance(c, type) and getattr(c, "name", None) == name)
