from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject


def email(n):
    return f"User{n}@example.com"


def person(object, **more):
    return Subject(
        **{
            "object": object,
            "fields": lambda n: {"name": f"Ann {n}", "phone": f"+42060000{n}", "custom_attributes.seats": n},
            "held": lambda api: api.contacts.values(),
            "writes": "POST /contacts",
            "updates": "PUT /contacts/*",
            "deletes": "POST /contacts/*/archive",
            "text": "name",
            "odd": {
                "unsubscribed_from_emails": True,
                "custom_attributes.active": False,
                "custom_attributes.plan": None,
            },
            "poison": {"owner_id": 999},
            "words": "not a member of the workspace",
            "invalid": {"custom_attributes.plan": "x" * 256},
            **more,
        }
    )


class TestIntercomContract(DestinationContract):
    name = "intercom"
    subjects = (
        person("contact"),
        person("user", identifier="email", id=email),
        person("lead", identifier="email", id=email),
        Subject(
            object="company",
            fields=lambda n: {"name": f"Acme {n}", "size": n, "monthly_spend": 10 + n},
            held=lambda api: api.companies.values(),
            writes="POST /companies",
            updates="P* /companies*",
            deletes="DELETE /companies/*",
            text="name",
            odd={"custom_attributes.active": False, "custom_attributes.score": 1.5, "industry": None},
            poison={"size": "large"},
            words="size is not of the right type",
            invalid={"monthly_spend": 2**31},
        ),
        Subject(
            object="event",
            fields=lambda n: {
                "event_name": "bought",
                "created_at": 1_700_000_000 + n,
                "user_id": "ann",
                "metadata.n": n,
            },
            held=lambda api: api.events,
            writes="POST /events",
            text="metadata.note",
            odd={"metadata.big": True, "metadata.none": None, "metadata.price": {"amount": 100, "currency": "eur"}},
            poison={"user_id": "nobody"},
            words="User Not Found",
            invalid={"created_at": 1_700_000_000_000},
        ),
    )

    def arrange(self, api):
        api.add_contact(external_id="ann", email="ann@example.com")
