"""Callbacks are prepared while another process flushes its commit, and run when it has landed: never before, never twice, never for what failed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.engine import bell as bells
from docdb.feeds import delivery
from docdb.feeds.live import LiveQuery
from docdb.store import store as stores

SOON_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    isinstance(bells._form(), bells._Condition), reason="processes are not rung without a futex"
)

# Writes what it is told, line by line; says when each is done. Behind a notice it leaves others some time.
WRITER = """
    import json, os, random, signal, sys, time, docdb
    from docdb.store import store
    from docdb.store.batch import WriteBatch
    from docdb.errors import StorageError
    store.WORTH_S = 0.0
    db = docdb.open(sys.argv[1])
    c = db["a"]
    patience_s, how = float(sys.argv[2]), ""

    def finish(self, original=WriteBatch.finish):
        foretell = self._foretell

        def patient(batch):
            foretell(batch)
            time.sleep(patience_s)
            if how == "fail":
                raise StorageError("the disk is full")
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)

        self._foretell = patient
        original(self)

    WriteBatch.finish = finish
    print("here", flush=True)
    for line in sys.stdin:
        how, id, k = json.loads(line)
        try:
            c.replace_one({"_id": id}, {"k": k, "n": id % 5}, upsert=True)
        except StorageError:
            pass
        print("done", flush=True)
    db.close()
"""
# Writes on its own, as quick as it can.
BUSY = """
    import random, sys, docdb
    from docdb.store import store
    store.WORTH_S = 0.0
    chance = random.Random(int(sys.argv[2]))
    with docdb.open(sys.argv[1]) as db:
        for n in range(int(sys.argv[3])):
            id = chance.randrange(12)
            if chance.random() < 0.3:
                db["a"].delete_one({"_id": id})
            else:
                db["a"].replace_one({"_id": id}, {"k": chance.randrange(2), "n": chance.randrange(6), "of": n}, upsert=True)
"""


class Writer:
    """A process that writes when it is told."""

    def __init__(self, folder: Path, patience_s: float = 0.01) -> None:
        self.process = start(WRITER, folder, patience_s)
        self._hear("here")

    def write(self, id: int, k: int, how: str = "") -> None:
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(f'["{how}", {id}, {k}]\n')
        stdin.flush()
        if how != "die":
            self._hear("done")

    def _hear(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.001)


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docdb.Database]:
    monkeypatch.setattr(stores, "WORTH_S", 0.0)
    monkeypatch.setattr(delivery, "SLOW_S", SOON_S)
    with docdb.open(tmp_path / "d", sweep_s=None) as database:
        database["a"].insert_one({"_id": 0, "k": 1, "n": 0})
        yield database


@pytest.fixture
def writer(db: docdb.Database) -> Iterator[Writer]:
    made = Writer(Path(db.path))
    try:
        yield made
    finally:
        made.process.communicate(timeout=SOON_S)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the commits for which snapshots are made ahead."""
    found: list[int] = []
    foretell = LiveQuery.foretell

    def noting(self: LiveQuery[Any], commit: int, changes: Any) -> bool:
        done = foretell(self, commit, changes)
        if done:
            found.append(commit)
        return done

    monkeypatch.setattr(LiveQuery, "foretell", noting)
    return found


def asks(db: docdb.Database) -> bool:
    """Tell whether the hub sleeps, and has asked for notices."""
    hub = db._store.hub
    at_work = any(lane.working or lane.work for lane in hub._lanes)
    eager = db._store.bell._form.asked(db._store.bell._memory, 0)  # which takes the wish back
    return not at_work and hub._seen_id == db._store.engine.last_id() and eager


def test_a_snapshot_is_made_before_and_told_behind_the_commit_of_another(
    db: docdb.Database, writer: Writer, ahead: list[int]
) -> None:
    came: list[tuple[int, int, list[Any], bool]] = []

    def note(snapshot: Any) -> None:
        ids = [doc["_id"] for doc in snapshot.docs]
        visible = all(db["a"].find_one({"_id": doc["_id"]}) == doc for doc in snapshot.docs)
        came.append((snapshot.id, snapshot.commit, ids, visible and not snapshot.coalesced))

    with db["a"].where({"k": 1}).watch(note):
        wait_for(lambda: len(came) == 1)
        for n in range(1, 11):
            wait_for(lambda: asks(db))
            time.sleep(0.1)  # it asks anew with each look
            writer.write(n, 1)
            wait_for(lambda n=n: len(came) == n + 1)  # type: ignore[misc]
        assert came == [(n, n + 1, [*range(n + 1)], True) for n in range(11)]
        assert len(ahead) == len(set(ahead)) >= 5
        wait_for(lambda: not db._store.hub.router.stats()["waiting_commits"])


def test_a_commit_of_another_that_fails_is_not_told(db: docdb.Database, writer: Writer, ahead: list[int]) -> None:
    came: list[Any] = []
    with db["a"].where({"k": 1}).order_by("n").limit(5).watch(came.append):
        wait_for(lambda: len(came) == 1)
        for n in range(1, 6):
            time.sleep(0.1)
            writer.write(100 + n, 1, "fail")
            time.sleep(0.1)
            assert len(came) == n
            writer.write(n, 1)
            wait_for(lambda n=n: len(came) == n + 1)  # type: ignore[misc]
        assert [snapshot.id for snapshot in came] == [*range(6)]
        assert not any(snapshot.coalesced for snapshot in came)
        assert [doc["_id"] for doc in came[-1].docs] == [0, 5, 1, 2, 3]
        assert len(ahead) > len(set(ahead)), "the same number was made ahead for one that failed, and one that did not"


def test_a_writer_that_is_killed_with_its_notice_posted_is_not_believed(
    db: docdb.Database, ahead: list[int], tmp_path: Path
) -> None:
    came: list[Any] = []
    with db["a"].where({"k": 1}).watch(came.append):
        wait_for(lambda: len(came) == 1)
        for n in range(1, 4):
            killed = Writer(tmp_path / "d", 0.05)
            time.sleep(0.1)
            killed.write(100 + n, 1, "die")
            assert killed.process.wait(SOON_S) == -signal.SIGKILL
            killed.process.communicate()
            foretold = len(ahead)
            db["a"].insert_one({"_id": n, "k": 1, "n": n})
            wait_for(lambda n=n: len(came) == n + 1)  # type: ignore[misc]
            assert [doc["_id"] for doc in came[-1].docs] == [*range(n + 1)]
            assert foretold
        assert [(snapshot.id, snapshot.coalesced) for snapshot in came] == [(n, False) for n in range(4)]


def test_who_is_asked_to_refresh_tells_nothing_from_before(
    db: docdb.Database, writer: Writer, ahead: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []
    watchers: list[Any] = []
    foretell = delivery.Watcher.foretell

    def refreshed(self: delivery.Watcher[Any], commit: Any) -> None:
        foretell(self, commit)
        watchers[0].refresh()

    monkeypatch.setattr(delivery.Watcher, "foretell", refreshed)
    with db["a"].where({"k": 1}).watch(came.append) as watcher:
        watchers.append(watcher)
        wait_for(lambda: len(came) == 1)
        for n in range(1, 6):
            time.sleep(0.1)
            writer.write(n, 1)
            wait_for(lambda n=n: [doc["_id"] for doc in came[-1].docs] == [*range(n + 1)])  # type: ignore[misc]
        assert ahead
        assert sum(snapshot.coalesced for snapshot in came) >= len(ahead)


def test_a_commit_lands_whose_notice_cannot_be_posted(db: docdb.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def broken(*arguments: Any) -> int:
        tried.append(arguments)
        raise MemoryError

    monkeypatch.setattr(bells.notices, "post", broken)
    bell = db._store.bell
    bell._form.wait(bell._memory, bell.value(), 1_000_000, array("I", [0, 1, 0]), ~bells._own & 0xFFFFFFFF, True)
    db["a"].insert_one({"_id": 1, "k": 1, "n": 0})
    assert tried
    assert db["a"].count_documents({}) == 2


def test_streams_and_slow_callbacks_hear_beside_a_prepared_one(
    db: docdb.Database, writer: Writer, ahead: list[int]
) -> None:
    came: list[Any] = []
    with (
        db["a"].where({"k": 1}).watch(came.append),
        db["a"].changes() as stream,
        db["a"].where({"k": 1}).watch() as live,
    ):
        assert live.next(SOON_S).id == 0
        wait_for(lambda: len(came) == 1)
        for n in range(1, 6):
            time.sleep(0.1)
            writer.write(n, 1)
            assert stream.next(SOON_S).id == n
            assert [doc["_id"] for doc in live.next(SOON_S).docs] == [*range(n + 1)]
            wait_for(lambda n=n: len(came) == n + 1)  # type: ignore[misc]
        assert ahead


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_is_what_the_log_says_while_three_processes_write(
    db: docdb.Database, seed: int, ahead: list[int]
) -> None:
    collection = db["a"]
    queries = [
        collection.where({"k": 1}).order_by("n"),
        collection.where({"k": 1}).order_by("n").skip(1).limit(3),
        collection.where({"n": {"$gte": 2}}).order_by("n", "desc").limit(2),
    ]
    told: list[list[tuple[int, int, list[Any]]]] = [[] for _ in queries]

    def noting(at: int) -> Callable[[Any], None]:
        def note(snapshot: Any) -> None:
            assert not snapshot.coalesced
            told[at].append((snapshot.id, snapshot.commit, [doc["_id"] for doc in snapshot.docs]))

        return note

    watchers = [query.watch(noting(at)) for at, query in enumerate(queries)]
    wait_for(lambda: all(told))
    others = [start(BUSY, db.path, seed * 10 + n, 150) for n in range(2)]
    for n in range(60):
        collection.replace_one({"_id": 20 + n % 7}, {"k": n % 2, "n": n % 6}, upsert=True)
        time.sleep(0.002)
    assert [other.communicate(timeout=SOON_S) and other.returncode for other in others] == [0, 0]
    hub = db._store.hub
    wait_for(lambda: hub._seen_id == db._store.engine.last_id() and not hub.router.stats()["waiting_commits"])
    wait_for(lambda: not any(watcher._scheduled or watcher._feed.pending for watcher in watchers))
    assert all(watcher.alive for watcher in watchers)
    for watcher in watchers:
        watcher.close()

    shown: list[list[Any]] = [[] for _ in queries]
    by_commit = [{commit: ids for _, commit, ids in found} for found in told]
    with docdb.open(":memory:") as replica:
        copies = [
            replica["a"].where({"k": 1}).order_by("n"),
            replica["a"].where({"k": 1}).order_by("n").skip(1).limit(3),
            replica["a"].where({"n": {"$gte": 2}}).order_by("n", "desc").limit(2),
        ]
        changes = iter(db["a"].changes(from_="oldest").try_next, None)
        for commit, group in itertools.groupby(changes, lambda change: change.commit):
            for change in group:
                if change.after is None:
                    replica["a"].delete_one({"_id": change.id})
                else:
                    replica["a"].replace_one({"_id": change.id}, change.after, upsert=True)
            for at, copy in enumerate(copies):
                shown[at] = by_commit[at].get(commit, shown[at])
                assert shown[at] == [doc["_id"] for doc in copy.get().data], (at, commit)
    for found in told:
        assert [id for id, _, _ in found] == [*range(len(found))]
        assert [commit for _, commit, _ in found] == sorted({commit for _, commit, _ in found})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_writes_into_a_memory_of_its_own(tmp_path: Path) -> None:
    script = """
        import os, time, docdb
        from docdb.store import store
        store.WORTH_S = 0.0
        db, came = docdb.open(":memory:"), []
        db["a"].insert_one({"_id": -1})
        with db["a"].where({}).watch(came.append):
            while not (came and db._store.hub._eager):
                time.sleep(0.001)
            time.sleep(0.1)
            pid = os.fork()
            if pid == 0:
                for n in range(5):
                    db["a"].insert_one({"_id": n})
                    time.sleep(0.06)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(code, [snapshot.docs for snapshot in came], db["a"].count_documents({}), flush=True)
    """
    parent = start("import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(script))
    assert parent.communicate(timeout=SOON_S)[0] == "0 [[{'_id': -1}]] 1\n"
