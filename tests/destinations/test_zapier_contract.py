from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject


class TestZapierContract(DestinationContract):
    name = "zapier"
    answers_alike = True
    subjects = (
        Subject(
            object="hook",
            fields=lambda n: {"event": "signed up", "customer.name": f"Ann {n}", "seats": n},
            held=lambda api: api.caught,
            writes="POST /hooks/catch/*",
            text="customer.name",
            odd={"vip": False, "plan": None, "mrr": 9.5, "tags": ["a", "b"], "items": [{"sku": "x", "n": 1}]},
            invalid={"event": "x" * 2_000_001},
        ),
    )
