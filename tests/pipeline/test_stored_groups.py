"""$group over what an index, a union, a limit or a filter in Python leaves: the same groups as the stages make."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import docdb
from docdb import _native
from docdb.pipeline import grouping, stages_join
from docdb.sessions.sources import PipelineSources
from tests.fuzz.targets import written_as_is

T = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
GROUP: dict[str, Any] = {"$group": {"_id": "$k", "n": {"$sum": 1}, "v": {"$sum": "$v"}, "m": {"$avg": "$v"}}}
MATCHES: dict[str, list[dict[str, Any]]] = {
    "index": [{"$match": {"v": {"$gte": 100, "$lt": 700}}}],
    "index and filter": [{"$match": {"v": {"$gte": 100, "$lt": 700}, "w": {"$gt": 3}}}],
    "index and expression": [{"$match": {"v": {"$lt": 700}, "$expr": {"$gt": ["$w", 3]}}}],
    "multikey": [{"$match": {"tags": {"$in": ["a", "b"]}}}],
    "union": [{"$match": {"$or": [{"v": {"$lt": 50}}, {"tags": "a"}]}}],
    "ids": [{"$match": {"_id": {"$in": [3, 4, 5, 1_000]}}}],
    "filter": [{"$match": {"w": {"$gt": 3}}}],
    "expression": [{"$match": {"$expr": {"$gt": ["$w", 3]}}}],
    "limit": [{"$sort": {"v": -1}}, {"$limit": 100}],
    "skip": [{"$match": {"v": {"$gte": 100}}}, {"$sort": {"v": 1}}, {"$skip": 10}],
    "sort in memory": [{"$sort": {"w": 1, "v": 1}}, {"$limit": 100}],
    "nothing": [{"$match": {"v": {"$lt": 0}}}],
}


@pytest.fixture(scope="module", params=["memory", "pages"])
def items(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("groups") / "db"
    with docdb.open(":memory:" if request.param == "memory" else folder) as db:
        db["items"].create_index("v")
        db["items"].create_index("tags")
        db["items"].insert_many(
            {"_id": n, "k": n % 7, "v": n * 37 % 1000, "w": n % 11, "tags": ["a", "b", "c"][: n % 4]}
            for n in range(1000)
        )
        yield db["items"]


@pytest.mark.parametrize("name", MATCHES)
def test_the_same_groups_by_any_path(items: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = [*MATCHES[name], GROUP, {"$sort": {"_id": 1}}]
    found = list(items.aggregate(pipeline))
    monkeypatch.setattr(PipelineSources, "optimises", False)
    assert found == list(items.aggregate(pipeline))


STAGES: dict[str, list[dict[str, Any]]] = {
    "unwind": [{"$unwind": "$tags"}, {"$group": {"_id": "$tags", "n": {"$sum": 1}, "l": {"$last": "$v"}}}, {"$sort": {"_id": 1}}],
    "histogram": [{"$group": {"_id": {"$dateTrunc": {"date": "$t", "unit": "day", "timezone": "Asia/Tokyo"}}, "v": {"$max": "$v"}}}, {"$sort": {"_id": 1}}],
    "count of groups": [{"$unwind": "$tags"}, {"$group": {"_id": {"t": "$tags", "k": "$k"}}}, {"$count": "n"}],
    "count of dates": [{"$group": {"_id": {"$month": "$t"}}}, {"$count": "n"}],
    "bucket": [{"$bucket": {"groupBy": "$v", "boundaries": [0, 100, 1000], "output": {"s": {"$sum": "$w"}}}}],
    "facet": [{"$facet": {"n": [{"$count": "n"}], "k": [{"$sortByCount": "$k"}, {"$limit": 2}],
                          "t": [{"$unwind": "$tags"}, {"$group": {"_id": "$tags"}}, {"$sort": {"_id": 1}}]}}],
    "facet of others": [{"$facet": {"n": [{"$count": "n"}], "v": [{"$sort": {"v": 1}}, {"$limit": 2}]}}],
    "count": [{"$count": "n"}, {"$addFields": {"twice": {"$multiply": ["$n", 2]}}}],
    "sort by count": [{"$match": {"k": {"$ne": 2}}}, {"$sortByCount": "$k"}, {"$project": {"_id": 0}}],
    "lookup": [
        {"$lookup": {"from": "items", "localField": "w", "foreignField": "_id", "as": "o"}}, {"$unwind": "$o"},
        {"$group": {"_id": {"k": "$o.k", "w": "$w"}, "n": {"$sum": 1}, "v": {"$sum": "$o.v"}, "f": {"$first": "$_id"}}}, {"$sort": {"_id": 1}},
    ],
    "lookup of several": [
        {"$lookup": {"from": "items", "localField": "_id", "foreignField": "k", "as": "o"}},
        {"$unwind": {"path": "$o", "preserveNullAndEmptyArrays": True}}, {"$sortByCount": "$o.w"}, {"$sort": {"_id": 1}},
    ],
    "lookup of nothing": [
        {"$lookup": {"from": "none", "localField": "k", "foreignField": "k", "as": "o"}},
        {"$unwind": {"path": "$o", "preserveNullAndEmptyArrays": True}}, {"$group": {"_id": "$o", "n": {"$sum": 1}}},
    ],
    "unwind and sort by count": [{"$unwind": "$tags"}, {"$sortByCount": "$tags"}],
}  # fmt: skip


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("name", MATCHES)
def test_other_stages_over_stored_bytes(items: Any, name: str, stages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = [*MATCHES[name], *STAGES[stages]]
    found = list(items.aggregate(pipeline))
    monkeypatch.setattr(PipelineSources, "optimises", False)
    assert found == list(items.aggregate(pipeline))


@pytest.mark.parametrize("path", ["k", "tags", "t", "w", "nothing"])
def test_distinct(items: Any, path: str) -> None:
    for filter in ({}, {"w": {"$gt": 3}}, {"v": {"$lt": 500}}, {"$expr": {"$gt": ["$w", 3]}}):
        found = items.distinct(path, filter)
        values = [document.get(path, []) for document in items.find(filter)]
        expected = {item for value in values for item in (value if isinstance(value, list) else [value])}
        assert sorted(found) == sorted(expected)


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
def test_explain_names_the_stages_that_need_no_documents(items: Any) -> None:
    low = items.aggregate().match({"v": {"$gte": 100}})
    shown = low.unwind("$tags").group({"_id": "$tags"}).sort({"_id": 1}).explain("queryPlanner")
    assert shown["stored"] == ["$unwind", "$group"]
    assert shown["pipeline"] == ["$unwind", "$group", "$sort"]
    joined = items.aggregate().lookup(STAGES["lookup"][0]["$lookup"]).unwind("$o")
    assert joined.group({"_id": "$o.k"}).explain("queryPlanner")["stored"] == ["$lookup", "$unwind", "$group"]
    assert items.aggregate().group({"_id": "$k", "all": {"$push": "$v"}}).explain("queryPlanner")["stored"] == []


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
@pytest.mark.parametrize("name", [name for name in MATCHES if name != "sort in memory"])
def test_the_kernel_makes_them(items: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def run(self: Any, *given: Any) -> Any:
        made.append(original(self, *given))
        return made[-1]

    original = grouping.Grouping.run
    monkeypatch.setattr(grouping.Grouping, "run", run)
    found = list(items.aggregate([*MATCHES[name], GROUP]))
    assert made == [found]


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
@pytest.mark.parametrize("name", [name for name in MATCHES if name != "sort in memory"])
def test_the_kernel_joins_them(items: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = [*MATCHES[name], *STAGES["lookup"]]
    with written_as_is():
        expected = list(items.aggregate(pipeline))
    monkeypatch.setattr(stages_join, "FieldJoin", None)
    assert list(items.aggregate(pipeline)) == expected


def test_what_a_transaction_has_written_is_grouped_with_the_rest(tmp_path: Any) -> None:
    with docdb.open(tmp_path / "db") as db:
        db["items"].create_index("v")
        db["items"].insert_many({"_id": n, "k": n % 3, "v": n} for n in range(300))
        with db.transaction() as transaction:
            items = transaction["items"]
            items.insert_many([{"_id": 1000 + n, "k": 5, "v": n} for n in range(10)])
            items.update_many({"v": {"$lt": 30}}, {"$set": {"k": 7}})
            items.delete_many({"v": {"$gte": 200, "$lt": 250}})
            for front in ([], [{"$match": {"v": {"$gte": 5, "$lt": 220}}}]):
                pipeline = [
                    *front,
                    {"$group": {"_id": "$k", "n": {"$sum": 1}, "v": {"$sum": "$v"}}},
                    {"$sort": {"_id": 1}},
                ]
                found = list(items.aggregate(pipeline))
                with written_as_is():
                    assert found == list(items.aggregate(pipeline))
                assert sum(row["n"] for row in found) == len(list(items.aggregate(front)))
                joined = [*front, {"$lookup": {"from": "items", "localField": "k", "foreignField": "v", "as": "o"}},
                          {"$unwind": "$o"}, {"$group": {"_id": "$o._id", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]  # fmt: skip
                found = list(items.aggregate(joined))
                with written_as_is():
                    assert found == list(items.aggregate(joined))
                assert {7, 1007} <= {row["_id"] for row in found}
