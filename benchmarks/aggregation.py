"""Aggregation over 100,000 documents of 300 bytes: docdb's pipeline against SQL over JSON in SQLite, DuckDB and PostgreSQL, one thread each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar, Final

from benchmarks.report import Row
from benchmarks.stage import Stage as AnyStage
from benchmarks.workloads import Settings

OTHERS: Final = 1_000
KINDS: Final = 25
SQLITE: Final = "SQLite JSONB (apsw)"
POSTGRES: Final = "PostgreSQL jsonb"


class Stage(AnyStage):
    """The contestants, with a second collection of 1,000 documents that the field ``age`` of the first speaks of."""

    rivals: ClassVar = ("docdb questions", "sqlite questions", "duckdb questions", "postgres questions")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        chance = random.Random(settings.seed)
        others = [
            {"n": n, "kind": f"kind{chance.randrange(KINDS):02d}", "weight": chance.randrange(1000)}
            for n in range(OTHERS)
        ]
        for contestant in self.contestants:
            contestant.load_others(others)


def group_sum(stage: Stage) -> Row:
    """Sum a field by the values of another."""
    return stage.ask("group by + sum, per document", lambda c: c.group(), marks={SQLITE: 4.0, POSTGRES: 2.5})


def group_two(stage: Stage) -> Row:
    """Count, average, least and greatest by two fields."""
    return stage.ask("group by two fields: count, avg, min, max, per document", lambda c: c.by_two())


def group_range(stage: Stage) -> Row:
    """Group what an index range of a tenth finds."""
    return stage.ask(
        "group by + sum over a tenth, found by index, per document found", lambda c: c.ranged(300, 400), units=len(stage.documents) / 10
    )  # fmt: skip


def top(stage: Stage) -> Row:
    """Find the ten documents with the highest score, without an index."""
    return stage.ask("top 10 of an unindexed sort, per document", lambda c: c.top(10), marks={SQLITE: 2.5})


def unwind(stage: Stage) -> Row:
    """$unwind an array of three and count by its elements."""
    return stage.ask("$unwind (3 elements) + $group, per document", lambda c: c.unwound())


def histogram(stage: Stage) -> Row:
    """Count by month."""
    return stage.ask("date histogram by month, per document", lambda c: c.months())


def lookup(stage: Stage) -> Row:
    """$lookup every document among 1,000 through an index; whole documents come back."""
    row = stage.ask("$lookup among 1,000 by index, documents returned, per document", lambda c: c.joined(), rounds=3)
    row.mark, row.met = "3 us", row.times["docdb"] <= 3
    return row


def lookup_group(stage: Stage) -> Row:
    """$lookup, $unwind and sum by a field of the other collection."""
    return stage.ask("$lookup + $unwind + $group, per document", lambda c: c.joined_groups(), rounds=3)


def bucket(stage: Stage) -> Row:
    """$bucket into ten, count and average."""
    return stage.ask("$bucket into 10: count, avg, per document", lambda c: c.buckets())


def facet(stage: Stage) -> Row:
    """$facet with three pipelines."""
    return stage.ask("$facet of three groups, per document", lambda c: c.facets())


def distinct(stage: Stage) -> Row:
    """Count the distinct values of a nested field."""
    return stage.ask("count of distinct values, per document", lambda c: c.distinct())


WORKLOADS: Final[dict[str, Callable[[Any], Row]]] = {
    "group_sum": group_sum, "group_two": group_two, "group_range": group_range, "top_10": top, "unwind": unwind, "histogram": histogram,
    "lookup": lookup, "lookup_group": lookup_group, "bucket": bucket, "facet": facet, "distinct": distinct,
}  # fmt: skip
