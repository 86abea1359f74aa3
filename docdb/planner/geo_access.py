"""Geographic access paths: ranges of cells, and rings around a point.

What lives here: ``GeoScan`` (the documents in the cells of a region), ``NearScan`` (documents in the order of their distance) and ``geo_candidates``, which
makes them for the conjuncts that an index serves. What it must not know: how regions are covered (``language/geo_covers.py``), which path is best.

A geographic field takes part in the ranges when each field before it is limited to points; then the ranges are those points followed by cells. Entries of
lines and polygons may lie in larger cells: in an index that has any, the cells around those of the cover are looked up too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count as counting
from typing import Any, Final, NamedTuple

from docdb.language import tree
from docdb.language.cells import Cell, Ids, ancestors, cell_key, ids_of, joined, without
from docdb.language.geo_covers import GeoField
from docdb.language.geo_matching import nearest
from docdb.language.matching import matcher
from docdb.language.tree import Node, Path
from docdb.planner.access import FETCH, FIRST_FETCH, IndexScan, Work
from docdb.planner.bounds import MAX_RANGES, IndexBounds, Range, bounds_of
from docdb.planner.conditions import Condition, conditions
from docdb.planner.intervals import EVERYTHING, Interval, after, before
from docdb.planner.views import View
from docdb.store import codec

__all__ = ["GeoScan", "NearScan", "geo_candidates", "is_geographic"]

_WAYS: Final = ("2d", "2dsphere")
_FIRST_WANTED: Final = 64  # documents the first ring is hoped to hold, where the query does not say
_GROWTH: Final = 2.0
_LONGEST: Final = 250  # no entry is cut before
Covered = list[tuple[Cell, bool]]


def is_geographic(index: Any) -> bool:
    """Tell whether an index has cells."""
    return any(way in _WAYS for _, way in index.keys)


class _Keys(NamedTuple):
    """The fields before the geographic one, as an index that ``bounds_of`` understands."""

    keys: tuple[tuple[Path, int], ...]


@dataclass(frozen=True, slots=True)
class _Served:
    """A geographic field of an index that a query can reach: the bytes before it, and whether entries lie in larger cells."""

    index: Any
    path: Path
    field: GeoField
    prefixes: tuple[bytes, ...]
    larger: bool

    def ranges(self, parts: Iterable[Ids]) -> list[Range]:
        """Return the ranges of entries for numbers of cells."""
        keys = [(cell_key(low), cell_key(high + 1)) for low, high in parts]
        return [Range(prefix + low, prefix + high) for prefix in self.prefixes for low, high in keys]

    def numbers(self, covered: Covered) -> list[Ids]:
        """Return the numbers of the cells of a cover, of what lies in them, and of what they lie in, in order and apart."""
        found = [ids_of(cell.id) for cell, _ in covered]
        if self.larger:
            around = {number for cell, _ in covered for number in ancestors(cell.id)}
            found += [(number, number) for number in around]
        return joined(found)


@dataclass(frozen=True, slots=True)
class GeoScan(IndexScan):
    """The documents with entries in the cells of a region.

    With a ``judge`` it delivers matches only: ``inside`` are ranges of cells that lie in the region as a whole, in an index of nothing but points; the
    documents of the other ranges are judged here.
    """

    inside: tuple[Range, ...] = field(default=(), repr=False)

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        judge = self.judge
        whole = IndexScan(self.index, self.bounds, repeats=self.repeats)
        if judge is None:
            yield from whole.read(view, work, program=program, decode=decode, first=first)
            return
        sure = replace(whole, bounds=self.bounds._replace(ranges=self.inside))
        yield from sure.read(view, work, program=program, decode=decode, first=first)
        rest = tuple(item for item in self.bounds.ranges if item not in self.inside)
        unsure = replace(whole, bounds=self.bounds._replace(ranges=rest))
        for batch in unsure.read(view, work, program=program, decode=decode, first=first):
            if decode == "pairs":
                yield [pair for pair in batch if judge(codec.decode(pair[1]))]
            else:
                yield [document for document in batch if judge(document)]


@dataclass(frozen=True, slots=True)
class NearScan(IndexScan):
    """The documents of ``$near`` in the order of their distance: ring by ring, each entry once, each document once.

    ``bounds`` hold all that may match; ``wanted`` is how many are hoped for (0: unknown). Memory: the documents of a ring that are not
    delivered yet, and the ids of those delivered where an index has several entries a document.
    """

    served: Any = field(default=None, repr=False)
    wanted: int = 0

    @property
    def endless(self) -> bool:
        """No distance bounds it."""
        return bool(self.near.high == float("inf"))

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        for pairs in self.read(view, work, decode="pairs"):
            yield [key for key, _ in pairs]

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        find = nearest(self.near)
        order = counting()
        waiting: list[tuple[float, int, Any]] = []
        for radius, ids in self._rings(view, work):
            for keys, stored in self._fetched(view, work, ids, program):
                for key, data in zip(keys, stored, strict=True):
                    document = None if data is None else codec.decode(data)
                    place = None if document is None else find(document)
                    if place is not None:
                        item = (key, data) if decode == "pairs" else document
                        heapq.heappush(waiting, (place[0], next(order), item))
            sure = self.served.field.distance(self.near, radius)
            yield from _sure(waiting, sure)
        yield from _sure(waiting, float("inf"))

    def _fetched(
        self, view: View, work: Work, ids: list[bytes], program: Any
    ) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        for at in range(0, len(ids), FETCH):
            keys = ids[at : at + FETCH]
            work.documents += len(keys)
            yield keys, view.fetch(keys, program=program, decode=False)

    def _rings(self, view: View, work: Work) -> Iterator[tuple[float, list[bytes]]]:
        """Yield a radius and the ids of the documents that no smaller ring held."""
        served, near = self.served, self.near
        low, most = served.field.radius(near, near.low), served.field.radius(near, near.high)
        end = min(most, served.field.outermost(near))
        step = served.field.guess(near, self._counter(view), self.wanted or _FIRST_WANTED)
        known: list[Ids] = []
        seen: set[bytes] = set()
        radius = low
        while radius < end or not known:
            radius = min(end, radius + step)
            step *= _GROWTH
            covered = served.field.ring(near, low, radius) or []
            parts = served.numbers(covered)
            fresh = without(parts, known)
            known = joined([*known, *fresh])
            yield radius, self._ids(view, work, served.ranges(fresh), seen)
            if radius >= end:
                return

    def _ids(self, view: View, work: Work, ranges: list[Range], seen: set[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for item in ranges:
            for ids in view.entry_ids(self.index, item.low, item.high):
                work.entries += len(ids)
                found += ids
        if self.repeats:
            found = [key for key in dict.fromkeys(found) if key not in seen]
            seen.update(found)
        return found

    def _counter(self, view: View) -> Callable[[Ids, int], int]:
        def count(numbers: Ids, limit: int) -> int:
            found = 0
            for item in self.served.ranges([numbers]):
                found += view.entry_count(self.index, item.low, item.high, limit - found)
                if found >= limit:
                    break
            return found

        return count


def _sure(waiting: list[tuple[float, int, Any]], distance: float) -> Iterator[list[Any]]:
    """Yield, in batches that grow, what lies nearer than a distance."""
    size = FIRST_FETCH
    while waiting and waiting[0][0] < distance:
        batch: list[Any] = []
        while waiting and len(batch) < size and waiting[0][0] < distance:
            batch.append(heapq.heappop(waiting)[2])
        size = min(2 * size, FETCH)
        yield batch


# ---- what an index serves


def geo_candidates(
    view: View, index: Any, parts: tuple[Node, ...], *, wanted: int | None, in_order: bool
) -> list[tuple[IndexScan, frozenset[int]]]:
    """Return the paths that a geographic index has for these conjuncts, each with the conjuncts it proves.

    ``in_order``: the documents of $near are wanted in the order of their distance.
    """
    leaves = [
        (i, part) for i, part in enumerate(parts) if isinstance(part, tree.GeoIntersects | tree.GeoWithin | tree.Near)
    ]
    fields = {path for path, way in index.keys if way in _WAYS}
    if not any(leaf.path in fields for _, leaf in leaves):
        return []  # a document without geometry has no entry: nothing else tells that it is there
    counters = view.counters(index)
    multikey, cut = counters.multikey > 0, counters.cut > 0
    at = next(i for i, (_, way) in enumerate(index.keys) if way in _WAYS)
    path, way = index.keys[at]
    bounds = _before(index, at, parts, multikey=multikey, cut=cut)
    found: list[tuple[IndexScan, frozenset[int]]] = []
    prefixes = _prefixes(bounds, at)
    if prefixes is not None:
        options = getattr(index, "geo", None) or {}
        kind = GeoField(way, options.get("min", -180.0), options.get("max", 180.0))
        served = _Served(index, path, kind, prefixes, multikey)
        for number, leaf in leaves:
            if leaf.path == path:
                with_leaf = bounds.sources | {number}
                alone = len(with_leaf) == len(parts)
                made = _scan(served, leaf, bounds, cut, alone, wanted if in_order else None, in_order)
                if made is not None:
                    exact = isinstance(made, NearScan) or made.judge is not None
                    found.append((made, with_leaf if exact else bounds.sources))
    elif bounds.bounded:
        found.append((IndexScan(index, _widened(index, bounds), repeats=True), bounds.sources))
    return found


def _before(index: Any, at: int, parts: tuple[Node, ...], *, multikey: bool, cut: bool) -> IndexBounds:
    known: list[Condition] = conditions(parts, index.collation)
    if at == 0:
        return IndexBounds((), (Range(b"", b"\xff"),), 0, frozenset(), False)
    return bounds_of(_Keys(index.keys[:at]), known, multikey=multikey, cut=cut)


def _prefixes(bounds: IndexBounds, at: int) -> tuple[bytes, ...] | None:
    """Return the bytes before the geographic field, or None when a field before it is not limited to points."""
    if at == 0:
        return (b"",)
    ranges = bounds.ranges
    if bounds.depth < at or any(len(item.ends) < at or item.ends[-1] > len(item.low) for item in ranges):
        return None
    return tuple(item.low[: item.ends[-1]] for item in ranges)


def _scan(
    served: _Served, leaf: Any, bounds: IndexBounds, cut: bool, alone: bool, wanted: int | None, in_order: bool
) -> IndexScan | None:
    """Return the path of one leaf; ``alone``: the filter says nothing else that is not proved."""
    covered = served.field.cover(leaf)
    if covered is None:
        return None
    parts = served.numbers(covered)
    ranges = served.ranges(parts)
    if len(ranges) > MAX_RANGES or any(len(item.high) > _LONGEST for item in ranges):
        return None
    cells = tuple(cell for cell, _ in covered)
    intervals = tuple(Interval(before(cell_key(low)), after(cell_key(high))) for low, high in parts)
    behind = (EVERYTHING,) * (len(served.index.keys) - len(bounds.fields) - 1)
    made = IndexBounds(
        (*bounds.fields, intervals, *behind), tuple(sorted(ranges)), len(bounds.fields) + 1, bounds.sources, True
    )
    if isinstance(leaf, tree.Near) and in_order:
        return NearScan(
            served.index,
            made,
            repeats=served.larger,
            path=leaf.path,
            cells=cells,
            near=leaf,
            served=served,
            wanted=wanted or 0,
        )
    scan = GeoScan(served.index, made, repeats=served.larger or cut, path=leaf.path, cells=cells)
    if served.larger or cut or not alone:
        return scan
    sure = joined(ids_of(cell.id) for cell, inside in covered if inside)
    apart = [*sure, *without(parts, sure)]
    made = made._replace(ranges=tuple(sorted(served.ranges(apart))))
    return replace(scan, bounds=made, inside=tuple(sorted(served.ranges(sure))), judge=matcher(leaf))


def _widened(index: Any, bounds: IndexBounds) -> IndexBounds:
    """Return the bounds with the fields that say nothing."""
    return bounds._replace(fields=(*bounds.fields, *(EVERYTHING,) * (len(index.keys) - len(bounds.fields))))
