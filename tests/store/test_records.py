"""Documents and their entries: what is refused leaves no trace, what is put keeps counters true."""

from __future__ import annotations

from typing import Any

import pytest

import docdb
from docdb.store import codec
from docdb.store.keyspace import EntryMaker, EntrySpec


@pytest.fixture
def items() -> Any:
    """Give an empty collection with an ordinary, a compound multikey and a unique index, in this order."""
    with docdb.open(":memory:") as db:
        collection = db["items"]
        collection.create_index("a")
        collection.create_index([("a", 1), ("tags", -1)])
        collection.create_index("u", unique=True)
        yield collection


def counts(collection: Any) -> dict[str, tuple[int, int, int]]:
    return {row["name"]: (row["entries"], row["cut"], row["multikey"]) for row in collection.index_stats()}


def test_a_refused_update_among_others_leaves_the_counters_of_earlier_indexes_alone(items: Any) -> None:
    items.insert_many([{"_id": 1, "a": 1, "u": 1}, {"_id": 2, "u": 2}])
    before = counts(items)
    requests = [
        docdb.UpdateOne({"_id": 1}, {"$set": {"a": [1, 2, 3], "u": 2}}),
        docdb.UpdateOne({"_id": 2}, {"$set": {"note": "something changes"}}),
    ]
    with pytest.raises(docdb.BulkWriteError) as caught:
        items.bulk_write(requests, ordered=False)
    assert [error["code"] for error in caught.value.details["writeErrors"]] == [11000]
    assert counts(items) == before


def test_parallel_arrays_among_others_leave_the_counters_of_earlier_indexes_alone(items: Any) -> None:
    items.insert_many([{"_id": 1, "a": 1, "u": 1}, {"_id": 2, "a": 2, "u": 2}])
    before = counts(items)
    requests = [
        docdb.UpdateOne({"_id": 1}, {"$set": {"a": [1, 2], "tags": [1, 2]}}),
        docdb.UpdateOne({"_id": 2}, {"$set": {"note": "something changes"}}),
    ]
    with pytest.raises(docdb.BulkWriteError) as caught:
        items.bulk_write(requests, ordered=False)
    assert [error["code"] for error in caught.value.details["writeErrors"]] == [171]
    assert counts(items) == before


def test_counters_follow_inserts_updates_and_deletes(items: Any) -> None:
    items.insert_many([{"_id": n, "a": [n, n + 1], "u": n} for n in range(10)])
    assert counts(items) == {"_id_": (10, 0, 0), "a_1": (20, 0, 20), "a_1_tags_-1": (20, 0, 20), "u_1": (10, 0, 0)}
    items.update_many({"_id": {"$lt": 5}}, {"$set": {"a": 1}})
    assert counts(items) == {"_id_": (10, 0, 0), "a_1": (15, 0, 10), "a_1_tags_-1": (15, 0, 10), "u_1": (10, 0, 0)}
    items.delete_many({"_id": {"$gte": 5}})
    assert counts(items) == {"_id_": (5, 0, 0), "a_1": (5, 0, 0), "a_1_tags_-1": (5, 0, 0), "u_1": (5, 0, 0)}


def test_long_values_are_counted_as_cut(items: Any) -> None:
    items.insert_one({"_id": 1, "a": "x" * 600, "u": "y" * 600})
    assert counts(items) == {"_id_": (1, 0, 0), "a_1": (1, 1, 0), "a_1_tags_-1": (1, 1, 0), "u_1": (1, 1, 0)}


def test_cut_unique_values_differ_by_their_digest(items: Any) -> None:
    items.insert_one({"_id": 1, "u": "y" * 600 + "1"})
    items.insert_one({"_id": 2, "u": "y" * 600 + "2"})
    with pytest.raises(docdb.DuplicateKeyError):
        items.insert_one({"_id": 3, "u": "y" * 600 + "2"})


def test_unique_values_may_change_places_in_one_update(items: Any) -> None:
    items.insert_many([{"_id": n, "u": n} for n in range(5)])
    assert items.update_many({}, {"$inc": {"u": 1}}).modified_count == 5
    assert [document["u"] for document in items.find().sort("_id", 1)] == [1, 2, 3, 4, 5]


def test_an_update_of_many_that_collides_changes_nothing(items: Any) -> None:
    items.insert_many([{"_id": n, "u": n} for n in range(5)])
    with pytest.raises(docdb.DuplicateKeyError):
        items.update_many({}, {"$set": {"u": 9}})
    assert items.distinct("u") == [0, 1, 2, 3, 4]


def test_documents_of_one_call_collide_with_each_other(items: Any) -> None:
    with pytest.raises(docdb.BulkWriteError) as caught:
        items.insert_many([{"_id": 1, "u": 1}, {"_id": 2, "u": 1}, {"_id": 3, "u": 3}], ordered=False)
    assert [error["index"] for error in caught.value.details["writeErrors"]] == [1]
    assert items.distinct("_id") == [1, 3]


@pytest.mark.parametrize("value", [1, 1.0, docdb.Int64(1)], ids=["int", "float", "Int64"])
def test_equal_numbers_collide_whatever_their_type(items: Any, value: Any) -> None:
    items.insert_one({"_id": "a", "u": 1})
    with pytest.raises(docdb.DuplicateKeyError) as caught:
        items.insert_one({"_id": "b", "u": value})
    assert caught.value.details["keyPattern"] == {"u": 1}


def test_a_changed_type_alone_changes_the_entry(items: Any) -> None:
    items.insert_one({"_id": 1, "a": 1, "u": 1})
    items.update_one({"_id": 1}, {"$set": {"a": 1.0}})
    assert type(next(iter(items.find({"a": 1}, {"_id": 0, "a": 1})))["a"]) is float


@pytest.mark.parametrize("native", [False, None], ids=["reference", "default"])
def test_bytes_that_are_no_document_have_no_entries(native: bool | None) -> None:
    maker = EntryMaker(EntrySpec(number=1, fields=((("a",), 1),), unique=False, sparse=False), native=native)
    with pytest.raises(docdb.CorruptError):
        maker.entries(b"\x20\x01", codec.encode_value(5))
