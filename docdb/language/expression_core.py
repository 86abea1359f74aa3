"""What every expression operator is made of: terms, scopes, argument shapes and numbers.

What lives here: ``Scope`` (what is known while an expression is compiled), ``Constant``, the makers of operators with a fixed, bounded
or free number of arguments and with named arguments, and the rules of number types. What it must not know: any operator by name
(the table is in ``expressions``), documents beyond dicts and lists, stages.

A term is a callable ``term(variables) -> value``; ``variables`` holds ROOT, CURRENT and the user's own. ``MISSING`` is the absent value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, NoReturn

from docdb.errors import QueryError
from docdb.language.order import compare
from docdb.language.values import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, MISSING, Int64, is_number, type_name

__all__ = [
    "Constant", "DECIMAL", "Failing", "Maker", "Scope", "Term", "arguments", "as_decimal", "between", "double_to_decimal", "fail", "fixed",
    "integer_of", "is_long", "is_nullish", "make_integer", "named", "named_terms", "truth", "variadic", "widest",
]  # fmt: skip

Term = Callable[[dict[str, Any]], Any]
DECIMAL: Final = Context(prec=34, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1, traps=[])
_FIFTEEN: Final = Context(prec=15, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, traps=[])
_RANKS: Final = {"int": 0, "long": 1, "double": 2, "decimal": 3}


class Constant:
    """A term that is the same for every document."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, variables: dict[str, Any]) -> Any:
        return self.value


class Failing:
    """A term that fails for every document.

    As in MongoDB the expression that keeps it is refused while it is compiled, whether it would be asked for or not; what a constant
    condition rules out is not kept.
    """

    __slots__ = ("_run",)

    def __init__(self, run: Term) -> None:
        self._run = run

    def __call__(self, variables: dict[str, Any]) -> Any:
        return self._run(variables)


class Scope:
    """What is known while an expression is compiled: its variables, the collation, the paths read so far (shared with inner scopes)."""

    __slots__ = ("_compile", "collation", "reads", "variables")

    def __init__(
        self,
        compile_term: Callable[[Scope, Any], Term],
        variables: frozenset[str],
        collation: Any,
        reads: set[str | None],
    ) -> None:
        self._compile = compile_term
        self.variables = variables
        self.collation = collation
        self.reads = reads

    def compile(self, spec: Any) -> Term:
        """Return the term of an expression."""
        return self._compile(self, spec)

    def knowing(self, *names: str) -> Scope:
        """Return a scope with more variables."""
        return Scope(self._compile, self.variables | set(names), self.collation, self.reads)

    def comparer(self) -> Callable[[Any, Any], int]:
        """Return the comparison of this scope's collation; a missing value sorts below null."""
        key = self.sort_key()

        def compare_values(left: Any, right: Any) -> int:
            if left is MISSING or right is MISSING:
                return (left is not MISSING) - (right is not MISSING) or 0
            if key is None:
                return compare(left, right)
            a, b = key(left), key(right)
            return (a > b) - (a < b)

        return compare_values

    def sort_key(self) -> Callable[[Any], bytes] | None:
        """Return the collation's key of a value, None for the order of bytes."""
        return None if self.collation is None else self.collation.order_key


Maker = Callable[[Scope, Any, str], Term]


def fail(message: str, code: int, *, path: str | None = None, hint: str | None = None) -> NoReturn:
    """Raise the QueryError."""
    raise QueryError(message, code=code, path=path, hint=hint)


class DivisionByZero(QueryError):
    """A quotient or remainder by zero. MongoDB gives it another number, ``in_group``, where an accumulator of $group meets it."""

    def __init__(self, message: str, code: int, in_group: int) -> None:
        super().__init__(message, code=code)
        self.in_group = in_group


def is_nullish(value: Any) -> bool:
    """Tell whether a value is null or missing."""
    return value is None or value is MISSING


def truth(value: Any) -> bool:
    """Return MongoDB's truth of a value: false, null, missing and zero are false, everything else is true."""
    if value is None or value is MISSING or value is False:
        return False
    return not is_number(value) or value != 0


def arguments(scope: Scope, spec: Any) -> list[Term]:
    """Return the terms of an operator's arguments; anything but an array is a single argument."""
    return [scope.compile(item) for item in (spec if isinstance(spec, list) else [spec])]


def folded(terms: list[Term], run: Term) -> Term:
    """Return a constant when all arguments are, a Failing when that fails or one of them does."""
    for term in terms:
        if isinstance(term, Failing):
            return term
    if all(isinstance(term, Constant) for term in terms):
        try:
            return Constant(run({}))
        except QueryError:
            return Failing(run)
    return run


def between(low: int, high: int | None, function: Callable[..., Any], code: int = 28667) -> Maker:
    """Return the maker of an operator with low to high arguments, all of them evaluated."""

    def make(scope: Scope, spec: Any, name: str) -> Term:
        count = len(spec) if isinstance(spec, list) else 1
        if count < low or (high is not None and count > high):
            wanted = f"{low}" if low == high else f"{low} to {high}" if high is not None else f"at least {low}"
            fail(f"{name} takes {wanted} arguments, not {count}", code)
        terms = arguments(scope, spec)
        if len(terms) == 1:
            (only,) = terms
            return folded(terms, lambda v: function(only(v)))
        if len(terms) == 2:
            first, second = terms
            return folded(terms, lambda v: function(first(v), second(v)))
        return folded(terms, lambda v: function(*[term(v) for term in terms]))

    return make


def fixed(count: int, function: Callable[..., Any]) -> Maker:
    """Return the maker of an operator with exactly so many arguments."""
    return between(count, count, function, 16020)


def variadic(function: Callable[[list[Any]], Any]) -> Maker:
    """Return the maker of an operator with any number of arguments, given as one list."""

    def make(scope: Scope, spec: Any, name: str) -> Term:
        terms = arguments(scope, spec)
        return folded(terms, lambda v: function([term(v) for term in terms]))

    return make


def named_terms(
    scope: Scope, spec: Any, name: str, required: Mapping[str, int], optional: tuple[str, ...], shape: int, unknown: int
) -> dict[str, Term]:
    """Return the terms of named arguments; ``required`` gives the error code of each absence."""
    if not isinstance(spec, dict):
        fail(f"{name} takes an object of named arguments, not {type_name(spec)}", shape)
    for key in spec:
        if key not in required and key not in optional:
            fail(f"{name} has no argument {key!r}", unknown, hint=f"it takes {', '.join((*required, *optional))}")
    for key, code in required.items():
        if key not in spec:
            fail(f"{name} needs {key!r}", code)
    return {key: scope.compile(item) for key, item in spec.items()}


def named(
    function: Callable[..., Any],
    required: Mapping[str, int],
    optional: tuple[str, ...] = (),
    *,
    shape: int,
    unknown: int,
) -> Maker:
    """Return the maker of an operator with named arguments, given to the function by keyword when they stand in the call."""

    def make(scope: Scope, spec: Any, name: str) -> Term:
        terms = named_terms(scope, spec, name, required, optional, shape, unknown)
        return folded(list(terms.values()), lambda v: function(**{key: term(v) for key, term in terms.items()}))

    return make


def is_long(value: int) -> bool:
    """Tell whether an integer has the type long."""
    return type(value) is Int64 or not INT32_MIN <= value <= INT32_MAX


def make_integer(value: int, long: bool) -> int:
    """Return an integer of type long when asked; beyond 32 bits it is long anyway."""
    return Int64(value) if long and INT32_MIN <= value <= INT32_MAX else int(value)


def fits_long(value: int) -> bool:
    """Tell whether an integer fits 64 bits."""
    return INT64_MIN <= value <= INT64_MAX


def widest(values: list[Any]) -> str:
    """Return the name of the widest number type among numbers ("int" for none)."""
    return max((type_name(value) for value in values), key=_RANKS.__getitem__, default="int")


def double_to_decimal(value: float) -> Decimal:
    """Return a double as MongoDB converts it: 15 digits."""
    if not math.isfinite(value):
        return Decimal(repr(value))
    if value == 0:
        return Decimal("-0") if math.copysign(1.0, value) < 0 else Decimal(0)
    return Decimal(f"{value:.14e}")


def as_decimal(value: Any) -> Decimal:
    """Return a number as Decimal."""
    if type(value) is Decimal:
        return value
    return double_to_decimal(value) if type(value) is float else Decimal(int(value))


def integer_of(value: Any) -> int | None:
    """Return the integer a number stands for, None when it is no number or not integral."""
    if not is_number(value) or value != value:
        return None
    if isinstance(value, int):
        return int(value)
    if value in (math.inf, -math.inf) or value != int(value):
        return None
    return int(value)


def rounded_double(value: Decimal | int) -> float:
    """Return the nearest double, infinite when too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
