"""Sets of single values, as intervals of bytes: what a filter leaf says about one value, and what a rule asks of one.

What lives here: ``Region`` with its operations, ``point``, ``bracket``, ``leaf_region``. What it must not know: arrays that fan out,
paths, rules (``prover`` knows all three).

A value stands at its order key (``language/order.py``), except that a missing field, which the order makes equal to null, has a place of its
own (09). A region is a sorted row of disjoint half-open intervals ``[low, high)``; the bytes directly behind a key are the key and 00.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from docdb.language import tree
from docdb.language.order import TAGS, order_key
from docdb.language.values import MaxKey, MinKey

__all__ = [
    "ABSENT", "ARRAYS", "EVERYTHING", "NOTHING", "NO_ARRAYS", "NULL", "Region", "bracket", "complement", "intersect", "leaf_region", "outside",
    "point", "subset", "union",
]  # fmt: skip

Region = tuple[tuple[bytes, bytes], ...]

NOTHING: Final[Region] = ()
EVERYTHING: Final[Region] = ((b"", b"\xff"),)
_ABSENT_KEY: Final = b"\x09"
_NUMBER: Final = 0x20


def bracket(tag: int) -> Region:
    """Return all values whose key has this tag."""
    return ((bytes((tag,)), bytes((tag + 1,))),)


ABSENT: Final[Region] = ((_ABSENT_KEY, _ABSENT_KEY + b"\0"),)
NULL: Final[Region] = bracket(TAGS["null"])
ARRAYS: Final[Region] = bracket(TAGS["array"])
NO_ARRAYS: Final[Region] = ((b"", ARRAYS[0][0]), (ARRAYS[0][1], b"\xff"))


def point(value: Any) -> Region:
    """Return the region of one value and of what equals it: an int, a float and a Decimal may."""
    key = order_key(value)
    return ((key, key + b"\0"),)


def union(parts: Iterable[Region]) -> Region:
    """Return what any of the regions holds."""
    merged: list[tuple[bytes, bytes]] = []
    for low, high in sorted(interval for part in parts for interval in part):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low < high:
            merged.append((low, high))
    return tuple(merged)


def complement(region: Region) -> Region:
    """Return everything else."""
    found, at = [], b""
    for low, high in region:
        if at < low:
            found.append((at, low))
        at = high
    if at < b"\xff":
        found.append((at, b"\xff"))
    return tuple(found)


def intersect(left: Region, right: Region) -> Region:
    """Return what both hold. Cost: the sum of their lengths."""
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        low, high = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if low < high:
            found.append((low, high))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def outside(left: Region, right: Region) -> Region:
    """Return what the left one holds and the right one does not."""
    return intersect(left, complement(right))


def subset(inner: Region, outer: Region) -> bool:
    """Tell whether ``outer`` holds all of ``inner``."""
    return not outside(inner, outer)


def leaf_region(node: tree.Node) -> tuple[Region, bool]:
    """Return the values that pass a filter leaf's test of one value, and whether these are exactly all; it never holds too few."""
    region = _LEAVES.get(type(node))
    return region(node) if region is not None else (EVERYTHING, False)


def _range(key: bytes, op: str) -> Region:
    low, high = bytes((key[0],)), bytes((key[0] + 1,))
    if key[0] == _NUMBER:
        nan = low + bytes(9)
        if key == nan:
            return ((nan, nan + b"\0"),) if op in ("gte", "lte") else NOTHING
        low = nan + b"\0"
    if op[0] == "g":
        low = key + b"\0" if op == "gt" else key
    else:
        high = key if op == "lt" else key + b"\0"
    return ((low, high),) if low < high else NOTHING


def _holds_text(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return any(_holds_text(item) for item in value.values())
    return kind is str or (kind is list and any(map(_holds_text, value)))


def _equal(value: Any, collation: Any) -> tuple[Region, bool]:
    if collation is not None and _holds_text(value):
        return bracket(order_key(value)[0]), False
    return (union((ABSENT, NULL)) if value is None else point(value)), True


def _compare(node: tree.Compare) -> tuple[Region, bool]:
    value = node.value
    if node.op == "eq":
        return _equal(value, node.collation)
    if isinstance(value, MinKey | MaxKey):
        return EVERYTHING, False
    if value is None:
        return _equal(None, None) if node.op in ("gte", "lte") else (NOTHING, True)
    if node.collation is not None and _holds_text(value):
        return bracket(order_key(value)[0]), False
    return _range(order_key(value), node.op), True


def _in(node: tree.In) -> tuple[Region, bool]:
    found = [_equal(value, node.collation) for value in node.values]
    regions = [region for region, _ in found]
    if node.patterns:
        regions += [bracket(TAGS["string"]), bracket(TAGS["regex"])]
    return union(regions), not node.patterns and all(exact for _, exact in found)


def _exists(node: tree.Exists) -> tuple[Region, bool]:
    return complement(ABSENT), True


_NUMBERS: Final = frozenset({"int", "long", "double", "decimal"})


def _type_is(node: tree.TypeIs) -> tuple[Region, bool]:
    tags = {TAGS[name] for name in node.names if name in TAGS and name != "missing"}
    return union(map(bracket, tags)), not node.names & _NUMBERS or node.names >= _NUMBERS


def _among(*names: str) -> Callable[[tree.Node], tuple[Region, bool]]:
    region = union(bracket(TAGS[name]) for name in names)
    return lambda node: (region, False)


_LEAVES: Final[dict[type, Callable[[Any], tuple[Region, bool]]]] = {
    tree.Bits: _among("int", "binData"),
    tree.Compare: _compare,
    tree.ElemMatch: _among("array"),
    tree.Exists: _exists,
    tree.In: _in,
    tree.Mod: _among("int"),
    tree.Pattern: _among("string", "regex"),
    tree.Size: _among("array"),
    tree.TypeIs: _type_is,
}
