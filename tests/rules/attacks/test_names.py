"""Attacks through names and paths: what looks like an attribute, what reaches a field another way, collections of the system."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import pytest

import docdb
from tests.rules.attacks.stage import CANARY, ME, Probe, attack
from tests.rules.attacks.test_identity import OWN, asked, both
from tests.rules.attacks.trial import everywhere, pairs

ALL_FORBIDDEN: Final = {
    "notes": [
        {"_id": "theirs", "text": f"{CANARY} 1", "_openid": "me"},
        {"_id": "b", "text": f"{CANARY} 2", "_openid": "you"},
    ]
}
NAMES_OF_PYTHON: Final = [
    "__class__",
    "__init__",
    "__dict__",
    "items",
    "keys",
    "get",
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
]
PROFILE: Final = {"notes": [
    {"_id": "mine", "_openid": "me", "text": "mine", "profile": {"role": "user", "name": "x"}, "roles": ["user", "guest"]},
    {"_id": "theirs", "_openid": "you", "text": CANARY, "profile": {"role": "user", "name": "x"}, "roles": ["user", "guest"]},
]}  # fmt: skip
SEALED: Final = {"notes": {"read": OWN, "update": f"{OWN} && !changed('profile.role') && !changed('roles')"}}
SEALED_FIELDS: Final = {
    "notes": {"read": OWN, "update": OWN, "fields": {"profile.role": {"write": False}, "roles": {"write": False}}}
}
ROLE_UPDATES: Final[list[Any]] = [
    {"$set": {"profile.role": "admin"}}, {"$set": {"profile": {"role": "admin"}}}, {"profile": {"role": "admin"}}, {"profile.role": "admin"},
    {"$unset": {"profile.role": 1}}, {"$unset": {"profile": 1}}, {"$rename": {"profile.name": "profile.role"}}, {"$rename": {"profile": "other"}},
    {"$rename": {"profile.role": "profile.was"}}, {"$min": {"profile.role": "a"}}, {"$max": {"profile.role": "z"}}, {"$currentDate": {"profile.role": True}},
    {"$set": {"roles.0": "admin"}}, {"$set": {"roles.5": "admin"}}, {"$set": {"roles.$[]": "admin"}}, {"$push": {"roles": "admin"}},
    {"$push": {"roles": {"$each": ["admin"], "$position": 0, "$slice": 1}}}, {"$addToSet": {"roles": "admin"}}, {"$pull": {"roles": "user"}},
    {"$pop": {"roles": 1}}, {"$pullAll": {"roles": ["user"]}}, {"$set": {"roles": []}}, {"$unset": {"roles.1": 1}},
]  # fmt: skip
ROLE_PROGRAMS: Final[list[Any]] = [
    [{"$set": {"profile": {"role": "admin"}}}], [{"$set": {"profile.role": "admin"}}], [{"$unset": "profile"}], [{"$unset": "profile.role"}],
    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"profile": {"role": "admin"}}]}}], [{"$replaceRoot": {"newRoot": {"_openid": "me"}}}],
    [{"$project": {"_openid": 1}}], [{"$set": {"roles": {"$concatArrays": ["$roles", ["admin"]]}}}], [{"$set": {"roles.x": 1}}],
    [{"$set": {"roles": {"$map": {"input": "$roles", "in": "admin"}}}}], [{"$addFields": {"profile": "$$ROOT"}}],
]  # fmt: skip
MINE: Final[dict[str, Any]] = {"filter": {"_openid": "me"}, "id": "mine"}
HIDING: Final = {
    "notes": {"read": OWN, "write": OWN, "fields": {"secret": {"read": False}, "deep.secret": {"read": False}}}
}
HIDDEN: Final = {"notes": [
    {"_id": "mine", "_openid": "me", "text": "a", "was": "you", "secret": f"{CANARY} b", "deep": {"secret": f"{CANARY} c", "n": 1}},
    {"_id": "mine2", "_openid": "me", "text": "b", "was": "you", "secret": f"{CANARY} a", "deep": {"secret": f"{CANARY} d", "n": 1}},
]}  # fmt: skip

ATTACKS: Final = [
    *(
        attack(f"rule of doc.{name}", both(f"doc.{name} != null"), ALL_FORBIDDEN, Probe(), Probe(filter={name: {"$exists": False}}))
        for name in NAMES_OF_PYTHON
    ),
    attack(
        "rule of an index that is an attribute", both("doc['__init__'] != null || '__class__' in doc.x"), ALL_FORBIDDEN,
        *asked({}, {"__init__": {"$exists": True}}, {"__class__": None}, {"_id": {"$exists": True}}),
    ),
    attack(
        "dotted and numeric updates", SEALED, PROFILE, *(Probe(**MINE, update=update) for update in ROLE_UPDATES), uses=frozenset({"update"}), modes=["prove"],
    ),
    attack(
        "updates of a sealed field", SEALED_FIELDS, PROFILE, *(Probe(**MINE, update=update) for update in ROLE_UPDATES), uses=frozenset({"update"}),
        modes=["filter"],
    ),
    attack("programs", SEALED, PROFILE, *(Probe(**MINE, program=program) for program in ROLE_PROGRAMS), uses=frozenset({"program"})),
    attack("programs on a sealed field", SEALED_FIELDS, PROFILE, *(Probe(**MINE, program=program) for program in ROLE_PROGRAMS), uses=frozenset({"program"})),
    attack(
        "filtered and matched positions", SEALED, PROFILE,
        Probe(**MINE, update={"$set": {"roles.$[f]": "admin"}}, array_filters=[{"f": "user"}]),
        Probe(filter={"_openid": "me", "roles": "user"}, id="mine", update={"$set": {"roles.$": "admin"}}),
        Probe(filter={"roles": "user"}, id="mine", update={"$set": {"roles.$": "admin"}}),
        uses=frozenset({"update"}),
    ),
    attack(
        "rename", HIDING, HIDDEN,
        *(
            Probe(**MINE, update=update)
            for update in (
                {"$rename": {"secret": "text"}}, {"$rename": {"deep.secret": "text"}}, {"$rename": {"deep": "public"}}, {"$rename": {"was": "_openid"}},
                {"$rename": {"secret": "text"}, "$set": {"a": 1}}, {"$rename": {"text": "secret"}},
            )
        ),
        uses=frozenset({"update"}), secret="field", without=("create",),
    ),
    attack("get of a missing document", both("get('database.roles.' + auth.openid).role == 'admin'"), {**ALL_FORBIDDEN, "roles": []},
        *asked({}, {"_openid": "me"}, {"_id": "theirs"})),
    attack("get of a missing document is not unlike", both("get('database.roles.' + auth.openid).role != 'banned'"), {**ALL_FORBIDDEN, "roles": []},
        *asked({}, {"_openid": "me"})),
    attack("get of a missing collection", both("get('database.nowhere.' + auth.openid).role not in ['x']"), ALL_FORBIDDEN, *asked({}, {"_id": "theirs"})),
    attack("get by a path from the document", both("get(`database.roles.${doc.role}`).open == true"), {
        "roles": [{"_id": "open", "open": True}, {"_id": "closed", "open": False}],
        "notes": [{"_id": "mine", "text": "a", "role": "open"}, {"_id": "theirs", "text": CANARY, "role": "closed"},
            {"_id": "c", "text": CANARY, "role": ["open"]}],
    }, *asked({}, {"role": "open"}, {"role": {"$in": ["open", "closed"]}}, {"role": {"$gte": "open"}}, {"role": {"$in": ["open"]}},
    {"role": {"$all": ["open"]}})),
    attack("a collection without rules", {}, {"vault": ALL_FORBIDDEN["notes"]}, Probe("vault"), Probe("vault", filter={"_openid": "me"}),
        uses=frozenset({"filter", "id", "document", "collection"})),
    attack("a collection with no read", {"vault": {"write": False}}, {"vault": ALL_FORBIDDEN["notes"]}, Probe("vault", filter={"_openid": "me"}),
        uses=frozenset({"filter", "id", "document", "collection"})),
    attack("another case of the name", both("true") | {"Notes": {"read": False}}, {"notes": [], "Notes": ALL_FORBIDDEN["notes"]}, Probe("Notes"),
        Probe("NOTES"), uses=frozenset({"filter", "id", "collection"})),
    attack("administrators' collection", {}, {"_private": ALL_FORBIDDEN["notes"]}, Probe("_private"), Probe("_private", filter={"_openid": "me"}),
        uses=frozenset({"filter", "id", "document", "collection"})),
]  # fmt: skip
SYSTEM: Final = [
    "_rules", "_docdb", "_", "__rules__", "system.rules", "system.indexes", "system.users", "system.js", "oplog.rs", "local.oplog.rs", "$cmd", "admin.$cmd",
    "docdb.rules", "notes.$cmd", "", ".", "notes.", ".notes", "..", "a\x00b", "a\ud800", "no\u202etes", "c:notes", "m:version", " notes", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize(("stage", "entry"), pairs(ATTACKS), indirect=["stage"])
def test_names(stage, entry, loop):
    everywhere(stage, entry, loop)


@pytest.fixture
def user():
    with docdb.open(":memory:") as db:
        db["home"].insert_one({"_id": 1, "text": "x"})
        db.set_rules("home", {"read": True, "write": True})
        yield db.as_user(ME)


@pytest.mark.parametrize("name", SYSTEM, ids=ascii)
@pytest.mark.parametrize(
    "call",
    [
        lambda user, name: user.collection(name).find({}).to_list(),
        lambda user, name: user[name].doc("x").get(),
        lambda user, name: user[name].insert_one({"a": 1}),
        lambda user, name: user[name].delete_many({}),
        lambda user, name: user[name].estimated_document_count(),
        lambda user, name: list(user["home"].aggregate([{"$unionWith": name}])),
        lambda user, name: list(user["home"].aggregate([{"$lookup": {"from": name, "pipeline": [], "as": "x"}}])),
        lambda user, name: list(user["home"].aggregate([{"$merge": {"into": name}}])),
        lambda user, name: list(user["home"].aggregate([{"$out": name}])),
    ],
    ids=["find", "doc", "insert", "delete", "count", "union", "lookup", "merge", "out"],
)
def test_collections_of_the_system_have_no_address(user, name, call):
    with pytest.raises((docdb.DeniedError, docdb.UsageError)):
        call(user, name)


@pytest.mark.parametrize("name", ["_rules", "_private", "system.rules", ""])
def test_no_rules_open_a_collection_of_the_system(name):
    with docdb.open(":memory:") as db:
        with contextlib.suppress(docdb.UsageError):
            db.set_rules(name, {"read": True, "write": True})
        with pytest.raises((docdb.DeniedError, docdb.UsageError)):
            db.as_user(ME).collection(name).find({}).to_list()
