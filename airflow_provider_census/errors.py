"""
The errors of this package, grouped by who has to act.

::

    CensusError
    ├── ConfigError          the DAG author: a name, an option, a mapping or a model is wrong
    ├── AuthError            the owner of the connection: the destination does not accept the credentials
    ├── StateError           the person on call: the state of the sync is unreadable or gone
    │   └── StateFull        the owner of the source connection: there is no room for more rows of one cursor value
    ├── Busy                 nobody: another run of the same sync is under way; a later try will do
    ├── ThresholdExceeded    the owner of the data: more rows were refused than the author allows
    ├── GuardTripped         the owner of the data: a run would delete more than the author allows
    ├── Unavailable          nobody: the destination does not answer; the next try continues
    ├── Unanswered           (one request) sent, and no answer tells whether it was applied
    ├── Interrupted          nobody: the task was asked to stop; what was accepted is committed
    └── AccountingError      us: a row ended without exactly one outcome

Messages say what is wrong, where, and what to do. They never carry secrets or row payloads.
"""

from __future__ import annotations

from collections.abc import Iterable


class CensusError(Exception):
    """Root of all errors raised by this package."""


class ConfigError(CensusError):
    """The sync is described wrongly. Raised before the first row is sent."""

    @classmethod
    def unknown(cls, what: str, value: object, valid: Iterable[object], *, where: str = "") -> ConfigError:
        """Build the one message for a name that is not among the valid ones."""
        names = ", ".join(repr(str(v)) for v in valid) or "none"
        return cls(f"{what} {value!r} is not known{f' {where}' if where else ''}; valid: {names}")


class AuthError(CensusError):
    """The destination refused the credentials or the permission. Trying again cannot help."""


class StateError(CensusError):
    """The state of the sync cannot be used."""


class StateFull(StateError):
    """The state was kept, but is larger than it should be; it must not grow."""


class Busy(CensusError):
    """Another run of the same sync is under way."""


class ThresholdExceeded(CensusError):
    """More rows ended invalid or rejected than the author allows. What was accepted is committed."""


class GuardTripped(CensusError):
    """The run would delete more than the author allows. Nothing was deleted."""


class Unavailable(CensusError):
    """
    The destination kept refusing or failing after all retries; trying again later is harmless.

    :param unheard: the last attempt got no answer at all, so that nobody knows whether it was applied.
    """

    def __init__(self, message: str, *, status: int | None = None, unheard: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.unheard = unheard


class Unanswered(CensusError):
    """A request was sent, no trustworthy answer came, and sending it again could apply it twice."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Interrupted(CensusError):
    """The task was asked to stop (marked failed, cleared, timed out)."""


class AccountingError(CensusError):
    """A row ended with no outcome or with two: a defect of this package or of a destination class."""
