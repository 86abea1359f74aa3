"""Benchmarks: docdb against hand-written lmdb + msgpack and SQLite JSONB, in one run on one machine.

``python -m benchmarks`` runs all rows of the table in ARCHITECTURE.md, ``python -m benchmarks get range`` some of them.
"""
