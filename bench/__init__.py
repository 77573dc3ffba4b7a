"""
Benchmarks: ``make bench``.

Every measurement is a process of its own, against an API in another process and a real PostgreSQL or DuckDB, so that
its seconds and its peak memory are its own. Peers do the same work in the same run. Numbers depend on the machine:
compare the rows of one run.
"""
