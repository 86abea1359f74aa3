"""The planner: one query, one view, one plan.

What lives here: ``plan``. What it must not know: how bounds are made (``bounds``), how candidates are counted (``choice``), how the
plan does its work (``plan``).

Simple cases come first: a lookup by ``_id`` is planned without looking at an index.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import tree
from docdb.language.metadata import INDEX_KEY
from docdb.language.order import invert, order_key
from docdb.planner.access import Access, FullScan, IdLookup, IndexScan, Nothing
from docdb.planner.bounds import IndexBounds, Range
from docdb.planner.choice import (
    MAX_ID_BYTES,
    Candidate,
    Chooser,
    id_access,
    is_ordinary,
    scan_of,
    serves_id_order,
)  # fmt: skip
from docdb.planner.components import component_ends
from docdb.planner.conditions import conjuncts
from docdb.planner.covering import covers
from docdb.planner.hints import ID_INDEX, Natural, key_range, read_hint
from docdb.planner.intervals import EVERYTHING, successor
from docdb.planner.nearness import NEAR_ORDER, check_near
from docdb.planner.ordering import decode_token
from docdb.planner.plan import Plan
from docdb.planner.queries import FindQuery, SortKeys
from docdb.planner.shapes import bind
from docdb.planner.shortcuts import quick_scan
from docdb.planner.views import View

__all__ = ["plan"]

_NATURAL: Final = ("$natural",)
_ID: Final = ("_id",)
MAX_BOUND: Final = 480  # a key of the engine has at most 511 bytes
_PLAIN_IDS: Final = frozenset({str, int, bytes, type(None), bool, float})


def plan(query: FindQuery, view: View) -> Plan:
    """Return the plan for a query. Raises QueryError for a hint, ``min``, ``max`` or token that does not fit.

    Cost: tens of microseconds for a lookup by ``_id``; otherwise in proportion to the entries of the best path.
    """
    collection = view.collection
    if collection is None:
        return Plan(query, Nothing(), exact=True, ordered=True)
    free = query.hint is None and query.min is None and query.max is None
    bound = bind(query, view, _thought) if free else None
    return _thought(query, view) if bound is None else bound


def _thought(query: FindQuery, view: View) -> Plan:
    """Return the plan of a query whose shape is not known."""
    collection = view.collection
    assert collection is not None
    if query.hint is None and query.min is None and query.max is None:
        quick = _by_one_id(query) or _everything(query) or quick_scan(query, view)
        if quick is not None:
            return quick
    sort = _completed_sort(query)
    parts = conjuncts(query.node)
    if tree.FALSE in parts:
        return Plan(query, Nothing(), exact=True, ordered=True, sort=sort)
    hint = read_hint(query.hint, collection.indexes)
    if _find_text(parts):
        return _searching(query, view, hint, parts, sort)
    if getattr(hint, "text", None) is not None:
        raise QueryError("a text index serves nothing but $text", path="hint", code=291)
    near = next((part for part in parts if isinstance(part, tree.Near)), None)
    if near is not None:
        check_near(near, collection.indexes)
        sort = _order_of_near(query, sort)
    if sort and sort[0][0] == _NATURAL:
        hint, sort = hint or Natural(sort[0][1]), ()
    if query.min or query.max:
        return _between(query, view, hint, sort)
    wanted = query.skip + query.limit if query.limit else None
    if hint is not None:
        if not isinstance(hint, str | Natural) and not is_ordinary(hint):
            return _special(query, view, hint, parts, sort)
        return _finished(query, view, _hinted(query, view, hint, parts, sort), len(parts), sort)
    chooser = Chooser(view, sort, query.collation, wanted)
    best, fallback = chooser.choose(parts)
    if INDEX_KEY in query.metadata:
        best, fallback = _with_a_key(best, chooser.considered), None
    if query.after and fallback is not None:
        best, fallback = fallback, None  # a page is not raced: what comes before its token would count
    made = _finished(query, view, best, len(parts), sort)
    made.considered = chooser.considered
    if fallback is not None:
        made.fallback = _finished(query, view, fallback, len(parts), sort)
        made.budget = max(fallback.estimate, 100)
        made.covered = made.fallback.covered = False
    return made


def _with_a_key(best: Candidate, considered: list[Candidate]) -> Candidate:
    """Return the best candidate that finds documents by a key of an index, where there is one: the key is asked for."""
    scans = [c for c in considered if isinstance(c.access, IndexScan)]
    return best if isinstance(best.access, IndexScan) or not scans else min(scans, key=lambda c: c.estimate)


def _searching(query: FindQuery, view: View, hint: Any, parts: tuple[tree.Node, ...], sort: SortKeys) -> Plan:
    from docdb.planner.text_access import text_choice  # loaded at the first search

    choice = text_choice(query, view, hint, parts, sort)
    exact = choice.node == tree.TRUE or isinstance(choice.access, Nothing)
    ordered = not sort or choice.ordered or isinstance(choice.access, Nothing)
    return Plan(query._replace(node=choice.node), choice.access, exact, ordered, sort, score=choice.score)


def _find_text(parts: tuple[tree.Node, ...]) -> bool:
    """Tell whether a text search stands among the conjuncts, or in an $or among them."""
    return any(
        isinstance(part, tree.Text)
        or (isinstance(part, tree.Or) and any(isinstance(leaf, tree.Text) for leaf in tree.walk(part)))
        for part in parts
    )


def _by_one_id(query: FindQuery) -> Plan | None:
    node = query.node
    if type(node) is not tree.Compare or node.path != _ID or node.op != "eq" or type(node.value) not in _PLAIN_IDS:
        return None
    if node.collation is not None or query.after is not None:
        return None
    key = order_key(node.value)
    access: Access = IdLookup((key,)) if len(key) <= MAX_ID_BYTES else Nothing()
    return Plan(query, access, exact=True, ordered=True, sort=query.sort if query.sort[:1] != ((_NATURAL, 1),) else ())


def _everything(query: FindQuery) -> Plan | None:
    """No filter and no order: nothing to choose."""
    if query.node != tree.TRUE or query.sort or query.after is not None:
        return None
    return Plan(query, FullScan(), exact=True, ordered=True)


def _completed_sort(query: FindQuery) -> SortKeys:
    """A keyset page needs an order without ties: ``_id`` completes it."""
    if query.after is None or any(path == _ID for path, _ in query.sort):
        return query.sort
    if query.sort and query.sort[0][0] == _NATURAL:
        raise QueryError("a keyset page cannot follow $natural", path="after", hint="sort by a field, or not at all")
    return (*query.sort, (_ID, 1))


def _order_of_near(query: FindQuery, sort: SortKeys) -> SortKeys:
    if query.after is not None:
        raise QueryError("a keyset page cannot follow $near", path="after", hint="use skip, or sort by a field")
    return sort or NEAR_ORDER


def _special(query: FindQuery, view: View, index: Any, parts: tuple[tree.Node, ...], sort: SortKeys) -> Plan:
    """Use a hinted index that is not ordinary. Where cells do not help, the documents that a geographic index holds are read."""
    wanted = query.skip + query.limit if query.limit else None
    best = Chooser(view, sort, query.collation, wanted, only=index).of_one(parts)
    if best is not None:
        return _finished(query, view, best, len(parts), sort)
    if any("$**" in path for path, _ in index.keys):
        raise QueryError("the hinted wildcard index holds nothing that the filter speaks of", path="hint", code=291)
    query = _with_fields_of(index, query)
    parts = conjuncts(query.node)
    return _finished(query, view, _hinted(query, view, Natural(1), parts, sort), len(parts), sort)


def _with_fields_of(index: Any, query: FindQuery) -> FindQuery:
    """Return the query for the documents that a geographic index holds: those with one of its geographic fields."""
    absent = tuple(tree.Compare(path, "eq", None) for path, way in index.keys if way not in (1, -1))
    return query._replace(node=tree.And((query.node, tree.Not(tree.And(absent)))))


def _hinted(query: FindQuery, view: View, hint: Any, parts: tuple[tree.Node, ...], sort: SortKeys) -> Candidate:
    if hint is ID_INDEX or isinstance(hint, Natural):
        order = serves_id_order(sort, query.collation)
        identity, proved = id_access(parts) if hint is ID_INDEX else (None, frozenset())
        if isinstance(identity, Nothing | IdLookup):
            return Candidate(identity, proved)
        backwards = order < 0 or (not sort and isinstance(hint, Natural) and hint.direction < 0)
        ranges = identity.ranges if isinstance(identity, FullScan) else FullScan().ranges
        return Candidate(FullScan(ranges, backwards), proved, bool(order))
    return scan_of(view, hint, parts, sort, query.collation)


def _between(query: FindQuery, view: View, hint: Any, sort: SortKeys) -> Plan:
    """Read one hinted index from ``min`` to ``max``; the filter is asked of each document."""
    if hint is None or isinstance(hint, Natural):
        raise QueryError("min and max need the hint of an index", path="hint", code=51173, hint="add hint=...")
    if hint is ID_INDEX:
        item = key_range(query, ((_ID, 1),), None)
        high = None if item.high == b"\xff" else item.high
        return Plan(query, FullScan(((item.low, high),)), sort=sort, ordered=not sort)
    if not is_ordinary(hint):
        raise QueryError("min and max are of indexes with ascending and descending fields", path="hint", code=51174)
    item = key_range(query, hint.keys, hint.collation)
    everything = tuple(EVERYTHING for _ in hint.keys)
    bounds = IndexBounds(everything, (Range(item.low, item.high),), 1, frozenset(), True)
    return Plan(query, IndexScan(hint, bounds, repeats=view.counters(hint).multikey > 0), sort=sort, ordered=not sort)


def _finished(query: FindQuery, view: View, candidate: Candidate, parts: int, sort: SortKeys) -> Plan:
    access = candidate.access
    exact = isinstance(access, Nothing) or candidate.sources >= frozenset(range(parts))
    ordered = not sort or candidate.ordered or isinstance(access, Nothing)
    covered = ordered and isinstance(access, IndexScan) and covers(query, access, sort, view)
    leads = 0 if ordered else candidate.leads
    access = _behind_token(query, access, sort, ordered, leads)
    return Plan(query, access, exact, ordered, sort, covered, considered=[candidate], leads=leads)


def _behind_token(query: FindQuery, access: Access, sort: SortKeys, ordered: bool, leads: int) -> Access:
    """Begin where the page before ended, when the scan's keys are the sort key or its ``leads`` first fields: documents by ``_id``, or a range of an index."""
    if not query.after or not (ordered or leads):
        return access
    token = decode_token(query.after)
    if isinstance(access, FullScan) and len(access.ranges) == 1 and len(sort) == 1:
        low, high = access.ranges[0]
        low, high = _behind(low, high or b"\xff", token, access.reverse)
        return replace(access, ranges=((low, high),))
    if isinstance(access, IndexScan) and len(access.bounds.ranges) == 1 and not access.repeats:
        item = access.bounds.ranges[0]
        rest = [path for path, _ in access.index.keys[len(item.ends) :]]
        if leads:
            token = _beginning(token, sort[:leads])
            rest = rest[:leads]
        else:
            rest.append(_ID)
        if [path for path, _ in sort[: leads or None]] != rest:
            return access
        start = item.low[: item.ends[-1]] if item.ends else b""
        low, high = _behind(item.low, item.high, token, access.reverse, start)
        return replace(access, bounds=access.bounds._replace(ranges=(item._replace(low=low, high=high),)))
    return access


def _beginning(token: bytes, sort: SortKeys) -> bytes:
    """Return the key of the first fields in a token, nothing for what holds none."""
    try:
        return token[: component_ends(token, [way for _, way in sort])[-1]]
    except (IndexError, KeyError, RecursionError, ValueError):
        return b""  # such a token lies somewhere in the order all the same


def _behind(low: bytes, high: bytes, token: bytes, reverse: bool, start: bytes = b"") -> tuple[bytes, bytes]:
    place = (start + (invert(token) if reverse else token))[:MAX_BOUND]
    return (low, min(high, successor(place))) if reverse else (max(low, place), high)
