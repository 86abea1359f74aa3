"""The checker finds what was damaged: each invariant of ARCHITECTURE.md is broken once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import docdb
from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, ENTRIES
from docdb.store import codec
from docdb.store.catalog import Counters, State
from docdb.store.keyspace import STATE_KEY, collection_counters_key, index_counters_key

pytestmark = pytest.mark.damaged
TOP = b"\xff" * 14


@pytest.fixture
def db() -> Any:
    """Give a database with an ordinary and a unique index, clean."""
    with docdb.open(":memory:") as opened:
        opened["items"].create_index("a")
        opened["items"].create_index("u", unique=True)
        opened["items"].insert_many([{"_id": n, "a": [n, n + 1], "u": n} for n in range(10)])
        assert opened.check().problems == []
        yield opened


def pairs(db: Any, space: int) -> list[tuple[bytes, bytes]]:
    with db._store.snapshot() as snapshot:
        return [pair for batch in snapshot.txn.scan(space, b"", TOP) for pair in batch]


def damage(db: Any, change: Callable[[Any], None]) -> list[str]:
    """Change bytes below everything; return the invariants that are reported broken."""
    txn = db._store.engine.begin(write=True)
    change(txn)
    txn.commit()
    db._store.forget()
    return sorted({problem.partition(":")[0] for problem in db.check().problems})


def state_with(txn: Any, **fields: int) -> None:
    state = State.read(txn)
    for name, value in fields.items():
        setattr(state, name, value)
    txn.put_many(CATALOG, [(STATE_KEY, state.pack())])


def test_a_document_under_a_foreign_id(db: Any) -> None:
    key, _ = pairs(db, DOCUMENTS)[0]
    assert "1" in damage(db, lambda txn: txn.put_many(DOCUMENTS, [(key, codec.encode({"_id": 77, "u": 0}))]))


def test_a_document_of_an_unknown_collection(db: Any) -> None:
    assert damage(db, lambda txn: txn.put_many(DOCUMENTS, [(b"\0\0\0\x63" + b"key", b"value")])) == ["1"]


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x81\xa3_id", b"\x80"], ids=["empty", "no msgpack", "cut", "without id"]
)
def test_a_document_that_cannot_be_read(db: Any, value: bytes) -> None:
    key, _ = pairs(db, DOCUMENTS)[0]
    assert "2" in damage(db, lambda txn: txn.put_many(DOCUMENTS, [(key, value)]))


def test_a_document_not_in_its_shortest_form(db: Any) -> None:
    key, data = pairs(db, DOCUMENTS)[0]
    assert "2" in damage(
        db, lambda txn: txn.put_many(DOCUMENTS, [(key, b"\xde\x00" + bytes([data[0] & 15]) + data[1:])])
    )


def test_a_missing_entry(db: Any) -> None:
    key, _ = pairs(db, ENTRIES)[0]
    assert damage(db, lambda txn: txn.delete_many(ENTRIES, [key])) == ["3", "5"]


def test_an_entry_too_many(db: Any) -> None:
    key, value = pairs(db, ENTRIES)[0]
    assert damage(db, lambda txn: txn.put_many(ENTRIES, [(key[:5] + b"\x55" + key[5:], value)])) == ["3", "5"]


def test_an_entry_of_an_unknown_index(db: Any) -> None:
    assert damage(db, lambda txn: txn.put_many(ENTRIES, [(b"\0\0\0\x63" + b"key", b"\1")])) == ["3"]


def test_an_entry_with_a_changed_type_byte(db: Any) -> None:
    key, value = pairs(db, ENTRIES)[0]
    assert "3" in damage(db, lambda txn: txn.put_many(ENTRIES, [(key, value[:1] + bytes([value[1] ^ 1]))]))


def test_two_entries_with_one_unique_key(db: Any) -> None:
    collection = db._session.collection_info("items")
    number = collection.index("u_1").number.to_bytes(4, "big")
    (key, value), (other, _) = [pair for pair in pairs(db, ENTRIES) if pair[0].startswith(number)][:2]
    twin = key[: len(key) - value[0]] + other[len(other) - value[0] :]
    assert "4" in damage(db, lambda txn: txn.put_many(ENTRIES, [(twin, value)]))


def test_wrong_counters(db: Any) -> None:
    info = db._session.collection_info("items")
    wrong = [(collection_counters_key(info.number), Counters(1, 2).pack())]
    assert damage(db, lambda txn: txn.put_many(CATALOG, wrong)) == ["5"]
    wrong = [(index_counters_key(info.index("a_1").number), Counters(20, 1, 20).pack())]
    assert damage(db, lambda txn: txn.put_many(CATALOG, wrong)) == ["5"]


@pytest.mark.parametrize("place", [0, 3, -1], ids=["first", "middle", "end record"])
def test_a_gap_in_the_log(db: Any, place: int) -> None:
    key, _ = pairs(db, CHANGES)[place]
    assert "6" in damage(db, lambda txn: txn.delete_many(CHANGES, [key]))


@pytest.mark.parametrize("field", ["log_bytes", "last_commit"])
def test_a_state_that_does_not_know_the_log(db: Any, field: str) -> None:
    assert "6" in damage(db, lambda txn: state_with(txn, **{field: 1_000}))


def test_a_document_that_the_log_does_not_know(db: Any) -> None:
    (key, data), *_ = pairs(db, DOCUMENTS)
    changed = codec.encode(codec.decode(data) | {"b": 1})
    assert "7" in damage(db, lambda txn: txn.put_many(DOCUMENTS, [(key, changed)]))


def test_a_document_that_vanished(db: Any) -> None:
    (key, _), *_ = pairs(db, DOCUMENTS)
    assert "7" in damage(db, lambda txn: txn.delete_many(DOCUMENTS, [key]))


@pytest.mark.parametrize("field", ["next_collection", "next_index"])
def test_numbers_that_would_be_given_twice(db: Any, field: str) -> None:
    assert damage(db, lambda txn: state_with(txn, **{field: 1})) == ["8"]


def test_the_report_counts(db: Any) -> None:
    seen: list[tuple[str, int]] = []
    report = db.check(lambda name, documents: seen.append((name, documents)))
    assert (report.ok, report.collections, report.documents, report.entries) == (True, 1, 10, 30)
    assert seen == [("items", 10)]
