"""
Whether the state of the last run speaks of the place this run writes to, and of rows in the way this run does.

Elsewhere nothing was sent yet: what was settled there is not settled here, and must not be deleted here. By another
delta rows were sent that this one knows nothing of.
"""

from __future__ import annotations

import logging
from collections.abc import Set

from airflow_provider_census.errors import StateError
from airflow_provider_census.sync.state import State

log = logging.getLogger(__name__)


def moved(before: State, target: str, *, doubles: bool, then: str = "It is a first run.") -> bool:
    """
    Return whether the sync wrote elsewhere before, or knew its records by another identifier; it is told.

    :param doubles: whether the run could add rows a second time.
    :param then: what follows, in sentences.
    :raises StateError: it has moved, and that may double rows.
    """
    if before.target == target:
        return False
    if doubles:
        raise StateError(
            f"the last run of this sync wrote to {before.target}, this one would write to {target} and add every row "
            f"again, also to what is the same place by another name. Run it once with full_refresh=True if it shall, "
            f"or give the sync another sync_id"
        )
    log.warning("The last run wrote to %s, this one writes to %s. %s", before.target, target, then)
    return True


def check_follows(before: State, now: str, *, settles: bool) -> None:
    """
    Check that rows which another delta has sent, where they were added, are not added once more.

    :param now: what tells the rows to send from now on.
    :param settles: whether this run takes all rows as sent.
    :raises StateError: it would add them.
    """
    if not before.followed and not before.snapshot:
        return
    if not settles:
        raise StateError(
            f"the last run of this sync followed {last_delta(before)}, this one would follow {now} and add every row "
            f"again. Run it once with full_refresh=True if it shall; to send none of them again, give it another "
            f"sync_id and baseline='skip' for a run"
        )
    if owed := len(before.owed) + before.owed_null_keys:
        log.warning("%d rows are owed that did not arrive by %s; they are taken as sent.", owed, last_delta(before))


def last_delta(before: State) -> str:
    """Return what told the last run which rows to send."""
    if before.column:
        return f"the cursor {before.column}"
    return "no cursor" if before.columns is None else "a snapshot"


def check_doubts(before: State, doubts: int, now: str) -> None:
    """
    Check that another delta has left no rows in doubt, which this one would send again.

    :param doubts: how many.
    :param now: what tells the rows to send from now on.
    :raises StateError: it has.
    """
    if doubts:
        raise StateError(
            f"the last run of this sync followed {last_delta(before)} and left {doubts} row(s) in doubt: perhaps they "
            f"have arrived. This one would follow {now} and send them again. Nothing was sent. Run it once more as it "
            f"was: that finds out about them, or lists them as uncertain. Or run it once with full_refresh=True, which "
            f"sends every row"
        )


def check_adds(before: State, *, known: bool) -> None:
    """
    Check that nothing is added where the last run wrote or deleted records.

    :param known: whether rows have settled.
    :raises StateError: some have, and which of them stand there nobody can tell.
    """
    if known and before.mapping:
        raise StateError(
            f"the last run of this sync wrote to records or deleted them ({before.target}), this one would add to "
            f"them, and what has settled is not known to be there or not. Nothing was sent. Run it once with "
            f"full_refresh=True if every row shall be added; to add only what comes, give it another sync_id and "
            f"baseline='skip' for a run"
        )


def reaches_more(before: State, mapping: Set[bytes]) -> bool:
    """Return whether the last run left out what this one does, so that all rows are sent again; it is told."""
    if mapping <= before.mapping:
        return False
    log.info(
        "The behavior does more or something else since the last run, or fields were mapped or otherwise: all rows are "
        "sent again."
    )
    return True
