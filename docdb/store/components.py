"""Reading index entries back: where a component ends, and which value it stands for.

What lives here: ``split_components`` and ``decode_key``. What it must not know: how keys are made (``keyspace``), documents, engines. The table of
order keys is in ``language/order.py``, the table of type bytes in ``keyspace``. ``_native/keys.pyx`` has the twins.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from docdb import _native
from docdb.errors import CorruptError
from docdb.language.order import invert
from docdb.language.values import INT32_MAX, INT32_MIN, MAX_DEPTH, MISSING, Int64, MaxKey, MinKey, ObjectId, Timestamp

__all__ = ["decode_key", "reference_decode_key", "reference_split", "split_components"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIXED: Final = {0x05: 1, 0x08: 1, 0x10: 1, 0x70: 13, 0x80: 2, 0x90: 9, 0xA0: 9, 0xF0: 1}
_SIGN: Final = 1 << 63


def reference_split(data: bytes, directions: Sequence[int]) -> tuple[list[bytes], bytes]:
    """Return the components at the head of ``data``, ascending form, and the rest; one component for each direction.

    ``data`` begins with the first component (no index number) of an entry that was not cut.
    """
    parts = []
    for way in directions:
        size = _size(invert(data) if way < 0 else data, 0, 0)
        parts.append(invert(data[:size]) if way < 0 else data[:size])
        data = data[size:]
    return parts, data


def reference_decode_key(key: bytes, kind: int = 0) -> Any:
    """Return the value of one ascending component and its type byte; CorruptError for damage and for types the key does not hold."""
    kind &= 15
    try:
        if not key or _size(key, 0, 0) != len(key):
            raise _damaged("a length that does not fit")
        if key[0] == 0x20:
            return _NUMBERS[kind](key)
        if kind == 5 and key[0] == 0x10:
            return MISSING
        if kind:
            raise _damaged(f"type {kind} at {key[0]:02x}")
        return _READERS[key[0]](key)
    except (KeyError, ValueError, OverflowError, struct.error) as error:
        raise _damaged(str(error)) from error


def _size(key: bytes, start: int, depth: int) -> int:
    """Return the position behind the component that begins at ``start``."""
    if start >= len(key) or depth > MAX_DEPTH:
        raise _damaged("it ends too early, or nests too deep")
    tag = key[start]
    if tag in _FIXED:
        end = start + _FIXED[tag]
    elif tag == 0x20:
        end = _number_end(key, start + 9)
    elif tag == 0x30:
        end = _text_end(key, start + 1)
    elif tag == 0x60:
        end = start + 6 + int.from_bytes(key[start + 1 : start + 5], "big")
    elif tag == 0xB0:
        end = _text_end(key, _text_end(key, start + 1))
    elif tag in (0x40, 0x50):
        end = start + 1
        while key[end : end + 1] != b"\0":
            end = _size(key, _text_end(key, end + 1) if tag == 0x40 else end, depth + 1)
        end += 1
    else:
        raise _damaged(f"no type has the tag {tag:02x}")
    if end > len(key):
        raise _damaged("it ends too early")
    return end


def _number_end(key: bytes, at: int) -> int:
    mark = key[at : at + 1]
    if mark == b"\0":
        return at + 1
    if mark != b"\1":
        raise _damaged("a number")
    last = b"\0" if key[at - 8] & 0x80 else b"\xff"
    end = key.find(last, at + 3)
    if end < 0:
        raise _damaged("a number without end")
    return end + 1


def _text_end(key: bytes, at: int) -> int:
    while True:
        at = key.find(b"\0", at)
        if at < 0:
            raise _damaged("text without end")
        if key[at + 1 : at + 2] != b"\xff":
            return at + 1
        at += 2


def _text(body: bytes) -> str:
    return body[:-1].replace(b"\0\xff", b"\0").decode("utf-8")


def _double(key: bytes) -> float:
    bits = int.from_bytes(key[1:9], "big")
    if bits == 0:
        return math.nan
    (value,) = struct.unpack(">d", (bits ^ _SIGN if bits & _SIGN else bits ^ (2 * _SIGN - 1)).to_bytes(8, "big"))
    return float(value)


def _float(key: bytes) -> float:
    if key[9]:
        raise ValueError("a float with a rest")
    return _double(key)


def _integer(key: bytes) -> int:
    value = _double(key)
    if key[9] == 0:
        if value != int(value):
            raise ValueError("an integer with a fraction")
        return _bounded(int(value))
    rest = key[10:] if value >= 0 else invert(key[10:])
    digits = rest[2:-1].hex().translate(_DIGITS).rstrip("x")
    exponent = int.from_bytes(rest[:2], "big") - 0x8000
    if not digits.isdigit() or not 0 <= exponent < 20 or len(digits) > exponent + 1:
        raise ValueError("an integer with a fraction")
    number = int(digits) * 10 ** (exponent + 1 - len(digits))
    return _bounded(number if value >= 0 else -number)


_DIGITS: Final = str.maketrans("0123456789abcdef", "x0123456789?????")


def _bounded(value: int) -> int:
    if not -_SIGN <= value < _SIGN:
        raise ValueError("beyond 64 bits")
    return value


def _plain(key: bytes) -> int:
    value = _integer(key)
    if not INT32_MIN <= value <= INT32_MAX:
        raise ValueError("beyond 32 bits")
    return value


def _long(key: bytes) -> int:
    value = _integer(key)
    return Int64(value) if INT32_MIN <= value <= INT32_MAX else value


def _negative_zero(key: bytes) -> float:
    if _float(key) != 0:
        raise ValueError("a zero that is none")
    return -0.0


def _binary(key: bytes) -> bytes | UUID:
    if key[5] == 4 and len(key) == 22:
        return UUID(bytes=key[6:])
    if key[5]:
        raise ValueError("a subtype")
    return key[6:]


def _bool(key: bytes) -> bool:
    if key[1] > 1:
        raise ValueError("neither true nor false")
    return key[1] == 1


def _damaged(what: str) -> CorruptError:
    return CorruptError(f"an index entry is damaged: {what}")


_NUMBERS: Final[dict[int, Callable[[bytes], Any]]] = {1: _plain, 2: _long, 3: _float, 6: _negative_zero}
_READERS: Final[dict[int, Callable[[bytes], Any]]] = {
    0x05: lambda k: MinKey(),
    0x10: lambda k: None,
    0x30: lambda k: _text(k[1:]),
    0x60: _binary,
    0x70: lambda k: ObjectId(k[1:]),
    0x80: _bool,
    0x90: lambda k: _EPOCH + dt.timedelta(microseconds=int.from_bytes(k[1:], "big") - _SIGN),
    0xA0: lambda k: Timestamp(*struct.unpack(">II", k[1:])),
    0xF0: lambda k: MaxKey(),
}


def _split(data: bytes, directions: Sequence[int]) -> tuple[list[bytes], bytes]:
    """Return what ``reference_split`` returns, from the kernel."""
    made: tuple[list[bytes], bytes] | None = _native.keys.split_components(data, directions)
    return reference_split(data, directions) if made is None else made


decode_key: Callable[..., Any] = reference_decode_key
split_components: Callable[[bytes, Sequence[int]], tuple[list[bytes], bytes]] = reference_split
if _native.AVAILABLE:
    _native.keys.configure(reference_decode_key)
    decode_key, split_components = _native.keys.decode_key, _split
