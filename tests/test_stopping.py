"""Reads that end early: when their time is over, and when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import docdb
from docdb.errors import InvalidOperation, TimeoutExpired
from docdb.planner import plan
from docdb.sessions import sources
from docdb.store.views import View

PIPELINES: dict[str, list[dict[str, Any]]] = {
    "count": [{"$match": {"a": {"$gte": 1}}}, {"$count": "n"}],
    "facet": [{"$facet": {"a": [{"$sort": {"a": 1}}, {"$limit": 1}]}}],
    "group": [{"$group": {"_id": "$a", "n": {"$sum": "$n"}}}],
    "group by an expression": [{"$group": {"_id": {"$mod": ["$n", 7]}, "all": {"$push": "$n"}}}],
    "group in the kernel, nothing matches": [{"$match": {"a": "none"}}, {"$group": {"_id": "$a", "n": {"$sum": "$n"}}}],
    "nothing matches": [{"$match": {"a": "none"}}],
    "sort": [{"$sort": {"a": 1, "n": -1}}],
    "sort behind a stage": [{"$unwind": "$a"}, {"$sort": {"n": -1}}],
    "the first of a sort": [{"$sort": {"a": 1, "n": -1}}, {"$limit": 3}],
    "window": [{"$setWindowFields": {"sortBy": {"n": 1}, "output": {"s": {"$sum": "$n"}}}}],
}
READS: dict[str, Callable[[Any, int], Any]] = {
    **{
        name: lambda items, ms, stages=stages: list(items.aggregate(stages, max_time_ms=ms))
        for name, stages in PIPELINES.items()
    },
    "find": lambda items, ms: list(items.find({"a": "none"}).max_time_ms(ms)),
    "find sorted": lambda items, ms: list(items.find({}).sort("n", -1).max_time_ms(ms)),
    "query": lambda items, ms: items.where({"a": "none"}).max_time_ms(ms).get(),
    "query count": lambda items, ms: items.where({"a": {"$mod": [7, 1]}}).max_time_ms(ms).count(),
    "query distinct": lambda items, ms: items.find({}).max_time_ms(ms).distinct("a"),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with docdb.open(tmp_path_factory.mktemp("stopping") / "db") as db:
        db["items"].insert_many([{"_id": n, "a": n % 7, "n": n} for n in range(40_000)])
        yield db


@pytest.mark.parametrize("name", READS)
def test_a_read_ends_when_its_time_is_over(db: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (1e9 if next(looks) >= 1 else 0))
    monkeypatch.setattr(plan, "time", clock)
    monkeypatch.setattr(sources, "time", clock)
    with pytest.raises(TimeoutExpired) as raised:
        READS[name](db["items"], 1_000_000)
    assert raised.value.code == 50
    assert next(looks) <= 4  # and not at the end of all


class Endless:
    """Has every scan go on for ever, counts its batches, and tells when the third is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches = 0
        self.begun = threading.Event()
        scan = View.scan

        def endless(view: View, **options: Any) -> Iterator[Any]:
            while True:
                for batch in itertools.chain(
                    scan(view, **options), [[]]
                ):  # a scan without matches yields an empty batch too
                    self.batches += 1
                    if self.batches == 3:
                        self.begun.set()
                    yield batch

        monkeypatch.setattr(View, "scan", endless)


async def _all(cursor: Any) -> list[Any]:
    return [document async for document in cursor]


AWAITED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    **{
        name: lambda items, stages=stages: _all(items.aggregate(stages))
        for name, stages in PIPELINES.items()
        if name != "nothing matches"
    },
    "find": lambda items: _all(items.find({"a": "none"})),
    "find sorted": lambda items: _all(items.find({}).sort("n", -1)),
    "query count": lambda items: items.where({"a": {"$mod": [7, 1]}}).count(),
    "distinct": lambda items: items.find({}).distinct("a"),
    "out": lambda items: _all(items.aggregate([{"$out": "copy"}])),
}


@pytest.mark.parametrize("name", AWAITED)
def test_a_cancelled_task_ends_the_work_of_its_thread(
    tmp_path: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> list[str]:
        async with docdb.aio.open(tmp_path / "db") as db:
            items = db["items"]
            await items.insert_many([{"_id": n, "a": n % 7, "n": n} for n in range(600)])
            source = Endless(monkeypatch)
            task = asyncio.ensure_future(AWAITED[name](items))
            await asyncio.to_thread(source.begun.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task  # which waits for the thread: it would never end by itself
            ended = source.batches
            await asyncio.sleep(0)
            assert source.batches == ended
            return await db.list_collection_names()

    assert asyncio.run(main()) == ["items"]


def test_a_cursor_whose_read_was_given_up_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with docdb.aio.open(tmp_path / "db") as db:
            items = db["items"]
            await items.insert_many([{"_id": n, "a": n % 7, "n": n} for n in range(600)])
            with monkeypatch.context() as patched:
                source = Endless(patched)
                cursor = items.find({"a": "none"})
                task = asyncio.ensure_future(cursor.next())
                await asyncio.to_thread(source.begun.wait)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            for _ in range(2):
                with pytest.raises(InvalidOperation, match="was cancelled"):
                    await cursor.next()
            assert await cursor.rewind().to_list() == []

    asyncio.run(main())


def test_a_cancelled_task_leaves_writes_whole(tmp_path: Any) -> None:
    async def main() -> None:
        async with docdb.aio.open(tmp_path / "db") as db:
            items = db["items"]
            await items.insert_many([{"_id": n, "a": 0} for n in range(3_000)])
            task = asyncio.ensure_future(items.update_many({"a": 0}, {"$set": {"a": 1}}))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await items.where({"a": 1}).count() in (0, 3_000)

    asyncio.run(main())
