"""
Whether the state of the last run speaks of the place this run writes to.

Elsewhere nothing was sent yet: what was settled there is not settled here, and must not be deleted here.
"""

from __future__ import annotations

import logging

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
