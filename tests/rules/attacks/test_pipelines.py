"""Attacks through aggregation: joins into what is forbidden, proofs by stages, and stages that write."""

from __future__ import annotations

from typing import Any, Final

import pytest

import docdb
from docdb import DeniedError, UsageError
from tests.rules.attacks.entry_points import entries
from tests.rules.attacks.stage import CANARY, CANARY_NUMBER, HOME, ME, Probe, attack, dump
from tests.rules.attacks.test_identity import OWN, both
from tests.rules.attacks.test_oracles import HIDDEN, HIDING, B
from tests.rules.attacks.trial import everywhere, pairs, tried

STAGES: Final = frozenset({"stages"})
NOTES: Final = {"notes": [
    {"_id": "mine", "text": "mine", "_openid": "me", "n": 1, "list": ["me"], "at": {"type": "Point", "coordinates": [1, 1]}},
    {"_id": "theirs", "text": f"{CANARY} theirs", "_openid": "you", "n": 2, "list": ["me", "you"], "at": {"type": "Point", "coordinates": [1, 1]}},
]}  # fmt: skip
VAULT: Final = {**NOTES, "vault": [{"_id": "v", "text": f"{CANARY} vault", "_openid": "me"}]}
PLACED: Final = [("notes", [("at", "2dsphere")], {})]
PROVED: Final = {"$match": {"_openid": "me"}}


def piped(*pipelines, **more):
    return [Probe(stages=stages, **more) for stages in pipelines]


# A match that says what the rule wants, behind a stage that makes it say so of something else.
FAKED: Final[list[list[dict[str, Any]]]] = [
    [{"$group": {"_id": "$_openid", "all": {"$push": "$$ROOT"}}}, {"$set": {"_openid": "me"}}, PROVED],
    [{"$project": {"_openid": {"$literal": "me"}, "text": 1}}, PROVED], [{"$set": {"_openid": "me"}}, PROVED], [{"$addFields": {"_openid": "me"}}, PROVED],
    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"_openid": "me"}]}}, PROVED], [{"$replaceRoot": {"newRoot": {"_openid": "me", "was": "$$ROOT"}}}, PROVED],
    [{"$set": {"_openid": "$list"}}, {"$unwind": "$_openid"}, PROVED], [{"$unwind": "$list"}, {"$match": {"list": "me"}}], [{"$limit": 5}], [{"$skip": 0}],
    [{"$sample": {"size": 9}}, {"$match": {"text": {"$gt": ""}}}], [{"$facet": {"a": [{"$limit": 9}]}}], [{"$redact": "$$KEEP"}],
    [{"$lookup": {"from": HOME, "pipeline": [], "as": "_openid"}}], [{"$match": {"$expr": {"$eq": [{"$literal": "me"}, "me"]}}}],
    [{"$match": {"$or": [{"_openid": "me"}, {"_openid": {"$ne": "me"}}]}}], [{"$sort": {"n": 1}}, {"$limit": 9}], [{"$sortByCount": "$text"}],
    [{"$count": "n"}],
    [{"$setWindowFields": {"sortBy": {"n": 1}, "output": {"prev": {"$shift": {"output": "$text", "by": 1}}}}}],
    [{"$bucketAuto": {"groupBy": "$n", "buckets": 2}}],
    [{"$bucket": {"groupBy": "$n", "boundaries": [0, 2, 9], "output": {"all": {"$push": "$text"}}}}],
    [{"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}}], [{"$fill": {"sortBy": {"n": 1}, "output": {"x": {"method": "locf"}}}}],
    [{"$geoNear": {"near": {"type": "Point", "coordinates": [1, 1]}, "distanceField": "d"}}],
    [{"$geoNear": {"near": {"type": "Point", "coordinates": [1, 1]}, "distanceField": "_openid", "query": {"text": {"$regex": "^canary"}}}}],
    [{"$unset": "_openid"}], [{"$project": {"_openid": 0}}], [{"$match": {}}, PROVED, {"$unionWith": "notes"}],
    [{"$group": {"_id": None, "all": {"$sum": "$n"}}}],
    [{"$unionWith": {"coll": "notes", "pipeline": [{"$set": {"_openid": "me"}}, PROVED]}}], [PROVED, {"$lookup": {"from": "notes", "pipeline": [], "as": "x"}}],
    [PROVED, {"$lookup": {"from": "notes", "localField": "none", "foreignField": "none", "as": "x"}}],
    [PROVED, {"$graphLookup": {"from": "notes", "startWith": "theirs", "connectFromField": "n", "connectToField": "_id", "as": "x"}}],
    [PROVED, {"$graphLookup": {"from": "notes", "startWith": "$list", "connectFromField": "list", "connectToField": "list", "as": "x", "maxDepth": 3}}],
    [PROVED, {"$facet": {"a": [{"$lookup": {"from": "notes", "let": {"me": "$_openid"}, "pipeline": [{"$match": {"$expr": {"$ne": ["$_openid", "$$me"]}}}],
        "as": "x"}}]}}],
]  # fmt: skip
INTO_VAULT: Final[list[list[dict[str, Any]]]] = [
    [{"$lookup": {"from": "vault", "localField": "_openid", "foreignField": "_openid", "as": "x"}}],
    [{"$lookup": {"from": "vault", "pipeline": [PROVED], "as": "x"}}],
    [{"$graphLookup": {"from": "vault", "startWith": "v", "connectFromField": "x", "connectToField": "_id", "as": "x"}}], [{"$unionWith": "vault"}],
    [{"$unionWith": {"coll": "vault", "pipeline": [{"$count": "n"}]}}], [{"$facet": {"a": [{"$lookup": {"from": "vault", "pipeline": [], "as": "x"}}]}}],
    [{"$lookup": {"from": HOME, "pipeline": [{"$unionWith": "vault"}], "as": "x"}}],
    [{"$lookup": {"from": "vault", "pipeline": [{"$count": "n"}], "as": "x"}}, {"$match": {"x.0": {"$exists": True}}}],
    [{"$lookup": {"from": "vault", "pipeline": [], "as": "x"}}, {"$set": {"x": {"$size": "$x"}}}],
    [{"$documents": [{"a": 1}]}, {"$lookup": {"from": "vault", "pipeline": [], "as": "x"}}],
    [{"$unionWith": {"coll": HOME, "pipeline": [{"$lookup": {"from": "vault", "pipeline": [], "as": "x"}}]}}],
]  # fmt: skip
GUESS: Final = [{"$match": {}}, {"$set": {"guess": B}}]
INTO_SECRET: Final[list[list[dict[str, Any]]]] = [
    [*GUESS, {"$lookup": {"from": "notes", "localField": "guess", "foreignField": "secret", "as": "x"}}],
    [*GUESS, {"$lookup": {"from": "notes", "localField": "guess", "foreignField": "deep.secret", "as": "x"}}],
    [*GUESS, {"$lookup": {"from": "notes", "let": {"g": "$guess"}, "pipeline": [{"$match": {"_openid": "me", "$expr": {"$eq": ["$secret", "$$g"]}}}],
        "as": "x"}}],
    [{"$lookup": {"from": "notes", "let": {"me": "me"}, "pipeline": [{"$match": {"_openid": "me"}}, {"$project": {"y": "$secret"}}], "as": "x"}}],
    [{"$lookup": {"from": "notes", "pipeline": [{"$match": {"_openid": "me"}}, {"$sort": {"secret": 1}}, {"$limit": 1}], "as": "x"}}],
    [*GUESS, {"$graphLookup": {"from": "notes", "startWith": "$guess", "connectFromField": "_id", "connectToField": "secret", "as": "x"}}],
    [*GUESS, {"$graphLookup": {"from": "notes", "startWith": "m1", "connectFromField": "secret", "connectToField": "_id", "as": "x"}}],
    [{"$unionWith": {"coll": "notes", "pipeline": [{"$match": {"_openid": "me"}}, {"$group": {"_id": "$secret"}}]}}],
    [{"$unionWith": {"coll": "notes", "pipeline": [{"$match": {"_openid": "me"}}, {"$project": {"z": "$deep"}}]}}],
]  # fmt: skip
MY: Final = {"$match": {"_openid": "me"}}
OF_SECRET: Final[list[list[dict[str, Any]]]] = [
    [MY, {"$group": {"_id": "$secret"}}], [MY, {"$group": {"_id": None, "all": {"$push": "$secret"}}}],
    [MY, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}],
    [MY, {"$group": {"_id": None, "most": {"$max": "$secret"}, "sum": {"$sum": "$n"}}}], [MY, {"$sort": {"secret": 1}}],
    [MY, {"$sort": {"deep": 1}}, {"$project": {"_id": 1}}],
    [MY, {"$match": {"secret": B}}], [MY, {"$match": {"deep": {"secret": B, "a": 1}}}], [MY, {"$project": {"x": "$secret"}}], [MY, {"$set": {"x": "$deep"}}],
    [MY, {"$set": {"x": "$$ROOT"}}, {"$match": {"x.secret": B}}], [MY, {"$set": {"x": "$$ROOT"}}, {"$project": {"x": 1}}], [MY, {"$replaceWith": "$deep"}],
    [MY, {"$replaceWith": {"x": "$$ROOT"}}], [MY, {"$unwind": "$tags"}], [MY, {"$unwind": "$list"}, {"$replaceWith": "$list"}],
    [MY, {"$sortByCount": "$secret"}],
    [MY, {"$bucketAuto": {"groupBy": "$secret", "buckets": 2}}], [MY, {"$bucket": {"groupBy": "$n", "boundaries": [0, 6, 10**9]}}],
    [MY, {"$facet": {"a": [{"$group": {"_id": "$secret"}}]}}], [MY, {"$lookup": {"from": HOME, "localField": "secret", "foreignField": "to", "as": "x"}}],
    [MY, {"$lookup": {"from": HOME, "let": {"s": "$secret"}, "pipeline": [{"$set": {"s": "$$s"}}], "as": "x"}}],
    [MY, {"$graphLookup": {"from": HOME, "startWith": "$secret", "connectFromField": "to", "connectToField": "to", "as": "x"}}],
    [MY, {"$setWindowFields": {"sortBy": {"secret": 1}, "output": {"place": {"$documentNumber": {}}}}}],
    [MY, {"$setWindowFields": {"sortBy": {"text": 1}, "output": {"all": {"$push": "$secret", "window": {"documents": ["unbounded", "unbounded"]}}}}}],
    [MY, {"$fill": {"partitionByFields": ["secret"], "sortBy": {"n": 1}, "output": {"x": {"value": 1}}}}],
    [MY, {"$densify": {"field": "n", "range": {"step": 10**8, "bounds": "full"}}}],
    [MY, {"$redact": {"$cond": [{"$eq": ["$secret", B]}, "$$PRUNE", "$$KEEP"]}}], [MY, {"$unset": "text"}], [MY, {"$project": {"text": 0}}],
    [MY, {"$project": {"keys": {"$objectToArray": "$$ROOT"}}}], [MY, {"$project": {"size": {"$bsonSize": "$$ROOT"}}}],
    [MY, {"$set": {"text": {"$toString": "$n"}}}],
    [MY, {"$group": {"_id": {"$getField": "secret"}}}], [MY, {"$group": {"_id": {"$ifNull": ["$deep.secret", 0]}}}],
    [MY, {"$group": {"_id": None, "t": {"$top": {"sortBy": {"secret": 1}, "output": "$_id"}}}}],
    [MY, {"$project": {"x": {"$sortArray": {"input": "$list", "sortBy": {"secret": 1}}}}}],
    [MY, {"$group": {"_id": {"$cond": [{"$gt": ["$n", 6]}, 1, 2]}, "n": {"$sum": 1}}}],
    [MY, {"$project": {"x": {"$divide": [1, {"$subtract": ["$n", CANARY_NUMBER]}]}}}],
]  # fmt: skip

ATTACKS: Final = [
    attack("proofs by stages", both(OWN), NOTES, *piped(*FAKED), uses=STAGES, indexes=PLACED),
    attack("into a collection without rules", both(OWN), VAULT, *piped(*INTO_VAULT, collection=HOME), uses=STAGES),
    attack("into a collection with a rule", {**both(OWN), "vault": {"read": "doc._openid == 'other'"}}, VAULT, *piped(*INTO_VAULT, collection=HOME),
        uses=STAGES),
    attack("into a hidden field", HIDING, HIDDEN, *piped(*INTO_SECRET, collection=HOME), uses=STAGES, secret="field"),
    attack("of a hidden field", HIDING, HIDDEN, *piped(*OF_SECRET), uses=STAGES, secret="field"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "entry"), pairs(ATTACKS), indirect=["stage"])
def test_pipelines(stage, entry, loop):
    everywhere(stage, entry, loop)


# Stages that nobody but the administrator runs, or nobody at all.
CLOSED: Final[list[dict[str, Any]]] = [
    {"$collStats": {"count": {}}}, {"$collStats": {"storageStats": {}}}, {"$indexStats": {}}, {"$currentOp": {}}, {"$listSessions": {}},
    {"$planCacheStats": {}},
    {"$listLocalSessions": {}}, {"$changeStream": {}}, {"$out": "_rules"}, {"$out": {"db": "admin", "coll": "notes"}},
    {"$merge": {"into": {"db": "x", "coll": "notes"}}},
    {"$set": {"x": {"$function": {"body": "f", "args": [], "lang": "js"}}}}, {"$group": {"_id": 1, "x": {"$accumulator": {"init": "f"}}}},
    {"$match": {"$where": "true"}},
    {"$lookup": {"from": {"db": "admin", "coll": "notes"}, "pipeline": [], "as": "x"}}, {"$lookup": {"from": "_rules", "pipeline": [], "as": "x"}},
    {"$unionWith": "_rules"},
    {"$search": {}}, {"$nothing": {}}, {"$merge": {"into": "_rules"}},
    {"$graphLookup": {"from": "_rules", "startWith": 1, "connectFromField": "a", "connectToField": "_id", "as": "x"}},
]  # fmt: skip


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many([dict(row) for row in NOTES["notes"]])
        db[HOME].insert_one({"_id": "h"})
        db.set_rules("notes", {"read": True, "write": True})
        db.set_rules(HOME, {"read": True, "write": True})
        yield db


@pytest.mark.parametrize("stage", CLOSED, ids=lambda stage: next(iter(stage)))
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "facet"])
def test_stages_that_are_not_for_users(db, stage, wrapped):
    stages = [{"$facet": {"x": [stage]}}] if wrapped else [stage]
    before = dump(db)
    with pytest.raises((DeniedError, UsageError)):
        db.as_user(ME).collection("notes").aggregate(stages).to_list()
    assert dump(db) == before


FOREIGN: Final = {
    "notes": [
        {"_id": "theirs", "text": f"{CANARY} theirs", "_openid": "you", "k": 1},
        {"_id": "mine", "text": "mine", "_openid": "me", "k": 2},
    ]
}
MERGES: Final = [
    {"whenMatched": matched, "whenNotMatched": unmatched}
    for matched in ("replace", "merge", "keepExisting", "fail", [{"$set": {"text": "$$new.text", "was": "$text"}}], [{"$set": {"_openid": "me"}}])
    for unmatched in ("insert", "discard", "fail")
]  # fmt: skip
MADE: Final = [
    {"_id": "theirs", "text": "x"},
    {"_id": "theirs", "text": "x", "_openid": "me"},
    {"_id": "new", "_openid": "you"},
    {"_id": "mine", "_openid": "you"},
]
WRITING: Final = attack(
    "merge and out", {"notes": {"read": OWN, "write": OWN}, "vault": {"read": True, "create": False, "update": True}}, {**FOREIGN, "vault": []},
    *(Probe(collection=HOME, stages=[{"$replaceWith": {"$literal": made}}, {"$merge": {"into": "notes", **way}}]) for made in MADE for way in MERGES),
    *(Probe(collection=HOME, stages=[{"$replaceWith": {"$literal": {"k": 1, "text": "x"}}},
        {"$merge": {"into": "notes", "on": "k", **way}}]) for way in MERGES),
    *(Probe(collection=HOME, stages=[{"$replaceWith": {"$literal": made}}, {"$out": "notes"}]) for made in MADE),
    *(Probe(collection=HOME, stages=[{"$replaceWith": {"$literal": made}}, {"$merge": {"into": "vault"}}]) for made in MADE),
    *(Probe(collection=HOME, stages=[{"$replaceWith": {"$literal": made}}, {"$out": "elsewhere"}]) for made in MADE),
    uses=STAGES, indexes=[("notes", "k", {"unique": True})],
)  # fmt: skip


@pytest.mark.parametrize("stage", [WRITING], indirect=True)
@pytest.mark.parametrize("mode", ["prove", "filter"])
@pytest.mark.parametrize("place", range(len(WRITING.probes)))
def test_stages_that_write(stage, place, mode):
    (entry,) = entries("writing pipeline")
    tried(stage, entry, stage.attack.probes[place], mode=mode)
