"""What a write does to a document."""

from __future__ import annotations

import copy
import datetime as dt
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb.errors import DocumentError, UpdateError
from docdb.language.collation import parse_collation
from docdb.language.server_date import ServerDate, resolve_server_dates
from docdb.language.updates import Command, ComputedUpdate, parse_update, upsert_base
from docdb.language.values import Int64, Timestamp

NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def apply(
    document: dict[str, Any], update: Any, *, position: int | None = None, inserting: bool = False, **options: Any
) -> Any:
    before = copy.deepcopy(document)
    new = parse_update(update, **options).apply(document, position=position, now=NOW, inserting=inserting)
    assert document == before
    return new


FIELDS = {
    "set": ({"a": 1}, {"$set": {"a": 2}}, {"a": 2}),
    "set_path": ({}, {"$set": {"a.b.c": 1}}, {"a": {"b": {"c": 1}}}),
    "set_element": ({"a": [1, 2]}, {"$set": {"a.1": 3}}, {"a": [1, 3]}),
    "set_pads": ({"a": [1]}, {"$set": {"a.3": 3}}, {"a": [1, None, None, 3]}),
    "set_number_in_object": ({"a": {}}, {"$set": {"a.0": 3}}, {"a": {"0": 3}}),
    "set_number_below_nothing": ({}, {"$set": {"a.0": 3}}, {"a": {"0": 3}}),
    "unset": ({"a": 1, "b": 2}, {"$unset": {"a": ""}}, {"b": 2}),
    "unset_element": ({"a": [1, 2]}, {"$unset": {"a.0": 1}}, {"a": [None, 2]}),
    "unset_below_scalar": ({"a": 1}, {"$unset": {"a.b": 1}}, {"a": 1}),
    "inc_missing": ({}, {"$inc": {"n": 5}}, {"n": 5}),
    "inc": ({"n": 1}, {"$inc": {"n": -3}}, {"n": -2}),
    "mul_missing": ({}, {"$mul": {"n": 5}}, {"n": 0}),
    "min_smaller": ({"n": 5}, {"$min": {"n": 3}}, {"n": 3}),
    "min_larger": ({"n": 5}, {"$min": {"n": 7}}, {"n": 5}),
    "max_across_types": ({"n": 5}, {"$max": {"n": "x"}}, {"n": "x"}),
    "max_missing": ({}, {"$max": {"n": None}}, {"n": None}),
    "rename": ({"a": 1, "b": 2}, {"$rename": {"a": "c.d"}}, {"b": 2, "c": {"d": 1}}),
    "rename_over": ({"a": 1, "b": 2}, {"$rename": {"a": "b"}}, {"b": 1}),
    "rename_missing": ({"b": 2}, {"$rename": {"a": "b"}}, {"b": 2}),
    "current_date": ({}, {"$currentDate": {"a": True}}, {"a": NOW}),
    "current_timestamp": (
        {},
        {"$currentDate": {"a": {"$type": "timestamp"}}},
        {"a": Timestamp(int(NOW.timestamp()), 1)},
    ),
    "bit": ({"n": 13}, {"$bit": {"n": {"and": 10, "or": 1}}}, {"n": 9}),
    "set_on_insert_ignored": ({"a": 1}, {"$setOnInsert": {"b": 2}}, {"a": 1}),
    "empty_operand": ({"a": 1}, {"$set": {}}, {"a": 1}),
}


@pytest.mark.parametrize(("document", "update", "expected"), FIELDS.values(), ids=FIELDS)
def test_field_operators(document: Any, update: Any, expected: Any) -> None:
    assert apply({"_id": 1, **document}, update) == {"_id": 1, **expected}


ARRAYS = {
    "push": ([1], {"$push": {"a": 2}}, [1, 2]),
    "push_array_as_element": ([1], {"$push": {"a": [2]}}, [1, [2]]),
    "push_each": ([1], {"$push": {"a": {"$each": [2, 3]}}}, [1, 2, 3]),
    "push_position": ([1, 4], {"$push": {"a": {"$each": [2, 3], "$position": 1}}}, [1, 2, 3, 4]),
    "push_position_from_end": ([1, 4], {"$push": {"a": {"$each": [3], "$position": -1}}}, [1, 3, 4]),
    "push_sort_slice": ([3, 1], {"$push": {"a": {"$each": [2], "$sort": -1, "$slice": 2}}}, [3, 2]),
    "push_last": ([1, 2], {"$push": {"a": {"$each": [3], "$slice": -2}}}, [2, 3]),
    "push_none": ([1, 2], {"$push": {"a": {"$each": [], "$slice": 0}}}, []),
    "push_sort_by_field": (
        [{"k": 2}, {"k": 1}, 5], {"$push": {"a": {"$each": [{"k": 3}], "$sort": {"k": -1}}}}, [{"k": 3}, {"k": 2}, {"k": 1}, 5],
    ),
    "add_to_set": ([1, 2], {"$addToSet": {"a": {"$each": [2.0, 3, 3]}}}, [1, 2, 3]),
    "add_to_set_bool": ([1], {"$addToSet": {"a": True}}, [1, True]),
    "pop": ([1, 2], {"$pop": {"a": 1}}, [1]),
    "shift": ([1, 2], {"$pop": {"a": -1}}, [2]),
    "pull_value": ([1, 2, 1.0], {"$pull": {"a": 1}}, [2]),
    "pull_condition": ([1, 5, 9], {"$pull": {"a": {"$gte": 5}}}, [1]),
    "pull_document": ([{"x": 1, "y": 2}, {"x": 2}], {"$pull": {"a": {"x": 1}}}, [{"x": 2}]),
    "pull_all": ([1, 2, 3, 2], {"$pullAll": {"a": [2, 3]}}, [1]),
    "all_elements": ([1, 2], {"$inc": {"a.$[]": 1}}, [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize(("array", "update", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_array_operators(array: Any, update: Any, expected: Any) -> None:
    assert apply({"_id": 1, "a": array}, update)["a"] == expected


@pytest.mark.parametrize("update", [{"$push": {"a": 1}}, {"$addToSet": {"a": 1}}], ids=["push", "addToSet"])
def test_adding_makes_the_array(update: Any) -> None:
    assert apply({"_id": 1}, update) == {"_id": 1, "a": [1]}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 2, 3), (2**31 - 1, 1, 2**31), (1, Int64(2), Int64(3)), (1, 2.5, 3.5), (1, Decimal("0.10"), Decimal("1.10")),
        (0.1, Decimal(1), Decimal("1.100000000000000")),
    ],
    ids=["int", "grows_to_long", "long", "double", "decimal", "double_and_decimal"],
)  # fmt: skip
def test_sum_has_the_wider_type(left: Any, right: Any, expected: Any) -> None:
    result = apply({"_id": 1, "n": left}, {"$inc": {"n": right}})["n"]
    assert (type(result), str(result)) == (type(expected), str(expected))


NO_CHANGE = {
    "set_same": ({"a": {"b": [1]}}, {"$set": {"a": {"b": [1]}}}),
    "inc_zero": ({"n": 1}, {"$inc": {"n": 0}}),
    "negative_zero": ({"n": -0.0}, {"$inc": {"n": 0.0}}),
    "unset_absent": ({}, {"$unset": {"a": ""}}),
    "pop_empty": ({"a": []}, {"$pop": {"a": 1}}),
    "pull_nothing": ({"a": [1]}, {"$pull": {"a": 2}}),
    "add_present": ({"a": [1]}, {"$addToSet": {"a": 1}}),
    "rename_absent": ({"b": 1}, {"$rename": {"a": "c"}}),
}


@pytest.mark.parametrize(("document", "update"), NO_CHANGE.values(), ids=NO_CHANGE)
def test_no_change_gives_the_same_object(document: Any, update: Any) -> None:
    assert parse_update(update).apply(document, now=NOW) is document


@pytest.mark.parametrize(("old", "new"), [(1, 1.0), (1, Int64(1)), (0.0, -0.0)], ids=["double", "long", "sign_of_zero"])
def test_another_type_is_a_change(old: Any, new: Any) -> None:
    result = apply({"_id": 1, "a": old}, {"$set": {"a": new}})["a"]
    assert (type(result), repr(result)) == (type(new), repr(new))


def test_new_fields_are_appended_in_the_order_of_their_names() -> None:
    assert list(apply({"_id": 1, "m": 0}, {"$set": {"z": 1, "b": 2, "m": 3}, "$inc": {"a": 1}})) == [
        "_id",
        "m",
        "a",
        "b",
        "z",
    ]


def test_numeric_names_are_visited_by_value() -> None:
    assert apply({"_id": 1, "a": []}, {"$set": {"a.10": 10, "a.9": 9}})["a"] == [None] * 9 + [9, 10]


def test_what_does_not_change_is_shared() -> None:
    document = {"_id": 1, "a": {"x": 1}, "b": {"y": 1}}
    assert apply(document, {"$set": {"a.x": 2}})["b"] is document["b"]


def test_positional() -> None:
    update = parse_update({"$set": {"a.$.x": 9}})
    assert update.needs_position
    assert update.apply({"_id": 1, "a": [{"x": 1}, {"x": 2}]}, position=1, now=NOW) == {
        "_id": 1,
        "a": [{"x": 1}, {"x": 9}],
    }


def test_array_filters() -> None:
    document = {"_id": 1, "a": [{"k": 1, "v": [1, 5]}, {"k": 2, "v": [6]}]}
    new = apply(document, {"$set": {"a.$[e].v.$[x]": 0}}, array_filters=[{"e.k": 1}, {"x": {"$gt": 2}}])
    assert new == {"_id": 1, "a": [{"k": 1, "v": [1, 0]}, {"k": 2, "v": [6]}]}


def test_two_filters_may_meet_at_one_element() -> None:
    new = apply(
        {"_id": 1, "a": [{"k": 1}]},
        {"$set": {"a.$[x].p": 1, "a.$[y].q": 2}},
        array_filters=[{"x.k": 1}, {"y.k": {"$gt": 0}}],
    )
    assert new == {"_id": 1, "a": [{"k": 1, "p": 1, "q": 2}]}


def test_two_filters_may_not_change_one_path() -> None:
    with pytest.raises(UpdateError) as caught:
        apply({"_id": 1, "a": [5]}, {"$set": {"a.$[x]": 1}, "$inc": {"a.$[y]": 2}}, array_filters=[{"x": 5}, {"y": 5}])
    assert caught.value.code == 40


REFUSED = {
    "not_a_document": (5, 9),
    "unknown_operator": ({"$sett": {"a": 1}}, 9),
    "mixture": ({"$set": {"a": 1}, "b": 2}, 9),
    "operand": ({"$set": 5}, 9),
    "same_path": ({"$set": {"a": 1}, "$inc": {"a": 1}}, 40),
    "path_below": ({"$set": {"a": 1, "a.b": 2}}, 40),
    "selector_and_name": ({"$set": {"a.$[]": 1, "a.0": 2}}, 40),
    "empty_part": ({"$set": {"a..b": 1}}, 56),
    "empty_name": ({"$set": {"": 1}}, 56),
    "dollar_name": ({"$set": {"a.$b": 1}}, 52),
    "bare_positional": ({"$set": {"$": 1}}, 2),
    "two_positionals": ({"$set": {"a.$.b.$": 1}}, 2),
    "bad_selector": ({"$set": {"a.$[1x]": 1}}, 2),
    "missing_filter": ({"$set": {"a.$[x]": 1}}, 2),
    "nul": ({"$rename": {"a": "b\0c"}}, 9867600),
    "inc_text": ({"$inc": {"a": "1"}}, 14),
    "inc_bool": ({"$inc": {"a": True}}, 14),
    "bit_operation": ({"$bit": {"a": {"not": 1}}}, 2),
    "bit_float": ({"$bit": {"a": {"and": 1.0}}}, 2),
    "current_date": ({"$currentDate": {"a": "date"}}, 2),
    "rename_itself": ({"$rename": {"a": "a"}}, 2),
    "rename_below": ({"$rename": {"a": "a.b"}}, 2),
    "rename_chain": ({"$rename": {"a": "b", "b": "c"}}, 40),
    "rename_to_number": ({"$rename": {"a": 1}}, 2),
    "push_each": ({"$push": {"a": {"$each": 1}}}, 2),
    "push_modifier": ({"$push": {"a": {"$each": [], "$x": 1}}}, 2),
    "push_position": ({"$push": {"a": {"$each": [], "$position": 1.5}}}, 2),
    "push_sort": ({"$push": {"a": {"$each": [], "$sort": {"k": 2}}}}, 2),
    "add_each": ({"$addToSet": {"a": {"$each": 1}}}, 14),
    "add_modifier": ({"$addToSet": {"a": {"$each": [], "$slice": 1}}}, 2),
    "pop": ({"$pop": {"a": 2}}, 9),
    "pull_all": ({"$pullAll": {"a": 1}}, 2),
}


@pytest.mark.parametrize(("update", "code"), REFUSED.values(), ids=REFUSED)
def test_refused_when_parsed(update: Any, code: int) -> None:
    with pytest.raises(UpdateError) as caught:
        parse_update(update)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ([{"x": 1}, {"y": 1}], 9),
        ([{"x": 1}, {"x": 2}], 9),
        ([{"x": 1, "y": 1}], 9),
        ([{"$expr": True}], 224),
        (["x"], 14),
        ({"x": 1}, 14),
    ],
    ids=["unused", "twice", "two_names", "expr", "text", "no_list"],
)
def test_refused_array_filters(filters: Any, code: int) -> None:
    with pytest.raises(UpdateError) as caught:
        parse_update({"$set": {"a.$[x]": 1}}, array_filters=filters)
    assert caught.value.code == code


IMPOSSIBLE = {
    "below_scalar": ({"a": 1}, {"$set": {"a.b": 1}}, 28),
    "name_in_array": ({"a": [1]}, {"$inc": {"a.b": 1}}, 28),
    "pop_below_scalar": ({"a": 1}, {"$pop": {"a.b": 1}}, 28),
    "inc_text": ({"a": "x"}, {"$inc": {"a": 1}}, 14),
    "overflow": ({"a": 2**63 - 1}, {"$inc": {"a": 1}}, 2),
    "push_scalar": ({"a": 1}, {"$push": {"a": 1}}, 2),
    "pop_scalar": ({"a": 1}, {"$pop": {"a": 1}}, 14),
    "bit_text": ({"a": "x"}, {"$bit": {"a": {"or": 1}}}, 2),
    "all_of_no_array": ({"a": 1}, {"$set": {"a.$[]": 1}}, 2),
    "all_of_nothing": ({}, {"$set": {"a.$[]": 1}}, 2),
    "no_position": ({"a": [1]}, {"$set": {"a.$": 1}}, 2),
    "padding": ({"a": []}, {"$set": {"a.1500002": 1}}, 166),
    "change_id": ({}, {"$set": {"_id": 2}}, 66),
    "unset_id": ({}, {"$unset": {"_id": 1}}, 66),
    "rename_to_id": ({"a": 1}, {"$rename": {"a": "_id"}}, 66),
    "rename_from_array": ({"a": [1]}, {"$rename": {"a.0": "b"}}, 2),
    "rename_into_array": ({"a": [1], "b": 1}, {"$rename": {"b": "a.0"}}, 2),
    "rename_below_scalar": ({"a": 1}, {"$rename": {"a.b": "c"}}, 28),
}


@pytest.mark.parametrize(("document", "update", "code"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_for_a_document(document: Any, update: Any, code: int) -> None:
    with pytest.raises(UpdateError) as caught:
        apply({"_id": 1, **document}, update)
    assert caught.value.code == code


def test_equal_id_keeps_its_type() -> None:
    assert type(apply({"_id": 1}, {"$set": {"_id": 1.0, "a": 1}})["_id"]) is int


def test_error_names_path_and_cure() -> None:
    with pytest.raises(UpdateError, match=r"did you mean \$inc") as caught:
        parse_update({"$incc": {"a": 1}})
    assert caught.value.path == "$incc"


def test_bad_value_names_its_path() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_update({"$set": {"a": {"b": {1, 2}}}})
    assert caught.value.path == "$set.a.b"


def test_collation_decides_what_is_equal() -> None:
    collation = parse_collation({"locale": "en", "strength": 2})
    assert apply({"_id": 1, "a": ["X"]}, {"$addToSet": {"a": "x"}}, collation=collation)["a"] == ["X"]
    assert apply({"_id": 1, "a": ["X"]}, {"$pull": {"a": "x"}}, collation=collation)["a"] == []


# Replacements


def test_replacement_keeps_the_id_in_front() -> None:
    new = apply({"_id": 1, "a": 1}, {"b": 2}, replacement=True)
    assert list(new.items()) == [("_id", 1), ("b", 2)]


@pytest.mark.parametrize(("replacement", "code"), [({"_id": 2}, 66), ({"$set": {"a": 1}}, 52)], ids=["id", "operator"])
def test_refused_replacement(replacement: Any, code: int) -> None:
    with pytest.raises(UpdateError) as caught:
        apply({"_id": 1}, replacement, replacement=True)
    assert caught.value.code == code


def test_same_replacement_is_no_change() -> None:
    document = {"_id": 1, "a": 1}
    update = parse_update({"a": 1}, replacement=True)
    assert update.is_replacement
    assert update.apply(document, now=NOW) is document


# The merge form


MERGES = {
    "deep": ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
    "array_whole": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "dotted": ({"a": {"x": 1}}, {"a.y": 2}, {"a": {"x": 1, "y": 2}}),
    "command": ({"n": 1}, {"n": Command("$inc", 2)}, {"n": 3}),
    "deep_command": ({}, {"a": {"n": Command("$inc", 2)}}, {"a": {"n": 2}}),
    "exact": ({"a": {"x": 1}}, {"a": Command("$set", {"y": 2})}, {"a": {"y": 2}}),
    "remove": ({"a": {"x": 1, "y": 2}}, {"a": {"x": Command("$unset", "")}}, {"a": {"y": 2}}),
    "empty_absent": ({}, {"a": {}}, {"a": {}}),
    "empty_over_scalar": ({"a": 5}, {"a": {}}, {"a": {}}),
    "empty_keeps_object": ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}),
    "position": ({"a": [{"k": 1}]}, {"a": {0: {"k": Command("$inc", 1)}}}, {"a": [{"k": 2}]}),
    "position_as_text": ({"a": [1, 2]}, {"a": {"1": 5}}, {"a": [1, 5]}),
    "server_date": ({}, {"a": {"at": ServerDate(1000)}}, {"a": {"at": NOW + dt.timedelta(seconds=1)}}),
    "server_date_in_command": ({}, {"a": Command("$push", {"$each": [ServerDate()]})}, {"a": [NOW]}),
}


@pytest.mark.parametrize(("document", "data", "expected"), MERGES.values(), ids=MERGES)
def test_merge_form(document: Any, data: Any, expected: Any) -> None:
    assert apply({"_id": 1, **document}, data, merge=True) == {"_id": 1, **expected}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"a": 1, "$set": {"b": 1}}, 9),
        ({"a": {"$inc": 1}}, 9),
        ({"a": Command("$xyz", 1)}, 9),
        ({"a": {"b": 1}, "a.b": 2}, 40),
    ],
    ids=["mixture", "nested_operator", "unknown_command", "conflict"],
)
def test_refused_merge(data: Any, code: int) -> None:
    with pytest.raises(UpdateError) as caught:
        parse_update(data, merge=True)
    assert caught.value.code == code


def test_server_dates_are_resolved_per_statement() -> None:
    update = parse_update({"$set": {"at": ServerDate()}})
    later = NOW + dt.timedelta(hours=1)
    assert update.apply({}, now=NOW) == {"at": NOW}
    assert update.apply({}, now=later) == {"at": later}


def test_value_without_server_dates_stays_itself() -> None:
    value = {"a": [1, {"b": 2}]}
    assert resolve_server_dates(value, NOW) is value


# Upserts


BASES = {
    "equality": ({"a": 1, "b.c": 2}, {"a": 1, "b": {"c": 2}}),
    "id_first": ({"a": 1, "_id": 7}, {"_id": 7, "a": 1}),
    "below_id": ({"_id.x": 1}, {"_id": {"x": 1}}),
    "and": ({"$and": [{"a": 1}, {"b": {"$eq": 2}}]}, {"a": 1, "b": 2}),
    "in_with_one": ({"a": {"$in": [3]}}, {"a": 3}),
    "others": ({"a": {"$gt": 1}, "b": {"$in": [1, 2]}, "c": {"$ne": 1}, "$or": [{"d": 1}, {"e": 1}]}, {}),
    "null": ({"a": None}, {"a": None}),
}


@pytest.mark.parametrize(("condition", "expected"), BASES.values(), ids=BASES)
def test_upsert_base(condition: Any, expected: Any) -> None:
    assert list(upsert_base(condition).items()) == list(expected.items())


@pytest.mark.parametrize(
    "condition", [{"$and": [{"a": 1}, {"a": 2}]}, {"a": {"b": 1}, "a.b": 1}], ids=["twice", "prefix"]
)
def test_upsert_base_refuses_two_values(condition: Any) -> None:
    with pytest.raises(UpdateError) as caught:
        upsert_base(condition)
    assert caught.value.code == 54


def test_set_on_insert() -> None:
    assert apply({"a": 1}, {"$setOnInsert": {"b": 2, "_id": 9}}, inserting=True) == {"_id": 9, "a": 1, "b": 2}


def test_set_on_insert_cannot_change_the_id_of_the_filter() -> None:
    with pytest.raises(UpdateError) as caught:
        apply(upsert_base({"_id": 1}), {"$setOnInsert": {"_id": 2}}, inserting=True)
    assert caught.value.code == 66


def test_computed_update_keeps_the_id() -> None:
    update = ComputedUpdate(lambda document: {"n": document["n"] + 1})
    assert update.apply({"_id": 1, "n": 1}, now=NOW) == {"_id": 1, "n": 2}


def test_paths() -> None:
    assert parse_update({"$set": {"a.b": 1}, "$inc": {"c": 1}}).paths == {("a", "b"), ("c",)}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
paths = st.lists(st.sampled_from(["a", "b", "0", "1"]), min_size=1, max_size=3).map(".".join)


@given(st.dictionaries(st.sampled_from("ab"), values, max_size=2), paths, values)
def test_set_then_set_again_is_no_change(document: dict[str, Any], path: str, value: Any) -> None:
    update = parse_update({"$set": {path: value}})
    try:
        once = update.apply(document, now=NOW)
    except UpdateError as error:
        assert error.code == 28
    else:
        assert update.apply(once, now=NOW) is once


FLAT_DOCUMENTS: list[dict[str, Any]] = [
    {"_id": 1}, {"_id": 1, "b": 2, "a": 1}, {"_id": 1, "a": "text"}, {"_id": 1, "a": -0.0, "c": None}, {"a": 1.0},
    {"_id": 1, "a": {"b": 1}}, {"_id": 1, "a": [1]},
]  # fmt: skip
FLAT_OPERANDS: list[Any] = [
    1,
    0,
    -0.0,
    1.5,
    2**63 - 1,
    2**63,
    True,
    None,
    "text",
    "é",
    "\ud800",
    Int64(1),
    Decimal(1),
    {"b": 1},
    [1],
]


def outcome(document: dict[str, Any], update: Any) -> Any:
    try:
        return repr(apply(document, update))
    except (UpdateError, DocumentError) as error:
        return type(error), error.message, error.path, error.code


@pytest.mark.parametrize("name", ["a", "b", "_id", "a.b", "0", "", "$a", "é", "a b"])
@pytest.mark.parametrize(
    "operator", ["$set", "$inc", "$mul", "$min", "$max", "$unset", "$push", "$setOnInsert", "$sett"]
)
def test_flat_updates_do_as_all_others(operator: str, name: str) -> None:
    for operand in FLAT_OPERANDS:
        for more in (
            {},
            {"$set": {"z": 1}},
            {"$set": {"z": 1, "b": 2}},
            {"$inc": {"c": 1, "a": 2}},
            {"$unset": {"a": ""}},
        ):
            update = {operator: {name: operand}, **more}
            for document in FLAT_DOCUMENTS:
                assert outcome(document, update) == outcome(document, MappingProxyType(update))


def test_the_paths_of_a_flat_update() -> None:
    assert parse_update({"$set": {"a": 1, "b": 2}, "$inc": {"c": 1}}).paths == {("a",), ("b",), ("c",)}
