"""What loads and is probably not meant: each lint finds its mistake and leaves right rules alone."""

import pytest

from docdb.rules.lints import constant, lints
from docdb.rules.parser import parse
from docdb.rules.ruleset import PRESETS, lint_all, load

AUTH = "auth is null for anonymous callers: write auth != null first, or they are denied by an error"


def found(text):
    return [(lint.place.column, lint.message) for lint in lints(parse(text))]


@pytest.mark.parametrize(
    "text",
    [
        "true || doc.x == 1",
        "doc.x == 1 || !false",
        "1 == 1",
        "'a' in ['a', 'b']",
        "doc.role != 'a' || doc.role != 'b'",
        "doc.n > 5 || doc.n <= 5",
        "doc.n < 10 || doc.x == 1 || doc.n > 3",
        "doc.a == 1 || !(doc.a == 1)",
        "doc.role not in ['a'] || doc.role not in ['b']",
        "auth == null || auth != null",
    ],
)
def test_always_true(text):
    assert (1, "this is always true") in found(text)
    assert constant(parse(text)) is True


@pytest.mark.parametrize(
    "text",
    [
        "doc.x == 1 && false",
        "1 == 2",
        "doc.role == 'a' && doc.role == 'b'",
        "doc.role == 'a' && doc.x && doc.role != 'a'",
        "doc.n > 5 && doc.n < 3",
        "doc.n > 5 && doc.n < 5",
        "doc.n == 1 && doc.n == '1'",
        "doc.role in ['a', 'b'] && doc.role not in ['a', 'b', 'c']",
        "doc.s < 'b' && doc.s > 'c'",
        "doc.flag && !doc.flag",
        "doc.n == true && doc.n > 1",
        "now < 5 && now > 7",
    ],
)
def test_always_false(text):
    assert (1, "this is always false") in found(text)
    assert constant(parse(text)) is False


@pytest.mark.parametrize(
    "text",
    [
        "doc.role == 'a' || doc.role == 'b'",
        "doc.role != 'a' && doc.role != 'b'",
        "doc.n > 5 && doc.n < 5.1",
        "doc.n >= 5 && doc.n <= 5",
        "doc.n < 5 || doc.n > 5",
        "doc.n < 5 || doc.n >= 6",
        "doc.s >= 'b' && doc.s < 'c'",
        "doc.s > 'b' && doc.s < 'ba'",
        "doc.a == 1 && doc.b == 2",
        "doc.a == 1 && doc['a'] == 1",
        "doc.x == undefined || doc.x == 1",
        "!exists(doc.x) || doc.x == null",
        "doc.x == [] || doc.x == {}",
        "doc.flag || !doc.other",
        "true",
        "doc.end > doc.begin && doc.begin > doc.end",
        "doc.x in [doc.y]",
        "auth == null || auth.uid == doc.owner",
        "auth != null && (doc.owner == auth.uid || auth.uid in doc.team)",
        "auth.openid != null && doc._openid == auth.openid",
        "auth != null && get('database.roles.' + auth.uid) != null",
        "request.data.size == 1",
        "doc.tags.size() < 10",
    ],
)
def test_right_rules_are_left_alone(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("doc.b && (doc.a == 1 && doc.a == 2)", 1, "this is always false"),
        ("doc.b || (doc.a == 1 && doc.a == 2)", 11, "this is always false"),
        ("doc.b || !(doc.a != 1 || doc.a != 2)", 10, "this is always false"),
        ("doc.x == 1 && 1 == '1'", 15, "a number never equals a string"),
        ("now == '2026-01-01'", 1, "a number never equals a string"),
        ("`a${doc.x}` != 5", 1, "a string never equals a number, so this is always true"),
        ("auth == 'me'", 1, "an object never equals a string"),
        ("doc == null", 1, "an object never equals null"),
        ("get('database.a.b') == true", 1, "an object never equals a bool"),
        ("doc.tags.size() == '3'", 1, "a number never equals a string"),
        ("doc.x in []", 1, "nothing is in an empty list"),
        ("!doc.x in ['a', 'b']", 1, "a bool is none of these; write !(x in [...])"),
        ("now in ['a', null]", 1, "a number is none of these"),
        ("doc.owner == auth.uid", 14, AUTH),
        ("auth.uid in doc.team || auth != null", 1, AUTH),
        ("(auth != null || doc.open) && doc.owner == auth.uid", 44, AUTH),
        ("auth == null && doc.owner == auth.uid", 30, AUTH),
        ("auth != null && doc.a || doc.b == auth.uid", 35, AUTH),
    ],
)
def test_each_lint_stands_at_its_place(text, column, message):
    assert (column, message) in found(text)


def test_lints_come_in_the_order_of_the_text():
    columns = [column for column, _ in found("doc.x in [] || auth.uid == '' || 1 == '1'")]
    assert columns == sorted(columns) and len(columns) > 2


def test_presets_have_no_lints():
    assert [lint for preset in PRESETS for row in load(preset).lints.values() for lint in row] == []


def test_a_write_that_three_keys_shadow():
    rules = load({"write": "auth != null", "create": True, "update": False, "delete": False})
    assert [lint.message for lint in rules.lints["write"]] == [
        "create, update and delete have rules of their own, so write is never asked"
    ]
    assert load({"write": "auth != null", "create": True, "update": False}).lints["write"] == ()


ROLES = "auth != null && get('database.roles.' + auth.uid).role == 'admin'"


@pytest.mark.parametrize(
    ("roles", "key"),
    [
        ({"read": True, "write": "auth != null"}, "write"),
        ({"create": "auth != null"}, "create"),
        ({"write": False, "delete": "auth != null"}, "delete"),
        ("PRIVATE", "write"),
        ({"write": "doc.a == 1 || doc.b == 2"}, "write"),
    ],
)
def test_a_get_of_a_collection_that_users_may_write(roles, key):
    rules = {"posts": load({"read": True, "update": ROLES, "fields": {"x": {"read": ROLES}}}), "roles": load(roles)}
    message = f"users may write roles (its rule for {key}), and this rule trusts what it finds there"
    found = lint_all(rules)["posts"]
    assert {name: [(lint.place.column, lint.message) for lint in row] for name, row in found.items()} == {
        "read": [], "update": [(17, message)], "fields.x.read": [(17, message)],
    }  # fmt: skip


@pytest.mark.parametrize("roles", ["ADMINWRITE", "ADMINONLY", {}, {"read": True, "write": "doc.a == 1 && doc.a == 2"}])
def test_a_get_of_a_collection_that_only_administrators_write(roles):
    rules = {"posts": load({"update": ROLES}), "roles": load(roles)}
    assert lint_all(rules)["posts"]["update"] == ()


def test_a_get_of_a_collection_without_rules():
    assert lint_all({"posts": load({"update": ROLES})}) == {"posts": {"update": ()}}


def test_lints_of_a_long_rule_are_quick_enough_to_be_asked_at_every_load():
    names = " || ".join(f"doc.a == 'x{number}'" for number in range(55))
    assert found(names) == []
