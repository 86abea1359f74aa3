"""What cannot happen in a transaction, for every way to read: phantoms, reads that do not repeat, skew, lost updates, dirty reads; sync and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb import aio
from docdb import command as _

PICKED = {"n": {"$gt": 15}, "owner": "ann"}
MATCH = {"$match": PICKED}
FOREIGN = [{"$unwind": "$found"}, {"$replaceRoot": {"newRoot": "$found"}}, {"$sort": {"_id": 1}}]

Read = Callable[[Any], Any]
READS: dict[str, Read] = {
    "find": lambda t: t["accounts"].find(PICKED).to_list(),
    "where": lambda t: t["accounts"].where({"n": _.gt(15), "owner": "ann"}).get(),
    "projection": lambda t: t["accounts"].find(PICKED, {"_id": 0, "n": 1}).to_list(),
    "sorted": lambda t: t["accounts"].find(PICKED).sort("n", -1).to_list(),
    "first two": lambda t: t["accounts"].find(PICKED).sort("n", 1).limit(2).to_list(),
    "all but one": lambda t: t["accounts"].find(PICKED).sort([("n", 1)]).skip(1).to_list(),
    "page": lambda t: t["accounts"].where(PICKED).order_by("n").limit(2).after("").get(),
    "hint": lambda t: t["accounts"].find(PICKED).hint({"$natural": 1}).to_list(),
    "or": lambda t: t["accounts"].find({"$or": [PICKED, {"_id": "nobody"}]}).to_list(),
    "expression": lambda t: t["accounts"].find({"$expr": {"$gt": ["$n", 15]}}).to_list(),
    "find_one": lambda t: t["accounts"].find_one(PICKED),
    "first": lambda t: t["accounts"].where(PICKED).first(),
    "count_documents": lambda t: t["accounts"].count_documents(PICKED),
    "count": lambda t: t["accounts"].where(PICKED).count(),
    "distinct": lambda t: t["accounts"].distinct("n", PICKED),
    "query distinct": lambda t: t["accounts"].where(PICKED).distinct("n"),
    "aggregate": lambda t: t["accounts"].aggregate([MATCH, {"$project": {"n": 1}}]).to_list(),
    "group": lambda t: t["accounts"]
    .aggregate([MATCH, {"$group": {"_id": "$owner", "n": {"$sum": "$n"}, "all": {"$push": "$n"}}}])
    .to_list(),
    "group of all": lambda t: t["accounts"].aggregate([{"$group": {"_id": "$owner", "n": {"$sum": "$n"}}}]).to_list(),
    "$count": lambda t: t["accounts"].aggregate([MATCH, {"$count": "n"}]).to_list(),
    "$sort, $limit": lambda t: t["accounts"].aggregate([MATCH, {"$sort": {"n": 1}}, {"$limit": 2}]).to_list(),
    "$facet": lambda t: t["accounts"].aggregate([{"$facet": {"x": [MATCH, {"$count": "n"}]}}]).to_list(),
    "$match late": lambda t: t["accounts"].aggregate([{"$set": {"m": "$n"}}, {"$match": {"m": {"$gt": 15}}}]).to_list(),
    "$lookup": lambda t: t["one"]
    .aggregate([{"$lookup": {"from": "accounts", "localField": "owner", "foreignField": "owner", "as": "found"}}])
    .to_list(),
    "$lookup pipeline": lambda t: t["one"]
    .aggregate([{"$lookup": {"from": "accounts", "pipeline": [MATCH], "as": "found"}}, *FOREIGN])
    .to_list(),
    "$lookup let": lambda t: t["one"]
    .aggregate(
        [
            {
                "$lookup": {
                    "from": "accounts",
                    "let": {"o": "$owner"},
                    "pipeline": [{"$match": {"n": {"$gt": 15}, "$expr": {"$eq": ["$owner", "$$o"]}}}],
                    "as": "found",
                }
            },
            *FOREIGN,
        ]
    )
    .to_list(),
    "$lookup in $lookup": lambda t: t["one"]
    .aggregate(
        [
            {
                "$lookup": {
                    "from": "one",
                    "pipeline": [{"$lookup": {"from": "accounts", "pipeline": [MATCH], "as": "found"}}],
                    "as": "inner",
                }
            }
        ]
    )
    .to_list(),
    "$graphLookup": lambda t: t["one"]
    .aggregate(
        [
            {
                "$graphLookup": {
                    "from": "accounts",
                    "startWith": "$owner",
                    "connectFromField": "none",
                    "connectToField": "owner",
                    "restrictSearchWithMatch": {"n": {"$gt": 15}},
                    "as": "found",
                }
            },
            *FOREIGN,
        ]
    )
    .to_list(),
    "$unionWith": lambda t: t["one"].aggregate([{"$unionWith": {"coll": "accounts", "pipeline": [MATCH]}}]).to_list(),
    "$documents": lambda t: t.aggregate(
        [{"$documents": [{}]}, {"$lookup": {"from": "accounts", "pipeline": [MATCH], "as": "found"}}]
    ).to_list(),
}  # fmt: skip

CHANGES: dict[str, Callable[[Any], Any]] = {
    "insert": lambda c: c.insert_one({"_id": "aa", "n": 16, "owner": "ann"}),
    "enter": lambda c: c.update_one({"_id": "a"}, {"$set": {"n": 17}}),
    "leave": lambda c: c.update_one({"_id": "b"}, {"$set": {"n": 1}}),
    "delete": lambda c: c.delete_one({"_id": "b"}),
    "replace": lambda c: c.replace_one({"_id": "b"}, {"owner": "bob"}),
}

every_read = pytest.mark.parametrize("read", READS.values(), ids=READS)
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def fill(db: docdb.Database) -> None:
    db["one"].insert_one({"_id": 1, "owner": "ann"})
    db["accounts"].create_index([("owner", 1), ("n", 1)])
    db["accounts"].insert_many([{"_id": id, "n": n, "owner": "ann"} for id, n in (("a", 10), ("b", 20), ("c", 30))])


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    with docdb.open(":memory:") as opened:
        fill(opened)
        yield opened


def plain(found: Any) -> Any:
    return found.to_list() if hasattr(found, "to_list") else found


@every_read
@every_change
def test_what_was_read_has_not_changed_at_commit(db: docdb.Database, read: Read, change: Any) -> None:
    t = db.start_transaction()
    first = plain(read(t))
    t["log"].insert_one({"read": True})
    change(db["accounts"])
    assert plain(read(db)) != first
    assert plain(read(t)) == first
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    assert "log" not in db.list_collection_names()


@every_read
def test_what_nobody_asked_for_may_change(db: docdb.Database, read: Read) -> None:
    t = db.start_transaction()
    read(t)
    t["log"].insert_one({"read": True})
    db["elsewhere"].insert_one({"n": 25, "owner": "ann"})
    t.commit()
    assert db["log"].count_documents({}) == 1


@every_read
@every_change
def test_own_writes_are_read_and_nobody_elses(db: docdb.Database, read: Read, change: Any) -> None:
    before = plain(read(db))
    t = db.start_transaction()
    change(t["accounts"])
    own = plain(read(t))
    assert own != before
    with db.snapshot() as view, db.transaction() as other:
        assert plain(read(db)) == plain(read(other)) == plain(read(view)) == before
    t.commit()
    assert plain(read(db)) == own


@every_read
def test_nothing_of_a_rollback_is_read(db: docdb.Database, read: Read) -> None:
    before = plain(read(db))
    t = db.start_transaction()
    CHANGES["insert"](t["accounts"])
    t.rollback()
    assert plain(read(db)) == before


@every_read
def test_no_skew(db: docdb.Database, read: Read) -> None:
    """Both look, and each writes what the other would have seen."""
    one, two = db.start_transaction(), db.start_transaction()
    assert plain(read(one)) == plain(read(two))
    CHANGES["insert"](one["accounts"])
    CHANGES["enter"](two["accounts"])
    one.commit()
    with pytest.raises(docdb.TransactionConflict):
        two.commit()


@every_read
def test_reads_belong_together(db: docdb.Database, read: Read) -> None:
    """No read skew: what was read first fixes the state of everything that is read later."""
    before = plain(read(db))
    t = db.start_transaction()
    assert t["one"].find_one({"_id": 1})["owner"] == "ann"
    with db.transaction() as other:
        other["one"].update_one({"_id": 1}, {"$set": {"seen": True}})
        CHANGES["insert"](other["accounts"])
    assert plain(read(t)) == before
    t.commit()


WRITES: dict[str, Callable[[Any], Any]] = {
    "update_one": lambda c: c.update_one({"_id": "a"}, {"$inc": {"n": 1}}),
    "update_many": lambda c: c.update_many(PICKED, {"$inc": {"n": 1}}),
    "pipeline": lambda c: c.update_many({}, [{"$set": {"n": {"$add": ["$n", 1]}}}]),
    "replace_one": lambda c: c.replace_one({"_id": "a"}, {"n": 11, "owner": "ann"}),
    "delete_one": lambda c: c.delete_one({"_id": "a"}),
    "delete_many": lambda c: c.delete_many({"n": {"$lt": 15}}),
    "find_one_and_update": lambda c: c.find_one_and_update({"n": {"$lt": 15}}, {"$inc": {"n": 1}}),
    "find_one_and_replace": lambda c: c.find_one_and_replace({"n": {"$lt": 15}}, {"n": 11}),
    "find_one_and_delete": lambda c: c.find_one_and_delete({"n": {"$lt": 15}}),
    "upsert": lambda c: c.update_one({"owner": "bob"}, {"$set": {"n": 1}}, upsert=True),
    "bulk_write": lambda c: c.bulk_write(
        [docdb.UpdateOne({"_id": "a"}, {"$inc": {"n": 1}}), docdb.DeleteOne({"n": 20})]
    ),
    "insert_one": lambda c: c.insert_one({"_id": "d", "n": 1}),
    "insert_many": lambda c: c.insert_many([{"_id": "d", "n": 1}, {"_id": "e", "n": 1}]),
    "doc.set": lambda c: c.doc("a").set({"n": 1}),
    "doc.update": lambda c: c.doc("a").update({"n": _.inc(1)}),
    "doc.remove": lambda c: c.doc("a").remove(),
    "where.update": lambda c: c.where(PICKED).update({"n": _.inc(1)}),
    "where.remove": lambda c: c.where(PICKED).remove(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_no_lost_update(db: docdb.Database, write: Any) -> None:
    """The same write in two transactions, neither of which reads by itself: the second one knows nothing of the first."""
    one, two = db.start_transaction(), db.start_transaction()
    write(one["accounts"])
    write(two["accounts"])
    one.commit()
    done = db["accounts"].find().to_list()
    with pytest.raises(docdb.TransactionConflict):
        two.commit()
    assert db["accounts"].find().to_list() == done


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_no_lost_update_by_a_plain_write(db: docdb.Database, write: Any) -> None:
    t = db.start_transaction()
    write(t["accounts"])
    write(db["accounts"])
    done = db["accounts"].find().to_list()
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    assert db["accounts"].find().to_list() == done


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_finds_nothing_is_a_read(db: docdb.Database, write: Any) -> None:
    """It is refused when there is something to be found at its commit; what inserts is refused by the same key."""
    db["accounts"].delete_many({})
    t = db.start_transaction()
    write(t["accounts"])
    t["log"].insert_one({"wrote": True})
    db["accounts"].insert_many(
        [{"_id": id, "n": n, "owner": "ann"} for id, n in (("a", 10), ("b", 20), ("d", 1), ("e", 1))]
    )
    db["accounts"].insert_one({"_id": "f", "owner": "bob"})
    with pytest.raises(docdb.TransactionConflict):
        t.commit()


@pytest.mark.parametrize("write", ["insert_one", "update_one", "replace_one", "find_one_and_update"])
def test_a_unique_key_is_given_once(db: docdb.Database, write: str) -> None:
    db["accounts"].create_index("key", unique=True, sparse=True)
    takes: dict[str, Callable[[Any, str], Any]] = {
        "insert_one": lambda c, id: c.insert_one({"_id": id * 2, "key": 1}),
        "update_one": lambda c, id: c.update_one({"_id": id}, {"$set": {"key": 1}}),
        "replace_one": lambda c, id: c.replace_one({"_id": id}, {"key": 1}),
        "find_one_and_update": lambda c, id: c.find_one_and_update({"_id": id}, {"$set": {"key": 1}}),
    }
    one, two = db.start_transaction(), db.start_transaction()
    takes[write](one["accounts"], "a")
    takes[write](two["accounts"], "b")
    one.commit()
    with pytest.raises(docdb.TransactionConflict):
        two.commit()
    assert db["accounts"].count_documents({"key": 1}) == 1
    with pytest.raises(docdb.DuplicateKeyError), db.transaction() as again:
        takes[write](again["accounts"], "b")


# The same with asyncio


async def answer(found: Any) -> Any:
    return plain(await found) if isinstance(found, Awaitable) else plain(found)


@every_read
def test_asyncio_repeats_reads_and_refuses_what_has_changed(tmp_path: Path, read: Read) -> None:
    async def main() -> None:
        async with aio.open(":memory:") as db:
            fill(db._inner)
            t = await db.start_transaction()
            first = await answer(read(t))
            await t["log"].insert_one({"read": True})
            await db["accounts"].insert_one({"_id": "aa", "n": 16, "owner": "ann"})
            assert await answer(read(db)) != first
            assert await answer(read(t)) == first
            with pytest.raises(docdb.TransactionConflict):
                await t.commit()

    asyncio.run(main())


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_asyncio_loses_no_update(write: Any) -> None:
    async def main() -> None:
        async with aio.open(":memory:") as db:
            fill(db._inner)
            one, two = await db.start_transaction(), await db.start_transaction()
            await write(one["accounts"])
            await write(two["accounts"])
            await one.commit()
            with pytest.raises(docdb.TransactionConflict):
                await two.commit()

    asyncio.run(main())
