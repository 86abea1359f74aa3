"""The records of consumers and triggers: their form, steps from one to the next, damage, what the checker says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import docdb
from docdb.engine.base import CATALOG
from docdb.errors import BusyError, CorruptError
from docdb.store import codec, progress
from docdb.store.progress import Progress, Step


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    """Give a database with three commits."""
    with docdb.open(":memory:") as database:
        for n in range(3):
            database["a"].insert_one({"_id": n})
        yield database


def put(db: docdb.Database, *items: tuple[bytes, bytes]) -> None:
    db._store.write(lambda batch: batch.put_catalog(items))


def stored(db: docdb.Database) -> list[Progress]:
    with db._session.snapshot() as snapshot:
        return progress.read_all(snapshot.txn)


def test_a_record_comes_back(db: docdb.Database) -> None:
    records = [Progress("consumer", "ü", 2, 0xFFFFFFFF), Progress("trigger", "a", 1, 0, "users")]
    put(db, *[(record.key, record.pack()) for record in records])
    assert stored(db) == records
    with db._session.snapshot() as snapshot:
        assert progress.read(snapshot.txn, "trigger", "a") == records[1]
        assert progress.read(snapshot.txn, "consumer", "a") is None


def test_a_step_goes_on_from_the_record_it_knows_and_no_other(db: docdb.Database) -> None:
    first = Progress("consumer", "c", 1, 0)
    put(db, (first.key, first.pack()))
    db._store.write(Step(first, first.at((2, 0))))
    assert [record.place for record in stored(db)] == [(2, 0)]
    with pytest.raises(BusyError, match="moved on"):
        db._store.write(Step(first, first.at((3, 0))))
    assert [record.place for record in stored(db)] == [(2, 0)]
    db._store.write(lambda batch: progress.forget(batch, "consumer", "c"))
    assert stored(db) == []
    with pytest.raises(BusyError):
        db._store.write(Step(first, first.at((3, 0))))


@pytest.mark.damaged
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"f:x:a", {"commit": 1, "index": 0, "collection": None}),
        (b"f:c:\xff", {"commit": 1, "index": 0, "collection": None}),
        (b"f:c:a", {"commit": "1", "index": 0, "collection": None}),
        (b"f:c:a", {"commit": 1, "index": -1, "collection": None}),
        (b"f:c:a", {"commit": 1, "index": 0, "collection": 5}),
        (b"f:c:a", {"commit": 1}),
        (b"f:c:a", 5),
        (b"f:c:a", {"commit": 99, "index": 0, "collection": None}),
    ],
    ids=["kind", "name", "commit", "index", "collection", "missing", "number", "future"],
)
def test_the_checker_tells_of_a_damaged_record(db: docdb.Database, key: bytes, value: object) -> None:
    put(db, (key, codec.encode_value(value)))
    assert [problem[:2] for problem in db.check().problems] == ["9:"]


@pytest.mark.damaged
def test_a_damaged_record_is_corrupt(db: docdb.Database) -> None:
    put(db, (b"f:c:a", b"\xc1"))
    with pytest.raises(CorruptError, match="consumer"):
        stored(db)


def test_records_lie_beside_the_definitions(db: docdb.Database) -> None:
    first = Progress("consumer", "c", 1, 0)
    before = db._store.catalog()
    put(db, (first.key, first.pack()))
    assert db._store.catalog() is before
    with db._session.snapshot() as snapshot:
        assert snapshot.txn.get(CATALOG, b"f:c:c") == first.pack()
