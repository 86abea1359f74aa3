"""A rule as a filter: the same verdict as the evaluator's, in a form that an index serves."""

import pytest

from docdb.language import tree
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.rules.compiled import compiled
from docdb.rules.constraint import constraint
from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.judging import judge, needs_images
from docdb.rules.parser import parse
from docdb.rules.spelling import spell
from docdb.store import codec
from tests.rules.readers import Rows
from tests.rules.test_language import ME

NO_ARRAY = frozenset({"array"})
OWN = tree.And((tree.Compare(("_openid",), "eq", "me"), tree.Not(tree.TypeIs(("_openid",), NO_ARRAY))))


def about(doc=None, auth=ME, **more):
    return Circumstances(auth=auth, now=1000, doc=doc, **more)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("true", tree.TRUE),
        ("false", tree.FALSE),
        ("auth.openid == 'me'", tree.TRUE),
        ("auth.nothing != 'x'", tree.FALSE),
        ("doc._openid == auth.nothing", tree.FALSE),
        ("auth.openid == doc._openid", OWN),
        ("auth != null && doc._openid == auth.openid", OWN),
        ("auth == null || doc._openid == auth.openid", OWN),
        ("!(doc._openid != auth.openid)", OWN),
        ("exists(doc.a)", tree.Exists(("a",))),
        ("doc.a == undefined", tree.Not(tree.Exists(("a",)))),
        ("'x' in doc.a", tree.And((tree.TypeIs(("a",), NO_ARRAY), tree.Compare(("a",), "eq", "x")))),
        ("'5' > doc.a", tree.And((tree.Compare(("a",), "lt", "5"), tree.Not(tree.TypeIs(("a",), NO_ARRAY))))),
    ],
)
def test_the_filter_of_a_rule(text, node):
    assert constraint(parse(text), about()) == node


def test_nobody_is_not_the_owner_of_anything():
    assert constraint(parse("auth.openid == doc._openid"), about(auth=None)) == tree.FALSE


def test_a_get_without_the_document_is_read_once():
    rows = Rows(roles=[{"_id": "r", "_openid": "me", "role": "admin"}])
    text = "doc.a == 1 || get('database.collection.roles').where({_openid: auth.openid, role: 'admin'}).size() > 0"
    assert constraint(parse(text), about(reader=rows)) == tree.TRUE
    assert rows.reads == 1


def test_a_get_that_the_document_steers_is_read_once_for_each_key():
    rows = Rows(shops=[{"_id": "s", "owner": "me"}])
    matches = matcher(constraint(parse("get(`database.shops.${doc.shop}`).owner == auth.openid"), about(reader=rows)))
    assert [matches({"shop": name}) for name in ("s", "t", "s", "t", 1)] == [True, False, True, False, False]
    assert rows.reads == 2


@pytest.mark.parametrize(
    "text",
    [
        "doc.a == 1", "doc.a != 1", "!(doc.a == 1)", "doc.a < 2", "!(doc.a < 2)", "doc.a in [1, 'x', null]", "!(doc.a in [1, null])",
        "1 in doc.a", "!(1 in doc.a)", "null in doc.a", "doc.a", "!doc.a", "doc.a == null", "doc.a.b == 1", "doc.a.b == undefined",
        "doc.a[0] == 1", "default(doc.a, 1) == 1", "!default(doc.a, false)", "default(doc.a.b, 1) == 1", "doc.a == [1]", "doc.a == {b: 1}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "value",
    [1, 1.0, 2, True, False, None, "x", [], [1], [None], {"b": 1}, {"b": [1]}, [{"b": 1}], float("nan")],
    ids=repr,
)
def test_the_filter_the_program_and_the_judge_say_what_the_evaluator_says(text, value):
    rule, document = parse(text), {"_id": 1, "a": value}
    law = allows(rule, about(document))
    node = constraint(rule, about())
    assert matcher(node)(document) is law
    stored = codec.encode(document)
    program = compile_program(node)
    assert program is None or program.match(stored) in (law, 2)
    assert bool(judge(rule, about())(stored)) is law


def test_without_a_rule_nothing_is_allowed():
    assert not judge(None, about())(codec.encode({"_id": 1}))


@pytest.mark.parametrize(
    ("text", "document", "verdict"),
    [
        ("doc._openid == auth.openid && request.data.a == 1", {"_id": 1, "_openid": "me", "a": 1}, True),
        ("doc._openid == auth.openid && request.data.a == 1", {"_id": 1, "_openid": "me", "a": 2}, False),
        ("changed('a') && !changed('b')", {"_id": 1, "a": 1}, True),
        ("changed('a') && !changed('b')", {"_id": 1, "a": 1, "b": 1}, False),
        ("request.data != undefined && default(request.data.a, 1) == doc.a", {"_id": 1, "a": 1}, True),
        ("request.data.x[doc.a] == 1", {"_id": 1, "a": "b", "x": {"b": 1}}, True),
    ],
)
def test_what_is_created_is_document_and_request_at_once(text, document, verdict):
    rule = parse(text)
    assert allows(rule, about(document, new=document)) is verdict
    assert bool(judge(rule, about(), creating=True)(codec.encode(document))) is verdict


@pytest.mark.parametrize(
    "text",
    [
        "doc.a == 'it\\'s' && !(doc.b > -1.5 || doc.c in [1, 'x', null])",
        "get(`database.shops.${doc.shop}`).owner[auth.uid] != undefined",
        "get('database.collection.roles').where({a: 1, 'b c': [true]}).size() + 1 > 2",
        "!!doc.a && (doc.a + doc.b) + 1 == doc.c + (1 + doc.d) && (doc.x == 1) == (doc.y == 2)",
    ],
)
def test_a_rule_is_spelt_so_that_it_means_the_same(text):
    spelt = spell(parse(text))
    assert spell(parse(spelt)) == spelt
    document = {"a": "it's", "b": -2, "c": 3, "shop": "s", "x": 1, "y": 2}
    assert allows(parse(text), about(document)) is allows(parse(spelt), about(document))


def test_spelling_keeps_what_needs_no_parentheses_free_of_them():
    assert spell(parse("((doc.a)==1)&&(doc.b||(doc.c&&doc.d))")) == "doc.a == 1 && (doc.b || doc.c && doc.d)"


def test_a_compiled_rule_is_kept_for_equal_auth_only():
    rule = parse("doc.owner == auth.id")
    auth = {"id": "x"}
    before = constraint(rule, about(auth=auth)), compiled(rule, about(auth=auth)).node
    auth["id"] = "y"
    after = constraint(rule, about(auth=auth)), compiled(rule, about(auth=auth)).node
    assert before[0] == before[1] != after[0] == after[1]
    assert compiled(rule, about(auth={"id": "x"})) is compiled(rule, about(auth={"id": "x"}))
    assert compiled(rule, about(auth={"id": 1})) is not compiled(rule, about(auth={"id": True}))
    assert compiled(rule, about(auth={"id": 1})) is not compiled(rule, about(auth={"id": 1.0}))
    assert compiled(rule, about(auth={"id": [1]})) is compiled(rule, about(auth={"id": [1]}))
    assert compiled(rule, about(auth={"id": [1]})) is not compiled(rule, about(auth={"id": [True]}))
    assert compiled(rule, about(auth={"id": {}})) is not compiled(rule, about(auth={"id": {}}))


@pytest.mark.parametrize("text", ["doc.n < now", "get('database.shops.s').owner == 'me'", "request.data.a == 1"])
def test_a_rule_that_reads_more_than_auth_is_compiled_anew(text):
    rule = parse(text)
    assert compiled(rule, about()) is not compiled(rule, about())


def test_a_rule_for_a_create_is_kept_though_it_reads_the_request():
    rule = parse("doc.a == 1 && request.data.b == 2 && changed('c')")
    assert compiled(rule, about(), creating=True) is compiled(rule, about(), creating=True)
    assert compiled(rule, about()) is not compiled(rule, about())


@pytest.mark.parametrize(
    ("text", "needed"), [("doc.a == auth.openid", False), ("doc.a == request.data.a", True), ("!changed('a')", True)]
)
def test_whether_a_rule_needs_both_images(text, needed):
    assert needs_images(parse(text)) is needed
    assert not needs_images(None)
