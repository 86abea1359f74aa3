"""The functions that exist only in windows: ranks, shifts, derivatives, integrals, moving averages, covariance, filling.

What lives here: ``Partition`` and the table name -> maker. What it must not know: how windows are bounded (given as a function).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any, Final

from docdb.language.expression_arithmetic import milliseconds_of
from docdb.language.expression_core import DECIMAL, as_decimal, fail, integer_of, is_nullish
from docdb.language.expressions import read_path
from docdb.language.values import MISSING, is_number, type_name
from docdb.pipeline.covariance import Covariance
from docdb.pipeline.ordering import SortKey
from docdb.pipeline.spill import Rows, between
from docdb.pipeline.stage import BATCH, Builder, Variables, looking

__all__ = ["FUNCTIONS", "Partition"]

_AT_ONCE: Final = 64  # values between two looks at the clock and at the memory
Compute = Callable[["Partition", Variables], Sequence[Any]]
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
    """The documents of one partition in order, and columns of values beside them, each in files where it is too large. A context: it gives the files back."""

    def __init__(
        self,
        documents: Iterable[dict[str, Any]],
        order: Callable[[Any], Any] | None,
        memory: int,
        columns: int,
        check: Callable[[], None],
    ) -> None:
        self._check = check
        self._open: list[Rows] = []
        self._sorted: dict[tuple[str, ...], Sequence[Any]] = {}
        self._order = order
        self._memory = memory // 2
        try:
            self.documents: Sequence[dict[str, Any]] = self.column(documents)
        except BaseException:
            self.__exit__()
            raise
        self._memory = memory // (2 * columns + 2)

    def column(self, values: Iterable[Any]) -> Sequence[Any]:
        """Return values as a sequence."""
        rows = Rows(self._memory)
        self._open.append(rows)
        source = iter(values)
        while some := list(islice(source, _AT_ONCE)):
            self._check()
            rows.extend(some)
        return rows.settled()

    def between(self, values: Sequence[Any], low: int, high: int) -> Iterable[Any]:
        """Return a part of a column, with looks at the clock where it is long."""
        part = between(values, low, high)
        return part if high - low < BATCH else looking(part, self._check)

    def ties(self) -> Iterator[bool]:
        """Tell of each document whether it is ordered with the one before it."""
        before = None
        for document in self.documents:
            key = self._order(document) if self._order else None
            yield key == before
            before = key

    def sorted_values(self, parts: tuple[str, ...], dates: bool) -> Sequence[Any]:
        """Return the value each document is sorted by; numbers, or dates when there is a unit."""
        if parts not in self._sorted:
            self._sorted[parts] = self.column(_placed(read_path(document, parts), dates) for document in self.documents)
        return self._sorted[parts]

    def __enter__(self) -> Partition:
        return self

    def __exit__(self, *_: object) -> None:
        for rows in self._open:
            rows.close()


def _placed(value: Any, dates: bool) -> Any:
    if dates and type(value) is not dt.datetime:
        fail(f"a range with a unit is over dates, not {type_name(value)}", 5429513)
    if not dates and not is_number(value):
        fail(f"a range without a unit is over numbers, not {type_name(value)}", 5429414)
    return value


def _need_sort(keys: Keys, name: str, code: int = 5371602) -> tuple[SortKey, ...]:
    if not keys:
        fail(f"{name} needs a sortBy", code)
    return keys


def _ranking(number: Callable[[int, int, bool], int]) -> Callable[..., Compute]:
    """Return the maker of a rank; ``number(previous rank or 0, position, is a tie)`` gives the next."""

    def make(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
        if spec != {} or not isinstance(spec, dict):
            fail(f"{name} takes an empty object", 5371603)
        if bounds is not None:
            fail(f"{name} takes no window", 5371601)
        if len(_need_sort(keys, name)) != 1:
            fail(f"{name} needs a sortBy of one field", 5371602)

        def ranks(partition: Partition) -> Iterator[int]:
            rank = 0
            for at, tie in enumerate(partition.ties()):
                rank = number(rank, at, at > 0 and tie)
                yield rank

        return lambda partition, variables: partition.column(ranks(partition))

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

    def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
        last = len(partition.documents)
        return partition.column(
            output(partition.documents[at + by], variables) if 0 <= at + by < last else default({}, variables)
            for at in range(last)
        )

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


def _slope(points: Sequence[tuple[float, Any]], low: int, high: int) -> Any:
    if high - low < 2:
        return None
    (x0, y0), (x1, y1) = points[low], points[high - 1]
    if x0 == x1 or is_nullish(y0) or is_nullish(y1):
        return None
    if isinstance(y0, Decimal) or isinstance(y1, Decimal):
        return DECIMAL.divide(DECIMAL.subtract(as_decimal(y1), as_decimal(y0)), as_decimal(x1 - x0))
    return (float(y1) - float(y0)) / (x1 - x0)


def _area(points: Sequence[tuple[float, Any]], low: int, high: int) -> Any:
    def numbers() -> Iterator[tuple[float, Any]]:
        return ((x, y) for x, y in between(points, low, high) if is_number(y))

    if any(isinstance(y, Decimal) for _, y in numbers()):
        total = Decimal(0)
        for (x0, y0), (x1, y1) in pairwise(numbers()):
            area = DECIMAL.multiply(DECIMAL.add(as_decimal(y0), as_decimal(y1)), as_decimal((x1 - x0) / 2))
            total = DECIMAL.add(total, area)
        return total
    return math.fsum((x1 - x0) * (float(y0) + float(y1)) / 2 for (x0, y0), (x1, y1) in pairwise(numbers()))


def _calculus(
    reduce: Callable[[Sequence[tuple[float, Any]], int, int], Any], needs_window: bool
) -> Callable[..., Compute]:
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

        def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
            points = partition.column(
                (_position(read_path(document, parts), unit, name), source(document, variables))
                for document in partition.documents
            )
            return partition.column(reduced(partition, points))

        def reduced(partition: Partition, points: Sequence[tuple[float, Any]]) -> Iterator[Any]:
            before, found = None, None
            for at in range(len(points)):
                window = bounds(partition, at) if bounds else (0, len(points))
                if window != before:
                    before, found = window, reduce(points, *window)
                yield found

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

    def averages(partition: Partition, variables: Variables) -> Iterator[Any]:
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
            yield average

    return lambda partition, variables: partition.column(averages(partition, variables))


def _covariance(sample: bool) -> Callable[..., Compute]:
    def make(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
        source = builder.expression(spec)

        def slid(partition: Partition, pairs: Sequence[Any]) -> Iterator[Any]:
            state, start, end = Covariance(sample), 0, 0
            for at in range(len(pairs)):
                low, high = bounds(partition, at) if bounds else (0, len(pairs))
                if low < start or high < end or low >= end or (low > start and not state.removable()):
                    state, start, end = Covariance(sample), low, low
                for pair in partition.between(pairs, end, high):
                    state.add(pair)
                for pair in between(pairs, start, low):
                    state.remove(pair)
                start, end = low, high
                yield state.value()

        def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
            pairs = partition.column(source(document, variables) for document in partition.documents)
            return partition.column(slid(partition, pairs))

        return compute

    return make


def _locf(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    source = builder.expression(spec)

    def carried(partition: Partition, variables: Variables) -> Iterator[Any]:
        last: Any = None
        for document in partition.documents:
            value = source(document, variables)
            last = last if is_nullish(value) else value
            yield last

    return lambda partition, variables: partition.column(carried(partition, variables))


def _linear_fill(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if len(_need_sort(keys, name, 605001)) != 1:
        fail("$linearFill needs a sortBy of one field", 605001)
    ((parts, _),) = keys or ()
    source = builder.expression(spec)

    def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
        points = (read_path(document, parts) for document in partition.documents)
        places = partition.column(
            float(milliseconds_of(p)) if type(p) is dt.datetime else _position(p, None, name) for p in points
        )
        values = partition.column(source(document, variables) for document in partition.documents)
        return partition.column(interpolated(places, values))

    return compute


def interpolated(places: Sequence[float], values: Sequence[Any]) -> Iterator[Any]:
    """Yield the values with gaps filled on the straight line between their neighbours; gaps at the ends stay null."""
    before: int | None = None
    low = 0.0
    done = 0
    for at, value in enumerate(values):
        if value is None or value is MISSING:
            continue
        if not is_number(value):
            fail(f"linear filling is over numbers, not {type_name(value)}", 605001)
        high = float(value)
        for gap in range(done, at):
            if before is None:
                yield None
                continue
            width = places[at] - places[before]
            share = (places[gap] - places[before]) / width if width else 0.0
            yield low + (high - low) * share
        yield value
        before, low, done = at, float(value or 0), at + 1
    for _ in range(done, len(values)):
        yield None


def _min_max_scaler(builder: Builder, spec: Any, name: str, keys: Keys, bounds: Any) -> Compute:
    if not isinstance(spec, dict) or "input" not in spec or set(spec) - {"input", "min", "max"}:
        fail("$minMaxScaler takes input, min and max", 9)
    low, high = spec.get("min", 0), spec.get("max", 1)
    if not is_number(low) or not is_number(high) or DECIMAL.compare(as_decimal(low), as_decimal(high)) != -1:
        fail("the min of $minMaxScaler lies below its max", 9)
    source = builder.expression(spec["input"])

    def scaled(partition: Partition, values: Sequence[Any]) -> Iterator[Any]:
        before, ends = None, None
        for at, value in enumerate(values):
            window = bounds(partition, at) if bounds else (0, len(values))
            if window != before:
                before, ends = window, _ends(partition.between(values, *window), builder.key)
            if not is_number(value) or ends is None:
                yield None
                continue
            yield _scaled(value, *ends, low, high)

    def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
        values = partition.column(source(document, variables) for document in partition.documents)
        return partition.column(scaled(partition, values))

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


def _ends(values: Iterable[Any], key: Callable[[Any], bytes]) -> tuple[Any, Any] | None:
    """Return the smallest and the largest number, None without any."""
    least = most = None
    for value in values:
        if is_number(value):
            place = key(value), value
            least = place if least is None or place[0] < least[0] else least
            most = place if most is None or place[0] > most[0] else most
    return None if least is None or most is None else (least[1], most[1])


FUNCTIONS: Final[dict[str, Callable[..., Compute]]] = {
    "$covariancePop": _covariance(False),
    "$covarianceSamp": _covariance(True),
    "$denseRank": _ranking(lambda rank, at, tie: rank + (not tie)),
    "$derivative": _calculus(_slope, True),
    "$documentNumber": _ranking(lambda rank, at, tie: at + 1),
    "$expMovingAvg": _moving_average,
    "$integral": _calculus(_area, False),
    "$linearFill": _linear_fill,
    "$locf": _locf,
    "$minMaxScaler": _min_max_scaler,
    "$rank": _ranking(lambda rank, at, tie: rank if tie else at + 1),
    "$shift": _shift,
}
