from __future__ import annotations

from airflow_provider_census.sandbox.mailchimp import MailchimpSandbox
from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject

AUDIENCE = MailchimpSandbox.audience_id


def members(api):
    for member in api.audience.members.values():
        if member["status"] != "archived":
            tags = sorted(tag["name"] for tag in member["tags"])
            yield {**member, "email": member["email_address"], "status_if_new": member["status"], "tags": tags}


def member(status, **options):
    return Subject(
        object="member",
        id=lambda n: f"User{n}@example.com",
        fields=lambda n: {status: "subscribed", "merge_fields.FNAME": f"Ann {n}", "merge_fields.SEATS": n},
        held=members,
        writes=f"P* /3.0/lists/{AUDIENCE}*",
        deletes="* /3.0/lists/*/members/*",
        text="merge_fields.FNAME",
        odd={
            "merge_fields.LNAME": None,
            "merge_fields.ADDRESS": {
                "addr1": "1 Main St",
                "city": "Brno",
                "state": "JM",
                "zip": "60200",
                "country": "CZ",
            },
            "vip": True,
            "location.latitude": 49.2,
            "location.longitude": 16.6,
            "interests.a1": False,
            "tags": ["a", "b"],
            "language": "cs",
        },
        poison={"merge_fields.WEBSITE": "no address of a page"},
        words="valid URL",
        invalid={"merge_fields.SINCE": "yesterday"},
        options={"audience_id": AUDIENCE, **options},
        short={"new_members": [], "updated_members": [], "errors": [], "total_created": 1},
    )


class TestMailchimpContract(DestinationContract):
    name = "mailchimp"
    subjects = (
        member("status_if_new"),
        member("status", permanent=True, skip_merge_validation=True),
        member("status", unarchive=True),
    )
