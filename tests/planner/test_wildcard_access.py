"""Wildcard indexes give what a brute-force matcher gives: random documents, projections, compound forms, filters and orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docdb
from docdb.errors import DocumentError, IndexDefinitionError, QueryError
from docdb.planner.planner import plan
from docdb.store import codec
from tests.planner.fakes import FakeView, index, query
from tests.planner.test_all_plans import COLLATIONS, DOCUMENTS, FILTERS, PATHS, SORTS, delivered, expected, quick

PROJECTIONS = st.sampled_from(
    [
        None,
        None,
        {"a": True},
        {"a.x": True, "b": True},
        {"c": False},
        {"a.x": False},
        {"_id": True, "a": True},
        {"_id": True},
    ]
)
FIELDS = st.sampled_from([{"$**": 1}, {"$**": -1}, {"a.$**": 1}, {"a.x.$**": -1}])
COMPOUND = st.sampled_from(
    [
        ({"a": 1, "$**": 1}, {"a": False}), ({"a": -1, "$**": -1, "c": 1}, {"a": False, "c": False}),
        ({"$**": 1, "b": 1}, {"a": True, "c": True}), ({"b": 1, "c": 1, "a.$**": 1}, None), ({"c": 1, "a.$**": -1}, None),
    ]
)  # fmt: skip
PARTIALS = st.sampled_from([None, None, {"a": {"$gt": 0}}, {"c": {"$exists": True}}])


def build(rows: list[dict[str, Any]], keys: dict[str, int], **more: Any) -> FakeView | None:
    documents = [{"_id": number, **row} for number, row in enumerate(rows)]
    try:
        return FakeView(documents, index(1, keys, **more))
    except DocumentError:  # an array beside the wildcard
        return None


def check(view: FakeView, asked: Any, keys: dict[str, int], hinted: bool) -> None:
    """The plan gives the matches, by choice and, where the index can, by hint."""
    wanted = expected(view, asked)
    assert delivered(view, asked) == wanted
    if not hinted:
        return
    forced = asked._replace(hint=tuple(keys.items()))
    try:
        made = plan(forced, view)
    except QueryError as error:
        assert error.code == 291
        return
    assert delivered(view, forced) == wanted
    assert made.count(view) == len(wanted)
    assert sorted(k for batch in made.select(view) for k, _ in batch) == sorted(
        k for k, d in view.documents if codec.decode(d)["_id"] in {i for _, i in wanted}
    )


@quick
@given(DOCUMENTS, FIELDS, PROJECTIONS, FILTERS, SORTS, COLLATIONS, PARTIALS)
def test_one_field(rows: Any, keys: Any, projection: Any, filter: Any, sort: Any, collation: Any, partial: Any) -> None:
    projection = projection if "$**" in keys else None
    view = build(rows, keys, projection=projection, collation=collation, partial=partial)
    asked = query(filter, sort=sort, collation=collation)
    assert view is not None
    check(view, asked, keys, partial is None)
    other = query(filter, sort=sort)
    check(view, other, keys, partial is None)


@quick
@given(DOCUMENTS, COMPOUND, FILTERS, SORTS)
def test_compound(rows: Any, definition: Any, filter: Any, sort: Any) -> None:
    keys, projection = definition
    view = build(rows, keys, projection=projection)
    if view is not None:
        check(view, query(filter, sort=sort), keys, True)


@quick
@given(DOCUMENTS, FIELDS, FILTERS, st.sampled_from(PATHS), st.integers(1, 4))
def test_pages_projections_and_distinct(rows: Any, keys: Any, filter: Any, path: Any, limit: int) -> None:
    view, bare = build(rows, keys), FakeView([{"_id": number, **row} for number, row in enumerate(rows)])
    assert view is not None
    expected(view, query(filter, sort={path: 1}))
    token: str | None = ""
    found: list[Any] = []
    while token is not None:
        page = plan(query(filter, sort={path: 1}, limit=limit, after=token), view)
        found += [d["_id"] for batch in page.run(view) for d in batch]
        token = page.token()
    assert sorted(found) == sorted(i for _, i in expected(view, query(filter)))
    distinct = [sorted(map(repr, plan(query(filter), v).distinct(v, path))) for v in (view, bare)]
    assert distinct[0] == distinct[1]


@pytest.fixture
def things():
    with docdb.open(":memory:") as database:
        yield database["things"]


def ids(found: Any) -> list[Any]:
    return [document["_id"] for document in found]


def test_the_planner_takes_the_path(things):
    things.create_index([("$**", 1)])
    things.insert_many([{"_id": i, "n": i % 500, "deep": {"er": f"x{i % 400}"}, "tags": [i % 3]} for i in range(2_000)])
    shown = things.find({"deep.er": "x7"}).explain()
    assert (shown["access"], shown["index"], shown["filter"], shown["returned"]) == ("IndexScan", "$**_1", "none", 5)
    assert shown["keys"] == {"$_path": 1, "deep.er": 1}
    assert shown["bounds"] == {"$_path": ["['deep.er']"], "deep.er": ["['x7']"]}
    assert shown["entries_examined"] == 5
    shown = things.find({"n": {"$gte": 490}}).sort("n", -1).limit(3).explain()
    assert (shown["sort"], shown["documents_examined"]) == ("index", 3)
    assert ids(things.find({"tags": 2, "n": 8})) == [8, 1508]
    assert things.find({"$or": [{"n": 3}, {"deep.er": "x4"}]}).explain()["access"] == "IndexUnion"


def test_an_array_on_the_path_alone_forbids_the_order(things):
    things.create_index([("$**", 1)])
    things.insert_many([{"_id": i, "n": i, "m": [i, -i]} for i in range(100)])
    assert things.find({"n": {"$gt": 3}}).sort("n", 1).limit(2).explain()["sort"] == "index"
    assert things.find({"m": {"$gt": 3}}).sort("m", 1).limit(2).explain()["sort"] == "memory"
    things.update_many({}, {"$unset": {"m": 1}})
    things.update_many({}, {"$set": {"m": 1}})
    assert things.find({"m": {"$gt": 0}}).sort("m", 1).limit(2).explain()["sort"] == "index"


def test_a_covered_read(things):
    things.create_index([("$**", 1)])
    things.insert_many([{"_id": i, "n": i, "s": "x"} for i in range(50)])
    asked = things.find({"n": {"$gt": 47}}, {"_id": 0, "n": 1})
    assert list(asked) == [{"n": 48}, {"n": 49}]
    assert things.find({"n": {"$gt": 47}}, {"_id": 0, "n": 1}).explain()["covered"] is True


@pytest.mark.parametrize(
    ("keys", "options", "code"),
    [
        ([("$**", 1)], {"unique": True}, 67),
        ([("$**", 1)], {"sparse": True}, 67),
        ([("$**", 1)], {"expireAfterSeconds": 5}, 67),
        ([("$**", "2dsphere")], {}, 67),
        ([("a.$**", 1)], {"wildcardProjection": {"b": 1}}, 2),
        ([("a", 1)], {"wildcardProjection": {"b": 1}}, 2),
        ([("$**", 1)], {"wildcardProjection": {}}, 9),
        ([("$**", 1)], {"wildcardProjection": 3}, 14),
        ([("$**", 1)], {"wildcardProjection": {"a": 1, "b": 0}}, 31253),
        ([("$**", 1)], {"wildcardProjection": {"a": 1, "a.b": 1}}, 31249),
        ([("$**", 1)], {"wildcardProjection": {"a": "$b"}}, 51271),
        ([("$**", 1)], {"wildcardProjection": {"$a": 1}}, 16410),
        ([("$**", 1), ("a.$**", 1)], {}, 67),
        ([("a", 1), ("$**", 1)], {}, 67),
        ([("a", 1), ("$**", 1)], {"wildcardProjection": {"a.b": 0}}, 67),
        ([("a", "2dsphere"), ("$**", 1)], {"wildcardProjection": {"a": 0}}, 67),
    ],
)
def test_definitions_refused(things, keys, options, code):
    with pytest.raises(IndexDefinitionError) as caught:
        things.create_index(keys, **options)
    assert caught.value.code == code


def test_a_hint_that_serves_nothing(things):
    things.create_index([("sub.$**", 1)], name="sub")
    things.insert_one({"other": 1})
    for filter in ({"other": 1}, {}, {"sub.x": None}, {"sub.x": {"$exists": False}}):
        with pytest.raises(QueryError) as caught:
            list(things.find(filter).hint("sub"))
        assert caught.value.code == 291


def test_definitions_come_back(things):
    things.create_index([("a", 1), ("$**", -1)], wildcardProjection={"a": 0, "b": {"c": 0}})
    (shown,) = [index for index in things.list_indexes() if index["name"] != "_id_"]
    assert shown["key"] == {"a": 1, "$**": -1}
    assert shown["wildcardProjection"] == {"a": False, "b.c": False}
