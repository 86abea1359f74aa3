"""Sets of intervals over order keys, and their form as index bounds.

What lives here: ``Bound``, ``Interval`` and the operations on sorted, disjoint lists of intervals. What it must not know: predicates
(``conditions``), indexes (``bounds``).

A bound is a place between keys. ``at`` is its place in ascending order: every entry whose component sorts before it begins with smaller
bytes. With ``after`` the place is directly behind one key, whose bytes are ``at`` without the last FF (a component is always followed by
a byte between 05 and FA, so key + FF lies behind everything with that key). Otherwise ``at`` is a key or a prefix of keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from docdb.language.order import invert

__all__ = [
    "ALL", "Bound", "EVERYTHING", "Interval", "Intervals", "after", "before", "bracket", "complement", "intersect", "is_point",
    "physical", "point", "subset", "successor", "union",
]  # fmt: skip


class Bound(NamedTuple):
    """A place between keys."""

    at: bytes
    after: bool = False


class Interval(NamedTuple):
    """Everything from low up to high."""

    low: Bound
    high: Bound


Intervals = tuple[Interval, ...]
BOTTOM: Final = Bound(b"")
TOP: Final = Bound(b"\xff")
ALL: Final = Interval(BOTTOM, TOP)
EVERYTHING: Final[Intervals] = (ALL,)


def before(key: bytes) -> Bound:
    """Return the place directly before a key, or before all keys with a prefix."""
    return Bound(key)


def after(key: bytes) -> Bound:
    """Return the place directly behind a whole key."""
    return Bound(key + b"\xff", True)


def point(key: bytes) -> Interval:
    """Return the interval of one key."""
    return Interval(before(key), after(key))


@cache
def bracket(tag: int) -> Interval:
    """Return the interval of all keys with one tag."""
    return Interval(Bound(bytes((tag,))), Bound(bytes((tag + 1,))))


def is_point(interval: Interval) -> bool:
    """Tell whether the interval holds one key only."""
    low, high = interval
    return high.after and not low.after and low.at == high.at[:-1]


def successor(prefix: bytes) -> bytes:
    """Return the smallest bytes above everything with this prefix (FF when there is none)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b"\xff"


def physical(interval: Interval, direction: int) -> tuple[bytes, bytes]:
    """Return the half-open range of component bytes in an index of this direction."""
    low, high = interval
    if direction > 0:
        return low.at, high.at
    return _descending(high), _descending(low)


def _descending(bound: Bound) -> bytes:
    if bound.after:
        return invert(bound.at[:-1]) + b"\x01"
    return successor(invert(bound.at)) if bound.at != b"\xff" else b""


def union(parts: Iterable[Interval]) -> Intervals:
    """Return the sorted, disjoint form of any intervals."""
    merged: list[Interval] = []
    for interval in sorted(parts):
        if interval.low.at >= interval.high.at:
            continue
        if merged and interval.low.at <= merged[-1].high.at:
            if interval.high.at > merged[-1].high.at:
                merged[-1] = Interval(merged[-1].low, interval.high)
        else:
            merged.append(interval)
    return tuple(merged)


def intersect(left: Intervals, right: Intervals) -> Intervals:
    """Return what both sets hold. Cost: the sum of their lengths."""
    if left is EVERYTHING or right is EVERYTHING:
        return right if left is EVERYTHING else left
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        low = max(left[i].low, right[j].low)
        high = min(left[i].high, right[j].high)
        if low.at < high.at:
            found.append(Interval(low, high))
        if left[i].high.at < right[j].high.at:
            i += 1
        else:
            j += 1
    return tuple(found)


def complement(parts: Intervals) -> Intervals:
    """Return everything outside."""
    found = []
    low = BOTTOM
    for interval in parts:
        if low.at < interval.low.at:
            found.append(Interval(low, interval.low))
        low = interval.high
    if low.at < TOP.at:
        found.append(Interval(low, TOP))
    return tuple(found)


def subset(inner: Intervals, outer: Intervals) -> bool:
    """Tell whether everything in ``inner`` lies in ``outer``."""
    return all(any(o.low.at <= i.low.at and i.high.at <= o.high.at for o in outer) for i in inner)
