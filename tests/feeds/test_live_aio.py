"""Live queries in asyncio: the first result, waiting, callbacks in the loop, closing."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.errors import QueryError, UsageError
from docdb.feeds.live import LiveQuery

SOON_S = 20.0
Program = Callable[[docdb.aio.AsyncDatabase], Awaitable[Any]]


def run(path: Path, program: Program) -> Any:
    """Run a coroutine function with a database."""

    async def main() -> Any:
        async with docdb.aio.open(path / "d") as db:
            return await asyncio.wait_for(program(db), SOON_S)

    return asyncio.run(main())


def test_the_first_result_is_that_of_the_call(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> Any:
        query = db["a"].where({}).watch()
        await db["a"].insert_one({"_id": 1})
        await db["a"].doc(1).update({"n": 1})
        found = [await query.next() for _ in range(3)]
        assert await query.try_next() is None
        assert query.position == found[-1].position
        return [snapshot.docs for snapshot in found]

    assert run(tmp_path, program) == [[], [{"_id": 1}], [{"_id": 1, "n": 1}]]


def test_iterating(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> list[int]:
        async def write() -> None:
            for n in range(10):
                await db["a"].insert_one({"_id": n})

        sizes = []
        async with db["a"].where({}).order_by("_id", "desc").limit(5).watch() as query:
            writer = asyncio.create_task(write())
            async for snapshot in query:
                sizes.append(snapshot.docs[0]["_id"] if snapshot.docs else -1)
                if sizes[-1] == 9:
                    break
            await writer
        return sizes

    assert run(tmp_path, program) == list(range(-1, 10))


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_callbacks_run_in_the_loop(tmp_path: Path, kind: str) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> list[int]:
        loop = asyncio.get_running_loop()
        seen: asyncio.Queue[Any] = asyncio.Queue()

        def function(snapshot: Any) -> None:
            assert asyncio.get_running_loop() is loop
            seen.put_nowait(snapshot)

        async def coroutine(snapshot: Any) -> None:
            await asyncio.sleep(0)
            function(snapshot)

        callback = {"function": function, "coroutine function": coroutine}[kind]
        watcher = db["a"].watch(on_change=callback)
        await db["a"].insert_one({})
        sizes = [len(await seen.get()) for _ in range(2)]
        watcher.close()
        return sizes

    assert run(tmp_path, program) == [0, 1]


def test_a_failing_callback_tells_on_error(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> str:
        errors: asyncio.Queue[BaseException] = asyncio.Queue()

        def fail(snapshot: Any) -> None:
            raise ValueError(f"at {snapshot.id}")

        watcher = db["a"].doc(1).watch(on_change=fail, on_error=errors.put)
        error = await errors.get()
        assert not watcher.alive
        return str(error)

    assert run(tmp_path, program) == "at 0"


def test_an_error_of_the_first_result_reaches_the_reader(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> None:
        await db["a"].insert_one({})
        query = db["a"].where({}).hint("nothing").watch()
        with pytest.raises(QueryError):
            await query.next()
        assert not query.alive
        with pytest.raises(UsageError):
            db["a"].where({}).watch(on_change=5)  # type: ignore[arg-type]

    run(tmp_path, program)


def test_a_wait_cancelled_while_the_query_is_asked_anew_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> list[tuple[int, int]]:
        query = db["a"].where({}).watch()
        found = [await query.next()]
        inside, free = threading.Event(), threading.Event()
        original = LiveQuery._asked_anew

        def asked_anew(live: Any) -> Any:
            inside.set()
            assert free.wait(SOON_S)
            return original(live)

        monkeypatch.setattr(LiveQuery, "_asked_anew", asked_anew)
        for n in range(3):
            await db["a"].insert_one({"_id": n})
            query.refresh()
            for _ in range(2):
                waiting = asyncio.create_task(query.next())
                await asyncio.to_thread(inside.wait, SOON_S)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
            free.set()
            found.append(await query.next())
            inside.clear()
            free.clear()
        return [(snapshot.id, len(snapshot)) for snapshot in found]

    assert run(tmp_path, program) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_tasks_that_share_a_query_share_its_snapshots(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> list[int]:
        query = db["a"].where({}).watch()
        await query.next()
        found: list[int] = []

        async def read() -> None:
            async for snapshot in query:
                found.append(snapshot.id)
                if snapshot.id == 8:
                    await query.close()

        tasks = [asyncio.create_task(read()) for _ in range(3)]
        for n in range(8):
            if n % 3 == 0:
                query.refresh()
            await db["a"].insert_one({"_id": n})
            while len(found) <= n:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        return found

    assert run(tmp_path, program) == list(range(1, 9))


def test_an_error_that_nobody_waits_for_is_not_reported_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> None:
        await db["a"].insert_one({})
        query = db["a"].where({}).hint("nothing").watch()
        with pytest.raises(QueryError):
            await query.next()

    run(tmp_path, program)
    gc.collect()
    assert caplog.records == []


def test_asked_anew_without_holding_up_the_loop(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> list[Any]:
        query = db["a"].where({}).watch()
        await db["a"].insert_one({"_id": 1})
        found = [(await query.next()).docs, (await query.next()).docs]
        await db["a"].drop()
        return [*found, (await query.next()).docs]

    assert run(tmp_path, program) == [[], [{"_id": 1}], []]


def test_close_wakes_who_waits(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> bool:
        query = db["a"].where({}).watch()
        await query.next()
        waiting = asyncio.create_task(anext(query, None))
        await asyncio.sleep(0.02)
        await query.close()
        return await waiting is None

    assert run(tmp_path, program)


def test_the_database_closes_with_queries_open(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> Any:
        watcher = db["a"].watch(on_change=len)
        return db["a"].where({}).watch(), watcher

    query, watcher = run(tmp_path, program)
    assert (query.alive, watcher.alive) == (False, False)


def test_a_cancelled_task_ends_only_its_wait(tmp_path: Path) -> None:
    async def program(db: docdb.aio.AsyncDatabase) -> int:
        query = db["a"].where({}).watch()
        await query.next()
        with pytest.raises(StopAsyncIteration):
            await query.next(timeout_s=0.02)
        await db["a"].insert_one({})
        return len(await query.next())

    assert run(tmp_path, program) == 1
