"""$densify and $fill: documents and values that are missing from a series.

What lives here: their parsers. What it must not know: windows ($fill is built from ``window_functions``).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from docdb.language.expression_core import fail, integer_of
from docdb.language.expression_date_arithmetic import UNITS, add_units
from docdb.language.expressions import field_path, read_path
from docdb.language.values import MISSING, is_number, type_name
from docdb.pipeline.context import Batch, Batches
from docdb.pipeline.stage import Builder, Stage, Variables, check_options, whole
from docdb.pipeline.stages_flow import with_path

__all__ = ["densify", "fill"]

_MOST_DOCUMENTS = 500_000


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

    def compute(documents: Batch, variables: Variables) -> Batch:
        groups: dict[bytes, Batch] = {}
        passed: Batch = []
        for document in documents:
            value = read_path(document, parts)
            if value is MISSING or value is None:
                passed.append(document)
                continue
            _check_value(value, unit)
            groups.setdefault(key([_null(read_path(document, path)) for path in partitions]), []).append(document)
        full = _full_bounds(documents, parts, limits)
        result = passed
        for place in sorted(groups):
            members = sorted(groups[place], key=lambda document: key(read_path(document, parts)))
            result = result + _densified(members, parts, partitions, full, step, unit, isinstance(limits, list))
            if len(result) > _MOST_DOCUMENTS:
                fail(f"$densify would make more than {_MOST_DOCUMENTS} documents", 5897900)
        return result

    return Stage(name, whole(compute), spec)


def _null(value: Any) -> Any:
    return None if value is MISSING else value


def _check_value(value: Any, unit: str | None) -> None:
    if unit is None and not is_number(value):
        fail(
            f"$densify without a unit is over numbers, not {type_name(value)}",
            5733201 if type(value) is not dt.datetime else 6053600,
        )
    if unit is not None and type(value) is not dt.datetime:
        fail(f"$densify with a unit is over dates, not {type_name(value)}", 6053600)


def _full_bounds(documents: Batch, parts: tuple[str, ...], limits: Any) -> tuple[Any, Any] | None:
    if isinstance(limits, list):
        return limits[0], limits[1]
    if limits == "partition":
        return None
    values = [
        value for document in documents if not ((value := read_path(document, parts)) is MISSING or value is None)
    ]
    return (min(values), max(values)) if values else None


def _densified(
    members: Batch,
    parts: tuple[str, ...],
    partitions: list[tuple[str, ...]],
    full: Any,
    step: Any,
    unit: str | None,
    explicit: bool,
) -> Batch:
    low, high = full or (read_path(members[0], parts), read_path(members[-1], parts))
    result: Batch = []
    count, at, value = 0, 0, low
    while (value < high) if explicit else (value <= high):
        while at < len(members) and read_path(members[at], parts) < value:
            result.append(members[at])
            at += 1
        if at < len(members) and read_path(members[at], parts) == value:
            while at < len(members) and read_path(members[at], parts) == value:
                result.append(members[at])
                at += 1
        else:
            # The document behind the gap lends its partition: under a collation its spelling may differ from the first one's.
            result.append(_made(members[min(at, len(members) - 1)], parts, partitions, value))
        count += 1
        if len(result) > _MOST_DOCUMENTS:
            break
        value = add_units(low, unit, count * int(step)) if unit else low + step * count
    return result + members[at:]


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

    def compute(documents: Batch, variables: Variables) -> Batch:
        flow: Batches = iter([documents])
        for stage in compiled:
            flow = stage.run(flow, variables)
        return [document for batch in flow for document in batch]

    return Stage(name, whole(compute), spec)
