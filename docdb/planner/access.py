"""Access paths: where documents come from, as values that can be read.

What lives here: ``Nothing``, ``IdLookup``, ``FullScan`` (all documents or a range of ids), ``IndexScan``, ``IndexUnion``,
``IndexIntersection``, and ``Work``, which counts what reading them touched. What it must not know: which path is best, sorting, projections.

``read`` yields batches of dicts (of what a callable ``decode`` makes of stored bytes), or of (id key, stored bytes) with ``decode="pairs"``. A batch may
be empty. Every document comes once. What a path delivers is a superset of the matches: a program is applied only where the view does so, the rest
is asked again above.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.engine.base import id_of_entry
from docdb.planner.bounds import IndexBounds, Range
from docdb.planner.views import View

__all__ = [
    "Access", "CountedAccess", "FullScan", "IdLookup", "IndexIntersection", "IndexScan", "IndexUnion", "Nothing", "Work",
]  # fmt: skip

FIRST_FETCH: Final = 16
FETCH: Final = 256


@dataclass(slots=True)
class Work:
    """What was touched."""

    entries: int = 0
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """Base of all paths."""

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        """Yield batches of id keys."""
        raise NotImplementedError

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        """Yield batches of documents; ids are gathered to growing batches, of ``first`` at first, before they are fetched."""
        waiting: list[bytes] = []
        size = max(1, min(first, FETCH))
        for ids in self.ids(view, work):
            waiting += ids
            while len(waiting) >= size:
                yield _fetch(view, work, waiting[:size], program, decode)
                del waiting[:size]
                size = min(size * 2, FETCH)
        if waiting:
            yield _fetch(view, work, waiting, program, decode)


@dataclass(frozen=True, slots=True)
class CountedAccess(Access):
    """Base of paths over one index that count what they deliver without reading it, and say of themselves what explain shows."""

    index: Any

    def count(self, view: View) -> int:
        """Return how many documents it delivers."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return what explain shows of it."""
        raise NotImplementedError


def _fetch(view: View, work: Work, ids: list[bytes], program: Any, decode: Any) -> list[Any]:
    work.documents += len(ids)
    if decode == "pairs":
        stored = view.fetch(ids, program=program, decode=False)
        return [(key, data) for key, data in zip(ids, stored, strict=True) if data is not None]
    return [document for document in view.fetch(ids, program=program, decode=decode) if document is not None]


@dataclass(frozen=True, slots=True)
class Nothing(Access):
    """The filter contradicts itself, or there is no collection."""

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        return iter(())


@dataclass(frozen=True, slots=True)
class IdLookup(Access):
    """These ids, in ascending order of their keys."""

    keys: tuple[bytes, ...]
    reverse: bool = False

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        keys = self.keys[::-1] if self.reverse else self.keys
        for at in range(0, len(keys), batch):
            yield list(keys[at : at + batch])


@dataclass(frozen=True, slots=True)
class FullScan(Access):
    """All documents, or those in ranges of id keys, in the order of the ids."""

    ranges: tuple[tuple[bytes, bytes | None], ...] = ((b"", None),)
    reverse: bool = False

    @property
    def whole(self) -> bool:
        """No range limits it."""
        return self.ranges == ((b"", None),)

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        for pairs in self.read(view, work, decode="pairs"):
            yield [key for key, _ in pairs]

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        for low, high in self.ranges[::-1] if self.reverse else self.ranges:
            for batch in view.scan(low=low, high=high, reverse=self.reverse, program=program, decode=decode):
                work.documents += len(batch)
                yield batch


@dataclass(frozen=True, slots=True)
class IndexScan(Access):
    """Ranges of one index. ``merge`` leading fields are points whose ranges are merged, so that the rest is in order."""

    index: Any
    bounds: IndexBounds = field(repr=False)
    reverse: bool = False
    merge: int = 0
    repeats: bool = False  # one document may have several entries in the ranges
    # What the paths of ``geo_access`` add: the geographic field, its cells, the $near that gives the order, what judges the documents.
    path: tuple[str, ...] | None = None
    cells: tuple[Any, ...] = field(default=(), repr=False)
    near: Any = None
    judge: Any = field(default=None, repr=False)

    @property
    def by_entries(self) -> bool:
        """What its bounds prove is true of every entry, not only of the documents it delivers."""
        return self.near is None and self.judge is None

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        found = self._merged(view, work) if self.merge else self._one_by_one(view, work, batch)
        return _once(found) if self.repeats else found

    def read(
        self, view: View, work: Work, *, program: Any = None, decode: Any = True, first: int = FIRST_FETCH
    ) -> Iterator[list[Any]]:
        found = None
        if decode != "pairs" and not self.merge and not self.repeats:
            found = self._joined(view, work, program, first, decode)
        return Access.read(self, view, work, program=program, decode=decode, first=first) if found is None else found

    def covered(
        self, view: View, work: Work, read: Callable[[bytes, bytes], Any], decode: Callable[[bytes], Any], first: int
    ) -> Iterator[list[Any]]:
        """Yield batches of what ``read`` makes of the entries; where it gives None the document is fetched, for ``decode``."""
        found = None if self.merge else self._joined(view, work, None, first, decode, covered=read)
        return self._told(view, work, read, decode, first) if found is None else found

    def _told(
        self, view: View, work: Work, read: Callable[[bytes, bytes], Any], decode: Callable[[bytes], Any], first: int
    ) -> Iterator[list[Any]]:
        for pairs in self.entries(view, work, batch=max(1, min(first, FETCH))):
            made = [read(key, value) for key, value in pairs]
            untold = [at for at, document in enumerate(made) if document is None]
            if untold:
                work.documents += len(untold)
                fetched = view.fetch([id_of_entry(*pairs[at]) for at in untold], decode=decode)
                for at, document in zip(untold, fetched, strict=True):
                    made[at] = document
            yield [document for document in made if document is not None]

    def _joined(
        self, view: View, work: Work, program: Any, first: int, decode: Any, covered: Any = None
    ) -> Iterator[list[Any]] | None:
        """Return the documents by the engine's own join, where it has one."""
        if self.bounds.empty:
            return None
        item, *rest = self._ordered()
        more = [(after.low, after.high) for after in rest]
        found = view.join(
            self.index, item.low, item.high, more=more, reverse=self.reverse, first=first, program=program, decode=decode, covered=covered
        )  # fmt: skip
        if found is None:
            return None
        return _documents(found, work) if covered is None else _covered(found, work)

    def entries(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield batches of (components and id key, value) in the scan's order; a document may come more than once."""
        if self.merge:
            for pair in self._merged_entries(view, work):
                yield [pair]
            return
        for item in self._ordered():
            for pairs in view.entries(self.index, item.low, item.high, reverse=self.reverse, batch=batch):
                work.entries += len(pairs)
                yield pairs

    def _ordered(self) -> tuple[Range, ...]:
        return self.bounds.ranges[::-1] if self.reverse else self.bounds.ranges

    def _one_by_one(self, view: View, work: Work, batch: int) -> Iterator[list[bytes]]:
        for item in self._ordered():
            for ids in view.entry_ids(self.index, item.low, item.high, reverse=self.reverse, batch=batch):
                work.entries += len(ids)
                yield ids

    def _merged(self, view: View, work: Work) -> Iterator[list[bytes]]:
        for key, value in self._merged_entries(view, work):
            yield [id_of_entry(key, value)]

    def _merged_entries(self, view: View, work: Work) -> Iterator[tuple[bytes, bytes]]:
        streams = [self._stream(view, work, item) for item in self.bounds.ranges]
        for _, key, value in heapq.merge(*streams, reverse=self.reverse):
            yield key, value

    def _stream(self, view: View, work: Work, item: Range) -> Iterator[tuple[bytes, bytes, bytes]]:
        start = item.ends[self.merge - 1]
        for pairs in view.entries(self.index, item.low, item.high, reverse=self.reverse, batch=64):
            work.entries += len(pairs)
            for key, value in pairs:
                yield key[start:], key, value


@dataclass(frozen=True, slots=True)
class IndexUnion(Access):
    """What any of the parts delivers: one path for each branch of an ``$or``."""

    parts: tuple[Access, ...]

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        return _once(ids for part in self.parts for ids in part.ids(view, work, batch))


@dataclass(frozen=True, slots=True)
class IndexIntersection(Access):
    """What all parts deliver; the ids of all parts but the last are held in memory."""

    parts: tuple[IndexScan, ...]

    def ids(self, view: View, work: Work, batch: int = FETCH) -> Iterator[list[bytes]]:
        common: set[bytes] | None = None
        for part in self.parts[:-1]:
            found = {key for ids in part.ids(view, work, batch) for key in ids}
            common = found if common is None else common & found
        known = common or set()
        for ids in self.parts[-1].ids(view, work, batch):
            yield [key for key in ids if key in known]


def _documents(batches: Iterator[tuple[int, list[Any]]], work: Work) -> Iterator[list[Any]]:
    for count, documents in batches:
        work.entries += count
        work.documents += count
        yield documents


def _covered(batches: Iterator[tuple[int, list[Any], int]], work: Work) -> Iterator[list[Any]]:
    for count, documents, fetched in batches:
        work.entries += count
        work.documents += fetched
        yield documents


def _once(batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """Drop ids that came before. Memory: the ids delivered so far."""
    seen: set[bytes] = set()
    for ids in batches:
        fresh = [key for key in dict.fromkeys(ids) if key not in seen]
        seen.update(fresh)
        yield fresh
