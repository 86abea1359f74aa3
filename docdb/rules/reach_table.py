"""What every operator, stage and option reads and writes: the one table that security rests on.

What lives here: the tables, sorted, one row a name, and the meaning of a row. What it must not know: how a row is followed (``fields``, ``reach``).
What has no row is refused; a test fails when the engine knows a name that has none, or a row names what the engine no longer knows.

A row says what stands in an argument:

    accumulator    an accumulator
    accumulators   an object of accumulators by the name of the field they make
    chance         nothing, and the answer is another one each time
    collection     the name of a collection whose documents are read
    data           values that are not looked into
    element        conditions on an element of the array at the field
    elements       values, or $elemMatch
    expression     an expression; its field paths are read
    field          a path without $
    filling        an object of values and methods by the name of the field they fill
    filter         a filter document
    filters        an array of them
    foreign field  a path in the documents of that collection
    foreign filter    a filter of them
    foreign pipeline    stages over them
    index          what an index holds: the fields of its keys
    key            an expression that documents are compared by
    key field      the same, as a path without $
    key fields     an array of such paths
    metadata       what is known of a document beside its fields
    name           $getField: an expression, or the constant name of a field
    nothing        numbers, names of modes
    output         a collection that is written to
    pipeline       stages over the same documents
    place          a geometry; without a field of its own the geographic index says which is read
    refused        JavaScript, which does not exist here
    same field     conditions on the same field
    projection     a find's projection
    server         what only an administrator sees
    sort           a sort document
    sorted         the object of an accumulator that sorts: sortBy is a sort document
    target         a path that is written
    update         operators of an update, or a pipeline
    value          data that is compared with the field
    whole          the document with everything in it
    windows        an object of window functions
    words          a text search: the fields of the text index are read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ACCUMULATORS", "EXPRESSIONS", "FIELD_FILTERS", "FILTERS", "METADATA", "OPERATIONS", "PROJECTIONS", "STAGES", "StageRow",
    "UPDATES", "WINDOW_FUNCTIONS",
]  # fmt: skip

# Top-level operators of a filter.
FILTERS: Final[dict[str, str]] = {
    "$alwaysFalse": "nothing",
    "$alwaysTrue": "nothing",
    "$and": "filters",
    "$comment": "nothing",
    "$expr": "expression",
    "$jsonSchema": "whole",
    "$nor": "filters",
    "$or": "filters",
    "$sampleRate": "chance",
    "$text": "words",
}

# Operators of one field; $maxDistance and its kin stand beside $near.
FIELD_FILTERS: Final[dict[str, str]] = {
    "$all": "elements",
    "$bitsAllClear": "value",
    "$bitsAllSet": "value",
    "$bitsAnyClear": "value",
    "$bitsAnySet": "value",
    "$elemMatch": "element",
    "$eq": "value",
    "$exists": "value",
    "$geoIntersects": "value",
    "$geoNear": "value",
    "$geoWithin": "value",
    "$gt": "value",
    "$gte": "value",
    "$in": "value",
    "$lt": "value",
    "$lte": "value",
    "$maxDistance": "value",
    "$minDistance": "value",
    "$mod": "value",
    "$ne": "value",
    "$near": "value",
    "$nearSphere": "value",
    "$nin": "value",
    "$not": "same field",
    "$options": "value",
    "$regex": "value",
    "$size": "value",
    "$type": "value",
    "$uniqueDocs": "value",
    "$within": "value",
}

# Update operators. ``blind``: what is stored there is not looked at, beyond whether it is the same already. ``reads``: the result depends on what
# is stored there. ``moves``: the value is taken from the path and put where the argument says.
UPDATES: Final[dict[str, str]] = {
    "$addToSet": "reads",
    "$bit": "reads",
    "$currentDate": "blind",
    "$inc": "reads",
    "$max": "reads",
    "$min": "reads",
    "$mul": "reads",
    "$pop": "reads",
    "$pull": "reads",
    "$pullAll": "reads",
    "$push": "reads",
    "$rename": "moves",
    "$set": "blind",
    "$setOnInsert": "blind",
    "$unset": "blind",
}

# Operators of a find's projection, beside expressions.
PROJECTIONS: Final[dict[str, str]] = {"$elemMatch": "element", "$meta": "metadata", "$slice": "nothing"}

_ONLY_PARTS: Final = (
    "$abs", "$acos", "$acosh", "$add", "$allElementsTrue", "$and", "$anyElementTrue", "$arrayElemAt", "$arrayToObject", "$asin", "$asinh",
    "$atan", "$atan2", "$atanh", "$avg", "$binarySize", "$bitAnd", "$bitNot", "$bitOr", "$bitXor", "$bsonSize", "$ceil", "$cmp", "$concat",
    "$concatArrays", "$cond", "$convert", "$cos", "$cosh", "$dateAdd", "$dateDiff", "$dateFromParts", "$dateFromString", "$dateSubtract",
    "$dateToParts", "$dateToString", "$dateTrunc", "$dayOfMonth", "$dayOfWeek", "$dayOfYear", "$degreesToRadians", "$divide", "$eq", "$exp",
    "$filter", "$first", "$firstN", "$floor", "$gt", "$gte", "$hour", "$ifNull", "$in", "$indexOfArray", "$indexOfBytes", "$indexOfCP",
    "$isArray", "$isNumber", "$isoDayOfWeek", "$isoWeek", "$isoWeekYear", "$last", "$lastN", "$let", "$ln", "$log", "$log10", "$lt", "$lte",
    "$ltrim", "$map", "$max", "$maxN", "$median", "$mergeObjects", "$millisecond", "$min", "$minN", "$minute", "$mod", "$month", "$multiply",
    "$ne", "$not", "$objectToArray", "$or", "$percentile", "$pow", "$radiansToDegrees", "$range", "$reduce", "$regexFind", "$regexFindAll",
    "$regexMatch", "$replaceAll", "$replaceOne", "$reverseArray", "$round", "$rtrim", "$second", "$setDifference", "$setEquals", "$setField",
    "$setIntersection", "$setIsSubset", "$setUnion", "$sigmoid", "$sin", "$sinh", "$size", "$slice", "$sortArray", "$split", "$sqrt",
    "$stdDevPop", "$stdDevSamp", "$strLenBytes", "$strLenCP", "$strcasecmp", "$substr", "$substrBytes", "$substrCP", "$subtract", "$sum",
    "$switch", "$tan", "$tanh", "$toArray", "$toBool", "$toDate", "$toDecimal", "$toDouble", "$toInt", "$toLong", "$toLower", "$toObject",
    "$toObjectId", "$toString", "$toUUID", "$toUpper", "$trim", "$trunc", "$tsIncrement", "$tsSecond", "$type", "$unsetField", "$week", "$year",
    "$zip",
)  # fmt: skip

# Operators of expressions. Nearly all read what the expressions in their argument read, named or not, and nothing else.
EXPRESSIONS: Final[dict[str, str]] = dict(
    sorted(
        {
            **dict.fromkeys(_ONLY_PARTS, "expression"),
            "$const": "data",
            "$getField": "name",
            "$literal": "data",
            "$meta": "metadata",
            "$rand": "chance",
            "$sampleRate": "chance",
        }.items()
    )
)

# What $meta asks for.
METADATA: Final[dict[str, str]] = {
    "geoNearDistance": "place",
    "geoNearPoint": "place",
    "indexKey": "index",
    "randVal": "chance",
    "score": "nothing",
    "scoreDetails": "nothing",
    "searchHighlights": "nothing",
    "searchScore": "nothing",
    "searchScoreDetails": "nothing",
    "searchSequenceToken": "nothing",
    "textScore": "words",
    "vectorSearchScore": "nothing",
}

ACCUMULATORS: Final[dict[str, str]] = {
    "$accumulator": "refused",
    "$addToSet": "expression",
    "$avg": "expression",
    "$bottom": "sorted",
    "$bottomN": "sorted",
    "$concatArrays": "expression",
    "$count": "nothing",
    "$first": "expression",
    "$firstN": "expression",
    "$last": "expression",
    "$lastN": "expression",
    "$max": "expression",
    "$maxN": "expression",
    "$median": "expression",
    "$mergeObjects": "expression",
    "$min": "expression",
    "$minN": "expression",
    "$percentile": "expression",
    "$push": "expression",
    "$setUnion": "expression",
    "$stdDevPop": "expression",
    "$stdDevSamp": "expression",
    "$sum": "expression",
    "$top": "sorted",
    "$topN": "sorted",
}

# What exists in $setWindowFields alone; all of it reads the stage's sortBy, too.
WINDOW_FUNCTIONS: Final[dict[str, str]] = {
    "$covariancePop": "expression",
    "$covarianceSamp": "expression",
    "$denseRank": "nothing",
    "$derivative": "expression",
    "$documentNumber": "nothing",
    "$expMovingAvg": "expression",
    "$integral": "expression",
    "$linearFill": "expression",
    "$locf": "expression",
    "$minMaxScaler": "expression",
    "$rank": "nothing",
    "$shift": "expression",
}


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage: what stands in its argument, or in each option of it; ``*`` is any other name.

    ``leaves`` tells what documents look like behind it: ``same`` (as before, but for targets), ``made`` (nothing is left of a field as it was),
    ``shaped`` (what its specification says).
    """

    argument: str | None = None
    options: Mapping[str, str] | None = None
    leaves: str = "same"


STAGES: Final[dict[str, StageRow]] = {
    "$addFields": StageRow("expression", leaves="shaped"),
    "$bucket": StageRow(
        options={"boundaries": "expression", "default": "expression", "groupBy": "key", "output": "accumulators"},
        leaves="made",
    ),
    "$bucketAuto": StageRow(
        options={"buckets": "nothing", "granularity": "nothing", "groupBy": "key", "output": "accumulators"},
        leaves="made",
    ),
    "$collStats": StageRow("server", leaves="made"),
    "$count": StageRow("nothing", leaves="made"),
    "$densify": StageRow(options={"field": "key field", "partitionByFields": "key fields", "range": "nothing"}),
    "$documents": StageRow("expression", leaves="made"),
    "$facet": StageRow(options={"*": "pipeline"}, leaves="made"),
    "$fill": StageRow(
        options={"output": "filling", "partitionBy": "key", "partitionByFields": "key fields", "sortBy": "sort"}
    ),
    "$geoNear": StageRow(
        options={
            "distanceField": "target",
            "distanceMultiplier": "nothing",
            "includeLocs": "target",
            "key": "key field",
            "maxDistance": "expression",
            "minDistance": "expression",
            "near": "place",
            "query": "filter",
            "spherical": "nothing",
            "uniqueDocs": "nothing",
        }
    ),
    "$graphLookup": StageRow(
        options={
            "as": "target",
            "connectFromField": "foreign field",
            "connectToField": "foreign field",
            "depthField": "nothing",
            "from": "collection",
            "maxDepth": "nothing",
            "restrictSearchWithMatch": "foreign filter",
            "startWith": "expression",
        }
    ),
    "$group": StageRow(options={"*": "accumulator", "_id": "key"}, leaves="made"),
    "$indexStats": StageRow("server", leaves="made"),
    "$limit": StageRow("nothing"),
    "$lookup": StageRow(
        options={
            "as": "target",
            "foreignField": "foreign field",
            "from": "collection",
            "let": "expression",
            "localField": "field",
            "pipeline": "foreign pipeline",
        }
    ),
    "$match": StageRow("filter"),
    "$merge": StageRow(
        options={
            "into": "output",
            "let": "expression",
            "on": "foreign field",
            "whenMatched": "foreign pipeline",
            "whenNotMatched": "nothing",
        }
    ),
    "$out": StageRow(options={"coll": "output", "db": "nothing", "timeseries": "nothing"}),
    "$project": StageRow("expression", leaves="shaped"),
    "$redact": StageRow("expression"),
    "$replaceRoot": StageRow(options={"newRoot": "expression"}, leaves="shaped"),
    "$replaceWith": StageRow("expression", leaves="shaped"),
    "$sample": StageRow(options={"size": "chance"}),
    "$set": StageRow("expression", leaves="shaped"),
    "$setWindowFields": StageRow(options={"output": "windows", "partitionBy": "key", "sortBy": "sort"}),
    "$skip": StageRow("nothing"),
    "$sort": StageRow("sort"),
    "$sortByCount": StageRow("key", leaves="made"),
    "$unionWith": StageRow(options={"coll": "collection", "pipeline": "foreign pipeline"}),
    "$unset": StageRow("nothing", leaves="shaped"),
    "$unwind": StageRow(
        options={"includeArrayIndex": "target", "path": "expression", "preserveNullAndEmptyArrays": "nothing"}
    ),
}

# Options of calls, by what carries them through the floors: what a Session takes.
OPERATIONS: Final[dict[str, dict[str, str]]] = {
    "DeleteOp": {"collation": "nothing", "filter": "filter", "hint": "index", "let": "expression", "multi": "nothing"},
    "FindAndModifyOp": {
        "array_filters": "element",
        "collation": "nothing",
        "filter": "filter",
        "hint": "index",
        "let": "expression",
        "merge": "nothing",
        "projection": "projection",
        "remove": "nothing",
        "replacement": "data",
        "return_new": "nothing",
        "sort": "sort",
        "update": "update",
        "upsert": "nothing",
    },
    "FindQuery": {
        "after": "nothing",
        "carries": "nothing",
        "collation": "nothing",
        "fields": "projection",
        "filter": "filter",
        "hint": "index",
        "let": "expression",
        "limit": "nothing",
        "max": "index",
        "metadata": "metadata",
        "min": "index",
        "names": "nothing",
        "node": "filter",
        "projection": "projection",
        "return_key": "index",
        "simple": "nothing",
        "skip": "nothing",
        "sort": "sort",
    },
    "InsertOp": {"document": "data"},
    "ReplaceOp": {
        "collation": "nothing",
        "filter": "filter",
        "hint": "index",
        "let": "expression",
        "replacement": "data",
        "sort": "sort",
        "upsert": "nothing",
    },
    "UpdateOp": {
        "array_filters": "element",
        "collation": "nothing",
        "filter": "filter",
        "hint": "index",
        "let": "expression",
        "merge": "nothing",
        "multi": "nothing",
        "sort": "sort",
        "update": "update",
        "upsert": "nothing",
    },
    "aggregate": {
        "collation": "nothing",
        "hint": "index",
        "let": "expression",
        "max_time_ms": "nothing",
        "name": "collection",
        "pipeline": "pipeline",
    },
    "distinct": {
        "max_time_ms": "nothing",
        "name": "collection",
        "path": "key field",
        "query": "FindQuery",
    },
}
