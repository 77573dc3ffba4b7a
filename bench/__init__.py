"""
Benchmarks of the engine: ``make bench``.

Every scenario runs in a process of its own, against a stub API in another process and a real PostgreSQL, so that its
peak memory and its seconds are its own. Numbers depend on the machine; compare the rows of one run.
"""
