"""$setWindowFields: values computed over a window of documents around each.

What lives here: partitions, window bounds, the stage. What it must not know: the functions that exist only in windows
(``window_functions``) and what an accumulator computes.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

from docdb.language.expression_core import fail, integer_of
from docdb.language.expression_date_arithmetic import UNITS, add_units
from docdb.language.values import MISSING, is_number
from docdb.pipeline.accumulators import ACCUMULATORS
from docdb.pipeline.context import Batches
from docdb.pipeline.ordering import SortKey, document_key
from docdb.pipeline.projecting import parse_add_fields
from docdb.pipeline.spill import between, ordered
from docdb.pipeline.stage import Builder, Stage, Variables, check_options, in_batches
from docdb.pipeline.window_functions import FUNCTIONS, Partition

__all__ = ["set_window_fields"]

Bounds = Callable[[Partition, int], tuple[int, int]]
Compute = Callable[[Partition, Variables], Sequence[Any]]


def _number_bound(value: Any) -> bool:
    return is_number(value) or value in ("unbounded", "current")


def _documents(spec: Any, sort: Any) -> Bounds:
    if not isinstance(spec, list) or len(spec) != 2:
        fail("the documents of a window are an array of two bounds", 9)
    ends = []
    for value in spec:
        if value != "current" and value != "unbounded" and (not is_number(value) or integer_of(value) is None):
            fail("a bound is 'unbounded', 'current' or a whole number", 9)
        ends.append(0 if value == "current" else None if value == "unbounded" else integer_of(value))
    low, high = ends
    if sort is None and not (low is None and high is None):
        fail("a bounded window of documents needs a sortBy", 5339901)
    if low is not None and high is not None and low > high:
        fail("the lower bound is not above the upper one", 5339900)

    def bounds(partition: Partition, at: int) -> tuple[int, int]:
        last = len(partition.documents)
        start = 0 if low is None else max(0, at + low)
        end = last if high is None else min(last, at + high + 1)
        return min(start, last), max(end, min(start, last))

    return bounds


def _range(spec: dict[str, Any], keys: tuple[SortKey, ...] | None) -> Bounds:
    low: Any
    high: Any
    low, high = spec["range"] if isinstance(spec["range"], list) and len(spec["range"]) == 2 else (MISSING, MISSING)
    if not _number_bound(low) or not _number_bound(high):
        fail("the range of a window is an array of two bounds", 9)
    unit = spec.get("unit")
    if unit is not None and unit not in UNITS:
        fail(f"unknown unit {unit!r}", 9)
    if keys is None or len(keys) != 1:
        fail("a range window needs a sortBy of one field", 5339902)
    ((parts, direction),) = keys
    if direction != 1:
        fail("a range window needs an ascending sortBy", 8947401)
    if is_number(low) and is_number(high) and low > high:
        fail("the lower bound is not above the upper one", 5339900)

    def bounds(partition: Partition, at: int) -> tuple[int, int]:
        values = partition.sorted_values(parts, unit is not None)
        here = values[at]
        start = 0 if low == "unbounded" else bisect_left(values, _moved(here, low, unit))
        end = len(values) if high == "unbounded" else bisect_right(values, _moved(here, high, unit))
        return start, max(start, end)

    return bounds


def _moved(value: Any, bound: Any, unit: str | None) -> Any:
    if bound == "current":
        return value
    if isinstance(value, dt.datetime):
        whole_bound = integer_of(bound)
        if unit is None or whole_bound is None:
            fail("a range over dates needs a unit and whole bounds", 5429513)
        return add_units(value, unit, whole_bound)
    return value + bound


def _window(builder: Builder, spec: Any, sort: Any, keys: tuple[SortKey, ...] | None) -> Bounds:
    if spec is MISSING:
        return lambda partition, at: (0, len(partition.documents))
    if not isinstance(spec, dict):
        fail("a window is an object", 9)
    for key in spec:
        if key not in ("documents", "range", "unit"):
            fail(f"a window has no option {key!r}", 9)
    if "documents" in spec and ("range" in spec or "unit" in spec):
        fail("a window has documents, or range and unit", 9)
    if "range" in spec:
        return _range(spec, keys)
    if "documents" not in spec:
        if "unit" in spec:
            fail("a unit needs a range", 9)
        return lambda partition, at: (0, len(partition.documents))
    return _documents(spec["documents"], sort)


def _over_window(builder: Builder, name: str, argument: Any, bounds: Bounds, window: Any) -> Compute:
    accumulator = ACCUMULATORS[name](builder, argument, name)
    ends = (window.get("documents") or window.get("range")) if isinstance(window, dict) else None
    slides = name in ("$stdDevPop", "$stdDevSamp") and ends is not None and ends[0] != "unbounded"

    def spoiled(values: Sequence[Any], low: int, high: int) -> bool:
        # A deviation over a window whose lower end moves is null while something in it is not finite.
        return slides and any(
            type(value) in (float, Decimal) and not math.isfinite(value) for value in between(values, low, high)
        )

    def folded(partition: Partition, variables: Variables, values: Sequence[Any]) -> Iterator[Any]:
        previous = (0, 0)
        fold = accumulator.start(variables)
        for at in range(len(values)):
            low, high = bounds(partition, at)
            if low != previous[0] or high < previous[1]:
                fold, previous = accumulator.start(variables), (low, low)
            for value in partition.between(values, previous[1], high):
                fold.add(value)
            previous = (low, high)
            yield None if spoiled(values, low, high) else fold.value()

    def compute(partition: Partition, variables: Variables) -> Sequence[Any]:
        values = partition.column(accumulator.value(document, variables) for document in partition.documents)
        return partition.column(folded(partition, variables, values))

    return compute


def _output(builder: Builder, field: str, spec: Any, sort: Any, keys: tuple[SortKey, ...] | None) -> Compute:
    if not isinstance(spec, dict):
        fail(f"the output {field!r} is an object", 9)
    names = [key for key in spec if key.startswith("$")]
    for key in spec:
        if not key.startswith("$") and key != "window":
            fail(f"the output {field!r} has no option {key!r}", 9)
    if len(names) != 1:
        fail(f"the output {field!r} needs exactly one window function", 9)
    (name,) = names
    window = spec.get("window", MISSING)
    if name in FUNCTIONS:
        bounds = _window(builder, window, sort, keys) if window is not MISSING else None
        return FUNCTIONS[name](builder, spec[name], name, keys, bounds)
    if name not in ACCUMULATORS:
        fail(f"unknown window function {name}", 9, path=f"{field}.{name}")
    return _over_window(builder, name, spec[name], _window(builder, window, sort, keys), window)


def set_window_fields(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $setWindowFields."""
    check_options(spec, name, ("partitionBy", "sortBy", "output"), {"output": 40414}, shape=9, unknown=40415)
    sort = spec.get("sortBy")
    if sort is not None and not isinstance(sort, dict):
        fail("the sortBy of $setWindowFields is an object", 14)
    if not isinstance(spec["output"], dict):
        fail("the output of $setWindowFields is an object", 14)
    keys = builder.sort_keys(sort) if sort else None
    partition_by = builder.expression(spec.get("partitionBy"))
    outputs = [(field, _output(builder, field, item, sort, keys)) for field, item in spec["output"].items()]
    columns_spec = {field: f"$$value{i}" for i, (field, _) in enumerate(outputs)}
    shapes = parse_add_fields(columns_spec, name, lambda text: builder.expression(text, text[2:])) if outputs else None
    key, order = builder.key, document_key(keys, builder.key) if keys else None

    def place_of(document: dict[str, Any], variables: Variables) -> tuple[bytes, bytes]:
        value = partition_by(document, variables)
        if type(value) is list:
            fail(f"the partitionBy of {name} may not give an array", 14)
        return key(value), order(document) if order else b""

    def run(batches: Batches, variables: Variables) -> Batches:
        memory, check = builder.context.memory_limit, builder.context.check_deadline
        rows = ([(*place_of(document, variables), document) for document in batch] for batch in batches)
        found = ordered(rows, itemgetter(0, 1), None, memory=memory // 2, check=check)
        for _, members in groupby(found, itemgetter(0)):
            with Partition(map(itemgetter(2), members), order, memory // 2, 2 * len(outputs), check) as partition:
                columns = [output(partition, variables) for _, output in outputs]
                yield from in_batches(_shown(partition, columns, shapes, variables))

    return Stage(name, run, spec)


def _shown(
    partition: Partition, columns: list[Sequence[Any]], shapes: Any, variables: Variables
) -> Iterator[dict[str, Any]]:
    for document, *values in zip(partition.documents, *columns, strict=True):
        known = {**variables, **{f"value{i}": value for i, value in enumerate(values)}}
        yield shapes(document, known) if shapes else document
