"""The data attributes of a workspace: which custom ones can be written, and what one may hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_census.destinations._intercom_answers import Attributes, look
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.transport.message import Exchange, Request

CUSTOM = "custom_attributes"

_MAX_TEXT = 255  # whether longer ones are cut or refused is unverified


def check_attributes(model: str, mapped: Iterable[str]) -> Exchange[None]:
    """
    Exchange that refuses custom attributes the workspace does not have: one of them fails every write.

    :param model: ``contact`` or ``company``.
    :param mapped: the paths the mapping writes, those of other fields included.
    :raises ConfigError: there is no such attribute, or the API may not write it.
    """
    wanted = [path for path in mapped if path.startswith(f"{CUSTOM}.")]
    if not wanted:
        return
    answer = yield from look(Request(method="GET", path="/data_attributes", query={"model": model}), Attributes)
    if not answer.ok:
        raise ConfigError(f"the data attributes of the workspace cannot be read: {answer.words}")
    attributes = [attribute for attribute in answer.body["data"] if not attribute.get("archived")]
    writable = {attribute["full_name"]: attribute.get("api_writable") is not False for attribute in attributes}
    for path in wanted:
        if path not in writable:
            near = difflib.get_close_matches(path, writable, cutoff=0.5)
            hint = f"; similar: {', '.join(map(repr, near))}" if near else ""
            raise ConfigError(f"{path!r} is no {model} data attribute of the workspace; create it there{hint}")
        if not writable[path]:
            raise ConfigError(f"{path!r} is a {model} data attribute that cannot be written by the API")


def attribute_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the values of custom attributes."""
    for name, value in values.items():
        if isinstance(value, (list, dict)):
            yield f"{CUSTOM}.{name} is a list or an object; Intercom takes text, numbers and booleans"
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            yield f"{CUSTOM}.{name} has {len(value)} characters; Intercom takes {_MAX_TEXT}"
