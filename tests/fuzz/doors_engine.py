"""Doors of the kernels that work on pages, files, memory and numbers, for the sanitized campaign.

What lives here: as in ``doors_documents.py``; databases lie in the folder for temporary files, which whoever started the process removes.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any, Final

import docdb
from docdb._native import bell, cells, lmdb_engine
from docdb._native import codec as codec_kernel
from docdb.engine import bell as room
from docdb.engine import notices
from docdb.engine.base import CATALOG, DOCUMENTS, ENTRIES
from docdb.engine.lmdb import open_engine
from docdb.errors import DocdbError
from docdb.language.order import order_key
from docdb.language.values import ObjectId
from docdb.store.keyspace import collection_prefix
from tests.fuzz import damage
from tests.fuzz.doors_documents import Batch, Door, covered_decoders, programs

STORED: Final = 600  # documents of the engine that are read


def cover(chance: Random, batch: Batch) -> None:
    odd = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), 1e300, 5.0, 1e-30)
    for _ in batch:
        number = chance.random
        x, y, z = (odd[int(number() * 9)] if number() < 0.2 else 2 * number() - 1 for _ in range(3))
        radius = number() ** 4
        lists = [[radius * factor + 0.5**level for level in range(31)] for factor in (1.0, 0.5, number() - 0.5)]
        if number() < 0.2:
            lists[int(number() * 3)][int(number() * 31)] = odd[int(number() * 9)]
        cells.cover_ring(x, y, z, *lists, 1 + int(number() * 20), int(number() * 31))


def bells() -> Door:
    memory = mmap.mmap(-1, notices.SIZE)

    def door(chance: Random, batch: Batch) -> None:
        for _ in batch:
            number = chance.getrandbits(32)
            bell.ring(memory, number)
            assert bell.value(memory) == number
            timeout = (0, 1, -1, -(2**63), 2**63 - 1)[int(chance.random() * 5)]
            own = chance.getrandbits(32) | 1
            bell.wait(memory, number ^ 1 if timeout > 1 else number, timeout, array("I", [number ^ 2, 0, 0]), own)
            bell.ring_others(memory, number ^ 4, own)
            token = 0 if chance.random() < 0.3 else chance.getrandbits(63)
            herald = bell.Herald(memory, number ^ 8, own, number & 1 == 1, token)
            landed = number & 2 == 2
            assert not herald.wait(float("nan") if landed else float("-inf"))
            herald.tell(landed)
            herald.tell(not landed)
            assert herald.wait(float("inf")) is landed
            let_go = number ^ 8 ^ room.FOREWORD ^ room.NUDGE if token else number ^ 4
            assert bell.value(memory) == (number ^ 8 if landed else let_go)
            if token:
                assert notices.outcome(memory, token) is landed
                assert bell.wait_for(memory, token, chance.getrandbits(32), timeout, own) is landed
            assert bell.wait_for(memory, token + 1, bell.value(memory) ^ 1, timeout, own) is False
            bell.wait(memory, bell.value(memory), 1, array("I", [0, 1, 0]), own, True)
            assert bell.asked(memory, ~own & 0xFFFFFFFF)
            assert not bell.asked(memory, ~own & 0xFFFFFFFF)

    return door


def walk(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            lmdb_engine.walk_memory(data, damage.PAGE, damage.ROOT, 1 + int(chance.random() * 3), chance.random() < 0.5)


def find(chance: Random, batch: Batch) -> None:
    for data in batch:
        with suppress(DocdbError):
            for key in (b"k%03d" % int(chance.random() * 70), b"", b"\xff" * 511):
                lmdb_engine.find_memory(data, damage.PAGE, damage.ROOT, 1 + int(chance.random() * 3), key)


def changes() -> Door:
    """Set fields of damaged documents by their ids, past all layers where the kernel takes it."""
    db = docdb.open(os.path.join(tempfile.mkdtemp(), "x"), durability="relaxed", slow_ms=1e9)
    items, storage = db["items"], db._store.engine
    items.insert_many([{"_id": n} for n in range(damage.BATCH)])
    with db._store.snapshot() as snapshot:
        info = snapshot.catalog.get("items")
    assert info is not None
    prefix = collection_prefix(info.number)
    sets: list[dict[str, Any]] = [
        {"a": 1},
        {"a": "x" * 40, "b": None},
        {"f": 2.5},
        {"x": True, "a": -1, "text": ""},
        {"nested": 2**40},
    ]

    def door(chance: Random, batch: Batch) -> None:
        txn = storage.begin(write=True)
        txn.put_many(DOCUMENTS, [(prefix + order_key(n), bytes(data)) for n, data in enumerate(batch)])
        txn.commit()
        items.update_one({"_id": -1}, {"$set": {"a": chance.random()}}, upsert=True)
        for n in range(len(batch)):
            with suppress(Exception):  # how the long road takes what is no document is not asked here
                items.update_one({"_id": n}, {"$set": sets[int(chance.random() * len(sets))]})

    return door


@cache
def _engine() -> Any:
    return open_engine(os.path.join(tempfile.mkdtemp(), "x"), native=True, durability="relaxed")


def engine_reads(chance: Random, batch: Batch) -> None:
    """Store damaged documents among those of the last rounds, and read some by one of the ways an engine has."""
    engine, prefix, low = _engine(), b"\0\0\0\7", b"\0\0\0\1"
    numbers = [int(chance.random() * STORED) for _ in batch]
    txn = engine.begin(write=True)
    txn.put_many(DOCUMENTS, [(prefix + b"%03d" % n, bytes(data)) for n, data in zip(numbers, batch, strict=True)])
    txn.put_many(ENTRIES, [(low + b"%03d" % (n * 37 % STORED) + b"%03d" % n, b"\3\1") for n in numbers])
    txn.delete_many(DOCUMENTS, [prefix + b"%03d" % int(chance.random() * STORED) for _ in range(5)])
    txn.commit()
    reader = engine.begin()
    program, decode, reverse = (
        programs()[int(chance.random() * len(programs()))],
        codec_kernel.Decoder(),
        chance.random() < 0.5,
    )
    start, end = sorted(b"%03d" % int(chance.random() * STORED) for _ in range(2))
    more = [(low + end, low + b"~")] if chance.random() < 0.2 else []
    before = lmdb_engine.walk_pages(chance.random() < 0.5)
    ways: list[Callable[[], Any]] = [
        lambda: list(
            lmdb_engine.join(
                reader,
                low + start,
                low + end,
                prefix,
                more=more,
                reverse=reverse,
                first=20,
                program=program,
                decode=decode,
            )
            or ()
        ),
        lambda: list(lmdb_engine.join(reader, low + start, low + end, prefix, more=more, reverse=reverse) or ()),
        lambda: list(
            lmdb_engine.join(
                reader,
                low + start,
                low + end,
                prefix,
                decode=decode,
                covered=covered_decoders()[int(chance.random() * 4)],
            )
            or ()
        ),
        lambda: list(
            reader.scan(DOCUMENTS, prefix + start, prefix + end, reverse=reverse, program=program, decode=decode)
        ),
        lambda: list(reader.scan(DOCUMENTS, prefix + start, prefix + end, reverse=reverse)),
        lambda: reader.get_many(DOCUMENTS, [prefix + b"%03d" % n for n in numbers], program=program, decode=decode),
        lambda: list(reader.entry_ids(low + start, low + end, reverse=reverse)),
        lambda: reader.count(DOCUMENTS, prefix + start, prefix + end),
    ]
    try:
        with suppress(DocdbError):
            ways[int(chance.random() * len(ways))]()
        for n in numbers[:3]:
            with suppress(DocdbError):
                engine.get_latest(DOCUMENTS, prefix + b"%03d" % n, decode)
    finally:
        lmdb_engine.walk_pages(before)
        reader.abort()


def fields() -> Door:
    """Read damaged documents by damaged entries of an index, a few at a time."""
    engine, prefix, catalog = _engine(), b"\0\0\0\x09", (CATALOG, b"m:version", b"12345678")
    index, counters = b"\0\0\0\x05", b"i:\0\0\0\x05"
    reader = engine.field_reader(engine.gate(), lambda value, spent_s: None, ObjectId, 1e-9)
    assert reader is not None
    values = (1, "a", -(2**63), "\u65e5", ObjectId("64b7f0c2a1b2c3d4e5f60718"), "x" * 239, 1.5, "\ud800")
    uses: dict[int, int] = {}

    def door(chance: Random, batch: Batch) -> None:
        txn = engine.begin(write=True)
        txn.put_many(
            CATALOG, [catalog[1:], (counters, chance.choice((bytes(24), bytes(24), bytes(24), b"", bytes(23) + b"1")))]
        )
        entries = {}
        for at, data in enumerate(batch):
            value, id = values[at % 5], order_key(at % 7)
            key = (
                index
                + order_key(value)
                + chance.choice((b"\x01", b"", b"\xff"))
                + (id if chance.random() < 0.8 else bytes(data[:20]))
            )
            entries[key[:500]] = chance.choice((bytes((len(id),)), bytes(data[:2]) or b"\xff"))
            txn.put_many(DOCUMENTS, [(prefix + id, bytes(data))])
        txn.put_many(ENTRIES, sorted(entries.items()))
        txn.commit()
        snapshot = engine.begin()
        more = {
            "index": index,
            "counters": counters,
            "behind": chance.choice((b"", b"\x01")),
            "uses": uses,
            "number": 5,
        }
        reader.learn(snapshot, prefix, *catalog, **more)
        snapshot.abort()
        for _ in batch:
            with suppress(DocdbError):
                reader.find(
                    values[int(chance.random() * len(values))], int(chance.random() * 19) - 1, chance.random() < 0.5
                )

    return door


def points() -> Door:
    """Read damaged documents by their ids, one at a time."""
    engine, prefix, catalog = _engine(), b"\0\0\0\x09", (CATALOG, b"m:version", b"12345678")
    reader = engine.point_reader(engine.gate(), lambda id: None, lambda id: None, ObjectId)
    ids = (1, "a", 2**53 + 1, -(2**63), "\u65e5", ObjectId("64b7f0c2a1b2c3d4e5f60718"), "x" * 239, 1.5, "\ud800")

    def door(chance: Random, batch: Batch) -> None:
        txn = engine.begin(write=True)
        txn.put_many(CATALOG, [catalog[1:]])
        txn.put_many(DOCUMENTS, [(prefix + order_key(id), bytes(batch[at])) for at, id in enumerate(ids[:6])])
        txn.commit()
        snapshot = engine.begin()
        reader.learn(snapshot, prefix, *catalog)
        snapshot.abort()
        for _ in batch:
            with suppress(DocdbError):
                reader.find(ids[int(chance.random() * len(ids))])

    return door
