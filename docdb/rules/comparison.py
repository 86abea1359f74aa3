"""How the rule language compares values: strictly, one value with one value.

What lives here: equality, order, sums, and what a comparison costs. What it must not know: trees, documents, readers.

    equality   types are strict: 1, true and "1" are three values; whole numbers, broken numbers and Decimals are one type and
               compare exactly by value; NaN equals nothing; objects are equal with the same fields in the same order
    order      two numbers, two strings (by code point), two binaries, two dates; a date and a number compare as the date's
               milliseconds since 1970 UTC; NaN and everything else have no order
    + and -    whole and broken numbers; a date counts as its milliseconds; + also joins strings
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

__all__ = ["date_bound", "in_order", "is_list", "is_number", "number_of", "same", "size", "total"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_FIRST: Final = (_EARLIEST - _EPOCH) // _MICROSECOND
_LAST: Final = (_LATEST - _EPOCH) // _MICROSECOND


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal.

    >>> same(1, 1.0), same(1, True), same([1, {"a": None}], [1, {"a": None}])
    (True, False, True)
    """
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if is_list(left) and is_list(right):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    if is_number(left) and is_number(right):
        return not (_is_nan(left) or _is_nan(right)) and bool(left == right)
    return type(left) is type(right) and bool(left == right)


def in_order(operator: str, left: Any, right: Any) -> bool | None:
    """Return what ``<``, ``<=``, ``>`` or ``>=`` says, or None where the two values have no order.

    >>> in_order("<", 2**53, 2**53 + 1), in_order("<", "1", 2), in_order("<=", float("nan"), 1)
    (True, None, None)
    """
    pair = _orderable(left, right)
    if pair is None:
        return None
    left, right = pair
    if operator in ("<", ">="):
        return bool(left < right) is (operator == "<")
    return bool(left > right) is (operator == ">")


def total(operator: str, left: Any, right: Any) -> Any:
    """Return the sum or difference of two numbers, the joined strings, or None where there is none."""
    if isinstance(left, str) and isinstance(right, str):
        return left + right if operator == "+" else None
    one, other = _figure(left), _figure(right)
    if one is None or other is None:
        return None
    try:
        result = one + other if operator == "+" else one - other
    except OverflowError:
        return None
    return result if isinstance(result, int) or math.isfinite(result) else None


def number_of(date: dt.datetime) -> int | Decimal:
    """Return the milliseconds of a date, exactly: the number that stands where the date does in an order."""
    microseconds = (date - _EPOCH) // _MICROSECOND
    return microseconds // 1000 if microseconds % 1000 == 0 else Decimal(microseconds).scaleb(-3)


def date_bound(operator: str, number: int | float | Decimal) -> tuple[str, dt.datetime] | None:
    """Return the comparison of a date (``gt``, ...) that says the same as that of its milliseconds with a number; None: no date meets it.

    >>> date_bound("lt", 1.0005)
    ('lte', datetime.datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=datetime.timezone.utc))
    """
    below = operator in ("lt", "lte")
    bound = _exact(number) * 1000
    if not _FIRST <= bound <= _LAST:
        outside = bound > _LAST
        return (("lte", _LATEST) if below else ("gte", _EARLIEST)) if outside is below else None
    whole = math.floor(bound) if below else math.ceil(bound)
    exact = operator if whole == bound else "lte" if below else "gte"
    return exact, _EPOCH + dt.timedelta(microseconds=whole)


def size(value: Any, most: int) -> int:
    """Count the values inside, up to a little more than ``most``; walks without recursion."""
    count, rest = 0, [value]
    while rest and count <= most:
        item = rest.pop()
        count += 1
        if isinstance(item, Mapping):
            rest.extend(item.values())
        elif is_list(item):
            rest.extend(item)
        elif isinstance(item, str | bytes):
            count += len(item) >> 8
    return count


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_nan(value: Any) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else bool(value != value)


def _orderable(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Return the two as Python orders them rightly, or None."""
    if is_number(left) and is_number(right):
        return None if _is_nan(left) or _is_nan(right) else (left, right)
    if any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, bytes)):
        return left, right
    if isinstance(left, dt.datetime) or isinstance(right, dt.datetime):
        pair = _exact(left), _exact(right)
        return None if None in pair else pair
    return None


def _exact(value: Any) -> Any:
    """Return a date's milliseconds or a number as something exact, None for everything else."""
    if isinstance(value, dt.datetime):
        return None if value.tzinfo is None else Fraction((value - _EPOCH) // _MICROSECOND, 1000)
    if not is_number(value) or _is_nan(value):
        return None
    if isinstance(value, Decimal):
        return Fraction(value) if value.is_finite() else float(value)
    return value


def _figure(value: Any) -> int | float | None:
    if isinstance(value, dt.datetime):
        exact = _exact(value)
        return None if exact is None else int(exact) if exact.denominator == 1 else float(exact)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None
