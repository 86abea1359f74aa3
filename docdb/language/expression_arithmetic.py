"""Operators over numbers: arithmetic, rounding, logarithms, trigonometry, bits.

What lives here: their makers and MongoDB's rules of the result's type: int grows to long when it overflows, long to double,
double with decimal gives decimal. What it must not know: documents.
"""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from docdb.errors import NotSupportedError
from docdb.language.expression_core import (
    DECIMAL,
    DivisionByZero,
    Maker,
    Scope,
    Term,
    as_decimal,
    between,
    fail,
    fits_long,
    fixed,
    integer_of,
    is_long,
    is_nullish,
    make_integer,
    rounded_double,
    variadic,
    widest,
)
from docdb.language.values import is_number, type_name

__all__ = ["OPERATORS", "add_numbers"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TEN: Final = Decimal(10)
_PI: Final = Decimal("3.141592653589793238462643383279503")


def integral(value: int, long: bool) -> Any:
    """Return an integer result: long or int as asked, double beyond 64 bits."""
    return make_integer(value, long) if fits_long(value) else rounded_double(value)


def add_numbers(values: list[Any]) -> Any:
    """Return the sum of numbers in the widest of their types."""
    kind = widest(values)
    if kind in ("int", "long"):
        return integral(sum(int(value) for value in values), kind == "long")
    if kind == "double":
        return _double_sum(values)
    total = Decimal(0)
    doubles = [value for value in values if type(value) is float]
    for value in values:
        if type(value) is not float:
            total = DECIMAL.add(total, as_decimal(value))
    return DECIMAL.add(total, as_decimal(_double_sum(doubles))) if doubles else total


def _double_sum(values: list[Any]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return float(sum(rounded_double(v) if isinstance(v, int) else v for v in values))


def _add(values: list[Any]) -> Any:
    dates = [value for value in values if type(value) is dt.datetime]
    for value in values:
        if not is_number(value) and not is_nullish(value) and type(value) is not dt.datetime:
            fail(f"$add takes numbers and dates, not {type_name(value)}", 14)
    if any(is_nullish(value) for value in values):
        return None
    if len(dates) > 1:
        fail("$add takes at most one date", 16612)
    if not dates:
        return add_numbers(values)
    return shift_date(dates[0], add_numbers([value for value in values if value is not dates[0]]))


def shift_date(date: dt.datetime, milliseconds: Any) -> dt.datetime:
    """Return a date moved by milliseconds, rounded to the whole ones."""
    if isinstance(milliseconds, int):
        whole = int(milliseconds)
    elif milliseconds != milliseconds or milliseconds in (math.inf, -math.inf):
        fail("a date moved by this number is no date", 15)
    else:
        whole = int(
            Decimal(milliseconds).to_integral_value(ROUND_HALF_EVEN if type(milliseconds) is Decimal else ROUND_HALF_UP)
        )
    if not fits_long(whole):
        fail("a date moved by this number is no date", 15)
    try:
        return date + dt.timedelta(milliseconds=whole)
    except OverflowError:
        fail("the date lies outside the years 1 to 9999", 15)


def _subtract(left: Any, right: Any) -> Any:
    if is_nullish(left) or is_nullish(right):
        return None
    if is_number(left) and is_number(right):
        kind = widest([left, right])
        if kind == "decimal":
            return DECIMAL.subtract(as_decimal(left), as_decimal(right))
        if kind == "double":
            return float(left) - float(right)
        return integral(int(left) - int(right), kind == "long")
    if type(left) is dt.datetime and type(right) is dt.datetime:
        return make_integer(milliseconds_of(left) - milliseconds_of(right), True)
    if type(left) is dt.datetime and is_number(right):
        return shift_date(left, -right)
    return fail(f"$subtract cannot take {type_name(right)} from {type_name(left)}", 14)


def milliseconds_of(date: dt.datetime) -> int:
    """Return milliseconds since 1970, rounded down."""
    return (date - _EPOCH) // dt.timedelta(milliseconds=1)


def _multiply(values: list[Any]) -> Any:
    if any(is_nullish(value) for value in values):
        return None
    for value in values:
        if not is_number(value):
            fail(f"$multiply takes numbers, not {type_name(value)}", 14)
    kind = widest(values)
    if kind == "decimal":
        product = Decimal(1)
        for value in values:
            product = DECIMAL.multiply(product, as_decimal(value))
        return product
    if kind == "double":
        result = 1.0
        for value in values:
            result *= float(value)
        return result
    return integral(math.prod(int(value) for value in values), kind == "long")


def _divide(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        if right == 0:
            raise DivisionByZero("cannot divide by zero", 2, 4848401)
        if widest([left, right]) == "decimal":
            return DECIMAL.divide(as_decimal(left), as_decimal(right))
        return float(left) / float(right)
    if is_nullish(left) or is_nullish(right):
        return None
    return fail(f"$divide takes numbers, not {type_name(left)} and {type_name(right)}", 14)


def _mod(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        kind = widest([left, right])
        if right == 0:
            code, in_group = (5733415, 5733415) if kind == "decimal" else (16610, 4848403)
            raise DivisionByZero("cannot $mod by zero", code, in_group)
        if kind == "decimal":
            return _decimal_remainder(as_decimal(left), as_decimal(right))
        if kind == "double":
            return math.fmod(left, right) if math.isfinite(left) else math.nan
        remainder = abs(int(left)) % abs(int(right))
        return make_integer(-remainder if left < 0 else remainder, kind == "long")
    if is_nullish(left) or is_nullish(right):
        return None
    return fail(f"$mod takes numbers, not {type_name(left)} and {type_name(right)}", 16611)


def _decimal_remainder(left: Decimal, right: Decimal) -> Decimal:
    result = DECIMAL.remainder(left, right)
    if not result.is_nan() or not (left.is_finite() and right.is_finite()):
        return result
    return DECIMAL.plus(Context(prec=13000, Emin=-7000, Emax=7000, traps=[]).remainder(left, right))


def _pow(base: Any, exponent: Any) -> Any:
    if is_nullish(base) or is_nullish(exponent):
        return None
    if not is_number(base):
        fail(f"the base of $pow is a number, not {type_name(base)}", 28762)
    if not is_number(exponent):
        fail(f"the exponent of $pow is a number, not {type_name(exponent)}", 28763)
    if base == 0 and exponent < 0:
        fail("$pow cannot take 0 to a negative exponent", 28764)
    kind = widest([base, exponent])
    if kind == "decimal":
        return DECIMAL.power(as_decimal(base), as_decimal(exponent)) if exponent != 0 else Decimal(1)
    if kind == "double" or (exponent < 0 and abs(base) != 1):
        return _double_power(float(base), float(exponent))
    if exponent < 0:
        return make_integer(int(base) if int(exponent) % 2 else 1, kind == "long")
    if abs(base) > 1 and exponent > 64:
        return _double_power(float(base), float(exponent))
    return integral(int(base) ** int(exponent), kind == "long")


def _double_power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        return math.nan


def _numeric(
    name: str, of_double: Callable[[float], float], of_decimal: Callable[[Decimal], Decimal], code: int = 28765
) -> Maker:
    """Return the maker of a function of one number that answers in double or decimal; null gives null."""

    def run(value: Any) -> Any:
        if is_nullish(value):
            return None
        if not is_number(value):
            fail(f"{name} takes a number, not {type_name(value)}", code)
        return of_decimal(value) if type(value) is Decimal else of_double(float(value))

    return fixed(1, run)


def _abs(value: Any) -> Any:
    if is_nullish(value):
        return None
    if not is_number(value):
        fail(f"$abs takes a number, not {type_name(value)}", 28765)
    if isinstance(value, int):
        if value == -(2**63):
            fail("the absolute value does not fit 64 bits", 28680)
        return make_integer(abs(int(value)), is_long(value))
    return value.copy_abs() if type(value) is Decimal else abs(value)


def _whole(name: str, of_double: Callable[[float], int], mode: str) -> Maker:
    def run(value: Any) -> Any:
        if is_nullish(value):
            return None
        if not is_number(value):
            fail(f"{name} takes a number, not {type_name(value)}", 28765)
        if isinstance(value, int):
            return value
        if type(value) is Decimal:
            # MongoDB quantizes, so that what is not finite or has no room for its digits is NaN.
            return value.quantize(Decimal(1), mode, DECIMAL)
        return math.copysign(float(of_double(value)), value) if math.isfinite(value) else value

    return fixed(1, run)


def _rounding(name: str, mode: str) -> Maker:
    def run(value: Any, place: Any = 0) -> Any:
        if is_nullish(value):
            return None
        if not is_number(value):
            fail(f"{name} takes a number, not {type_name(value)}", 51081)
        places = _places(name, place)
        return None if places is None else _round(name, value, places, mode)

    return between(1, 2, run)


def _places(name: str, place: Any) -> int | None:
    if is_nullish(place):
        return None
    if not is_number(place):
        fail(f"the places of {name} are a number, not {type_name(place)}", 16004)
    if isinstance(place, float | Decimal) and not math.isfinite(place):
        fail(f"the places of {name} are finite", 31109)
    places = integer_of(place)
    if places is None:
        fail(f"the places of {name} are a whole number", 51082)
    if not -20 <= places <= 100:
        fail(f"the places of {name} are -20 to 100", 51083)
    return places


def _round(name: str, value: Any, places: int, mode: str) -> Any:
    if type(value) is Decimal:
        if not value.is_finite():
            return value
        result = value.quantize(Decimal(1).scaleb(-places), mode, DECIMAL)
        return value if result.is_nan() else result
    if isinstance(value, int):
        if places >= 0:
            return value
        shifted = int(Decimal(int(value)).quantize(Decimal(1).scaleb(-places), mode).to_integral_value())
        if not fits_long(shifted):
            fail(f"{name} leaves 64 bits", 51080)
        return make_integer(shifted, is_long(value))
    if not math.isfinite(value):
        return value
    if places == 0:
        whole = float(math.trunc(value)) if mode == ROUND_DOWN else float(round(value))
    else:
        exact = DECIMAL.create_decimal(
            Decimal(value)
        )  # what the double holds, not its shortest spelling: 0.29 is below 0.29
        if -int(exact.as_tuple().exponent) <= places:
            return value
        whole = float(exact.quantize(Decimal(1).scaleb(-places), mode, DECIMAL))
    return math.copysign(whole, value)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _positive(
    name: str, code: int, of_double: Callable[[float], float], of_decimal: Callable[[Decimal], Decimal], floor: bool
) -> Maker:
    """Return the maker of a function that is defined above zero (``floor``: at zero too)."""

    def run(value: Any) -> Any:
        if is_nullish(value):
            return None
        if not is_number(value):
            fail(f"{name} takes a number, not {type_name(value)}", 28765)
        if value == value and (value < 0 or (value == 0 and not floor)):
            fail(f"{name} is not defined for {value}", code)
        return of_decimal(value) if type(value) is Decimal else of_double(float(value))

    return fixed(1, run)


def _log(value: Any, base: Any) -> Any:
    if is_nullish(value) or is_nullish(base):
        return None
    if not is_number(value):
        fail(f"$log takes a number, not {type_name(value)}", 28756)
    if not is_number(base):
        fail(f"the base of $log is a number, not {type_name(base)}", 28757)
    if value == value and value <= 0:
        fail("$log takes a positive number", 28758)
    if base == base and (base <= 0 or base == 1):
        fail("the base of $log is positive and not 1", 28759)
    if widest([value, base]) == "decimal":
        return DECIMAL.divide(as_decimal(value).ln(DECIMAL), as_decimal(base).ln(DECIMAL))
    return math.log(value) / math.log(base)


def _sigmoid(value: Any) -> Any:
    if is_nullish(value):
        return None
    if not is_number(value):
        fail(f"$sigmoid takes a number, not {type_name(value)}", 14)
    if type(value) is Decimal:
        return DECIMAL.divide(Decimal(1), DECIMAL.add(Decimal(1), (-value).exp(DECIMAL)))
    return 1.0 / (1.0 + _exp(-float(value)))


def _sigmoid_maker(scope: Scope, spec: Any, name: str) -> Term:
    # An array is a value here, never a list of arguments.
    return fixed(1, _sigmoid)(scope, [spec], name)


def _trig(name: str, function: Callable[[float], float], low: float = -math.inf, high: float = math.inf) -> Maker:
    """Return the maker of a trigonometric function; decimals are computed in double, which is less than MongoDB's 34 digits."""

    def of_double(value: float) -> float:
        if value != value:
            return value
        if not low <= value <= high or (math.isinf(value) and name in ("$cos", "$sin", "$tan")):
            fail(f"{name} takes a number from {low} to {high}", 50989)
        try:
            return function(value)
        except OverflowError:
            return math.copysign(math.inf, value) if name != "$cosh" else math.inf
        except ValueError:
            return math.copysign(math.inf, value)

    return _numeric(name, of_double, lambda value: DECIMAL.create_decimal(repr(of_double(float(value)))))


def _scaled(name: str, factor: float, decimal_factor: Decimal) -> Maker:
    return _numeric(name, lambda value: value * factor, lambda value: DECIMAL.multiply(value, decimal_factor))


def _atan2(y: Any, x: Any) -> Any:
    if is_nullish(y) or is_nullish(x):
        return None
    for value, code in ((y, 51044), (x, 51045)):
        if not is_number(value):
            fail(f"$atan2 takes numbers, not {type_name(value)}", code)
    result = math.atan2(y, x)
    return DECIMAL.create_decimal(repr(result)) if widest([y, x]) == "decimal" else result


def _bits(name: str, start: int, step: Callable[[int, int], int]) -> Maker:
    def run(values: list[Any]) -> Any:
        for value in values:
            if not is_nullish(value) and not isinstance(value, int) or isinstance(value, bool):
                fail(f"{name} takes int and long, not {type_name(value)}", 14)
        if any(is_nullish(value) for value in values):
            return None
        result = start
        for value in values:
            result = step(result, int(value))
        return make_integer(result, any(is_long(value) for value in values))

    return variadic(run)


def _bit_not(value: Any) -> Any:
    if is_nullish(value):
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        fail(f"$bitNot takes int and long, not {type_name(value)}", 14)
    return make_integer(~int(value), is_long(value))


def _rand(scope: Scope, spec: Any, name: str) -> Term:
    if not isinstance(spec, dict | list):
        fail("$rand takes an empty object", 10065)
    if spec:
        fail("$rand takes no arguments", 3040501)
    return lambda v: random.random()


def _sample_rate(scope: Scope, spec: Any, name: str) -> Term:
    raise NotSupportedError("$sampleRate stands in $match only", path=name)


OPERATORS: Final[dict[str, Maker]] = {
    "$abs": fixed(1, _abs),
    "$acos": _trig("$acos", math.acos, -1, 1),
    "$acosh": _trig("$acosh", math.acosh, 1),
    "$add": variadic(_add),
    "$asin": _trig("$asin", math.asin, -1, 1),
    "$asinh": _trig("$asinh", math.asinh),
    "$atan": _trig("$atan", math.atan),
    "$atan2": fixed(2, _atan2),
    "$atanh": _trig("$atanh", math.atanh, -1, 1),
    "$bitAnd": _bits("$bitAnd", -1, lambda a, b: a & b),
    "$bitNot": fixed(1, _bit_not),
    "$bitOr": _bits("$bitOr", 0, lambda a, b: a | b),
    "$bitXor": _bits("$bitXor", 0, lambda a, b: a ^ b),
    "$ceil": _whole("$ceil", math.ceil, ROUND_CEILING),
    "$cos": _trig("$cos", math.cos),
    "$cosh": _trig("$cosh", math.cosh),
    "$degreesToRadians": _scaled("$degreesToRadians", math.pi / 180, DECIMAL.divide(_PI, Decimal(180))),
    "$divide": fixed(2, _divide),
    "$exp": _numeric("$exp", _exp, lambda value: value.exp(DECIMAL)),
    "$floor": _whole("$floor", math.floor, ROUND_FLOOR),
    "$ln": _positive("$ln", 28766, math.log, lambda value: value.ln(DECIMAL), False),
    "$log": fixed(2, _log),
    "$log10": _positive("$log10", 28761, math.log10, lambda value: value.log10(DECIMAL), False),
    "$mod": fixed(2, _mod),
    "$multiply": variadic(_multiply),
    "$pow": fixed(2, _pow),
    "$radiansToDegrees": _scaled("$radiansToDegrees", 180 / math.pi, DECIMAL.divide(Decimal(180), _PI)),
    "$rand": _rand,
    "$round": _rounding("$round", ROUND_HALF_EVEN),
    "$sampleRate": _sample_rate,
    "$sigmoid": _sigmoid_maker,
    "$sin": _trig("$sin", math.sin),
    "$sinh": _trig("$sinh", math.sinh),
    "$sqrt": _positive("$sqrt", 28714, math.sqrt, lambda value: value.sqrt(DECIMAL), True),
    "$subtract": fixed(2, _subtract),
    "$tan": _trig("$tan", math.tan),
    "$tanh": _trig("$tanh", math.tanh),
    "$trunc": _rounding("$trunc", ROUND_DOWN),
}
