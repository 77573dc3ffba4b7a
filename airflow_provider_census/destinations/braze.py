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

from airflow_provider_census.destinations import _braze_answers as answers
from airflow_provider_census.destinations import _braze_catalogs as catalogs
from airflow_provider_census.destinations import _braze_profiles as profiles
from airflow_provider_census.destinations import _braze_values as values
from airflow_provider_census.destinations._braze_catalogs import Catalogs
from airflow_provider_census.destinations._braze_users import SHARED, Users, track
from airflow_provider_census.destinations.base import Destination
from airflow_provider_census.destinations.objects import Identifier, ObjectType
from airflow_provider_census.errors import ConfigError
from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.sync.values import Held, Operation, RowResult
from airflow_provider_census.transport import verdict
from airflow_provider_census.transport.credentials import Credentials, base_url, secret
from airflow_provider_census.transport.message import Endpoint, Exchange, Request, Response, is_flat
from airflow_provider_census.transport.rate import Rate, Throttle

_OCCURRENCES = {"event": "events", "purchase": "purchases"}
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
            required=(catalogs.CATALOG,),
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
        self._users = Users(
            self.identifier.name,
            self.behavior,
            alias_label=self.options.get("alias_label", ""),
            prioritization=self.options.get("prioritization", ()),
        )
        self._catalogs = Catalogs(replace=self.flag("replace"))

    def check_field(self, path: str) -> None:
        """Refuse also the fields that would make Braze match a user on something else than the sync key."""
        super().check_field(path)
        if self.object.name == "user":
            self._users.check_field(path)

    def home(self, field: str) -> str:
        """Return ``properties.<field>`` for what an event or a purchase does not have itself."""
        if self.object.name not in _OCCURRENCES or field in (*self.object.fields, "user_alias"):
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
            return f"{cluster}, alias label {self._users.alias_label}"
        catalog = constants.get(catalogs.CATALOG)
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
                return values.user_problem(self.identifier.name, operation, self.encoded(operation))
            case "catalog_item":
                problems = self._catalogs.problems(operation)
            case kind:
                problems = values.occurrence_problems(kind, values.occurrence(operation.record.fields))
        return next(problems, None)

    def lane(self, operation: Operation) -> Hashable:
        """Return what a request is for, and whether it may be repeated: one that may not would bind the others."""
        catalog = operation.record.fields.get(catalogs.CATALOG) if self.object.name == "catalog_item" else None
        return operation.behavior, self.once(operation), catalog

    def max_batch(self, operation: Operation) -> int:
        """Return 75, or 50 where the request or the look-up before it takes no more."""
        tracked = self.object.name != "catalog_item" and operation.behavior in (
            Behavior.SEND,
            Behavior.UPDATE_OR_CREATE,
        )
        return 75 if tracked else 50

    def max_batch_bytes(self, operation: Operation) -> int | None:
        """Return the 4 MB of the page "User data", less what stands around the records."""
        return 4_000_000 - 1_000

    def payload(self, operation: Operation) -> Any:
        """Return the object of the array."""
        match self.object.name:
            case "user":
                return self._users.payload(operation)
            case "catalog_item":
                return catalogs.payload(operation)
        return {"_update_existing_only": False, **values.occurrence(operation.record.fields)}

    def repeatable(self, operation: Operation) -> bool:
        """Return whether a second request changes nothing: it does where values are added to what is there."""
        behavior = operation.behavior
        if behavior.adds:
            return False
        if behavior is Behavior.DELETE:
            # The next user who shares the e-mail would go too.
            return self.identifier.name not in SHARED
        return is_flat(self.encoded(operation)) or not any(
            type(value) is dict and not value.keys().isdisjoint(("inc", "add", "$add"))
            for value in operation.record.fields.values()
        )

    def requests_for(self, batch: Sequence[Operation]) -> Mapping[str, float]:
        """Return the requests per rate, the look-up of update_only included."""
        if self.object.name == "catalog_item":
            return {"catalog_items": 1}
        match batch[0].behavior:
            case Behavior.DELETE:
                return {"users_delete": 1}
            case Behavior.UPDATE_ONLY:
                look_ups = 0 if batch[0].held else len(batch) if self.identifier.name in profiles.ONE_BY_ONE else 1
                return {"users_track": 1, "users_export": look_ups}
        return {"users_track": 1}

    # --- what is there ---------------------------------------------------------------------------------------------

    def check_if_empty(self, path: str) -> None:
        """Refuse also what cannot be exported, and parts of objects: those are replaced whole."""
        super().check_if_empty(path)
        profiles.check_if_empty(path)

    def max_fetch(self) -> int:
        """Return 50, or 1 where an export takes a single value."""
        return 1 if self.identifier.name in profiles.ONE_BY_ONE else 50

    def requests_to_fetch(self, count: int) -> Mapping[str, float]:
        """Return one export."""
        return {"users_export": 1}

    def fetch(self, operations: Sequence[Operation]) -> Exchange[Sequence[Held | str]]:
        """Export the profiles, the mapped attributes of them."""
        who = [self._users.who(operation) for operation in operations]
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
        answers.permit(response, "users.track")
        if response.status == 400 and "Valid data must be provided" in answers.words(response):
            return "Braze accepts the key on this cluster for /users/track; nothing was written, nothing else was tried"
        raise ConfigError(f"HTTP {response.status} is not Braze's answer to an empty /users/track; check the host")

    def prepare(self, fields: Sequence[str]) -> Exchange[None]:
        """Read which fields the catalogs have, if the key may (``catalogs.get``); else Braze checks item by item."""
        if self.object.name == "catalog_item":
            yield from self._catalogs.prepare(self.behavior, {path.partition(".")[0] for path in fields})

    def send(self, batch: Sequence[Operation]) -> Exchange[Sequence[RowResult | None]]:
        """Carry out one lane."""
        first = batch[0]
        objects = [self.encoded(operation) for operation in batch]
        idempotent = self.resendable(first)  # as all of its lane
        match self.object.name:
            case "user":
                return (yield from self._users.send(batch, objects, idempotent=idempotent))
            case "catalog_item":
                catalog = first.record.fields[catalogs.CATALOG]
                return (yield from catalogs.write(first.behavior, catalog, objects, idempotent=idempotent))
            case name:
                return (yield from track(_OCCURRENCES[name], objects, first.behavior, idempotent=idempotent))

    # --- answers ---------------------------------------------------------------------------------------------------

    @classmethod
    def judge(cls, response: Response) -> verdict.Verdict:
        """Return what a response means."""
        return answers.judge(response)

    @classmethod
    def throttle(cls, response: Response) -> Throttle:
        """Return what is left."""
        return answers.throttle(response)
