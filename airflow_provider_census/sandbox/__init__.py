"""
Stand-ins of the destinations' APIs, on this machine, strict about credentials, shapes, sizes and limits.

Run your own DAG on them: point the connection at the sandbox, run the DAG, look at what arrived::

    from airflow_provider_census.sandbox.core import Fault

    # fixtures of airflow_provider_census.testing.plugin
    def test_new_users_arrive_in_intercom(census_sandbox, census_connect):
        census_connect("intercom_prod", "intercom")
        # let the third write get no answer although it is applied
        census_sandbox.inject(Fault(api="intercom", method="POST", path="/contacts", after=2, reset="after"))

        dag.test()

        contacts = census_sandbox["intercom"].contacts.values()
        assert {contact["external_id"] for contact in contacts} == {"1", "2", "3"}
        assert len(census_sandbox.calls("intercom", "POST", "/contacts")) == 4

Without pytest, ``with Sandbox() as sandbox`` serves them. State (``sandbox["intercom"].contacts``), credentials
(``.token``) and limits are attributes of each stand-in; see its module. ``sandbox.ledger`` lists every request.
:class:`~.core.Fault` says what can go wrong.

For workers in other processes, ``python -m airflow_provider_census.sandbox --port 8765`` serves in the foreground, and
the same is done over HTTP: ``GET /_sandbox/ledger``, ``POST /_sandbox/faults`` with the fields of a fault as JSON,
``POST /_sandbox/reset``, ``GET /_sandbox/state/<api>``.

It needs FastAPI and uvicorn, which Airflow brings.
"""
