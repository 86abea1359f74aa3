"""Pipelines under rules: each collection by its own, and nothing that is an administrator's."""

from __future__ import annotations

import pytest

import docdb
from docdb import DeniedError
from docdb.pipeline.runner import STAGES

ANN = {"openid": "ann"}


@pytest.fixture
def db():
    with docdb.open(":memory:") as database:
        database["posts"].insert_many(
            [{"_id": n, "_openid": "ann" if n % 2 else "bob", "public": n < 4, "n": n, "to": n} for n in range(6)]
        )
        database["notes"].insert_many([{"_id": n, "_openid": "ann" if n < 3 else "bob", "post": n} for n in range(6)])
        database["_hidden"].insert_one({"_id": 1})
        database["bare"].insert_one({"_id": 1})
        database.set_rules(
            "posts",
            {"read": "doc.public == true || doc._openid == auth.openid", "create": "auth != null", "update": False},
        )
        database.set_rules("notes", {"read": "doc._openid == auth.openid"})
        yield database


JOINS = {
    "$graphLookup": lambda name: {
        "$graphLookup": {
            "from": name,
            "startWith": "$n",
            "connectFromField": "post",
            "connectToField": "post",
            "as": "x",
        }
    },
    "$lookup": lambda name: {"$lookup": {"from": name, "localField": "n", "foreignField": "post", "as": "x"}},
    "$lookup in $facet": lambda name: {
        "$facet": {"x": [{"$lookup": {"from": name, "localField": "n", "foreignField": "post", "as": "x"}}]}
    },
    "$lookup in $lookup": lambda name: {
        "$lookup": {
            "from": "posts",
            "pipeline": [{"$match": {"public": True}}, {"$lookup": {"from": name, "pipeline": [], "as": "x"}}],
            "as": "x",
        }
    },
    "$lookup in $unionWith": lambda name: {
        "$unionWith": {
            "coll": "posts",
            "pipeline": [{"$match": {"public": True}}, {"$lookup": {"from": name, "pipeline": [], "as": "x"}}],
        }
    },
    "$lookup of a pipeline": lambda name: {"$lookup": {"from": name, "pipeline": [], "as": "x"}},
    "$lookup of both": lambda name: {
        "$lookup": {"from": name, "localField": "n", "foreignField": "post", "pipeline": [{"$limit": 1}], "as": "x"}
    },
    "$unionWith": lambda name: {"$unionWith": name},
    "$unionWith of a pipeline": lambda name: {"$unionWith": {"coll": name, "pipeline": [{"$limit": 1}]}},
}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("options", [{}, {"filter_mode": True}], ids=repr)
@pytest.mark.parametrize("foreign", ["_hidden", "bare", "nowhere"])
def test_a_collection_without_rules_is_not_joined(db, name, options, foreign):
    posts = db.as_user(ANN, **options)["posts"]
    for front in ([{"$match": {"public": True}}], [{"$match": {"public": True, "n": 99}}]):
        with pytest.raises(DeniedError):
            posts.aggregate([*front, JOINS[name](foreign)]).to_list()


@pytest.mark.parametrize("name", JOINS)
def test_a_join_proves_or_is_narrowed(db, name):
    stages = [{"$match": {"public": True}}, JOINS[name]("notes")]
    with pytest.raises(DeniedError):
        db.as_user(ANN)["posts"].aggregate(stages).to_list()
    found = db.as_user(ANN, filter_mode=True)["posts"].aggregate(stages).to_list()
    assert "'_openid': 'bob', 'post'" not in repr(found)
    assert "'_openid': 'ann', 'post'" in repr(found)


def test_a_joined_pipeline_proves_by_its_own_match(db):
    inner = {"from": "notes", "pipeline": [{"$match": {"_openid": "{openid}"}}], "as": "mine"}
    rows = db.as_user(ANN)["posts"].aggregate([{"$match": {"public": True}}, {"$lookup": inner}]).to_list()
    assert [len(row["mine"]) for row in rows] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "stages",
    [
        [{"$group": {"_id": "$public"}}, {"$match": {"_id": True}}],
        [{"$set": {"public": True}}, {"$match": {"public": True}}],
        [{"$project": {"public": {"$literal": True}}}, {"$match": {"public": True}}],
        [{"$limit": 3}, {"$match": {"public": True}}],
        [{"$match": {"$or": [{"public": True}, {"n": 5}]}}],
        [{"$match": {"$expr": {"$literal": True}}}],
        [{"$facet": {"a": [{"$match": {"public": True}}]}}],
        [{"$sort": {"n": 1}}],
        [{"$count": "n"}],
        [{"$sample": {"size": 1}}],
        [],
    ],
    ids=repr,
)
def test_only_conditions_on_stored_documents_prove(db, stages):
    with pytest.raises(DeniedError):
        db.as_user({"openid": "nobody"})["posts"].aggregate(stages).to_list()
    db.as_user({"openid": "nobody"})["posts"].aggregate([{"$match": {"public": True}}, *stages]).to_list()


def test_counts_and_groups_come_behind_the_filter(db):
    posts = db.as_user({"openid": "nobody"}, filter_mode=True)["posts"]
    assert posts.aggregate([{"$count": "n"}]).to_list() == [{"n": 4}]
    assert posts.aggregate([{"$group": {"_id": None, "n": {"$sum": "$n"}}}]).to_list() == [{"_id": None, "n": 6}]
    assert posts.aggregate([{"$sort": {"n": -1}}, {"$limit": 1}]).to_list()[0]["n"] == 3
    assert [row["n"] for row in posts.aggregate([{"$project": {"n": 1, "_id": 0}}, {"$match": {"n": {"$gt": 2}}}])] == [
        3
    ]


def test_a_rule_that_asks_sees_whole_documents(db):
    db.set_rules("posts", {"read": "!exists(doc.blocked) && doc.n + 0 < 3"})
    db["posts"].update_one({"_id": 0}, {"$set": {"blocked": 1}})
    posts = db.as_user(ANN, filter_mode=True)["posts"]
    assert sorted(row["n"] for row in posts.aggregate([{"$project": {"n": 1}}])) == [1, 2]
    assert posts.aggregate([{"$group": {"_id": "$public", "n": {"$sum": "$n"}}}]).to_list() == [{"_id": True, "n": 3}]
    assert sorted(posts.find({}, {"n": 1, "_id": 0}).distinct("n")) == [1, 2]


def test_stages_that_are_an_administrator_s(db):
    db.set_rules("posts", {"read": True, "write": True})
    for stage in ({"$out": "posts"}, {"$out": "other"}, {"$collStats": {"count": {}}}, {"$indexStats": {}}):
        with pytest.raises(DeniedError):
            db.as_user(ANN)["posts"].aggregate([stage]).to_list()
        with pytest.raises(DeniedError):
            db.as_user(ANN)["posts"].aggregate([{"$limit": 1}, stage]).to_list() if "$out" in stage else db.as_user(
                ANN
            )["posts"].aggregate([{"$unionWith": {"coll": "posts", "pipeline": [stage]}}]).to_list()
    assert db["posts"].count_documents({}) == 6


def test_merge_is_judged_document_by_document(db):
    db.set_rules("copies", {"read": True, "create": "doc.n < 3", "update": "doc._openid == auth.openid"})
    posts = db.as_user(ANN, filter_mode=True)["posts"]
    strip = [{"$unset": "_openid"}, {"$merge": "copies"}]
    with pytest.raises(DeniedError):
        posts.aggregate(strip).to_list()
    assert db["copies"].count_documents({}) == 0
    posts.aggregate([{"$match": {"n": {"$lt": 3}}}, *strip]).to_list()
    assert {row["_openid"] for row in db["copies"].find()} == {"ann"}
    with pytest.raises(DeniedError):
        posts.aggregate([{"$match": {"n": {"$lt": 3}}}, {"$merge": "copies"}]).to_list()
    with pytest.raises(DeniedError):
        posts.aggregate([{"$limit": 1}, {"$merge": "nowhere"}]).to_list()
    with pytest.raises(DeniedError):
        posts.aggregate([{"$limit": 1}, {"$merge": "_hidden"}]).to_list()


def test_documents_of_one_s_own_need_no_rules(db):
    assert db.as_user(None).aggregate([{"$documents": [{"a": 1}]}]).to_list() == [{"a": 1}]
    with pytest.raises(DeniedError):
        db.as_user(ANN).aggregate(
            [{"$documents": [{"a": 1}]}, {"$lookup": {"from": "bare", "pipeline": [], "as": "x"}}]
        ).to_list()


def test_one_snapshot_for_all_collections(db):
    user = db.as_user(ANN, filter_mode=True)
    with user.snapshot() as s:
        db.set_rules("notes", "ADMINONLY")
        rows = s["posts"].aggregate([{"$match": {"n": 0}}, JOINS["$lookup"]("notes")]).to_list()
    assert [row["x"] for row in rows] == [[{"_id": 0, "_openid": "ann", "post": 0}]]
    with pytest.raises(DeniedError):
        user["posts"].aggregate([{"$match": {"n": 0}}, JOINS["$lookup"]("notes")]).to_list()


def test_every_stage_is_known_to_the_table():
    from docdb.rules import reach_table

    assert set(STAGES) == set(reach_table.STAGES)
