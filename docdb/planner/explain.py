"""The plan, printed.

What lives here: ``explain`` and the advice which index would help. What it must not know: how plans are chosen.

With ``execute`` the plan is run without programs, so that every document that is looked at is counted.
"""

from __future__ import annotations

from typing import Any

from docdb import _native
from docdb.language import tree
from docdb.language.metadata import FIELD
from docdb.language.programs import compile_program
from docdb.language.tree import Node, Path
from docdb.planner.access import (
    Access,
    CountedAccess,
    FullScan,
    IdLookup,
    IndexIntersection,
    IndexScan,
    IndexUnion,
    Nothing,
    Work,
)  # fmt: skip
from docdb.planner.components import component_end, decode_component
from docdb.planner.conditions import Condition, conditions, conjuncts, only_points
from docdb.planner.intervals import EVERYTHING, Bound, Interval, Intervals, is_point
from docdb.planner.nearness import NEAR_ORDER
from docdb.planner.plan import Plan
from docdb.planner.views import View

__all__ = ["advice", "explain", "kernels"]


class _Counting:
    """A view that applies no programs: whatever is looked at arrives, and is counted."""

    applies_programs = False

    def __init__(self, view: View) -> None:
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def scan(self, *, program: Any = None, **more: Any) -> Any:
        return self._view.scan(**more)

    def fetch(self, ids: list[bytes], *, program: Any = None, decode: Any = True) -> Any:
        return self._view.fetch(ids, decode=decode)


def explain(plan: Plan, view: View, execute: bool = True) -> dict[str, Any]:
    """Return access path, bounds, work, stages, candidates and advice of a plan."""
    shown = _path(plan.access)
    in_memory = bool(plan.sort) and not plan.ordered
    shown["filter"] = "none" if plan.exact else "residual"
    shown["program"] = _program(plan, view)
    shown["sort"] = "memory" if in_memory else ("index" if plan.sort else "none")
    if plan.leads:
        shown["sort"] = "partial"
        shown["sorted_by_index"] = {".".join(path): way for path, way in plan.sort[: plan.leads]}
    shown["covered"] = plan.covered
    if plan.fallback is not None:
        shown["fallback"] = _path(plan.fallback.access) | {"after_documents": 2 * plan.budget}
    shown["stages"] = _stages(plan, in_memory)
    shown["candidates"] = [
        {
            "access": type(c.access).__name__,
            "index": _index_name(c.access),
            "estimate": c.estimate,
            "counted": c.counted,
        }
        for c in plan.considered
    ]
    if execute:
        shown |= _executed(plan, view)
    text = advice(plan, view)
    if text is not None:
        shown["advice"] = text
    return shown


def _executed(plan: Plan, view: View) -> dict[str, Any]:
    work = Work()
    returned = sum(len(batch) for batch in plan.run(_Counting(view), work=work))
    return {"entries_examined": work.entries, "documents_examined": work.documents, "returned": returned}


def _index_name(access: Access) -> str | None:
    index = getattr(access, "index", None)
    return None if index is None else str(index.name)


def _path(access: Access) -> dict[str, Any]:
    shown: dict[str, Any] = {"access": type(access).__name__}
    if isinstance(access, IndexScan):
        shown["index"] = access.index.name
        shown["keys"] = {".".join(path): way for path, way in access.index.keys}
        shown["bounds"] = {
            ".".join(path): _shown_cells(access.cells) if path == access.path else _shown_intervals(intervals)
            for (path, _), intervals in zip(access.index.keys, access.bounds.fields, strict=True)
        }
        shown["ranges"] = len(access.bounds.ranges)
        if access.near is not None:
            shown["distance"] = [access.near.low, access.near.high]
        shown["direction"] = "backward" if access.reverse else "forward"
        shown["merge"] = access.merge > 0
        shown["multikey"] = access.repeats
    elif isinstance(access, CountedAccess):
        shown |= access.describe()
    elif isinstance(access, IdLookup):
        shown["bounds"] = {"_id": [repr(decode_component(key)) for key in access.keys]}
    elif isinstance(access, FullScan):
        shown["bounds"] = {} if access.whole else {"_id": [_shown_range(low, high) for low, high in access.ranges]}
        shown["direction"] = "backward" if access.reverse else "forward"
    elif isinstance(access, IndexUnion | IndexIntersection):
        shown["parts"] = [_path(part) for part in access.parts]
    return shown


def _shown_cells(cells: tuple[Any, ...]) -> list[str]:
    """Return the names of cells: face, and the quarter at each level."""
    return [cell.name for cell in cells]


def _shown_intervals(intervals: Intervals) -> list[str]:
    return [_shown(interval) for interval in intervals]


def _shown(interval: Interval) -> str:
    if is_point(interval):
        return f"[{_value(interval.low.at)}]"
    low, high = interval
    left = f"({_value(low.at[:-1])}" if low.after else f"[{_value(low.at)}"
    right = f"{_value(high.at[:-1])}]" if high.after else f"{_value(high.at)})"
    return f"{left}, {right}"


def _shown_range(low: bytes, high: bytes | None) -> str:
    upper = Bound(high or b"\xff", (high or b"").endswith(b"\xff") and len(high or b"") > 1)
    return _shown(Interval(Bound(low, low.endswith(b"\xff")), upper))


_TYPE_STARTS = {
    b"": "MinKey", b"\xff": "MaxKey", b"\x20": "numbers", b"\x21": "end of numbers", b"\x30": "strings", b"\x31": "end of strings",
    b"\x40": "objects", b"\x41": "end of objects", b"\x90": "dates", b"\x91": "end of dates",
}  # fmt: skip


def _value(key: bytes) -> str:
    """Return a bound's value; a prefix of keys is shown as its text or its bytes."""
    if key in _TYPE_STARTS:
        return _TYPE_STARTS[key]
    try:
        if component_end(key) == len(key):
            return repr(decode_component(key))
    except (IndexError, KeyError, ValueError):
        pass  # a prefix is no whole key: shown below
    if key[:1] == b"\x30":
        return repr(key[1:].decode("utf-8", "replace")) + "..."
    return f"0x{key.hex()}"


def _program(plan: Plan, view: View) -> str:
    if plan.exact or plan.covered:
        return "none"
    program = compile_program(plan.query.node)
    if program is None:
        return "none"
    return "exact" if program.exact else "partial"


def kernels(plan: Plan, view: View) -> list[str]:
    """Return what of a plan runs on stored bytes, in compiled code: its filter (at least a part), the first documents of its order, its sort."""
    found = [("filter", _program(plan, view) != "none"), ("top", plan.takes_top), ("sort", plan.takes_sort)]
    return [name for name, runs in found if runs and _native.AVAILABLE]


def _stages(plan: Plan, in_memory: bool) -> list[str]:
    query = plan.query
    steps = [
        (True, type(plan.access).__name__),
        (
            isinstance(plan.access, IndexScan | IndexUnion | IndexIntersection | IdLookup | CountedAccess)
            and not plan.covered,
            "fetch",
        ),
        (not plan.exact, "filter"),
        (bool(query.after), "after"),
        (plan.score is not None and plan._carries, "score"),
        (in_memory, ("partial " if plan.leads else "") + ("top" if query.limit else "sort")),
        (bool(query.skip), "skip"),
        (bool(query.limit), "limit"),
        (query.projection is not None, "project"),
    ]
    return [name for present, name in steps if present]


# ---- advice


def advice(plan: Plan, view: View) -> str | None:
    """Return the ``create_index`` call that would spare a full scan or a sort in memory: equality, sort, range; None when none would."""
    scans = isinstance(plan.access, FullScan) and plan.access.whole and bool(conjuncts(plan.query.node))
    sorts = bool(plan.sort) and not plan.ordered
    if not (scans or sorts) or isinstance(plan.access, Nothing) or view.collection is None:
        return None
    keys = _wanted_keys(plan.query.node, plan)
    if not keys or keys == [("_id", 1)] or _is_there(keys, plan, view):
        return None
    pairs = ", ".join(f'("{name}", {way})' for name, way in keys)
    collation = plan.query.collation
    more = f", collation={collation.spec!r}" if collation is not None and hasattr(collation, "spec") else ""
    return f"create_index([{pairs}]{more})"


def _is_there(keys: list[tuple[str, int]], plan: Plan, view: View) -> bool:
    """Tell whether an index begins with these keys already: it was weighed and found dearer."""
    for index in view.collection.indexes:
        names = [(".".join(path), way) for path, way in index.keys]
        if names[: len(keys)] == keys and index.collation == plan.query.collation:
            return True
    return False


def _wanted_keys(node: Node, plan: Plan) -> list[tuple[str, int]]:
    equal: list[Path] = []
    limited: list[Path] = []
    for condition in _helpful(node, plan.query.collation):
        place = equal if only_points(condition.intervals) else limited
        if condition.path not in equal + limited:
            place.append(condition.path)
    order = () if plan.sort == NEAR_ORDER else [key for key in plan.sort if key[0][0] != FIELD]
    sort = [(path, way) for path, way in order if path not in equal]
    if sort and sort[0][1] < 0 and len(sort) == 1:
        sort = [(sort[0][0], 1)]  # read backward, so that one index serves both
    sorted_paths = [path for path, _ in sort]
    rest = [path for path in limited if path not in sorted_paths][:1]
    chosen = [(path, 1) for path in equal] + sort + [(path, 1) for path in rest]
    return [(".".join(path), way) for path, way in chosen if path != ("_id",) or len(chosen) == 1]


def _helpful(node: Node, collation: Any) -> list[Condition]:
    parts = conjuncts(node)
    found = conditions(parts, collation)
    return [c for c in found if c.intervals != EVERYTHING and not isinstance(parts[c.source], tree.Not)]
