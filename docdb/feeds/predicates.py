"""The predicate index: of all live queries, those that a change may concern.

What lives here: ``PredicateIndex``. What it must not know: results, consumers, how a change was read.

A change concerns a query when its filter matches the image before or after. The index holds for each query the entries of its cover (``covers.py``): a document
that matches meets one of them. So the candidates are a superset of those concerned, exactly them for filters of equalities, and cost what the document has in
fields and what is found, not what there are in queries. Text under a collation has keys only Python can make: while such queries are there, each document
is decoded.

Calls must not overlap: the hub's lock is held around ``add``, ``remove`` and ``candidates``.
"""

from __future__ import annotations

from typing import Any

from docdb import _native
from docdb.feeds.covers import Equal, Place, Span, cover
from docdb.feeds.predicate_table import PredicateTable
from docdb.language.matching import handed_over
from docdb.language.tree import Node
from docdb.language.values import MISSING
from docdb.store import codec

__all__ = ["PredicateIndex"]

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import predicates as _kernel


class PredicateIndex:
    """Live queries of one collection by what a document must hold to concern them; a query is a number that the caller chose.

    >>> from docdb.language.tree import Compare
    >>> index = PredicateIndex()
    >>> for room in range(1000):
    ...     index.add(room, Compare(("room",), "eq", room))
    >>> index.candidates(b"", codec.encode({"_id": 1, "room": 7}))
    [7]
    """

    def __init__(self, *, table: Any = None) -> None:
        if table is None:
            table = PredicateTable() if _kernel is None else _kernel.PredicateTable()
        self._table = table
        self._unindexed: dict[int, None] = {}
        self._collated: dict[Place, int] = {}  # slots without a path
        self._collated_of: dict[int, list[Place]] = {}

    def __len__(self) -> int:
        return len(self._table) + len(self._unindexed)

    def __contains__(self, key: int) -> bool:
        return key in self._unindexed or key in self._table

    @property
    def unindexed(self) -> int:
        """How many queries are candidates for every change: their filter tells nothing of a single field."""
        return len(self._unindexed)

    def add(self, key: int, node: Node) -> None:
        """Take in a query. Raises ValueError when the key is there. Cost: some microseconds, and those of each value in an ``$in``."""
        if key in self:
            raise ValueError(f"query {key} is there already")
        entries = cover(node)
        if entries is None:
            self._unindexed[key] = None
            return
        self._table.add(key)
        try:
            self._add_entries(key, entries)
        except BaseException:
            self.remove(key)
            raise

    def remove(self, key: int) -> None:
        """Take out a query. Raises KeyError."""
        if key in self._unindexed:
            del self._unindexed[key]
            return
        self._table.remove(key)
        for place in self._collated_of.pop(key, ()):
            if self._table.close(self._collated[place]):
                del self._collated[place]

    def candidates(self, before: bytes, after: bytes) -> list[int]:
        """Return the queries that a change may concern, each once; the images are stored documents, empty where there is none.

        Raises CorruptError for damaged bytes.
        """
        found: list[int]
        if self._collated:
            found = self._table.candidates(before, after, self._collated_keys(before), self._collated_keys(after))
        else:
            found = self._table.candidates(before, after)
        if self._unindexed:
            found.extend(self._unindexed)
        return found

    def stats(self) -> dict[str, Any]:
        """Return counts of queries, entries and paths, and the bytes they take (None without kernels)."""
        return {"queries": len(self), "unindexed": len(self._unindexed), **self._table.stats()}

    def _add_entries(self, key: int, entries: tuple[Equal | Span, ...]) -> None:
        held: dict[Place, int] = {}
        alone: set[tuple[int, bytes]] = set()
        try:
            for entry in entries:
                if isinstance(entry, Span):
                    self._table.add_span(key, self._slot(key, entry.place, held), entry.low, entry.high, entry.joint)
                    continue
                values = sorted((self._slot(key, place, held), value) for place, value in entry.values)
                slots, keys = zip(*values, strict=True)
                if not self._table.add_equal(key, slots, keys):
                    # the value with the fewest waiting; the path that came later is thought to be the rarer one
                    alone.add(min(values, key=lambda value: (self._table.waiting(*value), -value[0])))
            for slot, value in alone:
                self._table.add_equal(key, (slot,), (value,))
        finally:
            for place, slot in held.items():
                if place.collation is None:
                    self._table.close(slot)

    def _slot(self, key: int, place: Place, held: dict[Place, int]) -> int:
        """Return the slot of a place; one of a path is held for as long as entries are added, a collated one as long as the query lives."""
        slot: int | None = held.get(place)
        if slot is not None:
            return slot
        if place.collation is None:
            slot = self._table.open(place.path)
        elif place in self._collated:
            slot = self._collated[place]
            self._table.hold(slot)
        else:
            slot = self._collated[place] = self._table.open(None)
        if place.collation is not None:
            self._collated_of.setdefault(key, []).append(place)
        held[place] = slot
        return slot

    def _collated_keys(self, image: bytes) -> list[tuple[int, bytes]]:
        if not image:
            return []
        document = codec.decode(image)
        return [
            (slot, place.collation.order_key(value))
            for place, slot in self._collated.items()
            for value in handed_over(document, place.path)
            if value is not MISSING  # nobody waits for it here
        ]
