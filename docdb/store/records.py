"""The only writer of documents and index entries.

What lives here: ``apply``, which puts a list of document changes with their entries, log records and counters, and ``insert_prepared``,
the same for many new documents whose bytes were made before the lock. What it must not know: why a document changes.

Each function has two halves. The first checks (unique keys) and may refuse with DuplicateKeyError, having put nothing; the second
only puts. An index that is being built is maintained for the documents its builder has already passed, and no others: then its entries
are at every commit exactly those of the documents up to the builder's position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docdb.engine.base import CATALOG, DOCUMENTS, ENTRIES, id_of_entry
from docdb.errors import DocdbError, DuplicateKeyError
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.language.tree import Path
from docdb.store import codec
from docdb.store.batch import WriteBatch
from docdb.store.catalog import CollectionInfo, IndexInfo, position_key
from docdb.store.changes import DELETE, INSERT, record
from docdb.store.keyspace import (
    after_prefix,
    collection_counters_key,
    collection_prefix,
    index_counters_key,
    is_cut,
    is_multikey,
    unique_prefix,
)
from docdb.store.runs import Documents, PairRun, Run

__all__ = [
    "RENEWAL", "DocumentChange", "Prepared", "acceptor", "apply", "count_run", "duplicate_id", "entries_run", "examine", "insert_prepared", "prepare",
    "put_examined", "rivals",
]  # fmt: skip

Entry = tuple[bytes, bytes]
Difference = tuple[IndexInfo, list[Entry], list[Entry]]  # an index, the entries that go, those that come
NOTHING: Final[list[Entry]] = []
RENEWAL: Final = "di"  # an expired document makes way for a new one of its id: a delete and an insertion in the log


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document's change: operation (i, u, r, d, or ``RENEWAL``), id key, stored bytes before and after (None: absent)."""

    operation: str
    id_key: bytes
    before: bytes | None
    after: bytes | None


@dataclass(slots=True)
class Prepared:
    """Documents made ready outside the lock: their ids, keys and bytes, and their entries for each index of the version."""

    version: int
    ids: list[Any]
    documents: Documents
    entries: dict[int, Run]


def acceptor(index: IndexInfo) -> Callable[[bytes], bool] | None:
    """Return what tells from stored bytes whether a partial index takes a document; None when it takes all."""
    node = index.partial_node
    if node is None:
        return None
    program = compile_program(node)
    if program is not None and program.exact:
        match = program.match
        return lambda data: match(data) == 1
    judge = matcher(node)
    return lambda data: judge(codec.decode(data))


def entries_of(index: IndexInfo, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[Entry]]:
    """Return the entries of each document in an index."""
    rows: list[list[Entry]]
    try:
        rows = index.maker.entries_many(id_keys, datas)
    except DocdbError as error:
        raise type(error)(f"{error.message} (index {index.name!r})", path=error.path, code=error.code) from error
    accepts = acceptor(index)
    if accepts is None:
        return rows
    return [row if accepts(data) else NOTHING for row, data in zip(rows, datas, strict=True)]


def entries_run(index: IndexInfo, documents: Documents, upto: bytes | None = None) -> Run:
    """Return the entries of all documents in an index as a run; with ``upto`` of those whose id key is not above it."""
    program = None if index.partial_node is None else compile_program(index.partial_node)
    if index.partial_node is None or (program is not None and program.exact):
        made: Run | None = index.maker.run(documents, program, upto)
        if made is not None:
            return made
    id_keys, datas = documents.lists()
    if upto is not None:
        taken = [i for i, key in enumerate(id_keys) if key <= upto]
        id_keys, datas = [id_keys[i] for i in taken], [datas[i] for i in taken]
    return PairRun(entry for row in entries_of(index, id_keys, datas) for entry in row)


def prepare(version: int, info: CollectionInfo | None, ids: list[Any], documents: Documents) -> Prepared:
    """Make new documents ready for the collection as it is at this catalog version."""
    indexes = info.indexes if info is not None else ()
    entries = {index.number: entries_run(index, documents) for index in indexes if not index.building}
    return Prepared(version, ids, documents, entries)


def apply(
    batch: WriteBatch, info: CollectionInfo, changes: Sequence[DocumentChange], paths: frozenset[Path] | None = None
) -> None:
    """Check the unique keys of all changes together, then put them with entries, log records and counters.

    ``paths`` are the only ones in which documents may differ, where that is known. Raises DuplicateKeyError before anything is put.
    A document may occur once only.
    """
    put_examined(batch, info, changes, examine(batch, info, changes, paths))


def examine(
    batch: WriteBatch, info: CollectionInfo, changes: Sequence[DocumentChange], paths: frozenset[Path] | None = None
) -> list[Difference]:
    """Return the entries that go and come by index, the unique keys checked; the first half of ``apply``, which puts nothing."""
    differences: list[Difference] = []
    for index in info.indexes:
        if paths is not None and not index.may_change(paths):
            continue
        gone, new = _difference(index, _maintained(batch, index, changes))
        if index.unique:
            _check_unique(batch, info, index, gone, new)
        if gone or new:
            differences.append((index, gone, new))
    return differences


def put_examined(
    batch: WriteBatch, info: CollectionInfo, changes: Sequence[DocumentChange], differences: Sequence[Difference]
) -> None:
    """Put changes that ``examine`` has let pass; the second half of ``apply``."""
    if batch.guard is not None:
        batch.guard.spend(len(changes))
    added: list[Entry] = []
    removed: list[Entry] = []
    for index, gone, new in differences:  # counted only now: an index further on may have refused
        _count_entries(batch, index, gone, -1)
        _count_entries(batch, index, new, 1)
        removed += gone
        added += new
    _put(batch, info, changes, removed, added)


def insert_prepared(batch: WriteBatch, info: CollectionInfo, prepared: Prepared) -> bool:
    """Put all documents when none of them meets an existing one; return False, having put nothing, when one does."""
    documents = prepared.documents
    stored = documents.documents(info.number)
    if len(stored) < len(documents) or not _all_new(batch, info, stored):
        return False
    fresh = prepared.version == batch.catalog.version
    runs: list[tuple[IndexInfo, Run]] = []
    for index in sorted(info.indexes, key=lambda index: index.number):
        if index.building:
            run = entries_run(index, documents, batch.txn.get(CATALOG, position_key(index.number)) or b"")
        else:
            run = prepared.entries[index.number] if fresh else entries_run(index, documents)
        if index.unique and (run.collides() or batch.txn.holds_any(ENTRIES, run, whole=False)):
            return False
        runs.append((index, run))
    if batch.guard is not None:
        batch.guard.spend(len(documents))
    batch.txn.put_many(DOCUMENTS, stored)
    for index, run in runs:
        batch.txn.put_many(ENTRIES, run)
        count_run(batch, index, run)
    batch.log.add_documents(documents, info.number)
    counters = batch.counters(collection_counters_key(info.number))
    counters.first += len(documents)
    counters.second += documents.data_bytes
    return True


def count_run(batch: WriteBatch, index: IndexInfo, run: Run) -> None:
    """Add the entries of a run to the counters of their index."""
    counters = batch.counters(index_counters_key(index.number))
    counters.first += len(run)
    counters.second += run.cut
    counters.third += run.multikey


def duplicate_id(info: CollectionInfo, value: Any) -> DuplicateKeyError:
    """Return the error for an ``_id`` that is already there."""
    return _duplicate(info.name, "_id_", {"_id": 1}, {"_id": value})


def _duplicate(collection: str, index: str, pattern: dict[str, Any], value: dict[str, Any]) -> DuplicateKeyError:
    return DuplicateKeyError(
        f"duplicate key in collection {collection!r}, index {index!r}: {value!r}",
        details={"index_name": index, "keyPattern": pattern, "keyValue": value},
    )


def _all_new(batch: WriteBatch, info: CollectionInfo, stored: Run) -> bool:
    """Tell whether none of these documents is stored yet; one seek when all lie behind the last stored id."""
    prefix = collection_prefix(info.number)
    last = next(
        iter(batch.txn.scan(DOCUMENTS, prefix, after_prefix(prefix), reverse=True, batch=1, values=False)), None
    )
    return not last or stored.pair(0)[0] > last[0] or not batch.txn.holds_any(DOCUMENTS, stored)


def _maintained(batch: WriteBatch, index: IndexInfo, changes: Sequence[DocumentChange]) -> Sequence[DocumentChange]:
    if not index.building:
        return changes
    passed = batch.txn.get(CATALOG, position_key(index.number)) or b""
    return [change for change in changes if change.id_key <= passed]


def _difference(index: IndexInfo, changes: Sequence[DocumentChange]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that go and those that come."""
    old = [(change.id_key, change.before) for change in changes if change.before is not None]
    new = [(change.id_key, change.after) for change in changes if change.after is not None]
    before = {entry for row in entries_of(index, [k for k, _ in old], [d for _, d in old]) for entry in row}
    after = {entry for row in entries_of(index, [k for k, _ in new], [d for _, d in new]) for entry in row}
    return sorted(before - after), sorted(after - before)


def _check_unique(
    batch: WriteBatch, info: CollectionInfo, index: IndexInfo, gone: list[Entry], new: list[Entry]
) -> None:
    leaving = {key for key, _ in gone}
    claimed: dict[bytes, bytes] = {}
    for key, value in new:
        prefix, owner = unique_prefix(key, value), key[len(key) - value[0] :]
        rivals = {claimed.setdefault(prefix, owner)}
        for items in batch.txn.scan(ENTRIES, prefix, after_prefix(prefix), batch=8):
            rivals |= {id_of_entry(k, v) for k, v in items if k not in leaving}
        if rivals != {owner}:
            raise _taken(info, index, key, value)


def _taken(info: CollectionInfo, index: IndexInfo, key: bytes, value: bytes) -> DuplicateKeyError:
    pattern = {".".join(path): way for path, way in index.keys}
    values = index.maker.values(key, value)
    shown = dict(zip(pattern, values, strict=True)) if values is not None else {}
    return _duplicate(info.name, index.name, pattern, shown)


def rivals(batch: WriteBatch, info: CollectionInfo, changes: Sequence[DocumentChange]) -> set[bytes]:
    """Return the id keys of the other documents that hold a unique key which one of the changes wants."""
    found: set[bytes] = set()
    for index in info.indexes:
        if index.unique:
            for key, value in _difference(index, _maintained(batch, index, changes))[1]:
                prefix = unique_prefix(key, value)
                for items in batch.txn.scan(ENTRIES, prefix, after_prefix(prefix), batch=8):
                    found |= {k[len(k) - v[0] :] for k, v in items}
    return found - {change.id_key for change in changes}


def _count_entries(batch: WriteBatch, index: IndexInfo, entries: Iterable[Entry], sign: int) -> None:
    counters = batch.counters(index_counters_key(index.number))
    total = cut = multikey = 0
    for _, value in entries:
        total += 1
        cut += is_cut(value)
        multikey += is_multikey(value)
    counters.first += sign * total
    counters.second += sign * cut
    counters.third += sign * multikey


def _put(
    batch: WriteBatch,
    info: CollectionInfo,
    changes: Sequence[DocumentChange],
    removed: list[Entry],
    added: list[Entry],
) -> None:
    prefix = collection_prefix(info.number)
    stored: list[Entry] = []
    deleted: list[bytes] = []
    logged: list[bytes] = []
    documents = size = 0
    for change in changes:
        before, after = change.before or b"", change.after or b""
        if change.operation == RENEWAL:
            logged += [record(DELETE, info.number, before, b""), record(INSERT, info.number, b"", after)]
        else:
            logged.append(record(change.operation, info.number, before, after))
        size += len(after) - len(before)
        documents += bool(after) - bool(before)
        if change.after is not None:
            stored.append((prefix + change.id_key, after))
        if change.operation == DELETE:
            deleted.append(prefix + change.id_key)
    if removed:
        # A changed type byte keeps its key: what is put again must not be deleted after it.
        kept = {key for key, _ in added}
        batch.txn.delete_many(ENTRIES, [key for key, _ in removed if key not in kept])
    if added:
        batch.txn.put_many(ENTRIES, added)
    if deleted:
        batch.txn.delete_many(DOCUMENTS, deleted)
    if stored:
        stored.sort()
        batch.txn.put_many(DOCUMENTS, stored)
    batch.log.add(logged)
    if documents or size:
        counters = batch.counters(collection_counters_key(info.number))
        counters.first += documents
        counters.second += size
