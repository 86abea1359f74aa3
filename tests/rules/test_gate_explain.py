"""explain_access: what the developer is told of an access, which is not carried out."""

from __future__ import annotations

import asyncio

import pytest

import docdb
from docdb import UsageError

ANN, BOB = {"openid": "ann"}, {"openid": "bob"}
RULES = {
    "read": "auth != null && doc._openid == auth.openid",
    "create": "auth != null && doc.n <= 5",
    "update": "auth != null && doc._openid == auth.openid && !changed('kind')",
    "fields": {"secret": {"read": False, "write": "doc.n == 9"}},
}


@pytest.fixture
def db():
    denials = []
    with docdb.open(":memory:", on_denied=denials.append) as database:
        database["notes"].insert_one({"_id": 1, "_openid": "ann", "n": 1, "kind": "a", "secret": 1})
        database.set_rules("notes", RULES)
        yield database
    assert denials == []


CASES = [
    (ANN, ("read", {"id": 1}), True, "auth != null is true; doc._openid == auth.openid is true"),
    (BOB, ("read", {"id": 1}), False, "doc._openid == auth.openid is false"),
    (
        None,
        ("read", {"id": 1}),
        False,
        "auth != null is false",
    ),
    (BOB, ("read", {"id": 2}), False, "there is no such document, which the caller is not told"),
    (
        ANN,
        ("read", {"query": {"_openid": "{openid}"}}),
        True,
        "the query proves the rule, or is narrowed to what it allows",
    ),
    (ANN, ("read", {"query": {}}), False, "the query does not prove: doc._openid == auth.openid"),
    (ANN, ("read", {"query": {"_openid": "ann", "secret": 1}}), False, "the field 'secret' may not be spoken of"),
    (ANN, ("update", {"query": {"kind": "a"}}), False, "the query does not prove: doc._openid == auth.openid"),
    (ANN, ("update", {"id": 1, "document": {"_openid": "ann", "kind": "b"}}), False, "may not be written: secret"),
    (ANN, ("create", {"document": {"n": 9}}), False, "doc.n <= 5 is false"),
    (ANN, ("create", {"document": {"n": 1}}), True, "auth != null is true; doc.n <= 5 is true"),
    (ANN, ("delete", {"id": 1}), False, "there is no rule for it"),
]


@pytest.mark.parametrize(
    ("auth", "question", "allowed", "reason"), CASES, ids=[f"{auth}-{question}" for auth, question, *_ in CASES]
)
def test_an_access_is_explained(db, auth, question, allowed, reason):
    action, asked = question
    found = db.as_user(auth).explain_access(action, "notes", **asked)
    assert (found.allowed, found.reason) == (allowed, reason)
    assert bool(found) is allowed
    assert found.to_dict()["reason"] == reason
    assert reason in next(found.lines())


def test_it_tells_rule_version_and_missing_conjunct(db):
    found = db.as_user(ANN).explain_access("read", "notes", {"kind": "a"})
    assert (found.rule, found.version, found.missing) == (RULES["read"], 1, "doc._openid == auth.openid")
    found = db.as_user(ANN).explain_access("read", "notes", id=1)
    assert (found.hidden, list(found.traces)) == ({"secret"}, ["old"])
    assert any("doc._openid" in line and '"ann"' in line for line in found.lines())


def test_a_template_without_an_identity(db):
    found = db.as_user(None).explain_access("read", "notes", {"_openid": "{openid}"})
    assert (found.allowed, found.reason) == (False, "the query asks for the id of a caller that has none")


@pytest.mark.parametrize("name", ["others", "_secret"])
def test_what_has_no_rules(db, name):
    assert db.as_user(ANN).explain_access("read", name, {}).allowed is False


@pytest.mark.parametrize(
    ("action", "asked"),
    [("write", {"id": 1}), ("read", {}), ("read", {"id": 1, "query": {}}), ("create", {"id": 1}), ("create", {})],
    ids=repr,
)
def test_what_is_no_question(db, action, asked):
    with pytest.raises(UsageError):
        db.as_user(ANN).explain_access(action, "notes", **asked)


def test_it_agrees_with_what_is_done(db):
    for auth in (ANN, BOB, None):
        user = db.as_user(auth, on_denied=lambda denial: None)
        for query in ({}, {"_id": 1}, {"_openid": "ann"}, {"_openid": "bob"}, {"kind": "a"}):
            try:
                user["notes"].find(query).to_list()
                done = True
            except docdb.DeniedError:
                done = False
            assert user.explain_access("read", "notes", query).allowed is done


def test_tasks_ask_too():
    async def main():
        async with docdb.aio.open(":memory:") as db:
            await db.set_rules("notes", RULES)
            return (await db.as_user(ANN).explain_access("read", "notes", {})).missing

    assert asyncio.run(main()) == "doc._openid == auth.openid"
