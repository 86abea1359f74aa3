"""A rule as a filter: exactly those documents match that the rule allows.

What lives here: ``constraint``, and ``formula_of`` (the same before it is written as a filter, for the prover). What it must not know:
queries, plans, stored bytes.

A rule is three-valued, a filter is not. So each part of the rule has two formulas, where it is true and where it is false; elsewhere it is an
error, which allows nothing: ``!a`` is true where a is false, ``a && b`` is false where one of them is, and so on. That is the evaluator's law, the
indifference of && and || to the side an error stands on included. The leaves compare one field with something settled:

    rule                            filter (p: path; each p also excludes arrays on the way)
    doc.p == "x"                    p eq "x", p no array
    doc.p == null                   p is of type null, p no array
    doc.p != "x"                    p exists, not (p eq "x", p no array)
    doc.p > 1                       p gt 1 or p gt the date 1 ms, p no array     (its opposite: lte; NaN is in neither)
    doc.p in [..]                   p in [..], as above
    "x" in doc.p                    p eq "x", p is an array
    exists(doc.p)                   p exists                                     (its opposite: the owner is an object without p)
    default(doc.p, c) == "x"        doc.p == "x", or doc.p is absent and c == "x"

All else asks the evaluator, document by document. One difference to a single evaluation of the whole rule is wanted: no fuel is used by what is
compiled, and each question has the whole of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from docdb.errors import DocumentError
from docdb.language import tree
from docdb.language.filters import conjunction
from docdb.language.values import Int64, canonical, canonical_scalar
from docdb.rules.comparison import date_bound, number_of
from docdb.rules.evaluator import Circumstances
from docdb.rules.formula import FALSE, TRUE, Asked, Formula, Holds, Within, either, every, written
from docdb.rules.partial import FAILED, Partial
from docdb.rules.regions import ABSENT, NOTHING, NULL, complement, leaf_region, outside, point, union
from docdb.rules.syntax import Binary, Call, Index, Logic, Member, Method, Node, Not, Undefined

__all__ = [
    "MAX_ITEMS", "OPPOSITE", "ORDER", "REVERSED", "Compiler", "constraint", "equal_to", "formula_of", "holding", "is_nan", "is_plain",
    "no_array_at", "no_array_before", "ordered", "with_default",
]  # fmt: skip

MAX_ITEMS: Final = 1_000  # of a list that becomes leaves; longer ones are the evaluator's
REVERSED: Final = {"<": "gt", "<=": "gte", ">": "lt", ">=": "lte"}
ORDER: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
OPPOSITE: Final = {"lt": "gte", "lte": "gt", "gt": "lte", "gte": "lt"}
_ARRAY: Final = frozenset({"array"})
_NULL: Final = frozenset({"null"})
_OBJECT: Final = frozenset({"object"})


def constraint(rule: Node, about: Circumstances) -> tree.Node:
    """Return the filter that matches exactly the documents of which ``evaluator.allows`` says true; ``about.doc`` is not looked at.

    Each ``get`` that depends on no document is read now, through ``about``. Cost: the size of the rule, and those reads.
    """
    return written(formula_of(rule, Partial(about)))


def formula_of(rule: Node, partial: Partial, wanted: bool = True) -> Formula:
    """Return what the rule demands of a document to be true (or false) of it."""
    return Compiler(partial).formula(rule, wanted)


def no_array_before(path: tree.Path) -> list[tree.Node]:
    """Return the conditions that nothing on the way to the end of a path is an array."""
    return [tree.Not(tree.TypeIs(path[:length], _ARRAY)) for length in range(1, len(path))]


@lru_cache(maxsize=1_000)
def no_array_at(path: tree.Path) -> tuple[tree.Node, ...]:
    """Return the conditions that nothing on the way to the end of a path is an array, and no array stands there."""
    return (*no_array_before(path), tree.Not(tree.TypeIs(path, _ARRAY)))


class Compiler:
    """Compiles the parts of a rule for one caller; what ``prepared`` does for all of them at once is held to this."""

    def __init__(self, partial: Partial) -> None:
        self.partial = partial

    def formula(self, node: Node, wanted: bool) -> Formula:
        """Return where ``node`` is true (or false)."""
        if isinstance(node, Not):
            return self.formula(node.operand, not wanted)
        if isinstance(node, Logic):
            combine = either if (node.operator == "||") is wanted else every
            return combine(self.formula(node.left, wanted), self.formula(node.right, wanted))
        if self.partial.is_open(node):
            return TRUE
        if not self.partial.depends(node):
            return TRUE if self.partial.fold(node) is wanted else FALSE
        split = with_default(node)
        if split is not None:
            field, present, otherwise = split
            absent = self.presence(field, False)
            if absent is not None:
                return either(self.formula(present, wanted), every(absent, self.formula(otherwise, wanted)))
        found = self.leaf(node, wanted)
        return self.asked(node, wanted) if found is None else found

    def asked(self, node: Node, wanted: bool, hint: tree.Node | None = None) -> Formula:
        question = tree.Expr(self.partial.ask(node, wanted))
        return Asked(question if hint is None else tree.And((hint, question)), node, wanted)

    def leaf(self, node: Node, wanted: bool) -> Formula | None:
        if isinstance(node, Member | Index):
            path = self.path(node)
            return None if path is None else equal_to(path, (wanted,), True)
        if isinstance(node, Call) and node.name == "exists":
            return self.presence(node.arguments[0], wanted)
        if not isinstance(node, Binary):
            return None
        if isinstance(node.left, Undefined) or isinstance(node.right, Undefined):
            side = node.right if isinstance(node.left, Undefined) else node.left
            return self.presence(side, wanted is (node.operator == "!="))
        build = _BINARY.get(node.operator)
        return None if build is None else build(self, node, wanted)

    def path(self, node: Node) -> tree.Path | None:
        """Return a way of field names as a path; None when it is no such way or the last word is the evaluator's."""
        steps = self.partial.steps(node)
        if not steps or not all(isinstance(step, str) and _is_text(step) for step in steps):
            return None
        return tuple(map(str, steps))

    def presence(self, node: Node, wanted: bool) -> Formula | None:
        path = self.path(node)
        if path is None:
            return None
        if wanted:
            return _within(path, complement(ABSENT), [tree.Exists(path)])
        owner = path[:-1]
        parts: list[tree.Node] = [tree.TypeIs(owner, _OBJECT)] if owner else []
        return _within(path, ABSENT, [*parts, tree.Not(tree.Exists(path))])

    def settled(self, node: Node) -> Any:
        """Return the value of a side that does not depend on the document; ``_DEPENDS`` when it does, or when only both sides tell it."""
        counts = isinstance(node, Method) and node.name == "size"  # a count that stopped is known beside small numbers
        return (
            _DEPENDS if counts or self.partial.depends(node) or self.partial.is_open(node) else self.partial.fold(node)
        )

    def equality(self, node: Binary, wanted: bool) -> Formula | None:
        equal = wanted is (node.operator == "==")
        for side, other in ((node.left, node.right), (node.right, node.left)):
            value = self.settled(other)
            if value is FAILED:
                return FALSE
            if value is _DEPENDS:
                continue
            path = self.path(side)
            if path is not None and is_plain(value):
                return equal_to(path, (value,), equal)
            return self.asked(node, wanted, self.hint(side, value) if equal else None)
        return None

    def hint(self, side: Node, value: Any) -> tree.Node | None:
        """Return what a document must match for the field to equal a value, where a filter can say that much."""
        steps = self.partial.steps(side)
        if not steps or not all(_is_text(str(step)) for step in steps):
            return None
        try:
            return tree.Compare(tuple(map(str, steps)), "eq", canonical(value))
        except DocumentError:
            return None

    def order(self, node: Binary, wanted: bool) -> Formula | None:
        for side, other, names in ((node.left, node.right, ORDER), (node.right, node.left, REVERSED)):
            value = self.settled(other)
            if value is FAILED:
                return FALSE
            if value is _DEPENDS:
                continue
            path = self.path(side)
            if path is None:
                return None
            if not is_plain(value):
                return None
            if value is None or isinstance(value, bool) or is_nan(value):
                return FALSE
            op = names[node.operator] if wanted else OPPOSITE[names[node.operator]]
            return ordered(path, op, value)
        return None

    def membership(self, node: Binary, wanted: bool) -> Formula | None:
        items, value = self.settled(node.right), self.settled(node.left)
        if items is FAILED or value is FAILED:
            return FALSE
        if items is not _DEPENDS:
            return self.among(node, items, wanted)
        path = self.path(node.right)
        if value is _DEPENDS or path is None or not is_plain(value):
            return None
        return holding(path, value, wanted)

    def among(self, node: Binary, items: Any, wanted: bool) -> Formula | None:
        """Return the formula of a field in a settled list."""
        if not isinstance(items, list | tuple):
            return FALSE
        path = self.path(node.left)
        if path is None or len(items) > MAX_ITEMS or not all(map(is_plain, items)):
            return None
        return equal_to(path, items, wanted)


_DEPENDS: Final = object()
_BINARY: Final[dict[str, Callable[[Compiler, Binary, bool], Formula | None]]] = {
    "==": Compiler.equality,
    "!=": Compiler.equality,
    "in": Compiler.membership,
    **dict.fromkeys(ORDER, Compiler.order),
}


def with_default(node: Node) -> tuple[Node, Node, Node] | None:
    """Return the field of a ``default`` and the two readings of the part that holds it: with the field, and with what stands for it."""
    if _is_default(node):
        assert isinstance(node, Call)
        return node.arguments[0], node.arguments[0], node.arguments[1]
    if isinstance(node, Binary):
        for name in ("left", "right"):
            side = getattr(node, name)
            if _is_default(side):
                field, otherwise = side.arguments
                return field, replace(node, **{name: field}), replace(node, **{name: otherwise})
    return None


def _is_default(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "default"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain(value: Any) -> bool:
    """Tell whether filters compare a value as rules do, once arrays and missing fields are excluded."""
    try:
        return type(value) in _PLAIN and canonical_scalar(value, "") is not None or value is None
    except DocumentError:
        return False


_PLAIN: Final = frozenset({bool, str, int, Int64, float, Decimal, dt.datetime})


def is_nan(value: Any) -> bool:
    return isinstance(value, float | Decimal) and value != value


def _within(path: tree.Path, region: Any, parts: Sequence[tree.Node], value: Any = None) -> Formula:
    return Within(conjunction([*parts, *no_array_before(path)]), path, region, value)


def _no_array(path: tree.Path) -> tree.Node:
    return tree.Not(tree.TypeIs(path, _ARRAY))


def ordered(path: tree.Path, op: str, value: Any) -> Formula:
    """Return where the field stands in an order with a number, string or date; dates and numbers compare as milliseconds."""
    leaves = [tree.Compare(path, op, value)]
    if isinstance(value, dt.datetime):
        leaves.append(tree.Compare(path, op, number_of(value)))
    elif not isinstance(value, str):
        bound = date_bound(op, value)
        leaves += [] if bound is None else [tree.Compare(path, *bound)]
    region = union(leaf_region(leaf)[0] for leaf in leaves)
    return _within(path, region, [leaves[0] if len(leaves) == 1 else tree.Or(tuple(leaves)), _no_array(path)])


def equal_to(path: tree.Path, values: Sequence[Any], wanted: bool) -> Formula:
    """Return where the field equals one of the values, or is there and equals none."""
    if wanted and len(values) == 1 and type(values[0]) in (str, bool):  # as most
        value = values[0]
        equals: tree.Node = tree.And((tree.Compare(path, "eq", value), *no_array_at(path)))
        return Within(equals, path, point(value), value)
    values = [value for value in values if not is_nan(value)]  # it equals nothing
    others = [value for value in values if value is not None]
    choices: list[tree.Node] = [tree.TypeIs(path, _NULL)] if len(others) < len(values) else []
    if len(others) == 1:
        choices.append(tree.Compare(path, "eq", others[0]))
    elif others:
        choices.append(tree.In(path, tuple(others)))
    region = union(NULL if value is None else point(value) for value in values) if values else NOTHING
    if not choices:
        return FALSE if wanted else _within(path, complement(ABSENT), [tree.Exists(path)])
    equal = [choices[0] if len(choices) == 1 else tree.Or(tuple(choices)), _no_array(path)]
    if wanted:
        return _within(path, region, equal, values[0] if len(values) == 1 else None)
    differs = outside(complement(ABSENT), region)
    return _within(path, differs, [tree.Exists(path), tree.Not(tree.And(tuple(equal)))])


def holding(path: tree.Path, value: Any, wanted: bool) -> Formula:
    """Return where the field is a list that holds (or does not hold) the value."""
    is_list: tree.Node = tree.TypeIs(path, _ARRAY)
    if is_nan(value):
        return FALSE if wanted else Holds(conjunction([is_list, *no_array_before(path)]), path, NOTHING, False)
    found: tree.Node = tree.Compare(path, "eq", value)
    if value is None:
        found = tree.ElemMatch(path, tree.TypeIs((), _NULL), values=True)
    region = NULL if value is None else point(value)
    parts = [is_list, found if wanted else tree.Not(found), *no_array_before(path)]
    return Holds(conjunction(parts), path, region, wanted)
