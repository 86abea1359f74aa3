"""The short road of a change by ``_id``: what it leaves in the file is what the long road leaves, and whatever is unusual goes the long road."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb.engine.base import CHANGES, DOCUMENTS
from docdb.language.order import order_key
from docdb.store.changes import END_INDEX, unpack_key
from docdb.store.keyspace import collection_prefix

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="the short road is a kernel's")

LONG_ROAD, ABSENT, SAME, CHANGED = -1, 0, 1, 2


@pytest.fixture
def db(tmp_path: Path) -> Iterator[docdb.Database]:
    with docdb.open(tmp_path / "short.docdb", native=True) as opened:
        opened["c"].create_index("k")
        opened["c"].insert_many([{"_id": n, "k": n, "n": n, "text": "é" * n} for n in range(40)])
        taught(opened["c"])
        yield opened


def taught(collection: Any) -> None:
    """Let the changer learn the newest catalog, and the writer how old the log is."""
    collection.insert_one({"n": 0})
    collection.change(-1, {"n": 0})


def stored(db: docdb.Database) -> tuple[Any, ...]:
    """Return all that a change leaves: documents, the log without its clocks, the numbers."""
    with db._store.snapshot() as snapshot:
        documents = [pair for batch in snapshot.txn.scan(DOCUMENTS, b"", b"\xff") for pair in batch]
        log = [pair for batch in snapshot.txn.scan(CHANGES, b"", b"\xff" * 13) for pair in batch]
        state = snapshot.state()
    return documents, [(k, v[8:] if unpack_key(k)[1] == END_INDEX else v) for k, v in log], state


VALUES: list[Any] = [
    None, True, False, 0, -1, 127, 128, 255, 256, -33, -129, 2**31, 2**32, -(2**63), 2**63 - 1, 0.0, -0.0, 1.5, float("nan"), float("inf"), "", "short",
    "x" * 31, "x" * 32, "y" * 300, "z" * 70_000,
]  # fmt: skip
OTHERS: list[Any] = [
    docdb.Int64(5),
    docdb.Int64(2**40),
    [1, {"a": 2}],
    {"n": 1},
    "é",
    b"bytes",
    docdb.ObjectId("0123456789abcdef01234567"),
]


@pytest.mark.parametrize("seed", range(4))
def test_the_file_is_that_of_the_long_road(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"field{n}" for n in range(20)]
    documents = [
        {"_id": n, **{name: chance.choice(VALUES + OTHERS) for name in chance.sample(names, chance.randrange(21))}}
        for n in range(30)
    ]
    with (
        docdb.open(tmp_path / "short", native=True, durability="relaxed") as short,
        docdb.open(tmp_path / "long", native=True, durability="relaxed") as long,
    ):
        for db in (short, long):
            db["c"].create_index("k")
            db["c"].insert_many(documents)
        roads: list[int] = []
        one, other = short["c"], long["c"]
        one.change, other.change = _noting(one.change, roads), None
        for _ in range(200):
            id = chance.randrange(32)
            fields = {name: chance.choice(VALUES) for name in chance.sample(names, chance.randrange(1, 17))}
            assert one.update_one({"_id": id}, {"$set": fields}) == other.update_one({"_id": id}, {"$set": fields})
        assert roads.count(CHANGED) > 100
        assert stored(short) == stored(long)
        assert short.check().problems == []


@pytest.mark.parametrize(
    ("id", "fields", "done"),
    [
        pytest.param(1, {"n": 5}, CHANGED, id="changed"),
        pytest.param(1, {"n": 1}, SAME, id="the same"),
        pytest.param(1, {"n": 1.0}, CHANGED, id="another type"),
        pytest.param(99, {"n": 1}, ABSENT, id="absent"),
        pytest.param(1, {"new": None}, CHANGED, id="a new field"),
        pytest.param(1, {}, LONG_ROAD, id="nothing"),
        pytest.param(1, {"k": 1}, LONG_ROAD, id="indexed"),
        pytest.param(1, {"_id": 1}, LONG_ROAD, id="the id"),
        pytest.param(1, {"a.b": 1}, LONG_ROAD, id="a path"),
        pytest.param(1, {"$n": 1}, LONG_ROAD, id="an operator"),
        pytest.param(1, {"": 1}, LONG_ROAD, id="no name"),
        pytest.param(1, {1: 1}, LONG_ROAD, id="a number as name"),
        pytest.param(1, {"n": [1]}, LONG_ROAD, id="an array"),
        pytest.param(1, {"n": 2**63}, LONG_ROAD, id="too large"),
        pytest.param(1, {"n": "é"}, LONG_ROAD, id="text that is checked"),
        pytest.param(1, {f"f{n}": n for n in range(17)}, LONG_ROAD, id="many"),
        pytest.param(1.5, {"n": 1}, LONG_ROAD, id="another id"),
        pytest.param({"$gt": 1}, {"n": 1}, LONG_ROAD, id="a condition"),
        pytest.param(1, "n", LONG_ROAD, id="no fields"),
    ],
)
def test_what_is_plain_is_done_and_nothing_else(db: docdb.Database, id: Any, fields: Any, done: int) -> None:
    before = stored(db)
    assert db["c"].change(id, fields) == done
    assert (stored(db) != before) == (done == CHANGED)


def test_both_faces_take_it(db: docdb.Database) -> None:
    roads: list[int] = []
    collection = db["c"]
    collection.change = _noting(collection.change, roads)
    assert collection.update_one({"_id": 3}, {"$set": {"n": -3}}).raw_result == {
        "n": 1,
        "nModified": 1,
        "ok": 1.0,
        "updatedExisting": True,
    }
    assert collection.update_one({"_id": 99}, {"$set": {"n": -3}}).matched_count == 0
    outcome = collection.doc(3).update({"n": -4})
    assert (outcome.updated, outcome.matched, roads) == (1, 1, [CHANGED, ABSENT, CHANGED])
    assert collection.update_one({"_id": 98}, {"$set": {"n": 1}}, upsert=True).upserted_id == 98
    assert collection.find_one({"_id": 3})["n"] == -4


def _noting(change: Callable[[Any, Any], int], roads: list[int]) -> Callable[[Any, Any], int]:
    def noted(id: Any, fields: Any) -> int:
        roads.append(change(id, fields))
        return roads[-1]

    return noted


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"validator": {"n": {"$lt": 100}}}, id="validator"),
        pytest.param({"collation": {"locale": "en", "strength": 2}}, id="collation"),
    ],
)
def test_collections_that_ask_more_go_the_long_road(db: docdb.Database, options: dict[str, Any]) -> None:
    db.create_collection("asks", **options)
    db["asks"].insert_one({"_id": 1, "n": 1})
    taught(db["asks"])
    assert db["asks"].change(1, {"n": 1_000}) == LONG_ROAD


@pytest.mark.parametrize(
    "index",
    [{"keys": "$**"}, {"keys": "other", "partialFilterExpression": {"n": {"$gt": 1}}}],
    ids=["wildcard", "partial"],
)
def test_indexes_that_look_at_all_fields_go_the_long_road(db: docdb.Database, index: dict[str, Any]) -> None:
    db["c"].create_index(**index)
    taught(db["c"])
    assert db["c"].change(1, {"n": 7}) == LONG_ROAD
    assert db["c"].update_one({"_id": 1}, {"$set": {"n": 7}}).modified_count == 1


def test_a_new_index_is_learnt_of(db: docdb.Database) -> None:
    assert db["c"].change(1, {"n": 7}) == CHANGED
    db["c"].create_index("n")
    assert db["c"].change(1, {"n": 8}) == LONG_ROAD
    assert db["c"].change(1, {"n": 8}) == LONG_ROAD
    assert db["c"].update_one({"_id": 1}, {"$set": {"n": 8}}).modified_count == 1
    assert [d["_id"] for d in db["c"].find({"n": 8}).hint("n_1")] == [1, 8]


def test_a_dropped_collection_is_not_written_to(db: docdb.Database) -> None:
    db.drop_collection("c")
    assert db["c"].change(1, {"n": 7}) == LONG_ROAD
    assert db["c"].update_one({"_id": 1}, {"$set": {"n": 7}}).matched_count == 0


def test_a_commit_of_another_process_is_seen(db: docdb.Database) -> None:
    script = "import docdb, sys\nwith docdb.open(sys.argv[1]) as db: db['c'].create_index('n')"
    subprocess.run([sys.executable, "-c", script, str(db.path)], check=True)
    assert db["c"].change(1, {"n": 7}) == LONG_ROAD
    assert db["c"].update_one({"_id": 1}, {"$set": {"n": 7}}).modified_count == 1
    assert [d["_id"] for d in db["c"].find({"n": 7}).hint("n_1")] == [1, 7]


def test_after_another_writer_the_numbers_are_the_files(db: docdb.Database) -> None:
    script = "import docdb, sys\nwith docdb.open(sys.argv[1]) as db: db['c'].insert_one({'_id': 'new'})"
    subprocess.run([sys.executable, "-c", script, str(db.path)], check=True)
    assert [db["c"].update_one({"_id": 1}, {"$set": {"n": n}}).modified_count for n in (70, 71, 72)] == [1, 1, 1]
    assert db["c"].change(1, {"n": 73}) == CHANGED


def test_a_closed_database_is_left_alone(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "closed.docdb")
    collection = db["c"]
    collection.insert_one({"_id": 1})
    taught(collection)
    db.close()
    assert collection.change(1, {"n": 1}) == LONG_ROAD
    with pytest.raises(docdb.InvalidOperation):
        collection.update_one({"_id": 1}, {"$set": {"n": 1}})


def test_feeds_are_told_in_order(db: docdb.Database) -> None:
    roads: list[int] = []
    collection = db["c"]
    collection.change = _noting(collection.change, roads)
    with collection.changes() as stream, collection.where({"n": {"$gt": 1_000}}).watch() as live:
        assert [d["_id"] for d in next(live).docs] == []
        for n in range(1_000, 1_020):
            collection.update_one({"_id": 1}, {"$set": {"n": n}})
        assert [next(stream).after["n"] for _ in range(20)] == [*range(1_000, 1_020)]
        snapshot = next(live)
        while [d["n"] for d in snapshot.docs] != [1_019]:
            snapshot = next(live)
    assert roads.count(CHANGED) == 20


def test_transactions_and_users_do_not_take_it(db: docdb.Database) -> None:
    with db.transaction() as t:
        assert t["c"].change is None
    assert db.as_user({"uid": "u"})["c"].change is None


def test_a_transaction_conflicts_with_it(db: docdb.Database) -> None:
    t = db.start_transaction()
    t["c"].find_one({"_id": 1})
    t["c"].update_one({"_id": 2}, {"$set": {"n": 0}})
    assert db["c"].change(1, {"n": 70}) == CHANGED
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


def test_the_log_stays_within_its_cap(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "capped.docdb", native=True, durability="relaxed", history_bytes=20_000) as db:
        db["c"].insert_one({"_id": 1, "n": 0, "text": "x" * 200})
        taught(db["c"])
        roads = [db["c"].change(1, {"n": n}) for n in range(1, 30)]
        assert roads.count(CHANGED) == 29
        for n in range(200):
            db["c"].update_one({"_id": 1}, {"$set": {"n": -n}})
            assert db.stats()["history"]["bytes"] <= 20_000


def test_many_writers_share_commits_as_before(db: docdb.Database) -> None:
    threads = [threading.Thread(target=_write, args=(db["c"], n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [db["c"].find_one({"_id": n})["n"] for n in range(8)] == [1_029] * 8
    writer = db.stats()["writer"]
    assert writer["storage_commits"] <= writer["callers"]
    assert db["c"].update_one({"_id": 1}, {"$set": {"n": 0}}).modified_count == 1


def _write(collection: Any, id: int) -> None:
    for n in range(30):
        collection.update_one({"_id": id}, {"$set": {"n": 1_000 + n}})


@pytest.mark.damaged
@pytest.mark.parametrize(
    "data", [b"\x83\xa3_id\x01\xa1n\x01\xa1n\x02", b"\x83\xa3_id\x01\xa1n\x01", b"\x82\xa3_id\x01\xa1n\x01\xc0", b"\x01"],
    ids=["a name twice", "a field missing", "a byte too many", "no document"],
)  # fmt: skip
def test_a_damaged_document_goes_the_long_road_untouched(db: docdb.Database, data: bytes) -> None:
    with db._store.snapshot() as snapshot:
        key = collection_prefix(snapshot.catalog.get("c").number) + order_key(1)
    txn = db._store.engine.begin(write=True)
    txn.put_many(DOCUMENTS, [(key, data)])
    txn.commit()
    db["c"].update_one({"_id": 2}, {"$set": {"n": 1_000}})
    assert db["c"].change(2, {"n": 1_001}) == CHANGED
    assert db["c"].change(1, {"n": 7}) == LONG_ROAD
    with db._store.snapshot() as snapshot:
        assert snapshot.txn.get(DOCUMENTS, key) == data
