"""Live queries: what they tell of each kind of change, windows, callbacks, slow readers, expiry, catalog changes, closing."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import itertools
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb import command as _
from docdb.errors import InvalidOperation, NotSupportedError, QueryError, UsageError
from docdb.feeds import delivery, forecast, hub, lanes, live, live_window, routing
from docdb.feeds.predicates import PredicateIndex
from tests.fuzz.live import run

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine."""
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param], sweep_s=None) as database:
        yield database


def settle(db: docdb.Database) -> None:
    """Have what is committed handed out now, as the hub's thread does soon."""
    with db._store.hub._looking:
        db._store.hub._advance()


def taken(db: docdb.Database, query: Any) -> list[Any]:
    """Return the snapshots that are there now."""
    settle(db)
    return list(iter(query.try_next, None))


def told(snapshot: Any) -> list[tuple[str, str, Any]]:
    return [(change.data_type, change.queue_type, change.doc_id) for change in snapshot.doc_changes]


def ids(snapshot: Any) -> list[Any]:
    return [document["_id"] for document in snapshot.docs]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test fails when it is not soon."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


# What is told


def test_the_first_snapshot_is_the_result_of_now(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n, "n": n % 3} for n in range(6)])
    query = db["a"].where({"n": _.gt(0)}).order_by("n", "desc").watch()
    first = query.next()
    assert ids(first) == [2, 5, 1, 4]
    assert told(first) == [("init", "init", n) for n in (2, 5, 1, 4)]
    assert (first.id, first.type, first.msg_type, first.coalesced) == (0, "init", "INIT_EVENT", False)
    assert first.position == db["a"].changes().position == query.position
    assert query.try_next() is None


def test_each_kind_of_change(db: docdb.Database) -> None:
    rooms = db["a"]
    rooms.insert_one({"_id": 0, "room": "x"})
    query = rooms.where({"room": "x"}).watch()
    rooms.insert_one({"_id": 1, "room": "x", "n": 1})
    rooms.insert_one({"_id": 2, "room": "y"})
    rooms.doc(1).update({"n": 2, "old": _.remove()})
    rooms.doc(2).update({"room": "x"})
    rooms.doc(1).update({"room": "y"})
    rooms.doc(1).set({"room": "x"})
    rooms.doc(1).set({"room": "x", "n": 3})
    rooms.doc(1).set({"room": "z"})
    rooms.doc(2).remove()
    rooms.doc(1).remove()
    found = taken(db, query)
    assert [told(snapshot) for snapshot in found[1:]] == [
        [("add", "enqueue", 1)], [("update", "update", 1)], [("update", "enqueue", 2)], [("update", "dequeue", 1)],
        [("replace", "enqueue", 1)], [("replace", "update", 1)], [("replace", "dequeue", 1)], [("remove", "dequeue", 2)],
    ]  # fmt: skip
    assert [ids(snapshot) for snapshot in found] == [
        [0],
        [0, 1],
        [0, 1],
        [0, 1, 2],
        [0, 2],
        [0, 1, 2],
        [0, 1, 2],
        [0, 2],
        [0],
    ]
    assert [snapshot.id for snapshot in found] == list(range(9))
    assert {(snapshot.type, snapshot.msg_type) for snapshot in found[1:]} == {(None, "NEXT_EVENT")}
    changes = [snapshot.doc_changes[0] for snapshot in found[1:]]
    assert [change.doc for change in changes] == [
        {"_id": 1, "room": "x", "n": 1}, {"_id": 1, "room": "x", "n": 2}, {"_id": 2, "room": "x"}, {"_id": 1, "room": "y", "n": 2},
        {"_id": 1, "room": "x"}, {"_id": 1, "room": "x", "n": 3}, {"_id": 1, "room": "z"}, {"_id": 2, "room": "x"},
    ]  # fmt: skip
    assert [(change.updated_fields, change.removed_fields) for change in changes] == [
        (None, None), ({"n": 2}, []), ({"room": "x"}, []), ({"room": "y"}, []), (None, None), (None, None), (None, None), (None, None),
    ]  # fmt: skip
    assert [change.id for change in changes] == list(range(1, 9))


def test_one_snapshot_a_commit(db: docdb.Database) -> None:
    query = db["a"].where({}).watch()
    db["a"].insert_many([{"_id": n} for n in range(3)])
    with db.transaction() as t:
        t["a"].doc(1).update({"n": 1})
        t["a"].doc(2).remove()
        t["a"].doc(9).set({"n": 9})
    again = docdb.InsertOne({"_id": 0, "n": 1})
    db["a"].bulk_write([docdb.DeleteOne({"_id": 0}), again, docdb.InsertOne({"_id": 7}), docdb.DeleteOne({"_id": 7})])
    found = taken(db, query)[1:]
    assert [sorted(told(snapshot)) for snapshot in found] == [
        [("add", "enqueue", n) for n in range(3)],
        [("add", "enqueue", 9), ("remove", "dequeue", 2), ("update", "update", 1)],
        [("replace", "update", 0)],
    ]


REPEATED: dict[str, tuple[list[Any], tuple[str, str, Any, Any]]] = {
    "changed and deleted": (
        [docdb.ReplaceOne({"_id": 1}, {"n": 2}), docdb.DeleteOne({"_id": 1})],
        ("remove", "dequeue", {"_id": 1, "n": 1}, None),
    ),
    "out in two steps": (
        [docdb.UpdateOne({"_id": 1}, {"$set": {"n": 3}}), docdb.UpdateOne({"_id": 1}, {"$set": {"n": 2, "m": 1}})],
        ("update", "dequeue", {"_id": 1, "n": 2, "m": 1}, {"n": 2, "m": 1}),
    ),
    "in in two steps": (
        [docdb.UpdateOne({"_id": 2}, {"$set": {"m": 1}}), docdb.UpdateOne({"_id": 2}, {"$set": {"n": 1}})],
        ("update", "enqueue", {"_id": 2, "n": 1, "m": 1}, {"n": 1, "m": 1}),
    ),
    "made anew": (
        [docdb.DeleteOne({"_id": 2}), docdb.InsertOne({"_id": 2, "n": 1})],
        ("replace", "enqueue", {"_id": 2, "n": 1}, None),
    ),
    "inserted and changed": (
        [docdb.InsertOne({"_id": 3, "n": 2}), docdb.UpdateOne({"_id": 3}, {"$set": {"n": 1}})],
        ("add", "enqueue", {"_id": 3, "n": 1}, None),
    ),
    "behind inserts alone": (
        [
            docdb.InsertOne({"_id": 3, "n": 1}),
            docdb.InsertOne({"_id": 4, "n": 2}),
            docdb.UpdateOne({"_id": 3}, {"$set": {"n": 2}}),
            docdb.UpdateOne({"_id": 3}, {"$set": {"n": 1, "m": 1}}),
        ],
        ("add", "enqueue", {"_id": 3, "n": 1, "m": 1}, None),
    ),
}


@pytest.mark.parametrize(("operations", "expected"), REPEATED.values(), ids=REPEATED)
def test_what_lies_between_two_changes_of_one_commit_is_not_told(
    db: docdb.Database, operations: list[Any], expected: Any
) -> None:
    """The predicate index finds only some of the changes; the query is told of the document all the same."""
    db["a"].insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    query = db["a"].where({"n": 1}).watch()
    query.next()
    db["a"].bulk_write(operations)
    (snapshot,) = taken(db, query)
    (change,) = snapshot.doc_changes
    assert (change.data_type, change.queue_type, change.doc, change.updated_fields) == expected


def test_a_window_lets_the_next_one_in(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n, "n": n} for n in range(100)])
    query = db["a"].where({}).order_by("n").skip(1).limit(2).watch()
    db["a"].doc(1).remove()
    db["a"].insert_one({"_id": -1, "n": -1})
    db["a"].doc(50).update({"n": 0.5})
    db["a"].doc(2).update({"n": 200})
    assert [(ids(snapshot), sorted(told(snapshot))) for snapshot in taken(db, query)] == [
        ([1, 2], [("init", "init", 1), ("init", "init", 2)]),
        ([2, 3], [("limit", "enqueue", 3), ("remove", "dequeue", 1)]),
        ([0, 2], [("limit", "dequeue", 3), ("limit", "enqueue", 0)]),
        ([0, 50], [("limit", "dequeue", 2), ("update", "enqueue", 50)]),
    ]


def test_a_window_runs_short_and_is_filled_at_its_commit(db: docdb.Database) -> None:
    """All that was at hand is deleted, and more has happened since: each snapshot is still that of its commit."""
    db["a"].insert_many([{"_id": n, "n": n} for n in range(200)])
    query = db["a"].where({"n": {"$gte": 0}}).order_by("n").limit(3).watch()
    db["a"].delete_many({"_id": {"$lt": 60}})
    db["a"].delete_many({"_id": {"$lt": 120}})
    db["a"].update_many({"_id": {"$gte": 120, "$lt": 150}}, {"$set": {"n": 1}})
    db["a"].insert_one({"_id": 500, "n": 0})
    found = taken(db, query)
    assert [ids(snapshot) for snapshot in found] == [
        [0, 1, 2], [60, 61, 62], [120, 121, 122], [120, 121, 122], [500, 120, 121],
    ]  # fmt: skip
    assert not any(snapshot.coalesced for snapshot in found)
    assert sorted(told(found[1])) == sorted([("remove", "dequeue", n) for n in range(3)] + [("limit", "enqueue", n) for n in (60, 61, 62)])  # fmt: skip


def test_more_than_5000_documents(db: docdb.Database) -> None:
    """CloudBase ends a listener there; here neither the first result nor what follows has a cap."""
    rooms, count = db["a"], 12_000
    rooms.insert_many([{"_id": n, "n": count - n} for n in range(count)])
    everything = rooms.where({"n": {"$gt": 0}}).watch()
    sorted_by = rooms.where({}).order_by("n").watch()
    far = rooms.where({}).order_by("n").skip(6_000).limit(5_500).watch()
    for query, expected in (
        (everything, range(count)), (sorted_by, range(count - 1, -1, -1)), (far, range(count - 6_001, count - 11_501, -1)),
    ):  # fmt: skip
        first = query.next()
        assert ids(first) == list(expected)
        assert told(first) == [("init", "init", n) for n in expected]
    rooms.insert_one({"_id": -1, "n": 0.5})
    rooms.update_one({"_id": 7_000}, {"$set": {"m": 1}})
    rooms.update_many({"_id": {"$gte": 0, "$lt": 100}}, {"$set": {"n": 0}})
    rooms.delete_one({"_id": 5_999})
    asked = [
        rooms.where({"n": {"$gt": 0}}).order_by("_id"), rooms.where({}).order_by("n").order_by("_id"),
        rooms.where({}).order_by("n").order_by("_id").skip(6_000).limit(5_500),
    ]  # fmt: skip
    found = [taken(db, query) for query in (everything, sorted_by, far)]
    assert [ids(snapshots[-1]) for snapshots in found] == [
        [document["_id"] for document in query.get().to_list()] for query in asked
    ]
    assert not any(snapshot.coalesced for snapshots in found for snapshot in snapshots)
    assert [sorted(told(snapshot)) for snapshot in found[0]] == [
        [("add", "enqueue", -1)], [("update", "update", 7_000)], [("update", "dequeue", n) for n in range(100)], [("remove", "dequeue", 5_999)],
    ]  # fmt: skip
    assert [len(snapshot) for snapshot in found[0]] == [count + 1, count + 1, count - 99, count - 100]


def test_more_than_5000_documents_that_come_and_go_at_once(db: docdb.Database) -> None:
    query = db["a"].where({}).watch()
    found = taken(db, query)
    db["a"].insert_many([{"_id": n} for n in range(7_000)])
    found += taken(db, query)
    db["a"].update_many({}, {"$set": {"n": 1}})
    found += taken(db, query)
    db["a"].delete_many({})
    found += taken(db, query)
    assert [(len(snapshot), len(snapshot.doc_changes), snapshot.coalesced) for snapshot in found] == [
        (0, 0, False), (7_000, 7_000, False), (7_000, 7_000, False), (0, 7_000, False),
    ]  # fmt: skip
    assert [{change.data_type for change in snapshot.doc_changes} for snapshot in found[1:]] == [
        {"add"}, {"update"}, {"remove"},
    ]  # fmt: skip


def test_a_position_is_where_a_stream_goes_on(db: docdb.Database) -> None:
    """What a stream tells behind a snapshot is what the snapshot does not show."""
    db["a"].insert_one({"_id": 0})
    query = db["a"].where({}).watch()
    for n in range(1, 4):
        db["a"].insert_one({"_id": n})
    for snapshot in taken(db, query):
        behind = [change.id for change in iter(db["a"].changes(resume_after=snapshot.position).try_next, None)]
        assert [*ids(snapshot), *behind] == [0, 1, 2, 3]


def test_a_change_of_one_snapshot_is_nobody_elses(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1, "n": [1]})
    one, other = db["a"].where({}).watch(), db["a"].where({}).watch()
    first = one.next()
    first.docs[0]["n"].append("mine")
    first.docs.clear()
    assert (other.next().docs, first.doc_changes[0].doc) == ([{"_id": 1, "n": [1]}], {"_id": 1, "n": [1]})
    db["a"].doc(1).update({"m": 1})
    assert [snapshot.docs for snapshot in taken(db, one)] == [[{"_id": 1, "n": [1], "m": 1}]]


def test_queries_that_no_index_finds_are_counted(db: docdb.Database) -> None:
    kept = [
        db["a"].where(condition).watch()
        for condition in ({"k": 1}, {"k": {"$in": [1, 2]}}, {"k": {"$gt": 1, "$lt": 5}}, {"tags": "x"}, {"k": 1, "m": {"$ne": 2}})
    ]  # fmt: skip
    assert db.stats()["feeds"]["live_queries"]["unindexed"] == 0
    unindexed = [
        db[name].where({}).options(raw=True).where(condition).watch()
        for name, condition in (("a", {}), ("a", {"k": {"$ne": 1}}), ("b", {"$expr": {"$gt": ["$k", "$m"]}}), ("b", {"$nor": [{"k": 1}]}))
    ]  # fmt: skip
    stats = db.stats()["feeds"]["live_queries"]
    assert (stats["open"], stats["unindexed"]) == (len(kept) + 4, 4)
    db["a"].insert_one({"_id": 1, "k": 9, "m": 1})
    db["b"].insert_one({"_id": 1, "k": 9, "m": 1})
    assert [len(taken(db, query)[-1]) for query in unindexed] == [1, 1, 1, 1]
    unindexed[0].close()
    unindexed[2].close()
    assert db.stats()["feeds"]["live_queries"]["unindexed"] == 2


def test_what_does_not_touch_the_result_is_not_told(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n, "n": n} for n in range(9)])
    query = db["a"].where({}).order_by("n").limit(2).field({"n": 1}).watch()
    db["a"].doc(7).update({"n": 77})
    db["a"].doc(0).update({"hidden": 1})
    db["b"].insert_one({})
    assert len(taken(db, query)) == 1


def test_a_projection_hides_from_changes_too(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 1, "shown": 1, "hidden": 1})
    query = db["a"].where({}).field({"shown": 1}).watch()
    db["a"].doc(1).update({"shown": 2, "hidden": 2})
    change = taken(db, query)[1].doc_changes[0]
    assert (change.doc, change.updated_fields, change.removed_fields) == ({"_id": 1, "shown": 2}, {"shown": 2}, [])


def test_a_collation_orders_and_matches(db: docdb.Database) -> None:
    query = db["a"].where({"name": "ann"}).collation({"locale": "en", "strength": 2}).order_by("name").watch()
    db["a"].insert_many([{"_id": name, "name": name} for name in ("Ann", "ANN", "ann", "Bob")])
    assert ids(taken(db, query)[-1]) == ["ANN", "Ann", "ann"]


def test_a_window_amid_ties_of_a_collation(db: docdb.Database) -> None:
    names = ["".join(letters) for letters in itertools.product("aA", "bB", "cC", "dD", "eE")]
    db["a"].insert_many([{"_id": name} for name in names])
    query = db["a"].where({}).collation({"locale": "en", "strength": 2}).order_by("n").limit(3).watch()
    db["a"].delete_many({"_id": {"$in": sorted(names)[:20]}})
    assert [ids(snapshot) for snapshot in taken(db, query)] == [sorted(names)[:3], sorted(names)[20:23]]


def test_the_collections_own_collation_counts(db: docdb.Database) -> None:
    query = db["a"].where({"name": "ann"}).watch()
    db.create_collection("a", collation={"locale": "en", "strength": 2})
    db["a"].insert_one({"_id": 1, "name": "ANN"})
    assert ids(taken(db, query)[-1]) == [1]


@dataclass
class User:
    name: str
    id: Any = None


def test_a_model_makes_objects(db: docdb.Database) -> None:
    users = db.collection("a", model=User)
    query = users.where({}).watch()
    users.add(User("Ann", 1))
    snapshot = taken(db, query)[1]
    assert (snapshot.docs, snapshot.doc_changes[0].doc) == ([User("Ann", 1)], User("Ann", 1))


def test_one_document(db: docdb.Database) -> None:
    query = db["a"].doc(1).watch()
    db["a"].doc(1).set({"n": 1})
    db["a"].doc(2).set({"n": 1})
    assert [snapshot.docs for snapshot in taken(db, query)] == [[], [{"_id": 1, "n": 1}]]


def test_nearest_first(db: docdb.Database) -> None:
    places = db["a"]
    places.create_index([("at", "2dsphere")])
    places.insert_many([{"_id": n, "at": [n / 100, 0]} for n in range(50)])
    near = {"at": {"$near": {"$geometry": {"type": "Point", "coordinates": [0, 0]}}}}
    query = places.where({}).options(raw=True).where(near).limit(2).watch()
    places.delete_many({"_id": {"$lt": 30}})
    places.insert_one({"_id": 99, "at": [0.305, 0]})
    assert [ids(snapshot) for snapshot in taken(db, query)] == [[0, 1], [30, 31], [30, 99]]


def test_20_000_random_steps_equal_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million: ``python -m tests.fuzz.live --count 1000000``."""
    monkeypatch.setattr(live_window, "SLACK", 0)
    assert run(0, 20_000) >= 20_000


def test_random_steps_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(live_window, "SLACK", 0)
    folders = iter(range(1_000))
    assert run(9, 3_000, lambda: docdb.open(tmp_path / str(next(folders)), durability="relaxed")) >= 3_000


# Refused


@pytest.mark.parametrize(
    ("make", "error", "path"),
    [
        pytest.param(lambda c: c.where({}).after("").watch(), NotSupportedError, "after", id="keyset"),
        pytest.param(lambda c: c.where({"$text": {"$search": "x"}}).watch(), NotSupportedError, "$text", id="text"),
        pytest.param(lambda c: c.where({}).max_time_ms(5).watch(), UsageError, "max_time_ms", id="max_time_ms"),
        pytest.param(lambda c: c.where({}).watch(on_change=5), UsageError, "on_change", id="no function"),
        pytest.param(lambda c: c.where({}).watch(on_error=print), UsageError, "on_error", id="on_error alone"),
        pytest.param(lambda c: c.where({}).hint("nothing").watch(), QueryError, "hint", id="hint"),
    ],
)
def test_wrong_arguments_are_refused(db: docdb.Database, make: Any, error: type[Exception], path: str) -> None:
    db["a"].insert_one({})
    with pytest.raises(error) as raised:
        make(db["a"])
    assert raised.value.path == path  # type: ignore[attr-defined]
    assert db.stats()["feeds"]["live_queries"]["open"] == 0


def test_a_transaction_has_no_live_queries(db: docdb.Database) -> None:
    with db.transaction() as t, pytest.raises(InvalidOperation):
        t["a"].where({}).watch()


def test_an_error_of_the_query_ends_it(db: docdb.Database) -> None:
    query = db["a"].where({}).order_by("a").order_by("b").watch()
    query.next()
    db["a"].insert_one({"a": [1, 2], "b": [1, 2]})
    settle(db)
    with pytest.raises(QueryError, match="two arrays"):
        query.next(SOON_S)
    assert not query.alive


# Waiting


def test_iterating_waits_for_commits(db: docdb.Database) -> None:
    def write() -> None:
        for n in range(20):
            db["a"].insert_one({"_id": n})

    query = db["a"].where({}).watch()
    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    for snapshot in query:
        sizes.append(len(snapshot))
        if len(snapshot) == 20:
            break
    writer.join()
    assert sizes == list(range(21))


def test_a_timeout_is_no_end(db: docdb.Database) -> None:
    query = db["a"].where({}).watch()
    query.next()
    with pytest.raises(StopIteration):
        query.next(timeout_s=0.01)
    db["a"].insert_one({"_id": 1})
    assert ids(query.next(SOON_S)) == [1]


def test_callbacks_are_called_in_order(db: docdb.Database) -> None:
    seen: list[Any] = []
    watcher = db["a"].where({}).watch(on_change=seen.append)
    for n in range(30):
        db["a"].insert_one({"_id": n})
    wait_for(lambda: len(seen) == 31)
    assert [len(snapshot) for snapshot in seen] == list(range(31))
    assert watcher.position == seen[-1].position
    watcher.close()
    db["a"].insert_one({})
    time.sleep(0.05)
    assert (len(seen), watcher.alive) == (31, False)


def test_a_watcher_nobody_holds_goes_on(db: docdb.Database) -> None:
    seen: list[Any] = []
    db["a"].watch(on_change=seen.append)
    gc.collect()
    db["a"].insert_one({})
    wait_for(lambda: len(seen) == 2)


def test_a_failing_callback_ends_its_own_watcher(db: docdb.Database, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    errors: list[BaseException] = []

    def fail(snapshot: Any) -> None:
        raise ValueError(f"at {snapshot.id}")

    with caplog.at_level(logging.ERROR, "docdb.feeds"):
        failing = db["a"].where({}).watch(on_change=fail, on_error=errors.append)
        silent = db["a"].where({}).watch(on_change=fail)
        worse = db["a"].where({}).watch(on_change=fail, on_error=fail)
        db["a"].where({}).watch(on_change=seen.append)
        db["a"].insert_one({})
        wait_for(lambda: len(seen) == 2 and not (failing.alive or silent.alive or worse.alive))
        wait_for(lambda: len(caplog.records) == 2)
    assert [str(error) for error in errors] == ["at 0"]
    assert db.stats()["feeds"]["live_queries"]["open"] == 1


def test_a_blocked_callback_keeps_nobody_waiting(db: docdb.Database) -> None:
    free = threading.Event()
    seen: list[Any] = []
    entered: list[Any] = []

    def block(snapshot: Any) -> None:
        entered.append(snapshot)
        free.wait(SOON_S)

    for _number in range(3):
        db["a"].where({}).watch(on_change=block)
    db["a"].where({}).watch(on_change=seen.append)
    for n in range(5):
        db["a"].insert_one({"_id": n})
    wait_for(lambda: len(seen) == 6)
    assert len(entered) == 3
    free.set()
    wait_for(lambda: len(entered) == 18)
    wait_for(lambda: sum(thread.name == "docdb-feeds" for thread in threading.enumerate()) <= 2)


def test_who_was_slow_before_keeps_nobody_waiting_at_all(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick one gets each snapshot while the slow ones are still at theirs, though nobody is ever thought to be stuck."""
    seen: list[int] = []
    order: list[str] = []

    def slow(snapshot: Any) -> None:
        wait_for(lambda: bool(seen) and seen[-1] >= snapshot.id)
        time.sleep(2 * delivery.SLOW_S)
        order.append("slow")

    def quick(snapshot: Any) -> None:
        seen.append(snapshot.id)
        order.append("quick")

    for _number in range(3):
        db["a"].where({}).watch(on_change=slow)
    db["a"].where({}).watch(on_change=quick)
    wait_for(lambda: len(order) == 4)
    for module in (hub, lanes):
        monkeypatch.setattr(module, "STUCK_S", 1_000.0)
    for n in range(1, 11):
        db["a"].insert_one({"_id": n})
        wait_for(lambda n=n: len(order) == 4 * (n + 1))
        assert order[4 * n :] == ["quick", "slow", "slow", "slow"]
    assert seen == list(range(11))


def test_who_is_slow_no_longer_is_among_the_quick_again(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PROBATION", 5)
    monkeypatch.setattr(delivery, "SLOW_S", 1_000.0)
    seen: list[Any] = []
    watcher = db["a"].where({}).watch(on_change=seen.append)
    wait_for(lambda: len(seen) == 1)
    assert watcher._probation == 0
    monkeypatch.setattr(delivery, "SLOW_S", 0.0)
    db["a"].insert_one({})
    wait_for(lambda: watcher._probation == 5)
    monkeypatch.setattr(delivery, "SLOW_S", 1_000.0)
    for n in range(3, 10):
        db["a"].insert_one({})
        wait_for(lambda n=n: len(seen) == n)
    wait_for(lambda: watcher._probation == 0)
    db["a"].insert_one({})
    wait_for(lambda: len(seen) == 10)


def test_a_coroutine_function_runs_in_the_running_loop(db: docdb.Database) -> None:
    async def main() -> list[int]:
        seen: asyncio.Queue[Any] = asyncio.Queue()
        watcher = db["a"].where({}).watch(on_change=seen.put)
        db["a"].insert_one({})
        sizes = [len(await asyncio.wait_for(seen.get(), SOON_S)) for _ in range(2)]
        watcher.close()
        return sizes

    assert asyncio.run(main()) == [0, 1]


def test_a_coroutine_function_without_a_loop(db: docdb.Database) -> None:
    seen: list[Any] = []

    async def note(snapshot: Any) -> None:
        await asyncio.sleep(0)
        seen.append(snapshot)

    db["a"].where({}).watch(on_change=note)
    db["a"].insert_one({})
    wait_for(lambda: len(seen) == 2)


def test_a_coroutine_function_for_errors_without_a_loop(db: docdb.Database) -> None:
    errors: list[BaseException] = []

    async def complain(error: BaseException) -> None:
        await asyncio.sleep(0)
        errors.append(error)

    async def fail(snapshot: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError(f"at {snapshot.id}")

    db["a"].where({}).watch(on_change=fail, on_error=complain)
    wait_for(lambda: [str(error) for error in errors] == ["at 0"])


def test_a_callback_may_write_and_watch(db: docdb.Database) -> None:
    """It holds nothing that others wait for: plain writes, a transaction, a live query of its own."""
    seen: list[Any] = []

    def follow(snapshot: Any) -> None:
        if snapshot.id < 3:
            db["a"].insert_one({"_id": snapshot.id})
            with db.transaction() as t:
                t["counts"].doc(1).set({"n": len(snapshot)})
            with db["a"].where({}).watch() as query:
                seen.append(ids(query.next()))

    db["a"].where({}).watch(on_change=follow)
    wait_for(lambda: len(seen) == 3)
    assert seen == [[0], [0, 1], [0, 1, 2]]
    assert db["counts"].find_one({"_id": 1}) == {"_id": 1, "n": 2}


def test_async_iteration(db: docdb.Database) -> None:
    async def main() -> list[int]:
        query = db["a"].where({}).watch()
        sizes = []
        async for snapshot in query:
            sizes.append(len(snapshot))
            if len(sizes) == 3:
                break
            db["a"].insert_one({})
        return sizes

    assert asyncio.run(main()) == [0, 1, 2]


# Closing


def test_close_from_inside_a_callback(db: docdb.Database) -> None:
    seen: list[Any] = []
    watchers: list[Any] = []

    def once(snapshot: Any) -> None:
        wait_for(lambda: bool(watchers))
        watchers[0].close()
        seen.append(snapshot)

    watchers.append(db["a"].where({}).watch(on_change=once))
    db["a"].insert_one({})
    wait_for(lambda: bool(seen))
    time.sleep(0.05)
    assert len(seen) == 1


def test_closed_between_a_snapshot_and_its_callback_no_callback_begins(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    watcher = db["a"].where({}).watch(on_change=seen.append)
    wait_for(lambda: len(seen) == 1)
    original = live.LiveQuery.try_next

    def try_next(query: Any) -> Any:
        found = original(query)
        if found is not None:
            watcher.close()
        return found

    monkeypatch.setattr(live.LiveQuery, "try_next", try_next)
    db["a"].insert_one({})
    wait_for(lambda: not watcher.alive)
    wait_for(lambda: not watcher._scheduled)
    assert len(seen) == 1


def test_close_wakes_who_waits(db: docdb.Database) -> None:
    query = db["a"].where({}).watch()
    query.next()
    threading.Timer(0.05, query.close).start()
    with pytest.raises(StopIteration):
        query.next(SOON_S)


def test_closing_the_database_ends_all(tmp_path: Path) -> None:
    seen: list[Any] = []
    db = docdb.open(tmp_path / "d")
    query = db["a"].where({}).watch()
    watcher = db["a"].where({}).watch(on_change=seen.append)
    with docdb.open(tmp_path / "d") as other:
        db.close()
        assert (query.alive, watcher.alive, query.try_next()) == (False, False, None)
        assert other.stats()["feeds"]["live_queries"]["open"] == 0


def test_the_database_closes_while_a_callback_is_blocked(tmp_path: Path) -> None:
    free = threading.Event()
    entered = threading.Event()

    def block(snapshot: Any) -> None:
        entered.set()
        free.wait(SOON_S)

    with docdb.open(tmp_path / "d") as db:
        db["a"].where({}).watch(on_change=block)
        assert entered.wait(SOON_S)
    free.set()


def test_the_database_closes_inside_a_callback(tmp_path: Path) -> None:
    closed = threading.Event()
    db = docdb.open(tmp_path / "d")

    def close(snapshot: Any) -> None:
        db.close()
        closed.set()

    db["a"].where({}).watch(on_change=close)
    assert closed.wait(SOON_S)


def test_a_forgotten_query_goes_away(db: docdb.Database) -> None:
    query = db["a"].where({}).watch()
    assert db.stats()["feeds"]["live_queries"]["open"] == 1
    db["a"].insert_one({})
    settle(db)
    del query
    gc.collect()
    wait_for(lambda: db.stats()["feeds"]["live_queries"] == {**QUIET, "asked_anew": 0})
    wait_for(lambda: not any(thread.name == "docdb-feeds" for thread in threading.enumerate()))


QUIET = {"open": 0, "unindexed": 0, "waiting_commits": 0, "longest_queue": 0, "waiting_bytes": 0, "asked_anew": 0}


def test_the_thread_comes_and_goes_with_live_queries(db: docdb.Database) -> None:
    for n in range(3):
        with db["a"].where({}).watch() as query:
            query.next()
            db["a"].insert_one({"_id": n})
            assert len(query.next(SOON_S)) == n + 1


# Slow readers


def test_a_slow_reader_gets_the_last_state(monkeypatch: pytest.MonkeyPatch, db: docdb.Database) -> None:
    monkeypatch.setattr(forecast, "MOST_BYTES", 5_000)
    monkeypatch.setattr(routing, "MOST_BYTES", 5_000)
    db["a"].insert_many([{"_id": n, "n": n} for n in range(4)])
    slow, quick = db["a"].where({}).watch(), db["a"].where({"_id": 0}).watch()
    for n in range(100):
        db["a"].doc(0).update({"n": n, "text": "x" * 100})
    db["a"].doc(1).remove()
    db["a"].insert_one({"_id": 9})
    settle(db)
    assert db.stats()["feeds"]["live_queries"]["waiting_bytes"] <= 10_000
    first, second = taken(db, slow)
    assert (len(first), second.coalesced, ids(second)) == (4, True, [0, 2, 3, 9])
    assert sorted(told(second)) == [("add", "enqueue", 9), ("remove", "dequeue", 1), ("update", "update", 0)]
    assert second.doc_changes[1].updated_fields or second.doc_changes[2].updated_fields
    db["a"].insert_one({"_id": 10})
    assert [snapshot.coalesced for snapshot in taken(db, slow)] == [False]
    assert ids(taken(db, quick)[-1]) == [0]


def test_what_waits_for_all_readers_is_bounded(monkeypatch: pytest.MonkeyPatch, db: docdb.Database) -> None:
    monkeypatch.setattr(forecast, "MOST_BYTES_TOGETHER", 20_000)
    monkeypatch.setattr(routing, "MOST_BYTES_TOGETHER", 20_000)
    queries = [db["a"].where({}).watch() for _ in range(50)]
    for n in range(50):
        db["a"].insert_one({"_id": n, "text": "x" * 100})
    settle(db)
    assert 0 < db.stats()["feeds"]["live_queries"]["waiting_bytes"] <= 20_000
    assert [len(taken(db, query)[-1]) for query in queries] == [50] * 50
    assert db.stats()["feeds"]["live_queries"]["waiting_bytes"] == 0


def test_a_large_commit_is_told_by_asking_anew(monkeypatch: pytest.MonkeyPatch, db: docdb.Database) -> None:
    monkeypatch.setattr(forecast, "MOST_BYTES", 10_000)
    monkeypatch.setattr(routing, "MOST_BYTES", 10_000)
    query, small = db["a"].where({}).watch(), db["a"].where({"_id": 7}).watch()
    db["a"].insert_many([{"_id": n, "text": "x" * 50} for n in range(200)])
    found = taken(db, query)
    assert (len(found), found[1].coalesced, len(found[1])) == (2, True, 200)
    assert len(taken(db, small)[-1]) == 1


def test_asked_anew_what_changed_follows_from_the_two_results(
    monkeypatch: pytest.MonkeyPatch, db: docdb.Database
) -> None:
    monkeypatch.setattr(forecast, "MOST_BYTES", 1)
    monkeypatch.setattr(routing, "MOST_BYTES", 1)
    db["a"].insert_many([{"_id": n, "n": n} for n in range(6)])
    query = db["a"].where({"n": {"$gte": 1}}).order_by("n").limit(3).watch()
    query.next()
    db["a"].bulk_write(
        [docdb.UpdateOne({"_id": 0}, {"$set": {"n": 1.5}}), docdb.ReplaceOne({"_id": 1}, {"n": 1, "m": 1}), docdb.DeleteOne({"_id": 2})]
    )  # fmt: skip
    (snapshot,) = taken(db, query)
    assert (ids(snapshot), snapshot.coalesced) == ([1, 0, 3], True)
    assert sorted(told(snapshot)) == [("add", "enqueue", 0), ("remove", "dequeue", 2), ("update", "update", 1)]


def test_a_lost_history_is_told_by_asking_anew(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", history_bytes=20_000) as db:
        db["a"].insert_many([{"_id": n, "n": n} for n in range(300)])
        query = db["a"].where({}).order_by("n").limit(2).watch()
        db._store.hub.router._place = (0, 0)  # as if this process had stood still
        for n in range(100):
            db["a"].insert_one({"_id": 1_000 + n, "n": -n, "text": "x" * 1_000})
        wait_for(lambda: query.stale)
        assert [(ids(snapshot), snapshot.coalesced) for snapshot in taken(db, query)] == [
            ([0, 1], False), ([1099, 1098], True),
        ]  # fmt: skip


# The catalog


def test_drop_and_rename(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": 1}, {"_id": 2}])
    here, there = db["a"].where({}).watch(), db["b"].where({}).watch()
    db["a"].rename("b")
    db["b"].insert_one({"_id": 3})
    assert [(ids(snapshot)) for snapshot in taken(db, here)] == [[1, 2], []]
    assert ids(taken(db, there)[-1]) == [1, 2, 3]
    db["b"].drop()
    assert [sorted(told(snapshot)) for snapshot in taken(db, there)] == [[("remove", "dequeue", n) for n in (1, 2, 3)]]
    db["b"].insert_one({"_id": 4})
    db["a"].insert_one({"_id": 5})
    assert (ids(taken(db, there)[-1]), ids(taken(db, here)[-1])) == ([4], [5])


def test_a_collection_that_takes_anothers_place(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    db["b"].insert_many([{"_id": 2, "n": 2}, {"_id": 3, "n": 2}])
    query = db["b"].where({}).watch()
    db["a"].rename("b", drop_target=True)
    found = taken(db, query)
    assert (ids(found[-1]), sorted(told(found[-1]))) == ([1, 2], [("add", "enqueue", 1), ("remove", "dequeue", 3), ("update", "update", 2)])  # fmt: skip


def test_an_index_made_meanwhile_changes_nothing(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": n, "n": n} for n in range(100)])
    query = db["a"].where({"n": {"$gte": 0}}).order_by("n").limit(2).watch()
    db["a"].create_index("n")
    db["a"].delete_many({"_id": {"$lt": 50}})
    db["a"].drop_index("n_1")
    assert [ids(snapshot) for snapshot in taken(db, query)] == [[0, 1], [50, 51]]


# Expiry


def test_documents_expire_once(db: docdb.Database) -> None:
    now = dt.datetime.now(dt.UTC)
    db["a"].create_index("at", expire_after_s=0)
    soon = now + dt.timedelta(seconds=1.5)
    db["a"].insert_many([{"_id": 1, "at": soon}, {"_id": 2, "at": now + dt.timedelta(hours=1)}, {"_id": 3}])
    query = db["a"].where({}).watch()
    assert ids(query.next()) == [1, 2, 3]
    gone = query.next(SOON_S)
    assert (ids(gone), told(gone)) == ([2, 3], [("remove", "dequeue", 1)])
    db["a"].doc(1).set({"n": 1})  # deletes the expired one first
    assert [sorted(told(snapshot)) for snapshot in taken(db, query)] == [[("replace", "enqueue", 1)]]
    db["a"].doc(2).update({"at": now - dt.timedelta(hours=1)})
    assert [told(snapshot) for snapshot in taken(db, query)] == [[("update", "dequeue", 2)]]


def test_what_the_sweeper_removes_has_been_told(db: docdb.Database) -> None:
    now = dt.datetime.now(dt.UTC)
    db["a"].create_index("at", expire_after_s=0)
    db["a"].insert_many([{"_id": n, "at": now + dt.timedelta(seconds=1.5)} for n in range(3)] + [{"_id": 9}])
    query, late = db["a"].where({}).watch(), db["a"].where({}).order_by("at").limit(5).watch()
    assert (ids(query.next()), len(late.next())) == ([0, 1, 2, 9], 4)
    assert ids(query.next(SOON_S)) == [9]
    assert db.sweep() == 3
    db["a"].insert_one({"_id": 10})
    assert [ids(snapshot) for snapshot in taken(db, query)] == [[9, 10]]
    assert [ids(snapshot) for snapshot in taken(db, late)] == [[9], [9, 10]]


def test_a_window_over_expiring_documents(db: docdb.Database) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.5)
    db["a"].create_index("at", expire_after_s=0)
    db["a"].insert_many([{"_id": n, "at": [soon, soon + dt.timedelta(hours=n)]} for n in range(50)] + [{"_id": 99}])
    query = db["a"].where({}).limit(2).watch()
    assert ids(query.next()) == [0, 1]
    assert ids(query.next(SOON_S)) == [99]


def test_a_partial_expiring_index_hides_only_what_it_holds(db: docdb.Database) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    db["a"].create_index("at", expire_after_s=0, partialFilterExpression={"done": True})
    query = db["a"].where({}).watch()
    db["a"].insert_many([{"_id": 1, "at": past, "done": True}, {"_id": 2, "at": past}])
    db["a"].doc(2).update({"n": 1})
    db["a"].doc(2).update({"done": True})
    assert [ids(snapshot) for snapshot in taken(db, query)] == [[], [2], [2], []]


def test_an_expiring_index_made_meanwhile(db: docdb.Database) -> None:
    db["a"].insert_many([{"_id": 1, "at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, {"_id": 2}])
    query = db["a"].where({}).watch()
    db["a"].create_index("at", expire_after_s=0)
    assert ids(taken(db, query)[-1]) == [2]


# Threads that write meanwhile


def test_nothing_is_missing_or_twice_while_others_write(tmp_path: Path) -> None:
    """Queries begin amid the writes: the first result and the changes behind it make every document, once."""
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        stop = threading.Event()
        written = [0, 0]

        def write(place: int) -> None:
            while not stop.is_set():
                db["a"].insert_one({"_id": written[place] * 2 + place, "n": written[place]})
                written[place] += 1

        writers = [threading.Thread(target=write, args=(place,)) for place in range(2)]
        for writer in writers:
            writer.start()
        queries = []
        for _ in range(10):
            queries.append(db["a"].where({}).watch())
            time.sleep(0.02)
        stop.set()
        for writer in writers:
            writer.join()
        everything = [document["_id"] for document in db["a"].find().sort("_id")]
        for query in queries:
            found = taken(db, query)
            changed = [change.doc_id for snapshot in found for change in snapshot.doc_changes]
            assert ids(found[-1]) == everything == sorted(changed)


def test_who_watches_nothing_pays_nothing(db: docdb.Database) -> None:
    db["a"].insert_one({})
    assert db._store.hub is None


# The differential test itself


def _forget_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.history, "undone", lambda *_, **__: {})


def _keep_horizon(monkeypatch: pytest.MonkeyPatch) -> None:
    def trim(window: Any, most: int) -> None:
        del window.keys[most + 1 :], window.docs[most + 1 :]

    monkeypatch.setattr(live_window.Window, "trim", trim)


def _tell_all_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "net", lambda changes: changes)


def _forget_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_window, "_shifted", lambda *_: [])


def _overlook_some(monkeypatch: pytest.MonkeyPatch) -> None:
    original = PredicateIndex.candidates
    asked = iter(range(10**9))

    def candidates(index: Any, before: bytes, after: bytes) -> Any:
        return [] if next(asked) % 50 == 49 else original(index, before, after)

    monkeypatch.setattr(PredicateIndex, "candidates", candidates)


def _ignore_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    original = live_window._pass

    def careless(window: Any, lens: Any, change: Any, now_us: int) -> Any:
        operation, before, after = change
        return original(window, lens, (operation, before if operation == "d" else b"", after), now_us)

    monkeypatch.setattr(live_window, "_pass", careless)


def _call_all_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_window, "_NAMES", dict.fromkeys("iurd", "update"))


def _hand_over_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing.Found, "meet", lambda *_: None)


def _swap_in_and_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = live_window._shifted

    def shifted(touched: Any, old_keys: Any, old_docs: Any, new_keys: Any, new_docs: Any) -> Any:
        moves = original(touched, old_keys, old_docs, new_keys, new_docs)
        return [move._replace(queue_type="enqueue" if move.queue_type == "dequeue" else "dequeue") for move in moves]

    monkeypatch.setattr(live_window, "_shifted", shifted)


@pytest.mark.parametrize(
    "fault",
    [
        _call_all_updates,
        _forget_later,
        _forget_others,
        _hand_over_parts,
        _ignore_what_was,
        _keep_horizon,
        _overlook_some,
        _swap_in_and_out,
        _tell_all_changes,
    ],
    ids=lambda fault: fault.__name__,
)
def test_the_random_steps_find_a_fault(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    monkeypatch.setattr(live_window, "SLACK", 0)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        run(3, 20_000)


# What others pay


class _Consumers:
    """Readers of every bad kind."""

    def __init__(self, db: docdb.Database) -> None:
        self.free = threading.Event()
        everything = db["a"].where({})
        self.held = [
            everything.watch(on_change=lambda _: self.free.wait(SOON_S)), everything.watch(on_change=self.fail, on_error=id), everything.watch(),
            everything.order_by("n").limit(3).watch(), db["a"].changes(),
        ]  # fmt: skip
        everything.watch()  # leaked

    @staticmethod
    def fail(snapshot: Any) -> None:
        raise ValueError


def test_bad_consumers_pin_no_pages(tmp_path: Path) -> None:
    """No snapshot is left while they hang; the file is as large but for what a reader that was interrupted for a moment may have held."""
    pages, readers = [], []
    for kind in ("none", "bad"):
        with docdb.open(tmp_path / kind, durability="relaxed", history_bytes=200_000) as db:
            db["a"].insert_many([{"_id": n, "n": n, "text": "x" * 500} for n in range(100)])
            consumers = _Consumers(db) if kind == "bad" else None
            for n in range(600):
                db["a"].update_one({"_id": n % 100}, {"$set": {"n": n}})
            until = time.monotonic() + SOON_S / 2  # before the blocked ones go on by themselves
            while db.stats()["storage"]["readers"] and time.monotonic() < until:
                time.sleep(0.01)
            stats = db.stats()["storage"]
            pages.append(stats["pages"])
            readers.append(stats["readers"])
            if consumers is not None:
                consumers.free.set()
    assert readers == [0, 0]
    assert pages[1] <= pages[0] * 4  # one state held from the beginning makes it forty times as large


def test_a_live_query_is_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """100,000 of them, with one document each, are to take at most 150 MB; the lenses are as many whatever their number."""
    monkeypatch.setattr(routing, "LENSES", 10)
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        db["a"].create_index("room")
        db["a"].insert_many([{"_id": n, "room": f"room {n}", "text": f"hello {n}"} for n in range(3_000)])
        queries = []
        for n in range(3_000):
            if n == 1_000:
                gc.collect()
                tracemalloc.start()
            queries.append(db["a"].where({"room": f"room {n}"}).watch())
            queries[-1].next()
        gc.collect()
        used, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used / 2_000 < (
            1_500 if _native.AVAILABLE else 2_000
        )  # the mark is the kernel's; the index in Python takes 1,710


# Commits that concern nobody


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[docdb.Database]:
    """A database whose hub does not look by itself."""
    with docdb.open(tmp_path / "d", durability="relaxed") as db:
        monkeypatch.setattr(db._store.bell, "poll_s", 1_000.0)
        db["a"].insert_one({"_id": 0, "k": 0})
        yield db


def _count_looks(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    looks: list[int] = []
    router = db._store.hub.router
    original = router.advance

    def advance(snapshot: Any) -> Any:
        last = original(snapshot)
        looks.append(last)
        return last

    monkeypatch.setattr(router, "advance", advance)
    return looks


def test_commits_that_concern_no_live_query_do_not_wake_the_hub(
    asleep: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asleep["a"].where({"k": 1}).watch() as query:
        assert query.next(timeout_s=SOON_S).docs == []
        asleep["a"].insert_one({"_id": 1, "k": 1})
        assert ids(query.next(timeout_s=SOON_S)) == [1]
        looks = _count_looks(asleep, monkeypatch)
        for n in range(50):
            asleep["a"].update_one({"_id": 0}, {"$set": {"n": n}})
            asleep["elsewhere"].insert_one({"_id": n})
        asleep["a"].insert_one({"_id": 2, "k": 1})
        told = query.next(timeout_s=SOON_S)
        assert ids(told) == [1, 2]
        assert told.position == asleep["a"].changes().position
        assert len(looks) <= 4  # the first commit, the new collection, the last


def test_a_silent_commit_of_another_process_is_found_with_the_next_one_here(asleep: docdb.Database) -> None:
    """It was not looked at here: what is behind it may not be taken for quiet."""
    with asleep["a"].where({"k": 1}).watch() as query:
        assert query.next(timeout_s=SOON_S).docs == []
        script = (
            "import docdb, sys\nwith docdb.open(sys.argv[1]) as db:\n"
            "    db._store.bell.herald = lambda number, **_: None\n    db['a'].insert_one({'_id': 5, 'k': 1})"
        )
        subprocess.run([sys.executable, "-c", script, str(asleep.path)], check=True)
        asleep["a"].update_one({"_id": 0}, {"$set": {"n": 1}})
        assert ids(query.next(timeout_s=SOON_S)) == [5]


def test_a_change_stream_is_told_what_concerns_no_live_query(asleep: docdb.Database) -> None:
    with asleep["a"].where({"k": 1}).watch() as query, asleep.changes() as stream:
        assert query.next(timeout_s=SOON_S).docs == []
        for n in range(3):
            asleep["a"].update_one({"_id": 0}, {"$set": {"n": n}})
            assert stream.next(timeout_s=SOON_S).updated_fields == {"n": n}
