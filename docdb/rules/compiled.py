"""Rules compiled for certain circumstances, and kept where many operations share these.

What lives here: ``compiled`` and ``Compiled``. What it must not know: queries.

What depends on ``auth`` alone is kept, since each operation of one caller meets the same rule with the same ``auth``; what reads ``now``, the
request or a ``get`` is compiled anew each time. ``auth`` is compared by its values, never by identity: it may be changed in place.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from docdb.errors import DocumentError
from docdb.language import tree
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.rules.constraint import formula_of, no_array_before
from docdb.rules.evaluator import Circumstances
from docdb.rules.formula import FALSE, TRUE, Formula, Within, every, written
from docdb.rules.partial import Partial, as_created
from docdb.rules.syntax import Call, Logic, Node, Variable, walk
from docdb.store import codec

if TYPE_CHECKING:
    from docdb._native.program import Program
    from docdb.store.runs import Documents

__all__ = ["Compiled", "Verdict", "compiled", "is_steady", "verdict_of"]

Verdict = Callable[[bytes], bool | int]  # true or false

MOST_KEPT: Final = 256
MOST_ITEMS: Final = 50  # of a list in auth
LONGEST_PATH: Final = 16  # names that the kernel follows
_PLAIN: Final = frozenset({str, bool, int, float, dt.datetime, type(None)})


class Compiled:
    """A rule for certain circumstances: its conjuncts with their formulas, and all of it as a filter.

    ``always``: it is true of every document. ``false`` is a conjunct that is true of no document, ``hopeless`` one that does not even look at the document.
    """

    def __init__(self, rule: Node, about: Circumstances, open_request: bool = False, creating: bool = False) -> None:
        self.rule = rule
        self.partial = Partial(about, open_request=open_request, creating=creating)
        conjuncts = _conjuncts(as_created(rule) if creating else rule)
        self.parts: list[tuple[Node, Formula]] = [(part, formula_of(part, self.partial)) for part in conjuncts]
        false = [part for part, demand in self.parts if demand is FALSE]
        self.false = next(iter(false), None)
        self.always = all(demand is TRUE for _, demand in self.parts)
        self.hopeless = next((part for part in false if not self.partial.depends(part)), None)

    @cached_property
    def equalities(self) -> tuple[tuple[tree.Path, Any, tuple[tree.Node, ...]], ...] | None:
        """The whole rule as fields that must equal one text or boolean each: path, value, and what excludes arrays; None when it is more."""
        found = []
        for _, demand in self.parts:
            if demand is TRUE:
                continue
            value = demand.value if isinstance(demand, Within) else None
            if type(value) not in (str, bool):
                return None
            path = demand.path  # type: ignore[attr-defined]
            no_array: tree.Node = tree.Not(tree.TypeIs(path, frozenset({"array"})))
            found.append((path, value, (*no_array_before(path), no_array)))
        return tuple(found)

    @cached_property
    def held(self) -> tuple[tuple[list[bytes], bytes], ...] | None:
        """The equalities as they are stored, names and value each; None where the rule is more, or no document can hold the value."""
        if self.equalities is None or any(len(path) > LONGEST_PATH for path, _, _ in self.equalities):
            return None
        try:
            values = [codec.encode_value(value) for _, value, _ in self.equalities]
            names = [[name.encode() for name in path] for path, _, _ in self.equalities]
        except (DocumentError, UnicodeEncodeError):
            return None
        return tuple(zip(names, values, strict=True))

    @cached_property
    def node(self) -> tree.Node:
        """The filter that matches exactly what the rule allows."""
        return written(every(*(demand for _, demand in self.parts)))

    @cached_property
    def program(self) -> Program | None:
        """The filter's program, where it is sure of every document."""
        program = compile_program(self.node)
        return program if program is not None and program.exact else None

    def allows_all(self, documents: Documents) -> bool:
        """Tell whether the rule allows all of many new documents. Cost: one walk in C over their stored bytes, where the filter has a program."""
        if self.always:
            return True
        if self.held is not None:
            return all(documents.all_hold(path, value) for path, value in self.held)
        if self.program is not None:
            return documents.all_match(self.program)
        return all(map(self.verdict, documents.lists()[1]))

    @cached_property
    def verdict(self) -> Verdict:
        """Whether the rule allows a stored document."""
        return verdict_of(self.node)


def verdict_of(node: tree.Node) -> Verdict:
    """Return whether a stored document matches: the filter's program, the reference where that is not sure."""
    if isinstance(node, tree.Constant):
        return _everything if node.value else _nothing
    matches, program = matcher(node), compile_program(node)
    if program is None:
        return lambda data: matches(codec.decode(data))
    ask = program.match
    if program.exact:
        return ask  # which says 0 or 1

    def verdict(data: bytes) -> bool:
        answer = ask(data)
        return matches(codec.decode(data)) if answer == 2 else bool(answer)

    return verdict


def _everything(data: bytes) -> bool:
    return True


def _nothing(data: bytes) -> bool:
    return False


def compiled(rule: Node, about: Circumstances, *, open_request: bool = False, creating: bool = False) -> Compiled:
    """Return the compiled rule, one of the last where it depends on ``auth`` alone and that is plain."""
    key = _key(rule, about, creating)
    if key is None:
        return Compiled(rule, about, open_request, creating)
    key = (*key, open_request)
    known = _kept.get(key)
    if known is None or known.rule is not rule:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        known = _kept[key] = Compiled(rule, about, open_request, creating)
    return known


_kept: dict[tuple[Any, ...], Compiled] = {}
_steady: dict[tuple[int, bool], tuple[Node, bool]] = {}


def is_steady(rule: Node, *, creating: bool = False) -> bool:
    """Tell whether what a rule comes to for a document depends on ``auth`` alone."""
    place = id(rule), creating
    known = _steady.get(place)
    if known is None or known[0] is not rule:
        if len(_steady) >= MOST_KEPT:
            _steady.clear()
        known = _steady[place] = rule, all(_is_steady(node, creating) for node in walk(rule))
    return known[1]


def _key(rule: Node, about: Circumstances, creating: bool) -> tuple[Any, ...] | None:
    if not is_steady(rule, creating=creating):
        return None
    place = id(rule), creating
    auth = about.auth
    if auth is None:
        return place, None
    values = tuple(auth.values())
    kinds = tuple(map(type, values))
    if _PLAIN.issuperset(kinds):
        return place, tuple(auth), values, kinds
    frozen = tuple(map(_frozen, values))
    return None if None in frozen else (place, tuple(auth), frozen)


def _frozen(value: Any) -> tuple[Any, ...] | None:
    """Return a value, or a short list of such, with its types; None for what is too large or too deep to be worth it."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (list, tuple) and len(value) <= MOST_ITEMS:
        kinds = tuple(map(type, value))
        return (list, tuple(value), kinds) if _PLAIN.issuperset(kinds) else None
    return None


def _is_steady(node: Node, creating: bool) -> bool:
    """Tell whether a node depends on nothing but ``auth`` and the document, which in a create is the request's data, too."""
    if isinstance(node, Call):
        return node.name != "get" and (creating or node.name != "changed")
    return not isinstance(node, Variable) or not (node.name == "now" or (node.name == "request" and not creating))


def _conjuncts(rule: Node) -> list[Node]:
    if isinstance(rule, Logic) and rule.operator == "&&":
        return [*_conjuncts(rule.left), *_conjuncts(rule.right)]
    return [rule]
