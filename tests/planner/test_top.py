"""Sort + limit over stored bytes against the reference: decode everything, sort, cut."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb import _native
from docdb.errors import CorruptError, QueryError
from docdb.language.sorting import sort_key
from docdb.language.values import Int64, ObjectId
from docdb.planner.top import smallest
from docdb.store import codec

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(
        [Decimal("1.5"), Decimal("-3"), Int64(2), ObjectId(b"x" * 12), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]
    ),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("bc0"), SCALARS, max_size=3))
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=120)
SORTS: list[Any] = [
    ((("a",), 1),),
    ((("a",), -1),),
    ((("b",), 1), (("a",), -1)),
    ((("a", "b"), -1), (("c",), 1)),
    ((("a", "0"), 1),),
]


def expected(documents: list[dict[str, Any]], sort: Any, most: int) -> Any:
    try:
        return sorted(documents, key=sort_key(sort))[:most]
    except QueryError as error:
        return str(error)


def reading(batches: list[list[bytes]]) -> Any:
    return lambda take: ([take(data) for data in batch] for batch in batches)


def found(documents: list[dict[str, Any]], sort: Any, most: int) -> Any:
    stored = [codec.encode(document) for document in documents]
    try:
        return smallest(reading([stored[at : at + 20] for at in range(0, len(stored), 20)]), sort, most)
    except QueryError as error:
        return str(error)


@pytest.mark.parametrize("sort", SORTS, ids=str)
@given(DOCUMENTS, st.sampled_from([1, 2, 7, 50]))
def test_it_is_the_head_of_the_sorted_documents(sort: Any, documents: list[dict[str, Any]], most: int) -> None:
    documents = [{"_id": n, **document} for n, document in enumerate(documents)]
    assert repr(found(documents, sort, most)) == repr(expected(documents, sort, most))


def test_many_documents_are_cut_again_and_again() -> None:
    documents = [{"_id": n, "a": n * 7919 % 10_007} for n in range(10_000)]
    assert found(documents, SORTS[1], 10) == expected(documents, SORTS[1], 10)


def test_a_damaged_document_is_refused() -> None:
    with pytest.raises(CorruptError):
        smallest(reading([[codec.encode({"_id": 1, "a": 2})[:-1]]]), SORTS[0], 1)


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
@given(st.binary(max_size=40))
def test_the_kernel_survives_any_bytes(data: bytes) -> None:
    from docdb._native import top

    for _, key in top.keys_below([data, b"\x81\xa1a" + data], ((b"a",), (b"a", b"b")), (1, -1), None):
        assert key is None or isinstance(key, bytes)
    firsts = top.Firsts(((b"a",), (b"a", b"b")), (1, -1))
    assert firsts(data) is firsts(b"\x81\xa1a" + data) is True
    assert [number for _, number, _ in firsts.held] == [1, 2]
