from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject


def fields(n):
    return {"description": f"Customer {n}", "balance": n, "address.city": f"Brno {n}", "metadata.plan": f"team {n}"}


def held(api):
    for customer in api.customers.values():
        yield {**customer, "metadata.user_id": customer["metadata"].get("user_id")}


def customer(**more):
    return Subject(
        **{
            "object": "customer",
            "fields": fields,
            "held": held,
            "writes": "POST /v1/customers",
            "updates": "POST /v1/customers/cus_*",
            "text": "name",
            "odd": {"preferred_locales": ["de", "en"], "phone": None, "address.line2": None, "metadata.plan": None},
            "poison": {"tax_exempt": "perhaps"},
            "words": "Invalid tax_exempt",
            "invalid": {"metadata.note": "x" * 501},
            **more,
        }
    )


class TestStripeContract(DestinationContract):
    name = "stripe"
    subjects = (
        customer(identifier="email", id=lambda n: f"User{n}@example.com"),
        customer(identifier="metadata.user_id"),
    )
    headers = ("request-id", "idempotent-replayed", "stripe-should-retry")

    def arrange(self, api):
        # The cases come faster than any account allows.
        api.window.limit = api.search_window.limit = 10_000
