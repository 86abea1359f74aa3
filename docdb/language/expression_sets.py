"""Operators that take arrays as sets. Unions and intersections come in value order, differences in order of appearance; MongoDB leaves it open.

What lives here: their makers. What it must not know: documents, stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from docdb.language.expression_core import (
    Constant,
    Maker,
    Scope,
    Term,
    arguments,
    fail,
    fixed,
    folded,
    is_nullish,
    truth,
)
from docdb.language.order import order_key
from docdb.language.values import type_name

__all__ = ["OPERATORS"]

Key = Callable[[Any], bytes]


def _distinct(array: list[Any], key: Key) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for item in array:
        found.setdefault(key(item), item)
    return found


def _combining(name: str, code: int, combine: Callable[[list[list[Any]], Key], list[Any]]) -> Maker:
    """Return the maker of a set operation over any number of arrays; null gives null."""

    def make(scope: Scope, spec: Any, operator: str) -> Term:
        # As in MongoDB constants come last: the order counts for which of null and an error is seen first.
        terms = sorted(arguments(scope, spec), key=lambda term: isinstance(term, Constant))
        key = scope.sort_key() or order_key

        def run(v: dict[str, Any]) -> Any:
            arrays = []
            for term in terms:
                value = term(v)
                if is_nullish(value):
                    return None
                if type(value) is not list:
                    fail(f"{name} takes arrays, not {type_name(value)}", code)
                arrays.append(value)
            return combine(arrays, key)

        return folded(terms, run)

    return make


def _union(arrays: list[list[Any]], key: Key) -> list[Any]:
    found = _distinct([item for array in arrays for item in array], key)
    return [found[item] for item in sorted(found)]


def _intersection(arrays: list[list[Any]], key: Key) -> list[Any]:
    if not arrays:
        return []
    found = _distinct(arrays[0], key)
    for array in arrays[1:]:
        others = {key(item) for item in array}
        found = {k: item for k, item in found.items() if k in others}
    return [found[item] for item in sorted(found)]


def _two(codes: tuple[int, int], judge: Callable[[Any, Any, Key], Any], null: bool) -> Maker:
    """Return the maker of an operation on exactly two arrays; ``null``: null gives null, else it is an error."""

    def make(scope: Scope, spec: Any, name: str) -> Term:
        key = scope.sort_key() or order_key

        def run(left: Any, right: Any) -> Any:
            if null and (is_nullish(left) or is_nullish(right)):
                return None
            for value, code, what in ((left, codes[0], "first"), (right, codes[1], "second")):
                if type(value) is not list:
                    fail(f"the {what} argument of {name} is an array, not {type_name(value)}", code)
            return judge(left, right, key)

        return fixed(2, run)(scope, spec, name)

    return make


def _difference(left: list[Any], right: list[Any], key: Key) -> list[Any]:
    others = {key(item) for item in right}
    return [item for k, item in _distinct(left, key).items() if k not in others]


def _is_subset(left: list[Any], right: list[Any], key: Key) -> bool:
    others = {key(item) for item in right}
    return all(key(item) in others for item in left)


def _equals(scope: Scope, spec: Any, name: str) -> Term:
    terms = arguments(scope, spec)
    if len(terms) < 2:
        fail("$setEquals takes at least two arguments", 17045)
    key = scope.sort_key() or order_key
    code = 5887502 if all(isinstance(term, Constant) for term in terms) else 17044

    def run(v: dict[str, Any]) -> bool:
        sets = []
        for term in terms:
            value = term(v)
            if type(value) is not list:
                fail(f"$setEquals takes arrays, not {type_name(value)}", code)
            sets.append({key(item) for item in value})
        return all(other == sets[0] for other in sets)

    return folded(terms, run)


def _elements(name: str, code: int, judge: Callable[[Any], bool]) -> Maker:
    def run(array: Any) -> bool:
        if type(array) is not list:
            fail(f"{name} takes an array, not {type_name(array)}", code)
        return judge(truth(item) for item in array)

    return fixed(1, run)


OPERATORS: Final[dict[str, Maker]] = {
    "$allElementsTrue": _elements("$allElementsTrue", 17040, all),
    "$anyElementTrue": _elements("$anyElementTrue", 17041, any),
    "$setDifference": _two((17048, 17049), _difference, True),
    "$setEquals": _equals,
    "$setIntersection": _combining("$setIntersection", 17047, _intersection),
    "$setIsSubset": _two((17046, 17042), _is_subset, False),
    "$setUnion": _combining("$setUnion", 17043, _union),
}
