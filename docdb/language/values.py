"""The values a document may hold, and docdb's own classes for what Python lacks.

What lives here: ``ObjectId``, ``Int64``, ``Binary``, ``Regex``, ``Timestamp``, ``MinKey``, ``MaxKey``, the type table (``$type`` names
and numbers) and ``canonical``, the one door through which values of users (tuples, naive dates, pymongo's ``bson``
classes) become values of docdb. What it must not know: bytes on disk, filters, collections.

A canonical value is one of: None, bool, int (64 bit), Int64, float, str (valid UTF-8), bytes, Binary (subtype not 0), list,
dict (str keys, order kept), datetime (aware, UTC, microseconds), Decimal (34 digits, exponent -6176..6111), uuid.UUID,
ObjectId, Regex, Timestamp, MinKey, MaxKey.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from docdb.errors import DocumentError

__all__ = [
    "Binary", "Int64", "MAX_DEPTH", "MISSING", "MaxKey", "MinKey", "Missing", "ObjectId", "Regex", "TYPE_NAMES", "Timestamp",
    "canonical", "canonical_scalar", "check_field_name", "is_number", "make_id", "type_name",
]  # fmt: skip

MAX_DEPTH: Final = 100
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
UTC = dt.UTC


class Missing:
    """The absence of a field; the single instance is ``MISSING``. Never stored, never returned to users."""

    _instance: Missing | None = None

    def __new__(cls) -> Missing:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


class Int64(int):
    """An integer that keeps the type ``long`` even when it fits 32 bits."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Int64({int(self)})"

    __str__ = int.__repr__


class Binary(bytes):
    """Bytes with a BSON subtype; subtype 0 is plain ``bytes``.

    >>> Binary(b"ab", 5)
    Binary(b'ab', 5)
    """

    subtype: int

    def __new__(cls, data: bytes, subtype: int = 0) -> Binary:
        if not 0 <= subtype <= 255:
            raise DocumentError(f"a binary subtype is 0 to 255, not {subtype}")
        self = super().__new__(cls, data)
        self.subtype = subtype
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            return self.subtype == getattr(other, "subtype", 0) and bytes(self) == bytes(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((bytes(self), self.subtype))

    def __repr__(self) -> str:
        return f"Binary({bytes(self)!r}, {self.subtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Binary, (bytes(self), self.subtype)


class ObjectId:
    """Twelve bytes: seconds since 1970, a random process part, a counter.

    >>> str(ObjectId("64b7f0c2a1b2c3d4e5f60718"))
    '64b7f0c2a1b2c3d4e5f60718'
    """

    __slots__ = ("binary",)
    binary: bytes
    _counter = itertools.count(int.from_bytes(os.urandom(3), "big"))
    _process = os.urandom(5)

    def __init__(self, value: str | bytes | ObjectId | None = None) -> None:
        if value is None:
            count = next(ObjectId._counter) & 0xFFFFFF
            value = int(time.time()).to_bytes(4, "big") + ObjectId._process + count.to_bytes(3, "big")
        elif isinstance(value, ObjectId):
            value = value.binary
        elif isinstance(value, str):
            try:
                value = bytes.fromhex(value) if len(value) == 24 else b""
            except ValueError:
                value = b""
        if not isinstance(value, bytes) or len(value) != 12:
            raise DocumentError("an ObjectId is 12 bytes or 24 hexadecimal digits")
        object.__setattr__(self, "binary", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an ObjectId cannot be changed")

    @property
    def generation_time(self) -> dt.datetime:
        """The second the id was made, UTC."""
        return dt.datetime.fromtimestamp(int.from_bytes(self.binary[:4], "big"), UTC)

    def __str__(self) -> str:
        return self.binary.hex()

    def __repr__(self) -> str:
        return f"ObjectId('{self}')"

    def __eq__(self, other: object) -> bool:
        return self.binary == other.binary if isinstance(other, ObjectId) else NotImplemented

    def __lt__(self, other: ObjectId) -> bool:
        return self.binary < other.binary

    def __hash__(self) -> int:
        return hash(self.binary)

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectId, (self.binary,)


os.register_at_fork(after_in_child=lambda: setattr(ObjectId, "_process", os.urandom(5)))


class Regex:
    """A regular expression as a value: pattern and flags out of ``imsx`` (kept sorted)."""

    __slots__ = ("flags", "pattern")
    pattern: str
    flags: str

    def __init__(self, pattern: str, flags: str | int = "") -> None:
        if isinstance(flags, int):
            flags = "".join(c for c, f in zip("imsx", (re.I, re.M, re.S, re.X), strict=True) if flags & f)
        if not isinstance(pattern, str) or "\0" in pattern:
            raise DocumentError("a regular expression is text without NUL")
        unknown = set(flags) - set("imsxlu")
        if unknown:
            raise DocumentError(
                f"unknown regular expression flag {sorted(unknown)[0]!r}", hint="the flags are i, m, s, x"
            )
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(self, "flags", "".join(sorted(set(flags))))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Regex cannot be changed")

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r}, {self.flags!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Regex):
            return self.pattern == other.pattern and self.flags == other.flags
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.pattern, self.flags))

    def __reduce__(self) -> tuple[Any, ...]:
        return Regex, (self.pattern, self.flags)


class Timestamp:
    """Seconds and a counter within the second, each 32 bit unsigned."""

    __slots__ = ("inc", "time")
    time: int
    inc: int

    def __init__(self, time: int, inc: int) -> None:
        if not (0 <= time < 2**32 and 0 <= inc < 2**32):
            raise DocumentError("the parts of a Timestamp are 0 to 2**32 - 1")
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "inc", inc)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Timestamp cannot be changed")

    def __repr__(self) -> str:
        return f"Timestamp({self.time}, {self.inc})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Timestamp):
            return (self.time, self.inc) == (other.time, other.inc)
        return NotImplemented

    def __lt__(self, other: Timestamp) -> bool:
        return (self.time, self.inc) < (other.time, other.inc)

    def __hash__(self) -> int:
        return hash((self.time, self.inc))

    def __reduce__(self) -> tuple[Any, ...]:
        return Timestamp, (self.time, self.inc)


class MinKey:
    """The value below all others."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MinKey)

    def __hash__(self) -> int:
        return hash(MinKey)

    def __repr__(self) -> str:
        return "MinKey()"


class MaxKey:
    """The value above all others."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaxKey)

    def __hash__(self) -> int:
        return hash(MaxKey)

    def __repr__(self) -> str:
        return "MaxKey()"


# $type: name -> MongoDB's number. Types docdb never stores are known by name so that asking for them is no error.
TYPE_NAMES: Final[dict[str, int]] = {
    "double": 1, "string": 2, "object": 3, "array": 4, "binData": 5, "undefined": 6, "objectId": 7, "bool": 8, "date": 9,
    "null": 10, "regex": 11, "dbPointer": 12, "javascript": 13, "symbol": 14, "javascriptWithScope": 15, "int": 16,
    "timestamp": 17, "long": 18, "decimal": 19, "minKey": -1, "maxKey": 127,
}  # fmt: skip

_NAME_BY_CLASS: Final[dict[type, str]] = {
    type(None): "null", bool: "bool", Int64: "long", float: "double", str: "string", bytes: "binData", Binary: "binData",
    list: "array", dict: "object", dt.datetime: "date", Decimal: "decimal", uuid.UUID: "binData", ObjectId: "objectId",
    Regex: "regex", Timestamp: "timestamp", MinKey: "minKey", MaxKey: "maxKey", Missing: "missing",
}  # fmt: skip


def type_name(value: Any) -> str:
    """Return MongoDB's name of a canonical value's type ("missing" for MISSING)."""
    kind = type(value)
    if kind is int:
        return "int" if INT32_MIN <= value <= INT32_MAX else "long"
    return _NAME_BY_CLASS[kind]


def is_number(value: Any) -> bool:
    """Tell whether a canonical value is int, Int64, float or Decimal (bool is not a number)."""
    kind = type(value)
    return kind is int or kind is float or kind is Decimal or kind is Int64


def make_id() -> str:
    """Return a new ``_id``: 32 hexadecimal characters, time-ordered within a process (48 bits of milliseconds first)."""
    global _last_stamp
    with _id_lock:
        stamp = time.time_ns() >> 8  # 256 ns steps: 56 bits last until the year 2554
        if stamp <= _last_stamp:
            stamp = _last_stamp + 1
        _last_stamp = stamp
    return f"{stamp:014x}{os.urandom(9).hex()}"


_id_lock = threading.Lock()
_last_stamp = 0


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may hold the lock."""
    global _id_lock
    _id_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def check_field_name(name: Any, path: str) -> None:
    """Refuse a key that may not be stored: not text, NUL, leading ``$``, a dot."""
    if type(name) is not str:
        raise DocumentError(f"a field name is text, not {type(name).__name__}", path=path or None)
    if "\0" in name:
        raise DocumentError("a field name may not contain NUL", path=f"{path}.{name!r}" if path else repr(name))
    if name.startswith("$"):
        raise DocumentError("a field name may not begin with $", path=f"{path}.{name}" if path else name, code=52)
    if "." in name:
        raise DocumentError("a field name may not contain a dot", path=f"{path}.{name}" if path else name, code=57)


def canonical_scalar(value: Any, path: str, naive_utc: bool = False) -> Any:
    """Return the canonical form of a value that is neither mapping nor list; raise DocumentError with the path otherwise."""
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return value
    if kind is int or kind is Int64:
        if INT64_MIN <= value <= INT64_MAX:
            return value
        raise DocumentError(f"{value} does not fit 64 bits", path=path or None, hint="use Decimal or text")
    if kind is str:
        return _text(value, path)
    if kind is dt.datetime:
        return _date(value, path, naive_utc)
    if kind is Decimal:
        return _decimal(value, path)
    if kind in _NAME_BY_CLASS and kind is not Missing:
        return bytes(value) if kind is Binary and value.subtype == 0 else value
    return _foreign(value, path, naive_utc)


def canonical(value: Any, path: str = "", *, naive_utc: bool = False, stored: bool = False, _depth: int = 0) -> Any:
    """Return a deep, canonical copy of a user's value.

    ``stored=True`` also refuses keys that may not be stored (leading ``$``, dots). Raises DocumentError with the path of the
    offending field. Cost: one pass.
    """
    kind = type(value)
    if kind is dict or (kind not in _NAME_BY_CLASS and isinstance(value, Mapping)):
        if _depth >= MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH} levels", path=path or None)
        result = {}
        for key, item in value.items():
            if stored:
                check_field_name(key, path)
            elif type(key) is not str:
                raise DocumentError(f"a field name is text, not {type(key).__name__}", path=path or None)
            _text(key, path)
            result[key] = canonical(
                item, f"{path}.{key}" if path else key, naive_utc=naive_utc, stored=stored, _depth=_depth + 1
            )
        return result
    if kind is list or kind is tuple:
        if _depth >= MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH} levels", path=path or None)
        return [
            canonical(item, f"{path}.{i}" if path else str(i), naive_utc=naive_utc, stored=stored, _depth=_depth + 1)
            for i, item in enumerate(value)
        ]
    return canonical_scalar(value, path, naive_utc)


def _text(value: str, path: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DocumentError("text with a lone surrogate is not valid UTF-8", path=path or None) from error
    return value


def _date(value: dt.datetime, path: str, naive_utc: bool) -> dt.datetime:
    if value.tzinfo is None:
        if not naive_utc:
            raise DocumentError(
                "a date without time zone is ambiguous",
                path=path or None,
                hint="use datetime.now(timezone.utc), or open the database with naive_dates='utc'",
            )
        return value.replace(tzinfo=UTC)
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise DocumentError("the date lies outside the years 1 to 9999 in UTC", path=path or None) from error


def _decimal(value: Decimal, path: str) -> Decimal:
    if value.is_snan():
        raise DocumentError("a signalling NaN cannot be stored", path=path or None)
    if value.is_finite():
        _, digits, exponent = value.as_tuple()
        if len(digits) > 34 or not -6176 <= int(exponent) <= 6111:
            raise DocumentError("a Decimal has at most 34 digits and an exponent from -6176 to 6111", path=path or None)
    return value


def _foreign(value: Any, path: str, naive_utc: bool) -> Any:
    """Convert what other libraries use for the same things, by name: pymongo's bson is accepted without being imported."""
    kind = type(value)
    if kind.__module__.startswith("bson"):
        converter = _BSON.get(kind.__name__)
        if converter is not None:
            return canonical_scalar(converter(value), path, naive_utc)
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        return Regex(value.pattern, value.flags & (re.I | re.M | re.S | re.X))
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    for base in (bool, int, float, str, dt.datetime, Decimal, uuid.UUID):
        if isinstance(value, base) and kind.__module__ != "builtins":
            raise DocumentError(
                f"a {kind.__qualname__} would come back as {base.__name__}",
                path=path or None,
                hint=f"store {base.__name__}(value)",
            )
    hint = {
        "date": "use a datetime",
        "set": "use a list",
        "frozenset": "use a list",
        "complex": "use a list of two floats",
    }
    raise DocumentError(
        f"a value of type {kind.__qualname__} cannot be stored", path=path or None, hint=hint.get(kind.__name__)
    )


def _bson_binary(value: Any) -> Any:
    if value.subtype == 4 and len(value) == 16:
        return uuid.UUID(bytes=bytes(value))
    return Binary(bytes(value), value.subtype)


_BSON: Final[dict[str, Any]] = {
    "ObjectId": lambda v: ObjectId(v.binary),
    "Int64": lambda v: Int64(int(v)),
    "Decimal128": lambda v: v.to_decimal(),
    "Regex": lambda v: Regex(v.pattern if isinstance(v.pattern, str) else v.pattern.decode(), v.flags),
    "Timestamp": lambda v: Timestamp(v.time, v.inc),
    "MinKey": lambda v: MinKey(),
    "MaxKey": lambda v: MaxKey(),
    "Binary": _bson_binary,
}
