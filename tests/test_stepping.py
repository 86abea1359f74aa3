"""Large writes in steps."""

from __future__ import annotations

import pytest

import docdb


@pytest.fixture
def numbers() -> docdb.Collection:
    collection = docdb.open(":memory:")["numbers"]
    collection.insert_many(({"_id": i, "n": i} for i in range(100)), batch=7)
    return collection


def commits(collection: docdb.Collection) -> int:
    return int(collection.session.store.writer.commits)


def test_insert_takes_an_iterator_in_steps(numbers: docdb.Collection) -> None:
    assert numbers.count_documents({}) == 100


@pytest.mark.parametrize(("batch", "steps"), [(10, 5), (50, 1), (1000, 1)], ids=["ten", "all", "more"])
def test_update_commits_in_steps(numbers: docdb.Collection, batch: int, steps: int) -> None:
    before = commits(numbers)
    result = numbers.update_many({"n": {"$lt": 50}}, {"$inc": {"n": 1000}}, batch=batch)
    assert (result.matched_count, result.modified_count) == (50, 50)
    assert commits(numbers) - before == steps
    assert numbers.count_documents({"n": {"$gte": 1000}}) == 50


def test_delete_in_steps(numbers: docdb.Collection) -> None:
    assert numbers.delete_many({"n": {"$gte": 90}}, batch=3).deleted_count == 10
    assert numbers.count_documents({}) == 90


def test_an_error_says_how_far_it_came(numbers: docdb.Collection) -> None:
    numbers.update_one({"_id": 25}, {"$set": {"n": "text"}})
    with pytest.raises(docdb.UsageError) as caught:
        numbers.update_many({}, {"$inc": {"n": 1}}, batch=10)
    assert caught.value.done == 20
    assert numbers.find_one({"_id": 19})["n"] == 20
    assert numbers.find_one({"_id": 20})["n"] == 20


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "3"])
def test_batch_is_a_positive_integer(numbers: docdb.Collection, batch: object) -> None:
    with pytest.raises(docdb.UsageError):
        numbers.delete_many({}, batch=batch)
