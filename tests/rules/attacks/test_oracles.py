"""Attacks on the query side: questions whose answers would tell of what may not be read."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import pytest

import docdb
from docdb import BulkWriteError, DeniedError, DocdbError, Regex, UsageError
from docdb import command as _
from tests.rules.attacks.entry_points import ENTRIES, entries
from tests.rules.attacks.stage import CANARY, CANARY_NUMBER, ME, Probe, attack
from tests.rules.attacks.test_identity import OWN, OWNED, asked, both
from tests.rules.attacks.trial import everywhere, pairs, tried

FIELDS: Final = {
    "secret": {"read": False}, "n": {"read": False}, "deep.secret": {"read": False}, "list.secret": {"read": False}, "tags": {"read": False},
    "place": {"read": False}, "at": {"read": "doc._openid == 'nobody'"},
}  # fmt: skip
HIDING: Final = {"notes": {"read": OWN, "update": OWN, "delete": OWN, "fields": FIELDS}}


def note(id: str, secret: str, number: int, **more: Any) -> dict[str, Any]:
    place = {"type": "Point", "coordinates": [10 + len(id), 10]}
    return {
        "_id": id, "_openid": "me", "text": "t", "secret": f"{CANARY} {secret}", "n": CANARY_NUMBER if number else 5,
        "deep": {"secret": f"{CANARY} {secret}", "a": 1},
        "list": [{"secret": f"{CANARY} {secret}", "a": 1}, {"a": 2}], "tags": [f"{CANARY} {secret}"], "place": place, **more,
    }  # fmt: skip


# Another order by their ids than by their secrets; the tie of the other world shows the order of the ids.
HIDDEN: Final = {"notes": [note("m1", "b", 1), note("m2", "a", 0), note("m3", "c", 1)]}
B: Final = f"{CANARY} b"
BY_SECRET: Final[list[dict[str, Any]]] = [
    {"secret": B}, {"secret": {"$regex": "^canary"}}, {"secret": {"$regex": "^c", "$options": "i"}}, {"secret": Regex("b$")}, {"secret": {"$gt": "B"}},
    {"secret": {"$lte": B}}, {"secret": {"$exists": True}}, {"secret": {"$ne": None}}, {"secret": None}, {"secret": {"$in": [B, "x"]}},
    {"secret": {"$nin": [B]}},
    {"secret": {"$type": "string"}}, {"secret": {"$not": {"$eq": B}}}, {"n": {"$mod": [2, 1]}}, {"n": {"$gt": 6}}, {"n": {"$bitsAllSet": 1}},
    {"tags": {"$size": 1}}, {"tags": {"$all": [B]}}, {"tags.0": B}, {"tags": {"$elemMatch": {"$eq": B}}}, {"deep.secret": B}, {"deep": {"secret": B, "a": 1}},
    {"deep": {"$gt": {"secret": "B"}}}, {"deep": {"$in": [{"secret": B, "a": 1}]}}, {"list.secret": B}, {"list.0.secret": B},
    {"list": {"$elemMatch": {"secret": B}}},
    {"list": {"secret": B, "a": 1}}, {"list.0": {"secret": B, "a": 1}}, {"$expr": {"$eq": ["$secret", B]}}, {"$expr": {"$gt": [{"$strLenCP": "$secret"}, 8]}},
    {"$expr": {"$eq": ["$$ROOT.secret", B]}}, {"$expr": {"$eq": ["$$CURRENT.secret", B]}}, {"$expr": {"$eq": [{"$getField": "secret"}, B]}},
    {"$expr": {"$in": [B, {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.v"}}]}}, {"$expr": {"$eq": ["$deep", {"secret": B, "a": 1}]}},
    {"$expr": {"$gt": ["$$ROOT", {"_id": "m2"}]}}, {"$expr": {"$eq": [{"$type": "$secret"}, "string"]}}, {"$or": [{"secret": B}, {"text": "none"}]},
    {"$nor": [{"secret": B}]}, {"$and": [{"text": "t"}, {"secret": B}]}, {"$jsonSchema": {"properties": {"secret": {"pattern": "b$"}}}},
    {"$jsonSchema": {"required": ["secret"]}}, {"$expr": {"$let": {"vars": {"s": "$secret"}, "in": {"$eq": ["$$s", B]}}}},
    {"place": {"$geoWithin": {"$centerSphere": [[12, 10], 0.001]}}},
    {"$expr": {"$eq": [{"$arrayElemAt": ["$list.secret", 0]}, B]}}, {"$expr": {"$gt": [{"$size": {"$objectToArray": "$$ROOT"}}, 8]}},
    {"$expr": {"$eq": [{"$toString": {"$getField": {"field": "secret", "input": "$$ROOT"}}}, B]}}, {"$comment": "secret"},
]  # fmt: skip
MINE: Final = {"_openid": "me"}
BY_ORDER: Final = [Probe(filter=MINE, id="m1", order=((path, way),)) for path in ("secret", "n", "deep", "deep.secret", "list", "list.secret", "tags",
    "list.0.secret") for way in (1, -1)]  # fmt: skip
BY_KEY: Final = [
    Probe(filter=MINE, id="m1", key=path)
    for path in ("secret", "deep", "deep.secret", "list", "list.secret", "tags", "tags.0", "list.0")
]
BY_FIELDS: Final = [
    Probe(filter=MINE, id="m1", fields=fields)
    for fields in (
        {"secret": 1}, {"text": 0}, {"secret": 0}, {"deep": 1}, {"deep.secret": 1}, {"deep": 0}, {"x": "$secret"}, {"x": "$deep"}, {"x": "$$ROOT"},
        {"tags": {"$slice": 1}}, {"list": {"$slice": 1}}, {"list": {"$elemMatch": {"a": 1}}}, {"list": {"$elemMatch": {"secret": B}}}, {"list.$": 1},
        {"x": {"$concat": ["$secret", "!"]}}, {"x": {"$toUpper": "$deep.secret"}}, {"x": {"$objectToArray": "$$ROOT"}}, {"score": {"$meta": "textScore"}},
        {"x": {"$getField": "secret"}}, {"x": {"$type": "$secret"}}, {"x": {"$strLenCP": "$secret"}}, {"x": ["$secret"]}, {"x": {"y": "$list.secret"}},
        {"x": {"$ifNull": ["$secret", 1]}}, {"x": {"$bsonSize": "$$ROOT"}}, {"x": {"$mergeObjects": ["$deep", {}]}},
        {"x": {"$cond": [{"$gt": ["$n", 6]}, 1, 2]}},
    )
]  # fmt: skip
ORS: Final = [
    {"$or": [{"_openid": "me"}, {"text": {"$exists": True}}]}, {"$or": [{"_openid": "me"}, {}]}, {"$or": [{"_openid": "me"}, {"_openid": {"$gt": "me"}}]},
    {"$or": [{"$and": [{"_openid": "me"}]}, {"$nor": [{"_openid": "me"}]}]}, {"_openid": {"$in": ["me", Regex("^y")]}},
    {"_openid": {"$not": {"$ne": "me"}}, "$or": [{"a": 1}, {}]},
    {"$nor": [{"_openid": {"$ne": "me"}, "text": "none"}]}, {"$nor": [{"$nor": [{"_openid": "me"}, {"_openid": "you"}]}]},
    {"_openid": {"$elemMatch": {"$eq": "me"}}},
    {"_openid": {"$all": ["me"]}}, {"_openid.0": "me"}, {"_openid": {"$in": ["me"]}}, {"_openid": {"$type": "string"}}, {"_openid": {"$regex": "^me$"}},
    {"$expr": {"$eq": ["$_openid", "me"]}}, {"$expr": {"$in": ["$_openid", ["me", "you"]]}}, {"$jsonSchema": {"properties": {"_openid": {"enum": ["me"]}}}},
]  # fmt: skip
ONE_ID: Final = [
    {"_id": {"$in": ["theirs"]}}, {"_id": {"$eq": "theirs"}}, {"_id": {"$gte": "theirs", "$lte": "theirs"}}, {"$and": [{"_id": "theirs"}]},
    {"$or": [{"_id": "theirs"}]},
    {"_id": {"$in": ["mine", "theirs"]}}, {"_id": {"$in": ["theirs", "theirs"]}},
    {"_id": "theirs", "$or": [{"_openid": "me"}, {"text": {"$regex": "^canary"}}]},
    {"_id": "theirs", "text": {"$regex": "^canary"}}, {"_id": {"$all": ["theirs"]}}, {"_id": {"$not": {"$ne": "theirs"}}}, {"_id": Regex("^theirs$")},
    {"$nor": [{"_id": {"$ne": "theirs"}}]}, {"$expr": {"$eq": ["$_id", "theirs"]}}, {"_id": {"$elemMatch": {"$eq": "theirs"}}}, {"_id": {"$type": "string"}},
]  # fmt: skip

ATTACKS: Final = [
    attack(
        "operators through values", both("doc.password == 'p'"),
        {"notes": [{"_id": "mine", "text": "p", "password": "p"}, {"_id": "theirs", "text": CANARY, "password": "q"},
            {"_id": "o", "text": CANARY, "password": {"a": 1}}]},
        *asked(
            {"password": {"$gt": ""}}, {"password": {"$ne": None}}, {"password": {"$regex": ".*"}}, {"password": {"$exists": True}},
            {"password": {"$in": ["p", "q"]}},
            {"password": {"$eq": {"$gt": ""}}}, {"password": {"$not": {"$eq": "x"}}}, {"password": _.neq("x")}, {"password": _.eq("q")}, {"password": _.gt("")},
        ),
    ),
    attack("ids that look like operators", both(OWN), OWNED,
        *(Probe(id=id) for id in ({"$gt": ""}, {"$ne": None}, {"$in": ["theirs"]}, {"$regex": "t"}, {"$eq": "theirs"})), uses=frozenset({"id"})),
    attack(
        "contradictions", both(OWN), OWNED,
        *asked(
            {"$and": [{"_openid": "me"}, {"_openid": "you"}]}, {"_openid": {"$eq": "me", "$in": ["you"]}}, {"_openid": {"$gt": "z", "$lt": "a"}},
            {"_id": {"$in": []}},
            {"$and": [{"_openid": "me"}, {"_openid": {"$ne": "me"}}]}, {"_openid": {"$all": ["me", "you"]}}, {"$and": [{"a": 1}, {"a": 2}]},
            {"_openid": {"$in": []}},
        ),
        indexes=[("notes", "_openid", {})],
    ),
    attack("hidden fields in filters", HIDING, HIDDEN, *(Probe(filter={**MINE, **part}, id="m1") for part in BY_SECRET), secret="field",
        without=("update", "delete", "feed")),
    attack("hidden fields in filters of writes", HIDING, HIDDEN,
        *(Probe(filter={**MINE, **part}, id="m1", update={"$set": {"seen": 1}}) for part in BY_SECRET[::3]), secret="field",
        without=("read", "count", "explain")),
    attack("hidden fields in orders", HIDING, HIDDEN, *BY_ORDER, uses=frozenset({"order"}), secret="field",
        indexes=[("notes", [("secret", 1), ("text", 1)], {}), ("notes", "n", {})]),
    attack("hidden fields as keys", HIDING, HIDDEN, *BY_KEY, uses=frozenset({"key"}), secret="field", indexes=[("notes", "secret", {})]),
    attack("hidden fields in projections", HIDING, HIDDEN, *BY_FIELDS, uses=frozenset({"fields"}), secret="field"),
    attack("hidden words and places", HIDING, HIDDEN,
        *(Probe(filter={**MINE, **part}, id="m1") for part in ({"$text": {"$search": "canary"}},
            {"place": {"$near": {"$geometry": {"type": "Point", "coordinates": [13, 10]}}}}, {"place": {"$geoWithin": {"$centerSphere": [[12, 10], 0.001]}}})),
            secret="field", indexes=[("notes", [("secret", "text")], {}), ("notes", [("place", "2dsphere")], {})]),
    attack("hidden fields are not shown", HIDING, HIDDEN, Probe(filter=MINE, id="m1"), uses=frozenset({"filter", "id"}), secret="field"),
    attack("hidden by what is stored", {"notes": {"read": True, "fields": {"text": {"read": OWN}}}},
        {"notes": [{"_id": "theirs", "_openid": "you", "text": CANARY}, {"_id": "b", "text": f"{CANARY} b"}]},
        *asked({}, {"_openid": "me"}, {"text": {"$gt": ""}}, {"_id": "theirs"}), secret="field", uses=frozenset({"filter", "id", "order", "fields", "key"})),
    attack("one way around the owner", both(OWN), OWNED, *asked(*ORS), indexes=[("notes", "_openid", {})]),
    attack("one id", both(OWN), OWNED, *asked(*ONE_ID)),
    attack("one id by a collation", both(OWN), OWNED,
        *asked({"_id": "THEIRS"}, {"_id": {"$eq": "theirs"}}, {"_id": {"$in": ["Theirs"]}}, collation={"locale": "en", "strength": 2})),
    attack("strange types of one id", both(OWN), {"notes": [{"_id": 1, "text": CANARY, "_openid": "you"},
        {"_id": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "text": CANARY, "_openid": "you"}, {"_id": {"a": 1}, "text": CANARY, "_openid": "you"}]},
        *(Probe(id=id, filter={"_id": id}) for id in (1, 1.0, docdb.Int64(1), True, {"a": 1}, {"a": 1.0}, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), -0.0, None)),
        uses=frozenset({"filter", "id"})),
]  # fmt: skip


# Refused for everybody, so that there is nothing to succeed at.
WRONG: Final = attack(
    "logic of what is no list", both(OWN), OWNED,
    *asked(
        {"$or": {"0": {"_openid": "me"}}}, {"$or": "x"}, {"$nor": None}, {"$and": []}, {"$or": [None]}, {"$and": {"_openid": "me"}},
        {"$not": {"_openid": "me"}},
        {"_openid": {"$or": ["me", "you"]}}, {"_openid": {"$in": {"0": "me"}}}, {"_openid": {"$gtee": "me"}}, {"$where": "true"},
        {"_openid": {"$where": "true"}},
    ),
    futile=True,
)  # fmt: skip


@pytest.mark.parametrize(("stage", "entry"), pairs([WRONG]), indirect=["stage"])
def test_what_is_no_question_is_an_error(stage, entry):
    for probe in stage.attack.probes:
        found = tried(stage, entry, probe, mode="filter")
        assert isinstance(found["known"].error, UsageError | DeniedError | BulkWriteError), probe


@pytest.mark.parametrize(("stage", "entry"), pairs(ATTACKS), indirect=["stage"])
def test_oracles(stage, entry, loop):
    everywhere(stage, entry, loop)


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many([dict(row) for row in HIDDEN["notes"]])
        db["notes"].create_index([("secret", 1), ("text", 1)], name="hidden")
        db["notes"].create_index("_openid", name="shown")
        db.set_rules("notes", {"read": True, "write": True, "fields": FIELDS})
        yield db


@pytest.mark.parametrize("entry", entries("explain"), ids=lambda entry: entry.name)
def test_plans_are_for_administrators(db, entry):
    for filter in ({}, {"secret": "x"}):
        with pytest.raises(DeniedError):
            entry.call(db.as_user(ME), Probe(filter=filter))


@pytest.mark.parametrize(
    "call",
    [
        lambda notes: notes.find({}).hint("hidden").to_list(),
        lambda notes: notes.find({}).hint([("secret", 1), ("text", 1)]).to_list(),
        lambda notes: notes.find({}, hint="hidden").to_list(),
        lambda notes: notes.find({}).hint("hidden").min({"secret": B, "text": ""}).to_list(),
        lambda notes: notes.find({}).hint("hidden").max({"secret": B, "text": ""}).to_list(),
        lambda notes: notes.where({}).hint("hidden").get(),
        lambda notes: notes.where({}).hint("hidden").count(),
        lambda notes: notes.count_documents({}, hint="hidden"),
        lambda notes: notes.distinct("text", {}, hint="hidden"),
        lambda notes: notes.aggregate([], hint="hidden").to_list(),
        lambda notes: notes.update_one({}, {"$set": {"a": 1}}, hint="hidden"),
        lambda notes: notes.delete_one({}, hint="hidden"),
        lambda notes: notes.find_one_and_delete({}, hint="hidden"),
        lambda notes: notes.find_one_and_update({}, {"$set": {"a": 1}}, hint="hidden"),
    ],
)
def test_an_index_of_a_hidden_field_is_no_hint(db, call):
    before = db["notes"].find({}).to_list()
    with pytest.raises((DeniedError, UsageError)) as caught:
        call(db.as_user(ME).collection("notes"))
    assert "secret" not in str(caught.value)
    assert db["notes"].find({}).to_list() == before


def test_an_unknown_hint_is_refused_as_a_hidden_one_is(db):
    notes = db.as_user(ME).collection("notes")
    texts = []
    for name in ("hidden", "nothing"):
        with pytest.raises(DocdbError) as caught:
            notes.find({}).hint(name).to_list()
        texts.append((type(caught.value), caught.value.code, caught.value.message.replace(name, "?")))
    assert texts[0] == texts[1]


DEEP: Final = (
    "find",
    "count_documents",
    "distinct",
    "update_many",
    "delete_many",
    "aggregate_match",
    "where_watch",
    "doc_get",
    "find_one_and_update",
)


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"_openid": "me"}
    for _level in range(levels):
        found = {"$and": [found]}
    return found


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.name in DEEP], ids=lambda entry: entry.name)
@pytest.mark.parametrize(
    "filter",
    [
        nested(100_000),
        {"$and": [{"_openid": "me"}] * 50_000},
        {"$and": [{"$or": [{"_openid": "me", f"a{n}": 1}, {f"b{n}": 1}]} for n in range(40)]},
        {"$or": [{f"a{n}": 1} for n in range(20_000)]},
        {"a": {"$in": list(range(20_000))}},
        {"$expr": {"$eq": ["$a", ["x"] * 20_000]}},
    ],
    ids=["deep", "wide", "normal form", "choices", "values", "expression"],
)
@pytest.mark.parametrize("mode", [False, True], ids=["prove", "filter"])
def test_filters_of_any_size_end_and_show_nothing(entry, filter, mode):
    with docdb.open(":memory:") as db:
        db["notes"].insert_one({"_id": "theirs", "_openid": "you", "text": CANARY})
        db.set_rules("notes", {"read": OWN, "write": OWN})
        try:
            found = entry.call(db.as_user(ME, filter_mode=mode), Probe(filter=filter))
        except DocdbError as error:
            found = str(error)
        assert CANARY not in repr(found)
        assert db["notes"].find_one("theirs")["text"] == CANARY


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){25}", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_patterns_from_users_take_linear_time(db, pattern):
    db["notes"].insert_one({"_id": "long", "_openid": "me", "text": "a" * 5_000 + "!"})
    notes = db.as_user(ME).collection("notes")
    assert notes.count_documents({"_id": "long", "text": {"$regex": pattern}}) in (0, 1)


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)", "(?<!a)b"])
def test_patterns_that_need_more_than_linear_time_are_refused(db, pattern):
    with pytest.raises(DocdbError):
        db.as_user(ME).collection("notes").count_documents({"text": {"$regex": pattern}})


@pytest.mark.parametrize("secret", ["secret", "deep.secret"])
def test_an_error_does_not_name_a_hidden_field(db, secret):
    with pytest.raises(DeniedError) as caught:
        db.as_user(ME).collection("notes").find({secret: "x"}).to_list()
    assert "secret" not in f"{caught.value} {caught.value.args} {caught.value.path} {caught.value.hint}"
