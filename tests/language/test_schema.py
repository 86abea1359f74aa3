"""$jsonSchema: what each keyword means, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from docdb.errors import QueryError
from docdb.language.schema import KEYWORDS, compile_schema
from docdb.language.values import Int64

JUDGED = {
    "empty": ({}, 1, True),
    "bsonType": ({"bsonType": "int"}, 1, True),
    "bsonType long": ({"bsonType": "int"}, Int64(1), False),
    "bsonType list": ({"bsonType": ["string", "null"]}, None, True),
    "bsonType number": ({"bsonType": "number"}, Decimal(1), True),
    "type number": ({"type": "number"}, 1.5, True),
    "type boolean": ({"type": "boolean"}, 0, False),
    "enum": ({"enum": [1, {"a": 1, "b": 2}]}, {"b": 2, "a": 1.0}, True),
    "enum array order": ({"enum": [[1, 2]]}, [2, 1], False),
    "required": ({"required": ["a"]}, {"b": 1}, False),
    "required of no object": ({"required": ["a"]}, 1, True),
    "properties": ({"properties": {"a": {"bsonType": "int"}}}, {"a": "x"}, False),
    "properties absent": ({"properties": {"a": {"bsonType": "int"}}}, {}, True),
    "no additional": ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 1}, False),
    "additional by pattern": ({"patternProperties": {"^b": {}}, "additionalProperties": False}, {"b1": 1}, True),
    "additional schema": ({"additionalProperties": {"bsonType": "int"}}, {"a": "x"}, False),
    "pattern property": ({"patternProperties": {"^b": {"bsonType": "int"}}}, {"b1": "x"}, False),
    "dependency": ({"dependencies": {"a": ["b"]}}, {"a": 1}, False),
    "dependency idle": ({"dependencies": {"a": ["b"]}}, {"c": 1}, True),
    "dependency schema": ({"dependencies": {"a": {"required": ["b"]}}}, {"a": 1, "b": 1}, True),
    "minProperties": ({"minProperties": 2}, {"a": 1}, False),
    "maxProperties": ({"maxProperties": 1}, {"a": 1, "b": 1}, False),
    "items": ({"items": {"bsonType": "int"}}, [1, "x"], False),
    "items by place": ({"items": [{"bsonType": "int"}]}, [1, "x"], True),
    "additionalItems": ({"items": [{}], "additionalItems": False}, [1, 2], False),
    "additionalItems idle": ({"items": {}, "additionalItems": False}, [1, 2], True),
    "minItems": ({"minItems": 2}, [1], False),
    "maxItems": ({"maxItems": 2.0}, [1, 2], True),
    "uniqueItems": ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
    "uniqueItems off": ({"uniqueItems": False}, [1, 1], True),
    "minimum": ({"minimum": 5}, 5.0, True),
    "exclusive minimum": ({"minimum": 5, "exclusiveMinimum": True}, 5, False),
    "maximum": ({"maximum": Decimal("1.5")}, 1.6, False),
    "maximum of text": ({"maximum": 1}, "x", True),
    "minimum of nan": ({"minimum": 1}, float("nan"), False),
    "multipleOf": ({"multipleOf": 0.1}, 0.3, True),
    "multipleOf not": ({"multipleOf": 3}, Decimal("7"), False),
    "multipleOf infinite": ({"multipleOf": 3}, float("inf"), False),
    "minLength counts characters": ({"minLength": 2}, "é", False),
    "maxLength": ({"maxLength": 2}, "abc", False),
    "pattern": ({"pattern": "^a"}, "ba", False),
    "allOf": ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3, False),
    "anyOf": ({"anyOf": [{"minimum": 5}, {"maximum": 2}]}, 3, False),
    "oneOf": ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, 3, False),
    "not": ({"not": {"bsonType": "int"}}, 1, False),
    "title": ({"title": "t", "description": "d"}, 1, True),
}


@pytest.mark.parametrize(("spec", "value", "expected"), JUDGED.values(), ids=JUDGED.keys())
def test_keyword(spec, value, expected):
    assert compile_schema({"properties": {"x": spec}})({"x": value}) is expected


REFUSED = {
    "no document": ("x", 14, "$jsonSchema"),
    "unknown": ({"minLenght": 1}, 9, "$jsonSchema.minLenght"),
    "unsupported": ({"$ref": "#"}, 9, "$jsonSchema.$ref"),
    "integer": ({"type": "integer"}, 9, "$jsonSchema.type"),
    "type name": ({"type": "int"}, 2, "$jsonSchema.type"),
    "both types": ({"type": "object", "bsonType": "object"}, 9, "$jsonSchema"),
    "nested": ({"properties": {"a": {"maxItems": -1}}}, 9, "$jsonSchema.properties.a.maxItems"),
    "properties": ({"properties": {"a": 1}}, 14, "$jsonSchema.properties.a"),
    "required empty": ({"required": []}, 9, "$jsonSchema.required"),
    "required twice": ({"required": ["a", "a"]}, 9, "$jsonSchema.required"),
    "enum twice": ({"enum": [1, 1.0]}, 9, "$jsonSchema.enum"),
    "anyOf empty": ({"anyOf": []}, 2, "$jsonSchema.anyOf"),
    "exclusive alone": ({"exclusiveMinimum": True}, 9, "$jsonSchema.exclusiveMinimum"),
    "exclusive number": ({"minimum": 1, "exclusiveMinimum": 1}, 14, "$jsonSchema.exclusiveMinimum"),
    "multipleOf zero": ({"multipleOf": 0}, 9, "$jsonSchema.multipleOf"),
    "pattern": ({"pattern": "[x"}, 51091, "$jsonSchema.pattern"),
    "patternProperties": ({"patternProperties": {"[x": {}}}, 2, "$jsonSchema.patternProperties.[x"),
    "dependencies": ({"dependencies": {"a": [1]}}, 14, "$jsonSchema.dependencies.a"),
    "limit not a number": ({"minItems": float("nan")}, 9, "$jsonSchema.minItems"),
}


@pytest.mark.parametrize(("spec", "code", "path"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(spec, code, path):
    with pytest.raises(QueryError) as caught:
        compile_schema(spec)
    assert (caught.value.code, caught.value.path) == (code, path)


def test_the_nearest_keyword_is_the_hint():
    with pytest.raises(QueryError) as caught:
        compile_schema({"minLenght": 1})
    assert caught.value.hint == "did you mean minLength?"


def test_equal_specifications_are_equal_schemas():
    one, other = compile_schema({"minimum": 1}), compile_schema({"minimum": 1.0})
    assert one == other
    assert hash(one) == hash(other)


def test_keywords_are_sorted():
    assert list(KEYWORDS) == sorted(KEYWORDS)
