"""Commits of the own process are handed over by their writer; the log is read for what others commit, and for what was not handed over."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.feeds.routing import LiveRouter

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database in each engine."""
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param], sweep_s=None) as database:
        yield database


def watching(db: docdb.Database, **filter: Any) -> Any:
    """Return a live query that somebody waits for, and whose registration the hub has taken note of."""
    query = db["a"].where(filter).watch()
    query.ring_with(lambda: None)
    query.try_next()
    settle(db)
    return query


def settle(db: docdb.Database) -> None:
    with db._store.hub._looking:
        db._store.hub._advance()


def reads(db: docdb.Database) -> list[int]:
    """Return a list that grows with each time the hub reads the log; it may at its next look, when that falls behind a commit not yet handed over."""
    router, found = db._store.hub.router, []
    advance = router.advance

    def noting(snapshot: Any) -> Any:
        found.append(snapshot.txn.id)
        return advance(snapshot)

    router.advance = noting
    return found


def told(query: Any) -> list[tuple[str, Any]]:
    return [(change.queue_type, change.doc_id) for s in iter(query.try_next, None) for change in s.doc_changes]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


def write_elsewhere(path: Path, id: int) -> None:
    script = (
        "import sys, docdb\nwith docdb.open(sys.argv[1]) as db: db['a'].insert_one({'_id': int(sys.argv[2]), 'k': 1})"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(id)], check=True, timeout=60)


def test_what_is_handed_over_is_there_without_a_look_at_the_log(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query = watching(db, k=1)
    looked = reads(db)
    for n in range(1, 20):
        db["a"].insert_one({"_id": n, "k": n % 2})
    assert told(query) == [("enqueue", n) for n in range(1, 20, 2)]
    assert len(looked) < 5


def test_a_reader_that_waits_is_woken_by_the_writer(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query = watching(db, k=1)
    monkeypatch.setattr(db._store.hub.router, "advance", lambda snapshot: None)
    came: list[Any] = []
    reader = threading.Thread(target=lambda: came.append(query.next(SOON_S)))
    reader.start()
    wait_for(lambda: query.awaited)
    db["a"].insert_one({"_id": 1, "k": 1})
    reader.join(SOON_S)
    assert [change.doc_id for change in came[0].doc_changes] == [1]


def test_a_callback_is_called_without_a_look_at_the_log(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    came: list[Any] = []
    with db["a"].where({"k": 1}).watch(lambda snapshot: came.extend(c.doc_id for c in snapshot.doc_changes)):
        wait_for(lambda: came == [0])
        settle(db)
        looked = reads(db)
        for n in range(1, 50):
            db["a"].insert_one({"_id": n, "k": 1})
        wait_for(lambda: len(came) == 50)
        assert came == list(range(50))
        assert len(looked) < 10


def test_only_streams_that_somebody_waits_for_are_rung(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0})
    streams = [db["a"].changes() for _ in range(5)]
    hub, came = db._store.hub, []
    rung: list[Any] = []
    for stream in streams:
        stream.try_next()
    reader = threading.Thread(target=lambda: came.append(streams[2].next(SOON_S)))
    reader.start()
    wait_for(lambda: len(hub._awaited) == 1)
    ring = hub._ring_streams
    hub._ring_streams = lambda: (rung.extend(ref() for ref in hub._awaited.values()), ring())
    db["a"].insert_one({"_id": 1})
    reader.join(SOON_S)
    assert [change.id for change in came] == [1]
    assert set(rung) == {streams[2]}
    assert len(hub._awaited) == 0
    assert [stream.try_next().id for stream in streams if stream is not streams[2]] == [1] * 4


def test_a_large_commit_and_one_of_the_catalog_are_read(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query = watching(db, k=1)
    looked = reads(db)
    db["a"].insert_many([{"_id": n, "k": 1} for n in range(1, 301)])
    wait_for(lambda: len(looked) > 0)
    wait_for(lambda: query.pending is not None)
    assert [id for _, id in told(query)] == list(range(1, 301))
    db["a"].drop()
    wait_for(lambda: query.stale)
    assert sorted(id for _, id in told(query)) == list(range(301))


def test_commits_of_two_processes_come_in_their_order(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=None) as db:
        db["a"].insert_one({"_id": 0, "k": 1})
        query = watching(db, k=1)
        for n in range(1, 9, 2):
            write_elsewhere(tmp_path / "d", n)
            db["a"].insert_one({"_id": n + 1, "k": 1})
        wait_for(lambda: db._store.hub.router._place[0] == 9)
        assert told(query) == [("enqueue", n) for n in range(1, 9)]


def test_an_own_commit_behind_an_unseen_one_is_left_to_the_hub(tmp_path: Path) -> None:
    with docdb.open(tmp_path / "d", sweep_s=None) as db:
        db["a"].insert_one({"_id": 0, "k": 1})
        query, hub = watching(db, k=1), db._store.hub
        with hub._looking:
            write_elsewhere(tmp_path / "d", 1)
            db["a"].insert_one({"_id": 2, "k": 1})
            assert query.pending is None
        wait_for(lambda: hub.router._place[0] == 3)
        assert told(query) == [("enqueue", 1), ("enqueue", 2)]


@pytest.mark.parametrize("point", ["_foresee_one", "_offer", "_query", "foresee", "hand_out"])
@pytest.mark.parametrize("behind", [False, True])
def test_what_interrupts_the_handing_over_loses_nothing(
    db: docdb.Database, point: str, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query = watching(db, k=1)
    original = getattr(LiveRouter, point)

    def broken(self: LiveRouter, *arguments: Any) -> Any:
        if behind:
            original(self, *arguments)
        raise RuntimeError("struck")

    monkeypatch.setattr(LiveRouter, point, broken)
    db["a"].insert_one({"_id": 1, "k": 1})
    monkeypatch.undo()
    wait_for(lambda: db._store.hub.router._place[0] == 2)
    db["a"].insert_one({"_id": 2, "k": 1})
    assert told(query) == [("enqueue", 1), ("enqueue", 2)]


def test_what_is_handed_out_twice_is_told_once(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query, router = watching(db, k=1), db._store.hub.router
    for n in range(1, 4):
        db["a"].insert_one({"_id": n, "k": 1})
    with router._lock:
        router._place = (2, router._place[1])
    with db._store.hub._looking:
        db._store.hub._seen_id = -1
        db._store.hub._advance()
    assert router._place[0] == 4
    assert told(query) == [("enqueue", n) for n in range(1, 4)]


def test_a_commit_that_waits_in_the_log_is_not_overtaken(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query, router = watching(db, k=1), db._store.hub.router
    with db._store.hub._looking:
        db["a"].insert_many([{"_id": n, "k": 1} for n in range(1, 101)])  # left to the hub
        db["a"].insert_one({"_id": 200, "k": 1})
        assert query.pending is None
    wait_for(lambda: router._place[0] == 3)
    assert [id for _, id in told(query)] == [*range(1, 101), 200]


def test_a_snapshot_older_than_what_was_handed_over_is_no_lost_history(db: docdb.Database) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    query, hub = watching(db, k=1), db._store.hub
    with hub._looking, db._store.snapshot() as snapshot:
        db["a"].insert_one({"_id": 1, "k": 1})
        assert hub.router.advance(snapshot) == 2
    assert not query.stale
    assert told(query) == [("enqueue", 1)]


def test_other_processes_hear_of_a_commit_that_could_not_be_handed_over(
    db: docdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db["a"].insert_one({"_id": 0, "k": 1})
    watching(db, k=1)
    bell, nudges, rung = db._store.bell, list[None](), list[tuple[int, Any]]()
    herald = bell.herald

    def noting(number: int, **options: Any) -> Any:
        rung.append((number, options))
        return herald(number, **options)

    monkeypatch.setattr(db._store.hub, "committed", lambda *arguments: 1 / 0)
    monkeypatch.setattr(bell, "herald", noting)
    monkeypatch.setattr(bell, "nudge", lambda: nudges.append(None))
    db["a"].insert_one({"_id": 1, "k": 1})
    assert rung == [(2, {"others": True, "token": 0})]
    assert nudges == [None]  # the own thread is to look
