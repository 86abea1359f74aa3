"""Pipelines over a real store: what $merge and $out leave behind, collations, densify's partitions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

import docdb
from docdb._native import AVAILABLE
from docdb.errors import DocdbError, DuplicateKeyError, QueryError, ValidationError

ENGLISH = {"locale": "en", "strength": 1}


@pytest.fixture
def db() -> Iterator[docdb.Database]:
    with docdb.open(":memory:", naive_dates="utc") as database:
        yield database


def filled(db: docdb.Database, name: str, *documents: dict[str, Any]) -> Any:
    db[name].insert_many(documents)
    return db[name]


def merged(db: docdb.Database, **options: Any) -> None:
    db["source"].aggregate([{"$merge": {"into": "target", **options}}])


def content(db: docdb.Database) -> list[dict[str, Any]]:
    return list(db["target"].find().sort("_id"))


@pytest.mark.parametrize("mode", ["merge", "replace", "keepExisting", [{"$set": {"b": "$$new.b"}}]], ids=str)
def test_merge_takes_let_null_as_not_given(db, mode):
    filled(db, "source", {"_id": 1, "b": 2})
    merged(db, let=None, whenMatched=mode)
    assert content(db) == [{"_id": 1, "b": 2}]


def test_merge_that_fails_on_a_match_writes_the_others(db):
    filled(db, "source", {"_id": 1}, {"_id": 2}, {"_id": 3})
    filled(db, "target", {"_id": 2, "old": True})
    with pytest.raises(DuplicateKeyError):
        merged(db, whenMatched="fail")
    assert content(db) == [{"_id": 1}, {"_id": 2, "old": True}, {"_id": 3}]


def test_merge_that_fails_without_a_match_changes_the_others(db):
    filled(db, "source", {"_id": 1}, {"_id": 2, "new": True})
    filled(db, "target", {"_id": 2})
    with pytest.raises(QueryError) as caught:
        merged(db, whenNotMatched="fail")
    assert caught.value.code == 13113
    assert content(db) == [{"_id": 2, "new": True}]


def test_merge_goes_on_behind_a_duplicate_of_another_key(db):
    filled(db, "source", {"_id": 1, "k": "dup"}, {"_id": 2, "k": "ok"})
    filled(db, "target", {"_id": 9, "k": "dup"})
    db["target"].create_index("k", unique=True)
    with pytest.raises(DuplicateKeyError):
        merged(db)
    assert [document["_id"] for document in content(db)] == [2, 9]


@pytest.mark.parametrize("value", [{"k": None}, {}], ids=["null", "missing"])
def test_merge_on_nothing_needs_an_index_that_is_not_sparse(db, value):
    filled(db, "source", {"_id": 1, "new": True, **value})
    filled(db, "target", {"_id": 1, "k": None})
    db["target"].create_index("k", unique=True)
    merged(db, on="k")
    assert content(db) == [{"_id": 1, "k": None, "new": True}]
    db["target"].drop_index("k_1")
    db["target"].create_index("k", unique=True, sparse=True)
    with pytest.raises(QueryError) as caught:
        merged(db, on="k")
    assert caught.value.code == 51132


def test_merge_with_a_constant_fill(db):
    filled(db, "source", {"_id": 1})
    filled(db, "target", {"_id": 1, "y": None})
    merged(db, whenMatched=[{"$fill": {"output": {"y": {"value": 42}}}}])
    assert content(db) == [{"_id": 1, "y": 42}]
    with pytest.raises(QueryError) as caught:
        merged(db, whenMatched=[{"$fill": {"output": {"y": {"method": "locf"}}}}])
    assert caught.value.code == 72


def test_merge_needs_a_unique_index_of_its_own_collation(db):
    filled(db, "source", {"_id": 1, "k": "a"})
    db["target"].create_index("k", unique=True, collation=ENGLISH)
    with pytest.raises(QueryError) as caught:
        merged(db, on="k")
    assert caught.value.code == 51183


def test_merge_never_changes_the_spelling_of_an_id(db):
    filled(db, "source", {"_id": "Apple"})
    db.create_collection("target", collation=ENGLISH)
    filled(db, "target", {"_id": "apple"})
    with pytest.raises(QueryError) as caught:
        db["source"].aggregate([{"$merge": {"into": "target"}}], collation=ENGLISH)
    assert caught.value.code == 66


def test_a_refused_out_leaves_the_target_and_no_scratch(db):
    db.create_collection("target", validator={"n": {"$type": "int"}})
    filled(db, "target", {"_id": 9, "n": 1})
    filled(db, "source", {"_id": 1, "n": "x"})
    with pytest.raises(ValidationError):
        db["source"].aggregate([{"$out": "target"}])
    assert content(db) == [{"_id": 9, "n": 1}]
    assert sorted(db.list_collection_names()) == ["source", "target"]


def test_the_simple_collation_takes_the_place_of_the_collections_own(db):
    db.create_collection("source", collation=ENGLISH)
    source = filled(db, "source", {"_id": 1, "x": "apple"}, {"_id": 2, "x": "Apple"})
    simple = {"locale": "simple"}
    assert len(list(source.aggregate([{"$match": {"x": "apple"}}]))) == 2
    assert len(list(source.aggregate([{"$match": {"x": "apple"}}], collation=simple))) == 1
    assert source.count_documents({"x": "apple"}) == 2
    assert source.count_documents({"x": "apple"}, collation=simple) == 1
    assert len(source.find({"x": "apple"}, collation=simple).to_list()) == 1
    assert source.distinct("x", collation=simple) == ["apple", "Apple"]


def test_densify_spells_the_partition_as_the_document_behind_the_gap(db):
    source = filled(db, "source", {"_id": 1, "p": "a", "n": 0}, {"_id": 2, "p": "A", "n": 2})
    stage = {"$densify": {"field": "n", "partitionByFields": ["p"], "range": {"step": 1, "bounds": "partition"}}}
    made = [d for d in source.aggregate([stage], collation=ENGLISH) if "_id" not in d]
    assert made == [{"p": "A", "n": 1}]


def test_a_refusal_of_a_pipeline_is_docdbs_own(db):
    with pytest.raises(DocdbError):
        db["source"].aggregate([{"$match": {"a": {"$no": 1}}}])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"let": {"a": 10, "b": "$$a"}}, 10),
        ({"let": {"b": {"$add": [1, 2]}}}, 3),
    ],
    ids=["an earlier variable", "an expression"],
)
def test_the_variables_of_let_are_expressions(db, options, expected):
    filled(db, "source", {"_id": 1})
    assert list(db["source"].aggregate([{"$set": {"y": "$$b"}}], **options)) == [{"_id": 1, "y": expected}]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda db: db["source"].aggregate([], let=42), 14),
        (lambda db: db["source"].aggregate([], let={"Upper": 1}), 9),
        (lambda db: db["source"].aggregate([], allow_disk_use="yes"), 14),
        (lambda db: db.aggregate([{"$match": {}}]), 73),
        (lambda db: db.aggregate([]), 73),
    ],
    ids=["let", "name of a variable", "allow_disk_use", "no collection", "nothing"],
)
def test_refused_calls_of_aggregate(db, call, code):
    with pytest.raises(DocdbError) as caught:
        call(db)
    assert caught.value.code == code


def test_naive_dates_reach_every_stage_of_a_pipeline(db):
    day = dt.datetime(2020, 1, 1)
    filled(db, "source", {"_id": 1, "d": day})
    same = {"$eq": ["$d", day]}
    stages = [{"$match": {"d": day}}, {"$set": {"same": same}}, {"$match": {"d": day, "$expr": same}}]
    assert [found["same"] for found in db["source"].aggregate(stages)] == [True]
    assert [found["n"] for found in db["source"].aggregate([{"$set": {"n": "$$v"}}], let={"v": day})] == [
        day.replace(tzinfo=dt.UTC)
    ]
    assert db["source"].update_one({"d": day}, [{"$set": {"same": same}}]).modified_count == 1
    assert db["source"].find_one({"_id": {"$gte": 0}})["same"] is True


def test_the_collation_of_a_collection_reaches_projections(db):
    db.create_collection("source", collation=ENGLISH)
    source = filled(db, "source", {"_id": 1, "x": ["A", "b"]})
    assert source.find_one({}, {"x": {"$elemMatch": {"$eq": "a"}}}) == {"_id": 1, "x": ["A"]}


def test_explain_of_a_pipeline(db):
    source = filled(db, "source", *({"_id": n, "a": n} for n in range(100)))
    source.create_index("a")
    building = source.aggregate().match({"a": {"$lt": 5}}).sort("a").group({"_id": None}).out("target")
    plan = building.explain()
    assert (plan["collection"], plan["access"], plan["pipeline"]) == ("source", "IndexScan", ["$group", "$out"])
    assert plan["returned"] == 5
    assert "returned" not in building.explain("queryPlanner")
    assert db.list_collection_names() == ["source"]
    assert source.aggregate(hint={"$natural": 1}).match({"a": 1}).explain()["access"] == "FullScan"


def test_explain_tells_rows_fields_and_kernels(db):
    source = filled(db, "source", *({"_id": n, "a": n, "b": {"c": n % 3}, "d": 1} for n in range(100)))
    building = (
        source.aggregate()
        .match({"a": {"$gte": 40}})
        .project({"k": "$b.c", "a": 1})
        .group({"_id": "$k", "all": {"$push": "$a"}})
    )
    plan = building.explain()
    assert [(step["stage"], step["rows"]) for step in plan["executed"]] == [
        ("FullScan", 60),
        ("$project", 60),
        ("$group", 3),
    ]
    assert all(step["ms"] >= 0 for step in plan["executed"])
    assert plan["fields"] == ["_id", "a", "b"]
    assert plan["kernel"] == (["filter"] if AVAILABLE else [])
    assert "executed" not in building.explain("queryPlanner")
    grouped = source.aggregate().group({"_id": "$b.c", "n": {"$sum": 1}}).sort("_id").explain()
    assert grouped["fields"] == ["b"]
    assert grouped["kernel"] == (["$group"] if AVAILABLE else [])
    assert [step["rows"] for step in grouped["executed"]] == ([3, 3] if AVAILABLE else [100, 3, 3])
    near = filled(db, "places", {"_id": 1, "at": [1, 1]}, {"_id": 2, "at": [2, 2]})
    near.create_index([("at", "2d")])
    found = (
        near.aggregate()
        .stages([{"$geoNear": {"near": [1, 1], "distanceField": "d", "key": "at"}}, {"$limit": 1}])
        .explain()
    )
    assert [(step["stage"], step["rows"]) for step in found["executed"]] == [("$geoNear", 2), ("$limit", 1)]


@pytest.mark.parametrize("hint", ["nothing", {"b": 1}], ids=["name", "keys"])
def test_a_hint_of_a_pipeline_names_an_index(db, hint):
    filled(db, "source", {"_id": 1})
    with pytest.raises(QueryError) as caught:
        db["source"].aggregate([], hint=hint)
    assert caught.value.code == 2


def test_now_of_a_pipeline_survives_its_storage(db):
    filled(db, "source", {"_id": 1})
    db["source"].aggregate([{"$set": {"at": "$$NOW"}}, {"$out": "target"}])
    (seen,) = db["target"].aggregate([{"$project": {"part": {"$millisecond": "$at"}, "at": 1}}])
    assert seen["at"].microsecond == seen["part"] * 1000


def test_now_of_an_update_is_in_whole_milliseconds(db):
    filled(db, "target", {"_id": 1})
    db["target"].update_one(
        {}, [{"$set": {"same": {"$eq": ["$$NOW", {"$dateTrunc": {"date": "$$NOW", "unit": "millisecond"}}]}}}]
    )
    assert content(db) == [{"_id": 1, "same": True}]


def searching(restriction: Any) -> dict[str, Any]:
    """Return a search from 1 along ``to`` that meets only what the restriction allows."""
    links = {"from": "nodes", "startWith": "$start", "connectFromField": "to", "connectToField": "_id", "as": "found"}
    return {"$graphLookup": {**links, "restrictSearchWithMatch": restriction}}


@pytest.fixture
def graph(db):
    """Return starts beside nodes of which 2, and so what only it leads to, is of another kind."""
    nodes = {1: [2, 3], 2: [4], 3: [5], 4: [], 5: [1]}
    day = {False: dt.datetime(2020, 1, 1), True: dt.datetime(2999, 1, 1)}
    filled(
        db,
        "nodes",
        *({"_id": n, "to": to, "kind": "b" if n == 2 else "a", "at": day[n == 2]} for n, to in nodes.items()),
    )
    return filled(db, "starts", {"_id": "x", "start": 1, "kind": "a"}, {"_id": "y", "start": 1, "kind": "b"})


def met(documents: Any) -> list[list[Any]]:
    return [sorted(node["_id"] for node in document["found"]) for document in documents]


@pytest.mark.parametrize(
    ("restriction", "let"),
    [
        ({"kind": "a"}, None),
        ({"kind": "a"}, {"unused": 1}),
        ({"$expr": {"$eq": ["$kind", "$$wanted"]}}, {"wanted": "a"}),
        ({"$expr": {"$lt": ["$at", "$$NOW"]}}, None),
        ({"$or": [{"kind": "a"}, {"$expr": {"$eq": ["$$wanted", "$kind"]}}]}, {"wanted": "a"}),
    ],
    ids=["plain", "variables nobody reads", "let", "now", "nested"],
)
def test_a_graph_is_searched_along_what_the_restriction_allows(graph, restriction, let):
    assert met(graph.aggregate([searching(restriction)], let=let)) == [[1, 3, 5], [1, 3, 5]]


def test_a_graph_search_knows_the_variables_of_its_lookup(graph):
    stages = [{"$match": {"_id": "x"}}, searching({"$expr": {"$eq": ["$kind", "$$wanted"]}})]
    lookup = {"$lookup": {"from": "starts", "let": {"wanted": "$kind"}, "pipeline": stages, "as": "inner"}}
    assert [met(document["inner"]) for document in graph.aggregate([lookup])] == [[[1, 3, 5]], [[]]]


@pytest.mark.parametrize("let", [None, {"unused": 1}], ids=["no variables", "variables"])
@pytest.mark.parametrize(
    ("restriction", "path"),
    [({"kind": {"$bad": 1}}, "kind.$bad"), ({"$expr": {"$eq": ["$kind", "$$nobody"]}}, "$eq")],
    ids=["operator", "variable"],
)
def test_a_wrong_restriction_is_refused_before_anything_runs(db, let, restriction, path):
    with pytest.raises(QueryError) as caught:
        db["nothing"].aggregate([searching(restriction)], let=let)
    assert caught.value.path == f"0.$graphLookup.restrictSearchWithMatch.{path}"
