"""Which queries a stored document may concern, written down plainly: the reference form of ``_native/predicates.pyx``.

What lives here: ``PredicateTable``. What it must not know: filters, collations, what a query is for. Both forms give the same queries; this one decodes the
document, walks each path for itself, and tries each range at a path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Final, NamedTuple

from docdb.feeds.covers import MISSING_KEY
from docdb.language.matching import handed_over
from docdb.language.order import order_key
from docdb.language.tree import Path
from docdb.language.values import MISSING
from docdb.store import codec

__all__ = ["PredicateTable"]

MOST_SHAPES: Final = 8  # that hang at one slot
FEW_COMBINATIONS: Final = 64

Shape = tuple[int, ...]
Handed = dict[int, list[bytes]]  # keys by slot


class _Range(NamedTuple):
    query: int
    low: bytes
    high: bytes


class PredicateTable:
    """Queries by what they wait for. Calls must not overlap."""

    def __init__(self) -> None:
        self._paths: dict[int, Path | None] = {}
        self._slots: dict[Path, int] = {}
        self._refs: dict[int, int] = {}
        self._free: list[int] = []
        self._shapes: dict[Shape, dict[tuple[bytes, ...], list[int]]] = {}
        self._hanging: defaultdict[int, list[Shape]] = defaultdict(list)
        self._ranges: defaultdict[tuple[int, bool], list[_Range]] = defaultdict(list)
        self._equal_of: dict[int, list[tuple[Shape, tuple[bytes, ...]]]] = {}
        self._ranges_of: dict[int, list[tuple[int, bool, _Range]]] = {}
        self._entries = 0

    def __len__(self) -> int:
        return len(self._equal_of)

    def __contains__(self, key: int) -> bool:
        return key in self._equal_of

    def open(self, path: Path | None) -> int:
        """Return the slot of a path (None: a new one whose keys ``candidates`` is given), held until ``close``."""
        slot = None if path is None else self._slots.get(path)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._paths)
            self._paths[slot] = path
            self._refs[slot] = 0
            if path is not None:
                self._slots[path] = slot
        self._refs[slot] += 1
        return slot

    def hold(self, slot: int) -> None:
        """Hold a slot once more."""
        self._refs[slot] += 1

    def close(self, slot: int) -> bool:
        """Let go of a slot that ``open`` gave; return whether it is gone."""
        self._refs[slot] -= 1
        if self._refs[slot]:
            return False
        path = self._paths[slot]
        del self._refs[slot]
        self._free.append(slot)
        if path is not None:
            del self._slots[path]
        return True

    def add(self, key: int) -> None:
        """Take in a query that is not there, and waits for nothing yet."""
        self._equal_of[key] = []
        self._ranges_of[key] = []

    def add_equal(self, key: int, slots: Shape, keys: tuple[bytes, ...]) -> bool:
        """Let a query wait for these keys at these slots, all at once; False when too many shapes hang at the first slot already."""
        if slots not in self._shapes:
            hanging = self._hanging[slots[0]]
            if len(slots) > 1 and sum(len(shape) > 1 for shape in hanging) >= MOST_SHAPES:
                return False
            self._shapes[slots] = {}
            hanging.append(slots)
            for slot in slots:
                self._refs[slot] += 1
        self._shapes[slots].setdefault(keys, []).append(key)
        self._equal_of[key].append((slots, keys))
        self._entries += 1
        return True

    def add_span(self, key: int, slot: int, low: bytes, high: bytes, joint: bool) -> None:
        """Let a query wait for a key from ``low`` up to ``high``; joint: for two keys of a type with something of that between them."""
        span = _Range(key, low, high)
        self._ranges[slot, joint].append(span)
        self._ranges_of[key].append((slot, joint, span))
        self._refs[slot] += 1

    def waiting(self, slot: int, key: bytes) -> int:
        """Return how many equalities wait for a key at a slot alone."""
        return len(self._shapes.get((slot,), {}).get((key,), ()))

    def remove(self, key: int) -> None:
        """Take out a query and all it waits for. Raises KeyError."""
        for slots, keys in self._equal_of.pop(key):
            waiting = self._shapes[slots][keys]
            waiting.remove(key)
            self._entries -= 1
            if not waiting:
                del self._shapes[slots][keys]
            if not self._shapes[slots]:
                del self._shapes[slots]
                self._hanging[slots[0]].remove(slots)
                for slot in slots:
                    self.close(slot)
        for slot, joint, span in self._ranges_of.pop(key):
            self._ranges[slot, joint].remove(span)
            self.close(slot)

    def candidates(
        self,
        before: bytes,
        after: bytes,
        keys_before: Iterable[tuple[int, bytes]] = (),
        keys_after: Iterable[tuple[int, bytes]] = (),
    ) -> list[int]:
        """Return the queries one of the images may concern, each once; the keys are (slot, key) of slots without a path."""
        found: dict[int, None] = {}
        for image, keys in ((before, keys_before), (after, keys_after)):
            if image:
                found.update(dict.fromkeys(self._concerned(self._handed_over(codec.decode(image), keys))))
        return list(found)

    def _handed_over(self, document: dict[str, Any], keys: Iterable[tuple[int, bytes]]) -> Handed:
        handed: Handed = {}
        for path, slot in self._slots.items():
            found = [MISSING_KEY if value is MISSING else order_key(value) for value in handed_over(document, path)]
            if found:
                handed[slot] = found
        for slot, key in keys:
            handed.setdefault(slot, []).append(key)
        return handed

    def _concerned(self, handed: Handed) -> Iterator[int]:
        for slot, keys in handed.items():
            for shape in self._hanging.get(slot, ()):
                yield from self._equal(shape, handed)
            for span in self._ranges.get((slot, False), ()):
                if any(span.low <= key < span.high for key in keys):
                    yield span.query
            for span in self._ranges.get((slot, True), ()):
                if any(span.low <= high and low < span.high for low, high in _extents(keys)):
                    yield span.query

    def _equal(self, shape: Shape, handed: Handed) -> Iterator[int]:
        by_keys = self._shapes[shape]
        keys = [handed.get(slot, []) for slot in shape]
        if len(shape) > 1:
            keys = [[key for key in found if key != MISSING_KEY] for found in keys]
        combinations = 1
        for found in keys:
            combinations *= len(found)
        if combinations > FEW_COMBINATIONS and combinations > self._entries and len(shape) > 1:
            for waiting in by_keys.values():
                yield from waiting
            return
        for chosen in product(*keys):
            yield from by_keys.get(chosen, ())

    def stats(self) -> dict[str, Any]:
        """Return counts."""
        ranges = sum(map(len, self._ranges.values()))
        return {"equalities": self._entries, "ranges": ranges, "paths": len(self._slots), "bytes": None}


def _extents(keys: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the smallest and the largest key of each type."""
    by_type: dict[bytes, list[bytes]] = {}
    for key in keys:
        by_type.setdefault(key[:1], []).append(key)
    return [(min(found), max(found)) for found in by_type.values()]
