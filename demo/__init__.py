"""``make demo``: the example DAGs over five runs, on a real Airflow, from a DuckDB warehouse into the sandbox."""
