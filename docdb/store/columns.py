"""Documents become columns: runs of bytes in Arrow's layout, a chunk of rows at a time.

What lives here: ``Column``, ``Chunk``, ``Wanted`` (which fields), ``chunks_of_documents`` (the reference form, over decoded values) and
``chunks_of_stored`` (over stored bytes). What it must not know: pyarrow, plans, cursors.

The kernel (``_native/columns.pyx``) makes the columns of a chunk whose values are null, bool, int, float, text, bytes, dates, ObjectIds and UUIDs.
A column with anything else in it, or with two kinds that are not int and float, is declined, and made by the reference form from that chunk's bytes.

Layout (Arrow's columnar format): ``validity`` one bit a row, least significant first, None where no row is null; ``data`` the fixed-width values, or
offsets (int32) and bytes, with zeros where a row is null; ``children`` of a list (offsets stand in ``data``) and of a struct.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

from docdb import _native
from docdb.errors import UsageError
from docdb.language.projection import Projection
from docdb.language.values import MISSING
from docdb.store import codec
from docdb.store.column_types import NARROW_DIGITS, ColumnType, names_of, type_of_all

__all__ = ["Chunk", "Column", "ROWS", "Wanted", "chunks_of_documents", "chunks_of_stored", "laid_out"]

ROWS: Final = 32_768  # of a chunk, at most
BYTES: Final = 32 * 2**20  # of stored documents in a chunk; offsets of 32 bits are sure to reach
MOST_COLUMNS: Final = 16_384

_kernel: Any = None
if _native.AVAILABLE:
    from docdb._native import columns as _kernel


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a chunk."""

    type: ColumnType
    length: int
    nulls: int
    validity: bytes | None
    data: tuple[bytes, ...] = ()
    children: tuple[Column, ...] = ()


class Chunk(NamedTuple):
    """So many rows, by name of their fields."""

    rows: int
    columns: dict[str, Column]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which top-level fields become columns: ``keep`` in this order (None: all, as they are met) but for ``drop``. ``text`` become
    text by ``text_of`` (of a value that is neither null nor missing), whatever they hold."""

    keep: tuple[str, ...] | None = None
    drop: frozenset[str] = frozenset()
    text: frozenset[str] = frozenset()
    text_of: Callable[[Any], str] = field(default=str, compare=False)

    @staticmethod
    def shown_by(projection: Projection | None) -> Wanted | None:
        """Return what a projection shows, None where that is not whole top-level fields as they are."""
        if projection is None:
            return Wanted()
        if projection.names is not None and projection.inclusion_paths is not None:
            return Wanted(keep=tuple(path[0] for path in projection.inclusion_paths))
        return None if projection.dropped is None else Wanted(drop=projection.dropped)


def chunks_of_documents(
    batches: Iterable[Sequence[dict[str, Any]]], wanted: Wanted, *, rows: int = ROWS
) -> Iterator[Chunk]:
    """Yield the columns of canonical documents, at most ``rows`` at a time. UsageError for a field that no column holds."""
    waiting: list[dict[str, Any]] = []
    for batch in batches:
        waiting += batch
        while len(waiting) >= rows:
            yield _chunk_of(waiting[:rows], wanted)
            del waiting[:rows]
    if waiting:
        yield _chunk_of(waiting, wanted)


def chunks_of_stored(batches: Iterable[list[bytes]], wanted: Wanted, *, rows: int = ROWS) -> Iterator[Chunk]:
    """Yield the columns of stored documents, equal to those of the decoded ones. Also raises CorruptError."""
    for chunk in _gathered(batches, rows):
        made = None if _kernel is None else _kernel.fill(chunk, wanted.keep, wanted.drop, wanted.text, MOST_COLUMNS)
        if made is None:  # no kernel, too many columns, or damage: the reference says what is wrong
            yield _chunk_of(list(map(codec.decode, chunk)), wanted)
        else:
            yield Chunk(len(chunk), _completed(chunk, made, wanted))


def _gathered(batches: Iterable[list[bytes]], rows: int) -> Iterator[list[bytes]]:
    """Yield lists of at most ``rows`` documents, closed behind the one that makes them ``BYTES`` long."""
    held: list[bytes] = []
    size = 0
    for batch in batches:
        length = sum(map(len, batch))
        if len(held) + len(batch) <= rows and size + length <= BYTES:
            held += batch
            size += length
            continue
        for data in batch:
            held.append(data)
            size += len(data)
            if len(held) == rows or size >= BYTES:
                yield held
                held, size = [], 0
    if held:
        yield held


def _completed(chunk: list[bytes], made: list[tuple[str, int, Any, Any, Any]], wanted: Wanted) -> dict[str, Column]:
    """Return the kernel's columns, and those it declined made from decoded values."""
    declined = [name for name, kind, *_ in made if kind < 0]
    documents: list[dict[str, Any]] = []
    if declined:
        read = codec.FieldsDecoder(declined) if len(declined) <= codec.MOST_FIELDS else codec.decode
        documents = list(map(read, chunk))
    return {
        name: _column_of(name, documents, wanted)
        if kind < 0
        else Column(_KINDS[kind], len(chunk), nulls, validity, data)
        for name, kind, nulls, validity, data in made
    }


_KINDS: Final = (
    ColumnType("null"), ColumnType("bool"), ColumnType("int64"), ColumnType("int64", wide=True), ColumnType("float64"), ColumnType("utf8"),
    ColumnType("binary"), ColumnType("timestamp"), ColumnType("object_id"), ColumnType("uuid"),
)  # fmt: skip  # in the order of the kernel's numbers


# ---- the reference form


def _chunk_of(documents: list[dict[str, Any]], wanted: Wanted) -> Chunk:
    names = list(wanted.keep) if wanted.keep is not None else [n for n in names_of(documents) if n not in wanted.drop]
    if len(names) > MOST_COLUMNS:
        raise UsageError(
            f"{len(names)} names of fields are too many for columns, more than {MOST_COLUMNS}",
            hint="choose by a projection",
        )
    return Chunk(len(documents), {name: _column_of(name, documents, wanted) for name in names})


def _column_of(name: str, documents: list[dict[str, Any]], wanted: Wanted) -> Column:
    values = [document.get(name) for document in documents]
    if name in wanted.text:
        values = [value if value is None else wanted.text_of(value) for value in values]
    return laid_out(type_of_all(values, name), values)


def laid_out(kind: ColumnType, values: Sequence[Any]) -> Column:
    """Return a column of this type, which holds all the values."""
    valid = [value is not None and value is not MISSING for value in values]
    nulls = valid.count(False)
    if kind.kind == "null":
        return Column(kind, len(values), nulls, None)
    known = (
        list(values) if not nulls else [value if there else None for value, there in zip(values, valid, strict=True)]
    )
    data, children = _LAYOUTS[kind.kind](kind, known)
    return Column(kind, len(values), nulls, _bits(valid) if nulls else None, data, children)


Laid = tuple[tuple[bytes, ...], tuple[Column, ...]]


def _bits(flags: Sequence[bool]) -> bytes:
    number = sum(1 << at for at, flag in enumerate(flags) if flag) if len(flags) <= 64 else None
    if number is not None:
        return number.to_bytes((len(flags) + 7) // 8, "little")
    return b"".join(_bits(flags[at : at + 64]) for at in range(0, len(flags), 64))


def _packed(code: str) -> Callable[[ColumnType, list[Any]], Laid]:
    def lay(kind: ColumnType, values: list[Any]) -> Laid:
        return (struct.pack(f"<{len(values)}{code}", *(0 if value is None else value for value in values)),), ()

    return lay


def _dates(kind: ColumnType, values: list[Any]) -> Laid:
    micros = [0 if value is None else (value - codec.EPOCH) // codec.MICROSECOND for value in values]
    return (struct.pack(f"<{len(micros)}q", *micros),), ()


def _texts(kind: ColumnType, values: list[Any]) -> Laid:
    return _runs([b"" if value is None else str(value).encode() for value in values])


def _binaries(kind: ColumnType, values: list[Any]) -> Laid:
    return _runs([b"" if value is None else bytes(value) for value in values])


def _runs(parts: list[bytes]) -> Laid:
    return (_offsets(map(len, parts)), b"".join(parts)), ()


def _offsets(sizes: Iterable[int]) -> bytes:
    ends = list(accumulate(sizes, initial=0))
    if ends[-1] > 2**31 - 1:
        raise UsageError(
            "a chunk of rows holds more than 2 GiB in one column", hint="leave the field out by a projection"
        )
    return struct.pack(f"<{len(ends)}i", *ends)


def _decimals(kind: ColumnType, values: list[Any]) -> Laid:
    width = 16 if kind.digits + kind.scale <= NARROW_DIGITS else 32
    exact = Context(prec=kind.digits + kind.scale + 1)
    numbers = (0 if value is None else int(Decimal(value).scaleb(kind.scale, exact)) for value in values)
    return (b"".join(number.to_bytes(width, "little", signed=True) for number in numbers),), ()


def _lists(kind: ColumnType, values: list[Any]) -> Laid:
    offsets = _offsets(0 if value is None else len(value) for value in values)
    items = list(chain.from_iterable(value for value in values if value is not None))
    return (offsets,), (laid_out(kind.item, items),)


def _structs(kind: ColumnType, values: list[Any]) -> Laid:
    return (), tuple(
        laid_out(below, [None if value is None else value.get(name) for value in values]) for name, below in kind.fields
    )


_LAYOUTS: Final[dict[str, Callable[[ColumnType, list[Any]], Laid]]] = {
    "binary": _binaries,
    "bool": lambda kind, values: ((_bits([bool(value) for value in values]),), ()),
    "decimal": _decimals,
    "float64": _packed("d"),
    "int64": _packed("q"),
    "list": _lists,
    "object_id": _texts,
    "struct": _structs,
    "timestamp": _dates,
    "utf8": _texts,
    "uuid": _texts,
}
