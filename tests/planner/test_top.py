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
from docdb.planner.top import CAN_SORT, smallest, whole
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


def stored_batches(documents: list[dict[str, Any]]) -> list[list[bytes]]:
    stored = [codec.encode(document) for document in documents]
    return [stored[at : at + 20] for at in range(0, len(stored), 20)]


def found(documents: list[dict[str, Any]], sort: Any, most: int) -> Any:
    try:
        return smallest(reading(stored_batches(documents)), sort, most)
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


def sorted_whole(documents: list[dict[str, Any]], sort: Any, names: Any = None, **more: Any) -> Any:
    try:
        return [d for batch in whole(reading(stored_batches(documents)), sort, names, **more) for d in batch]
    except QueryError as error:
        return str(error)


def shown(documents: Any, names: Any) -> Any:
    if names is None or isinstance(documents, str):
        return documents
    return [{name: item for name, item in document.items() if name in names} for document in documents]


@pytest.mark.skipif(not CAN_SORT, reason="the kernels are not there")
@pytest.mark.parametrize("memory", [1, 700, 2**20], ids=["run after run", "some runs", "memory"])
@pytest.mark.parametrize("sort", SORTS, ids=str)
@given(
    DOCUMENTS,
    st.sampled_from([None, (), ("a",), ("_id", "b", "ü")]),
    st.sampled_from([0, 3]),
    st.sampled_from([None, 2, 1000]),
)
def test_a_whole_order_is_that_of_the_reference(
    sort: Any, memory: int, documents: Any, names: Any, skip: int, end: int | None
) -> None:
    documents = [{"_id": n, **document, "ü": n} for n, document in enumerate(documents)]
    wanted = expected(documents, sort, len(documents))
    wanted = wanted if isinstance(wanted, str) else wanted[skip:end]
    assert repr(sorted_whole(documents, sort, names, skip=skip, end=end, memory=memory)) == repr(shown(wanted, names))
    plain = sorted_whole(documents, sort, skip=skip, end=end, memory=memory, plain=True)
    assert plain == wanted if isinstance(wanted, str) else plain == [codec.encode(d) for d in wanted]


@pytest.mark.skipif(not CAN_SORT, reason="the kernels are not there")
@pytest.mark.parametrize("memory", [10_000, 2**25], ids=["runs", "memory"])
def test_many_documents_are_put_in_order(memory: int) -> None:
    documents = [{"_id": n, "a": n * 7919 % 10_007, "b": "x" * (n % 90)} for n in range(10_000)]
    assert sorted_whole(documents, SORTS[1], memory=memory) == expected(documents, SORTS[1], 10_000)


@pytest.mark.skipif(not CAN_SORT, reason="the kernels are not there")
@pytest.mark.parametrize("names", [None, ("a",)], ids=["whole", "pruned"])
def test_a_whole_order_refuses_damaged_documents(names: Any) -> None:
    for data in (codec.encode({"_id": 1, "a": 2})[:-1], b"", b"\xc0", b"\xdf\xff\xff\xff\xff\xa1b\x01"):
        with pytest.raises(CorruptError):
            list(whole(reading([[data]]), SORTS[0], names))


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
def test_a_sorter_is_read_only_where_it_has_rows() -> None:
    from docdb._native import top

    sorter = top.Sorter(((b"a",),), (1,), None, lambda data: b"")
    sorter(codec.encode({"_id": 1}))
    with pytest.raises(IndexError):
        sorter.decoded(0, 1)
    sorter.sort()
    for places in ((0, 2), (-1, 1), (1, 0)):
        with pytest.raises(IndexError):
            sorter.rows(*places)
    with pytest.raises(ValueError, match="takes no more"):
        sorter(codec.encode({"_id": 1}))
    sorter.clear()
    sorter(codec.encode({"_id": 2}))
    sorter.sort()
    assert (len(sorter), sorter.decoded(0, 1)) == (1, [{"_id": 2}])


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")
@given(st.binary(max_size=40))
def test_the_kernel_survives_any_bytes(data: bytes) -> None:
    from docdb._native import top

    for _, key in top.keys_below([data, b"\x81\xa1a" + data], ((b"a",), (b"a", b"b")), (1, -1), None):
        assert key is None or isinstance(key, bytes)
    firsts = top.Firsts(((b"a",), (b"a", b"b")), (1, -1))
    assert firsts(data) is firsts(b"\x81\xa1a" + data) is True
    assert [number for _, number, _ in firsts.held] == [1, 2]
