"""Commits that nobody waits for are left for later: nothing of them is lost, told twice or told before it is durable, and what is left is bounded."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import StorageError
from docdb.feeds import routing
from docdb.feeds.predicates import PredicateIndex
from docdb.feeds.routing import LiveRouter

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine, whose hub looks only when it is woken."""
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param], sweep_s=None) as database:
        database._store.bell.poll_s = 10 * SOON_S
        database["a"].insert_one({"_id": 0, "k": 1})
        yield database


def watching(db: docdb.Database, name: str = "a", **filter: Any) -> Any:
    """Return a live query whose first result is told, and whose registration the hub has taken note of."""
    query = db[name].where(filter).watch()
    query.try_next()
    look(db)
    return query


def look(db: docdb.Database) -> None:
    """Let the hub look at the storage."""
    with db._store.hub._looking:
        db._store.hub._advance()


def left(db: docdb.Database) -> list[int]:
    """Return the commits that are left for later."""
    return [each.commit for each in db._store.hub.router._left]


def told(query: Any) -> list[tuple[str, Any]]:
    return [(change.queue_type, change.doc_id) for s in iter(query.try_next, None) for change in s.doc_changes]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.001)


def noting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """Return a list that grows with each call."""
    found: list[None] = []
    original = getattr(owner, name)

    def noted(*arguments: Any) -> Any:
        found.append(None)
        return original(*arguments)

    monkeypatch.setattr(owner, name, noted)
    return found


def test_the_writer_finds_nothing_out_and_the_reader_all(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    query = watching(db, k=1)
    asked, read = noting(monkeypatch, PredicateIndex, "candidates"), noting(monkeypatch, LiveRouter, "advance")
    for n in range(1, 20):
        db["a"].insert_one({"_id": n, "k": n % 2})
    assert (left(db), asked) == (list(range(2, 21)), [])
    assert told(query) == [("enqueue", n) for n in range(1, 20, 2)]
    assert (left(db), len(asked), read) == ([], 19, [])


def test_the_hub_hands_out_without_a_snapshot(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    query, hub = watching(db, k=1), db._store.hub
    taken = noting(monkeypatch, db._store, "snapshot")
    for n in range(1, 9):
        db["a"].doc(0).set({"k": 1, "n": n})
    look(db)
    assert (taken, left(db), [commit for commit, _ in query.pending]) == ([], [], list(range(2, 10)))
    assert hub._seen_id == db._store.engine.last_id()


def test_what_is_left_is_handed_out_once_by_whoever_looks(db: docdb.Database) -> None:
    queries = [watching(db, k=k) for k in range(3)]
    for n in range(1, 10):
        db["a"].insert_one({"_id": n, "k": n % 3})
    for k, query in enumerate(queries):
        assert told(query) == [("enqueue", n) for n in range(1, 10) if n % 3 == k]
    look(db)
    assert [told(query) for query in queries] == [[], [], []]


@pytest.mark.parametrize("when", ["before", "during"])
def test_who_waits_is_woken(db: docdb.Database, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, came = watching(db, k=1), list[Any]()
    reader = threading.Thread(target=lambda: came.append(query.next(SOON_S)))
    bell, herald = db._store.bell, db._store.bell.herald

    def begin() -> None:
        looked = noting(monkeypatch, db._store.hub.router, "take")
        reader.start()
        wait_for(lambda: query.awaited and bool(looked))
        time.sleep(0.02)  # it sleeps

    def late(number: int, **options: Any) -> Any:
        begin()
        return herald(number, **options)

    if when == "before":
        begin()
    else:
        monkeypatch.setattr(
            bell, "herald", late
        )  # called when it is found out that nobody waits, and nothing is durable
    db["a"].insert_one({"_id": 1, "k": 1})
    reader.join(SOON_S)
    assert [change.doc_id for change in came[0].doc_changes] == [1]


def test_a_stream_that_begins_to_wait_during_the_commit_is_rung(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, came = watching(db, k=1), list[Any]()
    stream = db["a"].changes()
    reader = threading.Thread(target=lambda: came.append(stream.next(SOON_S)))
    herald = db._store.bell.herald

    def late(number: int, **options: Any) -> Any:
        reader.start()
        wait_for(lambda: stream.awaited)
        time.sleep(0.02)
        return herald(number, **options)

    monkeypatch.setattr(db._store.bell, "herald", late)
    db["a"].insert_one({"_id": 1, "k": 1})
    reader.join(SOON_S)
    assert came[0].id == 1
    assert told(query) == [("enqueue", 1)]


def test_only_collections_that_are_waited_for_are_looked_at_at_once(db: docdb.Database) -> None:
    db["b"].insert_one({"_id": 0})
    query, other, came = watching(db, k=1), watching(db, "b"), list[Any]()
    with db["b"].where({}).watch(lambda snapshot: came.extend(change.doc_id for change in snapshot.doc_changes)):
        wait_for(lambda: came == [0])
        look(db)
        db["a"].insert_one({"_id": 1, "k": 1})
        db["c"].insert_one({"_id": 1})  # makes it: for the hub
        wait_for(lambda: left(db) == [])
        look(db)
        db["c"].insert_one({"_id": 2})  # whom it concerns nobody knows, for nobody has asked
        db["a"].insert_one({"_id": 2, "k": 1})
        assert left(db) == [5, 6]
        db["b"].insert_one({"_id": 1})
        wait_for(lambda: came == [0, 1])
        assert left(db) == []
    assert told(query) == [("enqueue", 1), ("enqueue", 2)]
    assert told(other) == [("enqueue", 1)]


def test_nobody_waits_any_more(db: docdb.Database) -> None:
    query = watching(db, k=1)
    with pytest.raises(StopIteration):
        query.next(0.0)
    with db["a"].where({"k": 1}).watch(lambda snapshot: None):
        assert len(db._store.hub.router._interests.by_name["a"].awaited) == 1
    assert db._store.hub.router._interests.by_name["a"].awaited == set()
    look(db)
    db["a"].insert_one({"_id": 1, "k": 1})
    assert left(db) == [2]


def test_a_forgotten_query_is_collected_while_commits_are_left(db: docdb.Database) -> None:
    query, other = watching(db, k=1), watching(db, k=2)
    for n in range(1, 5):
        db["a"].insert_one({"_id": n, "k": 1})
    assert len(left(db)) == 4
    gone = weakref.ref(query)
    del query
    gc.collect()
    assert gone() is None
    assert told(other) == []
    wait_for(lambda: db.stats()["feeds"]["live_queries"]["open"] == 1)


def test_what_is_left_is_bounded(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MOST_LEFT", 8)
    monkeypatch.setattr(routing, "LARGEST_LEFT", 1_000)
    query, most = watching(db, k=1), 0
    for n in range(1, 50):
        db["a"].insert_one({"_id": n, "k": 1})
        most = max(most, len(left(db)))
    assert most == 8
    db["a"].insert_one({"_id": 50, "k": 1, "text": "x" * 1_000})
    assert left(db) == []
    assert told(query) == [("enqueue", n) for n in range(1, 51)]


def test_a_reader_that_was_away_for_too_long_is_asked_anew_at_its_first_look(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MOST_BYTES", 5_000)
    query = watching(db, k=1)
    for n in range(1, 40):
        db["a"].insert_one({"_id": n, "k": 1})
    snapshot = query.try_next()
    assert snapshot.coalesced
    assert len(snapshot.docs) == 40
    assert query.try_next() is None


def test_much_that_is_left_is_no_short_look(db: docdb.Database) -> None:
    query = watching(db, k=1)
    for n in range(1, routing.AT_ONCE + 2):
        assert query.light
        db["a"].insert_one({"_id": n, "k": 1})
    assert not query.light
    assert len(told(query)) == routing.AT_ONCE + 1
    assert query.light


def test_the_numbers_count_what_is_left(db: docdb.Database) -> None:
    query = watching(db, k=1)
    for n in range(1, 4):
        db["a"].insert_one({"_id": n, "k": 1})
    assert len(left(db)) == 3
    found = db.stats()["feeds"]["live_queries"]
    assert (found["waiting_commits"], found["longest_queue"]) == (3, 3)
    assert found["waiting_bytes"] > 0
    told(query)
    assert db.stats()["feeds"]["live_queries"]["waiting_bytes"] == 0


def test_a_query_that_is_made_while_commits_are_left(db: docdb.Database) -> None:
    query = watching(db, k=1)
    db["a"].insert_one({"_id": 1, "k": 1})
    db["b"].insert_one({"_id": 1})  # the collection
    wait_for(lambda: left(db) == [])
    look(db)
    db["b"].insert_one({"_id": 2})
    later, among = db["b"].where({}).watch(), db["a"].where({"k": 1}).watch()
    db["b"].insert_one({"_id": 3})
    db["a"].insert_one({"_id": 2, "k": 1})
    assert [document["_id"] for document in later.try_next().docs] == [1, 2]
    assert [document["_id"] for document in among.try_next().docs] == [0, 1]
    assert [told(later), told(among)] == [[("enqueue", 3)], [("enqueue", 2)]]
    assert told(query) == [("enqueue", 1), ("enqueue", 2)]


def test_refreshed_closed_and_asked_anew_while_commits_are_left(db: docdb.Database) -> None:
    refreshed, closed, query = [watching(db, k=1) for _ in range(3)]
    db["a"].insert_one({"_id": 1, "k": 1})
    refreshed.refresh()
    closed.close()
    db["a"].insert_one({"_id": 2, "k": 1})
    assert len(left(db)) == 2
    snapshot = refreshed.try_next()
    assert snapshot.coalesced
    assert [change.doc_id for change in snapshot.doc_changes] == [1, 2]
    db["a"].insert_one({"_id": 3, "k": 1})
    assert told(refreshed) == [("enqueue", 3)]
    assert told(query) == [("enqueue", 1), ("enqueue", 2), ("enqueue", 3)]
    assert db.stats()["feeds"]["live_queries"]["waiting_bytes"] == 0


@pytest.mark.parametrize("change", ["drop", "rename"])
def test_a_collection_that_goes_while_commits_are_left(db: docdb.Database, change: str) -> None:
    query = watching(db, k=1)
    db["a"].insert_one({"_id": 1, "k": 1})
    assert left(db) == [2]
    db["a"].drop() if change == "drop" else db["a"].rename("b")
    wait_for(lambda: query.stale)
    assert left(db) == []
    assert sorted(told(query)) == [("dequeue", 0)]  # the one of the commit that was left was never told


def test_a_commit_of_another_process_comes_between(tmp_path: Path) -> None:
    script = (
        "import sys, docdb\nwith docdb.open(sys.argv[1]) as db: db['a'].insert_one({'_id': int(sys.argv[2]), 'k': 1})"
    )
    with docdb.open(tmp_path / "d", sweep_s=None) as db:
        db["a"].insert_one({"_id": 0, "k": 1})
        query, hub = watching(db, k=1), db._store.hub
        with hub._looking:
            db["a"].insert_one({"_id": 1, "k": 1})
            assert left(db) == [2]
            subprocess.run([sys.executable, "-c", script, str(tmp_path / "d"), "2"], check=True, timeout=60)
            for n in (3, 4):
                db["a"].insert_one({"_id": n, "k": 1})
            assert told(query) == [("enqueue", 1)]
        wait_for(lambda: hub.router._place[0] == 5)
        db["a"].insert_one({"_id": 5, "k": 1})
        assert told(query) == [("enqueue", n) for n in range(2, 6)]


def test_a_commit_that_fails_is_not_left(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    query = watching(db, k=1)
    herald = db._store.bell.herald

    def broken(number: int, **options: Any) -> Any:
        monkeypatch.setattr(db._store.bell, "herald", herald)
        raise StorageError("struck")

    monkeypatch.setattr(db._store.bell, "herald", broken)
    db["a"].insert_one({"_id": 1, "k": 1})  # the second time it lands
    assert left(db) == [2]
    assert told(query) == [("enqueue", 1)]


@pytest.mark.parametrize("point", ["_hand_out_left", "_offer", "_offer_left", "_query", "catch_up", "leave", "left"])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_interrupts_it_loses_nothing(
    db: docdb.Database, point: str, behind: bool, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, other = watching(db, k=1), watching(db, k=1)
    original, struck = getattr(LiveRouter, point), []

    def broken(self: LiveRouter, *arguments: Any) -> Any:
        if behind:
            original(self, *arguments)
        if threading.current_thread() is not threading.main_thread():
            return original(self, *arguments)
        struck.append(point)
        raise error("struck")

    db["a"].insert_one({"_id": 1, "k": 1})
    monkeypatch.setattr(LiveRouter, point, broken)
    for call in (lambda: db["a"].insert_one({"_id": 2, "k": 1}), query.try_next):
        with contextlib.suppress(error):
            call()
    monkeypatch.undo()
    assert struck
    look(db)
    db["a"].insert_one({"_id": 3, "k": 1})
    look(db)
    landed = [
        document["_id"] for document in db["a"].find({"_id": {"$gt": 0}}).sort("_id")
    ]  # interrupted before the flush, a write has not
    assert told(other) == [("enqueue", n) for n in landed]
    told(query)  # an interrupted one begins anew
    assert query._window.docs == other._window.docs


def test_readers_and_writers_at_once(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "AT_ONCE", 3)
    monkeypatch.setattr(routing, "MOST_LEFT", 20)
    queries = [watching(db, k=k % 3) for k in range(6)]
    found: list[list[Any]] = [[] for _ in queries]
    over, failures = threading.Event(), list[BaseException]()

    def read(seed: int) -> None:
        rng = random.Random(seed)
        mine = [seed, seed + 3]  # each query has one reader
        try:
            while not over.is_set():
                at = rng.choice(mine)
                snapshot = queries[at].try_next() if rng.random() < 0.8 else next(queries[at], None)
                found[at] += [] if snapshot is None else [change.doc_id for change in snapshot.doc_changes]
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for query in queries[3:]:
        query.ring_with(lambda: None) if query is queries[3] else None  # one is waited for all the time
    for reader in readers:
        reader.start()
    for n in range(1, 600):
        db["a"].insert_one({"_id": n, "k": n % 3})
        if n % 50 == 0:
            look(db)
    wait_for(lambda: (look(db), left(db) == [])[1])
    over.set()
    for query in queries:
        query.ring()
    for n in range(3):  # whoever waits without a limit gets one more
        db["a"].insert_one({"_id": 600 + n, "k": n})
    for reader in readers:
        reader.join(SOON_S)
    assert failures == []
    for at, query in enumerate(queries):
        found[at] += [id for _, id in told(query)]
        assert found[at] == [n for n in range(1, 603) if n % 3 == at % 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_commits_are_left(tmp_path: Path) -> None:
    script = """
        import os, sys, warnings, docdb
        warnings.simplefilter("ignore")
        db = docdb.open(sys.argv[1], sweep_s=None)
        db["a"].insert_one({"_id": 0})
        query = db["a"].where({}).watch()
        query.try_next()
        for n in range(1, 4):
            db["a"].insert_one({"_id": n})
        pid = os.fork()
        if pid == 0:
            own = db["a"].where({}).watch()
            first = len(own.try_next().docs)
            db["a"].insert_one({"_id": 4})
            os._exit(10 * first + len(own.next(30).docs))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        db["a"].insert_one({"_id": 5})
        came = []
        while len(came) < 5:
            came += [change.doc_id for change in query.next(30).doc_changes]
        print(code, came, flush=True)
        db.close()
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "d")], capture_output=True, text=True, timeout=60
    )
    assert child.stderr == ""
    assert child.stdout == "45 [1, 2, 3, 4, 5]\n"
