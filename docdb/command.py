"""The command object: ``from docdb import command as _``.

What lives here: one function per query command, update command and projection command, and ``aggregate`` with the
expression builders. The module is the object. What it must not know: how conditions become filters (``conditions``),
how updates are applied, sessions. Names that collide with Python's keywords end in ``_``.

>>> from docdb import command as _
>>> _.gt(20).and_(_.lt(30)) == {"$gt": 20, "$lt": 30}
True
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from docdb.errors import QueryError, UpdateError
from docdb.faces.conditions import Combining, LogicCommand, QueryCommand, encode_element, operands_of
from docdb.faces.expression_builders import aggregate
from docdb.language.server_date import ServerDate
from docdb.language.updates import Command
from docdb.language.values import Regex

__all__ = [
    "add_to_set", "aggregate", "all", "and_", "bit", "bits_all_clear", "bits_all_set", "bits_any_clear",
    "bits_any_set", "current_date", "elem_match", "eq", "exists", "expr", "geo_intersects", "geo_near",
    "geo_within", "gt", "gte", "in_", "inc", "json_schema", "lt", "lte", "max", "min", "mod", "mul", "neq", "nin",
    "nor_", "not_", "or_", "pop", "project", "pull", "pull_all", "push", "reg_exp", "regex", "remove", "rename",
    "server_date", "set", "set_on_insert", "shift", "size", "text", "type", "unshift",
]  # fmt: skip

_ABSENT: Final = object()


# Query commands


def eq(value: Any) -> QueryCommand:
    """Match what equals the value, deep for objects and arrays."""
    return QueryCommand("$eq", value)


def neq(value: Any) -> QueryCommand:
    """Match what does not equal the value; a missing field too."""
    return QueryCommand("$ne", value)


def gt(value: Any) -> QueryCommand:
    """Match what is greater, within the type."""
    return QueryCommand("$gt", value)


def gte(value: Any) -> QueryCommand:
    """Match what is greater or equal, within the type."""
    return QueryCommand("$gte", value)


def lt(value: Any) -> QueryCommand:
    """Match what is less, within the type."""
    return QueryCommand("$lt", value)


def lte(value: Any) -> QueryCommand:
    """Match what is less or equal, within the type."""
    return QueryCommand("$lte", value)


def in_(values: Iterable[Any]) -> QueryCommand:
    """Match what is one of the values, or has one as an element."""
    return QueryCommand("$in", _list(values, "in_"))


def nin(values: Iterable[Any]) -> QueryCommand:
    """Match what is none of the values."""
    return QueryCommand("$nin", _list(values, "nin"))


def exists(present: bool = True) -> QueryCommand:
    """Match where the field is there (null counts), or is not."""
    return QueryCommand("$exists", present)


def type(name: Any) -> QueryCommand:
    """Match by type name, number, or a list of them."""
    return QueryCommand("$type", name)


def mod(divisor: Any, remainder: Any = _ABSENT) -> QueryCommand:
    """Match numbers with this remainder: ``mod(10, 1)`` or ``mod([10, 1])``."""
    return QueryCommand("$mod", list(divisor) if remainder is _ABSENT else [divisor, remainder])


def size(count: int) -> QueryCommand:
    """Match arrays of exactly so many elements."""
    return QueryCommand("$size", count)


def all(values: Iterable[Any]) -> QueryCommand:
    """Match arrays that hold every value."""
    return QueryCommand("$all", _list(values, "all"))


def elem_match(condition: Any) -> Any:
    """Match arrays of which one element satisfies the condition (on its fields, or a bare command on itself).

    >>> from docdb import command as _
    >>> _.elem_match({"score": {"math": _.gt(5)}}) == {"$elemMatch": {"score.math": {"$gt": 5}}}
    True
    """
    if isinstance(condition, LogicCommand) and condition.operator == "$or" and _bare_parts(condition):
        # An element satisfies A or B exactly where one satisfies A, or one satisfies B.
        return LogicCommand("$or", tuple(elem_match(part) for part in condition.operands))
    return QueryCommand("$elemMatch", encode_element(condition))


def regex(pattern: str | re.Pattern[str] | Regex, options: str = "") -> QueryCommand:
    """Match text the pattern is found in; options out of ``imsx``."""
    if isinstance(pattern, str):
        return QueryCommand("$regex", pattern, **({"$options": options} if options else {}))
    return QueryCommand(
        "$regex", Regex(pattern.pattern, pattern.flags & _FLAGS) if isinstance(pattern, re.Pattern) else pattern
    )


_FLAGS: Final = re.I | re.M | re.S | re.X


def reg_exp(regexp: str, options: str = "") -> Regex:
    """Return a regular expression as a value (``db.RegExp`` of the cloud clients)."""
    return Regex(regexp, options)


def bits_all_set(mask: Any) -> QueryCommand:
    """Match numbers or binaries with all these bits set."""
    return QueryCommand("$bitsAllSet", mask)


def bits_all_clear(mask: Any) -> QueryCommand:
    """Match numbers or binaries with all these bits clear."""
    return QueryCommand("$bitsAllClear", mask)


def bits_any_set(mask: Any) -> QueryCommand:
    """Match numbers or binaries with one of these bits set."""
    return QueryCommand("$bitsAnySet", mask)


def bits_any_clear(mask: Any) -> QueryCommand:
    """Match numbers or binaries with one of these bits clear."""
    return QueryCommand("$bitsAnyClear", mask)


def expr(expression: Any) -> QueryCommand:
    """Match documents of which an aggregation expression is true; a condition of its own, without a field."""
    return QueryCommand("$expr", expression)


def json_schema(schema: Mapping[str, Any]) -> QueryCommand:
    """Match documents that satisfy a JSON schema; a condition of its own, without a field."""
    return QueryCommand("$jsonSchema", schema)


def text(
    search: str | Mapping[str, Any],
    *,
    language: str | None = None,
    case_sensitive: bool | None = None,
    diacritic_sensitive: bool | None = None,
) -> QueryCommand:
    """Search for words, "phrases" and -unwanted words; a condition of its own, without a field. Needs a text index."""
    given = {"$language": language, "$caseSensitive": case_sensitive, "$diacriticSensitive": diacritic_sensitive}
    operand: dict[str, Any] = {"$search": search} if isinstance(search, str) else dict(search)
    return QueryCommand("$text", operand | {name: value for name, value in given.items() if value is not None})


def geo_near(geometry: Any, max_distance: float | None = None, min_distance: float | None = None) -> QueryCommand:
    """Match by the distance in metres from a point, nearest first; the arguments may be one document. Needs a ``2dsphere`` index."""
    given = _geo_arguments(geometry, "geo_near", ("geometry", "maxDistance", "minDistance"))
    distances = {"$maxDistance": max_distance, "$minDistance": min_distance}
    operand = {"$geometry": geometry} if given is None else given
    return QueryCommand("$nearSphere", {**operand, **{k: v for k, v in distances.items() if v is not None}})


def geo_within(geometry: Any = None, center_sphere: Any = None) -> QueryCommand:
    """Match what lies inside a Polygon or MultiPolygon, or in a circle ``(point, radians)``; the arguments may be one document."""
    given = _geo_arguments(geometry, "geo_within", ("centerSphere", "geometry"))
    if given is None:
        given = {"$geometry": geometry} if center_sphere is None else {"$centerSphere": center_sphere}
    if "$centerSphere" in given:
        point, radius = given["$centerSphere"]
        given["$centerSphere"] = [point["coordinates"] if isinstance(point, Mapping) else list(point), radius]
    return QueryCommand("$geoWithin", given)


def geo_intersects(geometry: Any) -> QueryCommand:
    """Match what has a place in common with a shape; the argument may be ``{"geometry": shape}``."""
    given = _geo_arguments(geometry, "geo_intersects", ("geometry",))
    return QueryCommand("$geoIntersects", {"$geometry": geometry} if given is None else given)


def _geo_arguments(value: Any, name: str, known: tuple[str, ...]) -> dict[str, Any] | None:
    """Return CloudBase's one document of arguments as MongoDB's; None when the value is a geometry (or nothing)."""
    if not isinstance(value, Mapping) or "type" in value:
        return None
    unknown = [key for key in value if key not in known]
    if unknown:
        raise QueryError(f"{name}() takes no {unknown[0]!r}", hint=", ".join(known))
    return {f"${key}": item for key, item in value.items()}


# Logic


def and_(*conditions: Any) -> Any:
    """Match where all conditions hold: of a field below its name, of documents at the top; a list or one by one."""
    first, *others = operands_of(conditions, "and_")
    if isinstance(first, Combining) and others:
        return first.and_(*others)
    return LogicCommand("$and", (first, *others))


def or_(*conditions: Any) -> LogicCommand:
    """Match where one of the conditions holds."""
    return LogicCommand("$or", operands_of(conditions, "or_"))


def nor_(*conditions: Any) -> LogicCommand:
    """Match where none of the conditions holds."""
    return LogicCommand("$nor", operands_of(conditions, "nor_"))


def not_(condition: Any) -> QueryCommand | LogicCommand:
    """Match where the condition (a command, a pattern or a document) does not hold.

    >>> from docdb import command as _
    >>> _.not_(_.gt(5)) == {"$not": {"$gt": 5}}
    True
    """
    if isinstance(condition, QueryCommand | Regex | re.Pattern):
        return QueryCommand("$not", condition)
    return LogicCommand("$nor", (condition,))


# Update commands


def set(value: Any) -> Command:
    """Set the field to exactly this value (an object replaces the object)."""
    return Command("$set", value)


def set_on_insert(value: Any) -> Command:
    """Set the field only where the update makes the document."""
    return Command("$setOnInsert", value)


def remove() -> Command:
    """Delete the field (an array element becomes null)."""
    return Command("$unset", "")


def inc(amount: Any = 1) -> Command:
    """Add to the number; a missing field counts as 0."""
    return Command("$inc", amount)


def mul(factor: Any) -> Command:
    """Multiply the number; a missing field counts as 0."""
    return Command("$mul", factor)


def min(value: Any) -> Command:
    """Set the field where the value is smaller."""
    return Command("$min", value)


def max(value: Any) -> Command:
    """Set the field where the value is larger."""
    return Command("$max", value)


def rename(name: str) -> Command:
    """Give the field another name."""
    return Command("$rename", name)


def bit(operations: Mapping[str, Any] | None = None, *, and_: Any = None, or_: Any = None, xor: Any = None) -> Command:
    """Change bits: ``bit(and_=5)`` or ``bit({"and": 5})``."""
    named = {name: value for name, value in (("and", and_), ("or", or_), ("xor", xor)) if value is not None}
    return Command("$bit", {**(operations or {}), **named})


def current_date(kind: Any = True) -> Command:
    """Set the field to the moment of the write."""
    return Command("$currentDate", kind)


def push(
    *values: Any,
    each: Iterable[Any] | None = None,
    position: int | None = None,
    sort: Any = None,
    slice: int | None = None,
) -> Command:
    """Append elements: ``push(v, ...)``, ``push([v, ...])``, or ``push(each=[...], position=, sort=, slice=)`` (also as a document).

    >>> from docdb import command as _
    >>> _.push("a", "b").operand
    {'$each': ['a', 'b']}
    """
    if len(values) == 1 and isinstance(values[0], Mapping) and "each" in values[0]:
        named = dict(values[0])
        unknown = named.keys() - {"each", "position", "slice", "sort"}
        if unknown:
            raise UpdateError(
                f"push() takes no {sorted(unknown)[0]!r}", path="$push", hint="each, position, slice, sort"
            )
        return push(**named)
    if values and each is not None:
        raise UpdateError("push() takes values or each=, not both", path="$push")
    operand: dict[str, Any] = {"$each": _values(values) if each is None else list(each)}
    modifiers = (("$position", position), ("$sort", sort), ("$slice", slice))
    operand.update((name, value) for name, value in modifiers if value is not None)
    return Command("$push", operand)


def unshift(*values: Any) -> Command:
    """Put elements in front."""
    return Command("$push", {"$each": _values(values), "$position": 0})


def pop() -> Command:
    """Remove the last element."""
    return Command("$pop", 1)


def shift() -> Command:
    """Remove the first element."""
    return Command("$pop", -1)


def add_to_set(value: Any = _ABSENT, *, each: Iterable[Any] | None = None) -> Command:
    """Add the value where it is not an element yet; several with ``each=[...]``, ``{"each": [...]}`` or ``{"$each": [...]}``."""
    if each is not None:
        return Command("$addToSet", {"$each": list(each)})
    if value is _ABSENT:
        raise UpdateError("add_to_set() needs a value", path="$addToSet")
    if isinstance(value, Mapping) and value.keys() == {"each"}:
        return Command("$addToSet", {"$each": list(value["each"])})
    return Command("$addToSet", value)


def pull(condition: Any) -> Command:
    """Remove the elements that equal the value or satisfy the condition."""
    return Command("$pull", encode_element(condition, flatten=False))


def pull_all(values: Iterable[Any]) -> Command:
    """Remove every element that equals one of the values."""
    return Command("$pullAll", _list(values, "pull_all"))


def server_date(offset: int = 0) -> ServerDate:
    """Return a marker for the moment of the write plus ``offset`` milliseconds."""
    return ServerDate(offset)


# Projection commands


class _Projection:
    """Commands for ``field()`` and projections."""

    __slots__ = ()

    def slice(self, count: Any, limit: int | None = None) -> dict[str, Any]:
        """Show the first (or, negative, last) elements; ``slice([skip, count])`` and ``slice(skip, count)`` start further on."""
        return {"$slice": count if limit is None else [count, limit]}

    def elem_match(self, condition: Any) -> dict[str, Any]:
        """Show the first element that satisfies the condition."""
        return {"$elemMatch": encode_element(condition)}


project: Final = _Projection()


def _bare_parts(logic: LogicCommand) -> bool:
    return builtins.all(isinstance(part, QueryCommand | LogicCommand) for part in logic.operands)


def _list(values: Any, name: str) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise QueryError(f"{name}() takes a list, not {builtins.type(values).__name__}")
    return list(values)


def _values(values: tuple[Any, ...]) -> list[Any]:
    """Return what push and unshift were given: one list, or values one by one."""
    if not values:
        raise UpdateError("push() needs at least one value", path="$push")
    return list(values[0]) if len(values) == 1 and isinstance(values[0], list | tuple) else list(values)


command: Final = sys.modules[__name__]
