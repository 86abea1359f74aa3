"""Which path is chosen, and that choosing and reading stay close to the best path on skewed data."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.planner.access import Work
from docdb.planner.planner import plan
from tests.planner.fakes import FakeView, find, ids, index, query


def skewed() -> FakeView:
    """``status`` has one huge value and a rare one, ``kind`` is even, ``when`` rises; the rare status stands at the end of time."""
    rows = [
        {"_id": n, "status": "rare" if n >= 4_970 else "done", "kind": n % 50, "when": n, "other": n % 7}
        for n in range(5_000)
    ]
    return FakeView(rows, index(1, {"status": 1}), index(2, {"kind": 1}), index(3, {"when": 1}), index(4, {"other": 1}))


SKEWED: dict[str, tuple[dict[str, Any], dict[str, int], int | None, int]] = {
    # filter, sort, limit, entries of the best index
    "rare value": ({"status": "rare", "kind": 7}, {}, None, 30),
    "huge value": ({"status": "done", "kind": 7}, {}, None, 100),
    "rare among ranges": ({"status": "rare", "when": {"$gte": 0}, "other": 3}, {}, None, 30),
    "huge among ranges": ({"status": "done", "when": {"$lt": 40}}, {}, None, 40),
    "sorted, rare at the far end": ({"status": "rare"}, {"when": 1}, 20, 30),
    "sorted, common": ({"status": "done"}, {"when": 1}, 10, 16),
    "sorted, none match": ({"status": "gone"}, {"when": 1}, 10, 1),
    "either of two": ({"$or": [{"status": "rare"}, {"kind": 3}]}, {}, None, 130),
}


@pytest.mark.parametrize("case", SKEWED.values(), ids=SKEWED)
def test_never_more_than_three_times_the_best(case: tuple[dict[str, Any], dict[str, int], int | None, int]) -> None:
    filter, sort, limit, best = case
    view = skewed()
    work = Work()
    made = plan(query(filter, sort=sort, limit=limit), view)
    rows = [d for batch in made.run(view, work=work) for d in batch]
    assert work.entries <= 3 * best
    assert len(rows) <= work.documents <= 3 * best


def test_counting_costs_in_proportion_to_the_best() -> None:
    view = skewed()
    plan(query({"status": "rare", "kind": 7, "when": {"$gte": 0}, "other": 2}), view)
    assert view.counting <= 4 * 101


def test_a_hopeful_ordered_scan_gives_up() -> None:
    rows = [{"_id": n, "group": n % 100, "when": n, "flag": n > 3_900 and n % 100 == 5} for n in range(4_000)]
    view = FakeView(rows, index(1, {"group": 1}), index(2, {"when": 1}))
    made = plan(query({"group": 5, "flag": True}, sort={"when": 1}, limit=1), view)
    work = Work()
    assert [d["_id"] for batch in made.run(view, work=work) for d in batch] == [3905]
    assert work.entries <= 3 * 4_000 // 10


@pytest.mark.parametrize(
    ("filter", "access"),
    [
        ({"_id": 3}, "IdLookup"),
        ({"_id": {"$in": [3, 4]}, "a": 1}, "IdLookup"),
        ({"_id": {"$gte": 10, "$lt": 20}}, "FullScan"),
        ({"a": 1, "$and": [{"a": 2}]}, "Nothing"),
        ({"$or": [{"a": 1}, {"_id": 3}]}, "IndexUnion"),
        ({"a": 1}, "IndexScan"),
        ({"z": 1}, "FullScan"),
    ],
    ids=lambda value: str(value),
)
def test_the_path(filter: dict[str, Any], access: str) -> None:
    rows = [{"_id": n, "a": n % 10} for n in range(100)]
    view = FakeView(rows, index(1, {"a": 1}))
    shown = plan(query(filter), view).explain(view, execute=False)
    assert shown["access"] == access


def test_two_even_indexes_are_intersected() -> None:
    rows = [{"_id": n, "a": n % 12, "b": n // 12 % 12} for n in range(8_640)]
    view = FakeView(rows, index(1, {"a": 1}), index(2, {"b": 1}))
    made = plan(query({"a": 3, "b": 4}), view)
    assert made.explain(view)["access"] == "IndexIntersection"
    assert len(find(view, made.query)) == 60
    assert made.explain(view)["documents_examined"] == 60


@pytest.mark.parametrize(
    ("filter", "used"),
    [
        ({"a": {"$gt": 7}}, True),
        ({"a": {"$gt": 3}}, False),
        ({"a": 9}, True),
        ({"a": {"$in": [6, 9]}}, True),
        ({"$or": [{"a": 6}, {"a": 7}]}, True),
        ({"b": 1}, False),
    ],
    ids=str,
)
def test_a_partial_index_serves_what_implies_its_filter(filter: dict[str, Any], used: bool) -> None:
    rows = [{"_id": n, "a": n % 100, "b": 1} for n in range(300)]
    view = FakeView(rows, index(1, {"a": 1}, partial={"a": {"$gt": 5}}))
    shown = plan(query(filter), view).explain(view, execute=False)
    assert ("IndexScan" in [c["access"] for c in shown["candidates"]]) == used


@pytest.mark.parametrize(
    ("filter", "used"),
    [
        ({"a": 3}, True),
        ({"a": None}, False),
        ({"a": {"$ne": 3}}, False),
        ({"a": {"$ne": None}}, True),
        ({"a": {"$exists": True}}, True),
    ],
    ids=str,
)
def test_a_sparse_index_serves_what_needs_the_field(filter: dict[str, Any], used: bool) -> None:
    rows = [{"_id": n, "a": n} if n % 20 == 0 else {"_id": n} for n in range(300)]
    view = FakeView(rows, index(1, {"a": 1}, sparse=True))
    shown = plan(query(filter), view).explain(view, execute=False)
    assert ("IndexScan" in [c["access"] for c in shown["candidates"]]) == (used and filter != {"a": {"$exists": True}})


def test_a_collated_index_serves_only_its_collation() -> None:
    rows = [{"_id": n, "a": f"Name{n}"} for n in range(100)]
    english = {"locale": "en", "strength": 2}
    view = FakeView(rows, index(1, {"a": 1}, collation=english))
    assert ids(view, query({"a": "NAME7"}, collation=english)) == [7]
    assert ids(view, query({"a": "NAME7"})) == []
    assert plan(query({"a": "NAME7"}, collation=english), view).explain(view)["entries_examined"] == 1
    assert plan(query({"a": "Name7"}), view).explain(view)["access"] == "FullScan"


def test_a_prefix_pattern_is_a_range() -> None:
    rows = [{"_id": n, "a": f"{n:03}"} for n in range(300)]
    view = FakeView(rows, index(1, {"a": 1}))
    made = plan(query({"a": {"$regex": "^12"}}), view)
    assert made.explain(view)["entries_examined"] == 10
    assert made.count(view) == 10


def test_hidden_and_building_indexes_are_not_used() -> None:
    rows = [{"_id": n, "a": n} for n in range(100)]
    view = FakeView(rows, index(1, {"a": 1}, hidden=True), index(2, {"a": -1}, building=True))
    assert plan(query({"a": 1}), view).explain(view)["access"] == "FullScan"
