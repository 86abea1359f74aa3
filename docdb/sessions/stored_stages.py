"""Stages over stored bytes: $count, and $group with an $unwind before it, without a document being made.

What lives here: ``run_stored``, which takes what it can off the front of the stages behind a plan. What it must not know: how a plan was chosen, how
groups are made (``pipeline/grouping.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docdb.pipeline.context import Batch
from docdb.pipeline.grouping import Grouping, compile_grouping
from docdb.planner.plan import Plan
from docdb.planner.views import View

__all__ = ["Stored", "run_stored", "stored_stages"]

Stage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """The stages that are served: how many, the name of the count or the grouping, and the stages to run behind them."""

    taken: int
    count: str | None
    grouping: Grouping | None
    rest: tuple[Stage, ...]


def stored_stages(stages: Sequence[Stage]) -> Stored | None:
    """Return what is served of stages that compiled, None for nothing. There is no collation."""
    first = stages[0] if stages else {}
    if "$count" in first:
        return Stored(1, first["$count"], None, tuple(stages[1:]))
    at = 1 if "$unwind" in first else 0
    if len(stages) <= at:
        return None
    spec, rest = stages[at].get("$group"), tuple(stages[at + 1 :])
    if "$sortByCount" in stages[at]:
        spec, rest = {"_id": stages[at]["$sortByCount"], "count": {"$sum": 1}}, ({"$sort": {"count": -1}}, *rest)
    grouping = None if spec is None else compile_grouping(spec, first["$unwind"] if at else None)
    return None if grouping is None else Stored(at + 1, None, grouping, rest)


def run_stored(
    stages: Sequence[Stage], chosen: Plan, view: View, deadline: float | None, memory_limit: int
) -> tuple[Batch, tuple[Stage, ...]] | None:
    """Return what the first stages make of a plan's documents, and the stages to run on it; None where a document must be made for that."""
    served = stored_stages(stages)
    if served is None:
        return None
    if served.count is not None:
        found = chosen.count(view, deadline)
        return ([{served.count: found}] if found else []), served.rest
    if served.grouping is None:
        return None
    groups = served.grouping.run(lambda take: chosen.stored(view, deadline, take=take), memory_limit)
    return None if groups is None else (groups, served.rest)
