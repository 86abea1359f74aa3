"""Judging a predicate over decoded documents: the reference, and so the specification.

What lives here: ``matcher``, which turns a filter tree into one function over a document, and ``match_position``.
What it must not know: how filters are written (``filters``), stored bytes (``programs`` is the twin that must agree),
collections.

The law is MongoDB's element path. A path walks objects by name. At an array that is not its end it goes on in every
element that is an object (nested arrays are not entered), and, when the next part is a number, also in the element it
addresses; so ``a.0.b`` is looked up as a name in each element *and* as a position. Each walk hands the leaf one
value, or "missing" when an object lacks the field or a scalar stands in the way; an array without objects hands over
nothing, which is why ``{"a.b": null}`` does not match ``{"a": [1]}``. At its end the path hands over each element of
an array and then the array itself; ``$size`` and ``$elemMatch`` see only the array; an element that a number
addresses at the end is handed over as it stands. A leaf matches when one of the values handed over does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_DOWN, Decimal
from operator import ge, gt, le, lt
from typing import Any, Final
from uuid import UUID

from docdb.language import tree
from docdb.language.linear_patterns import compile_linear
from docdb.language.order import TAGS, order_key
from docdb.language.patterns import compile_pattern
from docdb.language.values import INT64_MAX, INT64_MIN, MISSING, Binary, Int64, MaxKey, MinKey, Regex, type_name

__all__ = ["Test", "compile_pattern", "handed_over", "leaf_of", "match_position", "matcher", "position_of", "truth"]

Test = Callable[[Any], bool]
Leaf = tuple[tree.Path, Test, bool]  # path, test of one value, whether arrays at the end fan out

_NUMBERS: Final = frozenset({int, Int64, float, Decimal})
_RANGES: Final[dict[str, Callable[[Any, Any], bool]]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def matcher(node: tree.Node) -> Test:
    """Return a function that tells whether a canonical document matches; compile once, call often.

    >>> matcher(tree.Compare(("a",), "gt", 1))({"a": [0, 2]})
    True
    """
    build = _BUILDERS.get(type(node))
    return build(node) if build is not None else _leaf_matcher(node)


def match_position(node: tree.Node, document: dict[str, Any]) -> int | None:
    """Return the index of the array element that made the document match: positional ``$``.

    The last condition that went through an array decides; negations and ``$or`` say nothing, but for one whose branches are
    equalities on one path; None when there is none (or no match).
    """
    matched, position = _judge(node, document)
    return position if matched else None


def truth(value: Any) -> bool:
    """Tell whether an expression's value counts as true: all but false, null, missing and zero (NaN is true)."""
    return not (value is None or value is False or value is MISSING or (value.__class__ in _NUMBERS and value == 0))


def leaf_of(node: tree.Node) -> Leaf:
    """Return path, test and array behaviour of a leaf."""
    test, fans_out = _TESTS[type(node)](node)
    return node.path, test, fans_out  # type: ignore[attr-defined]


def _geography(node: Any) -> tuple[Test, bool]:
    from docdb.language.geo_matching import test_of  # loaded at the first leaf of its kind: most filters have none

    return test_of(node), True


def handed_over(document: Any, path: tree.Path) -> Iterator[Any]:
    """Yield the values that a path hands to a leaf, elements of an array at its end and the array itself."""
    return (value for value, _ in _handed_over(document, path, 0, True))


# ---- combining


def _constant(node: tree.Constant) -> Test:
    value = node.value
    return lambda document: value


def _and(node: tree.And) -> Test:
    tests = [matcher(part) for part in node.parts]
    if len(tests) == 2:
        first, second = tests
        return lambda document: first(document) and second(document)

    def all_match(document: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests
            if not test(document):
                return False
        return True

    return all_match


def _or(node: tree.Or) -> Test:
    tests = [matcher(part) for part in node.parts]

    def any_matches(document: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests
            if test(document):
                return True
        return False

    return any_matches


def _not(node: tree.Not) -> Test:
    test = matcher(node.part)
    return lambda document: not test(document)


def _expr(node: tree.Expr) -> Test:
    expression = node.expression
    return lambda document: truth(expression(document))


def _schema(node: tree.Schema) -> Test:
    schema = node.schema
    return lambda document: bool(schema(document))


def _text(node: tree.Text) -> Test:
    from docdb.language.text_search import judge  # loaded at the first search

    return judge(node)


def _leaf_matcher(node: tree.Node) -> Test:
    path, test, fans_out = leaf_of(node)
    if not path:
        return test
    if len(path) == 1:
        return _field_matcher(path, test, fans_out)
    return lambda document: _reach(document, path, 0, test, fans_out)


def _field_matcher(path: tree.Path, test: Test, fans_out: bool) -> Test:
    """A path of one part: the common case without the walk."""
    name = path[0]

    def match(document: Any) -> bool:
        if document.__class__ is not dict:
            return _reach(document, path, 0, test, fans_out)
        value = document.get(name, MISSING)
        if value.__class__ is list and fans_out:
            return any(map(test, value)) or test(value)
        return test(value)

    return match


# ---- walking a path


def _field(holder: Any, name: str) -> Any:
    """Return a field; an array below ``$elemMatch`` is an object whose names are positions."""
    if holder.__class__ is dict:
        return holder.get(name, MISSING)
    index = position_of(name)
    return holder[index] if index is not None and index < len(holder) else MISSING


def position_of(part: str) -> int | None:
    """Return the array position that a path part addresses (``01`` addresses none)."""
    if part.isascii() and part.isdigit() and (part[0] != "0" or part == "0") and len(part) < 10:
        return int(part)
    return None


def _reach(holder: Any, path: tree.Path, at: int, test: Test, fans_out: bool) -> bool:
    last = len(path) - 1
    value = _field(holder, path[at])
    while value.__class__ is dict and at < last:
        at += 1
        value = _field(value, path[at])
    if value.__class__ is list:
        return _reach_array(value, path, at + 1, test, fans_out)
    return test(value if at == last else MISSING)


def _reach_array(array: list[Any], path: tree.Path, at: int, test: Test, fans_out: bool) -> bool:
    if at == len(path):
        return (fans_out and any(map(test, array))) or test(array)
    position = position_of(path[at])
    for index, element in enumerate(array):
        if element.__class__ is dict and _reach(element, path, at, test, fans_out):
            return True
        if index == position and _reach_position(element, path, at + 1, test, fans_out):
            return True
    return False


def _reach_position(element: Any, path: tree.Path, at: int, test: Test, fans_out: bool) -> bool:
    if at == len(path):
        return test(element)
    if element.__class__ is dict:
        return _reach(element, path, at, test, fans_out)
    return element.__class__ is list and _reach_array(element, path, at, test, fans_out)


# ---- positions: the same walk, as pairs of value and the index in the outermost array that was searched


def _handed_over(holder: Any, path: tree.Path, at: int, fans_out: bool) -> Iterator[tuple[Any, int | None]]:
    last = len(path) - 1
    value = _field(holder, path[at])
    while value.__class__ is dict and at < last:
        at += 1
        value = _field(value, path[at])
    if value.__class__ is list:
        yield from _handed_over_array(value, path, at + 1, fans_out)
    else:
        yield value if at == last else MISSING, None


def _handed_over_array(array: list[Any], path: tree.Path, at: int, fans_out: bool) -> Iterator[tuple[Any, int | None]]:
    if at == len(path):
        if fans_out:
            yield from ((element, index) for index, element in enumerate(array))
        yield array, None
        return
    position = position_of(path[at])
    for index, element in enumerate(array):
        if element.__class__ is dict:
            yield from ((value, index) for value, _ in _handed_over(element, path, at, fans_out))
        if index == position:
            if at + 1 == len(path):
                yield element, index if element.__class__ is dict else None
            elif element.__class__ is dict:
                yield from _handed_over(element, path, at + 1, fans_out)
            elif element.__class__ is list:
                yield from _handed_over_array(element, path, at + 1, fans_out)


def _judge(node: tree.Node, document: Any) -> tuple[bool, int | None]:
    if isinstance(node, tree.And):
        position = None
        for part in node.parts:
            matched, found = _judge(part, document)
            if not matched:
                return False, None
            position = found if found is not None else position
        return True, position
    if isinstance(node, tree.Or) and _is_one_set(node):
        tests = [leaf_of(part)[1] for part in node.parts]
        return _judge_values(document, node.parts[0].path, lambda value: any(test(value) for test in tests))  # type: ignore[attr-defined]
    if isinstance(node, tree.Text) and node.spec is None:
        return True, None  # only the plan knows the index; what is asked for a position was found by it
    if type(node) in _BUILDERS:
        return matcher(node)(document), None
    return _judge_leaf(node, document)


def _is_one_set(node: tree.Or) -> bool:
    """Tell whether the branches are equalities on one path, which MongoDB turns into $in; no other $or gives a position."""
    kinds = all(
        isinstance(part, tree.In) or (isinstance(part, tree.Compare) and part.op == "eq") for part in node.parts
    )
    return kinds and len({part.path for part in node.parts}) == 1  # type: ignore[attr-defined]


def _judge_values(document: Any, path: tree.Path, test: Test) -> tuple[bool, int | None]:
    return next(((True, index) for value, index in _handed_over(document, path, 0, True) if test(value)), (False, None))


def _judge_leaf(node: tree.Node, document: Any) -> tuple[bool, int | None]:
    path, test, fans_out = leaf_of(node)
    if not path:
        return test(document), None
    for value, index in _handed_over(document, path, 0, fans_out):
        if test(value):
            if index is None and isinstance(node, tree.ElemMatch):
                index = next(i for i, element in enumerate(value) if _element_test(node)(element))
            return True, index
    return False, None


# ---- leaves: each gives a test of one value, and whether arrays at the end of the path fan out


def _compare(node: tree.Compare) -> tuple[Test, bool]:
    if node.op == "eq":
        return _equal_test(node.value, node.collation), True
    return _range_test(node.op, node.value, node.collation), True


def _equal_test(value: Any, collation: Any) -> Test:
    kind = type(value)
    if value is None:
        return lambda v: v is None or v is MISSING
    if kind is bool:
        return lambda v: v is value
    if kind in _NUMBERS:
        if value != value:
            return lambda v: v.__class__ in _NUMBERS and v != v
        return lambda v: v == value and v.__class__ is not bool
    if collation is not None and kind in (str, dict, list):
        key = collation.order_key(value)
        return lambda v: v.__class__ is kind and collation.order_key(v) == key
    if kind is str:
        return lambda v: v == value
    plain, tag = order_key(value), _tag(value)
    return lambda v: _tag(v) == tag and order_key(v) == plain


def _tag(value: Any) -> int:
    """The type bracket of a value; missing has its own, below null's."""
    return _TAG_BY_CLASS.get(value.__class__) or TAGS[type_name(value)]


_TAG_BY_CLASS: Final[dict[type, int]] = {
    str: 0x30, dict: 0x40, list: 0x50, bytes: 0x60, Binary: 0x60, UUID: 0x60, bool: 0x80, int: 0x20, float: 0x20,
    Int64: 0x20, Decimal: 0x20, MISSING.__class__: 0x08,
}  # fmt: skip


def _range_test(op: str, value: Any, collation: Any) -> Test:
    """Ranges stay within the type of the operand, but for MinKey and MaxKey, which stand below and above everything."""
    kind, inclusive, holds = type(value), op in ("gte", "lte"), _RANGES[op]
    if value is None:
        return lambda v: inclusive and (v is None or v is MISSING)
    if kind is MinKey or kind is MaxKey:
        outward = op in (("gt", "gte") if kind is MinKey else ("lt", "lte"))
        return lambda v: inclusive if v.__class__ is kind else outward
    if kind in _NUMBERS:
        return _number_range(holds, value, inclusive)
    if collation is not None and kind in (str, dict, list):
        key = collation.order_key(value)
        return lambda v: v.__class__ is kind and holds(collation.order_key(v), key)
    if kind is str:
        return lambda v: v.__class__ is str and holds(v, value)
    plain, tag = order_key(value), _tag(value)
    return lambda v: _tag(v) == tag and holds(order_key(v), plain)


def _number_range(holds: Callable[[Any, Any], bool], value: Any, inclusive: bool) -> Test:
    """NaN is outside every range, and equal to itself."""
    if value != value:
        return lambda v: inclusive and v.__class__ in _NUMBERS and v != v

    def test(v: Any) -> bool:
        kind = v.__class__
        if kind is int:
            return holds(v, value)
        return kind in _NUMBERS and v == v and holds(v, value)

    return test


def _in(node: tree.In) -> tuple[Test, bool]:
    patterns = [_pattern_test(pattern) for pattern in node.patterns]
    among = _among(node.values, node.collation)
    if not patterns:
        return among, True
    return lambda v: among(v) or any(pattern(v) for pattern in patterns), True


def _among(values: tuple[Any, ...], collation: Any) -> Test:
    if collation is not None:
        keys = frozenset(map(collation.order_key, values))
        return lambda v: collation.order_key(None if v is MISSING else v) in keys
    keys = frozenset(map(order_key, values))
    texts = frozenset(v for v in values if type(v) is str)
    numbers = frozenset(v for v in values if type(v) in _NUMBERS and v == v)

    def test(v: Any) -> bool:
        kind = v.__class__
        if kind is str:
            return v in texts
        if kind in _NUMBERS and v == v:
            return v in numbers
        return order_key(v) in keys

    return test


def _exists(node: tree.Exists) -> tuple[Test, bool]:
    return (lambda v: v is not MISSING), False


def _type_is(node: tree.TypeIs) -> tuple[Test, bool]:
    names = node.names
    return (lambda v: type_name(v) in names), True


def _size(node: tree.Size) -> tuple[Test, bool]:
    count = node.count
    return (lambda v: v.__class__ is list and len(v) == count), False


def _mod(node: tree.Mod) -> tuple[Test, bool]:
    divisor, remainder = abs(node.divisor), node.remainder

    def test(v: Any) -> bool:
        whole = _whole(v)
        if whole is None:
            return False
        rest = abs(whole) % divisor
        return (rest if whole >= 0 else -rest) == remainder

    return test, True


def _whole(value: Any) -> int | None:
    """Return a number cut towards zero, or None when it is no finite number of 64 bits."""
    kind = type(value)
    if kind is int or kind is Int64:
        return int(value)
    if kind is float:
        whole = math.trunc(value) if math.isfinite(value) else None
    elif kind is Decimal:
        whole = _cut(value) if value.is_finite() else None
    else:
        return None
    return whole if whole is not None and INT64_MIN <= whole <= INT64_MAX else None


def _cut(value: Decimal) -> int | None:
    return int(value.to_integral_value(ROUND_DOWN)) if value.adjusted() < 20 else None


def _bits(node: tree.Bits) -> tuple[Test, bool]:
    wanted, every = node.mode.endswith("_set"), node.mode.startswith("all_")
    positions = node.positions

    def test(v: Any) -> bool:
        bits = _bit_string(v)
        if bits is None:
            return False
        tested = ((bits >> position & 1 == 1) == wanted for position in positions)
        return all(tested) if every else any(tested)

    return test, True


def _bit_string(value: Any) -> int | None:
    """Return an integer whose bits are the value's: two's complement for numbers, little-endian bytes for binaries.

    The bytes of subtype 2 begin with their length in 4 bytes, in BSON, and so for MongoDB.
    """
    if isinstance(value, bytes):
        head = len(value).to_bytes(4, "little") if getattr(value, "subtype", 0) == 2 else b""
        return int.from_bytes(head + value, "little")
    if type(value) is UUID:
        return int.from_bytes(value.bytes, "little")
    whole = _whole(value)
    return whole if whole is not None and whole == value else None


def _pattern(node: tree.Pattern) -> tuple[Test, bool]:
    return _pattern_test(node), True


def _pattern_test(node: tree.Pattern) -> Test:
    compiled = compile_linear if node.linear else compile_pattern
    search = compiled(node.pattern, node.flags).search
    same = Regex(node.pattern, node.flags)

    def test(v: Any) -> bool:
        if v.__class__ is str:
            return search(v) is not None
        return v.__class__ is Regex and v == same

    return test


def _elem_match(node: tree.ElemMatch) -> tuple[Test, bool]:
    test = _element_test(node)
    return (lambda v: v.__class__ is list and any(map(test, v))), False


def _element_test(node: tree.ElemMatch) -> Test:
    part = matcher(node.part)
    if node.values:
        return part
    return lambda element: element.__class__ in (dict, list) and part(element)


_BUILDERS: Final[dict[type, Callable[[Any], Test]]] = {
    tree.And: _and,
    tree.Constant: _constant,
    tree.Expr: _expr,
    tree.Not: _not,
    tree.Or: _or,
    tree.Schema: _schema,
    tree.Text: _text,
}
_TESTS: Final[dict[type, Callable[[Any], tuple[Test, bool]]]] = {
    tree.Bits: _bits,
    tree.Compare: _compare,
    tree.ElemMatch: _elem_match,
    tree.Exists: _exists,
    tree.GeoIntersects: _geography,
    tree.GeoWithin: _geography,
    tree.In: _in,
    tree.Mod: _mod,
    tree.Near: _geography,
    tree.Pattern: _pattern,
    tree.Size: _size,
    tree.TypeIs: _type_is,
}
