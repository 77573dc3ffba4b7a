from __future__ import annotations

from airflow_provider_census.sync.behavior import Behavior
from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject

SUCCESS = {"success": {"path": "ok"}}
ROWS = {
    Behavior.UPDATE_OR_CREATE: {"method": "PUT", "path": "/v1/things/{id}"},
    Behavior.UPDATE_ONLY: {"method": "PATCH", "path": "/v1/things/{id}"},
    Behavior.CREATE_ONLY: {"path": "/v1/things"},
    Behavior.DELETE: {"delete_path": "/v1/things/{id}"},
    Behavior.APPEND: {"path": "/v1/events"},
    Behavior.SEND: {"path": "/v1/events", "idempotency_header": "Idempotency-Key"},
}
BATCHES = {
    **ROWS,
    Behavior.UPDATE_OR_CREATE: {
        "path": "/v1/things/batch",
        "batch_size": 5,
        "batch_key": "things",
        "repeatable": True,
        "errors": {"path": "errors", "index": "index", "reason": "message"},
    },
    Behavior.DELETE: {
        "delete_method": "POST",
        "delete_path": "/v1/things/delete",
        "batch_size": 5,
        "batch_key": "things",
    },
    Behavior.APPEND: {"path": "/v1/events/batch", "batch_size": 5},
    Behavior.SEND: {"path": "/v1/events/batch", "batch_size": 5, "idempotency_header": "Idempotency-Key"},
}


def subject(identifier, calls):
    def held(api):
        for id, thing in api.things.items():
            yield {**thing, identifier or "id": id}
        yield from api.events

    return Subject(
        object="thing",
        identifier=identifier,
        options=lambda behavior: {**SUCCESS, **calls[behavior]},
        fields=lambda n: {"email": f"user{n}@example.com", "address.city": f"Brno {n}", "seats": n},
        held=held,
        writes="P* /v1/*",
        deletes="* /v1/things/*",
        text="address.city",
        odd={"vip": False, "score": 1.5, "plan": None, "tags": ["a", "b"], "items": [{"n": 1}, {"m": [2]}]},
        poison={"email": "no address"},
        words="email is not valid",
        invalid={"note": "x" * 1_000_001},
        silent=("errors", "errors.0"),
    )


class TestHttpContract(DestinationContract):
    name = "http"
    subjects = (subject(None, ROWS), subject("external_id", BATCHES))
