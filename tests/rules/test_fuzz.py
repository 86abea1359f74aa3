"""Random rules over random documents of every type: whatever is asked, there is a value or a Failure, and no order of terms changes a verdict."""

import datetime as dt
import math
import random
import uuid
from decimal import Decimal

import pytest

from docdb.errors import RuleError
from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from docdb.rules.evaluator import Circumstances, Failure, allows, evaluate
from docdb.rules.parser import parse
from docdb.rules.readers import Documents
from docdb.rules.ruleset import load
from docdb.rules.tracing import trace

VALUES = [
    None, True, False, 0, 1, -1, 2**53 + 1, -(2**63), 2**63 - 1, Int64(1), 0.0, -0.0, 1.0, 1e308, math.nan, math.inf, -math.inf, Decimal("1"),
    Decimal("NaN"), Decimal("Infinity"), Decimal("1E+6000"), "", "a", "1", "\U00010000", b"", b"a", Binary(b"a", 5), [], [1], ["a", ["a"]], {}, {"a": 1},
    {"a": {"b": [1, {"c": None}]}}, dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC), ObjectId(b"123456789012"),
    uuid.UUID(int=1), Regex("a"), Timestamp(1, 2), MinKey(), MaxKey(),
]  # fmt: skip
FIELDS = ("a", "b", "c", "list")


def term(rng, depth=0):
    atoms = ["doc.a", "doc.b", "doc.c.a", "doc.list[0]", "doc[auth.uid]", "auth.uid", "auth", "now", "1", "-2.5", "'a'", "null", "true",
             "request.data.a", "['a', doc.a, 1]", "`x${doc.a}`", "doc.list.size()", "default(doc.a, 1)", "{a: doc.b}",
             "get('database.r.' + auth.uid)", "get('database.r.x').a", "get('database.r').where({a: doc.a})[0].b",
             "get('database.r').where({a: 1}).size()"]  # fmt: skip
    tests = ["exists(doc.a)", "changed('a')", "doc.a", "get('database.r').exists()", "doc.b == undefined"]
    chance = rng.random()
    if depth < 3 and chance < 0.35:
        return f"({term(rng, depth + 1)} {rng.choice(['&&', '||'])} {term(rng, depth + 1)})"
    if chance < 0.45:
        return f"!{rng.choice(tests)}"
    if chance < 0.55:
        return rng.choice(tests)
    operator = rng.choice(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "+", "-"])
    row = f"{rng.choice(atoms)} {operator} {rng.choice(atoms)}"
    return f"({row}) == {rng.choice(atoms)}" if operator in ("+", "-") else row


def some(rng):
    return {name: rng.choice(VALUES) for name in FIELDS if rng.random() < 0.8}


@pytest.mark.parametrize("seed", range(2))
def test_there_is_a_value_or_a_failure(seed):
    rng = random.Random(seed)
    loaded = failed = 0
    for _ in range(700):
        text = term(rng)
        try:
            tree = load({"update": text}).trees["update"]
        except RuleError:
            continue
        loaded += 1
        old, new = some(rng), some(rng)
        rows = [{"_id": rng.choice(["x", "a"]), **some(rng)} for _ in range(3)]
        auth = rng.choice([None, {}, {"uid": rng.choice(["a", "x", ""])}, {"uid": 5}])
        about = Circumstances(auth=auth, now=1000, doc=old, old=old, new=new, reader=Documents({"r": rows}))
        try:
            evaluate(tree, about)
        except Failure:
            failed += 1
        assert trace(tree, text, about).allowed is allows(tree, about), text
        assert not (allows(tree, about) and allows(parse(f"!({text})"), about)), text
    assert loaded > 250 and failed > 50


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_terms_never_changes_a_verdict(seed):
    rng = random.Random(100 + seed)
    for _ in range(250):
        operator = rng.choice([" && ", " || "])
        terms = [f"({term(rng, 2)})" for _ in range(3)]
        shuffled = rng.sample(terms, 3)
        old, new = some(rng), some(rng)
        rows = [{"_id": "x", **some(rng)}]
        outcomes = set()
        for text in (operator.join(terms), operator.join(shuffled)):
            reader = Documents({"r": rows})
            about = Circumstances(auth={"uid": "a"}, now=5, doc=old, old=old, new=new, reader=reader)
            try:
                outcomes.add(repr(evaluate(parse(text), about)))
            except Failure:
                outcomes.add("failure")
        assert len(outcomes) == 1, (terms, shuffled, old)
