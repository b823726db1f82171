"""Benchmarks of greenserve beside its peers. ``python -m benchmarks`` lists them.

``docs/reference/benchmarks.md`` says how to run and how to read them.
"""
