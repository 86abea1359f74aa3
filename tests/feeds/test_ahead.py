"""Snapshots of quick callbacks are made while the commit is being flushed, and told when it has landed: never before, never twice, never wrongly."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.engine.bell import Bell
from docdb.errors import StorageError
from docdb.feeds import delivery
from docdb.feeds.delivery import Watcher
from docdb.feeds.history import newest
from docdb.feeds.live import LiveQuery
from docdb.language import filters
from docdb.planner.queries import FindQuery
from docdb.store import store as stores
from docdb.store.batch import WriteBatch

SOON_S = 20.0


@pytest.fixture(params=["memory", "lmdb"])
def db(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docdb.Database]:
    """Give a database in each engine; every commit is worth it, and every callback quick."""
    monkeypatch.setattr(stores, "WORTH_S", 0.0)
    monkeypatch.setattr(delivery, "SLOW_S", SOON_S)
    with docdb.open({"memory": ":memory:", "lmdb": tmp_path / "d"}[request.param], sweep_s=None) as database:
        database["a"].insert_one({"_id": 0, "k": 1})
        yield database


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.001)


def rested(db: docdb.Database) -> None:
    """Wait until all is told, and a thread rests that can make snapshots ahead."""
    hub = db._store.hub

    def at_rest() -> bool:
        idle = not any(lane.working or lane.work for lane in hub._lanes) and hub._at_rest() is not None
        return idle and not any(w._scheduled or w._feed.pending or w._probation for w in hub.router.watchers)

    wait_for(at_rest)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have each commit wait for the snapshots that are being made ahead of it; return the numbers of those commits."""
    found: list[int] = []
    foretell, finish = LiveQuery.foretell, WriteBatch.finish

    def noting(self: LiveQuery[Any], commit: int, changes: Any) -> bool:
        done = foretell(self, commit, changes)
        if done:
            found.append(commit)
        return done

    def patient(self: WriteBatch) -> None:
        original = self._foretell

        def slow(batch: WriteBatch) -> None:
            assert original is not None
            original(batch)
            until = time.monotonic() + (2.0 if batch.forecast is not None and batch.forecast.offers else 0.0)
            while batch.state.last_commit not in found and time.monotonic() < until:
                time.sleep(0.0005)

        self._foretell = slow if original is not None else None
        finish(self)

    monkeypatch.setattr(LiveQuery, "foretell", noting)
    monkeypatch.setattr(WriteBatch, "finish", patient)
    return found


def test_a_snapshot_is_made_before_and_told_behind_the_commit(db: docdb.Database, ahead: list[int]) -> None:
    came: list[tuple[int, bool]] = []

    def note(snapshot: Any) -> None:
        came.append((snapshot.commit, all(db["a"].find_one({"_id": doc["_id"]}) == doc for doc in snapshot.docs)))

    with db["a"].where({"k": 1}).watch(note) as watcher:
        wait_for(lambda: len(came) == 1)
        for n in range(1, 11):
            rested(db)
            db["a"].insert_one({"_id": n, "k": 1})
            wait_for(lambda n=n: len(came) == n + 1)  # type: ignore[misc]
        assert came == [(n, True) for n in range(1, 12)]
        assert ahead == list(range(2, 12))
        wait_for(lambda: watcher._feed.pending is None)


def test_the_position_does_not_run_ahead(db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[Any] = []
    seen: list[tuple[str, str]] = []
    foretell = Watcher.foretell

    def noting(self: Watcher[Any], commit: Any) -> None:
        before = self.position
        foretell(self, commit)
        seen.append((before, self.position))

    monkeypatch.setattr(Watcher, "foretell", noting)
    with db["a"].where({"k": 1}).watch(came.append) as watcher:
        wait_for(lambda: len(came) == 1)
        rested(db)
        first = watcher.position
        db["a"].insert_one({"_id": 1, "k": 1})
        wait_for(lambda: len(came) == 2 and len(seen) == 1)
        assert seen == [(first, first)]
        assert watcher.position == came[1].position != first


def last_commit(db: docdb.Database) -> int:
    with db._store.snapshot() as snapshot:
        return newest(snapshot)[0]


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[], bool]) -> None:
    """Have commits fail, as they do on a full disk, when all is put and the feeds know of them."""
    finish = WriteBatch.finish

    def broken(self: WriteBatch) -> None:
        original = self._foretell

        def strike(batch: WriteBatch) -> None:
            assert original is not None
            original(batch)
            time.sleep(0.001)
            if fails():
                raise StorageError("the disk is full")

        self._foretell = strike if original is not None else None
        finish(self)

    monkeypatch.setattr(WriteBatch, "finish", broken)


def test_a_commit_that_fails_is_not_told(db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[Any] = []
    with db["a"].where({"k": 1}).order_by("k").limit(5).watch(came.append):
        wait_for(lambda: len(came) == 1)
        rested(db)
        with monkeypatch.context() as patch:
            failing(patch, lambda: True)
            with pytest.raises(StorageError):
                db["a"].insert_one({"_id": 1, "k": 1})
        assert ahead == [2] or ahead == [2, 2]
        rested(db)
        db["a"].insert_one({"_id": 2, "k": 1})
        wait_for(lambda: len(came) == 2)
        assert [doc["_id"] for doc in came[1].docs] == [0, 2]
        assert [(change.queue_type, change.doc_id) for change in came[1].doc_changes] == [("enqueue", 2)]
        assert (came[1].id, came[1].coalesced, came[1].commit) == (1, False, 2)


def test_many_changes_that_fail_cost_a_full_window_nothing(
    db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []
    with db["a"].where({"k": 1}).order_by("n", "desc").limit(1).watch(came.append):
        for first in (1, 17):  # as many rows as a window of one may hold
            rested(db)
            db["a"].insert_many([{"_id": n, "k": 1, "n": n} for n in range(first, first + 16)])
        rested(db)
        told = len(came)
        with monkeypatch.context() as patch:
            failing(patch, lambda: True)
            with pytest.raises(StorageError):
                db["a"].insert_many([{"_id": n, "k": 1, "n": n} for n in range(100, 140)])
        rested(db)
        assert len(came) == told
        db["a"].insert_one({"_id": 100, "k": 1, "n": 100})
        wait_for(lambda: len(came) > told)
        assert (came[-1].id, came[-1].coalesced, [doc["_id"] for doc in came[-1].docs]) == (told, False, [100])


def test_who_is_asked_to_refresh_tells_nothing_from_before(
    db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []
    watchers: list[Any] = []
    foretell = Watcher.foretell

    def refreshed(self: Watcher[Any], commit: Any) -> None:
        foretell(self, commit)
        watchers[0].refresh()

    monkeypatch.setattr(Watcher, "foretell", refreshed)
    with db["a"].where({"k": 1}).watch(came.append) as watcher:
        watchers.append(watcher)
        wait_for(lambda: len(came) == 1)
        rested(db)
        db["a"].insert_one({"_id": 1, "k": 1})
        wait_for(lambda: len(came) == 2)
        assert ahead == [2]
        assert came[1].coalesced
        assert [(change.queue_type, change.doc_id) for change in came[1].doc_changes] == [("enqueue", 1)]


class Owners:
    """Shows the documents of some owners; a ``sessions.live.Constraint``."""

    steady = True

    def __init__(self, *owners: str) -> None:
        self.owners = owners

    def constrain(self, name: str, query: FindQuery, snapshot: Any) -> FindQuery:
        return query._replace(node=filters.parse({"owner": {"$in": [*self.owners]}}))

    def watched(self) -> list[str]:
        return []

    def is_alike(self, left: Any, right: Any) -> bool:
        return False

    def due_s(self) -> None:
        return None

    def seal(self, commit: int) -> str:
        return "sealed"


def test_who_may_see_more_meanwhile_misses_nothing(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out for a query before it was registered under another filter is not all that concerns it now."""
    db["a"].insert_many([{"_id": 1, "owner": "ann"}, {"_id": 2, "owner": "bob"}])
    came: list[Any] = []
    rules, changed = Owners("ann"), threading.Event()
    query = db._session.feeds.live("a", FindQuery(filter={}, node=filters.parse({})), constraint=rules)
    query.begin()
    reserve, finish = Watcher.reserve, WriteBatch.finish

    def refreshed(self: Watcher[Any]) -> bool:
        rules.owners = "ann", "bob"
        self.refresh()
        wait_for(lambda: len(came) == 2 and not self._scheduled)
        monkeypatch.setattr(Watcher, "reserve", reserve)
        try:
            return self.reserve()
        finally:
            changed.set()

    def patient(self: WriteBatch) -> None:
        original = self._foretell
        assert original is not None
        self._foretell = lambda batch: (original(batch), changed.wait(SOON_S))[0]
        finish(self)

    with Watcher(query.router, query, came.append) as watcher:
        watcher.start()
        wait_for(lambda: len(came) == 1)
        rested(db)
        monkeypatch.setattr(Watcher, "reserve", refreshed)
        monkeypatch.setattr(WriteBatch, "finish", patient)
        db["a"].insert_many([{"_id": 3, "owner": "ann"}, {"_id": 4, "owner": "bob"}])
        wait_for(lambda: len(came) == 3)
        assert [[doc["_id"] for doc in snapshot.docs] for snapshot in came] == [[1], [1, 2], [1, 2, 3, 4]]


def test_who_is_closed_meanwhile_is_not_called(
    db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []
    watchers: list[Any] = []
    foretell = Watcher.foretell

    def closed(self: Watcher[Any], commit: Any) -> None:
        foretell(self, commit)
        watchers[0].close()

    monkeypatch.setattr(Watcher, "foretell", closed)
    with db["a"].where({"k": 1}).watch(came.append) as watcher, db["a"].where({"k": 2}).watch():
        watchers.append(watcher)
        wait_for(lambda: len(came) == 1)
        rested(db)
        db["a"].insert_one({"_id": 1, "k": 1})
        rested(db)
        assert ahead == [2]
        assert len(came) == 1
    wait_for(lambda: db._store.hub._held == 0)


def test_one_that_blocks_keeps_no_other_waiting(db: docdb.Database, ahead: list[int]) -> None:
    release = threading.Event()
    came: list[list[Any]] = [[], [], []]

    def noting(at: int) -> Callable[[Any], None]:
        def note(snapshot: Any) -> None:
            came[at].append(snapshot.commit)
            if at == 0 and snapshot.id:
                release.wait(SOON_S)

        return note

    watchers = [db["a"].where({"k": 1}).watch(noting(at)) for at in range(3)]
    try:
        wait_for(lambda: all(found == [1] for found in came))
        rested(db)
        db["a"].insert_one({"_id": 1, "k": 1})
        wait_for(lambda: all(found == [1, 2] for found in came))
        assert ahead
        db["a"].insert_one({"_id": 2, "k": 1})
        wait_for(lambda: came[1:] == [[1, 2, 3]] * 2)
    finally:
        release.set()
        for watcher in watchers:
            watcher.close()


def test_what_breaks_ahead_is_logged_and_the_query_asked(
    db: docdb.Database, ahead: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    came: list[Any] = []

    def broken(turn: Any, commit: int, *_: Any) -> Any:
        ahead.append(commit)  # which the writer waits for
        raise ZeroDivisionError

    monkeypatch.setattr("docdb.feeds.live._Foretold", broken)
    with db["a"].where({"k": 1}).watch(came.append):
        wait_for(lambda: len(came) == 1)
        rested(db)
        db["a"].insert_one({"_id": 1, "k": 1})
        wait_for(lambda: len(came[-1]) == 2)
        assert ahead == [2]
        wait_for(lambda: "ahead of a commit" in caplog.text)


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("seed", range(4))
def test_it_tells_what_the_query_finds_at_each_commit(
    db: docdb.Database, limit: int | None, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random writes, some of which fail in front of their commit."""
    chance, came = random.Random(seed), dict[int, list[int]]()
    query = db["a"].where({"k": 1}).order_by("n")
    query = query if limit is None else query.skip(1).limit(limit)
    ids: list[int] = []

    def note(snapshot: Any) -> None:
        ids.append(snapshot.id)
        assert not snapshot.coalesced
        came[snapshot.commit] = [doc["_id"] for doc in snapshot.docs]

    failing(monkeypatch, lambda: chance.random() < 0.2)
    expected: dict[int, list[int]] = {}
    with query.watch(note):
        wait_for(lambda: len(came) == 1)
        last = came[1]
        for step in range(80):
            if chance.random() < 0.8:
                rested(db)
            id = chance.randrange(12)
            try:
                if chance.random() < 0.3:
                    db["a"].delete_one({"_id": id})
                else:
                    db["a"].replace_one(
                        {"_id": id}, {"k": chance.randrange(2), "n": chance.randrange(6), "step": step}, upsert=True
                    )
            except StorageError:
                pass
            expected[last_commit(db)] = [doc["_id"] for doc in query.get().data]
        wait_for(lambda: not db._store.hub.router.stats()["waiting_commits"])
        rested(db)
    assert ids == list(range(len(ids)))
    shown = last
    for commit in sorted(expected):
        shown = came.get(commit, shown)
        assert shown == expected[commit], commit
    assert len(came) > 20


@pytest.mark.parametrize("native", [True, False])
def test_a_herald_tells_the_first_outcome(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell.in_process()
    if not native:
        from docdb.engine import bell as bells

        bell._form = bells._Condition()
    for landed in (True, False):
        herald = bell.herald(7 + landed)
        assert herald is not None
        assert not herald.wait(0.001)
        seen = bell.value()
        threading.Timer(0.01, herald.tell, [landed]).start()
        assert herald.wait(SOON_S) is landed or not landed
        wait_for(lambda herald=herald, landed=landed: herald.wait(0.0) is landed)  # type: ignore[misc]
        herald.tell(not landed)
        assert herald.wait(0.0) is landed
        assert bell.value() == (7 + landed if landed else seen)
