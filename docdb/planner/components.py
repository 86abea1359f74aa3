"""Reading order keys back: the values of an index entry, and bounds for people.

What lives here: where components end (``component_end``, ``component_ends``), ``decode_component`` (their values, by the type byte), ``covered_values``.
What it must not know: which entries are read, why.

The key alone equalises 1, 1.0 and Int64(1); the type byte of the entry's value says which it was (table in ARCHITECTURE.md).
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from docdb.errors import CorruptError
from docdb.language.order import TAGS, invert
from docdb.language.values import (
    INT32_MAX,
    INT32_MIN,
    MISSING,
    Binary,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)  # fmt: skip

__all__ = ["component_end", "component_ends", "covered_values", "decode_component", "split_entry"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIXED: Final = {0x05: 1, 0x08: 1, 0x10: 1, 0x70: 13, 0x80: 2, 0x90: 9, 0xA0: 9, 0xF0: 1}
_LONG, _FLOAT, _DECIMAL, _ABSENT, _NEGATIVE_ZERO, _NOT_COVERED = 2, 3, 4, 5, 6, 7


def component_end(key: bytes, at: int = 0) -> int:
    """Return where the ascending component that begins at ``at`` ends."""
    tag = key[at]
    if tag in _FIXED:
        return at + _FIXED[tag]
    return _ENDS[tag](key, at + 1)


def _number_end(key: bytes, at: int) -> int:
    if key[at + 8] == 0:
        return at + 9
    stop = 0 if key[at] >> 7 else 0xFF  # the rest of a negative number is inverted
    at += 11  # marker and exponent may hold the stop byte
    while key[at] != stop:
        at += 1
    return at + 1


def _text_end(key: bytes, at: int) -> int:
    at = key.index(0, at)
    while key[at + 1 : at + 2] == b"\xff":
        at = key.index(0, at + 2)
    return at + 1


def _items_end(key: bytes, at: int) -> int:
    while key[at]:
        at = component_end(key, at)
    return at + 1


def _fields_end(key: bytes, at: int) -> int:
    while key[at]:
        at = component_end(key, _text_end(key, at + 1))
    return at + 1


_ENDS: Final[dict[int, Callable[[bytes, int], int]]] = {
    0x20: _number_end,
    0x30: _text_end,
    0x40: _fields_end,
    0x50: _items_end,
    0x60: lambda key, at: at + 5 + int.from_bytes(key[at : at + 4], "big"),
    0xB0: lambda key, at: _text_end(key, _text_end(key, at)),
}


def decode_component(key: bytes, kind: int = 0) -> Any:
    """Return the value of an ascending component; ``kind`` is the low nibble of its type byte (0: numbers in their plainest form)."""
    if kind == _ABSENT:
        return MISSING
    return _VALUES[key[0]](key, kind)


def _number(key: bytes, kind: int) -> Any:
    if kind == _NEGATIVE_ZERO:
        return -0.0
    bits = int.from_bytes(key[1:9], "big")
    if not bits:
        return math.nan
    bits = bits ^ 1 << 63 if bits >> 63 else bits ^ (1 << 64) - 1
    (low,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    value: Any = low if key[9] == 0 else _exact(key)
    if kind == _FLOAT:
        return low
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 2**63 + 1 else value
    if kind == _LONG and INT32_MIN <= value <= INT32_MAX:
        return Int64(value)
    return value


def _exact(key: bytes) -> int | Decimal:
    negative = not key[1] >> 7
    packed = invert(key[10:]) if negative else key[10:]
    exponent = int.from_bytes(packed[:2], "big") - 0x8000
    digits = [part - 1 for byte in packed[2:-1] for part in (byte >> 4, byte & 15) if part]
    value = Decimal((int(negative), tuple(digits), exponent - len(digits) + 1))
    return int(value) if value == value.to_integral_value() and abs(value) < 2**63 + 1 else value


def _text(key: bytes, kind: int) -> str:
    return key[1:-1].replace(b"\0\xff", b"\0").decode("utf-8", "replace")


def _fields(key: bytes, kind: int) -> dict[str, Any]:
    found, at = {}, 1
    while key[at]:
        middle = _text_end(key, at + 1)
        end = component_end(key, middle)
        found[_text(key[at:middle], 0)] = decode_component(key[middle:end])
        at = end
    return found


def _items(key: bytes, kind: int) -> list[Any]:
    found, at = [], 1
    while key[at]:
        end = component_end(key, at)
        found.append(decode_component(key[at:end]))
        at = end
    return found


def _binary(key: bytes, kind: int) -> Any:
    subtype, data = key[5], key[6:]
    if subtype == 4 and len(data) == 16:
        return UUID(bytes=data)
    return Binary(data, subtype) if subtype else data


def _regex(key: bytes, kind: int) -> Regex:
    middle = _text_end(key, 1)
    return Regex(_text(key[:middle], 0), _text(b"\0" + key[middle:], 0))


_VALUES: Final[dict[int, Callable[[bytes, int], Any]]] = {
    0x05: lambda key, kind: MinKey(),
    0x08: lambda key, kind: [],
    0x10: lambda key, kind: None,
    0x20: _number,
    0x30: _text,
    0x40: _fields,
    0x50: _items,
    0x60: _binary,
    0x70: lambda key, kind: ObjectId(key[1:13]),
    0x80: lambda key, kind: key[1] == 1,
    0x90: lambda key, kind: _EPOCH + dt.timedelta(microseconds=int.from_bytes(key[1:9], "big") - 2**63),
    0xA0: lambda key, kind: Timestamp(*struct.unpack(">II", key[1:9])),
    0xB0: _regex,
    0xF0: lambda key, kind: MaxKey(),
}


def component_ends(key: bytes, ways: Sequence[int]) -> list[int]:
    """Return where the first components of a key end, which has one for each way at least. Raises IndexError, KeyError or ValueError for what is none."""
    found, at = [], 0
    inverted = invert(key) if any(way < 0 for way in ways) else key
    for way in ways:
        at = component_end(key if way > 0 else inverted, at)
        found.append(at)
    return found


def split_entry(index: Any, key: bytes) -> list[bytes]:
    """Return the ascending components of an entry that was not cut."""
    parts, at = [], 0
    ways = [way for _, way in index.keys]
    for way, end in zip(ways, component_ends(key, ways), strict=True):
        parts.append(key[at:end] if way > 0 else invert(key[at:end]))
        at = end
    return parts


def covered_values(index: Any, key: bytes, value: bytes) -> list[Any] | None:
    """Return the values of an entry's fields exactly as stored, or None when the entry does not give them back."""
    kinds = value[1:]
    if any(kind >= _NOT_COVERED or kind == _DECIMAL for kind in kinds):
        return None
    parts = split_entry(index, key)
    if len(parts) != len(kinds):
        raise CorruptError(f"an entry of index {index.name!r} is damaged")
    return [decode_component(part, kind) for part, kind in zip(parts, kinds, strict=True)]


def id_value(id_key: bytes) -> Any:
    """Return the ``_id`` of an id key, or MISSING when the key does not tell its exact type."""
    return decode_component(id_key) if id_key[0] in _EXACT_IDS else MISSING


_EXACT_IDS: Final = frozenset({TAGS["string"], TAGS["objectId"], TAGS["bool"], TAGS["date"], TAGS["timestamp"]})
