from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject

ODD = {"vip": False, "score": 1.5, "plan": None, "tags": ["a", "b"], "home": {"floor": 3, "lift": True}}


def user(**more):
    return Subject(
        **{
            "object": "user",
            "fields": lambda n: {"traits.name": f"Ann {n}", "traits.visits": n},
            "held": lambda api: api.users,
            "writes": "POST /v1/batch",
            "text": "traits.name",
            "odd": {f"traits.{name}": value for name, value in ODD.items()},
            "invalid": {"traits.essay": "x" * 32_000},
            **more,
        }
    )


class TestSegmentContract(DestinationContract):
    name = "segment"
    subjects = (
        user(),
        user(identifier="anonymous_id"),
        user(
            object="group",
            fields=lambda n: {"user_id": f"u{n}", "traits.name": f"Acme {n}", "traits.seats": n},
            held=lambda api: api.groups,
        ),
        Subject(
            object="track",
            fields=lambda n: {
                **{"event": "Seat Added", "user_id": f"u{n}", "timestamp": "2026-01-01T00:00:00+00:00"},
                "properties.n": n,
            },
            held=lambda api: api.events,
            writes="POST /v1/batch",
            text="properties.note",
            odd={f"properties.{name}": value for name, value in ODD.items()},
            invalid={"event": ""},
        ),
    )

    def arrange(self, api):
        api.event_window.limit = 10**9
