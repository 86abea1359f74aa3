"""Operators about types: $type, $convert and its short forms, sizes.

What lives here: the table of conversions (from type, to type). What it must not know: documents, stages.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from docdb.errors import DocdbError, QueryError
from docdb.language.expression_arithmetic import milliseconds_of
from docdb.language.expression_core import (
    DECIMAL,
    Constant,
    Maker,
    Scope,
    Term,
    as_decimal,
    between,
    fail,
    fits_long,
    fixed,
    folded,
    integer_of,
    is_nullish,
    make_integer,
    named_terms,
    rounded_double,
)
from docdb.language.expression_date_text import read_date
from docdb.language.expression_dates import epoch_date, object_id_date
from docdb.language.expression_strings import date_text, number_text
from docdb.language.values import (
    INT32_MAX,
    INT32_MIN,
    MISSING,
    TYPE_NAMES,
    Binary,
    Int64,
    ObjectId,
    Timestamp,
    canonical,
    is_number,
    type_name,
)

__all__ = ["OPERATORS"]

_INTEGER: Final = re.compile(r"[+-]?\d+\Z", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_SPECIAL: Final = re.compile(r"[+-]?(inf|infinity|nan)\Z", re.IGNORECASE | re.ASCII)
_BY_NUMBER: Final = {number: name for name, number in TYPE_NAMES.items()}


def _no_conversion(value: Any, to: str) -> Any:
    fail(f"there is no conversion from {type_name(value)} to {to}", 241)


def _to_bool(value: Any) -> bool:
    return value != 0 if is_number(value) or type(value) is bool else True


def _body(value: bytes | uuid.UUID) -> bytes:
    """Return the bytes of a binary value; those of the old subtype 2 begin with their length."""
    if type(value) is uuid.UUID:
        return value.bytes
    body = bytes(value)  # type: ignore[arg-type]
    return len(body).to_bytes(4, "little") + body if getattr(value, "subtype", 0) == 2 else body


def _integer(value: Any, to: str, low: int, high: int, order: str = "little") -> int:
    if type(value) is str:
        if not _INTEGER.match(value) or len(value.lstrip("+-0")) > 19:
            fail(f"cannot read the number in {value!r}", 241)
        whole = int(value[:1].strip("0123456789") + (value.lstrip("+-0") or "0"))
    elif isinstance(value, float | Decimal):
        if not math.isfinite(value):
            fail(f"{value} is no {to}", 241)
        whole = int(value)
    elif type(value) is dt.datetime:
        whole = milliseconds_of(value)
    elif isinstance(value, bytes | uuid.UUID):
        value = _body(value)
        if len(value) not in ((1, 2, 4) if to == "int" else (1, 2, 4, 8)):
            _no_conversion(value, to)
        whole = int.from_bytes(value, order, signed=True)  # type: ignore[arg-type]
    else:
        whole = int(value)
    if not low <= whole <= high:
        fail(f"{value} does not fit {to}", 241)
    return whole


def _to_double(value: Any) -> float:
    if type(value) is str:
        if _SPECIAL.match(value) or _FLOAT.match(value):
            result = float(value)
            if (math.isinf(result) and not _SPECIAL.match(value)) or (result == 0 and re.match(r"[^eE]*[1-9]", value)):
                fail(f"{value!r} is out of the range of double", 241)
            return result
        if re.match(r"[+-]?0[xX][0-9a-fA-F]+(\.[0-9a-fA-F]*)?([pP][+-]?\d{1,5})?\Z", value, re.ASCII):
            return _hexadecimal(value)
        fail(f"cannot read the number in {value!r}", 241)
    if type(value) is dt.datetime:
        return float(milliseconds_of(value))
    if type(value) is Decimal:
        result = rounded_double(value)
        if math.isinf(result) and value.is_finite():
            fail(f"{value} is out of the range of double", 241)
        return result
    return float(value)


def _hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text)
    except (OverflowError, ValueError) as error:
        raise QueryError(f"{text!r} is out of the range of double", code=241) from error


def _to_decimal(value: Any) -> Decimal:
    if type(value) is str:
        if not (_SPECIAL.match(value) or _FLOAT.match(value)):
            fail(f"cannot read the number in {value!r}", 241)
        result = DECIMAL.create_decimal(value)
        if result == 0 and re.match(r"[^eE]*[1-9]", value):
            fail(f"{value!r} is out of the range of decimal", 241)
        if result.is_infinite() and not _SPECIAL.match(value):
            fail(f"{value!r} is out of the range of decimal", 241)
        return result
    if type(value) is dt.datetime:
        return Decimal(milliseconds_of(value))
    return as_decimal(int(value) if type(value) is bool else value)


def _to_date(value: Any) -> dt.datetime:
    if type(value) is dt.datetime:
        return value
    if type(value) is str:
        return read_date(value, dt.UTC)
    if type(value) is ObjectId:
        return object_id_date(value)
    if type(value) is Timestamp:
        return epoch_date(value.time * 1000)
    if isinstance(value, float | Decimal) and (not math.isfinite(value) or not fits_long(int(value))):
        fail(f"{value} is no date", 241)
    return epoch_date(int(value))


def _to_object_id(value: Any) -> ObjectId:
    if type(value) is ObjectId:
        return value
    try:
        if not re.fullmatch(r"[0-9a-fA-F]{24}", value):
            fail(f"{value!r} is no ObjectId", 241, hint="24 hexadecimal digits")
        return ObjectId(value)
    except DocdbError as error:
        raise QueryError(f"{value!r} is no ObjectId", code=241) from error


def _to_string(value: Any, options: dict[str, Any]) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is dt.datetime:
        return date_text(value)
    if isinstance(value, bytes | uuid.UUID):
        if "format" not in options:
            fail("binData to text needs a format", 4341115)
        return _binary_text(value, options["format"])
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False)
    if type(value) is ObjectId:
        return str(value)
    return value if type(value) is str else number_text(value)


def _binary_text(value: Any, form: str) -> str:
    body = _body(value)
    is_uuid = type(value) is uuid.UUID or (getattr(value, "subtype", 0) == 4 and len(body) == 16)
    if form == "auto":
        form = "uuid" if is_uuid else "base64"
    if form == "uuid":
        if not is_uuid:
            fail("only a UUID has the format uuid", 241)
        return str(uuid.UUID(bytes=body))
    try:
        return _FORMATS[form][0](body)
    except UnicodeDecodeError as error:
        raise QueryError("the bytes are not UTF-8", code=241) from error


def _to_binary(value: Any, options: dict[str, Any]) -> Any:
    subtype = options.get("subtype", 0)
    if isinstance(value, bytes | uuid.UUID):
        own = 4 if type(value) is uuid.UUID else getattr(value, "subtype", 0)
        return value if own == subtype else fail("a conversion does not change the subtype", 241)
    if type(value) is str:
        if "format" not in options:
            fail("text to binData needs a format", 4341115)
        return _read_binary(value, options["format"], subtype)
    if isinstance(value, float):
        body = struct.pack(">d" if options.get("byteOrder") == "big" else "<d", value)
    else:
        body = int(value).to_bytes(
            8 if type_name(value) == "long" else 4, options.get("byteOrder", "little"), signed=True
        )
    return Binary(body, subtype) if subtype else body


def _read_binary(text: str, form: str, subtype: int) -> Any:
    try:
        if form == "auto":
            fail("text to binData needs a format other than auto", 241)
        if (form == "uuid") != (subtype == 4):
            fail("the format uuid and subtype 4 go together", 241)
        if form == "uuid":
            if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
                fail(f"{text!r} is no UUID of subtype 4", 241)
            return uuid.UUID(text)
        body = _FORMATS[form][1](text)
    except (ValueError, binascii.Error) as error:
        raise QueryError(f"{text!r} is not in the format {form}", code=241) from error
    return Binary(body, subtype) if subtype else body


_FORMATS: Final[dict[str, tuple[Callable[[bytes], str], Callable[[str], bytes]]]] = {
    "base64": (lambda b: base64.b64encode(b).decode(), lambda t: base64.b64decode(t, validate=True)),
    "base64url": (
        lambda b: base64.urlsafe_b64encode(b).decode().rstrip("="),
        lambda t: base64.b64decode(t.rstrip("=") + "=" * (-len(t.rstrip("=")) % 4), altchars=b"-_", validate=True),
    ),
    "hex": (lambda b: b.hex().upper(), bytes.fromhex),
    "utf8": (lambda b: b.decode(), str.encode),
}

_NUMBERS = frozenset({"bool", "int", "long", "double", "decimal", "string"})
# target -> (types it can be made from, how)
_CONVERSIONS: Final[dict[str, tuple[frozenset[str], Callable[[Any, dict[str, Any]], Any]]]] = {
    "binData": (frozenset({"binData", "string", "int", "long", "double"}), _to_binary),
    "bool": (frozenset(TYPE_NAMES) - {"null"}, lambda v, o: _to_bool(v)),
    "date": (
        frozenset({"date", "string", "objectId", "timestamp", "long", "double", "decimal"}),
        lambda v, o: _to_date(v),
    ),
    "decimal": (_NUMBERS | {"date"}, lambda v, o: _to_decimal(v)),
    "double": (
        _NUMBERS | {"date", "binData"},
        lambda v, o: _binary_double(v, o.get("byteOrder")) if isinstance(v, bytes | uuid.UUID) else _to_double(v),
    ),
    "int": (
        _NUMBERS | {"binData"},
        lambda v, o: _integer(v, "int", INT32_MIN, INT32_MAX, o.get("byteOrder", "little")),
    ),
    "long": (
        _NUMBERS | {"date", "binData"},
        lambda v, o: make_integer(_integer(v, "long", -(2**63), 2**63 - 1, o.get("byteOrder", "little")), True),
    ),
    "objectId": (frozenset({"objectId", "string"}), lambda v, o: _to_object_id(v)),
    "string": (_NUMBERS | {"date", "objectId", "binData"}, _to_string),
}


def _binary_double(value: bytes | uuid.UUID, order: str | None) -> float:
    body = _body(value)
    if len(body) not in (4, 8):
        return float(_no_conversion(value, "double"))
    (result,) = struct.unpack((">" if order == "big" else "<") + ("f" if len(body) == 4 else "d"), body)
    return float(result)


def convert_value(value: Any, to: str, options: dict[str, Any]) -> Any:
    """Return a value converted to the type of that name; raise QueryError 241 when there is no way."""
    sources, convert = _CONVERSIONS.get(to, (frozenset(), None))
    if type_name(value) == to and to not in ("binData",):
        return value
    if convert is None or type_name(value) not in sources:
        _no_conversion(value, to)
    return convert(value, options)  # type: ignore[misc]


def _target(to: Any) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {}
    if type(to) is dict:
        if "type" not in to:
            fail("the 'to' of $convert needs 'type'", 9)
        options = {"subtype": _subtype(to["subtype"])} if not is_nullish(to.get("subtype")) else {}
        to = to["type"]
    if type(to) is str:
        if to not in TYPE_NAMES:
            fail(f"unknown type {to!r}", 2)
        return to, options
    if not is_number(to):
        fail(f"the 'to' of $convert is a type's name or number, not {type_name(to)}", 9)
    number = integer_of(to)
    if number not in _BY_NUMBER:
        fail(f"{to} is no type's number", 9 if number is None else 2)
    return _BY_NUMBER[number], options


def _subtype(value: Any) -> int:
    if not is_number(value):
        fail(f"a subtype is a number, not {type_name(value)}", 4341108)
    number = integer_of(value)
    if number is None:
        fail("a subtype is a whole number", 4341106)
    if not (0 <= number <= 8 or 128 <= number <= 255):
        fail("a subtype is 0 to 8 or 128 to 255", 4341107)
    return number


def _convert(scope: Scope, spec: Any, name: str) -> Term:
    known = ("byteOrder", "format", "onError", "onNull", "base")
    terms = named_terms(scope, spec, name, {"input": 9, "to": 9}, known, 9, 9)
    on_error, on_null = terms.get("onError"), terms.get("onNull", Constant(None))

    def run(v: dict[str, Any]) -> Any:
        to, value = terms["to"](v), terms["input"](v)
        if is_nullish(to):
            return on_null(v) if is_nullish(value) else None
        if is_nullish(value) and type(to) is dict and "type" in to:
            to = {"type": to["type"]}
        target, options = _target(to)
        form = terms["format"](v) if "format" in terms else MISSING
        order = terms["byteOrder"](v) if "byteOrder" in terms else MISSING
        if is_nullish(value):
            return on_null(v)
        for key, given, known_values, codes in (
            ("format", form, ("auto", "uuid", *_FORMATS), (4341114, 4341125)),
            ("byteOrder", order, ("big", "little"), (9130001, 9130002)),
        ):
            if not is_nullish(given):
                if type(given) is not str:
                    fail(f"the {key} of $convert is text, not {type_name(given)}", codes[0])
                if given not in known_values:
                    fail(f"unknown {key} {given!r}", codes[1])
                options[key] = given
        try:
            return convert_value(value, target, options)
        except QueryError as error:
            if on_error is None or error.code not in (241, 4341115, 18537):
                raise
            return on_error(v)

    return folded(list(terms.values()), run)


def _short(to: str, options: dict[str, Any] | None = None) -> Maker:
    def run(value: Any) -> Any:
        return None if is_nullish(value) else convert_value(value, to, options or {})

    return between(1, 1, run, 50723)


def _binary_size(value: Any) -> Any:
    if is_nullish(value):
        return None
    if type(value) is str:
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if type(value) is uuid.UUID:
        return 16
    return fail(f"$binarySize takes text or binary, not {type_name(value)}", 51276)


def _bson_size(value: Any) -> Any:
    if is_nullish(value):
        return None
    if type(value) is not dict:
        fail(f"$bsonSize takes an object, not {type_name(value)}", 31393)
    return bson_size(value)


def bson_size(value: Any) -> int:
    """Return the size a value would have as BSON, in bytes."""
    name = type_name(value)
    if name == "object":
        return 5 + sum(2 + len(key.encode()) + bson_size(item) for key, item in value.items())
    if name == "array":
        return 5 + sum(2 + len(str(i)) + bson_size(item) for i, item in enumerate(value))
    if name == "string":
        return 5 + len(value.encode())
    if name == "binData":
        return 21 if type(value) is uuid.UUID else 5 + len(value)
    if name == "regex":
        return 2 + len(value.pattern.encode()) + len(value.flags)
    return _SIZES[name]


_SIZES: Final = {
    "bool": 1, "date": 8, "decimal": 16, "double": 8, "int": 4, "long": 8, "maxKey": 0, "minKey": 0, "null": 0, "objectId": 12,
    "timestamp": 8,
}  # fmt: skip


def _timestamp_part(name: str, code: int, part: Callable[[Timestamp], int]) -> Maker:
    def run(value: Any) -> Any:
        if is_nullish(value):
            return None
        if type(value) is not Timestamp:
            fail(f"{name} takes a timestamp, not {type_name(value)}", code)
        return Int64(part(value)) if fits_long(part(value)) else None

    return fixed(1, run)


def _from_json(kind: type, to: str) -> Maker:
    def run(value: Any) -> Any:
        if is_nullish(value) or type(value) is kind:
            return None if is_nullish(value) else value
        if type(value) is not str:
            _no_conversion(value, to)
        try:
            found = canonical(json.loads(value))
        except (ValueError, DocdbError) as error:
            raise QueryError(f"cannot read an {to} in the text", code=241) from error
        return found if type(found) is kind else fail(f"the text holds no {to}", 241)

    return between(1, 1, run, 50723)


OPERATORS: Final[dict[str, Maker]] = {
    "$binarySize": fixed(1, _binary_size),
    "$bsonSize": fixed(1, _bson_size),
    "$convert": _convert,
    "$isNumber": fixed(1, is_number),
    "$toArray": _from_json(list, "array"),
    "$toBool": _short("bool"),
    "$toDate": _short("date"),
    "$toDecimal": _short("decimal"),
    "$toDouble": _short("double"),
    "$toInt": _short("int"),
    "$toLong": _short("long"),
    "$toObject": _from_json(dict, "object"),
    "$toObjectId": _short("objectId"),
    "$toString": _short("string", {"format": "auto"}),
    "$toUUID": _short("binData", {"subtype": 4, "format": "uuid"}),
    "$tsIncrement": _timestamp_part("$tsIncrement", 5687302, lambda value: value.inc),
    "$tsSecond": _timestamp_part("$tsSecond", 5687301, lambda value: value.time),
    "$type": fixed(1, type_name),
}
