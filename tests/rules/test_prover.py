"""Which queries run under a rule, with which conditions more, and what a refusal names."""

import pytest

from docdb.language import tree
from docdb.language.collation import parse_collation
from docdb.language.filters import parse as parse_filter
from docdb.language.matching import matcher
from docdb.rules import prover
from docdb.rules.evaluator import Circumstances
from docdb.rules.parser import parse
from docdb.rules.prover import decide
from tests.rules.readers import Rows
from tests.rules.test_language import ME

SHOPS = {"shops": [{"_id": "s", "owner": "me"}, {"_id": "t", "owner": "you"}, {"_id": "u", "owner": "me"}]}


def decided(text, query, auth=ME, collation=None, **more):
    about = Circumstances(auth=auth, now=1000, reader=Rows(**SHOPS))
    return decide(parse(text), about, parse_filter(query, collation=parse_collation(collation)), **more)


OWN = "auth != null && doc._openid == auth.openid"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("true", {}),
        (OWN, {"_openid": "me"}),
        (OWN, {"$and": [{"_openid": "me"}, {"$or": [{"a": 1}, {"b": 2}]}]}),
        (OWN, {"$or": [{"_openid": "me", "a": 1}, {"_openid": {"$in": ["me"]}}]}),
        (OWN, {"_openid": "me", "$nor": [{"a": 1}]}),
        (OWN, {"$and": [{"_openid": "me"}, {"_openid": "you"}]}),
        ("doc.age > 10", {"age": 15}),
        ("doc.age > 10", {"age": {"$gt": 15}}),
        ("doc.age > 10 && doc.age < 20", {"age": {"$gte": 11, "$lte": 19}}),
        ("doc.age > 10 && doc.age < 20", {"age": {"$in": [11, 12.5]}}),
        ("doc.age >= 10", {"age": {"$not": {"$lt": 10}, "$type": "number", "$gt": float("-inf")}}),
        ("doc.age < 10 || doc.age > 20", {"age": {"$in": [5, 25]}}),
        ("doc.age < 10 || doc.age >= 10", {"age": {"$gt": 0}}),
        ("doc.status in ['open', 'done']", {"status": {"$in": ["done", "open"]}}),
        ("doc.status != 'draft'", {"status": {"$ne": "draft"}}),
        ("doc.status != 'draft'", {"status": {"$nin": ["draft", "x"]}}),
        ("!(doc.status == 'draft')", {"status": "open"}),
        ("doc.public == true || doc._openid == auth.openid", {"public": True}),
        ("doc.public == true || doc._openid == auth.openid", {"$or": [{"public": True}, {"_openid": "me"}]}),
        ("doc.status == 'a' && doc.x == 1 || doc.status == 'b'", {"status": {"$in": ["a", "b"]}, "x": 1}),
        ("doc.a.b == 1", {"a.b": 1}),
        ("exists(doc.a)", {"a": {"$gt": 3}}),
        ("exists(doc.a)", {"a": {"$exists": True}}),
        ("doc.a == undefined", {"a": {"$exists": False}}),
        ("doc.a == null", {"a": None}),
        ("doc.a == null", {"a": {"$type": "null"}}),
        ("default(doc.hidden, false) == false", {"hidden": {"$exists": False}}),
        ("default(doc.hidden, false) == false", {"hidden": {"$in": [False]}}),
        ("'me' in doc.members", {"members": "me"}),
        ("'me' in doc.members", {"members": {"$all": ["me", "you"]}}),
        ("'me' in doc.members", {"members": {"$elemMatch": {"$eq": "me"}}}),
        ("!('me' in doc.members)", {"members": {"$ne": "me"}}),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {"shop": "s"}),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {"shop": {"$in": ["s", "u"]}}),
        ("get('database.shops.' + doc.shop).owner == auth.openid && doc.a > 1", {"shop": "s", "a": 2}),
        ("doc._id == 'x'", {"_id": "x"}),
        ("exists(doc._id) && doc._id != 'x'", {"_id": {"$ne": "x"}}),
        (OWN, {"_openid": {"$gte": "me", "$lte": "me"}}),
    ],
)
def test_allowed(text, query):
    assert decided(text, query).allowed


@pytest.mark.parametrize(
    ("text", "query", "missing"),
    [
        ("false", {}, "false"),
        ("auth == null", {}, "auth == null"),
        (OWN, {}, "doc._openid == auth.openid"),
        (OWN, {"_openid": "you"}, "doc._openid == auth.openid"),
        (OWN, {"_openid": {"$in": ["me", "you"]}}, "doc._openid == auth.openid"),
        (OWN, {"$or": [{"_openid": "me"}, {"a": 1}]}, "doc._openid == auth.openid"),
        (OWN, {"$nor": [{"_openid": {"$ne": "me"}, "a": 1}]}, "doc._openid == auth.openid"),
        (OWN, {"_openid": {"$ne": None}}, "doc._openid == auth.openid"),
        (OWN, {"$expr": {"$eq": ["$_openid", "me"]}}, "doc._openid == auth.openid"),
        (OWN, {"_openid": {"$regex": "^me$"}}, "doc._openid == auth.openid"),
        (OWN, {"a": 1, "_openid.0": "me", "b": {"_openid": "me"}, "b._openid": "me"}, None),
        ("doc.age > 10", {"age": {"$gt": 8}}, "doc.age > 10"),
        ("doc.age > 10", {"age": {"$ne": 5}}, "doc.age > 10"),
        ("doc.age > 10", {"age": "15"}, "doc.age > 10"),
        ("doc.age > 10 && doc.name == 'x'", {"age": 11}, "doc.name == 'x'"),
        ("doc.role == 1", {"role": True}, "doc.role == 1"),
        ("doc.role == true", {"role": 1}, "doc.role == true"),
        ("exists(doc.a)", {"b": 1}, "exists(doc.a)"),
        ("doc.a == doc.b", {"a": 1, "b": 1}, "doc.a == doc.b"),
        ("'me' in doc.members", {"members": {"$in": ["me", "you"]}}, "'me' in doc.members"),
        ("'me' in doc.members", {"members": {"$size": 1}}, "'me' in doc.members"),
        ("!('me' in doc.members)", {"members": "you"}, "!('me' in doc.members)"),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {"shop": "t"}, None),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {"shop": {"$in": ["s", "t"]}}, None),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {"shop": {"$gt": "s"}}, None),
        ("get(`database.shops.${doc.shop}`).owner == auth.openid", {}, None),
        ("doc.a.b == 1", {"a": {"b": 1}}, "doc.a.b == 1"),
        ("doc.a.b == 1", {"a.b.0": 1}, "doc.a.b == 1"),
    ],
)
def test_refused(text, query, missing):
    decision = decided(text, query)
    assert not decision.allowed
    assert decision.node == tree.FALSE
    assert missing is None or decision.missing == missing


@pytest.mark.parametrize(
    ("text", "query", "document", "runs"),
    [
        (OWN, {"_openid": "me"}, {"_openid": "me"}, True),
        (OWN, {"_openid": "me"}, {"_openid": ["me", "you"]}, False),
        (OWN, {"$and": [{"_openid": "me"}, {"_openid": "you"}]}, {"_openid": ["me", "you"]}, False),
        ("doc.n > 10", {"n": {"$gt": 10}}, {"n": [11]}, False),
        ("doc.n != null", {"n": {"$ne": 5}}, {"n": 6}, True),
        ("doc.n != null", {"n": {"$ne": 5}}, {"n": None}, False),
        ("doc.n != null", {"n": {"$ne": 5}}, {}, False),
        ("doc.n != null", {"n": {"$ne": 5}}, {"n": [None]}, True),
        ("doc.a.b == 1", {"a.b": 1}, {"a": [{"b": 1}]}, False),
        ("doc.p == true || doc.o == 'me'", {"$or": [{"p": True}, {"o": "me"}]}, {"p": True, "o": ["me"]}, True),
        ("doc.p == true || doc.o == 'me'", {"$or": [{"p": True}, {"o": "me"}]}, {"p": [True], "o": "me"}, True),
        ("doc.p == true || doc.o == 'me'", {"$or": [{"p": True}, {"o": "me"}]}, {"p": [True], "o": ["me"]}, False),
        ("'me' in doc.members", {"members": "me"}, {"members": "me"}, False),
        ("'me' in doc.members", {"members": "me"}, {"members": ["me"]}, True),
        ("doc.a.b == undefined", {"a.b": {"$exists": False}}, {"a": {}}, True),
        ("doc.a.b == undefined", {"a.b": {"$exists": False}}, {"a": 1}, False),
    ],
)
def test_what_is_only_nearly_proved_becomes_a_condition(text, query, document, runs):
    decision = decided(text, query)
    assert decision.allowed
    assert matcher(parse_filter(query))(document) or not runs
    assert matcher(decision.node)(document) is runs


def test_the_condition_is_no_more_than_what_lacks():
    no_array = tree.Not(tree.TypeIs(("_openid",), frozenset({"array"})))
    assert decided(OWN, {"_openid": "me"}).node == tree.And((tree.Compare(("_openid",), "eq", "me"), no_array))
    assert decided("true", {"a": 1}).node == tree.Compare(("a",), "eq", 1)
    assert decided("doc._id == 1 || doc.a == 1", {"a": 1, "b": {"$exists": True}}).allowed


@pytest.mark.parametrize(
    "text",
    [OWN, "doc.a.b == true && doc._openid == auth.openid", "doc._id == 'x'", "doc._id == 'x' && doc.a.b == 'me'"],
)
@pytest.mark.parametrize(
    "query",
    [
        {"_openid": "me"}, {"_openid": "me", "a.b": True}, {"a.b": 1, "_openid": "me"}, {"_id": "x"}, {"_id": "x", "a.b": "me", "c": 1},
        {"_openid": {"$gt": "me"}}, {"_openid": ["me"]},
    ],
)  # fmt: skip
def test_the_shortcut_decides_as_the_proof_does(monkeypatch, text, query):
    quick = decided(text, query)
    with monkeypatch.context() as patch:
        patch.setattr(prover, "proved_quickly", lambda known, node: None)
        assert decided(text, query) == quick


def test_a_collation_proves_no_equality_of_text():
    english = {"locale": "en", "strength": 2}
    assert not decided(OWN, {"_openid": "me"}, collation=english).allowed
    assert decided("doc.n == 5", {"n": 5}, collation=english).allowed
    assert decided("doc.name > ''", {"name": "me"}, collation=english).missing == "doc.name > ''"


def test_filter_mode_adds_the_rule():
    decision = decided(OWN, {"a": 1}, filter_mode=True)
    assert decision.allowed
    matches = matcher(decision.node)
    documents = (
        {"a": 1, "_openid": "me"},
        {"a": 1, "_openid": "you"},
        {"a": 2, "_openid": "me"},
        {"a": 1, "_openid": ["me"]},
    )
    assert [matches(document) for document in documents] == [True, False, False, False]


def test_filter_mode_is_refused_where_no_document_could_help():
    assert decided(OWN, {}, auth=None, filter_mode=True).missing == "auth != null"
    assert decided("doc.team in auth.teams", {}, auth={"teams": []}, filter_mode=True).node == tree.FALSE


def test_without_a_rule_nothing_is_allowed():
    about = Circumstances(auth=ME, now=0)
    for filter_mode in (False, True):
        assert not decide(None, about, tree.TRUE, filter_mode=filter_mode).allowed


def test_what_a_write_will_make_is_left_open_when_asked_for():
    rule = "doc._openid == auth.openid && request.data.n > 1 && !changed('_openid')"
    assert not decided(rule, {"_openid": "me"}).allowed
    assert decided(rule, {"_openid": "me"}, open_request=True).allowed
    assert decided(rule, {"a": 1}, open_request=True).missing == "doc._openid == auth.openid"


def nested(depth):
    node = tree.Compare(("_openid",), "eq", "me")
    for _ in range(depth):
        node = tree.Not(node)
    return node


@pytest.mark.parametrize(
    "node",
    [
        nested(100_000),
        tree.And(tuple(tree.Compare(("a",), "eq", number) for number in range(20_000))),
    ],
    ids=["deep", "wide"],
)
@pytest.mark.parametrize("filter_mode", [False, True])
def test_filters_beyond_the_bounds_are_refused_before_anything_recurses(node, filter_mode):
    about = Circumstances(auth=ME, now=0)
    assert not decide(parse(OWN), about, node, filter_mode=filter_mode).allowed
    assert decide(parse("auth != null"), about, node, filter_mode=filter_mode).node is node


def test_a_normal_form_beyond_the_cap_proves_less_and_stays_quick():
    choices = [{"$or": [{f"f{n}": 1, "_openid": "me"}, {f"g{n}": 1, "_openid": "me"}]} for n in range(40)]
    assert decided(OWN, {"$and": choices}).allowed
    wide = {"$or": [{"a": n, "_openid": "me"} for n in range(500)]}
    assert not decided(OWN, wide).allowed
    assert decided(OWN, {**wide, "_openid": "me"}).allowed
