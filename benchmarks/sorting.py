"""Sorts of all documents, with and without an index, with limits: docdb against SQLite, DuckDB and PostgreSQL, one thread each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from benchmarks.report import Row
from benchmarks.stage import Stage as AnyStage

SQLITE: Final = "SQLite JSONB (apsw)"


class Stage(AnyStage):
    """The contestants; indexed are ``age`` and (``city``, ``score`` descending), in DuckDB nothing, which scans columns instead."""

    rivals: ClassVar = ("docdb questions", "sqlite questions", "duckdb questions", "postgres questions")


def _sort(
    title: str, *keys: tuple[str, int], skip: int = 0, limit: int = 0, marks: dict[str, float] | None = None
) -> Callable[[Stage], Row]:
    def run(stage: Stage) -> Row:
        units = len(stage.documents) if title.endswith("per document") else 1
        return stage.ask(title, lambda c: c.ordered(*keys, skip=skip, limit=limit), marks=marks, units=units)

    run.__doc__ = title
    return run


def documents(stage: Stage) -> Row:
    """Sort whole documents by an unindexed field."""
    return stage.ask(
        "sort of whole documents, no index, per document", lambda c: c.ordered_documents("visits"), rounds=3
    )


WORKLOADS: Final[dict[str, Callable[[Any], Row]]] = {
    "sort_number": _sort("sort by a number, no index, per document", ("score", 1)),
    "sort_text": _sort("sort by a text, no index, per document", ("name", -1)),
    "sort_two": _sort("sort by two fields, no index, per document", ("active", 1), ("visits", -1)),
    "sort_10": _sort("first 10 by a number, no index, per document", ("visits", 1), limit=10, marks={SQLITE: 2.5}),
    "sort_1000": _sort("first 1,000 by a number, no index, per document", ("score", -1), limit=1_000),
    "sort_skip": _sort("10 behind 10,000 by a number, no index, per document", ("score", -1), skip=10_000, limit=10),
    "sort_documents": documents,
    "sort_index": _sort("sort by an index, per document", ("age", 1)),
    "sort_index_100": _sort("first 100 by an index", ("age", -1), limit=100),
    "sort_compound": _sort("sort by a compound index, per document", ("city", 1), ("score", -1)),
    "sort_compound_100": _sort("first 100 by a compound index", ("city", 1), ("score", -1), limit=100),
    "sort_prefix_100": _sort("first 100, the index serves the first field", ("city", 1), ("visits", 1), limit=100),
}
