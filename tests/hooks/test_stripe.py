from __future__ import annotations

from collections.abc import Callable

from airflow_provider_census.hooks.stripe import StripeHook
from airflow_provider_census.sandbox.core import Sandbox


def test_a_raw_request_may_carry_a_form_which_is_all_this_api_takes(
    census_sandbox: Sandbox, census_connect: Callable[..., None]
) -> None:
    census_connect("stripe", "stripe")
    answer = StripeHook("stripe").request("POST", "/customers", form={"email": "a@x.com", "metadata[plan]": "pro"})
    assert answer.status == 200
    assert answer.json()["metadata"] == {"plan": "pro"}
