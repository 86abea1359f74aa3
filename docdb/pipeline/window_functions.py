"""The functions that exist only in windows: ranks, shifts, derivatives, integrals, moving averages, covariance, filling.

What lives here: ``Partition`` and the table name -> maker. What it must not know: how windows are bounded (given as a function).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from docdb.language.expression_arithmetic import milliseconds_of
from docdb.language.expression_core import DECIMAL, as_decimal, fail, integer_of, is_nullish
from docdb.language.expressions import read_path
from docdb.language.values import MISSING, is_number, type_name
from docdb.pipeline.context import Batch
from docdb.pipeline.covariance import Covariance
from docdb.pipeline.ordering import SortKey
from docdb.pipeline.stage import Builder, Variables

__all__ = ["FUNCTIONS", "Partition"]

Compute = Callable[["Partition", Variables], list[Any]]
Keys = tuple[SortKey, ...] | None
_UNIT_MS: Final = {
    "week": 604_800_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1000,
    "millisecond": 1,
}


class Partition:
    """The documents of one partition in order, and the keys they are ordered by."""

    def __init__(self, documents: Batch, order: Callable[[Any], Any] | None) -> None:
        self.documents = documents
        self.keys = [order(document) for document in documents] if order else []
        self._sorted: dict[tuple[str, ...], list[Any]] = {}

    def sorted_values(self, parts: tuple[str, ...], dates: bool) -> list[Any]:
        """Return the value each document is sorted by; numbers, or dates when there is a unit."""
        if parts not in self._sorted:
            values = [read_path(document, parts) for document in self.documents]
            for value in values:
                if dates and type(value) is not dt.datetime:
                    fail(f"a range with a unit is over dates, not {type_name(value)}", 5429513)
                if not dates and not is_number(value):
                    fail(f"a range without a unit is over numbers, not {type_name(value)}", 5429414)
            self._sorted[parts] = values
        return self._sorted[parts]


def _need_sort(keys: Keys, name: str, code: int = 5371602) -> tuple[SortKey, ...]:
    if not keys:
        fail(f"{name} needs a sortBy", code)
    return keys


def _ranking(number: Callable[[list[int], int, bool], int]) -> Callable[..., Compute]:
    """Return the maker of a rank; ``number(previous ranks, position, is a tie)`` gives the next."""

    def make(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
        if spec != {} or not isinstance(spec, dict):
            fail(f"{name} takes an empty object", 5371603)
        if bounds is not None:
            fail(f"{name} takes no window", 5371601)
        if len(_need_sort(keys, name)) != 1:
            fail(f"{name} needs a sortBy of one field", 5371602)

        def compute(partition: Partition, variables: Variables) -> list[Any]:
            found: list[int] = []
            for at in range(len(partition.documents)):
                found.append(number(found, at, at > 0 and partition.keys[at] == partition.keys[at - 1]))
            return found

        return compute

    return make


def _shift(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if (
        not isinstance(spec, dict)
        or set(spec) - {"output", "by", "default"}
        or "output" not in spec
        or "by" not in spec
    ):
        fail("$shift takes output, by and default", 9)
    if bounds is not None:
        fail("$shift takes no window", 9)
    by = integer_of(spec["by"]) if is_number(spec["by"]) else None
    if by is None:
        fail("the by of $shift is a whole number", 9)
    _need_sort(keys, name, 9)
    output, default = builder.expression(spec["output"]), builder.expression(spec.get("default"))
    if not default.constant:
        fail("the default of $shift is a constant", 9)

    def compute(partition: Partition, variables: Variables) -> list[Any]:
        last = len(partition.documents)
        return [
            output(partition.documents[at + by], variables) if 0 <= at + by < last else default({}, variables)
            for at in range(last)
        ]

    return compute


def _position(value: Any, unit: str | None, name: str) -> float:
    if type(value) is dt.datetime:
        if unit is None:
            fail(f"{name} over dates needs a unit", 5624901)
        return milliseconds_of(value) / _UNIT_MS[unit]
    if unit is not None:
        fail(f"{name} with a unit is over dates, not {type_name(value)}", 5624900)
    if not is_number(value):
        fail(f"{name} is over numbers or dates, not {type_name(value)}", 5624902)
    return float(value)


def _slope(values: list[tuple[float, Any]]) -> Any:
    if len(values) < 2:
        return None
    (x0, y0), (x1, y1) = values[0], values[-1]
    if x0 == x1 or is_nullish(y0) or is_nullish(y1):
        return None
    if isinstance(y0, Decimal) or isinstance(y1, Decimal):
        return DECIMAL.divide(DECIMAL.subtract(as_decimal(y1), as_decimal(y0)), as_decimal(x1 - x0))
    return (float(y1) - float(y0)) / (x1 - x0)


def _area(values: list[tuple[float, Any]]) -> Any:
    numbers = [(x, y) for x, y in values if is_number(y)]
    if any(isinstance(y, Decimal) for _, y in numbers):
        total = Decimal(0)
        for (x0, y0), (x1, y1) in zip(numbers, numbers[1:], strict=False):
            area = DECIMAL.multiply(DECIMAL.add(as_decimal(y0), as_decimal(y1)), as_decimal((x1 - x0) / 2))
            total = DECIMAL.add(total, area)
        return total
    return math.fsum(
        (x1 - x0) * (float(y0) + float(y1)) / 2 for (x0, y0), (x1, y1) in zip(numbers, numbers[1:], strict=False)
    )


def _calculus(reduce: Callable[[list[tuple[float, Any]]], Any], needs_window: bool) -> Callable[..., Compute]:
    def make(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
        if not isinstance(spec, dict) or set(spec) - {"input", "unit"} or "input" not in spec:
            fail(f"{name} takes input and unit", 9)
        unit = spec.get("unit")
        if unit is not None and unit not in _UNIT_MS:
            fail(f"the unit of {name} is one of {', '.join(_UNIT_MS)}", 5490704)
        if len(_need_sort(keys, name, 5624904)) != 1:
            fail(f"{name} needs a sortBy of one field", 5624904)
        if needs_window and bounds is None:
            fail(f"{name} needs a window", 9)
        ((parts, _),) = keys or ()
        source = builder.expression(spec["input"])

        def compute(partition: Partition, variables: Variables) -> list[Any]:
            points = [
                (_position(read_path(document, parts), unit, name), source(document, variables))
                for document in partition.documents
            ]
            ranges = [bounds(partition, at) if bounds else (0, len(points)) for at in range(len(points))]
            return [reduce(points[low:high]) for low, high in ranges]

        return compute

    return make


def _moving_average(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if (
        not isinstance(spec, dict)
        or "input" not in spec
        or ("N" in spec) == ("alpha" in spec)
        or set(spec) - {"input", "N", "alpha"}
    ):
        fail("$expMovingAvg takes input, and N or alpha", 9)
    if bounds is not None:
        fail("$expMovingAvg takes no window", 9)
    _need_sort(keys, name, 9)
    if "N" in spec:
        count = integer_of(spec["N"]) if is_number(spec["N"]) else None
        if count is None or count < 1:
            fail("the N of $expMovingAvg is a positive whole number", 9)
        alpha = DECIMAL.divide(Decimal(2), Decimal(count + 1))
    else:
        if not is_number(spec["alpha"]) or not 0 < float(spec["alpha"]) < 1:
            fail("the alpha of $expMovingAvg lies between 0 and 1", 9)
        alpha = as_decimal(spec["alpha"])
    source, rest = builder.expression(spec["input"]), DECIMAL.subtract(Decimal(1), alpha)

    def compute(partition: Partition, variables: Variables) -> list[Any]:
        found: list[Any] = []
        average: Any = None
        for document in partition.documents:
            value = source(document, variables)
            if is_number(value):
                decimal = isinstance(value, Decimal) or isinstance(average, Decimal)
                if average is None:
                    average = value if decimal else float(value)
                elif decimal:
                    parts = (DECIMAL.multiply(as_decimal(value), alpha), DECIMAL.multiply(as_decimal(average), rest))
                    average = DECIMAL.add(*parts)
                else:
                    average = float(value) * float(alpha) + average * (1 - float(alpha))
            found.append(average)
        return found

    return compute


def _covariance(sample: bool) -> Callable[..., Compute]:
    def make(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
        source = builder.expression(spec)

        def compute(partition: Partition, variables: Variables) -> list[Any]:
            pairs = [source(document, variables) for document in partition.documents]
            found: list[Any] = []
            state, start, end = Covariance(sample), 0, 0
            for at in range(len(pairs)):
                low, high = bounds(partition, at) if bounds else (0, len(pairs))
                if low < start or high < end or low >= end or (low > start and not state.removable()):
                    state, start, end = Covariance(sample), low, low
                for pair in pairs[end:high]:
                    state.add(pair)
                for pair in pairs[start:low]:
                    state.remove(pair)
                start, end = low, high
                found.append(state.value())
            return found

        return compute

    return make


def _locf(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    source = builder.expression(spec)

    def compute(partition: Partition, variables: Variables) -> list[Any]:
        found: list[Any] = []
        last: Any = None
        for document in partition.documents:
            value = source(document, variables)
            last = last if is_nullish(value) else value
            found.append(last)
        return found

    return compute


def _linear_fill(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if len(_need_sort(keys, name, 605001)) != 1:
        fail("$linearFill needs a sortBy of one field", 605001)
    ((parts, _),) = keys or ()
    source = builder.expression(spec)

    def compute(partition: Partition, variables: Variables) -> list[Any]:
        points = [read_path(document, parts) for document in partition.documents]
        places = [float(milliseconds_of(p)) if type(p) is dt.datetime else _position(p, None, name) for p in points]
        values = [source(document, variables) for document in partition.documents]
        return interpolated(places, values)

    return compute


def interpolated(places: list[float], values: list[Any]) -> list[Any]:
    """Return the values with gaps filled on the straight line between their neighbours; gaps at the ends stay null."""
    result = [None if value is MISSING else value for value in values]
    before: int | None = None
    for at, value in enumerate(result):
        if value is None:
            continue
        if not is_number(value):
            fail(f"linear filling is over numbers, not {type_name(value)}", 605001)
        if before is not None:
            low, high = float(result[before] or 0), float(value)
            width = places[at] - places[before]
            for gap in range(before + 1, at):
                share = (places[gap] - places[before]) / width if width else 0.0
                result[gap] = low + (high - low) * share
        before = at
    return result


def _min_max_scaler(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if not isinstance(spec, dict) or "input" not in spec or set(spec) - {"input", "min", "max"}:
        fail("$minMaxScaler takes input, min and max", 9)
    low, high = spec.get("min", 0), spec.get("max", 1)
    if not is_number(low) or not is_number(high) or DECIMAL.compare(as_decimal(low), as_decimal(high)) != -1:
        fail("the min of $minMaxScaler lies below its max", 9)
    source = builder.expression(spec["input"])

    def compute(partition: Partition, variables: Variables) -> list[Any]:
        values = [source(document, variables) for document in partition.documents]
        found: list[Any] = []
        for at, value in enumerate(values):
            start, end = bounds(partition, at) if bounds else (0, len(values))
            numbers = [item for item in values[start:end] if is_number(item)]
            if not is_number(value) or not numbers:
                found.append(None)
                continue
            least, most = min(numbers, key=builder.key), max(numbers, key=builder.key)
            found.append(_scaled(value, least, most, low, high))
        return found

    return compute


def _scaled(value: Any, least: Any, most: Any, low: Any, high: Any) -> Any:
    """Return where a value lies from ``low`` to ``high`` when ``least`` is at the one and ``most`` at the other; a decimal where one is given."""
    if not any(isinstance(number, Decimal) for number in (value, least, most, low, high)):
        width = float(most) - float(least)
        return low + (float(value) - float(least)) / width * (high - low) if width else float(low)
    place, least, most, low, high = map(as_decimal, (value, least, most, low, high))
    between = DECIMAL.subtract(most, least)
    if not between:
        return low
    share = DECIMAL.divide(DECIMAL.subtract(place, least), between)
    return DECIMAL.add(low, DECIMAL.multiply(share, DECIMAL.subtract(high, low)))


FUNCTIONS: Final[dict[str, Callable[..., Compute]]] = {
    "$covariancePop": _covariance(False),
    "$covarianceSamp": _covariance(True),
    "$denseRank": _ranking(lambda ranks, at, tie: ranks[-1] + (not tie) if ranks else 1),
    "$derivative": _calculus(_slope, True),
    "$documentNumber": _ranking(lambda ranks, at, tie: at + 1),
    "$expMovingAvg": _moving_average,
    "$integral": _calculus(_area, False),
    "$linearFill": _linear_fill,
    "$locf": _locf,
    "$minMaxScaler": _min_max_scaler,
    "$rank": _ranking(lambda ranks, at, tie: ranks[-1] if tie else at + 1),
    "$shift": _shift,
}
