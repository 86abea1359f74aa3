"""Entries as documents: the kernel against the reference form, and covered reads against reads of documents."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import docdb
from docdb import _native
from docdb.errors import CorruptError, DocumentError
from docdb.language.order import order_key
from docdb.language.values import Int64, MaxKey, ObjectId, Regex, Timestamp
from docdb.planner import covering
from docdb.planner.covering import entry_reader
from docdb.store import codec
from docdb.store.keyspace import EntryMaker, EntrySpec
from tests.planner.fakes import index

DAY = dt.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=dt.UTC)
ODD = [
    None, True, False, -0.0, 0, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 1e300, 9e15, float("inf"), float("nan"),
    Int64(5), Int64(2**40), Decimal("1.50"), "", "a\0b", "\0", "ünï", "😀" * 3, "x" * 300, b"", b"\0\xff", DAY, dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC), ObjectId(b"0123456789ab"), UUID(int=7), Timestamp(3, 4), Regex("a", "i"), MaxKey(), [],
    [1, "x"], {"y": 1}, {},
]  # fmt: skip
VALUES = (
    st.sampled_from(ODD) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
)
IDS = st.sampled_from(
    ["p", "ä", "a\0b", 7, 2.5, ObjectId(b"0123456789ab"), True, DAY, Timestamp(1, 2), b"x", UUID(int=1)]
)
WAYS = st.sampled_from([1, -1])
needs_kernels = pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")


def both(definition: Any, names: frozenset[str]) -> tuple[Any, Any]:
    shown = tuple(path[0] if len(path) == 1 and path[0] in names else None for path, _ in definition.keys)
    return entry_reader(definition, names), lambda *entry: covering._document(definition, shown, "_id" in names, *entry)


@needs_kernels
@given(
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
    IDS,
    WAYS,
    WAYS,
    st.sets(st.sampled_from(["_id", "a", "b"])),
)
def test_the_kernel_reads_what_the_reference_reads(row: Any, id: Any, a: int, b: int, names: set[str]) -> None:
    definition = index(1, {"a": a, "b": b, "c.d": 1})
    read, reference = both(definition, frozenset(names))
    maker = EntryMaker(EntrySpec(1, definition.keys, False, False, None))
    try:
        entries = maker.entries(order_key(id), stored := codec.encode({"_id": id, **row}))
    except DocumentError:
        return
    for key, value in entries:
        found = read(key[4:], value)
        assert repr(found) == repr(reference(key[4:], value))
        wanted = {name: item for name, item in codec.decode(stored).items() if name in names}
        assert found is None or repr(dict(sorted(found.items()))) == repr(dict(sorted(wanted.items())))


@needs_kernels
@given(st.binary(max_size=40), st.binary(max_size=5), WAYS)
def test_the_kernel_survives_any_bytes(key: bytes, value: bytes, way: int) -> None:
    read, reference = both(index(1, {"a": way, "b": 1}), frozenset({"_id", "a", "b"}))
    for entry in ((key, bytes([1]) + value), (b"\x20\xc0" + key, bytes([len(key) // 2, 1, 1])), (key, value or b"\0")):
        outcomes = []
        for form in (read, reference):
            try:
                outcomes.append(type(form(*entry)))
            except CorruptError as error:
                outcomes.append(type(error))
        assert outcomes[0] in (outcomes[1], dict, CorruptError)


@pytest.fixture(params=["memory", "file"])
def things(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with docdb.open(":memory:" if request.param == "memory" else tmp_path / "d") as db:
        scalars = [value for value in ODD if not isinstance(value, list) and len(str(value)) < 200]
        ids: list[Any] = ["p", 7, 2.5, ObjectId(b"0123456789ab"), DAY]
        rows = [{"a": a, "b": b, "c": "more"} for a, b in itertools.product(scalars, scalars[:9])] + [
            {"b": 1},
            {"a": 1},
        ]
        db["things"].insert_many([{"_id": ids[n] if n < 5 else f"{n:05}", **row} for n, row in enumerate(rows)])
        db["things"].create_index([("a", 1), ("b", -1)])
        yield db["things"]


@pytest.mark.parametrize("shown", [{"_id": 0, "b": 1}, {"_id": 0, "a": 1, "b": 1}, {"b": 1}, {"_id": 1}], ids=str)
@pytest.mark.parametrize("limit", [0, 3, 300], ids=str)
@pytest.mark.parametrize("way", [1, -1], ids=["up", "down"])
def test_a_covered_read_gives_what_the_documents_give(things: Any, shown: dict[str, int], limit: int, way: int) -> None:
    asked = things.find({"a": {"$gte": 0}}, shown).sort([("a", way), ("b", -way)]).hint("a_1_b_-1").limit(limit).skip(1)
    assert asked.explain()["covered"]
    whole = things.find({"a": {"$gte": 0}}).sort([("a", way), ("b", -way)]).hint("a_1_b_-1").limit(limit).skip(1)
    assert repr(list(asked)) == repr(
        [{k: v for k, v in row.items() if shown.get(k, k == "_id" and "_id" not in shown)} for row in whole]
    )


def test_no_more_entries_are_read_than_wanted(things: Any) -> None:
    asked = things.find({}, {"_id": 0, "a": 1}).sort([("a", 1), ("b", -1)]).skip(5).limit(20)
    explained = asked.explain()
    assert (explained["covered"], explained["documents_examined"], explained["returned"]) == (True, 0, 20)
    assert explained["entries_examined"] <= 41  # batches of 16 and 25 entries


def test_what_entries_do_not_tell_is_counted(things: Any) -> None:
    explained = things.find({"a": {"$type": "decimal"}}, {"_id": 0, "b": 1}).hint("a_1_b_-1").explain()
    assert (explained["covered"], explained["documents_examined"]) == (True, 9)


def test_pages_follow_one_another(things: Any) -> None:
    token: str | None = ""
    found = []
    while token is not None:
        page = things.find({}, {"_id": 0, "b": 1}).sort([("a", 1), ("b", -1)]).limit(50).after(token)
        found += list(page)
        token = page.token
    assert len(found) == things.count_documents({})
