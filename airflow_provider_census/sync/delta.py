"""
How a run finds what changed: the declarations a DAG author writes.

Reading by them is the job of :mod:`~airflow_provider_census.sync.changes`.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from airflow_provider_census.errors import ConfigError


def _one_of(what: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ConfigError.unknown(what, value, valid)


def _is_length(lag: object) -> bool:
    # A negative one would step over rows.
    if isinstance(lag, dt.timedelta):
        return lag >= dt.timedelta()
    return isinstance(lag, (int, float)) and not isinstance(lag, bool) and 0 <= lag < math.inf


@dataclass(frozen=True, slots=True)
class FullRefresh:
    """Every run sends every row of the model."""

    name = "full_refresh"


@dataclass(frozen=True, slots=True)
class Watermark:
    """
    Every run reads the rows whose cursor reached the highest value that is settled, ties included.

    :param column: the cursor: a model column that grows when a row changes (a timestamp, a serial number).
    :param lag: read this much below the watermark again, for rows that are committed late; a timedelta for a date or
        time cursor, a number for a number. Rows already settled are not sent again.
    :param on_null: rows whose cursor is NULL are ``invalid``, ``include``d in every run, or ``exclude``d.
    :param on_missing: when earlier runs were there but their state is gone: ``full`` refresh, start ``now``, ``fail``.
    :param baseline: on the first run ``send`` all rows, or ``skip`` them: take what is there as settled.
    :param state: where the state lives: ``auto`` and ``xcom`` keep it in XCom, ``asset`` in Airflow's asset state store
        (3.3 or later; the sync then needs a ``sync_id``), any other name is a connection: a table there. What is too
        large for Airflow goes into a table of the source: see :mod:`~airflow_provider_census.sync.spill`.
    """

    column: str
    lag: dt.timedelta | float | None = None
    on_null: str = "invalid"
    on_missing: str = "full"
    baseline: str = "send"
    state: str = "auto"

    name = "watermark"

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column.strip():
            raise ConfigError("Watermark needs the name of the cursor column")
        if self.lag is not None and not _is_length(self.lag):
            raise ConfigError(f"Watermark lag {self.lag!r} is no length; give a timedelta or a number, not negative")
        _one_of("Watermark on_null", self.on_null, ("invalid", "include", "exclude"))
        _one_of("Watermark on_missing", self.on_missing, ("full", "now", "fail"))
        _one_of("Watermark baseline", self.baseline, ("send", "skip"))
        if not isinstance(self.state, str) or not self.state.strip():
            raise ConfigError("Watermark state must be 'auto', 'xcom', 'asset' or a connection id")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Every run compares the mapped columns with what the destination last accepted, in SQL, and reads what differs.

    Sees changes without a timestamp column, and rows that are gone. What arrived is kept as a digest per record, in a
    table of the source or of the database ``conn_id`` names: that connection needs the right to create and write it.

    :param conn_id: database of the snapshot; None for the source. Elsewhere, keys and digests of the whole model are
        staged there in every run.
    :param schema: where the table is made, spelled as the database spells it (in Snowflake mostly ``CRM``, not
        ``crm``); None for the connection's own. Made if missing.
    :param baseline: on the first run ``send`` all rows; or ``skip`` them: take what is there as settled; or ``adopt``
        what is there: look every record up and send only those that differ. Rows that were skipped or found as they
        should be are never deleted by a mirror.
    """

    conn_id: str | None = None
    schema: str | None = None
    baseline: str = "send"

    name = "snapshot"

    def __post_init__(self) -> None:
        for what, value in (("conn_id", self.conn_id), ("schema", self.schema)):
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise ConfigError(f"Snapshot {what}={value!r} must be a name; leave it out for the source's own")
        _one_of("Snapshot baseline", self.baseline, ("send", "skip", "adopt"))


Delta = FullRefresh | Watermark | Snapshot
