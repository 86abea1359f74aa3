"""Every plan gives what a brute-force matcher gives: random documents, indexes, filters and orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from docdb.errors import DocumentError, QueryError
from docdb.language.matching import matcher
from docdb.language.sorting import sort_key
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from docdb.store import codec
from tests.planner.fakes import FakeView, index, query

NAMES = ["a", "b", "c"]
PATHS = ["a", "b", "c", "a.x", "a.y", "b.x", "a.0", "a.0.x"]
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, 2, 3, -0.0, 2.5, float("nan"), "", "p", "pq", "q", "p" * 300, "p" * 300 + "q"]
)
OBJECTS = st.dictionaries(st.sampled_from(["x", "y"]), SCALARS | st.lists(SCALARS, max_size=2), max_size=2)
VALUES = SCALARS | OBJECTS | st.lists(SCALARS | OBJECTS | st.lists(SCALARS, max_size=2), max_size=3)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), max_size=14)

OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte", "$ne"]), SCALARS | OBJECTS | st.lists(SCALARS, max_size=2)),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS | OBJECTS, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$type"), st.sampled_from(["string", "number", "int", "object", "array", "null", "bool"])),
    st.tuples(st.just("$size"), st.integers(0, 2)),
    st.tuples(st.just("$mod"), st.just([2, 1])),
    st.tuples(st.just("$regex"), st.sampled_from(["^p", "^pq?", "q$", "^p.", "^"])),
    st.tuples(st.just("$elemMatch"), st.sampled_from([
        {"$gt": 0, "$lt": 3}, {"$gte": 2}, {"x": 1}, {"x": 1, "y": 2}, {"x": {"$gt": 0}, "y": {"$lt": 3}}, {"$in": ["p", 1]}, {"0": 1},
    ])),
)  # fmt: skip
CONDITION = st.lists(OPERATORS, min_size=1, max_size=2, unique_by=lambda pair: pair[0]).map(dict)
NO_ARRAY = st.tuples(st.sampled_from(["$eq", "$gte", "$lt"]), SCALARS).map(
    lambda pair: {pair[0]: pair[1], "$not": {"$type": "array"}}
)
CLAUSE = st.tuples(st.sampled_from(PATHS), CONDITION | CONDITION.map(lambda c: {"$not": c}) | NO_ARRAY | SCALARS).map(
    lambda p: {p[0]: p[1]}
)
FILTERS = st.recursive(
    CLAUSE,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda p: {p[0]: p[1]}
    ),
    max_leaves=4,
)
WAY = st.sampled_from([1, -1])
KEYS = st.dictionaries(st.sampled_from(PATHS), WAY, min_size=1, max_size=3)
PARTIALS = st.sampled_from(
    [None, {"a": {"$gt": 0}}, {"b": {"$exists": True}}, {"a": {"$in": [1, "p"]}}, {"c": {"$type": "string"}}]
)
INDEXES = st.lists(st.tuples(KEYS, st.booleans(), PARTIALS), min_size=1, max_size=3)
SORTS = st.dictionaries(st.sampled_from([*PATHS[:6], "_id"]), WAY, max_size=2)
LONG_SORTS = st.dictionaries(st.sampled_from([*PATHS[:6], "_id"]), WAY, min_size=2, max_size=4)
COLLATIONS = st.sampled_from([None, None, {"locale": "en", "strength": 2}])
quick = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def build(rows: list[dict[str, Any]], definitions: list[Any], collation: Any = None) -> FakeView | None:
    documents = [{"_id": number, **row} for number, row in enumerate(rows)]
    made = [
        index(number, keys, sparse=sparse, partial=partial, collation=collation)
        for number, (keys, sparse, partial) in enumerate(definitions, 1)
    ]
    try:
        return FakeView(documents, *made)
    except DocumentError:
        return None


def expected(view: FakeView, asked: FindQuery) -> list[Any]:
    """Brute force: the sort keys and ids of the matches."""
    holds = matcher(asked.node)
    found = [d for d in map(codec.decode, view.stored.values()) if holds(d)]
    key = sort_key(asked.sort, asked.collation) if asked.sort else lambda d: b""
    try:
        return sorted((key(d), d["_id"]) for d in found)
    except QueryError:  # two arrays cannot give an order together
        assume(False)
        raise


def delivered(view: FakeView, asked: FindQuery) -> list[Any]:
    key = sort_key(asked.sort, asked.collation) if asked.sort else lambda d: b""
    expected(view, asked)
    rows = [(key(d), d["_id"]) for batch in plan(asked, view).run(view) for d in batch]
    assert [k for k, _ in rows] == sorted(k for k, _ in rows)
    return sorted(rows)


@quick
@given(DOCUMENTS, INDEXES, FILTERS, SORTS, COLLATIONS)
def test_the_plan_chosen_gives_the_matches(rows: Any, definitions: Any, filter: Any, sort: Any, collation: Any) -> None:
    view = build(rows, definitions)
    asked = query(filter, sort=sort, collation=collation)
    assert view is None or delivered(view, asked) == expected(view, asked)


@quick
@given(DOCUMENTS, KEYS, FILTERS, SORTS, COLLATIONS)
def test_every_hinted_index_gives_the_matches(rows: Any, keys: Any, filter: Any, sort: Any, collation: Any) -> None:
    view = build(rows, [(keys, False, None)], collation)
    asked = query(filter, sort=sort, collation=collation, hint=tuple(keys.items()))
    other = query(filter, sort=sort, hint=tuple(keys.items()))
    assert view is None or delivered(view, asked) == expected(view, asked)
    assert view is None or delivered(view, other) == expected(view, other)


@quick
@given(DOCUMENTS, INDEXES, FILTERS, SORTS, st.integers(0, 3), st.integers(1, 4))
def test_count_select_and_pages(rows: Any, definitions: Any, filter: Any, sort: Any, skip: int, limit: int) -> None:
    view = build(rows, definitions)
    if view is None:
        return
    asked = query(filter, sort=sort)
    wanted = expected(view, asked)
    assert plan(asked, view).count(view) == len(wanted)
    assert sorted(k for batch in plan(asked, view).select(view) for k, _ in batch) == sorted(
        k for k, d in view.documents if codec.decode(d)["_id"] in {i for _, i in wanted}
    )
    part = query(filter, sort=sort, skip=skip, limit=limit)
    keys = [k for k, _ in delivered(view, part)]
    assert keys == [k for k, _ in wanted][skip : skip + limit]
    assert plan(part, view).count(view) == len(keys)


@quick
@given(DOCUMENTS, KEYS, FILTERS | st.just({}), LONG_SORTS, COLLATIONS, st.integers(0, 2), st.integers(1, 8))
def test_orders_that_an_index_serves_in_part(
    rows: Any, keys: Any, filter: Any, sort: Any, collation: Any, skip: int, limit: int
) -> None:
    view = build(rows, [(keys, False, None)], collation)
    if view is None:
        return
    hint = tuple(keys.items())
    whole = query(filter, sort=sort, collation=collation, hint=hint)
    wanted = expected(view, whole)
    assert delivered(view, whole) == wanted
    part = query(filter, sort=sort, collation=collation, hint=hint, skip=skip, limit=limit)
    assert [k for k, _ in delivered(view, part)] == [k for k, _ in wanted][skip : skip + limit]
    assert len([d for batch in plan(part, view).select(view) for d in batch]) == len(wanted[skip : skip + limit])


@quick
@given(DOCUMENTS, INDEXES, FILTERS, SORTS, st.integers(1, 4))
def test_keyset_pages_join_to_the_whole(rows: Any, definitions: Any, filter: Any, sort: Any, limit: int) -> None:
    view = build(rows, definitions)
    if view is None:
        return
    expected(view, query(filter, sort=sort))
    token: str | None = ""
    found: list[Any] = []
    while token is not None:
        page = plan(query(filter, sort=sort, limit=limit, after=token), view)
        found += [d["_id"] for batch in page.run(view) for d in batch]
        token = page.token()
    assert sorted(found) == sorted(i for _, i in expected(view, query(filter)))


@quick
@given(DOCUMENTS, INDEXES, FILTERS | st.just({}), st.sampled_from(PATHS))
def test_distinct_is_the_same_from_an_index(rows: Any, definitions: Any, filter: Any, path: str) -> None:
    view = build(rows, definitions)
    bare = build(rows, [])
    if view is None or bare is None:
        return
    asked = query(filter)
    found = plan(asked, view).distinct(view, path)
    wanted = plan(asked, bare).distinct(bare, path)
    key = codec.encode_value
    assert sorted(repr(v) for v in found if v == v and key(v)) == sorted(
        repr(v) for v in wanted if v == v and key(v)
    ) or len(found) == len(wanted)


@pytest.mark.parametrize(
    "filter", [{"a.0": None}, {"a.0": {"$in": [None, 1]}}, {"a.0": {"$exists": False}}, {"a.0": {"$type": "null"}}, {"a.0": {"$not": {"$gt": 0}}}]
)  # fmt: skip
def test_a_position_that_is_a_name_in_an_element_too(filter: Any) -> None:
    rows = [
        {"a": [{}]},
        {"a": [None]},
        {"a": []},
        {"a": {"0": None}},
        {"a": [[], 1]},
        {"b": 1},
        {"a": [1]},
    ]
    view, bare = build(rows, [({"a.0": 1}, False, None)]), build(rows, [])
    assert view is not None and bare is not None
    assert delivered(view, query(filter)) == delivered(bare, query(filter))


@pytest.mark.parametrize("sort", [{}, {"a": 1}, {"a": -1}], ids=["none", "up", "down"])
def test_a_million_points_are_no_plan(sort: dict[str, int]) -> None:
    view = build([{"a": n, "b": n} for n in range(50)], [({"a": 1, "b": 1}, False, None)])
    many = list(range(2000))
    assert view is not None
    assert len(delivered(view, query({"a": {"$in": many}, "b": {"$in": many}}, sort=sort))) == 50
