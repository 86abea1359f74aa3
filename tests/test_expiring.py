"""A document is not returned from the moment it expires, whichever way is taken to it: not yet a microsecond before, no more at the moment itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import docdb
from docdb import command as _

NOW = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
LIFE_S = 60
MICROSECOND = dt.timedelta(microseconds=1)
POINT = {"type": "Point", "coordinates": [10, 50]}
ALL = {"n": {"$gte": 0}}

Road = Callable[[Any], list[Any]]


def ids(found: Any) -> list[Any]:
    return sorted(document["_id"] for document in found)


def numbers(found: Any) -> list[Any]:
    return sorted(document["n"] for document in found)


# Each finds the documents 1 (which expires) and 2, by their ids or numbers.
ROADS: dict[str, Road] = {
    "find": lambda d: ids(d["a"].find()),
    "find by index": lambda d: ids(d["a"].find(ALL)),
    "find covered": lambda d: numbers(d["a"].find(ALL, {"_id": 0, "n": 1})),
    "find covered by the expiring index": lambda d: [
        {dt.datetime(2024, 1, 1): 1}.get(document["at"].replace(tzinfo=None), 2)
        for document in d["a"].find({}, {"_id": 0, "at": 1}).hint("at_1")
    ],
    "find sorted": lambda d: ids(d["a"].find().sort("n", -1)),
    "find first of a sort": lambda d: ids(d["a"].find().sort("g", 1).limit(2)),
    "find in ids": lambda d: ids(d["a"].find({"_id": {"$in": [1, 2]}})),
    "find or": lambda d: ids(d["a"].find({"$or": [{"n": 1}, {"u": 2}]})),
    "find array member": lambda d: ids(d["a"].find({"tags": "x"})),
    "find path": lambda d: ids(d["a"].find({"w.k": {"$gte": 0}})),
    "find text": lambda d: ids(d["a"].find({"$text": {"$search": "apple"}})),
    "find near": lambda d: ids(d["a"].find({"loc": {"$near": {"$geometry": POINT}}})),
    "find within": lambda d: ids(d["a"].find({"loc": {"$geoWithin": {"$centerSphere": [[10, 50], 0.1]}}})),
    "find expression": lambda d: ids(d["a"].find({"$expr": {"$gte": ["$n", 0]}})),
    "find_one by id": lambda d: [id for id in (1, 2) if d["a"].find_one({"_id": id})],
    "find_one by unique key": lambda d: [u for u in (1, 2) if d["a"].find_one({"u": u})],
    "doc.get": lambda d: [id for id in (1, 2) if d["a"].doc(id).get()],
    "get": lambda d: ids(d["a"].get()),
    "where": lambda d: ids(d["a"].where({"n": _.gt(0)}).get()),
    "first": lambda d: [n for n in (1, 2) if d["a"].where({"n": n}).first()],
    "page": lambda d: ids(d["a"].order_by("n").limit(5).after("").get()),
    "distinct": lambda d: sorted(d["a"].distinct("n")),
    "distinct ids": lambda d: sorted(d["a"].distinct("_id")),
    "distinct of an array": lambda d: sorted(d["a"].distinct("numbers")),
    "aggregate": lambda d: ids(d["a"].aggregate([])),
    "$match, $project": lambda d: numbers(d["a"].aggregate([{"$match": ALL}, {"$project": {"n": 1}}])),
    "$group": lambda d: ids(d["a"].aggregate([{"$group": {"_id": "$n"}}])),
    "$group $push": lambda d: sorted(
        d["a"].aggregate([{"$group": {"_id": None, "n": {"$push": "$n"}}}]).to_list()[0]["n"]
    ),
    "$sortByCount": lambda d: ids(d["a"].aggregate([{"$sortByCount": "$n"}])),
    "$unwind": lambda d: ids(d["a"].aggregate([{"$unwind": "$numbers"}, {"$sortByCount": "$numbers"}])),
    "$facet": lambda d: numbers(d["a"].aggregate([{"$facet": {"x": [{"$match": ALL}]}}]).to_list()[0]["x"]),
    "$sort, $limit": lambda d: ids(d["a"].aggregate([{"$sort": {"n": 1}}, {"$limit": 2}])),
    "$sample": lambda d: ids(d["a"].aggregate([{"$sample": {"size": 10}}])),
    "$geoNear": lambda d: ids(d["a"].aggregate([{"$geoNear": {"near": POINT, "distanceField": "d"}}])),
    "$unionWith": lambda d: ids(d["none"].aggregate([{"$unionWith": "a"}])),
    "$lookup": lambda d: ids(
        d["one"]
        .aggregate([{"$lookup": {"from": "a", "localField": "g", "foreignField": "g", "as": "f"}}])
        .to_list()[0]["f"]
    ),
    "$lookup by id": lambda d: ids(
        d["one"]
        .aggregate([{"$lookup": {"from": "a", "localField": "both", "foreignField": "_id", "as": "f"}}])
        .to_list()[0]["f"]
    ),
    "$lookup pipeline": lambda d: ids(
        d["one"].aggregate([{"$lookup": {"from": "a", "pipeline": [], "as": "f"}}]).to_list()[0]["f"]
    ),
    "$graphLookup": lambda d: ids(
        d["one"]
        .aggregate(
            [{"$graphLookup": {"from": "a", "startWith": "$g", "connectFromField": "z", "connectToField": "g", "as": "f"}}]
        )
        .to_list()[0]["f"]
    ),
}  # fmt: skip

# Each counts the documents.
COUNTS: dict[str, Callable[[Any], int]] = {
    "count_documents": lambda d: d["a"].count_documents({}),
    "count_documents by index": lambda d: d["a"].count_documents(ALL),
    "count_documents of dates": lambda d: d["a"].count_documents({"at": {"$exists": True}}),
    "count": lambda d: d["a"].count(),
    "where.count": lambda d: d["a"].where({"n": _.gte(0)}).count(),
    "$count": lambda d: d["a"].aggregate([{"$count": "n"}]).to_list()[0]["n"],
    "$group $sum": lambda d: d["a"].aggregate([{"$group": {"_id": None, "n": {"$sum": 1}}}]).to_list()[0]["n"],
    "$bucket": lambda d: (
        d["a"].aggregate([{"$bucket": {"groupBy": "$n", "boundaries": [0, 10]}}]).to_list()[0]["count"]
    ),
    "$lookup $count": lambda d: (
        d["one"].aggregate([{"$lookup": {"from": "a", "pipeline": [{"$count": "n"}], "as": "f"}}]).to_list()[0]["f"][0]["n"]
    ),
}  # fmt: skip

# Each writes to what it finds, and tells how many that were.
WRITES: dict[str, Callable[[Any], int]] = {
    "update_one": lambda d: d["a"].update_one({"_id": 1}, {"$set": {"x": 1}}).matched_count,
    "update_many": lambda d: d["a"].update_many({"n": 1}, {"$set": {"x": 1}}).matched_count,
    "replace_one": lambda d: d["a"].replace_one({"_id": 1}, {"x": 1}).matched_count,
    "delete_one": lambda d: d["a"].delete_one({"_id": 1}).deleted_count,
    "delete_many": lambda d: d["a"].delete_many({"n": 1}).deleted_count,
    "find_one_and_update": lambda d: int(d["a"].find_one_and_update({"_id": 1}, {"$set": {"x": 1}}) is not None),
    "find_one_and_replace": lambda d: int(d["a"].find_one_and_replace({"n": 1}, {"x": 1}) is not None),
    "find_one_and_delete": lambda d: int(d["a"].find_one_and_delete({"u": 1}) is not None),
    "doc.update": lambda d: d["a"].doc(1).update({"x": 1}).updated,
    "doc.remove": lambda d: d["a"].doc(1).remove().removed,
    "where.update": lambda d: d["a"].where({"n": 1}).update({"x": 1}).updated,
    "bulk_write": lambda d: d["a"].bulk_write([docdb.UpdateOne({"_id": 1}, {"$set": {"x": 1}})]).matched_count,
}


class Clock:
    now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(clock: Clock) -> Iterator[docdb.Database]:
    with docdb.open(":memory:", sweep_s=None) as opened:
        opened._session.settings.clock = clock
        opened["a"].create_index("at", expire_after_s=LIFE_S)
        opened["a"].create_index("n")
        opened["a"].create_index("u", unique=True)
        opened["a"].create_index("tags")
        opened["a"].create_index([("words", "text")])
        opened["a"].create_index([("loc", "2dsphere")])
        opened["a"].create_index([("w.$**", 1)])
        opened["a"].insert_many([made(1, NOW), made(2, NOW + dt.timedelta(hours=1))])
        opened["one"].insert_one({"_id": "one", "g": "g", "both": [1, 2]})
        yield opened


def made(number: int, at: dt.datetime) -> dict[str, Any]:
    return {
        "_id": number, "n": number, "u": number, "at": at, "g": "g", "tags": ["x", "y"], "numbers": [number], "words": "apple pear",
        "loc": {"type": "Point", "coordinates": [10 + number / 100, 50]}, "w": {"k": number},
    }  # fmt: skip


def faces(db: docdb.Database, ask: Callable[[Any], Any]) -> list[Any]:
    """Return what the database, a view of it and a transaction answer."""
    with db.snapshot() as view, db.transaction() as t:
        return [ask(db), ask(view), ask(t)]


@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)
def test_no_road_leads_to_an_expired_document(db: docdb.Database, clock: Clock, road: Road) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S) - MICROSECOND
    assert faces(db, road) == [[1, 2]] * 3
    clock.now += MICROSECOND
    assert faces(db, road) == [[2]] * 3


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_an_expired_document_is_not_counted(db: docdb.Database, clock: Clock, count: Any) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S) - MICROSECOND
    assert faces(db, count) == [2, 2, 2]
    clock.now += MICROSECOND
    assert faces(db, count) == [1, 1, 1]


def test_the_counter_counts_what_is_not_yet_removed(db: docdb.Database, clock: Clock) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S)
    assert (db["a"].estimated_document_count(), db["a"].count_documents({})) == (2, 1)
    assert db.sweep() == 1
    assert db["a"].estimated_document_count() == 1


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a transaction"])
def test_an_expired_document_is_not_written_to(db: docdb.Database, clock: Clock, write: Any, inside: bool) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S)
    stream = db.changes()
    if inside:
        with db.transaction() as t:
            assert write(t) == 0
    else:
        assert write(db) == 0
    assert stream.try_next() is None
    assert db.sweep() == 1
    clock.now = NOW
    assert ids(db["a"].find()) == [2]
    assert db.check().problems == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_one_that_has_not_expired_is_written_to(db: docdb.Database, clock: Clock, write: Any) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S) - MICROSECOND
    assert write(db) == 1


def test_the_removal_is_an_ordinary_change(db: docdb.Database, clock: Clock) -> None:
    stream, before = db.changes(), db["a"].doc(1).get()
    told: list[Any] = []
    with db.trigger("a", "delete", lambda change: told.append((change.id, change.before)), name="t") as trigger:
        assert trigger.catch_up(20)
        clock.now = NOW + dt.timedelta(seconds=LIFE_S)
        assert stream.try_next() is None  # it is gone, but nobody has removed it yet
        commits = db.stats()["history"]["commits"]
        assert db.sweep() == 1
        (change,) = list(iter(stream.try_next, None))
        assert (change.operation, change.collection, change.id, change.before, change.after) == (
            "delete",
            "a",
            1,
            before,
            None,
        )
        assert db.stats()["history"]["commits"] == commits + 1
        assert trigger.catch_up(20)
    assert told == [(1, before)]


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a transaction"])
def test_the_unique_key_of_an_expired_document_is_free(db: docdb.Database, clock: Clock, inside: bool) -> None:
    clock.now = NOW + dt.timedelta(seconds=LIFE_S) - MICROSECOND
    with pytest.raises(docdb.DuplicateKeyError), db.transaction() as t:
        t["a"].insert_one({"_id": 3, "u": 1})
    clock.now += MICROSECOND
    stream = db.changes()
    with db.transaction() as t:
        (t if inside else db)["a"].insert_one({"_id": 3, "u": 1})
    told = [(change.operation, change.id) for change in iter(stream.try_next, None)]
    assert told == [("delete", 1), ("insert", 3)]
    assert db.sweep() == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda d: d["a"].insert_one({"_id": 1, "owner": "ann"}),
        lambda d: d["a"].bulk_write([docdb.InsertOne({"_id": 1, "owner": "ann"}), docdb.InsertOne({"_id": 5, "owner": "ann"})]),
        lambda d: d.run_transaction(lambda t: t["a"].insert_one({"_id": 1, "owner": "ann"})),
    ],
    ids=["alone", "bulk", "in a transaction"],
)  # fmt: skip
def test_a_caller_who_may_not_delete_takes_the_place_of_what_has_expired(
    db: docdb.Database, clock: Clock, write: Any
) -> None:
    own = "doc.owner == auth.openid"
    db.set_rules("a", {"read": own, "create": own, "update": own, "delete": False})
    db["a"].drop_index("u_1")
    clock.now = NOW + dt.timedelta(seconds=LIFE_S)
    stream = db.changes()
    write(db.as_user({"openid": "ann"}))
    told = [(change.operation, change.id) for change in iter(stream.try_next, None)]
    assert told[:2] == [("delete", 1), ("insert", 1)]
    assert db.check().problems == []


def test_a_clock_that_stands_still_keeps_what_a_transaction_has_seen(db: docdb.Database, clock: Clock) -> None:
    """``now`` is one value a transaction: what has not expired at its first operation does not vanish between two reads, nor is it lost at commit."""
    with db.transaction() as t, db.snapshot() as view:
        assert ids(t["a"].find()) == ids(view["a"].find()) == [1, 2]
        clock.now = NOW + dt.timedelta(seconds=LIFE_S)
        assert ids(t["a"].find()) == ids(view["a"].find()) == [1, 2]
        assert t["a"].doc(1).update({"at": NOW + dt.timedelta(hours=2)}).updated == 1
    assert ids(db["a"].find()) == [1, 2]


def test_a_transaction_whose_document_the_sweeper_took_is_a_conflict(db: docdb.Database, clock: Clock) -> None:
    t = db.start_transaction()
    assert t["a"].doc(1).update({"at": NOW + dt.timedelta(hours=2)}).updated == 1
    clock.now = NOW + dt.timedelta(seconds=LIFE_S)
    assert db.sweep() == 1
    with pytest.raises(docdb.TransactionConflict):
        t.commit()
    assert ids(db["a"].find()) == [2]
