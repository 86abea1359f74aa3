"""Index builds in steps, what they leave when they fail, and garbage that is swept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

import docdb
from docdb.store import building


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    """Give a database in which a build takes several steps."""
    with docdb.open(":memory:") as opened:
        opened["items"].insert_many([{"_id": n, "n": n % 50, "list": [n % 3, n % 5]} for n in range(5_000)])
        yield opened


def test_a_build_reports_its_progress(db: docdb.Database) -> None:
    seen: list[tuple[int, int]] = []
    db["items"].create_index("n", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[0] == (building.FIRST_STEP, 5_000)
    assert seen[-1] == (5_000, 5_000)


def test_a_slow_progress_does_not_make_the_steps_small(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "STEP_S", 1.0)
    seen: list[int] = []
    db["items"].create_index("n", progress=lambda done, total: time.sleep(0.3) or seen.append(done))  # type: ignore[func-returns-value]
    assert len(seen) == 2


def test_writes_between_the_steps_are_maintained(db: docdb.Database) -> None:
    items = db["items"]

    def write(done: int, total: int) -> None:
        items.insert_many([{"_id": -done, "n": 1_000}, {"_id": 10_000 + done, "n": 1_000}])
        items.update_many({"_id": {"$in": [done - 1, done + 1]}}, {"$set": {"n": 1_000}})
        items.delete_many({"_id": {"$in": [done - 10, done + 10]}})
        assert db.check().problems == []

    items.create_index("n", progress=write)
    found = [document["_id"] for document in items.find({"n": 1_000}, hint="n_1")]
    assert sorted(found) == sorted(document["_id"] for document in items.find() if document["n"] == 1_000)


@pytest.mark.parametrize("where", [-1, 4_999, 6_000], ids=["before", "passed later", "behind"])
def test_a_value_that_collides_during_a_unique_build(db: docdb.Database, where: int) -> None:
    items = db["items"]
    items.update_many({}, [{"$set": {"n": "$_id"}}])
    refused: list[str] = []

    def write(done: int, total: int) -> None:
        if done == building.FIRST_STEP:
            try:
                items.update_one({"_id": where}, {"$set": {"n": 5}}, upsert=True)
            except docdb.DuplicateKeyError:
                refused.append("the write")

    try:
        items.create_index("n", unique=True, progress=write)
    except docdb.DuplicateKeyError:
        refused.append("the build")
    assert len(refused) == 1
    assert len(items.index_information()) == 1 + (refused == ["the write"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["error", "interrupt"])
def test_a_build_that_is_broken_off_leaves_nothing(db: docdb.Database, error: type[BaseException]) -> None:
    def stop(done: int, total: int) -> None:
        raise error

    with pytest.raises(error):
        db["items"].create_index("n", progress=stop)
    assert list(db["items"].index_information()) == ["_id_"]
    with db._store.snapshot() as snapshot:
        assert snapshot.txn.count(1, b"", b"\xff" * 8) == 0


def test_parallel_arrays_break_a_build_off(db: docdb.Database) -> None:
    db["items"].update_one({"_id": 3_000}, {"$set": {"n": [1, 2]}})
    with pytest.raises(docdb.DocumentError) as caught:
        db["items"].create_index([("n", 1), ("list", 1)])
    assert caught.value.code == 171
    assert list(db["items"].index_information()) == ["_id_"]


def test_a_dropped_index_ends_its_build(db: docdb.Database) -> None:
    with pytest.raises(docdb.DocdbError) as caught:
        db["items"].create_index("n", progress=lambda done, total: db["items"].drop_index("n_1"))
    assert caught.value.code in (27, 276)


def test_a_dropped_collection_ends_its_builds(db: docdb.Database) -> None:
    with pytest.raises(docdb.DocdbError):
        db["items"].create_index("n", progress=lambda done, total: db.drop_collection("items"))
    assert db.list_collection_names() == []


def test_a_building_index_serves_no_query(db: docdb.Database) -> None:
    seen: list[Any] = []

    def look(done: int, total: int) -> None:
        if done == building.FIRST_STEP:
            seen.append((db["items"].count_documents({"n": 1}), db["items"].find({"n": 1}).sort("n", 1).to_list()))

    db["items"].create_index("n", progress=look)
    assert (seen[0][0], len(seen[0][1])) == (100, 100)


def test_a_builder_is_named_by_process_and_start() -> None:
    assert building.builder_name().startswith(f"{os.getpid()}:")
    assert building._alive(building.builder_name())
    assert not building._alive(f"{os.getpid()}:1")
    assert not building._alive("")
