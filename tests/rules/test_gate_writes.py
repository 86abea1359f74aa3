"""Writing under rules: every entry point, allowed and denied; nothing is written by what is denied."""

from __future__ import annotations

import copy
import datetime as dt
from collections import UserDict

import pytest

import docdb
from docdb import (
    BulkWriteError,
    DeleteMany,
    DeleteOne,
    DeniedError,
    DuplicateKeyError,
    InsertOne,
    ReplaceOne,
    UpdateMany,
    UpdateOne,
)

ANN, BOB = {"openid": "ann"}, {"openid": "bob"}
OWN = "auth != null && doc._openid == auth.openid"
OWNER = {"read": OWN, "write": OWN}
STORED = [
    {"_id": "a", "_openid": "ann", "n": 1, "tags": ["x"]},
    {"_id": "b", "_openid": "bob", "n": 1},
    {"_id": "n", "n": 1},
]


@pytest.fixture(params=["memory", "file"])
def db(request, tmp_path):
    path = ":memory:" if request.param == "memory" else tmp_path / "db"
    with docdb.open(path) as database:
        database["notes"].insert_many(STORED)
        database.set_rules("notes", OWNER)
        yield database


def contents(db):
    return db["notes"].find().sort("_id", 1).to_list()


INSERTS = {
    "add": lambda c, d: c.add(d),
    "add many": lambda c, d: c.add([{"_id": "z"}, d]),
    "bulk": lambda c, d: c.bulk_write([InsertOne(d)]),
    "bulk of several": lambda c, d: c.bulk_write([InsertOne({"_id": "z"}), InsertOne(d)]),
    "bulk unordered": lambda c, d: c.bulk_write([InsertOne({"_id": "z"}), InsertOne(d)], ordered=False),
    "find and replace": lambda c, d: c.find_one_and_replace({"_id": d.get("_id", "i")}, d, upsert=True),
    "find and update": lambda c, d: c.find_one_and_update(
        {"_id": d.get("_id", "i")}, {"$set": d}, upsert=True, return_document=True
    ),
    "in steps": lambda c, d: c.insert_many([d], batch=1),
    "insert_many": lambda c, d: c.insert_many([{"_id": "z"}, d]),
    "insert_many unordered": lambda c, d: c.insert_many([{"_id": "z"}, d], ordered=False),
    "insert_one": lambda c, d: c.insert_one(d),
    "merge": lambda c, d: c.aggregate(
        [{"$limit": 1}, {"$replaceWith": {"$literal": d}}, {"$merge": "notes"}]
    ).to_list(),
    "replace": lambda c, d: c.replace_one({"_id": d.get("_id", "i")}, d, upsert=True),
    "set": lambda c, d: c.doc(d.get("_id", "i")).set(
        {"k": 1} | {name: value for name, value in d.items() if name != "_id"}
    ),
    "update": lambda c, d: c.update_one({"_id": d.get("_id", "i")}, {"$set": d}, upsert=True),
    "update many": lambda c, d: c.update_many({"_id": d.get("_id", "i")}, {"$setOnInsert": d}, upsert=True),
}


@pytest.mark.parametrize("name", INSERTS)
@pytest.mark.parametrize("inside", ["database", "transaction"])
def test_every_way_of_creating(db, name, inside):
    insert = INSERTS[name]
    if name == "merge":
        db.set_rules("notes", {"read": True, "write": OWN})

    def run(auth, document):
        if inside == "database":
            return insert(db.as_user(auth)["notes"], document)
        with db.as_user(auth).transaction() as t:
            return insert(t["notes"], document)

    before = contents(db)
    for auth, document in (
        (BOB, {"_id": "i", "_openid": "ann"}), (BOB, {"_id": "i", "_openid": ["bob"]}), (BOB, {"_id": "i", "_openid": None}),
        (None, {"_id": "i"}), (None, {"_id": "i", "_openid": "ann"}), ({"role": "x"}, {"_id": "i", "_openid": None}),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            run(auth, document)
    assert contents(db) == before
    run(BOB, {"_id": "i", "k": 1})
    assert db["notes"].find_one({"_id": "i"}) == {"_id": "i", "k": 1, "_openid": "bob"}


MANY = [
    {"_id": 1}, {"_id": 2, "_openid": "bob", "k": 1}, UserDict({"_id": 3, "k": 1}), {"_id": 4, "when": docdb.server_date()}, {"_openid": "bo" + "b", "_id": 5},
    UserDict({"_id": 6, "_openid": "bob"}), {"_id": 7, "o": {"_openid": "ann"}}, {"k": 1, "_id": 8, **{f"f{n}": n for n in range(14)}},
]  # fmt: skip


def copied():
    return [copy.copy(one) for one in MANY]


def numbered(db):
    """The fields of the documents with numbers, in order; without the time."""
    found = db["notes"].find({"_id": {"$type": "number"}}).sort("_id", 1)
    return [[(name, value) for name, value in one.items() if name != "when"] for one in found]


@pytest.mark.parametrize(
    "rule", [OWN, "true", "doc._openid == 'bob'", "request.data._openid == auth.openid && doc.z == undefined"]
)
def test_many_get_their_owner_as_one_does(db, rule):
    db.set_rules("notes", {"read": True, "write": rule})
    bob = db.as_user(BOB)["notes"]
    bob.insert_many(copied())
    found = numbered(db)
    db["notes"].delete_many({"_id": {"$type": "number"}})
    for one in copied():
        bob.insert_one(one)
    assert numbered(db) == found
    assert [dict(one)["_openid"] for one in found] == ["bob"] * len(MANY)


@pytest.mark.parametrize("at", [0, 3, 6])
@pytest.mark.parametrize("other", ["ann", "", "bobb", None, 1, ["bob"], {"_openid": "bob"}, b"bob"], ids=repr)
def test_one_that_is_another_s_refuses_all(db, at, other):
    db.set_rules("notes", {"read": True, "write": True})
    before = contents(db)
    made = [{"_id": n, "_openid": "bob"} for n in range(7)]
    made[at]["_openid"] = other
    with pytest.raises(DeniedError):
        db.as_user(BOB)["notes"].insert_many(made)
    assert contents(db) == before


@pytest.mark.parametrize(
    "rule", [f"{OWN} && doc.k == 1", "doc.k == 1", "doc._openid == 'ann'", "false", "doc._openid == auth.uid"]
)
def test_the_owner_is_not_the_whole_rule(db, rule):
    db.set_rules("notes", {"read": True, "write": rule})
    before = contents(db)
    with pytest.raises(DeniedError):
        db.as_user(BOB)["notes"].insert_many([{"_id": 1, "k": 1}, {"_id": 2, "k": 2, "_openid": "bob"}])
    assert contents(db) == before


@pytest.mark.parametrize("name", INSERTS)
def test_creating_over_what_is_another_s(db, name):
    db.set_rules("notes", "PRIVATE")
    if name == "merge":
        db.set_rules("notes", {"read": True, "write": OWN})
    before = contents(db)
    with pytest.raises(DeniedError):
        INSERTS[name](db.as_user(BOB)["notes"], {"_id": "a", "k": 1})
    assert contents(db) == before


@pytest.mark.parametrize("name", ["add", "insert_one"])
def test_creating_over_one_s_own(db, name):
    with pytest.raises(DuplicateKeyError):
        INSERTS[name](db.as_user(ANN)["notes"], {"_id": "a"})


def test_a_unique_index_tells_nothing_of_others(db):
    db["notes"].create_index("mail", unique=True, sparse=True)
    db["notes"].update_one({"_id": "a"}, {"$set": {"mail": "a@x"}})
    for call in (
        lambda: db.as_user(BOB)["notes"].insert_one({"mail": "a@x"}),
        lambda: db.as_user(BOB)["notes"].insert_many([{"mail": "a@x"}]),
        lambda: db.as_user(BOB)["notes"].update_one({"_id": "b"}, {"$set": {"mail": "a@x"}}),
    ):
        with pytest.raises(DeniedError):
            call()
    assert contents(db) == [STORED[0] | {"mail": "a@x"}, *STORED[1:]]


UPDATES = {
    "bulk": lambda c, f, u: c.bulk_write([UpdateOne(f, u)]),
    "bulk many": lambda c, f, u: c.bulk_write([UpdateMany(f, u)]),
    "doc": lambda c, f, u: c.doc(f["_id"]).update(u),
    "find and update": lambda c, f, u: c.find_one_and_update(f, u),
    "find and update, new": lambda c, f, u: c.find_one_and_update(f, u, return_document=True),
    "in steps": lambda c, f, u: c.update_many(f, u, batch=1),
    "query": lambda c, f, u: c.where(f).update(u),
    "update and return": lambda c, f, u: c.where(f).update_and_return(u),
    "update_many": lambda c, f, u: c.update_many(f, u),
    "update_one": lambda c, f, u: c.update_one(f, u),
    "upsert": lambda c, f, u: c.update_one(f, u, upsert=True),
}


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("inside", ["database", "transaction"])
def test_every_way_of_updating(db, name, inside):
    update = UPDATES[name]

    def run(auth, filter, change):
        if inside == "database":
            return update(db.as_user(auth)["notes"], filter, change)
        with db.as_user(auth).transaction() as t:
            return update(t["notes"], filter, change)

    before = contents(db)
    for auth, id, change in (
        (BOB, "a", {"$set": {"n": 2}}), (BOB, "a", {"$set": {"n": 1}}), (BOB, "a", {"$set": {"_openid": "bob"}}), (BOB, "n", {"$inc": {"n": 1}}),
        (ANN, "a", {"$set": {"_openid": "bob"}}), (ANN, "a", {"$unset": {"_openid": 1}}), (ANN, "a", {"$set": {"_openid": None}}),
        (ANN, "a", {"$rename": {"n": "_openid"}}), (None, "a", {"$set": {"n": 2}}),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            run(auth, {"_id": id}, change)
    assert contents(db) == before
    run(ANN, {"_id": "a"}, {"$set": {"n": 2}})
    assert db["notes"].find_one({"_id": "a"})["n"] == 2


@pytest.mark.parametrize("name", sorted(set(UPDATES) - {"doc", "in steps", "upsert"}))
def test_an_update_by_condition_proves(db, name):
    before = contents(db)
    for filter in (
        {},
        {"n": 1},
        {"_openid": {"$in": ["ann", "bob"]}},
        {"$or": [{"_openid": "ann"}, {"n": 1}]},
    ):
        with pytest.raises(DeniedError):
            UPDATES[name](db.as_user(ANN)["notes"], filter, {"$set": {"n": 5}})
    assert contents(db) == before
    UPDATES[name](db.as_user(ANN)["notes"], {"_openid": "{openid}", "n": 1}, {"$set": {"n": 5}})
    assert [document["n"] for document in contents(db)] == [5, 1, 1]


DELETES = {
    "bulk": lambda c, f: c.bulk_write([DeleteOne(f)]).deleted_count,
    "bulk many": lambda c, f: c.bulk_write([DeleteMany(f)]).deleted_count,
    "delete_many": lambda c, f: c.delete_many(f).deleted_count,
    "delete_one": lambda c, f: c.delete_one(f).deleted_count,
    "doc": lambda c, f: c.doc(f["_id"]).delete().deleted,
    "find and delete": lambda c, f: int(c.find_one_and_delete(f) is not None),
    "in steps": lambda c, f: c.delete_many(f, batch=1).deleted_count,
    "query": lambda c, f: c.where(f).remove().deleted,
}


@pytest.mark.parametrize("name", DELETES)
@pytest.mark.parametrize("inside", ["database", "transaction"])
def test_every_way_of_deleting(db, name, inside):
    delete = DELETES[name]

    def run(auth, filter):
        if inside == "database":
            return delete(db.as_user(auth)["notes"], filter)
        with db.as_user(auth).transaction() as t:
            return delete(t["notes"], filter)

    before = contents(db)
    for auth, id in ((BOB, "a"), (BOB, "n"), (BOB, "absent"), (None, "a")):
        with pytest.raises(DeniedError):
            run(auth, {"_id": id})
    assert contents(db) == before
    assert run(ANN, {"_id": "a"}) == 1
    assert contents(db) == before[1:]


@pytest.mark.parametrize("preset", ["PRIVATE", "READONLY"])
@pytest.mark.parametrize("name", sorted(set(DELETES) - {"in steps"}))
def test_under_a_preset_a_foreign_document_is_not_there(db, name, preset):
    db.set_rules("notes", preset)
    before = contents(db)
    assert DELETES[name](db.as_user(BOB)["notes"], {"_id": "a"}) == 0
    assert db.as_user(BOB)["notes"].update_one({"_id": "a"}, {"$set": {"n": 2}}).matched_count == 0
    assert db.as_user(BOB)["notes"].doc("a").update({"n": 2}).updated == 0
    assert db.as_user(BOB)["notes"].update_many({}, {"$set": {"n": 2}}).matched_count == 1
    assert contents(db) == [before[0], before[1] | {"n": 2}, before[2]]
    with pytest.raises(DeniedError):
        DELETES[name](db.as_user({"role": "x"})["notes"], {"_id": "a"})


@pytest.mark.parametrize("preset", ["ADMINWRITE", "ADMINONLY"])
def test_presets_that_let_nobody_write(db, preset):
    db.set_rules("notes", preset)
    notes = db.as_user(ANN)["notes"]
    before = contents(db)
    for call in (
        lambda: notes.insert_one({}), lambda: notes.update_one({"_id": "a"}, {"$set": {"n": 2}}), lambda: notes.delete_one({"_id": "a"}),
        lambda: notes.doc("new").set({"k": 1}), lambda: notes.update_many({}, {"$set": {"n": 2}}),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            call()
    assert contents(db) == before


def test_a_denied_first_document_makes_no_collection(db):
    db.set_rules("new", {"create": "doc.ok == true"})
    for call in (
        lambda c: c.insert_one({}), lambda c: c.insert_many([{"ok": True}, {}]), lambda c: c.doc(1).set({"k": 1}),
        lambda c: c.bulk_write([InsertOne({"ok": True}), InsertOne({})]),
    ):  # fmt: skip
        with pytest.raises(DeniedError):
            call(db.as_user(ANN)["new"])
    assert "new" not in db.list_collection_names()
    db.as_user(ANN)["new"].insert_one({"ok": True})
    assert "new" in db.list_collection_names()


IMAGES = {
    "$inc over a bound": ("doc.n <= 2", {"$inc": {"n": 5}}),
    "$mul": ("doc.n <= 2", {"$mul": {"n": 5}}),
    "a dotted path": ("!changed('profile')", {"$set": {"profile.role": "admin"}}),
    "a merged object": ("!changed('profile.role')", {"$set": {"profile": {"role": "admin"}}}),
    "a pipeline": ("doc.n <= 2", [{"$set": {"n": {"$add": ["$n", 5]}}}]),
    "a rename": ("!changed('public')", {"$rename": {"n": "public"}}),
    "an element": ("!changed('tags')", {"$set": {"tags.0": "admin"}}),
    "an element by filter": ("!changed('tags')", {"$set": {"tags.$[]": "admin"}}),
    "request data": ("request.data.n <= 2", {"$max": {"n": 5}}),
    "the date of the server": ("!exists(doc.at) || doc.at < 5", {"$currentDate": {"at": True}}),
}


@pytest.mark.parametrize("name", IMAGES)
def test_rules_see_the_document_that_results(db, name):
    rule, change = IMAGES[name]
    db.set_rules("notes", {"read": True, "update": rule})
    before = contents(db)
    for call in (
        lambda: db.as_user(ANN)["notes"].update_one({"_id": "a"}, change),
        lambda: db.as_user(ANN)["notes"].find_one_and_update({"_id": "a"}, change),
        lambda: db.as_user(ANN)["notes"].bulk_write([UpdateOne({"_id": "a"}, change)]),
    ):
        with pytest.raises(DeniedError):
            call()
    assert contents(db) == before
    db.as_user(ANN)["notes"].update_one({"_id": "a"}, {"$set": {"other": 1}})


def test_the_server_s_date_is_there_when_the_rule_is_asked(db):
    db.set_rules("notes", {"read": True, "create": "doc.at == now", "update": "request.data.at >= now"})
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    db._session.settings.clock = lambda: moment
    notes = db.as_user(ANN)["notes"]
    with pytest.raises(DeniedError):
        notes.add({"_id": "d", "at": docdb.server_date()})
    db.set_rules("notes", {"read": True, "create": "doc.at - now == 0", "update": "request.data.at >= now"})
    notes.add({"_id": "d", "at": docdb.server_date()})
    notes.doc("a").update({"at": docdb.server_date()})
    assert [document["at"] for document in notes.find({"at": {"$exists": True}})] == [moment, moment]


def test_an_update_judges_what_it_selects_even_when_it_changes_nothing(db):
    db.set_rules("notes", {"read": False, "update": "request.data.n == 1 && doc._openid == auth.openid"})
    with pytest.raises(DeniedError):
        db.as_user(BOB)["notes"].update_one({"_id": "a", "n": 1}, {"$set": {"n": 1}})
    assert db.as_user(ANN)["notes"].update_one({"_id": "a", "n": 1}, {"$set": {"n": 1}}).matched_count == 1


def test_an_answer_needs_the_read_rule(db):
    db.set_rules("notes", {"read": "doc.n == 1", "write": OWN})
    notes = db.as_user(ANN)["notes"]
    before = contents(db)
    for call in (
        lambda: notes.find_one_and_update({"_id": "a"}, {"$set": {"n": 2}}, return_document=True),
        lambda: notes.find_one_and_replace({"_id": "a"}, {"n": 2}, return_document=True),
        lambda: notes.find_one_and_update({"_id": "new"}, {"$set": {"n": 2}}, upsert=True, return_document=True),
    ):
        with pytest.raises(DeniedError):
            call()
    assert contents(db) == before
    assert notes.find_one_and_update({"_id": "a"}, {"$set": {"n": 2}})["n"] == 1
    for call in (
        lambda: notes.find_one_and_delete({"_id": "a"}),
        lambda: notes.find_one_and_update({"_id": "a"}, {"$set": {"n": 1}}),
    ):
        with pytest.raises(DeniedError):
            call()
    assert db["notes"].find_one({"_id": "a"})["n"] == 2


def test_a_replacement_keeps_its_owner(db):
    notes = db.as_user(ANN)["notes"]
    notes.replace_one({"_id": "a"}, {"k": 1})
    notes.doc("a").set({"k": 2})
    notes.find_one_and_replace({"_id": "a"}, {"k": 3})
    assert db["notes"].find_one({"_id": "a"}) == {"_id": "a", "k": 3, "_openid": "ann"}


def test_a_bulk_write_is_all_or_nothing(db):
    notes = db.as_user(ANN)["notes"]
    before = contents(db)
    good = [
        InsertOne({"_id": "x"}),
        UpdateOne({"_id": "a"}, {"$set": {"n": 9}}),
        DeleteOne({"_id": "x"}),
        ReplaceOne({"_id": "a"}, {"n": 8}),
    ]
    for ordered in (True, False):
        for place in (0, 2, 4):
            requests = [*good[:place], UpdateOne({"_id": "b"}, {"$set": {"n": 9}}), *good[place:]]
            with pytest.raises(DeniedError):
                notes.bulk_write(requests, ordered=ordered)
            with pytest.raises(BulkWriteError) as caught:
                notes.bulk_write([*good, InsertOne({"_id": "a"})], ordered=ordered)
            assert (caught.value.details["nInserted"], list(caught.value.errors)) == (0, [4])
    assert contents(db) == before
    assert notes.bulk_write(good).bulk_api_result["nInserted"] == 1
    assert contents(db) == [{"_id": "a", "n": 8, "_openid": "ann"}, *before[1:]]


def test_later_operations_of_a_bulk_write_meet_what_earlier_ones_did(db):
    db.set_rules("roles", {"read": True, "write": "auth != null"})
    db.set_rules("notes", {"read": True, "write": "get('database.notes.key') == null"})
    before = contents(db)
    with pytest.raises(DeniedError):
        db.as_user(ANN)["notes"].bulk_write([InsertOne({"_id": "key"}), InsertOne({"_id": "more"})])
    assert contents(db) == before


def test_writers_of_many_threads_are_judged_each_by_its_own(db):
    from concurrent.futures import ThreadPoolExecutor

    def write(number):
        owner = f"u{number % 4}"
        user = db.as_user({"openid": owner})
        user["notes"].insert_one({"_id": f"t{number}"})
        with pytest.raises(DeniedError):
            user["notes"].insert_one({"_id": f"f{number}", "_openid": "ann"})
        with pytest.raises(DeniedError):
            user["notes"].update_one({"_id": "a"}, {"$set": {"n": number}})
        return owner

    with ThreadPoolExecutor(8) as pool:
        owners = list(pool.map(write, range(40)))
    found = {document["_id"]: document["_openid"] for document in db["notes"].find({"_id": {"$regex": "^[tf]"}})}
    assert found == {f"t{number}": owner for number, owner in enumerate(owners)}


def test_a_denied_write_in_a_transaction_undoes_nothing_else(db):
    with db.as_user(ANN).transaction() as t:
        t["notes"].insert_one({"_id": "x"})
        with pytest.raises(DeniedError):
            t["notes"].insert_many([{"_id": "y"}, {"_id": "z", "_openid": "bob"}])
        with pytest.raises(DeniedError):
            t["notes"].update_one({"_id": "b"}, {"$set": {"n": 3}})
    assert [document["_id"] for document in contents(db)] == ["a", "b", "n", "x"]


def test_what_a_rule_reads_is_read_by_the_transaction(db):
    db["roles"].insert_one({"_id": "ann", "role": "admin"})
    db.set_rules("notes", {"read": True, "write": "get('database.roles.' + auth.openid).role == 'admin'"})
    with pytest.raises(docdb.TransactionConflict), db.as_user(ANN).transaction() as t:
        t["notes"].insert_one({"_id": "x"})
        db["roles"].delete_one({"_id": "ann"})
    assert contents(db) == STORED


def test_expired_documents_make_way(db):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    db["notes"].insert_one({"_id": "old", "_openid": "bob", "until": past, "key": 1})
    db["notes"].create_index("until", expireAfterSeconds=0)
    db["notes"].create_index("key", unique=True, sparse=True)
    notes = db.as_user(ANN)["notes"]
    notes.insert_one({"_id": "new", "key": 1})
    db["notes"].insert_one({"_id": "old", "_openid": "bob", "until": past})
    notes.insert_one({"_id": "old"})
    assert db["notes"].find_one({"_id": "old"}) == {"_id": "old", "_openid": "ann"}
