"""The join of index entries with their documents, against the two steps it stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docdb import _native
from docdb.engine.base import DOCUMENTS, ENTRIES
from docdb.engine.lmdb import open_engine
from docdb.errors import CorruptError, InvalidOperation
from docdb.language import filters
from docdb.language.programs import compile_program
from docdb.store import codec

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="kernels are not built")
PREFIX = b"\0\0\0\x07"
LOW, HIGH = b"\0\0\0\x01", b"\0\0\0\x02"


@pytest.fixture(params=[True, False], ids=["pages", "cursor"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    from docdb._native import lmdb_engine

    before = lmdb_engine.walk_pages(request.param)
    opened = open_engine(tmp_path / "join", native=True)
    txn = opened.begin(write=True)
    ids = [b"i%04d" % n for n in range(700)]
    txn.put_many(DOCUMENTS, [(PREFIX + id, codec.encode(document(n))) for n, id in enumerate(ids) if n % 10])
    txn.put_many(DOCUMENTS, [(PREFIX[:3], b"shorter than a prefix"), (PREFIX[:3] + b"\x08", b"another collection")])
    txn.put_many(ENTRIES, sorted((LOW + b"%04d" % (n * 37 % 700) + id, b"\x05\x01") for n, id in enumerate(ids)))
    txn.commit()
    yield opened
    opened.close()
    lmdb_engine.walk_pages(before)


def document(n: int) -> dict[str, Any]:
    """Every seventh does not fit on a page."""
    return {"_id": n, "text": "x" * (9_000 if n % 7 == 0 else n)}


def in_two_steps(txn: Any, low: bytes, high: bytes, reverse: bool) -> list[Any]:
    ids = [id for batch in txn.entry_ids(low, high, reverse=reverse) for id in batch]
    found = txn.get_many(DOCUMENTS, [PREFIX + id for id in ids], decode=codec.decode)
    return [document for document in found if document is not None]


@pytest.mark.parametrize("first", [1, 7, 100, 10_000])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(
    ("low", "high"), [(LOW, HIGH), (LOW + b"0100", LOW + b"0200"), (HIGH, LOW), (LOW + b"9", HIGH)],
    ids=["all", "part", "inverted", "empty"],
)  # fmt: skip
def test_the_same_documents_in_the_same_order(engine: Any, low: bytes, high: bytes, reverse: bool, first: int) -> None:
    txn = engine.begin()
    batches = list(engine.join(txn, low, high, PREFIX, reverse=reverse, first=first, decode=codec.decode))
    assert [d for _, documents in batches for d in documents] == in_two_steps(txn, low, high, reverse)
    assert sum(count for count, _ in batches) == txn.count(ENTRIES, low, high)
    txn.abort()


@pytest.mark.parametrize("first", [1, 7, 10_000])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_several_ranges_are_read_one_after_the_other(engine: Any, reverse: bool, first: int) -> None:
    numbers = ["0005", "0006", "0050", "0300", "0400", "0401", "0650"]
    ranges = [(LOW + n.encode(), LOW + n.encode() + b"\xff") for n in numbers]
    ranges += [(HIGH, LOW), (LOW + b"0500", LOW + b"0560"), (LOW + b"9", HIGH)]
    ranges = ranges[::-1] if reverse else ranges
    txn = engine.begin()
    for at in range(len(ranges)):
        (low, high), *more = ranges[at:]
        batches = list(
            engine.join(txn, low, high, PREFIX, more=more, reverse=reverse, first=first, decode=codec.decode)
        )
        expected = [d for low, high in ranges[at:] for d in in_two_steps(txn, low, high, reverse)]
        assert [d for _, documents in batches for d in documents] == expected
        assert sum(count for count, _ in batches) == sum(txn.count(ENTRIES, low, high) for low, high in ranges[at:])
    txn.abort()


def test_the_first_batch_is_as_long_as_asked(engine: Any) -> None:
    txn = engine.begin()
    counts = [count for count, _ in engine.join(txn, LOW, HIGH, PREFIX, first=100, batch=256, decode=codec.decode)]
    assert counts == [100, 256, 256, 88]
    txn.abort()


def test_a_program_leaves_out_what_it_refuses(engine: Any) -> None:
    txn = engine.begin()
    program = compile_program(filters.parse({"_id": {"$lt": 50}}))
    batches = engine.join(txn, LOW, HIGH, PREFIX, program=program, decode=codec.decode)
    found = [document["_id"] for _, documents in batches for document in documents]
    assert sorted(found) == [n for n in range(50) if n % 10]
    txn.abort()


def test_documents_as_their_stored_bytes(engine: Any) -> None:
    txn = engine.begin()
    stored = [data for _, found in engine.join(txn, LOW, HIGH, PREFIX, first=7) for data in found]
    assert [codec.decode(data) for data in stored] == in_two_steps(txn, LOW, HIGH, False)
    assert {type(data) for data in stored} == {bytes}
    txn.abort()


def test_what_cannot_be_joined_here(engine: Any) -> None:
    txn = engine.begin()
    assert engine.join(txn, LOW, HIGH, PREFIX, decode=lambda data: data) is None
    txn.abort()
    writing = engine.begin(write=True)
    assert engine.join(writing, LOW, HIGH, PREFIX, decode=codec.decode) is None
    writing.abort()


def test_a_transaction_that_ends_in_the_middle(engine: Any) -> None:
    txn = engine.begin()
    batches = engine.join(txn, LOW, HIGH, PREFIX, first=1, decode=codec.decode)
    next(batches)
    txn.abort()
    with pytest.raises(InvalidOperation):
        next(batches)


@pytest.mark.parametrize("value", [b"", b"\xff\x01"], ids=["empty", "too long"])
def test_a_damaged_entry_is_reported(engine: Any, value: bytes) -> None:
    writing = engine.begin(write=True)
    writing.put_many(ENTRIES, [(LOW + b"0000", value)])
    writing.commit()
    txn = engine.begin()
    with pytest.raises(CorruptError):
        list(engine.join(txn, LOW, HIGH, PREFIX, decode=codec.decode))
    txn.abort()


def test_one_document_at_the_root(tmp_path: Path) -> None:
    with contextlib.closing(open_engine(tmp_path / "small", native=True)) as engine:
        writing = engine.begin(write=True)
        writing.put_many(DOCUMENTS, [(PREFIX + b"a", codec.encode({"_id": "a"}))])
        writing.put_many(ENTRIES, [(LOW + b"1a", b"\x01\x01"), (LOW + b"2b", b"\x01\x01")])
        writing.commit()
        txn = engine.begin()
        assert list(engine.join(txn, LOW, HIGH, PREFIX, decode=codec.decode)) == [(2, [{"_id": "a"}])]
        txn.abort()


def test_no_documents_at_all(tmp_path: Path) -> None:
    with contextlib.closing(open_engine(tmp_path / "empty", native=True)) as engine:
        writing = engine.begin(write=True)
        writing.put_many(ENTRIES, [(LOW + b"1a", b"\x01\x01")])
        writing.commit()
        txn = engine.begin()
        assert list(engine.join(txn, LOW, HIGH, PREFIX, decode=codec.decode)) == [(1, [])]
        txn.abort()
