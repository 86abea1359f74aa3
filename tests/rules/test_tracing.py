"""What the parts of a rule came to."""

import random

import pytest

from docdb.rules.evaluator import Circumstances, allows
from docdb.rules.parser import parse
from docdb.rules.tracing import shown, trace
from tests.rules.readers import Rows


def traced(text, doc=None, auth=None, **more):
    return trace(parse(text), text, Circumstances(auth=auth, now=5, doc=doc, **more))


def by_text(found):
    return {step.text: str(step) for step in found.steps}


def test_each_part_has_its_text_and_its_value():
    text = "(doc.a == 1 || doc.b) &&\n  auth.uid in ['x', `${doc.c}y`]"
    found = traced(text, {"a": 1, "c": "z"}, {"uid": "zy"})
    assert [(step.text, str(step)) for step in found.steps] == [
        (text, "true"),
        ("doc.a == 1 || doc.b", "true"),
        ("doc.a == 1", "true"),
        ("doc.a", "1"),
        ("doc", '{"a": 1, "c": "z"}'),
        ("1", "1"),
        ("doc.b", "not asked"),
        ("doc", "not asked"),
        ("auth.uid in ['x', `${doc.c}y`]", "true"),
        ("auth.uid", '"zy"'),
        ("auth", '{"uid": "zy"}'),
        ("['x', `${doc.c}y`]", '["x", "zy"]'),
        ("'x'", '"x"'),
        ("`${doc.c}y`", '"zy"'),
        ("doc.c", '"z"'),
        ("doc", '{"a": 1, "c": "z"}'),
        ("y", '"y"'),
    ]
    assert found.allowed
    assert {(step.text, step.place.line, step.place.column) for step in found.steps} >= {
        ("doc.a == 1", 1, 2), ("auth.uid", 2, 3), ("doc.c", 2, 24),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("doc.a == 1 && doc.b == 2 && doc.c == 3", ["doc.b == 2"]),
        ("doc.c == 3 && doc.b == 2", ["doc.b == 2"]),
        ("doc.a == 2 || doc.b == 2", ["doc.a == 2", "doc.b == 2"]),
        ("!(doc.a == 1)", ["doc.a == 1"]),
        ("doc.a == 1 && doc.x == 1", ["doc.x == 1"]),
        ("doc.a == 1 && !(doc.x == 1 || doc.a == 2)", ["doc.x == 1"]),
        ("doc.a == 1 || doc.x", ["doc.a == 1"]),
        ("true", ["true"]),
        ("doc.b", ["doc.b"]),
    ],
)
def test_reasons_are_the_parts_that_decided(text, reasons):
    found = traced(text, {"a": 1, "b": 3})
    assert [step.text for step in found.reasons] == reasons


def test_failures_say_why_and_gets_what_they_found():
    reader = Rows(roles=[{"_id": "me", "role": "admin"}])
    found = traced("get('database.roles.' + auth.uid).rank > 3", {}, {"uid": "me"}, reader=reader)
    assert by_text(found)["get('database.roles.' + auth.uid)"] == '{"_id": "me", "role": "admin"}'
    assert by_text(found)["get('database.roles.' + auth.uid).rank"] == "failed: there is no field 'rank'"
    assert not found.allowed


def test_presence_is_traced():
    assert by_text(traced("exists(doc.a)", {}))["doc.a"] == "false"
    assert by_text(traced("doc.a != undefined", {"a": None}))["doc.a"] == "true"


def test_a_long_value_is_cut():
    assert len(shown("x" * 500)) == 80
    assert shown(object()).startswith("<object")


def test_a_trace_is_plain_data():
    found = traced("doc.a == 1 && doc.b", {"a": 2}).to_dict()
    assert found["allowed"] is False
    assert found["rule"] == "doc.a == 1 && doc.b"
    assert found["steps"][2] == {"line": 1, "column": 1, "depth": 2, "text": "doc.a", "value": 2}
    assert {"line": 1, "column": 10, "depth": 2, "text": "1", "value": 1} in found["steps"]


def test_a_trace_says_what_the_evaluation_says():
    rng = random.Random(7)
    leaves = [
        "doc.a == 1",
        "doc.b > 2",
        "doc.missing",
        "auth.uid == doc.a",
        "'x' in doc.list",
        "exists(doc.b)",
        "doc.a + doc.b == 3",
    ]
    for _ in range(500):
        parts = [rng.choice(leaves) for _ in range(4)]
        text = (
            f"{parts[0]} {rng.choice(['&&', '||'])} !({parts[1]} {rng.choice(['&&', '||'])} {parts[2]}) || {parts[3]}"
        )
        doc = {name: rng.choice([1, 2, 3, "x", None, ["x"]]) for name in ("a", "b", "list") if rng.random() < 0.8}
        about = Circumstances(auth=rng.choice([None, {"uid": "x"}]), now=0, doc=doc)
        found = trace(parse(text), text, about)
        assert found.allowed is allows(parse(text), about)
        assert found.reasons
        assert all(step.text == text[step.place.start : step.place.end] for step in found.steps)
