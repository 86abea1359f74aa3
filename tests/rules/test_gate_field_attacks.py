"""Field rules of callers: every way to a hidden field, and every way around what may not be written."""

from __future__ import annotations

import pytest

import docdb
from docdb import DeniedError, command
from docdb.errors import DocdbError

ANN, BOSS = {"openid": "ann"}, {"openid": "boss"}
PEOPLE = [
    {"_id": 1, "name": "Ann", "owner": "ann", "salary": 10, "at": {"type": "Point", "coordinates": [1, 2]}, "l": [{"s": 1, "t": 1}], "p": {"s": 7, "t": 8}},
    {"_id": 2, "name": "Bob", "owner": "bob", "salary": 20, "at": {"type": "Point", "coordinates": [3, 4]}, "l": [{"s": 2, "t": 2}], "p": {"s": 5, "t": 6}},
    {"_id": 3, "name": "Cid", "owner": "cid", "l": [{"t": 3}, [{"s": 4}]]},
]  # fmt: skip
HIDING = {
    "read": True,
    "write": True,
    "fields": {
        "salary": {"read": "auth.openid == 'boss'"},
        "at": {"read": False},
        "l.s": {"read": False},
        "p.s": {"read": "doc.owner == auth.openid"},
    },
}
SHOWN = [
    {"_id": 1, "name": "Ann", "owner": "ann", "l": [{"t": 1}], "p": {"s": 7, "t": 8}},
    {"_id": 2, "name": "Bob", "owner": "bob", "l": [{"t": 2}], "p": {"t": 6}},
    {"_id": 3, "name": "Cid", "owner": "cid", "l": [{"t": 3}, [{}]]},
]


@pytest.fixture(params=["plain", "indexed"])
def db(request, tmp_path):
    path = ":memory:" if request.param == "plain" else tmp_path / "db"
    with docdb.open(path) as database:
        people = database["people"]
        people.insert_many(PEOPLE)
        database["open"].insert_many([{"_id": 1, "k": 10, "s": 1}, {"_id": 2, "k": 20, "s": 2}])
        if request.param == "indexed":
            people.create_index("salary", name="by_salary")
            people.create_index([("owner", 1), ("salary", 1)])
            people.create_index("name", name="rich", partialFilterExpression={"salary": {"$gt": 15}})
            people.create_index([("at", "2dsphere")])
            people.create_index([("name", "text"), ("salary", "text")], name="words")
            people.create_index("l.s")
            people.create_index("p.s")
        database.set_rules("people", HIDING)
        database.set_rules("open", {"read": True, "write": True})
        yield database


@pytest.fixture
def people(db):
    return db.as_user(ANN)["people"]


WHOLE = {
    "aggregate": lambda c: list(c.aggregate([{"$sort": {"_id": 1}}])),
    "aggregate by a builder": lambda c: list(c.aggregate().stage("$sort", {"_id": 1}).end()),
    "behind a limit": lambda c: list(c.aggregate([{"$limit": 10}, {"$match": {}}])),
    "documents by id": lambda c: [c.doc(id).get() for id in (1, 2, 3)],
    "facet": lambda c: c.aggregate([{"$facet": {"all": []}}]).to_list()[0]["all"],
    "find": lambda c: list(c.find({})),
    "find_one": lambda c: [c.find_one({"_id": id}) for id in (1, 2, 3)],
    "find_one by a name": lambda c: [c.find_one({"name": name}) for name in ("Ann", "Bob", "Cid")],
    "found and kept": lambda c: [c.find_one_and_update({"_id": id}, {"$set": {"owner": o}}) for id, o in ((1, "ann"), (2, "bob"), (3, "cid"))],
    "found and removed": lambda c: [c.find_one_and_delete({"_id": id}) for id in (1, 2, 3)],
    "found and updated": lambda c: [
        {k: v for k, v in c.find_one_and_update({"_id": id}, {"$set": {"x": 1}}, return_document=True).items() if k != "x"} for id in (1, 2, 3)
    ],
    "grouped whole": lambda c: [d["d"] for d in c.aggregate([{"$group": {"_id": "$_id", "d": {"$first": "$$ROOT"}}}, {"$sort": {"_id": 1}}])],
    "joined": lambda c: c.aggregate([{"$limit": 1}, {"$lookup": {"from": "people", "pipeline": [{"$sort": {"_id": 1}}], "as": "all"}}]).to_list()[0]["all"],
    "joined by a field": lambda c: [d["x"][0] for d in c.aggregate([{"$lookup": {"from": "people", "localField": "_id", "foreignField": "_id", "as": "x"}}])],
    "limited": lambda c: c.where({}).order_by("name").limit(10).get(),
    "merged objects": lambda c: list(c.aggregate([{"$replaceWith": {"$mergeObjects": ["$$ROOT", {}]}}])),
    "page": lambda c: c.where({}).after("").limit(10).get(),
    "pushed": lambda c: c.aggregate([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}]).to_list()[0]["all"],
    "sorted with a limit": lambda c: list(c.find({}).sort("name", 1).limit(10)),
    "through graphs": lambda c: sorted(
        c.aggregate([{"$match": {"_id": 1}}, {"$graphLookup": {"from": "people", "startWith": ["Ann", "Bob", "Cid"], "connectFromField": "none",
                                                              "connectToField": "name", "as": "all"}}]).to_list()[0]["all"], key=lambda d: d["_id"]),
    "united": lambda c: list(c.aggregate([{"$match": {"_id": 0}}, {"$unionWith": "people"}])),
    "where": lambda c: c.where({}).get(),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_documents_come_masked_every_way(people, name):
    assert WHOLE[name](people) == SHOWN


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith("found")])
@pytest.mark.parametrize("inside", ["transaction", "snapshot"])
def test_documents_come_masked_in_pictures(db, name, inside):
    user = db.as_user(ANN)
    with user.transaction() if inside == "transaction" else user.snapshot() as picture:
        assert WHOLE[name](picture["people"]) == SHOWN


def test_who_may_read_a_field_reads_it(db):
    boss = db.as_user(BOSS)["people"]
    assert [d.get("salary") for d in boss.find({}).sort("_id", 1)] == [10, 20, None]
    assert boss.count_documents({"salary": {"$gt": 15}}) == 1
    assert boss.aggregate([{"$group": {"_id": None, "n": {"$sum": "$salary"}}}]).to_list() == [{"_id": None, "n": 30}]


PARTS = {
    "parents whole": (lambda c: [d.get("p") for d in c.find({}, {"p": 1})], [{"s": 7, "t": 8}, {"t": 6}, None]),
    "elements": (lambda c: [d["l"] for d in c.find({}, {"l": {"$slice": 1}})], [[{"t": 1}], [{"t": 2}], [{"t": 3}]]),
    "beside it": (lambda c: [d.get("p") for d in c.find({}, {"p.t": 1})], [{"t": 8}, {"t": 6}, None]),
    "left out": (lambda c: list(c.find({}, {"salary": 0})), SHOWN),
    "computed": (lambda c: [d["x"] for d in c.find({}, {"x": {"$size": {"$objectToArray": "$$ROOT"}}})], [5, 5, 4]),
    "names": (lambda c: [d["x"] for d in c.aggregate([{"$project": {"x": {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.k"}}}}])],
              [list(d) for d in SHOWN]),
    "unwound": (lambda c: [d["l"] for d in c.aggregate([{"$unwind": "$l"}])], [{"t": 1}, {"t": 2}, {"t": 3}, [{}]]),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_come_masked(people, name):
    ask, wanted = PARTS[name]
    assert ask(people) == wanted


def columns(table):
    return {name for name in table.column_names if any(value is not None for value in table[name].to_pylist())}


def test_tables_come_masked(people):
    pytest.importorskip("pyarrow")
    assert columns(people.find({}, {"name": 1, "owner": 1}).to_arrow()) == {"_id", "name", "owner"}
    assert columns(people.find({}, {"l": 0, "p": 0}).to_arrow()) == {"_id", "name", "owner"}
    assert columns(people.aggregate([{"$unset": ["l", "p"]}]).to_arrow()) == {"_id", "name", "owner"}
    assert columns(people.aggregate([{"$project": {"name": 1}}]).to_arrow()) == {"_id", "name"}


ASKED = {
    "aggregate $bucket": lambda c: c.aggregate([{"$bucketAuto": {"groupBy": "$salary", "buckets": 2}}]).to_list(),
    "aggregate $group": lambda c: c.aggregate([{"$group": {"_id": "$salary"}}]).to_list(),
    "aggregate $group by a parent": lambda c: c.aggregate([{"$group": {"_id": "$p"}}]).to_list(),
    "aggregate $match": lambda c: c.aggregate([{"$match": {"salary": 10}}]).to_list(),
    "aggregate $match behind a renaming": lambda c: c.aggregate([{"$set": {"x": "$p"}}, {"$match": {"x": {"s": 7, "t": 8}}}]).to_list(),
    "aggregate $match behind a projection": lambda c: c.aggregate([{"$project": {"x": "$p"}}, {"$match": {"x.s": 7}}]).to_list(),
    "aggregate $project": lambda c: c.aggregate([{"$project": {"x": "$salary"}}]).to_list(),
    "aggregate $sort": lambda c: c.aggregate([{"$sort": {"salary": 1}}, {"$limit": 1}]).to_list(),
    "aggregate $sort by a renamed field": lambda c: c.aggregate([{"$set": {"x": "$p"}}, {"$sort": {"x": 1}}, {"$limit": 1}]).to_list(),
    "aggregate $sum": lambda c: c.aggregate([{"$group": {"_id": None, "n": {"$sum": "$salary"}}}]).to_list(),
    "aggregate $windows": lambda c: c.aggregate([{"$setWindowFields": {"sortBy": {"salary": 1}, "output": {"r": {"$rank": {}}}}}]).to_list(),
    "aggregate in a $facet": lambda c: c.aggregate([{"$facet": {"a": [{"$sortByCount": "$salary"}]}}]).to_list(),
    "aggregate a local field": lambda c: c.aggregate([{"$lookup": {"from": "open", "localField": "salary", "foreignField": "k", "as": "x"}}]).to_list(),
    "aggregate a let": lambda c: c.aggregate([{"$lookup": {"from": "open", "let": {"v": "$salary"}, "pipeline": [], "as": "x"}}]).to_list(),
    "aggregate a foreign field": lambda c: c.aggregate([{"$lookup": {"from": "people", "localField": "_id", "foreignField": "salary", "as": "x"}}]).to_list(),
    "aggregate a foreign pipeline": lambda c: c.aggregate([{"$lookup": {"from": "people", "pipeline": [{"$match": {"l.s": 1}}], "as": "x"}}]).to_list(),
    "aggregate a graph": lambda c: c.aggregate(
        [{"$graphLookup": {"from": "people", "startWith": 1, "connectFromField": "salary", "connectToField": "_id", "as": "x"}}]).to_list(),
    "aggregate a graph's filter": lambda c: c.aggregate(
        [{"$graphLookup": {"from": "people", "startWith": 1, "connectFromField": "n", "connectToField": "_id", "as": "x",
                           "restrictSearchWithMatch": {"salary": 1}}}]).to_list(),
    "aggregate a union": lambda c: c.aggregate([{"$unionWith": {"coll": "people", "pipeline": [{"$match": {"at": {"$exists": True}}}]}}]).to_list(),
    "aggregate near": lambda c: c.aggregate([{"$geoNear": {"near": {"type": "Point", "coordinates": [1, 2]}, "key": "at", "distanceField": "d"}}]).to_list(),
    "count": lambda c: c.count_documents({"salary": 10}),
    "count of a query": lambda c: c.where({"salary": command.gt(5)}).count(),
    "distinct": lambda c: c.distinct("salary"),
    "distinct below": lambda c: c.distinct("l.s"),
    "distinct in a filter": lambda c: c.distinct("name", {"salary": 10}),
    "distinct parents": lambda c: c.distinct("p"),
    "exists": lambda c: c.find_one({"at": {"$exists": True}}),
    "find an element": lambda c: list(c.find({"l": {"$elemMatch": {"s": 1}}})),
    "find an expression": lambda c: list(c.find({"$expr": {"$gt": ["$salary", 5]}})),
    "find a name that is made": lambda c: list(c.find({"$expr": {"$eq": [{"$getField": {"$concat": ["sal", "ary"]}}, 10]}})),
    "find a parent": lambda c: list(c.find({"p": {"s": 7, "t": 8}})),
    "find a pattern": lambda c: list(c.find({"salary": {"$regex": "^1"}})),
    "find a place in an array": lambda c: list(c.find({"l.0.s": 1})),
    "find a schema": lambda c: list(c.find({"$jsonSchema": {"required": ["salary"]}})),
    "find a type": lambda c: list(c.find({"salary": {"$type": "int"}})),
    "find in a $nor": lambda c: list(c.find({"$nor": [{"salary": 10}]})),
    "find in a transaction's $or": lambda c: list(c.find({"$or": [{"name": "x"}, {"salary": 10}]})),
    "find sorted": lambda c: list(c.find({}).sort("salary", 1)),
    "find sorted by a parent": lambda c: list(c.find({}).sort("p", -1).limit(1)),
    "find with a computed field": lambda c: list(c.find({}, {"x": "$salary"})),
    "find with a hint of keys": lambda c: list(c.find({}).hint([("owner", 1), ("salary", 1)])),
    "find with a projection": lambda c: list(c.find({}, {"salary": 1})),
    "find with the matched element": lambda c: list(c.find({"l.s": 1}, {"l.$": 1})),
    "find the first element that": lambda c: list(c.find({}, {"l": {"$elemMatch": {"s": {"$gt": 1}}}})),
    "remove": lambda c: c.delete_many({"salary": 10}),
    "remove the first": lambda c: c.find_one_and_delete({}, sort=[("salary", 1)]),
    "replace": lambda c: c.replace_one({"salary": 10}, {"x": 1}),
    "update": lambda c: c.update_one({"salary": 10}, {"$set": {"x": 1}}),
    "update an element": lambda c: c.update_one({"_id": 1}, {"$set": {"l.$[e].t": 5}}, array_filters=[{"e.s": 1}]),
    "update by $max": lambda c: c.update_one({"_id": 1}, {"$max": {"salary": 15}}),
    "update by $pull": lambda c: c.update_one({"_id": 1}, {"$pull": {"l": {"s": 1}}}),
    "update by $rename": lambda c: c.update_one({"_id": 1}, {"$rename": {"salary": "x"}}),
    "update by $rename of a parent": lambda c: c.update_one({"_id": 2}, {"$rename": {"p": "x"}}),
    "update below it": lambda c: c.update_one({"_id": 1}, {"$set": {"salary.x": 1}}),
    "update below it in a merge": lambda c: c.doc(1).update({"salary": {"x": 1}}),
    "update of a place in it": lambda c: c.update_one({"_id": 1}, {"$set": {"at.coordinates.0": 1}}),
    "update of no place in it": lambda c: c.update_one({"_id": 1}, {"$unset": {"l.$[].s.0": ""}}),
    "update by $merge of all": lambda c: c.aggregate([{"$match": {"_id": 1}}, {"$project": {"name": 1}}, {"$merge": "people"}]).to_list(),
    "update by a pipeline": lambda c: c.update_one({"_id": 1}, [{"$set": {"x": "$salary"}}]),
    "update by a pipeline of wholes": lambda c: c.update_one({"_id": 2}, [{"$set": {"x": "$$ROOT"}}]),
    "update by a pipeline of parents": lambda c: c.update_one({"_id": 2}, [{"$set": {"x": "$p"}}]),
    "update by an expression in the filter": lambda c: c.update_many({"$expr": {"$gt": ["$salary", 5]}}, {"$set": {"x": 1}}),
    "update by $merge": lambda c: c.aggregate(
        [{"$match": {"_id": 1}}, {"$project": {"_id": 1}}, {"$merge": {"into": "people", "whenMatched": [{"$set": {"x": "$salary"}}]}}]).to_list(),
    "update the first": lambda c: c.find_one_and_update({}, {"$set": {"x": 1}}, sort=[("salary", 1)]),
    "where": lambda c: c.where({"p": {"s": 7}}).get(),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_query_that_speaks_of_a_hidden_field_is_denied(db, people, name):
    before = sorted(map(repr, db["people"].find({})))
    with pytest.raises(DeniedError) as caught:
        ASKED[name](people)
    assert "salary" not in str(caught.value)
    assert sorted(map(repr, db["people"].find({}))) == before


@pytest.mark.parametrize("name", ASKED)
def test_the_same_is_denied_in_a_transaction(db, name):
    with pytest.raises(DeniedError), db.as_user(ANN).transaction() as transaction:
        ASKED[name](transaction["people"])


def test_an_index_gives_nothing_away(db):
    if len(list(db["people"].list_indexes())) == 1:
        pytest.skip("without indexes")
    people = db.as_user(ANN)["people"]
    for ask in (
        lambda: list(people.find({"$text": {"$search": "Ann"}})),
        lambda: list(people.find({}).hint("by_salary")),
        lambda: list(people.find({}).hint("rich")),
        lambda: people.aggregate([{"$match": {"name": "Ann"}}, {"$project": {"k": {"$meta": "indexKey"}}}]).to_list(),
        lambda: people.count_documents({}, hint="rich"),
        lambda: people.aggregate([{"$match": {}}], hint="by_salary").to_list(),
        lambda: people.update_many({}, {"$set": {"x": 1}}, hint="rich"),
        lambda: list(people.find({"at": {"$near": {"$geometry": {"type": "Point", "coordinates": [1, 2]}}}})),
        lambda: people.aggregate(
            [{"$geoNear": {"near": {"type": "Point", "coordinates": [1, 2]}, "distanceField": "d"}}]
        ).to_list(),
    ):
        with pytest.raises(DeniedError):
            ask()


def test_where_the_rule_looks_at_the_document_what_is_asked_must_prove_it(db):
    people = db.as_user(ANN)["people"]
    assert people.find_one({"_id": 1, "p.s": 7})["p"] == {"s": 7, "t": 8}
    assert people.find_one({"owner": "ann", "p.s": 7})["_id"] == 1
    for filter in (
        {"p.s": 7},
        {"name": "Ann", "p.s": 7},
        {"_id": 2, "p.s": 5},
        {"$or": [{"owner": "ann"}, {"name": "Bob"}], "p.s": 5},
    ):
        with pytest.raises(DeniedError):
            people.find_one(filter)


def test_what_was_changed_tells_nothing_of_what_was_there(db):
    people = db.as_user(ANN)["people"]
    assert [people.update_one({"_id": 1}, {"$set": {"salary": guess}}).modified_count for guess in (9, 9)] == [1, 1]
    assert people.update_one({"_id": 3}, {"$unset": {"at": ""}}).modified_count == 1
    assert [people.update_one({"_id": 1}, {"$set": {"name": "Ann"}}).modified_count for _ in range(2)] == [0, 0]


def test_rules_with_get_are_asked_of_each_document(db):
    db["teams"].insert_many([{"_id": f"t{n}", "boss": "ann" if n % 2 else "bob"} for n in range(30)])
    db["jobs"].insert_many([{"_id": n, "team": f"t{n}", "pay": n} for n in range(30)])
    db.set_rules(
        "jobs",
        {"read": True, "fields": {"pay": {"read": "get(`database.teams.${doc.team}`).boss == auth.openid"}}},
    )
    assert [d.get("pay") for d in db.as_user(ANN)["jobs"].find({})] == [n if n % 2 else None for n in range(30)]


# ---- what may not be written

FIXED = {
    "read": True,
    "write": True,
    "fields": {
        "role": {"write": "auth.openid == 'boss'"},
        "log.flag": {"write": False},
        "kept": {"write": "doc.owner == auth.openid"},
    },
}
ROWS = [
    {"_id": 1, "owner": "ann", "role": "user", "n": 1, "log": [{"flag": True, "t": 1}, {"t": 2}], "kept": {"a": 1}},
    {"_id": 2, "owner": "bob", "n": 1, "kept": {"a": 1}},
]


@pytest.fixture
def rows(db):
    db["rows"].insert_many(ROWS)
    db.set_rules("rows", FIXED)
    return db.as_user(ANN)["rows"]


REFUSED = {
    "$addToSet": lambda c: c.update_one({"_id": 2}, {"$addToSet": {"role": 2}}),
    "$currentDate": lambda c: c.update_one({"_id": 2}, {"$currentDate": {"role": True}}),
    "$inc of another type": lambda c: c.update_one({"_id": 2}, {"$inc": {"kept.a": 0.0}}),
    "$max": lambda c: c.update_one({"_id": 1}, {"$max": {"role": "z"}}),
    "$pop": lambda c: c.update_one({"_id": 1}, {"$pop": {"log": -1}}),
    "$pull": lambda c: c.update_one({"_id": 1}, {"$pull": {"log": {"t": 1}}}),
    "$push at the front": lambda c: c.update_one({"_id": 1}, {"$push": {"log": {"$each": [{"t": 0}], "$position": 0}}}),
    "$push with the field": lambda c: c.update_one({"_id": 1}, {"$push": {"log": {"flag": True}}}),
    "$rename away": lambda c: c.update_one({"_id": 1}, {"$rename": {"role": "x"}}),
    "$rename onto": lambda c: c.update_one({"_id": 2}, {"$rename": {"n": "role"}}),
    "$set": lambda c: c.update_one({"_id": 1}, {"$set": {"role": "admin"}}),
    "$set a parent": lambda c: c.update_one({"_id": 1}, {"$set": {"log": []}}),
    "$set a place": lambda c: c.update_one({"_id": 1}, {"$set": {"log.0.flag": False}}),
    "$set another type": lambda c: c.update_one({"_id": 2}, {"$set": {"kept.a": 1.0}}),
    "$set everywhere": lambda c: c.update_one({"_id": 1}, {"$set": {"log.$[].flag": False}}),
    "$set null": lambda c: c.update_one({"_id": 2}, {"$set": {"role": None}}),
    "$set of many": lambda c: c.update_many({}, {"$set": {"kept.b": 1}}),
    "$set the matched element": lambda c: c.update_one({"_id": 1, "log.t": 2}, {"$set": {"log.$.flag": True}}),
    "$unset": lambda c: c.update_one({"_id": 1}, {"$unset": {"role": ""}}),
    "bulk": lambda c: c.bulk_write([docdb.UpdateOne({"_id": 1}, {"$set": {"n": 2}}), docdb.UpdateOne({"_id": 1}, {"$set": {"role": "x"}})]),
    "doc set": lambda c: c.doc(1).set({"owner": "ann"}),
    "doc update": lambda c: c.doc(1).update({"role": "admin"}),
    "doc update of a path": lambda c: c.doc(1).update({"log.1.flag": 1}),
    "find and replace": lambda c: c.find_one_and_replace({"_id": 1}, {"role": "admin"}),
    "find and update": lambda c: c.find_one_and_update({"_id": 1}, {"$set": {"role": "x"}}),
    "insert": lambda c: c.insert_one({"_id": 9, "role": "admin"}),
    "insert below": lambda c: c.insert_one({"_id": 9, "log": [{"flag": None}]}),
    "insert many": lambda c: c.insert_many([{"_id": 8}, {"_id": 9, "role": None}]),
    "merge": lambda c: c.aggregate([{"$match": {"_id": 1}}, {"$set": {"role": "x"}}, {"$merge": "rows"}]).to_list(),
    "merge new": lambda c: c.aggregate([{"$match": {"_id": 1}}, {"$set": {"_id": 9}}, {"$merge": "rows"}]).to_list(),
    "pipeline": lambda c: c.update_one({"_id": 1}, [{"$set": {"role": {"$concat": ["$role", "x"]}}}]),
    "pipeline of a new root": lambda c: c.update_one({"_id": 1}, [{"$replaceWith": {"n": 1}}]),
    "replace": lambda c: c.replace_one({"_id": 1}, {"n": 2}),
    "upsert": lambda c: c.update_one({"_id": 9, "role": "admin"}, {"$set": {"n": 1}}, upsert=True),
    "upsert on insert": lambda c: c.update_one({"_id": 9}, {"$setOnInsert": {"role": 1}}, upsert=True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_written_stays(db, rows, name):
    with pytest.raises(DocdbError) as caught:
        REFUSED[name](rows)
    assert isinstance(caught.value, DeniedError)
    assert list(db["rows"].find({})) == ROWS


ALLOWED = {
    "beside it": lambda c: c.update_one({"_id": 1}, {"$set": {"n": 2, "log.0.t": 5}}).modified_count,
    "a whole that keeps it": lambda c: c.replace_one({"_id": 1}, {**ROWS[0], "n": 2}).modified_count,
    "another element": lambda c: c.update_one({"_id": 1}, {"$push": {"log": {"t": 3}}}).modified_count,
    "by its owner": lambda c: c.update_one({"_id": 1}, {"$set": {"kept.a": 2}}).modified_count,
    "the same again": lambda c: c.update_one({"_id": 1}, {"$set": {"role": "user"}}).matched_count,
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_rest_may_be_written(rows, name):
    assert ALLOWED[name](rows) == 1


def test_who_may_write_a_field_writes_it(db, rows):
    assert db.as_user(BOSS)["rows"].update_one({"_id": 1}, {"$set": {"role": "admin"}}).modified_count == 1
