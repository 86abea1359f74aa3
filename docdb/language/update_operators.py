"""Update operators on one field.

What lives here: $set, $setOnInsert, $unset, $inc, $mul, $min, $max, $rename, $currentDate, $bit. What it must not know: how
paths are walked (``update_paths``), arrays (``update_arrays``), filters.

A maker checks an operand once and returns the leaf; the leaf turns the old value (MISSING for none) into the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN
from decimal import Context as DecimalContext
from operator import add, and_, mul, or_, xor
from typing import Any, Final

from docdb.errors import DocumentError, UpdateError
from docdb.language import values
from docdb.language.expression_core import as_decimal, fits_long, is_long, make_integer
from docdb.language.order import order_key
from docdb.language.paths import identical, read
from docdb.language.update_paths import Context, Leaf
from docdb.language.values import MISSING, Int64, Timestamp, is_number, type_name

__all__ = ["Assign", "EnsureObject", "FIELD_OPERATORS", "Maker", "Scope", "rename_leaves"]

_DECIMAL: Final = DecimalContext(prec=34, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1, traps=[])


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for every operand of an update."""

    collation: Any
    naive_utc: bool
    let: Mapping[str, Any] | None

    def canonical(self, value: Any, where: str) -> Any:
        """Return the canonical form of an operand."""
        try:
            return values.canonical(value, naive_utc=self.naive_utc)
        except DocumentError as error:
            path = f"{where}.{error.path}" if error.path else where
            raise DocumentError(error.message, path=path, hint=error.hint, code=error.code) from error

    def key(self, value: Any) -> bytes:
        """Return the bytes that equality and order of values go by."""
        return order_key(value) if self.collation is None else self.collation.order_key(value)


Maker = Callable[[Scope, str, Any, str], Leaf]  # scope, path, operand, where the operand stands


class Assign(Leaf):
    """$set: the field is this value."""

    __slots__ = ("value",)

    def __init__(self, path: str, value: Any) -> None:
        super().__init__(path)
        self.value = value

    def apply(self, value: Any, context: Context) -> Any:
        return value if identical(value, self.value) else self.value


class AssignOnInsert(Assign):
    """$setOnInsert: the same, for a document that an upsert makes."""

    __slots__ = ()

    def idle(self, context: Context) -> bool:
        return not context.inserting


class EnsureObject(Leaf):
    """The merge form's ``{"a": {}}``: an object stays as it is, anything else becomes an empty one."""

    __slots__ = ()

    def apply(self, value: Any, context: Context) -> Any:
        return value if value.__class__ is dict else {}


class Remove(Leaf):
    """$unset: the field is gone (an array element becomes null)."""

    __slots__ = ()
    tolerant = True

    def apply(self, value: Any, context: Context) -> Any:
        return MISSING


class Arithmetic(Leaf):
    """$inc and $mul."""

    __slots__ = ("amount", "calculate", "name")

    def __init__(self, path: str, name: str, calculate: Callable[[Any, Any], Any], amount: Any) -> None:
        super().__init__(path)
        self.name, self.calculate, self.amount = name, calculate, amount

    def apply(self, value: Any, context: Context) -> Any:
        if value is MISSING:
            return self.amount if self.name == "$inc" else _calculated(mul, 0, self.amount, self.path)
        if not is_number(value):
            raise UpdateError(f"{self.name} needs a number there, not {type_name(value)}", path=self.path, code=14)
        new = _calculated(self.calculate, value, self.amount, self.path)
        # Equal in type and value is no change; so -0.0 + 0.0 stays -0.0, as in MongoDB.
        return value if (type(new) is type(value) and new == value) or identical(value, new) else new


def _calculated(calculate: Callable[[Any, Any], Any], left: Any, right: Any, path: str) -> Any:
    """Return sum or product in the wider of the two types; int grows to long, long must fit."""
    kinds = {type_name(left), type_name(right)}
    if "decimal" in kinds:
        method = _DECIMAL.add if calculate is add else _DECIMAL.multiply
        return method(as_decimal(left), as_decimal(right))
    if "double" in kinds:
        return calculate(float(left), float(right))
    result = calculate(int(left), int(right))
    if not fits_long(result):
        raise UpdateError(
            "the result does not fit 64 bits", path=path, code=2, hint="store the field as Decimal or float"
        )
    return make_integer(result, "long" in kinds)


class Bound(Leaf):
    """$min and $max: the value, where it comes before (after) the old one in the order of all values."""

    __slots__ = ("_key", "scope", "upper", "value")

    def __init__(self, path: str, scope: Scope, value: Any, upper: bool) -> None:
        super().__init__(path)
        self.scope, self.value, self.upper = scope, value, upper
        self._key = scope.key(value)

    def apply(self, value: Any, context: Context) -> Any:
        if value is MISSING:
            return self.value
        old = self.scope.key(value)
        better = self._key > old if self.upper else self._key < old
        return self.value if better else value


class Bits(Leaf):
    """$bit: and, or, xor on int and long."""

    __slots__ = ("steps",)

    def __init__(self, path: str, steps: list[tuple[Callable[[int, int], int], int]]) -> None:
        super().__init__(path)
        self.steps = steps

    def apply(self, value: Any, context: Context) -> Any:
        if value is not MISSING and type(value) is not int and type(value) is not Int64:
            raise UpdateError(f"$bit needs an integer there, not {type_name(value)}", path=self.path, code=2)
        old: Any = 0 if value is MISSING else value
        result, long = int(old), is_long(old)
        for calculate, operand in self.steps:
            result = calculate(result, int(operand))
            long = long or is_long(operand)
        new = make_integer(result, long)
        return value if identical(value, new) else new


class CurrentDate(Leaf):
    """$currentDate: the moment of the statement."""

    __slots__ = ("as_timestamp",)

    def __init__(self, path: str, as_timestamp: bool) -> None:
        super().__init__(path)
        self.as_timestamp = as_timestamp

    def apply(self, value: Any, context: Context) -> Any:
        return Timestamp(int(context.now.timestamp()), 1) if self.as_timestamp else context.now


class RenameSource(Leaf):
    """The old name of $rename: the field goes when it was there."""

    __slots__ = ()
    tolerant = True

    def apply(self, value: Any, context: Context) -> Any:
        return MISSING


class RenameTarget(Leaf):
    """The new name of $rename: takes the value the old name had before the update."""

    __slots__ = ("source",)

    def __init__(self, path: str, source: tuple[str, ...]) -> None:
        super().__init__(path)
        self.source = source

    def idle(self, context: Context) -> bool:
        return self._value(context.original) is MISSING

    def apply(self, value: Any, context: Context) -> Any:
        if self.source[0] == "_id" or self.path.split(".")[0] == "_id":
            raise UpdateError("_id cannot be changed", path=self.path, code=66)
        return self._value(context.original)

    def enter_array(self) -> None:
        raise UpdateError("$rename cannot put a field into an array", path=self.path, code=2)

    def _value(self, document: Any) -> Any:
        found = read(document, self.source)
        if found is not MISSING:
            return found
        for at, part in enumerate(self.source):
            if document.__class__ is list:
                raise UpdateError("$rename cannot take a field out of an array", path=".".join(self.source), code=2)
            if document.__class__ is not dict:
                message = f"cannot create field {part!r} in an element of type {type_name(document)}"
                raise UpdateError(message, path=".".join(self.source[:at]), code=28)
            if part not in document:
                break
            document = document[part]
        return MISSING


def rename_leaves(source: tuple[str, ...], target: tuple[str, ...], where: str) -> list[tuple[tuple[str, ...], Leaf]]:
    """Return the two ends of a $rename."""
    for parts, what in ((source, "source"), (target, "target")):
        if any(part.startswith("$") for part in parts):
            raise UpdateError(f"the {what} of $rename may not be positional", path=where, code=2)
    shared = min(len(source), len(target))
    if source[:shared] == target[:shared]:
        raise UpdateError("source and target of $rename may not lie on one path", path=where, code=2)
    old, new = ".".join(source), ".".join(target)
    return [(source, RenameSource(old)), (target, RenameTarget(new, source))]


def _set(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    return Assign(path, scope.canonical(operand, where))


def _set_on_insert(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    return AssignOnInsert(path, scope.canonical(operand, where))


def _unset(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    return Remove(path)


def _arithmetic(name: str, calculate: Callable[[Any, Any], Any]) -> Maker:
    def make(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
        amount = scope.canonical(operand, where)
        if not is_number(amount):
            raise UpdateError(f"{name} takes a number, not {type_name(amount)}", path=where, code=14)
        return Arithmetic(path, name, calculate, amount)

    return make


def _bound(upper: bool) -> Maker:
    return lambda scope, path, operand, where: Bound(path, scope, scope.canonical(operand, where), upper)


def _current_date(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    if isinstance(operand, bool):
        return CurrentDate(path, False)
    if isinstance(operand, Mapping) and list(operand) == ["$type"] and operand["$type"] in ("date", "timestamp"):
        return CurrentDate(path, operand["$type"] == "timestamp")
    hint = "true, {'$type': 'date'} or {'$type': 'timestamp'}"
    raise UpdateError("$currentDate does not understand its operand", path=where, code=2, hint=hint)


_BIT_STEPS: Final[dict[str, Callable[[int, int], int]]] = {"and": and_, "or": or_, "xor": xor}


def _bit(scope: Scope, path: str, operand: Any, where: str) -> Leaf:
    if not isinstance(operand, Mapping) or not operand:
        raise UpdateError("$bit takes a document such as {'and': 5}", path=where, code=2)
    steps = []
    for name, raw in operand.items():
        amount = scope.canonical(raw, f"{where}.{name}")
        if name not in _BIT_STEPS:
            raise UpdateError(
                f"$bit knows no operation {name!r}", path=where, code=2, hint="the operations are and, or, xor"
            )
        if type(amount) is not int and type(amount) is not Int64:
            raise UpdateError(f"$bit takes integers, not {type_name(amount)}", path=f"{where}.{name}", code=2)
        steps.append((_BIT_STEPS[name], amount))
    return Bits(path, steps)


FIELD_OPERATORS: Final[dict[str, Maker]] = {
    "$bit": _bit,
    "$currentDate": _current_date,
    "$inc": _arithmetic("$inc", add),
    "$max": _bound(upper=True),
    "$min": _bound(upper=False),
    "$mul": _arithmetic("$mul", mul),
    "$set": _set,
    "$setOnInsert": _set_on_insert,
    "$unset": _unset,
}
