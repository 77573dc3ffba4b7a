"""The state of a sync in Airflow's asset state store (3.3 or later): it survives clears and ``airflow db clean``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_provider_census.errors import ConfigError

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "census_state"


def state_asset(sync_id: str) -> Asset:
    """
    Return the asset the state of a sync hangs on.

    The operator takes it as an inlet by itself; mapped tasks need ``.partial(inlets=[state_asset(…)])``, since Airflow
    does not look into them. An inlet and not an outlet: Airflow drops the state of outlets when the DAG file is gone
    for a while.
    """
    return Asset(name=f"census_state_{sync_id}", uri=f"census://state/{sync_id}")


class AssetKeeper:
    """The state of one sync as a value of :func:`state_asset`."""

    def __init__(self, context: Context, sync_id: str) -> None:
        stores: Any = context.get("asset_state_store")
        if stores is None:
            raise ConfigError("state='asset' needs Airflow 3.3 or later and the state's asset among the task's inlets")
        self.name = f"state store of asset census_state_{sync_id}"
        try:
            self._store = stores[state_asset(sync_id)]
        except KeyError:
            raise ConfigError(
                f"the task lacks the asset of its state; give it inlets=[state_asset({sync_id!r})]"
            ) from None

    def read(self) -> Any:
        """Return what was kept last, None if nothing was."""
        return self._store.get(KEY)

    def write(self, value: Mapping[str, Any]) -> None:
        """Keep ``value``, a state in JSON."""
        self._store.set(KEY, dict(value))
