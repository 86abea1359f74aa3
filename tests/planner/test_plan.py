"""What a plan does with its documents: hints, min and max, pages, covered reads, counts, distinct, deadlines, sorting on disk."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from docdb.errors import QueryError, TimeoutExpired
from docdb.language.projection import parse_projection
from docdb.pipeline.spill import ordered
from docdb.planner.ordering import decode_token
from docdb.planner.planner import plan
from docdb.planner.queries import FindQuery
from tests.planner.fakes import FakeView, find, ids, index, query

ROWS = [{"_id": n, "a": n * 10, "b": str(n % 3)} for n in range(1, 8)]


def view(*more: Any) -> FakeView:
    return FakeView(ROWS, index(1, {"a": 1}), index(2, {"b": 1, "a": -1}), *more)


@pytest.mark.parametrize(
    "hint",
    [
        "a_1",
        {"a": 1},
        {"a": 1.0},
        {"a": Decimal(1)},
        (("a", 1),),
        {"b": 1, "a": -1},
        "_id_",
        {"_id": 1},
        {"$natural": 1},
        {},
    ],
    ids=str,
)
def test_hints_change_the_path_and_not_the_result(hint: Any) -> None:
    assert sorted(ids(view(), query({"a": {"$gte": 30}}, hint=hint))) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        ("A_1", 2), ({"a": -1}, 2), ({"a": True}, 2), ({"a": 1.5}, 2), ({"$natural": 0}, 2), ({"$natural": 1, "a": 1}, 2),
        ({"a": "hashed"}, 2), (5, 9), (True, 9), ([1, 2], 9),
    ],
    ids=str,
)  # fmt: skip
def test_hints_that_fit_no_index(hint: Any, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        plan(query(hint=hint), view())
    assert caught.value.code == code


def test_a_hinted_sparse_index_gives_what_it_holds() -> None:
    sparse = index(5, {"c": 1}, sparse=True)
    some = FakeView([{"_id": 1, "c": 1}, {"_id": 2}, {"_id": 3, "c": None}], sparse)
    assert ids(some, query(hint="c_1")) == [3, 1]
    assert plan(query(hint="c_1"), some).count(some) == 2


@pytest.mark.parametrize(
    ("limits", "found"),
    [({"min": {"a": 50}}, [5, 6, 7]), ({"max": {"a": 30}}, [1, 2]), ({"min": {"a": 20}, "max": {"a": 40}}, [2, 3])],
    ids=["min", "max", "both"],
)
def test_min_and_max(limits: dict[str, Any], found: list[int]) -> None:
    assert ids(view(), query(hint={"a": 1}, **limits)) == found


def test_min_on_a_descending_field() -> None:
    assert ids(view(), query(hint="b_1_a_-1", min={"b": "1", "a": 40}, max={"b": "2", "a": 50})) == [4, 1]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"min": {"a": 1}}, 51173),
        ({"min": {"b": 1}, "hint": "a_1"}, 51174),
        ({"min": {"a": 5}, "max": {"a": 1}, "hint": "a_1"}, 51175),
    ],
    ids=["no hint", "other fields", "empty"],
)
def test_min_and_max_that_do_not_fit(more: dict[str, Any], code: int) -> None:
    with pytest.raises(QueryError) as caught:
        plan(query(**more), view())
    assert caught.value.code == code


def test_natural_order() -> None:
    assert ids(view(), query(sort={"$natural": -1})) == [7, 6, 5, 4, 3, 2, 1]
    assert ids(view(), query(hint={"$natural": -1}, limit=2)) == [7, 6]


def test_return_key_gives_the_fields_of_the_index() -> None:
    assert find(view(), query({"a": 30}, hint="a_1", return_key=True)) == [{"a": 30}]
    assert find(view(), query({"b": "0"}, hint="_id_", return_key=True, skip=1, limit=1)) == [{}]


@pytest.mark.parametrize("after", ["!", "é", "a"], ids=["no base64", "no ASCII", "short"])
def test_a_damaged_token(after: str) -> None:
    with pytest.raises(QueryError, match="token"):
        decode_token(after)


@pytest.mark.parametrize("way", [1, -1], ids=["up", "down"])
def test_a_page_begins_in_the_index_where_the_last_one_ended(way: int) -> None:
    many = FakeView([{"_id": n, "a": n // 2} for n in range(400)], index(1, {"a": 1}))
    sort = {"a": way, "_id": way}
    first = plan(query(sort=sort, limit=200, after=""), many)
    head = [d["_id"] for batch in first.run(many) for d in batch]
    second = plan(query(sort=sort, limit=5, after=first.token()), many)
    tail = [d["_id"] for batch in second.run(many) for d in batch]
    assert head + tail == sorted(range(400), reverse=way < 0)[:205]
    assert second.explain(many)["entries_examined"] <= 16


def test_a_covered_read_touches_no_document() -> None:
    rows = [{"_id": f"id{n:03}", "a": n % 5, "b": float(n), "c": "big"} for n in range(100)]
    wide = FakeView(rows, index(1, {"a": 1, "b": 1}))
    asked = query({"a": 2, "b": {"$lt": 20}}, projection=parse_projection(["_id", "b"]))
    made = plan(asked, wide)
    assert made.explain(wide)["documents_examined"] == 0
    assert find(wide, asked) == [{"_id": f"id{n:03}", "b": float(n)} for n in (2, 7, 12, 17)]


def test_a_covered_read_fetches_what_the_entry_does_not_tell() -> None:
    rows = [{"_id": "x", "a": {"deep": 1}}, {"_id": "y", "a": 5}, {"_id": "z", "a": None}, {"_id": "zz"}]
    some = FakeView(rows, index(1, {"a": 1}))
    asked = query(projection=parse_projection(["_id", "a"]), hint="a_1")
    assert sorted(map(str, find(some, asked))) == sorted(
        map(str, [{"_id": r["_id"], "a": r["a"]} if "a" in r else {"_id": "zz"} for r in rows])
    )
    assert plan(asked, some).explain(some)["documents_examined"] == 1


@pytest.mark.parametrize(
    "filter", [{"a": 3}, {"a": {"$gt": 3}}, {"a": {"$in": [1, 2]}}, {"_id": {"$lt": 30}}, {}], ids=str
)
def test_counts_that_touch_nothing(filter: dict[str, Any]) -> None:
    rows = [{"_id": n, "a": n % 10} for n in range(200)]
    some = FakeView(rows, index(1, {"a": 1}))
    asked = query(filter)
    wanted = len(ids(some, asked))
    some.touched = 0
    assert plan(asked, some).count(some) == wanted
    assert some.touched == 0


def test_distinct_leaps_through_the_index() -> None:
    rows = [{"_id": n, "a": [None, 1, 1.0, "x"][n % 4], "b": n} for n in range(2_000)] + [{"_id": -1}]
    some = FakeView(rows, index(1, {"a": 1, "b": 1}))
    made = plan(query({"a": {"$gte": 0}}), some)
    some.touched = 0
    assert made.distinct(some, "a") == [1]
    assert some.touched <= 4


def test_a_deadline_is_kept() -> None:
    with pytest.raises(TimeoutExpired):
        list(plan(query(), view()).run(view(), deadline=time.monotonic() - 1))


def test_no_collection_gives_nothing() -> None:
    empty = FakeView([])
    empty.collection = None  # type: ignore[assignment]
    assert find(empty, FindQuery(hint="whatever")) == []


@pytest.mark.parametrize("limit", [None, 5, 20_000], ids=str)
def test_a_sort_beyond_its_memory_goes_to_disk(limit: int | None) -> None:
    rows = [{"n": n * 7919 % 3_000} for n in range(3_000)]
    batches = [rows[at : at + 100] for at in range(0, 3_000, 100)]
    found = list(ordered(batches, lambda d: d["n"].to_bytes(4, "big"), limit, memory=50_000))
    assert [d["n"] for d in found] == list(range(3_000))[:limit]
