"""Every stage that may hold much: the same beyond its memory limit, ended by a deadline wherever it is, and no file left open."""

from __future__ import annotations

import gc
import itertools
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from docdb.errors import QueryError, TimeoutExpired
from docdb.pipeline import filling
from docdb.pipeline.runner import compile_pipeline
from tests.pipeline.fake import ListContext, run

CHANCE = random.Random(5)
DOCUMENTS = [
    {"_id": n, "k": CHANCE.randrange(40), "n": CHANCE.randrange(1_000), "v": n if n % 3 else None, "tags": ["a", "b", n % 5], "text": "x" * 40}
    for n in range(450)
]  # fmt: skip
FOREIGN = [{"_id": n, "k": n % 40, "next": n * 7 % 200, "text": "y" * 30} for n in range(200)]
BY = {"partitionBy": "$k", "sortBy": {"n": 1}}
SMALL_WINDOW = {"window": {"documents": [-2, 3]}}
LARGE_WINDOW = {"window": {"documents": ["unbounded", "current"]}}


def window(*, by: dict[str, Any], **output: Any) -> dict[str, Any]:
    return {"$setWindowFields": {**by, "output": output}}


STAGES: dict[str, dict[str, Any]] = {
    "bucket": {"$bucket": {"groupBy": "$n", "boundaries": [0, 300, 800], "default": "more", "output": {"all": {"$push": "$text"}}}},
    "bucketAuto": {"$bucketAuto": {"groupBy": "$n", "buckets": 7, "output": {"all": {"$push": "$_id"}, "n": {"$sum": 1}}}},
    "bucketAuto series": {"$bucketAuto": {"groupBy": "$n", "buckets": 5, "granularity": "R10"}},
    "densify": {"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}},
    "densify each": {"$densify": {"field": "n", "partitionByFields": ["k"], "range": {"step": 9, "bounds": "partition"}}},
    "densify range": {"$densify": {"field": "n", "partitionByFields": ["k"], "range": {"step": 50, "bounds": [-100, 1_200]}}},
    "densify passed": {"$densify": {"field": "v", "range": {"step": 100, "bounds": "full"}}},
    "facet": {"$facet": {"a": [{"$group": {"_id": "$k", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}], "b": [{"$match": {"n": {"$lt": 9}}}]}},
    "fill": {"$fill": {"partitionBy": "$k", "sortBy": {"n": 1}, "output": {"v": {"method": "locf"}, "w": {"value": 1}}}},
    "fill linear": {"$fill": {"sortBy": {"_id": 1}, "output": {"v": {"method": "linear"}}}},
    "graphLookup": {
        "$graphLookup": {"from": "foreign", "startWith": "$k", "connectFromField": "next", "connectToField": "_id", "as": "found", "maxDepth": 2}
    },
    "group": {"$group": {"_id": "$k", "n": {"$sum": "$n"}}},
    "group push": {"$group": {"_id": "$k", "all": {"$push": "$$ROOT"}, "set": {"$addToSet": "$n"}, "n": {"$sum": 1}, "top": {
        "$topN": {"n": 3, "sortBy": {"n": -1, "_id": 1}, "output": "$n"}}, "few": {"$minN": {"n": 2, "input": "$n"}}}},
    "group ranks": {"$group": {"_id": {"k": "$k"}, "m": {"$median": {"input": "$n", "method": "approximate"}}, "first": {"$first": "$n"}}},
    "group alone": {"$group": {"_id": None, "all": {"$push": "$n"}, "p": {"$percentile": {"input": "$n", "p": [0, 0.2, 1], "method": "approximate"}}}},
    "lookup": {"$lookup": {"from": "foreign", "localField": "k", "foreignField": "k", "as": "found"}},
    "lookup pipeline": {"$lookup": {"from": "foreign", "let": {"k": "$k"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$k", "$$k"]}}}], "as": "found"}},
    "sort": {"$sort": {"text": 1, "n": -1, "_id": 1}},
    "sortByCount": {"$sortByCount": "$text"},
    "unionWith": {"$unionWith": {"coll": "foreign", "pipeline": [{"$sort": {"k": 1, "_id": 1}}]}},
    "unwind": {"$unwind": "$tags"},
    "window bounded": window(by=BY, a={"$sum": "$n", **SMALL_WINDOW}, b={"$push": "$_id", **SMALL_WINDOW}, c={"$shift": {"output": "$n", "by": 2}}),
    "window cumulative": window(by=BY, a={"$avg": "$n", **LARGE_WINDOW}, b={"$max": "$text", **LARGE_WINDOW}),
    "window functions": window(
        by={"sortBy": {"n": 1}}, a={"$rank": {}}, b={"$denseRank": {}}, c={"$documentNumber": {}}, d={"$locf": "$v"},
        e={"$expMovingAvg": {"input": "$n", "N": 3}}, f={"$integral": {"input": "$_id"}, **SMALL_WINDOW}, g={"$derivative": {"input": "$_id"}, **SMALL_WINDOW},
        h={"$covariancePop": ["$n", "$_id"], **SMALL_WINDOW}, i={"$minMaxScaler": {"input": "$n"}},
    ),
    "window range": window(by=BY, a={"$sum": 1, "window": {"range": [-50, 50]}}),
    "window whole": window(by={}, a={"$sum": "$n"}, b={"$stdDevPop": "$n"}),
}  # fmt: skip


def context(memory_limit: int = 1 << 30) -> ListContext:
    made = ListContext({"foreign": FOREIGN})
    made.memory_limit = memory_limit
    return made


def made(stages: list[Any], memory_limit: int) -> list[dict[str, Any]]:
    batches = iter([DOCUMENTS[at : at + 100] for at in range(0, len(DOCUMENTS), 100)])
    return [d for batch in compile_pipeline(stages, context=context(memory_limit)).run(batches) for d in batch]


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def without_order(documents: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, documents))


@pytest.mark.parametrize("memory_limit", [0, 12_000])
@pytest.mark.parametrize("name", STAGES)
def test_the_same_beyond_the_memory_limit(name: str, memory_limit: int) -> None:
    before = open_files()
    found = made([STAGES[name]], memory_limit)
    expected = made([STAGES[name]], 1 << 30)
    of_groups = name.startswith("group")
    assert (without_order(found) if of_groups else found) == (without_order(expected) if of_groups else expected)
    assert open_files() == before


@pytest.mark.parametrize("size", [1, 5, 300, 10_001])
@pytest.mark.parametrize("memory_limit", [1_000, 1 << 30])
def test_a_sample_is_of_the_documents_each_once(size: int, memory_limit: int) -> None:
    found = made([{"$sample": {"size": size}}], memory_limit)
    assert len(found) == min(size, len(DOCUMENTS))
    assert len({document["_id"] for document in found}) == len(found)
    assert all(DOCUMENTS[document["_id"]] == document for document in found)


class Clock(ListContext):
    """The time is over after so many looks."""

    def __init__(self, looks: int, memory_limit: int) -> None:
        super().__init__({"foreign": FOREIGN})
        self.looks = looks
        self.memory_limit = memory_limit

    def check_deadline(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise TimeoutExpired("the time is over")


def endless() -> Iterator[list[dict[str, Any]]]:
    for n in itertools.count():
        yield [{**document, "_id": n * 1_000 + document["_id"]} for document in DOCUMENTS[:100]]


@pytest.mark.parametrize("memory_limit", [10_000, 1 << 30])
@pytest.mark.parametrize("name", STAGES)
def test_a_deadline_ends_a_stage_that_reads_without_end(name: str, memory_limit: int) -> None:
    before = open_files()
    clock = Clock(60, memory_limit)
    flow = compile_pipeline([STAGES[name], {"$match": {"_id": "never"}}], context=clock).run(endless())
    with pytest.raises(TimeoutExpired):
        list(flow)
    assert clock.looks == -1
    del flow
    assert open_files() == before


@pytest.mark.parametrize("memory_limit", [10_000, 1 << 30])
@pytest.mark.parametrize("name", sorted(set(STAGES) - {"bucketAuto series", "lookup", "lookup pipeline", "unwind"}))
def test_a_stage_looks_at_the_clock_when_all_is_read(name: str, memory_limit: int) -> None:
    """The documents come in one batch and the result goes out in few: what is looked beyond those is looked inside."""
    looks = 1_000_000
    clock = Clock(looks, memory_limit)
    found = list(compile_pipeline([STAGES[name]], context=clock).run(iter([DOCUMENTS])))
    needed = looks - clock.looks
    assert needed > len(found)
    for end in (needed // 2, needed - 1):
        before = open_files()
        flow = compile_pipeline([STAGES[name]], context=Clock(end, memory_limit)).run(iter([DOCUMENTS]))
        with pytest.raises(TimeoutExpired):
            list(flow)
        del flow
        assert open_files() == before


class Endless(Clock):
    """Another collection that never ends."""

    def source(self, collection: str, filter: Any = None, sort: Any = None) -> Any:
        for n in itertools.count():
            self.check_deadline()  # as every source of the house does
            yield [{"_id": n, "k": 1, "next": n + 1}]


@pytest.mark.parametrize("name", ["graphLookup", "lookup", "lookup pipeline", "unionWith"])
def test_a_deadline_ends_the_reading_of_another_collection(name: str) -> None:
    flow = compile_pipeline([STAGES[name]], context=Endless(50, 1 << 30)).run(iter([DOCUMENTS[:1]]))
    with pytest.raises(TimeoutExpired):
        list(flow)


@pytest.mark.parametrize("stage", [{"$out": "to"}, {"$merge": "to"}], ids=["out", "merge"])
def test_a_deadline_ends_writing(stage: dict[str, Any]) -> None:
    clock = Clock(20, 1 << 30)
    with pytest.raises(TimeoutExpired):
        list(compile_pipeline([stage], context=clock).run(endless()))
    assert clock.looks == -1


@pytest.mark.parametrize("name", STAGES)
def test_a_reader_that_stops_leaves_no_file_open(name: str) -> None:
    before = open_files()
    batches = iter([DOCUMENTS[at : at + 100] for at in range(0, len(DOCUMENTS), 100)])
    flow = compile_pipeline([STAGES[name]], context=context(3_000)).run(batches)
    next(flow)
    flow.close()
    del flow
    assert open_files() == before


def test_a_group_that_can_be_no_document_is_refused() -> None:
    text = "x" * 100_000
    batches = ([{"_id": n, "text": text + str(n)}] for n in itertools.count())
    stage = {"$group": {"_id": None, "all": {"$push": "$text"}}}
    with pytest.raises(QueryError, match="cannot be a document") as raised:
        list(compile_pipeline([stage], context=context(1_000_000)).run(batches))
    assert raised.value.code == 146


def test_what_a_facet_finds_is_refused_where_it_can_be_no_document() -> None:
    text = "x" * 100_000
    batches = ([{"_id": n, "text": text + str(n)}] for n in range(250))
    stage = {"$facet": {"all": [{"$match": {}}]}}
    with pytest.raises(QueryError, match="cannot be in one document") as raised:
        list(compile_pipeline([stage], context=context(1_000_000)).run(batches))
    assert raised.value.code == 4031700


def test_densify_counts_what_it_makes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_MOST_DOCUMENTS", 10)
    stage = {"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}}
    documents = [{"_id": n, "n": n} for n in (*range(20), *range(30, 40))]
    assert len(run(documents, [stage])) == 40
    with pytest.raises(QueryError, match="more than 10") as raised:
        run([*documents, {"_id": 41, "n": 41}], [stage])
    assert raised.value.code == 5897900


def test_densify_refuses_what_cannot_be_compared() -> None:
    stage = {"$densify": {"field": "n", "range": {"step": 1, "bounds": "full"}}}
    with pytest.raises(QueryError, match="not NaN"):
        run([{"_id": 1, "n": 1}, {"_id": 2, "n": Decimal("NaN")}], [stage])
