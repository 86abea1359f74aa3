"""The document stores that people embed in Python programs for small data: the questions of the group ``rows``, on 5,000 documents.

TinyDB, MontyDB and UnQLite have no index to ask, so what is a search by index in docdb is a scan there; that is what their users get. mongomock keeps
nothing and takes no part where a write must be durable. Each question is asked until a contestant has used twenty seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar, Final

from benchmarks.report import Row, Times
from benchmarks.stage import Stage as AnyStage


class Stage(AnyStage):
    """The contestants."""

    rivals: ClassVar = ("docdb", "mongomock", "montydb", "surrealdb", "tinydb", "unqlite")


def load(stage: Stage) -> Row:
    """Load all documents, with two indexes where there are any."""
    durable = {contestant.name for contestant in stage.contestants if getattr(contestant, "durable", True)}
    return Row("load, per document", "us", {name: time for name, time in stage.loaded.items() if name in durable})


def get(stage: Stage) -> Row:
    """Get by ``_id``."""
    ids = [d["_id"] for d in random.Random(2).sample(stage.documents, min(20, len(stage.documents)))]
    return stage.ask("get by _id", lambda c: sum(c.get(id)["age"] for id in ids), units=len(ids))


def range_(stage: Stage) -> Row:
    """Read the first 100 documents of a range, in order."""
    return stage.ask("100 documents of a range, in order", lambda c: [d["age"] for d in c.range(500, 100)], units=1)


def filter_(stage: Stage) -> Row:
    """Count by an unindexed filter."""
    return stage.ask("unindexed filter, per document", lambda c: c.filter("city123", 5_000))


def top(stage: Stage) -> Row:
    """Find the ten documents with the highest score."""
    return stage.ask("top 10 of an unindexed sort, per document", lambda c: c.top(10))


def group(stage: Stage) -> Row:
    """Sum a field by the values of another."""
    return stage.ask("group by + sum, per document", lambda c: c.group())


def update(stage: Stage) -> Row:
    """Change one document durably."""
    ids = [d["_id"] for d in random.Random(4).sample(stage.documents, min(10, len(stage.documents)))]
    fresh = {c.name: iter(range(1_000_000, 10_000_000)) for c in stage.contestants}
    everybody = stage.contestants
    stage.contestants = [c for c in everybody if getattr(c, "durable", True)]
    try:
        times: Times = stage.rounds(lambda c: [c.update(id, next(fresh[c.name])) for id in ids], len(ids), rounds=5)
    finally:
        stage.contestants = everybody
    return Row("one durable update", "us", times)


WORKLOADS: Final[dict[str, Callable[[Any], Row]]] = {
    "small_load": load, "small_get": get, "small_range": range_, "small_filter": filter_, "small_top": top, "small_group": group, "small_update": update,
}  # fmt: skip
