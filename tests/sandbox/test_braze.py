from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from airflow_provider_census.sandbox.braze import BrazeSandbox
from airflow_provider_census.sandbox.core import Sandbox

NOTHING = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
TOLD = "'email_subscribe' must be 'subscribed', 'unsubscribed', or 'opted_in'"


@pytest.fixture
def braze(sandbox: Sandbox) -> BrazeSandbox:
    api: BrazeSandbox = sandbox["braze"]
    return api


def call(
    sandbox: Sandbox, path: str, body: Any, *, method: str = "POST", key: str = BrazeSandbox.api_key
) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.request(method, sandbox.url("braze") + path, json=body, headers=headers, timeout=5)


def attributes(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"attributes": list(objects)}


def test_refused_objects_are_named_by_index_and_write_nothing(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    body = attributes(
        {"external_id": "a", "plan": "pro"},
        {"external_id": "b", "email_subscribe": "maybe"},
        {"plan": "pro"},
        {"external_id": "c", "braze_id": "x"},
    )
    answer = call(sandbox, "/users/track", body)
    assert answer.status_code == 201
    assert answer.json() == {
        "message": "success",
        "attributes_processed": 1,
        "errors": [
            {"type": TOLD, "input_array": "attributes", "index": 1},
            {
                "type": "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required",
                "input_array": "attributes",
                "index": 2,
            },
            {
                "type": "You must specify only one of 'external_id', 'user_alias' or 'braze_id'",
                "input_array": "attributes",
                "index": 3,
            },
        ],
    }
    assert [profile["external_id"] for profile in braze.users.profiles] == ["a"]


def test_indexes_count_within_their_own_array(sandbox: Sandbox) -> None:
    body = attributes({"external_id": "a"}) | {"events": [{"external_id": "a", "name": "x"}]}
    answer = call(sandbox, "/users/track", body).json()
    assert answer["errors"] == [{"type": "'time' is required", "input_array": "events", "index": 0}]
    assert (answer["attributes_processed"], answer["events_processed"]) == (1, 0)


def test_all_objects_bad_is_a_400_with_the_same_list(sandbox: Sandbox) -> None:
    answer = call(sandbox, "/users/track", attributes({"external_id": "b", "email_subscribe": "maybe"}))
    assert answer.status_code == 400
    assert answer.json() == {
        "message": NOTHING,
        "errors": [{"type": TOLD, "input_array": "attributes", "index": 0}],
    }


def test_nothing_to_track_is_a_400(sandbox: Sandbox) -> None:
    assert call(sandbox, "/users/track", {}).json() == {"message": NOTHING}


def test_a_wrong_key_is_echoed(sandbox: Sandbox) -> None:
    answer = call(sandbox, "/users/track", {}, key="wrong")
    assert (answer.status_code, answer.json()) == (401, {"message": "Invalid API key: wrong"})


def test_each_path_needs_its_permission(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    braze.permissions = {"users.track"}
    assert call(sandbox, "/users/track", attributes({"external_id": "a"})).status_code == 201
    answer = call(sandbox, "/users/delete", {"external_ids": ["a"]})
    assert (answer.status_code, answer.json()) == (403, {"message": "Access Denied"})


def test_75_objects_over_all_arrays_are_the_most(sandbox: Sandbox) -> None:
    people = [{"external_id": str(n)} for n in range(75)]
    assert call(sandbox, "/users/track", attributes(*people)).json()["attributes_processed"] == 75
    event = {"external_id": "1", "name": "x", "time": "2024-01-01T00:00:00Z"}
    answer = call(sandbox, "/users/track", attributes(*people) | {"events": [event]})
    assert (answer.status_code, answer.json()["message"]) == (400, "Max Input Length Exceeded")


def test_more_than_4_mb_is_a_413(sandbox: Sandbox) -> None:
    answer = call(sandbox, "/users/track", attributes({"external_id": "a", "x": "y" * 4_000_000}))
    assert answer.status_code == 413


def test_objects_are_replaced_unless_merging_is_asked_for(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "home": {"city": "Oslo", "zip": "1"}}))
    call(sandbox, "/users/track", attributes({"external_id": "a", "_merge_objects": True, "home": {"zip": "2"}}))
    profile = braze.profile(external_id="a")
    assert profile is not None
    assert profile["attributes"]["home"] == {"city": "Oslo", "zip": "2"}
    call(sandbox, "/users/track", attributes({"external_id": "a", "home": {"zip": "3"}}))
    assert profile["attributes"]["home"] == {"zip": "3"}


def test_null_removes_an_attribute_and_drops_an_object_that_holds_it(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "plan": "pro", "home": {"city": "Oslo"}}))
    answer = call(sandbox, "/users/track", attributes({"external_id": "a", "plan": None, "home": {"city": None}}))
    assert answer.json() == {"message": "success", "attributes_processed": 1}
    profile = braze.profile(external_id="a")
    assert profile is not None
    assert profile["attributes"] == {"home": {"city": "Oslo"}}


def test_increments_and_array_operators_change_what_is_there(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "n": 1, "tags": ["x"]}))
    for _ in range(2):
        call(sandbox, "/users/track", attributes({"external_id": "a", "n": {"inc": 2}, "tags": {"add": ["y"]}}))
    profile = braze.profile(external_id="a")
    assert profile is not None
    assert profile["attributes"] == {"n": 5, "tags": ["x", "y"]}


@pytest.mark.parametrize(
    ("who", "creates"),
    [
        ({"external_id": "new"}, True),
        ({"email": "new@example.com"}, True),
        ({"user_alias": {"alias_name": "n", "alias_label": "l"}}, False),
        ({"user_alias": {"alias_name": "n", "alias_label": "l"}, "_update_existing_only": False}, True),
        ({"external_id": "new", "_update_existing_only": True}, False),
        ({"braze_id": "new"}, False),
    ],
)
def test_an_unknown_user_is_processed_whether_created_or_not(
    sandbox: Sandbox, braze: BrazeSandbox, who: dict[str, Any], creates: bool
) -> None:
    answer = call(sandbox, "/users/track", attributes({**who, "plan": "pro"}))
    assert answer.json() == {"message": "success", "attributes_processed": 1}
    assert len(braze.users.profiles) == creates


def test_an_email_means_the_identified_profile_first(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "email": "a@example.com"}))
    call(sandbox, "/users/track", attributes({"external_id": "b", "email": "a@example.com"}))
    call(sandbox, "/users/track", attributes({"email": "a@example.com", "plan": "pro"}))
    assert [p["attributes"].get("plan") for p in braze.users.profiles] == [None, "pro"]


def test_the_same_event_twice_is_two_events(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    event = {"external_id": "a", "name": "signed_up", "time": "2024-01-01T00:00:00Z"}
    for _ in range(2):
        assert call(sandbox, "/users/track", {"events": [event]}).json()["events_processed"] == 1
    assert [e["name"] for e in braze.events] == ["signed_up", "signed_up"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"price": "9"}, "'price' is not valid"), ({"quantity": 101}, "'quantity' is not valid")],
)
def test_a_bad_purchase_is_refused_in_brazes_words(sandbox: Sandbox, change: dict[str, Any], reason: str) -> None:
    purchase = {"external_id": "a", "product_id": "p", "currency": "EUR", "price": 9.5, "time": "2024-01-01T00:00:00Z"}
    answer = call(sandbox, "/users/track", {"purchases": [purchase, {**purchase, **change}]}).json()
    assert answer["purchases_processed"] == 1
    assert answer["errors"] == [{"type": reason, "input_array": "purchases", "index": 1}]


def test_a_deletion_names_one_kind_of_identifier_and_at_most_50(sandbox: Sandbox) -> None:
    assert call(sandbox, "/users/delete", {"external_ids": ["a"], "braze_ids": ["b"]}).status_code == 400
    assert call(sandbox, "/users/delete", {"external_ids": ["a"] * 51}).status_code == 400
    assert call(sandbox, "/users/delete", {"email_addresses": [{"email": "a@example.com"}]}).status_code == 400


def test_a_deletion_by_email_follows_the_prioritization(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    for id in ("a", "b"):
        call(sandbox, "/users/track", attributes({"external_id": id, "email": "x@example.com"}))
    entry = {"email": "x@example.com", "prioritization": ["identified"]}
    call(sandbox, "/users/delete", {"email_addresses": [entry]})
    assert len(braze.users.profiles) == 2  # two are identified: none is deleted
    entry["prioritization"] = ["identified", "most_recently_updated"]
    assert call(sandbox, "/users/delete", {"email_addresses": [entry]}).json()["deleted"] == 1
    assert [p["external_id"] for p in braze.users.profiles] == ["a"]


def test_an_export_lists_who_is_unknown(sandbox: Sandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "plan": "pro"}))
    answer = call(sandbox, "/users/export/ids", {"external_ids": ["a", "b"], "fields_to_export": ["external_id"]})
    assert answer.json() == {"message": "success", "users": [{"external_id": "a"}], "invalid_user_ids": ["b"]}
    assert call(sandbox, "/users/export/ids", {"external_ids": ["a"]}).status_code == 400


def test_an_export_holds_the_least_data_possible_and_custom_attributes_apart(sandbox: Sandbox) -> None:
    user = {"external_id": "a", "plan": "pro", "vip": False, "first_name": "Ann", "last_name": "", "twitter": {"id": 1}}
    call(sandbox, "/users/track", attributes(user))
    fields = ["first_name", "last_name", "custom_attributes", "plan", "twitter"]
    answer = call(sandbox, "/users/export/ids", {"external_ids": ["a"], "fields_to_export": fields})
    assert answer.json()["users"] == [{"first_name": "Ann", "custom_attributes": {"plan": "pro", "vip": False}}]


def test_items_are_replaced_edited_and_deleted(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    path = "/catalogs/products/items"
    one = {"id": "1", "name": "Tea", "tags": ["hot"]}
    answer = call(sandbox, path, {"items": [one]}, method="PUT")
    assert (answer.status_code, answer.json()) == (202, {"message": "success"})
    call(sandbox, path, {"items": [{"id": "1", "tags": {"$add": ["new"]}}, {"id": "2", "name": "?"}]}, method="PATCH")
    assert braze.catalogs.items["products"] == {"1": {"id": "1", "name": "Tea", "tags": ["hot", "new"]}}
    call(sandbox, path, {"items": [{"id": "1", "price": 3}]}, method="PUT")
    assert braze.catalogs.items["products"] == {"1": {"id": "1", "price": 3}}
    call(sandbox, path, {"items": [{"id": "1"}]}, method="DELETE")
    assert braze.catalogs.items["products"] == {}


@pytest.mark.parametrize(
    ("items", "code", "named"),
    [
        ([{"id": "1"}, {"id": "2", "colour": "red"}], "invalid-fields", ["2"]),
        ([{"id": "1"}, {"id": "1"}], "ids-not-unique", ["1"]),
        ([{"id": "1"}, {"id": "a b"}], "invalid-ids", ["a b"]),
        ([{"id": "1"}, {"id": "x" * 251}], "ids-too-large", ["x" * 251]),
        ([{"id": 1}], "ids-not-strings", [1]),
        ([{"name": "Tea"}], "items-missing-ids", []),
        ([{"id": "1", "price": "cheap"}], "unable-to-coerce-value", ["1"]),
        ([{"id": "1", "name": "x" * 5001}], "items-too-large", ["1"]),
        ([{"id": "1", "details": {"a.b": 1}}], "invalid-keys-in-value-object", ["1"]),
        ([{"id": str(n)} for n in range(51)], "request-includes-too-many-items", []),
        ("none", "item-array-invalid", []),
    ],
)
def test_one_bad_item_refuses_the_request(
    sandbox: Sandbox, braze: BrazeSandbox, items: Any, code: str, named: list[Any]
) -> None:
    answer = call(sandbox, "/catalogs/products/items", {"items": items}, method="PUT")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["id"], error["parameter_values"]) == (code, named)
    assert braze.catalogs.items["products"] == {}


def test_an_unknown_catalog_is_a_404_with_errors(sandbox: Sandbox) -> None:
    answer = call(sandbox, "/catalogs/none/items", {"items": [{"id": "1"}]}, method="PUT")
    assert (answer.status_code, answer.json()["errors"][0]["id"]) == (404, "catalog-not-found")


def test_the_rate_stands_in_the_headers_and_is_enforced(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    braze.track_window.limit = 2
    answers = [call(sandbox, "/users/track", {}) for _ in range(3)]
    assert [a.status_code for a in answers] == [400, 400, 429]
    assert [a.headers["x-ratelimit-remaining"] for a in answers] == ["1", "0", "0"]
    assert 0 <= float(answers[2].headers["x-ratelimit-reset"]) - time.time() <= 4


def test_a_plan_by_active_users_has_a_429_of_its_own(sandbox: Sandbox, braze: BrazeSandbox) -> None:
    braze.by_active_users = True
    braze.track_window.limit = 1
    first, second = (call(sandbox, "/users/track", {}) for _ in range(2))
    assert 0 < float(first.headers["x-ratelimit-reset"]) <= 3
    assert "x-ratelimit-reset" not in second.headers
    assert 0 < float(second.headers["x-ratelimit-retry-after"]) <= 3


def test_the_state_can_be_read_by_other_processes(sandbox: Sandbox) -> None:
    call(sandbox, "/users/track", attributes({"external_id": "a", "plan": "pro"}))
    answer = requests.get(f"http://{sandbox.host}:{sandbox.port}/_sandbox/state/braze", timeout=5)
    (profile,) = answer.json()["users"]
    assert (profile["external_id"], profile["attributes"]) == ("a", {"plan": "pro"})
