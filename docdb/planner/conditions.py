"""From the filter tree to conditions on paths: which components an index entry of a matching document may have.

What lives here: ``Condition``, ``conditions`` (all that a node says about single paths) and ``conjuncts``. What it must not know: how
the conditions of several fields become the bounds of one index (``bounds``), how anything is read.

The law: a document that matches has, in an index over the path that holds it, at least one entry whose component lies in the
intervals. ``exact`` says the other direction too: a document with such an entry matches. A condition is only ever a help: what was not
proved exact is asked again. The intervals depend on the index's collation: text under another collation than the leaf's gives
its whole type bracket, or everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from docdb.language import tree
from docdb.language.order import EMPTY_ARRAY_KEY, NULL_KEY, TAGS, order_key
from docdb.language.patterns import literal_prefix
from docdb.language.tree import Node, Path
from docdb.language.values import MaxKey, MinKey, Regex
from docdb.planner.intervals import (
    EVERYTHING,
    Interval,
    Intervals,
    after,
    before,
    bracket,
    complement,
    intersect,
    is_point,
    point,
    subset,
    successor,
    union,
)  # fmt: skip

__all__ = ["Condition", "conditions", "conjuncts", "only_points"]

_NULL: Final = point(NULL_KEY)
_EMPTY_ARRAY: Final = point(EMPTY_ARRAY_KEY)
_NAN_KEY: Final = order_key(float("nan"))
_BEHIND_NAN: Final = after(_NAN_KEY)
_NUMBER_TAG: Final = TAGS["int"]
_NUMBER_NAMES: Final = frozenset({"int", "long", "double", "decimal"})
# Leaves that stand for several types below one tag: the bracket is then wider than the leaf.
_NUMBERS: Final = bracket(TAGS["int"])
_BINARIES: Final = bracket(TAGS["binData"])
_REGEXES: Final = bracket(TAGS["regex"])
_STRINGS: Final = bracket(TAGS["string"])


class Condition(NamedTuple):
    """What one conjunct says about one path.

    ``source`` is the number of the conjunct. ``group`` is the path of the ``$elemMatch`` the condition comes from with the conjunct's
    number, or None: two conditions of one group speak of the same array element.
    """

    path: Path
    intervals: Intervals
    exact: bool = False
    source: int = 0
    group: tuple[int, Path] | None = None
    single: bool = False  # speaks of one element as a whole: may be intersected with others of its group


def conjuncts(node: Node) -> tuple[Node, ...]:
    """Return the parts that must all match."""
    if isinstance(node, tree.And):
        return tuple(leaf for part in node.parts for leaf in conjuncts(part))
    return () if node == tree.TRUE else (node,)


def conditions(parts: tuple[Node, ...], collation: Any) -> list[Condition]:
    """Return all conditions of the conjuncts for an index of this collation."""
    found: list[Condition] = []
    for number, node in enumerate(parts):
        leaf = _LEAVES.get(type(node))
        if leaf is None:
            found.extend([condition._replace(source=number) for condition in _of(node, collation, number)])
        else:
            intervals, exact = leaf(node, collation)
            path: Path = node.path  # type: ignore[attr-defined]
            found.append(Condition(path, intervals, exact and not _addresses_elements(path), number))
    return found


def only_points(intervals: Intervals) -> bool:
    """Tell whether every interval is a single key."""
    return all(map(is_point, intervals))


def _of(node: Node, collation: Any, number: int = 0) -> Iterator[Condition]:
    if isinstance(node, tree.Or):
        yield from _either(node, collation)
    elif isinstance(node, tree.Not):
        yield from _negated(node.part, collation)
    elif isinstance(node, tree.ElemMatch):
        yield from _element(node, collation, number)
    elif isinstance(node, tree.And):
        for part in node.parts:
            yield from _of(part, collation, number)
    elif type(node) in _LEAVES:
        intervals, exact = _LEAVES[type(node)](node, collation)
        path: Path = node.path  # type: ignore[attr-defined]
        yield Condition(path, intervals, exact and not _addresses_elements(path))


def _addresses_elements(path: Path) -> bool:
    return any(map(str.isdigit, path))


def _either(node: tree.Or, collation: Any) -> Iterator[Condition]:
    """A path that every branch limits is limited by the union."""
    branches = []
    for part in node.parts:
        found: dict[Path, Condition] = {}
        leaves = conjuncts(part)
        for condition in conditions(leaves, collation):
            known = found.get(condition.path)
            if known is None or _width(condition) < _width(known):
                found[condition.path] = condition._replace(exact=condition.exact and len(leaves) == 1, group=None)
        branches.append(found)
    for path in set.intersection(*map(set, branches)) if branches else ():
        intervals = union(interval for branch in branches for interval in branch[path].intervals)
        yield Condition(path, intervals, all(branch[path].exact for branch in branches))


def _width(condition: Condition) -> tuple[bool, int]:
    return not only_points(condition.intervals), len(condition.intervals)


def _negated(node: Node, collation: Any) -> Iterator[Condition]:
    """The complement holds where every component in the intervals would mean a match.

    An empty array at the end of the path (08) and a missing field (10) always give an entry, so a document that does not match has one outside.
    """
    if isinstance(node, tree.Exists):
        if _addresses_elements(node.path):
            return
        yield Condition(node.path, union((_NULL, _EMPTY_ARRAY)) if len(node.path) > 1 else (_NULL,))
        return
    if isinstance(node, tree.Or):
        for part in node.parts:
            yield from _negated(part, collation)
        return
    if isinstance(node, tree.TypeIs) and "array" in node.names:
        return  # says something of whole documents, nothing of entries; see ``bounds.free_of_arrays``
    if isinstance(node, tree.Compare | tree.In | tree.TypeIs):
        intervals, exact = _LEAVES[type(node)](node, collation)
        if exact and not _addresses_elements(node.path):
            yield Condition(node.path, complement(intervals))


def _element(node: tree.ElemMatch, collation: Any, number: int) -> Iterator[Condition]:
    if _addresses_elements(node.path):
        return
    group = (number, node.path)
    if node.values:
        yield from _values_of_element(node, collation, group)
        return
    for leaf in conjuncts(node.part):
        for condition in _of(leaf, collation):
            # An element that is itself an array is searched by position: the index knows nothing of that.
            if condition.path and not condition.path[0].isdigit():
                yield condition._replace(path=node.path + condition.path, exact=False, group=group)


def _values_of_element(node: tree.ElemMatch, collation: Any, group: tuple[int, Path]) -> Iterator[Condition]:
    """All leaves speak of the same element: their intervals may be intersected at once."""
    intervals = EVERYTHING
    for condition in conditions(conjuncts(node.part), collation):
        if condition.path == ():
            intervals = intersect(intervals, condition.intervals)
    if not subset(EVERYTHING, intervals):
        yield Condition(node.path, intervals, False, group=group, single=True)


# ---- leaves: intervals, and whether an entry inside proves the match


def _holds_text(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return any(_holds_text(item) for item in value.values())
    return kind is str or (kind is list and any(map(_holds_text, value)))


def _key(value: Any, leaf: Any, index: Any) -> bytes | None:
    """Return the component of a value, or None when the index orders its text otherwise than the leaf."""
    if not _holds_text(value):
        return order_key(value)
    if leaf != index:
        return None
    return index.order_key(value) if index is not None else order_key(value)


def _compare(node: tree.Compare, collation: Any) -> tuple[Intervals, bool]:
    if node.op == "eq":
        return _equal(node.path, node.value, node.collation, collation)
    return _range(node, collation)


def _equal(path: Path, value: Any, leaf: Any, index: Any) -> tuple[Intervals, bool]:
    key = _key(value, leaf, index)
    kind = type(value)
    if key is None:
        return ((_STRINGS,), False) if kind is str else (EVERYTHING, False)
    if value is None:
        # Below an array a missing field is null in the index but no match. A number in the path is a position and a name at once: the entry is that
        # of the element, and where the element has no such field that is a match, too.
        return (EVERYTHING, False) if _addresses_elements(path) else ((_NULL,), len(path) == 1)
    if kind is list:
        first = _key(value[0], leaf, index) if value else EMPTY_ARRAY_KEY
        return (union((point(key), point(first))), False) if first is not None else (EVERYTHING, False)
    return (point(key),), True


def _range(node: tree.Compare, collation: Any) -> tuple[Intervals, bool]:
    value, op = node.value, node.op
    kind = type(value)
    if value is None:
        return _equal(node.path, None, None, None) if op in ("gte", "lte") else ((), False)
    if kind is list or kind is MinKey or kind is MaxKey:
        return EVERYTHING, False
    key = _key(value, node.collation, collation)
    if key is None:
        return ((_STRINGS,), False) if kind is str else (EVERYTHING, False)
    if key == _NAN_KEY:
        return ((point(key),), True) if op in ("gte", "lte") else ((), False)
    low, high = bracket(key[0])
    if key[0] == _NUMBER_TAG:
        low = _BEHIND_NAN
    if op[0] == "g":
        low = after(key) if op == "gt" else before(key)
    else:
        high = before(key) if op == "lt" else after(key)
    return ((Interval(low, high),) if low.at < high.at else ()), True


def _in(node: tree.In, collation: Any) -> tuple[Intervals, bool]:
    found: list[Interval] = []
    exact = True
    for value in node.values:
        intervals, proved = _equal(node.path, value, node.collation, collation)
        found += intervals
        exact = exact and proved
    for pattern in node.patterns:
        intervals, proved = _pattern(pattern, collation)
        found += intervals
        exact = exact and proved
    return union(found), exact


def _exists(node: tree.Exists, collation: Any) -> tuple[Intervals, bool]:
    return EVERYTHING, False


def _type_is(node: tree.TypeIs, collation: Any) -> tuple[Intervals, bool]:
    if "array" in node.names or (_addresses_elements(node.path) and node.names & {"missing", "null"}):
        return EVERYTHING, False
    exact = not (node.names & _NUMBER_NAMES) or node.names >= _NUMBER_NAMES
    found = [bracket(TAGS[name]) for name in node.names if name in TAGS]
    return union(found), exact and "null" not in node.names and "missing" not in node.names


def _size(node: tree.Size, collation: Any) -> tuple[Intervals, bool]:
    if node.count or _addresses_elements(node.path):
        return EVERYTHING, False
    return (_EMPTY_ARRAY,), False


def _mod(node: tree.Mod, collation: Any) -> tuple[Intervals, bool]:
    return (_NUMBERS,), False


def _bits(node: tree.Bits, collation: Any) -> tuple[Intervals, bool]:
    return (_NUMBERS, _BINARIES), False


def _pattern(node: tree.Pattern, collation: Any) -> tuple[Intervals, bool]:
    if collation is not None:
        return (_STRINGS, _REGEXES), False
    prefix, whole = literal_prefix(node.pattern, node.flags)
    if not prefix:
        return (_STRINGS, _REGEXES), False
    low = b"\x30" + prefix.encode("utf-8")
    same = point(order_key(Regex(node.pattern, node.flags)))
    return (Interval(before(low), before(successor(low))), same), whole


_LEAVES: Final[dict[type, Callable[[Any, Any], tuple[Intervals, bool]]]] = {
    tree.Bits: _bits,
    tree.Compare: _compare,
    tree.Exists: _exists,
    tree.In: _in,
    tree.Mod: _mod,
    tree.Pattern: _pattern,
    tree.Size: _size,
    tree.TypeIs: _type_is,
}
