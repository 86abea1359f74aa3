"""Rules compiled once for all callers, with places for what they ask of ``auth``.

What lives here: ``Prepared``, ``Binding`` and ``prepared``. What it must not know: queries, stored bytes.

A *place* is a largest part of a rule that looks at ``auth`` and not at the document. Preparing finds the places and what of the document each stands
beside; binding puts a caller's values into them and makes the formula, each leaf by the function of ``constraint`` that makes it there. What cannot be
told before the caller is known (a path that ``auth`` steers, a value that no filter compares) is compiled by ``constraint.formula_of`` when it is bound.

Law: what is bound is what ``formula_of`` gives for the caller. Only rules that are steady are prepared: what they come to depends on ``auth`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from docdb.language import tree
from docdb.language.tree import Path
from docdb.rules.comparison import is_list, same
from docdb.rules.constraint import (
    MAX_ITEMS,
    OPPOSITE,
    ORDER,
    REVERSED,
    Compiler,
    equal_to,
    formula_of,
    holding,
    is_nan,
    is_plain,
    no_array_at,
    ordered,
    with_default,
)
from docdb.rules.evaluator import Circumstances
from docdb.rules.formula import FALSE, TRUE, Formula, either, every
from docdb.rules.partial import FAILED, Partial, as_created
from docdb.rules.syntax import (
    Binary,
    Call,
    Literal,
    Logic,
    Member,
    Method,
    Node,
    Not,
    Undefined,
    Variable,
    children,
    walk,
)

__all__ = ["Auth", "Binding", "Equalities", "Prepared", "conjuncts", "prepared"]

MOST_KEPT: Final = 1_000
MOST_NAMES: Final = 16  # of a path into auth that is followed without the evaluator
MOST_COMPARED: Final = 100  # values inside what is compared without the evaluator, which gives up at 10,000 ...
LONGEST: Final = 4_096  # ... and counts 256 characters of a text as one
_SCALARS: Final = frozenset({str, bool, int, float, type(None)})

Auth = Mapping[str, Any] | None
Place = Callable[[Auth], Any]  # its value, FAILED where it has none
Step = Callable[["Binding"], Formula]
Equalities = tuple[tuple[Path, Any, tuple[tree.Node, ...]], ...]  # path, value, and what excludes arrays


class Binding:
    """One caller's values in the places of a rule."""

    __slots__ = ("_auth", "_creating", "own", "values")

    def __init__(self, values: tuple[Any, ...], auth: Auth, creating: bool) -> None:
        self.values = values
        self.own: Partial | None = None  # made when the formula refers to the caller himself, not only to the values
        self._auth = auth
        self._creating = creating

    def anew(self, node: Node, wanted: bool) -> Formula:
        """Return where a part of the rule is true (or false) for this caller, compiled without preparation."""
        if self.own is None:
            auth = self._auth
            copy = None if auth is None else {k: list(v) if is_list(v) else v for k, v in auth.items()}
            self.own = Partial(Circumstances(copy, 0), creating=self._creating)
        return formula_of(node, self.own, wanted)


class Settled:
    """The step of a part that does not look at the document: true of all of them, or of none."""

    __slots__ = ("place", "wanted")

    def __init__(self, place: int, wanted: bool) -> None:
        self.place = place
        self.wanted = wanted

    def __call__(self, binding: Binding) -> Formula:
        return TRUE if binding.values[self.place] is self.wanted else FALSE


class Equality:
    """The step of a field that equals what stands in a place, or is there and differs."""

    __slots__ = ("equal", "node", "path", "place", "wanted")

    def __init__(self, path: Path, place: int, equal: bool, node: Node, wanted: bool) -> None:
        self.path, self.place, self.equal = path, place, equal
        self.node, self.wanted = node, wanted  # the part of the rule, for values that no filter compares

    def __call__(self, binding: Binding) -> Formula:
        value = binding.values[self.place]
        if value is FAILED:
            return FALSE
        return equal_to(self.path, (value,), self.equal) if is_plain(value) else binding.anew(self.node, self.wanted)


class Prepared:
    """A steady rule with its places. ``whole``: what is bound may depend on more of ``auth`` than the values in the places."""

    __slots__ = ("_creating", "_equalities", "_parts", "_places", "_settled", "partial", "whole")

    def __init__(self, rule: Node, creating: bool) -> None:
        preparer = _Preparer(creating)
        parts = conjuncts(as_created(rule) if creating else rule)
        self._creating = creating
        self._parts = [(part, preparer.step(part, True)) for part in parts]
        self._places = tuple(preparer.places)
        self.partial = preparer.compiler.partial  # what all callers have in common: nobody's circumstances
        self.whole = preparer.whole
        steps = [step for _, step in self._parts]
        self._settled = [self._places[step.place] for step in steps if type(step) is Settled and step.wanted]
        self._equalities = [
            (step.path, self._places[step.place], no_array_at(step.path))
            for step in steps
            if type(step) is Equality and step.equal
        ]
        if len(self._settled) + len(self._equalities) < len(steps):
            self._equalities = []

    def values(self, auth: Auth) -> tuple[Any, ...]:
        """Return the values of the places for a caller."""
        return tuple([place(auth) for place in self._places])

    def bind(self, values: tuple[Any, ...], auth: Auth) -> tuple[list[tuple[Node, Formula]], Partial | None]:
        """Return the conjuncts of the rule with their formulas, and what of the caller these refer to beside the values."""
        binding = Binding(values, auth, self._creating)
        return [(part, step(binding)) for part, step in self._parts], binding.own

    def equalities(self, auth: Auth) -> Equalities | None:
        """Return the whole rule as fields that must equal one text or boolean each, made without formulas; None where that takes more."""
        for place in self._settled:
            if place(auth) is not True:
                return None
        found = []
        for path, place, conditions in self._equalities:
            value = place(auth)
            if type(value) is not bool and (type(value) is not str or not value.isascii()):
                return None
            found.append((path, value, conditions))
        return tuple(found) if found else None


def prepared(rule: Node, creating: bool) -> Prepared | None:
    """Return a rule with its places, None where what it comes to depends on more than ``auth``. Cost: once a rule."""
    key = id(rule), creating
    known = _known.get(key)
    if known is None or known[0] is not rule:
        if len(_known) >= MOST_KEPT:
            _known.clear()
        steady = all(_is_steady(node, creating) for node in walk(rule))
        known = _known[key] = rule, Prepared(rule, creating) if steady else None
    return known[1]


_known: dict[tuple[int, bool], tuple[Node, Prepared | None]] = {}  # holds the rules, so that no id is given out again


def conjuncts(rule: Node) -> list[Node]:
    """Return what must all be true for a rule to be."""
    if isinstance(rule, Logic) and rule.operator == "&&":
        return [*conjuncts(rule.left), *conjuncts(rule.right)]
    return [rule]


def _is_steady(node: Node, creating: bool) -> bool:
    """Tell whether a node depends on nothing but ``auth`` and the document, which in a create is the request's data, too."""
    if isinstance(node, Call):
        return node.name != "get" and (creating or node.name != "changed")
    return not isinstance(node, Variable) or not (node.name == "now" or (node.name == "request" and not creating))


class _Preparer:
    """Follows ``constraint.Compiler`` through a rule, and leaves open what only a caller tells."""

    def __init__(self, creating: bool) -> None:
        self.compiler = Compiler(Partial(Circumstances(None, 0), creating=creating))
        self.places: list[Place] = []
        self.whole = False
        self._asking: dict[int, tuple[Node, bool]] = {}  # holds the nodes

    def asks(self, node: Node) -> bool:
        """Tell whether a part of the rule looks at ``auth``."""
        known = self._asking.get(id(node))
        if known is None:
            own = isinstance(node, Variable) and node.name == "auth"
            known = self._asking[id(node)] = node, own or any(self.asks(child) for child in children(node))
        return known[1]

    def step(self, node: Node, wanted: bool) -> Step:
        """Return what gives the formula of where ``node`` is true (or false)."""
        if not self.asks(node):
            found = self.compiler.formula(node, wanted)
            return lambda binding: found
        if isinstance(node, Not):
            return self.step(node.operand, not wanted)
        if isinstance(node, Logic):
            combine = either if (node.operator == "||") is wanted else every
            left, right = self.step(node.left, wanted), self.step(node.right, wanted)
            return lambda binding: combine(left(binding), right(binding))
        if not self.compiler.partial.depends(node):
            return Settled(self.place(node), wanted)
        step = self.with_default(node, wanted) or self.leaf(node, wanted)
        if step is None:
            self.whole = True
            return lambda binding: binding.anew(node, wanted)
        return step

    def place(self, node: Node) -> int:
        self.places.append(_value_of(node))
        return len(self.places) - 1

    def with_default(self, node: Node, wanted: bool) -> Step | None:
        split = with_default(node)
        if split is None:
            return None
        field, present, otherwise = split
        absent = None if self.asks(field) else self.compiler.presence(field, False)
        if absent is None:
            return None
        there, elsewhere = self.step(present, wanted), self.step(otherwise, wanted)
        return lambda binding: either(there(binding), every(absent, elsewhere(binding)))

    def leaf(self, node: Node, wanted: bool) -> Step | None:
        if not isinstance(node, Binary) or isinstance(node.left, Undefined) or isinstance(node.right, Undefined):
            return None
        build = _BINARY.get(node.operator)
        return None if build is None else build(self, node, wanted)

    def beside(self, sides: Iterable[tuple[Node, Node, Any]]) -> tuple[Path, int, Any] | None:
        """Return the path of a field, and the place it stands beside, of the first pair whose second is settled."""
        for side, other, given in sides:
            counts = isinstance(other, Method) and other.name == "size"
            if not counts and not self.compiler.partial.depends(other):
                path = None if self.asks(side) else self.compiler.path(side)
                return None if path is None else (path, self.place(other), given)
        return None

    def equality(self, node: Binary, wanted: bool) -> Step | None:
        found = self.beside(((node.left, node.right, None), (node.right, node.left, None)))
        if found is None:
            return None
        path, place, _ = found
        return Equality(path, place, wanted is (node.operator == "=="), node, wanted)

    def order(self, node: Binary, wanted: bool) -> Step | None:
        found = self.beside(((node.left, node.right, ORDER), (node.right, node.left, REVERSED)))
        if found is None:
            return None
        path, place, names = found
        op = names[node.operator] if wanted else OPPOSITE[names[node.operator]]

        def step(binding: Binding) -> Formula:
            value = binding.values[place]
            if value is None or value is FAILED or isinstance(value, bool):
                return FALSE
            if not is_plain(value):
                return binding.anew(node, wanted)
            return FALSE if is_nan(value) else ordered(path, op, value)

        return step

    def membership(self, node: Binary, wanted: bool) -> Step | None:
        found = self.beside(((node.left, node.right, True), (node.right, node.left, False)))
        if found is None:
            return None
        path, place, among = found

        def step(binding: Binding) -> Formula:
            value = binding.values[place]
            if value is FAILED or (among and not is_list(value)):
                return FALSE
            if not among:
                return holding(path, value, wanted) if is_plain(value) else binding.anew(node, wanted)
            known = len(value) <= MAX_ITEMS and all(map(is_plain, value))
            return equal_to(path, value, wanted) if known else binding.anew(node, wanted)

        return step


_BINARY: Final[dict[str, Callable[[_Preparer, Binary, bool], Step | None]]] = {
    "==": _Preparer.equality,
    "!=": _Preparer.equality,
    "in": _Preparer.membership,
    **dict.fromkeys(ORDER, _Preparer.order),
}


def _value_of(node: Node) -> Place:
    """Return what gives the value of a part that looks at ``auth`` alone: the evaluator's, and for the commonest parts found without it."""
    quick = _quick(node)
    if quick is not None:
        return quick

    def evaluated(auth: Auth) -> Any:
        return Partial(Circumstances(auth, 0)).fold(node)

    if not isinstance(node, Binary) or node.operator not in ("==", "!="):
        return evaluated
    left, right = _quick(node.left), _quick(node.right)
    if left is None or right is None:
        return evaluated
    equal = node.operator == "=="

    def compared(auth: Auth) -> Any:
        one, other = left(auth), right(auth)
        if one is FAILED or other is FAILED:
            return FAILED
        if not _is_small(one) or not _is_small(other):
            return evaluated(auth)
        if one is None or other is None:
            return (one is other) is equal
        shallow = type(one) in _SCALARS and type(other) in _SCALARS
        return same(one, other) is equal if shallow else evaluated(auth)

    return compared


def _is_small(value: Any) -> bool:
    """Tell whether the evaluator surely has the fuel to compare a value."""
    kind = type(value)
    if kind is str:
        return len(value) <= LONGEST
    if kind is not dict or len(value) > MOST_COMPARED:
        return kind in _SCALARS
    for item in value.values():  # noqa: SIM110  # asked of every new caller
        if type(item) not in _SCALARS or (type(item) is str and len(item) > LONGEST):
            return False
    return True


def _quick(node: Node) -> Place | None:
    """Return what gives the value of a constant, or of a path of names into ``auth``; None for anything else."""
    if isinstance(node, Literal):
        constant = node.value
        return lambda auth: constant
    names: list[str] = []
    while isinstance(node, Member):
        names.append(node.name)
        node = node.owner
    if not isinstance(node, Variable) or node.name != "auth" or len(names) > MOST_NAMES:
        return None
    names.reverse()

    def found(auth: Auth) -> Any:
        value: Any = auth
        for name in names:
            if (type(value) is not dict and not isinstance(value, Mapping)) or name not in value:
                return FAILED
            value = value[name]
        return value

    return found
