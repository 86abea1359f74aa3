"""Documents of docdb as the runner of the conformance cases expects them: with pymongo's value types.

What lives here: ``to_bson``. The way in needs no conversion: docdb accepts pymongo's types.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import bson
from bson.datetime_ms import DatetimeMS

from docdb.language import values

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_bson(value: Any) -> Any:
    """Return a value of docdb as pymongo would have returned it."""
    kind = type(value)
    if kind is dict:
        return {name: to_bson(item) for name, item in value.items()}
    if kind is list:
        return [to_bson(item) for item in value]
    convert = _CONVERSIONS.get(kind)
    return value if convert is None else convert(value)


def _date(value: dt.datetime) -> dt.datetime:
    milliseconds = (value - EPOCH) // dt.timedelta(milliseconds=1)
    return DatetimeMS(milliseconds).as_datetime().replace(tzinfo=None)


_CONVERSIONS: Final[dict[type, Callable[[Any], Any]]] = {
    Decimal: bson.Decimal128,
    dt.datetime: _date,
    uuid.UUID: lambda v: bson.Binary(v.bytes, 4),
    values.Binary: lambda v: bson.Binary(bytes(v), v.subtype),
    values.Int64: lambda v: bson.Int64(int(v)),
    values.MaxKey: lambda v: bson.MaxKey(),
    values.MinKey: lambda v: bson.MinKey(),
    values.ObjectId: lambda v: bson.ObjectId(v.binary),
    values.Regex: lambda v: bson.Regex(v.pattern, v.flags),
    values.Timestamp: lambda v: bson.Timestamp(v.time, v.inc),
}
