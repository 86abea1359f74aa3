"""Sort specifications and the bytes documents sort by."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.errors import QueryError
from docdb.language.collation import parse_collation
from docdb.language.sorting import parse_sort, sort_key


def ordered(documents: list[dict[str, Any]], spec: Any, collation: Any = None) -> list[dict[str, Any]]:
    return sorted(documents, key=sort_key(parse_sort(spec), collation))


SPECS = {
    "document": ({"a": 1, "b.c": -1}, ((("a",), 1), (("b", "c"), -1))),
    "pairs": ([("a", -1), ["b", 1]], ((("a",), -1), (("b",), 1))),
    "names": (["a", "b"], ((("a",), 1), (("b",), 1))),
    "words": ([("a", "desc"), ("b", "asc")], ((("a",), -1), (("b",), 1))),
    "numbers": ({"a": 1.0}, ((("a",), 1),)),
    "natural": ({"$natural": -1}, ((("$natural",), -1),)),
    "none": (None, ()),
    "empty": ({}, ()),
}


@pytest.mark.parametrize(("spec", "expected"), SPECS.values(), ids=SPECS)
def test_parse(spec: Any, expected: Any) -> None:
    assert parse_sort(spec) == expected


def test_parse_name_with_direction() -> None:
    assert parse_sort("a", -1) == ((("a",), -1),)


REFUSED = {
    "shape": (5, 14),
    "item": ([5], 14),
    "word_in_document": ({"a": "asc"}, 15974),
    "bool": ({"a": True}, 15974),
    "null": ({"a": None}, 15974),
    "two": ({"a": 2}, 15975),
    "fraction": ({"a": 1.5}, 15975),
    "document": ({"a": {"x": 1}}, 17312),
    "too_many": ({f"f{i}": 1 for i in range(33)}, 13103),
    "empty": ({"": 1}, 40352),
    "empty_part": ({"a..b": 1}, 15998),
    "ends_with_dot": ({"a.": 1}, 40353),
    "dollar": ({"$a": 1}, 16410),
    "twice": ([("a", 1), ("a", -1)], 2),
    "natural_with_others": ({"$natural": 1, "a": 1}, 2),
}


@pytest.mark.parametrize(("spec", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(spec: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_sort(spec)
    assert caught.value.code == code


def test_a_score_sorts_from_the_best() -> None:
    keys = parse_sort({"a": {"$meta": "textScore"}, "b": 1})
    documents = [
        {"b": 2, "$meta": {"textScore": 1.0}},
        {"b": 1, "$meta": {"textScore": 1.0}},
        {"$meta": {"textScore": 2.0}},
        {},
    ]
    assert sorted(documents, key=sort_key(keys)) == [documents[2], documents[1], documents[0], documents[3]]


def test_random_order_is_random() -> None:
    key = sort_key(parse_sort({"a": {"$meta": "randVal"}}))
    assert len({key({}) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("value", "code"), [({"$meta": "indexKey"}, 31138), ({"$meta": 1}, 31138), ({"$meta": "textScore", "x": 1}, 9)]
)
def test_sorting_refuses_other_metadata(value: dict, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_sort({"a": value})
    assert caught.value.code == code


ASCENDING = [{"a": []}, {"b": 1}, {"a": [9, -1]}, {"a": 0}, {"a": "x"}, {"a": {"x": 1}}, {"a": [[1]]}, {"a": True}]


def test_ascending() -> None:
    assert ordered(ASCENDING[::-1], {"a": 1}) == ASCENDING


def test_descending_goes_by_the_largest_element() -> None:
    documents = [{"a": [9, -1]}, {"a": 5}, {"a": [1, 2]}, {"a": None}, {"a": []}]
    assert ordered(documents[::-1], {"a": -1}) == documents


def test_missing_and_null_are_equal() -> None:
    key = sort_key(parse_sort({"a": 1}))
    assert key({}) == key({"a": None})


def test_general_form_agrees_with_the_form_for_one_name() -> None:
    one, two = sort_key(parse_sort({"a": 1})), sort_key(parse_sort({"a": 1, "z": 1}))
    assert sorted(ASCENDING, key=one) == sorted(ASCENDING, key=two)


PATHS = {
    "object": ("a.b", {"a": {"b": 3}}, 3),
    "array_of_objects": ("a.b", {"a": [{"b": 4}, {"b": 3}]}, 3),
    "element_without_it": ("a.b", {"a": [{"b": 4}, {}]}, None),
    "scalar_element": ("a.b", {"a": [5]}, None),
    "empty_array_on_the_way": ("a.b", {"a": []}, None),
    "scalar_on_the_way": ("a.b", {"a": 5}, None),
    "position": ("a.1", {"a": [9, 3]}, 3),
    "position_beyond": ("a.5", {"a": [9, 3]}, None),
    "number_as_name": ("a.0", {"a": [{"0": 3}]}, 3),
    "nested_arrays": ("a.b", {"a": [{"b": [7, 3]}, {"b": 9}]}, 3),
}


@pytest.mark.parametrize(("path", "document", "value"), PATHS.values(), ids=PATHS)
def test_paths(path: str, document: dict[str, Any], value: Any) -> None:
    key = sort_key(parse_sort({path: 1, "z": 1}))
    nested = sort_key(parse_sort({"v": 1, "z": 1}))
    assert key(document) == nested({"v": value})


def test_fields_of_one_array_vary_together() -> None:
    key = sort_key(parse_sort({"a.x": 1, "a.y": 1}))
    plain = sort_key(parse_sort({"x": 1, "y": 1}))
    assert key({"a": [{"x": 1, "y": 9}, {"x": 2, "y": 0}]}) == plain({"x": 1, "y": 9})


def test_two_arrays_are_refused() -> None:
    with pytest.raises(QueryError) as caught:
        sort_key(parse_sort({"a": 1, "b": 1}))({"a": [1], "b": [2]})
    assert caught.value.code == 2


def test_compound_with_direction() -> None:
    documents = [{"a": "x", "b": 2}, {"a": "x", "b": 1}, {"a": "xy", "b": 9}, {"a": "xy", "b": 0}]
    assert ordered(documents[::-1], [("a", 1), ("b", -1)]) == documents


def test_collation() -> None:
    collation = parse_collation({"locale": "en", "strength": 2})
    assert ordered([{"a": "b"}, {"a": "A"}, {"a": "C"}], {"a": 1}, collation) == [{"a": "A"}, {"a": "b"}, {"a": "C"}]
