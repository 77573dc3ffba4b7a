"""The parts of a sync that several workers run side by side: each row is of one, by the hash of its sync key."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_census.errors import ConfigError

MOST = 256


@dataclass(frozen=True, slots=True)
class Shard:
    """
    One of the parts of a sync.

    :param index: which one, from 0; ``of`` how many.
    """

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """
        Return the shard that is written ``0/4``.

        :raises ConfigError: it is none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text) if isinstance(text, str) else None
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 2 <= shard.of <= MOST or shard.index >= shard.of:
            raise ConfigError(
                f"shard={text!r} is none; the first of four is '0/4', the last '3/4', {MOST} are the most"
            )
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def state_of(self, sync_id: str) -> str:
        """Return the identity of this shard's state; the first one has that of the sync."""
        return f"{sync_id}[{self.index}]" if self.index else sync_id
