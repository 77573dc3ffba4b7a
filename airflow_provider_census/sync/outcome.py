"""The words for how a row ended."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The one word each row ends in."""

    CREATED = "created"
    UPDATED = "updated"
    UPSERTED = "upserted"
    """Created or updated; the API does not tell which."""
    DELETED = "deleted"
    SENT = "sent"
    UNCHANGED = "unchanged"
    """Read, and already settled in an earlier run: not sent."""
    SKIPPED = "skipped"
    """The behavior does nothing here: update_only without a match, create_only with one."""
    INVALID = "invalid"
    """Stopped before sending."""
    REJECTED = "rejected"
    """Refused by the destination."""
    UNCERTAIN = "uncertain"
    """Sent, no answer; sending it again could duplicate it."""

    @property
    def arrived(self) -> bool:
        """Whether nothing is left to do for the row."""
        return self not in _NOT_ARRIVED

    __hash__ = str.__hash__


# Asked for every row; naming a member of an enumeration costs as much as making a record.
_NOT_ARRIVED = frozenset((Outcome.INVALID, Outcome.REJECTED, Outcome.UNCERTAIN))
