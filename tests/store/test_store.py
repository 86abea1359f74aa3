"""The store: what it remembers of its last commit holds only as long as nobody else commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from docdb.engine.base import CHANGES
from docdb.engine.memory import MemoryEngine
from docdb.store.batch import WriteBatch
from docdb.store.catalog import State
from docdb.store.changes import CommitEnd, read, record
from docdb.store.store import Store


def log(what: bytes) -> Callable[[WriteBatch], Any]:
    return lambda batch: batch.log.add([record("i", 1, b"", what)])


def create(name: str) -> Callable[[WriteBatch], Any]:
    return lambda batch: batch.collection(name)


def test_two_stores_on_one_engine_take_turns() -> None:
    """Two stores know as little of each other as two processes do."""
    engine = MemoryEngine()
    stores = [Store(engine), Store(engine)]
    for n in range(12):
        stores[(n // 2) % 2].write(log(b"%d" % n))
        stores[n % 2].write(create(f"c{n}"))
    txn = engine.begin()
    ends = [item.commit for item in read(txn, 0) if isinstance(item, CommitEnd)]
    state = State.read(txn)
    assert ends == list(range(1, 25))
    assert (state.last_commit, state.next_collection) == (24, 13)
    assert state.log_bytes == sum(len(k) + len(v) for batch in txn.scan(CHANGES, b"", b"\xff" * 13) for k, v in batch)
    assert sorted(stores[0].catalog().collections) == sorted(f"c{n}" for n in range(12))
    assert sorted(info.number for info in stores[1].catalog().collections.values()) == list(range(1, 13))


def test_a_batch_that_failed_leaves_no_trace_in_what_is_remembered() -> None:
    engine = MemoryEngine()
    store = Store(engine)
    store.write(log(b"1"))

    def call(batch: WriteBatch) -> None:
        batch.log.add([record("i", 1, b"", b"2")])
        batch.log.commit()
        batch.collection("never")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(call)
    store.write(log(b"3"))
    state = State.read(engine.begin())
    assert (state.last_commit, state.next_collection) == (2, 1)
    assert store.collection("never") is None


def test_records_below_the_oldest_commit_go_away_in_the_end() -> None:
    engine = MemoryEngine()
    store = Store(engine, history_bytes=400)
    for _ in range(50):
        store.write(log(b"x" * 50))
        state = State.read(engine.begin())
        kept = [key for batch in engine.begin().scan(CHANGES, b"", b"\xff" * 13) for key, _ in batch]
        assert int.from_bytes(kept[0][:8], "big") == state.oldest_commit
    assert state.oldest_commit > 40
