"""Sorts within what an index has ordered: against the sort of everything, and no further than they must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docdb
from docdb.language.sorting import parse_sort, sort_key
from docdb.planner.access import IndexScan
from docdb.planner.planner import plan
from docdb.planner.presorted import entries_until, sorted_within
from docdb.planner.top import smallest
from docdb.store import codec
from tests.planner.fakes import FakeView, find, ids, index, query

NUMBERS = st.integers(0, 4) | st.sampled_from([None, 2.5, "x"])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=40)
ORDERS: list[dict[str, int]] = [{"a": 1, "b": 1}, {"a": -1, "b": 1}, {"a": 1, "b": -1, "c": 1}]


def in_batches(items: list[Any], size: int = 7) -> Iterator[list[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def documents(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [{"_id": n, "a": a, "b": b, "c": c} for n, (a, b, c) in enumerate(rows)]


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("leads", [1, 2], ids=["one", "two"])
@given(ROWS, st.sampled_from([None, 1, 3, 1000]))
def test_it_is_the_sort_of_everything(order: Any, leads: int, rows: Any, limit: int | None) -> None:
    sort = parse_sort(order)
    first, key = sort_key(sort[:leads]), sort_key(sort)
    come = sorted(documents(rows), key=first)
    assert list(sorted_within(in_batches(come), first, key, limit)) == sorted(come, key=key)[:limit]
    stored = [codec.encode(document) for document in come]
    found = smallest(
        lambda take: ([take(data) for data in batch] for batch in in_batches(stored)), sort, limit or 40, leads=leads
    )
    assert found == sorted(come, key=key)[: limit or 40]


@pytest.mark.parametrize("limit", [None, 300, 20_000], ids=str)
def test_pieces_of_any_size(limit: int | None) -> None:
    come = [{"_id": n, "a": n // 1000, "b": n * 7919 % 1009} for n in range(2_500)] + [{"_id": -1, "a": 9}]
    sort = parse_sort({"a": 1, "b": 1})
    key = sort_key(sort)
    assert list(sorted_within(in_batches(come), sort_key(sort[:1]), key, limit)) == sorted(come, key=key)[:limit]


def test_it_reads_no_further_than_the_piece_of_the_last() -> None:
    come = [{"_id": n, "a": n // 10, "b": -n} for n in range(1_000)]
    sort = parse_sort({"a": 1, "b": 1})
    taken: list[Any] = []
    some = (taken.append(document) or [document] for document in come)  # type: ignore[func-returns-value]
    assert [d["_id"] for d in sorted_within(some, sort_key(sort[:1]), sort_key(sort), 12)] == [
        *range(9, -1, -1),
        19,
        18,
    ]
    assert len(taken) == 21
    took: list[Any] = []

    def read(take: Any) -> Iterator[list[Any]]:
        for document in come:
            took.append(document)
            yield [take(codec.encode(document))]

    assert [d["_id"] for d in smallest(read, sort, 12, leads=1)] == [*range(9, -1, -1), 19, 18]
    assert len(took) == 21


@pytest.mark.parametrize("way", [1, -1], ids=["up", "down"])
@pytest.mark.parametrize("wanted", [1, 3, 40, 200], ids=str)
def test_the_entries_that_will_be_read(way: int, wanted: int) -> None:
    view = FakeView([{"_id": n, "a": n % 5, "b": n} for n in range(100)], index(1, {"a": 1, "b": 1}))
    sort = parse_sort({"a": way, "c": 1})
    made = plan(query(sort={"a": way, "c": 1}, hint="a_1_b_1"), view)
    assert isinstance(made.access, IndexScan)
    assert (made.leads, made.access.reverse) == (1, way < 0)
    assert entries_until(view, made.access, sort[:1], wanted, 1_000) == min(100, -(-wanted // 20) * 20)
    assert entries_until(view, made.access, sort[:1], wanted, 10) == 10


def many(*indexes: Any) -> FakeView:
    return FakeView([{"_id": n, "a": n % 100, "b": -n, "c": n % 7} for n in range(4_000)], *indexes)


def test_an_index_on_the_first_field_serves_the_first_documents() -> None:
    view = many(index(1, {"a": 1}))
    made = plan(query(sort={"a": 1, "b": 1}, limit=50), view)
    shown = made.explain(view)
    assert (shown["index"], shown["sort"], shown["sorted_by_index"]) == ("a_1", "partial", {"a": 1})
    assert shown["stages"] == ["IndexScan", "fetch", "partial top", "limit"]
    assert shown["advice"] == 'create_index([("a", 1), ("b", 1)])'
    assert shown["entries_examined"] <= 160
    assert ids(view, query(sort={"a": 1, "b": 1}, limit=50)) == [*range(3900, -1, -100), *range(3901, 3000, -100)]


def test_one_piece_that_is_nearly_everything_is_no_reason() -> None:
    view = FakeView([{"_id": n, "a": n < 5, "b": -n} for n in range(4_000)], index(1, {"a": 1}))
    assert plan(query(sort={"a": 1, "b": 1}, limit=5), view).leads == 0
    assert plan(query(sort={"a": -1, "b": 1}, limit=5), view).leads == 1


def test_a_filter_that_the_index_does_not_prove_is_raced() -> None:
    view = many(index(1, {"a": 1}), index(2, {"c": 1}))
    asked = query({"c": 3}, sort={"a": 1, "b": 1}, limit=10)
    made = plan(asked, view)
    assert (made.leads, made.fallback is not None) == (1, True)
    everything = sorted((d for d in find(view, query({"c": 3}))), key=sort_key(asked.sort))
    assert find(view, asked) == everything[:10]
    assert plan(asked, view).explain(view)["entries_examined"] < 1_000
    assert [d for batch in made.select(view) for d in batch] == [
        d
        for batch in plan(asked, FakeView([codec.decode(d) for d in view.stored.values()])).select(view)
        for d in batch
    ]


def test_a_race_that_is_lost_gives_the_same() -> None:
    rows = [{"_id": n, "a": n, "b": -n, "c": 3 if n > 3_500 else n % 3} for n in range(4_000)]
    view = FakeView(rows, index(1, {"a": 1}), index(2, {"c": 1}))
    asked = query({"c": 3}, sort={"a": 1, "b": 1}, limit=10)
    made = plan(asked, view)
    assert (made.leads, made.fallback is not None) == (1, True)
    assert ids(view, asked) == list(range(3_501, 3_511))


def test_a_page_begins_with_the_piece_where_the_last_one_ended() -> None:
    view = FakeView([{"_id": n, "a": n // 4} for n in range(2_000)], index(1, {"a": 1}))
    token: str | None = ""
    found: list[Any] = []
    for _ in range(20):
        page = plan(query(sort={"a": -1}, limit=30, after=token), view)
        assert page.leads == 1
        found += [d["_id"] for batch in page.run(view) for d in batch]
        token = page.token()
        assert page.explain(view)["entries_examined"] <= 128
    assert found == sorted(range(2_000), key=lambda n: (-(n // 4), n))[:600]


@pytest.mark.parametrize("token", ["QA", "MA", "IA", "UFBQUFBQ", "_w"])
def test_a_token_that_is_no_key_of_the_order_is_survived(token: str) -> None:
    view = FakeView([{"_id": n, "a": n // 4} for n in range(100)], index(1, {"a": 1}))
    bare = FakeView([{"_id": n, "a": n // 4} for n in range(100)])
    asked = query(sort={"a": -1}, limit=30, after=token, hint="a_1")
    assert ids(view, asked) == ids(bare, query(sort={"a": -1}, limit=30, after=token))


@pytest.mark.parametrize("path", [":memory:", "file"], ids=["memory", "pages"])
def test_every_way_of_reading_gives_the_order(path: str, tmp_path: Path) -> None:
    with docdb.open(path if path == ":memory:" else tmp_path / "d") as db:
        things, bare = db["things"], db["bare"]
        rows = [{"_id": n, "a": n * 31 % 97, "b": n * 17 % 13, "c": [n % 3, n]} for n in range(3_000)]
        things.insert_many(rows)
        bare.insert_many(rows)
        things.create_index("a")
        order = [("a", -1), ("b", 1), ("_id", 1)]
        for limit in (1, 90, 700):
            asked = things.find().sort(order).limit(limit).skip(2)
            assert asked.explain()["sort"] == "partial"
            assert list(asked) == list(bare.find().sort(order).limit(limit).skip(2))
        stages = [{"$match": {"b": {"$lt": 9}}}, {"$sort": dict(order)}, {"$limit": 20}, {"$project": {"c": 1}}]
        assert list(things.aggregate(stages)) == list(bare.aggregate(stages))
        arrays = [("a", 1), ("c", -1)]
        assert list(things.find().sort(arrays).limit(60)) == list(bare.find().sort(arrays).limit(60))
        hinted = things.find({}, {"b": 1}).sort(order).hint("a_1")
        assert list(hinted) == list(bare.find({}, {"b": 1}).sort(order))
