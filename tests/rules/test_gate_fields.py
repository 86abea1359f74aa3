"""Fields that a caller may not read or write."""

from __future__ import annotations

import pytest

import docdb
from docdb import DeniedError, UpdateOne

ANN, BOB, HAL = {"openid": "ann"}, {"openid": "bob"}, {"openid": "hal"}
PEOPLE = [
    {
        "_id": 1,
        "_openid": "ann",
        "name": "Ann",
        "salary": 5,
        "address": {"street": "x", "city": "y"},
        "jobs": [{"pay": 1, "at": "a"}],
        "secret": "s1",
    },
    {
        "_id": 2,
        "_openid": "bob",
        "name": "Bob",
        "salary": 7,
        "address": {"street": "z", "city": "y"},
        "jobs": [{"pay": 2, "at": "b"}],
        "secret": "s2",
    },
]
RULES = {
    "read": "auth != null",
    "write": "auth != null",
    "fields": {
        "salary": {"read": "doc._openid == auth.openid || get('database.roles.' + auth.openid).role == 'hr'", "write": False},
        "address.street": {"read": "doc._openid == auth.openid"},
        "jobs.pay": {"read": "doc._openid == auth.openid"},
        "secret": {"read": False},
    },
}  # fmt: skip


@pytest.fixture(params=["plain", "indexed"])
def db(request):
    with docdb.open(":memory:") as database:
        database["people"].insert_many(PEOPLE)
        database["roles"].insert_one({"_id": "hal", "role": "hr"})
        if request.param == "indexed":
            for keys in ("salary", "secret", [("name", 1), ("secret", 1)], "jobs.pay"):
                database["people"].create_index(keys)
        database.set_rules("people", RULES)
        database.set_rules("roles", "ADMINONLY")
        yield database


ANN_SEES = [
    {
        "_id": 1,
        "_openid": "ann",
        "name": "Ann",
        "salary": 5,
        "address": {"street": "x", "city": "y"},
        "jobs": [{"pay": 1, "at": "a"}],
    },
    {"_id": 2, "_openid": "bob", "name": "Bob", "address": {"city": "y"}, "jobs": [{"at": "b"}]},
]
WAYS = {
    "aggregate": lambda c: c.aggregate([{"$sort": {"_id": 1}}]).to_list(),
    "facet": lambda c: c.aggregate([{"$facet": {"all": [{"$sort": {"_id": 1}}]}}]).to_list()[0]["all"],
    "find": lambda c: c.find().sort("_id", 1).to_list(),
    "find by names": lambda c: c.find({"name": {"$in": ["Ann", "Bob"]}}).sort("_id", 1).to_list(),
    "get": lambda c: [c.doc(1).get(), c.doc(2).get()],
    "merged into an object": lambda c: [
        d["o"] for d in c.aggregate([{"$sort": {"_id": 1}}, {"$project": {"o": "$$ROOT"}}])
    ],
    "pages": lambda c: c.where({}).order_by("_id").after("").limit(10).get(),
    "pinned": lambda c: [c.find_one({"_id": 1}), c.find({"_id": 2}).next()],
    "pushed": lambda c: c.aggregate(
        [{"$sort": {"_id": 1}}, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}]
    ).to_list()[0]["all"],
    "unwound": lambda c: [
        d | {"jobs": [d["jobs"]]} for d in c.aggregate([{"$sort": {"_id": 1}}, {"$unwind": "$jobs"}])
    ],
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("inside", ["database", "transaction"])
def test_documents_are_masked_each_by_itself(db, name, inside):
    user = db.as_user(ANN)
    with user.transaction() as t:
        assert WAYS[name]((t if inside == "transaction" else user)["people"]) == ANN_SEES
    for person in WAYS[name](db.as_user(HAL)["people"]):
        assert (set(person) & {"salary", "secret"}, "street" in person["address"]) == ({"salary"}, False)


@pytest.mark.parametrize("auth", [ANN, BOB])
def test_joined_documents_are_masked(db, auth):
    db["teams"].insert_one({"_id": 1, "members": [1, 2]})
    db.set_rules("teams", {"read": True})
    teams = db.as_user(auth, filter_mode=True)["teams"]
    for stages in (
        [{"$lookup": {"from": "people", "localField": "members", "foreignField": "_id", "as": "found"}}],
        [{"$lookup": {"from": "people", "pipeline": [{"$sort": {"_id": 1}}], "as": "found"}}],
        [
            {
                "$graphLookup": {
                    "from": "people",
                    "startWith": "$members",
                    "connectFromField": "none",
                    "connectToField": "_id",
                    "as": "found",
                }
            }
        ],
        [
            {"$limit": 1},
            {"$unionWith": "people"},
            {"$match": {"name": {"$exists": True}}},
            {"$group": {"_id": None, "found": {"$push": "$$ROOT"}}},
        ],
    ):
        (row,) = teams.aggregate(stages)
        seen = [
            ("salary" in d, "secret" in d, "street" in d["address"])
            for d in row["found"]
            if d["_openid"] != auth["openid"]
        ]
        assert seen == [(False, False, False)]


def test_groups_of_joined_documents_are_made_of_masked_ones(db):
    db["teams"].insert_many([{"_id": 1, "member": 1}, {"_id": 2, "member": 2}])
    db.set_rules("teams", {"read": True})
    stages = [
        {"$lookup": {"from": "people", "localField": "member", "foreignField": "_id", "as": "found"}},
        {"$unwind": "$found"},
        {"$group": {"_id": "$_id", "found": {"$first": "$found"}}},
    ]
    rows = db.as_user(ANN, filter_mode=True)["teams"].aggregate(stages).to_list()
    assert [row["found"] for row in rows] == db.as_user(ANN)["people"].find().to_list() == ANN_SEES


SPOKEN = {
    "a count": lambda c: c.count_documents({"secret": "s1"}),
    "a cursor's distinct": lambda c: c.find().distinct("secret"),
    "a distinct": lambda c: c.distinct("secret"),
    "a distinct above": lambda c: c.distinct("address"),
    "a distinct below": lambda c: c.distinct("secret.x"),
    "a filter": lambda c: c.find({"secret": {"$gt": "a"}}).to_list(),
    "a filter above": lambda c: c.find({"address": {"street": "x", "city": "y"}}).to_list(),
    "a filter by an element": lambda c: c.find({"jobs": {"$elemMatch": {"pay": 1}}}).to_list(),
    "a filter by an expression": lambda c: c.find({"$expr": {"$eq": ["$secret", "s1"]}}).to_list(),
    "a filter by the whole": lambda c: c.find({"$expr": {"$eq": ["$$ROOT.secret", "s1"]}}).to_list(),
    "a filter in an or": lambda c: c.find({"$or": [{"name": "x"}, {"secret": "s1"}]}).to_list(),
    "a filter in a nor": lambda c: c.find({"$nor": [{"secret": "s1"}]}).to_list(),
    "a filter on existence": lambda c: c.find({"secret": {"$exists": True}}).to_list(),
    "a filter with a pattern": lambda c: c.find({"secret": {"$regex": "^s"}}).to_list(),
    "a group": lambda c: c.aggregate([{"$group": {"_id": "$secret"}}]).to_list(),
    "a group's sum": lambda c: c.aggregate([{"$group": {"_id": None, "n": {"$sum": "$salary"}}}]).to_list(),
    "a join": lambda c: c.aggregate(
        [{"$lookup": {"from": "people", "localField": "secret", "foreignField": "name", "as": "x"}}]
    ).to_list(),
    "a join's foreign field": lambda c: c.aggregate(
        [{"$lookup": {"from": "people", "localField": "name", "foreignField": "secret", "as": "x"}}]
    ).to_list(),
    "a later match": lambda c: c.aggregate([{"$limit": 5}, {"$match": {"secret": "s1"}}]).to_list(),
    "a projection": lambda c: c.find({}, {"secret": 1}).to_list(),
    "a projection's alias": lambda c: c.find({}, {"x": "$secret"}).to_list(),
    "a renamed field": lambda c: c.aggregate([{"$set": {"x": "$secret"}}, {"$match": {"x": "s1"}}]).to_list(),
    "a sort": lambda c: c.find().sort("secret", 1).to_list(),
    "a sort and a limit": lambda c: c.find().sort("secret", 1).limit(1).to_list(),
    "a sort by pay": lambda c: c.find().sort("jobs.pay", 1).to_list(),
    "a stage's sort": lambda c: c.aggregate([{"$sort": {"secret": 1}}]).to_list(),
    "keys": lambda c: c.find({"name": "Ann"}, return_key=True).to_list(),
    "salaries": lambda c: c.find({"salary": {"$gt": 6}}).to_list(),
    "the field of a cursor's place": lambda c: c.find().sort("secret", 1)[0],
    "the id of one document": lambda c: c.find_one({"_id": 1, "secret": "s1"}),
}
WRITTEN = {
    "a bulk write": lambda c: c.bulk_write([UpdateOne({"_id": 1, "secret": "s1"}, {"$set": {"x": 1}})]),
    "a delete": lambda c: c.delete_one({"_id": 1, "secret": "s2"}),
    "a delete by condition": lambda c: c.delete_many({"secret": "s1"}),
    "a pipeline": lambda c: c.update_one({"_id": 1}, [{"$set": {"copy": "$secret"}}]),
    "a pipeline by the whole": lambda c: c.update_one({"_id": 1}, [{"$set": {"copy": {"$getField": "secret"}}}]),
    "a rename": lambda c: c.update_one({"_id": 1}, {"$rename": {"secret": "public"}}),
    "a replacement's condition": lambda c: c.find_one_and_replace({"_id": 1, "secret": "s1"}, {"x": 1}),
    "a sort": lambda c: c.find_one_and_update({}, {"$set": {"x": 1}}, sort=[("secret", 1)]),
    "an increment": lambda c: c.update_one({"_id": 2}, {"$inc": {"salary": 1}}),
    "an increment of text": lambda c: c.update_one({"_id": 1}, {"$inc": {"secret": 1}}),
    "an update": lambda c: c.update_one({"_id": 1, "secret": "s1"}, {"$set": {"x": 1}}),
    "an update by condition": lambda c: c.update_many({"secret": "s1"}, {"$set": {"x": 1}}),
    "an upsert": lambda c: c.update_one({"secret": "s1"}, {"$set": {"x": 1}}, upsert=True),
}


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize("options", [{}, {"filter_mode": True}], ids=repr)
def test_a_query_may_not_speak_of_a_hidden_field(db, name, options):
    with pytest.raises(DeniedError) as caught:
        SPOKEN[name](db.as_user(ANN, **options)["people"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_write_may_not_speak_of_a_hidden_field(db, name):
    with pytest.raises(DeniedError) as caught:
        WRITTEN[name](db.as_user(ANN)["people"])
    assert "secret" not in str(caught.value)
    assert db["people"].find().sort("_id", 1).to_list() == PEOPLE


def test_a_hint_may_not_name_a_hidden_field():
    with docdb.open(":memory:") as db:
        db["people"].insert_many(PEOPLE)
        db["people"].create_index("secret", name="by_secret")
        db["people"].create_index("name", name="partial", partialFilterExpression={"secret": "s1"})
        db.set_rules("people", RULES)
        people = db.as_user(ANN)["people"]
        for hint in ("by_secret", [("secret", 1)], "partial"):
            with pytest.raises(DeniedError):
                people.find({"name": "Ann"}, hint=hint).to_list()
        with pytest.raises(DeniedError):
            people.find({}, hint="by_secret", min=[("secret", "a")]).to_list()


def test_text_of_a_hidden_field_is_not_searched():
    with docdb.open(":memory:") as db:
        db["people"].insert_many(PEOPLE)
        db["people"].create_index([("name", "text"), ("secret", "text")])
        db.set_rules("people", RULES)
        with pytest.raises(DeniedError):
            db.as_user(ANN)["people"].find({"$text": {"$search": "s1"}}).to_list()


def test_a_query_that_proves_the_field_s_rule_may_speak_of_it(db):
    db["people"].insert_one({"_id": 3, "_openid": ["ann", "bob"], "salary": 9})
    people = db.as_user(ANN)["people"]
    assert [d["salary"] for d in people.find({"_openid": "ann", "salary": {"$gt": 1}})] == [5]
    assert people.distinct("salary", {"_openid": "ann"}) == [5]
    stages = [{"$match": {"_openid": "{openid}"}}, {"$group": {"_id": None, "n": {"$sum": "$salary"}}}]
    assert [d["n"] for d in people.aggregate(stages)] == [5]
    assert people.find_one({"_id": 1, "salary": 5})["salary"] == 5
    for call in (lambda: people.find_one({"_id": 2, "salary": 7}), lambda: people.find_one({"_id": 3, "salary": 9})):
        with pytest.raises(DeniedError):
            call()
    assert [
        d["n"] for d in db.as_user(HAL)["people"].aggregate([{"$group": {"_id": None, "n": {"$sum": "$salary"}}}])
    ] == [21]


def test_leaving_fields_out(db):
    people = db.as_user(ANN)["people"]
    assert people.find({"_id": 2}, {"secret": 0, "name": 0, "jobs": 0}).to_list() == [
        {"_id": 2, "_openid": "bob", "address": {"city": "y"}}
    ]
    assert people.find({"_id": 2}, {"salary": 1, "address": 1}).to_list() == [{"_id": 2, "address": {"city": "y"}}]
    assert people.find({}, {"jobs": {"$slice": 1}}).sort("_id", 1).to_list() == ANN_SEES


def test_what_may_not_be_written_stays(db):
    people = db.as_user(ANN)["people"]
    for call in (
        lambda: people.update_one({"_id": 1}, {"$set": {"salary": 6}}), lambda: people.update_one({"_id": 1}, {"$unset": {"salary": 1}}),
        lambda: people.replace_one({"_id": 1}, {"name": "Ann"}), lambda: people.update_one({"_id": 1}, [{"$set": {"salary": 6}}]),
        lambda: people.insert_one({"salary": 6}), lambda: people.doc(9).set({"salary": 6}), lambda: people.insert_many([{}, {"salary": 6}]),
        lambda: people.find_one_and_update({"_id": 1}, {"$mul": {"salary": 2}}),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            call()
    assert db["people"].find().sort("_id", 1).to_list() == PEOPLE
    people.update_one({"_id": 1}, {"$set": {"name": "A", "salary": 5}})
    assert db["people"].find_one({"_id": 1})["name"] == "A"


def test_answers_are_masked(db):
    people = db.as_user(ANN)["people"]
    found = people.find_one_and_update({"_id": 2}, {"$set": {"name": "B"}}, return_document=True)
    assert found == ANN_SEES[1] | {"name": "B"}
    assert people.find_one_and_update({"_id": 2}, {"$set": {"name": "C"}}, projection={"secret": 1}) == {"_id": 2}
    assert people.find_one_and_delete({"_id": 2}) == ANN_SEES[1] | {"name": "C"}


def test_a_unique_key_on_a_hidden_field_is_not_told():
    with docdb.open(":memory:") as db:
        db["people"].insert_many(PEOPLE)
        db["people"].create_index("secret", unique=True)
        db.set_rules("people", RULES)
        with pytest.raises(DeniedError):
            db.as_user(ANN)["people"].insert_one({"secret": "s2"})


def test_columns_are_masked(db):
    pytest.importorskip("pyarrow")
    people = db.as_user(ANN)["people"]
    for table in (
        people.find().sort("_id", 1).to_arrow(),
        people.aggregate([{"$match": {}}]).to_arrow(),
        people.where({}).to_arrow(),
    ):
        rows = {row["_id"]: row for row in table.to_pylist()}
        assert "secret" not in table.column_names
        assert (rows[1]["salary"], rows[2].get("salary")) == (5, None)


def test_stored_bytes_are_masked(db):
    from docdb.planner.queries import FindQuery
    from docdb.store import codec

    session = db.as_user(ANN)._session
    for query in (FindQuery(), FindQuery(sort=((("name",), 1),)), FindQuery(limit=5)):
        found = [codec.decode(data) for batch in session.stored("people", query) for data in batch]
        assert sorted(found, key=lambda document: document["_id"]) == ANN_SEES
    wanted, batches = session.stored_aggregate("people", [{"$match": {"name": "Bob"}}])
    assert [codec.decode(data) for batch in batches for data in batch] == ANN_SEES[1:]
