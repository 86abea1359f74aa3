"""The store: what it remembers of its last commit holds only as long as nobody else commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb.engine.base import CHANGES
from docdb.engine.failures import EnvironmentFailed
from docdb.engine.memory import MemoryEngine
from docdb.language.order import order_key
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


@pytest.mark.parametrize("native", [pytest.param(True, id="native"), pytest.param(False, id="public")])
@pytest.mark.parametrize("read", ["snapshot", "get"])
def test_a_reader_waits_while_the_storage_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, read: str
) -> None:
    """Between a failed flush and the opening anew the environment refuses everybody; a reader waits for the writer's turn and begins once more."""
    if native and not _native.AVAILABLE:
        pytest.skip("kernels are not built")
    with docdb.open(tmp_path / "d", native=native) as db:
        db["a"].insert_one({"_id": 1, "n": 1})
        store = db._session.store
        engine = store.engine
        name = "begin" if read == "snapshot" else "get_latest"
        real = getattr(type(engine), name)
        writing = engine.begin(write=True)
        refused, found = threading.Event(), []

        def once(engine: Any, *arguments: Any, **options: Any) -> Any:
            if not refused.is_set():
                refused.set()
                raise EnvironmentFailed("beginning a snapshot: the storage met a fatal error")
            return real(engine, *arguments, **options)

        monkeypatch.setattr(type(engine), name, once)
        ask = (
            (lambda: db["a"].count_documents({"n": 1}))
            if read == "snapshot"
            else (lambda: store.get("a", order_key(1)))
        )
        reader = threading.Thread(target=lambda: found.append(ask()))
        reader.start()
        assert refused.wait(20)
        assert found == []  # the writer has its turn still
        writing.abort()
        reader.join(20)
        assert found == [1 if read == "snapshot" else {"_id": 1, "n": 1}]
