"""Rearranged pipelines: what is done to which, and that the answer stays the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

import docdb
from docdb.pipeline.optimiser import optimise
from tests.fuzz import sensible, targets

MATCH = {"$match": {"a": 1}}


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([{"$sort": {"b": 1}}, MATCH], [MATCH, {"$sort": {"b": 1}}]),
        ([{"$addFields": {"b": 1}}, MATCH], [MATCH, {"$addFields": {"b": 1}}]),
        ([{"$addFields": {"a": 1}}, MATCH], [{"$addFields": {"a": 1}}, MATCH]),
        ([{"$project": {"x": "$a"}}, {"$match": {"x": 1}}], [MATCH, {"$project": {"x": "$a"}}]),
        ([{"$unwind": "$b"}, MATCH], [MATCH, {"$unwind": "$b"}]),
        ([{"$unwind": "$a"}, MATCH], [{"$unwind": "$a"}, MATCH]),
        ([{"$limit": 3}, MATCH], [{"$limit": 3}, MATCH]),
        ([{"$group": {"_id": "$a"}}, MATCH], [{"$group": {"_id": "$a"}}, MATCH]),
        ([MATCH, {"$match": {"b": 2}}], [{"$match": {"a": 1, "b": 2}}]),
        ([MATCH, {"$match": {"a": 2}}], [{"$match": {"$and": [{"a": 1}, {"a": 2}]}}]),
        ([{"$set": {"b": 1}}, {"$match": {"a": 1, "b": 2}}], [MATCH, {"$set": {"b": 1}}, {"$match": {"b": 2}}]),
        ([{"$limit": 3}, {"$limit": 2}], [{"$limit": 2}]),
        ([{"$skip": 3}, {"$skip": 2}], [{"$skip": 5}]),
        ([{"$limit": 5}, {"$skip": 2}], [{"$skip": 2}, {"$limit": 3}]),
        ([{"$set": {"b": 1}}, {"$limit": 2}], [{"$limit": 2}, {"$set": {"b": 1}}]),
        ([{"$unwind": "$b"}, {"$limit": 2}], [{"$unwind": "$b"}, {"$limit": 2}]),
        ([{"$sort": {"a": 1}}, {"$count": "n"}], [{"$count": "n"}]),
        ([{"$set": {"b": 1}}, {"$group": {"_id": "$a"}}], [{"$group": {"_id": "$a"}}]),
        ([{"$sample": {"size": 3}}, MATCH], [{"$sample": {"size": 3}}, MATCH]),
        ([{"$set": {"b": 1}}, {"$match": {"$expr": {"$lt": [{"$rand": {}}, 0.5]}}}], None),
    ],
    ids=str,
)
def test_what_is_moved(stages: list[Any], expected: list[Any] | None) -> None:
    assert list(optimise(stages).stages) == (stages if expected is None else expected)


def test_random_pipelines_answer_as_they_were_written() -> None:
    for seed in range(1_500):
        targets.TARGETS["optimised"](random.Random(seed))


def test_nested_paths_and_arrays_stay_behind_what_changes_them() -> None:
    chance = random.Random(3)
    documents = [sensible.document(chance, n) for n in range(200)]
    stages = [{"$set": {"a.b": 1}}, {"$match": {"a.b": 1, "c": {"$ne": 2}}}, {"$sort": {"_id": -1}}, {"$limit": 20}]
    with docdb.open(":memory:") as db:
        db["items"].insert_many(documents)
        found = list(db["items"].aggregate(stages))
        with targets.written_as_is():
            assert found == list(db["items"].aggregate(stages))


def test_explain_says_what_was_done() -> None:
    with docdb.open(":memory:") as db:
        items = db["items"]
        items.create_index("a")
        items.insert_many([{"a": n % 10, "b": n} for n in range(100)])
        explained = items.aggregate().set({"b": 1}).match({"a": 1}).explain()
        assert (explained["access"], explained["optimiser"]) == ("IndexScan", ["moved $match before $set"])
