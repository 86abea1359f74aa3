"""What a read shows of a document."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from docdb.errors import NotSupportedError, QueryError
from docdb.language.filters import parse
from docdb.language.matching import match_position
from docdb.language.projection import Projection, known_projection, parse_projection

DOCUMENT: dict[str, Any] = {
    "_id": 1, "a": 5, "b": {"x": 1, "y": 2}, "c": [{"x": 1, "y": 2}, 7, [{"x": 3}]], "d": [1, 2, 3, 4],
}  # fmt: skip


def projected(spec: Any, filter: Any = None) -> Projection:
    found = parse_projection(spec, node=None if filter is None else parse(filter))
    assert found is not None
    return found


def shown(document: dict[str, Any], spec: Any, position: int | None = None) -> dict[str, Any]:
    before = copy.deepcopy(document)
    result = projected(spec).apply(document, position)
    assert document == before
    return result


SHOWN = {
    "include": ({"a": 1}, {"_id": 1, "a": 5}),
    "document_order": ({"b": True, "a": 1.0}, {"_id": 1, "a": 5, "b": {"x": 1, "y": 2}}),
    "list": (["a"], {"_id": 1, "a": 5}),
    "empty_list": ([], {"_id": 1}),
    "no_id": ({"a": 1, "_id": 0}, {"a": 5}),
    "id_only": ({"_id": 1}, {"_id": 1}),
    "all_but_id": ({"_id": 0, "c": 0, "d": 0}, {"a": 5, "b": {"x": 1, "y": 2}}),
    "exclude": ({"b": 0, "c": 0}, {"_id": 1, "a": 5, "d": [1, 2, 3, 4]}),
    "path": ({"b.x": 1}, {"_id": 1, "b": {"x": 1}}),
    "nested": ({"b": {"x": 1}}, {"_id": 1, "b": {"x": 1}}),
    "absent_below": ({"b.z": 1}, {"_id": 1, "b": {}}),
    "scalar_in_the_way": ({"a.z": 1}, {"_id": 1}),
    "array": ({"c.x": 1}, {"_id": 1, "c": [{"x": 1}, [{"x": 3}]]}),
    "exclude_in_array": ({"a": 0, "b": 0, "d": 0, "c.x": 0}, {"_id": 1, "c": [{"y": 2}, 7, [{}]]}),
    "slice": ({"a": 1, "d": {"$slice": 2}}, {"_id": 1, "a": 5, "d": [1, 2]}),
    "slice_end": ({"a": 1, "d": {"$slice": -1}}, {"_id": 1, "a": 5, "d": [4]}),
    "slice_skip": ({"_id": 1, "d": {"$slice": [-3, 2]}}, {"_id": 1, "d": [2, 3]}),
    "slice_shows_the_rest": ({"d": {"$slice": 1}, "c": 0, "b": 0}, {"_id": 1, "a": 5, "d": [1]}),
    "elem_match": ({"d": {"$elemMatch": {"$gt": 2}}}, {"_id": 1, "d": [3]}),
    "elem_match_document": ({"c": {"$elemMatch": {"y": 2}}}, {"_id": 1, "c": [{"x": 1, "y": 2}]}),
    "elem_match_nothing": ({"d": {"$elemMatch": {"$gt": 9}}}, {"_id": 1}),
    "computed": ({"a": 1, "n": {"$add": ["$a", 1]}}, {"_id": 1, "a": 5, "n": 6}),
    "computed_path": ({"b.z": {"$add": ["$a", 1]}}, {"_id": 1, "b": {"z": 6}}),
    "computed_text": ({"n": "$b.y"}, {"_id": 1, "n": 2}),
    "computed_missing": ({"n": "$nothing"}, {"_id": 1}),
    "literal": ({"n": "hello"}, {"_id": 1, "n": "hello"}),
}


@pytest.mark.parametrize(("spec", "expected"), SHOWN.values(), ids=SHOWN)
def test_shown(spec: Any, expected: Any) -> None:
    assert list(shown(DOCUMENT, spec).items()) == list(expected.items())


FLAGS = [
    "include",
    "no_id",
    "id_only",
    "all_but_id",
    "exclude",
    "path",
    "scalar_in_the_way",
    "absent_below",
    "array",
    "exclude_in_array",
]


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_kept_is_what_is_parsed(name: str) -> None:
    spec, expected = SHOWN[name]
    for _ in range(2):
        found = known_projection(spec)
        assert (found is not None) == (name in FLAGS)
        assert found is None or list(found.apply(DOCUMENT).items()) == list(expected.items())


@pytest.mark.parametrize("spec", [None, {}, ["a"], {"a.$": 1}, {"a": 1.0}, {"a": "$b"}, {1: 1}, {"$a": 1}], ids=str)
def test_what_is_not_kept(spec: Any) -> None:
    assert known_projection(spec) is None


@pytest.mark.parametrize("spec", [None, {}], ids=["none", "empty"])
def test_everything(spec: Any) -> None:
    assert parse_projection(spec) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"d.$": 1}, {"_id": 1, "d": [2]}),
        ({"d.$": 1, "a": 1}, {"_id": 1, "a": 5, "d": [2]}),
        ({"a.$": 1}, {"_id": 1, "a": 5}),
        ({"b.nothing.$": 1}, {"_id": 1, "b": {}}),
    ],
    ids=["element", "with_others", "no_array", "nothing"],
)
def test_positional(spec: Any, expected: Any) -> None:
    assert projected(spec).needs_position
    assert shown(DOCUMENT, spec, 1) == expected


def test_position_of_the_filter() -> None:
    node = parse({"d": {"$gt": 2}})
    projection = parse_projection({"d.$": 1}, node=node)
    assert projection is not None
    assert projection.apply(DOCUMENT, match_position(node, DOCUMENT)) == {"_id": 1, "d": [3]}


@pytest.mark.parametrize(("position", "code"), [(None, 51246), (9, 51247)], ids=["none", "beyond"])
def test_position_that_is_not_there(position: int | None, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        projected({"d.$": 1}).apply(DOCUMENT, position)
    assert caught.value.code == code


REFUSED = {
    "no_document": (5, 14),
    "exclusion_in_inclusion": ({"a": 1, "b": 0}, 31254),
    "inclusion_in_exclusion": ({"a": 0, "b": 1}, 31253),
    "computed_in_exclusion": ({"a": 0, "b": "$a"}, 31252),
    "below_a_leaf": ({"a": 1, "a.b": 1}, 31249),
    "above_a_leaf": ({"a.b": 1, "a": 1}, 31250),
    "empty": ({"": 1}, 40352),
    "empty_part": ({"a..b": 1}, 15998),
    "ends_with_dot": ({"a.": 1}, 40353),
    "dollar": ({"$a": 1}, 16410),
    "empty_object": ({"a": {}}, 51270),
    "elem_match_operand": ({"a": {"$elemMatch": 1}}, 31274),
    "elem_match_path": ({"a.b": {"$elemMatch": {"x": 1}}}, 31275),
    "elem_match_beside": ({"a": {"$elemMatch": {"x": 1}, "b": 1}}, 16410),
    "elem_match_after_positional": ({"a.$": 1, "b": {"$elemMatch": {"x": 1}}}, 31255),
    "elem_match_before_positional": ({"b": {"$elemMatch": {"x": 1}}, "a.$": 1}, 31256),
    "two_positionals": ({"a.$": 1, "b.$": 1}, 31276),
    "positional_inside": ({"a.$.b": 1}, 31394),
    "positional_text": ({"a.$": "x"}, 31308),
    "positional_document": ({"a.$": {"x": 1}}, 31271),
    "positional_exclusion": ({"a.$": 0}, 31395),
    "slice_limit": ({"a": {"$slice": [0, 0]}}, 31273),
    "slice_operand": ({"a": {"$slice": None}}, 28667),
    "slice_and_positional": ({"a.$": 1, "a": {"$slice": 1}}, 28667),
    "unknown_operator": ({"a": {"$inc": 1}}, 31325),
}


@pytest.mark.parametrize(("spec", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(spec: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_projection(spec)
    assert caught.value.code == code
    with pytest.raises(QueryError) as caught:
        known_projection(spec) or parse_projection(spec)
    assert caught.value.code == code


def test_positional_refuses_expr_in_the_filter() -> None:
    with pytest.raises(QueryError) as caught:
        projected({"a.$": 1}, {"a": 1, "$expr": True})
    assert caught.value.code == 224


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"s": {"$meta": "textScore"}}, {"a": 1, "b": 2, "s": 0.5}),
        ({"a": 1, "s": {"$meta": "textScore"}}, {"a": 1, "s": 0.5}),
        ({"a": 0, "s": {"$meta": "textScore"}}, {"b": 2, "s": 0.5}),
        ({"s": {"$meta": "searchScore"}}, {"a": 1, "b": 2}),
    ],
    ids=["alone", "inclusion", "exclusion", "unknown of the document"],
)
def test_meta_shows_what_a_document_carries(spec: dict, shown: dict) -> None:
    found = parse_projection(spec).apply({"a": 1, "b": 2, "$meta": {"textScore": 0.5}})
    found.pop("$meta", None)
    assert found == shown


def test_metadata_names_what_is_asked_for() -> None:
    assert parse_projection({"s": {"$meta": "textScore"}, "k": {"$meta": "indexKey"}}).metadata == {
        "textScore",
        "indexKey",
    }


@pytest.mark.parametrize(("value", "code"), [("nothing", 17308), (1, 17307)])
def test_meta_refuses_what_is_no_metadata(value: object, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_projection({"a": {"$meta": value}})
    assert caught.value.code == code


def test_meta_without_a_meaning_here_is_not_supported() -> None:
    with pytest.raises(NotSupportedError):
        parse_projection({"a": {"$meta": "recordId"}})


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"a": 1, "b.x": 1}, {"_id", "a", "b"}),
        ({"a": 1, "_id": 0}, {"a"}),
        ({"n": "$b.x"}, {"_id", "b"}),
        ({"n": "$$ROOT"}, None),
        ({"a": 0}, None),
    ],
    ids=["inclusion", "no_id", "computed", "whole_document", "exclusion"],
)
def test_fields(spec: Any, fields: set[str] | None) -> None:
    assert projected(spec).fields == fields


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({"a": 1, "b.x": 1}, {("_id",), ("a",), ("b", "x")}),
        ({"a": 1, "_id": 0}, {("a",)}),
    ],
    ids=["with_id", "without_id"],
)
def test_inclusion_paths(spec: Any, paths: set[tuple[str, ...]]) -> None:
    assert set(projected(spec).inclusion_paths or ()) == paths


@pytest.mark.parametrize(
    "spec",
    [{"a": 0}, {"a": {"$slice": 1}, "b": 1}, {"n": "$a"}, {"a.$": 1}],
    ids=["exclusion", "slice", "computed", "positional"],
)
def test_no_plain_inclusion(spec: Any) -> None:
    assert projected(spec).inclusion_paths is None


def test_let() -> None:
    projection = parse_projection({"n": {"$add": ["$a", "$$more"]}}, let={"more": 10})
    assert projection is not None
    assert projection.apply(DOCUMENT) == {"_id": 1, "n": 15}
