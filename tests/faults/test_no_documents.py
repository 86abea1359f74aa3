"""A stored value that is sound msgpack but no document is damage, whichever way it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.engine.base import DOCUMENTS
from docdb.errors import CorruptError
from docdb.language.order import order_key
from docdb.store import codec
from docdb.store.keyspace import document_key
from tests.engine.conftest import native_or_skip

pytestmark = pytest.mark.damaged
OWN = {"read": True, "write": True}


@pytest.fixture(params=["memory", "native", "public"])
def db(request: Any, tmp_path: Path) -> Iterator[docdb.Database]:
    """A database on each engine, with documents 0 to 9."""
    native = request.param == "native"
    assert not native or native_or_skip()
    opened = docdb.open(":memory:") if request.param == "memory" else docdb.open(tmp_path / "d", native=native)
    with opened as db:
        db["a"].create_index("n")
        db["a"].create_index([("k", 1), ("n", 1)])
        db["a"].create_index([("words", "text")])
        db["a"].create_index([("place", "2dsphere")])
        db["a"].create_index("$**", wildcardProjection={"wild": 1})
        db["a"].insert_many([document(n) for n in range(10)])
        db["one"].insert_one({"_id": 3})
        db.set_rules("a", OWN)
        db.set_rules("one", OWN)
        yield db


def document(n: int) -> dict[str, Any]:
    place = {"type": "Point", "coordinates": [n, n]}
    return {"_id": n, "n": n, "k": n % 2, "s": "x", "words": "red", "place": place, "wild": {"a": n}, "list": [n, n]}


def write_over(db: docdb.Database, stored: bytes) -> None:
    """Put these bytes in the place of document 3."""
    key = document_key(db._store.collection("a").number, order_key(3))
    txn = db._store.engine.begin(write=True)
    txn.put_many(DOCUMENTS, [(key, stored)])
    txn.commit()


def pipeline(*stages: Any) -> Callable[[docdb.Database], Any]:
    return lambda db: list(db["a"].aggregate(list(stages)))


def find(*arguments: Any, **options: Any) -> Callable[[docdb.Database], Any]:
    return lambda db: list(db["a"].find(*arguments, **options))


def in_transaction(db: docdb.Database) -> Any:
    with db.transaction() as transaction:
        return transaction["a"].doc(3).get()


def found_in_transaction(db: docdb.Database) -> Any:
    with db.transaction() as transaction:
        return list(transaction["a"].find({"n": 3}))


def in_snapshot(db: docdb.Database) -> Any:
    with db.snapshot() as snapshot:
        return snapshot["a"].doc(3).get()


def watched(db: docdb.Database) -> Any:
    with db["a"].where({"n": {"$lt": 5}}).watch() as query:
        return query.next(timeout_s=30).docs


NEAR = {"place": {"$near": {"$geometry": {"type": "Point", "coordinates": [0, 0]}}}}
WITHIN = {"place": {"$geoWithin": {"$centerSphere": [[3, 3], 0.01]}}}
ROADS: dict[str, Callable[[docdb.Database], Any]] = {
    "get": lambda db: db["a"].doc(3).get(),
    "get of fields": lambda db: db["a"].doc(3).field({"n": 1}).get(),
    "get twice": lambda db: [db["a"].doc(n).get() for n in (1, 2, 3)],
    "find one": lambda db: db["a"].find_one({"_id": 3}),
    "find one, other fields": lambda db: db["a"].find_one({"_id": 3}, {"absent": 1}),
    "by ids": find({"_id": {"$in": [1, 3]}}),
    "all": find({}),
    "by range of ids": find({"_id": {"$gt": 1}}),
    "backwards": find({}, sort=[("_id", -1)]),
    "by an index": find({"n": 3}),
    "by a range of an index": find({"n": {"$gte": 2, "$lt": 5}}),
    "by an index and a condition": find({"k": 1, "s": "x"}),
    "by two indexes": find({"$or": [{"n": 3}, {"k": 0}]}),
    "by words": find({"$text": {"$search": "red"}}),
    "by words and rank": find({"$text": {"$search": "red"}}, {"score": {"$meta": "textScore"}}),
    "near": find(NEAR),
    "within": find(WITHIN),
    "by a wildcard index": find({"wild.a": 3}),
    "a condition": find({"s": "x"}),
    "a condition on what is absent": find({"absent": None}),
    "a condition nothing meets": find({"s": "y"}),
    "a condition for the reference": find({"$expr": {"$eq": ["$s", "x"]}}),
    "fields": find({}, {"s": 1}),
    "fields of a filter": find({"s": "x"}, {"n": 1}),
    "no fields": find({}, {"absent": 1, "_id": 0}),
    "all fields but one": find({}, {"s": 0}),
    "computed fields": find({}, {"t": {"$concat": ["$s", "!"]}}),
    "sorted": find({}, sort=[("s", 1)]),
    "sorted, the first": find({}, sort=[("s", 1)], limit=10),
    "sorted, fields": find({}, {"s": 1}, sort=[("s", 1)], limit=10),
    "sorted by an index": find({}, sort=[("n", 1)]),
    "sorted in part": find({}, sort=[("k", 1), ("s", 1)], limit=10, hint="k_1_n_1"),
    "count of a condition": lambda db: db["a"].count_documents({"s": "x"}),
    "distinct": lambda db: db["a"].distinct("s"),
    "distinct of an array": lambda db: db["a"].distinct("list"),
    "a group": pipeline({"$group": {"_id": "$s", "t": {"$sum": "$n"}}}),
    "a group of a filter": pipeline({"$match": {"k": 1}}, {"$group": {"_id": "$s", "t": {"$sum": 1}}}),
    "a group of values": pipeline({"$group": {"_id": "$s", "t": {"$push": "$n"}}}),
    "an unwound group": pipeline({"$unwind": "$list"}, {"$group": {"_id": "$list", "t": {"$sum": 1}}}),
    "sort by count": pipeline({"$sortByCount": "$s"}),
    "buckets": pipeline({"$bucket": {"groupBy": "$n", "boundaries": [0, 5, 10], "default": "no"}}),
    "facets": pipeline({"$facet": {"a": [{"$group": {"_id": "$s", "t": {"$sum": 1}}}], "b": [{"$count": "n"}]}}),
    "stages": pipeline({"$set": {"t": 1}}),
    "stages of fields": pipeline({"$project": {"s": 1}}),
    "top": pipeline({"$sort": {"s": 1}}, {"$limit": 10}),
    "a window": pipeline({"$setWindowFields": {"sortBy": {"n": 1}, "output": {"t": {"$sum": "$n"}}}}),
    "a look-up": lambda db: list(
        db["one"].aggregate([{"$lookup": {"from": "a", "localField": "_id", "foreignField": "n", "as": "found"}}])
    ),
    "a union": lambda db: list(db["one"].aggregate([{"$unionWith": "a"}])),
    "a result": lambda db: list(db["a"].where({}).get()),
    "columns": lambda db: db["a"].where({}).field({"n": 1}).to_arrow(),
    "columns of a filter": lambda db: db["a"].where({"s": "x"}).to_arrow(),
    "in a transaction": in_transaction,
    "found in a transaction": found_in_transaction,
    "in a snapshot": in_snapshot,
    "watched": watched,
    "a user's get": lambda db: db.as_user({"id": "u"})["a"].doc(3).get(),
    "a user's find": lambda db: list(db.as_user({"id": "u"})["a"].find({})),
    "explained": lambda db: db["a"].where({"s": "x"}).explain(),
}


@pytest.mark.parametrize("value", [[1, 2], 5, None, "text"], ids=["array", "number", "null", "text"])
def test_it_is_refused_on_every_road(db: docdb.Database, value: Any) -> None:
    sound = {name: outcome(db, road) for name, road in ROADS.items()}
    assert {name: found for name, found in sound.items() if found != "fine"} == {}
    write_over(db, codec.encode_value(value))
    found = {name: outcome(db, road) for name, road in ROADS.items()}
    assert {name: result for name, result in found.items() if result != "CorruptError"} == {}


@pytest.mark.parametrize(
    "road", ["a condition", "fields of a filter", "count of a condition", "by an index and a condition"]
)
def test_what_is_cut_before_the_field_asked_for_is_no_match(db: docdb.Database, road: str) -> None:
    data = codec.encode(document(3))
    write_over(db, data[: data.index(b"\xa1s")])
    assert outcome(db, ROADS[road]) == "CorruptError"


def outcome(db: docdb.Database, road: Callable[[docdb.Database], Any]) -> str:
    try:
        road(db)
    except Exception as error:
        return type(error).__name__ if type(error) is CorruptError else repr(error)
    return "fine"
