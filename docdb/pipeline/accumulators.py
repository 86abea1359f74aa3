"""Accumulators: what $group, $bucket and windows do with the values of many documents.

What lives here: the classes and the table name -> maker. What it must not know: how documents are grouped. The numeric ones are the
folds of ``language/expression_folds``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from docdb.errors import NotSupportedError
from docdb.language.expression_core import fail, integer_of, is_nullish
from docdb.language.expression_folds import Average, Deviation, Extreme, Percentile, Sum, check_method, percentile_ranks
from docdb.language.values import MISSING, type_name
from docdb.pipeline.ordering import document_key
from docdb.pipeline.spill import Doubles
from docdb.pipeline.stage import Builder, Variables

__all__ = ["ACCUMULATORS", "Accumulator", "compile_accumulator"]

Value = Callable[[dict[str, Any], Variables], Any]


@dataclass(frozen=True, slots=True)
class Accumulator:
    """``value(document, variables)`` is what is added to what ``start(variables)`` makes (it has ``add`` and ``value``).

    ``keeps``: it holds values, not only what they come to; then it tells by ``held()`` how many. ``spills``: what it holds may go into a file (``spill()``),
    and it has to be closed.
    """

    value: Value
    start: Callable[[Variables], Any]
    keeps: bool = False
    spills: bool = False


class Collected:
    """All values in order ($push), or the first or last of them."""

    __slots__ = ("items", "limit")

    def __init__(self, limit: int | None = None) -> None:
        self.items: list[Any] = []
        self.limit = limit

    def add(self, value: Any) -> None:
        """Take one value."""
        if value is not MISSING and (self.limit is None or len(self.items) < self.limit):
            self.items.append(value)

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.items)

    def value(self) -> list[Any]:
        """Return the values."""
        return list(self.items)


class Edge:
    """The first or the last n values, missing as null; n None: the value itself."""

    __slots__ = ("count", "items", "last")

    def __init__(self, last: bool, count: int | None) -> None:
        self.last, self.count = last, count
        self.items: list[Any] = []

    def add(self, value: Any) -> None:
        """Take one value."""
        most = self.count or 1
        if self.last:
            self.items.append(value)
            if len(self.items) > most:
                del self.items[0]
        elif len(self.items) < most:
            self.items.append(value)

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.items)

    def value(self) -> Any:
        """Return the edge."""
        if self.count is None:
            return (None if self.items[0] is MISSING else self.items[0]) if self.items else None
        return [None if item is MISSING else item for item in self.items]


class Distinct:
    """The distinct values, in the order they came."""

    __slots__ = ("items", "key", "spread")

    def __init__(self, key: Callable[[Any], bytes], spread: bool = False) -> None:
        self.items: dict[bytes, Any] = {}
        self.key, self.spread = key, spread

    def add(self, value: Any) -> None:
        """Take one value; with ``spread`` the elements of an array."""
        if value is MISSING:
            return
        if not self.spread:
            self.items.setdefault(self.key(value), value)
            return
        for item in _array(value, "$setUnion"):
            self.items.setdefault(self.key(item), item)

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.items)

    def value(self) -> list[Any]:
        """Return the values."""
        return list(self.items.values())


class Joined:
    """Arrays, joined."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[Any] = []

    def add(self, value: Any) -> None:
        """Take one array."""
        if value is not MISSING:
            self.items += _array(value, "$concatArrays")

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.items)

    def value(self) -> list[Any]:
        """Return the joined array."""
        return list(self.items)


class Merged:
    """Objects, merged; the later wins."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}

    def add(self, value: Any) -> None:
        """Take one object; null counts as empty."""
        if is_nullish(value):
            return
        if type(value) is not dict:
            fail(f"$mergeObjects takes objects, not {type_name(value)}", 5911200)
        self.result.update(value)

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.result)

    def value(self) -> dict[str, Any]:
        """Return the merged object."""
        return dict(self.result)


class Best:
    """The n values with the smallest keys; values arrive as (key, output)."""

    __slots__ = ("count", "pairs", "reverse", "single")

    def __init__(self, count: int, reverse: bool, single: bool) -> None:
        self.count, self.reverse, self.single = count, reverse, single
        self.pairs: list[tuple[Any, Any]] = []

    def add(self, value: Any) -> None:
        """Take one pair; pairs that cannot matter are dropped from time to time."""
        self.pairs.append(value)
        if len(self.pairs) > 2 * self.count + 64:
            self.pairs = self._chosen()

    def _chosen(self) -> list[tuple[Any, Any]]:
        pairs = sorted(self.pairs, key=lambda pair: pair[0])
        return pairs[-self.count :] if self.reverse else pairs[: self.count]

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.pairs)

    def value(self) -> Any:
        """Return the outputs in the order of their keys."""
        found = [None if output is MISSING else output for _, output in self._chosen()]
        return (found[0] if found else None) if self.single else found


class Extremes:
    """The n smallest or largest values that are not null."""

    __slots__ = ("count", "key", "pairs", "reverse")

    def __init__(self, count: int, reverse: bool, key: Callable[[Any], bytes]) -> None:
        self.count, self.reverse, self.key = count, reverse, key
        self.pairs: list[tuple[bytes, Any]] = []

    def add(self, value: Any) -> None:
        """Take one value."""
        if is_nullish(value):
            return
        self.pairs.append((self.key(value), value))
        if len(self.pairs) > 2 * self.count + 64:
            self.pairs = self._chosen()

    def _chosen(self) -> list[tuple[bytes, Any]]:
        choose = heapq.nlargest if self.reverse else heapq.nsmallest
        return choose(self.count, self.pairs, key=lambda pair: pair[0])

    def held(self) -> int:
        """Return how many values it holds."""
        return len(self.pairs)

    def value(self) -> list[Any]:
        """Return the values, the most extreme first."""
        return [value for _, value in self._chosen()]


class Ranked(Percentile):
    """$median and $percentile of any number of values."""

    __slots__ = ()
    numbers: Doubles

    def __init__(self, ranks: list[float], single: bool = False) -> None:
        super().__init__(ranks, single)
        self.numbers = Doubles()

    def held(self) -> int:
        """Return how many numbers it has."""
        return len(self.numbers)

    def spill(self) -> None:
        """Write the numbers into a file."""
        self.numbers.spill()

    def close(self) -> None:
        """Give the files back."""
        self.numbers.close()

    def _at(self, places: list[int]) -> list[float]:
        return self.numbers.at(places)


def _array(value: Any, name: str) -> list[Any]:
    if type(value) is not list:
        fail(f"{name} takes arrays, not {type_name(value)}", 14)
    return value


def _plain(start: Callable[[Builder], Any]) -> Callable[[Builder, Any, str], Accumulator]:
    def make(builder: Builder, spec: Any, name: str) -> Accumulator:
        return Accumulator(builder.expression(spec), lambda variables: start(builder))

    return make


def _count(builder: Builder, spec: Any, name: str) -> Accumulator:
    if spec != {} or not isinstance(spec, dict):
        fail("$count takes an empty object", 14)
    return Accumulator(lambda document, variables: 1, lambda variables: Sum())


def _options(spec: Any, name: str, required: tuple[str, ...], missing: dict[str, int]) -> None:
    if not isinstance(spec, dict):
        fail(f"{name} takes an object", 5788001 if "sortBy" in required else 5787900)
    for key in spec:
        if key not in required:
            fail(f"{name} has no argument {key!r}", 5788002 if "sortBy" in required else 5787901)
    for key in required:
        if key not in spec:
            fail(f"{name} needs {key!r}", missing[key])


def _counting(builder: Builder, spec: Any) -> Callable[[Variables], int]:
    """Return the reading of n: a constant, or an expression over the variables of the group."""
    expression = builder.expression(spec)

    def read(variables: Variables) -> int:
        number = integer_of(expression({}, variables))
        if number is None or not 1 <= number < 2**63:
            fail("n is a positive whole number", 7548606)
        return number

    if expression.constant:
        number = read({})
        return lambda variables: number
    return read


def _n(start: Callable[[Builder, int], Any]) -> Callable[[Builder, Any, str], Accumulator]:
    def make(builder: Builder, spec: Any, name: str) -> Accumulator:
        _options(spec, name, ("input", "n"), {"input": 5787907, "n": 5787906})
        read = _counting(builder, spec["n"])
        return Accumulator(builder.expression(spec["input"]), lambda variables: start(builder, read(variables)))

    return make


def _best(reverse: bool, single: bool) -> Callable[[Builder, Any, str], Accumulator]:
    def make(builder: Builder, spec: Any, name: str) -> Accumulator:
        required = ("output", "sortBy") if single else ("n", "output", "sortBy")
        _options(spec, name, required, {"n": 5788003, "output": 5788004, "sortBy": 5788005})
        if not isinstance(spec["sortBy"], dict):
            fail(f"the sortBy of {name} is an object", 5788604)
        read = (lambda variables: 1) if single else _counting(builder, spec["n"])
        key, output = document_key(builder.sort_keys(spec["sortBy"]), builder.key), builder.expression(spec["output"])
        return Accumulator(
            lambda document, variables: (key(document), output(document, variables)),
            lambda variables: Best(read(variables), reverse, single),
        )

    return make


def _quantile(single: bool) -> Callable[[Builder, Any, str], Accumulator]:
    def make(builder: Builder, spec: Any, name: str) -> Accumulator:
        check_method(spec, name, ("input", "method") if single else ("input", "p", "method"))
        ranks = builder.expression([0.5] if single else spec["p"])
        if ranks.constant:
            percentile_ranks(ranks({}))
        return Accumulator(
            builder.expression(spec["input"]),
            lambda variables: Ranked(percentile_ranks(ranks({}, variables)), single),
            spills=True,
        )

    return make


def _javascript(builder: Builder, spec: Any, name: str) -> Accumulator:
    raise NotSupportedError("JavaScript is not supported", path=name)


_UNARY: Final[dict[str, Callable[[Builder, Any, str], Accumulator]]] = {
    "$addToSet": _plain(lambda builder: Distinct(builder.key)),
    "$avg": _plain(lambda builder: Average()),
    "$concatArrays": _plain(lambda builder: Joined()),
    "$first": _plain(lambda builder: Edge(False, None)),
    "$last": _plain(lambda builder: Edge(True, None)),
    "$max": _plain(lambda builder: Extreme(1, builder.key)),
    "$mergeObjects": _plain(lambda builder: Merged()),
    "$min": _plain(lambda builder: Extreme(-1, builder.key)),
    "$push": _plain(lambda builder: Collected()),
    "$setUnion": _plain(lambda builder: Distinct(builder.key, True)),
    "$stdDevPop": _plain(lambda builder: Deviation(False)),
    "$stdDevSamp": _plain(lambda builder: Deviation(True)),
    "$sum": _plain(lambda builder: Sum()),
}
ACCUMULATORS: Final[dict[str, Callable[[Builder, Any, str], Accumulator]]] = {
    **_UNARY,
    "$accumulator": _javascript,
    "$bottom": _best(True, True),
    "$bottomN": _best(True, False),
    "$count": _count,
    "$firstN": _n(lambda builder, n: Edge(False, n)),
    "$lastN": _n(lambda builder, n: Edge(True, n)),
    "$maxN": _n(lambda builder, n: Extremes(n, True, builder.key)),
    "$median": _quantile(True),
    "$minN": _n(lambda builder, n: Extremes(n, False, builder.key)),
    "$percentile": _quantile(False),
    "$top": _best(False, True),
    "$topN": _best(False, False),
}
_KEEPING: Final = frozenset({
    "$addToSet", "$bottomN", "$concatArrays", "$firstN", "$lastN", "$maxN", "$median", "$mergeObjects", "$minN", "$percentile", "$push",
    "$setUnion", "$topN",
})  # fmt: skip


def compile_accumulator(builder: Builder, field: str, spec: Any) -> Accumulator:
    """Return the accumulator of one field of $group or $bucket."""
    if "." in field:
        fail(f"the field {field!r} may not contain a dot", 40235)
    if field.startswith("$"):
        fail(f"the field {field!r} may not begin with $", 40236)
    if not isinstance(spec, dict) or not spec:
        fail(f"the field {field!r} needs an accumulator object", 40234)
    if len(spec) != 1:
        fail(f"the field {field!r} needs exactly one accumulator", 40238)
    ((name, argument),) = spec.items()
    if not name.startswith("$"):
        fail(f"the field {field!r} needs an accumulator object", 40234)
    if name not in ACCUMULATORS:
        fail(f"unknown accumulator {name}", 15952, path=f"{field}.{name}")
    if name in _UNARY and isinstance(argument, list):  # in a window it is the value
        fail(f"{name} takes one argument here, not an array", 40237)
    return replace(ACCUMULATORS[name](builder, argument, name), keeps=name in _KEEPING)
