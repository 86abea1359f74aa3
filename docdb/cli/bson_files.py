"""Reading and writing dumps of BSON documents, one after the other, as ``mongodump`` writes them.

What lives here: ``read_dump`` and ``write_dump``. What it must not know: where bytes come from, databases.
Needs pymongo's ``bson`` (the extra ``mongo``); this module is imported when a dump is met.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO, Final

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

import docdb
from docdb.cli.records import Found, Place

__all__ = ["read_dump", "write_dump"]

LONGEST: Final = 48 * 2**20
_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


def read_dump(stream: BinaryIO) -> Iterator[Found]:
    """Yield the documents of a dump. A document that cannot be decoded is an error and the next one goes on; a torn length ends the reading."""
    at = number = 0
    while head := stream.read(4):
        number += 1
        place = Place(number=number, byte=at)
        size = int.from_bytes(head, "little")
        body = stream.read(size - 4) if len(head) == 4 and 5 <= size <= LONGEST else b""
        if len(head) + len(body) != size:
            yield Found(place, error="not BSON, or torn off", fatal=True)
            return
        at += size
        try:
            yield Found(place, bson.decode(head + body, _OPTIONS))
        except (bson.errors.BSONError, ValueError) as error:
            yield Found(place, error=f"not BSON: {error}")


def write_dump(documents: Iterable[Mapping[str, Any]], stream: BinaryIO) -> int:
    """Write documents and return how many. Raises DocumentError for a value BSON cannot hold exactly (microseconds, a long Decimal)."""
    count = 0
    for document in documents:
        try:
            stream.write(
                bson.encode({name: _value(item, name) for name, item in document.items()}, codec_options=_OPTIONS)
            )
        except (bson.errors.BSONError, OverflowError) as error:
            raise docdb.DocumentError(f"document {document.get('_id')!r} cannot be written as BSON: {error}") from error
        count += 1
    return count


def _value(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _value(item, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_value(item, f"{path}.{place}") for place, item in enumerate(value)]
    convert = _CONVERSIONS.get(type(value))
    if convert is None:
        return value
    try:
        return convert(value)
    except (ArithmeticError, ValueError) as error:
        raise docdb.DocumentError(
            f"BSON cannot hold {value}: {error or type(error).__name__}", path=path, hint="export as ejson"
        ) from error


def _date(value: dt.datetime) -> dt.datetime:
    if value.microsecond % 1_000:
        raise ValueError("its dates end at milliseconds")
    return value


def _decimal(value: Decimal) -> bson.Decimal128:
    return bson.Decimal128(value)


_CONVERSIONS: Final[dict[type, Callable[[Any], Any]]] = {
    Decimal: _decimal,
    docdb.Binary: lambda value: bson.Binary(bytes(value), value.subtype),
    docdb.Int64: lambda value: bson.Int64(int(value)),
    docdb.MaxKey: lambda value: bson.MaxKey(),
    docdb.MinKey: lambda value: bson.MinKey(),
    docdb.ObjectId: lambda value: bson.ObjectId(value.binary),
    docdb.Regex: lambda value: bson.Regex(value.pattern, value.flags),
    docdb.Timestamp: lambda value: bson.Timestamp(value.time, value.inc),
    dt.datetime: _date,
    uuid.UUID: lambda value: bson.Binary.from_uuid(value),
}
