"""Documents as stored bytes, and back: the reference form, on the msgpack package, and the choice between it and the kernel.

What lives here: ``encode``, ``prepare`` (encode for insertion: ``_id`` first and checked), ``decode``, ``encode_value`` and ``decode_value`` (any value),
``Decoder``, the extension types. What it must not know: keys other than the order key of an ``_id``, collections, engines. ARCHITECTURE.md has the table of
extension types.

Whatever is refused is refused with the dotted path of the field; whatever stored bytes cannot be is CorruptError. Both forms give the
same bytes and the same values; the kernel (``_native/codec.pyx``) is also stricter on damage that needs a look at single bytes
(32-bit floats, values nested too deep below a damaged head).
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from docdb import _native
from docdb.errors import CorruptError, DocdbError, DocumentError
from docdb.language.order import number_key, order_key
from docdb.language.values import (
    INT32_MAX,
    INT32_MIN,
    MAX_DEPTH,
    MISSING,
    Binary,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    canonical,
    canonical_scalar,
    make_id,
)

__all__ = [
    "Decoder", "FieldsDecoder", "MAX_ID", "MAX_SIZE", "MOST_FIELDS", "decode", "decode_value", "encode", "encode_value", "prepare", "prepare_many",
    "reference_decode", "reference_decode_value", "reference_encode", "reference_encode_value", "reference_prepare",
]  # fmt: skip

MAX_SIZE: Final = 16 * 1024 * 1024
MAX_ID: Final = 240

DATETIME, OBJECT_ID, DECIMAL, UUID, REGEX, INT64, TIMESTAMP, MIN_KEY, MAX_KEY, BINARY = range(1, 11)
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND: Final = dt.timedelta(microseconds=1)
_I64 = struct.Struct(">q")
_U32_PAIR = struct.Struct(">II")
_KINDS: Final = frozenset(
    {
        type(None), bool, int, float, str, bytes, list, dict, dt.datetime, ObjectId, Decimal, uuid.UUID, Regex, Int64, Timestamp,
        MinKey, MaxKey, Binary,
    }
)  # fmt: skip


# ---- encoding


def reference_encode_value(value: Any, *, naive_utc: bool = False) -> bytes:
    """Return any value as stored bytes; names of fields may be any text."""
    return _pack(canonical(value, naive_utc=naive_utc))


def reference_encode(document: Mapping[str, Any], *, naive_utc: bool = False) -> bytes:
    """Return a document as stored bytes; raise DocumentError with the path of what cannot be stored."""
    return check_size(_pack(canonical(check_document(document), naive_utc=naive_utc, stored=True)))


def reference_prepare(document: Mapping[str, Any], naive_utc: bool = False) -> tuple[Any, bytes, bytes]:
    """Return (``_id``, its order key, stored bytes) of a document to insert; an absent ``_id`` is made, and it comes first."""
    stored = canonical(check_document(document), naive_utc=naive_utc, stored=True)
    id_value = stored.pop("_id", MISSING)
    if id_value is MISSING:
        id_value = make_id()
    id_key = check_id(id_value, order_key(id_value))
    return id_value, id_key, check_size(_pack({"_id": id_value, **stored}))


def check_document(document: Any) -> Any:
    """Refuse what is not a mapping."""
    if not isinstance(document, Mapping):
        raise DocumentError(f"a document is a mapping, not {type(document).__name__}", code=14)
    return document


def check_id(value: Any, key: bytes) -> bytes:
    """Refuse an ``_id`` that cannot be one; return its order key."""
    if type(value) is list or type(value) is Regex:
        raise DocumentError(
            f"an _id may not be {'an array' if type(value) is list else 'a regular expression'}", path="_id", code=53
        )
    if len(key) > MAX_ID:
        raise DocumentError(f"an _id has at most {MAX_ID} bytes when encoded, not {len(key)}", path="_id")
    return key


def check_size(data: bytes) -> bytes:
    """Refuse more than 16 MiB."""
    if len(data) > MAX_SIZE:
        raise DocumentError(f"a document has at most {MAX_SIZE} bytes, not {len(data)}", code=10334)
    return data


def decimal_payload(value: Decimal) -> bytes:
    """Return a Decimal as its extension holds it: length of text, text, order key."""
    text = str(value).encode("ascii")
    if len(text) > 255:
        raise DocumentError("a NaN carries a payload of at most 250 digits")
    return bytes((len(text),)) + text + number_key(value)


def _pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, default=_extension, strict_types=True, use_bin_type=True)
    return data


def _extension(value: Any) -> Any:
    kind = type(value)
    if kind is Int64 and not INT32_MIN <= value <= INT32_MAX:
        return int(value)
    code, payload = _PAYLOADS[kind]
    return msgpack.ExtType(code, payload(value))


_PAYLOADS: Final[dict[type, tuple[int, Callable[[Any], bytes]]]] = {
    dt.datetime: (DATETIME, lambda v: _I64.pack((v - EPOCH) // MICROSECOND)),
    ObjectId: (OBJECT_ID, lambda v: v.binary),
    Decimal: (DECIMAL, decimal_payload),
    uuid.UUID: (UUID, lambda v: v.bytes),
    Regex: (REGEX, lambda v: v.pattern.encode() + b"\0" + v.flags.encode()),
    Int64: (INT64, _I64.pack),
    Timestamp: (TIMESTAMP, lambda v: _U32_PAIR.pack(v.time, v.inc)),
    MinKey: (MIN_KEY, lambda v: b"\0"),
    MaxKey: (MAX_KEY, lambda v: b"\0"),
    Binary: (BINARY, lambda v: bytes((v.subtype,)) + bytes(v)),
}


# ---- decoding


def reference_decode_value(data: bytes) -> Any:
    """Return the value of stored bytes; raise CorruptError for bytes docdb cannot have written."""
    try:
        value = msgpack.unpackb(
            data, ext_hook=extension_value, object_pairs_hook=_fields, list_hook=_elements, raw=False, strict_map_key=False
        )  # fmt: skip
    except CorruptError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptError(f"stored bytes are damaged: {error}") from error
    if type(value) not in _KINDS or _deeper(value, MAX_DEPTH):
        raise CorruptError("stored bytes are damaged: a value of no known kind, or nested too deep")
    return value


def reference_decode(data: bytes) -> dict[str, Any]:
    """Return the document of stored bytes; any other value is damage."""
    value = reference_decode_value(data)
    if type(value) is not dict:
        raise CorruptError("stored bytes are damaged: not a document")
    return value


def extension_value(code: int, payload: bytes) -> Any:
    """Return the value of an extension type; raise CorruptError for a payload that is none."""
    reader = _READERS.get(code)
    if reader is not None:
        try:
            return reader(payload)
        except (ValueError, struct.error, InvalidOperation, OverflowError, DocdbError) as error:
            raise CorruptError(f"stored bytes are damaged: extension {code}: {error}") from error
    raise CorruptError(f"stored bytes are damaged: extension {code} is none of docdb's")


def _fields(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    result = dict(listed)
    if len(result) != len(listed) or any(type(name) is not str for name in result):
        raise CorruptError("stored bytes are damaged: names of fields")
    if not _KINDS.issuperset(map(type, result.values())):
        raise CorruptError("stored bytes are damaged: a value of no known kind")
    return result


def _elements(items: list[Any]) -> list[Any]:
    if not _KINDS.issuperset(map(type, items)):
        raise CorruptError("stored bytes are damaged: a value of no known kind")
    return items


def _deeper(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is not dict and kind is not list:
        return kind is int and not -(2**63) <= value < 2**63
    inner = value.values() if kind is dict else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)


def _sized(payload: bytes, size: int) -> bytes:
    if len(payload) != size:
        raise ValueError(f"{len(payload)} bytes where {size} belong")
    return payload


def _read_decimal(payload: bytes) -> Decimal:
    text = payload[1 : 1 + payload[0]] if payload else b""
    if not text or len(text) != payload[0] or payload[1 + len(text) : 2 + len(text)] != b"\x20":
        raise ValueError("a length that does not fit")
    return Decimal(text.decode("ascii"))


def _read_regex(payload: bytes) -> Any:
    pattern, mark, flags = payload.decode("utf-8").partition("\0")
    value: Any = Regex(pattern, flags)
    if not mark or value.flags != flags:
        raise ValueError("flags")
    return value


def _read_int64(payload: bytes) -> Int64:
    (value,) = _I64.unpack(payload)
    if not INT32_MIN <= value <= INT32_MAX:
        raise ValueError("beyond 32 bits")
    return Int64(value)


def _read_binary(payload: bytes) -> Binary:
    if len(payload) < 1 or payload[0] == 0:
        raise ValueError("no subtype")
    return Binary(payload[1:], payload[0])


def _read_single(kind: type) -> Callable[[bytes], Any]:
    def read(payload: bytes) -> Any:
        if payload != b"\0":
            raise ValueError("a payload that is not 00")
        return kind()

    return read


_READERS: Final[dict[int, Callable[[bytes], Any]]] = {
    DATETIME: lambda p: EPOCH + dt.timedelta(microseconds=_I64.unpack(p)[0]),
    OBJECT_ID: lambda p: ObjectId(_sized(p, 12)),
    DECIMAL: _read_decimal,
    UUID: lambda p: uuid.UUID(bytes=_sized(p, 16)),
    REGEX: _read_regex,
    INT64: _read_int64,
    TIMESTAMP: lambda p: Timestamp(*_U32_PAIR.unpack(p)),
    MIN_KEY: _read_single(MinKey),
    MAX_KEY: _read_single(MaxKey),
    BINARY: _read_binary,
}


# ---- the choice


class ReferenceDecoder:
    """A callable from stored bytes to a document (engines run it on their own memory)."""

    def __call__(self, data: bytes) -> dict[str, Any]:
        return reference_decode(data)


class ReferenceFieldsDecoder:
    """A callable from stored bytes to the top-level fields of some names, in the order of the document."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def __call__(self, data: bytes) -> dict[str, Any]:
        names = self._names
        return {name: value for name, value in reference_decode(data).items() if name in names}


MOST_FIELDS: Final = 64  # of a FieldsDecoder

encode: Callable[..., bytes]
encode_value: Callable[..., bytes]
prepare: Callable[..., tuple[Any, bytes, bytes]]
decode: Callable[[bytes], dict[str, Any]]
decode_value: Callable[[bytes], Any]
Decoder: Callable[[], Callable[[bytes], dict[str, Any]]]
FieldsDecoder: Callable[[Iterable[str]], Callable[[bytes], dict[str, Any]]]

if _native.AVAILABLE:
    _native.codec.configure(
        reference_encode=reference_encode,
        reference_encode_value=reference_encode_value,
        reference_prepare=reference_prepare,
        canonical_scalar=canonical_scalar,
        extension_value=extension_value,
        decimal_payload=decimal_payload,
        make_id=make_id,
        check_id=check_id,
        order_key=order_key,
        corrupt=CorruptError,
        refused=DocumentError,
        types=(ObjectId, Int64, Binary, Regex, Timestamp, MinKey, MaxKey, Decimal, uuid.UUID, Mapping, MISSING),
    )
    encode = _native.codec.encode
    encode_value = _native.codec.encode_value
    prepare = _native.codec.prepare
    decode, decode_value = _native.codec.decode, _native.codec.decode_value
    Decoder, FieldsDecoder = _native.codec.Decoder, _native.codec.FieldsDecoder
else:
    encode, encode_value, prepare = reference_encode, reference_encode_value, reference_prepare
    decode, decode_value = reference_decode, reference_decode_value
    Decoder, FieldsDecoder = ReferenceDecoder, ReferenceFieldsDecoder


def prepare_many(documents: Iterable[Mapping[str, Any]], naive_utc: bool = False) -> list[tuple[Any, bytes, bytes]]:
    """Return ``prepare`` of each document; the first that is refused raises."""
    return [prepare(document, naive_utc) for document in documents]
