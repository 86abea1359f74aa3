"""What kind of column holds what values: one type for all values of a field.

What lives here: ``ColumnType``, ``type_of`` a value, ``united``, ``type_of_all``. What it must not know: bytes, pyarrow, where values come from.

    values                          kind            beside
    null, missing                   null            anything
    bool                            bool
    int, Int64                      int64           float64 while no int is beyond 2**53; decimal
    float                           float64
    Decimal                         decimal         all digits of all values kept, at most 76; NaN and infinities refused
    str                             utf8
    ObjectId, UUID                  object_id, uuid as their text: joins and files know no other form of them
    bytes, Binary                   binary          the subtype is not told
    datetime                        timestamp       microseconds, UTC
    array                           list            elements by the same rules
    object                          struct          a field for every name met, in the order met
    Regex, Timestamp, MinKey, ...   none: refused

Whatever is not in the last column is refused with the field and both kinds, as a guess would lose values.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce
from typing import Any, Final

from docdb.errors import UsageError
from docdb.language.values import MISSING, Binary, Int64, Missing, ObjectId

__all__ = ["ColumnType", "MOST_DIGITS", "NARROW_DIGITS", "NULL", "type_of", "type_of_all", "united"]

EXACT: Final = 2**53  # up to here every int is a float
NARROW_DIGITS: Final = 38  # of a decimal in 16 bytes
MOST_DIGITS: Final = 76  # in 32 bytes
INT_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A kind, and what it needs besides. ``wide``: an int64 with values beyond 2**53. ``digits`` before and ``scale`` behind a decimal's point.
    ``fields``: those of a struct, or ``item`` of a list."""

    kind: str
    wide: bool = False
    digits: int = 0
    scale: int = 0
    fields: tuple[tuple[str, ColumnType], ...] = ()

    @property
    def item(self) -> ColumnType:
        """The type of a list's elements."""
        return self.fields[0][1]

    def __str__(self) -> str:
        return f"{self.kind} beyond 2**53" if self.wide else self.kind


NULL: Final = ColumnType("null")
_INT: Final = ColumnType("int64")
_WIDE_INT: Final = ColumnType("int64", wide=True)
_FLOAT: Final = ColumnType("float64")
_SIMPLE: Final[dict[type, ColumnType]] = {
    type(None): NULL,
    Missing: NULL,
    bool: ColumnType("bool"),
    float: _FLOAT,
    str: ColumnType("utf8"),
    bytes: ColumnType("binary"),
    Binary: ColumnType("binary"),
    dt.datetime: ColumnType("timestamp"),
    ObjectId: ColumnType("object_id"),
    uuid.UUID: ColumnType("uuid"),
}


def type_of(value: Any, path: str) -> ColumnType:
    """Return the type of one canonical value; UsageError for what no column holds."""
    kind = type(value)
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple
    if kind is int or kind is Int64:
        return _INT if -EXACT <= value <= EXACT else _WIDE_INT
    if kind is dict:
        return ColumnType(
            "struct", fields=tuple((name, type_of(item, f"{path}.{name}")) for name, item in value.items())
        )
    if kind is list:
        return ColumnType("list", fields=(("item", type_of_all(value, path)),))
    if kind is Decimal:
        return _decimal_type(value, path)
    raise _refused(f"a {kind.__name__} has no place in a column", path)


def type_of_all(values: Sequence[Any], path: str) -> ColumnType:
    """Return the one type that holds all the values. Cost: one look at each; of most columns only at their classes."""
    kinds = set(map(type, values)) - {type(None), Missing}
    if not kinds:
        return NULL
    if len(kinds) == 1 and (simple := _SIMPLE.get(next(iter(kinds)))) is not None:
        return simple
    if kinds <= {int, Int64}:
        some = [value for value in values if value is not None and value is not MISSING]
        return _INT if min(some) >= -EXACT and max(some) <= EXACT else _WIDE_INT
    return reduce(lambda one, value: united(one, type_of(value, path), path), values, NULL)


def united(one: ColumnType, other: ColumnType, path: str) -> ColumnType:
    """Return the type that holds the values of both; UsageError that names the field and both when there is none."""
    if one == other or other is NULL or other.kind == "null":
        return one
    if one.kind == "null":
        return other
    if one.kind == other.kind:
        return _UNITED[one.kind](one, other, path)
    kinds = {one.kind, other.kind}
    if kinds == {"int64", "float64"} and not (one.wide or other.wide):
        return _FLOAT
    if kinds == {"int64", "decimal"}:
        decimal = one if one.kind == "decimal" else other
        return _checked_decimal(max(decimal.digits, INT_DIGITS), decimal.scale, path)
    raise _refused(f"{one} and {other} have no column in common", path)


def _united_decimals(one: ColumnType, other: ColumnType, path: str) -> ColumnType:
    return _checked_decimal(max(one.digits, other.digits), max(one.scale, other.scale), path)


def _united_ints(one: ColumnType, other: ColumnType, path: str) -> ColumnType:
    return _WIDE_INT


def _united_lists(one: ColumnType, other: ColumnType, path: str) -> ColumnType:
    return replace(one, fields=(("item", united(one.item, other.item, path)),))


def _united_structs(one: ColumnType, other: ColumnType, path: str) -> ColumnType:
    fields = dict(one.fields)
    for name, kind in other.fields:
        fields[name] = united(fields[name], kind, f"{path}.{name}") if name in fields else kind
    return replace(one, fields=tuple(fields.items()))


_UNITED: Final = {
    "decimal": _united_decimals,
    "int64": _united_ints,
    "list": _united_lists,
    "struct": _united_structs,
}


def _decimal_type(value: Decimal, path: str) -> ColumnType:
    if not value.is_finite():
        raise _refused(f"the decimal {value} has no place in a column", path)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if not value:
        return _checked_decimal(1, 0, path)
    return _checked_decimal(max(len(digits) + exponent, 0), max(-exponent, 0), path)


def _checked_decimal(digits: int, scale: int, path: str) -> ColumnType:
    if digits + scale > MOST_DIGITS:
        raise _refused(
            f"decimals with {digits} digits before and {scale} behind the point need more than {MOST_DIGITS} together",
            path,
        )
    return ColumnType("decimal", digits=digits, scale=scale)


def _refused(message: str, path: str) -> UsageError:
    top = path.split(".", 1)[0]
    return UsageError(
        message, path=path, hint=f"text=[{top!r}] makes a column of text of it, a projection leaves it out"
    )


def names_of(documents: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names of all fields, in the order they are met."""
    return list(dict.fromkeys(name for document in documents for name in document))
