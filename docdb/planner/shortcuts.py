"""The plan of the commonest queries on an index, in a quarter of the steps.

What lives here: ``quick_scan``. What it must not know: how candidates are weighed (``choice``).

One comparison of one field, or a list of values it may have, in that field's order or none, when a single index holds the field, and holds it first.
With a limit every entry met is a match in the order asked for, so the chooser takes that index without counting anything. Without one it takes the index
when the entries are few: they are counted up to the chooser's first limit, and weighed against a scan. That the field is no array may be
said as well, as security rules do. The same plan is made here (tests compare the two). Whatever is not quite so is left to the chooser.
"""

from __future__ import annotations

from typing import Any, Final

from docdb.language.tree import And, Compare, In, Node
from docdb.planner.access import FullScan, IndexScan
from docdb.planner.bounds import IndexBounds, ranges_of
from docdb.planner.choice import FETCH_COST, FIRST_STEP, SORT_COST, Candidate
from docdb.planner.conditions import conditions
from docdb.planner.intervals import EVERYTHING, is_point
from docdb.planner.plan import Plan
from docdb.planner.queries import FindQuery
from docdb.planner.shapes import excludes_array, only_index
from docdb.planner.views import View

__all__ = ["quick_scan"]

_SCALARS: Final = frozenset({bool, float, int, str})
_LONGEST: Final = 240  # bytes of a bound that needs no cut
_PROVED: Final = frozenset({0})
_BOTH_PROVED: Final = frozenset({0, 1})
_NOTHING: Final[frozenset[int]] = frozenset()
_ID: Final = ("_id",)
_MOST_VALUES: Final = 100


def quick_scan(query: FindQuery, view: View) -> Plan | None:
    """Return the plan of a query without hint, or None where the chooser has to think. Cost: one read of the index's counters."""
    node, sources = _comparison(query.node)
    if node is None or node.collation is not None or node.path == _ID or (query.sort and type(node) is In):
        return None
    if query.projection is not None or query.after is not None or query.collation is not None:
        return None
    sort = query.sort
    if sort and (len(sort) > 1 or sort[0][0] != node.path):
        return None
    index = only_index(view.collection, node.path)
    if index is None:
        return None
    counters = view.counters(index)
    bounds = None if counters.multikey or counters.cut else _bounds(node, index)
    if bounds is None:
        return None
    access = IndexScan(index, bounds, bool(sort) and sort[0][1] != index.keys[0][1])
    only = Candidate(access, sources, bool(sort), True)
    if (
        index.unique
        and len(bounds.ranges) == 1
        and all(len(field) == 1 and is_point(field[0]) for field in bounds.fields)
    ):
        only.estimate, only.counted = 1, True
    elif query.limit:
        only.estimate = query.skip + query.limit
    else:
        return _few(query, view, only)
    return Plan(query, access, True, True, sort, considered=[only])


def _few(query: FindQuery, view: View, only: Candidate) -> Plan | None:
    """Return the plan of an index scan whose entries are few, None where they are many or a scan of all documents is no dearer."""
    access = only.access
    assert isinstance(access, IndexScan)
    found = 0
    for item in access.bounds.ranges:
        found += view.entry_count(access.index, item.low, item.high, FIRST_STEP - found)
        if found >= FIRST_STEP:
            return None
    total = view.document_count()
    if FETCH_COST * found >= total + (SORT_COST * min(total, found) if query.sort else 0):
        return None
    only.estimate, only.counted = found, True
    full = Candidate(FullScan(), _NOTHING, False, False, total, True)
    return Plan(query, access, True, True, query.sort, considered=[full, only])


def _comparison(node: Node) -> tuple[Compare | In | None, frozenset[int]]:
    """Return the one comparison of a filter, alone or with the condition that its field is no array, and the numbers of the conjuncts."""
    if type(node) is Compare:
        return (node, _PROVED) if type(node.value) in _SCALARS else (None, _PROVED)
    if type(node) is In:
        plain = not node.patterns and len(node.values) <= _MOST_VALUES and all(type(v) in _SCALARS for v in node.values)
        return (node, _PROVED) if plain and node.values else (None, _PROVED)
    if type(node) is not And or len(node.parts) != 2:
        return None, _PROVED
    first, second = node.parts
    if type(first) is not Compare or type(first.value) not in _SCALARS or not excludes_array(second, first):
        return None, _PROVED
    return first, _BOTH_PROVED


def _bounds(node: Compare | In, index: Any) -> IndexBounds | None:
    """Return what ``bounds_of`` gives for the one comparison; None where its bounds prove too little."""
    (condition,) = conditions((node,), None)
    if not condition.exact or (len(condition.intervals) != 1 and type(node) is Compare) or not condition.intervals:
        return None
    fields = (condition.intervals, *[EVERYTHING] * (len(index.keys) - 1))
    ranges, depth = ranges_of(fields, [way for _, way in index.keys])
    if any(len(item.low) > _LONGEST or len(item.high) > _LONGEST for item in ranges):
        return None
    return IndexBounds(fields, ranges, depth, _PROVED, True)
