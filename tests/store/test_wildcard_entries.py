"""Entries of wildcard indexes: leaves and their paths, marks of arrays, scopes, compound forms, writes and builds."""

from __future__ import annotations

import pytest

import docdb
from docdb.errors import DocumentError
from docdb.language.order import EMPTY_ARRAY_KEY, MIN_KEY, NULL_KEY, order_key
from docdb.store import codec
from docdb.store.keyspace import index_prefix, is_cut, is_multikey
from docdb.store.wildcard_entries import WildcardEntryMaker, WildcardScope, array_mark, path_component

ID = order_key(1)
ALL = ((("$**",), 1),)


def components(document, keys=ALL, projection=None):
    """What stands between the index number and the id."""
    made = WildcardEntryMaker(7, keys, projection, None).entries(ID, codec.encode({"_id": 1, **document}))
    assert all(key.startswith(index_prefix(7)) and key.endswith(ID) for key, _ in made)
    return {key[4 : -len(ID)] for key, _ in made}


def given(value):
    """Name a test by what is given; what is expected is a set, whose order differs between processes."""
    return "" if isinstance(value, set) else str(value)


def leaf(path, value):
    return path_component(tuple(path.split("."))) + order_key(value)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": 1}, {leaf("a", 1)}),
        ({"a": None}, {leaf("a", None)}),
        ({"a": {"b": "x", "c": {"d": True}}}, {leaf("a.b", "x"), leaf("a.c.d", True)}),
        ({"a": {}}, {leaf("a", {})}),
        ({"a": [1, 2]}, {array_mark(("a",)), leaf("a", 1), leaf("a", 2)}),
        ({"a": []}, {array_mark(("a",)), path_component(("a",)) + EMPTY_ARRAY_KEY}),
        (
            {"a": [{"b": 1}, {"b": 2}, 3, {}]},
            {array_mark(("a",)), leaf("a.b", 1), leaf("a.b", 2), leaf("a", 3), leaf("a", {})},
        ),
        ({"a": [[1, 2]]}, {array_mark(("a",)), leaf("a", [1, 2])}),
        ({"a": {"b": [1]}}, {array_mark(("a", "b")), leaf("a.b", 1)}),
        ({}, set()),
    ],
    ids=given,
)
def test_leaves(document, expected):
    assert components(document) == expected


DOCUMENT = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}


@pytest.mark.parametrize(
    ("name", "projection", "expected"),
    [
        ("$**", {"_id": 1}, {leaf("_id", 1)}),
        ("$**", {"_id": 1, "b": 1}, {leaf("_id", 1), leaf("b", 3)}),
        ("$**", {"a": 1}, {leaf("a.x", 1), leaf("a.y.z", 2)}),
        ("$**", {"a.y": 1}, {leaf("a.y.z", 2)}),
        ("$**", {"a": 0}, {leaf("b", 3)}),
        ("$**", {"a.y": 0}, {leaf("a.x", 1), leaf("b", 3)}),
        ("$**", {"_id": 1, "a": 0}, {leaf("_id", 1), leaf("b", 3)}),
        ("a.$**", None, {leaf("a.x", 1), leaf("a.y.z", 2)}),
        ("a.y.$**", None, {leaf("a.y.z", 2)}),
    ],
    ids=given,
)
def test_scopes(name, projection, expected):
    assert components(DOCUMENT, ((tuple(name.split(".")), 1),), projection) == expected


def test_what_a_scope_holds():
    scope = WildcardScope.of(("$**",), {"a.y": 0})
    assert [scope.holds(path) for path in (("a",), ("a", "y"), ("a", "x"), ("_id",))] == [True, False, True, False]
    assert [scope.holds_all_below(path) for path in (("a",), ("a", "x"))] == [False, True]


def test_marks_and_types():
    maker = WildcardEntryMaker(7, ((("$**",), -1),), None, None)
    plain = maker.entries(ID, codec.encode({"_id": 1, "n": 1.5}))
    assert [value for _, value in plain] == [bytes((len(ID), 0, 3))]
    several = maker.entries(ID, codec.encode({"_id": 1, "n": 1.5, "m": [1]}))
    assert all(is_multikey(value) for _, value in several)
    ((_, value),) = maker.entries(ID, codec.encode({"_id": 1, "n": "x" * 600}))
    assert is_cut(value)


def test_compound_entries():
    keys = ((("a",), 1), (("$**",), 1), (("c",), 1))
    projection = {"a": False, "c": False}
    a, c = order_key("k"), order_key(9)
    assert components({"a": "k", "b": 5, "c": 9}, keys, projection) == {
        a + leaf("b", 5) + c, a + MIN_KEY + NULL_KEY + c,
    }  # fmt: skip
    with pytest.raises(DocumentError) as caught:
        components({"a": ["k"], "b": 5}, keys, projection)
    assert caught.value.code == 7246301


def test_writes_keep_the_entries():
    with docdb.open(":memory:") as database:
        things = database["things"]
        things.create_index([("$**", 1)])
        things.create_index([("k", 1), ("deep.$**", -1)])
        things.insert_many([{"_id": i, "k": i % 3, "deep": {"x": i, "y": [i, {"z": i}]}} for i in range(60)])
        things.update_many({"k": 1}, {"$set": {"deep.y.1": {"w": 1}, "new": {"field": 1}}})
        things.update_many({"deep.x": {"$gt": 40}}, {"$unset": {"deep": 1}})
        things.delete_many({"new.field": 1, "deep.y.w": 1})
        things.replace_one({"_id": 0}, {"k": 7, "deep": []})
        assert database.check().ok
        assert [d["_id"] for d in things.find({"deep.y.z": {"$lt": 4}})] == [2, 3]
        assert things.count_documents({"k": 7}) == 1


def test_an_index_built_later_is_the_index_built_first(tmp_path):
    rows = [{"_id": i, f"f{i % 7}": {"v": i % 50}} for i in range(4_000)]
    counts = []
    for first in (True, False):
        with docdb.open(tmp_path / f"{first}.docdb") as database:
            things = database["things"]
            if first:
                things.create_index([("$**", 1)])
            things.insert_many(rows)
            things.create_index([("$**", 1)])
            (stats,) = [row for row in things.aggregate([{"$indexStats": {}}]) if row["name"] == "$**_1"]
            counts.append((stats["entries"], things.count_documents({"f3.v": 10})))
            assert things.find({"f3.v": 10}).explain()["index"] == "$**_1"
    assert counts == [counts[0]] * 2
    assert counts[0][0] == 4_000
