"""The filter tree: what a predicate says about one document, whoever wrote it.

What lives here: the node classes, all immutable values. What it must not know: how a filter document is parsed (``filters``),
how a node is judged (``matching`` over decoded values, ``programs`` over stored bytes), where documents come from (``planner``).

A path is a tuple of parts, ``("address", "city")``; a part of digits also addresses an array element. Leaves here are *filter*
leaves: arrays on the way and at the end fan out, null equals missing, ranges stay within a type. Negation is a node,
``Not``, and means "does not match": it is not pushed into leaves, since arrays make that wrong. Rule leaves (strict, three-valued)
join this file with the rule language.

An empty path, ``()``, in a leaf below ``ElemMatch(values=True)`` means the array element itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "And", "Bits", "Compare", "ElemMatch", "Exists", "Expr", "FALSE", "GeoIntersects", "GeoWithin", "In", "Mod", "Near", "Node",
    "Not", "Or", "Path", "Pattern", "Schema", "Size", "TRUE", "Text", "TypeIs", "children", "walk",
]  # fmt: skip

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A predicate over one document."""


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """Always true or always false; use ``TRUE`` and ``FALSE``."""

    value: bool


TRUE = Constant(True)
FALSE = Constant(False)


@dataclass(frozen=True, slots=True)
class And(Node):
    """All of the parts; ``And(())`` is true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """Any of the parts; ``Or(())`` is false."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """The part does not match."""

    part: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """``op`` is one of eq, gt, gte, lt, lte; ``value`` is canonical and never a Regex pattern to apply.

    ``collation`` is None for the order of bytes, else an object with ``key(text) -> bytes`` (``language/collation.py``).
    """

    path: Path
    op: str
    value: Any
    collation: Any = None


@dataclass(frozen=True, slots=True)
class In(Node):
    """Equal to one of the values, or matched by one of the patterns."""

    path: Path
    values: tuple[Any, ...]
    patterns: tuple[Pattern, ...] = ()
    collation: Any = None


@dataclass(frozen=True, slots=True)
class Exists(Node):
    """The field is there (null counts)."""

    path: Path


@dataclass(frozen=True, slots=True)
class TypeIs(Node):
    """The type is one of the names ("number" is already spelt out)."""

    path: Path
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Size(Node):
    """The field is an array of exactly so many elements."""

    path: Path
    count: int


@dataclass(frozen=True, slots=True)
class Mod(Node):
    """The number, cut to an integer, leaves this remainder."""

    path: Path
    divisor: int
    remainder: int


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """Text that the pattern is found in, or a stored Regex equal to it; flags out of ``imsx``. ``linear``: RE2 finds it."""

    path: Path
    pattern: str
    flags: str
    linear: bool = False


@dataclass(frozen=True, slots=True)
class Bits(Node):
    """``mode`` is all_set, all_clear, any_set or any_clear; ``positions`` are bit numbers, sign-extended."""

    path: Path
    mode: str
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ElemMatch(Node):
    """One element of the array matches the part: as a document, or itself (``values``: leaves with an empty path)."""

    path: Path
    part: Node
    values: bool = False


@dataclass(frozen=True, slots=True)
class GeoIntersects(Node):
    """A geometry that has a place in common with ``shape`` (``language/geometry.py``)."""

    path: Path
    shape: Any


@dataclass(frozen=True, slots=True)
class GeoWithin(Node):
    """A geometry inside ``region``: a tuple of polygons (one of them), a cap, or a flat shape."""

    path: Path
    region: Any


@dataclass(frozen=True, slots=True)
class Near(Node):
    """A geometry from ``low`` to ``high`` away from the point; the documents come in the order of their distance.

    The distance is in metres, in radians (``spherical`` without ``metres``), or flat. Stands at the top of a filter, once.
    """

    path: Path
    point: tuple[float, float]
    spherical: bool
    metres: bool
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A text search. ``spec`` says which text counts (``language/text_search.py``): the planner sets it from the collection's text index.

    Stands at the top of a filter or in an $or there, once. ``proved``: one of the words is known to be found.
    """

    search: str
    language: str | None = None
    case: bool = False
    diacritics: bool = False
    spec: Any = None
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """An aggregation expression is true of the document; ``expression`` is compiled (``language/expressions.py``): ``expression(document) -> value``."""

    expression: Any


@dataclass(frozen=True, slots=True)
class Schema(Node):
    """A compiled JSON schema (``language/schema.py``): ``schema(document) -> bool``."""

    schema: Any


def children(node: Node) -> tuple[Node, ...]:
    """Return the parts directly below a node."""
    if isinstance(node, And | Or):
        return node.parts
    if isinstance(node, Not | ElemMatch):
        return (node.part,)
    return ()


def walk(node: Node) -> list[Node]:
    """Return the node and all below it, parents first."""
    found = [node]
    for seen in found:
        found.extend(children(seen))
    return found
