"""Attacks on who somebody is, and on how values compare."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import pytest

import docdb
from docdb import Int64
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.parser import parse
from docdb.rules.ruleset import load
from tests.rules.attacks.stage import CANARY, HOME, ME, Probe, attack, user_of
from tests.rules.attacks.trial import everywhere, pairs

NAN: Final = float("nan")
OWN: Final = "auth != null && doc._openid == auth.openid"
BARE: Final = "auth.openid == doc._openid"


def both(text):
    """Return rules that ask the same of every action."""
    return {"notes": {"read": text, "write": text}}


def asked(*filters, **more):
    return [Probe(filter=filter, **more) for filter in filters]


UNOWNED: Final = {"notes": [
    {"_id": "theirs", "text": f"{CANARY} unowned"},
    {"_id": "null", "text": f"{CANARY} null", "_openid": None},
    {"_id": "list", "text": f"{CANARY} list", "_openid": [None]},
]}  # fmt: skip
NOBODYS: Final = asked({}, {"_openid": None}, {"_openid": {"$exists": False}}, {"_openid": {"$in": [None]}}, id="null")
OWNED: Final = {"notes": [
    {"_id": "mine", "text": "mine", "_openid": "me"},
    {"_id": "theirs", "text": f"{CANARY} theirs", "_openid": "you"},
    {"_id": "template", "text": f"{CANARY} template", "_openid": "{openid}"},
    {"_id": "list", "text": f"{CANARY} list", "_openid": ["me", "you"]},
    {"_id": "object", "text": f"{CANARY} object", "_openid": {"ne": ""}},
]}  # fmt: skip
LONG: Final = "x" * 600
NAMES: Final = [
    "\u00c5sa",
    "A\u030asa",
    "\u212a",
    "K",
    "k",
    "\ufb01",
    "fi",
    "FI",
    "\uff4b",
    "\u0661",
    "1",
    "me\u200b",
    "ME",
]
LETTERS: Final = {"notes": [
    {"_id": f"n{place}", "text": name if name == "\u00c5sa" else f"{CANARY} {place}", "_openid": name}
    for place, name in enumerate(NAMES)
]}  # fmt: skip
FOLDED: Final = {"locale": "en", "strength": 1}
BIG: Final = 2**53

ATTACKS: Final = [
    attack("null is not missing", both(BARE), UNOWNED, *NOBODYS, auth=None),
    attack("web login has no openid", both(BARE), UNOWNED, *NOBODYS, auth={"uid": "me"}),
    attack("openid null", both(BARE), {"notes": UNOWNED["notes"][::2]}, *NOBODYS[:2], auth={"openid": None}),
    attack(
        "auth in the request", both(OWN), OWNED,
        *asked(
            {"auth.openid": "you", "_openid": "you"}, {"auth": {"openid": "you"}}, {"openid": "you"}, {"auth": None}, {"$or": [{"auth.openid": "me"}]},
            update={"$set": {"auth": {"openid": "you"}, "openid": "you", "text": "x"}},
            document={"_id": "theirs", "auth": {"openid": "you"}, "openid": "you"},
        ),
        uses=frozenset({"filter", "update", "document"}),
    ),
    attack(
        "template", both(OWN), OWNED,
        *asked(
            {"_openid": "{openid}"}, {"_openid": {"$in": ["{openid}", "you"]}}, {"_openid": "you{openid}"}, {"{openid}": "me"},
            {"$or": [{"_openid": "{openid}"}, {"_openid": "you"}]}, {"_openid": {"$ne": "{openid}"}}, {"_openid": {"{openid}": 1}},
            {"$expr": {"$eq": ["$_openid", "{openid}"]}},
            id="template",
        ),
    ),
    attack("template twice", both(OWN), OWNED, *asked({"_openid": "{openid}"}), auth={"openid": "{uid}", "uid": "you"}),
    attack("template named as such", both("auth.uid == doc._openid"), OWNED, *asked({"_openid": "{openid}"}), auth={"uid": "me"}),
    attack(
        "1 is not true", both("doc.level == 1"),
        {"notes": [{"_id": "mine", "text": "one", "level": 1}, {"_id": "theirs", "text": CANARY, "level": True}]},
        *asked({"level": 1}, {"level": True}, {"level": {"$in": [1, True]}}, {"level": {"$gte": 1}}, {"level": {"$ne": False}}),
    ),
    attack(
        "true is not 1", both("auth.role == doc.level"),
        {"notes": [{"_id": "mine", "text": "true", "level": True}, {"_id": "theirs", "text": CANARY, "level": 1}]},
        *asked({"level": 1}, {"level": True}, {"level": "{openid}"}, {"level": {"$in": [1, True]}}), auth={"openid": "me", "role": True},
    ),
    attack(
        "NaN below", both("doc.n < 5"), {"notes": [{"_id": "mine", "text": "1", "n": 1}, {"_id": "theirs", "text": CANARY, "n": NAN}]},
        *asked({"n": {"$lt": 5}}, {"n": NAN}, {"n": {"$lte": NAN}}, {"n": {"$in": [NAN, 1]}}, {"n": {"$not": {"$gte": 5}}}, order=(("n", 1),)),
        indexes=[("notes", "n", {})],
    ),
    attack(
        "NaN not above", both("!(doc.n >= 5)"), {"notes": [{"_id": "mine", "text": "1", "n": 1}, {"_id": "theirs", "text": CANARY, "n": NAN}]},
        *asked({"n": {"$not": {"$gte": 5}}}, {"n": NAN}, {"n": {"$ne": 7}}, {"n": {"$lt": 5}}, order=(("n", -1),)),
    ),
    attack(
        "exact numbers", both(f"doc.n <= {BIG}"),
        {"notes": [{"_id": "mine", "text": "at", "n": BIG}, {"_id": "theirs", "text": CANARY, "n": BIG + 1}]},
        *asked(
            {"n": BIG + 1}, {"n": float(BIG)}, {"n": {"$lte": float(BIG)}}, {"n": {"$lt": Decimal(BIG) + Decimal("0.5")}}, {"n": {"$in": [Int64(BIG + 1)]}},
            {"n": {"$gte": float(BIG)}}, {"n": {"$lt": float(BIG + 2)}}, order=(("n", 1),),
        ),
        indexes=[("notes", "n", {})],
    ),
    attack(
        "missing with !=", both("doc.blocked != true"),
        {"notes": [{"_id": "mine", "text": "open", "blocked": False}, {"_id": "theirs", "text": CANARY}, {"_id": "b", "text": CANARY, "blocked": True}]},
        *asked({}, {"blocked": {"$ne": True}}, {"blocked": None}, {"blocked": {"$nin": [True]}}, {"$nor": [{"blocked": True}]},
            {"blocked": {"$exists": False}}),
    ),
    attack(
        "missing with not in", both("doc.role not in ['banned']"),
        {"notes": [{"_id": "mine", "text": "ok", "role": "user"}, {"_id": "theirs", "text": CANARY}, {"_id": "b", "text": CANARY, "role": "banned"}]},
        *asked({}, {"role": {"$ne": "banned"}}, {"role": {"$nin": ["banned", "x"]}}, {"role": {"$not": {"$eq": "banned"}}},
            {"role": {"$not": {"$in": ["banned"]}}}),
    ),
    attack(
        "missing with !", both("!doc.blocked"),
        {"notes": [{"_id": "mine", "text": "open", "blocked": False}, {"_id": "theirs", "text": CANARY}, {"_id": "n", "text": CANARY, "blocked": None}]},
        *asked({}, {"blocked": None}, {"blocked": {"$in": [False, None]}}, {"blocked": {"$ne": True}}),
    ),
    attack(
        "letters that look alike", both(OWN), LETTERS,
        *asked({}, *({"_openid": name} for name in NAMES), {"_openid": {"$regex": "^\u00e5sa$", "$options": "i"}}), auth={"openid": "\u00c5sa"},
    ),
    attack(
        "letters folded by a collation", both(OWN), LETTERS,
        *asked({"_openid": "\u00c5sa"}, {"_openid": "asa"}, {"_openid": {"$gte": "\u00c5sa", "$lte": "\u00c5sa"}}, collation=FOLDED),
        auth={"openid": "\u00c5sa"},
    ),
    attack(
        "names cut by an index", both(OWN),
        {"notes": [{"_id": "mine", "text": "1", "_openid": f"{LONG}1"}, {"_id": "theirs", "text": CANARY, "_openid": f"{LONG}2"}]},
        *asked(
            {"_openid": f"{LONG}1"}, {"_openid": f"{LONG}2"}, {"_openid": {"$gte": LONG, "$lt": f"{LONG}2"}}, {"_openid": {"$in": [f"{LONG}1", f"{LONG}2"]}},
            order=(("_openid", 1),), key="_openid",
        ),
        auth={"openid": f"{LONG}1"}, indexes=[("notes", "_openid", {})],
    ),
    attack(
        "odd characters", both(OWN), OWNED,
        *asked({"_openid": "\ud800"}, {"_openid": "me\x00"}, {"_openid\x00": "me"}, {"_openid": "me", "\ud800": 1}, {"_openid": {"$regex": "me\x00?"}},
            id="\ud800"),
        uses=frozenset({"filter", "id"}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "entry"), pairs(ATTACKS), indirect=["stage"])
def test_identity(stage, entry, loop):
    everywhere(stage, entry, loop)


@pytest.fixture
def db():
    with docdb.open(":memory:") as db:
        db["notes"].insert_many([dict(row) for row in OWNED["notes"]])
        db.set_rules("notes", both(OWN)["notes"])
        yield db


class Sly(str):
    """A text that equals everything."""

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    "openid",
    [{"$ne": ""}, ["me"], ("me",), {"me"}, b"me", 1, True, 1.5, object()],
    ids=lambda value: type(value).__name__,
)
def test_an_openid_is_a_text(db, openid):
    with pytest.raises(docdb.UsageError):
        db.as_user({"openid": openid})


def test_a_text_that_equals_everything_is_the_text_it_is(db):
    with pytest.raises(docdb.UsageError):
        db.as_user({"openid": Sly("me")})
    notes = db.as_user({"openid": "nobody"}).collection("notes")
    for filter in (
        {"_openid": Sly("nobody")},
        {"_openid": Sly("me")},
        {Sly("_openid"): "nobody"},
        {"_id": Sly("theirs")},
    ):
        with pytest.raises((docdb.DeniedError, docdb.UsageError)):
            notes.find(filter).to_list() and (_ for _ in ()).throw(AssertionError)
            notes.find_one({"_id": "theirs"})


@pytest.mark.parametrize(
    "auth",
    ["me", ["me"], 1, True, {1: "me"}, {"openid": "\ud800"}, pytest.param({"a": object()}, id="object")],
    ids=repr,
)
def test_what_is_no_auth_is_refused(db, auth):
    with pytest.raises(docdb.UsageError):
        db.as_user(auth)


def test_who_somebody_is_does_not_change_with_the_dict_that_said_so(db):
    auth = {"openid": "me", "roles": ["a"]}
    user = db.as_user(auth)
    auth["openid"] = "you"
    auth["roles"].append("admin")
    assert [row["_id"] for row in user.collection("notes").find({"_openid": "{openid}"})] == ["mine"]


def test_a_template_is_replaced_only_as_a_whole_value_and_not_in_what_is_stored(db):
    notes = db.as_user(ME).collection("notes")
    assert notes.count_documents({"_openid": "{openid}"}) == 1
    notes.insert_one({"_id": "new", "text": "{openid}", "list": ["{openid}"]})
    notes.update_one({"_id": "mine"}, {"$set": {"text": "{openid}"}})
    stored = {row["_id"]: row for row in db["notes"].find({"_id": {"$in": ["new", "mine"]}})}
    assert stored["new"] == {"_id": "new", "text": "{openid}", "list": ["{openid}"], "_openid": "me"}
    assert stored["mine"]["text"] == "{openid}"


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, Decimal("1E+100000"), "\ud800", {"a\x00b": 1}, {"$a": 1}, {1: 1}], ids=repr
)
def test_values_that_cannot_be_stored_are_a_typed_error(db, value):
    notes = db.as_user(ME).collection("notes")
    with pytest.raises((docdb.UsageError, docdb.DeniedError)):
        notes.insert_one({"_id": "new", "text": value})
    with pytest.raises((docdb.UsageError, docdb.DeniedError)):
        notes.update_one({"_id": "mine"}, {"$set": {"text": value}})
    assert db["notes"].find_one("mine")["text"] == "mine"


@pytest.mark.parametrize(
    "text", ["doc.n < 5", "doc.n >= 5", "!(doc.n >= 5)", "!(doc.n < 5)", "doc.n == doc.n", "doc.n in [doc.n]"]
)
def test_nan_is_in_no_order(text):
    assert not allows(parse(text), Circumstances(auth=None, now=0, doc={"n": NAN}))


def test_an_empty_text_is_warned_of():
    for text in (
        "auth != null && auth.uid == ''",
        "auth != null && '' == auth.uid",
        "auth != null && '' in doc.readers",
    ):
        assert any("empty" in lint.message for lint in load({"read": text}).lints["read"]), text
    assert (
        load({"read": "auth != null && auth.uid == doc.owner && doc.text != '' && doc.name == ''"}).lints["read"] == ()
    )


def test_home_is_open_so_that_refusals_are_not_for_nothing(db):
    db.set_rules(HOME, {"read": True, "write": True})
    user_of(db, None).collection(HOME).insert_one({"_id": 1})
    assert user_of(db, None).collection(HOME).find_one(1) is not None
