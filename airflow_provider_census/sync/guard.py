"""What keeps a mirror from deleting more than was meant."""

from __future__ import annotations

from airflow_provider_census.errors import GuardTripped
from airflow_provider_census.sync.limit import Limit, rows_of


def empty(sent: int) -> GuardTripped:
    """Return the error for a model without rows, whose mirror has ``sent`` records."""
    return GuardTripped(
        f"the model has no rows; a mirror of it would delete all {sent} records this sync has sent. Nothing "
        f"was deleted. If that is meant, run it once with allow_empty=True"
    )


def check(removed: int, sent: int, max_deletes: Limit) -> None:
    """
    Check that no more is to be deleted than the author allows.

    :param removed: records to delete, of those ``sent``.
    :raises GuardTripped: it is more.
    """
    if max_deletes is None:
        return
    allowed = rows_of(max_deletes, sent)
    if removed > allowed:
        raise GuardTripped(
            f"{removed} of the {sent} records this sync has sent are gone from the model; "
            f"max_deletes={max_deletes} allows {allowed}. Nothing was deleted. "
            f"If that is meant, run it once with max_deletes={removed}"
        )
