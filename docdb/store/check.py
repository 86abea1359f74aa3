"""The checker: documents = entries = counters = change log.

What lives here: ``check``, which reads everything in one snapshot and reports every violation of the numbered invariants of
ARCHITECTURE.md. What it must not know: how to mend anything; it never writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, ENTRIES, EngineTransaction
from docdb.errors import CorruptError, DocdbError
from docdb.language.order import order_key
from docdb.store import changes, codec, progress
from docdb.store.catalog import (
    GARBAGE_PREFIX,
    Catalog,
    CollectionInfo,
    Counters,
    IndexInfo,
    State,
    position_key,
)
from docdb.store.keyspace import (
    after_prefix,
    collection_counters_key,
    collection_prefix,
    index_counters_key,
    index_prefix,
    is_cut,
    is_multikey,
    unique_prefix,
)
from docdb.store.records import entries_of
from docdb.store.snapshots import Snapshot

__all__ = ["Report", "check"]

TOP: Final = b"\xff" * 512
MOST_PROBLEMS: Final = 100

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong: each problem begins with the number of its invariant."""

    collections: int = 0
    documents: int = 0
    entries: int = 0
    changes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, invariant: int, text: str) -> None:
        """Note a problem; beyond 100 they are no longer told apart."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{invariant}: {text}")


def check(snapshot: Snapshot, progress: Progress | None = None) -> Report:
    """Return the report over everything one snapshot holds. Cost: every byte once, entries made anew for every document.

    Memory: one collection's latest images of the log (hashes) and the entries of one batch of documents; the entries of an index are
    compared as sums of hashes, so a difference is found, and named where a document's own entries are missing.
    """
    report = Report()
    txn, catalog = snapshot.txn, snapshot.catalog
    state = snapshot.state()
    garbage = {
        key[len(GARBAGE_PREFIX) :] for key, _ in _pairs(txn, CATALOG, GARBAGE_PREFIX, after_prefix(GARBAGE_PREFIX))
    }
    latest = _check_log(txn, state, report)
    for info in catalog.collections.values():
        report.collections += 1
        _check_collection(txn, info, latest, report)
        if progress is not None:
            progress(info.name, report.documents)
    _check_strays(txn, catalog, garbage, report)
    _check_numbers(catalog, state, report)
    _check_progress(txn, state, report)
    _check_rules(catalog, report)
    return report


def _pairs(txn: EngineTransaction, space: int, low: bytes, high: bytes) -> Iterator[tuple[bytes, bytes]]:
    for batch in txn.scan(space, low, high):
        yield from batch


def _check_log(txn: EngineTransaction, state: State, report: Report) -> dict[tuple[int, bytes], int | None]:
    """Check invariant 6; return the hash of the newest image of every document in the log (None: deleted)."""
    latest: dict[tuple[int, bytes], int | None] = {}
    size = sum(len(key) + len(value) for key, value in _pairs(txn, CHANGES, b"", TOP))
    if size != state.log_bytes:
        report.add(6, f"the log holds {size} bytes, its state says {state.log_bytes}")
    commit, index = state.oldest_commit, 0
    try:
        for item in changes.read(txn, state.oldest_commit - 1):
            if item.commit != commit:
                report.add(6, f"commit {commit} is missing or has no end")
                commit, index = item.commit, 0
            if isinstance(item, changes.CommitEnd):
                if item.changes != index:
                    report.add(6, f"commit {commit} has {index} changes, its end says {item.changes}")
                commit, index = commit + 1, 0
                continue
            if item.index != index:
                report.add(6, f"commit {commit} lacks change {index}")
            index += 1
            report.changes += 1
            if item.operation != changes.CATALOG_CHANGE:
                image = item.after or item.before
                key = (item.collection, order_key(codec.decode(image)["_id"]))
                latest[key] = hash(item.after) if item.after else None
    except (DocdbError, KeyError, TypeError) as error:
        report.add(6, f"the log cannot be read behind commit {commit}: {error}")
    if commit != state.last_commit + 1 and state.last_commit >= state.oldest_commit:
        report.add(6, f"the log ends with commit {commit - 1}, the state says {state.last_commit}")
    return latest


def _check_collection(
    txn: EngineTransaction, info: CollectionInfo, latest: dict[tuple[int, bytes], int | None], report: Report
) -> None:
    prefix = collection_prefix(info.number)
    count = size = 0
    expected = {index.number: _Tally() for index in info.indexes}
    positions = {
        index.number: txn.get(CATALOG, position_key(index.number)) or b"" for index in info.indexes if index.building
    }
    for batch in txn.scan(DOCUMENTS, prefix, after_prefix(prefix)):
        ids = [key[len(prefix) :] for key, _ in batch]
        datas = [data for _, data in batch]
        count += len(batch)
        size += sum(map(len, datas))
        good = [_check_document(info, key, data, latest, report) for key, data in zip(ids, datas, strict=True)]
        for index in info.indexes:
            passed = positions.get(index.number)
            chosen = [i for i, ok in enumerate(good) if ok and (passed is None or ids[i] <= passed)]
            try:
                rows = entries_of(index, [ids[i] for i in chosen], [datas[i] for i in chosen])
            except DocdbError as error:
                report.add(3, f"{info.name}.{index.name}: {error}")
                continue
            for row in rows:
                for key, value in row:
                    expected[index.number].add(key, value)
    for collection, key in [known for known in latest if known[0] == info.number and latest[known] is not None]:
        if latest.pop((collection, key)) is not None:
            report.add(7, f"{info.name}: a document that the log wrote last is not stored (id key {key.hex()})")
    report.documents += count
    counters = Counters.read(txn, collection_counters_key(info.number))
    if (counters.first, counters.second) != (count, size):
        report.add(
            5, f"{info.name}: {count} documents of {size} bytes, counters say {counters.first} and {counters.second}"
        )
    for index in info.indexes:
        _check_index(txn, info, index, expected[index.number], report)


def _check_document(
    info: CollectionInfo, key: bytes, data: bytes, latest: dict[tuple[int, bytes], int | None], report: Report
) -> bool:
    try:
        document = codec.decode(data)
        if order_key(document["_id"]) != key:
            report.add(1, f"{info.name}: the document under id key {key.hex()} has _id {document['_id']!r}")
        if codec.encode(document) != data:
            report.add(2, f"{info.name}: document {document['_id']!r} does not encode to the bytes stored")
    except (DocdbError, KeyError, TypeError) as error:
        report.add(2, f"{info.name}: the document under id key {key.hex()} cannot be read: {error!r}")
        return False
    missing = object()
    known = latest.pop((info.number, key), missing)
    if known is not missing and known != hash(data):
        report.add(7, f"{info.name}: document {document['_id']!r} is not what the log wrote last")
    return True


def _check_index(
    txn: EngineTransaction, info: CollectionInfo, index: IndexInfo, expected: _Tally, report: Report
) -> None:
    prefix = index_prefix(index.number)
    found = _Tally()
    before: tuple[bytes, bytes] | None = None
    for key, value in _pairs(txn, ENTRIES, prefix, after_prefix(prefix)):
        found.add(key, value)
        if len(value) < 2 or value[0] > len(key):
            report.add(3, f"{info.name}.{index.name}: an entry's value is damaged")
            continue
        if index.unique:
            now = unique_prefix(key, value), key[len(key) - value[0] :]
            if before is not None and before[0] == now[0] and before[1] != now[1]:
                report.add(4, f"{info.name}.{index.name}: two documents share the entry {key.hex()}")
            before = now
    report.entries += found.count
    if (found.count, found.sum) != (expected.count, expected.sum):
        report.add(
            3,
            f"{info.name}.{index.name}: {found.count} entries, the documents give {expected.count}, or others than these",
        )
    counters = Counters.read(txn, index_counters_key(index.number))
    if (counters.first, counters.second, counters.third) != (found.count, found.cut, found.multikey):
        report.add(
            5, f"{info.name}.{index.name}: counters {counters}, counted {found.count}, {found.cut}, {found.multikey}"
        )


def _check_strays(txn: EngineTransaction, catalog: Catalog, garbage: set[bytes], report: Report) -> None:
    """Look for documents and entries whose number stands in no definition, by skipping from prefix to prefix."""
    collections = {collection_prefix(number) for number in catalog.by_number}
    indexes = {index_prefix(i.number) for info in catalog.collections.values() for i in info.indexes}
    for space, known, invariant in ((DOCUMENTS, collections, 1), (ENTRIES, indexes, 3)):
        low = b""
        while True:
            first = next((keys[0] for keys in txn.scan(space, low, TOP, batch=1, values=False) if keys), None)
            if first is None:
                break
            prefix = first[:4]
            if prefix not in known and bytes((space,)) + prefix not in garbage:
                report.add(invariant, f"keys under the unknown number {int.from_bytes(prefix, 'big')}")
            low = after_prefix(prefix)


def _check_numbers(catalog: Catalog, state: State, report: Report) -> None:
    for info in catalog.collections.values():
        if info.number >= state.next_collection:
            report.add(8, f"collection {info.name!r} has number {info.number}, the next is {state.next_collection}")
        for index in info.indexes:
            if index.number >= state.next_index:
                report.add(8, f"index {index.name!r} has number {index.number}, the next is {state.next_index}")


def _check_progress(txn: EngineTransaction, state: State, report: Report) -> None:
    for key, data in _pairs(txn, CATALOG, progress.PREFIX, after_prefix(progress.PREFIX)):
        try:
            found = progress.Progress.unpack(key, data)
        except DocdbError as error:
            report.add(9, str(error))
            continue
        if not 0 <= found.commit <= state.last_commit:
            report.add(9, f"{found.kind} {found.name!r} is at commit {found.commit}, the last is {state.last_commit}")


def _check_rules(catalog: Catalog, report: Report) -> None:
    for record in catalog.rules.values():
        try:
            text, *_ = record.content()
            json.loads(text)
        except (CorruptError, ValueError) as error:
            report.add(10, f"rules of {record.name!r}: {error}")


class _Tally:
    """A count and an order-free sum of hashes of entries."""

    def __init__(self) -> None:
        self.count = self.sum = self.cut = self.multikey = 0

    def add(self, key: bytes, value: bytes) -> None:
        self.count += 1
        self.sum += hash((key, value))
        if value:
            self.cut += is_cut(value)
            self.multikey += is_multikey(value)
