"""A cursor that nobody reads any more gives its snapshot back when its time is over, without being asked."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.planner.queries import FindQuery
from docdb.sessions.register import Register, register_of
from tests.engine.conftest import native_or_skip

DOCUMENTS = 3_000
LATER_S = 3_600.0


@pytest.fixture(params=["memory", "native", "public"])
def db(request: Any, tmp_path: Path) -> Iterator[docdb.Database]:
    native = request.param == "native"
    assert not native or native_or_skip()
    if request.param == "memory":
        opened = docdb.open(":memory:", snapshot_limit_s=LATER_S)
    else:
        opened = docdb.open(tmp_path / "d", native=native, snapshot_limit_s=LATER_S, durability="relaxed")
    with opened as db:
        db["a"].create_index("n")
        db["a"].insert_many([{"_id": n, "n": n, "k": n % 7, "text": "x" * 50} for n in range(DOCUMENTS)])
        db["b"].insert_many([{"_id": n} for n in range(DOCUMENTS)])
        yield db


def readers(db: docdb.Database) -> int:
    count: int = db._store.engine.stats()["readers"]
    return count


def an_hour_passes(db: docdb.Database) -> None:
    """Make the snapshots of all cursors that rest too old, and wait until they were given back."""
    register = register_of(db._store)
    assert db._store.lent.snapshots
    for own in list(db._store.lent.snapshots):
        own()._expires = 0.0
    register._next_due = 0.0
    register._wake()
    until(lambda: readers(db) == 0)


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.002)


LOOKUP = {"$lookup": {"from": "b", "localField": "n", "foreignField": "_id", "as": "found"}}
ROADS: dict[str, Callable[[docdb.Database], Iterator[Any]]] = {
    "all": lambda db: iter(db["a"].find({})),
    "by an index": lambda db: iter(db["a"].find({"n": {"$gte": 0}})),
    "covered": lambda db: iter(db["a"].find({"n": {"$gte": 0}}, {"n": 1, "_id": 0})),
    "sorted by an index": lambda db: iter(db["a"].find({}, sort=[("n", 1)])),
    "by two": lambda db: iter(db["a"].find({"$or": [{"n": {"$gte": 0}}, {"_id": 5}]})),
    "query": lambda db: iter(db["a"].where({"k": 1}).cursor()),
    "stages": lambda db: iter(db["a"].aggregate([{"$set": {"m": 1}}])),
    "a look-up": lambda db: iter(db["a"].aggregate([LOOKUP])),
    "stored": lambda db: db._session.stored("a", FindQuery()),
    "a user's": lambda db: iter(db.as_user({"id": "u"})["a"].find({})),
}


@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)
def test_its_snapshot_is_given_back(db: docdb.Database, road: Callable[[docdb.Database], Iterator[Any]]) -> None:
    db.set_rules("a", {"read": True, "write": True})
    cursor = road(db)
    next(cursor)
    an_hour_passes(db)
    with pytest.raises(docdb.SnapshotExpired):
        list(cursor)
    assert db["a"].count_documents({"k": 1}) == 429


def test_it_says_where_it_stood(db: docdb.Database) -> None:
    page = db["a"].find({}).after("")
    assert next(page)["_id"] == 0
    an_hour_passes(db)
    with pytest.raises(docdb.SnapshotExpired) as caught:
        list(page)
    rest = db["a"].find({}).after(caught.value.token).limit(1).to_list()
    assert 0 < rest[0]["_id"] < DOCUMENTS


def test_one_that_follows_goes_on(db: docdb.Database) -> None:
    cursor = db["a"].find({}, follow=True)
    seen = [next(cursor)["_id"]]
    an_hour_passes(db)
    for document in cursor:
        seen.append(document["_id"])
    assert seen == list(range(DOCUMENTS))


def test_what_is_in_memory_is_read_to_its_end(db: docdb.Database) -> None:
    cursor = db["a"].find({}, sort=[("k", 1), ("_id", 1)])
    first = next(cursor)
    an_hour_passes(db)
    assert [first, *cursor] == sorted(db["a"].find({}, follow=True), key=lambda d: (d["k"], d["_id"]))


def test_one_that_is_dropped_is_forgotten(db: docdb.Database) -> None:
    cursor = db["a"].find({})
    next(cursor)
    del cursor
    gc.collect()
    assert readers(db) == 0
    assert not db._store.lent.snapshots


def test_one_that_is_read_at_the_moment_is_left_alone(db: docdb.Database) -> None:
    lent = db._store.lent.snapshots
    with db._store.snapshot(LATER_S) as snapshot:
        snapshot.rest()
        assert not snapshot.end_if_idle()  # it is not too old
        snapshot.wake()
        snapshot._expires = 0.0
        assert not snapshot.end_if_idle()
        assert (readers(db), lent) == (1, set())
        snapshot.rest()
        assert [own() for own in lent] == [snapshot]
        assert snapshot.end_if_idle()
        assert (readers(db), lent) == (0, set())
        snapshot.wake()
        with pytest.raises(docdb.SnapshotExpired):
            snapshot.check()


def test_one_whose_end_is_interrupted_is_given_back(db: docdb.Database) -> None:
    snapshot = db._store.snapshot(LATER_S)
    snapshot.rest()
    del snapshot
    assert (readers(db), db._store.lent.snapshots) == (0, set())


def test_the_clock_alone_ends_it(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", snapshot_limit_s=1.0) as db:
        db["a"].insert_many([{"_id": n} for n in range(DOCUMENTS)])
        cursor = db["a"].find({})
        next(cursor)
        until(lambda: readers(db) == 0)


def test_a_commit_ends_it_where_no_thread_can_be_had(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Register, "_see_to", lambda register, due: None)
    cursor = db["a"].find({})
    next(cursor)
    (own,) = db._store.lent.snapshots
    own()._expires = register_of(db._store)._next_due = 0.0
    assert readers(db) == 1
    db["a"].insert_one({"_id": -1, "new": 1})
    assert readers(db) == 0


def test_the_thread_ends_with_the_database(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with docdb.open(tmp_path / "d") as db:
        db["a"].insert_many([{"_id": n} for n in range(DOCUMENTS)])
        cursor = db["a"].find({})
        next(cursor)
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) == before


def test_a_forked_child_reads_its_own(db: docdb.Database, tmp_path: Path) -> None:
    parents = db["a"].find({})
    next(parents)
    child = os.fork()
    if child == 0:
        with docdb.open(tmp_path / "own") as own:
            own["a"].insert_many([{"_id": n} for n in range(DOCUMENTS)])
            mine = own["a"].find({})
            next(mine)
            an_hour_passes(own)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(parents)) == DOCUMENTS - 1
