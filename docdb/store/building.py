"""Building and removing indexes, and removing what dropped collections leave, in short write transactions.

What lives here: ``build``, ``drop_index``, ``drop_collection``, ``sweep``. What it must not know: how a face names its options.

A new index is first put into the catalog as ``building`` with its builder's name (process and start time). The builder then walks
the documents in the order of their ids, a few at a time, each step one write transaction that puts the entries of its documents and the
position. Writers of all processes maintain the index for documents up to that position. At the last step the index
loses its mark. Killed, it is ``building`` for ever: ``sweep`` at the next open sees that its builder is dead and removes it.

What is dropped disappears from the catalog at once; its bytes are marked as garbage in the same commit and removed step by step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from docdb.engine.base import CATALOG, DOCUMENTS, ENTRIES
from docdb.errors import DocdbError, DuplicateKeyError
from docdb.store.batch import WriteBatch
from docdb.store.catalog import GARBAGE_PREFIX, CollectionInfo, IndexInfo, garbage_key, position_key
from docdb.store.keyspace import (
    after_prefix,
    collection_counters_key,
    collection_prefix,
    index_counters_key,
    unique_prefix,
)
from docdb.store.records import count_run, entries_run
from docdb.store.runs import Run, gather
from docdb.store.store import Store

__all__ = ["build", "builder_name", "drop_collection", "drop_index", "sweep"]

STEP_S: Final = 0.02  # a build's write transaction aims at this long
TEXT_STEP_S: Final = (
    0.3  # that of a text index, whose entries lie far apart: shorter ones write the same pages again and again
)
FIRST_STEP: Final = 2_000
GARBAGE_STEP: Final = 20_000

Progress = Callable[[int, int], None]


def builder_name(pid: int | None = None) -> str:
    """Return who builds: process id and start time, so that a reused id is not taken for the builder."""
    pid = os.getpid() if pid is None else pid
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        started = ""
    return f"{pid}:{started}"


def _alive(builder: str) -> bool:
    pid = int(builder.partition(":")[0] or 0)
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return builder_name(pid) == builder


def build(store: Store, collection: str, index: IndexInfo, progress: Progress | None = None) -> None:
    """Build an index that stands in the catalog as ``building``; remove it again whatever is raised.

    ``progress(done, total)`` is called after each step. Raises DuplicateKeyError or DocumentError (parallel arrays).
    """
    step = FIRST_STEP
    wanted_s = STEP_S if index.text is None else TEXT_STEP_S
    done = 0
    try:
        while True:
            began = time.perf_counter()
            amount, count, total = store.write(
                partial(_step, collection=collection, number=index.number, step=step), told=False
            )
            spent = time.perf_counter() - began
            done += count
            if progress is not None:
                progress(done, max(total, done))
            if count < amount:
                return
            step = max(100, min(50_000, int(step * wanted_s / max(spent, 1e-6))))
    except BaseException:
        drop_index(store, collection, index.number)
        raise


def _step(batch: WriteBatch, collection: str, number: int, step: int) -> tuple[int, int, int]:
    """Put the entries of the next documents; return how many were asked for, done, and how many there are."""
    info = batch.catalog.get(collection)
    index = next((known for known in info.indexes if known.number == number), None) if info else None
    if info is None or index is None or not index.building:
        raise DocdbError("the index was dropped while it was being built", code=276)
    prefix = collection_prefix(info.number)
    passed = batch.txn.get(CATALOG, position_key(number)) or b""
    ids: list[bytes] = []
    datas: list[bytes] = []
    for items in batch.txn.scan(DOCUMENTS, prefix + passed + b"\0" if passed else prefix, after_prefix(prefix)):
        ids += [key[4:] for key, _ in items]
        datas += [data for _, data in items]
        if len(ids) >= step:
            break
    del ids[step:], datas[step:]
    entries = entries_run(index, gather(info.number, ids, datas))
    if index.unique:
        _refuse_duplicates(batch, info, index, entries)
    batch.txn.put_many(ENTRIES, entries)
    count_run(batch, index, entries)
    if len(ids) < step:
        batch.delete_catalog([position_key(number)])
        batch.define(info.with_index(replace(index, building=False, builder="")), {"what": "index", "name": index.name})
    else:
        batch.put_catalog([(position_key(number), ids[-1])])
    return step, len(ids), batch.counters(collection_counters_key(info.number)).first


def _refuse_duplicates(batch: WriteBatch, info: CollectionInfo, index: IndexInfo, entries: Run) -> None:
    if not entries.collides() and not batch.txn.holds_any(ENTRIES, entries, whole=False):
        return
    seen: dict[bytes, bytes] = {}
    for key, value in entries:
        prefix, owner = unique_prefix(key, value), key[len(key) - value[0] :]
        if seen.setdefault(prefix, owner) != owner or batch.txn.count(ENTRIES, prefix, after_prefix(prefix), 1):
            names = ", ".join(".".join(path) for path, _ in index.keys)
            raise DuplicateKeyError(
                f"two documents of {info.name!r} have the same value in {names}: unique index {index.name!r} cannot be made",
                details={"index_name": index.name, "keyValue": index.maker.values(key, value)},
            )


def drop_index(store: Store, collection: str, number: int) -> bool:
    """Take an index out of the catalog and remove its bytes; return whether it was there."""

    def call(batch: WriteBatch) -> bool:
        info = batch.catalog.get(collection)
        index = next((known for known in info.indexes if known.number == number), None) if info else None
        if info is None or index is None:
            return False
        batch.define(info.without_index(number), {"what": "drop index", "name": index.name})
        _discard_index(batch, number)
        return True

    found: bool = store.write(call)
    sweep(store)
    return found


def drop_collection(store: Store, name: str) -> bool:
    """Take a collection with its indexes out of the catalog and remove its bytes; return whether it was there."""

    def call(batch: WriteBatch) -> bool:
        info = batch.catalog.get(name)
        if info is None:
            return False
        discard_collection(batch, info)
        return True

    found: bool = store.write(call)
    sweep(store)
    return found


def discard_collection(batch: WriteBatch, info: CollectionInfo) -> None:
    """Take a collection out of the catalog within a batch and mark its bytes as garbage."""
    batch.undefine(info, {"what": "drop", "name": info.name})
    batch.delete_catalog([collection_counters_key(info.number)])
    batch.put_catalog([(garbage_key(DOCUMENTS, info.number), b"")])
    for index in info.indexes:
        _discard_index(batch, index.number)


def _discard_index(batch: WriteBatch, number: int) -> None:
    batch.delete_catalog([index_counters_key(number), position_key(number)])
    batch.put_catalog([(garbage_key(ENTRIES, number), b"")])


def sweep(store: Store, *, unfinished: bool = False) -> None:
    """Remove marked garbage in short steps; with ``unfinished`` first drop the indexes whose builders are dead."""
    if unfinished:
        for info in store.catalog().collections.values():
            for index in info.indexes:
                if index.building and not _alive(index.builder):
                    drop_index(store, info.name, index.number)
    with store.snapshot() as snapshot:
        marks = [
            key
            for batch in snapshot.txn.scan(CATALOG, GARBAGE_PREFIX, after_prefix(GARBAGE_PREFIX), values=False)
            for key in batch
        ]
    for mark in marks:
        while store.write(partial(_remove_some, mark=mark), told=False):
            pass


def _remove_some(batch: WriteBatch, mark: bytes) -> bool:
    """Remove a part of what a mark names, and the mark with the last part; return whether anything is left."""
    space, prefix = mark[len(GARBAGE_PREFIX)], mark[len(GARBAGE_PREFIX) + 1 :]
    doomed: list[bytes] = []
    for keys in batch.txn.scan(space, prefix, after_prefix(prefix), values=False, batch=1_000):
        doomed += keys
        if len(doomed) >= GARBAGE_STEP:
            break
    batch.txn.delete_many(space, doomed)
    batch.touch()
    if len(doomed) >= GARBAGE_STEP:
        return True
    batch.delete_catalog([mark])
    return False
