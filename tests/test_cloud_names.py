"""Every operator and stage of the cloud service has a builder. Its clients declare 14 operators and 6 stages that they lack; these have one too.

The tables are here; where the specification lies beside the repository they are compared with its text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import docdb
from docdb.faces.aggregation import PipelineBuilder
from docdb.language.expressions import OPERATORS
from docdb.pipeline.accumulators import ACCUMULATORS
from docdb.pipeline.runner import STAGES as KNOWN_STAGES

SPECIFICATION = Path(__file__).resolve().parents[2] / "shared" / "spec" / "cloudbase-database.md"
WORKING = re.findall(
    r"\w+",
    """
    abs add addToSet allElementsTrue and anyElementTrue arrayElemAt arrayToObject avg ceil cmp concat concatArrays cond dateFromParts
    dateFromString dateToString dayOfMonth dayOfWeek dayOfYear divide eq exp filter first floor gt gte hour ifNull in indexOfArray
    indexOfBytes indexOfCP isArray isoDayOfWeek isoWeek isoWeekYear last let literal ln log log10 lt lte map max mergeObjects meta
    millisecond min minute mod month multiply neq not objectToArray or pow push range reduce reverseArray second setDifference setEquals
    setIntersection setIsSubset setUnion size slice split sqrt stdDevPop stdDevSamp strLenBytes strLenCP strcasecmp substr substrBytes
    substrCP subtract sum switch toLower toUpper trunc week year zip
    """,
)
DECLARED = re.findall(
    r"\w+",
    "convert dateToParts ltrim rtrim toBool toDate toDecimal toDouble toInt toLong toObjectId toString trim type",
)
SPELLED_OTHERWISE = {"neq": "$ne"}
# Stage -> what its builder is called with, and the stage that comes of it.
STAGES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "addFields": (({"b": 1},), {"b": 1}),
    "bucket": (({"groupBy": "$a", "boundaries": [0, 1]},), {"groupBy": "$a", "boundaries": [0, 1]}),
    "bucketAuto": (({"groupBy": "$a", "buckets": 2},), {"groupBy": "$a", "buckets": 2}),
    "count": (("n",), "n"),
    "geoNear": (({"near": [0, 0], "distanceField": "d"},), {"near": [0, 0], "distanceField": "d"}),
    "group": (({"_id": "$a"},), {"_id": "$a"}),
    "limit": ((3,), 3),
    "lookup": (({"from": "b", "localField": "x", "foreignField": "y", "as": "z"},), {"from": "b", "localField": "x", "foreignField": "y", "as": "z"}),
    "match": (({"a": docdb.command.gt(1)},), {"a": {"$gt": 1}}),
    "project": (({"a": 1},), {"a": 1}),
    "replaceRoot": (({"newRoot": "$a"},), {"newRoot": "$a"}),
    "sample": (({"size": 2},), {"size": 2}),
    "skip": ((3,), 3),
    "sort": (({"a": -1},), {"a": -1}),
    "sortByCount": (("$a",), "$a"),
    "unwind": (("$a",), "$a"),
}  # fmt: skip
DECLARED_STAGES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "collStats": (({"count": {}},), {"count": {}}),
    "facet": (({"a": [{"$limit": 1}]},), {"a": [{"$limit": 1}]}),
    "graphLookup": (({"from": "b"},), {"from": "b"}),
    "indexStats": ((), {}),
    "out": (("b",), "b"),
    "redact": (("$$KEEP",), "$$KEEP"),
}


def builder_of(name: str) -> str:
    """Return the name in Python of a name in JavaScript."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=CP)$", "_", name).lower().rstrip("_")
    return f"{snake}_" if snake in ("and", "in", "not", "or") else snake


@pytest.mark.parametrize("name", WORKING + DECLARED)
def test_every_operator_has_a_builder_and_is_known(name: str) -> None:
    operator = SPELLED_OTHERWISE.get(name, f"${name}")
    assert getattr(docdb.command.aggregate, builder_of(name))("$x") == {operator: "$x"}
    assert operator in OPERATORS or operator in ACCUMULATORS


@pytest.mark.parametrize("name", [*STAGES, *DECLARED_STAGES])
def test_every_stage_has_a_builder_and_is_known(name: str) -> None:
    given, operand = (STAGES | DECLARED_STAGES)[name]
    assert getattr(PipelineBuilder(), builder_of(name))(*given).done() == [{f"${name}": operand}]
    assert f"${name}" in KNOWN_STAGES


def test_there_are_92_operators_and_14() -> None:
    assert (len(set(WORKING)), len(set(DECLARED)), len({*WORKING, *DECLARED})) == (92, 14, 106)


specification = pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification is not here")


def section(number: str) -> str:
    """Return a section of the specification, up to the next heading."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    return text.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def cells(number: str, *places: int) -> list[str]:
    """Return the cells of these columns of a section's table, without its head."""
    rows = [line.strip("| ").split(" | ") for line in section(number).splitlines() if line.startswith("| ")]
    return [row[place].strip() for row in rows[1:] for place in places if place < len(row)]


def names_in(text: str) -> list[str]:
    return [word for word in re.split(r"[ ,/]+", text) if re.fullmatch(r"[a-z][A-Za-z0-9]*", word)]


@specification
def test_the_operators_are_those_of_the_specification() -> None:
    assert sorted(name for cell in cells("A6", 0, 2) for name in names_in(cell)) == sorted(WORKING)
    missing = re.search(r"missing at runtime\*\* \(calling throws\): ([^.]+)\.", section("A6"))
    assert missing is not None
    assert sorted(names_in(missing[1])) == sorted(DECLARED)


@specification
def test_the_stages_are_those_of_the_specification() -> None:
    *working, declared = cells("A5", 0)
    assert {name for cell in working for name in re.findall(r"(\w+)\(", cell)} - {"end"} == set(STAGES)
    assert names_in(declared) == sorted(DECLARED_STAGES, key=names_in(declared).index)
