"""The order of all values, as bytes: the reference form of the key encoding.

What lives here: ``order_key``, which turns a canonical value into bytes whose memcmp order is MongoDB's cross-type order, and
``compare``. What it must not know: index entries, prefixes, collections (``store/keyspace.py`` puts keys together).
``_native/keys.pyx`` is the fast twin over stored bytes; both must give the same bytes for every value.

    tag   type       body
    05    MinKey     -
    08    (no value) -                            an empty array in an index (MongoDB's undefined)
    10    null       -                            a missing field too
    20    number     8 bytes + 00, or 8 bytes + 01 + rest    see below
    30    string     UTF-8, 00 escaped as 00 FF; 00
    40    object     for each field: tag of the value, name as a string body, value; 00
    50    array      the elements; 00
    60    binary     length (4 bytes), subtype, bytes        (bytes: subtype 0, UUID: 4)
    70    ObjectId   12 bytes
    80    bool       00 or 01
    90    date       microseconds since 1970 + 2**63 (8 bytes)
    A0    timestamp  time, inc (4 bytes each)
    B0    regex      pattern and flags as string bodies
    F0    MaxKey     -

All integers are big-endian. No tag is 00 or FF, so a body that ends with 00 sorts before any longer one. Numbers: the 8 bytes
are the largest double <= x, made ordered (negative: all bits inverted; else the sign bit set); NaN is eight 00; -0.0 is 0.0. When
that double is x itself, 00 follows. Otherwise 01 and the exact decimal form of x: exponent of the first digit + 0x8000 (2 bytes), the digits
without trailing zeros, two a byte, each digit + 1 in a nibble, a last 00; for x < 0 these bytes (not the 01) are inverted. So
2**53 + 1, Int64 and Decimal of the same value give the same bytes. Descending is every byte of the component inverted.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

from docdb.language.values import Binary, Int64, MaxKey, MinKey, Missing, ObjectId, Regex, Timestamp

__all__ = ["EMPTY_ARRAY_KEY", "MAX_KEY", "MIN_KEY", "NULL_KEY", "TAGS", "compare", "invert", "order_key", "type_range"]

MIN_KEY: Final = b"\x05"
EMPTY_ARRAY_KEY: Final = b"\x08"
NULL_KEY: Final = b"\x10"
MAX_KEY: Final = b"\xf0"
TAGS: Final[dict[str, int]] = {
    "minKey": 0x05, "missing": 0x10, "null": 0x10, "int": 0x20, "long": 0x20, "double": 0x20, "decimal": 0x20, "string": 0x30,
    "object": 0x40, "array": 0x50, "binData": 0x60, "objectId": 0x70, "bool": 0x80, "date": 0x90, "timestamp": 0xA0,
    "regex": 0xB0, "maxKey": 0xF0,
}  # fmt: skip

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_INVERT = bytes(255 - i for i in range(256))
_WHOLE: Final = 2**53  # up to here every int is a double
_DOUBLE = struct.Struct(">d")
_EXACT = Context(prec=40, Emin=-7000, Emax=7000)
_ZERO_NUMBER = b"\x20\x80" + bytes(8)
_NAN_NUMBER = b"\x20" + bytes(9)


def order_key(value: Any) -> bytes:
    """Return the ordered bytes of a canonical value (MISSING counts as null). Cost: one pass over the value."""
    key: bytes = _ENCODERS[type(value)](value)
    return key


def compare(left: Any, right: Any) -> int:
    """Return -1, 0 or 1 in MongoDB's cross-type order."""
    if type(left) is type(right) and type(left) in _DIRECT:
        return int(left > right) - int(left < right)
    a, b = order_key(left), order_key(right)
    return (a > b) - (a < b)


def invert(key: bytes) -> bytes:
    """Return the descending form of a component (and back)."""
    return key.translate(_INVERT)


def type_range(tag: int) -> tuple[bytes, bytes]:
    """Return the half-open range of all keys with this tag."""
    return bytes((tag,)), bytes((tag + 1,))


def string_body(text: str) -> bytes:
    """Return a string's body: UTF-8, NUL escaped, terminated."""
    return text.encode("utf-8").replace(b"\0", b"\0\xff") + b"\0"


def number_key(value: int | float | Decimal) -> bytes:
    """Return tag and body of a number; exact for every int, float and Decimal."""
    if value != value:
        return _NAN_NUMBER
    if value == 0:
        return _ZERO_NUMBER
    if type(value) is int and 0 < value <= _WHOLE:
        packed = _DOUBLE.pack(value)
        return b"\x20" + bytes((packed[0] | 0x80,)) + packed[1:] + b"\0"
    low = _floor_double(value)
    bits: int = struct.unpack(">Q", struct.pack(">d", low))[0]
    bits = bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63
    head = b"\x20" + bits.to_bytes(8, "big")
    if low == value:
        return head + b"\0"
    rest = _decimal_form(Decimal(value) if isinstance(value, int) else value)  # type: ignore[arg-type]
    return head + b"\x01" + (invert(rest) if value < 0 else rest)


def _floor_double(value: int | float | Decimal) -> float:
    """Return the largest double that is not above the value; exact comparison, no rounding error."""
    if isinstance(value, float):
        return value
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    return math.nextafter(near, -math.inf) if near > value else near


def _decimal_form(value: Decimal) -> bytes:
    magnitude = value.copy_abs().normalize(_EXACT)
    _, digits, _ = magnitude.as_tuple()
    packed = bytearray((magnitude.adjusted() + 0x8000).to_bytes(2, "big"))
    for i in range(0, len(digits), 2):
        low = digits[i + 1] + 1 if i + 1 < len(digits) else 0
        packed.append((digits[i] + 1) << 4 | low)
    packed.append(0)
    return bytes(packed)


def _object_key(value: dict[str, Any]) -> bytes:
    parts = [b"\x40"]
    for name, item in value.items():
        key = order_key(item)
        parts += (key[:1], string_body(name), key)
    parts.append(b"\0")
    return b"".join(parts)


def _array_key(value: list[Any]) -> bytes:
    return b"\x50" + b"".join([order_key(item) for item in value]) + b"\0"


def _binary_key(value: bytes) -> bytes:
    return b"\x60" + len(value).to_bytes(4, "big") + bytes((getattr(value, "subtype", 0),)) + bytes(value)


def _date_key(value: dt.datetime) -> bytes:
    return b"\x90" + ((value - _EPOCH) // _MICROSECOND + 2**63).to_bytes(8, "big")


_DIRECT: Final = frozenset({int, str, bool, dt.datetime, ObjectId, Int64})
_ENCODERS: Final[dict[type, Any]] = {
    type(None): lambda v: NULL_KEY,
    Missing: lambda v: NULL_KEY,
    bool: lambda v: b"\x80\x01" if v else b"\x80\x00",
    int: number_key,
    Int64: number_key,
    float: number_key,
    Decimal: number_key,
    str: lambda v: b"\x30" + string_body(v),
    dict: _object_key,
    list: _array_key,
    bytes: _binary_key,
    Binary: _binary_key,
    UUID: lambda v: b"\x60\0\0\0\x10\x04" + v.bytes,
    ObjectId: lambda v: b"\x70" + v.binary,
    dt.datetime: _date_key,
    Timestamp: lambda v: b"\xa0" + struct.pack(">II", v.time, v.inc),
    Regex: lambda v: b"\xb0" + string_body(v.pattern) + string_body(v.flags),
    MinKey: lambda v: MIN_KEY,
    MaxKey: lambda v: MAX_KEY,
}
