"""Generated values and documents for the tests of the store and the kernels."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

EDGES: list[Any] = [
    None, True, False, 0, 1, -1, 31, 32, 127, 128, 255, 256, -32, -33, -128, -129, -32768, -32769, 65535, 65536, 2**31 - 1, 2**31, -(2**31),
    -(2**31) - 1, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**53 - 1, -(2**53) - 1, 2**60 + 1, 10**18, 10**18 + 1, 2**63 - 1, 2**63 - 512, 2**63 - 513,
    -(2**63), -(2**63) + 1, 0.0, -0.0, 1.5, -1.5, 5e-324, -5e-324, math.inf, -math.inf, math.nan, 2.0**53, 2.0**63, 1e300,
    Int64(0), Int64(5), Int64(-7), Decimal("0"), Decimal("-0"), Decimal("1.10"), Decimal("1.1"), Decimal("1E+3"),
    Decimal("9007199254740993"), Decimal("-9007199254740993"), Decimal("0.1"), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"),
    Decimal("9.999999999999999999999999999999999E+6111"), Decimal("-1E-6176"), Decimal("1E-400"), Decimal("1234567890123456789012345678901234"),
    "", "a", "\0", "a\0b", "\0\xff", "é", "日本語", "\U0001f600", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 70_000,
    b"", b"\0", b"ab", Binary(b"ab", 5), Binary(b"", 128), Binary(b"x" * 16, 4), UUID(int=7), ObjectId("64b7f0c2a1b2c3d4e5f60718"),
    dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
    dt.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
    dt.datetime(2000, 3, 1, tzinfo=dt.UTC), dt.datetime(1900, 2, 28, tzinfo=dt.UTC),
    Regex("a.b", "im"), Regex("", ""), Timestamp(1, 2), Timestamp(2**32 - 1, 0), MinKey(), MaxKey(),
    [], {}, [[]], [{}], {"": None}, {"a": {"b": [1, {"c": 2}]}},
    [None] * 15, [None] * 16, {str(i): i for i in range(15)}, {str(i): i for i in range(16)}, list(range(70_000)),
]  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300), st.floats(), st.text(max_size=40),
    st.binary(max_size=20), st.integers(-(2**31), 2**31 - 1).map(Int64), st.uuids(),
    st.decimals(allow_nan=False, min_value=Decimal("-1E+30"), max_value=Decimal("1E+30"), places=3),
    st.datetimes(timezones=st.just(dt.UTC)).map(lambda date: date.replace(fold=0)), st.binary(min_size=12, max_size=12).map(ObjectId),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.builds(Binary, st.binary(max_size=5), st.integers(1, 255)), st.sampled_from([MinKey(), MaxKey(), Regex("a", "i"), -0.0]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)

# Documents made of few names and small values, so that paths meet arrays, places and each other.
_few = st.sampled_from(
    [None, 0, 1, 1.0, -0.0, Int64(1), "x", "y" * 300, "z" * 480, Decimal("1"), Regex("a"), b"b", 2**40, True]
)
_names = st.sampled_from(["a", "b", "c", "0", "1"])
shapes = st.dictionaries(
    _names,
    st.recursive(
        _few, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3), max_leaves=10
    ),
    max_size=4,
)
paths = st.lists(st.sampled_from(["a", "b", "c", "0", "1", "01"]), min_size=1, max_size=3).map(tuple)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are alike in type too, NaN and the sign of zero included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)
