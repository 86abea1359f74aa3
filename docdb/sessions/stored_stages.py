"""Stages over stored bytes: $count, $bucket, $group with an $unwind before it, a $lookup before that, and a $facet of such, without a document being made.

What lives here: ``run_stored``, which takes what it can off the front of the stages behind a plan. What it must not know: how a plan was chosen, how
groups are made (``pipeline/grouping.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from docdb.pipeline.context import Batch, Context
from docdb.pipeline.grouping import Grouping, compile_bucket, compile_grouping
from docdb.pipeline.joining import plain_join
from docdb.pipeline.runner import compile_pipeline
from docdb.planner.plan import Plan
from docdb.planner.views import View

__all__ = ["Stored", "run_stored", "stored_stages"]

Stage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """The stages that are served: how many, the stages behind them; the name of a count (of groups, with a grouping), the grouping, the facets."""

    taken: int
    rest: tuple[Stage, ...]
    count: str | None = None
    grouping: Grouping | None = None
    facets: dict[str, Stored] | None = None


def stored_stages(stages: Sequence[Stage]) -> Stored | None:
    """Return what is served of stages that compiled, None for nothing. There is no collation."""
    first = stages[0] if stages else {}
    rest = tuple(stages[1:])
    if "$count" in first:
        return Stored(1, rest, count=first["$count"])
    if "$bucket" in first:
        grouping = compile_bucket(first["$bucket"])
        return None if grouping is None else Stored(1, rest, grouping=grouping)
    if "$facet" in first:
        facets = {name: stored_stages(inner) for name, inner in first["$facet"].items()}
        served = {name: facet for name, facet in facets.items() if facet is not None}
        return Stored(1, rest, facets=served) if len(served) == len(facets) else None
    return _grouped(stages)


def _grouped(stages: Sequence[Stage]) -> Stored | None:
    """Return what is served of a $group or $sortByCount, and an $unwind and a $lookup before it."""
    joins = len(stages) > 2 and "$lookup" in stages[0] and "$unwind" in stages[1]
    at = 2 if joins else 1 if len(stages) > 1 and "$unwind" in stages[0] else 0
    unwind = stages[at - 1]["$unwind"] if at else None
    join = plain_join(stages[0]["$lookup"], unwind) if joins else None
    if not stages or (joins and join is None):
        return None
    spec, rest = stages[at].get("$group"), tuple(stages[at + 1 :])
    if "$sortByCount" in stages[at]:
        spec, rest = {"_id": stages[at]["$sortByCount"], "count": {"$sum": 1}}, ({"$sort": {"count": -1}}, *rest)
    grouping = None if spec is None else compile_grouping(spec, unwind, join)
    if grouping is not None and rest and "$count" in rest[0]:
        return Stored(at + 2, rest[1:], count=rest[0]["$count"], grouping=grouping)
    return None if grouping is None else Stored(at + 1, rest, grouping=grouping)


def run_stored(
    stages: Sequence[Stage], chosen: Plan, view: View, deadline: float | None, context: Context
) -> tuple[Batch, tuple[Stage, ...]] | None:
    """Return what the first stages make of a plan's documents, and the stages to run on it; None where a document must be made for that."""
    served = stored_stages(stages)
    if served is None:
        return None
    made = _made(served, chosen, view, deadline, context)
    return None if made is None else (made, served.rest)


def _read(chosen: Plan, view: View, deadline: float | None, take: Any) -> Iterator[list[Any]] | None:
    return chosen.stored(view, deadline, take=take)


def _made(served: Stored, chosen: Plan, view: View, deadline: float | None, context: Context) -> Batch | None:
    read = partial(_read, chosen, view, deadline)
    grouping = served.grouping
    if served.count is not None:
        if grouping is None:
            found: int | None = chosen.count(view, deadline)
        else:
            found = grouping.count(read, context.memory_limit, context.source_bytes, context.check_deadline)
        return None if found is None else [{served.count: found}] if found else []
    if grouping is not None:
        return grouping.run(read, context.memory_limit, context.source_bytes, context.check_deadline)
    shown: dict[str, Any] = {}
    for name, facet in (
        served.facets or {}
    ).items():  # each reads for itself: that costs less than making documents once
        made = _made(facet, chosen, view, deadline, context)
        if made is None:
            return None
        rest = compile_pipeline(facet.rest, context=context)
        shown[name] = [document for batch in rest.run(iter([made])) for document in batch]
    return [shown]
