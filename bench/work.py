"""The rows everybody sends. Standard library only: peers read it too, in environments of their own."""

from __future__ import annotations

# PostgreSQL's and DuckDB's.
_MODEL = """
SELECT n AS id, 'user' || n || '@example.com' AS email, 'Name ' || n AS name, MOD(n, 5) AS plan,
       CAST(MOD(n, 1000) / 10.0 AS DOUBLE PRECISION) AS mrr,
       TIMESTAMPTZ '2026-01-01 00:00:00+00' + n * INTERVAL '1 second' AS updated_at
FROM generate_series(1, {rows}) AS {series}
"""


def model(rows: int, dialect: str = "postgres") -> str:
    """Return the model of so many rows."""
    return _MODEL.format(rows=rows, series="t(n)" if dialect == "duckdb" else "n")
