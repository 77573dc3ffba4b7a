"""
Braze: users, custom events, purchases and catalog items.

``/users/track`` takes up to 75 objects in one array and answers 201 also when it refused some of them: ``errors``
names those by their index. It processes later, and separate requests for one user in no order. Keys are unique within
a run, so no two requests in flight write one user, unless two keys lead to one profile (an e-mail that users share).

update_only: Braze counts an update of an unknown user as processed. So each batch is looked up first with
``/users/export/ids``, and users it does not know end ``skipped``. That costs one look-up per 50 users by
``external_id`` or ``user_alias``, and one per user by ``braze_id``, ``email`` or ``phone``, of the 250 a minute that
Braze allows: 12,500 or 250 users a minute. The key needs the permission ``users.export.ids``. A user created moments
ago may not be found yet. Catalog items have no such look-up: Braze takes updates into a queue (202) and never tells
which items it knew. There ``updated`` means accepted; what becomes of an unknown item is not documented.

What is there is looked up in the same way, before a first run that adopts or a field that is set only if it is empty.
Several users with one e-mail or phone: which of them is written to cannot be told. Braze puts ``country``, ``gender``
and ``language`` in a form of its own: where it differs from the model's, the row is sent. Push tokens, subscription
groups, locations and the like are not exported.

Nested attributes are replaced whole; map ``_merge_objects`` to ``Constant(True)`` to merge them. So are catalog items
by update_or_create and mirror: what a row does not fill is emptied. Where the key may read the catalogs
(``catalogs.get``), that is refused without ``options={"replace": True}``; update_only edits.
Sources: Braze API docs, pages named at each fact; answers as measured by github.com/leemour/braze-cli.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_census.destinations import _braze_exchanges as exchanges
from airflow_provider_census.destinations import _braze_profiles as profiles
from airflow_provider_census.destinations import _braze_values as values
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.values import Behavior, Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response
from airflow_provider_census.transport.rate import Rate, Throttle

_ARRAY = {"user": "attributes", "event": "events", "purchase": "purchases"}
_PRIORITIES = ("identified", "unidentified", "most_recently_updated", "least_recently_updated")
_WHO = ("external_id", "braze_id", "user_alias.alias_name", "email", "phone")
_WHO_FIELDS = ("external_id", "braze_id", "user_alias.*", "email", "phone", "app_id", "_update_existing_only")


class Braze(Destination):
    """The destination; see the module."""

    name: ClassVar[str] = "braze"
    objects = (
        ObjectType(
            name="user",
            behaviors=(Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.DELETE, Behavior.MIRROR),
            identifiers=(
                Identifier("external_id"),
                Identifier("braze_id"),
                Identifier("email", lower=True),
                Identifier("phone"),
                Identifier("user_alias"),
            ),
            options=("alias_label", "prioritization"),
            fetched=("*",),
        ),
        ObjectType(
            name="event",
            behaviors=(Behavior.SEND,),
            identifiers=(Identifier("event_id"),),
            fields=("name", "time", "properties", "properties.*", *_WHO_FIELDS),
            required=("name", "time", _WHO),
        ),
        ObjectType(
            name="purchase",
            behaviors=(Behavior.SEND,),
            identifiers=(Identifier("event_id"),),
            fields=(
                *("product_id", "currency", "price", "quantity", "time", "properties", "properties.*"),
                *_WHO_FIELDS,
            ),
            required=("product_id", "currency", "price", "time", _WHO),
        ),
        ObjectType(
            name="catalog_item",
            behaviors=(Behavior.UPDATE_OR_CREATE, Behavior.UPDATE_ONLY, Behavior.DELETE, Behavior.MIRROR),
            identifiers=(Identifier("id"),),
            required=("catalog_name",),
            options=("replace",),
        ),
    )
    # Page "API limits". Plans by monthly active users have hourly limits instead, which only the headers tell.
    rates = (
        Rate("users_track", 3_000, 3),
        Rate("users_delete", 20_000, 60),
        Rate("users_export", 250, 60),
        Rate("catalogs", 50, 60),
        Rate("catalog_items", 16_000, 60),
    )
    concurrency = 64

    def configure(self) -> None:
        """Read the label of aliases, whether items are replaced, and which of several users is deleted."""
        self._alias_label: str = self.options.get("alias_label", "")
        steps = self.options.get("prioritization", ())
        self._prioritization = [steps] if isinstance(steps, str) else list(steps)
        self._catalogs: dict[str, frozenset[str]] | None = None
        self._replace = self.flag("replace")
        if self.identifier.name == "user_alias" and not self._alias_label:
            raise ConfigError("identifier 'user_alias' needs options={'alias_label': …}; the sync key is its name")
        for step in self._prioritization:
            if step not in _PRIORITIES:
                raise ConfigError.unknown("options['prioritization']", step, _PRIORITIES)
        by_contact = self.identifier.name in ("email", "phone")
        if by_contact and self.behavior in (Behavior.DELETE, Behavior.MIRROR) and not self._prioritization:
            raise ConfigError(
                f"deleting by {self.identifier.name} needs options={{'prioritization': […]}}: which user to delete "
                f"where several share it; valid: {', '.join(_PRIORITIES)}"
            )

    def check_field(self, path: str) -> None:
        """Refuse also the fields that would make Braze match a user on something else than the sync key."""
        super().check_field(path)
        if self.object.name != "user":
            return
        field = path.partition(".")[0]
        if field == "_update_existing_only":
            raise ConfigError(f"field {path!r} follows from the behavior; it cannot be mapped")
        # Page "Track users": a primary identifier wins over e-mail and phone, and e-mail over phone.
        stronger = (*values.PRIMARY, "email") if self.identifier.name == "phone" else values.PRIMARY
        if field in stronger and field != self.identifier.name:
            raise ConfigError(
                f"field {path!r} is an identifier of its own, and the users are matched on {self.identifier.name!r}"
            )

    def home(self, field: str) -> str:
        """Return ``properties.<field>`` for what an event or a purchase does not have itself."""
        if self.object.name not in ("event", "purchase") or field in (*self.object.fields, "user_alias"):
            return field
        return f"properties.{field}"

    @classmethod
    def endpoint(cls, credentials: Credentials) -> Endpoint:
        """Return the REST endpoint of the workspace's cluster; there is no default."""
        if not credentials.host.strip():
            raise ConfigError(
                "the connection has no host; put the REST endpoint of the workspace there, like "
                "https://rest.iad-01.braze.com"
            )
        url = base_url(credentials.host, None)
        host = urlsplit(url).hostname or ""
        if host.endswith((".braze.com", ".braze.eu")) and not host.startswith("rest."):
            raise ConfigError(f"{host} is not a REST endpoint of Braze; those start with rest.")
        key = secret(credentials, "REST API key")
        return Endpoint(url, {"Authorization": f"Bearer {key}"}, (key,))

    def place(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> str:
        """Return also the label of the aliases, or the catalog; Braze knows the workspace by the key alone."""
        cluster = super().place(endpoint, constants)
        if self.identifier.name == "user_alias":
            return f"{cluster}, alias label {self._alias_label}"
        catalog = constants.get("catalog_name")
        return f"{cluster}, catalog {catalog}" if catalog and self.object.name == "catalog_item" else cluster

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, value: Any, path: str) -> Any:
        """Return also dates as Braze wants them inside an attribute (page "Nested custom attributes")."""
        plain = super().scalar(value, path)
        if self.object.name == "user" and "." in path and isinstance(value, dt.date):
            return {"$time": plain}
        return plain

    def check(self, operation: Operation) -> str | None:
        """Return the first thing Braze would refuse or drop."""
        match self.object.name:
            case "user":
                problems = values.user_problems(self.identifier.name, operation)
            case "catalog_item":
                problems = values.item_problems(operation, self._catalogs, replace=self._replace)
            case kind:
                problems = values.occurrence_problems(kind, values.occurrence(operation.record.fields))
        return next(problems, None)

    def lane(self, operation: Operation) -> Hashable:
        """Return what a request is for, and whether it may be repeated: one that may not would bind the others."""
        catalog = operation.record.fields.get("catalog_name") if self.object.name == "catalog_item" else None
        return operation.behavior, self.repeatable(operation), catalog

    def max_batch(self, operation: Operation) -> int:
        """Return 75, or 50 where the request or the look-up before it takes no more."""
        tracked = self.object.name in _ARRAY and operation.behavior in (Behavior.SEND, Behavior.UPDATE_OR_CREATE)
        return 75 if tracked else 50

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return the 4 MB of the page "User data", less what stands around the records."""
        return 4_000_000 - 1_000

    def payload(self, operation: Operation) -> Any:
        """Return the object of the array."""
        record = operation.record
        match self.object.name, operation.behavior:
            case "user", Behavior.DELETE:
                return self._deletion(record.id)
            case "user", behavior:
                # Without it, users of an alias are not created, all others are.
                only = behavior is Behavior.UPDATE_ONLY
                return {**record.fields, self.identifier.name: self._who(record.id), "_update_existing_only": only}
            case "catalog_item", Behavior.DELETE:
                return {"id": record.id}
            case "catalog_item", _:
                return {**{k: v for k, v in record.fields.items() if k != "catalog_name"}, "id": record.id}
        return {"_update_existing_only": False, **values.occurrence(record.fields)}

    def repeatable(self, operation: Operation) -> bool:
        """Return whether a second request changes nothing: it does where values are added to what is there."""
        if operation.behavior is Behavior.DELETE:
            # The next user who shares the e-mail would go too.
            return self.identifier.name not in ("email", "phone")
        for value in operation.record.fields.values():
            if isinstance(value, dict) and not value.keys().isdisjoint(("inc", "add", "$add")):
                return False
        return super().repeatable(operation)

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Return the requests per rate, the look-up of update_only included."""
        if self.object.name == "catalog_item":
            return {"catalog_items": 1}
        match batch[0].behavior:
            case Behavior.DELETE:
                return {"users_delete": 1}
            case Behavior.UPDATE_ONLY:
                look_ups = 0 if batch[0].held else len(batch) if self.identifier.name in exchanges.ONE_BY_ONE else 1
                return {"users_track": 1, "users_export": look_ups}
        return {"users_track": 1}

    # --- what is there ---------------------------------------------------------------------------------------------

    def check_if_empty(self, path: str) -> None:
        """Refuse also what cannot be exported, and parts of objects: those are replaced whole."""
        super().check_if_empty(path)
        name, _, part = path.partition(".")
        if part:
            raise ConfigError(
                f"mapping of {path!r}: Braze replaces an object whole, so that set='if_empty' is for all of {name!r}"
            )
        if name in profiles.UNTOLD or name == "_merge_objects":
            raise ConfigError(
                f"mapping of {path!r}: Braze does not export it, so that nobody knows whether it is empty; "
                f"set='if_empty' takes {', '.join(profiles.EXPORTED)} and custom attributes"
            )

    def max_fetch(self) -> int:
        """Return 50, or 1 where an export takes a single value."""
        return 1 if self.identifier.name in exchanges.ONE_BY_ONE else 50

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Return one export."""
        return {"users_export": 1}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """Export the profiles, the mapped attributes of them."""
        who = [self._who(operation.record.id) for operation in operations]
        fields = {name: None for operation in operations for name in operation.record.fields}
        return (yield from profiles.fetch(self.identifier.name, who, list(fields)))

    def matches(self, operation: Operation, held: Mapping[str, Any]) -> bool:
        """Compare attributes whole, dates as moments."""
        return profiles.matches(operation.record.fields, held)

    # --- exchanges -------------------------------------------------------------------------------------------------

    @classmethod
    def test(cls) -> Exchange[str]:
        """Track nothing: Braze asks for data only after it has accepted the key and its permission."""
        response = yield Request(method="POST", path="/users/track", json={})
        exchanges.permit(response, "users.track")
        if response.status == 400 and "Valid data must be provided" in exchanges.words(response):
            return "Braze accepts the key on this cluster for /users/track; nothing was written, nothing else was tried"
        raise ConfigError(f"HTTP {response.status} is not Braze's answer to an empty /users/track; check the host")

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Read which fields the catalogs have, if the key may (``catalogs.get``); else Braze checks item by item."""
        if self.object.name != "catalog_item":
            return
        self._catalogs = yield from exchanges.read_catalogs()
        if self._catalogs is None:
            return
        known = frozenset[str]().union(*self._catalogs.values())
        mapped = {path.partition(".")[0] for path in fields} - {"catalog_name"}
        for field in mapped - known:
            raise ConfigError.unknown("field", field, sorted(known - {"id"}), where="in any catalog of the workspace")
        replaces = self.behavior in (Behavior.UPDATE_OR_CREATE, Behavior.MIRROR)
        if replaces and not self._replace and (lost := values.emptied_in_all(mapped, self._catalogs)):
            raise ConfigError(
                f"Braze replaces items whole, and the mapping leaves {', '.join(lost)} empty in them; map them too, "
                f"use {Behavior.UPDATE_ONLY}, or say {values.REPLACE}"
            )

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out one lane."""
        first = batch[0]
        objects = [self.encoded(operation) for operation in batch]
        who = [self._who(operation.record.id) for operation in batch]
        idempotent = all(self.resendable(operation) for operation in batch)
        match self.object.name, first.behavior:
            case "catalog_item", behavior:
                catalog = first.record.fields["catalog_name"]
                results = yield from exchanges.write_items(behavior, catalog, objects, idempotent=idempotent)
            case "user", Behavior.DELETE:
                results = yield from exchanges.delete(self.identifier.name, who, objects, idempotent=idempotent)
            case "user", Behavior.UPDATE_ONLY:
                results = yield from exchanges.update(self.identifier.name, batch, who, objects, idempotent=idempotent)
            case name, behavior:
                results = yield from exchanges.track(_ARRAY[name], objects, behavior, idempotent=idempotent)
        return results

    def _who(self, id: str) -> Any:
        return {"alias_name": id, "alias_label": self._alias_label} if self.identifier.name == "user_alias" else id

    def _deletion(self, id: str) -> Any:
        if self.identifier.name in ("email", "phone"):
            return {self.identifier.name: id, "prioritization": self._prioritization}
        return self._who(id)

    # --- answers ---------------------------------------------------------------------------------------------------

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means; 403 is for the exchange to read: not every permission is needed."""
        match response.status:
            case 403:
                return verdict.Answered()
            case 404 if not response.json_object().get("errors"):
                return verdict.Misdirected("HTTP 404: no Braze REST API answers here; check the host of the connection")
            case 429:
                return verdict.Retry("HTTP 429 too many requests", exchanges.wait_s(response))
        return verdict.judge(response)

    @classmethod
    def throttle(cls, response: Response) -> Throttle:
        """Return what is left. ``X-RateLimit-Limit`` is left alone: nothing says how long its window is."""
        remaining = exchanges.number(response, "x-ratelimit-remaining")
        return Throttle(remaining=remaining, reset_s=exchanges.reset_s(response))
