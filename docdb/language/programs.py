"""From a filter tree to a program that the kernel runs over stored bytes.

What lives here: ``compile_program`` and the neutral form it hands to ``_native/program.pyx``. What it must not know: stored bytes.

A program form is ``(op, fields)``. A node with no kernel form (expressions, schemas, collations, most patterns) becomes
``("unknown", {})``: the kernel then answers 2 wherever that node decides, and the reference is asked. Cheap parts of an And or
Or stand first.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from docdb.language import tree
from docdb.language.matching import position_of
from docdb.language.order import number_key, order_key
from docdb.language.values import INT64_MAX, INT64_MIN, MaxKey, MinKey, ObjectId, Regex, Timestamp, is_number, type_name

if TYPE_CHECKING:
    from docdb._native.program import Program

try:
    import docdb._native as _native
    from docdb._native.program import Program as _Program
except ImportError:
    _Program = None  # type: ignore[assignment,misc]
else:
    if not getattr(_native, "AVAILABLE", True):
        _Program = None  # type: ignore[assignment,misc]

__all__ = ["Form", "compile_program", "program_form"]

Form = tuple[str, dict[str, Any]]

MAX_PARTS: Final = 100
MAX_NESTING: Final = 60
UNKNOWN: Final[Form] = ("unknown", {})
ACCEPTS: Final = {"eq": 2, "gt": 4, "gte": 6, "lt": 1, "lte": 3}
BIT_MODES: Final = {"all_set": 0, "all_clear": 1, "any_set": 2, "any_clear": 3}
TYPE_BITS: Final = {
    "null": 0, "bool": 1, "int": 2, "long": 3, "double": 4, "decimal": 5, "string": 6, "object": 7, "array": 8,
    "binData": 9, "objectId": 10, "date": 11, "timestamp": 12, "regex": 13, "minKey": 14, "maxKey": 15,
}  # fmt: skip
COSTS: Final = {
    "and": 6, "bits": 2, "compare": 1, "elem_object": 5, "elem_value": 5, "exists": 0, "extreme": 0, "false": 0, "in": 2,
    "mod": 2, "not": 6, "or": 6, "pattern": 3, "size": 1, "true": 0, "type": 1, "unknown": 9,
}  # fmt: skip
_DOUBLE: Final = struct.Struct(">d")
_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")


def compile_program(node: tree.Node) -> Program | None:
    """Return a program for stored documents, or None without kernels or when it could never tell anything.

    ``program.match(data)`` gives 1 (matches), 0 (does not) or 2 (ask ``matching.matcher``); ``program.exact`` excludes 2.
    """
    if _Program is None:
        return None
    form = program_form(node)
    return None if form == UNKNOWN else _Program(form)


def program_form(node: tree.Node, depth: int = 0) -> Form:
    """Return the neutral form of a node; ``("unknown", {})`` when there is none."""
    if depth > MAX_NESTING:
        return UNKNOWN
    if isinstance(node, tree.Constant):
        return ("true" if node.value else "false"), {}
    if isinstance(node, tree.And | tree.Or):
        return _combined("and" if isinstance(node, tree.And) else "or", node.parts, depth)
    if isinstance(node, tree.Not):
        part = program_form(node.part, depth + 1)
        return UNKNOWN if part == UNKNOWN else ("not", {"children": (part,)})
    if isinstance(node, tree.ElemMatch):
        return _elem_match(node, depth)
    form = _LEAVES.get(type(node))
    if form is None or len(node.path) > MAX_PARTS:  # type: ignore[attr-defined]
        return UNKNOWN
    return form(node)


def _combined(op: str, parts: tuple[tree.Node, ...], depth: int) -> Form:
    forms: list[Form] = []
    for part in parts:
        form = program_form(part, depth + 1)
        forms.extend(form[1]["children"] if form[0] == op else (form,))
    if forms and all(form == UNKNOWN for form in forms):
        return UNKNOWN
    return op, {"children": tuple(sorted(forms, key=lambda form: COSTS[form[0]]))}


def _elem_match(node: tree.ElemMatch, depth: int) -> Form:
    part = program_form(node.part, depth + 1)
    if part == UNKNOWN or len(node.path) > MAX_PARTS:
        return UNKNOWN
    return ("elem_value" if node.values else "elem_object"), {"path": _path(node.path), "children": (part,)}


def _path(path: tree.Path) -> tuple[tuple[bytes, int], ...]:
    return tuple(
        (part.encode("utf-8", "surrogatepass"), -1 if (position := position_of(part)) is None else position)
        for part in path
    )


def _collated(value: Any, collation: Any) -> bool:
    return collation is not None and isinstance(value, str | dict | list)


def _compare(node: tree.Compare) -> Form:
    if _collated(node.value, node.collation):
        return UNKNOWN
    fields = {"path": _path(node.path), "accepts": ACCEPTS[node.op]}
    if isinstance(node.value, MinKey | MaxKey) and node.op != "eq":
        return "extreme", fields | {"number": TYPE_BITS[type_name(node.value)]}
    return "compare", fields | {"operands": (_operand(node.value),)}


def _in(node: tree.In) -> Form:
    if any(_collated(value, node.collation) for value in node.values):
        return UNKNOWN
    by_key = {order_key(value): value for value in node.values}
    operands = tuple(_operand(by_key[key]) for key in sorted(by_key))
    among: Form = ("in", {"path": _path(node.path), "operands": operands})
    if not node.patterns:
        return among
    patterns = [_pattern(tree.Pattern(node.path, p.pattern, p.flags, p.linear)) for p in node.patterns]
    return "or", {"children": (among, *patterns)}


def _exists(node: tree.Exists) -> Form:
    return "exists", {"path": _path(node.path)}


def _type_is(node: tree.TypeIs) -> Form:
    mask = sum(1 << TYPE_BITS[name] for name in node.names if name in TYPE_BITS)
    return "type", {"path": _path(node.path), "mask": mask}


def _size(node: tree.Size) -> Form:
    if not INT64_MIN <= node.count <= INT64_MAX:
        return UNKNOWN
    return "size", {"path": _path(node.path), "number": node.count}


def _mod(node: tree.Mod) -> Form:
    if not all(INT64_MIN <= number <= INT64_MAX for number in (node.divisor, node.remainder)) or node.divisor == 0:
        return UNKNOWN
    return "mod", {"path": _path(node.path), "number": node.divisor, "remainder": node.remainder}


def _bits(node: tree.Bits) -> Form:
    if not all(0 <= position <= INT64_MAX for position in node.positions):
        return UNKNOWN
    mask = 0
    for position in node.positions:
        mask |= 1 << min(position, 63)
    mode = BIT_MODES[node.mode]
    return "bits", {"path": _path(node.path), "number": mode, "mask": mask, "positions": tuple(node.positions)}


def _pattern(node: tree.Pattern) -> Form:
    """Literal text, free or bound to the start or the end; everything else is the regular expression engine's."""
    literal = node.pattern
    if set(node.flags) - set("slu") or literal.startswith("(*"):
        return UNKNOWN
    start = literal.startswith("^")
    literal = literal.removeprefix("^")
    end = literal.endswith("$")
    literal = literal.removesuffix("$") if end else literal.removesuffix(".*")
    if _SPECIAL & set(literal) or (
        end and node.linear
    ):  # RE2's end is behind a line break that PCRE's may stand before
        return UNKNOWN
    stored = Regex(node.pattern, node.flags)
    operand = {"type": "regex", "raw": literal.encode(), "key": f"{stored.pattern}\0{stored.flags}".encode()}
    return "pattern", {"path": _path(node.path), "number": start + 2 * end, "operands": (operand,)}


def _operand(value: Any) -> dict[str, Any]:
    """Return the value prepared for comparing: numbers as the next lower integer and double, the rest as bytes."""
    form: dict[str, Any] = {"type": type_name(value), "key": order_key(value)}
    if is_number(value):
        return form | _number(value)
    if isinstance(value, bool):
        return form | {"floor": int(value)}
    if isinstance(value, str):
        return form | {"raw": value.encode()}
    if isinstance(value, bytes | UUID):
        raw = value.bytes if isinstance(value, UUID) else bytes(value)
        return form | {"raw": raw, "floor": 4 if isinstance(value, UUID) else getattr(value, "subtype", 0)}
    if isinstance(value, ObjectId | Timestamp):
        return form | {"raw": form["key"][1:]}
    if isinstance(value, Regex):
        return form | {"raw": f"{value.pattern}\0{value.flags}".encode()}
    if form["type"] == "date":
        return form | {"floor": int.from_bytes(form["key"][1:], "big") - 2**63}
    return form


def _number(value: int | float | Decimal) -> dict[str, Any]:
    if value != value:
        return {"nan": True}
    low = _low_double(value)
    if value > INT64_MAX or value < INT64_MIN:
        return {"low": low, "exact": low == value, "outside": 1 if value > 0 else -1}
    floor = math.floor(value)
    return {"low": low, "exact": low == value, "floor": floor, "integral": floor == value}


def _low_double(value: int | float | Decimal) -> float:
    """Return the largest double that is not above the number: the first eight bytes of its key."""
    bits = int.from_bytes(number_key(value)[1:9], "big")
    bits = bits ^ 1 << 63 if bits >> 63 else bits ^ (1 << 64) - 1
    return float(_DOUBLE.unpack(bits.to_bytes(8, "big"))[0])


_LEAVES: Final[dict[type, Callable[[Any], Form]]] = {
    tree.Bits: _bits,
    tree.Compare: _compare,
    tree.Exists: _exists,
    tree.In: _in,
    tree.Mod: _mod,
    tree.Pattern: _pattern,
    tree.Size: _size,
    tree.TypeIs: _type_is,
}
