"""Rules in the database: set, loaded, kept, told of."""

from __future__ import annotations

import json

import pytest

import docdb
from docdb import CollectionError, DeniedError, RuleError, TransactionConflict
from docdb.engine.base import CATALOG
from docdb.store.rule_records import key_of


@pytest.fixture
def db(tmp_path):
    with docdb.open(tmp_path / "db") as database:
        yield database


def test_rules_are_kept(tmp_path):
    rules = {"read": "auth != null", "write": False}
    with docdb.open(tmp_path / "db") as db:
        assert db.set_rules("notes", rules, who="ops") == 1
        assert db.set_rules("notes", rules) == 2
    with docdb.open(tmp_path / "db") as db:
        assert db.rules("notes") == rules
        (row,) = db.list_rules()
        assert (row["name"], row["rules"], row["version"], row["who"]) == ("notes", rules, 2, None)
        assert row["when"].tzinfo is not None
        assert db.as_user({"openid": "a"})["notes"].find().to_list() == []


def test_rules_are_taken_away(db):
    db.set_rules("notes", {"read": True})
    assert db.set_rules("notes", None) is None
    assert (db.rules("notes"), db.list_rules()) == (None, [])
    with pytest.raises(DeniedError):
        db.as_user(None)["notes"].find().to_list()


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ({"reed": True}, "notes"),
        ({"read": "auth.openid = 1"}, "notes.read"),
        ({"read": "nobody.openid == 1"}, "notes.read"),
        ({"read": "true", "write": 1}, "notes.write"),
        ({"fields": {"_id": {"read": False}}}, "notes.fields._id"),
        ("PUBLIC", "notes"),
        (7, "notes"),
    ],
    ids=repr,
)
def test_what_does_not_check_changes_nothing(db, rules, path):
    db.set_rules("notes", {"read": True})
    with pytest.raises(RuleError) as caught:
        db.set_rules("notes", rules)
    assert (caught.value.path, db.rules("notes")) == (path, {"read": True})


def test_a_mistake_has_line_and_column(db):
    with pytest.raises(RuleError) as caught:
        db.set_rules("notes", {"read": "auth != null &&\n doc.a = 1"})
    assert (caught.value.line, caught.value.column) == (2, 8)


@pytest.mark.parametrize("name", ["_system", "a$b", "system.x", "", "\0"])
def test_names_that_no_user_reaches_have_no_rules(db, name):
    with pytest.raises((RuleError, CollectionError)):
        db.set_rules(name, "READONLY")


def test_a_rule_may_be_longer_where_that_is_asked_for(db):
    text = " || ".join(["auth.openid == 'somebody'"] * 100)
    with pytest.raises(RuleError):
        db.set_rules("notes", {"read": text})
    db.set_rules("notes", {"read": text}, max_length=10_000)
    assert db.as_user({"openid": "somebody"})["notes"].find().to_list() == []


def test_a_file_is_loaded_whole_or_not(db, tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"a": "PRIVATE", "b": {"read": True}}))
    assert db.load_rules(file, who="ops") == {"a": 1, "b": 1}
    file.write_text(json.dumps({"a": "READONLY", "b": {"read": "oops("}, "c": "PRIVATE"}))
    with pytest.raises(RuleError, match=r"b\.read"):
        db.load_rules(file)
    assert [(row["name"], row["rules"]) for row in db.list_rules()] == [("a", "PRIVATE"), ("b", {"read": True})]


def test_a_file_names_no_collection_that_is_nowhere(db, tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"a": {"read": "get('database.rolls.x') != null"}}))
    with pytest.raises(RuleError, match="rolls"):
        db.load_rules(file)
    db["rolls"].insert_one({})
    assert db.load_rules(file) == {"a": 1}


def test_rules_belong_to_the_name(db):
    db.set_rules("notes", {"read": True})
    db["notes"].insert_one({"_id": 1})
    user = db.as_user(None)
    db["notes"].rename("others")
    with pytest.raises(DeniedError):
        user["others"].find().to_list()
    assert user["notes"].find().to_list() == []
    db.drop_collection("notes")
    db["notes"].insert_one({"_id": 2})
    assert user["notes"].find().to_list() == [{"_id": 2}]
    db["others"].aggregate([{"$out": "notes"}]).to_list()
    assert user["notes"].find().to_list() == [{"_id": 1}]


def test_a_backup_has_the_rules(db, tmp_path):
    db.set_rules("notes", {"read": True})
    db.backup(tmp_path / "copy")
    docdb.restore(tmp_path / "copy", tmp_path / "restored")
    with docdb.open(tmp_path / "restored") as restored:
        assert restored.rules("notes") == {"read": True}
    db.compact()
    assert db.rules("notes") == {"read": True}


def test_another_handle_sees_new_rules_at_once(db):
    with docdb.open(db.path) as other:
        user = other.as_user(None)
        db.set_rules("notes", {"read": True})
        assert user["notes"].find().to_list() == []
        db.set_rules("notes", {"read": False})
        with pytest.raises(DeniedError):
            user["notes"].find().to_list()


def test_a_change_of_rules_is_a_conflict(db):
    db.set_rules("notes", {"read": True, "write": True})
    user = db.as_user(None)
    with pytest.raises(TransactionConflict), user.transaction() as t:
        t["notes"].insert_one({"_id": 1})
        db.set_rules("notes", {"read": True, "write": "auth != null"})
    with pytest.raises(DeniedError), user.transaction() as t:
        t["notes"].insert_one({"_id": 1})
    assert db["notes"].count_documents({}) == 0


def test_rules_of_others_are_no_conflict(db):
    db.set_rules("notes", {"read": True, "write": True})
    with db.as_user(None).transaction() as t:
        t["notes"].insert_one({"_id": 1})
        db.set_rules("others", "PRIVATE")
    assert db["notes"].count_documents({}) == 1


def test_each_try_is_judged_again(db):
    db.set_rules("notes", {"read": True, "write": True})
    tries = []

    def call(t):
        tries.append(1)
        t["notes"].insert_one({"_id": len(tries)})
        if len(tries) == 1:
            db.set_rules("notes", {"read": True, "write": "doc._id == 2"})

    db.as_user(None).run_transaction(call)
    assert (len(tries), [document["_id"] for document in db["notes"].find()]) == (2, [2])


def test_a_change_of_rules_is_not_told_to_streams(db):
    with db.changes() as stream:
        db.set_rules("notes", {"read": True})
        db["notes"].insert_one({"_id": 1})
        found = [next(stream), next(stream)]
    assert [change.operation for change in found] == ["create", "insert"]


@pytest.mark.damaged
@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80"])
def test_a_damaged_record_denies_and_is_reported(db, data):
    db.set_rules("notes", {"read": True})
    db.set_rules("other", {"read": True})

    def call(batch):
        batch.catalog = batch.catalog.with_rules(batch.catalog.rules)
        batch.put_catalog([(key_of("notes"), data)])

    db._store.write(call)
    db._store.forget()
    with pytest.raises(DeniedError):
        db.as_user(None)["notes"].find().to_list()
    assert db.as_user(None)["other"].find().to_list() == []
    assert [problem[:3] for problem in db.check().problems] == ["10:"]
    assert db.set_rules("notes", {"read": True}) == 1
    assert db.check().ok


def test_the_record_lies_in_the_catalog(db):
    db.set_rules("notes", {"read": True})
    with db._session.snapshot() as snapshot:
        assert snapshot.txn.get(CATALOG, b"r:notes") is not None
