from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject

USER = {
    "object": "user",
    "fields": lambda n: {"first_name": f"Ann {n}", "visits": n, "home.city": f"Brno {n}"},
    "writes": "POST /users/track",
    "deletes": "POST /users/delete",
    "text": "first_name",
    "odd": {"vip": False, "score": 1.5, "plan": None, "tags": ["a", "b"], "home.flat": {"floor": 3, "lift": True}},
    "poison": {"email_subscribe": "perhaps"},
    "words": "'email_subscribe' must be",
    "invalid": {"plan": "x" * 256},
    "short": {"message": "success", "attributes_processed": 1},
}
OCCURRENCE = {
    "writes": "POST /users/track",
    "text": "properties.note",
    "odd": {"properties.big": True, "properties.no": None, "properties.list": [1, "two"], "properties.map": {"a": {}}},
    "poison": {"external_id": "guest"},
    "words": "blacklisted",
    "invalid": {"properties.time": "now"},
}
BY_EMAIL = {"identifier": "email", "id": lambda n: f"User{n}@example.com"}
WHEN = {"time": "2026-01-01T00:00:00Z"}


def held(api):
    for user in api.users.profiles:
        alias = user["user_aliases"][0]["alias_name"] if user["user_aliases"] else None
        yield {**user["attributes"], "external_id": user["external_id"], "user_alias": alias}


class TestBrazeContract(DestinationContract):
    name = "braze"
    subjects = (
        Subject(**USER, held=held),
        Subject(**USER, held=held, identifier="user_alias", options={"alias_label": "warehouse"}),
        Subject(**USER, held=held, **BY_EMAIL, options={"prioritization": "most_recently_updated"}),
        Subject(
            object="event",
            fields=lambda n: {"external_id": f"u{n}", "name": "bought", "properties.n": n, **WHEN},
            held=lambda api: api.events,
            short={"message": "success", "events_processed": 1},
            **OCCURRENCE,
        ),
        Subject(
            object="purchase",
            fields=lambda n: {"external_id": f"u{n}", "product_id": "tea", "currency": "EUR", "price": 9.5 + n, **WHEN},
            held=lambda api: api.purchases,
            short={"message": "success", "purchases_processed": 1},
            **OCCURRENCE,
        ),
        Subject(
            object="catalog_item",
            fields=lambda n: {"catalog_name": "products", "name": f"Tea {n}", "price": 0.5 + n},
            held=lambda api: [{**item, "catalog_name": "products"} for item in api.catalogs.items["products"].values()],
            writes="* /catalogs/products/items",
            text="name",
            odd={"in_stock": False, "details": {"weight": 1.5, "organic": True}, "tags": ["a"], "price": None},
            poison={"in_stock": "maybe"},
            words="not of the type",
            invalid={"name": "x" * 5001},
            options={"replace": True},
            tells_absence=False,
        ),
    )
