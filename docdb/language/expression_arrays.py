"""Operators over arrays.

What lives here: their makers. What it must not know: documents, stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cmp_to_key
from typing import Any, Final

from docdb.language.expression_core import (
    Constant,
    Maker,
    Scope,
    Term,
    between,
    fail,
    fixed,
    integer_of,
    is_nullish,
    named_terms,
    truth,
    variadic,
)
from docdb.language.values import INT32_MAX, INT32_MIN, MISSING, is_number, type_name

__all__ = ["OPERATORS", "array_to_object", "int32_of", "sorter_of"]

_VARIABLE: Final = re.compile(r"[a-z\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*\Z")


def int32_of(value: Any) -> int | None:
    """Return the 32 bit integer a number stands for, None for anything else."""
    whole = integer_of(value)
    return whole if whole is not None and INT32_MIN <= whole <= INT32_MAX else None


def _variable_name(value: Any, *, current: bool = False) -> str:
    if type(value) is not str or not (_VARIABLE.match(value) or (current and value == "CURRENT")):
        fail(f"{value!r} is not a valid name for a variable", 9)
    return value


def _element_at(array: Any, index: Any) -> Any:
    if is_nullish(array) or is_nullish(index):
        return None
    if type(array) is not list:
        fail(f"$arrayElemAt takes an array, not {type_name(array)}", 28689)
    if not is_number(index):
        fail(f"the index of $arrayElemAt is a number, not {type_name(index)}", 28690)
    at = int32_of(index)
    if at is None:
        fail("the index of $arrayElemAt is a 32 bit integer", 28691)
    return array[at] if -len(array) <= at < len(array) else MISSING


def _edge(name: str, at: int) -> Callable[[Any], Any]:
    def run(array: Any) -> Any:
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"{name} takes an array, not {type_name(array)}", 28689)
        return array[at] if array else MISSING

    return run


def array_to_object(array: Any) -> Any:
    """Return the object of an array of pairs, or of {k, v} documents."""
    if is_nullish(array):
        return None
    if type(array) is not list:
        fail(f"$arrayToObject takes an array, not {type_name(array)}", 40386)
    if not array:
        return {}
    if type(array[0]) is dict:
        return dict(_key_and_value(item) for item in array)
    if type(array[0]) is list:
        return dict(_pair(item) for item in array)
    return fail(f"$arrayToObject takes pairs or objects with k and v, not {type_name(array[0])}", 40398)


def _key_and_value(item: Any) -> tuple[str, Any]:
    if type(item) is not dict:
        fail("$arrayToObject takes all elements as objects when the first is one", 40391)
    if len(item) != 2:
        fail("$arrayToObject takes objects with exactly the fields k and v", 40392)
    if "k" not in item or "v" not in item:
        fail("$arrayToObject takes objects with exactly the fields k and v", 40393)
    if type(item["k"]) is not str:
        fail(f"a key is text, not {type_name(item['k'])}", 40394)
    if "\0" in item["k"]:
        fail("a key may not contain NUL", 4940401)
    return item["k"], item["v"]


def _pair(item: Any) -> tuple[str, Any]:
    if type(item) is not list:
        fail("$arrayToObject takes all elements as pairs when the first is one", 40396)
    if len(item) != 2:
        fail("a pair of $arrayToObject has two elements", 40397)
    if type(item[0]) is not str:
        fail(f"a key is text, not {type_name(item[0])}", 40395)
    if "\0" in item[0]:
        fail("a key may not contain NUL", 4940400)
    return item[0], item[1]


def _concat(arrays: list[Any]) -> Any:
    result: list[Any] = []
    for array in arrays:
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"$concatArrays takes arrays, not {type_name(array)}", 28664)
        result += array
    return result


def _filter(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$filter takes an object", 28646)
    for key in spec:
        if key not in ("input", "as", "cond", "limit"):
            fail(f"$filter has no argument {key!r}", 28647)
    for key, code in (("input", 28648), ("cond", 28650)):
        if key not in spec:
            fail(f"$filter needs {key!r}", code)
    variable = _variable_name(spec.get("as", "this"), current=True)
    source = scope.compile(spec["input"])
    condition = scope.knowing(variable).compile(spec["cond"])
    limit = scope.compile(spec["limit"]) if "limit" in spec else Constant(None)

    def run(v: dict[str, Any]) -> Any:
        array = source(v)
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"the input of $filter is an array, not {type_name(array)}", 28651)
        most = _filter_limit(limit(v), len(array))
        found: list[Any] = []
        inner = dict(v)
        for item in array:
            inner[variable] = item
            if truth(condition(inner)):
                found.append(item)
                if len(found) >= most:
                    break
        return found

    return run


def _filter_limit(value: Any, default: int) -> int:
    if is_nullish(value):
        return default
    limit = int32_of(value)
    if limit is None:
        fail("the limit of $filter is a 32 bit integer", 327391)
    if limit < 1:
        fail("the limit of $filter is positive", 327392)
    return limit


def _map(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$map takes an object", 16878)
    for key in spec:
        if key not in ("input", "as", "in"):
            fail(f"$map has no argument {key!r}", 16879)
    for key, code in (("input", 16880), ("in", 16882)):
        if key not in spec:
            fail(f"$map needs {key!r}", code)
    variable = _variable_name(spec.get("as", "this"), current=True)
    source = scope.compile(spec["input"])
    body = scope.knowing(variable).compile(spec["in"])

    def run(v: dict[str, Any]) -> Any:
        array = source(v)
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"the input of $map is an array, not {type_name(array)}", 16883)
        inner = dict(v)
        result = []
        for item in array:
            inner[variable] = item
            value = body(inner)
            result.append(None if value is MISSING else value)
        return result

    return run


def _reduce(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$reduce takes an object", 40075)
    for key in spec:
        if key not in ("input", "initialValue", "in"):
            fail(f"$reduce has no argument {key!r}", 40076)
    for key, code in (("input", 40077), ("initialValue", 40078), ("in", 40079)):
        if key not in spec:
            fail(f"$reduce needs {key!r}", code)
    source, initial = scope.compile(spec["input"]), scope.compile(spec["initialValue"])
    body = scope.knowing("this", "value").compile(spec["in"])

    def run(v: dict[str, Any]) -> Any:
        array = source(v)
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"the input of $reduce is an array, not {type_name(array)}", 40080)
        inner = dict(v)
        value = initial(v)
        for item in array:
            inner["this"], inner["value"] = item, value
            value = body(inner)
        return value

    return run


def _in(scope: Scope, spec: Any, name: str) -> Term:
    compare_values = scope.comparer()

    def run(value: Any, array: Any) -> bool:
        if type(array) is not list:
            fail(f"$in takes an array as second argument, not {type_name(array)}", 40081)
        return any(compare_values(value, item) == 0 for item in array)

    return fixed(2, run)(scope, spec, name)


def _index_of(scope: Scope, spec: Any, name: str) -> Term:
    compare_values = scope.comparer()

    def run(array: Any, value: Any, *bounds: Any) -> Any:
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"$indexOfArray takes an array, not {type_name(array)}", 40090)
        limits = [0, len(array)]
        for i, bound in enumerate(bounds):
            at = int32_of(bound)
            if at is None:
                fail("the bounds of $indexOfArray are integers", 9711600)
            if at < 0:
                fail("the bounds of $indexOfArray are not negative", 9711601)
            limits[i] = at
        for at in range(limits[0], min(limits[1], len(array))):
            if compare_values(array[at], value) == 0:
                return at
        return -1

    return between(2, 4, run)(scope, spec, name)


def _range(start: Any, end: Any, step: Any = 1) -> list[int]:
    bounds = []
    for value, kind, whole, what in (
        (start, 34443, 34444, "start"),
        (end, 34445, 34446, "end"),
        (step, 34447, 34448, "step"),
    ):
        if not is_number(value):
            fail(f"the {what} of $range is a number, not {type_name(value)}", kind)
        bound = int32_of(value)
        if bound is None:
            fail(f"the {what} of $range is a 32 bit integer", whole)
        bounds.append(bound)
    if bounds[2] == 0:
        fail("the step of $range is not 0", 34449)
    if len(range(*bounds)) > 16_000_000:
        fail("$range would hold more than 100 MB", 146)
    return list(range(*bounds))


def _reverse(array: Any) -> Any:
    if is_nullish(array):
        return None
    if type(array) is not list:
        fail(f"$reverseArray takes an array, not {type_name(array)}", 34435)
    return array[::-1]


def _size(array: Any) -> int:
    if type(array) is not list:
        fail(f"$size takes an array, not {type_name(array)}", 17124)
    return len(array)


def _slice(array: Any, position: Any, count: Any = MISSING) -> Any:
    if is_nullish(array) or position is None or count is None or position is MISSING:
        return None
    if type(array) is not list:
        fail(f"$slice takes an array, not {type_name(array)}", 28724)
    start = _slice_bound(position, "second", 28725, 28726)
    if count is MISSING:
        return array[:start] if start >= 0 else array[start:]
    length = _slice_bound(count, "third", 28727, 28728)
    if length <= 0:
        fail("the third argument of $slice is positive", 28729)
    start = max(0, len(array) + start) if start < 0 else start
    return array[start : start + length]


def _slice_bound(value: Any, what: str, kind: int, whole: int) -> int:
    if not is_number(value):
        fail(f"the {what} argument of $slice is a number, not {type_name(value)}", kind)
    bound = int32_of(value)
    if bound is None:
        fail(f"the {what} argument of $slice is a 32 bit integer", whole)
    return bound


def _slice_maker(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, list) or len(spec) != 3:
        return between(2, 3, _slice)(scope, spec, name)
    array, position, count = (scope.compile(item) for item in spec)

    def run(v: dict[str, Any]) -> Any:
        length = count(v)
        return _slice(array(v), position(v), None if length is MISSING else length)

    return run


def sorter_of(spec: Any, compare_values: Callable[[Any, Any], int]) -> Callable[[list[Any]], list[Any]]:
    """Return the sort of an array for a ``sortBy``: 1, -1, or an object of paths (codes are $sortArray's)."""
    from docdb.language.expressions import field_path, read_path

    if not isinstance(spec, dict):
        if not is_number(spec) or spec not in (1, -1):
            fail("sortBy is 1, -1 or an object", 2942505 if isinstance(spec, dict) else 2942506)
        key = cmp_to_key(compare_values)
        return lambda array: sorted(array, key=key, reverse=spec == -1)
    if not spec:
        fail("sortBy names at least one field", 15976)
    keys = [(field_path(path), _direction(direction)) for path, direction in spec.items()]

    def compare_items(left: Any, right: Any) -> int:
        for parts, direction in keys:
            result = compare_values(_null(read_path(left, parts)), _null(read_path(right, parts)))
            if result:
                return result * direction
        return 0

    return lambda array: sorted(array, key=cmp_to_key(compare_items))


def _null(value: Any) -> Any:
    return None if value is MISSING else value


def _direction(value: Any) -> int:
    if not is_number(value):
        fail("a sort direction is 1 or -1", 15974)
    if value not in (1, -1):
        fail("a sort direction is 1 or -1", 15975)
    return int(value)


def _sort_array(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$sortArray takes an object", 2942500)
    for key in spec:
        if key not in ("input", "sortBy"):
            fail(f"$sortArray has no argument {key!r}", 2942501)
    for key, code in (("input", 2942502), ("sortBy", 2942503)):
        if key not in spec:
            fail(f"$sortArray needs {key!r}", code)
    if spec["sortBy"] is None or isinstance(spec["sortBy"], str | list | bool):
        fail("sortBy is 1, -1 or an object", 2942507)
    source, ordered = scope.compile(spec["input"]), sorter_of(spec["sortBy"], scope.comparer())

    def run(v: dict[str, Any]) -> Any:
        array = source(v)
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"the input of $sortArray is an array, not {type_name(array)}", 2942504)
        return ordered(array)

    return run


def _zip(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict):
        fail("$zip takes an object", 34460)
    for key in spec:
        if key not in ("inputs", "useLongestLength", "defaults"):
            fail(f"$zip has no argument {key!r}", 34464)
    if "inputs" in spec and not isinstance(spec["inputs"], list):
        fail("the inputs of $zip are an array", 34461)
    if "defaults" in spec and not isinstance(spec["defaults"], list):
        fail("the defaults of $zip are an array", 34462)
    longest = spec.get("useLongestLength", False)
    if type(longest) is not bool:
        fail("useLongestLength of $zip is a bool", 34463)
    if not spec.get("inputs"):
        fail("$zip needs at least one input", 34465)
    if spec.get("defaults") and not longest:
        fail("defaults of $zip need useLongestLength: true", 34466)
    if spec.get("defaults") and len(spec["defaults"]) != len(spec["inputs"]):
        fail("defaults and inputs of $zip have the same length", 34467)
    sources = [scope.compile(item) for item in spec["inputs"]]
    defaults = [scope.compile(item) for item in spec.get("defaults", [])] or [Constant(None)] * len(sources)
    return lambda v: _zipped([source(v) for source in sources], [default(v) for default in defaults], longest)


def _zipped(arrays: list[Any], defaults: list[Any], longest: bool) -> Any:
    for array in arrays:
        if is_nullish(array):
            return None
        if type(array) is not list:
            fail(f"the inputs of $zip are arrays, not {type_name(array)}", 34468)
    length = (max if longest else min)(len(array) for array in arrays)
    return [
        [array[i] if i < len(array) else default for array, default in zip(arrays, defaults, strict=True)]
        for i in range(length)
    ]


def _n_of(name: str, take: Callable[[list[Any], int], list[Any]]) -> Maker:
    """Return the maker of $firstN, $lastN as expressions."""

    def make(scope: Scope, spec: Any, operator: str) -> Term:
        terms = named_terms(scope, spec, operator, {"n": 5787906, "input": 5787907}, (), 5787801, 5787901)

        def run(v: dict[str, Any]) -> Any:
            count = positive_count(terms["n"](v))
            array = terms["input"](v)
            if type(array) is not list:
                fail(f"the input of {name} is an array, not {type_name(array)}", 5788200)
            return take(array, count)

        return run

    return make


def positive_count(value: Any) -> int:
    """Return the n of an n-operator: a positive integer of 64 bits."""
    if not is_number(value):
        fail(f"n is a number, not {type_name(value)}", 5787902)
    count = integer_of(value)
    if count is None:
        fail("n is a whole number", 5787903)
    if count < 1:
        fail("n is positive", 5787908)
    return count


OPERATORS: Final[dict[str, Maker]] = {
    "$arrayElemAt": fixed(2, _element_at),
    "$arrayToObject": fixed(1, array_to_object),
    "$concatArrays": variadic(_concat),
    "$filter": _filter,
    "$first": fixed(1, _edge("$first", 0)),
    "$firstN": _n_of("$firstN", lambda array, n: array[:n]),
    "$in": _in,
    "$indexOfArray": _index_of,
    "$isArray": fixed(1, lambda value: type(value) is list),
    "$last": fixed(1, _edge("$last", -1)),
    "$lastN": _n_of("$lastN", lambda array, n: array[-n:]),
    "$map": _map,
    "$range": between(2, 3, _range),
    "$reduce": _reduce,
    "$reverseArray": fixed(1, _reverse),
    "$size": fixed(1, _size),
    "$slice": _slice_maker,
    "$sortArray": _sort_array,
    "$zip": _zip,
}
