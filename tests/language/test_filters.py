"""Filter documents become the right trees, and mistakes are named where they were made."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from types import MappingProxyType

import pytest

from docdb.errors import NotSupportedError, QueryError
from docdb.language import filters
from docdb.language.collation import parse_collation
from docdb.language.filters import parse
from docdb.language.tree import (
    FALSE,
    TRUE,
    And,
    Bits,
    Compare,
    ElemMatch,
    Exists,
    Expr,
    In,
    Mod,
    Not,
    Or,
    Pattern,
    Schema,
    Size,
    TypeIs,
)
from docdb.language.values import Int64, ObjectId, Regex

A = ("a",)


def eq(value, path=A):
    return Compare(path, "eq", value)


TREES = {
    "empty": ({}, TRUE),
    "none": (None, TRUE),
    "equality": ({"a": 1}, eq(1)),
    "dotted": ({"a.0.b": 1}, eq(1, ("a", "0", "b"))),
    "null": ({"a": None}, eq(None)),
    "document": ({"a": {"b": {"$gt": 1}}}, eq({"b": {"$gt": 1}})),
    "empty document": ({"a": {}}, eq({})),
    "tuple": ({"a": (1, 2)}, eq([1, 2])),
    "reference": ({"a": {"$ref": "c", "$id": 1}}, eq({"$ref": "c", "$id": 1})),
    "reference field": ({"$id": 1}, eq(1, ("$id",))),
    "regex value": ({"a": Regex("^x", "i")}, Pattern(A, "^x", "i")),
    "two fields": ({"a": 1, "b": 2}, And((eq(1), eq(2, ("b",))))),
    "two operators": ({"a": {"$gt": 1, "$lte": 5}}, And((Compare(A, "gt", 1), Compare(A, "lte", 5)))),
    "eq regex": ({"a": {"$eq": Regex("x")}}, eq(Regex("x"))),
    "ne": ({"a": {"$ne": 1}}, Not(eq(1))),
    "in": ({"a": {"$in": [1, None, Regex("x")]}}, In(A, (1, None), (Pattern(A, "x", ""),))),
    "nin": ({"a": {"$nin": [1]}}, Not(In(A, (1,)))),
    "in document": ({"a": {"$in": [{"b": 1}]}}, In(A, ({"b": 1},))),
    "exists": ({"a": {"$exists": True}}, Exists(A)),
    "exists text": ({"a": {"$exists": ""}}, Exists(A)),
    "exists zero": ({"a": {"$exists": Decimal(0)}}, Not(Exists(A))),
    "exists null": ({"a": {"$exists": None}}, Not(Exists(A))),
    "type name": ({"a": {"$type": "string"}}, TypeIs(A, frozenset({"string"}))),
    "type number": ({"a": {"$type": 16.0}}, TypeIs(A, frozenset({"int"}))),
    "type list": ({"a": {"$type": ["null", -1]}}, TypeIs(A, frozenset({"null", "minKey"}))),
    "type numbers": ({"a": {"$type": "number"}}, TypeIs(A, frozenset({"int", "long", "double", "decimal"}))),
    "size": ({"a": {"$size": Decimal("2.0")}}, Size(A, 2)),
    "mod": ({"a": {"$mod": [4.9, -1.5]}}, Mod(A, 4, -1)),
    "regex": ({"a": {"$regex": "x"}}, Pattern(A, "x", "")),
    "regex options": ({"a": {"$regex": "x", "$options": "siu"}}, Pattern(A, "x", "is")),
    "options first": ({"a": {"$options": "i", "$regex": "x"}}, Pattern(A, "x", "i")),
    "regex value in regex": ({"a": {"$regex": Regex("x", "m")}}, Pattern(A, "x", "m")),
    "bits number": ({"a": {"$bitsAllSet": 5}}, Bits(A, "all_set", (0, 2))),
    "bits positions": ({"a": {"$bitsAnyClear": [7, 0, 7]}}, Bits(A, "any_clear", (0, 7))),
    "bits binary": ({"a": {"$bitsAnySet": b"\x01\x80"}}, Bits(A, "any_set", (0, 15))),
    "bits none": ({"a": {"$bitsAllClear": Int64(0)}}, Bits(A, "all_clear", ())),
    "not": ({"a": {"$not": {"$gt": 1}}}, Not(Compare(A, "gt", 1))),
    "not regex": ({"a": {"$not": Regex("x")}}, Not(Pattern(A, "x", ""))),
    "elemMatch document": ({"a": {"$elemMatch": {"b": 1}}}, ElemMatch(A, eq(1, ("b",)))),
    "elemMatch values": ({"a": {"$elemMatch": {"$gt": 1}}}, ElemMatch(A, Compare((), "gt", 1), values=True)),
    "elemMatch logic": (
        {"a": {"$elemMatch": {"$or": [{"b": 1}, {"c": 2}]}}},
        ElemMatch(A, Or((eq(1, ("b",)), eq(2, ("c",))))),
    ),
    "all": ({"a": {"$all": [1, 2]}}, And((eq(1), eq(2)))),
    "all one": ({"a": {"$all": [[1]]}}, eq([1])),
    "all none": ({"a": {"$all": []}}, FALSE),
    "all regex": ({"a": {"$all": [Regex("x")]}}, Pattern(A, "x", "")),
    "all elemMatch": ({"a": {"$all": [{"$elemMatch": {"b": 1}}]}}, ElemMatch(A, eq(1, ("b",)))),
    "and": ({"$and": [{"a": 1}, {"$and": [{"a": 2}, {"a": 3}]}]}, And((eq(1), eq(2), eq(3)))),
    "or": ({"$or": [{"a": 1}, {"a": 2}]}, Or((eq(1), eq(2)))),
    "or of one": ({"$or": [{"a": 1}]}, eq(1)),
    "nor": ({"$nor": [{"a": 1}, {"a": 2}]}, Not(Or((eq(1), eq(2))))),
    "comment": ({"a": 1, "$comment": "why"}, eq(1)),
    "always true": ({"$alwaysTrue": 1}, TRUE),
    "always false": ({"$alwaysFalse": 1.0}, FALSE),
    "sample all": ({"$sampleRate": 1}, TRUE),
    "sample none": ({"$sampleRate": 0.0}, FALSE),
}


@pytest.mark.parametrize(("filter", "tree"), TREES.values(), ids=TREES.keys())
def test_tree(filter, tree):
    assert parse(filter) == tree


ERRORS = {
    "not a document": (["a"], 14, None),
    "unknown operator": ({"a": {"$gtee": 1}}, 2, "a.$gtee"),
    "unknown below and": ({"$and": [{"a": 1}, {"b": {"$gtee": 1}}]}, 2, "$and.1.b.$gtee"),
    "unknown top": ({"$ad": []}, 2, "$ad"),
    "plain name among operators": ({"a": {"$gt": 1, "b": 1}}, 2, "a.b"),
    "empty and": ({"$and": []}, 2, "$and"),
    "or of numbers": ({"$or": [1]}, 2, "$or.0"),
    "field nor": ({"a": {"$nor": [{"b": 1}]}}, 2, "a.$nor"),
    "not value": ({"a": {"$not": 5}}, 2, "a.$not"),
    "not empty": ({"a": {"$not": {}}}, 2, "a.$not"),
    "in no array": ({"a": {"$in": 1}}, 2, "a.$in"),
    "operator in in": ({"a": {"$in": [{"$gt": 1}]}}, 2, "a.$in.0"),
    "ne regex": ({"a": {"$ne": Regex("x")}}, 2, "a.$ne"),
    "gt regex": ({"a": {"$gt": Regex("x")}}, 2, "a.$gt"),
    "type document": ({"a": {"$type": {}}}, 14, "a.$type"),
    "type unknown": ({"a": {"$type": "Double"}}, 2, "a.$type"),
    "type none": ({"a": {"$type": []}}, 9, "a.$type"),
    "size negative": ({"a": {"$size": -1}}, 2, "a.$size"),
    "size bool": ({"a": {"$size": True}}, 2, "a.$size"),
    "mod zero": ({"a": {"$mod": [0.5, 0]}}, 2, "a.$mod"),
    "mod three": ({"a": {"$mod": [4, 0, 1]}}, 2, "a.$mod"),
    "mod infinite": ({"a": {"$mod": [4, Decimal("Infinity")]}}, 2, "a.$mod"),
    "bits negative": ({"a": {"$bitsAllSet": -1}}, 9, "a.$bitsAllSet"),
    "bits text": ({"a": {"$bitsAllSet": "1"}}, 2, "a.$bitsAllSet"),
    "bits position": ({"a": {"$bitsAllSet": [0, -1]}}, 2, "a.$bitsAllSet.1"),
    "regex number": ({"a": {"$regex": 1.5}}, 2, "a.$regex"),
    "regex broken": ({"a": {"$regex": "[x"}}, 51091, "a.$regex"),
    "options alone": ({"a": {"$options": "i"}}, 2, "a.$options"),
    "options unknown": ({"a": {"$regex": "x", "$options": "g"}}, 51108, "a.$regex"),
    "options twice": ({"a": {"$regex": Regex("x", "i"), "$options": "m"}}, 51075, "a.$options"),
    "options twice, first": ({"a": {"$options": "m", "$regex": Regex("x", "i")}}, 51074, "a.$options"),
    "elemMatch number": ({"a": {"$elemMatch": [1]}}, 2, "a.$elemMatch"),
    "expr in elemMatch": ({"a": {"$elemMatch": {"$expr": True}}}, 2, "a.$elemMatch.$expr"),
    "all number": ({"a": {"$all": 1}}, 2, "a.$all"),
    "all operator": ({"a": {"$all": [{"$gt": 1}]}}, 2, "a.$all.0"),
    "all mixed": ({"a": {"$all": [{"$elemMatch": {"x": 1}}, 1]}}, 2, "a.$all.1"),
    "sample rate": ({"$sampleRate": 2}, 2, "$sampleRate"),
    "always": ({"$alwaysTrue": 2}, 9, "$alwaysTrue"),
    "schema": ({"$jsonSchema": 1}, 14, "$jsonSchema"),
    "value": ({"a": {"b": {1, 2}}}, 2, "a.b"),
    "naive date": ({"a": dt.datetime(2024, 1, 1)}, 2, "a"),  # noqa: DTZ001
}


@pytest.mark.parametrize(("filter", "code", "path"), ERRORS.values(), ids=ERRORS.keys())
def test_error(filter, code, path):
    with pytest.raises(QueryError) as caught:
        parse(filter)
    assert (caught.value.code, caught.value.path) == (code, path)


def test_the_nearest_name_is_the_hint():
    with pytest.raises(QueryError) as caught:
        parse({"age": {"$gtee": 1}})
    assert caught.value.hint == "did you mean $gte?"


@pytest.mark.parametrize("name", filters.UNSUPPORTED_OPERATORS)
def test_known_but_not_supported(name):
    with pytest.raises(NotSupportedError) as field:
        parse({"a": {name: 1}})
    with pytest.raises(NotSupportedError) as top:
        parse({name: 1})
    assert field.value.path == f"a.{name}" and top.value.path == name


def test_naive_dates_when_asked_for():
    assert parse({"a": dt.datetime(2024, 1, 1)}, naive_utc=True) == eq(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))  # noqa: DTZ001


def test_collation_reaches_comparisons():
    collation = parse_collation({"locale": "en", "strength": 2})
    assert parse({"a": "x"}, collation=collation) == Compare(A, "eq", "x", collation)
    assert parse({"a": {"$in": ["x"]}}, collation=collation) == In(A, ("x",), (), collation)


def test_expressions_see_the_values_of_let():
    node = parse({"$expr": {"$eq": ["$a", "$$wanted"]}}, let={"wanted": 5})
    assert isinstance(node, Expr)
    assert node.expression({"a": 5}) is True
    assert node.expression({"a": 6}) is False


def test_let_is_a_document():
    with pytest.raises(QueryError) as caught:
        parse({}, let=[1])
    assert (caught.value.code, caught.value.path) == (14, "let")


def test_schema_is_compiled():
    node = parse({"$jsonSchema": {"required": ["a"]}})
    assert isinstance(node, Schema)
    assert node == parse({"$jsonSchema": {"required": ["a"]}})
    assert node.schema({"a": 1})


def test_sample_rate_is_random():
    node = parse({"$sampleRate": 0.5})
    assert {node.expression({}) for _ in range(200)} == {True, False}


@pytest.mark.parametrize(
    "deepen", [lambda f: {"$and": [f]}, lambda f: {"a": {"$elemMatch": f}}], ids=["and", "elemMatch"]
)
def test_depth_is_limited(deepen):
    filter = {"a": 1}
    for _ in range(filters.MAX_FILTER_DEPTH):
        filter = deepen(filter)
    parse(filter)
    for _ in range(5000):
        filter = deepen(filter)
    with pytest.raises(QueryError, match="deeper than 100 levels"):
        parse(filter)


def test_not_is_limited_too():
    operators = {"$gt": 1}
    for _ in range(5000):
        operators = {"$not": operators}
    with pytest.raises(QueryError, match="deeper than 100 levels"):
        parse({"a": operators})


def test_a_long_conjunction():
    node = parse({"$and": [{"a": i} for i in range(20_000)]})
    assert len(node.parts) == 20_000


def test_tables_are_sorted():
    for table in (filters.DOCUMENT_OPERATORS, filters.UNSUPPORTED_OPERATORS, filters.KNOWN_OPERATORS):
        assert list(table) == sorted(table)


OPERANDS = [
    0, 1, -1, 2**63 - 1, 2**63, -(2**63) - 1, 1.5, float("nan"), True, None, "", "text", "é", "\ud800", b"x", [1], (1,), {}, {"x": 1}, {"$x": 1},
    ObjectId("64b7f0c2a1b2c3d4e5f60718"), Int64(3), re.compile("a"), dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), object(),
]  # fmt: skip


def told(filter):
    try:
        return repr(parse(filter))
    except QueryError as error:
        return error.message, error.path, error.code


@pytest.mark.parametrize(
    "operator", [None, "$eq", "$gt", "$gte", "$lt", "$lte", "$ne", "$in", "$gtee", "plain", "$ref"]
)
def test_the_quick_form_of_comparisons_gives_the_same_tree(operator):
    for name in ("a", "a.b", "a..b", "", ".", "$a", "$ref", "$and", "é", "\ud800", 1):
        for operand in OPERANDS:
            filter = {name: operand if operator is None else {operator: operand}}
            for asked in (filter, {"z": 1, **filter}, {**filter, "z": {"$lt": 2}}):
                assert told(asked) == told(MappingProxyType(asked))  # only a dict may take the quick form
