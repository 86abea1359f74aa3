"""The paths of wildcard indexes: for each path a filter speaks of, the part of the index that is an index on that path.

What lives here: ``wildcard_candidates``. What it must not know: how entries are made (``store/wildcard_entries.py`` has their form), which candidate is best.

What a wildcard index holds under one path is what an index on the path would hold, but for missing fields and objects that are not empty. So a condition
that allows neither is served as by that index (``PathIndex``), order included. A condition that allows objects but no missing field, or that only says that the
field is there, reads all paths at and below it; one with a number in its path reads the path with and without it. Both ask the filter again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from docdb.language import tree
from docdb.language.order import MIN_KEY, NULL_KEY, order_key
from docdb.language.tree import Node, Path
from docdb.planner.access import Access, IndexScan
from docdb.planner.bounds import MAX_RANGES, IndexBounds, Range, bounds_of
from docdb.planner.conditions import Condition, only_points
from docdb.planner.intervals import (
    EVERYTHING,
    Interval,
    Intervals,
    before,
    bracket,
    intersect,
    physical,
    point,
    subset,
    successor,
    union,
)
from docdb.planner.views import View
from docdb.store.wildcard_entries import WildcardScope, array_mark, path_component, wildcard_place

__all__ = ["PathIndex", "is_wildcard", "wildcard_candidates"]

_PATH: Final = ("$_path",)
_VALUE: Final = ("$_value",)
_MISSING: Final = (point(NULL_KEY),)
_OBJECTS: Final = (bracket(0x40),)
_EMPTY_OBJECT: Final = (point(order_key({})),)
_ARRAYS: Final = (bracket(0x50),)
_LONGEST: Final = 250  # no entry is cut before
_MOST_NUMBERS: Final = 3  # numeric parts of a path that are followed
Scan = Callable[..., Any]
Wrap = Callable[[IndexScan], Any]


@dataclass(frozen=True, slots=True)
class PathIndex:
    """The part of a wildcard index that holds one path, as an index: its path's name stands before its value."""

    number: int
    name: str
    keys: tuple[tuple[Path, int], ...]
    collation: Any
    unique: bool = False


@dataclass(frozen=True, slots=True)
class _Counters:
    entries: int
    cut: int
    multikey: int


def is_wildcard(index: Any) -> bool:
    """Tell whether an index has a wildcard."""
    return wildcard_place(index.keys) is not None


def wildcard_candidates(
    view: View, index: Any, parts: tuple[Node, ...], known: list[Condition], scan: Scan, wrap: Wrap
) -> list[Any]:
    """Return the candidates of a wildcard index for these conjuncts, whose conditions for its collation are ``known``.

    ``scan(index, conditions, counters)`` makes the candidate of an ordinary index, ``wrap`` that of a path that proves nothing.
    """
    place = wildcard_place(index.keys)
    assert place is not None
    scope = WildcardScope.of(index.keys[place][0], index.projection)
    total = view.counters(index)
    others = {path for path, _ in index.keys[:place] + index.keys[place + 1 :]}
    made: list[Any] = []
    for path in dict.fromkeys(condition.path for condition in known):
        if path in others or not path:
            continue
        serving = [c for c in known if c.path == path and _is_held(c)]
        if serving and scope.holds(path) and not _has_numbers(path):
            counters = _Counters(total.entries, total.cut, _is_multikey(view, index, path))
            rest = [c for c in known if c.path in others]
            candidate = scan(_path_index(index, place, path), [_named(path), *serving, *rest], counters)
            if _is_one_path(candidate.access, place):
                made.append(candidate)
        else:
            access = _wide(index, place, scope, parts, [c for c in known if c.path == path], known)
            made += [] if access is None else [wrap(access)]
    if others and not made:
        made += _other_fields(view, index, place, known, scan, wrap)
    return made


def _is_one_path(access: Access, place: int) -> bool:
    """Tell whether the path's name stands in the ranges: each field before it is limited to points."""
    if not isinstance(access, IndexScan):
        return True  # the conditions contradict each other
    bounds = access.bounds
    return bounds.depth > place and all(map(only_points, bounds.fields[:place]))


def _is_held(condition: Condition) -> bool:
    """No missing field and no object but the empty one satisfies the condition."""
    allowed = condition.intervals
    return not intersect(allowed, _MISSING) and subset(intersect(allowed, _OBJECTS), _EMPTY_OBJECT)


def _has_numbers(path: Path) -> bool:
    return any(map(str.isdigit, path[1:]))


def _named(path: Path) -> Condition:
    return Condition(_PATH, (point(path_component(path)),), True, -1)


def _is_multikey(view: View, index: Any, path: Path) -> int:
    """Return 1 when a document has an array at the path or on the way to it, else 0."""
    marks = (array_mark(path[:size]) for size in range(1, len(path) + 1))
    bounds = (_cut(mark, mark + b"\xff") for mark in marks)
    return int(any(view.entry_count(index, low, high, 1) for low, high in bounds))


def _path_index(index: Any, place: int, path: Path) -> PathIndex:
    way = index.keys[place][1]
    keys = (*index.keys[:place], (_PATH, 1), (path, way), *index.keys[place + 1 :])
    return PathIndex(index.number, index.name, keys, index.collation)


def _other_fields(view: View, index: Any, place: int, known: list[Condition], scan: Scan, wrap: Wrap) -> list[Any]:
    """Return the candidate of the entries that each document has for the fields beside the wildcard."""
    nothing = [Condition(_PATH, (point(MIN_KEY),), True, -1), Condition(_VALUE, _MISSING, True, -1)]
    others = {path for path, _ in index.keys}
    total = view.counters(index)
    asked = [*nothing, *(condition for condition in known if condition.path in others)]
    found = scan(_path_index(index, place, _VALUE), asked, _Counters(total.entries, total.cut, 0))
    access = found.access
    if not isinstance(access, IndexScan):
        return [found]
    if _is_one_path(access, place):
        return [found] if _is_limited(access.bounds, place) else []
    if not any(field != EVERYTHING for field in access.bounds.fields[: min(place, access.bounds.depth)]):
        return []
    shown = _shown(index, place)
    return [wrap(IndexScan(shown, access.bounds._replace(sources=frozenset()), repeats=True))]


def _is_limited(bounds: IndexBounds, place: int) -> bool:
    """Tell whether a field of the user's is limited."""
    fields = bounds.fields[: bounds.depth]
    return any(field != EVERYTHING for field in (*fields[:place], *fields[place + 2 :]))


def _shown(index: Any, place: int) -> PathIndex:
    """Return the index as it is, but with the name of the path as a field: no covered read, no order."""
    return PathIndex(index.number, index.name, (*index.keys[:place], (_PATH, 1), *index.keys[place:]), index.collation)


# ---- what is read at and below a path


def _wide(
    index: Any,
    place: int,
    scope: WildcardScope,
    parts: tuple[Node, ...],
    conditions: list[Condition],
    known: list[Condition],
) -> IndexScan | None:
    best: Any = None
    for condition in conditions:
        pieces = _pieces(condition, parts[condition.source], scope)
        if pieces is not None and (best is None or len(pieces) < len(best)):
            best = pieces
    if best is None:
        return None
    prefixes = _prefixes(index, place, known)
    if prefixes is None or len(prefixes) * len(best) > MAX_RANGES:
        return None
    way = index.keys[place][1]
    ranges = [Range(*_cut(prefix + low, prefix + high)) for prefix in prefixes for low, high in _ranges(best, way)]
    names = union(_at(path, below) for path, _, below in best)
    values = union(interval for _, intervals, _ in best for interval in intervals)
    fields = [EVERYTHING] * (len(index.keys) + 1)
    fields[place : place + 2] = [names, values]
    bounds = IndexBounds(tuple(fields), tuple(sorted(ranges)), place + 2, frozenset(), True)
    return IndexScan(_shown(index, place), bounds, repeats=True)


_Piece = tuple[Path, Intervals, bool]  # a path, the values under it, whether the paths below it belong to it


def _pieces(condition: Condition, node: Node, scope: WildcardScope) -> list[_Piece] | None:
    """Return what to read for a condition, or None when the index may lack a match."""
    path = condition.path
    below = not _is_held(condition)
    if below and intersect(condition.intervals, _MISSING) and not _says_presence(node, path):
        return None
    numbers = [i for i, part in enumerate(path) if i and part.isdigit()]
    if len(numbers) > _MOST_NUMBERS:
        return None
    found: list[_Piece] = []
    for dropped in product((False, True), repeat=len(numbers)):
        gone = {i for i, drop in zip(numbers, dropped, strict=True) if drop}
        rest = tuple(part for i, part in enumerate(path) if i not in gone)
        found.append((rest, EVERYTHING if below else condition.intervals, below))
        # What a number reaches may be an array inside an array, which is held as a whole.
        found += [(tuple(p for k, p in enumerate(path[:i]) if k not in gone), _ARRAYS, False) for i in gone]
    held = scope.holds_all_below if below else scope.holds
    return found if all(rest and held(rest) for rest, _, _ in found) else None


def _says_presence(node: Node, path: Path) -> bool:
    """Tell whether a conjunct matches only documents that have the field, though its intervals do not say so."""
    if isinstance(node, tree.TypeIs):
        return node.path == path and not node.names & {"missing", "null"}
    return isinstance(node, tree.ElemMatch | tree.Exists | tree.Size) and node.path == path


def _prefixes(index: Any, place: int, known: list[Condition]) -> tuple[bytes, ...] | None:
    """Return the bytes before the wildcard, or None when a field before it is not limited to points."""
    if place == 0:
        return (b"",)
    found = bounds_of(PathIndex(0, "", index.keys[:place], index.collation), known, multikey=False, cut=False)
    if found.depth < place or any(len(item.ends) < place or item.ends[-1] > len(item.low) for item in found.ranges):
        return None
    return tuple(item.low[: item.ends[-1]] for item in found.ranges)


def _ranges(pieces: list[_Piece], way: int) -> Iterator[tuple[bytes, bytes]]:
    for path, intervals, below in pieces:
        name = path_component(path)
        if intervals == EVERYTHING:
            yield name + b"\x01", name + b"\xff"
        else:
            for interval in intervals:
                low, high = physical(interval, way)
                yield name + low, name + high
        if below:
            low, high = _below(path)
            yield low, high


def _below(path: Path) -> tuple[bytes, bytes]:
    """Return the range of the components of all paths below a path."""
    name = path_component(path)[:-1]
    return name + b".", name + b"/"


def _at(path: Path, below: bool) -> Interval:
    name = point(path_component(path))
    return Interval(name.low, before(_below(path)[1])) if below else name


def _cut(low: bytes, high: bytes) -> tuple[bytes, bytes]:
    """Return bounds that find cut entries too."""
    return low[:_LONGEST], high if len(high) <= _LONGEST else successor(high[:_LONGEST])
