"""The connection to Stripe."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class StripeHook(DestinationHook):
    """
    Speaks to Stripe through an Airflow connection of type ``stripe``.

    :param stripe_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "stripe_conn_id"
    default_conn_name = "stripe_default"
    conn_type = "stripe"
    hook_name = "Stripe"
    destination = "stripe"

    def __init__(self, stripe_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(stripe_conn_id, **kwargs)
