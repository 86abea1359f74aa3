"""Answers from an index alone: covered reads, distinct values, returned keys.

What lives here: the test whether an index covers a query, and the reading of entries as documents. What it must not know: how the
index was chosen.

An entry whose type bytes do not give the stored value back (Decimal, objects, ids that are numbers...) sends the reader to the document. Entries become
documents in a kernel (``_native/codec_entries.pxi``), in the engine where it has a join; the law is ``_document``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from docdb import _native
from docdb.engine.base import id_of_entry
from docdb.errors import CorruptError, DocumentError
from docdb.language import tree
from docdb.language.metadata import FIELD, INDEX_KEY
from docdb.language.order import MAX_KEY, NULL_KEY, order_key
from docdb.language.tree import Node, Path
from docdb.language.values import MISSING
from docdb.planner.access import IndexScan, Work
from docdb.planner.choice import is_ordinary, scan_of
from docdb.planner.components import covered_values, id_value, split_entry
from docdb.planner.conditions import conjuncts
from docdb.planner.intervals import Bound, Intervals
from docdb.planner.queries import FindQuery, SortKeys
from docdb.planner.views import View
from docdb.store import codec

if TYPE_CHECKING:
    from docdb.planner.plan import Plan

__all__ = [
    "covered_documents", "covers", "distinct_from_index", "entry_reader", "filter_paths", "index_keys", "is_single_key", "reached", "value_key",
    "with_index_key",
]  # fmt: skip

Document = dict[str, Any]

_DAMAGE = (DocumentError, IndexError, KeyError, OverflowError, RecursionError, ValueError, struct.error)


def covers(query: FindQuery, scan: IndexScan, sort: SortKeys, view: View) -> bool:
    """Tell whether the entries of the scan hold all that the query reads."""
    projection = query.projection
    if projection is None or projection.fields is None or projection.needs_position or query.metadata:
        return False
    index = scan.index
    if not is_ordinary(index):
        return False
    counters = view.counters(index)
    if counters.multikey or counters.cut or index.collation is not None:
        return False
    known = {path[0] for path, _ in index.keys if len(path) == 1} | {"_id"}
    needed = projection.fields | {".".join(path) for path, _ in sort}
    paths = filter_paths(query.node)
    return paths is not None and needed | {".".join(path) for path in paths} <= known


def filter_paths(node: Node) -> set[Path] | None:
    """Return the paths a filter reads, or None when it may read others."""
    found: set[Path] = set()
    for part in tree.walk(node):
        if isinstance(part, tree.Expr | tree.Schema | tree.Text):
            return None
        path = getattr(part, "path", None)
        if path is not None:
            found.add(path)
    return found


def covered_documents(
    scan: IndexScan, view: View, work: Work, names: frozenset[str], first: int
) -> Iterator[list[Document]]:
    """Yield batches of documents that hold those of ``names`` they have, all fields of the index or ``_id``; of ``first`` documents at first."""
    return scan.covered(view, work, entry_reader(scan.index, names), codec.FieldsDecoder(names), first)


def entry_reader(index: Any, names: frozenset[str]) -> Callable[[bytes, bytes], Document | None]:
    """Return the function from an entry (components and id key, value) to the document of these fields, None where the entry does not tell them."""
    shown = tuple([path[0] if len(path) == 1 and path[0] in names else None for path, _ in index.keys])
    shows_id = "_id" in names
    reference = partial(_document, index, shown, shows_id)
    if not _native.AVAILABLE:
        return reference
    from docdb._native.codec import EntryDecoder

    return EntryDecoder(shown, tuple([way for _, way in index.keys]), shows_id, reference)


def _document(index: Any, names: tuple[str | None, ...], shows_id: bool, key: bytes, value: bytes) -> Document | None:
    document: Document = {}
    try:
        if shows_id:
            document["_id"] = id_value(id_of_entry(key, value))
            if document["_id"] is MISSING:
                return None
        values = covered_values(index, key, value)
    except _DAMAGE as error:
        raise CorruptError(f"an entry of index {index.name!r} is damaged") from error
    if values is None:
        return None
    for name, item in zip(names, values, strict=True):
        if name is not None and item is not MISSING:
            document[name] = item
    return document


def _fetched(view: View, work: Work, key: bytes, value: bytes) -> Document | None:
    work.documents += 1
    found: Document | None = view.fetch([id_of_entry(key, value)])[0]
    return found


def index_keys(plan: Plan, view: View, batches: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Yield only the fields of the index that was used (``returnKey``), under their dotted names; nothing of a scan."""
    access = plan.access
    paths = [path for path, _ in access.index.keys] if isinstance(access, IndexScan) else []
    skip, left = plan.query.skip, plan.query.limit or None
    for batch in plan._arranged(batches):
        batch, skip = batch[skip:], max(0, skip - len(batch))
        batch = batch if left is None else batch[:left]
        left = None if left is None else left - len(batch)
        if batch:
            yield [_keys_of(document, paths) for document in batch]
        if left == 0:
            return


def _keys_of(document: Document, paths: list[Path]) -> Document:
    found: Document = {}
    for path in paths:
        values = list(reached(document, path))
        found[".".join(path)] = values[0] if values else None
    return found


def with_index_key(access: IndexScan, batches: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Yield the documents with the key that the scan found them by; of several in its bounds the first."""
    fields = [(path, intervals) for (path, _), intervals in zip(access.index.keys, access.bounds.fields, strict=True)]
    key_of = value_key(access.index.collation)
    for batch in batches:
        yield [{**document, FIELD: {INDEX_KEY: _found_key(document, fields, key_of)}} for document in batch]


def _found_key(document: Document, fields: list[tuple[Path, Intervals]], key_of: Callable[[Any], bytes]) -> Document:
    found: Document = {}
    for path, intervals in fields:
        values = list(reached(document, path)) or [None]
        inside = (v for v in values if any(i.low <= Bound(key_of(v)) < i.high for i in intervals))
        found[".".join(path)] = next(inside, values[0])
    return found


def is_single_key(scan: IndexScan) -> bool:
    """Tell whether the scan reads entries of one key only: a document has each key once."""
    bounds = scan.bounds
    return len(bounds.ranges) == 1 and len(bounds.ranges[0].ends) == len(bounds.fields)


def value_key(collation: Any) -> Callable[[Any], bytes]:
    """Return what makes two values the same to ``distinct``."""
    return order_key if collation is None else collation.order_key


def reached(value: Any, path: Path) -> Iterator[Any]:
    """Yield the values at a path: arrays on the way fan out, an array at the end gives its elements."""
    if not path:
        if isinstance(value, list):
            yield from value
        else:
            yield value
        return
    if isinstance(value, dict):
        if path[0] in value:
            yield from reached(value[path[0]], path[1:])
    elif isinstance(value, list):
        if path[0].isdigit() and int(path[0]) < len(value):
            yield from reached(value[int(path[0])], path[1:])
        for element in value:
            if isinstance(element, dict):
                yield from reached(element, path)


def distinct_from_index(plan: Plan, view: View, path: Path) -> list[Any] | None:
    """Return the distinct values by leaping from key to key in an index, or None when that would not be right."""
    if plan.query.after or plan.query.skip or plan.query.limit or plan.query.collation is not None:
        return None
    scan = next((scan for scan in _leading(plan, view, path) if _is_plain(view, scan)), None)
    if scan is None:
        return None
    found: dict[bytes, Any] = {}
    for item in scan.bounds.ranges:
        low = item.low
        while (step := _next_value(view, scan, low, item.high, path)) is not None:
            low, values = step
            found.update((order_key(value), value) for value in values)
    return list(found.values())


def _leading(plan: Plan, view: View, path: Path) -> Iterator[IndexScan]:
    """Yield scans that begin with the path and prove the filter."""
    yield from (scan for scan in plan.exact_scans() if is_ordinary(scan.index) and scan.index.keys[0][0] == path)
    if plan.query.hint is not None or view.collection is None or conjuncts(plan.query.node):
        return
    for index in view.collection.indexes:
        usable = not (index.building or index.hidden or index.sparse or index.partial_node is not None)
        if usable and is_ordinary(index) and index.keys[0][0] == path:
            access = scan_of(view, index, (), (), None).access
            if isinstance(access, IndexScan):
                yield access


def _is_plain(view: View, scan: IndexScan) -> bool:
    counters = view.counters(scan.index)
    return not counters.multikey and not counters.cut and scan.index.collation is None


def _next_value(view: View, scan: IndexScan, low: bytes, high: bytes, path: Path) -> tuple[bytes, list[Any]] | None:
    """Return where to go on, and the first value from ``low`` on (none for a missing field)."""
    first = next((batch[0] for batch in view.entries(scan.index, low, high, batch=1) if batch), None)
    if first is None:
        return None
    key, value = first
    component = split_entry(scan.index, key)[0]
    length = len(component)
    behind = key[:length] + b"\xff"
    if component == NULL_KEY:
        return behind, [None] if _any_null(view, scan, low, min(high, behind)) else []
    values = covered_values(scan.index, key, value) if component < MAX_KEY else None
    if values is None:
        document = _fetched(view, Work(), key, value)
        return behind, list(reached(document, path))
    return behind, values[:1]


def _any_null(view: View, scan: IndexScan, low: bytes, high: bytes) -> bool:
    """Missing and null share their key: the type byte tells whether any is a null."""
    return any(value[1] & 15 != 5 for batch in view.entries(scan.index, low, high) for _, value in batch)
