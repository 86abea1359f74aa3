"""What one set of rules allows and another denies."""

import pytest

from docdb.rules.difference import differences
from docdb.rules.ruleset import load
from docdb.rules.verdicts import is_allowed, judge

OWNER = "auth != null && doc.owner == auth.uid"


def found(old, new, **more):
    return list(differences(load(old), load(new), **more))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("false", "true"),
        (OWNER, "doc.owner == 'ann'"),
        (OWNER, f"{OWNER} || doc.public == true"),
        (OWNER, "auth != null"),
        (OWNER, "auth != null && (doc.owner == auth.uid || doc.level > 17 && doc.level < 19)"),
        ("doc.state in ['a', 'b']", "doc.state in ['a', 'b', 'c']"),
        ("doc.n > 10", "doc.n >= 10"),
        ("doc.at < now", "doc.at <= now + 10"),
        ("doc.x == null", "doc.x == null || doc.x == undefined"),
        ("exists(doc.x) && doc.x == 'a'", "exists(doc.x)"),
        ("doc.role == 1", "doc.role == 1 || doc.role == true"),
        ("auth.uid in doc.team", "auth.uid in doc.team || auth.uid == doc.team"),
        ("doc.members[auth.uid] == 'admin'", "doc.members[auth.uid] != null"),
        ("get('database.roles.' + auth.uid).role == 'admin'", "get('database.roles.' + auth.uid).role in ['admin', 'editor']"),
        ("get('database.roles').where({who: auth.uid, role: 'admin'}).exists()", "get('database.roles').where({who: auth.uid}).exists()"),
        ("get('database.bans.' + auth.uid) == null && auth != null", "auth != null"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", ["read", "delete"])
def test_a_difference_is_found_and_true(old, new, action):
    [difference] = found({action: old}, {action: new})
    assert (difference.action, difference.field) == (action, None)
    assert difference.allowed.allowed and not difference.denied.allowed


def test_what_is_found_is_cut_down():
    [difference] = found({"read": OWNER}, {"read": f"{OWNER} || doc.public == true && doc.a != 1"})
    assert difference.old is not None
    assert difference.old.keys() == {"_id", "public", "a"}
    assert difference.auth is None
    assert difference.denied.reason.startswith("auth != null is false")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"read": OWNER}, {"read": OWNER}),
        ({"read": "auth != null"}, {"read": OWNER}),
        ({"read": True}, {"read": False}),
        ({"read": True, "write": True}, {}),
        ({"read": OWNER}, {"read": "doc.owner == auth.uid && auth != null"}),
        ({"update": f"{OWNER} && !changed('owner')"}, {"update": OWNER}),
        ({"write": True}, {"write": True, "fields": {"x": {"write": False}}}),
    ],
)
def test_where_there_is_none_nothing_is_found(old, new):
    assert found(old, new, attempts=5) == []


def test_updates_see_both_images():
    [difference] = found({"update": "auth != null && request.data.n == doc.n"}, {"update": "auth != null"}, attempts=20)
    assert difference.old is not None and difference.new is not None


def test_write_is_each_of_its_actions():
    assert [difference.action for difference in found({"write": "false"}, {"write": "doc.a == 1"})] == [
        "create",
        "update",
        "delete",
    ]


def test_a_field_that_is_shown_now():
    rules = {"read": True, "fields": {"salary": {"read": "doc.owner == auth.uid"}, "x": {"read": False}}}
    opened = {"read": True, "fields": {"salary": {"read": "auth != null"}, "x": {"read": False}}}
    [difference] = found(rules, opened)
    assert (difference.action, difference.field) == ("read", "salary")
    assert "salary" in difference.denied.hidden - difference.allowed.hidden


def test_a_field_that_may_be_written_now():
    actions = [
        row.action
        for row in found({"write": "auth != null", "fields": {"state": {"write": False}}}, {"write": "auth != null"})
    ]
    assert actions == ["create", "update"]


def test_the_same_seed_finds_the_same():
    old, new = {"read": OWNER}, {"read": "auth != null && doc.owner != 'bob'"}
    assert found(old, new, seed=3) == found(old, new, seed=3)


def test_the_short_verdict_is_the_long_one():
    rules = load({"write": "doc.n > 1", "read": "doc.n == 5", "fields": {"x": {"write": "auth != null"}}})
    for difference in found({}, {"write": "doc.n > 1", "read": "doc.n == 5"}):
        from docdb.rules.evaluator import Circumstances

        about = Circumstances(auth=difference.auth, now=0, old=difference.old, new=difference.new)
        assert is_allowed(rules, difference.action, about) is judge(rules, difference.action, about).allowed
