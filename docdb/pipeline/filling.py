"""$densify and $fill: documents and values that are missing from a series.

What lives here: their parsers. What it must not know: windows ($fill is built from ``window_functions``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

from docdb.language.expression_core import fail, integer_of
from docdb.language.expression_date_arithmetic import UNITS, add_units
from docdb.language.expressions import field_path, read_path
from docdb.language.values import MISSING, is_number, type_name
from docdb.pipeline.context import Batches
from docdb.pipeline.spill import Rows, ordered
from docdb.pipeline.stage import Builder, Stage, Variables, check_options, in_batches, through
from docdb.pipeline.stages_flow import with_path

__all__ = ["densify", "fill"]

_MOST_DOCUMENTS: Final = 500_000  # that one $densify makes, as in MongoDB


def _densify_options(spec: Any) -> tuple[Any, Any, str | None]:
    check_options(
        spec,
        "$densify",
        ("field", "partitionByFields", "range"),
        {"field": 40414, "range": 40414},
        shape=5733401,
        unknown=40415,
    )
    if type(spec["field"]) is not str:
        fail("the field of $densify is text", 14)
    bounds = spec["range"]
    check_options(
        bounds,
        "the range of $densify",
        ("bounds", "step", "unit"),
        {"bounds": 40414, "step": 40414},
        shape=14,
        unknown=40415,
    )
    if not is_number(bounds["step"]) or bounds["step"] <= 0:
        fail("the step of $densify is a positive number", 5733401)
    unit = bounds.get("unit")
    if unit is not None and unit not in UNITS:
        fail(f"unknown unit {unit!r}", 9)
    if unit is not None and integer_of(bounds["step"]) is None:
        fail("a step with a unit is a whole number", 5733408)
    limits = bounds["bounds"]
    if limits not in ("full", "partition") and not (isinstance(limits, list) and len(limits) == 2):
        fail(
            "the bounds of $densify are 'full', 'partition' or two values", 5946802 if type(limits) is str else 5733403
        )
    return limits, bounds["step"], unit


def densify(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $densify."""
    limits, step, unit = _densify_options(spec)
    parts = field_path(spec["field"])
    partitions = [field_path(path) for path in spec.get("partitionByFields", [])]
    key = builder.key

    def run(batches: Batches, variables: Variables) -> Batches:
        memory, check = builder.context.memory_limit, builder.context.check_deadline
        passed = Rows(memory // 4)
        ends = _Ends()

        def placed() -> Iterator[list[Any]]:
            for batch in batches:
                rows, others = [], []
                for document in batch:
                    value = read_path(document, parts)
                    if value is MISSING or value is None:
                        others.append(document)
                        continue
                    _check_value(value, unit)
                    ends.add(value)
                    place = key([_null(read_path(document, path)) for path in partitions])
                    rows.append((place, key(value), value, document))
                passed.extend(others)
                yield rows

        try:
            found = _Ahead(ordered(placed(), itemgetter(0, 1), None, memory=memory // 2, check=check))
            yield from passed.batches()
        finally:
            passed.close()
        full = (limits[0], limits[1]) if isinstance(limits, list) else None if limits == "partition" else ends.found
        series = _Series(parts, partitions, step, unit, full, explicit=isinstance(limits, list))
        while found.next is not None:
            yield from in_batches(series.dense(found))

    return Stage(name, run, spec)


class _Ends:
    """The smallest and the largest of the values."""

    def __init__(self) -> None:
        self.found: tuple[Any, Any] | None = None

    def add(self, value: Any) -> None:
        """Take a value."""
        low, high = self.found or (value, value)
        self.found = (value if value < low else low), (value if value > high else high)


class _Ahead:
    """Rows (place, key, value, document) in order, with a look at the next one, None behind the last."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self.next = next(rows, None)

    def below(self, place: bytes, value: Any) -> Iterator[dict[str, Any]]:
        """Take the documents of a place whose values are below this one."""
        while (row := self.next) is not None and row[0] == place and row[2] < value:
            self.next = next(self._rows, None)
            yield row[3]

    def rest(self, place: bytes, value: Any = MISSING) -> Iterator[dict[str, Any]]:
        """Take the documents of a place, those with this value only when there is one."""
        while (row := self.next) is not None and row[0] == place and (value is MISSING or row[2] == value):
            self.next = next(self._rows, None)
            yield row[3]

    def at(self, place: bytes) -> Any:
        """Return the next row if it is of this place."""
        return self.next if self.next is not None and self.next[0] == place else None


def _null(value: Any) -> Any:
    return None if value is MISSING else value


def _check_value(value: Any, unit: str | None) -> None:
    if unit is None and not is_number(value):
        fail(
            f"$densify without a unit is over numbers, not {type_name(value)}",
            5733201 if type(value) is not dt.datetime else 6053600,
        )
    if isinstance(value, Decimal) and value.is_nan():  # it cannot be compared
        fail("$densify is over numbers, not NaN", 5733201)
    if unit is not None and type(value) is not dt.datetime:
        fail(f"$densify with a unit is over dates, not {type_name(value)}", 6053600)


class _Series:
    """What $densify puts between documents. ``full`` are the bounds of every partition, None: its own first and last value."""

    def __init__(
        self, parts: tuple[str, ...], partitions: list[tuple[str, ...]], step: Any, unit: str | None, full: Any, *, explicit: bool
    ) -> None:  # fmt: skip
        self._parts, self._partitions, self._step, self._unit = parts, partitions, step, unit
        self._full, self._explicit = full, explicit
        self._made = 0

    def dense(self, rows: _Ahead) -> Iterator[dict[str, Any]]:
        """Take the rows of the next place, and yield their documents with those that were missing."""
        assert rows.next is not None
        place, _, first, last = rows.next
        low, high = self._full or (first, None)
        count, value = 0, low
        while high is None or (value < high if self._explicit else value <= high):
            for last in rows.below(place, value):
                yield last
            following = rows.at(place)
            if following is None and high is None:
                return
            if following is not None and following[2] == value:
                for last in rows.rest(place, value):
                    yield last
            else:
                # The document behind the gap lends its partition: under a collation its spelling may differ from the first one's.
                yield self._new(last if following is None else following[3], value)
            count += 1
            value = add_units(low, self._unit, count * int(self._step)) if self._unit else low + self._step * count
        yield from rows.rest(place)

    def _new(self, model: dict[str, Any], value: Any) -> dict[str, Any]:
        self._made += 1
        if self._made > _MOST_DOCUMENTS:
            fail(f"$densify would make more than {_MOST_DOCUMENTS} documents", 5897900)
        return _made(model, self._parts, self._partitions, value)


def _made(
    model: dict[str, Any], parts: tuple[str, ...], partitions: list[tuple[str, ...]], value: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path in partitions:
        found = read_path(model, path)
        if found is not MISSING:
            made = with_path(made, path, found)
    return with_path(made, parts, value)


def fill(builder: Builder, spec: Any, name: str) -> Stage:
    """Compile $fill: a $setWindowFields of $locf and $linearFill, and $ifNull for constant values."""
    known = ("partitionBy", "partitionByFields", "sortBy", "output")
    check_options(spec, name, known, {"output": 40414}, shape=9, unknown=40415)
    if not isinstance(spec["output"], dict) or not spec["output"]:
        fail("the output of $fill is an object with at least one field", 6050203 if spec["output"] == {} else 14)
    if "partitionBy" in spec and "partitionByFields" in spec:
        fail("$fill takes partitionBy or partitionByFields", 6050204)
    partition = spec.get("partitionBy")
    if "partitionByFields" in spec:
        for path in spec["partitionByFields"]:
            if path.startswith("$"):
                fail("a field of partitionByFields has no $", 6050202)
        partition = {path.replace(".", "_"): f"${path}" for path in spec["partitionByFields"]}
    windows: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for field, how in spec["output"].items():
        if not isinstance(how, dict) or len(how) != 1 or not set(how) <= {"value", "method"}:
            fail(f"the output {field!r} of $fill has a value or a method", 40415)
        if "value" in how:
            values[field] = {"$ifNull": [f"${field}", how["value"]]}
            continue
        method = {"linear": "$linearFill", "locf": "$locf"}.get(how["method"] if type(how["method"]) is str else "")
        if method is None:
            fail("the method of $fill is 'linear' or 'locf'", 6050202)
        windows[field] = {method: f"${field}"}
    stages: list[Any] = []
    if windows:
        sort = {"sortBy": spec["sortBy"]} if "sortBy" in spec else {}
        stages.append({"$setWindowFields": {"partitionBy": partition, **sort, "output": windows}})
    if values:
        stages.append({"$addFields": values})
    compiled = builder.compile(builder, stages)

    def run(batches: Batches, variables: Variables) -> Batches:
        return through(compiled, batches, variables, builder.context.check_deadline)

    return Stage(name, run, spec)
