"""Benchmarks: docdb against what else its users might take, in one run on one machine; ``python -m benchmarks list`` names them all.

A group is a module with ``Stage`` and ``WORKLOADS`` (``workloads.py`` has the table); the rivals are in ``rivals/``, the last results in ``RESULTS.md``.
"""
