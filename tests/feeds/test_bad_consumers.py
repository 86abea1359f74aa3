"""Consumers that block, fail, never read or are forgotten: the writer, the other consumers and the file are as if they were not there.

Everything is counted: commits made while the consumer hangs, snapshots and changes that the others got, pages of the file, snapshots left open.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import docdb

SOON_S = 30.0
DOCUMENTS = 50
OPTIONS: Any = {
    "durability": "relaxed",
    "history_bytes": 100_000,
}  # a short history: the file stays as large as its documents
COMMITS = 200  # in each half
MOST_GROWTH = 100  # pages of the second half; a snapshot held from the beginning costs a commit eight


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test fails when it is not soon."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


class Loop:
    """An event loop on a thread of its own, and what has been made on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SOON_S)

    def end(self) -> None:
        async def cancel_all() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.do(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SOON_S)
        self.loop.close()


class Bad:
    """What a bad consumer may hold, and how often it was called."""

    def __init__(self, db: docdb.Database) -> None:
        self.db = db
        self.everything = db["a"].where({})
        self.free = threading.Event()
        self.calls: list[int] = []
        self.errors: list[BaseException] = []
        self.held: list[Any] = []
        self.ends: list[Callable[[], Any]] = [self.free.set]

    def block(self, snapshot: Any) -> None:
        self.calls.append(snapshot.id)
        self.free.wait(SOON_S)

    def fail(self, snapshot: Any) -> None:
        self.calls.append(snapshot.id)
        raise ValueError("no")

    def fail_again(self, error: BaseException) -> None:
        self.errors.append(error)
        raise error

    def block_on(self, error: BaseException) -> None:
        self.errors.append(error)
        self.free.wait(SOON_S)

    def in_loop(self, make: Callable[[docdb.aio.AsyncDatabase], Any]) -> Any:
        """Make a consumer in a running loop, with an asynchronous database of the same file."""
        loop = Loop()
        found: list[Any] = []

        async def begin() -> Any:
            found.append(await docdb.aio.open(self.db.path, **OPTIONS))
            return await make(found[0])

        self.ends += [lambda: loop.do(found[0].close()), loop.end]
        return loop.do(begin())


def _blocked(bad: Bad) -> None:
    bad.held.append(bad.everything.watch(on_change=bad.block))


def _three_blocked(bad: Bad) -> None:
    bad.held += [bad.everything.order_by("n").limit(3).watch(on_change=bad.block) for _ in range(3)]


def _slow(bad: Bad) -> None:
    def note(snapshot: Any) -> None:
        bad.calls.append(snapshot.id)
        bad.free.wait(0.02)

    bad.held.append(bad.everything.watch(on_change=note))


def _raising(bad: Bad) -> None:
    bad.held += [
        bad.everything.watch(on_change=bad.fail),
        bad.everything.watch(on_change=bad.fail, on_error=bad.fail_again),
    ]


def _blocked_in_its_error(bad: Bad) -> None:
    bad.held.append(bad.everything.watch(on_change=bad.fail, on_error=bad.block_on))


def _unread(bad: Bad) -> None:
    bad.held += [
        bad.everything.watch(),
        bad.everything.order_by("n").skip(1).limit(3).watch(),
        bad.db["a"].doc(1).watch(),
    ]


def _read_once(bad: Bad) -> None:
    query = bad.everything.watch()
    bad.calls.append(next(iter(query)).id)
    bad.held.append(query)


def _stream_unread(bad: Bad) -> None:
    bad.held += [bad.db["a"].changes(), bad.db.changes(from_="oldest"), bad.db["a"].watch()]


def _stream_read_once(bad: Bad) -> None:
    stream = bad.db.changes(from_="oldest")
    assert stream.try_next() is not None
    bad.held.append(stream)


def _leaked(bad: Bad) -> None:
    """Nobody holds them: the watcher goes on by itself, what is iterated goes away."""
    bad.everything.watch(on_change=lambda snapshot: bad.calls.append(snapshot.id))
    bad.everything.watch()
    bad.db["a"].changes()


def _blocked_coroutine(bad: Bad) -> None:
    async def never(snapshot: Any) -> None:
        bad.calls.append(snapshot.id)
        await asyncio.Event().wait()

    async def make(db: docdb.aio.AsyncDatabase) -> Any:
        return db["a"].watch(on_change=never)

    bad.held.append(bad.in_loop(make))


def _blocked_loop(bad: Bad) -> None:
    """A function that blocks its event loop, and all who live on it."""

    async def make(db: docdb.aio.AsyncDatabase) -> Any:
        # Later: this coroutine must have told its result before the loop is blocked.
        asyncio.get_running_loop().call_later(0.1, lambda: bad.held.append(db["a"].watch(on_change=bad.block)))

    bad.in_loop(make)
    wait_for(lambda: bool(bad.calls))


def _unread_asynchronous(bad: Bad) -> None:
    async def make(db: docdb.aio.AsyncDatabase) -> Any:
        query = db["a"].where({}).watch()
        await query.next()
        return [query, db["a"].where({}).watch(), db["a"].changes(), db["a"].doc(1).watch()]

    bad.held.append(bad.in_loop(make))


KINDS = [
    _blocked, _blocked_coroutine, _blocked_in_its_error, _blocked_loop, _leaked, _raising, _read_once, _slow, _stream_read_once, _stream_unread, _three_blocked,
    _unread, _unread_asynchronous,
]  # fmt: skip


@contextmanager
def opened(path: Path) -> Iterator[docdb.Database]:
    """Give a database with documents of a page each."""
    with docdb.open(path, **OPTIONS) as db:
        db["a"].insert_many([{"_id": n, "n": n, "text": "x" * 1_500} for n in range(DOCUMENTS)])
        yield db


class Others:
    """Consumers as they should be: one with a callback, one that iterates, a change stream."""

    def __init__(self, db: docdb.Database) -> None:
        self.seen: list[Any] = []
        self.read: list[Any] = []
        self.changes: list[Any] = []
        self.query = db["a"].where({}).watch()
        self.stream = db["a"].changes(operations="update")
        self.watcher = db["a"].where({}).watch(on_change=self.seen.append)
        self.threads = [
            threading.Thread(target=taking, daemon=True)
            for taking in (lambda: self.read.extend(self.query), lambda: self.changes.extend(self.stream))
        ]
        for thread in self.threads:
            thread.start()

    def have(self, commits: int) -> bool:
        return (len(self.seen), len(self.read), len(self.changes)) == (commits + 1, commits + 1, commits)

    def end(self) -> None:
        for feed in (self.query, self.stream, self.watcher):
            feed.close()
        for thread in self.threads:
            thread.join(SOON_S)


def write(db: docdb.Database, begin: int, others: Others) -> int:
    """Overwrite documents, one commit each, not faster than the good consumers read; return the pages of the file."""
    for n in range(begin, begin + COMMITS):
        db["a"].update_one({"_id": n % DOCUMENTS}, {"$set": {"n": n + DOCUMENTS}})
        if n % 10 == 9:
            wait_for(lambda n=n: others.have(n + 1))  # type: ignore[misc]
    wait_for(lambda: db.stats()["storage"]["readers"] == 0)
    pages: int = db.stats()["storage"]["pages"]
    return pages


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[1:])
def test_nobody_else_notices(tmp_path: Path, kind: Callable[[Bad], None]) -> None:
    with opened(tmp_path / "d") as db:
        bad = Bad(db)
        others = Others(db)
        kind(bad)
        gc.collect()
        try:
            half = write(db, 0, others)
            whole = write(db, COMMITS, others)
            assert whole - half <= MOST_GROWTH
            assert [snapshot.id for snapshot in others.seen] == list(range(2 * COMMITS + 1))
            assert not any(snapshot.coalesced for snapshot in [*others.seen, *others.read])
            assert [change.after["n"] for change in others.changes] == [n + DOCUMENTS for n in range(2 * COMMITS)]
            assert db.stats()["feeds"]["live_queries"]["waiting_bytes"] <= 4 * 4 * 2**20
        finally:
            others.end()
            for end in bad.ends:
                end()


def test_a_snapshot_that_is_held_makes_the_file_grow(tmp_path: Path) -> None:
    """The test above would see it."""
    with opened(tmp_path / "d") as db, db.snapshot() as view:
        assert view["a"].count_documents({}) == DOCUMENTS
        pages = []
        for begin in (0, COMMITS):
            for n in range(begin, begin + COMMITS):
                db["a"].update_one({"_id": n % DOCUMENTS}, {"$set": {"n": n + DOCUMENTS}})
            pages.append(db.stats()["storage"]["pages"])
        assert pages[1] - pages[0] > 4 * MOST_GROWTH


def test_a_blocked_callback_is_called_for_what_it_missed(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as db:
        bad = Bad(db)
        _blocked(bad)
        wait_for(lambda: bad.calls == [0])
        for n in range(20):
            db["a"].update_one({"_id": 1}, {"$set": {"n": -n}})
        assert bad.calls == [0]
        bad.free.set()
        wait_for(lambda: bad.calls == list(range(21)))


def test_who_failed_is_called_no_more(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as db:
        bad = Bad(db)
        watcher = bad.everything.watch(on_change=bad.fail, on_error=bad.fail_again)
        wait_for(lambda: not watcher.alive)
        others = Others(db)
        write(db, 0, others)
        others.end()
        assert (bad.calls, [str(error) for error in bad.errors]) == ([0], ["no"])
        assert db.stats()["feeds"]["live_queries"]["open"] == 0


def test_a_leaked_watcher_goes_on_and_ends_with_the_database(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as db:
        bad = Bad(db)
        _leaked(bad)
        gc.collect()
        db["a"].update_one({"_id": 1}, {"$set": {"n": -1}})
        wait_for(lambda: bad.calls == [0, 1])
        wait_for(lambda: db.stats()["feeds"]["live_queries"]["open"] == 1)
        wait_for(lambda: db.stats()["feeds"]["change_streams"] == 0)
    time.sleep(0.05)
    assert bad.calls == [0, 1]
