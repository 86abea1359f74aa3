"""The rule language: what loads, what is refused and where, and what the reference evaluation says."""

import itertools
import random

import pytest

from docdb.errors import RuleError
from docdb.rules.checker import check
from docdb.rules.evaluator import Circumstances, Failure, allows, evaluate
from docdb.rules.lints import lints
from docdb.rules.parser import MAX_LENGTH, parse
from docdb.rules.ruleset import ACTIONS, PRESETS, load
from tests.rules.readers import Rows

ME = {"openid": "me", "uid": "me"}
CLOUDBASE = {
    "read": True,
    "write": "auth.openid != null",
    "create": "auth.openid != null && doc._openid == auth.openid",
    "update": "auth.openid != null && ((doc._openid == auth.openid) || (get('database.collection.roles')"
    ".where({_openid: auth.openid, role: 'admin'}).size() > 0))",
    "delete": "auth.openid != null && get('database.collection.roles').where({_openid: auth.openid, role: 'admin'}).size() > 0",
}


def verdict(text, doc=None, auth=ME, **more):
    tree = parse(text, max_length=100_000)
    check(text, tree, "update")
    return allows(tree, Circumstances(auth=auth, now=1000, doc={} if doc is None else doc, **more))


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("doc._openid == auth.openid", {"_openid": "me"}),
        ("doc.n == 1", {"n": 1.0}),
        ("doc.n > 9007199254740992.0", {"n": 2**53 + 1}),
        ("'' in doc.readers", {"readers": ["a", ""]}),
        ("!(doc.role in ['a', 'b'])", {"role": "c"}),
        ("doc['a'].b[1] == 2", {"a": {"b": [1, 2]}}),
        ("doc.x == undefined && !exists(doc.x)", {}),
        ("doc.x != undefined", {"x": None}),
        ("default(doc.n, 5) + 1 == 6", {}),
        ("doc.last + 600 < now", {"last": 1}),
        ("`a${doc.x}c` == 'abc'", {"x": "b"}),
        ("doc.in == 1 && doc.true == 2", {"in": 1, "true": 2}),
        ("doc.tags.size() == 2 && doc.name.size() == 3", {"tags": [1, 2], "name": "abc"}),
        ("doc.a == 1 || doc.b == 1 && doc.c == 1", {"a": 1, "b": 0, "c": 0}),
        ("doc.o == {a: 1, 'b c': [true]}", {"o": {"a": 1, "b c": [True]}}),
        ("-1 == doc.n", {"n": -1}),
    ],
)
def test_allows(text, doc):
    assert verdict(text, doc)


@pytest.mark.parametrize(
    ("text", "doc", "auth"),
    [
        ("auth.openid == doc._openid", {}, None),
        ("auth.openid == doc._openid", {}, {"uid": "web"}),
        ("auth.openid == doc._openid", {"_openid": None}, {"uid": "web"}),
        ("doc.owner == auth", {"owner": None}, ME),
        ("doc.role == true", {"role": 1}, ME),
        ("doc.role == 1", {"role": True}, ME),
        ("doc.role == '1'", {"role": 1}, ME),
        ("doc.n < 5", {"n": float("nan")}, ME),
        ("!(doc.n >= 5)", {"n": float("nan")}, ME),
        ("doc.n == doc.n", {"n": float("nan")}, ME),
        ("!(doc.n < 5)", {"n": "9"}, ME),
        ("doc.blocked != true", {}, ME),
        ("!doc.blocked", {}, ME),
        ("!(doc.x in ['a'])", {}, ME),
        ("!('a' in doc.x)", {"x": "abc"}, ME),
        ("doc.x", {"x": 1}, ME),
        ("doc.x", {"x": "true"}, ME),
        ("doc.a.b == undefined", {}, ME),
        ("doc.__class__ != null", {}, ME),
        ("doc['__init__'] != null", {}, ME),
        ("doc.items != null", {}, ME),
        ("doc.list[true] == 2", {"list": [1, 2]}, ME),
        ("doc.list[-1] == 2", {"list": [1, 2]}, ME),
        ("doc._openid == auth.openid", {"_openid": ["me"]}, ME),
        ("doc.name == 'k'", {"name": "\u212a"}, ME),
        ("`${doc.n}` == '1'", {"n": 1}, ME),
        ("get('database.a.' + auth.uid).x == 1", {}, ME),
        ("exists(get('database.a.' + auth.uid).x) == false", {}, ME),
    ],
)
def test_denies(text, doc, auth):
    assert not verdict(text, doc, auth)


@pytest.mark.parametrize(("operator", "decisive"), [("&&", False), ("||", True)])
def test_the_order_of_terms_never_changes_the_verdict(operator, decisive):
    words = {True: "true", False: "false", None: "doc.missing"}
    for left, right in itertools.product(words, repeat=2):
        outcomes = [
            _outcome(f"{words[one]} {operator} {words[other]}") for one, other in ((left, right), (right, left))
        ]
        known = decisive if decisive in (left, right) else None if None in (left, right) else not decisive
        assert outcomes == [known, known]


def _outcome(text):
    try:
        return evaluate(parse(text), Circumstances(auth=None, now=0, doc={}))
    except Failure:
        return None


def test_a_negation_never_turns_an_error_into_a_permission():
    rng = random.Random(5)
    for _ in range(500):
        inner = " && ".join(rng.choice(["doc.a == 1", "doc.missing == 1", "true", "doc.a < 'x'"]) for _ in range(3))
        assert not (verdict(inner, {"a": 1}) and verdict(f"!({inner})", {"a": 1}))
        assert not verdict(f"!(doc.missing || {inner})", {"a": 1})


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("doc.x === 1", 1, 9),
        ("a &&\n  &&", 2, 3),
        ("true &&", 1, 8),
        ("user.x == 1", 1, 1),
        ("doc.a == 1 == 2", 1, 12),
        ("doc.a\u200b", 1, 6),
        ("\ufeffdoc.a", 1, 1),
        ("true // \u202e", 1, 9),
        ("doc.\u212a == 1", 1, 5),
        ("'doc", 1, 1),
        ("`a${doc.x`", 1, 1),
        ("`a${foo}` == 'a'", 1, 5),
        ("get(doc.x)", 1, 5),
        ("get(`database.${doc.c}.x`).y", 1, 5),
        ("get('database.collection.' + doc.c).size() > 0", 1, 5),
        ("get('database.' + doc.c).size() > 0", 1, 5),
        ("get('database._rules.x').y", 1, 5),
        ("get('database.a').where({$where: 1}).exists()", 1, 26),
        ("get('database.a').where({'$where': 1}).exists()", 1, 25),
        ("doc.where({a: 1}).exists()", 1, 1),
        ("doc.x.test('a')", 1, 1),
        ("eval('1')", 1, 1),
        ("request.auth == null", 1, 1),
        ("request == null", 1, 1),
        ("undefined == undefined", 1, 1),
        ("doc.a + true == 1", 1, 1),
        ("1 && true", 1, 1),
        ("'a'", 1, 1),
        ("changed(doc.x)", 1, 9),
        ("9223372036854775808 == doc.n", 1, 1),
        ("1e999 == doc.n", 1, 1),
        ("{a: 1, a: 2} == doc.x", 1, 1),
        ("get('database.a.b').x == get('database.a.c').x && get('database.a.d').x == get('database.a.e').x", 1, 76),
        ("get('database.a.' + get('database.a.' + get('database.a.b').x).x).x == 1", 1, 41),
    ],
)
def test_a_mistake_is_found_when_loaded(text, line, column):
    with pytest.raises(RuleError) as caught:
        load({"update": text})
    assert (caught.value.path, caught.value.line, caught.value.column) == ("update", line, column)


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "!" * 100_000, "- " * 50_000, "a" * (MAX_LENGTH + 1)], ids=["(", "!", "-", "a"]
)
def test_a_text_that_is_too_long_is_refused(text):
    with pytest.raises(RuleError, match="at most 1024 characters"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "!" * 100_000, "- " * 50_000, "[{(" * 30_000], ids=["(", "!", "-", "mixed"]
)
def test_a_text_that_nests_too_deep_is_refused_before_it_is_parsed(text):
    with pytest.raises(RuleError, match="nests at most"):
        parse(text, max_length=1_000_000)


def test_a_long_chain_is_refused():
    with pytest.raises(RuleError, match="chains"):
        parse(" && ".join(["true"] * 500), max_length=100_000)


def test_random_texts_load_or_raise_rule_errors():
    rng = random.Random(11)
    words = [
        "doc",
        "doc.b",
        ".",
        "a",
        "(",
        ")",
        "&&",
        "||",
        "==",
        "'x'",
        "1",
        "!",
        "[",
        "]",
        "in",
        "`",
        "${",
        "}",
        "{",
        ":",
        ",",
        "get",
        " ",
        "\r",
    ]
    refused = 0
    for _ in range(3000):
        text = "".join(rng.choice(words) for _ in range(rng.randint(1, 12)))
        try:
            load({"read": text})
        except RuleError:
            refused += 1
    assert 0 < refused < 3000


@pytest.mark.parametrize(
    "rules", [{"read:": True}, {"Read": True}, {"read": 1}, {"read": None}, {"read": ""}, [], "PUBLIC"]
)
def test_a_wrong_rule_object_is_refused(rules):
    with pytest.raises(RuleError):
        load(rules)


@pytest.mark.parametrize("action", [*ACTIONS, "write", "watch", ""])
def test_without_a_rule_everything_is_denied(action):
    assert not load({}).allows(action, Circumstances(auth=ME, now=0, doc={}))


@pytest.mark.parametrize(
    ("preset", "mine", "foreign"),
    [
        ("READONLY", [True, True, True, True], [True, False, False, False]),
        ("PRIVATE", [True, True, True, True], [False, False, False, False]),
        ("ADMINWRITE", [True, False, False, False], [True, False, False, False]),
        ("ADMINONLY", [False, False, False, False], [False, False, False, False]),
    ],
)
def test_presets(preset, mine, foreign):
    assert preset in PRESETS
    verdicts = [
        [load(preset).allows(action, Circumstances(auth=ME, now=0, doc={"_openid": owner})) for action in ACTIONS]
        for owner in ("me", "you")
    ]
    assert verdicts == [mine, foreign]


@pytest.mark.parametrize(("role", "allowed"), [("admin", True), ("reader", False)])
def test_the_cloudbase_rules_read_as_they_stand(role, allowed):
    reader = Rows(roles=[{"_id": "1", "_openid": "me", "role": role}])
    about = Circumstances(auth=ME, now=0, doc={"_openid": "you"}, reader=reader)
    assert load(CLOUDBASE).allows("read", about)
    assert not load(CLOUDBASE).allows("create", about)
    assert load(CLOUDBASE).allows("update", about) is allowed
    assert load(CLOUDBASE).allows("delete", about) is allowed


def test_a_get_is_read_once_and_ten_are_the_most():
    reader = Rows(shops=[{"_id": "s", "owner": "me", "open": True}])
    text = "get(`database.shops.${doc.shop}`).owner == auth.openid && get('database.shops.' + doc.shop).open"
    assert verdict(text, {"shop": "s"}, reader=reader)
    assert reader.reads == 1
    memo = {("document", "shops", str(number)): None for number in range(10)}
    assert not verdict(text, {"shop": "s"}, reader=reader, memo=memo)


@pytest.mark.parametrize("shop", [1, None, "", ["s"], {"$ne": ""}])
def test_an_id_from_a_document_is_a_string(shop):
    reader = Rows(shops=[{"_id": "1", "open": True}, {"_id": "", "open": True}])
    assert not verdict("get('database.shops.' + doc.shop).open", {"shop": shop}, reader=reader)
    assert not verdict("get(`database.shops.${doc.shop}`).open", {"shop": shop}, reader=reader)


def test_an_operator_in_a_value_of_where_stays_a_value():
    reader = Rows(roles=[{"_id": "1", "role": "admin"}])
    assert not verdict("get('database.roles').where({role: doc.x}).exists()", {"x": {"$gt": ""}}, reader=reader)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ({"p": {"r": 1}}, {"p": {"r": 1}, "x": 2}, False),
        ({"p": {"r": 1}}, {"p": {"r": True}}, True),
        ({"p": {"r": 1}}, {"p": {}}, True),
        (None, {"p": {"r": 1}}, True),
        (None, {}, False),
    ],
)
def test_changed_compares_old_and_new(old, new, changed):
    assert verdict("changed('p.r')", old=old, new=new) is changed
    assert verdict("!changed('p.r')", old=old, new=new) is not changed


def test_fuel_ends_a_rule_that_compares_too_much():
    assert not verdict("!(1 in doc.x)", {"x": [0] * 20_000})
    deep = []
    for _ in range(4000):
        deep = [deep]
    assert not verdict("!(doc.x == doc.x)", {"x": deep})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true || doc.x == 1", "always true"),
        ("doc.x == 1 && false", "always false"),
        ("doc.x == auth.openid", "anonymous"),
        ("1 == '1' && doc.x == 1", "never equals"),
    ],
)
def test_lints(text, message):
    assert [lint.message for lint in lints(parse(text)) if message in lint.message]
    assert lints(parse("auth != null && doc.x == auth.openid")) == []


def test_a_write_that_is_never_asked_is_linted():
    assert "never asked" in load(CLOUDBASE).lints["write"][0].message
