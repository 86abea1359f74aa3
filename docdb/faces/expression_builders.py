"""Builders of aggregation expressions: ``command.aggregate``.

What lives here: one callable per operator, sorted by name; each returns a plain document, so ``agg.gte(x)`` is
``{"$gte": x}`` and goes wherever that goes. What it must not know: what an operator means
(``language/expressions.py``).

>>> aggregate.sum("$amount"), aggregate.add("$a", "$b"), aggregate.filter(input="$xs", as_="x", cond=True)
({'$sum': '$amount'}, {'$add': ['$a', '$b']}, {'$filter': {'input': '$xs', 'as': 'x', 'cond': True}})
"""

from __future__ import annotations

from typing import Any, Final

from docdb.errors import QueryError
from docdb.faces.aggregation import PipelineBuilder

__all__ = ["Aggregate", "Operator", "aggregate"]


class Operator:
    """One operator. Called with one operand it takes that as it is, with several their list, with names a document of them.

    Names are written in snake_case: ``date_string=`` is ``dateString``, ``as_=`` and ``in_=`` are ``as`` and ``in``.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *operands: Any, **named: Any) -> dict[str, Any]:
        if operands and named:
            raise QueryError("operands by place and by name do not mix", path=self.name)
        if named:
            return {self.name: {_camel(name): value for name, value in named.items()}}
        if not operands:
            return {self.name: {}}
        return {self.name: operands[0] if len(operands) == 1 else list(operands)}

    def __repr__(self) -> str:
        return f"<builder of {self.name}>"


def _camel(name: str) -> str:
    first, *others = name.rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in others)


class Aggregate:
    """Every expression operator and accumulator by its name in snake_case; ``pipeline()`` begins a list of stages."""

    __slots__ = ()

    def pipeline(self) -> PipelineBuilder:
        """Return an empty pipeline; ``done()`` gives the list of stages for ``lookup(pipeline=...)``."""
        return PipelineBuilder()

    abs: Final = Operator("$abs")
    acos: Final = Operator("$acos")
    acosh: Final = Operator("$acosh")
    add: Final = Operator("$add")
    add_to_set: Final = Operator("$addToSet")
    all_elements_true: Final = Operator("$allElementsTrue")
    and_: Final = Operator("$and")
    any_element_true: Final = Operator("$anyElementTrue")
    array_elem_at: Final = Operator("$arrayElemAt")
    array_to_object: Final = Operator("$arrayToObject")
    asin: Final = Operator("$asin")
    asinh: Final = Operator("$asinh")
    atan: Final = Operator("$atan")
    atan2: Final = Operator("$atan2")
    atanh: Final = Operator("$atanh")
    avg: Final = Operator("$avg")
    binary_size: Final = Operator("$binarySize")
    bit_and: Final = Operator("$bitAnd")
    bit_not: Final = Operator("$bitNot")
    bit_or: Final = Operator("$bitOr")
    bit_xor: Final = Operator("$bitXor")
    bottom: Final = Operator("$bottom")
    bottom_n: Final = Operator("$bottomN")
    bson_size: Final = Operator("$bsonSize")
    ceil: Final = Operator("$ceil")
    cmp: Final = Operator("$cmp")
    concat: Final = Operator("$concat")
    concat_arrays: Final = Operator("$concatArrays")
    cond: Final = Operator("$cond")
    convert: Final = Operator("$convert")
    cos: Final = Operator("$cos")
    cosh: Final = Operator("$cosh")
    count: Final = Operator("$count")
    covariance_pop: Final = Operator("$covariancePop")
    covariance_samp: Final = Operator("$covarianceSamp")
    date_add: Final = Operator("$dateAdd")
    date_diff: Final = Operator("$dateDiff")
    date_from_parts: Final = Operator("$dateFromParts")
    date_from_string: Final = Operator("$dateFromString")
    date_subtract: Final = Operator("$dateSubtract")
    date_to_parts: Final = Operator("$dateToParts")
    date_to_string: Final = Operator("$dateToString")
    date_trunc: Final = Operator("$dateTrunc")
    day_of_month: Final = Operator("$dayOfMonth")
    day_of_week: Final = Operator("$dayOfWeek")
    day_of_year: Final = Operator("$dayOfYear")
    degrees_to_radians: Final = Operator("$degreesToRadians")
    dense_rank: Final = Operator("$denseRank")
    derivative: Final = Operator("$derivative")
    divide: Final = Operator("$divide")
    document_number: Final = Operator("$documentNumber")
    eq: Final = Operator("$eq")
    exp: Final = Operator("$exp")
    exp_moving_avg: Final = Operator("$expMovingAvg")
    filter: Final = Operator("$filter")
    first: Final = Operator("$first")
    first_n: Final = Operator("$firstN")
    floor: Final = Operator("$floor")
    get_field: Final = Operator("$getField")
    gt: Final = Operator("$gt")
    gte: Final = Operator("$gte")
    hour: Final = Operator("$hour")
    if_null: Final = Operator("$ifNull")
    in_: Final = Operator("$in")
    index_of_array: Final = Operator("$indexOfArray")
    index_of_bytes: Final = Operator("$indexOfBytes")
    index_of_cp: Final = Operator("$indexOfCP")
    integral: Final = Operator("$integral")
    is_array: Final = Operator("$isArray")
    is_number: Final = Operator("$isNumber")
    iso_day_of_week: Final = Operator("$isoDayOfWeek")
    iso_week: Final = Operator("$isoWeek")
    iso_week_year: Final = Operator("$isoWeekYear")
    last: Final = Operator("$last")
    last_n: Final = Operator("$lastN")
    let: Final = Operator("$let")
    linear_fill: Final = Operator("$linearFill")
    literal: Final = Operator("$literal")
    ln: Final = Operator("$ln")
    locf: Final = Operator("$locf")
    log: Final = Operator("$log")
    log10: Final = Operator("$log10")
    lt: Final = Operator("$lt")
    lte: Final = Operator("$lte")
    ltrim: Final = Operator("$ltrim")
    map: Final = Operator("$map")
    max: Final = Operator("$max")
    max_n: Final = Operator("$maxN")
    median: Final = Operator("$median")
    merge_objects: Final = Operator("$mergeObjects")
    meta: Final = Operator("$meta")
    millisecond: Final = Operator("$millisecond")
    min: Final = Operator("$min")
    min_n: Final = Operator("$minN")
    minute: Final = Operator("$minute")
    mod: Final = Operator("$mod")
    month: Final = Operator("$month")
    multiply: Final = Operator("$multiply")
    neq: Final = Operator("$ne")
    not_: Final = Operator("$not")
    object_to_array: Final = Operator("$objectToArray")
    or_: Final = Operator("$or")
    percentile: Final = Operator("$percentile")
    pow: Final = Operator("$pow")
    push: Final = Operator("$push")
    radians_to_degrees: Final = Operator("$radiansToDegrees")
    rand: Final = Operator("$rand")
    range: Final = Operator("$range")
    rank: Final = Operator("$rank")
    reduce: Final = Operator("$reduce")
    regex_find: Final = Operator("$regexFind")
    regex_find_all: Final = Operator("$regexFindAll")
    regex_match: Final = Operator("$regexMatch")
    replace_all: Final = Operator("$replaceAll")
    replace_one: Final = Operator("$replaceOne")
    reverse_array: Final = Operator("$reverseArray")
    round: Final = Operator("$round")
    rtrim: Final = Operator("$rtrim")
    sample_rate: Final = Operator("$sampleRate")
    second: Final = Operator("$second")
    set_difference: Final = Operator("$setDifference")
    set_equals: Final = Operator("$setEquals")
    set_field: Final = Operator("$setField")
    set_intersection: Final = Operator("$setIntersection")
    set_is_subset: Final = Operator("$setIsSubset")
    set_union: Final = Operator("$setUnion")
    shift: Final = Operator("$shift")
    sin: Final = Operator("$sin")
    sinh: Final = Operator("$sinh")
    size: Final = Operator("$size")
    slice: Final = Operator("$slice")
    sort_array: Final = Operator("$sortArray")
    split: Final = Operator("$split")
    sqrt: Final = Operator("$sqrt")
    std_dev_pop: Final = Operator("$stdDevPop")
    std_dev_samp: Final = Operator("$stdDevSamp")
    str_len_bytes: Final = Operator("$strLenBytes")
    str_len_cp: Final = Operator("$strLenCP")
    strcasecmp: Final = Operator("$strcasecmp")
    substr: Final = Operator("$substr")
    substr_bytes: Final = Operator("$substrBytes")
    substr_cp: Final = Operator("$substrCP")
    subtract: Final = Operator("$subtract")
    sum: Final = Operator("$sum")
    switch: Final = Operator("$switch")
    tan: Final = Operator("$tan")
    tanh: Final = Operator("$tanh")
    to_bool: Final = Operator("$toBool")
    to_date: Final = Operator("$toDate")
    to_decimal: Final = Operator("$toDecimal")
    to_double: Final = Operator("$toDouble")
    to_hashed_index_key: Final = Operator("$toHashedIndexKey")
    to_int: Final = Operator("$toInt")
    to_long: Final = Operator("$toLong")
    to_lower: Final = Operator("$toLower")
    to_object_id: Final = Operator("$toObjectId")
    to_string: Final = Operator("$toString")
    to_upper: Final = Operator("$toUpper")
    to_uuid: Final = Operator("$toUUID")
    top: Final = Operator("$top")
    top_n: Final = Operator("$topN")
    trim: Final = Operator("$trim")
    trunc: Final = Operator("$trunc")
    ts_increment: Final = Operator("$tsIncrement")
    ts_second: Final = Operator("$tsSecond")
    type: Final = Operator("$type")
    unset_field: Final = Operator("$unsetField")
    week: Final = Operator("$week")
    year: Final = Operator("$year")
    zip: Final = Operator("$zip")


aggregate: Final = Aggregate()
