"""Stages beyond their memory limit give what they give within it, and leave no file open."""

from __future__ import annotations

import datetime as dt
import gc
import os
import random
from decimal import Decimal
from typing import Any

import pytest

from docdb.language.values import ObjectId, Regex
from docdb.pipeline.runner import compile_pipeline
from docdb.pipeline.spill import Partitions
from tests.pipeline.fake import ListContext

KINDS: list[Any] = [
    None,
    True,
    2**40,
    Decimal("1.5"),
    ObjectId(),
    Regex("a", "i"),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
]
DOCUMENTS = [
    {"_id": n, "k": n * 7919 % 1_500, "n": n, "kind": KINDS[n % len(KINDS)], "text": "x" * (n % 50)}
    for n in range(4_000)
]


def made(stages: list[Any], memory_limit: int, *, most: int | None = None) -> list[dict[str, Any]]:
    context = ListContext()
    context.memory_limit = memory_limit
    batches = iter([DOCUMENTS[at : at + 100] for at in range(0, len(DOCUMENTS), 100)])
    found = (d for batch in compile_pipeline(stages, context=context).run(batches) for d in batch)
    return list(found) if most is None else [next(found) for _ in range(most)]


def by_id(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(documents, key=lambda document: repr(document["_id"]))


@pytest.mark.parametrize("limit", [[], [{"$limit": 7}], [{"$limit": 3_000}]], ids=["all", "top 7", "top 3,000"])
@pytest.mark.parametrize("order", [{"k": 1}, {"kind": -1, "text": 1}, {"absent": 1}], ids=["one", "two", "ties"])
def test_a_sort_beyond_its_memory(order: dict[str, int], limit: list[Any]) -> None:
    stages = [{"$sort": order}, *limit]
    assert made(stages, 20_000) == made(stages, 1 << 30)


@pytest.mark.parametrize("memory_limit", [0, 1_000, 60_000])
@pytest.mark.parametrize(
    "group",
    [
        {"_id": "$k", "sum": {"$sum": "$n"}, "first": {"$first": "$n"}, "last": {"$last": "$n"}, "avg": {"$avg": "$n"}},
        {"_id": {"k": "$k", "kind": "$kind"}, "all": {"$push": "$n"}, "set": {"$addToSet": "$text"}},
        {"_id": "$absent", "n": {"$sum": 1}},
    ],
    ids=["numbers", "lists", "one group"],
)
def test_a_group_beyond_its_memory(group: dict[str, Any], memory_limit: int) -> None:
    assert by_id(made([{"$group": group}], memory_limit)) == by_id(made([{"$group": group}], 1 << 30))


@pytest.mark.parametrize("stage", [{"$sort": {"k": 1}}, {"$group": {"_id": "$k"}}], ids=["sort", "group"])
def test_a_reader_that_stops_leaves_no_file_open(stage: dict[str, Any]) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    assert len(made([stage], 1_000, most=3)) == 3
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_partitions_keep_equal_keys_together_and_in_order() -> None:
    chance = random.Random(1)
    documents = [{"k": chance.randrange(50), "n": n} for n in range(5_000)]
    parts = Partitions(0, 1 << 20)
    for document in documents:
        parts.put(b"%d" % document["k"], document)
    found = [[document for batch in part for document in batch] for part in parts.parts()]
    parts.close()
    assert sorted(document["n"] for part in found for document in part) == list(range(5_000))
    assert all([d["n"] for d in part] == sorted(d["n"] for d in part) for part in found)
    assert sum(len({d["k"] for d in part}) for part in found) == 50
