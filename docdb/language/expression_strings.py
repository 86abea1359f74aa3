"""Operators over text (regular expressions: ``expression_regexes``).

What lives here: their makers, and MongoDB's conversion of other values to text where an operator allows it. What it must not know:
documents, stages. "CP" operators count characters, the others UTF-8 bytes.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from docdb.language.expression_arrays import int32_of
from docdb.language.expression_core import (
    Maker,
    between,
    fail,
    fits_long,
    fixed,
    is_nullish,
    named,
    variadic,
)
from docdb.language.values import Timestamp, is_number, type_name

__all__ = ["OPERATORS", "date_text", "loose_text", "number_text"]

_SPACES: Final = "\0 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_LOWER: Final = {c: c + 32 for c in range(65, 91)}
_UPPER: Final = {c: c - 32 for c in range(97, 123)}


def date_text(date: dt.datetime) -> str:
    """Return a date as MongoDB writes it: ISO 8601 with milliseconds and Z."""
    return f"{date.year:04d}-{date:%m-%dT%H:%M:%S}.{date.microsecond // 1000:03d}Z"


def number_text(value: Any) -> str:
    """Return a number as MongoDB writes it ($toString, $concat)."""
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return _double_text(value)
    if not value.is_finite():
        return "NaN" if value.is_nan() else "Infinity" if value > 0 else "-Infinity"
    return str(value)


def _double_text(value: float) -> str:
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if exponent:
        sign, digits = (exponent[0] if exponent[0] in "+-" else "+"), exponent.lstrip("+-")
        return f"{mantissa.removesuffix('.0')}e{sign}{digits.lstrip('0').rjust(2, '0')}"
    return text.removesuffix(".0")


def loose_text(value: Any, name: str, code: int = 16007) -> str:
    """Return the text of a value where MongoDB converts on its own: null is empty; bool, array, object and others are errors."""
    if is_nullish(value):
        return ""
    if type(value) is str:
        return value
    if type(value) is dt.datetime:
        return date_text(value)
    if type(value) is float:
        return f"{value:g}"
    if is_number(value):
        return number_text(value)
    if type(value) is Timestamp:
        moment = dt.datetime.fromtimestamp(value.time, dt.UTC)
        return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}:{value.inc}"
    return fail(f"{name} takes text, not {type_name(value)}", code)


def _concat(values: list[Any]) -> Any:
    for value in values:
        if not is_nullish(value) and type(value) is not str:
            fail(f"$concat takes text, not {type_name(value)}", 16702)
        if is_nullish(value):
            return None
    return "".join(values)


def _index_of(codes: tuple[int, int], encode: Callable[[str], Any], name: str, by_position: bool = False) -> Maker:
    """Return the maker of a search; ``by_position``: a match, be it empty, begins before the end of what is searched."""

    def run(text: Any, part: Any, *bounds: Any) -> Any:
        if is_nullish(text):
            return None
        if type(text) is not str:
            fail(f"{name} searches text, not {type_name(text)}", codes[0])
        if type(part) is not str:
            fail(f"{name} searches for text, not {type_name(part)}", codes[1])
        whole, limits = encode(text), [0, None]
        for i, bound in enumerate(bounds):
            at = int32_of(bound)
            if at is None:
                fail(f"the bounds of {name} are integers", 40096)
            if at < 0:
                fail(f"the bounds of {name} are not negative", 40097)
            limits[i] = at
        low, high = limits[0] or 0, len(whole) if limits[1] is None else limits[1]
        if by_position and low >= min(high, len(whole)):
            return 0 if not whole and not part and not low else -1
        return -1 if low > len(whole) or high < low else whole.find(encode(part), low, high)

    return between(2, 4, run)


def _split(text: Any, separator: Any) -> Any:
    if is_nullish(text) or is_nullish(separator):
        return None
    if type(text) is not str:
        fail(f"$split takes text, not {type_name(text)}", 40085)
    if type(separator) is not str:
        fail(f"$split takes a text separator, not {type_name(separator)}", 10503900)
    if not separator:
        fail("the separator of $split is not empty", 40087)
    return text.split(separator)


def _length(name: str, code: int, encode: Callable[[str], Any]) -> Maker:
    def run(text: Any) -> int:
        if type(text) is not str:
            fail(f"{name} takes text, not {type_name(text)}", code)
        return len(encode(text))

    return fixed(1, run)


def _compare_case(left: Any, right: Any) -> int:
    a, b = (loose_text(value, "$strcasecmp").translate(_UPPER).encode() for value in (left, right))
    return (a > b) - (a < b)


def _sub_bytes(text: Any, start: Any, count: Any) -> str:
    body = loose_text(text, "$substrBytes").encode()
    if not is_number(start):
        fail(f"the start of $substrBytes is a number, not {type_name(start)}", 16034)
    if not is_number(count):
        fail(f"the length of $substrBytes is a number, not {type_name(count)}", 16035)
    low, length = _cut(start), _cut(count)
    if low < 0:
        fail("the start of $substrBytes is not negative", 50752)
    if low < len(body) and body[low] & 0xC0 == 0x80:
        fail("the start of $substrBytes lies inside a character", 28656)
    high = len(body) if length < 0 else min(low + length, len(body))
    if high < len(body) and body[high] & 0xC0 == 0x80:
        fail("the end of $substrBytes lies inside a character", 28657)
    return body[low:high].decode() if low < high else ""


def _cut(value: Any) -> int:
    if isinstance(value, float) and not (math.isfinite(value) and fits_long(int(value))):
        fail(f"{value} is no position", 31109)
    if isinstance(value, Decimal):
        # MongoDB's conversion gives the smallest 64 bit integer for what does not fit: negative, whatever its sign was.
        if not value.is_finite() or abs(value) >= 2**63:
            return -1
        return int(value.to_integral_value(ROUND_HALF_EVEN))
    return int(value)


def _sub_characters(text: Any, start: Any, count: Any) -> str:
    body = loose_text(text, "$substrCP")
    if not is_number(start):
        fail(f"the start of $substrCP is a number, not {type_name(start)}", 34450)
    low = int32_of(start)
    if low is None:
        fail("the start of $substrCP is a 32 bit integer", 34451)
    if not is_number(count):
        fail(f"the length of $substrCP is a number, not {type_name(count)}", 34452)
    length = int32_of(count)
    if length is None:
        fail("the length of $substrCP is a 32 bit integer", 34453)
    if length < 0:
        fail("the length of $substrCP is not negative", 34454)
    if low < 0:
        fail("the start of $substrCP is not negative", 34455)
    return body[low : low + length]


def _trim(name: str, left: bool, right: bool) -> Maker:
    def run(input: Any, chars: Any = _SPACES) -> Any:
        if not is_nullish(input) and type(input) is not str:
            fail(f"the input of {name} is text, not {type_name(input)}", 50699)
        if is_nullish(input):
            return None
        if is_nullish(chars):
            return None
        if type(chars) is not str:
            fail(f"the chars of {name} are text, not {type_name(chars)}", 50700)
        text = input.lstrip(chars) if left and chars else input
        return text.rstrip(chars) if right and chars else text

    return named(run, {"input": 50695}, ("chars",), shape=50696, unknown=50694)


def _replace(name: str, count: int) -> Maker:
    def run(input: Any, find: Any, replacement: Any) -> Any:
        for value, code, what in (
            (input, 10503904, "input"),
            (find, 10503901, "find"),
            (replacement, 10503902, "replacement"),
        ):
            if not is_nullish(value) and type(value) is not str:
                fail(f"the {what} of {name} is text, not {type_name(value)}", code)
        if is_nullish(input) or is_nullish(find) or is_nullish(replacement):
            return None
        return input.replace(find, replacement, count)

    return named(run, {"input": 51749, "find": 51748, "replacement": 51747}, shape=51751, unknown=51750)


OPERATORS: Final[dict[str, Maker]] = {
    "$concat": variadic(_concat),
    "$indexOfBytes": _index_of((40091, 40092), str.encode, "$indexOfBytes"),
    "$indexOfCP": _index_of((40093, 40094), str, "$indexOfCP", True),
    "$ltrim": _trim("$ltrim", True, False),
    "$replaceAll": _replace("$replaceAll", -1),
    "$replaceOne": _replace("$replaceOne", 1),
    "$rtrim": _trim("$rtrim", False, True),
    "$split": fixed(2, _split),
    "$strLenBytes": _length("$strLenBytes", 34473, str.encode),
    "$strLenCP": _length("$strLenCP", 34471, str),
    "$strcasecmp": fixed(2, _compare_case),
    "$substr": fixed(3, _sub_bytes),
    "$substrBytes": fixed(3, _sub_bytes),
    "$substrCP": fixed(3, _sub_characters),
    "$toLower": fixed(1, lambda value: loose_text(value, "$toLower").translate(_LOWER)),
    "$toUpper": fixed(1, lambda value: loose_text(value, "$toUpper").translate(_UPPER)),
    "$trim": _trim("$trim", True, True),
}
