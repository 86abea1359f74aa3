"""Patterns of callers take linear time wherever they are sent; those of the program's own are what they were."""

from __future__ import annotations

import re

import pytest

import docdb
from docdb import Regex, command
from docdb.errors import QueryError

pytest.importorskip("re2")

ANN = {"openid": "ann"}
EVIL = "(a+)+$"
LONG = "a" * 50_000 + "!"
DOCUMENT = {"_id": 1, "t": LONG, "l": [LONG], "o": [{"t": LONG}], "p": EVIL}


@pytest.fixture(params=["plain", "indexed"])
def db(request, tmp_path):
    path = ":memory:" if request.param == "plain" else tmp_path / "db"
    with docdb.open(path) as database:
        database["texts"].insert_one(DOCUMENT)
        database["other"].insert_one({"_id": 1})
        if request.param == "indexed":
            database["texts"].create_index("t")
        database.set_rules("texts", {"read": True, "write": True})
        database.set_rules("other", {"read": True, "write": True})
        yield database


def match(pattern):
    return {"$regexMatch": {"input": "$t", "regex": pattern}}


ASKED = {
    "aggregate $match": lambda c, p: c.aggregate([{"$match": {"t": {"$regex": p}}}]).to_list(),
    "aggregate $match behind": lambda c, p: c.aggregate([{"$limit": 5}, {"$match": {"t": Regex(p, "")}}]).to_list(),
    "aggregate $project": lambda c, p: c.aggregate([{"$project": {"x": match(p)}}, {"$match": {"x": True}}]).to_list(),
    "aggregate $regexFind": lambda c, p: c.aggregate([{"$match": {"$expr": {"$ne": [{"$regexFind": {"input": "$t", "regex": p}}, None]}}}]).to_list(),
    "aggregate $regexFindAll": lambda c, p: c.aggregate(
        [{"$set": {"x": {"$regexFindAll": {"input": "$t", "regex": p}}}}, {"$match": {"x": {"$ne": []}}}]).to_list(),
    "aggregate a made pattern": lambda c, p: c.aggregate([{"$match": {"$expr": match({"$concat": ["", p]})}}]).to_list(),
    "aggregate in a $facet": lambda c, p: c.aggregate([{"$facet": {"x": [{"$match": {"t": {"$regex": p}}}]}}, {"$match": {"x": {"$ne": []}}}]).to_list(),
    "aggregate in a $group": lambda c, p: c.aggregate([{"$group": {"_id": match(p)}}, {"$match": {"_id": True}}]).to_list(),
    "aggregate in a $lookup": lambda c, p: c.aggregate(
        [{"$lookup": {"from": "texts", "pipeline": [{"$match": {"t": {"$regex": p}}}], "as": "x"}}, {"$match": {"x": {"$ne": []}}}]).to_list(),
    "aggregate in a $redact": lambda c, p: c.aggregate([{"$redact": {"$cond": [match(p), "$$KEEP", "$$PRUNE"]}}]).to_list(),
    "aggregate in a $unionWith": lambda c, p: c.aggregate(
        [{"$match": {"_id": 0}}, {"$unionWith": {"coll": "texts", "pipeline": [{"$match": {"t": {"$regex": p}}}]}}]).to_list(),
    "aggregate in a graph": lambda c, p: c.aggregate(
        [{"$graphLookup": {"from": "texts", "startWith": 1, "connectFromField": "n", "connectToField": "_id", "as": "x",
                           "restrictSearchWithMatch": {"t": {"$regex": p}}}}, {"$match": {"x": {"$ne": []}}}]).to_list(),
    "aggregate let": lambda c, p: c.aggregate([{"$match": {"$expr": match("$$p")}}], let={"p": p}).to_list(),
    "aggregate stored patterns": lambda c, p: c.aggregate([{"$match": {"$expr": match("$p")}}]).to_list() if p == EVIL else c.find_one({"t": Regex(p, "")}),
    "command": lambda c, p: c.where({"t": command.regex(p)}).get(),
    "count": lambda c, p: c.count_documents({"t": {"$regex": p}}),
    "distinct": lambda c, p: c.distinct("_id", {"t": {"$regex": p}}),
    "find": lambda c, p: list(c.find({"t": {"$regex": p}})),
    "find $all": lambda c, p: list(c.find({"l": {"$all": [Regex(p, "")]}})),
    "find $elemMatch": lambda c, p: list(c.find({"o": {"$elemMatch": {"t": {"$regex": p}}}})),
    "find $expr": lambda c, p: list(c.find({"$expr": match(p)})),
    "find $in": lambda c, p: list(c.find({"t": {"$in": [Regex(p, "")]}})),
    "find $jsonSchema": lambda c, p: list(c.find({"$jsonSchema": {"properties": {"t": {"pattern": p}}}})),
    "find $nor": lambda c, p: list(c.find({"$nor": [{"t": {"$not": {"$regex": p}}}]})),
    "find a projection": lambda c, p: [d for d in c.find({}, {"x": match(p)}) if d["x"]],
    "find an element": lambda c, p: [d for d in c.find({}, {"l": {"$elemMatch": {"$regex": p}}}) if "l" in d],
    "find and remove": lambda c, p: c.find_one_and_delete({"t": {"$regex": p}}),
    "find_one": lambda c, p: c.find_one({"t": re.compile(p)}),
    "limited": lambda c, p: c.where({"t": {"$regex": p}}).limit(1).get(),
    "remove": lambda c, p: c.delete_many({"t": {"$regex": p}}).deleted_count,
    "replace": lambda c, p: c.replace_one({"t": {"$regex": p}}, {"x": 1}).matched_count,
    "sorted": lambda c, p: list(c.find({"t": {"$regex": p}}).sort("_id", 1)),
    "tables": lambda c, p: c.find({"t": {"$regex": p}}, {"_id": 1}).to_arrow().num_rows,
    "update": lambda c, p: c.update_one({"t": {"$regex": p}}, {"$set": {"x": 1}}).matched_count,
    "update $pull": lambda c, p: c.update_one({"_id": 1}, {"$pull": {"l": Regex(p, "")}}).modified_count,
    "update $pull of objects": lambda c, p: c.update_one({"_id": 1}, {"$pull": {"o": {"t": {"$regex": p}}}}).modified_count,
    "update a pipeline": lambda c, p: c.update_one({"_id": 1}, [{"$set": {"p": {"$cond": [match(p), 1, "$p"]}}}]).modified_count,
    "update an element": lambda c, p: c.update_one({"_id": 1}, {"$set": {"l.$[x]": 1}}, array_filters=[{"x": Regex(p, "")}]).modified_count,
    "update and show": lambda c, p: (c.find_one_and_update({"_id": 1}, {"$set": {"z": 1}}, projection={"l": {"$elemMatch": {"$regex": p}}}) or {}).get("l"),
    "update by $merge": lambda c, p: c.aggregate(
        [{"$match": {"_id": 1}}, {"$project": {"_id": 1}},
         {"$merge": {"into": "texts", "let": {"n": "$none"}, "whenMatched": [{"$set": {"x": {"$cond": [match(p), 1, "$$REMOVE"]}}}]}}]).to_list(),
    "update many": lambda c, p: c.update_many({"t": {"$regex": p}}, {"$set": {"x": 1}}).matched_count,
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_no_pattern_takes_long(db, name):
    if name == "tables":
        pytest.importorskip("pyarrow")
    assert not ASKED[name](db.as_user(ANN)["texts"], EVIL)
    with db.as_user(ANN).transaction() as transaction:
        assert not ASKED[name](transaction["texts"], EVIL)
    assert "x" not in db["texts"].find_one({"_id": 1})


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1"])
def test_what_re2_cannot_do_is_refused(db, name, pattern):
    if name == "tables":
        pytest.importorskip("pyarrow")
    with pytest.raises(docdb.DocdbError, match="Regular expression is invalid"):
        ASKED[name](db.as_user(ANN)["texts"], pattern)


BOMB = {"$regexMatch": {"input": "a" * 200 + "!", "regex": EVIL}}
CONSTANTS = {
    "aggregate": lambda c: c.aggregate([{"$match": {"$expr": BOMB}}]).to_list(),
    "aggregate let": lambda c: c.aggregate([{"$match": {"$expr": "$$v"}}], let={"v": BOMB}).to_list(),
    "aggregate by a builder": lambda c: c.aggregate().match({"$expr": BOMB}).end(),
    "bulk": lambda c: c.bulk_write([docdb.UpdateOne({"$expr": BOMB}, {"$set": {"x": 1}})]).matched_count,
    "count": lambda c: c.count_documents({"$expr": BOMB}),
    "distinct": lambda c: c.distinct("t", {"$expr": BOMB}),
    "find": lambda c: list(c.find({"$expr": BOMB})),
    "find let": lambda c: list(c.find({"$expr": "$$v"}, let={"v": BOMB})),
    "find sorted": lambda c: list(c.find({"$expr": BOMB}).sort("t", 1)),
    "find under a collation": lambda c: list(c.find({"$expr": BOMB}).collation({"locale": "en", "strength": 2})),
    "fields": lambda c: [d for d in c.where({}).field({"x": BOMB}).get() if d["x"]],
    "fields of a document": lambda c: c.doc(1).field({"x": BOMB}).get()["x"],
    "options": lambda c: c.where({"$expr": BOMB}).options(raw=True).get(),
    "page": lambda c: c.where({"$expr": BOMB}).after("").limit(5).get(),
    "projection": lambda c: [d for d in c.find({}, {"x": BOMB}) if d["x"]],
    "remove": lambda c: c.where({"$expr": BOMB}).remove().deleted,
    "steps": lambda c: c.update_many({"$expr": BOMB}, {"$set": {"x": 1}}, batch=10).matched_count,
    "update": lambda c: c.update_one({"$expr": BOMB}, {"$set": {"x": 1}}).matched_count,
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_evaluated_in_linear_time_too(db, name):
    assert not CONSTANTS[name](db.as_user(ANN)["texts"])


def test_a_live_query_under_a_collation_takes_linear_time(db):
    db.create_collection("folded", collation={"locale": "en", "strength": 2})
    db["folded"].insert_one(DOCUMENT)
    db.set_rules("folded", {"read": True, "write": True})
    with db.as_user(ANN)["folded"].where({"t": {"$regex": EVIL}}).watch() as live:
        assert next(iter(live)).docs == []


def test_the_programs_own_patterns_are_what_they_were(db):
    assert db["texts"].count_documents({"t": {"$regex": r"^(a)\1(?=a)"}}) == 1
    user = db.as_user(ANN)["texts"]
    assert list(user.find({"t": {"$regex": "^aa"}}, {"_id": 1})) == [{"_id": 1}]
    assert db["texts"].count_documents({"t": {"$regex": r"^(a)\1(?=a)"}}) == 1


def test_a_validator_means_what_the_program_wrote_whoever_comes_first(tmp_path):
    with docdb.open(tmp_path / "db") as database:
        database.create_collection("codes", validator={"code": {"$regex": r"^(?!x)(.)\1"}})
        database["codes"].create_index("code", partialFilterExpression={"code": {"$gt": ""}})
        database.set_rules("codes", {"read": True, "write": True})
    with docdb.open(tmp_path / "db") as database:
        user = database.as_user(ANN)["codes"]
        user.insert_one({"_id": 1, "code": "aa"})
        with pytest.raises(docdb.DocdbError):
            user.insert_one({"_id": 2, "code": "xx"})
        assert user.update_one({"code": {"$regex": "^a"}}, {"$set": {"code": "bb"}}).modified_count == 1


def test_deep_and_wide_queries_are_refused_before_they_are_walked(db):
    user = db.as_user(ANN)["texts"]
    deep = {"a": 1}
    for _ in range(70):
        deep = {"$and": [deep]}
    wide = {"$or": [{"a": n} for n in range(6_000)]}
    for filter in (deep, wide):
        for ask in (
            lambda filter=filter: list(user.find(filter)),
            lambda filter=filter: user.count_documents(filter),
            lambda filter=filter: list(user.find({}, {"x": filter})),
            lambda filter=filter: list(user.find({"$expr": "$$x"}, let={"x": filter})),
            lambda filter=filter: user.aggregate([{"$match": filter}]).to_list(),
            lambda filter=filter: user.update_one(filter, {"$set": {"x": 1}}),
            lambda filter=filter: user.delete_one(filter),
            lambda filter=filter: user.update_one({"_id": 1}, [{"$set": {"x": filter}}]),
        ):
            with pytest.raises(QueryError, match="deeper than|more than"):
                ask()
