"""The groups of workloads and what runs each of them.

What lives here: ``GROUPS``. A group shares its documents and contestants; its module is loaded when the group is asked for, so that a
rival that is not installed hinders only the group that needs it. What it must not know: what a workload measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from benchmarks.report import Row

__all__ = ["GROUPS", "Group", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How large, and which seed."""

    documents: int
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """A module with ``WORKLOADS`` (name -> function of a stage that gives one row or several) and ``Stage``, made of settings and closed when all have run."""

    name: str
    about: str
    documents: int

    def workloads(self) -> Mapping[str, Callable[[Any], Row | list[Row]]]:
        """Return the workloads by name."""
        found: Mapping[str, Callable[[Any], Row | list[Row]]] = import_module(f"benchmarks.{self.name}").WORKLOADS
        return found

    def run(self, settings: Settings, names: Sequence[str]) -> tuple[list[Row], list[str]]:
        """Run the named workloads on one stage; return their rows and what the stage notes, such as a rival that is not installed."""
        rows: list[Row] = []
        with closing(import_module(f"benchmarks.{self.name}").Stage(settings)) as stage:
            for name in names:
                print(f"    {name}", file=sys.stderr)
                made = self.workloads()[name](stage)
                rows += made if isinstance(made, list) else [made]
            return rows, list(getattr(stage, "notes", ()))


GROUPS: Final = {
    group.name: group
    for group in (
        Group("floors", "physical limits of rows: the same puts, reads and wake-ups in C, beside docdb's", 1_000_000),
        Group("aggregation", "groups, joins, buckets, facets: docdb, SQLite, DuckDB, PostgreSQL", 100_000),
        Group("sorting", "sorts with and without index, with limits: docdb, SQLite, DuckDB, PostgreSQL", 100_000),
        Group("growth", "curves from 10,000 documents on, ten times as many each step, up to --documents", 1_000_000),
        Group("rows", "the table of RESULTS.md: docdb, lmdb + msgpack by hand, SQLite JSONB", 100_000),
        Group("columns", "results as tables: docdb, dicts by hand, DuckDB", 1_000_000),
        Group("nobench", "NoBench: load and eleven queries", 1_000_000),
        Group("feeds", "change streams and live queries: to the callback, what a write pays, memory", 100_000),
        Group("real", "real data of ../shared/data: cities, flights, movies, grades, accounts, restaurants", 200_000),
        Group("rules", "security rules: find, insert and bulk as a caller and as the administrator", 100_000),
        Group("small", "TinyDB, MontyDB, mongomock, UnQLite, SurrealDB: the questions of rows on few documents", 5_000),
        Group("ycsb", "YCSB A to F: 1 and 8 threads, 4 processes", 100_000),
    )
}  # fmt: skip
