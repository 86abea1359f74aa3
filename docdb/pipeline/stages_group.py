"""Stages that gather: $group, $bucket, $bucketAuto.

What lives here: their parsers. What it must not know: what an accumulator computes, how groups are held (``groups``).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any, Final

from docdb.language.expression_core import DivisionByZero, fail, integer_of, is_nullish
from docdb.language.order import TAGS, compare
from docdb.language.values import MISSING, is_number, type_name
from docdb.pipeline.accumulators import compile_accumulator
from docdb.pipeline.context import Batches
from docdb.pipeline.groups import Fields, Group, Load, grouped
from docdb.pipeline.spill import ordered
from docdb.pipeline.stage import Builder, Stage, Variables, check_options, in_batches, looking

__all__ = ["bucket", "bucket_auto", "group"]


def group(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $group."""
    if not isinstance(spec, dict):
        fail("$group takes an object", 15947)
    if "_id" not in spec:
        fail("$group needs '_id'", 15955)
    if isinstance(spec["_id"], dict) and "" in spec["_id"]:
        fail("a field of the _id is not empty", 15998)
    identity = builder.expression(spec["_id"])
    if isinstance(spec["_id"], dict):
        for field in spec["_id"]:
            value = spec["_id"][field]
            if not field.startswith("$") and (type(value) is bool or (is_number(value) and type_name(value) != "int")):
                fail("a field of the _id is an expression, not a number or bool to keep it", 17390)
    with _numbered():  # a constant that divides by zero is met here
        fields: Fields = [
            (field, compile_accumulator(builder, field, item)) for field, item in spec.items() if field != "_id"
        ]

    def run(batches: Batches, variables: Variables) -> Batches:
        found = grouped(batches, identity, fields, builder.key, builder.context, variables)
        yield from in_batches(document for _, document in found)

    return Stage(name, run, spec)


@contextmanager
def _numbered() -> Iterator[None]:
    """Give a division by zero the number it has in an accumulator of $group."""
    try:
        yield
    except DivisionByZero as error:
        error.code = error.in_group
        raise


def _output(builder: Builder, spec: Any, code: int) -> Fields:
    if not isinstance(spec, dict):
        fail("the output of a bucket is an object", code)
    return [(field, compile_accumulator(builder, field, item)) for field, item in spec.items()]


def _bucket_options(builder: Builder, spec: Any) -> tuple[list[Any], Any]:
    known = ("groupBy", "boundaries", "default", "output")
    check_options(spec, "$bucket", known, {"groupBy": 40198, "boundaries": 40198}, shape=40201, unknown=40197)
    grouped = spec["groupBy"]
    if not (isinstance(grouped, dict) and next(iter(grouped), "").startswith("$")) and not (
        type(grouped) is str and grouped.startswith("$")
    ):
        fail("the groupBy of $bucket is a path or an expression", 40202)
    if not isinstance(spec["boundaries"], list):
        fail("the boundaries of $bucket are an array", 40200)
    boundaries = []
    for item in spec["boundaries"]:
        expression = builder.expression(item)
        if not expression.constant:
            fail("the boundaries of $bucket are constants", 40191)
        boundaries.append(expression({}))
    if len(boundaries) < 2:
        fail("$bucket needs at least two boundaries", 40192)
    for low, high in zip(boundaries, boundaries[1:], strict=False):
        if TAGS[type_name(low)] != TAGS[type_name(high)]:
            fail("the boundaries of $bucket have one type", 40193)
        if builder.key(low) >= builder.key(high):
            fail("the boundaries of $bucket ascend", 40194)
    default = builder.expression(spec["default"]) if "default" in spec else None
    if default is None:
        return boundaries, MISSING
    if not default.constant:
        fail("the default of $bucket is a constant", 40195)
    value = default({})
    if compare(value, boundaries[0]) >= 0 and compare(value, boundaries[-1]) < 0:
        fail("the default of $bucket lies outside the boundaries", 40199)
    return boundaries, value


def bucket(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $bucket."""
    boundaries, default = _bucket_options(builder, spec)
    fields = _output(builder, spec.get("output", {"count": {"$sum": 1}}), 40196)
    if any(field == "_id" for field, _ in fields):
        fail("_id cannot be a field of the output", 15948)
    key, expression = builder.key, builder.expression(spec["groupBy"])
    marks = [key(value) for value in boundaries]

    def bound_of(document: dict[str, Any], variables: Variables) -> Any:
        at = bisect_right(marks, key(expression(document, variables))) - 1
        bound = boundaries[at] if 0 <= at < len(marks) - 1 else default
        if bound is MISSING:
            fail("a value lies outside the boundaries of $bucket, which has no default", 7158303)
        return bound

    def run(batches: Batches, variables: Variables) -> Batches:
        context = builder.context
        rows = grouped(batches, bound_of, fields, key, context, variables)
        found = ordered(([row] for row in rows), itemgetter(0), None, memory=context.memory_limit)
        yield from in_batches(document for _, document in found)

    return Stage(name, run, spec)


_RENARD: Final = {
    "R5": (10, 16, 25, 40, 63), "R10": (100, 125, 160, 200, 250, 315, 400, 500, 630, 800),
    "R20": (100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900),
    "R40": (100, 106, 112, 118, 125, 132, 140, 150, 160, 170, 180, 190, 200, 212, 224, 236, 250, 265, 280, 300, 315, 335, 355, 375,
            400, 425, 450, 475, 500, 530, 560, 600, 630, 670, 710, 750, 800, 850, 900, 950),
    "R80": (103, 109, 115, 122, 128, 136, 145, 155, 165, 175, 185, 195, 206, 218, 230, 243, 258, 272, 290, 307, 325, 345, 365, 387,
            412, 437, 462, 487, 515, 545, 575, 615, 650, 690, 730, 775, 825, 875, 925, 975),
    "1-2-5": (10, 20, 50), "E6": (10, 15, 22, 33, 47, 68), "E12": (10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82),
    "E24": (10, 11, 12, 13, 15, 16, 18, 20, 22, 24, 27, 30, 33, 36, 39, 43, 47, 51, 56, 62, 68, 75, 82, 91),
    "E48": (100, 105, 110, 115, 121, 127, 133, 140, 147, 154, 162, 169, 178, 187, 196, 205, 215, 226, 237, 249, 261, 274, 287, 301,
            316, 332, 348, 365, 383, 402, 422, 442, 464, 487, 511, 536, 562, 590, 619, 649, 681, 715, 750, 787, 825, 866, 909, 953),
    "E96": (100, 102, 105, 107, 110, 113, 115, 118, 121, 124, 127, 130, 133, 137, 140, 143, 147, 150, 154, 158, 162, 165, 169, 174,
            178, 182, 187, 191, 196, 200, 205, 210, 215, 221, 226, 232, 237, 243, 249, 255, 261, 267, 274, 280, 287, 294, 301, 309,
            316, 324, 332, 340, 348, 357, 365, 374, 383, 392, 402, 412, 422, 432, 442, 453, 464, 475, 487, 499, 511, 523, 536, 549,
            562, 576, 590, 604, 619, 634, 649, 665, 681, 698, 715, 732, 750, 768, 787, 806, 825, 845, 866, 887, 909, 931, 953, 976),
    "E192": (100, 101, 102, 104, 105, 106, 107, 109, 110, 111, 113, 114, 115, 117, 118, 120, 121, 123, 124, 126, 127, 129, 130, 132,
             133, 135, 137, 138, 140, 142, 143, 145, 147, 149, 150, 152, 154, 156, 158, 160, 162, 164, 165, 167, 169, 172, 174, 176,
             178, 180, 182, 184, 187, 189, 191, 193, 196, 198, 200, 203, 205, 208, 210, 213, 215, 218, 221, 223, 226, 229, 232, 234,
             237, 240, 243, 246, 249, 252, 255, 258, 261, 264, 267, 271, 274, 277, 280, 284, 287, 291, 294, 298, 301, 305, 309, 312,
             316, 320, 324, 328, 332, 336, 340, 344, 348, 352, 357, 361, 365, 370, 374, 379, 383, 388, 392, 397, 402, 407, 412, 417,
             422, 427, 432, 437, 442, 448, 453, 459, 464, 470, 475, 481, 487, 493, 499, 505, 511, 517, 523, 530, 536, 542, 549, 556,
             562, 569, 576, 583, 590, 597, 604, 612, 619, 626, 634, 642, 649, 657, 665, 673, 681, 690, 698, 706, 715, 723, 732, 741,
             750, 759, 768, 777, 787, 796, 806, 816, 825, 835, 845, 856, 866, 876, 887, 898, 909, 920, 931, 942, 953, 965, 976, 988),
}  # fmt: skip


class _Granularity:
    """A series of preferred numbers: rounding up and down to the next strictly larger or smaller."""

    def __init__(self, name: str) -> None:
        series = _RENARD.get(name)
        self.series = series and (*series, series[0] * 10)

    def up(self, value: float) -> float:
        if value == 0:
            return 0
        if self.series is None:
            return float(2.0 ** (math.floor(math.log2(value)) + 1))
        scale = 10.0 ** (math.floor(math.log10(value)) - math.floor(math.log10(self.series[0])))
        for factor in (scale / 10, scale, scale * 10):
            for item in self.series:
                if item * factor > value * (1 + 1e-12):
                    return item * factor
        return self.series[-1] * scale * 10

    def down(self, value: float) -> float:
        if value == 0:
            return 0
        if self.series is None:
            exponent = math.log2(value)
            return float(2.0 ** (math.ceil(exponent) - 1))
        scale = 10.0 ** (math.floor(math.log10(value)) - math.floor(math.log10(self.series[0])))
        for factor in (scale, scale / 10):
            for item in reversed(self.series):
                if item * factor < value * (1 - 1e-12):
                    return item * factor
        return self.series[0] * scale / 10


def _auto_options(spec: Any) -> tuple[int, _Granularity | None]:
    known = ("groupBy", "buckets", "output", "granularity")
    check_options(spec, "$bucketAuto", known, shape=40240, unknown=40245)
    grouped = spec.get("groupBy")
    if (
        "groupBy" in spec
        and not (isinstance(grouped, dict) and next(iter(grouped), "").startswith("$"))
        and not (type(grouped) is str and grouped.startswith("$"))
    ):
        fail("the groupBy of $bucketAuto is a path or an expression", 40239)
    if "buckets" in spec:
        if not is_number(spec["buckets"]):
            fail("the buckets of $bucketAuto are a number", 40241)
        count = integer_of(spec["buckets"])
        if count is None or not -(2**31) <= count < 2**31:
            fail("the buckets of $bucketAuto are a 32 bit integer", 40242)
        if count < 1:
            fail("the buckets of $bucketAuto are positive", 40243)
    if "output" in spec and not isinstance(spec["output"], dict):
        fail("the output of $bucketAuto is an object", 40244)
    series = spec.get("granularity")
    if "granularity" in spec and type(series) is not str:
        fail("the granularity of $bucketAuto is text", 40261)
    if "groupBy" not in spec or "buckets" not in spec:
        fail("$bucketAuto needs 'groupBy' and 'buckets'", 40246)
    if series is not None and series != "POWERSOF2" and series not in _RENARD:
        fail(f"unknown granularity {series!r}", 40257, hint=f"POWERSOF2, {', '.join(_RENARD)}")
    return int(spec["buckets"]), _Granularity(series) if series else None


def bucket_auto(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $bucketAuto."""
    buckets, granularity = _auto_options(spec)
    fields = _output(builder, spec.get("output") or {"count": {"$sum": 1}}, 40244)
    key, expression = builder.key, builder.expression(spec["groupBy"])

    def run(batches: Batches, variables: Variables) -> Batches:
        count = 0

        def valued(document: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            nonlocal count
            count += 1
            value = expression(document, variables)
            value = None if value is MISSING else value
            if granularity is not None:
                _check_number(value)
            return value, document

        context = builder.context
        pairs = (list(map(valued, batch)) for batch in batches)
        memory, check = context.memory_limit, context.check_deadline
        found = ordered(pairs, lambda pair: key(pair[0]), None, memory=memory, check=check)
        rows = _Ahead(looking(found, check))  # all documents are read now, and counted
        keeps = any(accumulator.keeps for _, accumulator in fields)
        size, highest = max(1, int(count / buckets + 0.5)), MISSING
        for left in range(buckets, 0, -1):
            if rows.next is None:
                return
            bucket = Group({}, fields, variables)
            taking = partial(Load(fields, memory).add, bucket) if keeps else partial(bucket.add, fields)
            add = partial(taking, variables=variables)
            try:
                low, high = _filled(rows, size if left > 1 else count, granularity, key, add)
                bucket.id = {"min": low if highest is MISSING or granularity is None else highest, "max": high}
                document = bucket.result(fields)
            finally:
                bucket.close(fields)
            highest = high
            yield [document]

    return Stage(name, run, spec)


def _check_number(value: Any) -> None:
    if not is_number(value):
        fail(f"a granularity takes numbers, not {type_name(value)}", 40258)
    if value != value:
        fail("a granularity takes no NaN", 40259)
    if value < 0 or is_nullish(value):
        fail("a granularity takes numbers that are not negative", 40260)


class _Ahead:
    """Rows with a look at the next one, None behind the last."""

    def __init__(self, rows: Iterator[tuple[Any, dict[str, Any]]]) -> None:
        self._rows = rows
        self.next = next(rows, None)

    def take(self) -> tuple[Any, dict[str, Any]]:
        """Return the next row, which is there."""
        row, self.next = self.next, next(self._rows, None)
        assert row is not None
        return row


def _filled(
    rows: _Ahead,
    size: int,
    granularity: _Granularity | None,
    key: Callable[[Any], bytes],
    add: Callable[[dict[str, Any]], None],
) -> tuple[Any, Any]:
    """Fill a bucket with so many documents, and with those that belong to the last of them; return the ends of its range."""
    first: Any = rows.next[0] if rows.next is not None else None
    value = first
    while rows.next is not None and size > 0:
        value, document = rows.take()
        add(document)
        size -= 1
    if granularity is not None:
        high: Any = granularity.up(float(value))
        while rows.next is not None and (rows.next[0] < high or (high == 0 and rows.next[0] == 0)):
            add(rows.take()[1])
        return granularity.down(float(first)), high
    last = key(value)
    while rows.next is not None and key(rows.next[0]) == last:
        value, document = rows.take()
        add(document)
    return first, rows.next[0] if rows.next is not None else value
