"""Stages that read a few fields: only these are decoded, and the answer is that of whole documents."""

from __future__ import annotations

from typing import Any

import pytest

import docdb
from docdb._native import AVAILABLE
from docdb.planner import plan as plans
from docdb.store import codec
from tests.fuzz.targets import written_as_is

PIPELINES: dict[str, tuple[list[dict[str, Any]], list[str] | None]] = {
    "group": ([{"$group": {"_id": "$k", "all": {"$push": "$v"}}}], ["k", "v"]),
    "filter asked again": ([{"$match": {"$expr": {"$gt": ["$w", 3]}}}, {"$project": {"v": 1}}], None),
    "filter": ([{"$match": {"w": {"$regex": "a", "$options": "i"}}}, {"$project": {"v": {"$add": ["$v", 1]}}}], ["_id", "v", "w"]),
    "sort": ([{"$sort": {"w": 1, "_id": 1}}, {"$project": {"v": 1, "_id": 0}}], ["_id", "v", "w"]),
    "unwind": ([{"$unwind": "$tags"}, {"$project": {"tags": 1, "x": "$sub.a"}}], ["_id", "sub", "tags"]),
    "lookup": (
        [{"$lookup": {"from": "items", "localField": "k", "foreignField": "_id", "as": "f"}}, {"$project": {"f.v": 1}}],
        ["_id", "f", "k"],
    ),
    "facet": ([{"$facet": {"a": [{"$group": {"_id": "$k"}}], "b": [{"$count": "n"}]}}], ["k"]),
    "bucket": ([{"$bucket": {"groupBy": "$v", "boundaries": [0, 50, 500]}}], ["v"]),
    "whole": ([{"$group": {"_id": "$k", "first": {"$first": "$$ROOT"}}}], None),
    "documents come out": ([{"$addFields": {"x": "$v"}}], None),
}  # fmt: skip


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with docdb.open(tmp_path_factory.mktemp("pruning") / "db") as db:
        db["items"].insert_many(
            {"_id": n, "k": n % 7, "v": n, "w": "aBc"[n % 3], "tags": ["a", "b"][: n % 3], "sub": {"a": n}, "f": 1}
            for n in range(300)
        )
        yield db["items"]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_answer_is_that_of_whole_documents(items: Any, name: str) -> None:
    pipeline, _ = PIPELINES[name]
    found = list(items.aggregate(pipeline))
    with written_as_is():
        assert found == list(items.aggregate(pipeline))


@pytest.mark.parametrize("name", PIPELINES)
def test_explain_names_the_fields(items: Any, name: str) -> None:
    pipeline, fields = PIPELINES[name]
    asked = items.aggregate()
    for stage in pipeline:
        ((operator, operand),) = stage.items()
        asked = asked.stage(operator, operand)
    shown = asked.explain("queryPlanner")
    assert shown["fields"] == fields


def test_no_more_is_decoded(items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def decoder(names: Any) -> Any:
        asked.append(sorted(names))
        return original(names)

    def whole(read: Any, sort: Any, names: Any, **more: Any) -> Any:
        asked.append(sorted(names))
        return sort_whole(read, sort, names, **more)

    original, sort_whole = codec.FieldsDecoder, plans.whole
    monkeypatch.setattr(plans.codec, "FieldsDecoder", decoder)
    monkeypatch.setattr(plans, "whole", whole)
    for name in ("group", "sort", "unwind"):
        list(items.aggregate(PIPELINES[name][0]))
    by_kernel = ["v"]  # what only the order reads is not decoded
    assert asked == [PIPELINES["group"][1], by_kernel if AVAILABLE else PIPELINES["sort"][1], PIPELINES["unwind"][1]]


def test_sort_and_limit_decode_what_is_read(items: Any) -> None:
    pipeline = [{"$sort": {"w": 1, "_id": 1}}, {"$limit": 2}, {"$project": {"v": 1, "_id": 0}}]
    assert list(items.aggregate(pipeline)) == [{"v": 1}, {"v": 4}]
