"""The operators of one field: an argument becomes a leaf of the filter tree.

What lives here: ``FIELD_OPERATORS`` (name -> function of scope, path, canonical argument, place), regular
expressions, and ``Scope``, what holds for a whole filter. What it must not know: the shape of filter documents
(``filters``), how leaves are judged.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from docdb.errors import DocdbError, DocumentError, QueryError
from docdb.language import values
from docdb.language.linear_patterns import compile_linear, is_linear_only
from docdb.language.matching import compile_pattern
from docdb.language.tree import Bits, Compare, Exists, In, Mod, Node, Not, Path, Pattern, Size, TypeIs
from docdb.language.values import INT32_MAX, INT64_MAX, INT64_MIN, TYPE_NAMES, Regex, is_number

__all__ = [
    "FIELD_OPERATORS", "NUMBER_TYPES", "Scope", "at", "implicit_equality", "integral", "pattern_of", "regex",
    "truncated", "unknown_operator",
]  # fmt: skip

NUMBER_TYPES: Final = ("decimal", "double", "int", "long")
_NAME_BY_NUMBER: Final = {number: name for name, number in TYPE_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for every clause (collation, variables, how expressions compile) and where a clause stands."""

    collation: Any
    let: Mapping[str, Any] | None
    expressions: Callable[..., Any] | None
    naive_utc: bool
    depth: int
    element: bool = False  # inside $elemMatch
    near: bool = True  # the documents may come in the order of $near
    nested: bool = False  # inside $or, $nor or $not
    negated: bool = False  # inside $nor or $not
    text: bool = True  # a text search may be asked for

    def deeper(self) -> Scope:
        """Return the scope one level down."""
        return replace(self, depth=self.depth + 1)

    def inside_element(self) -> Scope:
        """Return the scope inside an $elemMatch."""
        return replace(self, element=True)

    def inside_choice(self) -> Scope:
        """Return the scope inside a $or, one level down."""
        return replace(self, depth=self.depth + 1, nested=True)

    def inside_negation(self) -> Scope:
        """Return the scope inside a $nor or $not, one level down."""
        return replace(self, depth=self.depth + 1, nested=True, negated=True)

    def canonical(self, value: Any, where: str) -> Any:
        """Return the canonical form of a value of the filter; a value that cannot be is the filter's error."""
        try:
            return values.canonical(value, naive_utc=self.naive_utc)
        except DocumentError as error:
            path = at(where, error.path) if error.path else where
            raise QueryError(error.message, path=path, hint=error.hint, code=error.code) from error

    def compile(self, spec: Any) -> Any:
        """Return a compiled expression whose variables are bound to the values of ``let``."""
        compiler = self.expressions or _default_compiler()
        let = self.let or {}
        more = {} if self.collation is None else {"collation": self.collation}
        expression = compiler(spec, variables=tuple(let), **more)
        if not let:
            return expression
        values = {name: self.canonical(value, f"let.{name}") for name, value in let.items()}
        return Bound(expression, {name: compiler(value, variables=())({}) for name, value in values.items()})


class Bound:
    """An expression together with the values of its variables."""

    __slots__ = ("constant", "expression", "metadata", "paths", "variables")

    def __init__(self, expression: Any, variables: Mapping[str, Any]) -> None:
        self.expression = expression
        self.variables = variables
        self.paths = expression.paths
        self.constant = expression.constant
        self.metadata = expression.metadata

    def __call__(self, document: Any, variables: Any = None) -> Any:
        return self.expression(document, self.variables)


def _default_compiler() -> Callable[..., Any]:
    # Imported at the first $expr: expressions are a large module that most filters never need.
    from docdb.language.expressions import compile_expression

    return compile_expression


def at(where: str, name: str) -> str:
    """Return the place of a name below a place."""
    return f"{where}.{name}" if where else name


def unknown_operator(name: str, where: str, known: Iterable[str], message: str) -> QueryError:
    """Return the error for an operator nobody knows, with the nearest known name as hint."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return QueryError(f"{message} {name}", path=where, hint=f"did you mean {near[0]}?" if near else None)


def integral(value: Any) -> int | None:
    """Return a canonical number as int when it is a whole one, else None (bool is not a number)."""
    if not is_number(value):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if value.is_finite() and value == value.to_integral_value() else None


def truncated(value: Any) -> int | None:
    """Return a canonical number cut to a 64-bit int, None when it is no number, not finite or too large."""
    if not is_number(value) or value != value or value in (float("inf"), float("-inf")):
        return None
    if not INT64_MIN - 1 < value < INT64_MAX + 1:
        return None
    return int(value)


# Equality and order


def implicit_equality(scope: Scope, path: Path, value: Any, where: str) -> Node:
    """Return the meaning of ``field: value``: a pattern for a Regex, equality for the rest."""
    return pattern_of(scope, path, value, where) or Compare(path, "eq", value, scope.collation)


def _eq(scope: Scope, path: Path, value: Any, where: str) -> Node:
    return Compare(path, "eq", value, scope.collation)


def _ne(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if isinstance(value, Regex):
        raise QueryError("$ne takes no regular expression", path=where, hint="use $not")
    return Not(Compare(path, "eq", value, scope.collation))


def _range(op: str) -> Callable[[Scope, Path, Any, str], Node]:
    def operator(scope: Scope, path: Path, value: Any, where: str) -> Node:
        if isinstance(value, Regex):
            raise QueryError(f"${op} takes no regular expression", path=where)
        return Compare(path, op, value, scope.collation)

    return operator


def _in(scope: Scope, path: Path, value: Any, where: str) -> Node:
    name = where.rpartition(".")[2]
    if not isinstance(value, list):
        raise QueryError(f"{name} needs an array", path=where)
    plain, patterns = [], []
    for i, item in enumerate(value):
        if isinstance(item, dict) and next(iter(item), "").startswith("$") and not ("$ref" in item and "$id" in item):
            raise QueryError(f"cannot nest operators under {name}", path=f"{where}.{i}")
        pattern = pattern_of(scope, path, item, f"{where}.{i}")
        if pattern is not None:
            patterns.append(pattern)
        else:
            plain.append(item)
    return In(path, tuple(plain), tuple(patterns), scope.collation)


def _nin(scope: Scope, path: Path, value: Any, where: str) -> Node:
    return Not(_in(scope, path, value, where))


# Existence, types, arrays


def _exists(scope: Scope, path: Path, value: Any, where: str) -> Node:
    wanted = value is not None and (bool(value) if is_number(value) or isinstance(value, bool) else True)
    return Exists(path) if wanted else Not(Exists(path))


def _type(scope: Scope, path: Path, value: Any, where: str) -> Node:
    wanted = value if isinstance(value, list) else [value]
    if not wanted:
        raise QueryError("$type must match at least one type", path=where, code=9)
    names: set[str] = set()
    for item in wanted:
        names.update(_type_names(item, where))
    return TypeIs(path, frozenset(names))


def _type_names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        if value == "number":
            return NUMBER_TYPES
        if value not in TYPE_NAMES:
            raise unknown_operator(value, where, ("number", *TYPE_NAMES), "unknown type name")
        return (value,)
    if not is_number(value):
        raise QueryError("a type is a name or a number", path=where, code=14)
    number = integral(value)
    if number not in _NAME_BY_NUMBER:
        raise QueryError(f"there is no type with the number {value}", path=where)
    return (_NAME_BY_NUMBER[number],)


def _size(scope: Scope, path: Path, value: Any, where: str) -> Node:
    count = integral(value)
    if count is None or not 0 <= count <= INT32_MAX:
        raise QueryError("$size needs a whole number, 0 or more", path=where)
    return Size(path, count)


# Arithmetic and bits


def _mod(scope: Scope, path: Path, value: Any, where: str) -> Node:
    if not isinstance(value, list) or len(value) != 2:
        raise QueryError("$mod needs an array of two numbers: divisor and remainder", path=where)
    divisor, remainder = truncated(value[0]), truncated(value[1])
    if divisor is None or remainder is None:
        raise QueryError("the divisor and the remainder of $mod are numbers within 64 bits", path=where)
    if divisor == 0:
        raise QueryError("the divisor of $mod cannot be 0", path=where)
    return Mod(path, divisor, remainder)


def _bits(mode: str) -> Callable[[Scope, Path, Any, str], Node]:
    def operator(scope: Scope, path: Path, value: Any, where: str) -> Node:
        return Bits(path, mode, _positions(value, where))

    return operator


def _positions(value: Any, where: str) -> tuple[int, ...]:
    if isinstance(value, list):
        return tuple(sorted({_position(item, f"{where}.{i}") for i, item in enumerate(value)}))
    if isinstance(value, bytes):
        return tuple(8 * i + bit for i, byte in enumerate(value) for bit in range(8) if byte >> bit & 1)
    if not is_number(value):
        raise QueryError("a bit mask is a number, an array of positions, or binary data", path=where)
    mask = integral(value)
    if mask is None or not 0 <= mask <= INT64_MAX:
        raise QueryError("a bit mask is a whole number from 0 to 2**63 - 1", path=where, code=9)
    return tuple(bit for bit in range(64) if mask >> bit & 1)


def _position(value: Any, where: str) -> int:
    position = integral(value)
    if position is None or not 0 <= position <= INT32_MAX:
        raise QueryError("a bit position is a whole number, 0 or more", path=where)
    return position


# Regular expressions


def pattern_of(scope: Scope, path: Path, value: Any, where: str) -> Pattern | None:
    """Return the pattern a Regex stands for in a filter, None for any other value."""
    if not isinstance(value, Regex):
        return None
    return _pattern(path, value.pattern, value.flags, where)


def regex(scope: Scope, path: Path, operators: Mapping[str, Any], where: str) -> Node:
    """Return the meaning of ``$regex`` with ``$options``."""
    if "$regex" not in operators:
        raise QueryError("$options needs a $regex", path=at(where, "$options"))
    here = at(where, "$regex")
    value = scope.canonical(operators["$regex"], here)
    pattern, flags = (value.pattern, value.flags) if isinstance(value, Regex) else (value, "")
    if not isinstance(pattern, str):
        raise QueryError("$regex needs text or a regular expression", path=here)
    if "$options" in operators:
        options = operators["$options"]
        if not isinstance(options, str):
            raise QueryError("$options needs text", path=at(where, "$options"))
        if flags:
            first = next(name for name in operators if name in ("$regex", "$options"))
            code = 51074 if first == "$options" else 51075
            raise QueryError("options are set in both $regex and $options", path=at(where, "$options"), code=code)
        flags = options
    return _pattern(path, pattern, flags, here)


def _pattern(path: Path, pattern: str, flags: str, where: str) -> Pattern:
    unknown = set(flags) - set("imsxlu")
    if unknown:
        message = f"unknown regular expression option {min(unknown)!r}"
        raise QueryError(message, path=where, hint="the options are i, m, s, x", code=51108)
    if "\0" in pattern:
        raise QueryError("a regular expression is text without NUL", path=where)
    flags = "".join(sorted(set(flags) & set("imsx")))
    linear = is_linear_only()
    try:
        compile_linear(pattern, flags) if linear else compile_pattern(pattern, flags)
    except DocdbError as error:
        raise QueryError(error.message, path=where, hint=error.hint, code=error.code) from error
    return Pattern(path, pattern, flags, linear)


FIELD_OPERATORS: Final[dict[str, Callable[[Scope, Path, Any, str], Node]]] = {
    "$bitsAllClear": _bits("all_clear"),
    "$bitsAllSet": _bits("all_set"),
    "$bitsAnyClear": _bits("any_clear"),
    "$bitsAnySet": _bits("any_set"),
    "$eq": _eq,
    "$exists": _exists,
    "$gt": _range("gt"),
    "$gte": _range("gte"),
    "$in": _in,
    "$lt": _range("lt"),
    "$lte": _range("lte"),
    "$mod": _mod,
    "$ne": _ne,
    "$nin": _nin,
    "$size": _size,
    "$type": _type,
}
