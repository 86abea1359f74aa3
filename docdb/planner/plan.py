"""A plan: one access path and what is left to do with its documents.

What lives here: ``Plan`` with ``run``, ``select``, ``count`` and ``distinct``. What it must not know: how the path was chosen
(``planner``), how it is printed (``explain``).

Order of work: read, filter (program in the engine, matcher above it), keyset, sort, skip, limit, projection. Each step is an iterator over
batches, so memory stays flat but for a sort and for the ids a path must not give twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from docdb.engine import interrupts
from docdb.errors import TimeoutExpired
from docdb.language import matching, tree
from docdb.language.metadata import FIELD, INDEX_KEY, TEXT_SCORE, bare
from docdb.language.programs import compile_program
from docdb.language.sorting import sort_key
from docdb.pipeline.spill import HEAP_LIMIT, ordered
from docdb.planner import covering
from docdb.planner.access import (
    FIRST_FETCH,
    Access,
    CountedAccess,
    FullScan,
    IdLookup,
    IndexIntersection,
    IndexScan,
    IndexUnion,
    Nothing,
    Work,
)
from docdb.planner.choice import Candidate
from docdb.planner.conditions import conjuncts
from docdb.planner.nearness import NEAR_ORDER, near_key
from docdb.planner.ordering import decode_token, encode_token
from docdb.planner.presorted import sorted_within
from docdb.planner.queries import FindQuery, SortKeys
from docdb.planner.top import CAN_SORT, smallest, whole
from docdb.planner.views import Index, View
from docdb.store import codec

__all__ = ["Plan", "page_of"]

_BATCH = 256
_PLAIN = (FullScan, IdLookup, IndexIntersection, IndexScan, IndexUnion)  # paths that read a document for the plan alone
_READABLE = (*_PLAIN, Nothing)


@dataclass(slots=True)
class Plan:
    """How one query is served. ``exact``: the path delivers matches only. ``ordered``: in the order asked for.

    ``leads``: of an order that it does not deliver, the number of first fields that it does; the sort works within what is equal in these.
    ``fallback`` is read instead when ``access``, hoped to end early, has delivered ``budget`` documents without enough matches. ``last`` is
    the newest document of the batch that was yielded last, before projection (for ``token``).
    """

    query: FindQuery
    access: Access
    exact: bool = False
    ordered: bool = False
    sort: SortKeys = ()
    covered: bool = False
    fallback: Plan | None = None
    budget: int = 0
    considered: list[Candidate] = field(default_factory=list)
    last: dict[str, Any] | None = None
    score: Callable[[Any], float] | None = None  # of a text search whose path does not tell
    judges: tuple[Any, Callable[[Any], bool] | None] | None = None  # the filter compiled, once somebody asked
    leads: int = 0

    def run(
        self, view: View, deadline: float | None = None, *, work: Work | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of documents, projected. ``deadline`` is a ``time.monotonic()``; raises TimeoutExpired when it has passed."""
        work = work or Work()
        query = self.query
        if query.return_key:
            yield from covering.index_keys(self, view, _watched(self._documents(view, work), deadline))
            return
        project = _projector(query)
        read = self._names_of_sorted()
        found = self._sorted_stored(view, work, deadline, read)
        if found is None:
            names = self._wanted_names()
            read = None if names is None else self._reads(names, view)
            source = self._covered(view, work, read) if self.covered else self._documents(view, work, names)
            arranged = self._arranged(_watched(source, deadline))
            if self.sort and not self.ordered:
                arranged = _watched(arranged, deadline)
            found = page_of(arranged, query)
        if read is not None and query.projection is not None and read == query.projection.names:
            project = None  # nothing else was decoded
        for batch in found:
            if batch:
                self.last = batch[-1]
                shown = batch if project is None else [project(document) for document in batch]
                yield [bare(document) for document in shown] if self._carries and not query.carries else shown

    def select(self, view: View, deadline: float | None = None) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield batches of (id key, stored bytes) of the documents, for writes; sort, skip and limit apply."""
        if self.fallback is not None:  # what a write selects is not raced: the sure path
            yield from self.fallback.select(view, deadline)
            return
        if not self.sort or self.ordered:
            batches = self._pairs(view, Work())
            yield from page_of(_watched(batches, deadline, writes=True), self.query)
            return
        rows = _watched(self._pairs(view, Work()), deadline, writes=True)
        found = self._sorted(rows, lambda pair: codec.decode(pair[1]))
        yield from page_of(_watched(_batches(found), deadline, writes=True), self.query)

    def rows(self, view: View, deadline: float | None = None) -> Iterator[list[bytes]]:
        """Return batches of the result as stored bytes, in its order; keyset and projection do not apply, but for a mask."""
        if self._masks:
            return ([codec.encode(document) for document in batch] for batch in self.run(view, deadline))
        plan = self.fallback or self
        stored = plan.stored(view, deadline) or plan._sorted_stored(view, Work(), deadline, None, plain=True)
        if stored is not None:
            return stored
        return ([data for _, data in pairs] for pairs in plan.select(view, deadline))

    def stored(
        self, view: View, deadline: float | None, *, take: Callable[[bytes], Any] | None = None
    ) -> Iterator[list[Any]] | None:
        """Return batches of the result as stored bytes, or of what ``take`` makes of each; None where it takes more than the path: a sort, a second path.

        ``take`` is called once for each, on the engine's own memory where it is a kernel's.
        """
        if not self.gives_stored:
            return None
        if not self.query.skip and not self.query.limit:
            return self._stored_matches(view, deadline, Work(), take)
        found = page_of(self._stored_matches(view, deadline, Work(), None), self.query)
        return found if take is None else ([take(data) for data in batch] for batch in found)

    @property
    def gives_stored(self) -> bool:
        """Whether the path's documents are the result, in its order."""
        return self._reads_stored and not self.query.after and (not self.sort or self.ordered)

    @property
    def _reads_stored(self) -> bool:
        return self.fallback is None and type(self.access) in _READABLE and not self._carries and not self._masks

    def _stored_matches(
        self, view: View, deadline: float | None, work: Work, take: Callable[[bytes], Any] | None
    ) -> Iterator[list[Any]]:
        """Return batches of all matches, in the order of the path; a match that the program cannot judge is decoded as far as the filter reads it."""
        program, matches = (None, None) if self.exact else self._filter(view)
        first = self._first() if self.exact else FIRST_FETCH
        if matches is None:
            decode: Any = False if take is None else take
            return _watched(self.access.read(view, work, program=program, decode=decode, first=first), deadline)
        stored = self.access.read(view, work, program=program, decode=False)
        found = _judged(_watched(stored, deadline), matches, covering.filter_paths(self.query.node))
        return found if take is None else ([take(data) for data in batch] for batch in found)

    def count(self, view: View, deadline: float | None = None) -> int:
        """Return the number of documents, within skip and limit. An index that proves the filter is counted without documents."""
        found = self._indexed_count(view)
        if found is None:
            found = (self.fallback or self)._scanned_count(view, deadline)
        found = max(0, found - self.query.skip)
        return min(found, self.query.limit) if self.query.limit else found

    def distinct(self, view: View, path: str, deadline: float | None = None) -> list[Any]:
        """Return the distinct values at a dotted path, arrays unwound one level, in the order they were met."""
        parts = tuple(path.split("."))
        found = covering.distinct_from_index(self, view, parts)
        if found is not None:
            return found
        if self.query.collation is None and self._reads_stored:
            from docdb.pipeline.grouping import distinct_values  # takes long to load

            known = distinct_values(parts, partial(self._stored_matches, view, deadline, Work()))
            if known is not None:
                return known
        key = covering.value_key(self.query.collation)
        seen: dict[bytes, Any] = {}
        for batch in _watched(self._documents(view, Work(), frozenset(parts[:1])), deadline):
            for document in batch:
                for value in covering.reached(document, parts):
                    seen.setdefault(key(value), value)
        return list(seen.values())

    def explain(self, view: View, execute: bool = True) -> dict[str, Any]:
        """Return the plan as a dict; with ``execute`` it is run and counted."""
        from docdb.planner.explain import explain

        return explain(self, view, execute)

    @property
    def indexes(self) -> Sequence[Index]:
        """The indexes that are read, also by one path of several."""
        return _indexes(self.access)

    @property
    def path(self) -> str:
        """The kind of the access path."""
        return type(self.access).__name__

    def token(self) -> str | None:
        """Return the keyset token of the last document delivered; None before the first."""
        return None if self.last is None else encode_token(self._key()(self.last))

    # ---- reading and filtering

    def _documents(self, view: View, work: Work, names: frozenset[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the matches; where ``names`` are given, at least these fields of them."""
        if self.fallback is not None:
            return self._raced(view, work)
        return self._filtered(view, work, names)

    def _filtered(self, view: View, work: Work, names: frozenset[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        read = None if names is None else self._reads(names, view)
        decode = True if read is None else codec.FieldsDecoder(read)
        if self.exact:
            return self._carrying(self.access.read(view, work, decode=decode, first=self._first()))
        program, matches = self._filter(view)
        batches = self._carrying(self.access.read(view, work, program=program, decode=decode))
        if matches is None:
            return batches
        return ([document for document in batch if matches(document)] for batch in batches)

    def _filter(self, view: View) -> tuple[Any, Callable[[Any], bool] | None]:
        """Return the program the engine may run, and what must still be asked of each document."""
        if self.judges is None:
            node = self.query.node
            program = None if node == tree.TRUE else compile_program(node)
            sure = program is not None and program.exact and view.applies_programs
            self.judges = (program, None if sure or node == tree.TRUE else matching.matcher(node))
        return self.judges

    def decoded(self, view: View) -> frozenset[str] | None:
        """Return the top-level fields that are decoded of each document, None for all."""
        names = self._wanted_names()
        return None if names is None or self.covered else self._reads(names, view)

    def _wanted_names(self) -> frozenset[str] | None:
        """Return the top-level fields that those who asked read, None for all."""
        projection = self.query.projection
        if projection is None:
            return self.query.names
        return None if projection.needs_position else projection.fields

    def _reads(self, names: frozenset[str], view: View) -> frozenset[str] | None:
        """Return ``names`` and what else is read of the documents: by the order, by the filter where it is asked again. None: they are read whole."""
        if type(self.access) not in _PLAIN or self.fallback is not None or self._carries or self.score is not None:
            return None
        if self.sort == NEAR_ORDER:
            return None
        if not self.exact and (self.covered or self._filter(view)[1] is not None):
            paths = covering.filter_paths(self.query.node)
            if paths is None:
                return None
            names |= {path[0] for path in paths if path}  # within $elemMatch a path may be empty
        if not self.ordered or self.query.after is not None:  # a page's token is made of the last document
            names |= {path[0] for path, _ in self.sort}
        return names if len(names) <= codec.MOST_FIELDS else None

    @property
    def _masks(self) -> bool:
        return self.query.projection is not None and self.query.projection.masks

    @property
    def _carries(self) -> bool:
        """Whether documents carry what is known of them beside their fields."""
        return bool(self.query.metadata) or any(path[0] == FIELD for path, _ in self.sort)

    def _carrying(self, batches: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """Yield the documents with what is known of them, where somebody asks."""
        if self.query.metadata and isinstance(self.access, IndexScan) and INDEX_KEY in self.query.metadata:
            return covering.with_index_key(self.access, batches)
        if self.score is not None and self._carries:
            return _scored(batches, self.score)
        return batches

    def _first(self) -> int:
        """Return how many documents to fetch at first: no more than wanted, where each one fetched is delivered."""
        wanted = _end(self.query) if (self.ordered or self.leads) and not self.query.after else None
        return FIRST_FETCH if wanted is None else wanted

    def _raced(self, view: View, work: Work) -> Iterator[list[dict[str, Any]]]:
        """Read the ordered path while it is cheap; else start over with the other one. Holds at most skip + limit documents."""
        assert self.fallback is not None
        wanted = _end(self.query) or 0
        held: list[dict[str, Any]] = []
        tried = Work()
        given_up = []

        def affordable() -> Iterator[list[dict[str, Any]]]:
            for batch in self._filtered(view, tried):
                yield batch
                if tried.entries + tried.documents > 2 * self.budget:
                    given_up.append(True)
                    return

        batches = affordable()
        for batch in _batches(self._sorted(batches)) if self.leads else batches:
            held += batch
            if len(held) >= wanted:
                break
        work.entries += tried.entries
        work.documents += tried.documents
        if not given_up:
            yield held
            return
        yield from self.fallback._arranged(self.fallback._filtered(view, work))

    def _pairs(self, view: View, work: Work) -> Iterator[list[tuple[bytes, bytes]]]:
        if self.exact:
            return self.access.read(view, work, decode="pairs", first=self._first())
        program, matches = self._filter(view)
        batches = self.access.read(view, work, program=program, decode="pairs")
        if matches is None:
            return batches
        return ([pair for pair in batch if matches(codec.decode(pair[1]))] for batch in batches)

    def _covered(self, view: View, work: Work, names: frozenset[str] | None) -> Iterator[list[dict[str, Any]]]:
        assert isinstance(self.access, IndexScan) and names is not None
        first = self._first() if self.exact else FIRST_FETCH
        batches = covering.covered_documents(self.access, view, work, names, first)
        if self.exact:
            return batches
        matches = matching.matcher(self.query.node)
        return ([document for document in batch if matches(document)] for batch in batches)

    # ---- order

    def _key(self) -> Callable[[Any], bytes]:
        if self.sort == NEAR_ORDER:
            return near_key(next(part for part in conjuncts(self.query.node) if isinstance(part, tree.Near)))
        key: Callable[[Any], bytes] = sort_key(self.sort, self.query.collation)
        score = self.score
        if score is not None and self._carries:
            return lambda document: key({**document, FIELD: {TEXT_SCORE: score(document)}})
        return key

    @property
    def takes_top(self) -> bool:
        """Whether it is a sort + limit over a path that gives stored bytes."""
        return self._sorts_stored and 0 < (_end(self.query) or 0) <= HEAP_LIMIT

    @property
    def takes_sort(self) -> bool:
        """Whether it is a sort of everything that a path gives as stored bytes, by a kernel."""
        return self._sorts_stored and CAN_SORT and not self.takes_top and not (self.leads and self.query.limit)

    @property
    def _sorts_stored(self) -> bool:
        query = self.query
        if (
            not self.sort
            or self.ordered
            or self.covered
            or query.after
            or query.collation is not None
            or query.metadata
        ):
            return False
        if self.sort == NEAR_ORDER or any(path[0] in ("$natural", FIELD) for path, _ in self.sort):
            return False
        return self._reads_stored

    def _sorted_stored(
        self, view: View, work: Work, deadline: float | None, names: frozenset[str] | None, *, plain: bool = False
    ) -> Iterator[list[Any]] | None:
        """Return the documents within skip and limit, or their stored bytes, of a sort over a path that gives stored bytes; else None."""
        query, wanted = self.query, _end(self.query)
        read = partial(self._stored_matches, view, deadline, work)
        if wanted is not None and self.takes_top:
            decode = bytes if plain else codec.decode if names is None else codec.FieldsDecoder(names)
            return iter((smallest(read, self.sort, wanted, decode, leads=self.leads, skip=query.skip),))
        if not self.takes_sort:
            return None
        found = whole(read, self.sort, names, skip=query.skip, end=wanted, plain=plain)
        return _watched(found, deadline)

    def _names_of_sorted(self) -> frozenset[str] | None:
        """Return the fields that are decoded of what a sort over stored bytes gives, None for all."""
        names = self._wanted_names()
        if names is not None and self.query.after is not None:
            names |= {path[0] for path, _ in self.sort}  # the page's token is made of the last document
        return None if names is None or len(names) > codec.MOST_FIELDS else names

    def _arranged(self, batches: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        query = self.query
        if query.after:
            batches = self._behind(batches, decode_token(query.after))
        if not self.sort or self.ordered or self.fallback is not None:
            return batches
        return _batches(self._sorted(batches))

    def _sorted(
        self, batches: Iterator[list[Any]], document: Callable[[Any], dict[str, Any]] | None = None
    ) -> Iterator[Any]:
        """Yield what comes in batches (documents, or what ``document`` makes one of) in the order asked for, as far as the limit."""
        key, end = _of(document, self._key()), _end(self.query)
        if not self.leads:
            return ordered(batches, key, end)
        return sorted_within(batches, _of(document, sort_key(self.sort[: self.leads], self.query.collation)), key, end)

    def _behind(self, batches: Iterator[list[dict[str, Any]]], token: bytes) -> Iterator[list[dict[str, Any]]]:
        key = self._key()
        for batch in batches:
            yield [document for document in batch if key(document) > token]

    # ---- counting

    def _indexed_count(self, view: View) -> int | None:
        access = self.access
        if isinstance(access, Nothing):
            return 0
        if self.query.after:
            return None
        if self.exact and isinstance(access, FullScan):
            if access.whole:
                return view.document_count()
            return sum(view.document_range_count(low, high or b"\xff") for low, high in access.ranges)
        if self.exact and isinstance(access, CountedAccess):
            return access.count(view)
        for scan in self.exact_scans():
            if not scan.repeats or covering.is_single_key(scan):
                return sum(view.entry_count(scan.index, item.low, item.high) for item in scan.bounds.ranges)
        return None

    def exact_scans(self) -> list[IndexScan]:
        """Return the index scans whose entries are known to be the matches and nothing else: the one chosen, else any that was considered."""
        if isinstance(self.access, IndexScan) and self.exact:
            return [self.access] if self.access.by_entries else []
        proved = frozenset(range(len(conjuncts(self.query.node))))
        scans = [c.access for c in self.considered if isinstance(c.access, IndexScan) and c.sources >= proved]
        return [scan for scan in scans if scan.by_entries]

    def _scanned_count(self, view: View, deadline: float | None) -> int:
        end = _end(self.query)
        found = 0
        for batch in _watched(self._counted(view), deadline):
            found += len(batch)
            if end is not None and found >= end:
                return end
        return found

    def _counted(self, view: View) -> Iterator[list[Any]]:
        if self.fallback is None and not self.query.after:
            program, matches = (None, None) if self.exact else self._filter(view)
            if matches is None:
                decode = "presence" if isinstance(self.access, FullScan) else "pairs"
                return self.access.read(view, Work(), program=program, decode=decode)
        return self._arranged(self._documents(view, Work())) if self.query.after else self._filtered(view, Work())


def _indexes(access: Access) -> list[Index]:
    if isinstance(access, IndexScan | CountedAccess):
        return [access.index]
    if isinstance(access, IndexUnion | IndexIntersection):
        return [index for part in access.parts for index in _indexes(part)]
    return []


def _judged(batches: Iterator[list[bytes]], matches: Callable[[Any], bool], paths: Any) -> Iterator[list[bytes]]:
    """Drop the stored documents that do not match; of each only what the filter reads is decoded, where that is known."""
    names = None if paths is None else frozenset(path[0] for path in paths if path)
    decode = codec.decode if names is None or len(names) > codec.MOST_FIELDS else codec.FieldsDecoder(names)
    for batch in batches:
        yield [data for data in batch if matches(decode(data))]


def _of(document: Callable[[Any], Any] | None, key: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return key if document is None else lambda item: key(document(item))


def _scored(batches: Iterator[list[dict[str, Any]]], score: Callable[[Any], float]) -> Iterator[list[dict[str, Any]]]:
    for batch in batches:
        yield [{**document, FIELD: {TEXT_SCORE: score(document)}} for document in batch]


def _projector(query: FindQuery) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    projection = query.projection
    if projection is None:
        return None
    if not projection.needs_position:
        return projection.apply
    node = query.node

    def project(document: dict[str, Any]) -> dict[str, Any]:
        return projection.apply(document, matching.match_position(node, document))

    return project


def _end(query: FindQuery) -> int | None:
    return query.skip + query.limit if query.limit else None


def page_of(batches: Iterator[list[Any]], query: FindQuery) -> Iterator[list[Any]]:
    """Yield batches without the first ``skip`` items, up to ``limit``."""
    skip, left = query.skip, query.limit or None
    for batch in batches:
        if skip:
            skip, batch = max(0, skip - len(batch)), batch[skip:]
        if left is not None:
            batch = batch[:left]
            left -= len(batch)
        if batch:
            yield batch
        if left == 0:
            return


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _watched(batches: Iterator[list[Any]], deadline: float | None, *, writes: bool = False) -> Iterator[list[Any]]:
    """Look before each batch whether the time is over, and but for writes whether anybody still waits."""
    look = None if writes or not interrupts.possible() else interrupts.check
    return batches if deadline is None and look is None else _watching(batches, deadline, look)


def _watching(
    batches: Iterator[list[Any]], deadline: float | None, look: Callable[[], None] | None
) -> Iterator[list[Any]]:
    for batch in batches:
        if look is not None:
            look()
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutExpired(
                "operation exceeded time limit", hint="raise max_time_ms, or add an index: see explain()"
            )
        yield batch
