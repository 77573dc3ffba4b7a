"""
The conversations with Braze about users and what they did: which requests carry out a batch, and what the answers say
about each of its objects.

Sources: Braze API docs, pages "Track users" and "Delete users"; answers as measured by github.com/leemour/braze-cli.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from airflow_provider_census.destinations._braze_answers import Refusal, Results, permit, refusals, words
from airflow_provider_census.destinations._braze_profiles import look_up
from airflow_provider_census.destinations.refusal import Refused, rejected
from airflow_provider_census.errors import AuthError, ConfigError, Unanswered, Unavailable
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.outcome import Outcome
from airflow_provider_census.sync.values import Operation, RowResult
from airflow_provider_census.transport.message import Exchange, Json, Request
from airflow_provider_census.transport.message import array as joined

PRIMARY = ("external_id", "braze_id", "user_alias")
"""The identifiers of which an object may carry one."""

SHARED = ("email", "phone")
"""The identifiers that several users may have."""

_NAME = 255  # page "User attributes object"
_PRIORITIES = ("identified", "unidentified", "most_recently_updated", "least_recently_updated")
_DELETE_BY = {
    "external_id": "external_ids",
    "braze_id": "braze_ids",
    "user_alias": "user_aliases",
    "email": "email_addresses",
    "phone": "phone_numbers",
}


class _Tracked(Refusal, total=False):
    attributes_processed: int | None
    events_processed: int | None
    purchases_processed: int | None


class _Deleted(TypedDict, total=False):
    deleted: int | None


class Users:
    """
    The users of a workspace.

    :param by: the identifier they are matched on.
    :param alias_label: of their aliases, where those identify them.
    :param prioritization: which of the users with one e-mail or phone is deleted.
    :raises ConfigError: an option is missing or is none.
    """

    def __init__(self, by: str, behavior: Behavior, *, alias_label: str, prioritization: str | Sequence[str]) -> None:
        self.by = by
        self.alias_label = alias_label
        self._prioritization = [prioritization] if isinstance(prioritization, str) else list(prioritization)
        if by == "user_alias" and not alias_label:
            raise ConfigError("identifier 'user_alias' needs options={'alias_label': …}; the sync key is its name")
        for step in self._prioritization:
            if step not in _PRIORITIES:
                raise ConfigError.unknown("options['prioritization']", step, _PRIORITIES)
        if by in SHARED and behavior in (Behavior.DELETE, Behavior.MIRROR) and not self._prioritization:
            raise ConfigError(
                f"deleting by {by} needs options={{'prioritization': […]}}: which user to delete where several share "
                f"it; valid: {', '.join(_PRIORITIES)}"
            )

    def check_field(self, path: str) -> None:
        """
        Check that an attribute has a name Braze takes, and is none it would match a user on instead of the sync key.

        :raises ConfigError: it has not, or is one.
        """
        field = path.partition(".")[0]
        if len(field) > _NAME:
            raise ConfigError(f"field {path[:40]!r}… is longer than the {_NAME} characters of an attribute's name")
        if field == "_update_existing_only":
            raise ConfigError(f"field {path!r} follows from the behavior; it cannot be mapped")
        # Page "Track users": a primary identifier wins over e-mail and phone, and e-mail over phone.
        stronger = (*PRIMARY, "email") if self.by == "phone" else PRIMARY
        if field in stronger and field != self.by:
            raise ConfigError(f"field {path!r} is an identifier of its own, and the users are matched on {self.by!r}")

    def who(self, operation: Operation) -> Any:
        """Return the user an operation is about, as requests name it."""
        id = operation.record.id
        return {"alias_name": id, "alias_label": self.alias_label} if self.by == "user_alias" else id

    def payload(self, operation: Operation) -> Any:
        """Return the object of the array."""
        who, behavior = self.who(operation), operation.behavior
        if behavior is Behavior.DELETE:
            return {self.by: who, "prioritization": self._prioritization} if self.by in SHARED else who
        # Without it, users of an alias are not created, all others are.
        only = behavior is Behavior.UPDATE_ONLY
        return {**operation.record.fields, self.by: who, "_update_existing_only": only}

    def send(self, batch: Sequence[Operation], objects: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
        """Carry out operations of one behavior."""
        match batch[0].behavior:
            case Behavior.DELETE:
                return (yield from self._delete(batch, objects, idempotent=idempotent))
            case Behavior.UPDATE_ONLY:
                return (yield from self._update(batch, objects, idempotent=idempotent))
            case behavior:
                return (yield from track("attributes", objects, behavior, idempotent=idempotent))

    def _update(self, batch: Sequence[Operation], objects: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
        """Write attributes of the users that exist: Braze would count the others as processed."""
        if all(operation.held is not None for operation in batch):
            exists: list[bool | None] = [operation.held.fields is not None for operation in batch if operation.held]
        else:
            exists = yield from look_up(self.by, [self.who(operation) for operation in batch])
        present = [item for item, there in zip(objects, exists, strict=True) if there]
        tracked: Results = []
        if present:
            tracked = yield from track("attributes", present, Behavior.UPDATE_ONLY, idempotent=idempotent)
        answers = iter(tracked)
        missing = RowResult(Outcome.SKIPPED, "no such user")
        return [next(answers) if there else missing if there is False else None for there in exists]

    def _delete(self, batch: Sequence[Operation], objects: Sequence[Json], *, idempotent: bool) -> Exchange[Results]:
        """Delete users for good."""
        response = yield Request(
            method="POST",
            path="/users/delete",
            json=joined(objects, _DELETE_BY[self.by]),
            idempotent=idempotent,
            limit="users_delete",
        )
        permit(response, "users.delete")
        if not response.ok:
            raise Refused(words(response), status=response.status)
        gone = RowResult(Outcome.DELETED, status=response.status)
        if response.read(_Deleted).get("deleted") == len(objects):
            return [gone] * len(objects)
        # Fewer were queued, and the answer does not say which. Users that are not there settle themselves. A look-up
        # that fails may not end the batch: the deletion went out, and by e-mail or phone it must not go out again.
        try:
            exists = yield from look_up(self.by, [self.who(operation) for operation in batch])
        except (AuthError, Refused, Unanswered, Unavailable) as error:
            reason = f"Braze queued fewer deletions than it was asked for ({error})"
            return [RowResult(Outcome.UNCERTAIN, reason)] * len(batch)
        return [gone if there is False else None for there in exists]


def track(array: str, objects: Sequence[Json], behavior: Behavior, *, idempotent: bool) -> Exchange[Results]:
    """Write attributes, events or purchases."""
    response = yield Request(
        method="POST", path="/users/track", json=joined(objects, array), idempotent=idempotent, limit="users_track"
    )
    permit(response, "users.track")
    body = response.read(_Tracked) if response.ok else response.told(_Tracked)
    counts: Mapping[str, Any] = body
    refused, unplaced = refusals(body, array, len(objects))
    settled = body.get("message") == "success" and not unplaced
    if not response.ok:
        # All objects were bad, or the request was: nothing is applied. Those not named may be good by themselves.
        if len(refused) < len(objects):
            raise Refused(words(response), status=response.status)
    elif counts.get(f"{array}_processed") != len(objects) - len(refused):
        settled = False
    accepted = RowResult(behavior.done, status=response.status) if settled else None
    return [rejected(refused[i], response.status) if i in refused else accepted for i in range(len(objects))]
