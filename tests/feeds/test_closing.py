"""``close()`` from anywhere: another thread, inside a callback, while iterating, from an event loop, inside a transaction; and the end of the database."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb

SOON_S = 20.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[docdb.Database]:
    """Give a database on disk."""
    with docdb.open(tmp_path / "d", durability="relaxed") as database:
        database["a"].insert_many([{"_id": n} for n in range(3)])
        yield database


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test fails when it is not soon."""
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.002)


def nothing_is_left(db: docdb.Database) -> None:
    """Wait until no feed, no thread of one and no snapshot is left."""
    wait_for(lambda: db.stats()["feeds"]["live_queries"]["open"] == 0 == db.stats()["feeds"]["change_streams"])
    wait_for(lambda: not any(thread.name == "docdb-feeds" for thread in threading.enumerate()))
    wait_for(lambda: db.stats()["storage"]["readers"] == 0)


FEEDS: dict[str, Callable[[docdb.Database], Any]] = {
    "live query": lambda db: db["a"].where({}).watch(),
    "window": lambda db: db["a"].where({}).order_by("_id").limit(2).watch(),
    "one document": lambda db: db["a"].doc(1).watch(),
    "change stream": lambda db: db["a"].changes(),
    "change stream of all": lambda db: db.changes(),
    "documents of changes": lambda db: db["a"].watch([{"$match": {}}]),
}
every_feed = pytest.mark.parametrize("make", FEEDS.values(), ids=FEEDS)


@every_feed
def test_before_it_is_read(db: docdb.Database, make: Any) -> None:
    feed = make(db)
    feed.close()
    feed.close()
    db["a"].insert_one({})
    assert (feed.alive, feed.try_next(), list(feed)) == (False, None, [])
    with pytest.raises(StopIteration):
        feed.next(SOON_S)
    nothing_is_left(db)


@every_feed
def test_while_iterating(db: docdb.Database, make: Any) -> None:
    """Inside the loop, with more to come: the loop ends behind its body."""
    feed = make(db)
    db["a"].delete_one({"_id": 1})
    db["a"].insert_one({"_id": 1})
    turns = 0
    for _item in feed:
        turns += 1
        feed.close()
    assert turns == 1
    nothing_is_left(db)


@every_feed
def test_from_another_thread_while_it_is_waited_for(db: docdb.Database, make: Any) -> None:
    feed = make(db)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(len(list(feed))), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    db["a"].delete_one({"_id": 1})
    wait_for(lambda: feed.try_next() is None)
    feed.close()
    for thread in threads:
        thread.join(SOON_S)
    assert len(found) == 2
    nothing_is_left(db)


@every_feed
def test_by_its_block(db: docdb.Database, make: Any) -> None:
    with pytest.raises(KeyError), make(db) as feed:
        raise KeyError
    assert not feed.alive
    nothing_is_left(db)


@every_feed
def test_inside_a_transaction_and_an_update(db: docdb.Database, make: Any) -> None:
    feed = make(db)
    with db.transaction() as t:
        t["a"].doc(1).update({"n": 1})
        feed.close()
    assert db["a"].find_one({"_id": 1}) == {"_id": 1, "n": 1}
    nothing_is_left(db)


@every_feed
def test_from_many_threads_amid_writes(db: docdb.Database, make: Any) -> None:
    """Each feed is closed by three threads while it is read and written to; no one hangs, nothing is left."""
    for turn in range(15):
        feed = make(db)
        threads = [threading.Thread(target=feed.close, daemon=True) for _ in range(3)]
        reader = threading.Thread(target=lambda feed=feed: list(feed), daemon=True)
        reader.start()
        db["a"].update_one({"_id": 1}, {"$set": {"n": turn}})
        for thread in threads:
            thread.start()
        for thread in [reader, *threads]:
            thread.join(SOON_S)
            assert not thread.is_alive()
    nothing_is_left(db)


@every_feed
def test_from_an_event_loop_that_iterates(db: docdb.Database, make: Any) -> None:
    async def main() -> int:
        feed, turns = make(db), 0
        db["a"].delete_one({"_id": 1})
        async for _item in feed:
            turns += 1
            feed.close()
        return turns

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == 1
    nothing_is_left(db)


@every_feed
@pytest.mark.parametrize("where", ["the loop", "a task", "a thread"])
def test_wakes_a_task_that_waits(db: docdb.Database, make: Any, where: str) -> None:
    async def main() -> list[Any]:
        feed = make(db)
        while feed.try_next() is not None:
            pass

        async def read() -> list[Any]:
            return [item async for item in feed]

        async def close() -> None:
            feed.close()

        async def close_soon() -> None:
            asyncio.get_running_loop().call_soon(feed.close)

        tasks = [asyncio.create_task(read()) for _ in range(2)]
        await asyncio.sleep(0.01)
        await {"the loop": close_soon, "a task": close, "a thread": lambda: asyncio.to_thread(feed.close)}[where]()
        return await asyncio.gather(*tasks)

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == [[], []]
    nothing_is_left(db)


# Callbacks


def test_a_watcher_inside_its_own_callback(db: docdb.Database) -> None:
    ready = threading.Event()
    seen: list[int] = []
    watchers: list[Any] = []

    def once(snapshot: Any) -> None:
        assert ready.wait(SOON_S)
        seen.append(snapshot.id)
        watchers[0].close()
        db["a"].insert_one({})

    watchers.append(db["a"].where({}).watch(on_change=once))
    db["a"].insert_one({})
    ready.set()
    nothing_is_left(db)
    assert (seen, watchers[0].alive) == ([0], False)


def test_a_watcher_inside_anothers_callback(db: docdb.Database) -> None:
    seen: list[Any] = []
    other = db["a"].where({}).watch(on_change=seen.append)
    wait_for(lambda: len(seen) == 1)
    with db["a"].where({}).watch(on_change=lambda _: other.close()):
        wait_for(lambda: not other.alive)
    db["a"].insert_one({})
    nothing_is_left(db)
    assert len(seen) == 1


def test_a_watcher_in_its_on_error(db: docdb.Database) -> None:
    closed = threading.Event()
    watchers: list[Any] = []

    def complain(error: BaseException) -> None:
        wait_for(lambda: bool(watchers))
        watchers[0].close()
        closed.set()

    watchers.append(db["a"].where({}).watch(on_change=lambda _: 1 / 0, on_error=complain))
    assert closed.wait(SOON_S)
    nothing_is_left(db)


def test_a_watcher_whose_callback_is_blocked(db: docdb.Database) -> None:
    """It does not wait for the callback, which is the last one."""
    entered, free = threading.Event(), threading.Event()
    seen: list[int] = []

    def block(snapshot: Any) -> None:
        seen.append(snapshot.id)
        entered.set()
        free.wait(SOON_S)

    watcher = db["a"].where({}).watch(on_change=block)
    assert entered.wait(SOON_S)
    db["a"].insert_one({})
    watcher.close()
    assert not free.is_set()
    free.set()
    nothing_is_left(db)
    assert seen == [0]


async def _itself(watcher: Any) -> None:
    assert not watcher.alive


async def _a_task(watcher: Any) -> None:
    watcher.close()


async def _a_thread(watcher: Any) -> None:
    await asyncio.to_thread(watcher.close)


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
@pytest.mark.parametrize("close", [_itself, _a_task, _a_thread], ids=lambda close: close.__name__)
def test_a_watcher_of_an_event_loop(db: docdb.Database, kind: str, close: Any) -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        watchers: list[Any] = []
        arrived = asyncio.Event()
        done = {_itself: lambda: watchers[0].close()}.get(close, lambda: None)

        def function(snapshot: Any) -> None:
            seen.append(snapshot.id)
            done()
            arrived.set()

        async def coroutine(snapshot: Any) -> None:
            await asyncio.sleep(0)
            function(snapshot)

        async with docdb.aio.open(db.path, durability="relaxed") as inside:
            watchers.append(inside["a"].watch(on_change={"function": function, "coroutine function": coroutine}[kind]))
            await arrived.wait()
            await close(watchers[0])
            for _ in range(3):
                await inside["a"].insert_one({})
            return seen

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == [0]
    nothing_is_left(db)


@pytest.mark.parametrize("kind", ["query", "stream"])
def test_an_asynchronous_feed_by_its_block_and_while_iterating(db: docdb.Database, kind: str) -> None:
    async def main() -> list[int]:
        turns = []
        async with docdb.aio.open(db.path, durability="relaxed") as inside:
            for _ in range(2):
                feed: Any = {"query": inside["a"].where({}).watch, "stream": inside["a"].changes}[kind]()
                async with feed:
                    await inside["a"].insert_one({})
                    count = 0
                    async for _item in feed:
                        count += 1
                        await feed.close()
                    turns.append(count)
                assert (feed.alive, await feed.try_next()) == (False, None)
        return turns

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == [1, 1]
    nothing_is_left(db)


def test_the_end_of_the_database_wakes_all(tmp_path: Path) -> None:
    db = docdb.open(tmp_path / "d")
    feeds = [make(db) for make in FEEDS.values()]
    ended: list[Any] = []
    threads = [threading.Thread(target=lambda feed=feed: ended.append(list(feed)), daemon=True) for feed in feeds]
    for thread in threads:
        thread.start()
    db.close()
    for thread in threads:
        thread.join(SOON_S)
    assert len(ended) == len(feeds)
    assert not any(feed.alive for feed in feeds)
