"""What docdb returns reaches the runner with pymongo's types."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

bson = pytest.importorskip("bson", reason="pymongo is not installed")

from docdb.language import values  # noqa: E402
from tests.compliance.values import to_bson  # noqa: E402

WHEN = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)
PAIRS = {
    "scalars": ({"a": [1, 1.5, "x", None, True, b"z"]}, {"a": [1, 1.5, "x", None, True, b"z"]}),
    "date": (WHEN, dt.datetime(2024, 5, 6, 7, 8, 9, 123000)),  # noqa: DTZ001
    "before 1970": (
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999000),
    ),  # noqa: DTZ001, E501
    "decimal": (Decimal("1.50"), bson.Decimal128("1.50")),
    "uuid": (uuid.UUID(int=5), bson.Binary(uuid.UUID(int=5).bytes, 4)),
    "binary": (values.Binary(b"x", 128), bson.Binary(b"x", 128)),
    "long": (values.Int64(5), bson.Int64(5)),
    "object id": (values.ObjectId("64b7f0c2a1b2c3d4e5f60718"), bson.ObjectId("64b7f0c2a1b2c3d4e5f60718")),
    "regex": (values.Regex("^a", "im"), bson.Regex("^a", "im")),
    "timestamp": (values.Timestamp(1, 2), bson.Timestamp(1, 2)),
    "min": (values.MinKey(), bson.MinKey()),
    "max": (values.MaxKey(), bson.MaxKey()),
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS.keys())
def test_value(ours, theirs):
    converted = to_bson(ours)
    assert (converted, type(converted)) == (theirs, type(theirs))
