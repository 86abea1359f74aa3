"""The covariance of a window that slides: pairs enter and leave, the state is what remains.

What lives here: ``Covariance``. What it must not know: windows, documents, how pairs are found.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from docdb.language.expression_core import DECIMAL, as_decimal, double_to_decimal
from docdb.language.values import is_number

__all__ = ["Covariance"]


class _Total:
    """A sum that numbers enter and leave: doubles apart from decimals, decimal as long as a decimal is in it."""

    __slots__ = ("decimal", "decimals", "double")

    def __init__(self) -> None:
        self.double, self.decimal, self.decimals = 0.0, Decimal(0), 0

    def change(self, value: float | Decimal, sign: int) -> None:
        """Add (1) or take away (-1) a number."""
        if not isinstance(value, Decimal):
            self.double += sign * value
            return
        self.decimals += sign
        put = DECIMAL.add if sign > 0 else DECIMAL.subtract
        self.decimal = put(self.decimal, value) if self.decimals else Decimal(0)

    def mean(self, count: int) -> float | Decimal:
        """Return the mean of ``count`` numbers, 0 for none."""
        if not count:
            return 0.0
        if not self.decimals:
            return self.double / count
        total = DECIMAL.add(self.decimal, double_to_decimal(self.double)) if self.double else self.decimal
        return DECIMAL.divide(total, Decimal(count))

    def finite(self) -> bool:
        """Tell whether no sum on the way was too large."""
        return math.isfinite(self.double) and self.decimal.is_finite()


class Covariance:
    """The covariance of the pairs of numbers in a window, updated as they enter and leave.

    Pairs with an infinity or NaN are counted apart: while one is there, it decides the result, and when it has left, the
    others are as they were. Means come from sums, so a sum too large for its type shows in the result, as in MongoDB.
    """

    __slots__ = ("count", "moment", "sample", "strange", "x", "y")

    def __init__(self, sample: bool) -> None:
        self.sample, self.count = sample, 0
        self.x, self.y = _Total(), _Total()
        self.moment: float | Decimal = 0.0
        self.strange = [0, 0, 0]  # infinities, negative infinities, NaN

    def add(self, pair: Any) -> None:
        """Take what enters the window; what is no pair of numbers is passed over."""
        numbers = _numbers(pair)
        if numbers is None or self._strange(numbers, 1):
            return
        x, y = numbers
        before = self.x.mean(self.count)
        self.count += 1
        self.x.change(x, 1)
        self.y.change(y, 1)
        self.moment = _sum(self.moment, _multiplied(_difference(x, before), _difference(y, self.y.mean(self.count))))

    def remove(self, pair: Any) -> None:
        """Take away what leaves the window."""
        numbers = _numbers(pair)
        if numbers is None or self._strange(numbers, -1):
            return
        x, y = numbers
        after = self.y.mean(self.count)
        self.count -= 1
        self.x.change(x, -1)
        self.y.change(y, -1)
        self.moment = _difference(
            self.moment, _multiplied(_difference(x, self.x.mean(self.count)), _difference(y, after))
        )
        if isinstance(self.moment, Decimal) and not self._decimal():
            self.moment = float(self.moment)

    def removable(self) -> bool:
        """Tell whether pairs can leave: a state that is not finite does not come back from there."""
        return _finite(self.moment) and self.x.finite() and self.y.finite()

    def value(self) -> Any:
        """Return the covariance: null for too few finite pairs, decimal when a decimal is in the window."""
        if self.count < 2:
            return 0.0 if self.count and not self.sample else None
        if any(self.strange):
            up, down, nan = self.strange
            return math.nan if nan or (up and down) else math.inf if up else -math.inf
        degrees = self.count - 1 if self.sample else self.count
        if isinstance(self.moment, Decimal):
            return DECIMAL.divide(self.moment, Decimal(degrees))
        return self.moment / degrees

    def _decimal(self) -> bool:
        return bool(self.x.decimals or self.y.decimals)

    def _strange(self, numbers: tuple[float | Decimal, float | Decimal], step: int) -> bool:
        """Count what is not finite; tell whether there was any."""
        found = False
        for value in numbers:
            if not _finite(value):
                self.strange[2 if value != value else 0 if value > 0 else 1] += step
                found = True
        return found


def _numbers(pair: Any) -> tuple[float | Decimal, float | Decimal] | None:
    if type(pair) is not list or len(pair) != 2 or not is_number(pair[0]) or not is_number(pair[1]):
        return None
    x, y = (value if isinstance(value, Decimal) else float(value) for value in pair)
    return x, y


def _finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def _sum(left: float | Decimal, right: float | Decimal) -> float | Decimal:
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return DECIMAL.add(as_decimal(left), as_decimal(right))
    return left + right


def _difference(left: float | Decimal, right: float | Decimal) -> float | Decimal:
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return DECIMAL.subtract(as_decimal(left), as_decimal(right))
    return left - right


def _multiplied(left: float | Decimal, right: float | Decimal) -> float | Decimal:
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return DECIMAL.multiply(as_decimal(left), as_decimal(right))
    return left * right
