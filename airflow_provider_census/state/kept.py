"""A state that is kept elsewhere, with word of it in XCom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_census.sync.state import State

if TYPE_CHECKING:
    from airflow_provider_census.state.xcom import XComStore
    from airflow_provider_census.sync.spill import Spill


class Keeper(Protocol):
    """A place for one JSON value that survives runs, retries and clears."""

    name: str

    def read(self) -> Any:
        """Return what was kept last, None if nothing was."""

    def write(self, value: Mapping[str, Any]) -> None:
        """Keep ``value``, a state in JSON."""


class KeptStore:
    """
    The state of the running task's sync at a keeper's.

    :param xcom: tells who else is running, and gets a pointer to the state.
    :param spill: keeps what is too large for the keeper as well.
    """

    #: It is there whatever becomes of the task.
    survives_retries = True

    def __init__(self, xcom: XComStore, keeper: Keeper, spill: Spill) -> None:
        self._xcom = xcom
        self._keeper = keeper
        self._spill = spill

    def load(self) -> State | None:
        """
        Return the state; at first, what the sync has left in XCom while it was kept there.

        :raises Busy: another run of the same sync is under way.
        """
        in_xcom = self._xcom.find(kept_elsewhere=True)
        kept = self._keeper.read()
        if kept is not None:
            return self._spill.restore([kept])
        return None if self._xcom.pointers else self._spill.restore(in_xcom)

    def lost(self) -> bool:
        """Return whether runs were there although there is no state."""
        return bool(self._xcom.pointers) or self._xcom.lost()

    def save(self, state: State) -> None:
        """Keep ``state``, and leave word of it."""
        value = self._spill.pack(state)
        self._keeper.write(value)
        self._xcom.point(value, self._keeper.name)
        self._spill.kept()
