"""What a rule may say and probably does not mean.

What lives here: ``Lint``, ``lints`` for one expression, and how terms that can never or must always hold together are found: each
term that speaks of one thing is tried with every value that could make a difference. What it must not know: sessions and storage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from docdb.rules.checker import kind, named
from docdb.rules.comparison import is_number
from docdb.rules.evaluator import Circumstances, Failure, evaluate
from docdb.rules.syntax import (
    Binary,
    Call,
    Index,
    ListOf,
    Literal,
    Logic,
    Member,
    Method,
    Node,
    Not,
    Place,
    Undefined,
    Variable,
    children,
    walk,
)  # fmt: skip

__all__ = ["Lint", "constant", "lints"]

NOTHING = Circumstances(auth=None, now=0)
OTHERS: Sequence[Any] = (None, True, False, "another string", [], {})  # what stands for all values that no term names


@dataclass(frozen=True, slots=True)
class Lint:
    """Something that loads and is probably not meant."""

    message: str
    place: Place


def lints(tree: Node) -> list[Lint]:
    """Return what is probably not meant, in the order of the text.

    >>> from docdb.rules.parser import parse
    >>> [lint.message for lint in lints(parse("doc.role != 'a' || doc.role != 'b'"))]
    ['this is always true']
    """
    found = {*_verdicts(tree), *_comparisons(tree), *_unguarded(tree, False)}
    return sorted(found, key=lambda lint: (lint.place.line, lint.place.column, lint.message))


def constant(node: Node) -> bool | None:
    """Return what ``node`` always is where it is anything, whatever auth and the documents hold; None when it depends on them.

    A node that is always true may still fail (``doc.n > 1 || doc.n <= 1`` without ``n``): it is never false.
    """
    match node:
        case Literal(value=bool() as value):
            return value
        case Not(operand=operand):
            inside = constant(operand)
            return None if inside is None else not inside
        case Logic(operator=operator):
            return _chain(operator == "||", _terms(node, operator))
        case Binary() if _is_fixed(node):
            return _verdict(node)
    return None


def _verdicts(tree: Node) -> Iterator[Lint]:
    """Yield the widest parts that are always true or always false."""
    verdict = None if isinstance(tree, Literal) else constant(tree)
    if verdict is not None:
        yield Lint(f"this is always {str(verdict).lower()}", tree.place)
        return
    for part in _terms(tree, tree.operator) if isinstance(tree, Logic) else children(tree):
        if not isinstance(part, Literal):
            yield from _verdicts(part)


def _terms(node: Node, operator: str) -> list[Node]:
    if isinstance(node, Logic) and node.operator == operator:
        return [*_terms(node.left, operator), *_terms(node.right, operator)]
    return [node]


def _chain(decisive: bool, terms: list[Node]) -> bool | None:
    """Judge terms joined by && (decisive: False) or || (True): by their own verdicts, then by those that speak of one thing."""
    verdicts = [constant(term) for term in terms]
    if decisive in verdicts:
        return decisive
    if None not in verdicts:
        return not decisive
    about: dict[Any, list[tuple[Node, Node]]] = {}
    for term in terms:
        subjects = {_shape(subject): subject for subject in _subjects(term)}
        if len(subjects) == 1:
            shape, subject = subjects.popitem()
            about.setdefault(shape, []).append((term, subject))
    return decisive if any(_is_decided(decisive, facts) for facts in about.values()) else None


def _is_decided(decisive: bool, facts: list[tuple[Node, Node]]) -> bool:
    """Tell whether for every value one term at least decides, or fails: a conjunction that fails is not true, a disjunction not false."""
    shape = _shape(facts[0][1])
    is_decided = False
    for value in _candidates([term for term, _ in facts]):
        verdicts = [_verdict(_with(term, shape, value)) for term, _ in facts]
        if decisive in verdicts:
            is_decided = True
        elif None not in verdicts:
            return False
    return is_decided


def _candidates(terms: Iterable[Node]) -> list[Any]:
    """Return values that stand for all: those named, one beside and between each, and one of every other type."""
    named_values: list[Any] = [node.value for term in terms for node in walk(term) if isinstance(node, Literal)]
    numbers = sorted({value for value in named_values if is_number(value)})
    between = [(low + high) / 2 for low, high in itertools.pairwise(numbers)]
    beside = [numbers[0] - 1, numbers[-1] + 1] if numbers else [0]
    texts = [value for value in named_values if isinstance(value, str)]
    return [*named_values, *between, *beside, *(text + "\0" for text in texts), "", *OTHERS]


def _subjects(node: Node) -> Iterator[Node]:
    """Yield the widest parts of a term whose value only documents and callers know."""
    if isinstance(node, Member | Index | Variable | Call | Method | Undefined):
        yield node
    else:
        for child in children(node):
            yield from _subjects(child)


def _is_fixed(node: Node) -> bool:
    return next(_subjects(node), None) is None


def _verdict(node: Node) -> bool | None:
    try:
        value = evaluate(node, NOTHING)
    except Failure:
        return None
    return value if isinstance(value, bool) else None


def _shape(node: Any) -> Any:
    """Return a node without its places, so that two equal texts are equal."""
    if isinstance(node, tuple):
        return tuple(_shape(item) for item in node)
    if not is_dataclass(node):
        return (type(node).__name__, node)
    parts = (_shape(getattr(node, part.name)) for part in fields(node) if part.name != "place")
    return (type(node).__name__, *parts)


def _with(node: Node, shape: Any, value: Any) -> Node:
    """Return the term with ``value`` in the place of its subject."""
    if _shape(node) == shape:
        return Literal(node.place, value)
    match node:
        case Not(operand=operand):
            return replace(node, operand=_with(operand, shape, value))
        case Binary() | Logic():
            return replace(node, left=_with(node.left, shape, value), right=_with(node.right, shape, value))
        case ListOf(items=items):
            return replace(node, items=tuple(_with(item, shape, value) for item in items))
    return node


def _comparisons(tree: Node) -> Iterator[Lint]:
    for node in walk(tree):
        if not isinstance(node, Binary):
            continue
        if node.operator in ("==", "in") and _empty_caller(node):
            yield Lint("an empty text lets in callers whose auth holds one", node.place)
        if node.operator in ("==", "!="):
            left, right = _kinds(node.left), _kinds(node.right)
            if left and right and not left & right:
                never = f"{named(_first(left))} never equals {named(_first(right))}"
                yield Lint(never if node.operator == "==" else f"{never}, so this is always true", node.place)
        elif node.operator == "in" and isinstance(node.right, ListOf):
            left, members = _kinds(node.left), [_kinds(item) for item in node.right.items]
            if not members:
                yield Lint("nothing is in an empty list", node.place)
            elif left and all(member and not left & member for member in members):
                hint = "; write !(x in [...])" if isinstance(node.left, Not) else ""
                yield Lint(f"{named(_first(left))} is none of these{hint}", node.place)


def _empty_caller(node: Binary) -> bool:
    """Tell whether an empty text is looked for where a caller is meant: beside auth, or in a list of the document."""
    sides = (node.left, node.right)
    if not any(isinstance(side, Literal) and side.value == "" for side in sides):
        return False
    return node.operator == "in" or any(_is_auth(part) for side in sides for part in walk(side))


def _kinds(node: Node) -> frozenset[str]:
    """Return the types a node may have, empty when it may be anything."""
    if isinstance(node, Undefined):
        return frozenset()
    known = kind(node)
    if known is None:
        return frozenset()
    if isinstance(node, Call) or (isinstance(node, Variable) and node.name == "auth"):
        return frozenset((known, "null"))
    return frozenset((known,))


def _first(kinds: frozenset[str]) -> str:
    return sorted(kinds)[-1] if "null" in kinds and len(kinds) > 1 else next(iter(kinds))


def _unguarded(node: Node, guarded: bool) -> Iterator[Lint]:
    """Yield the first field of auth that is looked for where auth may be null."""
    first = next(_bare(node, guarded), None)
    if first is not None:
        yield Lint(
            "auth is null for anonymous callers: write auth != null first, or they are denied by an error", first.place
        )


def _bare(node: Node, guarded: bool) -> Iterator[Member]:
    if isinstance(node, Logic):
        operator = node.operator
        terms = _terms(node, operator)
        inside = guarded or any(_says(term, operator) for term in terms)
        for term in terms:
            if not _says(term, operator):
                yield from _bare(term, inside)
    elif _says(node, "&&") or _says(node, "||"):
        return
    elif isinstance(node, Member) and isinstance(node.owner, Variable) and node.owner.name == "auth":
        if not guarded:
            yield node
    else:
        for child in children(node):
            yield from _bare(child, guarded)


def _says(term: Node, operator: str) -> bool:
    """Tell whether a term guards its neighbours: ``auth != null && ...`` (``auth.openid != null`` too) or ``auth == null || ...``."""
    if not isinstance(term, Binary) or term.operator != ("!=" if operator == "&&" else "=="):
        return False
    sides = (term.left, term.right)
    nothing = any((isinstance(side, Literal) and side.value is None) or isinstance(side, Undefined) for side in sides)
    return nothing and any(_is_auth(side) for side in sides)


def _is_auth(node: Node) -> bool:
    if isinstance(node, Member):
        node = node.owner
    return isinstance(node, Variable) and node.name == "auth"
