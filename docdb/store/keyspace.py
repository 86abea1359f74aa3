"""The key space: the only maker of keys.

What lives here: keys and key ranges of the four spaces, and ``EntryMaker``, which turns a stored document into the entries of one index.
What it must not know: engines, transactions, the catalog's contents.

Entries follow MongoDB's multikey rules. An array on a path fans out: each element that is an object is walked on, any other reaches
nothing (missing). An array directly inside an array does not fan out again. An array at the end of a path gives its elements, or
08 when it is empty. A part of digits addresses an element; what it reaches may fan out again (an array at the very end gives itself *and*
its elements, so that every reading of such a path is served). All fields fan out over the same array or the document is refused (171).

A key has at most 511 bytes. Components longer than ``cut_limit`` are cut there, FF follows, in a unique index a digest too. It is made of the
components, but of one that is longer than any key of its hash: an array's elements share the long text beside them. The limit of a
unique index is that of the longest id, so that equal components give equal bytes whatever the id. ``low_bound`` and ``high_bound``
make bounds that are right for cut entries too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from docdb import _native
from docdb.errors import CorruptError, DocumentError
from docdb.language.order import EMPTY_ARRAY_KEY, invert, order_key
from docdb.language.values import INT32_MAX, INT32_MIN, MISSING, Binary, Int64, Regex
from docdb.store import codec
from docdb.store.components import decode_key, split_components

__all__ = [
    "EMPTY_ARRAY", "END_OF_COMMIT", "EntryMaker", "EntryParts", "EntrySpec", "FORMAT_KEY", "MAX_ID", "MAX_KEY_SIZE", "NOT_COVERED", "SECRET_KEY",
    "STATE_KEY", "VERSION_KEY", "after_prefix", "change_key", "collection_definition_key", "collection_counters_key", "collection_prefix",
    "collection_range", "component", "cut_limit", "decode_key", "document_key", "entry_range", "high_bound", "index_counters_key", "index_prefix",
    "index_range", "is_coverable", "is_cut", "is_multikey", "joined_entry", "low_bound", "rows_of", "split_components", "type_byte", "unique_prefix",
]  # fmt: skip

MAX_KEY_SIZE: Final = 511
MAX_ID: Final = codec.MAX_ID
NUMBER_SIZE: Final = 4
DIGEST_SIZE: Final = 16
HASH_SIZE: Final = 32  # of a component that no key can hold whole
SHORTEST_CUT: Final = MAX_KEY_SIZE - NUMBER_SIZE - DIGEST_SIZE - 1 - MAX_ID
END_OF_COMMIT: Final = 0xFFFFFFFF
FORMAT_KEY: Final = b"m:format"
VERSION_KEY: Final = b"m:version"
STATE_KEY: Final = b"m:state"
SECRET_KEY: Final = b"m:secret"

# Type bytes of an entry's value: the low nibble.
AS_KEY, PLAIN_INT, LONG, FLOAT, DECIMAL, ABSENT, NEGATIVE_ZERO, NOT_COVERED, CUT = 0, 1, 2, 3, 4, 5, 6, 7, 15
MULTIKEY: Final = 0x10
_TYPES: Final[dict[type, int]] = {
    float: FLOAT, Decimal: DECIMAL, type(MISSING): ABSENT, dict: NOT_COVERED, list: NOT_COVERED,
    Regex: NOT_COVERED, Binary: NOT_COVERED, Int64: LONG, UUID: AS_KEY,
}  # fmt: skip
_CUT_MARK: Final = b"\xff"
_order_key: Callable[[Any], bytes] = _native.codec.order_key_of_value if _native.AVAILABLE else order_key


class _EmptyArray:
    """Stands for an empty array at the end of a path."""


EMPTY_ARRAY: Final = _EmptyArray()
_TYPES[_EmptyArray] = NOT_COVERED


# ---- documents, changes, catalog


def collection_prefix(number: int) -> bytes:
    """Return what every document key of a collection begins with."""
    return number.to_bytes(NUMBER_SIZE, "big")


index_prefix = collection_prefix


def document_key(number: int, id_key: bytes) -> bytes:
    """Return the key of a document in the space ``documents``."""
    return number.to_bytes(NUMBER_SIZE, "big") + id_key


def after_prefix(prefix: bytes) -> bytes:
    """Return the least key above every key that begins with ``prefix`` (not all FF)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def collection_range(number: int) -> tuple[bytes, bytes]:
    """Return the half-open range of a collection's document keys."""
    return number.to_bytes(NUMBER_SIZE, "big"), (number + 1).to_bytes(NUMBER_SIZE, "big")


index_range = collection_range


def entry_range(number: int, low: bytes, high: bytes | None) -> tuple[bytes, bytes]:
    """Return the half-open range of an index's entries between two bounds of component bytes (None: no upper bound)."""
    prefix = index_prefix(number)
    return prefix + low, after_prefix(prefix) if high is None else prefix + high


def change_key(commit: int, index: int = 0) -> bytes:
    """Return the key of a change; ``END_OF_COMMIT`` as the index closes the commit."""
    return commit.to_bytes(8, "big") + index.to_bytes(4, "big")


def collection_definition_key(name: str) -> bytes:
    """Return the catalog key of a collection's definition."""
    return b"c:" + name.encode("utf-8")


def collection_counters_key(number: int) -> bytes:
    """Return the catalog key of a collection's counters."""
    return b"n:" + collection_prefix(number)


def index_counters_key(number: int) -> bytes:
    """Return the catalog key of an index's counters."""
    return b"i:" + index_prefix(number)


# ---- components, cuts, bounds


def component(value: Any, direction: int = 1, collation: Any = None) -> bytes:
    """Return the component of one value, as an entry holds it; for bounds of the planner."""
    key = _value_key(value, collation)
    return invert(key) if direction < 0 else key


def cut_limit(id_size: int, unique: bool) -> int:
    """Return how many bytes of components an entry holds before it is cut."""
    return SHORTEST_CUT if unique else MAX_KEY_SIZE - NUMBER_SIZE - DIGEST_SIZE - 1 - id_size


def low_bound(components: bytes) -> bytes:
    """Return a lower bound (inclusive) that lies below every entry of these components, cut ones too."""
    return components[:SHORTEST_CUT]


def high_bound(components: bytes) -> bytes:
    """Return an upper bound (exclusive) above every entry whose components lie below these, cut ones too."""
    return components if len(components) <= SHORTEST_CUT else after_prefix(components[:SHORTEST_CUT])


def is_cut(value: bytes) -> bool:
    """Tell from an entry's value whether its components were cut."""
    return len(value) > 1 and value[1] & 15 == CUT


def is_multikey(value: bytes) -> bool:
    """Tell from an entry's value whether its document reached the index through an array."""
    return len(value) > 1 and value[1] & 0xF0 == MULTIKEY


def is_coverable(value: bytes) -> bool:
    """Tell from an entry's value whether ``decode_key`` gives back every field."""
    return all(byte & 15 < NOT_COVERED and byte & 15 != DECIMAL for byte in value[1:])


def unique_prefix(key: bytes, value: bytes) -> bytes:
    """Return what a rival entry would begin with: index number, components, and the digest when they were cut."""
    return key[: len(key) - value[0]]


def _value_key(value: Any, collation: Any) -> bytes:
    if value is EMPTY_ARRAY:
        return EMPTY_ARRAY_KEY
    key: bytes = _order_key(value) if collation is None else collation.order_key(value)
    return key


def type_byte(value: Any, collation: Any) -> int:
    kind = type(value)
    if kind is int:
        return PLAIN_INT if INT32_MIN <= value <= INT32_MAX else LONG
    if kind is float:
        return NEGATIVE_ZERO if value == 0 and str(value) == "-0.0" else FLOAT
    if kind is str and collation is not None:
        return NOT_COVERED
    return _TYPES.get(kind, AS_KEY)


# ---- entries


def joined_entry(
    number: int, id_key: bytes, parts: Sequence[bytes], types: Sequence[int], *, multikey: bool, unique: bool = False
) -> tuple[bytes, bytes]:
    """Return the (key, value) pair of an entry with these components, as ``EntryParts`` makes them, and type bytes, cut where it must be."""
    flag = MULTIKEY if multikey else 0
    value = bytearray((len(id_key), *(kind | flag for kind in types)))
    joined = b"".join(parts)
    limit = cut_limit(len(id_key), unique)
    if len(joined) > limit:
        joined = joined[:limit] + _CUT_MARK + (_digest(parts) if unique else b"")
        value[1] = CUT | (flag or 0xF0)
    return index_prefix(number) + joined + id_key, bytes(value)


def _digest(parts: Sequence[bytes]) -> bytes:
    told = [part if len(part) <= MAX_KEY_SIZE else part[MAX_KEY_SIZE:] for part in parts]
    return blake2b(b"".join(told), digest_size=DIGEST_SIZE).digest()


class EntryParts:
    """The components of one document's entries, which are made of its values as long as it is held.

    One that no key can hold whole is made once, however many entries have it: its first 511 bytes, in a unique index FF and its hash behind
    them. No component begins with FF.
    """

    def __init__(self, collation: Any, *, unique: bool = False) -> None:
        self._collation = collation
        self._unique = unique
        self._kept: dict[tuple[int, int], bytes] = {}

    def part(self, value: Any, way: int) -> bytes:
        """Return the component of a value in an ascending (1) or descending (-1) field."""
        if not isinstance(value, str | bytes | list | dict):
            return component(value, way, self._collation)
        part = self._kept.get((way, id(value)))
        if part is None:
            whole = component(value, way, self._collation)
            part = whole[:MAX_KEY_SIZE]
            if self._unique and len(whole) > MAX_KEY_SIZE:
                part += _CUT_MARK + blake2b(whole, digest_size=HASH_SIZE).digest()
            self._kept[way, id(value)] = part
        return part


def rows_of(fields: Sequence[tuple[tuple[str, ...], Any]], document: Any) -> tuple[list[list[Any]], bool]:
    """Return the values of all fields together, a row for each way arrays fan out, and whether an array was met."""
    if type(document) is not dict:
        raise CorruptError("stored bytes are damaged: not a document")
    paths = [path for path, _ in fields]
    rows: list[list[Any]] = []
    _fan_out(paths, list(paths), [MISSING] * len(paths), document, [None] * len(paths), rows)
    return rows, len(rows) > 1 or _meets_array(paths, document)


@dataclass(frozen=True, slots=True)
class EntrySpec:
    """What an index says about its keys. ``fields`` are (path parts, 1 or -1)."""

    number: int
    fields: tuple[tuple[tuple[str, ...], int], ...]
    unique: bool = False
    sparse: bool = False
    collation: Any = None


class EntryMaker:
    """Makes the entries of one index. ``native=False`` asks for the reference form."""

    def __init__(self, spec: EntrySpec, *, native: bool | None = None) -> None:
        self.spec = spec
        self._kernel: Any = None
        if spec.collation is None and (_native.AVAILABLE if native is None else native):
            self._kernel = _native.entries.EntryKernel(spec.number, spec.fields, spec.unique, spec.sparse)

    def entries(self, id_key: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the (key, value) pairs of a stored document; raises DocumentError (171) for parallel arrays."""
        if self._kernel is not None:
            made = self._kernel.entries(id_key, data)
            if made is not None:
                return made  # type: ignore[no-any-return]
        return self._reference(id_key, codec.decode(data))

    def entries_many(self, id_keys: Sequence[bytes], datas: Sequence[bytes]) -> list[list[tuple[bytes, bytes]]]:
        """Return ``entries`` of many documents; a refused one raises for all."""
        if self._kernel is None:
            return [self.entries(id_key, data) for id_key, data in zip(id_keys, datas, strict=True)]
        made: list[Any] = self._kernel.entries_many(id_keys, datas)
        for i, rows in enumerate(made):
            if rows is None:
                made[i] = self._reference(id_keys[i], codec.decode(datas[i]))
        return made

    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> Any:
        """Return the entries of all documents as a run (``store/runs.py``), or None: make them with ``entries_many``.

        ``program`` is the compiled and exact filter of a partial index, ``upto`` the last id key to be taken.
        """
        if self._kernel is None or type(documents) is not _native.runs.Documents:
            return None
        return self._kernel.run(documents, program, upto)

    def values(self, key: bytes, value: bytes) -> list[Any] | None:
        """Return the values of an entry's fields (MISSING for a missing one), or None where the key does not give them all back."""
        if is_cut(value) or not is_coverable(value) or len(value) != 1 + len(self.spec.fields):
            return None
        parts, _ = split_components(key[NUMBER_SIZE : len(key) - value[0]], [way for _, way in self.spec.fields])
        return [decode_key(part, kind) for part, kind in zip(parts, value[1:], strict=True)]

    def _reference(self, id_key: bytes, document: Any) -> list[tuple[bytes, bytes]]:
        rows, multikey = rows_of(self.spec.fields, document)
        made: dict[bytes, bytes] = {}
        parts = EntryParts(self.spec.collation, unique=self.spec.unique)
        for row in rows:
            if self.spec.sparse and all(value is MISSING for value in row):
                continue
            key, value = self._entry(id_key, row, multikey, parts)
            made.setdefault(key, value)
        return list(made.items())

    def _entry(self, id_key: bytes, row: list[Any], multikey: bool, parts: EntryParts) -> tuple[bytes, bytes]:
        spec = self.spec
        made = [parts.part(value, way) for value, (_, way) in zip(row, spec.fields, strict=True)]
        types = [type_byte(value, spec.collation) for value in row]
        return joined_entry(spec.number, id_key, made, types, multikey=multikey, unique=spec.unique)


_Path = tuple[str, ...]
_Rest = _Path | None


def _fan_out(
    names: list[_Path],
    rests: list[Any],
    fixed: list[Any],
    source: dict[str, Any],
    placed: list[Any],
    rows: list[list[Any]],
) -> None:
    """Append to ``rows`` the values of all fields from here on: a rest is what is left of a path, None where its value is fixed.

    ``placed`` holds, for a field whose next part addresses an element of the array that fans out, what that part reaches. The steps are
    those of MongoDB's key generator.
    """
    array: list[Any] | None = None
    spread: list[int] = []
    itself = False
    for i, rest in enumerate(rests):
        if rest is None:
            continue
        value, left, by_place = _reach(names[i], source, rest, placed[i])
        if type(value) is not list:
            fixed[i], rests[i] = value, None
            continue
        if array is not None and array is not value:
            raise _parallel(names[spread[0]], names[i])
        array = value
        spread.append(i)
        rests[i] = left
        itself = itself or (by_place and not left)
    if array is None:
        rows.append(fixed)
        return
    below: list[Any] = [None] * len(rests)
    for i in spread:
        below[i] = _place(array, rests[i])
    for element in _elements(array, itself):
        values, paths = list(fixed), list(rests)
        for i in spread:
            if not rests[i]:
                values[i], paths[i] = element, None
        _fan_out(names, paths, values, element if type(element) is dict else {}, below, rows)


def _elements(array: list[Any], itself: bool) -> list[Any]:
    elements = array if array else [EMPTY_ARRAY]
    return [*elements, array] if itself else elements


def _reach(name: _Path, source: dict[str, Any], rest: _Path, placed: Any) -> tuple[Any, _Path, bool]:
    """Return what a path reaches without fanning out, what is left of it (at an array), and whether a place led there."""
    value = source.get(rest[0], MISSING)
    if value is MISSING:
        return (placed[0], placed[1], placed[2]) if placed is not None else (MISSING, (), False)
    if placed is not None:
        raise DocumentError(
            f"{rest[0]!r} is both an element of the array and a field of one of its elements",
            path=".".join(name),
            code=16746,
        )
    return _descend(value, rest[1:])


def _descend(value: Any, rest: _Path) -> tuple[Any, _Path, bool]:
    while rest and type(value) is dict:
        value = value.get(rest[0], MISSING)
        rest = rest[1:]
    if rest and type(value) is not list:
        return MISSING, (), False
    return value, rest, False


def _place(array: list[Any], rest: _Rest) -> tuple[Any, _Path, bool] | None:
    """Return what the next part reaches as a place in the array, or None."""
    if not rest or not _is_place(rest[0]) or int(rest[0]) >= len(array):
        return None
    element = array[int(rest[0])]
    value, left, _ = _descend(element, rest[1:])
    return value, left, type(element) is list


@lru_cache(1024)
def _is_place(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")


def _meets_array(paths: list[_Path], document: dict[str, Any]) -> bool:
    return any(type(_descend(document.get(path[0], MISSING), path[1:])[0]) is list for path in paths)


def _parallel(first: _Path, second: _Path) -> DocumentError:
    return DocumentError(
        f"cannot index parallel arrays [{'.'.join(second)}] [{'.'.join(first)}]",
        path=".".join(second),
        hint="at most one field of an index may hold an array",
        code=171,
    )
