"""Extended JSON v2: values as text, with their types.

What lives here: ``loads`` and ``dumps`` (text), ``decode`` and ``encode`` (the same as plain Python objects). What it
must not know: filters, documents in a store. The relaxed form writes numbers and dates as JSON readers like them; the
canonical form keeps every type. Both forms, and the older spellings, are read.

    value            relaxed                            canonical
    int              5                                  {"$numberInt": "5"}
    beyond 32 bits   5000000000                         {"$numberLong": "5000000000"}
    float            1.5                                {"$numberDouble": "1.5"}
    NaN, Infinity    {"$numberDouble": "NaN"}           the same
    Decimal          {"$numberDecimal": "1.50"}         the same
    datetime         {"$date": "2024-01-02T03:04:05Z"}  {"$date": {"$numberLong": "1704164645000"}}
    bytes, UUID      {"$binary": {"base64": "...", "subType": "00"}}
    ObjectId         {"$oid": "..."}
    Regex            {"$regularExpression": {"pattern": "...", "options": "i"}}
    Timestamp        {"$timestamp": {"t": 1, "i": 2}}
    MinKey, MaxKey   {"$minKey": 1}, {"$maxKey": 1}

A date with microseconds is written as text with six digits in both forms, since milliseconds would not give it back;
one before 1970 is written as a number where milliseconds do. A document that merely looks like an operator (``{"$gt":
5}``) is a document. Cost of each function: one pass."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from docdb.errors import DocumentError
from docdb.language.values import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    MAX_DEPTH,
    Binary,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    canonical_scalar,
)

__all__ = ["decode", "dumps", "encode", "loads"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def loads(text: str | bytes) -> Any:
    """Return the value of a text. Raises DocumentError: bad JSON with line and column, bad values with their path.

    >>> loads('{"_id": {"$oid": "64b7f0c2a1b2c3d4e5f60718"}, "n": {"$numberLong": "5"}}')
    {'_id': ObjectId('64b7f0c2a1b2c3d4e5f60718'), 'n': Int64(5)}
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error.msg}", line=error.lineno, column=error.colno) from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise DocumentError(f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise DocumentError(f"not JSON: {error}") from error
    return decode(value)


def dumps(value: Any, canonical: bool = False, *, indent: int | None = None) -> str:
    """Return the text of a value, relaxed or canonical, on one line unless ``indent`` says otherwise.

    >>> dumps({"n": 1, "x": 1.0, "d": Decimal("1.50")})
    '{"n": 1, "x": 1.0, "d": {"$numberDecimal": "1.50"}}'
    """
    return json.dumps(encode(value, canonical), ensure_ascii=False, indent=indent, allow_nan=False)


def encode(value: Any, canonical: bool = False) -> Any:
    """Return a value as dicts, lists and scalars that ``json`` can write. Raises DocumentError with the path.

    >>> encode({"n": 1}, canonical=True)
    {'n': {'$numberInt': '1'}}
    """
    try:
        return _encode(value, _CANONICAL if canonical else _RELAXED, 0)
    except _At as error:
        raise error.finished() from error.__cause__


def decode(value: Any) -> Any:
    """Return what Extended JSON objects mean: the inverse of ``encode``, for every form. Raises DocumentError with the path.

    >>> decode({"when": {"$date": "2024-01-02T03:04:05Z"}})["when"].year
    2024
    """
    try:
        return _decode(value, 0)
    except _At as error:
        raise error.finished() from error.__cause__


class _At(Exception):
    """An error on its way up; every container adds its part of the path. Costs nothing while all goes well."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.parts: list[str] = []

    def finished(self) -> DocumentError:
        return DocumentError(self.message, path=".".join(reversed(self.parts)) or None, hint=self.hint)


# Writing


def _encode(value: Any, writers: dict[type, Callable[[Any], Any]], depth: int) -> Any:
    kind = type(value)
    writer = writers.get(kind)
    if writer is not None:
        return writer(value)
    if kind is dict or isinstance(value, Mapping):
        return _encode_mapping(value, writers, depth)
    if kind is list or kind is tuple:
        _check_depth(depth)
        items = []
        for place, item in enumerate(value):
            try:
                items.append(_encode(item, writers, depth + 1))
            except _At as error:
                error.parts.append(str(place))
                raise
        return items
    try:
        known = canonical_scalar(value, "")
    except DocumentError as error:
        raise _At(error.message, error.hint) from error
    return writers[type(known)](known)


def _encode_mapping(value: Mapping[Any, Any], writers: dict[type, Callable[[Any], Any]], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    document = {}
    for name, item in value.items():
        if not isinstance(name, str):
            raise _At(f"a field name is text, not {type(name).__name__}")
        try:
            document[name] = _encode(item, writers, depth + 1)
        except _At as error:
            error.parts.append(name)
            raise
    return document


def _check_depth(depth: int) -> None:
    # One level more than a document may have, for the list around documents.
    if depth > MAX_DEPTH:
        raise _At(f"nested deeper than {MAX_DEPTH} levels")


def _same(value: Any) -> Any:
    return value


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _At("text with a lone surrogate is not valid UTF-8") from error
    return value


def _relaxed_int(value: int) -> int:
    if not INT64_MIN <= value <= INT64_MAX:
        raise _At(f"{value} does not fit 64 bits", "use Decimal or text")
    return int(value)


def _canonical_int(value: int) -> dict[str, str]:
    number = _relaxed_int(value)
    return {"$numberInt" if INT32_MIN <= number <= INT32_MAX else "$numberLong": str(number)}


def _double(value: float) -> dict[str, str]:
    if value != value:
        return {"$numberDouble": "NaN"}
    return {"$numberDouble": repr(value).replace("inf", "Infinity")}


def _relaxed_float(value: float) -> Any:
    return value if value - value == 0 else _double(value)


def _relaxed_date(value: dt.datetime) -> Any:
    moment = _utc(value)
    return {"$date": _iso(moment)} if moment.year >= 1970 or moment.microsecond % 1000 else _milliseconds(moment)


def _canonical_date(value: dt.datetime) -> Any:
    moment = _utc(value)
    return {"$date": _iso(moment)} if moment.microsecond % 1000 else _milliseconds(moment)


def _utc(value: dt.datetime) -> dt.datetime:
    try:
        moment: dt.datetime = canonical_scalar(value, "")
    except DocumentError as error:
        raise _At(error.message, error.hint) from error
    return moment


def _iso(moment: dt.datetime) -> str:
    text = moment.replace(tzinfo=None, microsecond=0).isoformat()
    if moment.microsecond % 1000:
        return f"{text}.{moment.microsecond:06}Z"
    return f"{text}.{moment.microsecond // 1000:03}Z" if moment.microsecond else f"{text}Z"


def _milliseconds(moment: dt.datetime) -> dict[str, Any]:
    return {"$date": {"$numberLong": str((moment - _EPOCH) // _MILLISECOND)}}


def _decimal(value: Decimal) -> dict[str, str]:
    if value.is_nan():
        return {"$numberDecimal": "NaN"}
    return {"$numberDecimal": str(value)}


def _binary(value: bytes) -> dict[str, Any]:
    text = base64.b64encode(value).decode("ascii")
    return {"$binary": {"base64": text, "subType": f"{getattr(value, 'subtype', 0):02x}"}}


def _uuid(value: uuid.UUID) -> dict[str, Any]:
    return _binary(Binary(value.bytes, 4))


def _regex(value: Regex) -> dict[str, Any]:
    return {"$regularExpression": {"pattern": value.pattern, "options": value.flags}}


_BOTH: Final[dict[type, Callable[[Any], Any]]] = {
    Binary: _binary,
    Decimal: _decimal,
    MaxKey: lambda value: {"$maxKey": 1},
    MinKey: lambda value: {"$minKey": 1},
    ObjectId: lambda value: {"$oid": str(value)},
    Regex: _regex,
    Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    bool: _same,
    bytes: _binary,
    str: _text,
    type(None): _same,
    uuid.UUID: _uuid,
}
_RELAXED: Final[dict[type, Callable[[Any], Any]]] = {
    **_BOTH,
    Int64: _relaxed_int,
    dt.datetime: _relaxed_date,
    float: _relaxed_float,
    int: _relaxed_int,
}
_CANONICAL: Final[dict[type, Callable[[Any], Any]]] = {
    **_BOTH,
    Int64: lambda value: {"$numberLong": str(int(value))},
    dt.datetime: _canonical_date,
    float: _double,
    int: _canonical_int,
}


# Reading


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"the field {twice!r} stands twice in one object", path=twice)
    return document


def _refuse_constant(name: str) -> Any:
    raise DocumentError(f"{name} is not JSON", hint=f'write {{"$numberDouble": "{name}"}}')


def _decode(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is dict:
        # The first name is enough to tell: every wrapper's key comes first, save for the siblings of $binary.
        if value and next(iter(value))[:1] == "$":
            reader = _reader(value)
            if reader is not None:
                return _read(reader, value)
        return _decode_mapping(value, depth)
    if kind is list:
        _check_depth(depth)
        items = []
        for place, item in enumerate(value):
            try:
                items.append(_decode(item, depth + 1))
            except _At as error:
                error.parts.append(str(place))
                raise
        return items
    if kind is int and not INT64_MIN <= value <= INT64_MAX:
        raise _At(f"{value} does not fit 64 bits", 'use {"$numberDecimal": "..."} or text')
    if kind is float and value - value != 0:
        raise _At("the number is too large for a double", 'use {"$numberDecimal": "..."}')
    return value


def _decode_mapping(value: dict[str, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    document = {}
    for name, item in value.items():
        try:
            document[_text(name)] = _decode(item, depth + 1)
        except _At as error:
            error.parts.append(name)
            raise
    return document


def _reader(value: dict[str, Any]) -> tuple[str, Callable[[Any], Any]] | None:
    """Return what reads an object that may be a wrapper; None for a document, a query operator among them."""
    if len(value) == 1:
        (name,) = value
        reader = _READERS.get(name)
        return None if reader is None else (name, reader)
    names = value.keys()
    if names == {"$binary", "$type"}:
        return "$binary", lambda text: _legacy_binary(text, value["$type"])
    for name in names:
        if name in _READERS:
            raise _At(f"{name} stands alone in its object, not beside {sorted(names - {name})[0]!r}")
    return None


def _read(reader: tuple[str, Callable[[Any], Any]], value: dict[str, Any]) -> Any:
    name, read = reader
    try:
        return read(value[name])
    except _At as error:
        error.parts.append(name)
        raise
    except DocumentError as error:
        wrong = _At(error.message, error.hint)
        wrong.parts.append(name)
        raise wrong from error


def _string(value: Any, what: str) -> str:
    if type(value) is not str:
        raise _At(f"{what} is text, not {type(value).__name__}")
    return value


def _integer(value: Any, low: int, high: int, what: str) -> int:
    text = _string(value, what)
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise _At(f"{text!r} is not {what}")
    number = int(text)
    if not low <= number <= high:
        raise _At(f"{text} is not {what}")
    return number


def _read_int(value: Any) -> int:
    return _integer(value, INT32_MIN, INT32_MAX, "an integer of 32 bits")


def _read_long(value: Any) -> int:
    number = _integer(value, INT64_MIN, INT64_MAX, "an integer of 64 bits")
    return Int64(number) if INT32_MIN <= number <= INT32_MAX else number


def _read_double(value: Any) -> float:
    text = _string(value, "a double")
    if not _DOUBLE.fullmatch(text):
        raise _At(f"{text!r} is not a double")
    return float(text)


_DOUBLE: Final = re.compile(r"NaN|-?Infinity|-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _read_decimal(value: Any) -> Decimal:
    text = _string(value, "a decimal")
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise _At(f"{text!r} is not a decimal") from error
    if "_" in text or text != text.strip():
        raise _At(f"{text!r} is not a decimal")
    decimal: Decimal = canonical_scalar(number, "")
    return decimal


def _read_date(value: Any) -> dt.datetime:
    if type(value) is str:
        return _parse_iso(value)
    if type(value) is int:
        return _from_milliseconds(value)
    if type(value) is dict and len(value) == 1 and "$numberLong" in value:
        return _from_milliseconds(_integer(value["$numberLong"], INT64_MIN, INT64_MAX, "an integer of 64 bits"))
    raise _At("a date is ISO text or milliseconds since 1970", '{"$date": "2024-01-02T03:04:05Z"}')


def _from_milliseconds(number: int) -> dt.datetime:
    try:
        return _EPOCH + number * _MILLISECOND
    except OverflowError as error:
        raise _At(f"{number} milliseconds lie outside the years 1 to 9999") from error


_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(?:Z|([+-])(\d\d):?(\d\d)?)", re.ASCII
)


def _parse_iso(text: str) -> dt.datetime:
    found = _ISO.fullmatch(text)
    if found is None:
        raise _At(f"{text!r} is not a date with time zone", "such as 2024-01-02T03:04:05.678Z")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    fraction, sign, hours, minutes = found.groups()[6:]
    offset = dt.timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        local = dt.datetime(year, month, day, hour, minute, second, int((fraction or "0").ljust(6, "0")), tzinfo=dt.UTC)
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError) as error:
        raise _At(f"{text!r} is not a date: {error}") from error


def _read_binary(value: Any) -> Any:
    if type(value) is not dict or value.keys() != {"base64", "subType"}:
        raise _At("a binary has base64 and subType")
    return _make_binary(value["base64"], value["subType"])


def _legacy_binary(text: Any, subtype: Any) -> Any:
    if type(subtype) is int:
        subtype = f"{subtype:02x}"
    return _make_binary(text, subtype)


def _make_binary(text: Any, subtype: Any) -> Any:
    try:
        content = base64.b64decode(_string(text, "base64"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _At(f"not base64: {error}") from error
    if not re.fullmatch(r"[0-9a-fA-F]{1,2}", _string(subtype, "subType"), re.ASCII):
        raise _At(f"{subtype!r} is not a binary subtype", "one or two hexadecimal digits")
    number = int(subtype, 16)
    if number == 0:
        return content
    return uuid.UUID(bytes=content) if number == 4 and len(content) == 16 else Binary(content, number)


def _read_uuid(value: Any) -> uuid.UUID:
    text = _string(value, "a UUID")
    if not re.fullmatch(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text, re.ASCII):
        raise _At(f"{text!r} is not a UUID", "8-4-4-4-12 hexadecimal digits")
    return uuid.UUID(text)


def _read_regex(value: Any) -> Regex:
    if type(value) is not dict or value.keys() != {"pattern", "options"}:
        raise _At("a regular expression has pattern and options")
    return Regex(_string(value["pattern"], "pattern"), _string(value["options"], "options"))


def _read_timestamp(value: Any) -> Timestamp:
    if type(value) is not dict or value.keys() != {"t", "i"} or not all(type(part) is int for part in value.values()):
        raise _At("a timestamp has the integers t and i")
    return Timestamp(value["t"], value["i"])


def _read_key(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not int or value != 1:
            raise _At("the value is 1")
        return kind()

    return read


def _unsupported(what: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        raise _At(f"{what} cannot be stored", "convert it before the import")

    return read


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$binary": _read_binary,
    "$code": _unsupported("JavaScript code"),
    "$date": _read_date,
    "$dbPointer": _unsupported("a DBPointer"),
    "$maxKey": _read_key(MaxKey),
    "$minKey": _read_key(MinKey),
    "$numberDecimal": _read_decimal,
    "$numberDouble": _read_double,
    "$numberInt": _read_int,
    "$numberLong": _read_long,
    "$oid": lambda value: ObjectId(_string(value, "an ObjectId")),
    "$regularExpression": _read_regex,
    "$symbol": _unsupported("a symbol"),
    "$timestamp": _read_timestamp,
    "$undefined": _unsupported("undefined"),
    "$uuid": _read_uuid,
}
