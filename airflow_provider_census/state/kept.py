"""A state that is kept elsewhere, with word of it in XCom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_census.sync.state import State

if TYPE_CHECKING:
    from airflow_provider_census.state.xcom import XComStore


class Keeper(Protocol):
    """A place for one JSON value that survives runs, retries and clears."""

    name: str

    def read(self) -> Any:
        """Return what was kept last, None if nothing was."""

    def write(self, state: State) -> None:
        """Keep ``state``."""


class KeptStore:
    """
    The state of the running task's sync at a keeper's.

    :param xcom: tells who else is running, and gets a pointer to the state.
    """

    #: It is there whatever becomes of the task.
    survives_retries = True

    def __init__(self, xcom: XComStore, keeper: Keeper) -> None:
        self._xcom = xcom
        self._keeper = keeper

    def load(self) -> State | None:
        """
        Return the state; at first, what the sync has left in XCom while it was kept there.

        :raises Busy: another run of the same sync is under way.
        """
        in_xcom = self._xcom.load(kept_elsewhere=True)
        kept = self._keeper.read()
        if kept is not None:
            return State.from_json(kept)
        return None if self._xcom.pointers else in_xcom

    def lost(self) -> bool:
        """Return whether runs were there although there is no state."""
        return bool(self._xcom.pointers) or self._xcom.lost()

    def save(self, state: State) -> None:
        """Keep ``state``, and leave word of it."""
        self._keeper.write(state)
        self._xcom.point(state, self._keeper.name)
