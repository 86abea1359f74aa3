"""The asyncio face: the same names and signatures, where calls run, what cancelling does."""

import asyncio
import inspect
import threading
from typing import Any

import pytest

from docdb import aio
from docdb import command as _
from docdb.collection import Collection
from docdb.consumer import Consumer, Trigger
from docdb.database import Database
from docdb.errors import DuplicateKeyError, InvalidOperation, QueryError
from docdb.faces.aggregation import Aggregation
from docdb.faces.aio_threads import Runner
from docdb.faces.cursor import CommandCursor, Cursor
from docdb.feeds.streams import ChangeStream
from docdb.query import DocumentReference, Query
from docdb.transaction import SnapshotView, Transaction
from tests.fake_session import FakeSession

PAIRS = [
    (Aggregation, aio.AsyncAggregation),
    (ChangeStream, aio.AsyncChangeStream),
    (Collection, aio.AsyncCollection),
    (Consumer, aio.AsyncConsumer),
    (CommandCursor, aio.AsyncCommandCursor),
    (Cursor, aio.AsyncCursor),
    (Database, aio.AsyncDatabase),
    (DocumentReference, aio.AsyncDocumentReference),
    (Query, aio.AsyncQuery),
    (SnapshotView, aio.AsyncSnapshotView),
    (Transaction, aio.AsyncTransaction),
    (Trigger, aio.AsyncTrigger),
]
# What has another meaning between tasks, or belongs to the rooms below.
INSIDE = {
    "awaited", "batches", "change", "execute", "fail", "few", "finder", "live", "loaded", "match_id", "object_of", "place", "read", "ring", "ring_with",
    "rung", "session", "settings", "stored",
}  # fmt: skip
MIRRORED = [
    pytest.param(sync, asynchronous, name, id=f"{sync.__name__}.{name}")
    for sync, asynchronous in PAIRS
    for name in dir(sync)
    if not name.startswith("_") and name not in INSIDE
]


def shape(function: Any) -> list[Any]:
    """Return names, kinds and defaults of the parameters; annotations and self aside."""
    return [(p.name, p.kind, p.default) for p in list(inspect.signature(function).parameters.values())[1:]]


@pytest.mark.parametrize(("sync", "asynchronous", "name"), MIRRORED)
def test_same_names_and_signatures(sync, asynchronous, name):
    ours, theirs = inspect.getattr_static(asynchronous, name), inspect.getattr_static(sync, name)
    assert ours is not None
    if inspect.isfunction(theirs):
        assert shape(ours) == shape(theirs)


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_no_names_of_its_own(sync, asynchronous):
    assert {name for name in dir(asynchronous) if not name.startswith("_")} <= {*dir(sync), "name"}


def run(main: Any) -> Any:
    """Run a coroutine function on a fresh loop, bounded in time."""
    return asyncio.run(asyncio.wait_for(main(), 10))


@pytest.fixture
def users():
    runner = Runner()
    yield aio.AsyncCollection(Collection(FakeSession([{"_id": n} for n in range(5)]), "users"), runner)
    runner.close()


class Gate(FakeSession):
    """Every call waits until it is let through, and remembers its thread."""

    def __init__(self) -> None:
        super().__init__([{"_id": 1}])
        self.begun = threading.Event()
        self.opened = threading.Event()
        self.finished = 0
        self.threads: list[int] = []

    def execute(self, *args: Any, **named: Any) -> Any:
        self.begun.set()
        self.opened.wait(10)
        self.finished += 1
        return super().execute(*args, **named)

    def get(self, name: str, id: Any) -> Any:
        self.threads.append(threading.get_ident())
        return super().get(name, id)

    def count(self, *args: Any, **named: Any) -> int:
        self.threads.append(threading.get_ident())
        return super().count(*args, **named)


def test_where_calls_run():
    gate = Gate()

    async def main() -> None:
        runner = Runner()
        users = aio.AsyncCollection(Collection(gate, "users"), runner)
        assert await users.doc(1).get() == {"_id": 1}
        assert await users.find_one({"_id": 1}) == {"_id": 1}
        assert await users.count() == 1
        runner.close()

    run(main)
    here, same, other = gate.threads
    assert here == same == threading.get_ident() != other


def test_cancelling_a_call_that_runs_waits_for_its_end():
    gate = Gate()

    async def main() -> None:
        runner = Runner()
        users = aio.AsyncCollection(Collection(gate, "users"), runner)
        task = asyncio.create_task(users.insert_one({"_id": 1}))
        await asyncio.to_thread(gate.begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.finished == 1
        runner.close()

    run(main)


def test_cancelling_a_call_that_waits_withdraws_it():
    gate = Gate()

    async def main() -> None:
        runner = Runner()
        users = aio.AsyncCollection(Collection(gate, "users"), runner)
        filling = [asyncio.create_task(users.insert_one({"_id": n})) for n in range(16)]
        await asyncio.sleep(0)
        late = asyncio.create_task(users.insert_one({"_id": 99}))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        gate.opened.set()
        await asyncio.gather(*filling)
        assert gate.finished == 16
        runner.close()

    run(main)


def test_cursor(users):
    async def main() -> None:
        assert [document["_id"] async for document in users.find().limit(3)] == [0, 1, 2]
        cursor = users.find()
        assert await cursor.next() == {"_id": 0}
        assert await cursor.to_list(2) == [{"_id": 1}, {"_id": 2}]
        with pytest.raises(InvalidOperation):
            cursor.limit(1)
        await cursor.close()
        assert await cursor.to_list() == []
        assert len(await cursor.rewind().to_list()) == 5
        assert await users.find()[3] == {"_id": 3}
        assert await users.find()[1:2].to_list() == [{"_id": 1}]
        async with users.find() as other:
            assert await anext(other) == {"_id": 0}
        assert users._inner.session.open_finds == 0
        with pytest.raises(QueryError):
            users.find({"a": {"$foo": 1}})

    run(main)


def test_aggregation(users):
    async def main() -> None:
        assert len(await (await users.aggregate([])).to_list()) == 5
        assert [document["_id"] async for document in users.aggregate([])] == [0, 1, 2, 3, 4]
        builder = users.aggregate().match({"a": _.gt(1)})
        assert len(await builder.end()) == 5
        assert [document["_id"] async for document in builder] == [0, 1, 2, 3, 4]
        assert users._inner.session.calls[-1][2] == [{"$match": {"a": {"$gt": 1}}}]

    run(main)


def test_query(users):
    async def main() -> None:
        query = users.where({"a": 1}).order_by("b").skip(1).limit(2)
        assert await query.get() == [{"_id": 1}, {"_id": 2}]
        assert [document["_id"] async for document in query] == [1, 2]
        assert await query.first() == {"_id": 1}
        assert await query.count() == 5
        assert (await users.where({}).update({"a": 1})).updated == 1
        assert (await users.where({}).remove()).removed == 1

    run(main)


def test_live():
    async def main() -> None:
        async with aio.open(":memory:") as db:
            users = db["users"]
            assert (await users.add({"_id": "a", "n": 1})).id == "a"
            await asyncio.gather(*(users.insert_one({"_id": n, "n": n}) for n in range(50)))
            with pytest.raises(DuplicateKeyError):
                await users.insert_one({"_id": "a"})
            assert await users.count_documents({}) == 51
            assert sorted([document["n"] async for document in users.find({"n": {"$lt": 3}})]) == [0, 1, 1, 2]
            await users.doc("a").update({"n": _.inc(1)})
            assert await users.doc("a").get() == {"_id": "a", "n": 2}
            assert await db.list_collection_names() == ["users"]
            assert (await db.stats())["collections"]["users"]["documents"] == 51
            assert [index["name"] async for index in users.list_indexes()] == ["_id_"]
        with pytest.raises(InvalidOperation):
            await users.doc("a").get()

    run(main)


def test_open_by_await():
    async def main() -> None:
        db = await aio.open(":memory:")
        assert db.path == ":memory:"
        await db.close()
        await db.close()

    run(main)
