"""The bounds of one index: the conditions of several fields, put together to ranges of entries.

What lives here: ``IndexBounds``, ``bounds_of``, ``sort_service`` (does this index give that order), ``leading_service`` (how much of it). What it must not
know: which index is best (``planner``), how ranges are read (``access``).

Multikey law: in an index with entries from arrays, a document may satisfy two conditions with two different entries. So one field takes one condition
there (not the intersection of several), and fields that share an array on their way take bounds together only when one ``$elemMatch`` speaks of both.

Cut law: entries are cut at 250 bytes at the earliest, so a longer bound is cut there and widened: it finds cut entries too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from docdb.language.order import invert, order_key
from docdb.language.tree import Node, Not, Path, TypeIs
from docdb.planner.conditions import Condition, only_points
from docdb.planner.intervals import EVERYTHING, Intervals, intersect, is_point, physical, successor
from docdb.planner.queries import SortKeys

__all__ = [
    "IndexBounds",
    "MAX_RANGES",
    "Range",
    "bounds_of",
    "free_of_arrays",
    "leading_service",
    "ranges_of",
    "sort_service",
]

MAX_RANGES: Final = 1_000
_ARRAY: Final = frozenset({"array"})
_SAFE_BYTES: Final = 250  # no entry is cut before: 511 - 4 - 240 (id) - 17
_BEHIND_NAN: Final = order_key(float("nan")) + b"\xff"
_LONGEST: Final = 480  # a bound of the engine has at most 511 bytes


class Range(NamedTuple):
    """Component bytes low <= c < high; ``ends`` are the places where the leading point components end."""

    low: bytes
    high: bytes
    ends: tuple[int, ...] = ()


class IndexBounds(NamedTuple):
    """What one index is asked: intervals per field, and the ranges they give.

    ``depth`` fields stand in the ranges. ``sources`` are the conjuncts the ranges prove; ``bounded`` tells whether any field is limited.
    """

    fields: tuple[Intervals, ...]
    ranges: tuple[Range, ...]
    depth: int
    sources: frozenset[int]
    bounded: bool

    @property
    def empty(self) -> bool:
        """Nothing can match."""
        return not self.ranges


def bounds_of(index: Any, found: list[Condition], *, multikey: bool, cut: bool) -> IndexBounds:
    """Return the bounds that the conditions give in this index."""
    chosen: list[Condition | None] = []
    fields: list[Intervals] = []
    for path, _ in index.keys:
        here = [condition for condition in found if condition.path == path]
        condition = _choose(here, chosen) if multikey else None
        chosen.append(condition)
        if multikey:
            fields.append(condition.intervals if condition else EVERYTHING)
        else:
            intervals = EVERYTHING
            for condition in here:
                intervals = intersect(intervals, condition.intervals)
            fields.append(intervals)
    directions = [way for _, way in index.keys]
    ranges, depth = ranges_of(fields, directions)
    fitted = tuple(_fit(item, cut) for item in ranges)
    proved = fitted == ranges and not cut
    sources = _proved(index, found, chosen if multikey else None, depth) if proved else frozenset()
    return IndexBounds(tuple(fields), fitted, depth, sources, any(field != EVERYTHING for field in fields[:depth]))


def free_of_arrays(index: Any, parts: Sequence[Node]) -> frozenset[int]:
    """Return the conjuncts that say no more than that a field of the index, or one on the way to it, is no array.

    Each document in an index without entries from arrays meets them: an array there, empty or not, makes multikey entries.
    """
    return frozenset(number for number, part in enumerate(parts) if _excludes_array(index, part))


def _excludes_array(index: Any, part: Node) -> bool:
    if type(part) is not Not or type(part.part) is not TypeIs or part.part.names != _ARRAY:
        return False
    path = part.part.path
    return any(known[: len(path)] == path for known, _ in index.keys)


def _choose(here: list[Condition], chosen: list[Condition | None]) -> Condition | None:
    usable = [c for c in here if all(earlier is None or _independent(earlier, c) for earlier in chosen)]
    return min(usable, key=_breadth, default=None)


def _breadth(condition: Condition) -> tuple[int, int]:
    """Points before ranges before half-lines; fewer before more."""
    intervals = condition.intervals
    if only_points(intervals):
        return 0, len(intervals)
    # A bound that is a bare tag (or NaN, below all other numbers) is the end of a type: nothing was said on that side.
    open_sides = sum((len(low.at) < 2 or low.at == _BEHIND_NAN) + (len(high.at) < 2) for low, high in intervals)
    return 1 + open_sides, len(intervals)


def _independent(left: Condition, right: Condition) -> bool:
    if left.path[0] != right.path[0]:
        return True
    if left.group is None or left.group != right.group:
        return False
    shared = len(left.group[1])
    return left.path[: shared + 1] != right.path[: shared + 1]


def _proved(index: Any, found: list[Condition], chosen: list[Condition | None] | None, depth: int) -> frozenset[int]:
    paths = {path for path, _ in index.keys[:depth]}
    if chosen is None:
        return frozenset(c.source for c in found if c.exact and c.path in paths)
    return frozenset(c.source for c in chosen[:depth] if c is not None and c.exact)


def ranges_of(fields: Sequence[Intervals], directions: list[int]) -> tuple[tuple[Range, ...], int]:
    """Return the ranges and how many fields stand in them: leading points multiplied, up to the first field that is no set of points."""
    prefixes: list[tuple[bytes, tuple[int, ...]]] = [(b"", ())]
    depth = 0
    for intervals, way in zip(fields, directions, strict=True):
        if not intervals:
            return (), depth + 1
        if depth and len(prefixes) * len(intervals) > MAX_RANGES:
            break
        if not only_points(intervals):
            pairs = [(prefix, ends, *physical(i, way)) for prefix, ends in prefixes for i in intervals]
            found = [Range(prefix + low, prefix + high, ends) for prefix, ends, low, high in pairs]
            return tuple(sorted(found)), depth + 1
        keys = [i.low.at if way > 0 else invert(i.low.at) for i in intervals]
        prefixes = [(prefix + key, (*ends, len(prefix) + len(key))) for prefix, ends in prefixes for key in keys]
        depth += 1
    # What follows a whole component is 05 to FA (and FF where an entry is cut, which ``_fit`` sees to).
    found = [Range(prefix + b"\x01" if prefix else b"", prefix + b"\xff", ends) for prefix, ends in prefixes]
    return tuple(sorted(found)), depth


def _fit(item: Range, cut: bool) -> Range:
    longest = _SAFE_BYTES if cut else _LONGEST
    if len(item.low) <= longest and len(item.high) <= longest:
        return item
    low = item.low[:longest]
    high = item.high if len(item.high) <= longest else successor(item.high[:longest])
    return Range(low, high, item.ends)


def sort_service(index: Any, bounds: IndexBounds, sort: SortKeys, *, multikey: bool) -> tuple[int, int] | None:
    """Return (direction, merge depth) when reading the ranges gives the order, else None.

    Direction is 1 for forward. Merge depth is the number of leading fields whose points must be merged; 0 when one range after another is in order.
    """
    if len(sort) == 1 and sort[0][0] == index.keys[0][0] and not multikey:
        return sort[0][1] * index.keys[0][1], 0  # what comes most: the index on the field
    rest = list(sort)
    direction = merge = 0
    keys = (*index.keys, (("_id",), 1)) if (("_id",), 1) not in index.keys else index.keys
    for number, (path, way) in enumerate(keys):
        while rest and not multikey and _constant(index, bounds, rest[0][0]):
            rest.pop(0)
        if not rest:
            break
        intervals = bounds.fields[number] if number < len(bounds.fields) else EVERYTHING
        if path == rest[0][0]:
            if multikey and not _sortable_multikey(index, bounds, sort, path, intervals):
                return None
            step = rest.pop(0)[1] * way
            if direction and step != direction:
                return None
            direction = direction or step
        elif len(intervals) == 1 and is_point(intervals[0]) and (number < bounds.depth or not multikey):
            continue
        elif not direction and only_points(intervals) and number < bounds.depth:
            merge = number + 1
        else:
            return None
    while rest and not multikey and _constant(index, bounds, rest[0][0]):
        rest.pop(0)
    return None if rest else (direction or 1, merge)


def leading_service(index: Any, bounds: IndexBounds, sort: SortKeys, *, multikey: bool) -> tuple[int, int]:
    """Return how many fields of an order, but not all, reading the ranges one after the other gives, and the direction; 0 for none that are of use."""
    for count in range(len(sort) - 1, 0, -1):
        service = sort_service(index, bounds, sort[:count], multikey=multikey)
        if (
            service is not None
            and not service[1]
            and not all(_constant(index, bounds, path) for path, _ in sort[:count])
        ):
            return count, service[0]
    return 0, 1


def _constant(index: Any, bounds: IndexBounds, path: Path) -> bool:
    for (known, _), intervals in zip(index.keys, bounds.fields, strict=True):
        if known == path:
            return len(intervals) == 1 and is_point(intervals[0])
    return False


def _sortable_multikey(index: Any, bounds: IndexBounds, sort: SortKeys, path: Path, intervals: Intervals) -> bool:
    """Only the first entry of a document, over all its elements, is its place in the order."""
    if intervals != EVERYTHING or path == ("_id",):
        return False
    others = [p for (p, _), i in zip(index.keys, bounds.fields, strict=True) if p != path and i != EVERYTHING]
    others += [p for p, _ in sort if p != path]
    return all(other[0] != path[0] for other in others)
