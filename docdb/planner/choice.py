"""Candidates: every way the conjuncts could be served, and which touches the fewest entries.

What lives here: ``Candidate``, ``Chooser``. What it must not know: hints, projections, how a plan is run.

Estimates are counts of entries in small steps (101, 404, ... at most half the documents): all candidates are counted up to the same limit until one
is counted out, so choosing costs in proportion to the best one, and the best is known, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from docdb.language import tree
from docdb.language.tree import Node
from docdb.planner.access import Access, FullScan, IdLookup, IndexIntersection, IndexScan, IndexUnion, Nothing
from docdb.planner.bounds import IndexBounds, bounds_of, free_of_arrays, leading_service, sort_service
from docdb.planner.conditions import Condition, conditions, conjuncts, only_points
from docdb.planner.implication import implies, implies_presence
from docdb.planner.intervals import EVERYTHING, intersect, is_point, successor
from docdb.planner.nearness import NEAR_ORDER
from docdb.planner.presorted import entries_until
from docdb.planner.queries import SortKeys
from docdb.planner.views import Counters, View

__all__ = ["Candidate", "Chooser", "id_access", "is_ordinary", "scan_of", "serves_id_order", "special_candidates"]

FIRST_STEP: Final = 101
STEP_FACTOR: Final = 4
MAX_BRANCHES: Final = 100
COUNTED_OF_HINTED: Final = 10_000
_ID: Final = ("_id",)
MAX_ID_BYTES: Final = 240
FETCH_COST: Final = 2.0  # a document through an entry, against one met in a scan
SORT_COST: Final = 1.5
INTERSECTION_MIN: Final = 500


@dataclass(slots=True)
class Candidate:
    """One access path: ``estimate`` entries (``counted`` tells whether that is exact), ``ordered`` when it gives the order asked for.

    ``leads``: how many fields of that order it gives, where it does not give all. ``sources`` are the conjuncts it proves.
    """

    access: Access
    sources: frozenset[int] = frozenset()
    ordered: bool = False
    bounded: bool = True
    estimate: int = 0
    counted: bool = False
    leads: int = 0

    @property
    def name(self) -> str:
        """The index's name, or the kind of path."""
        return self.access.index.name if isinstance(self.access, IndexScan) else type(self.access).__name__


def is_ordinary(index: Any) -> bool:
    """Tell whether the index is one of plain ascending and descending fields."""
    return _are_ordinary(index.keys)


@lru_cache(maxsize=1024)
def _are_ordinary(keys: tuple[tuple[tuple[str, ...], Any], ...]) -> bool:
    return all(way in (1, -1) and "$**" not in path for path, way in keys)


def id_access(parts: tuple[Node, ...], known: list[Condition] | None = None) -> tuple[Access | None, frozenset[int]]:
    """Return the path that conditions on ``_id`` give, and the conjuncts it proves; None when nothing is said about ``_id``.

    ``known`` are the conditions without collation, where they are at hand.
    """
    known = conditions(parts, None) if known is None else known
    found = [condition for condition in known if condition.path == _ID]
    if not found:
        return None, frozenset()
    intervals = EVERYTHING
    for condition in found:
        intervals = intersect(intervals, condition.intervals)
    if intervals == EVERYTHING:
        return None, frozenset()
    proved = frozenset(condition.source for condition in found if condition.exact)
    if only_points(intervals):
        keys = tuple(i.low.at for i in intervals if len(i.low.at) <= MAX_ID_BYTES)
        return (IdLookup(keys) if keys else Nothing()), proved
    limit = MAX_ID_BYTES + 1
    ranges = tuple(
        (i.low.at[:limit], i.high.at if len(i.high.at) <= limit else successor(i.high.at[:limit])) for i in intervals
    )
    return FullScan(ranges), proved


def serves_id_order(sort: SortKeys, collation: Any) -> int:
    """Return 1 or -1 when the clustered order is the order asked for, else 0."""
    return sort[0][1] if sort and sort[0][0] == _ID and collation is None else 0


def scan_of(
    view: View,
    index: Any,
    parts: tuple[Node, ...],
    sort: SortKeys,
    collation: Any,
    known: list[Condition] | None = None,
    counters: Counters | None = None,
) -> Candidate:
    """Return the scan of one index for these conjuncts, whether or not it holds every match.

    ``known`` are the conditions for the index's collation, ``counters`` its counters, where they are at hand.
    """
    counters = view.counters(index) if counters is None else counters
    multikey, cut = counters.multikey > 0, counters.cut > 0
    known = conditions(parts, index.collation) if known is None else known
    bounds = bounds_of(index, known, multikey=multikey, cut=cut)
    if bounds.empty:
        return Candidate(Nothing(), frozenset(range(len(parts))), True, counted=True)
    service = None
    if sort and not cut and index.collation == collation:
        service = sort_service(index, bounds, sort, multikey=multikey)
        if service is not None and service[1] and not _mergeable(bounds, service[1]):
            service = None
    leads = 0
    if service is None and len(sort) > 1 and not cut and index.collation == collation:
        leads, direction = leading_service(index, bounds, sort, multikey=multikey)
        service = (direction, 0) if leads else None
    direction, merge = service or (1, 0)
    repeats = multikey or (cut and len(bounds.ranges) > 1)
    access = IndexScan(index, bounds, direction < 0, merge, repeats)
    entries = 0 if bounds.bounded else counters.entries
    ordered = service is not None and not leads
    return Candidate(access, bounds.sources, ordered, bounds.bounded, entries, not bounds.bounded, leads)


def special_candidates(
    view: View, index: Any, parts: tuple[Node, ...], sort: SortKeys, collation: Any, wanted: int | None
) -> list[Candidate]:
    """Return the paths of an index that is not ordinary, whether or not it holds every match."""
    # Only what has such indexes needs these.
    from docdb.planner.geo_access import NearScan, geo_candidates, is_geographic
    from docdb.planner.wildcard_access import is_wildcard, wildcard_candidates

    if is_wildcard(index):

        def scan(path: Any, known: list[Condition], counters: Counters) -> Candidate:
            return scan_of(view, path, parts, sort, collation, known, counters)

        return wildcard_candidates(view, index, parts, conditions(parts, index.collation), scan, Candidate)
    if not is_geographic(index):
        return []
    found = []
    for access, proved in geo_candidates(view, index, parts, wanted=wanted, in_order=sort == NEAR_ORDER):
        candidate = Candidate(access, proved, isinstance(access, NearScan))
        if isinstance(access, NearScan) and access.endless:  # all entries may be read, and nobody needs to count them
            candidate.bounded, candidate.estimate, candidate.counted = False, view.counters(index).entries, True
        found.append(candidate)
    return found


def _mergeable(bounds: IndexBounds, merge: int) -> bool:
    return all(len(item.ends) >= merge and item.ends[merge - 1] <= len(item.low) for item in bounds.ranges)


@dataclass(slots=True)
class Chooser:
    """Chooses for one query; ``considered`` keeps every candidate for explain."""

    view: View
    sort: SortKeys
    collation: Any
    wanted: int | None  # skip + limit
    considered: list[Candidate] = field(default_factory=list)
    only: Any = None  # the one index that may be used

    def choose(self, parts: tuple[Node, ...]) -> tuple[Candidate, Candidate | None]:
        """Return the best candidate, and the one to fall back to when the first was only hoped to be short."""
        known = conditions(parts, None)
        identity, proved = id_access(parts, known)
        order = serves_id_order(self.sort, self.collation)
        if isinstance(identity, Nothing | IdLookup):
            return self._by_ids(identity, proved, order), None
        candidates = self.indexes(parts, known)
        for candidate in candidates:
            if isinstance(candidate.access, Nothing):
                return candidate, None
            if _is_unique_point(candidate):
                candidate.estimate, candidate.counted = 1, True
                self.considered = [candidate]
                return candidate, None
            if self._cannot_be_beaten(candidate, len(parts)):
                self.considered = [candidate]
                return candidate, None
        total = self.view.document_count()
        scan = identity if isinstance(identity, FullScan) else FullScan()
        full = Candidate(FullScan(scan.ranges, order < 0), proved, bool(order), identity is not None, total, True)
        if identity is not None:
            full.counted = False
        if not candidates and not self.collection_indexes():
            full.estimate, full.counted = total, True
            self.considered = [full]
            return full, None
        bounded = [c for c in (full, *candidates) if c.bounded]
        limit = self._count_out(bounded, total)
        union = self._union(parts, min(limit, total // 2 + 1))
        self.considered = [full, *candidates, *union]
        self.considered += self._intersection(candidates, total)
        return self._cheapest(total, len(parts))

    def _cannot_be_beaten(self, candidate: Candidate, parts: int) -> bool:
        """Tell whether each entry met is a match in the order asked for: then ``wanted`` entries are all that is read.

        Without a limit a full scan may still be cheaper than fetching most of the documents one by one.
        """
        if self.wanted is None or (self.sort and not candidate.ordered):
            return False
        proves = _proves(candidate, parts)
        if proves:
            candidate.estimate = self.wanted
        return proves

    def _by_ids(self, access: Access, proved: frozenset[int], order: int) -> Candidate:
        keys = access.keys if isinstance(access, IdLookup) else ()
        found: Access = IdLookup(keys, order < 0) if keys else Nothing()
        only = Candidate(found, proved, bool(order) or len(keys) < 2, True, len(keys), True)
        self.considered = [only]
        return only

    def collection_indexes(self) -> list[Any]:
        """Return the indexes that may be chosen."""
        if self.only is not None:
            return [self.only]
        return [i for i in self.view.collection.indexes if not i.building and not i.hidden]

    def indexes(self, parts: tuple[Node, ...], plain: list[Condition]) -> list[Candidate]:
        """Return a candidate for each index that holds every match and is of use; ``plain`` are the conditions without collation."""
        node = tree.And(parts)
        found = []
        by_collation: list[tuple[Any, list[Condition]]] = [(None, plain)]
        for index in self.collection_indexes():
            if not is_ordinary(index):
                found += self._special(index, parts, node)
                continue
            known = next((known for collation, known in by_collation if collation is index.collation), None)
            if known is None:
                known = conditions(parts, index.collation)
                by_collation.append((index.collation, known))
            if not self._may_help(index, known):
                continue
            if index.partial_node is not None and not implies(node, index.partial_node):
                continue
            if index.sparse and not implies_presence(node, [path for path, _ in index.keys]):
                continue
            counters = self.view.counters(index)
            candidate = scan_of(self.view, index, parts, self.sort, self.collation, known, counters)
            if not counters.multikey:
                candidate.sources |= free_of_arrays(index, parts)
            if candidate.bounded or candidate.ordered or candidate.leads:
                found.append(candidate)
        return found

    def _special(self, index: Any, parts: tuple[Node, ...], node: Node) -> list[Candidate]:
        if index.partial_node is not None and not implies(node, index.partial_node):
            return []
        return special_candidates(self.view, index, parts, self.sort, self.collation, self.wanted)

    def _may_help(self, index: Any, known: list[Condition]) -> bool:
        """Tell whether the index can be bounded or give an order: its first field is limited or sorted by, or all of the order is constant."""
        first = index.keys[0][0]
        spoken = [condition.path for condition in known]
        if first in spoken:
            return True
        fields = [path for path, _ in index.keys]
        return any(path == first or (path in spoken and path in fields) for path, _ in self.sort)

    def _count_out(self, candidates: list[Candidate], total: int) -> int:
        """Count all candidates in growing steps until one is counted out; return the last limit."""
        limit = FIRST_STEP
        ceiling = total // 2 + 1
        while True:
            limit = min(limit, max(ceiling, FIRST_STEP))
            for candidate in candidates:
                self.count(candidate, limit)
            if limit >= ceiling or any(c.counted for c in candidates):
                return limit
            limit *= STEP_FACTOR

    def count(self, candidate: Candidate, limit: int) -> None:
        """Count a candidate's entries up to a limit."""
        if candidate.counted:
            return
        access, found = candidate.access, 0
        if isinstance(access, IndexScan):
            for item in access.bounds.ranges:
                found += self.view.entry_count(access.index, item.low, item.high, limit - found)
                if found >= limit:
                    break
        elif isinstance(access, FullScan):
            for low, high in access.ranges:
                found += self.view.document_range_count(low, high or b"\xff", limit - found)
                if found >= limit:
                    break
        candidate.estimate, candidate.counted = found, found < limit

    def of_one(self, parts: tuple[Node, ...]) -> Candidate | None:
        """Return the best candidate of the one index that may be used, or None when it serves nothing."""
        found = self.indexes(parts, conditions(parts, None)) or self._union(
            parts, max(1, self.view.document_count()) * MAX_BRANCHES
        )
        for candidate in found:
            self.count(candidate, COUNTED_OF_HINTED)
        return min(found, key=lambda c: (not c.ordered if self.sort else False, c.estimate), default=None)

    def _union(self, parts: tuple[Node, ...], limit: int) -> list[Candidate]:
        for number, part in enumerate(parts):
            if isinstance(part, tree.Or) and 0 < len(part.parts) <= MAX_BRANCHES:
                rest = parts[:number] + parts[number + 1 :]
                union = self._branches(part, rest, limit)
                if union is not None:
                    return [union]
        return []

    def _branches(self, node: tree.Or, rest: tuple[Node, ...], limit: int) -> Candidate | None:
        chosen: list[Access] = []
        used = 0
        for branch in node.parts:
            best = self._branch(conjuncts(branch), rest, limit - used)
            if best is None:
                return None
            used += best.estimate
            if not isinstance(best.access, Nothing):
                chosen.append(best.access)
        return Candidate(IndexUnion(tuple(chosen)), frozenset(), False, True, used, True)

    def branch(self, leaves: tuple[Node, ...], rest: tuple[Node, ...]) -> Candidate | None:
        """Return the path for one branch of an $or (``rest``: what must match beside it); None where only a full scan is."""
        return self._branch(leaves, rest, self.view.document_count() + 1)

    def _branch(self, leaves: tuple[Node, ...], rest: tuple[Node, ...], limit: int) -> Candidate | None:
        parts = leaves + rest
        known = conditions(parts, None)
        identity, proved = id_access(parts, known)
        if isinstance(identity, Nothing | IdLookup):
            size = len(identity.keys) if isinstance(identity, IdLookup) else 0
            return Candidate(identity, proved, estimate=size, counted=True)
        inner = Chooser(self.view, (), self.collation, None, only=self.only)
        candidates = [c for c in inner.indexes(parts, known) if c.bounded]
        if identity is not None:
            candidates.append(Candidate(identity, proved))
        if limit <= 0:
            return None
        step = min(FIRST_STEP, limit)
        while candidates:
            for candidate in candidates:
                inner.count(candidate, step)
            counted = [c for c in candidates if c.counted]
            if counted:
                return min(counted, key=lambda c: c.estimate)
            if step >= limit:
                return None
            step = min(step * STEP_FACTOR, limit)
        nested = inner._union(leaves, limit)
        return nested[0] if nested else None

    def _intersection(self, candidates: list[Candidate], total: int) -> list[Candidate]:
        """Two scans of like size whose common ids are few; only where both were of use on their own."""
        if self.sort or self.wanted is not None:
            return []
        scans = [c for c in candidates if isinstance(c.access, IndexScan) and c.bounded]
        counted = sorted((c for c in scans if c.counted), key=lambda c: c.estimate)
        if not counted or counted[0].estimate < INTERSECTION_MIN:
            return []
        first = counted[0]
        for second in scans:
            if second is first or second.access.index.keys[0][0] == first.access.index.keys[0][0]:  # type: ignore[attr-defined]
                continue
            self.count(second, 2 * first.estimate + 1)
            if second.counted and first.estimate * second.estimate < total * first.estimate // 4:
                both = IndexIntersection((first.access, second.access))  # type: ignore[arg-type]
                entries = first.estimate + second.estimate
                return [Candidate(both, frozenset(), False, True, entries, True)]
        return []

    def _cheapest(self, total: int, parts: int) -> tuple[Candidate, Candidate | None]:
        for candidate in self.considered:
            if not candidate.counted:  # counting stopped above the best: pessimistic on purpose
                candidate.estimate = max(candidate.estimate, total)
        rows = min(c.estimate for c in self.considered)
        best = min(self.considered, key=lambda c: self._cost(c, total, rows))
        if not self.sort or self.wanted is None or best.ordered:
            return best, None
        hoped = self._shortest(rows, self._cost(best, total, rows))
        if hoped is None or hoped is best:
            return best, None
        return hoped, None if hoped.leads and _proves(hoped, parts) else best

    def _shortest(self, rows: int, most: float) -> Candidate | None:
        """Return what gives the order, or its first fields, and is expected to end so early that it costs less than ``most``; None where nothing does."""
        assert self.wanted is not None
        found = None
        for candidate in self.considered:
            if not candidate.ordered and not candidate.leads:
                continue
            entries = int(self.wanted * candidate.estimate / max(rows, 1))
            price = FETCH_COST + SORT_COST if candidate.leads else FETCH_COST
            access = candidate.access
            if candidate.leads and isinstance(access, IndexScan) and entries * price < most:
                first = self.sort[: candidate.leads]
                entries = entries_until(self.view, access, first, max(1, entries), int(most / price) + 1)
            if entries * price < most:
                most, found = entries * price, candidate
        return found

    def _cost(self, candidate: Candidate, total: int, rows: int) -> float:
        estimate = candidate.estimate
        if isinstance(candidate.access, FullScan):
            cost = float(estimate)
        elif isinstance(candidate.access, IndexIntersection):
            cost = 0.3 * estimate + FETCH_COST * estimate * estimate / 4 / max(total, 1)
        else:
            cost = FETCH_COST * estimate
        if not self.sort:
            return cost
        if not candidate.ordered:
            return cost + SORT_COST * min(estimate, rows)
        # A bounded ordered scan ends early; nothing is known of its matches when no other path limits them.
        return min(cost, FETCH_COST * self.wanted) if self.wanted is not None and estimate <= rows else cost


def _proves(candidate: Candidate, parts: int) -> bool:
    """Tell whether each entry met is a match, and another one than those before."""
    access = candidate.access
    return isinstance(access, IndexScan) and not access.repeats and candidate.sources >= frozenset(range(parts))


def _is_unique_point(candidate: Candidate) -> bool:
    access = candidate.access
    if not isinstance(access, IndexScan) or not access.index.unique or len(access.bounds.ranges) != 1:
        return False
    return all(len(field) == 1 and is_point(field[0]) for field in access.bounds.fields)
