"""The connection to Mailchimp."""

from __future__ import annotations

from typing import Any

from airflow_provider_census.hooks.base import DestinationHook


class MailchimpHook(DestinationHook):
    """
    Speaks to Mailchimp through an Airflow connection of type ``mailchimp``.

    :param mailchimp_conn_id: the connection; docs/destinations.md describes its fields.
    """

    conn_name_attr = "mailchimp_conn_id"
    default_conn_name = "mailchimp_default"
    conn_type = "mailchimp"
    hook_name = "Mailchimp"
    destination = "mailchimp"

    def __init__(self, mailchimp_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(mailchimp_conn_id, **kwargs)
