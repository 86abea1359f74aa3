"""The plan of the commonest query on an index, in a quarter of the steps.

What lives here: ``quick_scan``. What it must not know: how candidates are weighed (``choice``).

One comparison of one field, in that field's order or none, with a limit: when a single index holds the field, and holds it first, every entry met is
a match in the order asked for, so the chooser takes that index without counting anything. That the field is no array may be said as well, as
security rules do. The same plan is made here (tests compare the two). Whatever is not quite so is left to the chooser.
"""

from __future__ import annotations

from typing import Any, Final

from docdb.language.tree import And, Compare, Node, Not, Path, TypeIs
from docdb.planner.access import IndexScan
from docdb.planner.bounds import IndexBounds, ranges_of
from docdb.planner.choice import Candidate, is_ordinary
from docdb.planner.conditions import conditions
from docdb.planner.intervals import EVERYTHING, is_point
from docdb.planner.plan import Plan
from docdb.planner.queries import FindQuery
from docdb.planner.views import View

__all__ = ["quick_scan"]

_SCALARS: Final = frozenset({bool, float, int, str})
_LONGEST: Final = 240  # bytes of a bound that needs no cut
_PROVED: Final = frozenset({0})
_BOTH_PROVED: Final = frozenset({0, 1})
_ARRAY: Final = frozenset({"array"})


def quick_scan(query: FindQuery, view: View) -> Plan | None:
    """Return the plan of a query without hint, or None where the chooser has to think. Cost: one read of the index's counters."""
    node, sources = _comparison(query.node)
    if node is None or not query.limit or type(node.value) not in _SCALARS or node.collation is not None:
        return None
    if query.projection is not None or query.after is not None or query.collation is not None:
        return None
    sort = query.sort
    if sort and (len(sort) > 1 or sort[0][0] != node.path):
        return None
    index = _only_index(view.collection, node.path)
    if index is None:
        return None
    counters = view.counters(index)
    bounds = None if counters.multikey or counters.cut else _bounds(node, index)
    if bounds is None:
        return None
    wanted = query.skip + query.limit
    access = IndexScan(index, bounds, bool(sort) and sort[0][1] != index.keys[0][1])
    only = Candidate(access, sources, bool(sort), True, wanted)
    if index.unique and all(len(field) == 1 and is_point(field[0]) for field in bounds.fields):
        only.estimate, only.counted = 1, True
    return Plan(query, access, True, True, sort, considered=[only])


def _comparison(node: Node) -> tuple[Compare | None, frozenset[int]]:
    """Return the one comparison of a filter, alone or with the condition that its field is no array, and the numbers of the conjuncts."""
    if type(node) is Compare:
        return node, _PROVED
    if type(node) is not And or len(node.parts) != 2:
        return None, _PROVED
    first, second = node.parts
    if type(first) is not Compare or type(second) is not Not:
        return None, _PROVED
    said = second.part
    if type(said) is TypeIs and said.path == first.path and said.names == _ARRAY:
        return first, _BOTH_PROVED
    return None, _PROVED


def _only_index(collection: Any, path: Path) -> Any | None:
    """Return the index that holds the field first, when it holds every document and no other index holds the field."""
    found = None
    for index in collection.indexes:
        if index.building or index.hidden:
            continue
        for known, _ in index.keys:
            if known == path:
                if found is not None:
                    return None
                found = index
    if found is None or found.keys[0][0] != path or not is_ordinary(found):
        return None
    plain = not found.sparse and found.partial_node is None and found.collation is None
    return found if plain else None


def _bounds(node: Compare, index: Any) -> IndexBounds | None:
    """Return what ``bounds_of`` gives for the one comparison; None where its bounds prove too little."""
    (condition,) = conditions((node,), None)
    if not condition.exact or len(condition.intervals) != 1:
        return None
    fields = (condition.intervals, *[EVERYTHING] * (len(index.keys) - 1))
    ranges, depth = ranges_of(fields, [way for _, way in index.keys])
    if any(len(item.low) > _LONGEST or len(item.high) > _LONGEST for item in ranges):
        return None
    return IndexBounds(fields, ranges, depth, _PROVED, True)
