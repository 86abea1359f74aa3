"""What explain prints."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.planner.planner import plan
from tests.planner.fakes import FakeView, index, query

ROWS = [{"_id": n, "a": n % 10, "b": n, "tags": [n % 3, "x"]} for n in range(200)]


def view() -> FakeView:
    return FakeView(ROWS, index(1, {"a": 1, "b": -1}), index(2, {"tags": 1}))


def test_a_range_behind_an_equality_sorted_by_the_index() -> None:
    asked = query({"a": 3, "b": {"$gte": 50, "$lt": 100}}, sort={"b": 1}, limit=2)
    assert plan(asked, view()).explain(view()) == {
        "access": "IndexScan",
        "index": "a_1_b_-1",
        "keys": {"a": 1, "b": -1},
        "bounds": {"a": ["[3]"], "b": ["[50, 100)"]},
        "ranges": 1,
        "direction": "backward",
        "merge": False,
        "multikey": False,
        "filter": "none",
        "program": "none",
        "sort": "index",
        "covered": False,
        "stages": ["IndexScan", "fetch", "limit"],
        "candidates": [{"access": "IndexScan", "index": "a_1_b_-1", "estimate": 2, "counted": False}],
        "entries_examined": 5,
        "documents_examined": 2,
        "returned": 2,
    }


@pytest.mark.parametrize(
    ("filter", "sort", "advice"),
    [
        ({"c": 1}, {}, 'create_index([("c", 1)])'),
        ({"d": {"$gt": 1}, "c": 1}, {"b": -1}, 'create_index([("c", 1), ("b", 1), ("d", 1)])'),
        ({}, {"b": 1, "a": -1}, 'create_index([("b", 1), ("a", -1)])'),
        ({"c": {"$ne": 1}}, {}, None),
        ({}, {}, None),
        ({"a": 3}, {}, None),
    ],
    ids=["equality", "equality, sort, range", "sort alone", "nothing helps", "everything is asked for", "there is one"],
)
def test_advice(filter: dict[str, Any], sort: dict[str, int], advice: str | None) -> None:
    assert plan(query(filter, sort=sort), view()).explain(view(), execute=False).get("advice") == advice


@pytest.mark.parametrize(
    ("filter", "bounds"),
    [
        ({"tags": {"$in": [1, "x"]}}, ["[1]", "['x']"]),
        ({"tags": None}, ["[None]"]),
        ({"tags": {"$regex": "^ab"}}, ["['ab'..., 'ac'...)", "[Regex('^ab', '')]"]),
        ({"tags": {"$gt": 1, "$lt": 2}}, ["(1, end of numbers)"]),
        ({"tags": {"$elemMatch": {"$gt": 1, "$lt": 2}}}, ["(1, 2)"]),
        ({"tags": {"$ne": 1}}, ["[MinKey, 1)", "(1, MaxKey)"]),
    ],
    ids=["in", "null", "prefix", "two ranges of an array", "one element", "complement"],
)
def test_bounds_are_readable(filter: dict[str, Any], bounds: list[str]) -> None:
    shown = plan(query(filter, hint="tags_1"), view()).explain(view(), execute=False)
    assert shown["bounds"] == {"tags": bounds}


def test_points_merged_for_a_sort() -> None:
    shown = plan(query({"a": {"$in": [1, 2]}}, sort={"b": -1}, limit=3), view()).explain(view())
    assert (shown["merge"], shown["ranges"], shown["sort"], shown["returned"]) == (True, 2, "index", 3)


def test_a_fallback_is_shown() -> None:
    rows = [{"_id": n, "group": n % 100, "when": n} for n in range(4_000)]
    raced = FakeView(rows, index(1, {"group": 1}), index(2, {"when": 1}))
    shown = plan(query({"group": 5}, sort={"when": 1}, limit=1), raced).explain(raced)
    assert shown["index"] == "group_1"
    assert shown["stages"] == ["IndexScan", "fetch", "top", "limit"]


def test_candidates_show_what_was_counted() -> None:
    shown = plan(query({"a": 3, "b": {"$gte": 50, "$lt": 100}}), view()).explain(view(), execute=False)
    assert shown["candidates"] == [
        {"access": "FullScan", "index": None, "estimate": 200, "counted": True},
        {"access": "IndexScan", "index": "a_1_b_-1", "estimate": 5, "counted": True},
    ]


def test_an_index_that_is_there_is_not_advised() -> None:
    import docdb

    with docdb.open(":memory:") as db:
        db["c"].insert_many([{"z": 1}, {"z": 1}])
        db["c"].create_index("z")
        explained = db["c"].find({"z": 1}).explain()
    assert explained["access"] == "FullScan"
    assert "advice" not in explained
