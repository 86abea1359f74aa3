"""Attacks by writing: documents moved out of a rule or into it, ids taken, fields that only the server sets, answers that show what was."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import pytest

import docdb
from docdb import (
    DeleteMany,
    DeleteOne,
    DeniedError,
    InsertOne,
    ReplaceOne,
    UpdateMany,
    UpdateOne,
    UsageError,
    server_date,
)
from docdb import command as _
from tests.rules.attacks.detector import seen, unlawful
from tests.rules.attacks.entry_points import entries
from tests.rules.attacks.stage import CANARY, CANARY_NUMBER, ME, Probe, attack, dump
from tests.rules.attacks.test_identity import OWN, both
from tests.rules.attacks.test_oracles import HIDDEN, HIDING, B
from tests.rules.attacks.trial import everywhere, pairs

UPDATES: Final = frozenset({"update"})
TWO: Final = {"notes": [
    {"_id": "mine", "text": "mine", "_openid": "me", "balance": 5, "list": [1, 2], "published": True, "was": "you"},
    {"_id": "theirs", "text": f"{CANARY} theirs", "_openid": "you", "balance": CANARY_NUMBER, "list": [1], "published": False, "was": "me"},
    {"_id": "nobodys", "text": f"{CANARY} nobodys", "balance": CANARY_NUMBER},
]}  # fmt: skip
SHOWN: Final = {"notes": [{**row, "text": row["text"].replace(CANARY, "seen"), "balance": 1} for row in TWO["notes"]]}
MINE: Final[dict[str, Any]] = {"filter": {"_openid": "me"}, "id": "mine"}


def written(*updates, **more):
    return [Probe(**{**MINE, **more}, update=update) for update in updates]


TO_YOU: Final[list[Any]] = [
    {"$set": {"_openid": "you"}},
    {"_openid": "you"},
    {"$unset": {"_openid": 1}},
    {"$set": {"_openid": None}},
    {"$set": {"_openid": ["me"]}},
    {"$rename": {"_openid": "was"}},
    {"$rename": {"was": "_openid"}},
    {"$max": {"_openid": "z"}},
    {"$min": {"_openid": "a"}},
    {"$currentDate": {"_openid": True}},
    {"$set": {"_openid": "{openid}x"}},
    {"$set": {"text": "a", "_openid": {"me": 1}}},
    {"_openid": _.set("you")},
    {"_openid": _.remove()},
]
FUTILE: Final[list[Any]] = [
    {"$set": {"_openid.x": 1}}, {"$push": {"_openid": "you"}}, {"$set": {"_openid": {"$literal": "me"}}}, {"$inc": {"balance": 2**63 - 1}},
    {"$push": {"list": 3, "balance": 1}}, {"$inc": {"text": 1}}, {"$pop": {"text": 1}}, {"$bit": {"text": {"or": 1}}}, {"$set": {"a": 1}, "b": 2},
    {"$nothing": {"a": 1}}, {"$set": {"": 1}}, {"$set": {"a.": 1}}, {"$set": {"$a": 1}}, {"$set": {"list.x": 1}}, {"$rename": {"text": "text"}},
]  # fmt: skip
TO_YOU_BY_PROGRAM: Final[list[Any]] = [
    [{"$set": {"_openid": "you"}}], [{"$unset": "_openid"}], [{"$set": {"_openid": "$was"}}], [{"$replaceWith": {"text": "x"}}], [{"$project": {"text": 1}}],
    [{"$set": {"_openid": {"$concat": ["y", "ou"]}}}], [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"_openid": "you"}]}}], [{"$set": {"_openid": ["me"]}}],
]  # fmt: skip
FINAL: Final[list[Any]] = [
    {"$inc": {"balance": 6}}, {"$inc": {"balance": -6}}, {"$mul": {"balance": 3}}, {"$mul": {"balance": -1}}, {"$max": {"balance": 11}},
    {"$min": {"balance": -1}},
    {"$set": {"balance": "5"}}, {"$unset": {"balance": 1}}, {"$rename": {"balance": "x"}}, {"$set": {"balance": True}},
    {"$push": {"list": {"$each": [1] * 9}}}, {"$set": {"list": "x" * 9}}, {"$bit": {"balance": {"or": 15}}},
    {"$currentDate": {"balance": True}}, {"balance": _.inc(6)}, {"balance": _.mul(3)}, {"$set": {"balance": float("nan")}}, {"$inc": {"balance": 1e308}},
    {"$addToSet": {"list": {"$each": list(range(9))}}}, {"$set": {"list.9": 1}}, {"$unset": {"list": 1}}, {"$pull": {"list": {"$gt": 0}}},
    {"$pop": {"list": 1}},
]  # fmt: skip
BALANCED: Final = {
    "notes": {
        "read": OWN,
        "update": f"{OWN} && doc.balance >= 0 && doc.balance <= 10 && doc.list.size() >= 2 && doc.list.size() <= 5",
    }
}
BLIND: Final = {"notes": {"read": False, "write": True}}
IDS: Final[list[Any]] = [
    {"$set": {"_id": "theirs"}},
    {"$set": {"_id": "new"}},
    {"$unset": {"_id": 1}},
    {"$rename": {"text": "_id"}},
    {"_id": "other", "text": "x"},
]
TAKEN: Final = [
    {"_id": "theirs", "text": "mine now"}, {"_id": "nobodys", "text": "mine now"}, {"_id": "new", "_openid": "you"}, {"_id": "new", "_openid": None},
    {"_id": "new", "_openid": ["me"]}, {"_id": "new", "_openid": {"openid": "me"}}, {"_id": "mine", "_openid": "you"}, {"_openid": "you", "text": "x"},
]  # fmt: skip
ON_HIDDEN: Final[list[Any]] = [
    {"$set": {"secret": B}}, {"$set": {"deep.secret": B}}, {"$min": {"secret": "b"}}, {"$max": {"n": 100}}, {"$inc": {"secret": 1}}, {"$inc": {"n": 1}},
    {"$mul": {"n": 2}},
    {"$push": {"secret": 1}}, {"$addToSet": {"tags": B}}, {"$pull": {"tags": B}}, {"$pull": {"list": {"secret": B}}}, {"$set": {"tags.$[t]": 1}},
    {"$unset": {"secret": 1}},
    {"$set": {"secret.a": 1}}, {"$set": {"secret.0": 1}}, {"$bit": {"n": {"and": 7}}}, {"$rename": {"secret": "text"}}, {"$rename": {"deep": "text"}},
    {"$pop": {"tags": 1}},
    {"$pullAll": {"tags": [B]}}, {"$set": {"deep": {"secret": B, "a": 1}}}, {"$set": {"list.0.secret": B}}, {"$currentDate": {"secret.a": True}},
]  # fmt: skip
PROGRAMS_ON_HIDDEN: Final[list[Any]] = [
    [{"$set": {"text": "$secret"}}], [{"$set": {"text": "$deep"}}], [{"$set": {"text": "$$ROOT"}}],
    [{"$set": {"text": {"$cond": [{"$eq": ["$secret", B]}, 1, 2]}}}],
    [{"$replaceWith": {"_openid": "me", "text": "$secret"}}], [{"$set": {"text": {"$toUpper": "$secret"}}}], [{"$set": {"secret": B}}], [{"$unset": "secret"}],
    [{"$set": {"text": {"$objectToArray": "$$ROOT"}}}], [{"$set": {"text": {"$getField": "secret"}}}],
    [{"$set": {"text": {"$divide": [1, {"$subtract": ["$n", CANARY_NUMBER]}]}}}],
    [{"$project": {"_openid": 1, "text": "$secret"}}], [{"$set": {"text": "$list.secret"}}], [{"$set": {"text": {"$size": "$tags"}}}],
]  # fmt: skip

ATTACKS: Final = [
    attack("out of the rule", {"notes": {"read": OWN, "update": f"{OWN} && doc.text != 'x'"}}, TWO, *written(*TO_YOU), uses=UPDATES),
    attack("out of the rule of a preset", {"notes": "PRIVATE"}, TWO, *written(*TO_YOU), uses=UPDATES),
    attack("out of the rule by a program", {"notes": {"read": True, "update": OWN}}, SHOWN, *(Probe(**MINE, program=program) for program in TO_YOU_BY_PROGRAM),
        uses=frozenset({"program"}), secret="none"),
    attack("unpublished", {"notes": {"read": "doc.published == true", "update": "doc.published == true"}}, TWO,
        *written({"$set": {"published": False}}, {"$unset": {"published": 1}}, {"published": 1}, {"$set": {"published": [True]}}, filter={"published": True}),
        uses=UPDATES),
    attack("into the rule", both(OWN), TWO, *(Probe(filter=filter, id=id, update=update) for update in ({"$set": {"_openid": "me"}},
        {"$rename": {"was": "_openid"}}, {"_openid": "me"}, {"$min": {"_openid": "me"}}) for filter,
        id in (({}, "theirs"), ({"_id": "theirs"}, "nobodys"), ({"_openid": {"$in": ["me", "you"]}}, "theirs"))), uses=frozenset({"update", "filter"}),
        without=("read", "count", "explain", "feed", "delete", "point")),
    attack("into the rule by a program", both(OWN), TWO,
        *(Probe(program=program) for program in ([{"$set": {"_openid": "me"}}], [{"$set": {"_openid": "$was"}}])), uses=frozenset({"program"})),
    attack("ids", both(OWN), TWO, *written(*IDS), uses=UPDATES, futile=True),
    attack("updates that cannot be", both(OWN), TWO, *written(*FUTILE), *written(*FUTILE, filter={"_id": "theirs"}, id="theirs"), uses=UPDATES, futile=True),
    attack("ids of others", both(OWN), TWO, *(Probe(**MINE, document=document) for document in TAKEN), uses=frozenset({"document"})),
    attack("ids of others under a preset", {"notes": "READONLY"},
        SHOWN, *(Probe(**MINE, document=document) for document in TAKEN), uses=frozenset({"document"})),
    attack("final values", BALANCED, TWO, *written(*FINAL), uses=UPDATES),
    attack("answers of a blind writer", BLIND, TWO, Probe(), Probe(filter={"_id": "theirs"}), uses=frozenset({"filter"}), secret="field"),
    attack("answers about hidden fields", HIDING, HIDDEN, Probe(filter=MINE["filter"], id="m1"), Probe(filter=MINE["filter"], id="m1", fields={"secret": 1}),
        Probe(filter=MINE["filter"], id="m1", fields={"x": "$secret"}), uses=frozenset({"update", "fields"}), secret="field"),
    attack("operators on hidden fields", HIDING, HIDDEN,
        *(Probe(filter=MINE["filter"], id="m1", update=update, array_filters=[{"t": B}] if "$[t]" in str(update) else None) for update in ON_HIDDEN),
        uses=UPDATES, secret="field"),
    attack("programs on hidden fields", HIDING, HIDDEN, *(Probe(filter=MINE["filter"], id="m1", program=program) for program in PROGRAMS_ON_HIDDEN),
        uses=frozenset({"program"}), secret="field"),
    attack("positions on hidden fields", HIDING, HIDDEN, Probe(filter={"_openid": "me", "tags": B}, update={"$set": {"tags.$": 1}}),
        Probe(filter={"_openid": "me", "list.secret": B}, update={"$set": {"list.$.a": 5}}),
        Probe(filter={"_openid": "me"}, update={"$set": {"list.$[l].a": 5}}, array_filters=[{"l.secret": B}]), uses=UPDATES, secret="field"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "entry"), pairs(ATTACKS), indirect=["stage"])
def test_writes(stage, entry, loop):
    everywhere(stage, entry, loop)


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many([dict(row) for row in TWO["notes"]])
        db.set_rules("notes", {"read": OWN, "write": OWN})
        yield db


@pytest.fixture
def notes(db):
    return db.as_user(ME).collection("notes")


def text_of(call):
    found = seen(call)
    assert found.denied
    return found.text


def test_all_denials_of_reading_one_look_the_same(notes):
    calls = [lambda id=id: notes.doc(id).get() for id in ("theirs", "nobodys", "absent", 5, {"a": 1})]
    calls += [lambda id=id: notes.find_one({"_id": id}) for id in ("theirs", "absent")]
    assert len({text_of(call) for call in calls}) == 1


@pytest.mark.parametrize("entry", entries("create"), ids=lambda entry: entry.name)
def test_taking_the_id_of_another_looks_like_any_denial(db, entry):
    db.set_rules("home", {"read": True, "write": True})
    db["home"].insert_one({"_id": "h"})
    user = db.as_user(ME)
    calls = [lambda id=id: entry.call(user, Probe(document={"_id": id, "text": "x"})) for id in ("theirs", "nobodys")]
    texts = set()
    for call in (*calls, lambda: user.collection("notes").doc("theirs").get()):
        with pytest.raises(DeniedError) as caught:
            call()
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_taking_an_own_id_again_is_a_duplicate(notes):
    with pytest.raises(docdb.DuplicateKeyError):
        notes.insert_one({"_id": "mine", "text": "x"})


def test_a_denial_has_a_code_and_something_to_find_it_by(notes):
    with pytest.raises(DeniedError) as caught:
        notes.doc("theirs").get()
    assert (caught.value.code, caught.value.errcode) == (13, "DATABASE_PERMISSION_DENIED")
    assert caught.value.path is None and caught.value.hint is None
    assert not any(word in str(caught.value) for word in ("theirs", "notes", "openid", "me"))


@pytest.mark.parametrize("entry", entries("create"), ids=lambda entry: entry.name)
def test_the_server_sets_the_owner(db, entry):
    db.set_rules("notes", {"read": True, "write": OWN})
    db.set_rules("home", {"read": True, "write": True})
    db["home"].insert_one({"_id": "h"})
    found = seen(lambda: entry.call(db.as_user(ME), Probe(document={"_id": "new", "text": "made"})))
    made = db["notes"].find_one("new")
    assert (made and made["_openid"], found.denied) in [("me", False), (None, entry.name == "out")]


@pytest.mark.parametrize("owner", ["you", None, ["me"], {"a": 1}, "", 0, "{openid}"], ids=repr)
@pytest.mark.parametrize("entry", entries("create"), ids=lambda entry: entry.name)
def test_an_owner_that_the_user_names_is_refused(db, entry, owner):
    db.set_rules("notes", {"read": True, "write": True})
    db.set_rules("home", {"read": True, "write": True})
    db["home"].insert_one({"_id": "h"})
    before = dump(db)
    with pytest.raises((DeniedError, UsageError, docdb.BulkWriteError)):
        entry.call(db.as_user(ME), Probe(document={"_id": "new", "_openid": owner}))
    assert dump(db) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda notes: notes.update_one({"_id": "new"}, {"$set": {"_openid": "you"}}, upsert=True),
        lambda notes: notes.update_one({"_id": "new"}, {"$setOnInsert": {"_openid": "you"}}, upsert=True),
        lambda notes: notes.update_one({"_id": "new", "_openid": "you"}, {"$set": {"a": 1}}, upsert=True),
        lambda notes: notes.update_one({"_openid": "you"}, {"$set": {"a": 1}}, upsert=True),
        lambda notes: notes.update_one({"$and": [{"_openid": {"$eq": "you"}}, {"_id": "new"}]}, {"$set": {"a": 1}}, upsert=True),
        lambda notes: notes.update_one({"_id": "new"}, [{"$set": {"_openid": "you"}}], upsert=True),
        lambda notes: notes.update_many({"_id": "new"}, {"$rename": {"a": "_openid"}, "$setOnInsert": {"_openid.x": 1}}, upsert=True),
        lambda notes: notes.replace_one({"_id": "new"}, {"_openid": "you"}, upsert=True),
        lambda notes: notes.find_one_and_update({"_id": "new"}, {"$set": {"_openid": "you"}}, upsert=True),
        lambda notes: notes.find_one_and_replace({"_id": "new"}, {"_openid": "you"}, upsert=True),
        lambda notes: notes.find_one_and_update({"_openid": "you", "text": "none"}, {"$set": {"a": 1}}, upsert=True),
        lambda notes: notes.bulk_write([UpdateOne({"_id": "new"}, {"$setOnInsert": {"_openid": "you"}}, upsert=True)]),
        lambda notes: notes.doc("new").set({"_openid": "you"}),
        lambda notes: notes.update_one({"_id": "theirs"}, {"$set": {"text": "x"}}, upsert=True),
        lambda notes: notes.replace_one({"_id": "theirs"}, {"text": "x"}, upsert=True),
        lambda notes: notes.update_one({"_id": {"$in": ["theirs"]}}, {"$set": {"text": "x"}}, upsert=True),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "rules", [{"read": OWN, "write": OWN}, "PRIVATE", "READONLY"], ids=["custom", "PRIVATE", "READONLY"]
)
def test_upserts_make_only_what_may_be_made(db, call, rules):
    db.set_rules("notes", rules)
    before = dump(db)
    found = seen(lambda: call(db.as_user(ME).collection("notes")))
    after = dump(db)
    assert unlawful({"notes": rules}, ME, before, after) == []
    foreign = [[row for row in rows["notes"] if row.get("_openid") != "me"] for rows in (before, after)]
    assert foreign[0] == foreign[1]
    assert CANARY not in found.text


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [
        DeleteOne({"_id": "theirs"}), DeleteMany({}), UpdateOne({"_id": "theirs"}, {"$set": {"a": 1}}), UpdateMany({}, {"$set": {"a": 1}}),
        ReplaceOne({"_id": "theirs"}, {"a": 1}), InsertOne({"_id": "theirs"}), InsertOne({"_id": "x", "_openid": "you"}),
        UpdateOne({"_id": "mine"}, {"$set": {"_openid": "you"}}),
    ],
    ids=lambda request: type(request).__name__,
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bulk_write_is_all_or_nothing(db, wrong, place, ordered):
    requests = [InsertOne({"_id": "new"}), UpdateOne({"_id": "mine"}, {"$set": {"text": "x"}})]
    requests.insert(place, wrong)
    before = dump(db)
    with pytest.raises(DeniedError):
        db.as_user(ME).collection("notes").bulk_write(requests, ordered=ordered)
    assert dump(db) == before


@pytest.mark.parametrize("call", ["insert_many", "add"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_many_made_at_once_are_all_or_nothing(db, call, place):
    documents = [{"_id": "new"}, {"_id": "newer"}]
    documents.insert(place, {"_id": "theirs"})
    before = dump(db)
    with pytest.raises(DeniedError):
        getattr(db.as_user(ME).collection("notes"), call)(documents)
    assert dump(db) == before


def test_dates_of_the_server_are_judged_as_they_will_be(db):
    db.set_rules(
        "notes", {"read": True, "create": "doc.at <= now && now - doc.at < 60000", "update": "request.data.at <= now"}
    )
    notes = db.as_user(ME).collection("notes")
    notes.insert_one({"_id": "a", "at": server_date()})
    for wrong in ({"at": server_date(offset=3_600_000)}, {"at": dt.datetime(2999, 1, 1, tzinfo=dt.UTC)}, {"at": 5}, {}):
        with pytest.raises(DeniedError):
            notes.insert_one({"_id": "b", **wrong})
    notes.update_one({"_id": "a"}, {"$currentDate": {"at": True}})
    with pytest.raises(DeniedError):
        notes.doc("a").update({"at": server_date(offset=3_600_000)})


def test_a_sum_beyond_all_numbers_is_an_error_and_changes_nothing(db, notes):
    before = dump(db)
    for update in ({"$inc": {"balance": 2**63 - 1}}, {"$mul": {"balance": 2**62}}):
        with pytest.raises((DeniedError, UsageError)):
            notes.update_one({"_openid": "me"}, update)
    assert dump(db) == before


def test_a_unique_index_names_nobody_elses_values(db):
    db["notes"].create_index("email", unique=True, sparse=True)
    db["notes"].insert_one({"_id": "secret-id", "_openid": "you", "email": f"{CANARY}@x", "text": CANARY})
    for call in (
        lambda notes: notes.insert_one({"_id": "new", "email": f"{CANARY}@x"}),
        lambda notes: notes.update_one({"_openid": "me"}, {"$set": {"email": f"{CANARY}@x"}}),
        lambda notes: notes.insert_many([{"_id": "new", "email": f"{CANARY}@x"}]),
    ):
        with pytest.raises((DeniedError, docdb.ConflictError)) as caught:
            call(db.as_user(ME).collection("notes"))
        assert "secret-id" not in seen(lambda caught=caught: (_ for _ in ()).throw(caught.value)).text
    assert db["notes"].count_documents({"email": {"$exists": True}}) == 1


def test_a_validator_tells_no_old_values(db):
    db.create_collection("checked", validator={"$jsonSchema": {"properties": {"sum": {"maximum": 10}}}})
    db["checked"].insert_one({"_id": "a", "_openid": "me", "secret": CANARY, "sum": 5, "text": "t"})
    db.set_rules("checked", {"read": OWN, "write": OWN, "fields": {"secret": {"read": False}}})
    found = seen(lambda: db.as_user(ME).collection("checked").update_one({"_openid": "me"}, {"$set": {"sum": 11}}))
    assert found.error is not None
    assert CANARY not in found.text
