"""Folds: many values become one. The same classes serve the expressions ($sum of an array) and the accumulators of the pipeline.

What lives here: sum, average, extremes, standard deviation, median and percentile. What it must not know: groups, windows, documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from docdb.language.expression_arrays import positive_count
from docdb.language.expression_core import (
    DECIMAL,
    Maker,
    Scope,
    Term,
    arguments,
    double_to_decimal,
    fail,
    fits_long,
    folded,
    is_long,
    is_nullish,
    make_integer,
    named_terms,
    rounded_double,
)
from docdb.language.order import order_key
from docdb.language.values import MISSING, is_number, type_name

__all__ = ["Average", "Deviation", "Extreme", "OPERATORS", "Percentile", "Sum"]

Key = Callable[[Any], bytes]


class Sum:
    """The sum of the numbers; everything else is passed over. Doubles are added with Neumaier's compensation."""

    __slots__ = ("compensation", "count", "decimal", "double", "has_decimal", "has_double", "long", "whole")

    def __init__(self) -> None:
        self.whole, self.long, self.count = 0, False, 0
        self.double, self.compensation, self.has_double = 0.0, 0.0, False
        self.decimal, self.has_decimal = Decimal(0), False

    def add(self, value: Any) -> None:
        """Take one value."""
        kind = type(value)
        if kind is float:
            self.has_double = True
            total = self.double + value
            if math.isfinite(total):
                larger, smaller = (self.double, value) if abs(self.double) >= abs(value) else (value, self.double)
                self.compensation += (larger - total) + smaller
            self.double = total
        elif not is_number(value):
            return
        elif kind is Decimal:
            self.has_decimal, self.decimal = True, DECIMAL.add(self.decimal, value)
        else:
            self.long = self.long or is_long(value)
            self.whole += int(value)
        self.count += 1

    def _double(self) -> float:
        extra = self.compensation if math.isfinite(self.double) else 0.0
        if not self.whole:
            return self.double + extra
        return (
            math.fsum((self.double, extra, rounded_double(self.whole))) if math.isfinite(self.double) else self.double
        )

    def value(self) -> Any:
        """Return the sum in the widest type seen."""
        if self.has_decimal:
            total = DECIMAL.add(self.decimal, Decimal(self.whole)) if self.whole else self.decimal
            return DECIMAL.add(total, double_to_decimal(self.double + self.compensation)) if self.has_double else total
        if self.has_double:
            return self._double()
        return make_integer(self.whole, self.long) if fits_long(self.whole) else rounded_double(self.whole)


class Average(Sum):
    """The mean of the numbers, null for none."""

    __slots__ = ()

    def value(self) -> Any:
        """Return the mean: double, or decimal."""
        if not self.count:
            return None
        if self.has_decimal:
            return DECIMAL.divide(super().value(), Decimal(self.count))
        if self.has_double:
            return self._double() / self.count
        return rounded_double(self.whole) / self.count if abs(self.whole) < 2**53 else self.whole / self.count


class ExpressionAverage(Average):
    """The mean as the expression makes it: whole numbers are added as doubles, where $group adds them exactly."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        """Take one value."""
        large = isinstance(value, int) and not -(2**53) <= value <= 2**53
        super().add(rounded_double(int(value)) if large else value)


class Extreme:
    """The smallest (sign -1) or largest (sign 1) value that is not null, null for none."""

    __slots__ = ("best", "best_key", "key", "sign")

    def __init__(self, sign: int, key: Key = order_key) -> None:
        self.sign, self.key = sign, key
        self.best: Any = None
        self.best_key: bytes | None = None

    def add(self, value: Any) -> None:
        """Take one value."""
        if value is None or value is MISSING:
            return
        key = self.key(value)
        if self.best_key is None or (key > self.best_key if self.sign > 0 else key < self.best_key):
            self.best, self.best_key = value, key

    def value(self) -> Any:
        """Return the extreme."""
        return self.best


class Deviation:
    """The standard deviation of the numbers as doubles (Welford); of a sample when asked."""

    __slots__ = ("count", "mean", "sample", "squares")

    def __init__(self, sample: bool) -> None:
        self.sample, self.count, self.mean, self.squares = sample, 0, 0.0, 0.0

    def add(self, value: Any) -> None:
        """Take one value."""
        if not is_number(value):
            return
        number = rounded_double(value) if not isinstance(value, float) else value
        self.count += 1
        delta = number - self.mean
        self.mean += delta / self.count
        self.squares += delta * (number - self.mean)

    def value(self) -> Any:
        """Return the deviation, null for too few numbers."""
        degrees = self.count - 1 if self.sample else self.count
        if degrees < 1:
            return None
        return math.sqrt(self.squares / degrees) if math.isfinite(self.squares) else math.nan


class Percentile:
    """The values at fractions of the sorted numbers: the nearest rank."""

    __slots__ = ("numbers", "ranks", "single")

    def __init__(self, ranks: list[float], single: bool = False) -> None:
        self.ranks, self.single = ranks, single
        self.numbers: Any = []

    def add(self, value: Any) -> None:
        """Take one value."""
        if is_number(value) and value == value:
            self.numbers.append(rounded_double(value) if not isinstance(value, float) else value)

    def value(self) -> Any:
        """Return the values in the order of the fractions (one value for a median)."""
        count = len(self.numbers)
        places = [min(count - 1, max(0, math.ceil(p * count) - 1)) for p in self.ranks]
        found: list[Any] = self._at(places) if count else [None] * len(places)
        return found[0] if self.single else found

    def _at(self, places: list[int]) -> list[float]:
        self.numbers.sort()
        return [self.numbers[place] for place in places]


def percentile_ranks(value: Any) -> list[float]:
    """Return the ``p`` of $percentile: numbers from 0 to 1."""
    if type(value) is not list or not value:
        fail("p of $percentile is an array of numbers from 0 to 1", 7750301)
    for p in value:
        if not is_number(p):
            fail(f"p of $percentile holds numbers, not {type_name(p)}", 7750302)
        if not 0 <= p <= 1:
            fail("p of $percentile holds numbers from 0 to 1", 7750303)
    return [float(p) for p in value]


def check_method(spec: Any, name: str, known: tuple[str, ...]) -> None:
    """Refuse a $median or $percentile with missing, unknown or impossible arguments."""
    if not isinstance(spec, dict):
        fail(f"{name} takes an object", 7429703 if name == "$percentile" else 7436100)
    for key in spec:
        if key not in known:
            fail(f"{name} has no argument {key!r}", 40415)
    for key in known:
        if key not in spec:
            fail(f"{name} needs {key!r}", 40414)
    if type(spec["method"]) is not str:
        fail(f"the method of {name} is text", 14)
    if spec["method"] != "approximate":
        fail(f"the method of {name} is 'approximate'", 2)


def _quantile(single: bool) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        check_method(spec, name, ("input", "method") if single else ("input", "p", "method"))
        source = scope.compile(spec["input"])
        places = scope.compile([0.5] if single else spec["p"])

        def run(v: dict[str, Any]) -> Any:
            fold = Percentile(percentile_ranks(places(v)), single)
            value = source(v)
            for item in value if type(value) is list else [value]:
                fold.add(item)
            return fold.value()

        return run

    return make


def _folding(make_fold: Callable[[Scope], Any]) -> Maker:
    """Return the maker of a fold as an expression: one argument that is an array gives its elements."""

    def make(scope: Scope, spec: Any, name: str) -> Term:
        terms = arguments(scope, spec)

        def run(v: dict[str, Any]) -> Any:
            fold = make_fold(scope)
            values = [term(v) for term in terms]
            for value in values[0] if len(values) == 1 and type(values[0]) is list else values:
                fold.add(value)
            return fold.value()

        return folded(terms, run)

    return make


def _extremes(reverse: bool) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        terms = named_terms(scope, spec, name, {"n": 5787906, "input": 5787907}, (), 5787900, 5787901)
        key = scope.sort_key() or order_key

        def run(v: dict[str, Any]) -> Any:
            count, array = positive_count(terms["n"](v)), terms["input"](v)
            if type(array) is not list:
                fail(f"the input of {name} is an array, not {type_name(array)}", 5788200)
            return sorted((item for item in array if not is_nullish(item)), key=key, reverse=reverse)[:count]

        return run

    return make


OPERATORS: Final[dict[str, Maker]] = {
    "$avg": _folding(lambda scope: ExpressionAverage()),
    "$max": _folding(lambda scope: Extreme(1, scope.sort_key() or order_key)),
    "$maxN": _extremes(True),
    "$median": _quantile(True),
    "$min": _folding(lambda scope: Extreme(-1, scope.sort_key() or order_key)),
    "$minN": _extremes(False),
    "$percentile": _quantile(False),
    "$stdDevPop": _folding(lambda scope: Deviation(False)),
    "$stdDevSamp": _folding(lambda scope: Deviation(True)),
    "$sum": _folding(lambda scope: Sum()),
}
