"""Generated values, documents, filters, updates, expressions and pipelines, sensible and senseless.

What lives here: functions of a random.Random. What it must not know: what the inputs are for.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID

from docdb.language.values import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

NAMES: Final = (
    "a",
    "b",
    "c",
    "_id",
    "0",
    "1",
    "a.b",
    "a.0",
    "b.c.d",
    "",
    "$",
    "$a",
    "a.$",
    "a.$[]",
    "a.$[x]",
    "a..b",
    ".",
    "\0",
    "é",
    "$$ROOT",
    "$a.b",
    "$$x",
)
SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 5, 255, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.5, 1e300, float("inf"), float("nan"),
    Int64(3), Decimal("1.5"), Decimal("NaN"), Decimal("1E+6000"), "", "a", "$a", "$$NOW", "é", "x" * 300, "(", "a.*", "2024-01-01", "\0",
    b"", b"ab", Binary(b"x", 5), UUID(int=1), ObjectId("64b7f0c2a1b2c3d4e5f60718"), dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    dt.datetime(1, 1, 1, tzinfo=dt.UTC), Regex("a", "i"), Regex("(a+)+$"), Timestamp(1, 2), MinKey(), MaxKey(), [], {}, [[]], [1, 2],
)  # fmt: skip
ODD: Final[tuple[Any, ...]] = (
    object(),
    2**70,
    {1: 2},
    {"a": {1, 2}},
    "\ud800",
    dt.datetime(2024, 1, 1),
    (1, 2),
    1j,
    range(3),
)
FILTER: Final = (
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$type", "$size", "$all", "$elemMatch", "$not", "$mod", "$regex",
    "$options", "$bitsAllSet", "$bitsAnyClear", "$bitsAnySet", "$bitsAllClear", "$and", "$or", "$nor", "$expr", "$jsonSchema", "$comment",
    "$text", "$where", "$near", "$bogus", "$sampleRate", "$alwaysTrue",
)  # fmt: skip
UPDATE: Final = (
    "$set", "$unset", "$inc", "$mul", "$min", "$max", "$rename", "$push", "$pull", "$pullAll", "$addToSet", "$pop", "$bit", "$currentDate",
    "$setOnInsert", "$each", "$slice", "$sort", "$position", "$bogus",
)  # fmt: skip
EXPRESSION: Final = (
    "$add", "$subtract", "$multiply", "$divide", "$mod", "$abs", "$ceil", "$floor", "$round", "$trunc", "$pow", "$sqrt", "$exp", "$ln", "$log",
    "$concat", "$substr", "$substrCP", "$toUpper", "$strLenCP", "$split", "$trim", "$regexMatch", "$regexFind", "$indexOfCP", "$replaceAll",
    "$arrayElemAt", "$size", "$slice", "$filter", "$map", "$reduce", "$zip", "$range", "$concatArrays", "$in", "$indexOfArray", "$sortArray",
    "$reverseArray", "$first", "$last", "$firstN", "$maxN", "$objectToArray", "$arrayToObject", "$mergeObjects", "$getField", "$setField",
    "$cond", "$ifNull", "$switch", "$let", "$literal", "$and", "$or", "$not", "$eq", "$cmp", "$gt", "$type", "$convert", "$toInt", "$toString",
    "$toDate", "$toDouble", "$toDecimal", "$toObjectId", "$dateToString", "$dateFromString", "$dateAdd", "$dateDiff", "$dateTrunc", "$year",
    "$dayOfWeek", "$dateToParts", "$dateFromParts", "$setUnion", "$setDifference", "$setIsSubset", "$anyElementTrue", "$sum", "$avg", "$max",
    "$stdDevPop", "$bitAnd", "$bsonSize", "$isNumber", "$rand", "$strcasecmp", "$sin", "$bogus",
)  # fmt: skip
ARGUMENTS: Final = (
    "input", "as", "in", "cond", "if", "then", "else", "branches", "case", "default", "vars", "date", "unit", "amount", "format", "dateString",
    "startDate", "endDate", "timezone", "to", "onError", "onNull", "find", "replacement", "regex", "options", "initialValue", "inputs", "field",
    "value", "sortBy", "n", "year", "month", "day", "hour", "binSize", "defaults", "useLongestLength", "chars",
)  # fmt: skip
STAGES: Final = (
    "$match", "$project", "$addFields", "$set", "$unset", "$group", "$sort", "$limit", "$skip", "$unwind", "$lookup", "$unionWith", "$facet",
    "$bucket", "$bucketAuto", "$sortByCount", "$count", "$replaceRoot", "$replaceWith", "$sample", "$redact", "$graphLookup", "$densify",
    "$fill", "$setWindowFields", "$documents", "$bogus", "$geoNear",
)  # fmt: skip
STAGE_FIELDS: Final = (
    "_id", "path", "from", "localField", "foreignField", "as", "let", "pipeline", "coll", "groupBy", "boundaries", "default", "output", "buckets",
    "newRoot", "size", "startWith", "connectFromField", "connectToField", "maxDepth", "field", "range", "step", "bounds", "unit", "sortBy",
    "partitionBy", "window", "documents", "includeArrayIndex", "preserveNullAndEmptyArrays", "method", "value", "granularity",
)  # fmt: skip


def value(chance: Random, depth: int = 3) -> Any:
    """Return a value, sometimes one that cannot be stored."""
    kind = chance.random()
    if kind < 0.02:
        return chance.choice(ODD)
    if depth and kind < 0.2:
        return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if depth and kind < 0.4:
        return {chance.choice(NAMES[:10]): value(chance, depth - 1) for _ in range(chance.randrange(4))}
    return chance.choice(SCALARS)


def stored(chance: Random, depth: int = 3) -> Any:
    """Return a value that can be stored."""
    kind = chance.random()
    if depth and kind < 0.25:
        return [stored(chance, depth - 1) for _ in range(chance.randrange(4))]
    if depth and kind < 0.5:
        return {
            chance.choice(("a", "b", "c", "0", "1", "")): stored(chance, depth - 1) for _ in range(chance.randrange(4))
        }
    return chance.choice(SCALARS)


def document(chance: Random) -> dict[str, Any]:
    """Return a document that can be stored."""
    made = {name: stored(chance) for name in ("a", "b", "c") if chance.random() < 0.7}
    return {"_id": chance.randrange(1000), **made}


def filter(chance: Random, depth: int = 3) -> Any:
    """Return a filter, or what nearly is one."""
    if chance.random() < 0.02:
        return value(chance)
    return {
        name: _condition(chance, depth, name)
        for name in (_name(chance, FILTER[-12:]) for _ in range(chance.randrange(3)))
    }


def _name(chance: Random, operators: tuple[str, ...]) -> str:
    return (
        chance.choice(operators)
        if chance.random() < 0.3
        else chance.choice(NAMES[:9] if chance.random() < 0.9 else NAMES)
    )


def _condition(chance: Random, depth: int, name: str) -> Any:
    if name in ("$and", "$or", "$nor"):
        return [filter(chance, depth - 1) for _ in range(chance.randrange(1, 4))] if depth > 0 else [{}]
    if name == "$expr":
        return expression(chance, depth)
    if depth <= 0 or chance.random() < 0.3:
        return value(chance)
    return {
        op: _operand(chance, depth, op) for op in (chance.choice(FILTER[:21]) for _ in range(chance.randrange(1, 3)))
    }


def _operand(chance: Random, depth: int, op: str) -> Any:
    kind = chance.random()
    if op in ("$in", "$nin", "$all", "$mod") and kind < 0.9:
        return [value(chance, 1) for _ in range(chance.randrange(4))]
    if op in ("$not", "$elemMatch") and kind < 0.9:
        return _condition(chance, depth - 1, "a") if kind < 0.5 else filter(chance, depth - 1)
    return value(chance, 2)


def update(chance: Random) -> Any:
    """Return an update, or what nearly is one."""
    kind = chance.random()
    if kind < 0.05:
        return value(chance)
    if kind < 0.15:
        return pipeline(chance, 1)
    return {
        op: _fields(chance) if chance.random() < 0.95 else value(chance)
        for op in (chance.choice(UPDATE) for _ in range(chance.randrange(1, 3)))
    }


def _fields(chance: Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(chance.randrange(1, 3)):
        operand = value(chance, 2)
        if chance.random() < 0.2:
            operand = {
                name: value(chance, 1)
                for name in chance.sample(("$each", "$slice", "$sort", "$position", "and", "or", "$type"), 2)
            }
        made[chance.choice(NAMES if chance.random() < 0.3 else NAMES[:9])] = operand
    return made


def expression(chance: Random, depth: int = 3) -> Any:
    """Return an expression, or what nearly is one."""
    kind = chance.random()
    if depth <= 0 or kind < 0.25:
        return chance.choice(("$a", "$b", "$c.a", "$$ROOT", "$_id", "$$NOW")) if kind < 0.12 else value(chance, 1)
    operator = chance.choice(EXPRESSION)
    if kind < 0.5:
        return {operator: expression(chance, depth - 1)}
    if kind < 0.8:
        return {operator: [expression(chance, depth - 1) for _ in range(chance.randrange(4))]}
    return {
        operator: {name: expression(chance, depth - 1) for name in chance.sample(ARGUMENTS, chance.randrange(1, 5))}
    }


def projection(chance: Random) -> Any:
    """Return a projection, or what nearly is one."""
    if chance.random() < 0.05:
        return value(chance)
    choices = (1, 0, True, {"$slice": 1}, {"$slice": [1, 2]}, {"$elemMatch": {"a": 1}}, {"$meta": "x"}, "$a")
    return {
        chance.choice(NAMES): expression(chance, 2) if chance.random() < 0.2 else chance.choice(choices)
        for _ in range(chance.randrange(4))
    }


def sort(chance: Random) -> Any:
    """Return a sort, or what nearly is one."""
    if chance.random() < 0.2:
        return value(chance)
    return [
        (chance.choice(NAMES), chance.choice((1, -1, 1, -1, 0, 1.0, "asc", None, {"$meta": "textScore"})))
        for _ in range(chance.randrange(4))
    ]


def pipeline(chance: Random, depth: int = 2) -> Any:
    """Return a pipeline, or what nearly is one."""
    if chance.random() < 0.03:
        return value(chance)
    return [{(name := chance.choice(STAGES)): _stage(chance, name, depth)} for _ in range(chance.randrange(4))]


def _stage(chance: Random, name: str, depth: int) -> Any:
    kind = chance.random()
    if kind < 0.1:
        return value(chance)
    if name == "$match":
        return filter(chance)
    if name in ("$limit", "$skip", "$count", "$unwind", "$unset", "$sortByCount") and kind < 0.8:
        return chance.choice((1, 2, 0, "$a", "a", ["a", "b"], "$b.c"))
    if name in ("$project", "$addFields", "$set"):
        return projection(chance) if kind < 0.6 else {chance.choice("abc"): expression(chance)}
    if name == "$sort":
        return {chance.choice(NAMES): chance.choice((1, -1, 0, None))} if kind < 0.3 else {"a": 1, "_id": -1}
    if name == "$facet" and depth:
        return {"x": pipeline(chance, depth - 1)}
    if name == "$group":
        return {
            "_id": expression(chance, 2),
            "n": {
                chance.choice(("$sum", "$avg", "$push", "$first", "$maxN", "$addToSet", "$top")): expression(chance, 2)
            },
        }
    fields: dict[str, Any] = {
        field: expression(chance, 1) for field in chance.sample(STAGE_FIELDS, chance.randrange(1, 6))
    }
    if depth and chance.random() < 0.5:
        fields["pipeline"] = pipeline(chance, depth - 1)
    return fields
