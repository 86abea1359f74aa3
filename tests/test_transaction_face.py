"""The face inside a transaction is that of the database: every operation gives the same answer there, and the same documents after the commit."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import docdb
from docdb import aio
from docdb import command as _
from docdb.aio import AsyncCollection
from docdb.query import DocumentReference, Query

NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
UP = {"$inc": {"n": 1}}
BIG = {"n": {"$gte": 20}}
STAGES = [{"$match": BIG}, {"$group": {"_id": "$owner", "n": {"$sum": "$n"}}}, {"$sort": {"_id": 1}}]
BULK = [
    docdb.InsertOne({"_id": "x", "n": 5}),
    docdb.UpdateOne({"_id": "a"}, UP),
    docdb.UpdateMany(BIG, {"$set": {"big": True}}),
    docdb.UpdateOne({"_id": "new"}, UP, upsert=True),
    docdb.ReplaceOne({"_id": "b"}, {"n": 7}),
    docdb.DeleteOne({"_id": "c"}),
    docdb.DeleteMany({"n": {"$gt": 1_000}}),
]

Call = Callable[[Any], Any]
COLLECTION: dict[str, Call] = {
    "add": lambda c: c.add({"_id": "x", "n": 1}),
    "add several": lambda c: c.add([{"_id": "x"}, {"_id": "y"}]),
    "aggregate": lambda c: c.aggregate(STAGES),
    "aggregate built": lambda c: c.aggregate().match({"n": _.gte(20)}).group({"_id": None, "n": {"$sum": "$n"}}).end(),
    "aggregate $merge": lambda c: c.aggregate([{"$set": {"n": 1}}, {"$merge": "other"}]),
    "aggregate $out": lambda c: c.aggregate([{"$match": BIG}, {"$out": "other"}]),
    "bulk_write": lambda c: c.bulk_write(BULK),
    "bulk_write unordered": lambda c: c.bulk_write(BULK, ordered=False),
    "count": lambda c: c.count(),
    "count_documents": lambda c: c.count_documents(BIG),
    "delete_many": lambda c: c.delete_many(BIG),
    "delete_one": lambda c: c.delete_one({"_id": "a"}),
    "distinct": lambda c: c.distinct("owner", BIG),
    "estimated_document_count": lambda c: c.estimated_document_count(),
    "field": lambda c: c.field({"n": True}).get(),
    "find": lambda c: c.find(BIG, {"_id": 0, "n": 1}).sort("n", -1).skip(1).limit(3),
    "find_one": lambda c: c.find_one({"n": 20}),
    "find_one_and_delete": lambda c: c.find_one_and_delete(BIG, sort=[("n", 1)]),
    "find_one_and_replace": lambda c: c.find_one_and_replace({"_id": "a"}, {"n": 0}, return_document=True),
    "find_one_and_update": lambda c: c.find_one_and_update(BIG, UP, sort=[("n", -1)], return_document=True),
    "find_one_and_update upsert": lambda c: c.find_one_and_update({"_id": "x"}, UP, upsert=True),
    "get": lambda c: c.get(),
    "index_information": lambda c: c.index_information(),
    "insert_many": lambda c: c.insert_many([{"_id": n, "n": n} for n in range(50)]),
    "insert_one": lambda c: c.insert_one({"_id": "x", "n": 1}),
    "insert_one server date": lambda c: c.insert_one({"_id": "x", "at": docdb.server_date()}),
    "insert_one server date later": lambda c: c.insert_one({"_id": "x", "at": docdb.server_date(offset=1_000)}),
    "limit": lambda c: c.limit(2).get(),
    "list_indexes": lambda c: c.list_indexes(),
    "options": lambda c: c.options(),
    "order_by": lambda c: c.order_by("n", "desc").get(),
    "replace_one": lambda c: c.replace_one({"_id": "a"}, {"n": 100}),
    "replace_one upsert": lambda c: c.replace_one({"_id": "x"}, {"n": 100}, upsert=True),
    "skip": lambda c: c.skip(2).get(),
    "update_many": lambda c: c.update_many(BIG, UP),
    "update_many pipeline": lambda c: c.update_many({}, [{"$set": {"m": {"$add": ["$n", 1]}}}]),
    "update_many $currentDate": lambda c: c.update_many(BIG, {"$currentDate": {"at": True}}),
    "update_one": lambda c: c.update_one({"n": 20}, UP),
    "update_one array": lambda c: c.update_one(
        {"_id": "b"}, {"$set": {"l.$[x]": 9}, "$push": {"m": 1}}, array_filters=[{"x": {"$gt": 1}}]
    ),
    "update_one upsert": lambda c: c.update_one({"owner": "zoe"}, {"$setOnInsert": {"_id": "z"}, **UP}, upsert=True),
    "where": lambda c: c.where({"n": _.gt(10), "owner": _.in_(["ann", "bob"])}).get(),
}
QUERY: dict[str, Call] = {
    "after": lambda c: c.order_by("n").limit(2).after("").get(),
    "collation": lambda c: c.where({"owner": "ANN"}).collation({"locale": "en", "strength": 2}).get(),
    "count": lambda c: c.where(BIG).count(),
    "cursor": lambda c: c.where(BIG).cursor(),
    "delete": lambda c: c.where(BIG).delete(),
    "distinct": lambda c: c.where(BIG).distinct("owner"),
    "field": lambda c: c.where(BIG).field({"n": 1}).get(),
    "first": lambda c: c.where(BIG).order_by("n").first(),
    "get": lambda c: c.where(BIG).get(),
    "get a thousand": lambda c: c.where(BIG).limit(1_000).get(),
    "hint": lambda c: c.where(BIG).hint("n_1").get(),
    "limit": lambda c: c.where(BIG).limit(1).get(),
    "max_time_ms": lambda c: c.where(BIG).max_time_ms(60_000).get(),
    "options": lambda c: c.where(BIG).options({"multiple": True}).update({"seen": True}),
    "order_by": lambda c: c.where({}).order_by("owner").order_by("n", "desc").get(),
    "remove": lambda c: c.where(BIG).remove(),
    "skip": lambda c: c.where({}).skip(1).get(),
    "update": lambda c: c.where(BIG).update({"n": _.inc(1), "at": docdb.server_date()}),
    "update_and_return": lambda c: c.where({"_id": "a"}).update_and_return({"n": _.mul(2)}),
    "where": lambda c: c.where(BIG).where({"owner": "ann"}).get(),
}
REFERENCE: dict[str, Call] = {
    "delete": lambda c: c.doc("a").delete(),
    "field": lambda c: c.doc("a").field({"n": True}).get(),
    "get": lambda c: c.doc("a").get(),
    "get none": lambda c: c.doc("nobody").get(),
    "remove": lambda c: c.doc("a").remove(),
    "set": lambda c: c.doc("a").set({"n": 1, "at": docdb.server_date()}),
    "set new": lambda c: c.doc("x").set({"n": 1}),
    "update": lambda c: c.doc("a").update({"n": _.inc(1), "deep": {"at": docdb.server_date()}}),
    "update none": lambda c: c.doc("nobody").update({"n": 1}),
}
KINDS = {"collection": COLLECTION, "query": QUERY, "doc": REFERENCE}
CALLS = {f"{kind}.{name}": call for kind, calls in KINDS.items() for name, call in calls.items()}
REFUSED: dict[str, Call] = {
    "changes": lambda c: c.changes(),
    "create_index": lambda c: c.create_index("n"),
    "create_indexes": lambda c: c.create_indexes([{"key": {"n": 1}}]),
    "drop": lambda c: c.drop(),
    "drop_index": lambda c: c.drop_index("n_1"),
    "drop_indexes": lambda c: c.drop_indexes(),
    "rename": lambda c: c.rename("other"),
    "watch": lambda c: c.watch(),
    "watch a query": lambda c: c.where({}).watch(),
    "live": lambda c: c.where({}).live(),
    "watch a document": lambda c: c.doc("a").watch(),
}
PARTS = {"name", "doc", "with_options"}  # of a collection; neither reads nor writes
ELSEWHERE = {
    "index_stats",  # whose counts of uses differ
    "explain", "to_arrow", "to_arrow_reader", "to_pandas", "to_polars",  # tests/test_tables.py
}  # fmt: skip


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def names(*calls: dict[str, Call]) -> set[str]:
    return {name.split()[0] for table in calls for name in table}


def filled() -> docdb.Database:
    db = docdb.open(":memory:")
    db._session.settings.clock = lambda: NOW
    db["a"].create_index("n")
    db["a"].insert_many(
        [
            {"_id": "a", "n": 10, "owner": "ann", "l": [1, 2]},
            {"_id": "b", "n": 20, "owner": "bob", "l": [2, 3]},
            {"_id": "c", "n": 30, "owner": "ann"},
            {"_id": "d", "n": 40, "owner": "cid"},
        ]
    )
    return db


def shown(found: Any) -> str:
    return repr(found.to_list() if hasattr(found, "to_list") else found)


def contents(db: docdb.Database) -> dict[str, Any]:
    return {name: db[name].find().to_list() for name in db.list_collection_names()}


def test_every_operation_is_tried() -> None:
    assert public(AsyncCollection) - names(COLLECTION, REFUSED) - PARTS - ELSEWHERE == set()
    assert public(Query) - names(QUERY, REFUSED) - ELSEWHERE == set()
    assert public(DocumentReference) - names(REFERENCE, REFUSED) - {"collection", "id"} == set()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_answer_is_the_same_and_so_are_the_documents(call: Call) -> None:
    with filled() as db, filled() as plain:
        before = contents(db)
        with db.transaction() as t:
            assert shown(call(t["a"])) == shown(call(plain["a"]))
            assert contents(db) == before
        assert contents(db) == contents(plain)
        assert db.check().problems == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_second_operation_stands_on_the_first(call: Call) -> None:
    """The same twice: what the second one meets is what the first one has left."""
    with filled() as db, filled() as plain:
        expected = [outcome(call, plain["a"]) for _ in range(2)]
        with db.transaction() as t:
            assert [outcome(call, t["a"]) for _ in range(2)] == expected
        assert contents(db) == contents(plain)


def outcome(call: Call, collection: Any) -> str:
    try:
        return shown(call(collection))
    except docdb.ConflictError as error:
        return type(error).__name__


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_to_one_picture_is_refused(call: Call) -> None:
    with filled() as db, db.transaction() as t, pytest.raises(docdb.InvalidOperation) as refused:
        call(t["a"])
    assert refused.value.code == 263


async def answer(found: Any) -> str:
    return shown(await found if isinstance(found, Awaitable) else found)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_asyncio_gives_the_same(call: Call) -> None:
    async def main() -> tuple[str, dict[str, Any]]:
        async with aio.open(":memory:") as db:
            with filled() as sample:
                db._inner._session.settings.clock = lambda: NOW
                await db["a"].create_index("n")
                await db["a"].insert_many(contents(sample)["a"])
            async with db.transaction() as t:
                found = call(t["a"])
                listed = await found.to_list() if hasattr(found, "to_list") else await found
            return shown(listed), contents(db._inner)

    with filled() as plain:
        assert asyncio.run(main()) == (shown(call(plain["a"])), contents(plain))


# Sizes that are in use with the service


def test_a_thousand_and_one_documents_at_once() -> None:
    with filled() as db:
        with db.transaction() as t:
            assert len(t["a"].add([{"n": 1_000 + n} for n in range(1_001)]).ids) == 1_001
            assert len(t["a"].where({"n": _.gte(1_000)}).limit(1_000).get()) == 1_000
            assert t["a"].where({"n": _.gte(1_000)}).update({"n": _.inc(1)}).updated == 1_001
        assert db["a"].count_documents({"n": {"$gte": 1_001}}) == 1_001


# References


def test_asyncio_takes_references_of_the_database() -> None:
    async def main() -> None:
        async with aio.open(":memory:") as db:
            await db["a"].insert_many([{"_id": id, "n": 1} for id in "abc"])
            a, b, c, z = (db["a"].doc(id) for id in "abcz")
            async with db.transaction() as t:
                assert await t.get(a) == {"_id": "a", "n": 1}
                assert await t.get(z) is None
                assert (await t.update(a, {"n": _.inc(1)})).updated == 1
                assert (await t.set(z, {"n": 9})).upserted_id == "z"
                assert (await t.remove(b)).removed == 1
                assert (await t.delete(t["a"].doc("c"))).removed == 1
                assert await c.get() == {"_id": "c", "n": 1}
            assert [document async for document in db["a"].find()] == [{"_id": "a", "n": 2}, {"_id": "z", "n": 9}]

    asyncio.run(main())


# The clock: one value a statement outside, one a transaction inside


CLOCKS: dict[str, Call] = {
    "insert_many": lambda c: c.insert_many([{"_id": n, "at": docdb.server_date()} for n in range(9)]),
    "add": lambda c: c.add([{"_id": n, "at": docdb.server_date()} for n in range(9)]),
    "bulk_write": lambda c: c.bulk_write([docdb.InsertOne({"_id": n, "at": docdb.server_date()}) for n in range(9)]),
    "$currentDate": lambda c: c.update_many({}, {"$currentDate": {"at": True, "too": True}}),
    "$$NOW": lambda c: c.update_many({}, [{"$set": {"at": "$$NOW", "too": {"at": "$$NOW"}}}]),
    "where.update": lambda c: c.where({}).update({"at": docdb.server_date(), "too": [docdb.server_date()]}),
    "doc.set": lambda c: c.doc("a").set({"at": docdb.server_date(), "too": {"at": docdb.server_date()}}),
    "upsert": lambda c: c.update_one(
        {"_id": "x"}, {"$set": {"at": docdb.server_date()}, "$currentDate": {"too": True}}, upsert=True
    ),
    "$out": lambda c: c.aggregate([{"$set": {"at": "$$NOW"}}, {"$out": "a"}]),
}


def dates(value: Any) -> set[dt.datetime]:
    """Return all dates anywhere in a value."""
    if isinstance(value, dt.datetime):
        return {value}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {date for part in parts for date in dates(part)}


class Ticking:
    """A clock that goes on with every look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> dt.datetime:
        self.looks += 1
        return NOW + dt.timedelta(seconds=self.looks)


@pytest.mark.parametrize("call", CLOCKS.values(), ids=CLOCKS)
def test_now_is_one_value_a_statement(call: Call) -> None:
    with filled() as db:
        db._session.settings.clock = Ticking()
        call(db["a"])
        (first,) = dates(db["a"].find().to_list())
        db["b"].insert_one({"at": docdb.server_date()})
        assert dates(db["b"].find().to_list()) != {first}


def test_now_is_one_value_a_transaction() -> None:
    with filled() as db:
        db._session.settings.clock = Ticking()
        with db.transaction() as t:
            for call in CLOCKS.values():
                t["a"].delete_many({})
                call(t["a"])
                t["kept"].insert_one({"kept": t["a"].find().to_list()})
            seen = t.aggregate([{"$documents": [{"at": "$$NOW"}]}]).to_list()
        assert len(dates(seen) | dates(db["kept"].find().to_list())) == 1
