"""Text search through the public face: finds, pipelines, writes, definitions."""

from __future__ import annotations

import pytest

import docdb
from docdb import command as _
from docdb.errors import IndexDefinitionError, QueryError

SCORE = {"$meta": "textScore"}


@pytest.fixture
def database():
    with docdb.open(":memory:") as database:
        yield database


@pytest.fixture
def articles(database):
    collection = database["articles"]
    collection.create_index([("title", "text"), ("body", "text")], weights={"title": 5}, default_language="none")
    collection.insert_many(
        [
            {"_id": 1, "title": "Coffee", "body": "beans and water", "tags": ["a", "b"]},
            {"_id": 2, "title": "Tea", "body": "leaves and water, no coffee", "tags": ["b"]},
            {"_id": 3, "title": "Milk", "body": "cows", "tags": []},
        ]
    )
    return collection


def search(words, **more):
    return {"$text": {"$search": words}, **more}


def test_find_with_scores(articles):
    found = articles.find(search("coffee water"), {"score": SCORE, "title": 1}).sort([("score", SCORE)]).to_list()
    assert [d["title"] for d in found] == ["Coffee", "Tea"]
    assert found[0] == {"_id": 1, "title": "Coffee", "score": pytest.approx(5.5 + 0.5 / 3 + 0.5)}


def test_a_sort_by_score_shows_no_score(articles):
    assert articles.find(search("water")).sort([("s", SCORE), ("title", 1)]).to_list()[0].keys() == {
        "_id",
        "title",
        "body",
        "tags",
    }


def test_the_fluent_face(articles):
    assert [d["_id"] for d in articles.where(_.text("coffee -beans")).get()] == [2]


def test_writes_select_by_words(articles):
    assert articles.update_many(search("water"), {"$set": {"wet": True}}).modified_count == 2
    assert articles.update_one(search("coffee", tags="b"), {"$set": {"tags.$": "c"}}).modified_count == 1
    best = articles.find_one_and_update(search("coffee"), {"$set": {"best": True}}, sort=[("s", SCORE)])
    assert best["_id"] == 1
    assert articles.delete_many(search("cows")).deleted_count == 1
    assert articles.count_documents(search("cows")) == 0
    assert articles.distinct("title", search("water")) == ["Coffee", "Tea"]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([{"$project": {"_id": 0, "title": 1}}, {"$addFields": {"s": {"$gt": [SCORE, 1]}}}],
         [{"title": "Coffee", "s": True}, {"title": "Tea", "s": False}]),
        ([{"$sort": {"x": SCORE}}, {"$limit": 1}, {"$project": {"_id": 1}}], [{"_id": 1}]),
        ([{"$project": {"_id": 1}}, {"$sort": {"x": SCORE, "_id": 1}}], [{"_id": 1}, {"_id": 2}]),
        ([{"$group": {"_id": None, "n": {"$sum": {"$cond": [{"$gt": [SCORE, 1]}, 1, 10]}}, "all": {"$push": "$$ROOT._id"}}}],
         [{"_id": None, "n": 11, "all": [1, 2]}]),
        ([{"$unwind": "$tags"}, {"$project": {"tags": 1, "s": {"$gt": [SCORE, 1]}}}],
         [{"_id": 1, "tags": "a", "s": True}, {"_id": 1, "tags": "b", "s": True}, {"_id": 2, "tags": "b", "s": False}]),
        ([{"$replaceRoot": {"newRoot": {"t": "$title"}}}, {"$set": {"s": {"$gt": [SCORE, 1]}}}],
         [{"t": "Coffee", "s": True}, {"t": "Tea", "s": False}]),
        ([{"$facet": {"x": [{"$project": {"s": {"$gt": [SCORE, 1]}}}], "y": [{"$limit": 1}, {"$project": {"title": 1}}]}}],
         [{"x": [{"_id": 1, "s": True}, {"_id": 2, "s": False}], "y": [{"_id": 1, "title": "Coffee"}]}]),
        ([{"$match": {"$expr": {"$gt": [SCORE, 1]}}}, {"$project": {"title": 1}}], [{"_id": 1, "title": "Coffee"}]),
        ([{"$count": "n"}], [{"n": 2}]),
    ],
    ids=["project", "sort", "sort later", "group", "unwind", "replaceRoot", "facet", "match", "count"],
)  # fmt: skip
def test_pipelines_carry_the_score(articles, stages, expected):
    assert list(articles.aggregate([{"$match": search("coffee")}, *stages])) == expected


def test_nobody_sees_what_documents_carry(articles, database):
    stages = [{"$match": search("coffee")}, {"$set": {"s": SCORE, "whole": "$$ROOT"}}]
    found = list(articles.aggregate(stages))
    assert set(found[0]) == {"_id", "title", "body", "tags", "s", "whole"}
    assert set(found[0]["whole"]) == {"_id", "title", "body", "tags"}
    list(articles.aggregate([*stages, {"$unset": "whole"}, {"$out": "copy"}]))
    assert set(database["copy"].find_one()) == {"_id", "title", "body", "tags", "s"}


def test_a_lookup_searches_the_other_collection(articles, database):
    orders = database["orders"]
    orders.insert_one({"_id": 1})
    inner = [{"$match": search("coffee")}, {"$project": {"_id": 1, "s": {"$gt": [SCORE, 1]}}}]
    (found,) = orders.aggregate([{"$lookup": {"from": "articles", "pipeline": inner, "as": "hits"}}])
    assert found["hits"] == [{"_id": 1, "s": True}, {"_id": 2, "s": False}]


@pytest.mark.parametrize(
    ("stages", "code"),
    [
        ([{"$match": {}}, {"$match": search("a")}], 17313),
        ([{"$facet": {"x": [{"$match": search("a")}]}}], 17313),
        ([{"$project": {"s": SCORE}}], 40218),
        ([{"$match": search("a")}, {"$group": {"_id": 1}}, {"$set": {"s": SCORE}}], 40218),
        ([{"$match": search("a")}, {"$sort": {"d": {"$meta": "geoNearDistance"}}}], 40218),
    ],
    ids=["second", "facet", "no search", "after group", "distance"],
)
def test_where_a_pipeline_cannot_search(articles, stages, code):
    with pytest.raises(QueryError) as caught:
        list(articles.aggregate(stages))
    assert caught.value.code == code


def test_a_find_without_search_has_no_score(articles):
    with pytest.raises(QueryError) as caught:
        articles.find({}, {"s": SCORE}).to_list()
    assert caught.value.code == 40218


def test_index_keys_are_shown(articles):
    articles.create_index([("tags", 1)])
    stages = [{"$match": {"tags": "b"}}, {"$project": {"k": {"$meta": "indexKey"}}}]
    assert list(articles.aggregate(stages)) == [{"_id": 1, "k": {"tags": "b"}}, {"_id": 2, "k": {"tags": "b"}}]


def test_definitions_are_shown_as_they_can_be_given_again(articles, database):
    shown = articles.index_information()["title_text_body_text"]
    assert shown["key"] == [("_fts", "text"), ("_ftsx", 1)]
    assert shown["weights"] == {"title": 5, "body": 1}
    assert (shown["default_language"], shown["language_override"]) == ("none", "language")
    other = database["other"]
    options = {name: value for name, value in shown.items() if name not in ("key", "v")}
    assert other.create_index(shown["key"], name="title_text_body_text", **options) == "title_text_body_text"
    other.insert_one({"_id": 1, "title": "tea"})
    assert other.count_documents(search("tea")) == 1


def test_the_same_index_again_is_no_error(articles):
    name = articles.create_index([("title", "text"), ("body", "text")], weights={"title": 5}, default_language="none")
    assert name == "title_text_body_text"


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([("x", "text")], {}),
        ([("a", "text")], {"name": "second"}),
    ],
    ids=["other field", "other name"],
)
def test_a_collection_has_one_text_index(articles, keys, options):
    with pytest.raises(IndexDefinitionError) as caught:
        articles.create_index(keys, **options)
    assert caught.value.code == 67


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([("a", "text")], {"weights": {"a": 0}}),
        ([("a", "text")], {"weights": {"a": 1_000_000_000}}),
        ([("a", "text")], {"weights": {"a": "x"}}),
        ([("a", "text")], {"weights": 5}),
        ([("a", "text")], {"weights": {"$a": 1}}),
        ([("a", "text")], {"default_language": "klingon"}),
        ([("a", "text")], {"language_override": ""}),
        ([("a", "text")], {"language_override": 5}),
        ([("a", "text")], {"textIndexVersion": 2}),
        ([("a", "text")], {"unique": True}),
        ([("a", "text")], {"expireAfterSeconds": 5}),
        ([("a", "text")], {"collation": {"locale": "de"}}),
        ([("a", "text")], {"stemmer": "porter"}),
        ([("a", "text"), ("b", 1), ("c", "text")], {}),
        ([("a", "text"), ("b", "2dsphere")], {}),
        ([("_fts", "text"), ("_ftsx", 1)], {}),
    ],
    ids=str,
)
def test_definitions_that_cannot_be(keys, options):
    with docdb.open(":memory:") as database, pytest.raises(IndexDefinitionError) as caught:
        database["c"].create_index(keys, **options)
    assert caught.value.code == 67


def test_weights_alone_name_fields_too():
    with docdb.open(":memory:") as database:
        collection = database["c"]
        collection.create_index([("$**", "text")], weights={"title": 10})
        collection.insert_many([{"_id": 1, "title": "tea"}, {"_id": 2, "deep": {"er": ["tea"]}}])
        found = collection.find(search("tea"), {"s": SCORE}).sort([("s", SCORE)]).to_list()
        assert [(d["_id"], d["s"]) for d in found] == [(1, pytest.approx(11)), (2, pytest.approx(1.1))]


def test_the_index_is_there_after_opening_again(tmp_path):
    with docdb.open(tmp_path / "db") as database:
        database["c"].create_index([("n", 1), ("t", "text")], weights={"t": 2.5})
        database["c"].insert_one({"_id": 1, "n": 1, "t": "tea"})
    with docdb.open(tmp_path / "db") as database:
        assert database["c"].count_documents(search("tea", n=1)) == 1
        assert database["c"].index_information()["n_1_t_text"]["weights"] == {"t": 2.5}


def test_a_transaction_searches_what_it_has_written(articles, database):
    with database.transaction() as transaction:
        inside = transaction.collection("articles")
        inside.insert_one({"_id": 9, "title": "coffee"})
        inside.delete_one({"_id": 2})
        assert sorted(d["_id"] for d in inside.find(search("coffee"))) == [1, 9]
        assert sorted(d["_id"] for d in articles.find(search("coffee"))) == [1, 2]
    assert sorted(d["_id"] for d in articles.find(search("coffee"))) == [1, 9]
