"""$group over stored documents against the stage itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docdb
from docdb import _native
from docdb.errors import CorruptError
from docdb.language.values import Int64
from docdb.pipeline.grouping import compile_grouping
from docdb.store import codec
from tests.pipeline.fake import run

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")

NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from([Int64(2), 2**31])
)
SCALARS = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=3), st.just(-0.0))
RARE = st.sampled_from([Decimal("1.5"), [1, 2], [{"b": 1}], {"b": 2}, {"b": {"c": 1}}])
VALUES = st.one_of(SCALARS, SCALARS, SCALARS, RARE)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=40)
GROUPS: list[dict[str, Any]] = [
    {"_id": "$a", "n": {"$sum": 1}, "s": {"$sum": "$b"}, "m": {"$avg": "$c"}},
    {"_id": None, "s": {"$sum": "$b"}, "n": {"$count": {}}, "seven": {"$avg": 7}},
    {"_id": "$a.b", "s": {"$sum": "$a.b"}},
    {"_id": "$c"},
]


@pytest.mark.parametrize("spec", GROUPS, ids=str)
@given(DOCUMENTS)
def test_it_gives_what_the_stage_gives_or_declines(spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    documents = [{"_id": n, **document} for n, document in enumerate(documents)]
    grouping = compile_grouping(spec)
    assert grouping is not None
    stored = [codec.encode(document) for document in documents]
    found = grouping.run(iter([stored[:7], stored[7:]]), 1 << 30)
    expected = run(documents, [{"$group": spec}])
    assert found is None or repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("value", "declined"),
    [(1, False), (2.5, False), ("x", False), (Decimal(1), True), ([1], True)],
    ids=["int", "float", "text", "decimal", "array"],
)
def test_what_is_declined(value: Any, declined: bool) -> None:
    grouping = compile_grouping({"_id": None, "s": {"$sum": "$a"}})
    assert grouping is not None
    assert (grouping.run(iter([[codec.encode({"_id": 1, "a": value})]]), 1 << 30) is None) == declined


def test_sums_beyond_64_bit_and_groups_beyond_the_limit_are_declined() -> None:
    grouping = compile_grouping({"_id": "$_id", "s": {"$sum": "$a"}})
    total = compile_grouping({"_id": None, "s": {"$sum": "$a"}})
    assert grouping is not None and total is not None
    stored = [codec.encode({"_id": n, "a": 2**62}) for n in range(10)]
    assert total.run(iter([stored]), 1 << 30) is None
    assert grouping.run(iter([stored]), 1_000) is None
    assert len(grouping.run(iter([stored]), 1 << 30) or ()) == 10


@pytest.mark.parametrize(
    "spec",
    [
        {"_id": {"a": "$a"}},
        {"_id": "$$ROOT"},
        {"_id": "text"},
        {"_id": "$a", "all": {"$push": "$b"}},
        {"_id": "$a", "s": {"$sum": {"$add": ["$b", 1]}}},
        {"_id": "$a", "s": {"$sum": "$$NOW"}},
    ],
    ids=str,
)
def test_what_the_kernel_does_not_know(spec: dict[str, Any]) -> None:
    assert compile_grouping(spec) is None


@given(st.binary(max_size=40))
def test_the_kernel_survives_any_bytes(data: bytes) -> None:
    grouping = compile_grouping(GROUPS[0])
    assert grouping is not None
    try:
        found = grouping.run(iter([[b"\x82\xa1a" + data + b"\xa1b" + data]]), 1 << 30)
    except CorruptError:
        return
    assert found is None or len(found) == 1


def test_an_aggregation_answers_the_same_with_and_without_stages_before_it() -> None:
    with docdb.open(":memory:") as db:
        items = db["items"]
        items.insert_many([{"_id": n, "k": n % 3, "v": n} for n in range(100)])
        group = {"$group": {"_id": "$k", "v": {"$sum": "$v"}}}
        order = {"$sort": {"_id": 1}}
        plain = list(items.aggregate([group, order]))
        assert plain == [{"_id": k, "v": sum(range(k, 100, 3))} for k in range(3)]
        assert list(items.aggregate([{"$addFields": {"x": 1}}, group, order])) == plain
        assert list(items.aggregate([{"$match": {"v": {"$lt": 3}}}, group, order])) == [
            {"_id": k, "v": k} for k in range(3)
        ]
