"""Reading under rules: every entry point, allowed and denied."""

from __future__ import annotations

import pytest

import docdb
from docdb import DeniedError

ANN, BOB, ADMIN = {"openid": "ann"}, {"openid": "bob"}, {"openid": "adm"}
NOTES = [
    {"_id": 1, "_openid": "ann", "status": "draft", "n": 1},
    {"_id": 2, "_openid": "ann", "status": "published", "n": 2},
    {"_id": 3, "_openid": "bob", "status": "published", "n": 3},
    {"_id": 4, "status": "published", "n": 4},
    {"_id": 5, "_openid": ["ann", "bob"], "status": "draft", "n": 5},
    {"_id": 6, "_openid": None, "status": "draft", "n": 6},
]
OWNER = {"read": "auth != null && doc._openid == auth.openid"}


@pytest.fixture(params=["plain", "indexed"])
def db(request, tmp_path):
    path = ":memory:" if request.param == "plain" else tmp_path / "db"
    with docdb.open(path) as database:
        database["notes"].insert_many(NOTES)
        if request.param == "indexed":
            database["notes"].create_index("_openid")
            database["notes"].create_index([("status", 1), ("n", -1)])
        yield database


READS = {
    "aggregate": lambda c, f: sorted(d["_id"] for d in c.aggregate([{"$match": f}])),
    "aggregate by a builder": lambda c, f: sorted(d["_id"] for d in c.aggregate().stage("$match", f).end()),
    "count_documents": lambda c, f: c.count_documents(f),
    "cursor": lambda c, f: [d["_id"] for d in c.find(f).sort("n", 1)],
    "cursor by place": lambda c, f: [c.find(f).sort("n", 1)[0]["_id"]],
    "distinct": lambda c, f: sorted(c.distinct("_id", f)),
    "distinct of a cursor": lambda c, f: sorted(c.find(f).distinct("_id")),
    "find with a projection": lambda c, f: sorted(d["_id"] for d in c.find(f, {"_id": 1})),
    "find_one": lambda c, f: [(c.find_one(f, sort=[("n", 1)]) or {}).get("_id")],
    "first": lambda c, f: [(c.where(f).order_by("n").first() or {}).get("_id")],
    "follow": lambda c, f: sorted(d["_id"] for d in c.find(f, follow=True)),
    "grouped": lambda c, f: sorted(d["_id"] for d in c.aggregate([{"$match": f}, {"$group": {"_id": "$_id"}}])),
    "limited": lambda c, f: sorted(d["_id"] for d in c.where(f).limit(100).get()),
    "page": lambda c, f: [d["_id"] for d in c.where(f).after("").limit(100).get()],
    "query count": lambda c, f: c.where(f).count(),
    "query distinct": lambda c, f: sorted(c.where(f).distinct("_id")),
    "where": lambda c, f: sorted(d["_id"] for d in c.where(f).get()),
}
FIRST = {"cursor by place", "find_one", "first"}
COUNTS = {"count_documents", "query count"}


def expected(name: str, ids: list[int]):
    return len(ids) if name in COUNTS else ids[:1] if name in FIRST else ids


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("inside", ["database", "transaction", "snapshot"])
def test_every_way_of_reading_proves(db, name, inside):
    db.set_rules("notes", OWNER)
    read = READS[name]

    def run(auth, filter):
        user = db.as_user(auth)
        if inside == "database":
            return read(user["notes"], filter)
        with user.transaction() if inside == "transaction" else user.snapshot() as picture:
            return read(picture["notes"], filter)

    assert run(ANN, {"_openid": "ann"}) == expected(name, [1, 2])
    assert run(ANN, {"_openid": "{openid}", "status": "draft"}) == expected(name, [1])
    for auth, filter in (
        (ANN, {}),
        (ANN, {"_openid": "bob"}),
        (ANN, {"status": "draft"}),
        (None, {"_openid": "ann"}),
        ({}, {"_openid": None}),
    ):
        with pytest.raises(DeniedError):
            run(auth, filter)


@pytest.mark.parametrize("name", READS)
def test_every_way_of_reading_is_narrowed_in_filter_mode(db, name):
    db.set_rules("notes", {"read": "doc.status == 'published' || doc._openid == auth.openid"})
    read = READS[name]
    assert read(db.as_user(ANN, filter_mode=True)["notes"], {}) == expected(name, [1, 2, 3, 4])
    assert read(db.as_user(BOB, filter_mode=True)["notes"], {"n": {"$gte": 2}}) == expected(name, [2, 3, 4])
    assert read(db.as_user(None, filter_mode=True)["notes"], {}) == expected(name, [2, 3, 4])


@pytest.mark.parametrize("name", READS)
def test_without_rules_nothing_is_read(db, name):
    for mode in (True, False):
        with pytest.raises(DeniedError):
            READS[name](db.as_user(ANN, filter_mode=mode)["notes"], {})


@pytest.mark.parametrize("name", READS)
def test_the_preset_private_adds_the_owner(db, name):
    db.set_rules("notes", "PRIVATE")
    assert READS[name](db.as_user(ANN)["notes"], {}) == expected(name, [1, 2])
    assert READS[name](db.as_user({"uid": "bob"})["notes"], {}) == expected(name, [3])
    for auth in (None, {}, {"role": "admin"}):
        with pytest.raises(DeniedError):
            READS[name](db.as_user(auth)["notes"], {})


@pytest.mark.parametrize(("preset", "readable"), [("READONLY", True), ("ADMINWRITE", True), ("ADMINONLY", False)])
def test_the_other_presets(db, preset, readable):
    db.set_rules("notes", preset)
    notes = db.as_user(None)["notes"]
    if readable:
        assert (notes.count_documents({}), notes.estimated_document_count(), notes.doc(77).get()) == (6, 6, None)
        return
    for call in (lambda: notes.count_documents({}), notes.estimated_document_count, lambda: notes.doc(1).get()):
        with pytest.raises(DeniedError):
            call()


POINTS = {
    "aggregate": lambda c, id: next(iter(c.aggregate([{"$match": {"_id": id}}])), None),
    "doc": lambda c, id: c.doc(id).get(),
    "doc with fields": lambda c, id: c.doc(id).field({"_id": True}).get(),
    "find": lambda c, id: next(iter(c.find({"_id": id})), None),
    "find and more": lambda c, id: next(iter(c.find({"_id": id, "n": {"$gt": 0}})), None),
    "find in one": lambda c, id: next(iter(c.find({"_id": {"$in": [id]}})), None),
    "find one": lambda c, id: c.find_one({"_id": id}),
    "find one by the id": lambda c, id: c.find_one(id),
    "where": lambda c, id: c.where({"_id": id}).first(),
}


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("options", [{}, {"filter_mode": True}], ids=repr)
@pytest.mark.parametrize("inside", ["database", "transaction", "snapshot"])
def test_a_point_read_judges_what_is_stored(db, name, options, inside):
    db.set_rules("notes", OWNER)
    read = POINTS[name]
    user = db.as_user(ANN, **options)
    with user.transaction() if inside == "transaction" else user.snapshot() as picture:
        notes = user["notes"] if inside == "database" else picture["notes"]
        assert read(notes, 1)["_id"] == 1
        texts = set()
        for id in (3, 4, 5, 6, 77, "x", -1):
            with pytest.raises(DeniedError) as caught:
                read(notes, id)
            texts.add(
                (str(caught.value), caught.value.code, caught.value.errcode, caught.value.path, caught.value.hint)
            )
        assert texts == {("the rules do not allow it", 13, "DATABASE_PERMISSION_DENIED", None, None)}


@pytest.mark.parametrize("name", POINTS)
def test_where_all_may_be_read_an_absent_document_is_none(db, name):
    db.set_rules("notes", {"read": "auth != null"})
    assert POINTS[name](db.as_user(ANN)["notes"], 77) is None
    with pytest.raises(DeniedError):
        POINTS[name](db.as_user(None)["notes"], 77)


@pytest.mark.parametrize("name", POINTS)
def test_strict_ids_prove(db, name):
    db.set_rules("notes", OWNER)
    with pytest.raises(DeniedError):
        POINTS[name](db.as_user(ANN, strict_ids=True)["notes"], 1)
    db.set_rules("notes", {"read": "doc._id == 1"})
    assert POINTS[name](db.as_user(ANN, strict_ids=True)["notes"], 1)["_id"] == 1


def test_a_pattern_beside_one_id_pins_nothing(db):
    db.set_rules("notes", OWNER)
    db["notes"].insert_one({"_id": "theirs", "_openid": "bob"})
    db["notes"].insert_one({"_id": "mine", "_openid": "ann"})
    for filter in (
        {"_id": {"$in": ["mine", docdb.Regex("^t")]}},
        {"_id": {"$in": ["mine", "theirs"]}},
        {"$or": [{"_id": "mine"}, {}]},
    ):
        with pytest.raises(DeniedError):
            db.as_user(ANN)["notes"].find(filter).to_list()


def test_a_collation_pins_nothing():
    with docdb.open(":memory:") as db:
        db.create_collection("notes", collation={"locale": "en", "strength": 1})
        db["notes"].insert_many([{"_id": "a", "_openid": "ann"}, {"_id": "A2", "_openid": "ANN"}])
        db.set_rules("notes", OWNER)
        ann = db.as_user(ANN)["notes"]
        for call in (lambda: ann.find_one({"_id": "a"}), lambda: ann.find({"_openid": "ann"}).to_list()):
            with pytest.raises(DeniedError):
                call()
        assert [d["_id"] for d in ann.find({"_openid": "ann"}, collation={"locale": "simple"})] == ["a"]
        assert ann.doc("a").get()["_id"] == "a"
        db.set_rules("notes", "PRIVATE")
        assert [d["_id"] for d in ann.find({})] == ["a"]


def test_names_that_no_rules_reach(db):
    db["_secret"].insert_one({"_id": 1})
    db.set_rules("notes", {"read": True})
    for name in ("_secret", "Notes", "NOTES", "notes ", "r:notes", "others"):
        with pytest.raises(DeniedError):
            db.as_user(ANN)[name].find_one({})
        with pytest.raises(DeniedError):
            db.as_user(ANN)[name].doc(1).get()
    assert db.as_user(ANN).list_collection_names() == ["notes"]
    with db.as_user(ANN).transaction() as t:
        assert t.list_collection_names() == ["notes"]
    with db.as_user(ANN).snapshot() as s:
        assert s.list_collection_names() == ["notes"]
    db.set_rules("notes", "ADMINONLY")
    assert db.as_user(ANN).list_collection_names() == []


GETS = [
    ("get('database.roles.' + auth.openid).role == 'admin'", True),
    ("get('database.collection.roles').where({_openid: auth.openid, role: 'admin'}).size() > 0", True),
    ("get('database.roles').where({_openid: auth.openid, role: 'admin'}).exists()", True),
    ("get('database.roles').where({_openid: auth.openid})[0].role == 'admin'", True),
    ("get('database.roles').where({tags: 'x'}).exists()", False),
    ("get('database.roles').where({tags: ['x']}).exists()", True),
    ("get('database.roles').where({nothing: null}).exists()", False),
    ("get('database.nowhere').where({a: 1}).exists()", False),
    ("get('database.nowhere.x') == null", True),
]


@pytest.mark.parametrize(("rule", "allowed"), GETS, ids=[rule for rule, _ in GETS])
@pytest.mark.parametrize("index", [None, "_openid"], ids=repr)
def test_rules_read_the_snapshot(db, rule, allowed, index):
    db["roles"].insert_many(
        [
            {"_id": "adm", "_openid": "adm", "role": "admin", "tags": ["x"]},
            {"_id": "bob", "_openid": "bob", "role": "none"},
        ]
    )
    if index is not None:
        db["roles"].create_index(index)
    db.set_rules("notes", {"read": rule})
    with db.as_user(ADMIN).snapshot() as s:
        db["roles"].delete_many({})
        if allowed:
            assert (s["notes"].count_documents({}), s["notes"].doc(1).get()["_id"]) == (6, 1)
        else:
            with pytest.raises(DeniedError):
                s["notes"].count_documents({})


def test_a_get_without_an_index_gives_up_beyond_a_bound(db, monkeypatch):
    monkeypatch.setattr("docdb.sessions.user_reader.MOST_SCANNED", 3)
    db["roles"].insert_many([{"_id": n, "who": "ann"} for n in range(5)])
    db.set_rules("notes", {"read": "get('database.roles').where({who: auth.openid}).exists()"})
    with pytest.raises(DeniedError):
        db.as_user(ANN)["notes"].find().to_list()
    db["roles"].create_index("who")
    assert db.as_user(ANN)["notes"].count_documents({}) == 6


def test_expired_documents_are_neither_read_nor_trusted(db):
    import datetime as dt

    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    db["roles"].insert_one({"_id": "ann", "until": past})
    db["roles"].create_index("until", expireAfterSeconds=0)
    db.set_rules("notes", {"read": "get('database.roles.' + auth.openid) != null"})
    db.set_rules("roles", {"read": "doc._id == auth.openid"})
    with pytest.raises(DeniedError):
        db.as_user(ANN)["notes"].find().to_list()
    with pytest.raises(DeniedError):
        db.as_user(ANN)["roles"].doc("ann").get()


def test_developers_learn_what_users_do_not(tmp_path, caplog):
    found = []
    with docdb.open(":memory:", on_denied=found.append) as db:
        db.set_rules("notes", OWNER)
        with caplog.at_level("INFO", logger="docdb.rules"), pytest.raises(DeniedError) as caught:
            db.as_user(BOB)["notes"].find({"status": "x"}).to_list()
        (denial,) = found
        assert denial.id == caught.value.correlation_id
        assert (denial.action, denial.collection, denial.auth, denial.rule) == ("read", "notes", BOB, OWNER["read"])
        assert "doc._openid == auth.openid" in denial.reason
        assert denial.id in caplog.text
        assert "openid" not in str(caught.value)
        own = []
        with pytest.raises(DeniedError):
            db.as_user(BOB, on_denied=own.append)["notes"].insert_one({})
        assert (len(found), [denial.action for denial in own]) == (1, ["create"])
        with pytest.raises(DeniedError):
            db.as_user(BOB, on_denied=lambda denial: 1 / 0)["notes"].insert_one({})


def test_a_hook_may_use_the_database(tmp_path):
    with docdb.open(tmp_path / "db") as db:
        db.set_rules("notes", OWNER)
        user = db.as_user(BOB, on_denied=lambda denial: db["audit"].insert_one({"_id": denial.id}))
        for call in (
            lambda: user["notes"].insert_one({}),
            lambda: user["notes"].find().to_list(),
            lambda: user["notes"].insert_many([{}, {}]),
        ):
            with pytest.raises(DeniedError):
                call()
        assert db["audit"].count_documents({}) == 3


@pytest.mark.parametrize("auth", [None, {}, {"role": "x"}], ids=repr)
def test_a_template_without_an_identity_is_denied(db, auth):
    db.set_rules("notes", {"read": True})
    for filter in ({"_openid": "{openid}"}, {"_openid": "{uid}"}, {"$or": [{"a": {"$in": ["{openid}"]}}]}):
        with pytest.raises(DeniedError):
            db.as_user(auth)["notes"].find(filter).to_list()


def test_a_template_is_a_whole_value_and_replaced_once(db):
    db.set_rules("notes", {"read": True, "write": True})
    db["notes"].insert_many([{"_id": "t1", "v": "{uid}"}, {"_id": "t2", "v": "x{openid}"}, {"_id": "t3", "v": "u"}])
    notes = db.as_user({"openid": "{uid}", "uid": "u"})["notes"]
    assert [d["_id"] for d in notes.find({"v": "{openid}"})] == ["t1"]
    assert [d["_id"] for d in notes.find({"v": "{uid}"})] == ["t3"]
    assert [d["_id"] for d in notes.find({"v": "x{openid}"})] == ["t2"]
    assert [d["_id"] for d in notes.aggregate([{"$match": {"v": "{openid}"}}])] == ["t1"]
    facet = [{"$facet": {"a": [{"$match": {"v": "{uid}"}}]}}, {"$unwind": "$a"}]
    assert [d["a"]["_id"] for d in notes.aggregate(facet)] == ["t3"]
    notes.insert_one({"_id": "t4", "v": "{openid}"})
    notes.update_one({"_id": "t3"}, {"$set": {"w": "{openid}"}})
    assert (db["notes"].find_one({"_id": "t4"})["v"], db["notes"].find_one({"_id": "t3"})["w"]) == (
        "{openid}",
        "{openid}",
    )
