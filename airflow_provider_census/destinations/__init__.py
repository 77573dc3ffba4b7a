"""
The destinations: one module each, named like the destination, holding one :class:`~.base.Destination`.

To add one: a module here, a hook in ``hooks/``, a class on the contract suite, a line of provider info.
"""

from __future__ import annotations

import importlib
import pkgutil

from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.errors import ConfigError

_SHARED = ("base", "objects", "offer", "refusal")


def names() -> list[str]:
    """Return the names of all destinations."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if name not in _SHARED and not name.startswith("_"))


def get(name: str) -> type[Destination]:
    """
    Return the destination class of this name.

    :raises ConfigError: there is none; the message names the valid ones.
    """
    if name not in names():
        raise ConfigError.unknown("destination", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    return next(c for c in vars(module).values() if isinstance(c, type) and getattr(c, "name", None) == name)
