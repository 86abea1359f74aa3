"""Does a query imply the filter of a partial index, or that a sparse index holds every match?

What lives here: ``implies`` and ``implies_presence``; sound, not complete: a False only means "not proved". What it must not know: plans, bounds of
several fields.

The proof of a leaf: every match of the query has a value in the query's intervals; if these lie inside the leaf's intervals and those are
exact, that value proves the leaf.
"""

from __future__ import annotations

from docdb.language import tree
from docdb.language.order import NULL_KEY
from docdb.language.tree import Node, Path
from docdb.planner.conditions import Condition, conditions, conjuncts
from docdb.planner.intervals import intersect, point, subset

__all__ = ["implies", "implies_presence"]

_NULL = (point(NULL_KEY),)


def implies(query: Node, wanted: Node) -> bool:
    """Tell whether every document that matches ``query`` provably matches ``wanted``."""
    parts = conjuncts(query)
    return _implies(parts, wanted)


def implies_presence(query: Node, paths: list[Path]) -> bool:
    """Tell whether every match provably has one of the fields."""
    parts = conjuncts(query)
    return any(_present(parts, path) for path in paths)


def _implies(parts: tuple[Node, ...], wanted: Node) -> bool:
    if isinstance(wanted, tree.And):
        return all(_implies(parts, part) for part in wanted.parts)
    if wanted == tree.TRUE or any(_same(part, wanted) for part in parts):
        return True
    for number, part in enumerate(parts):
        if isinstance(part, tree.Or) and part.parts:
            rest = parts[:number] + parts[number + 1 :]
            if all(_implies(rest + conjuncts(branch), wanted) for branch in part.parts):
                return True
    if isinstance(wanted, tree.Or):
        return any(_implies(parts, branch) for branch in wanted.parts)
    if isinstance(wanted, tree.Exists):
        return _present(parts, wanted.path)
    return _proved_by_intervals(parts, wanted)


def _proved_by_intervals(parts: tuple[Node, ...], wanted: Node) -> bool:
    collation = getattr(wanted, "collation", None)
    goals = [goal for goal in conditions((wanted,), collation) if goal.exact]
    if not goals or isinstance(wanted, tree.Not | tree.Or):
        return False
    known = conditions(parts, collation)
    return any(c.path == goals[0].path and _inside(c, goals[0]) for c in known)


def _inside(known: Condition, goal: Condition) -> bool:
    return known.group is None and subset(known.intervals, goal.intervals)


def _present(parts: tuple[Node, ...], path: Path) -> bool:
    if any(isinstance(part, tree.Exists) and part.path == path for part in parts):
        return True
    # A match has an entry inside the intervals; one that is not null comes from a value.
    return any(c.path == path and not intersect(c.intervals, _NULL) for c in conditions(parts, None))


def _same(left: Node, right: Node) -> bool:
    """Equal in Python's sense and spelt alike (True is 1 to Python)."""
    return left == right and repr(left) == repr(right)
