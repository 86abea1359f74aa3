"""Documents as columns: the kernel against the reference form, byte for byte."""

from __future__ import annotations

import datetime as dt
import random
import threading
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb import _native
from docdb.errors import CorruptError, UsageError
from docdb.language.projection import parse_projection
from docdb.language.values import Binary, Int64, MinKey, ObjectId, Regex, Timestamp
from docdb.store import codec
from docdb.store.column_types import ColumnType
from docdb.store.columns import Wanted, chunks_of_documents, chunks_of_stored

# Fields that mostly hold one kind, now and then another: columns that stay, become floats, are declined, are refused.
KINDS: dict[str, Any] = {
    "flag": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9).map(Int64),
    "mixed": st.integers(-9, 9) | st.floats(),
    "near": st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 0.5]),
    "text": st.text(max_size=9),
    "bytes": st.binary(max_size=5) | st.builds(Binary, st.binary(max_size=5), st.integers(1, 255)),
    "date": st.datetimes(timezones=st.just(dt.UTC)).map(lambda date: date.replace(fold=0)),
    "oid": st.binary(min_size=12, max_size=12).map(ObjectId),
    "uuid": st.uuids(),
    "decimal": st.decimals(-1000, 1000, places=2) | st.integers(-9, 9),
    "list": st.lists(st.integers(0, 9) | st.none(), max_size=3),
    "object": st.dictionaries(st.sampled_from("ab"), st.floats() | st.none(), max_size=2),
    "any": st.sampled_from([None, 1, 1.5, "x", True, Decimal("1.5"), [], {"a": []}, Regex("a"), Timestamp(1, 2), MinKey(), Decimal("NaN")]),
    "é" * 20: st.integers(0, 9),
}  # fmt: skip
VALUES = st.sampled_from(sorted(KINDS)).flatmap(lambda name: st.tuples(st.just(name), KINDS[name] | st.none()))
DOCUMENTS = st.lists(st.lists(VALUES, max_size=8).map(dict), max_size=40)
CALM = st.lists(st.lists(VALUES.filter(lambda pair: pair[0] not in ("any", "near")), max_size=8).map(dict), max_size=40)
WANTED = [
    Wanted(),
    Wanted(keep=("text", "int", "absent", "mixed")),
    Wanted(drop=frozenset({"any", "near", "date", "é" * 20})),
    Wanted(text=frozenset({"any", "near", "uuid"}), text_of=repr),
]
kernel = pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")


def outcome(form: Any, *arguments: Any) -> Any:
    try:
        return list(form(*arguments[:-1], rows=arguments[-1]))
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("wanted", WANTED, ids=["all", "kept", "dropped", "text"])
@given(DOCUMENTS | CALM, st.sampled_from([1, 7, 8, 9, 64]))
def test_stored_documents_give_the_columns_of_the_decoded(
    wanted: Wanted, documents: list[dict[str, Any]], rows: int
) -> None:
    documents = [{"_id": at, **document} for at, document in enumerate(documents)]
    stored = [codec.encode(document) for document in documents]
    batches = [stored[at : at + 5] for at in range(0, len(stored), 5)]
    decoded = [[codec.decode(data) for data in stored]]
    assert outcome(chunks_of_stored, batches, wanted, rows) == outcome(chunks_of_documents, decoded, wanted, rows)


def test_a_chunk_ends_where_its_bytes_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docdb.store.columns.BYTES", 100)
    stored = [codec.encode({"_id": at, "t": "x" * 30}) for at in range(10)]
    assert [chunk.rows for chunk in chunks_of_stored([stored], Wanted())] == [3, 3, 3, 1]


@pytest.mark.parametrize("form", ["stored", "documents"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "x"], "a: int64 and utf8 have no column in common"),
        ([True, 1], "a: bool and int64 have no column in common"),
        ([1.5, 2**53 + 1], "a: float64 and int64 beyond 2**53 have no column in common"),
        ([1.5, Decimal("1.5")], "a: float64 and decimal have no column in common"),
        (["x", ObjectId(b"x" * 12)], "a: utf8 and object_id have no column in common"),
        ([[1], {"b": 1}], "a: list and struct have no column in common"),
        ([{"b": 1}, {"b": "x"}], "a.b: int64 and utf8 have no column in common"),
        ([Regex("x")], "a: a Regex has no place in a column"),
        ([Decimal("NaN")], "a: the decimal NaN has no place in a column"),
        ([Decimal("1E+40"), Decimal("1E-40")], "a: decimals with 41 digits before and 40 behind the point need more than 76 together"),
    ],
)  # fmt: skip
def test_what_no_column_holds_is_refused_with_field_and_kinds(form: str, values: list[Any], message: str) -> None:
    documents = [{"_id": at, "a": value} for at, value in enumerate(values)]
    stored = [codec.encode(document) for document in documents]
    chunks = {
        "stored": lambda: chunks_of_stored([stored], Wanted()),
        "documents": lambda: chunks_of_documents([documents], Wanted()),
    }
    with pytest.raises(UsageError) as refused:
        list(chunks[form]())
    assert str(refused.value) == f"{message} (text=['a'] makes a column of text of it, a projection leaves it out)"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None], ColumnType("null")),
        ([1, None, Int64(2)], ColumnType("int64")),
        ([1, 2**60], ColumnType("int64", wide=True)),
        ([2**53, 1.5], ColumnType("float64")),
        ([Decimal("1.50"), Decimal("-123")], ColumnType("decimal", digits=3, scale=2)),
        ([Decimal("0E-30"), 7], ColumnType("decimal", digits=19, scale=0)),
        ([[1], [None, 1.5], []], ColumnType("list", fields=(("item", ColumnType("float64")),))),
        ([{"b": 1}, {"c": []}], ColumnType("struct", fields=(("b", ColumnType("int64")), ("c", ColumnType("list", fields=(("item", ColumnType("null")),)))))),
    ],
    ids=str,
)  # fmt: skip
def test_one_type_for_all_values(values: list[Any], kind: ColumnType) -> None:
    documents = [codec.encode({"_id": at, "a": value}) for at, value in enumerate(values)]
    (chunk,) = chunks_of_stored([documents], Wanted(keep=("a",)))
    assert chunk.columns["a"].type == kind


def test_too_many_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docdb.store.columns.MOST_COLUMNS", 100)
    stored = [codec.encode({f"n{at * 60 + n}": 1 for n in range(60)}) for at in range(2)]
    with pytest.raises(UsageError, match="120 names of fields are too many for columns, more than 100"):
        list(chunks_of_stored([stored], Wanted()))
    (chunk,) = chunks_of_stored([stored], Wanted(keep=("n61",)))
    assert chunk.columns["n61"].nulls == 1


def test_many_columns_keep_their_order() -> None:
    names = [f"field {at}" for at in random.Random(1).sample(range(900), 900)]
    stored = [codec.encode(dict.fromkeys(names[at * 30 :], at)) for at in range(20)]
    (chunk,) = chunks_of_stored([stored], Wanted())
    assert list(chunk.columns) == names


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (None, Wanted()),
        ({"b": 1, "a": 1}, Wanted(keep=("_id", "b", "a"))),
        ({"b": 1, "_id": 0}, Wanted(keep=("b",))),
        ({"b": 0}, Wanted(drop=frozenset("b"))),
        ({"b.c": 1}, None),
        ({"b.c": 0}, None),
        ({"b": {"$slice": 1}}, None),
        ({"b": "$a"}, None),
    ],
    ids=str,
)
def test_what_a_projection_shows(spec: Any, wanted: Wanted | None) -> None:
    assert Wanted.shown_by(parse_projection(spec)) == wanted


# ---- damage


def damaged(seed: int) -> tuple[list[bytes], list[bytes]]:
    """Return documents, and the same with one byte changed in one of them."""
    chance = random.Random(seed)
    documents = [
        codec.encode({"_id": at, "t": "é" * at, "d": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "u": uuid.UUID(int=at), "l": [1, {"a": "b"}]})
        for at in range(6)
    ]  # fmt: skip
    broken = bytearray(documents[3])
    broken[chance.randrange(len(broken))] = chance.randrange(256)
    return documents, [*documents[:3], bytes(broken), *documents[4:]]


@pytest.mark.parametrize("seed", range(300))
def test_damage_is_corrupt_or_another_value(seed: int) -> None:
    _, broken = damaged(seed)
    by_reference = outcome_of(lambda: list(chunks_of_documents([list(map(codec.Decoder(), broken))], Wanted())))
    by_kernel = outcome_of(lambda: list(chunks_of_stored([broken], Wanted())))
    assert by_kernel == by_reference or by_kernel is CorruptError


def outcome_of(call: Any) -> Any:
    try:
        return call()
    except CorruptError:
        return CorruptError
    except UsageError as error:
        return str(error)


@given(st.binary(max_size=60))
def test_any_bytes_are_corrupt_or_what_they_decode_to(data: bytes) -> None:
    stored = [codec.encode({"a": 1}), data, b"\x81\xa1a" + data]
    by_reference = outcome_of(lambda: list(chunks_of_documents([list(map(codec.Decoder(), stored))], Wanted())))
    by_kernel = outcome_of(lambda: list(chunks_of_stored([stored], Wanted())))
    assert by_kernel == by_reference or by_kernel is CorruptError


@kernel
@given(st.binary(min_size=1, max_size=12))
def test_text_is_what_python_takes_for_it(body: bytes) -> None:
    from docdb._native import columns

    found = columns.fill([b"\x81\xa1a\xd9" + bytes([len(body)]) + body], None, [], [], 100)
    assert (found is not None) == is_text(body)


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernel lets go of the interpreter's lock")
def test_a_list_that_another_thread_empties_is_read_as_it_was() -> None:
    from docdb._native.columns import fill

    stored = [codec.encode({"_id": n, "t": "x" * (n % 300)}) for n in range(20_000)]
    expected = fill(list(stored), None, (), (), 10)
    for _ in range(5):
        given = [bytes(bytearray(data)) for data in stored]
        start = threading.Event()
        other = threading.Thread(target=emptied, args=(given, start))
        other.start()
        start.set()
        assert fill(given, None, (), (), 10) in (expected, [])
        other.join()


def emptied(given: list[bytes], start: threading.Event) -> None:
    """Empty a list, and fill the memory with something else."""
    start.wait()
    given.clear()
    assert len([b"\xc1" * (n % 350 + 10) for n in range(40_000)]) == 40_000
