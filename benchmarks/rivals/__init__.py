"""The rivals, each written as its experts would: prepared statements, indexes, the durability of docdb's default.

What lives here: ``RIVALS``, where each is found, and ``find``, which leaves out what is not installed and says so. A rival's packages stand in
``requirements/`` under the name of its module.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

__all__ = ["RIVALS", "Absent", "find"]

RIVALS: Final = {
    "docdb": ("docdb_itself", "Docdb"),
    "docdb questions": ("sql", "DocdbQuestions"),
    "duckdb": ("duckdb_json", "DuckDB"),
    "duckdb questions": ("sql_duckdb", "DuckDBQuestions"),
    "hand": ("by_hand", "ByHand"),
    "mongomock": ("mongomock_memory", "Mongomock"),
    "montydb": ("montydb_lmdb", "MontyDB"),
    "postgres": ("postgres_jsonb", "PostgreSQL"),
    "postgres questions": ("sql_postgres", "PostgreSQLQuestions"),
    "sqlite": ("sqlite_jsonb", "SqliteJsonb"),
    "sqlite questions": ("sql", "SqliteQuestions"),
    "surrealdb": ("surrealdb_embedded", "SurrealDB"),
    "tinydb": ("tinydb_json", "TinyDBDocuments"),
    "unqlite": ("unqlite_json", "UnQLiteDocuments"),
}


class Absent(Exception):
    """A rival cannot take part here; the message says why."""


def find(names: Sequence[str]) -> tuple[list[type[Any]], list[str]]:
    """Return the classes of the named rivals, and a note for each that is not installed."""
    found, notes = [], []
    for name in names:
        module, title = RIVALS[name]
        try:
            found.append(getattr(import_module(f"benchmarks.rivals.{module}"), title))
        except ImportError as error:
            notes.append(f"{title} not measured: {error} (benchmarks/rivals/requirements/{module}.txt)")
    return found, notes
