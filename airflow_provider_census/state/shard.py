"""The state of one shard of a sync, which knows in how many shards the sync was run last."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_census.state.kept import KeptStore
from airflow_provider_census.state.xcom import XComStore
from airflow_provider_census.sync.shard import Shard
from airflow_provider_census.sync.state import State


class ShardStore:
    """
    The state of a shard that is not the first.

    :param own: its own.
    :param first: that of the first shard, or of the sync without shards: there in any number of shards.
    """

    def __init__(self, own: XComStore | KeptStore, first: XComStore | KeptStore, shard: Shard) -> None:
        self._own = own
        self._first = first
        self._shard = shard
        self.survives_retries = own.survives_retries

    def load(self) -> State | None:
        """
        Return the state; that of the first shard if the sync was run in another number since.

        :raises Busy: another run of the same sync is under way.
        """
        own, first = self._own.load(), self._first.load()
        if first is None or first.shards == self._shard.of:
            return own
        return replace(first, sequence=max(first.sequence, own.sequence if own else 0))

    def lost(self) -> bool:
        """Return whether runs were there although there is no state."""
        return self._own.lost()

    def save(self, state: State) -> None:
        """Keep ``state`` as that of the shard."""
        self._own.save(state)
